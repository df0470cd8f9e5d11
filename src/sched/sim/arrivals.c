/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>

#include "arrivals.h"

#define NEVER 1e300

/* ---- types by their shares ---- */

/* Walker's alias method in 32-bit fixed point: column i holds type i below share[i] and type alias[i] above. */
static void alias_build(struct arrivals *a, const double *ratio, uint32_t n)
{
	double rest[SCHED_TYPES_MAX];
	uint32_t small[SCHED_TYPES_MAX] = { 0 }, large[SCHED_TYPES_MAX] = { 0 }, smalls = 0, larges = 0;

	for (uint32_t i = 0; i < n; i++) {
		rest[i] = ratio[i] * n;
		a->share[i] = UINT32_MAX;
		a->alias[i] = i;
		if (rest[i] < 1)
			small[smalls++] = i;
		else
			large[larges++] = i;
	}
	while (smalls > 0 && larges > 0) {
		uint32_t s = small[--smalls], l = large[larges - 1];

		a->share[s] = (uint32_t)(rest[s] * 0x1p32);
		a->alias[s] = l;
		rest[l] -= 1 - rest[s];
		if (rest[l] < 1) {
			larges--;
			small[smalls++] = l;
		}
	}
	/* what is left has a whole column but for rounding; a share of 0 must stay one */
	while (smalls > 0) {
		uint32_t s = small[--smalls];

		if (ratio[s] == 0)
			a->share[s] = 0;
	}
}

static uint32_t alias_draw(const struct arrivals *a, uint64_t random)
{
	uint32_t column = (uint32_t)((random >> 32) * a->w->types_n >> 32);

	return (uint32_t)random < a->share[column] ? column : a->alias[column];
}

/* ---- service times ---- */

static struct draw draw_of(const struct workload_type *t, double mean_ns, double scv)
{
	struct draw d = { .kind = DRAW_FIXED, .mean_ns = mean_ns, .fixed_ns = (uint64_t)llround(mean_ns) };
	double s2;

	if (scv < 0 && (t->samples || t->high_ratio > 0)) {
		d.kind = DRAW_OTHER;
		return d;
	}
	scv = scv < 0 ? t->scv : scv;
	if (scv == 1) {
		d.kind = DRAW_EXP;
	} else if (scv > 0) {
		s2 = log1p(scv);
		d.kind = DRAW_LOGNORMAL;
		d.sigma = sqrt(s2);
		d.mu = log(mean_ns) - s2 / 2;
	}
	return d;
}

static uint64_t draw_service(struct arrivals *a, uint32_t type)
{
	const struct draw *d = &a->draws[type];
	double x;

	switch (d->kind) {
	case DRAW_FIXED:
		return d->fixed_ns;
	case DRAW_EXP:
		x = d->mean_ns * rng_exp(&a->services);
		break;
	case DRAW_LOGNORMAL:
		x = exp(d->mu + d->sigma * rng_normal(&a->services));
		break;
	default: {
		struct sched_random r = { a->services };

		x = workload_draw_ns(&a->w->types[type], d->mean_ns, &r);
		a->services = r.rng;
	}
	}
	x = x < 1 ? 1 : x + 0.5;
	return x < (double)REQUEST_SERVICE_MAX ? (uint64_t)x : REQUEST_SERVICE_MAX;
}

/* ---- phases ---- */

/* Return: false when there is none with this number */
static bool enter_phase(struct arrivals *a, uint32_t phase)
{
	const struct workload_phase *p;
	double rate_hz;

	if (phase >= a->w->phases_n)
		return false;
	p = &a->w->phases[phase];
	a->phase = phase;
	if (p->rate_hz > 0)
		rate_hz = p->rate_hz;
	else if (a->cfg->rate_hz > 0)
		rate_hz = a->cfg->rate_hz * p->scale;
	else
		rate_hz = a->cfg->load * a->cfg->workers * 1e9 / workload_mean_ns(a->w, phase) * p->scale;
	a->gap_ns = rate_hz > 0 ? 1e9 / rate_hz : NEVER;
	a->end_ns = p->duration_ns > 0 ? a->end_ns + (double)p->duration_ns : NEVER;
	alias_build(a, p->ratio, a->w->types_n);
	for (uint32_t t = 0; t < a->w->types_n; t++)
		a->draws[t] = draw_of(&a->w->types[t], p->mean_ns[t], a->cfg->scv);
	return true;
}

static int trace_init(struct arrivals *a, struct hearth_err *err)
{
	const struct sim_trace *t = a->cfg->trace;
	double span_ns = (double)t->requests[t->n - 1].at_ns, recorded_hz, wanted_hz;

	a->trace_scale = 1;
	if (a->cfg->load == 0 && a->cfg->rate_hz == 0)
		return 0;
	if (span_ns == 0)
		return err_set(err, -EINVAL, "all requests of the trace come at one moment: it has no rate that could be changed");
	recorded_hz = (double)(t->n - 1) / span_ns * 1e9;
	wanted_hz = a->cfg->rate_hz > 0 ? a->cfg->rate_hz : a->cfg->load * a->cfg->workers * 1e9 / workload_mean_ns(t->workload, 0);
	a->trace_scale = recorded_hz / wanted_hz;
	return 0;
}

