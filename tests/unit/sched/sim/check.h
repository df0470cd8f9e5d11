/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SCHED_SIM_CHECK_H
#define TESTS_UNIT_SCHED_SIM_CHECK_H

/* cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/sim.h"

#define assert_near(value, want, share) assert_near_at(value, want, share, #value, __FILE__, __LINE__)
static inline void assert_near_at(double value, double want, double share, const char *what, const char *file, int line)
{
	if (!(fabs(value - want) <= share * fabs(want))) {
		print_error("%s is %g, not %g within %g%%\n", what, value, want, share * 100);
		_fail(file, line);
	}
}

static inline struct workload *mix(const struct workload_type *types, uint32_t n)
{
	struct workload *w = NULL;
	struct hearth_err err;

	if (workload_new("test", types, n, &w, &err) < 0)
		fail_msg("%s", err.msg);
	return w;
}

static inline struct sim_result run(const struct sim_config *cfg)
{
	struct hearth_err err = { 0 };
	struct sim_result r;

	if (sim_run(cfg, &r, &err) < 0)
		fail_msg("%s", err.msg);
	return r;
}

#endif
