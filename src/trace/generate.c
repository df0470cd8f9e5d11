/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator. Three kinds of function, as in the fitted trace: timers fire on a whole-minute grid, loops begin the next call when the last one ends,
 * bursts make many calls at once. What is a share of something is handed out exactly (largest remainder, error diffusion, stratified quantiles) rather
 * than drawn independently: the trace has few functions, so independent draws would make one seed look nothing like the next.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "fit.h"
#include "private.h"

#define FUNCTIONS_MAX 100000u
#define CALLS_MAX 10000000u
#define SPAN_MIN_NS NS_PER_S
#define SPAN_MAX_NS (30ull * 86400 * NS_PER_S)
#define LONG_TRIES 200

enum kind { TIMER, LOOP, BURST };

struct plan {                   /* one function, in order of popularity */
	enum kind kind;
	uint32_t calls;
	double mu, sigma;       /* of the logarithm of the duration in seconds */
};

struct gen {
	struct rng rng;
	double span_s;
	struct plan *plan;
	size_t n;
	struct trace *t;
};

static double draw_duration(struct gen *g, const struct plan *f)
{
	double d = FIT_DURATION_MAX_S;

	/* Nothing seen was longer (the platform ends such calls), so the tail is drawn again; a hopeless mean gives the limit itself. */
	for (int i = 0; i < 100; i++) {
		double x = exp(f->mu + f->sigma * rng_normal(&g->rng));

		if (x <= FIT_DURATION_MAX_S) {
			d = x;
			break;
		}
	}
	return d;
}

static void add_call(struct gen *g, size_t func, double start_s, double duration_s)
{
	/* Durations are whole milliseconds in the original. */
	g->t->calls[g->t->n_calls++] = (struct trace_call){
		.func = (uint32_t)func,
		.start_ns = (uint64_t)llround(fmin(fmax(start_s, 0), g->span_s) * 1e9),
		.duration_ns = (uint64_t)llround(duration_s * 1e3) * NS_PER_MS,
	};
}

struct share { double rest; size_t rank; };

static int cmp_rest_down(const void *a, const void *b)
{
	const struct share *x = a, *y = b;

	if (x->rest != y->rest)
		return x->rest > y->rest ? -1 : 1;
	return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* Calls per function: one each, and the others by Zipf-Mandelbrot weight with largest remainder, so that the sum is exact. */
static int plan_popularity(struct gen *g, uint32_t calls)
{
	struct share *share = calloc(g->n, sizeof(*share));
	double norm = 0;
	uint64_t given = 0;

	if (!share)
		return -ENOMEM;
	for (size_t i = 0; i < g->n; i++)
		norm += pow((double)i + 1 + FIT_POPULARITY_Q, -FIT_POPULARITY_S);
	for (size_t i = 0; i < g->n; i++) {
		double due = calls * pow((double)i + 1 + FIT_POPULARITY_Q, -FIT_POPULARITY_S) / norm;

		g->plan[i].calls = due < 1 ? 1 : (uint32_t)due;
		share[i] = (struct share){ due - g->plan[i].calls, i };
		given += g->plan[i].calls;
	}
	qsort(share, g->n, sizeof(*share), cmp_rest_down);
	for (size_t i = 0; given < calls; i = (i + 1) % g->n, given++)
		g->plan[share[i].rank].calls++;
	/* The ones that everybody gets may have been too many: take them from the most called. */
	while (given > calls) {
		for (size_t i = 0; i < g->n && given > calls; i++)
			if (g->plan[i].calls > 1) {
				g->plan[i].calls--;
				given--;
			}
	}
	free(share);
	return 0;
}

/* Bursts and loops are among the most called functions: hand these out in order of rank until each kind has its share of the calls. */
static void plan_kinds(struct gen *g, uint32_t calls)
{
	double left[] = { [BURST] = FIT_BURST_SHARE * calls, [LOOP] = FIT_LOOP_SHARE * calls };

	for (size_t i = 0; i < g->n; i++) {
		struct plan *f = &g->plan[i];
		enum kind first = rng_below(&g->rng, 2) ? BURST : LOOP, other = first == BURST ? LOOP : BURST;
		enum kind kind = left[first] * 2 >= f->calls ? first : other;

		f->kind = TIMER;
		if (f->calls >= 2 && left[kind] * 2 >= f->calls) {
			f->kind = kind;
			left[kind] -= f->calls;
		}
	}
}

static void shuffle(struct gen *g, size_t *v, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = rng_below(&g->rng, i), x = v[j];

		v[j] = v[i - 1];
		v[i - 1] = x;
	}
}

