/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the trace does not say of a function is assumed here, and said in hearth-sim-mem(1): how its memory divides into segments, what of them requests touch, and when within a
 * minute calls come.
 *
 * memory:   idle is the 5th percentile of what was allocated, busy the 95th; the difference, at most half, is the execution segment, which is there while a request runs.
 *           Of the idle memory the runtime segment is what the model says, the rest is the init segment.
 * touched:  runtime_hot and init_hot of the two are touched by every request. Besides, each request touches 1 - overlap of as much memory again, which is chosen anew each time.
 * run time: drawn between the percentiles, linear in the logarithm: nearer to the means that the trace states than linear in time is.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "model.h"

#define RUNTIME_SHARE_MAX 0.4

const double memsim_run_quantiles[MEMSIM_RUN_QUANTILES] = { 0, 0.01, 0.25, 0.5, 0.75, 0.99, 1 };
const char *const memsim_arrivals_names[MEMSIM_ARRIVALS + 1] = { "poisson", "even", "burst", NULL };

void memsim_model_default(struct memsim_model *ret)
{
	*ret = (struct memsim_model){ .arrivals = MEMSIM_POISSON, .minute_ns = 60 * NS_PER_S, .runtime_bytes = 48ull << 20, .runtime_hot = 0.05, .init_hot = -1, .overlap = 0.927 };
}

/*
 * Of the eleven benchmark functions (FaaSMem, ASPLOS'24) eight leave their init segment alone: 3% of it was touched in three requests of the one that we measured. A web server, a
 * model and a graph use theirs: how much of it is assumed.
 */
static double draw_init_hot(struct rng *rng)
{
	static const double of[11] = { 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.03, 0.3, 0.6, 0.9 };

	return of[rng_below(rng, 11)];
}

static void function_init(struct function *f, const struct memsim_function *t, const struct memsim_model *m, uint64_t seed)
{
	double idle = (double)t->idle_bytes, busy = (double)t->busy_bytes, runtime, init, init_hot, hot;

	rng_seed(&f->rng, seed);
	f->phase = rng_uniform(&f->rng);
	init_hot = draw_init_hot(&f->rng);
	init_hot = m->init_hot < 0 ? init_hot : m->init_hot;
	runtime = fmin((double)m->runtime_bytes, RUNTIME_SHARE_MAX * idle);
	init = idle - runtime;
	f->exec_bytes = fmin(busy - idle, busy / 2);
	f->part_bytes[RUNTIME_HOT] = m->runtime_hot * runtime;
	f->part_bytes[RUNTIME_COLD] = runtime - f->part_bytes[RUNTIME_HOT];
	f->part_bytes[INIT_HOT] = init_hot * init;
	hot = f->part_bytes[RUNTIME_HOT] + f->part_bytes[INIT_HOT];
	f->part_bytes[VARY] = fmin(hot, init - f->part_bytes[INIT_HOT]);
	f->part_bytes[INIT_COLD] = init - f->part_bytes[INIT_HOT] - f->part_bytes[VARY];
	f->all_bytes = idle;
	for (size_t q = 0; q < MEMSIM_RUN_QUANTILES; q++)
		f->run_log_ms[q] = log(fmax(t->run_ms[q], 0.5));
}

int functions_new(const struct memsim_trace *t, const struct memsim_model *m, uint64_t seed, struct function **ret)
{
	struct function *f = calloc(t->functions_n, sizeof(*f));

	if (!f)
		return -ENOMEM;
	for (size_t i = 0; i < t->functions_n; i++)
		function_init(&f[i], &t->functions[i], m, seed * 1000003 + i);
	*ret = f;
	return 0;
}

static uint64_t draw_run_ns(struct function *f)
{
	double u = rng_uniform(&f->rng), from, to;
	size_t q = 1;

	while (q < MEMSIM_RUN_QUANTILES - 1 && u > memsim_run_quantiles[q])
		q++;
	from = memsim_run_quantiles[q - 1];
	to = memsim_run_quantiles[q];
	return (uint64_t)(exp(f->run_log_ms[q - 1] + (f->run_log_ms[q] - f->run_log_ms[q - 1]) * (u - from) / (to - from)) * 1e6);
}

static double draw_offset(struct function *f, enum memsim_arrivals how, uint32_t k, uint32_t n)
{
	switch (how) {
	case MEMSIM_EVEN: return (k + f->phase) / n;
	case MEMSIM_BURST: return f->phase;
	default: return rng_uniform(&f->rng);
	}
}

static int compare_calls(const void *pa, const void *pb)
{
	const struct call *a = pa, *b = pb;

	if (a->at_ns != b->at_ns)
		return a->at_ns < b->at_ns ? -1 : 1;
	return (a->function > b->function) - (a->function < b->function);
}

int calls_fill(struct calls *c, const struct memsim_trace *t, const struct memsim_model *m, struct function *functions, size_t minute)
{
	c->n = 0;
	for (size_t i = 0; i < t->functions_n; i++) {
		uint32_t n = t->calls[i * t->minutes + minute];

		if (array_grow((void **)&c->call, &c->cap, c->n + n, sizeof(*c->call)) < 0)
			return -ENOMEM;
		for (uint32_t k = 0; k < n; k++) {
			double offset = draw_offset(&functions[i], m->arrivals, k, n);

			c->call[c->n++] = (struct call){ minute * m->minute_ns + (uint64_t)(offset * (double)m->minute_ns), draw_run_ns(&functions[i]), (uint32_t)i };
		}
	}
	if (c->n > 0)
		qsort(c->call, c->n, sizeof(*c->call), compare_calls);
	return 0;
}