int arrivals_init(struct arrivals *a, const struct sim_config *cfg, struct hearth_err *err)
{
	bool own_rates = true;

	*a = (struct arrivals){ .cfg = cfg, .w = cfg->trace ? cfg->trace->workload : cfg->workload };
	rng_seed(&a->gaps, cfg->seed);
	rng_seed(&a->kinds, ~cfg->seed);
	rng_seed(&a->services, cfg->seed ^ 0x5555555555555555ull);
	a->warmup_n = (uint64_t)(cfg->warmup * (double)(cfg->trace && (cfg->requests == 0 || cfg->requests > cfg->trace->n) ? cfg->trace->n : cfg->requests));
	enter_phase(a, 0);
	if (cfg->trace)
		return trace_init(a, err);
	for (uint32_t i = 0; i < a->w->phases_n; i++)
		own_rates = own_rates && a->w->phases[i].rate_hz > 0;
	if (cfg->load == 0 && cfg->rate_hz == 0 && !own_rates)
		return err_set(err, -EINVAL, "no load and no rate is given, and %s does not give its own", a->w->name);
	return 0;
}

uint64_t arrivals_expected(const struct arrivals *a)
{
	double sum = 0;

	if (a->cfg->trace)
		return a->cfg->requests > 0 && a->cfg->requests < a->cfg->trace->n ? a->cfg->requests : a->cfg->trace->n;
	for (uint32_t i = 0; i < a->w->phases_n; i++) {
		const struct workload_phase *p = &a->w->phases[i];

		if (p->duration_ns == 0)
			return a->cfg->requests;
		sum += (double)p->duration_ns * 1e-9 * (p->rate_hz > 0 ? p->rate_hz : a->cfg->rate_hz > 0 ? a->cfg->rate_hz * p->scale :
			a->cfg->load * a->cfg->workers * 1e9 / workload_mean_ns(a->w, i) * p->scale);
	}
	return a->cfg->requests > 0 && (double)a->cfg->requests < sum ? a->cfg->requests : (uint64_t)sum;
}

double arrivals_rate_hz(const struct arrivals *a)
{
	const struct sim_trace *t = a->cfg->trace;

	if (!t)
		return 1e9 / a->gap_ns;
	return t->requests[t->n - 1].at_ns > 0 ? (double)(t->n - 1) * 1e9 / ((double)t->requests[t->n - 1].at_ns * a->trace_scale) : 0;
}

/* ---- the next one ---- */

static bool next_recorded(struct arrivals *a, struct arrival *ret)
{
	const struct recorded_request *r;

	if (a->n >= a->cfg->trace->n)
		return false;
	r = &a->cfg->trace->requests[a->n];
	ret->at_ns = (uint64_t)((double)r->at_ns * a->trace_scale);
	ret->told = r->type;
	ret->request = request_pack(r->service_ns < REQUEST_SERVICE_MAX ? r->service_ns : REQUEST_SERVICE_MAX, r->type);
	return true;
}

static bool next_drawn(struct arrivals *a, struct arrival *ret)
{
	a->t_ns += rng_exp(&a->gaps) * a->gap_ns;
	while (a->t_ns >= a->end_ns) {
		/* The rest of a gap is as long as a whole one: drawing again at the boundary keeps both phases Poisson. */
		double boundary = a->end_ns;

		if (!enter_phase(a, a->phase + 1))
			return false;
		a->t_ns = boundary + rng_exp(&a->gaps) * a->gap_ns;
	}
	ret->at_ns = (uint64_t)a->t_ns;
	ret->told = alias_draw(a, rng_next(&a->kinds));
	ret->request = request_pack(draw_service(a, ret->told), ret->told);
	return true;
}

bool arrivals_next(struct arrivals *a, struct arrival *ret)
{
	if (a->cfg->requests > 0 && a->n >= a->cfg->requests)
		return false;
	if (!(a->cfg->trace ? next_recorded(a, ret) : next_drawn(a, ret)))
		return false;
	if (a->n++ >= a->warmup_n)
		ret->request |= REQUEST_MEASURED;
	if (a->cfg->misclassify > 0 && rng_uniform(&a->kinds) < a->cfg->misclassify)
		ret->told = (uint32_t)rng_below(&a->kinds, a->w->types_n);
	ret->flow = (uint32_t)(rng_next(&a->kinds) >> 32);
	ret->ready_ns = ret->at_ns > a->dispatcher_free_ns ? ret->at_ns : a->dispatcher_free_ns;
	ret->ready_ns += a->cfg->dispatch_ns;
	a->dispatcher_free_ns = ret->ready_ns;
	return true;
}
