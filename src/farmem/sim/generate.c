/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A synthetic day. Quantities are drawn by their quantiles in fit.h; how often functions are called is stratified, as a few functions make most of the calls. What depends on what is
 * kept where it matters (minutes with calls on the number of calls) and dropped elsewhere (run time and memory on calls: their correlation is 0.05).
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "farmem/sim.h"
#include "fit.h"

#define FUNCTIONS_MAX 100000
#define RUN_MS_MAX 8500000.0            /* the longest in the sample */
#define MIB 1048576.0

static double at_quantile(const double table[FIT_POINTS], double u)
{
	size_t q = 1;

	while (q < FIT_POINTS - 1 && u > fit_q[q])
		q++;
	return exp(log(table[q - 1]) + (log(table[q]) - log(table[q - 1])) * (u - fit_q[q - 1]) / (fit_q[q] - fit_q[q - 1]));
}

static double active_share(double calls, double u)
{
	size_t c = 0;

	while (calls >= fit_active_below[c])
		c++;
	return at_quantile(fit_active[c], u);
}

/* Marks @active of the minutes with a 1: equally far apart, or anywhere. */
static void mark_minutes(struct rng *r, uint32_t *calls, size_t minutes, size_t active)
{
	size_t first = 0, left = active;

	if (rng_uniform(r) < FIT_PERIODIC) {
		first = rng_below(r, minutes / active);
		for (size_t k = 0; k < active; k++)
			calls[first + k * (minutes / active)] = 1;
		return;
	}
	for (size_t m = 0; left > 0; m++)
		if (rng_below(r, minutes - m) < left) {
			calls[m] = 1;
			left--;
		}
}

/* The calls beyond one in each marked minute: an even part, and one in exponentially distributed shares. */
static void spread_calls(struct rng *r, uint32_t *calls, size_t minutes, size_t active, double rest)
{
	double each = rest / (double)active, uneven = fmin(at_quantile(fit_cv, rng_uniform(r)), 1), carry = 0;

	for (size_t m = 0; m < minutes; m++) {
		double v;

		if (calls[m] == 0)
			continue;
		v = carry + each * (1 - uneven + uneven * rng_exp(r));
		calls[m] += (uint32_t)v;
		carry = v - floor(v);
	}
}

static void draw_calls(struct rng *r, uint32_t *calls, size_t minutes, double u)
{
	double n = fmax(1, round(at_quantile(fit_calls, u) * (double)minutes / FIT_MINUTES)), most = fmin(n, (double)minutes);
	size_t active = (size_t)fmax(1, floor(most * active_share(n, rng_uniform(r))));

	mark_minutes(r, calls, minutes, active);
	spread_calls(r, calls, minutes, active, n - (double)active);
}

static void draw_function(struct rng *r, struct memsim_function *f)
{
	double run = at_quantile(fit_run_p50, rng_uniform(r)), low = rng_uniform(r), high = rng_uniform(r), mem = at_quantile(fit_mem_p50, rng_uniform(r)) * MIB;
	const double of[MEMSIM_RUN_QUANTILES] = { at_quantile(fit_run_p0, low), at_quantile(fit_run_p0, low), at_quantile(fit_run_p25, low), 1, at_quantile(fit_run_p75, high),
		at_quantile(fit_run_p99, high), at_quantile(fit_run_p100, high) };

	for (size_t q = 0; q < MEMSIM_RUN_QUANTILES; q++)
		f->run_ms[q] = fmax(1, fmin(run * of[q], RUN_MS_MAX));
	f->idle_bytes = (uint64_t)(mem * at_quantile(fit_mem_p5, rng_uniform(r)));
	f->typical_bytes = (uint64_t)mem;
	f->busy_bytes = (uint64_t)(mem * at_quantile(fit_mem_p95, rng_uniform(r)));
}

int memsim_trace_generate(uint64_t seed, size_t functions, size_t minutes, struct memsim_trace **ret, struct hearth_err *err)
{
	struct memsim_trace *t;
	struct rng rng;

	if (functions < 1 || functions > FUNCTIONS_MAX || minutes < 1 || minutes > MEMSIM_MINUTES_MAX)
		return err_set(err, -EINVAL, "%zu functions, %zu minutes: there must be 1 to %d and 1 to %d", functions, minutes, FUNCTIONS_MAX, MEMSIM_MINUTES_MAX);
	t = calloc(1, sizeof(*t));
	if (t) {
		t->functions = calloc(functions, sizeof(*t->functions));
		t->calls = calloc(functions * minutes, sizeof(*t->calls));
	}
	if (!t || !t->functions || !t->calls) {
		memsim_trace_free(t);
		return err_set(err, -ENOMEM, "no memory for a trace of %zu functions and %zu minutes", functions, minutes);
	}
	t->functions_n = functions;
	t->minutes = minutes;
	t->synthetic = true;
	rng_seed(&rng, seed);
	for (size_t i = 0; i < functions; i++) {
		draw_calls(&rng, &t->calls[i * minutes], minutes, ((double)i + rng_uniform(&rng)) / (double)functions);
		draw_function(&rng, &t->functions[i]);
		for (size_t m = 0; m < minutes; m++)
			t->calls_n += t->calls[i * minutes + m];
	}
	*ret = t;
	return 0;
}
