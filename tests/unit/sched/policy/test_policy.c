/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sched/policy.h"

#define US 1000ull
#define MS 1000000ull

static struct sched_config cfg;
static struct sched_group groups[SCHED_TYPES_MAX];

static struct sched *make(enum sched_policy policy, uint32_t workers, uint32_t types, const double *mean_us, const double *ratio)
{
	struct hearth_err err;
	struct sched *s;

	memset(&cfg, 0, sizeof(cfg));
	cfg = (struct sched_config){ .policy = policy, .workers = workers, .types_n = types, .reserved = 1 };
	for (uint32_t t = 0; t < types; t++) {
		cfg.types[t].mean_ns = mean_us != NULL ? (uint64_t)(mean_us[t] * 1e3) : 0;
		cfg.types[t].ratio = ratio != NULL ? ratio[t] : 0;
	}
	assert_int_equal(sched_new(&cfg, &s, &err), 0);
	return s;
}

static struct sched_start next(struct sched *s, uint64_t now)
{
	struct sched_start st;

	assert_true(sched_next(s, now, &st));
	return st;
}

static void none(struct sched *s, uint64_t now)
{
	struct sched_start st;

	assert_false(sched_next(s, now, &st));
}

/* ---- configuration ---- */

static void refuse(const char *word)
{
	struct hearth_err err;
	struct sched *s = NULL;

	assert_int_equal(sched_new(&cfg, &s, &err), -EINVAL);
	assert_null(s);
	if (strstr(err.msg, word) == NULL)
		fail_msg("%s is not in: %s", word, err.msg);
}

static void reset(void)
{
	memset(&cfg, 0, sizeof(cfg));
	cfg = (struct sched_config){ .workers = 2, .types_n = 1 };
}

static void test_refuses(void **state)
{
	reset(), cfg.workers = 0, refuse("0 workers");
	reset(), cfg.workers = 257, refuse("256");
	reset(), cfg.types_n = 0, refuse("0 types");
	reset(), cfg.types_n = 257, refuse("257 types");
	reset(), cfg.policy = SCHED_TS, refuse("simulator");
	reset(), cfg.policy = SCHED_WS, refuse("simulator");
	reset(), cfg.policy = (enum sched_policy)99, refuse("99");
	reset(), cfg.policy = SCHED_DARC_STATIC, refuse("reserved");
	reset(), cfg.policy = SCHED_DARC_STATIC, cfg.reserved = 2, refuse("reserved");
	reset(), cfg.types[0].ratio = 1.5, refuse("ratio");
	reset(), cfg.types[0].ratio = 0.0 / 0.0, refuse("ratio");
	reset(), cfg.types[0].ratio = .7, cfg.types_n = 2, cfg.types[1].ratio = .7, refuse("add up");
	reset(), cfg.queue_max = (1 << 24) + 1, refuse("queue_max");
	reset(), cfg.types[0].queue_max = (1 << 24) + 1, refuse("queue_max");
	reset(), cfg.types_n = 256, cfg.queue_max = 1 << 24, refuse("may wait");
	reset(), memset(cfg.types[0].name, 'x', sizeof(cfg.types[0].name)), refuse("name");
	reset(), cfg.hold_max = -1, refuse("hold_max");
	reset(), cfg.types[0].mean_ns = SCHED_NEVER, refuse("nanoseconds");
}

static void test_names(void **state)
{
	int n = 0;

	while (sched_policy_names[n] != NULL)
		n++;
	assert_int_equal(n, SCHED_POLICIES);
	assert_string_equal(sched_policy_names[SCHED_MINIMAX], "minimax");
	assert_string_equal(sched_policy_names[SCHED_DARC_STATIC], "darc-static");
}

/* ---- DARC: the published reservations ---- */

