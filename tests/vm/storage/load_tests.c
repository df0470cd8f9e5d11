/* SPDX-License-Identifier: Apache-2.0 */
/* The loaders, into device memory by path map. */
#include "guest.h"

#include <fcntl.h>
#include <hearth/ds_load.h>
#include <unistd.h>

#define AT (20 * MIB)
#define BYTES (16 * MIB)

struct place {
	struct hearth_ds *ds;
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	uint8_t *see;                   /* the same memory, by a mapping of our own */
	unsigned ready;
};

static void ok(int64_t rc)
{
	if (rc < 0)
		FAIL("%s (%s)", hearth_ds_error(), strerror((int)-rc));
}

static struct place place_open(void)
{
	const struct hearth_ds_options never = { .cache = HEARTH_DS_CACHE_NEVER };
	struct hearth_p2p_device d;
	struct place p = { 0 };
	char uri[64];
	int node = node_open(O_RDWR);

	CHECK(device_find(node, "ivshmem", &d));
	snprintf(uri, sizeof(uri), "ivshmem:%s", d.pci);
	p.see = region_new(node, AT, BYTES).at;
	ok(hearth_ds_open(&never, &p.ds));
	ok(hearth_ds_device(p.ds, uri, &p.device));
	ok(hearth_ds_register(p.device, AT, BYTES, &p.memory));
	return p;
}

static void place_close(struct place *p)
{
	hearth_ds_release(p->memory);
	hearth_ds_close(p->ds);
}

/* The file has "first", "second" and "third" (host.py); the second is left out, the third lies where no page begins. */
static int place(void *ctx, const struct hearth_ds_tensor *tensor, struct hearth_ds_place *ret)
{
	struct place *p = ctx;

	*ret = (struct hearth_ds_place){ .device = p->device, .memory = p->memory, .offset = strcmp(tensor->name, "third") ? 0 : 8 * MIB + 256 };
	return !strcmp(tensor->name, "second");
}

static int ready(void *ctx, const struct hearth_ds_placed *placed)
{
	struct place *p = ctx;

	CHECK(expect_data(p->see + placed->offset, placed->tensor->offset - PAGE, placed->tensor->bytes));
	p->ready++;
	return 0;
}

static void tensors(void)
{
	struct place p = place_open();
	struct hearth_ds_tensors *file;
	struct hearth_ds_loaded *loaded;
	struct hearth_ds_load_stats stats;

	memset(p.see, 0, BYTES);
	ok(hearth_ds_tensors_open(p.ds, "/mnt/model.safetensors", &file));
	SAME(hearth_ds_tensors_count(file), 3);
	ok(hearth_ds_load(file, &(struct hearth_ds_load_options){ .device = p.device, .place = place, .ready = ready, .ctx = &p }, &loaded));
	SAME(p.ready, 2);
	hearth_ds_loaded_stats(loaded, &stats);
	SAME(stats.tensors, 2);
	SAME(stats.bytes, 3 * MIB + 1000 * KIB);
	SAME(stats.carried[HEARTH_DS_MAP], stats.bytes);
	SAME(p.see[3 * MIB], 0);
	SAME(p.see[8 * MIB + 255], 0);
	SAME(p.see[8 * MIB + 256 + 1000 * KIB], 0);
	hearth_ds_loaded_unref(loaded);
	hearth_ds_tensors_close(file);
	place_close(&p);
}

#define BLOCK (64 * KIB)
#define BLOCKS 32

static void kv_blocks(void)
{
	const struct hearth_ds_kv_options options = { .block_bytes = BLOCK, .layers = 2, .checked = 1 };
	struct place p = place_open();
	struct hearth_ds_kv_block block[BLOCKS];
	struct hearth_ds_kv *kv;

	for (uint64_t i = 0; i < BLOCKS; i++) {
		block[i] = (struct hearth_ds_kv_block){ .id = i / 2 * 7, .layer = i % 2, .memory = p.memory, .memory_offset = i * BLOCK };
		for (uint64_t w = 0; w < BLOCK / 8; w++)
			((volatile uint64_t *)(p.see + i * BLOCK))[w] = mix(i << 32 | w);
	}
	ok(hearth_ds_kv_create(p.ds, "/mnt/kv", &options, &kv));
	ok(hearth_ds_kv_put(kv, block, BLOCKS));
	ok(hearth_ds_kv_commit(kv));
	hearth_ds_kv_close(kv);
	/* elsewhere, the other way round, from the store as another would find it */
	ok(hearth_ds_kv_open(p.ds, "/mnt/kv", 0, &kv));
	for (uint64_t i = 0; i < BLOCKS; i++)
		block[i].memory_offset = 4 * MIB + (BLOCKS - 1 - i) * BLOCK;
	SAME(hearth_ds_kv_get(kv, block, BLOCKS), BLOCKS);
	for (uint64_t i = 0; i < BLOCKS; i++) {
		SAME(block[i].result, BLOCK);
		for (uint64_t w = 0; w < BLOCK / 8; w++)
			SAME(((volatile uint64_t *)(p.see + block[i].memory_offset))[w], mix(i << 32 | w));
	}
	SAME(hearth_ds_kv_check(kv, NULL, NULL), 0);
	hearth_ds_kv_close(kv);
	place_close(&p);
}

const struct test load_tests[] = {
	{ "loaders: safetensors", tensors },
	{ "loaders: blocks of a KV cache", kv_blocks },
	{ 0 },
};
