/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

static const struct workload_type two[] = { { "short", 1000, 0.75 }, { "long", 20000, 0.25 } };

static struct sim_config config(const struct workload *w)
{
	struct sim_config c = sim_config_default();

	c.workload = w;
	c.workers = 4;
	c.requests = 200000;
	return c;
}

static void check_sums(const struct sim_result *r, uint64_t requests)
{
	uint64_t arrived = 0, dropped = 0, measured = 0;

	for (uint32_t t = 0; t < r->types_n; t++) {
		arrived += r->types[t].arrived;
		dropped += r->types[t].dropped;
		measured += r->types[t].latency_ns.n;
		assert_int_equal(r->types[t].latency_ns.n, r->types[t].slowdown.n);
	}
	assert_int_equal(r->arrived, requests);
	assert_int_equal(arrived, requests);
	assert_int_equal(dropped, r->dropped);
	assert_int_equal(r->completed + r->dropped, requests);
	assert_int_equal(measured, r->slowdown.n);
	assert_true(measured <= requests - requests / 10);
	assert_true(measured + r->dropped >= requests - requests / 10);
}

/* Under every policy, half loaded and overloaded: what arrives is done or dropped. */
static void conservation(void **state)
{
	struct workload *w = mix(two, 2);

	for (int p = 0; p < SCHED_POLICIES; p++)
		for (int overload = 0; overload < 2; overload++) {
			struct sim_config c = config(w);
			struct sim_result r;

			c.policy = (enum sched_policy)p;
			c.reserved = p == SCHED_DARC_STATIC ? 1 : 0;
			c.load = overload ? 1.6 : 0.5;
			c.queue_max = overload ? 64 : 0;
			r = run(&c);
			check_sums(&r, c.requests);
			assert_true(overload ? r.dropped > 10000 : r.dropped == 0);
			/* minimax and DARC may leave a worker idle, none of the others does under overload; time sharing pays for its switches */
			assert_true(r.utilisation > (overload ? 0.7 : 0.45) && r.utilisation <= 1.001);
			assert_near(r.types[0].arrived, 0.75 * (double)c.requests, 0.01);
			sim_result_done(&r);
		}
	workload_free(w);
}

static void same_seed(void **state)
{
	struct workload *w = mix(two, 2);

	for (int p = 0; p < SCHED_POLICIES; p++) {
		struct sim_config c = config(w);
		struct sim_result a, b;

		c.policy = (enum sched_policy)p;
		c.reserved = 1;
		c.requests = 50000;
		a = run(&c);
		b = run(&c);
		assert_true(a.slowdown.mean == b.slowdown.mean && a.slowdown.p999 == b.slowdown.p999 && a.events == b.events);
		sim_result_done(&b);
		c.seed++;
		b = run(&c);
		assert_true(a.slowdown.mean != b.slowdown.mean);
		sim_result_done(&a);
		sim_result_done(&b);
	}
	workload_free(w);
}

/* The same requests come whatever the policy: with as good as no load, all have the same figures. */
static void same_requests(void **state)
{
	struct workload *w = mix((struct workload_type[]){ { "a", 1000, 0.5, .scv = 1 }, { "b", 5000, 0.5, .scv = 0.3 } }, 2);
	struct sim_result first;

	for (int p = 0; p < SCHED_POLICIES; p++) {
		struct sim_config c = config(w);
		struct sim_result r;

		c.policy = (enum sched_policy)p;
		c.reserved = 1;
		c.load = 1e-5;
		c.workers = 64;
		c.requests = 20000;
		r = run(&c);
		if (p == 0) {
			first = r;
			continue;
		}
		/* a queue a worker, or two workers for a type, may make one wait now and then */
		for (int t = 0; t < 2; t++) {
			assert_int_equal(r.types[t].arrived, first.types[t].arrived);
			assert_near(r.types[t].latency_ns.mean, first.types[t].latency_ns.mean, 1e-3);
		}
		sim_result_done(&r);
	}
	sim_result_done(&first);
	workload_free(w);
}

