/* SPDX-License-Identifier: Apache-2.0 */
/* What hearth is compared with, each as its authors have it; after the published repository of FaaSMem (ASPLOS'24), whose baselines the first three are. */
#include "engine.h"

static void nothing_to_prepare(struct sim *s, struct instance *i, uint64_t now_ns)
{
}

static double request_faults(struct sim *s, struct instance *i, uint64_t now_ns)
{
	return fault_ns(s, touch(s, i));
}

/* ---- keep-alive: memory stays until the instance ends ---- */

static double keepalive_elapse(struct sim *s, struct instance *i, uint64_t now_ns)
{
	return resident_of(i) * seconds(i->synced_ns, now_ns);
}

const struct policy_ops keepalive_ops = { .ready = nothing_to_prepare, .elapse = keepalive_elapse, .request = request_faults };

/* ---- TMO (ASPLOS'22): every 6 s, current * 0.0005 * max(0, 1 - psi / 0.1) is reclaimed, the coldest first ---- */

#define PSI_WINDOW_S 10.0

/* Seconds of full reclaim that a stretch is worth, as the pressure of the last stall fades over it. */
static double tmo_worth(double psi, double from_s, double to_s)
{
	double calm_s = psi > FARMEM_TMO_PSI_MAX ? PSI_WINDOW_S * log(psi / FARMEM_TMO_PSI_MAX) : 0;
	double from = fmax(from_s, calm_s);

	if (to_s <= from)
		return 0;
	return to_s - from - psi / FARMEM_TMO_PSI_MAX * PSI_WINDOW_S * (exp(-from / PSI_WINDOW_S) - exp(-to_s / PSI_WINDOW_S));
}

static double tmo_elapse(struct sim *s, struct instance *i, uint64_t now_ns)
{
	double before = resident_of(i), current = before + (i->busy ? s->functions[i->function].exec_bytes : 0);
	double worth_s = tmo_worth(i->tmo.psi, seconds(i->tmo.stalled_ns, i->synced_ns), seconds(i->tmo.stalled_ns, now_ns));

	/* while it runs, what it touches stays */
	take_coldest(s, i, current * (1 - exp(log1p(-FARMEM_TMO_SHARE) * worth_s / (FARMEM_TMO_STEP_NS * 1e-9))), i->busy ? VARY : INIT_HOT);
	return (before + resident_of(i)) / 2 * seconds(i->synced_ns, now_ns);
}

static double tmo_request(struct sim *s, struct instance *i, uint64_t now_ns)
{
	double stall_ns = request_faults(s, i, now_ns);

	i->tmo.psi = fmin(i->tmo.psi * exp(-seconds(i->tmo.stalled_ns, now_ns) / PSI_WINDOW_S) + stall_ns / (PSI_WINDOW_S * 1e9), 1);
	i->tmo.stalled_ns = now_ns;
	return stall_ns;
}

static void tmo_ready(struct sim *s, struct instance *i, uint64_t now_ns)
{
	i->tmo = (struct tmo_state){ .stalled_ns = now_ns };
}

const struct policy_ops tmo_ops = { .ready = tmo_ready, .elapse = tmo_elapse, .request = tmo_request };

/* ---- DAMON: what nobody touched for 60 s is paged out ---- */

/* @touched_ns: the last time. Return: byte-seconds. */
static double damon_part(struct sim *s, struct instance *i, enum part part, uint64_t touched_ns, uint64_t now_ns)
{
	uint64_t out_ns = touched_ns + FARMEM_COLD_NS;
	double bytes = i->resident[part];

	if (out_ns >= now_ns)
		return bytes * seconds(i->synced_ns, now_ns);
	take_out(s, i, part, bytes);
	return bytes * seconds(i->synced_ns, out_ns);
}

static double damon_elapse(struct sim *s, struct instance *i, uint64_t now_ns)
{
	uint64_t hot_ns = i->busy ? now_ns : i->idle_ns;

	return damon_part(s, i, RUNTIME_COLD, i->ready_ns, now_ns) + damon_part(s, i, INIT_COLD, i->ready_ns, now_ns) + damon_part(s, i, VARY, i->begun_ns, now_ns) +
		damon_part(s, i, RUNTIME_HOT, hot_ns, now_ns) + damon_part(s, i, INIT_HOT, hot_ns, now_ns);
}

const struct policy_ops damon_ops = { .ready = nothing_to_prepare, .elapse = damon_elapse, .request = request_faults };

/* ---- FaaSMem, with the delay of its oracle ---- */

#define FAASMEM_ROLLBACK_S 10.0
#define FAASMEM_SHARE_PER_S 0.01

static void faasmem_ready(struct sim *s, struct instance *i, uint64_t now_ns)
{
	i->faasmem = (struct faasmem_state){ 0 };
}

/* Semi-warm: 1% of the memory a second, from the delay on, down to the floor, until shortly before the end. */
static double faasmem_elapse(struct sim *s, struct instance *i, uint64_t now_ns)
{
	const struct farmem_knobs *k = &s->cfg->knobs;
	double before = resident_of(i), rate = s->functions[i->function].all_bytes * FAASMEM_SHARE_PER_S, most = fmax(before - (double)k->floor_bytes, 0), out, ramp_s;
	uint64_t from_ns = i->semiwarm_ns, to_ns = k->keepalive_ns ? i->idle_ns + k->keepalive_ns - k->keepalive_margin_ns : now_ns;

	from_ns = from_ns > i->synced_ns ? from_ns : i->synced_ns;
	to_ns = to_ns < now_ns ? to_ns : now_ns;
	if (i->busy || from_ns >= to_ns)
		return before * seconds(i->synced_ns, now_ns);
	out = take_coldest(s, i, fmin(rate * seconds(from_ns, to_ns), most), INIT_HOT);
	ramp_s = out / rate;
	return before * seconds(i->synced_ns, now_ns) - out * (seconds(from_ns, now_ns) - ramp_s / 2);
}

static double faasmem_request(struct sim *s, struct instance *i, uint64_t now_ns)
{
	i->faasmem.touched += (s->functions[i->function].part_bytes[VARY] - i->faasmem.touched) * (1 - s->cfg->model.overlap);
	return request_faults(s, i, now_ns);
}

static void faasmem_idle(struct sim *s, struct instance *i, uint64_t now_ns)
{
	struct faasmem_state *f = &i->faasmem;

	i->semiwarm_ns = now_ns + s->oracle_ns[i->function];
	f->requests_rollback++;
	if (i->requests == 1) {
		take_out(s, i, RUNTIME_COLD, i->resident[RUNTIME_COLD]);
		f->rollback_ns = now_ns;
		f->requests_rollback = 0;
		return;
	}
	if (seconds(f->rollback_ns, now_ns) < FAASMEM_ROLLBACK_S || f->requests_rollback < s->cfg->knobs.rollback_requests)
		return;
	take_out(s, i, INIT_COLD, i->resident[INIT_COLD]);
	take_out(s, i, VARY, fmax(i->resident[VARY] - f->touched, 0));
	f->touched = 0;
	f->rollback_ns = now_ns;
	f->requests_rollback = 0;
}

const struct policy_ops faasmem_ops = { .ready = faasmem_ready, .elapse = faasmem_elapse, .request = faasmem_request, .idle = faasmem_idle };
