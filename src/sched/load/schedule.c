/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "schedule.h"

#define LENGTH_MAX_NS (7 * 86400 * NS_PER_S)

double schedule_rate_hz(const struct load_config *cfg, uint32_t phase)
{
	const struct workload_phase *p = &cfg->workload->phases[phase];

	return p->rate_hz > 0 ? p->rate_hz : p->scale * cfg->rate_hz;
}

uint64_t schedule_phase_start_ns(const struct load_config *cfg, uint32_t phase)
{
	uint64_t at_ns = 0;

	if (cfg->trace)
		return phase == 0 ? 0 : cfg->trace->items[cfg->trace->n - 1].at_ns + 1;
	for (uint32_t i = 0; i < phase; i++) {
		const struct workload_phase *p = &cfg->workload->phases[i];

		at_ns += p->duration_ns ? p->duration_ns : cfg->duration_ns;
	}
	return at_ns;
}

uint64_t schedule_length_ns(const struct load_config *cfg)
{
	return schedule_phase_start_ns(cfg, cfg->workload->phases_n);
}

int schedule_check(const struct load_config *cfg, struct hearth_err *err)
{
	const struct workload *w = cfg->workload;

	if (cfg->trace)
		return 0;
	for (uint32_t i = 0; i < w->phases_n; i++) {
		double rate_hz = schedule_rate_hz(cfg, i);

		if (!(rate_hz > 0))
			return err_set(err, -EINVAL, "no rate: say how many requests a second");
		if (rate_hz > 1e8)
			return err_set(err, -EINVAL, "%g requests a second cannot be sent; 1e8 at most", rate_hz);
		if (w->phases[i].duration_ns == 0 && cfg->duration_ns == 0)
			return err_set(err, -EINVAL, "no duration: say how long to go on");
	}
	if (schedule_length_ns(cfg) > LENGTH_MAX_NS)
		return err_set(err, -EINVAL, "the run would last %.3g hours; 7 days at most", (double)schedule_length_ns(cfg) / 3.6e12);
	return 0;
}

int schedule_init(struct schedule *s, const struct load_config *cfg, unsigned lane)
{
	*s = (struct schedule){ .cfg = cfg, .lane = lane, .next_item = lane };
	sched_random_seed(&s->random, cfg->seed * 0x9e3779b97f4a7c15ull + lane);
	s->bound = calloc(cfg->workload->types_n, sizeof(*s->bound));
	return s->bound ? 0 : -ENOMEM;
}

void schedule_done(struct schedule *s)
{
	free(s->bound);
	s->bound = NULL;
}

static void phase_begin(struct schedule *s)
{
	const struct load_config *cfg = s->cfg;
	const struct workload_phase *p = &cfg->workload->phases[s->phase];
	double sum = 0;

	s->phase_begun = true;
	s->phase_start_ns = (double)schedule_phase_start_ns(cfg, s->phase);
	s->phase_end_ns = (double)schedule_phase_start_ns(cfg, s->phase + 1);
	s->gap_ns = 1e9 * cfg->threads / schedule_rate_hz(cfg, s->phase);
	/* Uniform: lanes take turns. Poisson: memoryless, so it may begin anew. */
	s->at_ns = s->phase_start_ns;
	if (cfg->arrivals == LOAD_UNIFORM)
		s->at_ns += s->gap_ns * ((s->lane + 0.5) / cfg->threads - 1);
	for (uint32_t t = 0; t < cfg->workload->types_n; t++)
		s->bound[t] = sum += p->ratio[t];
}

static uint32_t draw_type(struct schedule *s)
{
	double u = sched_random_uniform(&s->random);
	uint32_t t = 0, last = s->cfg->workload->types_n - 1;
	const double *ratio = s->cfg->workload->phases[s->phase].ratio;

	while (t < last && u >= s->bound[t])
		t++;
	while (ratio[t] == 0 && t > 0)          /* the sum is 1 but for rounding */
		t--;
	return t;
}

static bool next_of_trace(struct schedule *s, struct arrival *ret)
{
	const struct load_trace *t = s->cfg->trace;
	const struct recorded_request *item;

	if (s->next_item >= t->n)
		return false;
	item = &t->items[s->next_item];
	s->next_item += s->cfg->threads;
	*ret = (struct arrival){ item->at_ns, item->service_ns, item->type, 0 };
	return true;
}

bool schedule_next(struct schedule *s, struct arrival *ret)
{
	const struct workload *w = s->cfg->workload;

	if (s->cfg->trace)
		return next_of_trace(s, ret);
	for (; s->phase < w->phases_n; s->phase++, s->phase_begun = false) {
		if (!s->phase_begun)
			phase_begin(s);
		s->at_ns += s->cfg->arrivals == LOAD_UNIFORM ? s->gap_ns : s->gap_ns * sched_random_exp(&s->random);
		if (s->at_ns < s->phase_end_ns) {
			ret->due_ns = (uint64_t)s->at_ns;
			ret->phase = s->phase;
			ret->type = draw_type(s);
			ret->service_ns = (uint64_t)(workload_draw_ns(&w->types[ret->type], w->phases[s->phase].mean_ns[ret->type], &s->random) + 0.5);
			return true;
		}
	}
	return false;
}
