/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the policy core costs by itself. usage: bench_policy [POLICY]
 *
 *   decision POLICY types=T workers=W busy=B ns=X       enqueue + next + complete, in a steady state
 *   request POLICY mix=M load=L ns=X calls=N timers=N   all calls for a request of a simulated mix, recorded in the simulator and made again without it
 *
 * Processor time of this thread, the best of many short rounds. Linked with --wrap for the calls that are recorded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sched/policy.h"
#include "sched/sim.h"

static int die(const char *what)
{
	fprintf(stderr, "bench_policy: %s\n", what);
	return 1;
}

/* ---- the tape ---- */

enum call { ENQUEUE, COMPLETE, NEXT };
struct tape_call { uint64_t now_ns; uint32_t call, arg; };

static struct tape_call *tape;
static size_t tape_n, tape_max;
static bool recording;

bool __real_sched_next(struct sched *s, uint64_t now_ns, struct sched_start *ret);
int __real_sched_enqueue_late(struct sched *s, uint64_t now_ns, uint64_t arrival_ns, uint32_t type, uint32_t flow, uint64_t request);
void __real_sched_complete(struct sched *s, uint64_t now_ns, uint32_t worker);
bool __wrap_sched_next(struct sched *s, uint64_t now_ns, struct sched_start *ret);
int __wrap_sched_enqueue_late(struct sched *s, uint64_t now_ns, uint64_t arrival_ns, uint32_t type, uint32_t flow, uint64_t request);
void __wrap_sched_complete(struct sched *s, uint64_t now_ns, uint32_t worker);

static void record(uint64_t now_ns, enum call call, uint32_t arg)
{
	if (recording && tape_n < tape_max)
		tape[tape_n++] = (struct tape_call){ now_ns, call, arg };
}

bool __wrap_sched_next(struct sched *s, uint64_t now_ns, struct sched_start *ret)
{
	record(now_ns, NEXT, 0);
	return __real_sched_next(s, now_ns, ret);
}

int __wrap_sched_enqueue_late(struct sched *s, uint64_t now_ns, uint64_t arrival_ns, uint32_t type, uint32_t flow, uint64_t request)
{
	record(now_ns, ENQUEUE, type);
	return __real_sched_enqueue_late(s, now_ns, arrival_ns, type, flow, request);
}

void __wrap_sched_complete(struct sched *s, uint64_t now_ns, uint32_t worker)
{
	record(now_ns, COMPLETE, worker);
	__real_sched_complete(s, now_ns, worker);
}

/* ---- decisions ---- */

/* Many short rounds, and the best of them: a neighbour on the same core disturbs some. */
#define ROUNDS 60
#define DECISIONS 65536u

/* A steady state: @busy workers are; each time one ends, one request comes, and what may start does. */
static double decision_ns(enum sched_policy policy, uint32_t types, uint32_t workers, uint32_t busy)
{
	static uint8_t type[DECISIONS];
	static struct sched_config cfg;
	struct sched *s;
	struct sched_start start;
	uint32_t running[SCHED_WORKERS_MAX], head = 0, tail = 0, rng = 1;
	uint64_t now = 1000;
	double best = 1e9;

	memset(&cfg, 0, sizeof(cfg));
	cfg = (struct sched_config){ .policy = policy, .workers = workers, .types_n = types };
	for (uint32_t t = 0; t < types; t++) {
		cfg.types[t].mean_ns = 1000 * (1 + t);
		cfg.types[t].ratio = 1.0 / types;
	}
	for (uint32_t i = 0; i < DECISIONS; i++) {
		rng = rng * 1664525 + 1013904223;
		type[i] = (uint8_t)((uint64_t)rng * types >> 32);
	}
	if (sched_new(&cfg, &s, NULL) < 0)
		return -1;
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		uint32_t ended = head;

		for (uint32_t i = 0; i < DECISIONS; i++) {
			now += 100;
			if (tail - head >= busy)
				__real_sched_complete(s, now, running[head++ % SCHED_WORKERS_MAX]);
			sched_enqueue(s, now, type[i], 0, i);
			while (__real_sched_next(s, now, &start))
				running[tail++ % SCHED_WORKERS_MAX] = start.worker;
		}
		begin = clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
		ended = head - ended;
		if ((double)begin / (double)ended < best)
			best = (double)begin / (double)ended;
	}
	sched_free(s);
	return best;
}

