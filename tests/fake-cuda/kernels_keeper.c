/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's kernels (src/ckpt/keeper/kernels.cu) for the fake driver: what they must compute, in C, by libxxhash. Device addresses are addresses of the process. */
#include <stdint.h>
#include <string.h>
#include <xxhash.h>

#include "fake_cuda/kernel.h"

#define CHUNK 65536u

struct range { uint64_t at, first; };
struct digest { uint64_t hi, lo; };

fake_kernel fake_kernel_hearth_hash, fake_kernel_hearth_gather;

void fake_kernel_hearth_hash(const struct fake_launch *l)
{
	const struct range *table = (const struct range *)(uintptr_t)FAKE_ARG(l, 0, uint64_t);
	unsigned n = FAKE_ARG(l, 1, unsigned), r = 0;
	uint64_t chunks = FAKE_ARG(l, 2, uint64_t), seed = FAKE_ARG(l, 3, uint64_t);
	struct digest *out = (struct digest *)(uintptr_t)FAKE_ARG(l, 4, uint64_t);

	for (uint64_t c = 0; c < chunks; c++) {
		XXH128_hash_t h;

		while (r + 1 < n && table[r + 1].first <= c)
			r++;
		h = XXH3_128bits_withSeed((const void *)(uintptr_t)(table[r].at + (c - table[r].first) * CHUNK), CHUNK, seed);
		out[c] = (struct digest){ h.high64, h.low64 };
	}
}

void fake_kernel_hearth_gather(const struct fake_launch *l)
{
	const uint64_t *from = (const uint64_t *)(uintptr_t)FAKE_ARG(l, 0, uint64_t);
	uint64_t chunks = FAKE_ARG(l, 1, uint64_t);
	uint8_t *to = (uint8_t *)(uintptr_t)FAKE_ARG(l, 2, uint64_t);

	for (uint64_t c = 0; c < chunks; c++)
		memcpy(to + c * CHUNK, (const void *)(uintptr_t)from[c], CHUNK);
}
