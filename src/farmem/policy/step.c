/* SPDX-License-Identifier: Apache-2.0 */
#include "private.h"

/* of the share of a segment that comes back: instances that the average is over; and after how many that kept it, one tries again */
#define RETURNED_MEMORY 8
#define KEPT_IN_A_ROW 15

/* What a step is about; saves handing six things on. */
struct step {
	struct farmem_node *node;
	struct farmem_function *f;
	const struct farmem_knobs *k;
	struct farmem_instance *i;
	const struct farmem_seen *seen;
	uint64_t now_ns;
	struct farmem_actions *ret;
};

static void act(struct step *s, enum farmem_action_kind kind, unsigned segments, uint64_t bytes)
{
	s->ret->action[s->ret->n++] = (struct farmem_action){ .kind = kind, .segments = segments, .bytes = bytes };
}

static void offload(struct step *s, unsigned segments, uint64_t bytes)
{
	uint64_t most = may_leave(s->k, s->i, s->seen);

	bytes = bytes < most ? bytes : most;
	if (bytes == 0)
		return;
	act(s, FARMEM_DO_OFFLOAD, segments, bytes);
	s->i->asked_bytes += bytes;
	s->i->leaving |= (uint8_t)segments;
	s->i->under_way = true;
}

static void barrier(struct step *s, enum farmem_segment segment)
{
	unsigned bit = FARMEM_SEGMENT_BIT(segment);

	/* a barrier that comes late ends nothing: its segment was counted to the next one */
	if (s->i->barriers >= bit)
		return;
	s->i->barriers |= (uint8_t)bit;
	act(s, FARMEM_DO_BARRIER, bit, 0);
}

/* ---- to and fro ---- */

static void over(struct farmem_instance *i)
{
	i->asked_bytes = 0;
	i->leaving = 0;
	i->under_way = false;
}

/* It is their turn again after the request. Of those that leave little by little it was not: they had had theirs. */
static void segments_cut_off(struct farmem_instance *i)
{
	i->offloaded &= (uint8_t)~i->leaving;
	for (unsigned segment = 0; segment < FARMEM_SEGMENTS; segment++)
		if (i->leaving & FARMEM_SEGMENT_BIT(segment))
			i->left_bytes[segment] = 0;
}

/* what is under way ends where it is */
static void call_off(struct step *s)
{
	struct farmem_instance *i = s->i;

	if (!i->under_way)
		return;
	act(s, FARMEM_DO_CANCEL, 0, 0);
	if (!(i->leaving & FARMEM_SEGMENT_BIT(FARMEM_EXECUTION)))
		segments_cut_off(i);
	i->cancelled++;
	over(i);
}

/* @ahead: of a call, which it lets others go before for as long as it takes */
static void prefetch(struct step *s, bool ahead)
{
	uint64_t away = s->seen->ws_remote_bytes, bytes = away < s->k->prefetch_max_bytes ? away : s->k->prefetch_max_bytes;

	act(s, FARMEM_DO_PREFETCH, FARMEM_ALL_SEGMENTS, bytes);
	s->ret->action[s->ret->n - 1].patience_ns = ahead ? farmem_wake_ns(s->node, s->f, bytes) : wake_patience_ns(s->node, s->f, bytes);
}

/* ---- segments ---- */

/* The segment's turn: once, when enough requests have shown what of it they need. */
static unsigned turn_of(const struct step *s, enum farmem_segment segment, bool enough)
{
	unsigned bit = FARMEM_SEGMENT_BIT(segment);

	return enough && (s->i->barriers & bit) && !((s->i->offloaded | s->i->kept) & bit) && s->seen->resident_bytes[segment] >= s->k->segment_min_bytes ? bit : 0;
}

/* @shown: how many have */
static unsigned segments_due(const struct step *s, uint32_t shown)
{
	return s->k->segments ? turn_of(s, FARMEM_RUNTIME, shown >= 1) | turn_of(s, FARMEM_INIT, shown >= s->k->init_requests) : 0;
}

/* In the function's other instances it came back: then it is not worth the faults. */
static bool stays(struct step *s, enum farmem_segment segment)
{
	struct farmem_function *f = s->f;

	if (f->returned_n[segment] == 0 || f->returned[segment] <= s->k->return_max || f->kept[segment] == KEPT_IN_A_ROW) {
		f->kept[segment] = 0;
		return false;
	}
	f->kept[segment]++;
	s->i->kept |= (uint8_t)FARMEM_SEGMENT_BIT(segment);
	return true;
}

