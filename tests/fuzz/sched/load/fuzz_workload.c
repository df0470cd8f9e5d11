/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sched/workload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever parses can be played: ratios that add to 1, positive times and rates, a phase that ends but for the last. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hearth_err err = { 0 };
	struct workload *w = NULL;
	struct sched_random r;

	if (workload_parse((const char *)data, size, "fuzz", &w, &err) < 0) {
		if (err.code == 0 || err.msg[0] == '\0' || w)
			abort();
		return 0;
	}
	if (w->types_n == 0 || w->types_n > SCHED_TYPES_MAX || w->phases_n == 0 || w->phases_n > WORKLOAD_PHASES_MAX)
		abort();
	sched_random_seed(&r, 1);
	for (uint32_t p = 0; p < w->phases_n; p++) {
		double sum = 0;

		if (!(w->phases[p].rate_hz >= 0 && w->phases[p].scale > 0) || (w->phases[p].duration_ns == 0 && p + 1 < w->phases_n))
			abort();
		for (uint32_t t = 0; t < w->types_n; t++) {
			sum += w->phases[p].ratio[t];
			if (!(workload_draw_ns(&w->types[t], w->phases[p].mean_ns[t], &r) >= 1) || workload_find(w, w->types[t].name) < 0)
				abort();
		}
		if (!(fabs(sum - 1) < 1e-9))
			abort();
	}
	workload_dilate(w, 3);
	workload_free(w);
	return 0;
}
