/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper's device code. What is run is gen/kernels.ptx, made from this file (tools/make-ptx) and kept beside it, so that building needs no CUDA.
 *
 * hearth_hash computes XXH3_128bits_withSeed (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md) of chunks of 64 KiB, one warp a chunk. A chunk is 64 blocks of 16 stripes of 8 lanes of 8 bytes.
 * What the stripes of a block add to the 8 accumulators does not depend on the accumulators, so 32 threads share them: thread t has the lanes 2(t%4) and 2(t%4)+1 (which exchange their data, as the
 * algorithm has it) of the stripes t/4 and t/4+8. Only the scramble between blocks is a chain.
 */
#include <cstdint>

#define CHUNK_BYTES 65536u
#define BLOCKS (CHUNK_BYTES / 1024)
#define AHEAD 4                 /* blocks loaded before they are used */

struct range { uint64_t at, first; };           /* as struct kernel_range (device.h) */
struct digest { uint64_t hi, lo; };             /* as base/file.h has it */

#define PRIME32_1 0x9E3779B1u
#define PRIME32_2 0x85EBCA77u
#define PRIME32_3 0xC2B2AE3Du
#define PRIME64_1 0x9E3779B185EBCA87ull
#define PRIME64_2 0xC2B2AE3D27D4EB4Full
#define PRIME64_3 0x165667B19E3779F9ull
#define PRIME64_4 0x85EBCA77C2B2AE63ull
#define PRIME64_5 0x27D4EB2F165667C5ull

/* the algorithm's default secret: 192 bytes */
__constant__ uint64_t secret_words[24] = {
	0xbe4ba423396cfeb8ull, 0x1cad21f72c81017cull, 0xdb979083e96dd4deull, 0x1f67b3b7a4a44072ull, 0x78e5c0cc4ee679cbull, 0x2172ffcc7dd05a82ull,
	0x8e2443f7744608b8ull, 0x4c263a81e69035e0ull, 0xcb00c391bb52283cull, 0xa32e531b8b65d088ull, 0x4ef90da297486471ull, 0xd8acdea946ef1938ull,
	0x3f349ce33f76faa8ull, 0x1d4f0bc7c7bbdcf9ull, 0x3159b4cd4be0518aull, 0x647378d9c97e9fc8ull, 0xc3ebd33483acc5eaull, 0xeb6313faffa081c5ull,
	0x49daf0b751dd0d17ull, 0x9e68d429265516d3ull, 0xfca1477d58be162bull, 0xce31d07ad1b8f88full, 0x280416958f3acb45ull, 0x7e404bbbcafbd7afull,
};

/* word of the secret that a seed makes of it */
__device__ __forceinline__ uint64_t secret_word(unsigned k, uint64_t seed)
{
	return secret_words[k] + (k & 1 ? 0 - seed : seed);
}

/* the same from any byte on */
__device__ __forceinline__ uint64_t secret_at(unsigned byte, uint64_t seed)
{
	unsigned shift = byte % 8 * 8;
	uint64_t low = secret_word(byte / 8, seed);

	return shift ? low >> shift | secret_word(byte / 8 + 1, seed) << (64 - shift) : low;
}

__device__ __forceinline__ uint64_t product(uint64_t key)
{
	return (uint64_t)(uint32_t)key * (uint32_t)(key >> 32);
}

__device__ __forceinline__ void stripe(ulonglong2 d, uint64_t s0, uint64_t s1, uint64_t &a0, uint64_t &a1)
{
	a0 += product(d.x ^ s0) + d.y;
	a1 += product(d.y ^ s1) + d.x;
}

/* over the threads that have the same lanes; all of them get the sum */
__device__ __forceinline__ uint64_t sum8(uint64_t v)
{
	v += __shfl_xor_sync(~0u, v, 4);
	v += __shfl_xor_sync(~0u, v, 8);
	return v + __shfl_xor_sync(~0u, v, 16);
}

__device__ __forceinline__ uint64_t scramble(uint64_t acc, uint64_t s)
{
	acc ^= acc >> 47;
	return (acc ^ s) * PRIME32_1;
}

__device__ __forceinline__ uint64_t fold(uint64_t a, uint64_t b)
{
	return a * b ^ __umul64hi(a, b);
}

__device__ __forceinline__ uint64_t avalanche(uint64_t h)
{
	h ^= h >> 37;
	h *= 0x165667919E3779F9ull;
	return h ^ h >> 32;
}

__device__ __forceinline__ uint64_t initial(unsigned lane)
{
	const uint64_t acc[8] = { PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1 };

	return lane == 0 ? acc[0] : lane == 1 ? acc[1] : lane == 2 ? acc[2] : lane == 3 ? acc[3] : lane == 4 ? acc[4] : lane == 5 ? acc[5] : lane == 6 ? acc[6] : acc[7];
}

