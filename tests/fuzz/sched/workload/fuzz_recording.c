/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "sched/load.h"
#include "sched/recording.h"
#include "sched/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* In order from 0 on, of types that are there. */
static void check(const struct recording *r)
{
	size_t of[SCHED_TYPES_MAX] = { 0 };

	must(r->n > 0 && r->types_n > 0 && r->types_n <= SCHED_TYPES_MAX && r->requests[0].at_ns == 0);
	for (size_t i = 0; i < r->n; i++) {
		must(r->requests[i].type < r->types_n && (i == 0 || r->requests[i - 1].at_ns <= r->requests[i].at_ns));
		of[r->requests[i].type]++;
	}
	for (uint32_t t = 0; t < r->types_n; t++) {
		must(of[t] == r->types[t].n && of[t] > 0 && memchr(r->types[t].name, '\0', SCHED_NAME_MAX) && r->types[t].name[0] != '\0');
		for (uint32_t u = 0; u < t; u++)
			must(strcmp(r->types[t].name, r->types[u].name) != 0);
	}
}

/* It can be simulated to its end. */
static void simulate(const char *text, size_t size, size_t n)
{
	struct sim_config cfg = sim_config_default();
	struct hearth_err err = { 0 };
	struct sim_trace *t = NULL;
	struct sim_result r;

	must(sim_trace_parse(text, size, "fuzz", &t, &err) == 0 && t->n == n);
	for (size_t i = 0; i < n; i++)
		must(t->requests[i].service_ns > 0);
	cfg.trace = t;
	cfg.load = 0;
	cfg.requests = 0;
	cfg.workers = 2;
	cfg.queue_max = 8;
	must(sim_run(&cfg, &r, &err) == 0);
	must(r.arrived == n && r.completed + r.dropped == n);
	sim_result_done(&r);
	sim_trace_free(t);
}

/* It can be sent again. */
static void send_again(const char *text, size_t size, const struct recording *r)
{
	struct hearth_err err = { 0 };
	struct load_trace *t = NULL;

	must(load_trace_parse(text, size, "fuzz", &t, &err) == 0 && t->n == r->n && t->workload->phases_n == 1 && t->workload->types_n == r->types_n);
	for (uint32_t k = 0; k < r->types_n; k++)
		must(workload_find(t->workload, r->types[k].name) == (int)k);
	for (size_t i = 0; i < r->n; i++)
		must(t->items[i].at_ns == r->requests[i].at_ns && t->items[i].service_ns == r->requests[i].service_ns && t->items[i].type == r->requests[i].type);
	load_trace_dilate(t, 0.5);
	load_trace_free(t);
}

/* Whatever parses holds together, and both who read it take it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hearth_err err = { 0 };
	struct recording *r = NULL;

	if (recording_parse((const char *)data, size, "fuzz", &r, &err) < 0) {
		must(err.code < 0 && strncmp(err.msg, "fuzz:", 5) == 0 && !r);
		return 0;
	}
	check(r);
	simulate((const char *)data, size, r->n);
	send_again((const char *)data, size, r);
	recording_free(r);
	return 0;
}
