/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_RANDOM_H
#define SCHED_RANDOM_H

#include <stdint.h>

#include "base/rng.h"

/* base's random numbers under the names that the scheduler's parts use. One owner; two seeds give independent sequences. */
struct sched_random { struct rng rng; };

static inline void sched_random_seed(struct sched_random *r, uint64_t seed) { rng_seed(&r->rng, seed); }
static inline uint64_t sched_random_next(struct sched_random *r) { return rng_next(&r->rng); }
/** sched_random_uniform - 0 <= u < 1, 53 bits */
static inline double sched_random_uniform(struct sched_random *r) { return rng_uniform(&r->rng); }
/** sched_random_below - 0..n-1, n < 2^32; the bias is below n / 2^32 */
static inline uint32_t sched_random_below(struct sched_random *r, uint32_t n) { return (uint32_t)((rng_next(&r->rng) >> 32) * n >> 32); }
/** sched_random_exp - exponential with mean 1 */
static inline double sched_random_exp(struct sched_random *r) { return rng_exp(&r->rng); }
static inline double sched_random_normal(struct sched_random *r) { return rng_normal(&r->rng); }

#endif
