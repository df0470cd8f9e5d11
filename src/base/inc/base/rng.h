/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

/* xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64: the same numbers on every machine. Not for secrets. */
struct rng { uint64_t s[4]; };

void rng_seed(struct rng *r, uint64_t seed);

static inline uint64_t rng_rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s, result = rng_rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rng_rotl(s[3], 45);
	return result;
}

/** rng_uniform - 0 <= u < 1, 53 bits */
static inline double rng_uniform(struct rng *r)
{
	return (double)(rng_next(r) >> 11) * 0x1p-53;
}

uint64_t rng_below(struct rng *r, uint64_t n);          /* 0..n-1, n > 0, without bias */
double rng_normal(struct rng *r);
/** rng_exp - exponential with mean 1, at most 44: -ln of 63 random bits, without a call of log (a few ns; within 1e-9 of it) */
double rng_exp(struct rng *r);

#endif
