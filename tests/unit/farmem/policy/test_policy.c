/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "farmem/policy.h"

#define MIB (1ull << 20)
#define S NS_PER_S
#define T0 (1000 * S)

/* ---- reuse intervals ---- */

static uint64_t start(const struct farmem_reuse *own, const struct farmem_reuse *node, double q)
{
	return farmem_semiwarm_start(own, node, T0, q, S, 120 * S);
}

static void delay_without_samples(void **state)
{
	struct farmem_reuse none = { 0 };

	assert_int_equal(start(&none, NULL, 0.99), 120 * S);
	assert_int_equal(start(&none, &none, 0.99), 120 * S);
	assert_int_equal(farmem_semiwarm_start(&none, NULL, T0, 0.99, 200 * S, 120 * S), 200 * S);
}

/* within a bucket above the true quantile: an eighth of a doubling */
static void assert_about(uint64_t got_ns, double want_s)
{
	if ((double)got_ns < want_s * 1e9 || (double)got_ns > want_s * 1e9 * 1.0906)
		fail_msg("%.3f s, not %.3f s or a bucket more", (double)got_ns / 1e9, want_s);
}

static void delay_is_the_quantile(void **state)
{
	struct farmem_reuse h = { 0 };

	for (unsigned i = 1; i <= 1000; i++)
		farmem_reuse_add(&h, T0, i * S / 2, 1);
	assert_about(start(&h, NULL, 0.5), 250);
	assert_about(start(&h, NULL, 0.9), 450);
	assert_about(start(&h, NULL, 0.99), 495);
	assert_true(start(&h, NULL, 1) >= 500 * S);
	assert_true(farmem_semiwarm_start(&h, NULL, T0, 0.5, 400 * S, 0) == 400 * S);
}

static void extremes_are_kept(void **state)
{
	struct farmem_reuse h = { 0 };

	farmem_reuse_add(&h, T0, 0, 1);
	assert_true(start(&h, NULL, 0.99) == S);
	farmem_reuse_add(&h, T0, UINT64_MAX, 1);
	assert_true(start(&h, NULL, 0.99) > 3600 * S);
}

/* The node's stands in while the function has few; it counts as eight samples. */
static void prior_gives_way(void **state)
{
	struct farmem_reuse own = { 0 }, node = { 0 };

	for (unsigned i = 0; i < 1000; i++)
		farmem_reuse_add(&node, T0, 300 * S, 1);
	assert_about(start(&own, &node, 0.9), 300);
	for (unsigned i = 0; i < 20; i++)
		farmem_reuse_add(&own, T0, 2 * S, 1);
	assert_about(start(&own, &node, 0.9), 300);
	for (unsigned i = 0; i < 80; i++)
		farmem_reuse_add(&own, T0, 2 * S, 1);
	assert_about(start(&own, &node, 0.9), 2);
}

/* What was true a day ago has faded beside what is true now, and weights stay in proportion over the change of epochs. */
static void old_samples_fade(void **state)
{
	struct farmem_reuse h = { 0 };
	uint64_t later = T0 + 24 * 3600 * S, much_later = T0 + 400 * 3600 * S;

	for (unsigned i = 0; i < 100; i++)
		farmem_reuse_add(&h, T0, 200 * S, 1);
	assert_true(farmem_reuse_weight(&h, T0) == 100);
	assert_true(farmem_reuse_weight(&h, T0 + FARMEM_REUSE_HALF_LIFE_NS) == 50);
	for (unsigned i = 0; i < 100; i++)
		farmem_reuse_add(&h, later, 4 * S, 1);
	assert_about(farmem_semiwarm_start(&h, NULL, later, 0.9, S, 0), 4);
	farmem_reuse_add(&h, much_later, 8 * S, 1);
	assert_in_range((uint64_t)(farmem_reuse_weight(&h, much_later) * 1000), 1000, 1001);
	assert_about(farmem_semiwarm_start(&h, NULL, much_later, 0.9, S, 0), 8);
}

/* ---- an instance, step by step ---- */

struct rig {
	struct farmem_node node;
	struct farmem_function f;
	struct farmem_instance i;
	struct farmem_seen seen;
	struct farmem_actions did;
};

static struct rig rig(void)
{
	struct rig r = { .seen = { .resident_bytes = { 40 * MIB, 60 * MIB, 4 * MIB } } };

	farmem_knobs_default(&r.f.knobs);
	r.f.knobs.floor_bytes = 8 * MIB;
	r.f.knobs.prewarm_share = 0;            /* but where this is about it */
	return r;
}

static void tell(struct rig *r, enum farmem_policy_event_kind kind, uint64_t now_ns)
{
	struct farmem_policy_event e = { .kind = kind };

	farmem_step(&r->node, &r->f, &r->i, &e, now_ns, &r->seen, &r->did);
}

static void offloaded(struct rig *r, uint64_t bytes, bool done, uint64_t now_ns)
{
	struct farmem_policy_event e = { .kind = FARMEM_ON_OFFLOADED, .bytes = bytes, .done = done };

	farmem_step(&r->node, &r->f, &r->i, &e, now_ns, &r->seen, &r->did);
}

static void cut(struct rig *r, uint64_t bytes, uint64_t now_ns)
{
	struct farmem_policy_event e = { .kind = FARMEM_ON_OFFLOADED, .bytes = bytes, .done = true, .cut = true };

	farmem_step(&r->node, &r->f, &r->i, &e, now_ns, &r->seen, &r->did);
}

static void request(struct rig *r, uint64_t begin_ns, uint64_t end_ns)
{
	tell(r, FARMEM_ON_REQUEST_BEGIN, begin_ns);
	tell(r, FARMEM_ON_REQUEST_END, end_ns);
}

static void assert_action(const struct rig *r, size_t at, enum farmem_action_kind kind, unsigned segments, uint64_t bytes)
{
	const struct farmem_action *a = &r->did.action[at];

	assert_true(at < r->did.n);
	if (a->kind != kind || a->segments != segments || a->bytes != bytes)
		fail_msg("action %zu is %d %x %llu, not %d %x %llu", at, a->kind, a->segments, (unsigned long long)a->bytes, kind, segments, (unsigned long long)bytes);
}

static struct rig ready(void)
{
	struct rig r = rig();

	tell(&r, FARMEM_ON_RUNTIME_READY, T0);
	assert_action(&r, 0, FARMEM_DO_BARRIER, FARMEM_SEGMENT_BIT(FARMEM_RUNTIME), 0);
	tell(&r, FARMEM_ON_INIT_DONE, T0 + S);
	assert_action(&r, 0, FARMEM_DO_BARRIER, FARMEM_SEGMENT_BIT(FARMEM_INIT), 0);
	return r;
}

static void barriers_come_once_and_in_order(void **state)
{
	struct rig r = rig();

	tell(&r, FARMEM_ON_INIT_DONE, T0);
	assert_action(&r, 0, FARMEM_DO_BARRIER, FARMEM_SEGMENT_BIT(FARMEM_INIT), 0);
	tell(&r, FARMEM_ON_RUNTIME_READY, T0);
	assert_int_equal(r.did.n, 0);
	tell(&r, FARMEM_ON_INIT_DONE, T0);
	assert_int_equal(r.did.n, 0);
}

/* Runtime after the first request, init after the second; then nothing is left for the timer of a long request. */
static void segments_go_after_requests(void **state)
{
	struct rig r = ready();

	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 2 * S);
	assert_int_equal(r.did.n, 0);
	assert_int_equal(r.did.timer_ns, T0 + 62 * S);
	tell(&r, FARMEM_ON_REQUEST_END, T0 + 3 * S);
	assert_int_equal(r.did.n, 1);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_SEGMENT_BIT(FARMEM_RUNTIME), 40 * MIB);
	r.seen.resident_bytes[FARMEM_RUNTIME] = 0;
	r.seen.remote_bytes[FARMEM_RUNTIME] = 40 * MIB;
	offloaded(&r, 40 * MIB, true, T0 + 4 * S);
	request(&r, T0 + 5 * S, T0 + 6 * S);
	assert_int_equal(r.did.n, 1);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_SEGMENT_BIT(FARMEM_INIT), 56 * MIB);     /* 60, but of all 64 that are there 8 stay */
	offloaded(&r, 56 * MIB, true, T0 + 7 * S);
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 8 * S);
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
}

