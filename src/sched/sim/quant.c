/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "quant.h"

int quant_init(struct quant *q)
{
	*q = (struct quant){ .low = QUANT_BUCKETS, .bucket = calloc(QUANT_BUCKETS, sizeof(*q->bucket)) };
	return q->bucket ? 0 : -ENOMEM;
}

void quant_done(struct quant *q)
{
	free(q->bucket);
	*q = (struct quant){ 0 };
}

void quant_reset(struct quant *q)
{
	if (q->n > 0)
		memset(q->bucket + q->low, 0, (q->high - q->low + 1) * sizeof(*q->bucket));
	*q = (struct quant){ .low = QUANT_BUCKETS, .bucket = q->bucket };
}

void quant_merge(struct quant *into, const struct quant *from)
{
	if (from->n == 0)
		return;
	for (uint32_t i = from->low; i <= from->high; i++) {
		into->bucket[i].n += from->bucket[i].n;
		into->bucket[i].sum += from->bucket[i].sum;
	}
	into->low = from->low < into->low ? from->low : into->low;
	into->high = from->high > into->high ? from->high : into->high;
	into->n += from->n;
	into->sum += from->sum;
	into->max = from->max > into->max ? from->max : into->max;
}

/* the value with this rank, 1..n */
static double ranked(const struct quant *q, uint64_t rank)
{
	uint64_t seen = 0;

	for (uint32_t i = q->low; i <= q->high; i++) {
		seen += q->bucket[i].n;
		if (seen >= rank)
			return q->bucket[i].sum / (double)q->bucket[i].n;
	}
	return q->max;
}

/* the smallest value with at least p of all at or below it */
static uint64_t rank_of(double p, uint64_t n)
{
	uint64_t rank = (uint64_t)ceil(p * (double)n);

	return rank < 1 ? 1 : rank > n ? n : rank;
}

void quant_report(const struct quant *q, uint64_t lost, struct sim_quantiles *ret)
{
	*ret = (struct sim_quantiles){ .n = q->n };
	if (q->n + lost > 0) {
		uint64_t rank = rank_of(0.999, q->n + lost);

		ret->p999_all = rank > q->n ? HUGE_VAL : ranked(q, rank);
	}
	if (q->n == 0)
		return;
	ret->mean = q->sum / (double)q->n;
	ret->p50 = ranked(q, rank_of(0.5, q->n));
	ret->p99 = ranked(q, rank_of(0.99, q->n));
	ret->p999 = ranked(q, rank_of(0.999, q->n));
	ret->max = q->max;
}
