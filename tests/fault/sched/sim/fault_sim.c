/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of a simulation, a workload and a recorded trace fails once: -ENOMEM with a message, the result untouched, nothing leaked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "sched/sim.h"

#define SWEEP_MAX 3000

/* The log of reservations may be lost to a lack of memory without the run being lost. */
static void sweep_run(enum sched_policy policy, const struct sim_config *base)
{
	struct sim_config cfg = *base;
	bool fired = true;
	unsigned n;

	cfg.policy = policy;
	for (n = 1; n < SWEEP_MAX && fired; n++) {
		struct sim_result r = { .arrived = 42 };
		struct hearth_err err = { 0 };
		long blocks = fault_live_blocks();
		int rc;

		fault_arm(FAULT_ALLOC, n, 0);
		rc = sim_run(&cfg, &r, &err);
		fired = fault_disarm();
		assert_true(rc == 0 || (fired && rc == -ENOMEM));
		if (rc < 0) {
			assert_int_equal(r.arrived, 42);
			assert_int_equal(err.code, rc);
		} else {
			assert_int_equal(r.completed + r.dropped, cfg.requests);
			sim_result_done(&r);
		}
		assert_int_equal(fault_live_blocks(), blocks);
	}
	assert_true(n > 5 && n < SWEEP_MAX);
}

static void runs(void **state)
{
	static const enum sched_policy policies[] = { SCHED_CFCFS, SCHED_DARC, SCHED_MINIMAX, SCHED_TS, SCHED_WS };
	struct sim_config cfg = sim_config_default();
	struct workload *w = NULL;

	assert_int_equal(workload_load("high-bimodal", &w, NULL), 0);
	cfg.workload = w;
	cfg.requests = 3000;
	cfg.load = 1.2;
	cfg.window_requests = 500;
	cfg.interval_ns = 5000000;
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		sweep_run(policies[i], &cfg);
	workload_free(w);
}

static const char trace[] = "t_ns,type,service_ns\n1,a,5\n2,b,6\n3,a,7\n4,c,8\n";

static void traces(void **state)
{
	bool fired = true;
	unsigned n;

	for (n = 1; n < SWEEP_MAX && fired; n++) {
		struct sim_trace *t = NULL;
		struct hearth_err err = { 0 };
		long blocks = fault_live_blocks();
		int rc;

		fault_arm(FAULT_ALLOC, n, 0);
		rc = sim_trace_parse(trace, sizeof(trace) - 1, "t", &t, &err);
		fired = fault_disarm();
		assert_int_equal(rc, fired ? -ENOMEM : 0);
		assert_true(fired ? t == NULL && err.code == rc : t != NULL);
		sim_trace_free(t);
		assert_int_equal(fault_live_blocks(), blocks);
	}
	assert_true(n > 4 && n < SWEEP_MAX);
}

static const char text[] = "types:\n  - { name: a, service: 1us, ratio: 0.5 }\n  - { name: b, service: 9us, ratio: 0.5 }\nphases:\n  - { duration: 1s }\n  - { ratio: { a: 1 } }\n";

static void workloads(void **state)
{
	bool fired = true;
	unsigned n;

	for (n = 1; n < SWEEP_MAX && fired; n++) {
		struct workload *w = NULL;
		struct hearth_err err = { 0 };
		long blocks = fault_live_blocks();
		int rc;

		fault_arm(FAULT_ALLOC, n, 0);
		rc = workload_parse(text, sizeof(text) - 1, "w", &w, &err);
		fired = fault_disarm();
		/* libyaml says of some lacks of memory that the text is wrong */
		assert_true(fired ? rc == -ENOMEM || rc == -EINVAL : rc == 0);
		assert_true(fired ? w == NULL && err.code == rc : w != NULL);
		workload_free(w);
		assert_int_equal(fault_live_blocks(), blocks);
	}
	assert_true(n > 10 && n < SWEEP_MAX);
}

static void searches(void **state)
{
	struct sim_config cfg = sim_config_default();
	struct sim_target target = { SIM_TARGET_SLOWDOWN, 0, 1.01 };
	struct workload *w = NULL;
	bool fired = true;
	unsigned n;

	assert_int_equal(workload_load("high-bimodal", &w, NULL), 0);
	cfg.workload = w;
	cfg.policy = SCHED_CFCFS;
	cfg.requests = 100;
	for (n = 1; n < SWEEP_MAX && fired; n++) {
		struct sim_max max = { 0 };
		struct hearth_err err = { 0 };
		long blocks = fault_live_blocks();
		int rc;

		fault_arm(FAULT_ALLOC, n, 0);
		rc = sim_find_max_load(&cfg, &target, 1, &max, &err);
		fired = fault_disarm();
		assert_int_equal(rc, fired ? -ENOMEM : 0);
		if (rc == 0)
			sim_result_done(&max.at);
		assert_int_equal(fault_live_blocks(), blocks);
	}
	assert_true(n > 20 && n < SWEEP_MAX);
	workload_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(runs), cmocka_unit_test(traces), cmocka_unit_test(workloads), cmocka_unit_test(searches) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
