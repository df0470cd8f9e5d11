/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "farmem/policy.h"

/* Samples fade with age. Rather than all buckets being multiplied ever so often, a new sample weighs the more, the later it comes after epoch_ns; before that grows out of
 * proportion, all are brought to a new epoch. */
#define RESCALE_HALF_LIVES 16

/* What the node has seen of all functions counts as so many of the function's own samples. */
#define PRIOR_SAMPLES 8

static double half_lives(const struct farmem_reuse *h, uint64_t now_ns)
{
	return now_ns > h->epoch_ns ? (double)(now_ns - h->epoch_ns) / (double)FARMEM_REUSE_HALF_LIFE_NS : 0;
}

static unsigned bucket_of(uint64_t interval_ns)
{
	double octaves;

	if (interval_ns <= FARMEM_REUSE_FIRST_NS)
		return 0;
	octaves = log2((double)interval_ns / (double)FARMEM_REUSE_FIRST_NS);
	return octaves * FARMEM_REUSE_PER_OCTAVE < FARMEM_REUSE_BUCKETS - 1 ? (unsigned)(octaves * FARMEM_REUSE_PER_OCTAVE) : FARMEM_REUSE_BUCKETS - 1;
}

static uint64_t bucket_end_ns(unsigned b)
{
	return (uint64_t)ceil((double)FARMEM_REUSE_FIRST_NS * exp2((b + 1.0) / FARMEM_REUSE_PER_OCTAVE));
}

static void rescale(struct farmem_reuse *h, uint64_t now_ns)
{
	double keep = exp2(-half_lives(h, now_ns));

	h->sum = 0;
	for (unsigned b = 0; b < FARMEM_REUSE_BUCKETS; b++) {
		h->bucket[b] = (float)(h->bucket[b] * keep);
		h->sum += h->bucket[b];
	}
	h->epoch_ns = now_ns;
}

void farmem_reuse_add(struct farmem_reuse *h, uint64_t now_ns, uint64_t interval_ns, double weight)
{
	if (h->sum <= 0)
		h->epoch_ns = now_ns;
	if (half_lives(h, now_ns) > RESCALE_HALF_LIVES)
		rescale(h, now_ns);
	weight *= exp2(half_lives(h, now_ns));
	h->bucket[bucket_of(interval_ns)] += (float)weight;
	h->sum += weight;
}

double farmem_reuse_weight(const struct farmem_reuse *h, uint64_t now_ns)
{
	return h->sum > 0 ? h->sum * exp2(-half_lives(h, now_ns)) : 0;
}

uint64_t farmem_semiwarm_start(const struct farmem_reuse *own, const struct farmem_reuse *node, uint64_t now_ns, double quantile, uint64_t floor_ns, uint64_t first_ns)
{
	static const struct farmem_reuse nothing;
	const struct farmem_reuse *prior = node ? node : &nothing;
	double own_weight = farmem_reuse_weight(own, now_ns), own_scale = own_weight > 0 ? own_weight / own->sum : 0;
	double prior_weight = prior->sum > 0 ? PRIOR_SAMPLES : 0, prior_scale = prior->sum > 0 ? PRIOR_SAMPLES / prior->sum : 0;
	double may_exceed = (1 - quantile) * (own_weight + prior_weight), exceed = 0;
	uint64_t start_ns;
	unsigned b;

	if (own_weight + prior_weight <= 0)
		return first_ns > floor_ns ? first_ns : floor_ns;
	/* from the longest intervals down, as long as those that are longer are few enough */
	for (b = FARMEM_REUSE_BUCKETS - 1; b > 0; b--) {
		exceed += own_scale * own->bucket[b] + prior_scale * prior->bucket[b];
		if (exceed > may_exceed)
			break;
	}
	start_ns = bucket_end_ns(b);
	return start_ns > floor_ns ? start_ns : floor_ns;
}
