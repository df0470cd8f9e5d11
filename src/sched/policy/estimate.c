/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "private.h"

void estimates_init(struct sched *s)
{
	memset(&s->est, 0, sizeof(s->est));
	for (uint32_t t = 0; t < s->types_n; t++)
		s->est.of[t].mean_ns = (double)s->cfg.types[t].mean_ns;
	for (uint32_t t = 0; t < s->types_n; t++)
		s->est.of[t].m2 = s->est.of[t].mean_ns * s->est.of[t].mean_ns;
}

static void begin_window(struct sched *s, uint64_t now_ns)
{
	struct estimates *e = &s->est;
	uint32_t full = ESTIMATE_WINDOW_PER_WORKER * s->workers_n;

	e->begin_ns = now_ns;
	e->end_ns = now_ns + ESTIMATE_WINDOW_NS;
	e->n = 0;
	e->limit = e->closed < 16 && ESTIMATE_FIRST << e->closed < full ? ESTIMATE_FIRST << e->closed : full;
}

void estimates_begin(struct sched *s, uint64_t now_ns)
{
	begin_window(s, now_ns);
	for (uint32_t t = 0; t <= s->types_n; t++) {
		struct estimate *e = &s->est.of[t];

		e->arrived = e->n = e->sum_ns = 0;
		e->sum2 = e->err2 = 0;
	}
}

/* one type's completions of a window; @weight: of the window among those remembered */
static void learn_service(struct estimate *e, double weight)
{
	double n = (double)e->n, mean = (double)e->sum_ns / n, m2 = e->sum2 / n, a;

	if (mean < 1)
		mean = 1;
	if (e->samples == 0) {
		/* a configured mean counts as a few requests */
		a = e->mean_ns > 0 ? n / (n + 8) : 1;
		e->pe = e->mean_ns > 0 ? e->err2 / n : fmax(0, m2 - mean * mean);
	} else {
		/* few requests in a window say little; many that were remembered for long make a new one say less */
		a = fmin(1, fmax(weight * n / (n + 5) * 1.2, n / (n + e->samples) * (e->samples < 64)));
		e->pe += a * (e->err2 / n - e->pe);
	}
	e->mean_ns += a * (mean - e->mean_ns);
	e->m2 += a * (m2 - e->m2);
	e->samples += n - weight * e->samples;
}

void estimates_close(struct sched *s, uint64_t now_ns)
{
	struct estimates *e = &s->est;
	double span = (double)(now_ns - e->begin_ns), full = ESTIMATE_WINDOW_PER_WORKER * s->workers_n, weight;

	if (span < 1)
		span = 1;
	weight = fmin(1.0 / ESTIMATE_MEMORY, fmax(e->n / full / ESTIMATE_MEMORY, span / ESTIMATE_MEMORY_NS));
	if (e->closed == 0)
		weight = 1;
	else        /* no window weighs less than those before it together do by their number of requests: quick at the start */
		weight = fmax(weight, fmin(.5, e->n / (e->n + e->arrivals)));
	for (uint32_t t = 0; t <= s->types_n; t++) {
		struct estimate *x = &e->of[t];

		x->rate += weight * ((double)x->arrived / span - x->rate);
		if (x->n > 0)
			learn_service(x, weight);
		x->arrived = x->n = x->sum_ns = 0;
		x->sum2 = x->err2 = 0;
	}
	e->arrivals += e->n - weight * e->arrivals;
	e->closed++;
	begin_window(s, now_ns);
	if (s->ops->learnt != NULL)
		s->ops->learnt(s, now_ns);
}
