// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "slots.h"

/* An owner that notes the order of starts; its clock goes on when it says so. */
#define MS 1000000ull
#define CALLS_MAX 256

struct owner {
	struct types *types;
	struct slots *slots;
	struct slot_call *started[CALLS_MAX];
	unsigned n, fails;              /* fails: so many of the next ones end as soon as they are started */
	uint64_t now, wake;
};

static void on_start(void *ctx, struct slot_call *c)
{
	struct owner *o = ctx;

	o->started[o->n++] = c;
	if (o->fails > 0) {
		o->fails--;
		slots_done(o->slots, o->now, c, false, 0);
		slots_dispatch(o->slots, o->now);       /* the outer one goes on */
	}
}

static void on_wake_at(void *ctx, uint64_t at_ns)
{
	((struct owner *)ctx)->wake = at_ns;
}

static const struct slots_ops ops = { .start = on_start, .wake_at = on_wake_at };

static int set(struct owner *o, uint32_t slots, enum sched_policy policy, uint32_t reserved)
{
	struct slots_config cfg = { .slots = slots, .policy = policy, .reserved = reserved };
	struct hearth_err err;

	return slots_configure(o->slots, o->now, &cfg, &err);
}

static struct owner begin(void)
{
	return (struct owner){ .types = types_new(), .now = 1000 * MS, .wake = SCHED_NEVER };
}

#define BEGIN(o, n, policy) \
	struct owner o = begin(); \
	o.slots = slots_new(&ops, &o, o.types); \
	types_take(o.types, "short"); \
	types_take(o.types, "long"); \
	assert_int_equal(set(&o, n, policy, 0), 0)

static void end(struct owner *o)
{
	slots_free(o->slots);
	types_free(o->types);
}

static void offer(struct owner *o, struct slot_call *c, uint32_t type)
{
	c->type = type;
	assert_int_equal(slots_offer(o->slots, o->now++, c), 0);
	assert_int_equal(c->state, SLOT_WAITS);
}

static void done(struct owner *o, struct slot_call *c, uint64_t service_ns)
{
	slots_done(o->slots, o->now, c, true, service_ns);
	slots_dispatch(o->slots, o->now);
}

static void no_limit_takes_no_calls(void **state)
{
	BEGIN(o, 0, SCHED_MINIMAX);
	struct slot_call c = { 0 };

	(void)state;
	assert_false(slots_limited(o.slots));
	assert_null(slots_core(o.slots));
	assert_int_equal(slots_offer(o.slots, o.now, &c), -ENOTSUP);
	slots_withdraw(o.slots, o.now, &c);
	slots_done(o.slots, o.now, &c, true, 5);
	slots_dispatch(o.slots, o.now);
	assert_int_equal(o.n, 0);
	end(&o);
}

static void so_many_run_and_no_more(void **state)
{
	BEGIN(o, 2, SCHED_CFCFS);
	struct slot_call c[5] = { 0 };

	(void)state;
	for (int i = 0; i < 5; i++)
		offer(&o, &c[i], 0);
	assert_int_equal(o.n, 0);
	slots_dispatch(o.slots, o.now);
	assert_int_equal(o.n, 2);
	assert_int_equal(slots_busy(o.slots), 2);
	assert_int_equal(slots_waiting(o.slots), 3);
	slots_withdraw(o.slots, o.now, &c[2]);
	done(&o, &c[0], 5);
	assert_ptr_equal(o.started[2], &c[3]);
	done(&o, &c[3], 5);
	assert_ptr_equal(o.started[3], &c[4]);
	assert_int_equal(slots_waiting(o.slots), 0);
	end(&o);
}

