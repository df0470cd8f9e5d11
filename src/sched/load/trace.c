/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/load.h"

struct load_trace *load_trace_free(struct load_trace *t)
{
	if (!t)
		return NULL;
	free(t->items);
	free(t->numbers);
	workload_free(t->workload);
	free(t);
	return NULL;
}

static int by_time(const void *a, const void *b)
{
	const struct recorded_request *x = a, *y = b;

	return x->at_ns < y->at_ns ? -1 : x->at_ns > y->at_ns;
}

static int make_workload(struct load_trace *t, const char *what, const char *const *names, size_t names_n, struct hearth_err *err)
{
	struct workload_type *types = calloc(names_n, sizeof(*types));
	int rc;

	t->numbers = calloc(names_n, sizeof(*t->numbers));
	if (!types || !t->numbers) {
		free(types);
		return err_set(err, -ENOMEM, "%s: no memory", what);
	}
	for (size_t i = 0; i < t->n; i++) {
		types[t->items[i].type].ratio += 1;
		types[t->items[i].type].mean_ns += (double)t->items[i].service_ns;
	}
	for (size_t i = 0; i < names_n; i++) {
		char *end;
		unsigned long number = strtoul(names[i], &end, 10);

		t->numbers[i] = (uint16_t)(names[i][0] >= '0' && names[i][0] <= '9' && *end == '\0' && number <= UINT16_MAX ? number : i);
		types[i].mean_ns = types[i].ratio > 0 ? types[i].mean_ns / types[i].ratio : 1;
		if (types[i].mean_ns < 1)
			types[i].mean_ns = 1;
		types[i].ratio /= (double)t->n;
		snprintf(types[i].name, sizeof(types[i].name), "%s", names[i]);
	}
	rc = workload_new(what, types, (uint32_t)names_n, &t->workload, err);
	free(types);
	return rc;
}

/* From items in order that begin at 0; they are taken over, also on failure. */
static int from_items(const char *what, const char *const *names, size_t names_n, struct recorded_request *items, size_t n, struct load_trace **ret,
	struct hearth_err *err)
{
	struct load_trace *t = calloc(1, sizeof(*t));
	int rc;

	if (!t) {
		free(items);
		return err_set(err, -ENOMEM, "%s: no memory", what);
	}
	t->items = items;
	t->n = n;
	rc = make_workload(t, what, names, names_n, err);
	if (rc < 0)
		load_trace_free(t);
	else
		*ret = t;
	return rc;
}

int load_trace_new(const char *what, const char *const *names, size_t names_n, struct recorded_request *items, size_t n, struct load_trace **ret,
	struct hearth_err *err)
{
	if (!items || n == 0 || names_n == 0 || names_n > SCHED_TYPES_MAX) {
		free(items);
		if (names_n > SCHED_TYPES_MAX)
			return err_set(err, -EINVAL, "%s: %zu types; there may be %d", what, names_n, SCHED_TYPES_MAX);
		return err_set(err, -EINVAL, "%s: no requests in it", what);
	}
	qsort(items, n, sizeof(*items), by_time);
	for (size_t i = n; i-- > 0; )
		items[i].at_ns -= items[0].at_ns;
	return from_items(what, names, names_n, items, n, ret, err);
}

/* Ends the recording. */
static int from_recording(struct recording *r, const char *file, struct load_trace **ret, struct hearth_err *err)
{
	const char *names[SCHED_TYPES_MAX];
	struct recorded_request *items = r->requests;
	int rc;

	for (uint32_t k = 0; k < r->types_n; k++)
		names[k] = r->types[k].name;
	r->requests = NULL;
	rc = from_items(file, names, r->types_n, items, r->n, ret, err);
	recording_free(r);
	return rc;
}

int load_trace_parse(const char *text, size_t len, const char *file, struct load_trace **ret, struct hearth_err *err)
{
	struct recording *r;
	int rc = recording_parse(text, len, file, &r, err);

	return rc < 0 ? rc : from_recording(r, file, ret, err);
}

int load_trace_load(const char *path, struct load_trace **ret, struct hearth_err *err)
{
	struct recording *r;
	int rc = recording_read(path, &r, err);

	return rc < 0 ? rc : from_recording(r, path, ret, err);
}

void load_trace_dilate(struct load_trace *t, double factor)
{
	for (size_t i = 0; i < t->n; i++) {
		t->items[i].at_ns = (uint64_t)((double)t->items[i].at_ns * factor);
		t->items[i].service_ns = (uint64_t)((double)t->items[i].service_ns * factor);
	}
	workload_dilate(t->workload, factor);
}
