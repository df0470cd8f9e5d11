/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy core by itself. usage:
 *   bench_policy decision [POLICY]             ns per decision (enqueue + next + complete)
 *   bench_policy sim MIX POLICY LOADS [scv=X] [n=N] [seed=S] [workers=W] [given=0|1]
 *                                              p99.9 slowdown in simulation, a line per load (comma-separated, percent)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "policy_sim.h"

static int die(const char *what)
{
	fprintf(stderr, "bench_policy: %s\n", what);
	return 1;
}

static enum sched_policy policy_find(const char *name)
{
	int p = 0;

	while (sched_policy_names[p] != NULL && strcmp(name, sched_policy_names[p]) != 0)
		p++;
	return (enum sched_policy)p;
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
				sched_complete(s, now, running[head++ % SCHED_WORKERS_MAX]);
			sched_enqueue(s, now, type[i], 0, i);
			while (sched_next(s, now, &start))
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

/* The same calls that a simulation made, again and timed. */
static double replay_ns(struct sim *sim, enum sched_policy policy)
{
	struct sched_config cfg;
	struct sched_start start;
	struct sched *s;
	uint64_t begin, requests = 0;

	sim_config(sim, policy, false, &cfg);
	if (sched_new(&cfg, &s, NULL) < 0)
		return -1;
	begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (size_t i = 0; i < sim->tape_n; i++) {
		const struct tape_event *e = &sim->tape[i];

		if (e->kind == TAPE_ENQUEUE)
			requests++, sched_enqueue(s, e->now_ns, e->arg, 0, 0);
		else if (e->kind == TAPE_COMPLETE)
			sched_complete(s, e->now_ns, e->arg);
		while (sched_next(s, e->now_ns, &start))
			;
	}
	begin = clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
	sched_free(s);
	return (double)begin / (double)requests;
}

static int request_line(const char *mix, enum sched_policy policy, double load)
{
	struct sim sim = { .mix = mix_find(mix), .load = load, .workers = 14, .requests = 100000, .seed = 42, .tape_max = 1000000 };
	struct sched_config cfg;
	struct sched *s;
	double best = 1e9;

	sim.tape = malloc(sim.tape_max * sizeof(*sim.tape));
	sim_config(&sim, policy, false, &cfg);
	if (sim.tape == NULL || sched_new(&cfg, &s, NULL) < 0 || sim_run(&sim, s) < 0)
		return die("no memory");
	sched_free(s);
	for (int i = 0; i < ROUNDS / 4; i++) {
		double ns = replay_ns(&sim, policy);

		best = ns < best ? ns : best;
	}
	printf("request %s mix=%s load=%g ns=%.1f timers=%.2f\n", sched_policy_names[policy], mix, load, best, (double)sim.timers / (double)sim.requests);
	fflush(stdout);
	free(sim.tape);
	return 0;
}

/* @only: a policy, or NULL */
static int cmd_decision(const char *only)
{
	static const enum sched_policy all[] = { SCHED_CFCFS, SCHED_DFCFS_RR, SCHED_FP, SCHED_EDF, SCHED_DARC, SCHED_MINIMAX };
	static const char *const mix[] = { "EB", "HB", "TPCC", "G8F" };

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		if (only != NULL && all[i] != policy_find(only))
			continue;
		decision_line(all[i], 8, 14, 5);
		decision_line(all[i], 8, 14, 12);
		decision_line(all[i], 64, 128, 112);
	}
	for (size_t i = 0; i < sizeof(mix) / sizeof(*mix); i++) {
		for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++) {
			if ((only != NULL && all[k] == policy_find(only)) || (only == NULL && all[k] >= SCHED_DARC)) {
				if (request_line(mix[i], all[k], .9))
					return 1;
			}
		}
	}
	return 0;
}

/* ---- quality ---- */

static int cmd_sim(int argc, char **argv)
{
	struct sim sim = { .workers = 14, .requests = 1000000, .seed = 42 };
	enum sched_policy policy = policy_find(argv[1]);
	int given = policy != SCHED_MINIMAX;

	sim.mix = mix_find(argv[0]);
	if (sim.mix == NULL || policy >= SCHED_TS)
		return die("no such mix or policy");
	for (int i = 3; i < argc; i++) {
		double x = strchr(argv[i], '=') != NULL ? strtod(strchr(argv[i], '=') + 1, NULL) : 0;

		if (strncmp(argv[i], "scv=", 4) == 0)
			sim.scv = x;
		else if (strncmp(argv[i], "n=", 2) == 0)
			sim.requests = (uint64_t)x;
		else if (strncmp(argv[i], "seed=", 5) == 0)
			sim.seed = (uint64_t)x;
		else if (strncmp(argv[i], "workers=", 8) == 0)
			sim.workers = (uint32_t)x;
		else if (strncmp(argv[i], "given=", 6) == 0)
			given = (int)x;
	}
	for (char *at = argv[2], *word; (word = strsep(&at, ",")) != NULL;) {
		struct sched_config cfg;
		struct sched *s;

		sim.load = strtod(word, NULL) / 100;
		sim_config(&sim, policy, given, &cfg);
		if (sched_new(&cfg, &s, NULL) < 0 || sim_run(&sim, s) < 0)
			return die("no memory");
		printf("%s %s %s seed=%llu scv=%g %.3f |", argv[0], argv[1], word, (unsigned long long)sim.seed, sim.scv, sim.p999);
		for (uint32_t t = 0; t < sim.mix->types_n; t++)
			printf(" %.2f", sim.type_p999[t]);
		printf("\n");
		fflush(stdout);
		if (getenv("EXPLAIN") != NULL) {
			char text[8192];

			sched_explain(s, 0, text, sizeof(text));
			fputs(text, stdout);
		}
		sched_free(s);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc <= 3 && argc >= 2 && strcmp(argv[1], "decision") == 0)
		return cmd_decision(argv[2]);
	if (argc >= 5 && strcmp(argv[1], "sim") == 0)
		return cmd_sim(argc - 2, argv + 2);
	return die("usage: bench_policy decision [POLICY] | sim MIX POLICY LOADS [scv=X] [n=N] [seed=S] [workers=W] [given=0|1]");
}
