/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_RANDOM_H
#define SCHED_RANDOM_H

#include <math.h>
#include <stdint.h>

/*
 * xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64: the same numbers on every machine. One owner; two seeds give independent sequences.
 * Static, so that it is inlined into loops that draw millions of numbers a second.
 */
struct sched_random { uint64_t s[4]; };

static inline void sched_random_seed(struct sched_random *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = (seed += 0x9e3779b97f4a7c15ull);

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
		r->s[i] = z ^ (z >> 31);
	}
}

static inline uint64_t sched_random_next(struct sched_random *r)
{
	uint64_t *s = r->s, x = s[1] * 5, t = s[1] << 17, result = ((x << 7) | (x >> 57)) * 9;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = (s[3] << 45) | (s[3] >> 19);
	return result;
}

/** sched_random_uniform - 0 <= u < 1, 53 bits */
static inline double sched_random_uniform(struct sched_random *r) { return (double)(sched_random_next(r) >> 11) * 0x1p-53; }
/** sched_random_below - 0..n-1, n < 2^32; the bias is below n / 2^32 */
static inline uint32_t sched_random_below(struct sched_random *r, uint32_t n) { return (uint32_t)((sched_random_next(r) >> 32) * n >> 32); }
/** sched_random_exp - exponential with mean 1 */
static inline double sched_random_exp(struct sched_random *r) { return -log(1 - sched_random_uniform(r)); }

static inline double sched_random_normal(struct sched_random *r)
{
	double u = 1 - sched_random_uniform(r), v = sched_random_uniform(r);    /* 0 < u <= 1: the logarithm is finite */

	return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

#endif
