/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_QUANT_H
#define SIM_QUANT_H

#include <stdint.h>
#include <string.h>

#include "sched/sim.h"

/*
 * Quantiles of values from 1 on: a bucket spans a 1024th of a power of two and keeps its values' sum, so that what is reported is the mean of values that
 * differ by 0.1% at most, and exact where they are all the same. Finer than base's histogram, as some gates are 4% wide.
 */
#define QUANT_BITS 10
#define QUANT_BUCKETS (48u << QUANT_BITS)

struct quant_bucket { uint64_t n; double sum; };

struct quant {
	struct quant_bucket *bucket;            /* QUANT_BUCKETS */
	uint32_t low, high;                     /* buckets in use: low..high; none while n == 0 */
	uint64_t n;
	double sum, max;
};

int quant_init(struct quant *q);                /* 0, -ENOMEM */
void quant_done(struct quant *q);
void quant_reset(struct quant *q);
void quant_merge(struct quant *into, const struct quant *from);
/** quant_report - @lost: values that count as infinite for p999_all */
void quant_report(const struct quant *q, uint64_t lost, struct sim_quantiles *ret);

static inline void quant_add(struct quant *q, double v)
{
	uint64_t bits;
	uint32_t i;

	memcpy(&bits, &v, sizeof(bits));
	bits >>= 52 - QUANT_BITS;
	/* exponent and the mantissa's first bits, from 1.0 on */
	i = bits < 1023u << QUANT_BITS ? 0 : (uint32_t)bits - (1023u << QUANT_BITS);
	i = i < QUANT_BUCKETS ? i : QUANT_BUCKETS - 1;
	q->bucket[i].n++;
	q->bucket[i].sum += v;
	q->low = i < q->low ? i : q->low;
	q->high = i > q->high ? i : q->high;
	q->n++;
	q->sum += v;
	q->max = v > q->max ? v : q->max;
}

#endif
