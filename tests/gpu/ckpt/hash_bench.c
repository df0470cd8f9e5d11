/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By hand, on a machine with a GPU: the keeper's device code against libxxhash, and how fast the machine does what the keeper asks of it.
 *   hash_bench KERNELS.PTX [TMPFS_FOLDER]
 * Exit status 0: all digests right.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "cuda/driver.h"

#define CHUNK 65536ull
#define MIB (1ull << 20)
#define GIB (1ull << 30)

struct range { uint64_t at, first; };

static struct cuda cu;
static cu_function hash, gather;
static cu_stream stream;
static int failed;

static void ck(cu_result r, const char *what)
{
	if (r == CU_OK)
		return;
	printf("FAIL %s: %s (%d)\n", what, cuda_name(&cu, r), r);
	exit(1);
}
#define CK(x) ck(x, #x)

static double seconds(uint64_t since)
{
	return (double)(clock_mono_ns() - since) / NS_PER_S;
}

static void begin(const char *ptx)
{
	struct hearth_err err;
	cu_context context;
	cu_module module;
	cu_device device;
	uint64_t t;
	char *text, name[100];

	if (cuda_load(&cu, NULL, &err) < 0 || file_read(ptx, 1 << 20, &text, NULL) < 0) {
		puts("no driver, or no PTX");
		exit(77);
	}
	t = clock_mono_ns();
	CK(cu.init(0));
	printf("cuInit %.3f s, driver %d\n", seconds(t), cu.version);
	CK(cu.device_get(&device, 0));
	CK(cu.device_name(name, sizeof(name), device));
	t = clock_mono_ns();
	CK(cu.primary_retain(&context, device));
	CK(cu.set_current(context));
	printf("%s: context %.3f s\n", name, seconds(t));
	t = clock_mono_ns();
	CK(cu.module_load(&module, text));
	CK(cu.module_function(&hash, module, "hearth_hash"));
	CK(cu.module_function(&gather, module, "hearth_gather"));
	printf("module %.3f s\n", seconds(t));
	CK(cu.stream_create(&stream, CU_STREAM_NONBLOCKING));
	free(text);
}

static void launch_hash(cu_deviceptr table, unsigned n, uint64_t chunks, uint64_t seed, cu_deviceptr out)
{
	void *args[] = { &table, &n, &chunks, &seed, &out };

	CK(cu.launch(hash, (unsigned)((chunks + 7) / 8), 1, 1, 256, 1, 1, 0, stream, args, NULL));
}

static void launch_gather(cu_deviceptr from, uint64_t chunks, cu_deviceptr to)
{
	void *args[] = { &from, &chunks, &to };

	CK(cu.launch(gather, (unsigned)chunks, 1, 1, 256, 1, 1, 0, stream, args, NULL));
}

