/* SPDX-License-Identifier: Apache-2.0 */
/* One store, written, committed and read by several threads at the same time: a block is always one of the versions that were put, whole. */
#include "../../base/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/file.h"
#include "base/rng.h"
#include "hearth/ds_load.h"

#define BLOCK 4096
#define WORDS (BLOCK / 8)
#define IDS 12
#define READERS 2
#define WRITERS 2
#define PUTS 150
#define GET_MAX 8

static struct hearth_ds *ds;
static struct hearth_ds_device *host;
static struct hearth_ds_kv *kv;
static char dir[64], path[96];
static atomic_uint writers_left;
static atomic_ullong versions[IDS];     /* given out so far */

static void *write_some(void *arg)
{
	struct hearth_ds_buffer room;
	struct rng g;

	rng_seed(&g, (uintptr_t)arg);
	if (hearth_ds_alloc(host, 2 * BLOCK, &room) < 0)
		abort();
	for (unsigned k = 0; k < PUTS; k++) {
		struct hearth_ds_kv_block blocks[2];

		for (unsigned i = 0; i < 2; i++) {
			uint64_t id = rng_below(&g, IDS), version = atomic_fetch_add(&versions[id], 1) + 1, *words = (uint64_t *)(uintptr_t)(room.at + i * BLOCK);

			blocks[i] = (struct hearth_ds_kv_block){ .id = id, .memory = room.memory, .memory_offset = i * BLOCK };
			for (unsigned w = 0; w < WORDS; w++)
				words[w] = id << 32 | version;
		}
		if (hearth_ds_kv_put(kv, blocks, 2) < 0 || (k % 8 == 0 && hearth_ds_kv_commit(kv) < 0) || (k % 16 == 5 && hearth_ds_kv_drop(kv, rng_below(&g, IDS)) < 0))
			abort();
	}
	hearth_ds_free(&room);
	atomic_fetch_sub(&writers_left, 1);
	return NULL;
}

static void *read_some(void *arg)
{
	struct hearth_ds_buffer room;
	struct rng g;
	size_t wrong = 0;

	rng_seed(&g, (uintptr_t)arg);
	if (hearth_ds_alloc(host, GET_MAX * BLOCK, &room) < 0)
		abort();
	while (atomic_load(&writers_left)) {
		struct hearth_ds_kv_block blocks[GET_MAX];
		size_t n = 1 + rng_below(&g, GET_MAX);

		for (size_t k = 0; k < n; k++)
			blocks[k] = (struct hearth_ds_kv_block){ .id = rng_below(&g, IDS), .memory = room.memory, .memory_offset = k * BLOCK };
		if (hearth_ds_kv_get(kv, blocks, n) < 0)
			abort();
		for (size_t k = 0; k < n; k++) {
			const uint64_t *words = (const uint64_t *)(uintptr_t)(room.at + k * BLOCK);

			if (blocks[k].result == -ENOENT)
				continue;
			wrong += blocks[k].result != BLOCK || words[0] >> 32 != blocks[k].id || (uint32_t)words[0] > atomic_load(&versions[blocks[k].id]);
			for (unsigned w = 1; w < WORDS; w++)
				wrong += words[w] != words[0];
		}
	}
	hearth_ds_free(&room);
	return (void *)wrong;
}

static void test_threads(void **state)
{
	static const struct hearth_ds_kv_options options = { .block_bytes = BLOCK, .layers = 1, .checked = 1 };
	pthread_t threads[READERS + WRITERS];
	struct hearth_ds_kv_info info;

	assert_int_equal(hearth_ds_kv_create(ds, path, &options, &kv), 0);
	writers_left = WRITERS;
	for (uintptr_t k = 0; k < READERS + WRITERS; k++)
		assert_int_equal(pthread_create(&threads[k], NULL, k < WRITERS ? write_some : read_some, (void *)(k + 1)), 0);
	for (unsigned k = 0; k < READERS + WRITERS; k++) {
		void *wrong;

		assert_int_equal(pthread_join(threads[k], &wrong), 0);
		assert_null(wrong);
	}
	assert_int_equal(hearth_ds_kv_commit(kv), 0);
	assert_int_equal(hearth_ds_kv_check(kv, NULL, NULL), 0);
	/* what was given up was used again */
	hearth_ds_kv_info(kv, &info);
	assert_true(info.file_bytes < PUTS * WRITERS * 2 * BLOCK / 4);
	hearth_ds_kv_close(kv);
	assert_int_equal(hearth_ds_kv_open(ds, path, 0, &kv), 0);
	assert_int_equal(hearth_ds_kv_check(kv, NULL, NULL), 0);
	hearth_ds_kv_close(kv);
	assert_int_equal(dir_remove(path), 0);
}

/* many commits: the index is replaced by a short one, whoever opens the store then finds the same */
static void test_compaction(void **state)
{
	enum { BATCH = 512, COMMITS = 200 };
	static const struct hearth_ds_kv_options options = { .block_bytes = 16, .layers = 1 };
	struct hearth_ds_kv_block blocks[BATCH];
	struct hearth_ds_kv_info info;
	struct hearth_ds_buffer room;
	uint64_t most = 0;

	assert_int_equal(hearth_ds_alloc(host, BATCH * 16, &room), 0);
	assert_int_equal(hearth_ds_kv_create(ds, path, &options, &kv), 0);
	for (unsigned n = 0; n < COMMITS; n++) {
		for (unsigned k = 0; k < BATCH; k++) {
			blocks[k] = (struct hearth_ds_kv_block){ .id = k, .memory = room.memory, .memory_offset = k * 16 };
			memset((void *)(uintptr_t)(room.at + k * 16), (int)(n + k), 16);
		}
		assert_int_equal(hearth_ds_kv_put(kv, blocks, BATCH), 0);
		assert_int_equal(hearth_ds_kv_commit(kv), 0);
		hearth_ds_kv_info(kv, &info);
		most = info.index_bytes > most ? info.index_bytes : most;
		if (n % 40 == 39) {
			hearth_ds_kv_close(kv);
			assert_int_equal(hearth_ds_kv_open(ds, path, 1, &kv), 0);
		}
		memset((void *)(uintptr_t)room.at, 0, BATCH * 16);
		assert_int_equal(hearth_ds_kv_get(kv, blocks, BATCH), BATCH);
		for (unsigned k = 0; k < BATCH; k++)
			assert_int_equal(((uint8_t *)(uintptr_t)room.at)[k * 16 + 15], (uint8_t)(n + k));
	}
	/* all of it would be 3.2 MB */
	assert_true(most < 1200000);
	hearth_ds_kv_close(kv);
	hearth_ds_free(&room);
	assert_int_equal(dir_remove(path), 0);
}

static int setup(void **state)
{
	temp_folder(dir);
	snprintf(path, sizeof(path), "%s/store", dir);
	return hearth_ds_open(NULL, &ds) < 0 ? -1 : hearth_ds_device(ds, "host", &host);
}

static int teardown(void **state)
{
	hearth_ds_close(ds);
	return dir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_threads), cmocka_unit_test(test_compaction) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
