/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_PRIVATE_H
#define TRACE_PRIVATE_H

#include "trace/trace.h"

#define TRACE_HEADER "app,func,end_timestamp,duration"
/* Names that no real trace has (those are hexadecimal digests), so that a generated one is never taken for real. */
#define TRACE_GENERATED_PREFIX "synthetic-"

/** trace_finish - sort the calls, let the first start at 0, fill in the sums. Starts may be on any origin (modulo 2^64 is fine within 2^63). */
void trace_finish(struct trace *t);

/* xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64: the same numbers on every machine. */
struct rng { uint64_t s[4]; };
void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
double rng_uniform(struct rng *r);                      /* 0 <= u < 1, 53 bits */
uint64_t rng_below(struct rng *r, uint64_t n);          /* 0..n-1, n > 0, without bias */
double rng_normal(struct rng *r);
/** normal_quantile - z with P(Z <= z) = p, 0 < p < 1 */
double normal_quantile(double p);

#endif
