/* SPDX-License-Identifier: Apache-2.0 */
/* The engine with the policy core in it against a plain simulation, on random recorded traces with many events at the same moment: every figure is the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "sched/sim.h"

#define ROUNDS 400
#define REQUESTS_MAX 400
#define WORKERS_MAX 6
#define TYPES 3

struct plain {
	uint32_t workers;
	bool by_type;                           /* shortest type first; else first come, first served */
	uint64_t overhead, free_at[WORKERS_MAX];
	bool busy[WORKERS_MAX], started[REQUESTS_MAX];
	uint64_t latency[REQUESTS_MAX];
};

/* What starts next of the first @arrived requests: types are numbered by ascending service time. Return: -1: nothing waits. */
static int choose(const struct plain *p, const struct recorded_request *r, size_t arrived)
{
	int best = -1;

	for (size_t i = 0; i < arrived; i++)
		if (!p->started[i] && (best < 0 || (p->by_type && r[i].type < r[best].type)))
			best = (int)i;
	return best;
}

static void start(struct plain *p, const struct recorded_request *r, size_t arrived, uint64_t now)
{
	for (uint32_t w = 0; w < p->workers; w++) {
		int i = p->busy[w] ? -1 : choose(p, r, arrived);

		if (i < 0)
			continue;
		p->busy[w] = p->started[i] = true;
		p->free_at[w] = now + r[i].service_ns + p->overhead;
		p->latency[i] = p->free_at[w] - r[i].at_ns;
	}
}

/* At one moment completions come first, the lowest worker's before the others', then arrivals; after each, all that can start does. */
static void simulate(struct plain *p, const struct recorded_request *r, size_t n)
{
	size_t arrived = 0;

	for (;;) {
		int next = -1;

		for (uint32_t w = 0; w < p->workers; w++)
			if (p->busy[w] && (next < 0 || p->free_at[w] < p->free_at[next]))
				next = (int)w;
		if (next >= 0 && (arrived == n || p->free_at[next] <= r[arrived].at_ns)) {
			p->busy[next] = false;
			start(p, r, arrived, p->free_at[next]);
		} else if (arrived < n) {
			arrived++;
			start(p, r, arrived, r[arrived - 1].at_ns);
		} else {
			return;
		}
	}
}

static struct sim_trace *random_trace(struct rng *rng)
{
	static const char *const names[TYPES] = { "s", "m", "l" };
	size_t n = 20 + rng_below(rng, REQUESTS_MAX - 20), len;
	uint64_t at = rng_below(rng, 1000), gap = 1 + rng_below(rng, 30);
	char *text = malloc(64 + n * 48);
	struct hearth_err err = { 0 };
	struct sim_trace *t = NULL;

	/* the first three are one of each, in order: so types are numbered by their length */
	len = (size_t)sprintf(text, "t_ns,type,service_ns\n");
	for (size_t i = 0; i < n; i++) {
		unsigned type = i < TYPES ? (unsigned)i : (unsigned)rng_below(rng, TYPES);
		static const unsigned base[TYPES] = { 4, 40, 400 };

		at += i < TYPES ? 0 : rng_below(rng, gap);
		len += (size_t)sprintf(text + len, "%llu,%s,%llu\n", (unsigned long long)at, names[type], (unsigned long long)(base[type] + rng_below(rng, base[type] / 2)));
	}
	if (sim_trace_parse(text, len, "t", &t, &err) < 0)
		fail_msg("%s", err.msg);
	free(text);
	return t;
}

static void compare(struct sim_trace *t, struct rng *rng, enum sched_policy policy)
{
	struct plain *p = calloc(1, sizeof(*p));
	double sum[TYPES] = { 0 }, max[TYPES] = { 0 }, slowest = 0;
	struct sim_config cfg = sim_config_default();
	struct hearth_err err = { 0 };
	struct sim_result r;

	cfg.trace = t;
	cfg.policy = policy;
	cfg.workers = p->workers = 1 + (uint32_t)rng_below(rng, WORKERS_MAX);
	cfg.overhead_ns = p->overhead = rng_below(rng, 3);
	cfg.load = 0;
	cfg.requests = 0;
	cfg.warmup = 0;
	cfg.known = true;
	cfg.queue_max = 1024;
	p->by_type = policy == SCHED_FP;
	simulate(p, t->requests, t->n);
	if (sim_run(&cfg, &r, &err) < 0)
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < t->n; i++) {
		double latency = (double)p->latency[i];

		sum[t->requests[i].type] += latency;
		max[t->requests[i].type] = fmax(max[t->requests[i].type], latency);
		slowest = fmax(slowest, latency / (double)t->requests[i].service_ns);
	}
	for (int k = 0; k < TYPES; k++) {
		assert_true(r.types[k].latency_ns.max == max[k]);
		assert_true(fabs(r.types[k].latency_ns.mean * (double)r.types[k].arrived - sum[k]) < 1e-3);
	}
	assert_true(r.slowdown.max == slowest);
	assert_int_equal(r.completed, t->n);
	sim_result_done(&r);
	free(p);
}

static void same_as_plain(void **state)
{
	struct rng rng;

	rng_seed(&rng, 20);
	for (int i = 0; i < ROUNDS; i++) {
		struct sim_trace *t = random_trace(&rng);

		compare(t, &rng, SCHED_CFCFS);
		compare(t, &rng, SCHED_FP);
		sim_trace_free(t);
	}
}

/* Whatever the policy does: a request takes its service time at least, and all are done. */
static void lower_bounds(void **state)
{
	struct rng rng;

	rng_seed(&rng, 21);
	for (int i = 0; i < ROUNDS / 4; i++) {
		struct sim_trace *t = random_trace(&rng);

		for (int policy = 0; policy < SCHED_POLICIES; policy++) {
			struct sim_config cfg = sim_config_default();
			struct hearth_err err = { 0 };
			struct sim_result r;

			cfg.trace = t;
			cfg.policy = (enum sched_policy)policy;
			cfg.workers = 2 + i % 5;
			cfg.reserved = 1;
			cfg.load = 0;
			cfg.requests = 0;
			cfg.warmup = 0;
			cfg.preempt_ns = 0;
			cfg.quantum_ns = 1 + rng_below(&rng, 100);
			cfg.known = i % 2;
			cfg.queue_max = 1024;
			if (sim_run(&cfg, &r, &err) < 0)
				fail_msg("%s: %s", sched_policy_names[policy], err.msg);
			assert_int_equal(r.completed, t->n);
			assert_int_equal(r.dropped, 0);
			for (int k = 0; k < TYPES; k++) {
				assert_true(r.types[k].slowdown.n == 0 || r.types[k].slowdown.p50 >= 1);
				assert_true(r.types[k].latency_ns.n == r.types[k].arrived);
			}
			sim_result_done(&r);
		}
		sim_trace_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(same_as_plain), cmocka_unit_test(lower_bounds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
