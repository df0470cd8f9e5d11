/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sched/sim.h"

static int make_workload(struct sim_trace *t, const struct recording *r, const char *file, struct hearth_err *err)
{
	struct workload_type *types = calloc(r->types_n, sizeof(*types));
	int rc;

	if (!types)
		return err_set(err, -ENOMEM, "%s: no memory", file);
	for (size_t i = 0; i < t->n; i++) {
		t->requests[i].service_ns += t->requests[i].service_ns == 0;    /* a clock may see nothing pass */
		types[t->requests[i].type].mean_ns += (double)t->requests[i].service_ns;
	}
	for (uint32_t k = 0; k < r->types_n; k++) {
		memcpy(types[k].name, r->types[k].name, sizeof(types[k].name));
		types[k].mean_ns /= (double)r->types[k].n;
		types[k].ratio = (double)r->types[k].n / (double)t->n;
	}
	rc = workload_new(file, types, r->types_n, &t->workload, err);
	free(types);
	return rc;
}

/* Ends the recording. */
static int from_recording(struct recording *r, const char *file, struct sim_trace **ret, struct hearth_err *err)
{
	struct sim_trace *t = calloc(1, sizeof(*t));
	int rc;

	if (t) {
		t->requests = r->requests;
		t->n = r->n;
		r->requests = NULL;
	}
	rc = t ? make_workload(t, r, file, err) : err_set(err, -ENOMEM, "%s: no memory", file);
	recording_free(r);
	if (rc < 0)
		sim_trace_free(t);
	else
		*ret = t;
	return rc;
}

int sim_trace_parse(const char *text, size_t len, const char *file, struct sim_trace **ret, struct hearth_err *err)
{
	struct recording *r;
	int rc = recording_parse(text, len, file, &r, err);

	return rc < 0 ? rc : from_recording(r, file, ret, err);
}

int sim_trace_load(const char *path, struct sim_trace **ret, struct hearth_err *err)
{
	struct recording *r;
	int rc = recording_read(path, &r, err);

	return rc < 0 ? rc : from_recording(r, path, ret, err);
}

struct sim_trace *sim_trace_free(struct sim_trace *t)
{
	if (t) {
		workload_free(t->workload);
		free(t->requests);
	}
	free(t);
	return NULL;
}