/*
 * Which timers are long ones: their share of the functions is fitted, and so is their (smaller) share of the calls. Of a number of random choices of the
 * right size, keep the one whose share of the calls is nearest. The first n_long of order[] are then the long ones.
 */
static void choose_long(struct gen *g, size_t *order, size_t *scratch, size_t n, size_t n_long)
{
	double all = 0, best = INFINITY;

	for (size_t i = 0; i < n; i++) {
		scratch[i] = order[i];
		all += g->plan[order[i]].calls;
	}
	for (int try = 0; try < LONG_TRIES && best > 0.005; try++) {
		double calls = 0;

		shuffle(g, scratch, n);
		for (size_t i = 0; i < n_long; i++)
			calls += g->plan[scratch[i]].calls;
		if (fabs(calls / all - FIT_LONG_CALLS) < best) {
			best = fabs(calls / all - FIT_LONG_CALLS);
			memcpy(order, scratch, n * sizeof(*order));
		}
	}
}

/*
 * Means for the functions in order[0..n) such that the calls, not the functions, follow the normal distribution: each function stands for the stretch of
 * it that its share of the calls covers.
 */
static void plan_stratified(struct gen *g, const size_t *order, size_t n, double mean, double sd)
{
	double all = 0, before = 0;

	for (size_t i = 0; i < n; i++)
		all += g->plan[order[i]].calls;
	for (size_t i = 0; i < n; i++) {
		double u = (before + rng_uniform(&g->rng) * g->plan[order[i]].calls) / all;

		g->plan[order[i]].mu = mean + sd * normal_quantile(fmin(fmax(u, 1e-9), 1 - 1e-9));
		before += g->plan[order[i]].calls;
	}
}

static int plan_durations(struct gen *g)
{
	size_t *order = calloc(2 * g->n, sizeof(*order)), n = 0, n_long;

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < g->n; i++) {
		struct plan *f = &g->plan[i];

		f->mu = f->kind == BURST ? FIT_BURST_MU : FIT_LOOP_MU;
		f->sigma = f->kind == BURST ? FIT_BURST_SD : FIT_LOOP_SD;
		if (f->kind == TIMER)
			order[n++] = i;
	}
	n_long = (size_t)lround(FIT_LONG_FUNCTIONS * (double)n);
	choose_long(g, order, order + g->n, n, n_long);
	plan_stratified(g, order + n_long, n - n_long, FIT_SHORT_MU, FIT_SHORT_SD);
	for (size_t i = 0; i < n; i++) {
		if (i < n_long)
			g->plan[order[i]].mu = FIT_LONG_MU;
		g->plan[order[i]].sigma = i < n_long ? FIT_LONG_SD : FIT_SHORT_SPREAD_SD;
	}
	free(order);
	return 0;
}

/* A timer: the longest whole-minute period that fits its calls into the span, on the grid, each a little late. */
static void emit_timer(struct gen *g, size_t i)
{
	static const int periods[] = FIT_PERIODS_S;
	const struct plan *f = &g->plan[i];
	double period = f->calls > 1 ? g->span_s / (f->calls - 1) : g->span_s, phase = 0, room;

	for (size_t k = sizeof(periods) / sizeof(periods[0]); k-- > 0;)
		if ((f->calls - 1.0) * periods[k] <= g->span_s) {
			period = periods[k];
			break;
		}
	room = g->span_s - (f->calls - 1.0) * period;
	if (rng_uniform(&g->rng) >= FIT_PHASE_ZERO && room >= 60)
		phase = 60.0 * (double)(1 + rng_below(&g->rng, (uint64_t)(room / 60)));
	for (uint32_t c = 0; c < f->calls; c++) {
		bool slow = rng_uniform(&g->rng) < FIT_SLOW_SHARE;
		double late = exp((slow ? FIT_SLOW_MU : FIT_LATE_MU) + (slow ? FIT_SLOW_SD : FIT_LATE_SD) * rng_normal(&g->rng));

		add_call(g, i, phase + c * period + fmin(late, 5), draw_duration(g, f));
	}
}

