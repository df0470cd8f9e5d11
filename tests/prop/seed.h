/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PROP_SEED_H
#define TESTS_PROP_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Random numbers of a property test (splitmix64). The same ones in every run; HEARTH_SEED=N tries others, and a failure names the seed that repeats it.
 */
struct rng { uint64_t state; };

static inline uint64_t rng_next(struct rng *g)
{
	uint64_t z = g->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* 0..n-1 */
static inline uint64_t rng_below(struct rng *g, uint64_t n) { return rng_next(g) % n; }

static inline uint64_t prop_seed(void)
{
	const char *text = getenv("HEARTH_SEED");
	uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 20210131;

	printf("# HEARTH_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

#endif
