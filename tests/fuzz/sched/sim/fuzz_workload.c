/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sched/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* Whatever parses has shares that add to 1, and can be simulated. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sim_config cfg = sim_config_default();
	struct hearth_err err = { 0 };
	struct workload *w = NULL;
	struct sim_result r;

	if (workload_parse((const char *)data, size, "fuzz", &w, &err) < 0) {
		must(err.code < 0 && err.msg[0] != '\0' && !w);
		return 0;
	}
	must(w->types_n > 0 && w->types_n <= SCHED_TYPES_MAX && w->phases_n > 0);
	for (uint32_t p = 0; p < w->phases_n; p++) {
		double sum = 0;

		for (uint32_t t = 0; t < w->types_n; t++)
			sum += w->phases[p].ratio[t];
		must(sum > 0.999 && sum < 1.001);
	}
	cfg.workload = w;
	cfg.requests = 50;
	cfg.queue_max = 8;
	if (sim_run(&cfg, &r, &err) == 0) {
		must(r.arrived <= 50 && r.completed + r.dropped == r.arrived);
		sim_result_done(&r);
	} else {
		must(err.code == -EINVAL);      /* phases over before the first request */
	}
	workload_free(w);
	return 0;
}