/* three ranges out of order, of random bytes and of zeros */
static void check(void)
{
	const uint64_t bytes = 96 * MIB, n = bytes / CHUNK, seeds[] = { 0, 1, 0x9E3779B185EBCA87ull };
	struct range ranges[] = { { 64 * MIB, 0 }, { 0, 512 }, { 32 * MIB, 513 } };
	uint64_t count[] = { 512, 1, 400 }, chunks = 913;
	struct digest *out = malloc(n * sizeof(*out));
	uint64_t *host = malloc(bytes), *from = malloc(n * 8);
	cu_deviceptr at, table, digests, list, copy;
	struct rng rng;
	size_t bad = 0;

	rng_seed(&rng, clock_wall_ns());
	for (size_t k = 0; k < bytes / 8; k++)
		host[k] = k % 8192 == 77 ? 0 : rng_next(&rng);
	memset((char *)host + 33 * MIB, 0, MIB);
	CK(cu.mem_alloc(&at, bytes));
	CK(cu.mem_alloc(&copy, bytes));
	CK(cu.mem_alloc(&table, sizeof(ranges)));
	CK(cu.mem_alloc(&digests, n * sizeof(*out)));
	CK(cu.mem_alloc(&list, n * 8));
	CK(cu.copy_htod(at, host, bytes, stream));
	for (int k = 0; k < 3; k++)
		ranges[k].at += at;
	CK(cu.copy_htod(table, ranges, sizeof(ranges), stream));
	for (int s = 0; s < 3; s++) {
		CK(cu.set_d8(digests, 0xee, n * sizeof(*out), stream));
		launch_hash(table, 3, chunks, seeds[s], digests);
		CK(cu.copy_dtoh(out, digests, n * sizeof(*out), stream));
		CK(cu.stream_sync(stream));
		for (uint64_t r = 0, c = 0; r < 3; r++)
			for (uint64_t k = 0; k < count[r]; k++, c++) {
				XXH128_hash_t want = XXH3_128bits_withSeed((char *)host + (ranges[r].at - at) + k * CHUNK, CHUNK, seeds[s]);

				bad += want.low64 != out[c].lo || want.high64 != out[c].hi;
			}
		bad += out[chunks].lo != 0xeeeeeeeeeeeeeeeeull;
	}
	printf("digests: %zu of %d wrong\n", bad, (int)chunks * 3);
	failed |= bad != 0;
	for (uint64_t k = 0; k < n; k++)
		from[k] = at + (k * 7919 % n) * CHUNK;
	CK(cu.copy_htod(list, from, n * 8, stream));
	launch_gather(list, n, copy);
	CK(cu.stream_sync(stream));
	uint64_t *back = malloc(bytes);
	CK(cu.copy_dtoh(back, copy, bytes, stream));
	CK(cu.stream_sync(stream));
	bad = 0;
	for (uint64_t k = 0; k < n; k++)
		bad += memcmp((char *)back + k * CHUNK, (char *)host + (k * 7919 % n) * CHUNK, CHUNK) != 0;
	printf("gathered: %zu of %d wrong\n", bad, (int)n);
	failed |= bad != 0;
	CK(cu.mem_free(copy));
	CK(cu.mem_free(at));
	free(back);
	free(host);
	free(from);
	free(out);
}

static void rates(void)
{
	uint64_t t, bytes = 32 * GIB, n = bytes / CHUNK, *from = malloc(n * 8);
	cu_deviceptr at, to, table, digests, list;
	uint64_t *host = malloc(256 * MIB);
	struct range one;
	struct rng rng;

	rng_seed(&rng, 1);
	for (size_t k = 0; k < 256 * MIB / 8; k++)
		host[k] = rng_next(&rng);
	t = clock_mono_ns();
	CK(cu.mem_alloc(&at, bytes));
	printf("cuMemAlloc 32 GiB %.1f ms\n", seconds(t) * 1e3);
	CK(cu.mem_alloc(&to, bytes / 2));
	CK(cu.mem_alloc(&table, sizeof(one)));
	CK(cu.mem_alloc(&digests, n * 16));
	CK(cu.mem_alloc(&list, n * 8));
	CK(cu.copy_htod(at, host, 256 * MIB, stream));
	for (uint64_t k = 1; k < bytes / (256 * MIB); k++)
		CK(cu.copy_dtod(at + k * 256 * MIB, at, 256 * MIB, stream));
	one = (struct range){ at, 0 };
	CK(cu.copy_htod(table, &one, sizeof(one), stream));
	for (int k = 0; k < 4; k++) {
		CK(cu.stream_sync(stream));
		t = clock_mono_ns();
		launch_hash(table, 1, n, 42, digests);
		CK(cu.stream_sync(stream));
		printf("hash 32 GiB: %.2f ms, %.0f GB/s\n", seconds(t) * 1e3, (double)bytes / 1e9 / seconds(t));
	}
	for (uint64_t k = 0; k < n / 2; k++)
		from[k] = at + (k * 2 + (k & 1)) % n * CHUNK;
	CK(cu.copy_htod(list, from, n / 2 * 8, stream));
	for (int k = 0; k < 3; k++) {
		CK(cu.stream_sync(stream));
		t = clock_mono_ns();
		launch_gather(list, n / 2, to);
		CK(cu.stream_sync(stream));
		printf("gather 16 GiB: %.2f ms, %.0f GB/s read+write\n", seconds(t) * 1e3, (double)bytes / 1e9 / seconds(t));
		t = clock_mono_ns();
		CK(cu.copy_dtod(to, at, bytes / 2, stream));
		CK(cu.stream_sync(stream));
		printf("copy   16 GiB: %.2f ms, %.0f GB/s read+write\n", seconds(t) * 1e3, (double)bytes / 1e9 / seconds(t));
	}
	CK(cu.mem_free(to));
	CK(cu.mem_free(at));
	free(host);
	free(from);
}