static void offload_segments(struct step *s, unsigned due)
{
	unsigned segments = 0;
	uint64_t bytes = 0;

	if (may_leave(s->k, s->i, s->seen) == 0 || !farmem_pays(s->node, s->f, 0))
		return;
	for (unsigned segment = 0; segment < FARMEM_SEGMENTS; segment++) {
		if (!(due & FARMEM_SEGMENT_BIT(segment)) || stays(s, segment))
			continue;
		segments |= FARMEM_SEGMENT_BIT(segment);
		bytes += s->seen->resident_bytes[segment];
		s->i->left_bytes[segment] = s->seen->resident_bytes[segment];
	}
	if (segments == 0)
		return;
	offload(s, segments, bytes);
	s->i->offloaded |= (uint8_t)segments;
}

/* A request has run without segments that had left before: what of them is not remote any more came back, of whatever segment the engine counts it now. */
static void learn_returned(struct step *s)
{
	struct farmem_function *f = s->f;

	for (unsigned segment = 0; segment < FARMEM_SEGMENTS; segment++) {
		uint64_t left = s->i->left_bytes[segment], remote = s->seen->remote_bytes[segment];
		double share = remote < left ? (double)(left - remote) / (double)left : 0;

		if (!(s->i->shown & FARMEM_SEGMENT_BIT(segment)))
			continue;
		f->returned[segment] += (share - f->returned[segment]) / (f->returned_n[segment] < RETURNED_MEMORY ? ++f->returned_n[segment] : RETURNED_MEMORY);
		s->i->left_bytes[segment] = 0;
	}
	s->i->shown = 0;
}

static void roll_back(struct step *s)
{
	unsigned segments = s->i->offloaded & ~s->i->leaving;

	if (segments == 0 || !farmem_rollback_due(s->k, s->i, s->now_ns) || !farmem_pays(s->node, s->f, 0))
		return;
	act(s, FARMEM_DO_ROLLBACK, segments, 0);
	/* how much goes back to its segment only the engine knows */
	offload(s, segments, UINT64_MAX);
	s->i->rollback_ns = s->now_ns;
	s->i->requests_rollback = 0;
}

/* ---- semi-warm ---- */

/*
 * Where nobody notices a wake, all that is to be weighed is what memory costs while it waits here against what moving it takes: as with skis that are rented until that has cost as much as buying them, it goes at break-even,
 * which is never twice as dear as knowing when the next call comes.
 */
static void plan_early(struct step *s)
{
	uint64_t even_ns = farmem_break_even_ns(s->node, s->k, 0), delay_ns = even_ns > s->k->semiwarm_min_ns ? even_ns : s->k->semiwarm_min_ns;

	s->i->early_ns = s->k->wake_share > 0 && delay_ns < s->i->semiwarm_ns - s->i->idle_since_ns ? s->i->idle_since_ns + delay_ns : FARMEM_NEVER;
}

static void plan_semiwarm(struct step *s)
{
	const struct farmem_knobs *k = s->k;
	uint64_t delay_ns = farmem_semiwarm_start(&s->f->reuse, &s->node->reuse, s->now_ns, k->reuse_quantile, k->semiwarm_min_ns, k->semiwarm_first_ns);
	double calm = 1 - farmem_pressure(k, s->node->psi);

	delay_ns = delay_ns < k->semiwarm_max_ns ? delay_ns : k->semiwarm_max_ns;
	delay_ns = k->semiwarm_min_ns + (uint64_t)((double)(delay_ns - k->semiwarm_min_ns) * calm);
	s->i->semiwarm_ns = s->i->idle_since_ns + delay_ns;
	plan_early(s);
}

static uint64_t early_due_ns(const struct step *s)
{
	return s->i->running == 0 && s->i->idle_since_ns > 0 && s->seen->ws_bytes > 0 ? s->i->early_ns : FARMEM_NEVER;
}

/* Whether a wake is cheap is looked at when it is time: by then it is seen what the last request brought back. */
static bool begins_early(struct step *s)
{
	if (s->now_ns < early_due_ns(s))
		return false;
	s->i->early_ns = FARMEM_NEVER;
	s->i->at_once = wake_may_come(s->node, s->f, s->seen);
	return s->i->at_once;
}

/* ---- ahead of a call ---- */

/* those of its instances that took the last calls are who takes the next */
static void plan_expected(struct step *s)
{
	struct farmem_instance *i = s->i;

	i->ahead = false;
	i->expect_ns = i->expect_end_ns = FARMEM_NEVER;
	if (s->k->prewarm_share > 0 && s->k->prefetch && i->begun_ns >= s->f->rhythm.begin_ns)
		farmem_rhythm_next(&s->f->rhythm, s->k->prewarm_share, s->now_ns, &i->expect_ns, &i->expect_end_ns);
}