static void small_segments_stay(void **state)
{
	struct rig r = ready();

	r.seen.resident_bytes[FARMEM_RUNTIME] = 63 * 4096;
	request(&r, T0 + 2 * S, T0 + 3 * S);
	assert_int_equal(r.did.n, 0);
}

static void request_calls_offload_off(void **state)
{
	struct rig r = ready();

	request(&r, T0 + 2 * S, T0 + 3 * S);
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 3 * S + 1);
	assert_action(&r, 0, FARMEM_DO_CANCEL, 0, 0);
	offloaded(&r, 10 * MIB, true, T0 + 3 * S + 2);
	r.seen.resident_bytes[FARMEM_RUNTIME] = 30 * MIB;
	/* it is its turn again; what was called off does not count against it */
	tell(&r, FARMEM_ON_REQUEST_END, T0 + 4 * S);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_SEGMENT_BIT(FARMEM_RUNTIME) | FARMEM_SEGMENT_BIT(FARMEM_INIT), 86 * MIB);
	/* a late word of one that was called off is not taken for one of what is under way */
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 5 * S);
	tell(&r, FARMEM_ON_REQUEST_END, T0 + 6 * S);
	assert_int_equal(r.i.asked_bytes, 86 * MIB);
	offloaded(&r, MIB, true, T0 + 6 * S);
	assert_int_equal(r.i.asked_bytes, 86 * MIB);
	offloaded(&r, MIB, false, T0 + 6 * S);
	assert_int_equal(r.i.asked_bytes, 85 * MIB);
}

/* the engine's process began anew: the rest goes at once, but not of an instance that runs by now, and no more than what may leave now */
static void what_was_cut_short_goes_on(void **state)
{
	struct rig r = ready();
	uint64_t now, bytes;

	request(&r, T0 + 2 * S, T0 + 3 * S);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_SEGMENT_BIT(FARMEM_RUNTIME), 40 * MIB);
	offloaded(&r, 10 * MIB, false, T0 + 4 * S);
	r.seen.resident_bytes[FARMEM_RUNTIME] = 25 * MIB;
	cut(&r, 5 * MIB, T0 + 4 * S);
	assert_int_equal(r.did.n, 1);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_SEGMENT_BIT(FARMEM_RUNTIME), 25 * MIB);
	assert_int_equal(r.i.asked_bytes, 25 * MIB);
	r.seen = (struct farmem_seen){ .resident_bytes = { 12 * MIB, 0, 0 } };
	cut(&r, 0, T0 + 5 * S);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_SEGMENT_BIT(FARMEM_RUNTIME), 4 * MIB);
	cut(&r, 4 * MIB, T0 + 6 * S);
	assert_int_equal(r.did.n, 0);
	assert_false(r.i.under_way);

	/* what leaves little by little: at once what is due for a pace, and then as ever */
	r = ready();
	r.f.knobs.segments = false;
	request(&r, T0 + 2 * S, T0 + 3 * S);
	tell(&r, FARMEM_ON_TIMER, r.did.timer_ns);
	now = r.i.now_ns;
	assert_int_equal(r.did.n, 1);
	bytes = r.did.action[0].bytes;
	assert_int_equal(r.did.timer_ns, now + r.f.knobs.pace_ns);
	cut(&r, bytes / 4, now + S);
	assert_int_equal(r.did.timer_ns, now + S);
	tell(&r, FARMEM_ON_TIMER, now + S);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_ALL_SEGMENTS, bytes);
	assert_int_equal(r.did.timer_ns, now + S + r.f.knobs.pace_ns);

	/* called off: its end, cut or not, is no reason for anything */
	r = ready();
	request(&r, T0 + 2 * S, T0 + 3 * S);
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 4 * S);
	cut(&r, 0, T0 + 4 * S);
	assert_int_equal(r.did.n, 0);

	/* of a request that runs and runs: it is not asked for under another one */
	r = ready();
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 2 * S);
	tell(&r, FARMEM_ON_TIMER, T0 + 62 * S);
	assert_int_equal(r.did.n, 1);
	cut(&r, MIB, T0 + 63 * S);
	assert_int_equal(r.did.n, 0);
}

static void long_request_lets_segments_go(void **state)
{
	struct rig r = ready();

	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 2 * S);
	tell(&r, FARMEM_ON_TIMER, T0 + 61 * S);
	assert_int_equal(r.did.n, 0);
	tell(&r, FARMEM_ON_TIMER, T0 + 62 * S);
	assert_int_equal(r.did.n, 1);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_SEGMENT_BIT(FARMEM_RUNTIME) | FARMEM_SEGMENT_BIT(FARMEM_INIT), 96 * MIB);
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
	tell(&r, FARMEM_ON_TIMER, T0 + 63 * S);
	assert_int_equal(r.did.n, 0);

	r = ready();
	r.f.knobs.long_request_ns = 0;
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 2 * S);
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
	tell(&r, FARMEM_ON_TIMER, T0 + 3600 * S);
	assert_int_equal(r.did.n, 0);
}

/* A segment that came back in one instance stays in the next fifteen, and is tried again in the sixteenth. */
static void what_comes_back_stays(void **state)
{
	struct rig r = ready();
	struct farmem_function learnt;

	request(&r, T0 + 2 * S, T0 + 3 * S);
	offloaded(&r, 40 * MIB, true, T0 + 4 * S);
	/* what is seen may still be from before: nothing is learnt */
	request(&r, T0 + 5 * S, T0 + 6 * S);
	assert_int_equal(r.f.returned_n[FARMEM_RUNTIME], 0);
	/* of the init segment it is not known yet: no request has run without it. An engine may count what came back to its segment, or to the execution segment */
	r.seen = (struct farmem_seen){ .resident_bytes = { 30 * MIB, 60 * MIB, 4 * MIB }, .remote_bytes = { 10 * MIB, 0, 0 } };
	tell(&r, FARMEM_ON_SEEN, T0 + 6 * S);
	assert_int_equal(r.did.n, 0);
	assert_int_equal(r.f.returned_n[FARMEM_INIT], 0);
	offloaded(&r, 60 * MIB, true, T0 + 6 * S);
	r.seen = (struct farmem_seen){ .resident_bytes = { 0, 0, 92 * MIB }, .remote_bytes = { 10 * MIB, 6 * MIB, 0 } };
	request(&r, T0 + 7 * S, T0 + 8 * S);
	tell(&r, FARMEM_ON_SEEN, T0 + 8 * S);
	tell(&r, FARMEM_ON_SEEN, T0 + 8 * S);
	assert_int_equal(r.f.returned_n[FARMEM_RUNTIME], 1);
	assert_true(r.f.returned[FARMEM_RUNTIME] == 0.75 && r.f.returned[FARMEM_INIT] == 0.9);
	learnt = r.f;
	learnt.knobs.return_max = 0.75;
	for (unsigned n = 0; n < 16; n++) {
		r = ready();
		r.f = learnt;
		tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 2 * S);
		tell(&r, FARMEM_ON_TIMER, T0 + 62 * S);
		assert_int_equal(r.did.n, 1);
		/* three quarters are not more than return_max */
		assert_int_equal(r.did.action[0].segments, FARMEM_SEGMENT_BIT(FARMEM_RUNTIME) | (n == 15 ? FARMEM_SEGMENT_BIT(FARMEM_INIT) : 0));
		assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
		learnt = r.f;
	}
}

