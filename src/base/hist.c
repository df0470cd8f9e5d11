/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/hist.h"

/*
 * Values below 2^S have a bucket each. Above, a value with its top bit at e keeps the S bits after it: shift = e - S drops the rest, and each shift
 * owns 2^S buckets. Values of 2^63 and more share the last bucket; max is exact all the same.
 */
static uint32_t index_of(uint64_t value)
{
	unsigned shift;

	if (value < 1u << HIST_SUB_BITS)
		return (uint32_t)value;
	if (value >> 63)
		return HIST_BUCKETS - 1;
	shift = 63u - (unsigned)__builtin_clzll(value) - HIST_SUB_BITS;
	return ((shift + 1) << HIST_SUB_BITS) + (uint32_t)((value >> shift) - (1u << HIST_SUB_BITS));
}

/* the largest value that falls into a bucket */
static uint64_t upper_of(uint32_t index)
{
	unsigned shift;
	uint64_t low;

	if (index < 1u << HIST_SUB_BITS)
		return index;
	shift = (index >> HIST_SUB_BITS) - 1;
	low = (uint64_t)((index & ((1u << HIST_SUB_BITS) - 1)) + (1u << HIST_SUB_BITS)) << shift;
	return low + ((1ull << shift) - 1);
}

/* Counters stop at their end instead of starting again at 0: a saturated histogram is coarse, a wrapped one lies. */
static uint64_t add_sat64(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint32_t add_sat32(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

void hist_reset(struct hist *h)
{
	memset(h, 0, sizeof(*h));
}

void hist_record(struct hist *h, uint64_t value)
{
	uint32_t i = index_of(value);

	if (h->count == 0 || value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
	h->count = add_sat64(h->count, 1);
	h->sum = add_sat64(h->sum, value);
	h->bucket[i] = add_sat32(h->bucket[i], 1);
}

void hist_merge(struct hist *into, const struct hist *from)
{
	if (from->count == 0)
		return;
	if (into->count == 0 || from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	into->count = add_sat64(into->count, from->count);
	into->sum = add_sat64(into->sum, from->sum);
	for (uint32_t i = 0; i < HIST_BUCKETS; i++)
		into->bucket[i] = add_sat32(into->bucket[i], from->bucket[i]);
}

/* how many values are at or below the quantile: ceil(q * count), 1..count */
static uint64_t rank_of(uint64_t count, double q)
{
	double exact;
	uint64_t rank;

	if (!(q > 0))
		return 1;
	if (q >= 1)
		return count;
	exact = q * (double)count;
	rank = (uint64_t)exact;
	if ((double)rank < exact)
		rank++;
	return rank < 1 ? 1 : rank > count ? count : rank;
}

uint64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t rank, seen = 0, value;

	if (h->count == 0)
		return 0;
	rank = rank_of(h->count, q);
	if (rank == 1)
		return h->min;
	for (uint32_t i = 0; i < HIST_BUCKETS - 1; i++) {
		seen += h->bucket[i];
		if (seen >= rank) {
			value = upper_of(i);
			return value > h->max ? h->max : value < h->min ? h->min : value;
		}
	}
	return h->max;
}

uint64_t hist_count_below(const struct hist *h, uint64_t bound)
{
	uint64_t n = 0;

	if (bound >= h->max)
		return h->count;
	for (uint32_t i = 0; i < HIST_BUCKETS && upper_of(i) <= bound; i++)
		n += h->bucket[i];
	return n;
}
