/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HIST_H
#define BASE_HIST_H

#include <stdint.h>

/*
 * HDR-style histogram: buckets double, each split into 2^HIST_SUB_BITS equal ones, so any value up to 2^63 is kept within 2^-HIST_SUB_BITS (0.8%)
 * and min, max, count and sum are exact. Fixed memory, no allocation. Not thread-safe; merge instead.
 * All zero is an empty histogram. Counters stop at their end: a bucket at 2^32 - 1.
 */
#define HIST_SUB_BITS 7
#define HIST_BUCKETS ((64 - HIST_SUB_BITS) << HIST_SUB_BITS)

struct hist {
	uint64_t count, sum, min, max;
	uint32_t bucket[HIST_BUCKETS];
};

void hist_reset(struct hist *h);
void hist_record(struct hist *h, uint64_t value);
void hist_merge(struct hist *into, const struct hist *from);
/** hist_quantile - smallest recorded value (to bucket precision: the bucket's upper end, clamped to min..max) with at least q of the count at or below; 0 when empty */
uint64_t hist_quantile(const struct hist *h, double q);
/** hist_count_below - how many values are at or below a bound, to bucket precision */
uint64_t hist_count_below(const struct hist *h, uint64_t bound);

#endif