static void rollback_in_due_time(void **state)
{
	struct rig r = ready();

	r.f.knobs.rollback_ns = 10 * S;
	request(&r, T0 + 2 * S, T0 + 3 * S);
	offloaded(&r, 40 * MIB, true, T0 + 3 * S);
	request(&r, T0 + 4 * S, T0 + 5 * S);
	offloaded(&r, 56 * MIB, true, T0 + 5 * S);
	r.seen = (struct farmem_seen){ .resident_bytes = { 2 * MIB, 3 * MIB, 10 * MIB }, .remote_bytes = { 38 * MIB, 57 * MIB, 0 } };
	request(&r, T0 + 6 * S, T0 + 7 * S);
	assert_int_equal(r.did.n, 0);
	assert_false(farmem_rollback_due(&r.f.knobs, &r.i, T0 + 13 * S - 1));
	assert_true(farmem_rollback_due(&r.f.knobs, &r.i, T0 + 13 * S));
	request(&r, T0 + 8 * S, T0 + 13 * S);
	assert_int_equal(r.did.n, 2);
	assert_action(&r, 0, FARMEM_DO_ROLLBACK, 3, 0);
	assert_action(&r, 1, FARMEM_DO_OFFLOAD, 3, 7 * MIB);
	assert_false(farmem_rollback_due(&r.f.knobs, &r.i, T0 + 100 * S));

	/* so many requests are needed as well */
	r.f.knobs.rollback_requests = 3;
	r.i.requests_rollback = 2;
	assert_false(farmem_rollback_due(&r.f.knobs, &r.i, T0 + 100 * S));
	r.i.requests_rollback = 3;
	assert_true(farmem_rollback_due(&r.f.knobs, &r.i, T0 + 100 * S));
}

/* ---- semi-warm ---- */

/* Served three requests, both segments gone: only what semi-warm does is left. @r->i is idle since T0 + 7 s. */
static struct rig idle(void)
{
	struct rig r = ready();

	r.f.knobs.segments = false;
	request(&r, T0 + 6 * S, T0 + 7 * S);
	assert_int_equal(r.did.n, 0);
	return r;
}

static void memory_leaves_gradually(void **state)
{
	struct rig r = idle();
	uint64_t now = T0 + 127 * S, resident = 104 * MIB;

	assert_int_equal(r.did.timer_ns, now);          /* nothing is known: semiwarm_first */
	tell(&r, FARMEM_ON_TIMER, now - 1);
	assert_int_equal(r.did.n, 0);
	assert_int_equal(r.did.timer_ns, now);
	for (unsigned k = 0; k < 10; k++, now += 10 * S) {
		uint64_t quota = k < 9 ? (104 * MIB / 10 + 4095) / 4096 * 4096 : resident - 8 * MIB;

		tell(&r, FARMEM_ON_TIMER, now);
		if (quota > resident - 8 * MIB)
			quota = resident - 8 * MIB;
		assert_int_equal(r.did.n, 1);
		assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_ALL_SEGMENTS, quota);
		resident -= quota;
		r.seen = (struct farmem_seen){ .resident_bytes = { 0, resident, 0 }, .remote_bytes = { 104 * MIB - resident, 0, 0 } };
		offloaded(&r, quota, true, now + S);
		if (resident == 8 * MIB)
			break;
		assert_int_equal(r.did.timer_ns, now + 10 * S);
	}
	assert_int_equal(resident, 8 * MIB);
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
}

static void request_ends_semiwarm(void **state)
{
	struct rig r = idle();

	tell(&r, FARMEM_ON_TIMER, T0 + 127 * S);
	r.seen.ws_remote_bytes = 5 * MIB;
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 130 * S);
	assert_int_equal(r.did.n, 2);
	assert_action(&r, 0, FARMEM_DO_CANCEL, 0, 0);
	assert_action(&r, 1, FARMEM_DO_PREFETCH, FARMEM_ALL_SEGMENTS, 5 * MIB);
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
	/* a timer that was on its way does nothing */
	tell(&r, FARMEM_ON_TIMER, T0 + 137 * S);
	assert_int_equal(r.did.n, 0);
	/* and 123 s were learnt, by function and node */
	assert_about(farmem_semiwarm_start(&r.f.reuse, NULL, T0 + 130 * S, 0.99, 0, 0), 123);
	assert_about(farmem_semiwarm_start(&r.node.reuse, NULL, T0 + 130 * S, 0.99, 0, 0), 123);
}

static void prefetch_is_bounded(void **state)
{
	struct rig r = idle();

	r.seen.ws_remote_bytes = 5 * MIB;
	r.f.knobs.prefetch_max_bytes = 2 * MIB;
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 130 * S);
	assert_action(&r, 0, FARMEM_DO_PREFETCH, FARMEM_ALL_SEGMENTS, 2 * MIB);
	/* a second request beside it: all was done */
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 130 * S);
	assert_int_equal(r.did.n, 0);
	r = idle();
	r.seen.ws_remote_bytes = 5 * MIB;
	r.f.knobs.prefetch = false;
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 130 * S);
	assert_int_equal(r.did.n, 0);
}

/* ---- semi-warm where a wake is cheap ---- */

/* Idle since T0 + 7 s after calls of @call_ns; 60 MiB are of its working set, 5 MiB stay away for good; moving takes 1 ns a byte both ways, that is break-even at 20 s. No wake was measured: one is hoped to take 1 ns a byte. */
static struct rig idle_known(uint64_t call_ns)
{
	struct rig r = rig();

	r.f.knobs.segments = false;
	r.f.knobs.processor_bytes = 10000000000;
	r.node.costs = (struct farmem_costs){ .out = { 1e6, 1e6 }, .back = { 1e6, 1e6 }, .wake = { 1e6, 4e6 } };
	r.seen = (struct farmem_seen){ .resident_bytes = { 0, 0, 60 * MIB }, .remote_bytes = { 0, 5 * MIB, 0 }, .ws_bytes = 60 * MIB };
	tell(&r, FARMEM_ON_INIT_DONE, T0);
	request(&r, T0 + 7 * S - call_ns, T0 + 7 * S);
	return r;
}

/* 63 ms of a second are little: all that may leave does at break-even, and not sooner; of calls of half a second they are not, and it is the quantile's turn. What was measured as dear is tried again in the end. */
static void cheap_wakes_let_memory_go(void **state)
{
	struct rig r = idle_known(S);

	assert_int_equal(r.did.timer_ns, T0 + 27 * S);
	tell(&r, FARMEM_ON_TIMER, T0 + 27 * S - 1);
	assert_int_equal(r.did.n, 0);
	tell(&r, FARMEM_ON_TIMER, T0 + 27 * S);
	assert_int_equal(r.did.n, 1);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_ALL_SEGMENTS, 52 * MIB);
	/* a call that comes meanwhile calls off what has not left, and the segments that had left before are not told to leave again for it */
	r.i.offloaded = FARMEM_SEGMENT_BIT(FARMEM_INIT);
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 28 * S);
	assert_action(&r, 0, FARMEM_DO_CANCEL, 0, 0);
	assert_int_equal(r.i.offloaded, FARMEM_SEGMENT_BIT(FARMEM_INIT));
	tell(&r, FARMEM_ON_REQUEST_END, T0 + 29 * S);
	assert_int_equal(r.did.timer_ns, T0 + 49 * S);

	r = idle_known(S / 2);
	assert_int_equal(r.did.timer_ns, T0 + 27 * S);
	tell(&r, FARMEM_ON_TIMER, T0 + 27 * S);
	assert_int_equal(r.did.n, 0);
	assert_int_equal(r.did.timer_ns, T0 + 127 * S);
	r = idle_known(S);
	r.f.wake = (struct farmem_rate){ 60 * MIB, 1e9 };
	for (unsigned k = 0; k < 32; k++) {
		assert_int_equal(r.i.early_ns, r.i.idle_since_ns + 20 * S);
		tell(&r, FARMEM_ON_TIMER, r.i.early_ns);
		assert_int_equal(r.did.n, k == 31);
		request(&r, r.i.now_ns + S, r.i.now_ns + 2 * S);
	}
	r = idle_known(S);
	r.f.knobs.wake_share = 0;
	tell(&r, FARMEM_ON_PRESSURE, T0 + 8 * S);
	assert_int_equal(r.did.timer_ns, T0 + 127 * S);
	/* a link that is full: what it has room for */
	r = idle_known(S);
	r.node.evict_cut = 0.75;
	tell(&r, FARMEM_ON_TIMER, T0 + 27 * S);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_ALL_SEGMENTS, 13 * MIB);
	assert_int_equal(r.did.timer_ns, T0 + 37 * S);
}

