/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By hand: a program with much device memory, no two chunks alike. usage: gpu_program BUFFERS MIB_EACH, under libhearth-cuda.so
 * A command a line, answered with a line: fill SEED, check SEED ("ok" or "bad N": so many chunks), launch (a small piece of device work).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "cuda/driver.h"

#define WORDS 8192              /* of a chunk */

static struct cuda cu;
static cu_stream stream;

static void ck(cu_result r, const char *what)
{
	if (r == CU_OK)
		return;
	printf("error %s: %s\n", what, cuda_name(&cu, r));
	exit(1);
}
#define CK(x) ck(x, #x)

static void make(uint64_t *to, size_t chunks, uint64_t tag, const uint64_t *page)
{
	for (size_t c = 0; c < chunks; c++)
		for (size_t w = 0; w < WORDS; w++)
			to[c * WORDS + w] = page[w] ^ (tag + c);
}

int main(int argc, char **argv)
{
	size_t n = argc == 3 ? strtoul(argv[1], NULL, 10) : 0, bytes = argc == 3 ? strtoul(argv[2], NULL, 10) << 20 : 0;
	uint64_t *host = malloc(bytes + 1), *back = malloc(bytes + 1), page[WORDS];
	cu_deviceptr *at = calloc(n + 1, sizeof(*at));
	struct hearth_err err;
	cu_context context;
	cu_device device;
	char line[100];
	struct rng rng;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!n || cuda_load(&cu, NULL, &err) < 0) {
		puts("error usage, or no driver");
		return 1;
	}
	rng_seed(&rng, 7);
	for (size_t w = 0; w < WORDS; w++)
		page[w] = rng_next(&rng);
	CK(cu.init(0));
	CK(cu.device_get(&device, 0));
	CK(cu.primary_retain(&context, device));
	CK(cu.set_current(context));
	CK(cu.stream_create(&stream, CU_STREAM_NONBLOCKING));
	for (size_t k = 0; k < n; k++)
		CK(cu.mem_alloc(&at[k], bytes));
	puts("ok");
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t seed = strchr(line, ' ') ? strtoull(strchr(line, ' '), NULL, 10) << 40 : 0;
		size_t bad = 0;

		for (size_t k = 0; k < n && !strncmp(line, "fill", 4); k++) {
			make(host, bytes >> 16, seed + (k << 24), page);
			CK(cu.copy_htod(at[k], host, bytes, stream));
			CK(cu.stream_sync(stream));
		}
		for (size_t k = 0; k < n && !strncmp(line, "check", 5); k++) {
			make(host, bytes >> 16, seed + (k << 24), page);
			CK(cu.copy_dtoh(back, at[k], bytes, stream));
			CK(cu.stream_sync(stream));
			for (size_t c = 0; c < bytes >> 16; c++)
				bad += memcmp(host + c * WORDS, back + c * WORDS, 65536) != 0;
		}
		if (!strncmp(line, "launch", 6)) {
			CK(cu.set_d8(at[0] + bytes - 1, ((uint8_t *)&page)[0], 0, stream));
			CK(cu.stream_sync(stream));
		}
		if (bad)
			printf("bad %zu\n", bad);
		else
			puts("ok");
	}
	return 0;
}
