/* SPDX-License-Identifier: Apache-2.0 */
/* A KV store under random puts, drops, commits, gets and reopenings, against a table of what should be in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "hearth/ds_load.h"
#include "seed.h"

#define IDS 40
#define LAYERS 3
#define BATCH 50
#define STEPS 400

static struct hearth_ds *ds;
static struct hearth_ds_device *host;
static char dir[64], path[96];
static struct rng g;

struct model { uint64_t version[IDS][LAYERS]; };        /* what was put; 0: nothing */

static struct hearth_ds_kv_options options;
static struct model now, committed;
static uint64_t version;

/* contents follow from key and version, and differ at every offset */
static void fill(uint8_t *to, uint64_t id, uint32_t layer, uint64_t v)
{
	struct rng c = { .state = id * 1000003 + layer * 101 + v * 7919 };

	for (uint64_t k = 0; k < options.block_bytes; k++)
		to[k] = (uint8_t)rng_next(&c);
}

static struct hearth_ds_kv_block random_block(const struct hearth_ds_buffer *room, size_t k)
{
	return (struct hearth_ds_kv_block){ .id = rng_below(&g, IDS), .layer = (uint32_t)rng_below(&g, LAYERS), .memory = room->memory, .memory_offset = k * options.block_bytes };
}

static void put(struct hearth_ds_kv *kv, const struct hearth_ds_buffer *room)
{
	struct hearth_ds_kv_block blocks[BATCH];
	size_t n = rng_below(&g, BATCH + 1);
	uint64_t id = rng_below(&g, IDS);
	bool row = rng_below(&g, 2);
	int r;

	for (size_t k = 0; k < n; k++) {
		blocks[k] = random_block(room, k);
		if (row) {
			/* all layers of one id after the other, as they are put in life */
			blocks[k].id = (id + k / LAYERS) % IDS;
			blocks[k].layer = k % LAYERS;
		}
		fill((uint8_t *)(uintptr_t)room->at + k * options.block_bytes, blocks[k].id, blocks[k].layer, ++version);
	}
	r = hearth_ds_kv_put(kv, blocks, n);
	if (r == -ENOSPC && options.blocks_max) {
		version -= n;
		return;
	}
	if (r < 0)
		fail_msg("%s", hearth_ds_error());
	version -= n;
	for (size_t k = 0; k < n; k++)
		now.version[blocks[k].id][blocks[k].layer] = ++version;
}

static void drop(struct hearth_ds_kv *kv)
{
	uint64_t id = rng_below(&g, IDS);
	int64_t n = 0;

	for (uint32_t layer = 0; layer < LAYERS; layer++) {
		n += now.version[id][layer] != 0;
		now.version[id][layer] = 0;
	}
	assert_int_equal(hearth_ds_kv_drop(kv, id), n);
}

static void get(struct hearth_ds_kv *kv, const struct hearth_ds_buffer *room)
{
	struct hearth_ds_kv_block blocks[BATCH];
	size_t n = rng_below(&g, BATCH + 1);
	int64_t there = 0;
	uint8_t *want = malloc(options.block_bytes);

	assert_non_null(want);
	for (size_t k = 0; k < n; k++) {
		blocks[k] = random_block(room, k);
		there += now.version[blocks[k].id][blocks[k].layer] != 0;
	}
	assert_int_equal(hearth_ds_kv_get(kv, blocks, n), there);
	for (size_t k = 0; k < n; k++) {
		uint64_t v = now.version[blocks[k].id][blocks[k].layer];

		assert_true(blocks[k].result == (v ? (int64_t)options.block_bytes : -ENOENT));
		fill(want, blocks[k].id, blocks[k].layer, v);
		if (v)
			assert_memory_equal((uint8_t *)(uintptr_t)room->at + k * options.block_bytes, want, options.block_bytes);
	}
	free(want);
}

static void compare_list(struct hearth_ds_kv *kv)
{
	struct hearth_ds_kv_key keys[IDS * LAYERS];
	struct hearth_ds_kv_info info;
	int64_t n = hearth_ds_kv_list(kv, keys, IDS * LAYERS), k = 0;

	for (uint64_t id = 0; id < IDS; id++)
		for (uint32_t layer = 0; layer < LAYERS; layer++)
			if (now.version[id][layer]) {
				assert_true(k < n && keys[k].id == id && keys[k].layer == layer);
				k++;
			}
	assert_int_equal(n, k);
	hearth_ds_kv_info(kv, &info);
	assert_int_equal(info.blocks, n);
	assert_int_equal(hearth_ds_kv_check(kv, NULL, NULL), options.checked ? 0 : -EOPNOTSUPP);
}

static void step(struct hearth_ds_kv **kv, const struct hearth_ds_buffer *room)
{
	switch (rng_below(&g, 10)) {
	case 0: case 1: case 2: case 3:
		put(*kv, room);
		break;
	case 4:
		drop(*kv);
		break;
	case 5:
		assert_int_equal(hearth_ds_kv_commit(*kv), 0);
		committed = now;
		break;
	case 6:
		if (rng_below(&g, 4))
			break;
		/* what was not committed is gone */
		hearth_ds_kv_close(*kv);
		now = committed;
		if (hearth_ds_kv_open(ds, path, 1, kv) < 0)
			fail_msg("%s", hearth_ds_error());
		compare_list(*kv);
		break;
	default:
		get(*kv, room);
	}
}

static void run(const struct hearth_ds_kv_options *o)
{
	struct hearth_ds_buffer room;
	struct hearth_ds_kv *kv;

	options = *o;
	version = 0;
	now = committed = (struct model){ 0 };
	assert_int_equal(hearth_ds_alloc(host, BATCH * options.block_bytes, &room), 0);
	if (hearth_ds_kv_create(ds, path, &options, &kv) < 0)
		fail_msg("%s", hearth_ds_error());
	for (unsigned k = 0; k < STEPS; k++)
		step(&kv, &room);
	compare_list(kv);
	hearth_ds_kv_close(kv);
	hearth_ds_free(&room);
	assert_int_equal(dir_remove(path), 0);
}

static void test_aligned(void **state) { run(&(struct hearth_ds_kv_options){ .block_bytes = 4096, .layers = LAYERS, .checked = 1 }); }
static void test_odd(void **state) { run(&(struct hearth_ds_kv_options){ .block_bytes = 777, .layers = LAYERS }); }
static void test_limited(void **state) { run(&(struct hearth_ds_kv_options){ .block_bytes = 512, .layers = LAYERS, .blocks_max = 150, .checked = 1 }); }

static int setup(void **state)
{
	g.state = prop_seed();
	snprintf(dir, sizeof(dir), "/tmp/hearth-test-XXXXXX");
	if (!mkdtemp(dir) || hearth_ds_open(NULL, &ds) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/store", dir);
	return hearth_ds_device(ds, "host", &host);
}

static int teardown(void **state)
{
	hearth_ds_close(ds);
	return dir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_aligned), cmocka_unit_test(test_odd), cmocka_unit_test(test_limited) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
