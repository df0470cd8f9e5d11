/* SPDX-License-Identifier: Apache-2.0 */
/* Every policy against a model that is an array of requests: whatever happens, in any order, none is lost, started twice or started where it may not be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "sched/policy.h"
#include "seed.h"

#define REQUESTS 40000u
#define STEPS 12000
#define TYPES_MAX 12
#define WORKERS_MAX 80

enum state { WAITING, RUNNING, GONE };

struct request {
	enum state state;
	uint32_t type, flow;            /* type: types_n is unknown */
	uint64_t arrival, order;
};

struct model {
	struct rng g;
	struct sched *s;
	struct sched_config cfg;
	uint64_t now, orders;
	struct request r[REQUESTS];
	uint32_t n, first;              /* requests before `first` are gone */
	int64_t runs[SCHED_WORKERS_MAX];        /* request; -1 idle, -2 down */
	struct sched_type_stats count[TYPES_MAX + 1];
	uint32_t waiting;
	bool late;
};

static struct model m;

static uint32_t number(uint32_t type) { return type == m.cfg.types_n ? SCHED_UNKNOWN - (uint32_t)rng_below(&m.g, 3) * 1000 : type; }
static bool before(const struct request *a, const struct request *b) { return a->arrival != b->arrival ? a->arrival < b->arrival : a->order < b->order; }
static bool per_worker(void) { return m.cfg.policy >= SCHED_DFCFS_RANDOM && m.cfg.policy <= SCHED_DFCFS_HASH; }
static uint64_t mean_of(uint32_t type) { return 1000ull << (type % 8); }

static void random_config(enum sched_policy policy)
{
	m.cfg.policy = policy;
	m.cfg.reserved = 1 + (uint32_t)rng_below(&m.g, m.cfg.workers > 1 ? m.cfg.workers - 1 : 1);
	m.cfg.window_requests = 20 + (uint32_t)rng_below(&m.g, 500);
	m.cfg.seed = rng_next(&m.g);
	m.cfg.queue_max = 5 + (uint32_t)rng_below(&m.g, 60);
	for (uint32_t t = 0; t < m.cfg.types_n; t++) {
		struct sched_type *y = &m.cfg.types[t];

		memset(y, 0, sizeof(*y));
		y->queue_max = rng_below(&m.g, 3) ? 0 : 1 + (uint32_t)rng_below(&m.g, 40);
		y->mean_ns = rng_below(&m.g, 2) ? mean_of(t) : 0;
		y->ratio = rng_below(&m.g, 2) ? 1.0 / m.cfg.types_n : 0;
		y->deadline_ns = 1 + rng_below(&m.g, 100000);
	}
	if (m.cfg.policy == SCHED_DARC_STATIC && m.cfg.workers < 2)
		m.cfg.policy = SCHED_DARC;
}

static uint32_t depth_max(uint32_t type)
{
	return type < m.cfg.types_n && m.cfg.types[type].queue_max ? m.cfg.types[type].queue_max : m.cfg.queue_max;
}

/* ---- what must hold ---- */

/* no request that waits should have gone before this one */
static void check_order(const struct request *x)
{
	for (uint32_t i = m.first; i < m.n; i++) {
		const struct request *y = &m.r[i];

		if (y->state != WAITING || y == x)
			continue;
		if (y->type == x->type && !per_worker())
			assert_true(before(x, y));
		if (m.cfg.policy == SCHED_CFCFS)
			assert_true(before(x, y));
		if (m.cfg.policy == SCHED_EDF && x->type < m.cfg.types_n && y->type < m.cfg.types_n)
			assert_true(x->arrival + m.cfg.types[x->type].deadline_ns <= y->arrival + m.cfg.types[y->type].deadline_ns);
		if (m.cfg.policy == SCHED_FP && x->type < m.cfg.types_n && y->type < m.cfg.types_n) {
			struct sched_type_stats a, b;

			sched_stats(m.s, x->type, &a);
			sched_stats(m.s, y->type, &b);
			assert_true(a.mean_ns <= b.mean_ns);
		}
	}
}

static void check_started(const struct sched_start *st)
{
	struct request *x;

	assert_true(st->request < m.n);
	x = &m.r[st->request];
	assert_int_equal(x->state, WAITING);
	assert_true(st->worker < m.cfg.workers);
	assert_true(m.runs[st->worker] == -1);
	assert_true(st->arrival_ns == x->arrival);
	assert_true(st->type == (x->type == m.cfg.types_n ? SCHED_UNKNOWN : x->type));
	check_order(x);
	x->state = RUNNING;
	m.runs[st->worker] = (int64_t)st->request;
	m.count[x->type].started++;
	m.count[x->type].depth--;
	m.waiting--;
}

static uint32_t idle_workers(void)
{
	uint32_t n = 0;

	for (uint32_t w = 0; w < m.cfg.workers; w++)
		n += m.runs[w] == -1;
	return n;
}

