// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fault.h"
#include "slots.h"

/* Memory runs out while slots are changed under calls that wait and run: what was goes on, and no call is lost. */
#define CALLS 8

struct owner {
	struct slot_call *started[CALLS];
	unsigned n;
};

static void on_start(void *ctx, struct slot_call *c)
{
	struct owner *o = ctx;

	o->started[o->n++] = c;
}

static void on_wake_at(void *ctx, uint64_t at_ns)
{
	(void)ctx;
	(void)at_ns;
}

static const struct slots_ops ops = { .start = on_start, .wake_at = on_wake_at };

/* from @before to @after with the n-th allocation failing. Return: it did fail. */
static bool try_change(unsigned nth, const struct slots_config *before, const struct slots_config *after)
{
	struct types *types = types_new();
	struct owner o = { .n = 0 };
	struct slots *s = slots_new(&ops, &o, types);
	struct slot_call c[CALLS] = { 0 };
	struct hearth_err err;
	uint64_t now = 1000;
	unsigned offered = 0;
	bool fired;
	int r;

	types_take(types, "a");
	assert_int_equal(slots_configure(s, now, before, &err), 0);
	for (; before->slots && offered < CALLS; offered++)
		assert_int_equal(slots_offer(s, now++, &c[offered]), 0);
	slots_dispatch(s, now);
	assert_int_equal(o.n, before->slots);
	fault_arm(FAULT_ALLOC, nth, 0);
	r = slots_configure(s, now, after, &err);
	fired = fault_disarm();
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		assert_true(fired && err.msg[0]);
		assert_int_equal(slots_config_of(s)->slots, before->slots);
		assert_int_equal(slots_config_of(s)->policy, before->policy);
		assert_int_equal(slots_waiting(s), offered - before->slots);
	}
	for (; offered < CALLS && slots_limited(s); offered++)
		assert_int_equal(slots_offer(s, now++, &c[offered]), 0);
	slots_dispatch(s, now);
	/* ends, whose changes of the workers' number fail likewise */
	for (unsigned i = 0; i < o.n; i++) {
		fault_arm(FAULT_ALLOC, nth, 0);
		slots_done(s, ++now, o.started[i], true, 1);
		fault_disarm();
		assert_true(!slots_limited(s) || slots_busy(s) <= (before->slots > after->slots ? before->slots : after->slots));
		slots_dispatch(s, now);
	}
	assert_int_equal(o.n, offered);
	assert_int_equal(slots_busy(s) + slots_waiting(s), 0);
	slots_free(s);
	types_free(types);
	return fired;
}

static void sweep(const struct slots_config *before, const struct slots_config *after)
{
	for (unsigned n = 1; n < 100; n++) {
		long blocks = fault_live_blocks();
		bool fired = try_change(n, before, after);

		assert_int_equal(fault_live_blocks(), blocks);
		if (!fired)
			return;
	}
	fail_msg("more than 100 allocations?");
}

static void changes(void **state)
{
	static const struct slots_config all[] = {
		{ .slots = 0, .policy = SCHED_CFCFS }, { .slots = 1, .policy = SCHED_CFCFS }, { .slots = 3, .policy = SCHED_MINIMAX },
		{ .slots = 2, .policy = SCHED_DARC_STATIC, .reserved = 1 }, { .slots = 5, .policy = SCHED_DARC, .window = 10 },
	};

	(void)state;
	for (size_t a = 0; a < sizeof(all) / sizeof(all[0]); a++)
		for (size_t b = 0; b < sizeof(all) / sizeof(all[0]); b++)
			sweep(&all[a], &all[b]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(changes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
