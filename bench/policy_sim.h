/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_POLICY_SIM_H
#define BENCH_POLICY_SIM_H

#include "sched/policy.h"

/*
 * A simulation of the smallest kind around the policy core, for its benchmarks: Poisson arrivals, workers that do nothing but serve. Slowdown is 1 + wait / mean
 * service time of the type.
 */
#define MIX_TYPES 8

struct mix {
	const char *name;
	uint32_t types_n;
	double mean_us[MIX_TYPES], ratio[MIX_TYPES];
};
extern const struct mix mixes[];        /* name NULL at the end */
const struct mix *mix_find(const char *name);

/* what the policy was told, to do it again without the simulation */
enum tape_kind { TAPE_ENQUEUE, TAPE_COMPLETE, TAPE_TIMER };
struct tape_event { uint64_t now_ns; uint32_t kind, arg; };

struct sim {
	const struct mix *mix;
	double load, scv;
	uint32_t workers;
	uint64_t requests, seed;
	struct tape_event *tape;        /* room for tape_max, or NULL */
	size_t tape_max, tape_n;
	/* results */
	double p999, type_p999[MIX_TYPES];
	uint64_t timers;
	bool unstable;
};

/** sim_config - the mix under a policy; @given: the types' means and shares are configured */
void sim_config(const struct sim *sim, enum sched_policy policy, bool given, struct sched_config *ret);
int sim_run(struct sim *sim, struct sched *s);

#endif
