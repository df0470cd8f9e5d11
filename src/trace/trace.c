/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "private.h"

static int cmp_call(const void *a, const void *b)
{
	const struct trace_call *x = a, *y = b;

	if (x->start_ns != y->start_ns)
		return x->start_ns < y->start_ns ? -1 : 1;
	if (x->duration_ns != y->duration_ns)
		return x->duration_ns < y->duration_ns ? -1 : 1;
	return x->func < y->func ? -1 : x->func > y->func;
}

void trace_finish(struct trace *t)
{
	uint64_t origin;

	qsort(t->calls, t->n_calls, sizeof(*t->calls), cmp_call);
	origin = t->calls[0].start_ns;
	t->end_ns = 0;
	for (size_t i = 0; i < t->n_funcs; i++) {
		t->funcs[i].calls = 0;
		t->funcs[i].total_ns = 0;
	}
	for (size_t i = 0; i < t->n_calls; i++) {
		struct trace_call *c = &t->calls[i];

		c->start_ns -= origin;
		t->funcs[c->func].calls++;
		t->funcs[c->func].total_ns += c->duration_ns;
		if (c->start_ns + c->duration_ns > t->end_ns)
			t->end_ns = c->start_ns + c->duration_ns;
	}
}

struct trace *trace_free(struct trace *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < t->n_funcs; i++) {
		free(t->funcs[i].app);
		free(t->funcs[i].name);
	}
	free(t->funcs);
	free(t->calls);
	free(t);
	return NULL;
}

uint64_t trace_span_ns(const struct trace *t)
{
	return t->calls[t->n_calls - 1].start_ns;
}

bool trace_is_generated(const struct trace *t)
{
	for (size_t i = 0; i < t->n_funcs; i++)
		if (strncmp(t->funcs[i].name, TRACE_GENERATED_PREFIX, strlen(TRACE_GENERATED_PREFIX)) != 0)
			return false;
	return true;
}

/* A time as the two numbers of "%PRIu64.%09PRIu64". */
#define S_AND_NS(ns) ((ns) / (uint64_t)NS_PER_S), ((ns) % (uint64_t)NS_PER_S)

int trace_format(const struct trace *t, struct buf *out)
{
	int rc = buf_printf(out, "%s\n", TRACE_HEADER);

	for (size_t i = 0; rc == 0 && i < t->n_calls; i++) {
		const struct trace_call *c = &t->calls[i];
		const struct trace_func *f = &t->funcs[c->func];
		uint64_t end_ns = c->start_ns + c->duration_ns;

		rc = buf_printf(out, "%s,%s,%" PRIu64 ".%09" PRIu64 ",%" PRIu64 ".%09" PRIu64 "\n", f->app, f->name, S_AND_NS(end_ns),
				S_AND_NS(c->duration_ns));
	}
	return rc;
}

static int cmp_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double trace_quantile(const double *sorted, size_t n, double q)
{
	double x;
	size_t i;

	if (n == 0)
		return 0;
	x = q * (double)(n - 1);
	i = (size_t)x;
	if (i + 1 >= n)
		return sorted[n - 1];
	return sorted[i] + (x - (double)i) * (sorted[i + 1] - sorted[i]);
}

int trace_durations_s(const struct trace *t, double **ret)
{
	double *v = malloc(t->n_calls * sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_calls; i++)
		v[i] = (double)t->calls[i].duration_ns / NS_PER_S;
	qsort(v, t->n_calls, sizeof(*v), cmp_double);
	*ret = v;
	return 0;
}

int trace_gaps_s(const struct trace *t, double **ret)
{
	double *v;

	if (t->n_calls < 2) {
		*ret = NULL;
		return 0;
	}
	v = malloc((t->n_calls - 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 1; i < t->n_calls; i++)
		v[i - 1] = (double)(t->calls[i].start_ns - t->calls[i - 1].start_ns) / NS_PER_S;
	qsort(v, t->n_calls - 1, sizeof(*v), cmp_double);
	*ret = v;
	return 0;
}

static int cmp_calls_down(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x > y ? -1 : x < y;
}

int trace_top_share(const struct trace *t, const unsigned *tops, size_t n, double *ret_share)
{
	uint32_t *counts = malloc(t->n_funcs * sizeof(*counts));

	if (!counts)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_funcs; i++)
		counts[i] = t->funcs[i].calls;
	qsort(counts, t->n_funcs, sizeof(*counts), cmp_calls_down);
	for (size_t k = 0; k < n; k++) {
		uint64_t sum = 0;

		for (size_t i = 0; i < t->n_funcs && i < tops[k]; i++)
			sum += counts[i];
		ret_share[k] = (double)sum / (double)t->n_calls;
	}
	free(counts);
	return 0;
}