/* memory of a tmpfs, registered: what a memory store's segments are */
static void segments(const char *dir)
{
	const uint64_t bytes = 4 * GIB;
	char path[4096];
	cu_deviceptr at;
	uint64_t t;
	void *map;
	int fd;

	snprintf(path, sizeof(path), "%s/hash_bench.tmp", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
		printf("%s: %s\n", path, strerror(errno));
		return;
	}
	unlink(path);
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	t = clock_mono_ns();
	if (map == MAP_FAILED || madvise(map, bytes, MADV_POPULATE_WRITE) < 0) {
		printf("populate: %s\n", strerror(errno));
		return;
	}
	printf("tmpfs 4 GiB populated in %.3f s\n", seconds(t));
	t = clock_mono_ns();
	CK(cu.host_register(map, bytes, CU_HOST_PORTABLE));
	printf("registered in %.3f s\n", seconds(t));
	CK(cu.mem_alloc(&at, bytes));
	for (int k = 0; k < 3; k++) {
		t = clock_mono_ns();
		for (uint64_t o = 0; o < bytes; o += 32 * MIB)
			CK(cu.copy_dtoh((char *)map + o, at + o, 32 * MIB, stream));
		CK(cu.stream_sync(stream));
		printf("D2H into it %.1f GB/s\n", (double)bytes / 1e9 / seconds(t));
		t = clock_mono_ns();
		for (uint64_t o = 0; o < bytes; o += 32 * MIB)
			CK(cu.copy_htod(at + o, (char *)map + o, 32 * MIB, stream));
		CK(cu.stream_sync(stream));
		printf("H2D from it %.1f GB/s\n", (double)bytes / 1e9 / seconds(t));
	}
	t = clock_mono_ns();
	CK(cu.host_unregister(map));
	printf("unregistered in %.3f s\n", seconds(t));
	CK(cu.mem_free(at));
	munmap(map, bytes);
	close(fd);
}

/* what a snapshot's memory costs to get */
static void areas(void)
{
	const uint64_t sizes[] = { 64 * MIB, GIB, 15 * GIB };
	struct cu_memory_prop prop = { .type = CU_PINNED, .handle_types = CU_POSIX_FD, .location = { CU_LOCATION_DEVICE, 0 } };
	struct cu_access access = { prop.location, CU_ACCESS_READWRITE };

	for (int k = 0; k < 3; k++) {
		uint64_t t = clock_mono_ns(), t1, t2, t3;
		cu_deviceptr at;
		cu_memory m;

		CK(cu.mem_create(&m, sizes[k], &prop, 0));
		t1 = clock_mono_ns();
		CK(cu.address_reserve(&at, sizes[k], 0, 0, 0));
		CK(cu.mem_map(at, sizes[k], 0, m, 0));
		t2 = clock_mono_ns();
		CK(cu.set_access(at, sizes[k], &access, 1));
		t3 = clock_mono_ns();
		printf("VMM %5llu MiB: create %.2f, map %.2f, access %.2f", (unsigned long long)(sizes[k] / MIB), (double)(t1 - t) / 1e6, (double)(t2 - t1) / 1e6,
		       (double)(t3 - t2) / 1e6);
		t = clock_mono_ns();
		CK(cu.mem_unmap(at, sizes[k]));
		CK(cu.mem_release(m));
		CK(cu.address_free(at, sizes[k]));
		printf(", away %.2f ms\n", (double)(clock_mono_ns() - t) / 1e6);
	}
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: hash_bench KERNELS.PTX [TMPFS_FOLDER]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	begin(argv[1]);
	check();
	rates();
	areas();
	segments(argc > 2 ? argv[2] : "/dev/shm");
	return failed;
}
