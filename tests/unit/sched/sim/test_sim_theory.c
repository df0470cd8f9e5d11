/* SPDX-License-Identifier: Apache-2.0 */
/* The engine against closed formulae of queueing theory. Seeded: the tolerances are several standard errors, and a run is always the same. */
#include "check.h"

#define S 1000.0        /* mean service time, ns */

static struct sim_config config(const struct workload *w, enum sched_policy policy, uint32_t workers, double load)
{
	struct sim_config c = sim_config_default();

	c.workload = w;
	c.policy = policy;
	c.workers = workers;
	c.load = load;
	c.requests = 2000000;
	return c;
}

static struct sim_result run_one(double scv, enum sched_policy policy, uint32_t workers, double load)
{
	struct workload *w = mix(&(struct workload_type){ "x", S, 1, .scv = scv }, 1);
	struct sim_config c = config(w, policy, workers, load);
	struct sim_result r = run(&c);

	workload_free(w);
	return r;
}

/* M/M/1: time in system is exponential with mean S / (1 - rho) */
static void mm1(void **state)
{
	struct sim_result r = run_one(1, SCHED_CFCFS, 1, 0.7);
	double mean = S / 0.3;

	assert_near(r.types[0].latency_ns.mean, mean, 0.02);
	assert_near(r.types[0].latency_ns.p50, mean * log(2), 0.02);
	assert_near(r.types[0].latency_ns.p99, mean * log(100), 0.03);
	assert_near(r.types[0].latency_ns.p999, mean * log(1000), 0.05);
	assert_near(r.utilisation, 0.7, 0.005);
	assert_near(r.throughput_hz, 0.7e9 / S, 0.005);
	sim_result_done(&r);
}

/* M/G/1, Pollaczek and Khinchin: mean wait = rho S (1 + scv) / (2 (1 - rho)) */
static void mg1(void **state)
{
	static const double scvs[] = { 0, 0.1, 1, 4 };

	for (size_t i = 0; i < sizeof(scvs) / sizeof(scvs[0]); i++) {
		struct sim_result r = run_one(scvs[i], SCHED_CFCFS, 1, 0.6);

		assert_near(r.types[0].latency_ns.mean - S, 0.6 * S * (1 + scvs[i]) / (2 * 0.4), scvs[i] > 1 ? 0.06 : 0.02);
		sim_result_done(&r);
	}
}

static void mg1_bimodal(void **state)
{
	/* 500 ns, of one in ten 5,500 ns: mean 1,000, E[x^2] = .9 * 500^2 + .1 * 5500^2 */
	struct workload *w = mix(&(struct workload_type){ "x", S, 1, .high_ratio = 0.1, .high = 5.5 }, 1);
	struct sim_config c = config(w, SCHED_CFCFS, 1, 0.6);
	struct sim_result r = run(&c);

	assert_near(r.types[0].latency_ns.mean - S, 0.6 / S * (.9 * 500 * 500 + .1 * 5500 * 5500) / (2 * 0.4), 0.03);
	sim_result_done(&r);
	workload_free(w);
}

static double erlang_c(unsigned c, double a)
{
	double b = 1;

	for (unsigned i = 1; i <= c; i++)
		b = a * b / (i + a * b);
	return b / (1 - a / c * (1 - b));
}

/* M/M/c: mean wait = C / (c mu - lambda). The mean is the same for every policy that neither lets a worker idle nor looks at service times. */
static void mmc(void **state)
{
	static const enum sched_policy policies[] = { SCHED_CFCFS, SCHED_FP, SCHED_EDF, SCHED_WS, SCHED_MINIMAX, SCHED_DARC };

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct sim_result r = run_one(1, policies[i], 8, 0.85);

		assert_near(r.types[0].latency_ns.mean - S, erlang_c(8, 6.8) * S / (8 - 6.8), 0.03);
		sim_result_done(&r);
	}
}

/* d-FCFS, random: as many M/M/1 as there are workers */
static void random_queues(void **state)
{
	struct sim_result r = run_one(1, SCHED_DFCFS_RANDOM, 8, 0.7);

	assert_near(r.types[0].latency_ns.mean, S / 0.3, 0.02);
	sim_result_done(&r);
	r = run_one(1, SCHED_DFCFS_HASH, 8, 0.7);
	assert_near(r.types[0].latency_ns.mean, S / 0.3, 0.02);
	sim_result_done(&r);
	/* round robin: the arrivals of a worker are steadier, so it waits less */
	r = run_one(1, SCHED_DFCFS_RR, 8, 0.7);
	assert_true(r.types[0].latency_ns.mean < 0.85 * S / 0.3);
	sim_result_done(&r);
}

