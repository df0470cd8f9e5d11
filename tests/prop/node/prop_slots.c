// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "seed.h"
#include "slots.h"

/*
 * A node without instances: calls arrive, run for a time of their type's, die, leave; slots, policy and types change meanwhile. Whatever happens: every call is
 * started once or left, no more run than there are slots, and none waits while it could run and nobody will ask again.
 */
#define MS 1000000ull
#define CALLS 3000
#define TYPES_USED 300          /* more than there are */

struct call {
	struct slot_call slot;
	uint64_t ends_ns;
	enum { NEW, WAITS, RUNS, OVER } is;
	int counted;            /* it was started while there was a limit */
	unsigned starts;
};

struct model {
	struct rng g;
	struct types *types;
	struct slots *slots;
	struct call *calls;
	uint32_t index[TYPES_USED];
	uint64_t now, wake;
	unsigned arrived, waiting, running, over, limit;
	unsigned holding;       /* calls that run and were started under this limit or one of before, without a time of no limit since */
};

static struct call *call_of(struct slot_call *c)
{
	return (struct call *)((char *)c - offsetof(struct call, slot));
}

static uint64_t service(struct model *m, const struct call *c)
{
	uint64_t base = c->slot.type % 5 == 0 ? 100 * MS : MS;

	return base / 2 + rng_below(&m->g, base);
}

static void is_over(struct model *m, struct call *c, bool answered, uint64_t took)
{
	assert_int_equal(c->is, RUNS);
	c->is = OVER;
	m->running--;
	m->holding -= c->counted != 0;
	m->over++;
	if (answered)
		types_record(m->types, c->slot.type, took, took);
	slots_done(m->slots, m->now, &c->slot, answered, took);
}

static void on_start(void *ctx, struct slot_call *s)
{
	struct model *m = ctx;
	struct call *c = call_of(s);

	assert_int_equal(c->is, WAITS);
	assert_int_equal(++c->starts, 1);
	assert_int_equal(s->state, SLOT_RUNS);
	c->is = RUNS;
	c->counted = m->limit > 0;
	m->waiting--;
	m->running++;
	m->holding += c->counted != 0;
	c->ends_ns = m->now + service(m, c);
	/* with fewer slots than run, none starts */
	if (m->limit)
		assert_true(m->holding <= m->limit);
	if (rng_below(&m->g, 50) == 0) {        /* its instance cannot be reached */
		m->now += rng_below(&m->g, 1000);
		is_over(m, c, false, 0);
		slots_dispatch(m->slots, m->now);
	}
}

static void on_wake_at(void *ctx, uint64_t at_ns)
{
	((struct model *)ctx)->wake = at_ns;
}

static const struct slots_ops ops = { .start = on_start, .wake_at = on_wake_at };

static struct call *pick(struct model *m, int is)
{
	unsigned from = (unsigned)rng_below(&m->g, CALLS);

	for (unsigned i = 0; i < CALLS; i++)
		if (m->calls[(from + i) % CALLS].is == (unsigned)is && (from + i) % CALLS < m->arrived)
			return &m->calls[(from + i) % CALLS];
	return NULL;
}

static void arrive(struct model *m)
{
	struct call *c;

	if (m->arrived == CALLS)
		return;
	c = &m->calls[m->arrived++];
	c->slot.type = m->index[rng_below(&m->g, rng_below(&m->g, 4) ? 10 : TYPES_USED)];
	c->is = WAITS;
	m->waiting++;
	if (m->limit)
		assert_int_equal(slots_offer(m->slots, m->now, &c->slot), 0);
	else {
		assert_int_equal(slots_offer(m->slots, m->now, &c->slot), -ENOTSUP);
		c->slot.state = SLOT_RUNS;
		on_start(m, &c->slot);
	}
	slots_dispatch(m->slots, m->now);
}

static void leave(struct model *m)
{
	struct call *c = pick(m, WAITS);

	if (!c)
		return;
	slots_withdraw(m->slots, m->now, &c->slot);
	c->is = OVER;
	m->waiting--;
	m->over++;
}