static bool cheap(const struct rig *r) { return farmem_wake_is_cheap(&r->node, &r->f, &r->seen); }

/* without a working set, or calls, or with much of which nothing is known, it is not cheap */
static void cheap_has_to_be_known(void **state)
{
	struct rig r = idle_known(S);

	assert_true(cheap(&r));
	r.f.call_n = 0;
	assert_false(cheap(&r));
	r = idle_known(S);
	r.seen.ws_bytes = 0;
	assert_false(cheap(&r));
	/* 24 MiB that have never been away are a tenth of a second of faults */
	r = idle_known(S);
	r.seen.resident_bytes[FARMEM_EXECUTION] = 80 * MIB;
	assert_true(cheap(&r));
	r.seen.resident_bytes[FARMEM_EXECUTION] = 84 * MIB;
	assert_false(cheap(&r));
	/* what is away is no unknown */
	r.seen = (struct farmem_seen){ .resident_bytes = { 0, 0, 10 * MIB }, .remote_bytes = { 0, 60 * MIB, 0 }, .ws_bytes = 60 * MIB, .ws_remote_bytes = 50 * MIB };
	assert_true(cheap(&r));
	r.f.knobs.prefetch_max_bytes = 50 * MIB;
	assert_false(cheap(&r));
	r = idle_known(S);
	r.f.knobs.prefetch = false;
	assert_false(cheap(&r));
	/* nothing measured, a call of no time */
	r = idle_known(5 * NS_PER_MS);
	r.seen = (struct farmem_seen){ .resident_bytes = { 0, 0, 4096 }, .ws_bytes = 4096 };
	assert_false(cheap(&r));
}

/* The function's own wakes are what counts, once there were any; before, those of the node. */
static void wakes_are_measured(void **state)
{
	struct rig r = idle_known(S);
	struct farmem_function other = { 0 };

	assert_in_range(farmem_wake_ns(&r.node, &r.f, 10000000), 11 * NS_PER_MS - 2, 11 * NS_PER_MS + 2);
	farmem_measured_wake(&r.node, &r.f, 1000, 1001, S);     /* its first, of which nothing was known */
	farmem_measured_wake(&r.node, &r.f, 1000, 1000, NS_PER_MS);
	farmem_measured_wake(&r.node, &r.f, 0, 0, S);
	assert_in_range(farmem_wake_ns(&r.node, &r.f, 1000), NS_PER_MS - 2, NS_PER_MS + 2);
	assert_false(cheap(&r));
	/* those that are long ago fade */
	for (unsigned k = 0; k < 100; k++)
		farmem_measured_wake(&r.node, &r.f, 1000, 0, 1000);
	assert_in_range(farmem_wake_ns(&r.node, &r.f, 1000), 1000, 1100);
	assert_true(cheap(&r));
	for (unsigned k = 0; k < 10; k++)
		farmem_measured_wake(&r.node, &other, 100 * MIB, 0, 10 * 100 * MIB);
	assert_in_range(farmem_wake_ns(&r.node, &r.f, 1000), 1000, 1100);
	other = (struct farmem_function){ 0 };
	assert_in_range(farmem_wake_ns(&r.node, &other, 4000000), 10 * NS_PER_MS, 11 * NS_PER_MS);
}

/* Of calls that found all memory here, one at a time: the mean of logarithms, so that one in a hundred that takes an hour does not tell of the others. */
static void calls_are_timed(void **state)
{
	struct rig r = idle_known(S);
	uint64_t now = T0 + 10 * S;

	assert_in_range(farmem_call_ns(&r.f), S - 9, S + 9);
	request(&r, now, now + 4 * S);
	assert_in_range(farmem_call_ns(&r.f), 2 * S - 99, 2 * S + 99);
	/* two at a time take longer for that */
	tell(&r, FARMEM_ON_REQUEST_BEGIN, now + 5 * S);
	request(&r, now + 6 * S, now + 7 * S);
	tell(&r, FARMEM_ON_REQUEST_END, now + 100 * S);
	assert_in_range(farmem_call_ns(&r.f), 2 * S - 99, 2 * S + 99);
	/* one that had to fault in a GiB took 4 s longer, perhaps */
	offloaded(&r, 1024 * MIB, true, now + 101 * S);
	request(&r, now + 102 * S, now + 112 * S);
	assert_in_range(farmem_call_ns(&r.f), 2 * S - 99, 2 * S + 99);
	offloaded(&r, 1024 * MIB, true, now + 112 * S);
	request(&r, now + 113 * S, now + 213 * S);
	assert_true(r.f.call_n == 3);
	for (unsigned k = 0; k < 200; k++)
		request(&r, now + (300 + 2 * k) * S, now + (301 + 2 * k) * S);
	assert_in_range(farmem_call_ns(&r.f), S - S / 100, S + S / 100);
}

/* @n calls one after the other from @at on, each of which waited, then took so long. Return: when the last one has ended. */
static uint64_t calls_that_waited(struct rig *r, unsigned n, uint64_t at, uint64_t waited_ns, uint64_t takes_ns)
{
	for (unsigned k = 0; k < n; k++, at += takes_ns) {
		struct farmem_policy_event e = { .kind = FARMEM_ON_REQUEST_BEGIN, .waited_ns = waited_ns };

		farmem_step(&r->node, &r->f, &r->i, &e, at, &r->seen, &r->did);
		tell(r, FARMEM_ON_REQUEST_END, at + takes_ns);
	}
	return at;
}

/* A wake of 63 ms is no tenth of calls of half a second; it is of those that wait for others, if they are the slowest 20th, and others with a wake are not. */
static void waits_hide_a_wake(void **state)
{
	struct rig r = idle_known(S / 2);
	uint64_t at = T0 + 10 * S;

	at = calls_that_waited(&r, 9, at, 0, S / 2);
	assert_false(cheap(&r));
	at = calls_that_waited(&r, 1, at, 10 * S, S / 2);
	assert_false(cheap(&r));
	at = calls_that_waited(&r, 1, at, S / 5, S / 2);
	assert_true(cheap(&r));
	/* one that takes as long by itself as they do: with a wake such a one would be slower */
	calls_that_waited(&r, 1, at, 0, S * 7 / 10);
	assert_false(cheap(&r));
	/* what waits behind the wake is a tenth slower at most */
	r = idle_known(S / 2);
	at = calls_that_waited(&r, 8, T0 + 10 * S, 70 * NS_PER_MS, S / 2);
	assert_false(cheap(&r));
	at = calls_that_waited(&r, 8, at, 150 * NS_PER_MS, S / 2);
	assert_true(cheap(&r));
	/* that was long ago: others have come since, of which one in 32 waits */
	for (unsigned k = 0; k < 2; k++) {
		at = calls_that_waited(&r, 31, at, 0, S / 2);
		at = calls_that_waited(&r, 1, at, S, S / 2);
	}
	assert_false(cheap(&r));
	/* of seven it is too early to say anything */
	r = idle_known(S / 2);
	at = calls_that_waited(&r, 6, T0 + 10 * S, S, S / 2);
	assert_false(cheap(&r));
	calls_that_waited(&r, 1, at, S, S / 2);
	assert_true(cheap(&r));
	/* and nothing is where it is not wanted */
	r.f.knobs.wake_share = 0;
	assert_false(cheap(&r));
}

/* what the next request is given to wait, of a working set of which 60 MiB are away */
static uint64_t patience(struct rig *r, uint64_t at)
{
	r->seen = (struct farmem_seen){ .remote_bytes = { 0, 5 * MIB, 60 * MIB }, .ws_bytes = 60 * MIB, .ws_remote_bytes = 60 * MIB };
	tell(r, FARMEM_ON_REQUEST_BEGIN, at);
	assert_int_equal(r->did.n, 1);
	assert_action(r, 0, FARMEM_DO_PREFETCH, FARMEM_ALL_SEGMENTS, 60 * MIB);
	return r->did.action[0].patience_ns;
}