/* DARC: nothing waits that a worker of its group, or one that it may steal, is idle for */
static void check_groups(void)
{
	static struct sched_group g[SCHED_TYPES_MAX];
	size_t n = sched_groups(m.s, g, SCHED_TYPES_MAX);

	for (size_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < g[i].types_n; k++) {
			if (m.count[g[i].types[k]].depth == 0)
				continue;
			for (uint32_t w = 0; w < m.cfg.workers; w++) {
				uint64_t bit = 1ull << w % 64;

				if (m.runs[w] == -1)
					assert_false((g[i].reserved[w / 64] | g[i].stealable[w / 64]) & bit);
			}
		}
	}
}

/* nothing more starts now: is that right? */
static void check_rest(void)
{
	assert_int_equal(sched_waiting(m.s), m.waiting);
	assert_int_equal(sched_idle(m.s), idle_workers());
	if (m.waiting == 0 || idle_workers() == 0) {
		assert_true(sched_timer(m.s) == SCHED_NEVER);
		return;
	}
	switch (m.cfg.policy) {
	case SCHED_CFCFS:
	case SCHED_FP:
	case SCHED_EDF:
		fail_msg("%u requests wait and %u workers are idle", m.waiting, idle_workers());
		break;
	case SCHED_DARC:
	case SCHED_DARC_STATIC:
		check_groups();
		break;
	case SCHED_MINIMAX:
		/* it says when it looks again */
		assert_true(sched_timer(m.s) != SCHED_NEVER && sched_timer(m.s) > m.now);
		break;
	default:
		break;
	}
}

static void check_counters(void)
{
	for (uint32_t t = 0; t <= m.cfg.types_n; t++) {
		struct sched_type_stats x;

		sched_stats(m.s, number(t), &x);
		assert_int_equal(x.enqueued, m.count[t].enqueued);
		assert_int_equal(x.started, m.count[t].started);
		assert_int_equal(x.completed, m.count[t].completed);
		assert_int_equal(x.dropped, m.count[t].dropped);
		assert_int_equal(x.lost, m.count[t].lost);
		assert_int_equal(x.cancelled, m.count[t].cancelled);
		assert_int_equal(x.depth, m.count[t].depth);
		assert_int_equal(x.enqueued, x.started + x.cancelled + x.depth);
	}
}

static void drain(void)
{
	struct sched_start st;

	while (sched_next(m.s, m.now, &st))
		check_started(&st);
	check_rest();
	while (m.first < m.n && m.r[m.first].state == GONE)
		m.first++;
}

/* ---- what happens ---- */

static void do_enqueue(void)
{
	uint32_t t = (uint32_t)rng_below(&m.g, m.cfg.types_n + (rng_below(&m.g, 8) == 0));
	struct request *x = &m.r[m.n];
	int r;

	*x = (struct request){ WAITING, t, (uint32_t)rng_below(&m.g, 20), m.now, m.orders++ };
	if (m.late && rng_below(&m.g, 4) == 0) {
		x->arrival -= rng_below(&m.g, 20000);
		r = sched_enqueue_late(m.s, m.now, x->arrival, number(t), x->flow, m.n);
	} else {
		r = sched_enqueue(m.s, m.now, number(t), x->flow, m.n);
	}
	if (m.count[t].depth >= depth_max(t)) {
		assert_int_equal(r, -ENOBUFS);
		m.count[t].dropped++;
		return;
	}
	assert_int_equal(r, 0);
	m.n++;
	m.count[t].enqueued++;
	m.count[t].depth++;
	m.waiting++;
}

static void complete(uint32_t w)
{
	struct request *x = &m.r[m.runs[w]];

	sched_complete(m.s, m.now, w);
	x->state = GONE;
	m.count[x->type].completed++;
	m.runs[w] = -1;
}

static void do_complete(void)
{
	uint32_t w = (uint32_t)rng_below(&m.g, m.cfg.workers);

	if (m.runs[w] < 0)
		sched_complete(m.s, m.now, w);  /* of one that runs nothing: ignored */
	else
		complete(w);
}

static void do_cancel(void)
{
	uint32_t i = m.first + (uint32_t)rng_below(&m.g, m.n - m.first + 1);
	int r;

	if (i >= m.n)
		return;
	r = sched_cancel(m.s, m.now, number(m.r[i].type), i);
	assert_int_equal(r, m.r[i].state == WAITING ? 0 : -ENOENT);
	if (r < 0)
		return;
	m.r[i].state = GONE;
	m.count[m.r[i].type].cancelled++;
	m.count[m.r[i].type].depth--;
	m.waiting--;
}