/* where chunk c of the table lies */
__device__ __forceinline__ uint64_t find(const struct range *table, unsigned n, uint64_t c)
{
	unsigned low = 0, high = n;

	while (high - low > 1) {
		unsigned mid = (low + high) / 2;

		if (table[mid].first <= c)
			low = mid;
		else
			high = mid;
	}
	return table[low].at + (c - table[low].first) * CHUNK_BYTES;
}

/*
 * table: n ranges, first = number of the first chunk of each, ascending from 0; chunks: of all. out: a digest for each chunk.
 * Blocks of 256 threads, 8 chunks a block.
 */
extern "C" __global__ void __launch_bounds__(256) hearth_hash(const struct range *table, unsigned n, uint64_t chunks, uint64_t seed, struct digest *out)
{
	uint64_t c = (uint64_t)blockIdx.x * 8 + threadIdx.x / 32;
	unsigned t = threadIdx.x % 32, lane = t % 4 * 2, row = t / 4;

	if (c >= chunks)
		return;

	const ulonglong2 *p = (const ulonglong2 *)find(table, n, c) + t;
	uint64_t s00 = secret_word(row + lane, seed), s01 = secret_word(row + lane + 1, seed);
	uint64_t s10 = secret_word(row + 8 + lane, seed), s11 = secret_word(row + 8 + lane + 1, seed);
	uint64_t m0 = secret_word(16 + lane, seed), m1 = secret_word(17 + lane, seed);
	uint64_t acc0 = initial(lane), acc1 = initial(lane + 1);
	ulonglong2 d[AHEAD][2];

	#pragma unroll
	for (int k = 0; k < AHEAD; k++) {
		d[k][0] = __ldcs(p + k * 64);
		d[k][1] = __ldcs(p + k * 64 + 32);
	}
	for (int block = 0; block < BLOCKS; block += AHEAD) {
		#pragma unroll
		for (int k = 0; k < AHEAD; k++) {
			uint64_t a0 = 0, a1 = 0;
			ulonglong2 d0 = d[k][0], d1 = d[k][1];

			if (block + AHEAD < BLOCKS) {
				d[k][0] = __ldcs(p + (block + AHEAD + k) * 64);
				d[k][1] = __ldcs(p + (block + AHEAD + k) * 64 + 32);
			}
			if (block + k == BLOCKS - 1 && row == 7) {
				/* the very last stripe has a secret of its own */
				s10 = secret_at(121 + lane * 8, seed);
				s11 = secret_at(129 + lane * 8, seed);
			}
			stripe(d0, s00, s01, a0, a1);
			stripe(d1, s10, s11, a0, a1);
			acc0 += sum8(a0);
			acc1 += sum8(a1);
			if (block + k < BLOCKS - 1) {
				acc0 = scramble(acc0, m0);
				acc1 = scramble(acc1, m1);
			}
		}
	}

	uint64_t lo = fold(acc0 ^ secret_at(11 + lane * 8, seed), acc1 ^ secret_at(19 + lane * 8, seed));
	uint64_t hi = fold(acc0 ^ secret_at(117 + lane * 8, seed), acc1 ^ secret_at(125 + lane * 8, seed));

	lo += __shfl_xor_sync(~0u, lo, 1);
	lo += __shfl_xor_sync(~0u, lo, 2);
	hi += __shfl_xor_sync(~0u, hi, 1);
	hi += __shfl_xor_sync(~0u, hi, 2);
	if (t == 0)
		out[c] = { avalanche(hi + ~(CHUNK_BYTES * PRIME64_2)), avalanche(lo + CHUNK_BYTES * PRIME64_1) };
}

/* chunk k of the destination is the one at from[k]. A block of 256 threads a chunk. */
extern "C" __global__ void __launch_bounds__(256) hearth_gather(const uint64_t *from, uint64_t chunks, uint4 *to)
{
	const uint4 *p = (const uint4 *)from[blockIdx.x] + threadIdx.x;

	to += (uint64_t)blockIdx.x * (CHUNK_BYTES / sizeof(uint4)) + threadIdx.x;
	#pragma unroll
	for (int half = 0; half < 2; half++) {
		uint4 v[8];

		#pragma unroll
		for (int k = 0; k < 8; k++)
			v[k] = __ldcs(p + (half * 8 + k) * 256);
		#pragma unroll
		for (int k = 0; k < 8; k++)
			__stcs(to + (half * 8 + k) * 256, v[k]);
	}
}