/* A wake that calls would not notice by themselves has nothing to give; one that hides behind a second of waiting has half of what is left of that. */
static void a_wake_that_hides_is_patient(void **state)
{
	const uint64_t wake_ns = NS_PER_MS + 60 * MIB;
	struct rig r = idle_known(S);
	uint64_t at = calls_that_waited(&r, 8, T0 + 10 * S, S, S);

	r.f.wake = (struct farmem_rate){ 1e6, 1e6 };
	assert_int_equal(patience(&r, at), 0);
	r = idle_known(S / 2);
	at = calls_that_waited(&r, 8, T0 + 10 * S, 0, S / 2);
	assert_int_equal(patience(&r, at), 0);
	r = idle_known(S / 2);
	at = calls_that_waited(&r, 8, T0 + 10 * S, S, S / 2);
	assert_in_range(patience(&r, at), (S - wake_ns) / 2 - NS_PER_MS, (S - wake_ns) / 2 + NS_PER_MS);
	r = idle_known(S / 2);
	at = calls_that_waited(&r, 8, T0 + 10 * S, S, S / 2);
	r.f.knobs.wake_share = 0;
	assert_int_equal(patience(&r, at), 0);
	/* and none where the wake takes longer than what it would hide behind */
	r = idle_known(S / 10);
	at = calls_that_waited(&r, 8, T0 + 10 * S, 50 * NS_PER_MS, S / 10);
	assert_int_equal(patience(&r, at), 0);
}

/* ---- rhythm ---- */

static struct farmem_rhythm called_at(const uint64_t *s, size_t n)
{
	struct farmem_rhythm r = { 0 };

	for (size_t k = 0; k < n; k++)
		farmem_rhythm_called(&r, T0 + s[k] * S, 10 * S);
	return r;
}

#define CALLED_AT(...) called_at((const uint64_t[]){ __VA_ARGS__ }, sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

static void assert_next(const struct farmem_rhythm *r, double share, uint64_t now_s, uint64_t about_s)
{
	uint64_t from, until;

	if (!farmem_rhythm_next(r, share, T0 + now_s * S, &from, &until))
		fail_msg("nothing is expected");
	if (T0 + about_s * S < from || T0 + about_s * S >= until || until <= T0 + now_s * S || until - from > (about_s * S) / 10)
		fail_msg("expected from %.1f to %.1f s", (double)(from - T0) / 1e9, (double)(until - T0) / 1e9);
}

static void assert_nothing_next(const struct farmem_rhythm *r, double share, uint64_t now_s)
{
	uint64_t from, until;

	assert_false(farmem_rhythm_next(r, share, T0 + now_s * S, &from, &until));
}

/* Twice so long is a rhythm, once is none; calls that come together are one. */
static void timers_have_a_rhythm(void **state)
{
	struct farmem_rhythm r = { 0 };

	assert_nothing_next(&r, 0, 0);
	r = CALLED_AT(0, 60);
	assert_nothing_next(&r, 0.5, 60);
	r = CALLED_AT(0, 3, 9, 60, 61, 62, 120, 121);
	assert_int_equal(r.n, 2);
	assert_next(&r, 1, 121, 180);
	/* it did not come: nothing more is known */
	assert_nothing_next(&r, 0, 184);
	/* a time that goes back */
	farmem_rhythm_called(&r, T0, 10 * S);
	assert_next(&r, 1, 121, 180);
}

/* Every minute, or every other one: a call is waited for a minute after the last, and when it has not come by then, after two. */
static void rhythms_mix(void **state)
{
	struct farmem_rhythm r = CALLED_AT(0, 60, 120, 240, 300, 420, 480, 600, 720);

	assert_int_equal(r.n, 8);
	assert_next(&r, 0.5, 720, 780);
	assert_next(&r, 0.5, 785, 840);
	assert_next(&r, 0.6, 720, 840);
	/* people have none; the last sixteen intervals count */
	r = CALLED_AT(0, 13, 40, 57, 101, 163, 183, 260, 284, 290);
	assert_nothing_next(&r, 0.5, 290);
	for (unsigned k = 1; k <= 16; k++)
		farmem_rhythm_called(&r, T0 + (290 + 60 * k) * S, 10 * S);
	assert_next(&r, 0.9, 1250, 1310);
	assert_nothing_next(&r, 1, 1250);
}

/* called three times, each so many seconds after the one before, and then idle from T0 on */
static struct rig called_every(uint64_t s)
{
	struct rig r = idle_known(S);

	r.f.knobs.prewarm_share = 0.5;
	r.i.now_ns = r.i.idle_since_ns = T0 - 2 * s * S - 10 * S;
	for (uint64_t k = 0; k < 3; k++)
		request(&r, T0 - (2 - k) * s * S - S, T0 - (2 - k) * s * S);
	return r;
}

/* each minute; all has left by itself at break-even */
static struct rig in_rhythm(void)
{
	struct rig r = called_every(60);

	assert_int_equal(r.did.timer_ns, T0 + 20 * S);
	tell(&r, FARMEM_ON_TIMER, T0 + 20 * S);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_ALL_SEGMENTS, 52 * MIB);
	r.seen = (struct farmem_seen){ .resident_bytes = { 0, 0, 8 * MIB }, .remote_bytes = { 0, 5 * MIB, 52 * MIB }, .ws_bytes = 60 * MIB, .ws_remote_bytes = 52 * MIB };
	offloaded(&r, 52 * MIB, true, T0 + 21 * S);
	return r;
}

/* Of a function that is called every minute it is back in time, and leaves again if nobody comes. */
static void it_is_back_before_its_call(void **state)
{
	struct rig r = in_rhythm();
	uint64_t due = r.did.timer_ns;

	assert_in_range(due, T0 + 56 * S, T0 + 57 * S + 125 * NS_PER_MS);
	tell(&r, FARMEM_ON_TIMER, due);
	assert_int_equal(r.did.n, 1);
	assert_action(&r, 0, FARMEM_DO_PREFETCH, FARMEM_ALL_SEGMENTS, 52 * MIB);
	assert_in_range(r.did.action[0].patience_ns, 52 * NS_PER_MS, 70 * NS_PER_MS);
	assert_int_equal(r.did.timer_ns, T0 + 62 * S + 750 * NS_PER_MS);
	r.seen = (struct farmem_seen){ .resident_bytes = { 0, 0, 60 * MIB }, .remote_bytes = { 0, 5 * MIB, 0 }, .ws_bytes = 60 * MIB };
	tell(&r, FARMEM_ON_TIMER, due + S);
	assert_int_equal(r.did.n, 0);
	struct rig called = r;

	tell(&r, FARMEM_ON_TIMER, r.did.timer_ns);
	assert_int_equal(r.did.n, 1);
	assert_action(&r, 0, FARMEM_DO_OFFLOAD, FARMEM_ALL_SEGMENTS, 52 * MIB);
	/* its call finds all there, and the next one is expected a minute later */
	tell(&called, FARMEM_ON_REQUEST_BEGIN, T0 + 59 * S);
	assert_int_equal(called.did.n, 0);
	tell(&called, FARMEM_ON_REQUEST_END, T0 + 60 * S);
	assert_in_range(called.i.expect_ns, T0 + 117 * S, T0 + 118 * S);
}

static void nobody_waits_for_what_is_not_to_come(void **state)
{
	struct rig r = in_rhythm();
	uint64_t due = r.did.timer_ns;

	/* another instance took the call */
	farmem_rhythm_called(&r.f.rhythm, T0 + 40 * S, 10 * S);
	tell(&r, FARMEM_ON_TIMER, due);
	assert_int_equal(r.did.n, 0);
	/* memory is short */
	r = in_rhythm();
	r.node.psi = 0.2;
	tell(&r, FARMEM_ON_PRESSURE, T0 + 30 * S);
	tell(&r, FARMEM_ON_TIMER, due);
	assert_true(r.did.n == 0 || r.did.action[0].kind != FARMEM_DO_PREFETCH);
	/* it ends before */
	r = in_rhythm();
	r.f.knobs.keepalive_ns = 50 * S;
	tell(&r, FARMEM_ON_TIMER, T0 + 40 * S);
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
	/* it is not wanted */
	r = in_rhythm();
	r.f.knobs.prewarm_share = 0;
	request(&r, T0 + 30 * S, T0 + 31 * S);
	assert_int_equal(r.i.expect_ns, FARMEM_NEVER);
}