static const struct workload_type two[] = { { "short", 1000, 0.5 }, { "long", 10000, 0.5 } };

/* Priority without preemption, one worker (Cobham): W1 = R / (1 - rho1), W2 = R / ((1 - rho1) (1 - rho)), R = sum lambda E[x^2] / 2 */
static void priority(void **state)
{
	struct workload *w = mix(two, 2);
	struct sim_config c = config(w, SCHED_FP, 1, 0.8);
	double lambda = 0.8 / 5500, rho1 = lambda * 500, rest = lambda * (0.5 * 1e6 + 0.5 * 1e8) / 2;
	struct sim_result r;

	c.known = true;
	r = run(&c);
	assert_near(r.types[0].latency_ns.mean - 1000, rest / (1 - rho1), 0.02);
	assert_near(r.types[1].latency_ns.mean - 10000, rest / ((1 - rho1) * (1 - 0.8)), 0.04);
	sim_result_done(&r);
	workload_free(w);
}

/* Time sharing with a short quantum and nothing to pay for it: processor sharing, in which everybody is slowed down by 1 / (1 - rho) */
static void sharing(void **state)
{
	struct workload *w = mix(two, 2);
	struct sim_config c = config(w, SCHED_TS, 1, 0.6);
	struct sim_result r;

	c.requests = 300000;
	c.quantum_ns = 50;
	c.preempt_ns = 0;
	r = run(&c);
	assert_near(r.types[0].slowdown.mean, 1 / 0.4, 0.06);
	assert_near(r.types[1].slowdown.mean, 1 / 0.4, 0.04);
	assert_true(r.preempted > 0);
	sim_result_done(&r);
	/* a quantum that nobody uses up: first come, first served */
	c.policy = SCHED_TS;
	c.quantum_ns = 10000;
	r = run(&c);
	assert_near(r.types[0].latency_ns.mean - 1000, 0.6 / 5500 * (0.5 * 1e6 + 0.5 * 1e8) / (2 * 0.4), 0.04);
	assert_int_equal(r.preempted, 0);
	sim_result_done(&r);
	workload_free(w);
}

/* The dispatcher in front is an M/D/1 of its own */
static void dispatcher(void **state)
{
	struct workload *w = mix(&(struct workload_type){ "x", S, 1 }, 1);
	struct sim_config c = config(w, SCHED_CFCFS, 200, 0.01);
	struct sim_result r;

	c.dispatch_ns = 300;            /* 2 M/s: busy to 60% */
	r = run(&c);
	assert_near(r.types[0].latency_ns.mean - S - 300, 0.6 * 300 / (2 * 0.4), 0.03);
	sim_result_done(&r);
	workload_free(w);
}

/* M/M/1: the 99.9th percentile S ln 1000 / (1 - rho) meets X up to rho = 1 - S ln 1000 / X */
static void max_load(void **state)
{
	struct workload *w = mix(&(struct workload_type){ "x", S, 1, .scv = 1 }, 1);
	struct sim_config c = config(w, SCHED_CFCFS, 1, 0);
	struct sim_target t = { SIM_TARGET_LATENCY, 0, 50 * S };
	struct hearth_err err;
	struct sim_max one, two_jobs;

	c.requests = 1000000;
	assert_int_equal(sim_find_max_load(&c, &t, 1, &one, &err), 0);
	assert_near(one.load, 1 - log(1000) / 50, 0.015);
	assert_true(sim_meets(&one.at, &t));
	assert_near(one.rate_hz, one.load * 1e9 / S, 1e-9);
	assert_int_equal(sim_find_max_load(&c, &t, 3, &two_jobs, &err), 0);
	assert_near(two_jobs.load, one.load, 0.003);
	assert_true(two_jobs.runs > 0);
	sim_result_done(&one.at);
	sim_result_done(&two_jobs.at);
	/* a latency below any service time */
	t.value = S / 1e6;
	assert_int_equal(sim_find_max_load(&c, &t, 2, &one, &err), 0);
	assert_true(one.load == 0);
	sim_result_done(&one.at);
	assert_int_equal(sim_find_max_load(&c, &t, 0, &one, &err), -EINVAL);
	workload_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mm1), cmocka_unit_test(mg1), cmocka_unit_test(mg1_bimodal), cmocka_unit_test(mmc), cmocka_unit_test(random_queues),
		cmocka_unit_test(priority), cmocka_unit_test(sharing), cmocka_unit_test(dispatcher), cmocka_unit_test(max_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
