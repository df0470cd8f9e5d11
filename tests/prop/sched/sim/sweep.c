/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minimax is never more than 5% behind the best of DARC, fixed priority and c-FCFS: nine mixes, loads from 10% to 95%, p99.9 slowdown over all requests,
 * mean of three seeds, 4e6 requests each. With the name of a mix, only that one.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "sched/sim.h"

#define REQUESTS 4000000
#define SEEDS 3

static const char *const mixes[] = { "high-bimodal", "extreme-bimodal", "tpcc", "rocksdb", "three-types", "low-dispersion", "geometric-8", "flat-8", "rare-long" };
static const double loads[] = { .1, .3, .5, .7, .8, .9, .95 };
static const enum sched_policy policies[] = { SCHED_DARC, SCHED_FP, SCHED_CFCFS, SCHED_MINIMAX };
enum { MIXES = sizeof(mixes) / sizeof(mixes[0]), LOADS = sizeof(loads) / sizeof(loads[0]), POLICIES = 4 };

static const char *only;
static double slowdown[MIXES][LOADS][POLICIES][SEEDS];

static void work(unsigned i)
{
	unsigned seed = i % SEEDS, policy = i / SEEDS % POLICIES, load = i / SEEDS / POLICIES % LOADS, mix = i / SEEDS / POLICIES / LOADS;
	struct sim_config cfg = sim_config_default();
	struct hearth_err err = { 0 };
	struct workload *w = NULL;
	struct sim_result r;

	if (only && strcmp(only, mixes[mix]) != 0)
		return;
	if (workload_load(mixes[mix], &w, &err) == 0) {
		cfg.workload = w;
		cfg.policy = policies[policy];
		cfg.load = loads[load];
		cfg.requests = REQUESTS;
		cfg.seed = seed + 1;
		if (sim_run(&cfg, &r, &err) == 0) {
			slowdown[mix][load][policy][seed] = r.slowdown.p999;
			sim_result_done(&r);
		}
	}
	workload_free(w);
	if (err.code) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int n = 0;

	only = argc > 1 ? argv[1] : NULL;
	printf("1..%d\n", only ? LOADS : MIXES * LOADS);
	fflush(stdout);
	pool_run(work, MIXES * LOADS * POLICIES * SEEDS);
	for (int m = 0; m < MIXES; m++)
		for (int l = 0; l < LOADS; l++) {
			double mean[POLICIES] = { 0 }, best;

			if (only && strcmp(only, mixes[m]) != 0)
				continue;
			for (int p = 0; p < POLICIES; p++)
				for (int s = 0; s < SEEDS; s++)
					mean[p] += slowdown[m][l][p][s] / SEEDS;
			best = fmin(mean[0], fmin(mean[1], mean[2]));
			printf("%sok %d - %s at %.0f%%: DARC %.2f, fixed priority %.2f, c-FCFS %.2f, minimax %.2f (%+.1f%%)\n", mean[3] <= 1.05 * best ? "" : "not ",
				++n, mixes[m], loads[l] * 100, mean[0], mean[1], mean[2], mean[3], (mean[3] / best - 1) * 100);
		}
	return 0;
}