/* What would have to come back before it had been away for break-even, 20 s, does not leave. */
static void what_comes_back_soon_stays(void **state)
{
	struct rig r = called_every(36);

	tell(&r, FARMEM_ON_TIMER, T0 + 20 * S);
	assert_int_equal(r.did.n, 0);
	assert_int_equal(r.did.timer_ns, T0 + 35 * S + 36 * S / 16);
	/* not what was leaving already: that is called off */
	r = in_rhythm();
	r.i.under_way = true;
	r.i.leaving = FARMEM_ALL_SEGMENTS;
	tell(&r, FARMEM_ON_TIMER, T0 + 58 * S);
	assert_int_equal(r.did.n, 2);
	assert_action(&r, 0, FARMEM_DO_CANCEL, 0, 0);
	assert_action(&r, 1, FARMEM_DO_PREFETCH, FARMEM_ALL_SEGMENTS, 52 * MIB);
}

static void nothing_moves_at_the_end(void **state)
{
	struct rig r = idle();
	uint64_t end = T0 + 7 * S + 585 * S;

	tell(&r, FARMEM_ON_TIMER, T0 + 127 * S);
	offloaded(&r, 104 * MIB / 10, true, T0 + 128 * S);
	assert_true(farmem_offload_quota(&r.node, &r.f.knobs, &r.i, end - 1, &r.seen) > 0);
	assert_int_equal(farmem_offload_quota(&r.node, &r.f.knobs, &r.i, end, &r.seen), 0);
	tell(&r, FARMEM_ON_TIMER, end - S);
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
	r.f.knobs.keepalive_ns = 0;
	assert_true(farmem_offload_quota(&r.node, &r.f.knobs, &r.i, end + 3600 * S, &r.seen) > 0);
}

/* A machine that slept does not throw all out when it wakes. */
static void late_timer_catches_up_one_pace(void **state)
{
	struct rig r = idle();
	uint64_t one;

	tell(&r, FARMEM_ON_TIMER, T0 + 127 * S);
	one = r.did.action[0].bytes;
	offloaded(&r, one, true, T0 + 127 * S);
	tell(&r, FARMEM_ON_TIMER, T0 + 400 * S);
	assert_in_range(r.did.action[0].bytes, 2 * one - 4096, 2 * one + 4096);
}

static void pressure_hurries(void **state)
{
	struct rig r = idle();
	struct farmem_flows none = { 0 };
	uint64_t calm, pressed;

	assert_true(farmem_pressure(&r.f.knobs, 0.05) == 0 && farmem_pressure(&r.f.knobs, 0.4) == 1 && farmem_pressure(&r.f.knobs, 0) == 0);
	assert_true(farmem_pressure(&r.f.knobs, 0.225) > 0.49 && farmem_pressure(&r.f.knobs, 0.225) < 0.51);
	farmem_node_update(&r.node, &r.f.knobs, &none, 0, 1);
	tell(&r, FARMEM_ON_PRESSURE, T0 + 8 * S);
	assert_int_equal(r.did.timer_ns, T0 + 17 * S);
	tell(&r, FARMEM_ON_TIMER, T0 + 17 * S);
	pressed = r.did.action[0].bytes;
	r = idle();
	tell(&r, FARMEM_ON_TIMER, T0 + 127 * S);
	calm = r.did.action[0].bytes;
	assert_in_range(pressed, 9 * calm, 10 * calm);
}

static void an_ended_instance_is_left_alone(void **state)
{
	struct rig r = idle();

	tell(&r, FARMEM_ON_EXIT, T0 + 10 * S);
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
	tell(&r, FARMEM_ON_TIMER, T0 + 1000 * S);
	tell(&r, FARMEM_ON_REQUEST_BEGIN, T0 + 1000 * S);
	assert_int_equal(r.did.n, 0);
}

static void unmatched_end_is_ignored(void **state)
{
	struct rig r = ready();
	struct farmem_instance before = r.i;

	tell(&r, FARMEM_ON_REQUEST_END, T0 + S);
	assert_int_equal(r.did.n, 0);
	assert_memory_equal(&before, &r.i, sizeof(before));
}

/* ---- working set ---- */

static void hottest_fit_in_order(void **state)
{
	struct farmem_ws_range ws[] = { { 10, 4, 0x1 }, { 20, 4, 0x7 }, { 30, 4, 0x5 }, { 40, 4, 0x6 }, { 50, 4, 0xf8 } };
	struct farmem_ws_range copy[5];

	/* of three recorded requests: 20 was touched by all, 30 and 40 by two, 10 by one, 50 by none of these */
	memcpy(copy, ws, sizeof(ws));
	assert_int_equal(farmem_prefetch_set(copy, 5, 3, 100), 3);
	assert_true(copy[0].page == 20 && copy[1].page == 30 && copy[2].page == 40);
	memcpy(copy, ws, sizeof(ws));
	assert_int_equal(farmem_prefetch_set(copy, 5, 3, 6), 2);
	assert_true(copy[0].page == 20 && copy[0].pages == 4 && copy[1].page == 30 && copy[1].pages == 2);
	memcpy(copy, ws, sizeof(ws));
	assert_int_equal(farmem_prefetch_set(copy, 5, 3, 0), 0);
	/* with one request recorded, all that it touched */
	memcpy(copy, ws, sizeof(ws));
	assert_int_equal(farmem_prefetch_set(copy, 5, 1, 100), 3);
	memcpy(copy, ws, sizeof(ws));
	assert_int_equal(farmem_prefetch_set(copy, 5, 0, 100), 0);
	assert_int_equal(farmem_prefetch_set(NULL, 0, 8, 100), 0);
	memcpy(copy, ws, sizeof(ws));
	assert_int_equal(farmem_prefetch_set(copy, 5, 200, UINT64_MAX), 4);
}

/* ---- link ---- */

static void governor_keeps_the_order(void **state)
{
	struct farmem_flows want = { 40, 50, 60 }, g;

	farmem_governor(&want, 0, 0, &g);
	assert_true(g.fault == 40 && g.prefetch == 50 && g.evict == 60);
	farmem_governor(&want, 100, 0, &g);
	assert_true(g.fault == 40 && g.prefetch == 50 && g.evict == 10);
	farmem_governor(&want, 80, 0.4, &g);
	assert_true(g.fault == 40 && g.prefetch == 40 && g.evict == 0);
	farmem_governor(&want, 80, 0.5, &g);
	assert_true(g.fault == 40 && g.prefetch == 30 && g.evict == 10);
	farmem_governor(&want, 24, 1, &g);
	assert_true(g.fault == 21 && g.prefetch == 0 && g.evict == 3);
}

/* Minutes of it; evictions are cut as they go. */
static void update(struct rig *r, const struct farmem_flows *want)
{
	for (unsigned k = 0; k < 200; k++) {
		double cut = r->node.evict_cut;
		struct farmem_flows now = *want;

		now.evict = (uint64_t)((double)now.evict * (1 - cut));
		farmem_node_update(&r->node, &r->f.knobs, &now, 250, 0);
	}
}

/* Quotas follow the link, and come back when there is room. */
static void quotas_follow_the_link(void **state)
{
	struct rig r = idle();
	struct farmem_flows want = { 0, 0, 1000 };
	uint64_t free_quota, cut_quota;

	tell(&r, FARMEM_ON_TIMER, T0 + 127 * S);
	free_quota = r.did.action[0].bytes;
	update(&r, &want);
	r.i.asked_bytes = 0;
	cut_quota = farmem_offload_quota(&r.node, &r.f.knobs, &r.i, T0 + 137 * S, &r.seen);
	assert_in_range(cut_quota, free_quota * 49 / 200, free_quota * 51 / 200);
	/* faults come first */
	want.fault = 150;
	update(&r, &want);
	assert_in_range((uint64_t)(r.node.evict_cut * 1000), 890, 910);
	want.evict = 10;
	update(&r, &want);
	assert_true(r.node.evict_cut == 0);
}

/* ---- knobs ---- */