/* an instance that dies: its slot is free at once, and its calls are not taken for short ones */
static void lost_calls_are_no_service(void **state)
{
	BEGIN(o, 1, SCHED_CFCFS);
	struct slot_call c[3] = { 0 };
	struct sched_type_stats st;

	(void)state;
	for (int i = 0; i < 3; i++)
		offer(&o, &c[i], 1);
	slots_dispatch(o.slots, o.now);
	slots_done(o.slots, o.now, &c[0], false, 3);
	slots_dispatch(o.slots, o.now);
	assert_int_equal(o.n, 2);
	sched_stats(slots_core(o.slots), 1, &st);
	assert_int_equal(st.lost, 1);
	assert_int_equal(st.completed, 0);
	/* twice is once */
	slots_done(o.slots, o.now, &c[0], false, 3);
	assert_int_equal(slots_busy(o.slots), 1);
	end(&o);
}

static void a_start_that_fails_starts_the_next(void **state)
{
	BEGIN(o, 1, SCHED_CFCFS);
	struct slot_call c[10] = { 0 };

	(void)state;
	o.fails = 9;
	for (int i = 0; i < 10; i++)
		offer(&o, &c[i], 0);
	slots_dispatch(o.slots, o.now);
	assert_int_equal(o.n, 10);
	assert_ptr_equal(o.started[9], &c[9]);
	assert_int_equal(slots_busy(o.slots), 1);
	end(&o);
}

static void switched_while_calls_wait(void **state)
{
	BEGIN(o, 1, SCHED_CFCFS);
	struct slot_call c[6] = { 0 };

	(void)state;
	/* what types take is known before there is a limit */
	types_record(o.types, 0, 2 * MS, MS);
	types_record(o.types, 1, 100 * MS, 100 * MS);
	assert_int_equal(set(&o, 0, SCHED_CFCFS, 0), 0);
	assert_int_equal(set(&o, 1, SCHED_CFCFS, 0), 0);
	offer(&o, &c[0], 1);
	slots_dispatch(o.slots, o.now);
	for (int i = 1; i < 4; i++)
		offer(&o, &c[i], 1);
	offer(&o, &c[4], 0);
	offer(&o, &c[5], 0);
	assert_int_equal(set(&o, 1, SCHED_FP, 0), 0);
	assert_int_equal(slots_waiting(o.slots), 5);
	for (int i = 0; i < 6; i++)
		done(&o, o.started[i], o.started[i]->type ? 100 * MS : MS);
	assert_int_equal(o.n, 6);
	assert_ptr_equal(o.started[1], &c[4]);
	assert_ptr_equal(o.started[2], &c[5]);
	assert_ptr_equal(o.started[3], &c[1]);
	end(&o);
}

static void more_slots_and_fewer(void **state)
{
	BEGIN(o, 2, SCHED_CFCFS);
	struct slot_call c[20] = { 0 };

	(void)state;
	for (int i = 0; i < 20; i++)
		offer(&o, &c[i], (uint32_t)i % 2);
	slots_dispatch(o.slots, o.now);
	assert_int_equal(o.n, 2);
	assert_int_equal(set(&o, 5, SCHED_CFCFS, 0), 0);
	assert_int_equal(o.n, 5);
	/* from 5 to 1: none starts before four of them have ended, whichever they are */
	assert_int_equal(set(&o, 1, SCHED_FP, 0), 0);
	done(&o, &c[0], 5);
	done(&o, &c[2], 5);
	done(&o, &c[4], 5);
	done(&o, &c[3], 5);
	assert_int_equal(o.n, 5);
	assert_int_equal(slots_busy(o.slots), 1);
	done(&o, &c[1], 5);
	assert_int_equal(o.n, 6);
	assert_int_equal(slots_busy(o.slots), 1);
	assert_int_equal(set(&o, 3, SCHED_CFCFS, 0), 0);
	assert_int_equal(o.n, 8);
	assert_int_equal(slots_busy(o.slots), 3);
	end(&o);
}

