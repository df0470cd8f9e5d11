/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "sched/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* Whatever parses is in order, holds together, and can be simulated to its end. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sim_config cfg = sim_config_default();
	struct hearth_err err = { 0 };
	struct sim_trace *t = NULL;
	struct sim_result r;
	char *text = malloc(size + 1);

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	if (sim_trace_parse(text, size, "fuzz", &t, &err) < 0) {
		must(err.code < 0 && strncmp(err.msg, "fuzz:", 5) == 0 && !t);
		free(text);
		return 0;
	}
	free(text);
	must(t->n > 0 && t->workload->types_n > 0 && t->workload->types_n <= SCHED_TYPES_MAX);
	for (size_t i = 0; i < t->n; i++)
		must(t->requests[i].type < t->workload->types_n && t->requests[i].service_ns > 0 && (i == 0 || t->requests[i - 1].at_ns <= t->requests[i].at_ns));
	cfg.trace = t;
	cfg.load = 0;
	cfg.requests = 0;
	cfg.workers = 2;
	cfg.queue_max = 8;
	must(sim_run(&cfg, &r, &err) == 0);
	must(r.arrived == t->n && r.completed + r.dropped == t->n);
	sim_result_done(&r);
	sim_trace_free(t);
	return 0;
}
