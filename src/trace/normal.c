/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "private.h"

double normal_quantile(double p)
{
	double lo = -9, hi = 9;

	/* Bisection of the distribution function: 60 halvings of 18 go below the spacing of doubles here. */
	for (int i = 0; i < 60; i++) {
		double mid = (lo + hi) / 2;

		if (0.5 * erfc(-mid / M_SQRT2) < p)
			lo = mid;
		else
			hi = mid;
	}
	return (lo + hi) / 2;
}
