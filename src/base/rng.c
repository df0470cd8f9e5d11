/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "base/rng.h"

static uint64_t splitmix64(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->s[i] = splitmix64(&seed);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
	uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;

	do
		x = rng_next(r);
	while (x >= limit);
	return x % n;
}

double rng_normal(struct rng *r)
{
	double u = 1 - rng_uniform(r), v = rng_uniform(r);      /* 0 < u <= 1: the logarithm is finite */

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

double rng_exp(struct rng *r)
{
	uint64_t bits = rng_next(r) | 1;                /* u = bits / 2^64 is never 0 */
	unsigned zeros = (unsigned)__builtin_clzll(bits);
	uint64_t mantissa = (bits << zeros << 1) >> 12; /* u = m * 2^-(zeros + 1), 1 <= m < 2 */
	double m, s, z;

	mantissa |= 0x3ffull << 52;
	memcpy(&m, &mantissa, sizeof(m));
	/* ln m = ln sqrt(2) + 2 artanh(s), |s| < 0.172, whose series is cut at 1e-11 */
	s = (m - M_SQRT2) / (m + M_SQRT2);
	z = s * s;
	return (zeros + 0.5) * M_LN2 - 2 * s * (1 + z * (1. / 3 + z * (1. / 5 + z * (1. / 7 + z * (1. / 9 + z / 11)))));
}