static void no_limit_starts_all_that_wait(void **state)
{
	BEGIN(o, 1, SCHED_CFCFS);
	struct slot_call c[4] = { 0 }, d = { 0 };

	(void)state;
	for (int i = 0; i < 4; i++)
		offer(&o, &c[i], 0);
	slots_dispatch(o.slots, o.now);
	assert_int_equal(set(&o, 0, SCHED_CFCFS, 0), 0);
	assert_int_equal(o.n, 4);
	assert_int_equal(slots_busy(o.slots), 0);
	assert_int_equal(slots_waiting(o.slots), 0);
	/* a limit again: who ran before holds no slot, and gives none back */
	assert_int_equal(set(&o, 1, SCHED_CFCFS, 0), 0);
	offer(&o, &d, 0);
	slots_dispatch(o.slots, o.now);
	assert_int_equal(o.n, 5);
	for (int i = 0; i < 4; i++)
		done(&o, &c[i], 5);
	assert_int_equal(slots_busy(o.slots), 1);
	done(&o, &d, 5);
	assert_int_equal(slots_busy(o.slots), 0);
	end(&o);
}

static void what_is_refused_changes_nothing(void **state)
{
	BEGIN(o, 2, SCHED_CFCFS);
	struct slot_call c[3] = { 0 };

	(void)state;
	for (int i = 0; i < 3; i++)
		offer(&o, &c[i], 0);
	slots_dispatch(o.slots, o.now);
	assert_int_equal(set(&o, 257, SCHED_CFCFS, 0), -EINVAL);
	assert_int_equal(set(&o, 2, SCHED_TS, 0), -EINVAL);
	assert_int_equal(set(&o, 2, SCHED_DARC_STATIC, 2), -EINVAL);
	/* would do with the three workers that there still are, but not with the two that are asked for */
	assert_int_equal(set(&o, 3, SCHED_CFCFS, 0), 0);
	assert_int_equal(set(&o, 2, SCHED_DARC_STATIC, 2), -EINVAL);
	assert_int_equal(slots_config_of(o.slots)->slots, 3);
	assert_int_equal(o.n, 3);
	end(&o);
}

static void a_full_queue_of_a_type(void **state)
{
	static struct slot_call c[5000];
	BEGIN(o, 1, SCHED_CFCFS);
	struct slot_call other = { .type = 1 };
	unsigned taken = 0;

	(void)state;
	memset(c, 0, sizeof(c));
	while (taken < 5000 && slots_offer(o.slots, o.now, &c[taken]) == 0)
		taken++;
	assert_int_equal(taken, 4096);
	assert_int_equal(c[taken].state, SLOT_NONE);
	assert_int_equal(slots_offer(o.slots, o.now, &other), 0);
	slots_dispatch(o.slots, o.now);
	assert_int_equal(slots_offer(o.slots, o.now, &c[taken]), 0);
	end(&o);
}

/* too many types: they are one, and are served */
static void unknown_types(void **state)
{
	BEGIN(o, 1, SCHED_MINIMAX);
	struct slot_call c[3] = { 0 };

	(void)state;
	offer(&o, &c[0], TYPE_OTHER);
	offer(&o, &c[1], TYPE_OTHER);
	offer(&o, &c[2], 0);
	slots_dispatch(o.slots, o.now);
	for (int i = 0; i < 3; i++)
		done(&o, o.started[i], 5);
	assert_int_equal(o.n, 3);
	end(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_limit_takes_no_calls),
		cmocka_unit_test(so_many_run_and_no_more),
		cmocka_unit_test(lost_calls_are_no_service),
		cmocka_unit_test(a_start_that_fails_starts_the_next),
		cmocka_unit_test(switched_while_calls_wait),
		cmocka_unit_test(more_slots_and_fewer),
		cmocka_unit_test(no_limit_starts_all_that_wait),
		cmocka_unit_test(what_is_refused_changes_nothing),
		cmocka_unit_test(a_full_queue_of_a_type),
		cmocka_unit_test(unknown_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