/* What is added to latencies and to workers' times. Nobody waits: 64 workers, hardly a request. */
static void costs(void **state)
{
	struct workload *w = mix(two, 2);
	struct sim_config c = config(w);
	struct sim_result r;

	c.policy = SCHED_CFCFS;
	c.workers = 64;
	c.load = 1e-5;
	c.requests = 10000;
	r = run(&c);
	assert_true(r.types[0].latency_ns.p999 == 1000 && r.types[1].latency_ns.p50 == 20000);
	assert_true(r.slowdown.p999 == 1 && r.slowdown.mean == 1);
	sim_result_done(&r);
	c.rtt_ns = 10000;
	c.overhead_ns = 200;
	c.dispatch_ns = 50;
	r = run(&c);
	assert_true(r.types[0].latency_ns.p50 == 11250 && r.types[1].latency_ns.p999 == 30250);
	assert_near(r.types[0].slowdown.p999, 11.25, 1e-9);
	sim_result_done(&r);
	c.of_mean = true;
	c.scv = 1;
	r = run(&c);
	/* neither depends on the service time */
	assert_near(r.types[0].slowdown.p999, 11.25, 1e-9);
	assert_near(r.types[1].slowdown.p50, 1 + 10250. / 20000, 1e-9);
	sim_result_done(&r);
	workload_free(w);
}

static void misclassified(void **state)
{
	struct workload *w;
	struct sim_config c;
	struct sim_result right, wrong;

	assert_int_equal(workload_load("high-bimodal", &w, NULL), 0);
	c = config(w);
	c.workers = 14;
	c.requests = 500000;
	c.load = 0.7;
	right = run(&c);
	c.misclassify = 1;
	wrong = run(&c);
	/* the types are counted as what they are, and DARC does no better than to take what comes first */
	assert_int_equal(right.types[0].arrived + right.types[1].arrived, c.requests);
	assert_near(wrong.types[0].arrived, c.requests / 2, 0.01);
	assert_true(right.slowdown.p999 < 3 && wrong.slowdown.p999 > 30);
	sim_result_done(&right);
	sim_result_done(&wrong);
	workload_free(w);
}

static void holds_and_timers(void **state)
{
	struct workload *w;
	struct sim_config c;
	struct sim_result r;

	assert_int_equal(workload_load("high-bimodal", &w, NULL), 0);
	c = config(w);
	c.workers = 14;
	c.policy = SCHED_MINIMAX;
	c.load = 0.9;
	c.requests = 400000;
	r = run(&c);
	/* it held long requests back and came back to them in time: events beyond arrivals and completions are timers */
	assert_true(r.types[1].held > 1000 && r.types[0].held == 0);
	assert_true(r.events > 2 * c.requests);
	assert_true(r.slowdown.p999 < 8);
	assert_int_equal(r.completed, c.requests);
	sim_result_done(&r);
	workload_free(w);
}

static void phases(void **state)
{
	static const char text[] = "types:\n  - { name: a, service: 1us, ratio: 0.5 }\n  - { name: b, service: 9us, ratio: 0.5 }\n"
		"phases:\n  - { duration: 40ms }\n  - { duration: 20ms, ratio: { b: 1 } }\n  - { duration: 40ms, rate: 100000, ratio: { a: 1 }, service: { a: 2us } }\n";
	uint64_t per_phase[3][2] = { 0 };
	struct workload *w = NULL;
	struct sim_config c;
	struct sim_result r;

	assert_int_equal(workload_parse(text, sizeof(text) - 1, "p.yaml", &w, NULL), 0);
	c = config(w);
	c.requests = 0;
	c.warmup = 0;
	c.load = 0.5;
	c.interval_ns = 10000000;
	r = run(&c);
	for (size_t i = 0; i < r.intervals_n; i++) {
		assert_int_equal(r.intervals[i].from_ns, i * c.interval_ns);
		for (int t = 0; t < 2; t++)
			per_phase[i < 4 ? 0 : i < 6 ? 1 : 2][t] += r.intervals[i].slowdown[t].n;
		assert_int_equal(r.intervals[i].slowdown[2].n, r.intervals[i].slowdown[0].n + r.intervals[i].slowdown[1].n);
	}
	assert_int_equal(r.intervals_n, 9);     /* the tenth was not over when the last request was done */
	/* load 0.5 of 4 workers: 400 k/s of 5 us, 222 k/s of 9 us; then 100 k/s as the file says */
	assert_near(per_phase[0][0], 8000, 0.05);
	assert_near(per_phase[0][1], 8000, 0.05);
	assert_near(per_phase[1][1], 4444, 0.05);
	assert_true(per_phase[1][0] < 5 && per_phase[2][1] < 5);
	assert_near(per_phase[2][0], 3000, 0.1);
	assert_near(r.arrived, 16000 + 4444 + 4000, 0.03);
	assert_int_equal(r.completed, r.arrived);
	assert_int_equal(r.slowdown.n, r.arrived);
	sim_result_done(&r);
	workload_free(w);
}