static void check_reserved(struct sched *s, const char *want)
{
	char text[128] = "";
	size_t n = sched_groups(s, groups, SCHED_TYPES_MAX);

	for (size_t g = 0; g < n; g++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%04llx", g ? " " : "", (unsigned long long)groups[g].reserved[0]);
	assert_string_equal(text, want);
	sched_free(s);
}

static const double hb_us[] = { 1, 100 }, hb_ratio[] = { .5, .5 };
static const double eb_us[] = { .5, 500 }, eb_ratio[] = { .995, .005 };
static const double tpcc_us[] = { 5.7, 6, 20, 88, 100 }, tpcc_ratio[] = { .44, .04, .44, .04, .04 };

static void test_reservations(void **state)
{
	/* 1 + 13 (the last of which is the spillway, too), 2 + 12, 2 + 6 + 6 */
	check_reserved(make(SCHED_DARC, 14, 2, hb_us, hb_ratio), "0001 3ffe");
	check_reserved(make(SCHED_DARC, 14, 2, eb_us, eb_ratio), "0003 3ffc");
	check_reserved(make(SCHED_DARC, 14, 5, tpcc_us, tpcc_ratio), "0003 00fc 3f00");
}

/* The longer group's demand rounds to 14, 13 are left: those, and the spillway, which is the last worker and never the shorts' own. */
static void test_spillway_is_the_last_worker(void **state)
{
	struct sched *s = make(SCHED_DARC, 14, 2, hb_us, hb_ratio);
	uint64_t all = 0;

	assert_int_equal(sched_groups(s, groups, 8), 2);
	assert_int_equal(groups[1].reserved[0] & 1, 0);
	assert_int_equal(groups[0].stealable[0], 0x3ffe);
	assert_int_equal(groups[1].stealable[0], 0);
	/* longs never get worker 0 */
	for (uint64_t i = 0; i < 20; i++)
		sched_enqueue(s, i, 1, 0, i);
	for (int i = 0; i < 13; i++)
		all |= 1ull << next(s, 20).worker;
	assert_int_equal(all, 0x3ffe);
	none(s, 21);
	/* an unknown request waits for worker 13 although worker 0 is idle */
	sched_enqueue(s, 22, 77, 0, 100);
	none(s, 22);
	for (uint64_t i = 0; i < 7; i++) {
		sched_complete(s, 23 + i, 12);
		assert_int_equal(next(s, 23 + i).request, 13 + i);
	}
	sched_complete(s, 30, 13);
	assert_int_equal(next(s, 30).type, SCHED_UNKNOWN);
	sched_free(s);
	/* more groups than workers: all that are left over share the last one */
	s = make(SCHED_DARC, 2, 5, tpcc_us, tpcc_ratio);
	check_reserved(s, "0001 0002 0002");
	check_reserved(make(SCHED_DARC, 1, 2, hb_us, hb_ratio), "0001 0001");
}

static void test_steals(void **state)
{
	struct sched *s = make(SCHED_DARC, 14, 2, eb_us, eb_ratio);
	struct sched_type_stats stats;

	for (uint64_t i = 0; i < 5; i++) {
		sched_enqueue(s, i, 0, 0, i);
		assert_int_equal(next(s, i).worker, i);
	}
	sched_stats(s, 0, &stats);
	assert_int_equal(stats.steals, 3);
	sched_free(s);
}

/* In a group: first come, first served, not its shorter type first. */
static void test_group_is_fcfs(void **state)
{
	struct sched *s = make(SCHED_DARC, 14, 5, tpcc_us, tpcc_ratio);
	uint64_t i;

	for (i = 0; i < 40; i++)
		sched_enqueue(s, i, i % 3 ? 1 : 0, 0, i);
	for (i = 0; i < 14; i++)
		assert_int_equal(next(s, 50).request, i);
	for (; i < 40; i++) {
		sched_complete(s, 100 + i, 5);
		assert_int_equal(next(s, 100 + i).request, i);
	}
	sched_free(s);
}

/* ---- DARC: learning ---- */

/* each type in turn, one after the other, on any worker */
static void serve(struct sched *s, uint64_t *now, uint64_t requests, uint32_t types, const double *us)
{
	for (uint64_t i = 0; i < requests; i++) {
		uint32_t t = (uint32_t)(i % types);
		struct sched_start st;

		assert_int_equal(sched_enqueue(s, *now, t, 0, i), 0);
		st = next(s, *now);
		*now += (uint64_t)(us[t] * 1e3);
		sched_complete(s, *now, st.worker);
	}
}

static void test_bootstrap(void **state)
{
	struct sched *s = make(SCHED_DARC, 14, 2, NULL, NULL);
	uint64_t now = 0;

	serve(s, &now, 49999, 2, hb_us);
	assert_int_equal(sched_groups(s, groups, 8), 0);
	assert_int_equal(sched_updates(s), 0);
	serve(s, &now, 2, 2, hb_us);
	assert_int_equal(sched_updates(s), 1);
	check_reserved(s, "0001 3ffe");
}

/* one published version counts in arrays of 8 types and a window without bounds */
static void test_many_types_and_long_windows(void **state)
{
	static double us[200];
	struct sched *s;
	struct sched_type_stats stats;
	uint64_t now = 0;

	for (int t = 0; t < 200; t++)
		us[t] = 1 + 2 * t;
	s = make(SCHED_DARC, 64, 200, NULL, NULL);
	serve(s, &now, 300000, 200, us);
	assert_in_range(sched_groups(s, groups, SCHED_TYPES_MAX), 10, 40);
	for (uint32_t t = 0; t < 200; t++) {
		sched_stats(s, t, &stats);
		assert_in_range(stats.mean_ns, us[t] * 990, us[t] * 1010);
		assert_int_equal(stats.completed, 1500);
	}
	/* nobody waits: no reason to reserve again, however long that goes on */
	assert_int_equal(sched_updates(s), 1);
	sched_free(s);
}

/* Looked at again only when a second request has waited for longer than a mean, and demand has moved. */
static void test_new_reservation(void **state)
{
	static const double other_us[] = { 100, 1 };
	struct sched *s = make(SCHED_DARC, 14, 2, hb_us, hb_ratio);
	struct sched_start st;
	uint64_t now = 0;

	serve(s, &now, 60000, 2, other_us);
	assert_int_equal(sched_updates(s), 1);
	/* the window is over: now two of type 0 wait for all too long */
	for (uint64_t i = 0; i < 30; i++)
		sched_enqueue(s, now, 0, 0, i);
	now += 500 * US;
	while (sched_next(s, now, &st))
		;
	sched_complete(s, now, 0);
	assert_int_equal(sched_updates(s), 2);
	assert_int_equal(sched_groups(s, groups, 8), 2);
	assert_int_equal(groups[0].types[0], 1);
	assert_int_equal(groups[0].reserved[0], 1);
	sched_free(s);
}

static void test_static(void **state)
{
	struct sched *s;

	memset(&cfg, 0, sizeof(cfg));
	s = make(SCHED_DARC_STATIC, 14, 5, tpcc_us, NULL);
	check_reserved(s, "0001 3ffe 3ffe");
	cfg.reserved = 3;
	assert_int_equal(sched_new(&cfg, &s, NULL), 0);
	assert_int_equal(sched_groups(s, groups, 8), 3);
	assert_int_equal(groups[0].reserved[0], 7);
	assert_int_equal(groups[0].stealable[0], 0x3ff8);
	assert_int_equal(groups[1].reserved[0], 0x3ff8);
	assert_int_equal(groups[1].stealable[0], 0);
	sched_free(s);
}

/* ---- unknown requests ---- */

/* One worker that always has something shorter to do. */
static void unknown_gets_its_turn(enum sched_policy policy)
{
	struct sched *s = make(policy, 1, 2, hb_us, hb_ratio);
	struct sched_start st;
	uint64_t now = 1000, starts = 0;

	sched_enqueue(s, now, SCHED_UNKNOWN, 0, 1000000);
	sched_enqueue(s, now, 12345, 0, 1000001);
	for (uint64_t i = 0; i < 20000; i++) {
		sched_enqueue(s, now, 0, 0, i);
		sched_enqueue(s, now, 1, 0, i);
		if (sched_next(s, now, &st))
			starts += st.type == SCHED_UNKNOWN;
		now += US;
		sched_complete(s, now, 0);
	}
	assert_int_equal(starts, 2);
	sched_free(s);
}

static void test_unknown_does_not_starve(void **state)
{
	for (int p = 0; p < SCHED_TS; p++) {
		if (p != SCHED_DARC_STATIC)
			unknown_gets_its_turn((enum sched_policy)p);
	}
}

/* but a flood of them gets no more than that */
static void test_unknown_is_last(void **state)
{
	struct sched *s = make(SCHED_FP, 1, 2, hb_us, hb_ratio);
	struct sched_start st;
	uint64_t now = 1000, starts = 0;

	for (uint64_t i = 0; i < 4000; i++)
		sched_enqueue(s, now, SCHED_UNKNOWN, 0, i);
	for (uint64_t i = 0; i < 10000; i++) {
		sched_enqueue(s, now, 0, 0, i);
		st = next(s, now);
		starts += st.type == SCHED_UNKNOWN;
		now += US;
		sched_complete(s, now, 0);
	}
	assert_in_range(starts, 5, 11);
	sched_free(s);
}

/* ---- queues ---- */

static void test_bounds(void **state)
{
	struct hearth_err err;
	struct sched_type_stats stats;
	struct sched *s;

	reset();
	cfg.queue_max = 3;
	cfg.types_n = 2;
	cfg.types[1].queue_max = 5;
	assert_int_equal(sched_new(&cfg, &s, &err), 0);
	for (uint64_t i = 0; i < 10; i++) {
		assert_int_equal(sched_enqueue(s, i, 0, 0, i), i < 3 ? 0 : -ENOBUFS);
		assert_int_equal(sched_enqueue(s, i, 1, 0, i), i < 5 ? 0 : -ENOBUFS);
		assert_int_equal(sched_enqueue(s, i, 9, 0, i), i < 3 ? 0 : -ENOBUFS);
	}
	sched_stats(s, 1, &stats);
	assert_int_equal(stats.dropped, 5);
	assert_int_equal(stats.enqueued, 5);
	sched_stats(s, SCHED_UNKNOWN, &stats);
	assert_int_equal(stats.dropped, 7);
	assert_int_equal(stats.depth, 3);
	sched_free(s);
}

/* many times the size of a queue through it, never quite empty */
static void test_wrap(void **state)
{
	struct hearth_err err;
	struct sched *s;

	reset();
	cfg.workers = 1;
	cfg.queue_max = 5;
	assert_int_equal(sched_new(&cfg, &s, &err), 0);
	for (uint64_t i = 0; i < 300000; i++) {
		assert_int_equal(sched_enqueue(s, i, 0, 0, i), 0);
		if (i >= 3) {
			assert_int_equal(next(s, i).request, i - 3);
			sched_complete(s, i, 0);
		}
	}
	assert_int_equal(sched_waiting(s), 3);
	sched_free(s);
}

static void test_cancel(void **state)
{
	static const uint64_t left[] = { 1, 3, 4 };

	for (int p = 0; p < SCHED_TS; p++) {
		struct sched *s = make((enum sched_policy)p, 4, 1, NULL, NULL);

		for (uint64_t i = 0; i < 6; i++)
			sched_enqueue(s, i, 0, 3, i);
		assert_int_equal(sched_cancel(s, 6, 0, 2), 0);
		assert_int_equal(sched_cancel(s, 6, 0, 0), 0);
		assert_int_equal(sched_cancel(s, 6, 0, 5), 0);
		assert_int_equal(sched_cancel(s, 6, 0, 5), -ENOENT);
		assert_int_equal(sched_cancel(s, 6, SCHED_UNKNOWN, 1), -ENOENT);
		assert_int_equal(sched_waiting(s), 3);
		for (int i = 0; i < 3 && p != SCHED_DFCFS_RANDOM && p != SCHED_DFCFS_RR; i++) {
			struct sched_start st = next(s, 7);

			assert_int_equal(st.request, left[i]);
			sched_complete(s, 8, st.worker);
		}
		sched_free(s);
	}
}

static void test_late(void **state)
{
	struct sched *s = make(SCHED_CFCFS, 1, 2, NULL, NULL);

	sched_enqueue(s, 100, 0, 0, 1);
	sched_enqueue(s, 200, 1, 0, 2);
	sched_enqueue_late(s, 300, 150, 0, 0, 3);
	sched_enqueue_late(s, 300, 50, 1, 0, 4);
	sched_enqueue_late(s, 300, 250, 1, 0, 5);
	for (int i = 0; i < 5; i++) {
		static const uint64_t order[] = { 4, 1, 3, 2, 5 };
		struct sched_start st = next(s, 300);

		assert_int_equal(st.request, order[i]);
		sched_complete(s, 300, 0);
	}
	sched_free(s);
}

/* ---- per-worker queues ---- */

static void test_dfcfs(void **state)
{
	struct sched *s = make(SCHED_DFCFS_RR, 3, 1, NULL, NULL);
	uint32_t w;

	for (uint64_t i = 0; i < 3; i++) {
		sched_enqueue(s, i, 0, 0, i);
		assert_int_equal(next(s, i).worker, i);
	}
	/* 3, 4, 5 wait for 0, 1, 2; worker 1 goes, and 4 with 0 or 2 */
	for (uint64_t i = 3; i < 6; i++)
		sched_enqueue(s, i, 0, 0, i);
	none(s, 6);
	assert_true(sched_worker_down(s, 7, 1));
	sched_complete(s, 8, 0);
	assert_int_equal(next(s, 8).request, 3);
	sched_complete(s, 9, 0);
	sched_complete(s, 9, 2);
	next(s, 9), next(s, 9), none(s, 9);
	sched_free(s);

	s = make(SCHED_DFCFS_HASH, 14, 1, NULL, NULL);
	sched_enqueue(s, 0, 0, 42, 0);
	w = next(s, 0).worker;
	sched_enqueue(s, 1, 0, 42, 1);
	none(s, 1);
	sched_complete(s, 2, w);
	assert_int_equal(next(s, 2).worker, w);
	/* nobody is up: it waits until somebody is, anybody */
	for (uint32_t i = 0; i < 14; i++)
		sched_worker_down(s, 3, i);
	sched_enqueue(s, 4, 0, 42, 2);
	none(s, 4);
	sched_worker_up(s, 5, (w + 7) % 14);
	assert_int_equal(next(s, 5).worker, (w + 7) % 14);
	sched_free(s);
}

/* ---- workers ---- */

static void test_down(void **state)
{
	struct sched *s = make(SCHED_DARC, 4, 2, hb_us, hb_ratio);
	struct sched_type_stats stats;

	sched_enqueue(s, 0, 1, 0, 7);
	assert_int_equal(next(s, 0).worker, 1);
	assert_true(sched_worker_down(s, 1, 1));
	assert_false(sched_worker_down(s, 1, 1));
	sched_stats(s, 1, &stats);
	assert_int_equal(stats.lost, 1);
	sched_complete(s, 2, 1);                /* it was only slow: too late */
	sched_stats(s, 1, &stats);
	assert_int_equal(stats.completed, 0);
	/* without the last worker the spillway is the one before it */
	assert_false(sched_worker_down(s, 3, 3));
	sched_enqueue(s, 4, SCHED_UNKNOWN, 0, 8);
	assert_int_equal(next(s, 4).worker, 2);
	sched_worker_up(s, 5, 1);
	sched_worker_up(s, 5, 1);
	assert_int_equal(sched_idle(s), 2);
	sched_free(s);
}

/* ---- switching ---- */

static void test_switch(void **state)
{
	struct sched *s = make(SCHED_DFCFS_RANDOM, 4, 3, NULL, NULL);
	struct hearth_err err;

	for (uint64_t i = 0; i < 30; i++)
		sched_enqueue(s, i / 4, (uint32_t)i % 4, (uint32_t)i, i);
	cfg.policy = SCHED_CFCFS;
	cfg.queue_max = 2;              /* those that wait are not thrown away */
	assert_int_equal(sched_switch(s, 30, &cfg, &err), 0);
	assert_int_equal(sched_waiting(s), 30);
	assert_int_equal(sched_enqueue(s, 30, 0, 0, 99), -ENOBUFS);
	for (uint64_t i = 0; i < 30; i++) {
		struct sched_start st = next(s, 31);

		assert_int_equal(st.request, i);
		assert_int_equal(st.arrival_ns, i / 4);
		sched_complete(s, 31, st.worker);
	}
	cfg.types_n = 2;
	assert_int_equal(sched_switch(s, 32, &cfg, &err), -EINVAL);
	cfg.types_n = 3;
	sched_enqueue(s, 33, 0, 0, 1);
	sched_enqueue(s, 33, 0, 0, 2);
	next(s, 33), next(s, 33);
	cfg.workers = 1;
	assert_int_equal(sched_switch(s, 34, &cfg, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "worker 1"));
	cfg.workers = 2;
	assert_int_equal(sched_switch(s, 34, &cfg, &err), 0);
	assert_int_equal(sched_idle(s), 0);
	cfg.workers = 200;
	assert_int_equal(sched_switch(s, 35, &cfg, &err), 0);
	assert_int_equal(sched_idle(s), 198);
	sched_free(s);
}

static void test_switch_keeps_what_was_learnt(void **state)
{
	struct sched *s = make(SCHED_CFCFS, 14, 2, NULL, NULL);
	struct hearth_err err;
	uint64_t now = 0;

	serve(s, &now, 60000, 2, hb_us);
	cfg.policy = SCHED_DARC;
	assert_int_equal(sched_switch(s, now, &cfg, &err), 0);
	check_reserved(s, "0001 3ffe");
}

/* ---- minimax ---- */

/* HB at 90%: a long one must not take the last worker while all others run long ones, and is told so */
static void test_minimax_holds(void **state)
{
	struct sched *s = make(SCHED_MINIMAX, 14, 2, NULL, NULL);
	uint64_t now = 0, per_request = 50500 / 13;
	struct sched_start st;
	struct sched_type_stats stats;
	char text[4096];
	uint64_t end[14] = { 0 };

	/* learn under a load of 13/14 */
	for (uint64_t i = 0; i < 50000; i++) {
		now += per_request;
		for (uint32_t w = 0; w < 14; w++) {
			if (end[w] != 0 && end[w] <= now) {
				sched_complete_service(s, now, w, end[w] & 1 ? 100 * US : US);
				end[w] = 0;
			}
		}
		sched_enqueue(s, now, (uint32_t)i % 2, 0, i);
		while (sched_next(s, now, &st))
			end[st.worker] = ((now + (st.type ? 100 * US : US)) & ~1ull) | (st.type == 1);
	}
	sched_stats(s, 1, &stats);
	assert_in_range(stats.mean_ns, 99 * US, 101 * US);
	assert_in_range((uint64_t)stats.rate_hz, 120000, 136000);
	/* everything ends */
	now += 10000 * US;
	for (uint32_t w = 0; w < 14; w++)
		sched_complete_service(s, now, w, end[w] & 1 ? 100 * US : US);
	for (bool more = true; more;) {
		more = false;
		while (sched_next(s, now, &st)) {
			now += 1;
			sched_complete_service(s, now, st.worker, st.type ? 100 * US : US);
			more = true;
		}
		if (sched_waiting(s) > 0) {
			now = sched_timer(s);
			more = true;
		}
	}
	assert_int_equal(sched_idle(s), 14);
	/* fourteen long ones at once: not all start */
	for (uint64_t i = 0; i < 14; i++)
		sched_enqueue(s, now, 1, 0, i);
	while (sched_next(s, now, &st))
		;
	assert_in_range(sched_waiting(s), 1, 13);
	assert_true(sched_timer(s) > now && sched_timer(s) < now + 1000 * US);
	sched_explain(s, now, text, sizeof(text));
	assert_non_null(strstr(text, "held for"));
	sched_stats(s, 1, &stats);
	assert_true(stats.held > 0);
	/* a short one takes a worker that is kept */
	sched_enqueue(s, now, 0, 0, 99);
	assert_int_equal(next(s, now).request, 99);
	none(s, now);
	/* and with time alone all of them start */
	while (sched_waiting(s) > 0 && sched_idle(s) > 0) {
		now = sched_timer(s);
		assert_true(now != SCHED_NEVER);
		while (sched_next(s, now, &st))
			;
	}
	sched_free(s);
}

/* types that take a hundred milliseconds, ten a second: known within a minute, forgotten within minutes */
static void test_slow_types(void **state)
{
	struct sched *s = make(SCHED_MINIMAX, 4, 2, NULL, NULL);
	struct sched_type_stats stats;
	uint64_t now = 0;

	for (uint64_t i = 0; i < 600; i++) {
		struct sched_start st;

		sched_enqueue(s, now, (uint32_t)i % 2, 0, i);
		st = next(s, now);
		sched_complete(s, now + (st.type ? 300 : 20) * MS, st.worker);
		now += 400 * MS;
	}
	for (uint32_t t = 0; t < 2; t++) {
		sched_stats(s, t, &stats);
		assert_in_range((uint64_t)(stats.rate_hz * 1000), 1150, 1350);
		assert_in_range(stats.mean_ns, (t ? 295 : 19) * MS, (t ? 305 : 21) * MS);
	}
	/* the other way round from now on */
	for (uint64_t i = 0; i < 900; i++) {
		struct sched_start st;

		sched_enqueue(s, now, (uint32_t)i % 2, 0, i);
		st = next(s, now);
		sched_complete(s, now + (st.type ? 20 : 300) * MS, st.worker);
		now += 400 * MS;
	}
	sched_stats(s, 0, &stats);
	assert_in_range(stats.mean_ns, 280 * MS, 305 * MS);
	sched_free(s);
}

/* With one worker a long one is in the way whenever it runs: nothing is gained by holding it. */
static void test_one_worker_holds_nothing(void **state)
{
	struct sched *s = make(SCHED_MINIMAX, 1, 2, NULL, NULL);
	struct sched_start st;
	struct sched_type_stats stats;
	uint64_t now = 0;

	for (uint64_t i = 0; i < 20000; i++) {
		uint32_t t = i % 2;

		sched_enqueue(s, now, t, 0, i);
		st = next(s, now);
		assert_int_equal(st.type, t);
		now += (uint64_t)(hb_us[t] * 1e3);
		sched_complete(s, now, 0);
		now += t ? 10 * US : 0;
	}
	sched_stats(s, 1, &stats);
	assert_int_equal(stats.held, 0);
	assert_true(sched_updates(s) > 10);
	sched_free(s);
}

static void test_hold_max(void **state)
{
	struct hearth_err err;
	struct sched *s;
	struct sched_start st;
	uint64_t now = 0;

	reset();
	cfg.policy = SCHED_MINIMAX;
	cfg.types_n = 2;
	cfg.hold_max = 3;
	assert_int_equal(sched_new(&cfg, &s, &err), 0);
	for (uint64_t i = 0; i < 20000; i++) {
		sched_enqueue(s, now, i % 10 == 0, 0, i);
		while (sched_next(s, now, &st)) {
			uint64_t service = st.type ? 1000 * US : 10 * US;

			/* held until three times its own length, not beyond */
			assert_true(st.type == 0 || sched_idle(s) == 0 || now - st.arrival_ns <= 2 * 1000 * US + 1000);
			now += service;
			sched_complete(s, now, st.worker);
		}
		now += 100 * US;
		if (sched_timer(s) != SCHED_NEVER)
			now = sched_timer(s) < now ? now : sched_timer(s);
	}
	sched_free(s);
}

static void test_largest(void **state)
{
	static double us[256];
	struct sched *s;
	struct sched_start st;
	uint64_t now = 0;

	for (int t = 0; t < 256; t++)
		us[t] = .1 + t * t;
	for (int p = 0; p < SCHED_TS; p++) {
		s = make((enum sched_policy)p, 256, 256, us, NULL);
		for (uint64_t i = 0; i < 30000; i++) {
			now += 80 * US;
			sched_enqueue(s, now, (uint32_t)(i * 2654435761u >> 8) % 257, (uint32_t)i, i);
			while (sched_next(s, now, &st))
				;
			sched_complete_service(s, now, (uint32_t)(i % 256), (uint64_t)(us[i % 256] * 1e3));
		}
		assert_true(sched_groups(s, groups, SCHED_TYPES_MAX) <= SCHED_TYPES_MAX);
		sched_free(s);
	}
}

static void test_explain(void **state)
{
	struct sched *s = make(SCHED_DARC, 14, 5, tpcc_us, tpcc_ratio);
	char text[4096], cut[20];

	sched_explain(s, 0, text, sizeof(text));
	assert_non_null(strstr(text, "policy darc: 14 workers, 14 idle"));
	assert_non_null(strstr(text, "reserved 2-7, may also take 8-13"));
	assert_non_null(strstr(text, "spillway"));
	memset(cut, 'x', sizeof(cut));
	sched_explain(s, 0, cut, 10);
	assert_string_equal(cut, "policy da");
	assert_int_equal(cut[10], 'x');
	sched_explain(s, 0, cut, 0);
	sched_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_reservations),
		cmocka_unit_test(test_spillway_is_the_last_worker),
		cmocka_unit_test(test_steals),
		cmocka_unit_test(test_group_is_fcfs),
		cmocka_unit_test(test_bootstrap),
		cmocka_unit_test(test_many_types_and_long_windows),
		cmocka_unit_test(test_new_reservation),
		cmocka_unit_test(test_static),
		cmocka_unit_test(test_unknown_does_not_starve),
		cmocka_unit_test(test_unknown_is_last),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_dfcfs),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_switch),
		cmocka_unit_test(test_switch_keeps_what_was_learnt),
		cmocka_unit_test(test_minimax_holds),
		cmocka_unit_test(test_slow_types),
		cmocka_unit_test(test_one_worker_holds_nothing),
		cmocka_unit_test(test_hold_max),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_explain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