/* Whether a call of this idle instance is likely to come, and has not come to another one since. */
static bool expects(const struct step *s)
{
	const struct farmem_instance *i = s->i;
	uint64_t kept_ns = s->k->keepalive_ns ? i->idle_since_ns + s->k->keepalive_ns : FARMEM_NEVER;

	return i->running == 0 && i->idle_since_ns > 0 && i->expect_ns < kept_ns && i->begun_ns >= s->f->rhythm.begin_ns && farmem_pressure(s->k, s->node->psi) == 0;
}

/* It is to be back when the call comes, though it takes twice as long as it does. */
static uint64_t ahead_due_ns(const struct step *s)
{
	uint64_t wake_ns = farmem_wake_ns(s->node, s->f, s->seen->ws_bytes), lead_ns;

	if (!expects(s) || s->i->ahead || s->seen->ws_remote_bytes == 0 || s->seen->ws_bytes > s->k->prefetch_max_bytes)
		return FARMEM_NEVER;
	lead_ns = wake_ns < s->i->expect_ns / 2 ? 2 * wake_ns : s->i->expect_ns;
	return s->i->expect_ns - lead_ns;
}

/* What would come back before it had been away for long enough stays. Return: until when nothing leaves, or 0 */
static uint64_t held_until_ns(const struct step *s)
{
	uint64_t even_ns;

	if (!expects(s) || s->now_ns >= s->i->expect_end_ns)
		return 0;
	even_ns = farmem_break_even_ns(s->node, s->k, 0);
	return s->i->ahead || even_ns >= s->i->expect_ns || s->now_ns >= s->i->expect_ns - even_ns ? s->i->expect_end_ns : 0;
}

static void bring_ahead(struct step *s)
{
	call_off(s);
	prefetch(s, true);
	s->i->ahead = true;
}

static void become_idle(struct step *s)
{
	s->i->idle_since_ns = s->now_ns;
	s->i->quota_ns = 0;
	s->i->at_once = false;
	plan_semiwarm(s);
	plan_expected(s);
}

/* When the segments go that requests do not let go, as they run and run. */
static uint64_t long_request_due(const struct step *s)
{
	if (s->i->running == 0 || s->k->long_request_ns == 0 || may_leave(s->k, s->i, s->seen) == 0 || segments_due(s, UINT32_MAX) == 0 || !farmem_pays(s->node, s->f, 0))
		return FARMEM_NEVER;
	return s->i->begun_ns + s->k->long_request_ns;
}

static void tick(struct step *s)
{
	struct farmem_instance *i = s->i;
	uint64_t bytes;

	if (s->now_ns >= rule_due_ns(s->k, i)) {
		unsigned segments = rule_turn(s->node, s->k, i, s->now_ns, s->seen, &bytes);

		offload(s, segments, bytes);
	}
	if (s->now_ns >= long_request_due(s))
		offload_segments(s, segments_due(s, UINT32_MAX));
	if (s->now_ns >= i->expect_end_ns)
		plan_expected(s);
	if (s->now_ns >= ahead_due_ns(s))
		bring_ahead(s);
	if (held_until_ns(s) > 0)
		return;
	if (begins_early(s))
		i->semiwarm_ns = s->now_ns;
	if (i->running > 0 || i->idle_since_ns == 0 || s->now_ns < i->semiwarm_ns || (i->quota_ns && s->now_ns < i->quota_ns))
		return;
	if (i->quota_ns == 0) {
		const uint64_t *remote = s->seen->remote_bytes;

		i->base_bytes = resident_bytes(s->seen) + remote[FARMEM_RUNTIME] + remote[FARMEM_INIT] + remote[FARMEM_EXECUTION];
	}
	bytes = farmem_offload_quota(s->node, s->k, i, s->now_ns, s->seen);
	i->quota_ns = s->now_ns + s->k->pace_ns;
	if (bytes > 0)
		offload(s, FARMEM_ALL_SEGMENTS, bytes);
}

static uint64_t next_semiwarm(const struct step *s)
{
	const struct farmem_instance *i = s->i;
	uint64_t early_ns = early_due_ns(s), begin_ns = early_ns < i->semiwarm_ns ? early_ns : i->semiwarm_ns, due_ns = i->quota_ns ? i->quota_ns : begin_ns;

	if (i->running > 0)
		return long_request_due(s);
	if (held_until_ns(s) > 0)
		return held_until_ns(s);
	if (!s->k->semiwarm || i->idle_since_ns == 0 || due_ns >= offload_end_ns(s->node, s->k, i) || resident_bytes(s->seen) <= s->k->floor_bytes)
		return FARMEM_NEVER;
	return due_ns;
}

static uint64_t next_timer(const struct step *s)
{
	uint64_t rule_ns = rule_due_ns(s->k, s->i), semiwarm_ns = next_semiwarm(s), ahead_ns = ahead_due_ns(s), ours_ns = ahead_ns < semiwarm_ns ? ahead_ns : semiwarm_ns;

	if (s->i->ended)
		return FARMEM_NEVER;
	return rule_ns < ours_ns ? rule_ns : ours_ns;
}