static bool stop_at_once(void *arg, uint64_t done, uint64_t all)
{
	++*(unsigned *)arg;
	return false;
}

static void ends_early(void **state)
{
	struct workload *w;
	struct sim_config c;
	struct hearth_err err = { 0 };
	struct sim_result r = { .arrived = 7 };
	unsigned calls = 0;

	assert_int_equal(workload_load("high-bimodal", &w, NULL), 0);
	c = config(w);
	c.policy = SCHED_CFCFS;
	c.load = 0.9;
	c.requests = 1000000;
	c.stop = (struct sim_target){ SIM_TARGET_SLOWDOWN, 0, 10 };
	r = run(&c);
	assert_true(r.stopped && r.arrived < c.requests / 2);
	assert_false(sim_meets(&r, &c.stop));
	sim_result_done(&r);
	/* the same is said without ending early */
	c.stop.kind = SIM_TARGET_NONE;
	r = run(&c);
	assert_false(sim_meets(&r, &(struct sim_target){ SIM_TARGET_SLOWDOWN, 0, 10 }));
	assert_true(sim_meets(&r, &(struct sim_target){ SIM_TARGET_SLOWDOWN, 0, 1e6 }));
	sim_result_done(&r);
	/* one in 500 dropped: the others' 99.9th percentile is not the answer */
	c.queue_max = 200;
	c.load = 1.01;
	r = run(&c);
	assert_true(r.dropped > c.requests / 1000);
	assert_false(sim_meets(&r, &(struct sim_target){ SIM_TARGET_SLOWDOWN, 0, 1e9 }));
	sim_result_done(&r);
	c.progress = stop_at_once;
	c.progress_arg = &calls;
	r.arrived = 7;
	assert_int_equal(sim_run(&c, &r, &err), -EINTR);
	assert_int_equal(calls, 1);
	assert_int_equal(r.arrived, 7);
	workload_free(w);
}

static void wrong(void **state)
{
	struct workload *w = mix(two, 2);
	struct sim_config good = config(w), c;
	struct hearth_err err;
	struct sim_result r;

#define BAD(change, why) do { c = good; change; err.msg[0] = '\0'; assert_int_equal(sim_run(&c, &r, &err), -EINVAL); \
	if (!strstr(err.msg, why)) fail_msg("\"%s\" does not say \"%s\"", err.msg, why); } while (0)
	BAD(c.workers = 0, "workers");
	BAD(c.workers = 257, "workers");
	BAD(c.load = 0, "no load");
	BAD(c.load = -1, "load");
	BAD(c.load = NAN, "load");
	BAD(c.rate_hz = 5, "both");
	BAD((c.load = 0, c.rate_hz = 1e10), "rate");
	BAD(c.requests = 0, "for ever");
	BAD(c.requests = SIM_REQUESTS_MAX + 1, "too many");
	BAD(c.scv = 1000, "scv");
	BAD(c.warmup = 1, "warm-up");
	BAD(c.misclassify = 2, "random type");
	BAD((c.policy = SCHED_TS, c.quantum_ns = 0), "quantum");
	BAD(c.interval_ns = 1, "interval");
	BAD((c.policy = SCHED_DARC_STATIC, c.reserved = 99), "reserved");
	BAD(c.policy = SCHED_POLICIES, "policy");
	BAD((c.stop.kind = SIM_TARGET_LATENCY, c.stop.type = 2), "type");
	workload_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conservation), cmocka_unit_test(same_seed), cmocka_unit_test(same_requests), cmocka_unit_test(costs), cmocka_unit_test(misclassified),
		cmocka_unit_test(holds_and_timers), cmocka_unit_test(phases), cmocka_unit_test(ends_early), cmocka_unit_test(wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
