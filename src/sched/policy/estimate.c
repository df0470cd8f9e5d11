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

void estimates_begin(struct sched *s, uint64_t now_ns)
{
	struct estimates *e = &s->est;
	uint64_t full = (uint64_t)ESTIMATE_WINDOW_PER_WORKER * s->workers_n, n = full;

	if (e->closed < 16 && (uint64_t)ESTIMATE_FIRST << e->closed < full)
		n = (uint64_t)ESTIMATE_FIRST << e->closed;
	e->begin_ns = now_ns;
	e->begin = s->completed;
	s->look_at_ns = now_ns + ESTIMATE_WINDOW_NS;
	s->look_at_estimates = s->completed + n;
	sched_look_again(s);
	for (uint32_t t = 0; t <= s->types_n; t++) {
		struct type *y = &s->types[t];

		e->of[t].arrived = y->arrived;
		e->of[t].completed = y->completed;
		e->of[t].sum_ns = y->sum_ns;
		y->sum2 = 0;
	}
}

/* a type's completions of a window; @weight: of the window among those remembered */
static void learn_service(struct estimate *e, const struct type *y, double weight)
{
	double n = (double)(y->completed - e->completed), mean = (double)(y->sum_ns - e->sum_ns) / n, m2 = y->sum2 / n, error2, a;

	if (mean < 1)
		mean = m2 = 1;
	/* of the prediction, not of the window's own mean */
	error2 = fmax(0, m2 - 2 * mean * e->mean_ns + e->mean_ns * e->mean_ns);
	if (e->samples == 0) {
		/* a configured mean counts as a few requests */
		a = e->mean_ns > 0 ? n / (n + 8) : 1;
		e->pe = e->mean_ns > 0 ? error2 : fmax(0, m2 - mean * mean);
	} else {
		/* few requests in a window say little, unless few are remembered */
		a = fmin(1, fmax(weight * n / (n + 5) * 1.2, e->samples < 64 ? n / (n + e->samples) : 0));
		e->pe += a * (error2 - e->pe);
	}
	e->mean_ns += a * (mean - e->mean_ns);
	e->m2 += a * (m2 - e->m2);
	e->samples += n - weight * e->samples;
}

void estimates_close(struct sched *s, uint64_t now_ns)
{
	struct estimates *e = &s->est;
	double span = (double)(now_ns - e->begin_ns), full = ESTIMATE_WINDOW_PER_WORKER * s->workers_n, n = (double)(s->completed - e->begin), weight;

	span = fmax(span, 1);
	weight = fmin(1.0 / ESTIMATE_MEMORY, fmax(n / full / ESTIMATE_MEMORY, span / ESTIMATE_MEMORY_NS));
	/* at the start, as much as those before it together by their number of requests: quick */
	weight = e->closed == 0 ? 1 : fmax(weight, fmin(.5, n / (n + e->arrivals)));
	for (uint32_t t = 0; t <= s->types_n; t++) {
		struct estimate *x = &e->of[t];

		x->rate += weight * ((double)(s->types[t].arrived - x->arrived) / span - x->rate);
		if (s->types[t].completed > x->completed)
			learn_service(x, &s->types[t], weight);
	}
	e->arrivals += n - weight * e->arrivals;
	e->closed++;
	estimates_begin(s, now_ns);
	if (s->ops->learnt != NULL)
		s->ops->learnt(s, now_ns);
}
