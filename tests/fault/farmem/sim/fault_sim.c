/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of a trace and of a simulated day fails once: -ENOMEM with a message, the result untouched, nothing leaked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "farmem/sim.h"
#include "fault.h"

#define SWEEP_MAX 3000

static const char inv[] = "HashFunction,HashApp,HashOwner,minute_1,minute_2\nf,a,o,1,2\ng,b,o,0,4\n";
static const char run[] = "HashFunction,HashApp,HashOwner,Count,Average,Minimum,Maximum,percentile_Average_0,percentile_Average_1,percentile_Average_25,percentile_Average_50,"
			  "percentile_Average_75,percentile_Average_99,percentile_Average_100\nf,a,o,3,10,1,20,1,2,5,10,15,19,20\ng,b,o,3,10,1,20,1,2,5,10,15,19,20\n";
static const char mem[] = "HashApp,HashOwner,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct1,AverageAllocatedMb_pct5,AverageAllocatedMb_pct25,AverageAllocatedMb_pct50,"
			  "AverageAllocatedMb_pct75,AverageAllocatedMb_pct95,AverageAllocatedMb_pct99,AverageAllocatedMb_pct100\na,o,5,1,1,1,1,1,1,1,1,1\nb,o,5,1,1,1,1,1,1,1,1,1\n";

static int parse(struct memsim_trace **ret, struct hearth_err *err)
{
	const struct memsim_text in[3] = { { inv, "inv", sizeof(inv) - 1 }, { run, "run", sizeof(run) - 1 }, { mem, "mem", sizeof(mem) - 1 } };

	return memsim_trace_parse(&in[0], &in[1], &in[2], ret, err);
}

static int generate(struct memsim_trace **ret, struct hearth_err *err)
{
	return memsim_trace_generate(1, 5, 20, ret, err);
}

static void sweep_trace(int (*make)(struct memsim_trace **, struct hearth_err *))
{
	bool fired = true;
	unsigned n;

	for (n = 1; n < SWEEP_MAX && fired; n++) {
		struct memsim_trace *t = NULL;
		struct hearth_err err = { 0 };
		long blocks = fault_live_blocks();
		int rc;

		fault_arm(FAULT_ALLOC, n, 0);
		rc = make(&t, &err);
		fired = fault_disarm();
		assert_int_equal(rc, fired ? -ENOMEM : 0);
		assert_true(fired ? t == NULL && err.code == rc : t != NULL);
		memsim_trace_free(t);
		assert_int_equal(fault_live_blocks(), blocks);
	}
	assert_true(n > 3 && n < SWEEP_MAX);
}

static void traces(void **state)
{
	sweep_trace(parse);
	sweep_trace(generate);
}

static void days(void **state)
{
	struct memsim_config cfg = { .policies = (1u << MEMSIM_POLICIES) - 1, .seed = 1, .threads = 1, .park = true, .link_bytes_per_s = 1 << 30 };
	struct memsim_trace *t = NULL;
	bool fired = true;
	unsigned n;

	assert_int_equal(memsim_trace_generate(1, 20, 60, &t, NULL), 0);
	farmem_knobs_default(&cfg.knobs);
	memsim_costs_default(&cfg.costs);
	memsim_model_default(&cfg.model);
	cfg.trace = t;
	for (n = 1; n < SWEEP_MAX && fired; n++) {
		struct memsim_result r[MEMSIM_POLICIES];
		struct hearth_err err = { 0 };
		long blocks = fault_live_blocks();
		int rc;

		memset(r, 0x5a, sizeof(r));
		fault_arm(FAULT_ALLOC, n, 0);
		rc = memsim_run(&cfg, r, &err);
		fired = fault_disarm();
		/* qsort does without, if there is none for it */
		assert_true(rc == 0 || (fired && rc == -ENOMEM && err.code == rc));
		if (rc < 0)
			for (size_t b = 0; b < sizeof(r); b++)
				assert_int_equal(((const unsigned char *)r)[b], 0x5a);
		assert_int_equal(fault_live_blocks(), blocks);
	}
	assert_true(n > 40 && n < SWEEP_MAX);
	memsim_trace_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(traces), cmocka_unit_test(days) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