static void knobs_are_checked(void **state)
{
	struct farmem_knobs good, k;
	struct hearth_err err = { 0 };

	farmem_knobs_default(&good);
	assert_int_equal(farmem_knobs_check(&good, &err), 0);
#define REFUSES(field, value) \
	do { \
		k = good; \
		k.field = (value); \
		assert_int_equal(farmem_knobs_check(&k, &err), -EINVAL); \
	} while (0)
	REFUSES(reuse_quantile, 0.4);
	REFUSES(reuse_quantile, 1.1);
	assert_string_equal(err.msg, "reuse_quantile is 1.1: it must be from 0.5 to 1");
	REFUSES(offload_per_s, 0);
	REFUSES(offload_per_s, __builtin_nan(""));
	REFUSES(return_max, -1);
	REFUSES(wake_share, 1.5);
	REFUSES(wake_share, __builtin_nan(""));
	REFUSES(prewarm_share, -0.1);
	REFUSES(pressure_high, 0.01);
	REFUSES(semiwarm_max_ns, S);
	REFUSES(pace_ns, 0);
	assert_string_equal(err.msg, "pace is 0 s: it must be from 0.01 s to a year");
	REFUSES(keepalive_ns, UINT64_MAX);
	REFUSES(init_requests, 0);
	REFUSES(rollback_requests, 0);
#undef REFUSES
}

/* ---- what ours is compared with ---- */

static struct farmem_actions rule_step(struct farmem_function *f, struct farmem_instance *i, enum farmem_policy_event_kind kind, uint64_t at_ns, double psi)
{
	struct farmem_node node = { .psi = psi };
	struct farmem_seen seen = { .resident_bytes = { 40 * MIB, 30 * MIB, 30 * MIB } };
	struct farmem_actions a;

	farmem_step(&node, f, i, &(struct farmem_policy_event){ .kind = kind }, at_ns, &seen, &a);
	return a;
}

static struct farmem_function with_rule(enum farmem_rule rule)
{
	struct farmem_function f = { 0 };

	farmem_knobs_default(&f.knobs);
	farmem_knobs_rule(&f.knobs, rule);
	return f;
}

/* Every 6 s, 0.05% of all memory, less under pressure, whether requests run or not. */
static void tmo_is_its_formula(void **state)
{
	struct farmem_function f = with_rule(FARMEM_RULE_TMO);
	struct farmem_instance i = { 0 };
	struct farmem_actions a = rule_step(&f, &i, FARMEM_ON_INIT_DONE, T0, 0);

	assert_true(a.timer_ns == T0 + 6 * S);
	rule_step(&f, &i, FARMEM_ON_REQUEST_BEGIN, T0 + S, 0);
	a = rule_step(&f, &i, FARMEM_ON_REQUEST_END, T0 + 2 * S, 0);
	assert_int_equal(a.n, 0);
	rule_step(&f, &i, FARMEM_ON_REQUEST_BEGIN, T0 + 3 * S, 0);
	a = rule_step(&f, &i, FARMEM_ON_TIMER, T0 + 6 * S, 0);
	assert_int_equal(a.n, 1);
	assert_int_equal(a.action[0].kind, FARMEM_DO_OFFLOAD);
	assert_int_equal(a.action[0].segments, FARMEM_ALL_SEGMENTS);
	assert_int_equal(a.action[0].bytes, (uint64_t)(100 * MIB * 0.0005));
	assert_true(a.timer_ns == T0 + 12 * S);
	a = rule_step(&f, &i, FARMEM_ON_TIMER, T0 + 12 * S, 0.05);
	assert_int_equal(a.action[0].bytes, (uint64_t)(100 * MIB * 0.00025));
	assert_int_equal(rule_step(&f, &i, FARMEM_ON_TIMER, T0 + 18 * S, 0.1).n, 0);
}

/* Idle for 60 s: all of it. Used all the time: its first segments, once. */
static void cold_leaves_at_once(void **state)
{
	struct farmem_function f = with_rule(FARMEM_RULE_COLD);
	struct farmem_instance idle = { 0 }, busy = { 0 };
	struct farmem_actions a;

	assert_true(rule_step(&f, &idle, FARMEM_ON_INIT_DONE, T0, 0).timer_ns == T0 + 60 * S);
	a = rule_step(&f, &idle, FARMEM_ON_TIMER, T0 + 60 * S, 0);
	assert_int_equal(a.n, 2);
	assert_int_equal(a.action[0].bytes + a.action[1].bytes, 100 * MIB);
	rule_step(&f, &busy, FARMEM_ON_INIT_DONE, T0, 0);
	rule_step(&f, &busy, FARMEM_ON_REQUEST_BEGIN, T0 + 30 * S, 0);
	a = rule_step(&f, &busy, FARMEM_ON_TIMER, T0 + 60 * S, 0);
	assert_int_equal(a.n, 1);
	assert_int_equal(a.action[0].segments, FARMEM_SEGMENT_BIT(FARMEM_RUNTIME) | FARMEM_SEGMENT_BIT(FARMEM_INIT));
	assert_int_equal(a.action[0].bytes, 70 * MIB);
	assert_true(a.timer_ns == FARMEM_NEVER);
}

static void off_moves_nothing(void **state)
{
	struct farmem_function f = with_rule(FARMEM_RULE_OFF);
	struct farmem_instance i = { 0 };

	assert_true(rule_step(&f, &i, FARMEM_ON_INIT_DONE, T0, 0).timer_ns == FARMEM_NEVER);
	rule_step(&f, &i, FARMEM_ON_REQUEST_BEGIN, T0 + S, 0);
	assert_int_equal(rule_step(&f, &i, FARMEM_ON_REQUEST_END, T0 + 2 * S, 0).n, 0);
	assert_int_equal(rule_step(&f, &i, FARMEM_ON_TIMER, T0 + 3600 * S, 1).n, 0);
}

static void faster_time_is_shorter(void **state)
{
	struct farmem_function f = with_rule(FARMEM_RULE_TMO);
	struct farmem_instance i = { 0 };
	struct farmem_knobs k;

	farmem_knobs_compress(&f.knobs, 20);
	assert_true(rule_step(&f, &i, FARMEM_ON_INIT_DONE, T0, 0).timer_ns == T0 + 300 * NS_PER_MS);
	farmem_knobs_default(&k);
	farmem_knobs_compress(&k, 20);
	assert_true(k.semiwarm_first_ns == 6 * S && k.rollback_ns == 1500 * NS_PER_MS && k.keepalive_ns == 600 * S);
	assert_true(k.offload_per_s > 0.199 && k.offload_per_s < 0.201);
}

/* ---- what it is worth ---- */

/* what is parked in 3 s stays; of a function that is called again and again, its segments go all the same */
static void moving_has_to_pay(void **state)
{
	struct rig r = rig();
	uint64_t now = T0;

	farmem_costs_default(&r.node.costs);
	r.f.knobs.keepalive_ns = 3 * S;
	r.f.knobs.keepalive_margin_ns = S / 2;
	r.f.knobs.semiwarm_min_ns = r.f.knobs.semiwarm_first_ns = S / 2;
	tell(&r, FARMEM_ON_RUNTIME_READY, now);
	tell(&r, FARMEM_ON_INIT_DONE, now);
	request(&r, now + S, now + S + 1);
	assert_int_equal(r.did.n, 0);
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
	assert_false(farmem_pays(&r.node, &r.f, 0));
	for (unsigned k = 0; k < 40; k++)
		request(&r, T0 + (3 + 2 * k) * S, T0 + (3 + 2 * k) * S + 1);
	now = T0 + 82 * S;
	assert_true(farmem_pays(&r.node, &r.f, 0));
	assert_true(r.i.offloaded != 0);
	/* but for the little that is left of one idle time nothing goes */
	assert_int_equal(r.did.timer_ns, FARMEM_NEVER);
	/* one that ended tells of how others will */
	for (unsigned k = 0; k < 20; k++)
		farmem_idle_over(&r.node, &r.f, now, 3 * S, false);
	assert_false(farmem_pays(&r.node, &r.f, 0));

	/* where moving takes no time, or memory is all that counts, nothing has to pay */
	r.f.knobs.processor_bytes = 0;
	assert_true(farmem_pays(&r.node, &r.f, 0));
	farmem_knobs_default(&r.f.knobs);
	assert_true(farmem_pays(&r.node, &r.f, 0));
}

