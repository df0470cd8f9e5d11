/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The figures that the simulator must reproduce, with their tolerances: published ones of Persephone (SOSP'21) as far as an ideal simulation can show them,
 * and what minimax promises. Each is measured with three seeds on the same requests for every policy; what counts is the mean, and the seeds must agree.
 *
 *   gates        4e6 requests a run, 3 seeds
 *   gates --fast 1e6 requests, seeds 1 and 2, the rows that are steady enough for that; the same tolerances but where a row says otherwise
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "sched/sim.h"

#define SEEDS_MAX 3

/* One run, or with find a search for the highest rate in krps. Without find, the value is the p99.9 slowdown, or of a type the p99.9 latency in us. */
struct point {
	const char *workload;
	enum sched_policy policy;
	uint32_t workers, reserved;
	double rtt_us, overhead_ns, load;
	double find;                            /* a slowdown, or with type a latency in us */
	const char *type;
	bool fixed;                             /* the policy knows the mix and does not learn */
};

/* The mean of a / b, or a alone, must be in low..high, and the seeds' values within spread of it. fast_low, fast_high: of --fast; 0 = not in it */
struct gate {
	const char *what;
	struct point a, b;
	double low, high, spread, fast_low, fast_high;
};

#define HB "high-bimodal"
#define EB "extreme-bimodal"
#define PM(x, d) (x) - (d), (x) + (d)
#define PC(x, p) (x) * (1 - (p) / 100.0), (x) * (1 + (p) / 100.0)

static const struct gate gates[] = {
	{ "HB c-FCFS: krps at 20x, RTT 10 us", { HB, SCHED_CFCFS, 14, 0, 10, 0, 0, 20 }, { 0 }, PM(122, 4), .04, PM(122, 4) },
	{ "HB DARC: krps at 20x, RTT 10 us", { HB, SCHED_DARC, 14, 0, 10, 0, 0, 20 }, { 0 }, PM(257, 4), .04, PM(257, 4) },
	{ "HB c-FCFS: krps with shorts in 20 us", { HB, SCHED_CFCFS, 14, 0, 10, 0, 0, 20, "short" }, { 0 }, PM(113, 5), .04, PM(113, 5) },
	{ "Fig 4a: HB at 90%, 0 to 1 worker reserved", { HB, SCHED_FP, 14, 0, 10, 0, .9 }, { HB, SCHED_DARC_STATIC, 14, 1, 10, 0, .9 }, PC(4.4, 10), .15, PC(4.4, 15) },
	{ "HB at 90%: slowdown of c-FCFS / DARC", { HB, SCHED_CFCFS, 14, 0, 10, 0, .9 }, { HB, SCHED_DARC, 14, 0, 10, 0, .9 }, PC(15.7, 15), .15, PC(15.7, 15) },
	/* Learning from windows of 50,000 requests, of which 250 are long, DARC at times takes the shorts' 2.66 workers for fewer than 2.5 and reserves 2 instead of 3. */
	{ "Fig 1: EB DARC: krps at 10x, 16 workers", { EB, SCHED_DARC, 16, 0, 0, 0, 0, 10, .fixed = true }, { 0 }, PC(5100, 5), .04, PC(5100, 5) },
	{ "Fig 1: EB c-FCFS: krps at 10x, 16 workers", { EB, SCHED_CFCFS, 16, 0, 0, 0, 0, 10 }, { 0 }, PC(2370, 5), .04, PC(2370, 5) },
	{ "EB DARC: krps at 50x, 0.2 us a request, RTT 10 us", { EB, SCHED_DARC, 14, 0, 10, 200, 0, 50 }, { 0 }, PC(3200, 10), .04, PC(3200, 10) },
	{ "RocksDB at 20x: rate of DARC / c-FCFS", { "rocksdb", SCHED_DARC, 14, 0, 10, 0, 0, 20 }, { "rocksdb", SCHED_CFCFS, 14, 0, 10, 0, 0, 20 }, PC(2.3, 8), .04, PC(2.3, 8) },
	{ "TPC-C DARC at 85%: p99.9 of payment in us", { "tpcc", SCHED_DARC, 14, 0, 10, 0, .85, 0, "payment" }, { 0 }, PC(25, 20), .04, PC(25, 20) },
	/* Published: 30, for there a type of a group came strictly after the other; first come, first served within a group gives it what payment has. */
	{ "TPC-C DARC at 85%: p99.9 of order-status in us", { "tpcc", SCHED_DARC, 14, 0, 10, 0, .85, 0, "order-status" }, { 0 }, 20, 36, .04, 20, 36 },
	{ "TPC-C DARC at 85%: p99.9 of new-order in us", { "tpcc", SCHED_DARC, 14, 0, 10, 0, .85, 0, "new-order" }, { 0 }, PC(65, 20), .04, PC(65, 20) },
	{ "minimax: EB at 90%", { EB, SCHED_MINIMAX, 14, 0, 0, 0, .9 }, { 0 }, 1, 4.5, .15, 1, 4.5 },
	{ "minimax: EB at 95%", { EB, SCHED_MINIMAX, 14, 0, 0, 0, .95 }, { 0 }, 1, 11, .5 },
	{ "minimax: HB at 90%", { HB, SCHED_MINIMAX, 14, 0, 0, 0, .9 }, { 0 }, 1, 4.8, .15, 1, 4.8 },
	{ "minimax: HB at 95%", { HB, SCHED_MINIMAX, 14, 0, 0, 0, .95 }, { 0 }, 1, 9, .15 },
	{ "minimax: TPC-C at 90%", { "tpcc", SCHED_MINIMAX, 14, 0, 0, 0, .9 }, { 0 }, 1, 4, .04 },
	{ "minimax: TPC-C: krps at 10x", { "tpcc", SCHED_MINIMAX, 14, 0, 0, 0, 0, 10 }, { 0 }, 710, 734.2, .04, 710, 734.2 },
	{ "minimax: RocksDB at 90%", { "rocksdb", SCHED_MINIMAX, 14, 0, 0, 0, .9 }, { 0 }, 1, 6.8, .15, 1, 6.8 },
	/* that DARC is as far behind as it is said to be */
	{ "DARC: EB at 90%", { EB, SCHED_DARC, 14, 0, 0, 0, .9 }, { 0 }, PC(40, 10), .15, PC(40, 10) },
	{ "DARC: HB at 90%", { HB, SCHED_DARC, 14, 0, 0, 0, .9 }, { 0 }, 5.5, 7.5, .15, 5.5, 7.5 },
};
#define GATES (sizeof(gates) / sizeof(gates[0]))

static double requests = 4e6;
static unsigned seeds = 3;
static bool fast;
static double values[GATES][SEEDS_MAX];

static void die(const struct hearth_err *err)
{
	printf("Bail out! %s\n", err->msg);
	exit(1);
}

static void find(const struct sim_config *cfg, const struct point *p, double *ret)
{
	struct sim_target t = { SIM_TARGET_SLOWDOWN, 0, p->find };
	struct hearth_err err = { 0 };
	struct sim_max max;

	if (p->type)
		t = (struct sim_target){ SIM_TARGET_LATENCY, (uint32_t)workload_find(cfg->workload, p->type), p->find * 1e3 };
	if (sim_find_max_load(cfg, &t, 1, &max, &err) < 0)
		die(&err);
	*ret = max.rate_hz / 1e3;
	sim_result_done(&max.at);
}

static double measure(const struct point *p, uint64_t seed)
{
	struct sim_config cfg = sim_config_default();
	struct hearth_err err = { 0 };
	struct workload *w = NULL;
	struct sim_result r;
	double value;

	if (workload_load(p->workload, &w, &err) < 0)
		die(&err);
	cfg.workload = w;
	cfg.policy = p->policy;
	cfg.workers = p->workers;
	cfg.reserved = p->reserved;
	cfg.rtt_ns = (uint64_t)(p->rtt_us * 1e3);
	cfg.overhead_ns = (uint64_t)p->overhead_ns;
	cfg.service_only = true;                /* as published: DARC takes 600 cycles off what it measures */
	cfg.requests = (uint64_t)requests;
	cfg.known = p->fixed;
	cfg.window_requests = p->fixed ? UINT32_MAX : 0;
	cfg.seed = seed;
	cfg.load = p->load;
	if (p->find > 0) {
		find(&cfg, p, &value);
	} else {
		if (sim_run(&cfg, &r, &err) < 0)
			die(&err);
		value = p->type ? r.types[workload_find(w, p->type)].latency_ns.p999 / 1e3 : r.slowdown.p999;
		sim_result_done(&r);
	}
	workload_free(w);
	return value;
}

static void work(unsigned i)
{
	const struct gate *g = &gates[i / seeds];
	uint64_t seed = i % seeds + 1;

	if (fast && g->fast_high == 0)
		return;
	values[i / seeds][i % seeds] = measure(&g->a, seed) / (g->b.workload ? measure(&g->b, seed) : 1);
}

static void judge(const struct gate *g, const double *v, unsigned n)
{
	double low = fast ? g->fast_low : g->low, high = fast ? g->fast_high : g->high, sum = 0, spread = 0;
	bool good;

	for (unsigned i = 0; i < seeds; i++)
		sum += v[i] / seeds;
	for (unsigned i = 0; i < seeds; i++)
		spread = fmax(spread, fabs(v[i] / sum - 1));
	/* fewer requests, more spread: only the full run says whether seeds agree */
	good = sum >= low && sum <= high && (fast || spread <= g->spread);
	printf("%sok %u - %s: %.4g (%.4g to %.4g), seeds within %.1f%%\n", good ? "" : "not ", n, g->what, sum, low, high, spread * 100);
}

/* ---- reservations: exact ---- */

/* @known: the mix is configured; else it is learnt, and the first reservation from what was learnt counts */
static bool reserves(const char *workload, uint32_t seed, bool known, const uint64_t *masks, size_t groups_n)
{
	struct sim_config cfg = sim_config_default();
	struct hearth_err err = { 0 };
	struct workload *w = NULL;
	struct sim_result r;
	bool good;

	if (workload_load(workload, &w, &err) < 0)
		die(&err);
	cfg.workload = w;
	cfg.policy = SCHED_DARC;
	cfg.load = 0.85;
	cfg.seed = seed;
	cfg.known = known;
	if (sim_run(&cfg, &r, &err) < 0)
		die(&err);
	good = r.updates_n >= 1 && r.updates[0].groups_n == groups_n;
	for (size_t g = 0; good && g < groups_n; g++)
		good = r.updates[0].groups[g].reserved[0] == masks[g];
	sim_result_done(&r);
	workload_free(w);
	return good;
}

static void judge_reservations(unsigned n)
{
	/* HB: 1 and 13, of which the last is the spillway; EB: 2 and 12; TPC-C: 2, 6, 6; lowest workers first */
	static const uint64_t hb[] = { 0x1, 0x3ffe }, eb[] = { 0x3, 0x3ffc }, tpcc[] = { 0x3, 0xfc, 0x3f00 };
	bool good = true;

	for (uint32_t seed = 1; seed <= 3; seed++) {
		for (int known = 0; known < 2; known++)
			good = good && reserves(HB, seed, known, hb, 2) && reserves("tpcc", seed, known, tpcc, 3);
		/* 50,000 requests of EB have 250 long ones, too few to learn their share to the half worker that decides between 2 and 3 */
		good = good && reserves(EB, seed, true, eb, 2);
	}
	printf("%sok %u - reservations: HB 1/13, EB 2/12, TPC-C 2/6/6\n", good ? "" : "not ", n);
}

/* ---- phases: the last change of the reservation in a phase comes at most half a second after its beginning ---- */

static void judge_phases(unsigned n)
{
	struct sim_config cfg = sim_config_default();
	struct hearth_err err = { 0 };
	double last[4] = { 0 }, worst = 0;
	struct workload *w = NULL;
	struct sim_result r;
	bool good = true;

	if (workload_load("phases", &w, &err) < 0)
		die(&err);
	cfg.workload = w;
	cfg.policy = SCHED_DARC;
	cfg.load = 0.8;
	cfg.requests = 0;
	if (sim_run(&cfg, &r, &err) < 0)
		die(&err);
	for (size_t i = 0; i < r.updates_n; i++) {
		double at = (double)r.updates[i].at_ns * 1e-9;
		int phase = (int)(at / 5) < 4 ? (int)(at / 5) : 3;

		last[phase] = at - 5 * phase;
	}
	for (int i = 0; i < 4; i++) {
		/* each phase asks for another reservation than the one before */
		good = good && last[i] > 0 && last[i] <= 0.5;
		worst = fmax(worst, last[i]);
	}
	printf("%sok %u - phases: reserved anew within %.3f, %.3f, %.3f, %.3f s (0.5)\n", good ? "" : "not ", n, last[0], last[1], last[2], last[3]);
	sim_result_done(&r);
	workload_free(w);
}

int main(int argc, char **argv)
{
	unsigned n = 0, rows = 0;

	fast = argc > 1 && strcmp(argv[1], "--fast") == 0;
	if (fast) {
		requests = 1e6;
		seeds = 2;
	}
	for (size_t g = 0; g < GATES; g++)
		rows += !fast || gates[g].fast_high > 0;
	printf("1..%u\n", rows + 2);
	fflush(stdout);
	pool_run(work, (unsigned)GATES * seeds);
	for (size_t g = 0; g < GATES; g++)
		if (!fast || gates[g].fast_high > 0)
			judge(&gates[g], values[g], ++n);
	judge_reservations(++n);
	judge_phases(++n);
	return 0;
}