/* ---- events ---- */

static void request_begin(struct step *s, uint64_t waited_ns)
{
	struct farmem_instance *i = s->i;

	if (s->k->prewarm_share > 0)
		farmem_rhythm_called(&s->f->rhythm, s->now_ns, s->k->semiwarm_min_ns);
	i->together = i->running++ > 0;
	if (i->together)
		return;
	if (i->idle_since_ns > 0 && i->requests > 0)
		farmem_idle_over(s->node, s->f, s->now_ns, s->now_ns - i->idle_since_ns, true);
	i->idle_since_ns = 0;
	i->begun_ns = s->now_ns;
	i->waited_ns = waited_ns;
	i->quota_ns = 0;
	call_off(s);
	if (s->k->prefetch && s->seen->ws_remote_bytes > 0)
		prefetch(s, false);
}

static void request_end(struct step *s)
{
	struct farmem_instance *i = s->i;

	if (i->running == 0)
		return;
	i->running--;
	i->requests += i->requests < UINT32_MAX;
	i->requests_rollback += i->requests_rollback < UINT32_MAX;
	if (i->running > 0)
		return;
	if (i->rollback_ns == 0)
		i->rollback_ns = s->now_ns;
	if (!i->together)
		call_took(s->node, s->f, i->waited_ns, s->now_ns - i->begun_ns, i->gone_bytes);
	i->gone_bytes = 0;
	become_idle(s);
	for (unsigned segment = 0; segment < FARMEM_SEGMENTS; segment++)
		i->shown |= (uint8_t)(i->left_bytes[segment] ? FARMEM_SEGMENT_BIT(segment) : 0);
	offload_segments(s, segments_due(s, i->requests));
	roll_back(s);
}

/* Cut short: the rest of segments is asked for again; of what leaves little by little it is time for the next part. Of an instance that runs by now no more leaves. */
static void go_on(struct step *s, unsigned segments, uint64_t bytes)
{
	if (s->i->running > 0)
		return;
	if (!(segments & FARMEM_SEGMENT_BIT(FARMEM_EXECUTION)))
		offload(s, segments, bytes);
	else if (s->i->quota_ns)
		s->i->quota_ns = s->now_ns;
}

static void offloaded(struct step *s, const struct farmem_policy_event *e)
{
	struct farmem_instance *i = s->i;
	unsigned segments;
	uint64_t rest;

	i->gone_bytes += e->bytes;
	/* what was called off reports too, before what was asked for after it */
	if (i->cancelled > 0) {
		i->cancelled -= e->done;
		return;
	}
	i->asked_bytes -= e->bytes < i->asked_bytes ? e->bytes : i->asked_bytes;
	rest = i->asked_bytes;
	segments = i->leaving;
	if (e->done)
		over(i);
	if (e->done && e->cut)
		go_on(s, segments, rest);
}

void farmem_step(struct farmem_node *node, struct farmem_function *f, struct farmem_instance *i, const struct farmem_policy_event *e, uint64_t now_ns, const struct farmem_seen *seen,
		 struct farmem_actions *ret)
{
	struct step s = { node, f, &f->knobs, i, seen, now_ns > i->now_ns ? now_ns : i->now_ns, ret };

	ret->n = 0;
	ret->timer_ns = FARMEM_NEVER;
	if (i->ended)
		return;
	i->now_ns = s.now_ns;
	switch (e->kind) {
	case FARMEM_ON_RUNTIME_READY:
		barrier(&s, FARMEM_RUNTIME);
		break;
	case FARMEM_ON_INIT_DONE:
		barrier(&s, FARMEM_INIT);
		if (i->ready_ns == 0)
			i->ready_ns = s.now_ns;
		if (i->running == 0 && i->idle_since_ns == 0)
			become_idle(&s);
		break;
	case FARMEM_ON_REQUEST_BEGIN: request_begin(&s, e->waited_ns); break;
	case FARMEM_ON_REQUEST_END: request_end(&s); break;
	case FARMEM_ON_SEEN: learn_returned(&s); break;
	case FARMEM_ON_TIMER: tick(&s); break;
	case FARMEM_ON_OFFLOADED: offloaded(&s, e); break;
	case FARMEM_ON_PRESSURE:
		if (i->running == 0 && i->idle_since_ns > 0 && i->quota_ns == 0)
			plan_semiwarm(&s);
		break;
	case FARMEM_ON_EXIT:
		if (i->idle_since_ns > 0)
			farmem_idle_over(node, f, s.now_ns, s.now_ns - i->idle_since_ns, false);
		i->ended = true;
		break;
	}
	ret->timer_ns = next_timer(&s);
}