static void decision_line(enum sched_policy policy, uint32_t types, uint32_t workers, uint32_t busy)
{
	printf("decision %s types=%u workers=%u busy=%u ns=%.1f\n", sched_policy_names[policy], types, workers, busy, decision_ns(policy, types, workers, busy));
	fflush(stdout);
}

/* ---- requests ---- */

#define REQUESTS 100000u

static double replay_ns(enum sched_policy policy, uint32_t types, size_t *ret_timers)
{
	static struct sched_config cfg;
	struct sched_start start;
	struct sched *s;
	uint64_t begin;
	size_t requests = 0, timers = 0;
	enum call last = NEXT;
	bool started = true;

	memset(&cfg, 0, sizeof(cfg));
	cfg = (struct sched_config){ .policy = policy, .workers = 14, .types_n = types, .queue_max = SIM_QUEUE_MAX_DEFAULT };
	if (sched_new(&cfg, &s, NULL) < 0)
		return -1;
	begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (size_t i = 0; i < tape_n; i++) {
		const struct tape_call *e = &tape[i];

		if (e->call == NEXT) {
			timers += last == NEXT && !started;
			started = __real_sched_next(s, e->now_ns, &start);
		} else if (e->call == COMPLETE) {
			__real_sched_complete(s, e->now_ns, e->arg);
		} else {
			__real_sched_enqueue_late(s, e->now_ns, e->now_ns, e->arg, 0, requests++);
		}
		last = (enum call)e->call;
	}
	begin = clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
	sched_free(s);
	*ret_timers = timers;
	return (double)begin / (double)requests;
}

static int request_line(const char *mix, enum sched_policy policy, double load)
{
	struct sim_config cfg = sim_config_default();
	struct hearth_err err = { 0 };
	struct workload *w;
	struct sim_result r;
	size_t timers = 0;
	uint32_t types;
	double best = 1e9;

	if (workload_load(mix, &w, &err) < 0)
		return die(err.msg);
	cfg.workload = w;
	cfg.policy = policy;
	cfg.load = load;
	cfg.requests = REQUESTS;
	cfg.seed = 42;
	types = w->types_n;
	tape_n = 0;
	recording = true;
	if (sim_run(&cfg, &r, &err) < 0)
		return die(err.msg);
	recording = false;
	sim_result_done(&r);
	workload_free(w);
	for (int i = 0; i < ROUNDS / 4; i++) {
		double ns = replay_ns(policy, types, &timers);

		best = ns < best ? ns : best;
	}
	printf("request %s mix=%s load=%g ns=%.1f calls=%.2f timers=%.2f\n", sched_policy_names[policy], mix, load, best, (double)tape_n / REQUESTS,
		(double)timers / REQUESTS);
	fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	static const enum sched_policy all[] = { SCHED_CFCFS, SCHED_DFCFS_RR, SCHED_FP, SCHED_EDF, SCHED_DARC, SCHED_MINIMAX };
	static const char *const mix[] = { "extreme-bimodal", "high-bimodal", "tpcc", "flat-8" };
	const char *only = argc > 1 ? argv[1] : NULL;

	tape_max = 100u * REQUESTS;
	tape = malloc(tape_max * sizeof(*tape));
	if (tape == NULL)
		return die("no memory");
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		if (only != NULL && strcmp(only, sched_policy_names[all[i]]) != 0)
			continue;
		decision_line(all[i], 8, 14, 5);
		decision_line(all[i], 8, 14, 12);
		decision_line(all[i], 64, 128, 112);
		for (size_t k = 0; k < sizeof(mix) / sizeof(*mix) && (only != NULL || all[i] >= SCHED_DARC); k++) {
			if (request_line(mix[k], all[i], .9))
				return 1;
		}
	}
	free(tape);
	return 0;
}