static void die(struct model *m)
{
	struct call *c = pick(m, RUNS);

	if (!c)
		return;
	is_over(m, c, false, 0);
	slots_dispatch(m->slots, m->now);
}

static void change(struct model *m)
{
	struct slots_config cfg = {
		.slots = (uint32_t)(rng_below(&m->g, 5) ? 1 + rng_below(&m->g, 8) : 0),
		.policy = (enum sched_policy)rng_below(&m->g, SCHED_TS),
		.window = 50,
	};
	struct hearth_err err;

	cfg.reserved = cfg.policy == SCHED_DARC_STATIC && cfg.slots > 1 ? 1 : 0;
	if (cfg.slots == 1 && cfg.policy == SCHED_DARC_STATIC)
		cfg.policy = SCHED_MINIMAX;
	m->limit = cfg.slots;
	if (cfg.slots == 0) {
		for (unsigned i = 0; i < m->arrived; i++)
			m->calls[i].counted = 0;
		m->holding = 0;
	}
	assert_int_equal(slots_configure(m->slots, m->now, &cfg, &err), 0);
}

static void rename_types(struct model *m)
{
	unsigned i = (unsigned)rng_below(&m->g, TYPES_USED);
	char name[32];

	types_give(m->types, m->index[i]);
	snprintf(name, sizeof(name), "again-%llu", (unsigned long long)rng_below(&m->g, 1000));
	m->index[i] = types_take(m->types, name);
	slots_named(m->slots, m->now);
}

/* the next thing that happens by itself */
static void pass_time(struct model *m)
{
	struct call *first = NULL;

	for (unsigned i = 0; i < m->arrived; i++)
		if (m->calls[i].is == RUNS && (!first || m->calls[i].ends_ns < first->ends_ns))
			first = &m->calls[i];
	if (m->wake != SCHED_NEVER && (!first || m->wake < first->ends_ns)) {
		m->now = m->wake > m->now ? m->wake : m->now;
		m->wake = SCHED_NEVER;
		slots_dispatch(m->slots, m->now);
	} else if (first) {
		m->now = first->ends_ns > m->now ? first->ends_ns : m->now;
		is_over(m, first, true, m->now - first->ends_ns + 1 + service(m, first));
		slots_dispatch(m->slots, m->now);
	}
}

static void check(const struct model *m)
{
	assert_int_equal(m->waiting, slots_waiting(m->slots));
	assert_int_equal(m->holding, slots_busy(m->slots));
	/* whoever waits while a slot is free is held, and will be looked at again */
	if (m->waiting > 0 && m->holding < m->limit)
		assert_true(m->wake != SCHED_NEVER || m->holding > 0);
}

static void any_history(void **state)
{
	struct rng seeds = { prop_seed() };

	(void)state;
	for (int round = 0; round < 30; round++) {
		struct model m = { .g = { rng_next(&seeds) }, .types = types_new(), .calls = calloc(CALLS, sizeof(*m.calls)), .now = 5 * MS, .wake = SCHED_NEVER };
		char name[32];
		uint64_t steps = 0;

		m.slots = slots_new(&ops, &m, m.types);
		for (unsigned i = 0; i < TYPES_USED; i++) {
			snprintf(name, sizeof(name), "type-%u", i);
			m.index[i] = types_take(m.types, name);
		}
		change(&m);
		while (m.over < CALLS) {
			uint64_t what = rng_below(&m.g, 1000);

			assert_true(++steps < 400000);
			m.now += rng_below(&m.g, MS / 4);
			if (what < 400)
				arrive(&m);
			else if (what < 430)
				leave(&m);
			else if (what < 440)
				die(&m);
			else if (what < 445)
				change(&m);
			else if (what < 447)
				rename_types(&m);
			else
				pass_time(&m);
			check(&m);
		}
		assert_int_equal(m.running + m.waiting, 0);
		slots_free(m.slots);
		types_free(m.types);
		free(m.calls);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(any_history) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
