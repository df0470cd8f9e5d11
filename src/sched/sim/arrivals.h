/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_ARRIVALS_H
#define SIM_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/sim.h"

/*
 * A request in the 64 bits that the policy hands back: service time, type and whether it is measured. So nothing has to be kept for waiting requests.
 */
#define REQUEST_SERVICE_BITS 44
#define REQUEST_SERVICE_MAX ((1ull << REQUEST_SERVICE_BITS) - 1)        /* 4.9 hours */
#define REQUEST_MEASURED (1ull << 63)

static inline uint64_t request_pack(uint64_t service_ns, uint32_t type) { return service_ns | (uint64_t)type << REQUEST_SERVICE_BITS; }
static inline uint64_t request_service_ns(uint64_t request) { return request & REQUEST_SERVICE_MAX; }
static inline uint32_t request_type(uint64_t request) { return request >> REQUEST_SERVICE_BITS & 0xff; }

/**
 * struct arrival
 * @at_ns:    arrives at the dispatcher; @ready_ns: is through it
 * @told:     the type that the policy is told
 */
struct arrival {
	uint64_t at_ns, ready_ns, request;
	uint32_t told, flow;
};

enum draw_kind { DRAW_FIXED, DRAW_EXP, DRAW_LOGNORMAL, DRAW_OTHER };

/* how a type's service times are drawn in the present phase */
struct draw {
	enum draw_kind kind;
	uint64_t fixed_ns;
	double mean_ns, mu, sigma;
};

struct arrivals {
	const struct sim_config *cfg;
	const struct workload *w;
	struct rng gaps, kinds, services;       /* apart, so that each is the same whatever the others draw */
	uint32_t phase;
	double t_ns, gap_ns, end_ns;            /* of the last arrival; mean gap and end of the phase */
	double trace_scale;
	uint64_t n, warmup_n, dispatcher_free_ns;
	/* which type: Walker's alias method */
	uint32_t share[SCHED_TYPES_MAX], alias[SCHED_TYPES_MAX];
	struct draw draws[SCHED_TYPES_MAX];
};

/** arrivals_init - Return: 0, -EINVAL with message (no rate) */
int arrivals_init(struct arrivals *a, const struct sim_config *cfg, struct hearth_err *err);
/** arrivals_next - Return: false when there are no more */
bool arrivals_next(struct arrivals *a, struct arrival *ret);
/** arrivals_expected - how many there will be; 0 = not known */
uint64_t arrivals_expected(const struct arrivals *a);
/** arrivals_rate_hz - of the present phase */
double arrivals_rate_hz(const struct arrivals *a);

#endif