static void do_down_or_up(void)
{
	uint32_t w = (uint32_t)rng_below(&m.g, m.cfg.workers);

	if (m.runs[w] == -2) {
		sched_worker_up(m.s, m.now, w);
		m.runs[w] = -1;
		return;
	}
	assert_int_equal(sched_worker_down(m.s, m.now, w), m.runs[w] >= 0);
	if (m.runs[w] >= 0) {
		m.r[m.runs[w]].state = GONE;
		m.count[m.r[m.runs[w]].type].lost++;
	}
	m.runs[w] = -2;
	assert_false(sched_worker_down(m.s, m.now, w));
}

static void do_switch(void)
{
	struct sched_config old = m.cfg;
	uint32_t most = old.workers;
	struct hearth_err err;
	bool busy = false;
	int r;

	m.cfg.workers = 1 + (uint32_t)rng_below(&m.g, WORKERS_MAX);
	for (uint32_t w = m.cfg.workers; w < most; w++)
		busy |= m.runs[w] >= 0;
	random_config((enum sched_policy)rng_below(&m.g, SCHED_TS));
	r = sched_switch(m.s, m.now, &m.cfg, &err);
	if (busy) {
		assert_int_equal(r, -EINVAL);
		m.cfg = old;
		return;
	}
	assert_int_equal(r, 0);
	for (uint32_t w = most; w < m.cfg.workers; w++)
		m.runs[w] = -1;
}

static void step(bool switches)
{
	uint64_t timer = sched_timer(m.s);

	m.now += rng_below(&m.g, 4) ? rng_below(&m.g, 3000) : 0;
	if (timer != SCHED_NEVER && timer > m.now && rng_below(&m.g, 2))
		m.now = timer;
	switch (rng_below(&m.g, 40)) {
	case 0:
		do_cancel();
		break;
	case 1:
		if (rng_below(&m.g, 4) == 0)
			do_down_or_up();
		break;
	case 2:
		if (switches && rng_below(&m.g, 10) == 0)
			do_switch();
		break;
	default:
		if (rng_below(&m.g, 100) < (m.now / 2000000 % 2 ? 60 : 40))
			do_enqueue();
		else
			do_complete();
	}
	drain();
}

/* All workers come up, nothing arrives any more: all that waits is started, within a bounded number of events. */
static void finish(void)
{
	for (uint32_t w = 0; w < m.cfg.workers; w++) {
		if (m.runs[w] == -2) {
			sched_worker_up(m.s, m.now, w);
			m.runs[w] = -1;
		}
	}
	drain();
	for (uint32_t events = 0; m.waiting > 0; events++) {
		uint32_t w = 0;

		assert_true(events < 1000000);
		m.now += 1000;
		if (sched_timer(m.s) != SCHED_NEVER && rng_below(&m.g, 2)) {
			m.now = sched_timer(m.s) > m.now ? sched_timer(m.s) : m.now;
		} else {
			while (w < m.cfg.workers && m.runs[w] < 0)
				w++;
			if (w < m.cfg.workers)
				complete(w);
		}
		drain();
	}
	for (uint32_t w = 0; w < m.cfg.workers; w++) {
		if (m.runs[w] >= 0)
			complete(w);
	}
	check_counters();
	for (uint32_t i = 0; i < m.n; i++)
		assert_int_equal(m.r[i].state, GONE);
}

static void run(enum sched_policy policy, uint64_t seed, bool switches)
{
	struct hearth_err err;
	char text[4096];

	memset(&m, 0, sizeof(m));
	m.g.state = seed;
	m.now = 1000000;
	m.late = rng_below(&m.g, 2);
	m.cfg.types_n = 1 + (uint32_t)rng_below(&m.g, TYPES_MAX);
	m.cfg.workers = 1 + (uint32_t)rng_below(&m.g, WORKERS_MAX);
	random_config(policy);
	for (uint32_t w = 0; w < SCHED_WORKERS_MAX; w++)
		m.runs[w] = -1;
	assert_int_equal(sched_new(&m.cfg, &m.s, &err), 0);
	for (int i = 0; i < STEPS; i++) {
		step(switches);
		if (i % 500 == 0) {
			check_counters();
			memset(text, 'x', sizeof(text));
			sched_explain(m.s, m.now, text, 1 + rng_below(&m.g, sizeof(text)));
			assert_non_null(memchr(text, '\0', sizeof(text)));
		}
	}
	finish();
	m.s = sched_free(m.s);
}

static void prop_each_policy(void **state)
{
	uint64_t seed = prop_seed();

	for (int p = 0; p < SCHED_TS; p++) {
		for (uint64_t i = 0; i < 4; i++)
			run((enum sched_policy)p, seed + i * 1000 + (uint64_t)p, false);
	}
}

static void prop_switching(void **state)
{
	uint64_t seed = prop_seed();

	for (uint64_t i = 0; i < 20; i++)
		run((enum sched_policy)(i % SCHED_TS), seed + i, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prop_each_policy), cmocka_unit_test(prop_switching) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
