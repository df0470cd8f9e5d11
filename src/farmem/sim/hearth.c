/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our policy, the very object that hearthd runs, and an engine for it to command. The engine is as the userfaultfd pager is: of what is resident it cannot see the use, so that a
 * segment that leaves for the first time leaves as a whole, and what requests need of it comes back by faults, counts as execution segment from then on, and is recorded for prefetch.
 */
#include "engine.h"

#define RUNTIME_BIT FARMEM_SEGMENT_BIT(FARMEM_RUNTIME)
#define INIT_BIT FARMEM_SEGMENT_BIT(FARMEM_INIT)
#define EXECUTION_BIT FARMEM_SEGMENT_BIT(FARMEM_EXECUTION)

/* bytes that an offload of these segments may take of a part */
static double in_segments(const struct instance *i, enum part part, unsigned segments)
{
	const struct hearth_state *h = &i->hearth;
	unsigned home = part == RUNTIME_COLD || part == RUNTIME_HOT ? RUNTIME_BIT : INIT_BIT;

	if (part == VARY)
		return (segments & INIT_BIT ? i->resident[VARY] - h->used : 0) + (segments & EXECUTION_BIT ? h->used : 0);
	if ((part == RUNTIME_HOT && h->runtime_known) || (part == INIT_HOT && h->init_known))
		home = EXECUTION_BIT;
	return segments & home ? i->resident[part] : 0;
}

/* Of the last request's VARY, what has left since: what is coldest of it leaves first. */
static double ws_vary(const struct sim *s, const struct instance *i)
{
	double last = s->functions[i->function].part_bytes[VARY] * (1 - s->cfg->model.overlap);

	return fmax(last - i->hearth.used, 0);
}

static void see(const struct sim *s, const struct instance *i, struct farmem_seen *ret)
{
	const double *size = s->functions[i->function].part_bytes;
	const struct hearth_state *h = &i->hearth;
	double ws = 0;

	*ret = (struct farmem_seen){ 0 };
	for (unsigned segment = 0; segment < FARMEM_SEGMENTS; segment++)
		for (enum part p = 0; p < PARTS; p++)
			ret->resident_bytes[segment] += (uint64_t)in_segments(i, p, FARMEM_SEGMENT_BIT(segment));
	ret->remote_bytes[FARMEM_RUNTIME] = (uint64_t)(size[RUNTIME_COLD] - i->resident[RUNTIME_COLD] + size[RUNTIME_HOT] - i->resident[RUNTIME_HOT]);
	ret->remote_bytes[FARMEM_INIT] = (uint64_t)(size[INIT_COLD] - i->resident[INIT_COLD] + size[VARY] - i->resident[VARY] + size[INIT_HOT] - i->resident[INIT_HOT]);
	if (h->runtime_known)
		ws += size[RUNTIME_HOT] - i->resident[RUNTIME_HOT];
	if (h->init_known)
		ws += size[INIT_HOT] - i->resident[INIT_HOT] + ws_vary(s, i);
	ret->ws_remote_bytes = ws >= PAGE_BYTES ? (uint64_t)ws : 0;
	ret->ws_bytes = ret->ws_remote_bytes + (uint64_t)(h->runtime_known ? i->resident[RUNTIME_HOT] : 0) + (uint64_t)(h->init_known ? i->resident[INIT_HOT] + h->used : 0);
}

static void roll_back(struct instance *i)
{
	i->hearth.used = i->hearth.touched;
	i->hearth.touched = 0;
}

static double prefetch(struct sim *s, struct instance *i, double bytes)
{
	struct hearth_state *h = &i->hearth;
	double in = 0, vary;

	if (h->runtime_known)
		in += bring_back(s, i, RUNTIME_HOT, i->resident[RUNTIME_HOT] + bytes);
	if (h->init_known) {
		in += bring_back(s, i, INIT_HOT, i->resident[INIT_HOT] + bytes - in);
		vary = bring_back(s, i, VARY, i->resident[VARY] + fmin(bytes - in, ws_vary(s, i)));
		h->used += vary;
		in += vary;
	}
	s->prefetch_bytes += in;
	s->flow_prefetch += in;
	return in / PAGE_BYTES * s->cfg->costs.prefetch_us * 1e3;
}

/* Tell the policy, do what it says. Return: the ns that a request waits for what is brought back. */
static double tell(struct sim *s, struct instance *i, enum farmem_policy_event_kind kind, uint64_t now_ns)
{
	struct hearth_state *h = &i->hearth;
	struct farmem_policy_event e = { .kind = kind };
	struct farmem_actions todo = { 0 };
	struct farmem_seen seen;
	double wait_ns = 0;

	if (kind == FARMEM_ON_OFFLOADED) {
		e.bytes = (uint64_t)(h->moved + 0.5);
		e.done = h->leaving < 1;
		h->moved = 0;
	}
	see(s, i, &seen);
	farmem_step(&s->node, &s->farmem[i->function], &h->policy, &e, now_ns, &seen, &todo);
	for (size_t a = 0; a < todo.n; a++)
		switch (todo.action[a].kind) {
		case FARMEM_DO_BARRIER: break;          /* the parts know their segments */
		case FARMEM_DO_OFFLOAD:
			h->leaving += (double)todo.action[a].bytes;
			h->segments |= todo.action[a].segments;
			break;
		case FARMEM_DO_CANCEL:
			h->leaving = 0;
			h->segments = 0;
			tell(s, i, FARMEM_ON_OFFLOADED, now_ns);
			break;
		case FARMEM_DO_PREFETCH: wait_ns += prefetch(s, i, (double)todo.action[a].bytes); break;
		case FARMEM_DO_ROLLBACK: roll_back(i); break;
		}
	i->timer_ns = todo.timer_ns;
	return wait_ns;
}

