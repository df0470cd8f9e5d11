/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOAD_SCHEDULE_H
#define LOAD_SCHEDULE_H

#include "sched/load.h"

/*
 * When which request is due: a sequence that depends on configuration and seed only, made as it is needed. Several lanes share one schedule: of a Poisson
 * process each has an independent share (their sum is the process), of a uniform one and of a trace every n-th request.
 */
struct arrival {
	uint64_t due_ns, service_ns;    /* due: since the start of the run */
	uint32_t type, phase;
};

struct schedule {
	const struct load_config *cfg;
	struct sched_random random;
	unsigned lane;
	uint32_t phase;
	double phase_start_ns, phase_end_ns, at_ns, gap_ns;     /* of this lane */
	size_t next_item;
	double *bound;                  /* of the phase: running sum of the ratios */
	bool phase_begun;
};

/** schedule_check - phases and rates that can be played. Return: 0, -EINVAL with message. */
int schedule_check(const struct load_config *cfg, struct hearth_err *err);
/** schedule_length_ns - when the last phase ends; of a trace: a ns after its last request */
uint64_t schedule_length_ns(const struct load_config *cfg);
/** schedule_phase_start_ns - @phase may be the number of phases: the end */
uint64_t schedule_phase_start_ns(const struct load_config *cfg, uint32_t phase);
/** schedule_rate_hz - requests a second of a phase, of all lanes */
double schedule_rate_hz(const struct load_config *cfg, uint32_t phase);

int schedule_init(struct schedule *s, const struct load_config *cfg, unsigned lane);    /* 0, -ENOMEM */
void schedule_done(struct schedule *s);
/** schedule_next - the next request of this lane, by ascending due_ns. Return: false when there is none any more. */
bool schedule_next(struct schedule *s, struct arrival *ret);

#endif
