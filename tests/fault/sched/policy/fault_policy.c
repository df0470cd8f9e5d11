/* SPDX-License-Identifier: Apache-2.0 */
/* The policy core without memory: sched_new and sched_switch fail whole; everything else does not ask for any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "fault.h"
#include "sched/policy.h"

static struct sched_config cfg;

static void configure(enum sched_policy policy)
{
	memset(&cfg, 0, sizeof(cfg));
	cfg = (struct sched_config){ .policy = policy, .workers = 14, .types_n = 3, .reserved = 2, .queue_max = 100, .window_requests = 1000 };
}

static void test_new(void **state)
{
	for (int p = 0; p < SCHED_TS; p++) {
		struct hearth_err err;
		struct sched *s = NULL;
		long before = fault_live_blocks();
		unsigned n = 1;
		int r = -ENOMEM;

		configure((enum sched_policy)p);
		for (; r == -ENOMEM; n++) {
			fault_arm(FAULT_ALLOC, n, ENOMEM);
			r = sched_new(&cfg, &s, &err);
			if (!fault_disarm())
				assert_int_equal(r, 0);
			if (r == -ENOMEM) {
				assert_null(s);
				assert_int_equal(fault_live_blocks(), before);
			}
		}
		assert_int_equal(r, 0);
		assert_true(n > 2);
		sched_free(s);
		assert_int_equal(fault_live_blocks(), before);
	}
}

static void test_switch(void **state)
{
	struct hearth_err err;
	struct sched *s;
	struct sched_start st;

	for (int p = 0; p < SCHED_TS; p++) {
		int r = -ENOMEM;

		configure(SCHED_CFCFS);
		assert_int_equal(sched_new(&cfg, &s, &err), 0);
		for (uint64_t i = 0; i < 40; i++)
			assert_int_equal(sched_enqueue(s, i, (uint32_t)i % 4, 0, i), 0);
		configure((enum sched_policy)p);
		for (unsigned n = 1; r == -ENOMEM; n++) {
			fault_arm(FAULT_ALLOC, n, ENOMEM);
			r = sched_switch(s, 40, &cfg, &err);
			fault_disarm();
			assert_int_equal(sched_config_of(s)->policy, r == 0 ? p : SCHED_CFCFS);
			assert_int_equal(sched_waiting(s), 40);
		}
		assert_int_equal(r, 0);
		assert_true(sched_next(s, 41, &st));
		sched_free(s);
	}
}

/* Ten thousand requests, with all that may happen to them, and the first allocation would fail. */
static void test_steady_state_allocates_nothing(void **state)
{
	struct sched_type_stats stats;
	struct sched_group groups[8];
	struct hearth_err err;
	char text[4096];

	for (int p = 0; p < SCHED_TS; p++) {
		struct sched *s;
		struct sched_start st;
		uint64_t now = 1000;

		configure((enum sched_policy)p);
		assert_int_equal(sched_new(&cfg, &s, &err), 0);
		fault_arm(FAULT_ALLOC, 1, ENOMEM);
		for (uint64_t i = 0; i < 10000; i++) {
			now += 137;
			sched_enqueue(s, now, (uint32_t)(i * 7 % 5), (uint32_t)i, i);
			sched_enqueue_late(s, now, now - 50, (uint32_t)(i % 3), (uint32_t)i, i + 20000);
			if (i % 3 == 0)
				sched_cancel(s, now, (uint32_t)(i % 3), i + 20000);
			while (sched_next(s, now, &st))
				;
			sched_complete(s, now, (uint32_t)(i * 5 % 14));
			sched_complete_service(s, now, (uint32_t)(i * 11 % 14), 500 + i % 1000);
			if (i % 500 == 0) {
				sched_worker_down(s, now, (uint32_t)i / 500 % 14);
				sched_worker_up(s, now, (uint32_t)i / 500 % 14);
				sched_stats(s, 1, &stats);
				sched_groups(s, groups, 8);
				sched_timer(s);
			}
		}
		assert_false(fault_disarm());
		/* formatting of floating-point numbers is the C library's */
		sched_explain(s, now, text, sizeof(text));
		sched_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new),
		cmocka_unit_test(test_switch),
		cmocka_unit_test(test_steady_state_allocates_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