/* What has left since it was last told; before anything else is. */
static void report(struct sim *s, struct instance *i, uint64_t now_ns)
{
	if (i->hearth.moved >= 1 || i->hearth.segments != 0)
		tell(s, i, FARMEM_ON_OFFLOADED, now_ns);
	if (i->hearth.leaving < 1)
		i->hearth.segments = 0;
}

static double take_segments(struct sim *s, struct instance *i, double bytes)
{
	double out = 0;

	for (enum part p = 0; p < PARTS && out < bytes; p++)
		out += take_out(s, i, p, fmin(in_segments(i, p, i->hearth.segments), bytes - out));
	i->hearth.used = fmin(i->hearth.used, i->resident[VARY]);
	i->hearth.touched = fmin(i->hearth.touched, i->hearth.used);
	return out;
}

static double hearth_elapse(struct sim *s, struct instance *i, uint64_t now_ns)
{
	struct hearth_state *h = &i->hearth;
	double before = resident_of(i), span_s = seconds(i->synced_ns, now_ns), rate = (double)s->cfg->costs.evict_bytes_per_s, out;

	if (h->leaving < 1)
		return before * span_s;
	out = take_segments(s, i, fmin(h->leaving, rate * span_s));
	h->moved += out;
	s->flow_evict += out;
	/* all that there was, or all that was asked for, or as much as there was time for */
	h->leaving = out < rate * span_s - 1 ? 0 : h->leaving - out;
	return before * span_s - out * (span_s - out / rate / 2);
}

static void hearth_ready(struct sim *s, struct instance *i, uint64_t now_ns)
{
	i->hearth = (struct hearth_state){ 0 };
	tell(s, i, FARMEM_ON_RUNTIME_READY, now_ns);
	tell(s, i, FARMEM_ON_INIT_DONE, now_ns);
}

/* A request, new or still running, touches what it needs. Return: the ns that it waits for it. */
static double use(struct sim *s, struct instance *i)
{
	const double *size = s->functions[i->function].part_bytes;
	struct hearth_state *h = &i->hearth;
	double wait_ns, vary = i->resident[VARY], again = 1 - s->cfg->model.overlap;

	h->runtime_known |= i->resident[RUNTIME_HOT] < size[RUNTIME_HOT];
	h->init_known |= i->resident[INIT_HOT] < size[INIT_HOT];
	wait_ns = fault_ns(s, touch(s, i));
	/* what is touched of VARY is used from now on, whether it was there or not */
	h->used += (vary - h->used) * again + i->resident[VARY] - vary;
	h->touched += (size[VARY] - h->touched) * again;
	h->touched = fmin(h->touched, h->used);
	return wait_ns;
}

static double hearth_request(struct sim *s, struct instance *i, uint64_t now_ns)
{
	struct farmem_seen before;
	double wait_ns;

	report(s, i, now_ns);
	see(s, i, &before);
	wait_ns = tell(s, i, FARMEM_ON_REQUEST_BEGIN, now_ns);
	wait_ns += use(s, i);
	farmem_measured_wake(&s->node, &s->farmem[i->function], before.ws_remote_bytes, (uint64_t)wait_ns);
	return wait_ns;
}

static void hearth_idle(struct sim *s, struct instance *i, uint64_t now_ns)
{
	report(s, i, now_ns);
	tell(s, i, FARMEM_ON_REQUEST_END, now_ns);
	tell(s, i, FARMEM_ON_SEEN, now_ns);
	if (s->cfg->knobs.semiwarm)
		i->semiwarm_ns = i->hearth.policy.semiwarm_ns;
}

/* What leaves while a request runs leaves at once, and what the request needs of it comes back by faults at once: the second that it takes is little beside the minute before. */
static void hearth_timer(struct sim *s, struct instance *i, uint64_t now_ns)
{
	report(s, i, now_ns);
	tell(s, i, FARMEM_ON_TIMER, now_ns);
	if (i->busy && i->hearth.leaving >= 1) {
		double out = take_segments(s, i, i->hearth.leaving);

		i->hearth.moved += out;
		i->hearth.leaving = 0;
		s->flow_evict += out;
		i->late_ns += use(s, i);
		report(s, i, now_ns);
	}
}

static void hearth_end(struct sim *s, struct instance *i, uint64_t now_ns)
{
	tell(s, i, FARMEM_ON_EXIT, now_ns);
}

const struct policy_ops hearth_ops = { .ready = hearth_ready, .elapse = hearth_elapse, .request = hearth_request, .idle = hearth_idle, .timer = hearth_timer, .end = hearth_end };
