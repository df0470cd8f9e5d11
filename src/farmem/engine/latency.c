// SPDX-License-Identifier: Apache-2.0
#include "farmem/engine.h"

const char *const farmem_uncovered_names[FARMEM_UNCOVERED_KINDS] = { "file", "libc", "protection", "helper", "special" };

/* Buckets of fault latencies: 2^9 ns first, then four an octave. */

#define FIRST_BITS 9

static unsigned bucket_of(uint64_t ns)
{
	unsigned bits = ns ? 63 - (unsigned)__builtin_clzll(ns) : 0, at;

	if (bits < FIRST_BITS)
		return 0;
	at = 1 + 4 * (bits - FIRST_BITS) + (unsigned)(ns >> (bits - 2) & 3);
	return at < FARMEM_LATENCY_BUCKETS ? at : FARMEM_LATENCY_BUCKETS - 1;
}

static uint64_t end_of(unsigned bucket)
{
	unsigned octave = bucket ? (bucket - 1) / 4 : 0, quarter = bucket ? (bucket - 1) % 4 : 0;

	if (bucket == 0)
		return 1ull << FIRST_BITS;
	return (1ull << (FIRST_BITS + octave)) + (uint64_t)(quarter + 1) * (1ull << (FIRST_BITS + octave - 2));
}

void farmem_latency_add(struct farmem_latency *l, uint64_t ns)
{
	l->count++;
	l->sum_ns += ns;
	l->bucket[bucket_of(ns)]++;
}

void farmem_latency_merge(struct farmem_latency *into, const struct farmem_latency *from)
{
	into->count += from->count;
	into->sum_ns += from->sum_ns;
	for (unsigned b = 0; b < FARMEM_LATENCY_BUCKETS; b++)
		into->bucket[b] += from->bucket[b];
}

uint64_t farmem_latency_quantile(const struct farmem_latency *l, double q)
{
	double wanted = q * (double)l->count;
	uint64_t seen = 0;

	if (l->count == 0)
		return 0;
	for (unsigned b = 0; b < FARMEM_LATENCY_BUCKETS; b++) {
		seen += l->bucket[b];
		if (l->bucket[b] && (double)seen >= wanted)
			return end_of(b);
	}
	return end_of(FARMEM_LATENCY_BUCKETS - 1);
}