/* A loop: the next call begins as the one before ends. One too long for the span runs faster; a short one runs somewhere within it. */
static void emit_loop(struct gen *g, size_t i)
{
	const struct plan *f = &g->plan[i];
	struct trace *t = g->t;
	size_t first = t->n_calls;
	double at = 0, scale, from;

	for (uint32_t c = 0; c < f->calls; c++) {
		double d = draw_duration(g, f);

		add_call(g, i, 0, d);
		at += c + 1 < f->calls ? d : 0;
	}
	scale = at > g->span_s ? g->span_s / at : 1;
	from = (g->span_s - at * scale) * rng_uniform(&g->rng);
	for (size_t c = first; c < t->n_calls; c++) {
		t->calls[c].start_ns = (uint64_t)llround(from * 1e9);
		t->calls[c].duration_ns = (uint64_t)((double)t->calls[c].duration_ns * scale);
		from = fmin(from + (double)t->calls[c].duration_ns / 1e9, g->span_s);
	}
}

/* A burst: batches of calls within milliseconds, one batch somewhere in each equal part of the span. */
static void emit_burst(struct gen *g, size_t i)
{
	const struct plan *f = &g->plan[i];
	uint32_t batches = (f->calls + FIT_BURST_SIZE / 2) / FIT_BURST_SIZE, done = 0;

	if (batches == 0)
		batches = 1;
	for (uint32_t b = 0; b < batches; b++) {
		uint32_t until = (uint32_t)((uint64_t)f->calls * (b + 1) / batches);
		double at = g->span_s * (b + rng_uniform(&g->rng)) / batches;

		for (; done < until; done++) {
			add_call(g, i, at, draw_duration(g, f));
			at += -FIT_BURST_GAP_S * log(1 - rng_uniform(&g->rng));
		}
	}
}

static int name_functions(struct gen *g)
{
	size_t apps = (size_t)fmax(1, round((double)g->n * FIT_APPS / FIT_FUNCTIONS));

	for (size_t i = 0; i < g->n; i++) {
		struct trace_func *f = &g->t->funcs[i];

		if (asprintf(&f->app, TRACE_GENERATED_PREFIX "app-%zu", i % apps + 1) < 0)
			f->app = NULL;
		if (asprintf(&f->name, TRACE_GENERATED_PREFIX "func-%zu", i + 1) < 0)
			f->name = NULL;
		if (!f->app || !f->name)
			return -ENOMEM;
	}
	return 0;
}

static int check_spec(const struct trace_spec *s, struct hearth_err *err)
{
	if (s->functions < 1 || s->functions > FUNCTIONS_MAX)
		return err_set(err, -EINVAL, "functions must be 1..%u, not %u", FUNCTIONS_MAX, s->functions);
	if (s->calls < s->functions || s->calls > CALLS_MAX)
		return err_set(err, -EINVAL, "invocations must be %u (one a function)..%u, not %u", s->functions, CALLS_MAX, s->calls);
	if (s->span_ns < SPAN_MIN_NS || s->span_ns > SPAN_MAX_NS)
		return err_set(err, -EINVAL, "the span must be 1 s..30 days, not %.3f s", (double)s->span_ns / NS_PER_S);
	return 0;
}

static int generate(struct gen *g, const struct trace_spec *spec)
{
	static void (*const emit[])(struct gen *, size_t) = { [TIMER] = emit_timer, [LOOP] = emit_loop, [BURST] = emit_burst };
	struct trace *t = g->t;
	int rc;

	t->funcs = calloc(g->n, sizeof(*t->funcs));
	t->calls = calloc(spec->calls, sizeof(*t->calls));
	g->plan = calloc(g->n, sizeof(*g->plan));
	if (!t->funcs || !t->calls || !g->plan)
		return -ENOMEM;
	t->n_funcs = g->n;
	rc = name_functions(g);
	if (rc == 0)
		rc = plan_popularity(g, spec->calls);
	if (rc < 0)
		return rc;
	plan_kinds(g, spec->calls);
	rc = plan_durations(g);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < g->n; i++)
		emit[g->plan[i].kind](g, i);
	trace_finish(t);
	return 0;
}

int trace_generate(const struct trace_spec *spec, struct trace **ret, struct hearth_err *err)
{
	struct gen g = { .span_s = (double)spec->span_ns / 1e9, .n = spec->functions };
	int rc = check_spec(spec, err);

	if (rc < 0)
		return rc;
	rng_seed(&g.rng, spec->seed);
	g.t = calloc(1, sizeof(*g.t));
	rc = g.t ? generate(&g, spec) : -ENOMEM;
	if (rc < 0) {
		trace_free(g.t);
		err_set(err, rc, "no memory for a trace of %u invocations", spec->calls);
	} else {
		*ret = g.t;
	}
	free(g.plan);
	return rc;
}

struct trace_spec trace_spec_fitted(uint64_t seed)
{
	return (struct trace_spec){ seed, FIT_FUNCTIONS, FIT_INVOCATIONS, (uint64_t)(FIT_SPAN_S * 1e9) };
}