static void exit_ends_an_idle_time(void **state)
{
	struct rig r = idle();

	r.f.idles = r.f.called = r.f.called_ns = 0;
	assert_true(farmem_life_ns(&r.f) == 600 * S);
	for (unsigned k = 0; k < 3; k++)
		farmem_idle_over(&r.node, &r.f, T0, 10 * S, true);
	assert_true(farmem_life_ns(&r.f) == 640 * S);
	tell(&r, FARMEM_ON_EXIT, T0 + 700 * S);
	assert_true(farmem_life_ns(&r.f) == 620 * S);
	r.f.knobs.keepalive_ns = 0;
	assert_true(farmem_life_ns(&r.f) == FARMEM_NEVER);
}

static void parking_has_to_pay(void **state)
{
	struct farmem_node node = { 0 };
	struct farmem_function f = { 0 };

	farmem_knobs_default(&f.knobs);
	f.knobs.processor_bytes = 1000 * MIB;
	assert_true(farmem_park_even_ns(&node, &f, 100 * MIB, 0) == FARMEM_NEVER);
	farmem_measured_park(&f, 300 * NS_PER_MS);
	assert_true(farmem_park_even_ns(&node, &f, 100 * MIB, 0) == FARMEM_NEVER);
	farmem_measured_unpark(&f, 200 * NS_PER_MS);
	assert_in_range(farmem_park_even_ns(&node, &f, 100 * MIB, 0), 5 * S - 9, 5 * S + 9);
	assert_in_range(farmem_park_even_ns(&node, &f, 1000 * MIB, 0), S / 2 - 9, S / 2 + 9);
	assert_true(farmem_park_even_ns(&node, &f, 0, 0) == FARMEM_NEVER);
	/* most of it is away, and a quarter of that on this machine: it would have to come back first */
	node.costs.kept = 0.25;
	farmem_measured_back(&node.costs, 100 * MIB, 500 * NS_PER_MS);
	assert_in_range(farmem_park_even_ns(&node, &f, 25 * MIB, 100 * MIB), 20 * S - 9, 20 * S + 9);
	/* scarce memory is worth more, in the end anything */
	node.psi = 0.4;
	assert_int_equal(farmem_park_even_ns(&node, &f, 100 * MIB, 0), 0);
	node.psi = 0;
	/* what was before fades */
	for (unsigned n = 0; n < 60; n++) {
		farmem_measured_park(&f, 100 * NS_PER_MS);
		farmem_measured_unpark(&f, 100 * NS_PER_MS);
	}
	assert_in_range(farmem_park_even_ns(&node, &f, 100 * MIB, 0), 2 * S, 2 * S + S / 50);
	f.knobs.processor_bytes = 0;
	assert_int_equal(farmem_park_even_ns(&node, &f, 100 * MIB, 0), 0);
}

static void break_even_is_measured(void **state)
{
	struct farmem_node node = { 0 };
	struct farmem_knobs k;

	farmem_knobs_default(&k);
	k.processor_bytes = 1000 * MIB;
	assert_int_equal(farmem_break_even_ns(&node, &k, 0), 0);
	farmem_measured_out(&node.costs, 10 * MIB, 6 * NS_PER_MS);
	farmem_measured_back(&node.costs, 10 * MIB, 4 * NS_PER_MS);
	assert_in_range(farmem_break_even_ns(&node, &k, 0), S - 9, S + 9);
	/* an instance that is still to be met: 10 ms for 40 MiB */
	farmem_measured_meeting(&node.costs, 1, 7 * NS_PER_MS);
	farmem_measured_meeting(&node.costs, 0, 3 * NS_PER_MS);
	assert_in_range(farmem_break_even_ns(&node, &k, 40 * MIB), S + S / 4 - 9, S + S / 4 + 9);
	/* half of it stays on this machine */
	node.costs.kept = 0.5;
	assert_in_range(farmem_break_even_ns(&node, &k, 0), 2 * S - 9, 2 * S + 9);
	node.costs.kept = 1;
	assert_in_range(farmem_break_even_ns(&node, &k, 0), 4 * S - 9, 4 * S + 9);
	node.costs.kept = 0;
	/* the machine became slower: what was before fades */
	for (unsigned n = 0; n < 2000; n++)
		farmem_measured_out(&node.costs, MIB, 6 * NS_PER_MS);
	assert_in_range(farmem_break_even_ns(&node, &k, 0), 6 * S, 6 * S + S / 2);
	node.psi = 0.4;
	assert_int_equal(farmem_break_even_ns(&node, &k, 0), 0);
	node.psi = 0;
	/* and what is not measured any more fades, too: half of it in an hour, to 1.1 ns a byte and a third that stays */
	farmem_costs_default(&node.costs);
	assert_in_range(farmem_break_even_ns(&node, &k, 0), S * 16 / 10, S * 19 / 10);
	farmem_measured_out(&node.costs, 256 * MIB, 256 * 37 * NS_PER_MS);
	uint64_t high = farmem_break_even_ns(&node, &k, 0), normal = S * 17 / 10;
	assert_true(high > 20 * normal);
	for (unsigned n = 0; n < 3600; n++)
		farmem_costs_fade(&node.costs, NS_PER_S);
	assert_in_range(farmem_break_even_ns(&node, &k, 0), high / 2 - normal, high / 2 + normal);
	farmem_costs_fade(&node.costs, 100 * 3600 * (uint64_t)NS_PER_S);
	assert_in_range(farmem_break_even_ns(&node, &k, 0), S * 16 / 10, S * 19 / 10);
	/* time that goes faster */
	farmem_knobs_compress(&k, 10);
	assert_in_range(farmem_break_even_ns(&node, &k, 0), S * 16 / 100, S * 19 / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delay_without_samples), cmocka_unit_test(delay_is_the_quantile), cmocka_unit_test(extremes_are_kept), cmocka_unit_test(prior_gives_way),
		cmocka_unit_test(old_samples_fade), cmocka_unit_test(barriers_come_once_and_in_order), cmocka_unit_test(segments_go_after_requests), cmocka_unit_test(small_segments_stay),
		cmocka_unit_test(request_calls_offload_off), cmocka_unit_test(what_was_cut_short_goes_on), cmocka_unit_test(long_request_lets_segments_go), cmocka_unit_test(what_comes_back_stays), cmocka_unit_test(rollback_in_due_time),
		cmocka_unit_test(memory_leaves_gradually), cmocka_unit_test(request_ends_semiwarm), cmocka_unit_test(prefetch_is_bounded), cmocka_unit_test(nothing_moves_at_the_end),
		cmocka_unit_test(cheap_wakes_let_memory_go), cmocka_unit_test(cheap_has_to_be_known), cmocka_unit_test(wakes_are_measured), cmocka_unit_test(calls_are_timed), cmocka_unit_test(waits_hide_a_wake), cmocka_unit_test(timers_have_a_rhythm), cmocka_unit_test(rhythms_mix), cmocka_unit_test(it_is_back_before_its_call), cmocka_unit_test(nobody_waits_for_what_is_not_to_come), cmocka_unit_test(what_comes_back_soon_stays), cmocka_unit_test(a_wake_that_hides_is_patient),
		cmocka_unit_test(late_timer_catches_up_one_pace), cmocka_unit_test(pressure_hurries), cmocka_unit_test(an_ended_instance_is_left_alone),
		cmocka_unit_test(unmatched_end_is_ignored), cmocka_unit_test(hottest_fit_in_order), cmocka_unit_test(governor_keeps_the_order), cmocka_unit_test(quotas_follow_the_link),
		cmocka_unit_test(knobs_are_checked), cmocka_unit_test(tmo_is_its_formula), cmocka_unit_test(cold_leaves_at_once), cmocka_unit_test(off_moves_nothing), cmocka_unit_test(faster_time_is_shorter),
		cmocka_unit_test(moving_has_to_pay), cmocka_unit_test(exit_ends_an_idle_time), cmocka_unit_test(break_even_is_measured), cmocka_unit_test(parking_has_to_pay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
