/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_LHIST_H
#define SCHED_LHIST_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * A small histogram that one thread fills while others read: four buckets an octave, so within 19%, over all of 64 bits, in 2 KiB. base/hist.h is exact where
 * one thread does both; a server's metrics need no more than this. All zero is empty.
 */
#define LHIST_BUCKETS 252

struct lhist {
	_Atomic uint64_t count, sum;
	_Atomic uint64_t bucket[LHIST_BUCKETS];
};

/* for counters with one writer */
static inline void counter_add(_Atomic uint64_t *c, uint64_t by)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + by, memory_order_relaxed);
}

static inline uint64_t counter_get(const _Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

static inline unsigned lhist_index(uint64_t value)
{
	unsigned octave = value < 4 ? 0 : 63 - (unsigned)__builtin_clzll(value);

	return value < 4 ? (unsigned)value : (octave - 1) * 4 + (unsigned)(value >> (octave - 2) & 3);
}

/** lhist_bound - the largest value of a bucket */
static inline uint64_t lhist_bound(unsigned index)
{
	unsigned octave = index / 4 + 1;

	return index < 4 ? index : ((uint64_t)(4 + index % 4) << (octave - 2)) + ((1ull << (octave - 2)) - 1);
}

static inline void lhist_record(struct lhist *h, uint64_t value)
{
	counter_add(&h->bucket[lhist_index(value)], 1);
	counter_add(&h->sum, value);
	counter_add(&h->count, 1);
}

/** lhist_below - how many values are at most @bound, which must be the bound of a bucket */
static inline uint64_t lhist_below(const struct lhist *h, uint64_t bound)
{
	uint64_t n = 0;

	for (unsigned i = 0; i <= lhist_index(bound); i++)
		n += counter_get(&h->bucket[i]);
	return n;
}

/** lhist_quantile - the bound of the bucket with the value that at least @q of all are at or below; 0 when empty */
static inline uint64_t lhist_quantile(const struct lhist *h, double q)
{
	uint64_t count = counter_get(&h->count), n = 0;

	for (unsigned i = 0; count > 0 && i < LHIST_BUCKETS; i++) {
		n += counter_get(&h->bucket[i]);
		if ((double)n >= q * (double)count)
			return lhist_bound(i);
	}
	return 0;
}

#endif
