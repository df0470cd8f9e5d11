/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of any place, length and alignment, one by one and in queues, against a copy of the file: on the host and on a (fake) CUDA device, on a disk and in memory, by the page
 * cache and beside it, with io_uring and without.
 */
#include "rig.h"
#include "seed.h"

#define FILE_BYTES (5u * 1048576 + 1234)
#define MEMORY_BYTES (6u << 20)
#define ROUNDS 60
#define OPS 40

static const char *const places[] = { "/dev/shm", NULL };
static const char *const uris[] = { "host", "cuda:0" };

/* often on a block's edge, often a byte beside it */
static uint64_t place(struct rng *rng, uint64_t below)
{
	uint64_t at = rng_below(rng, below + 1);

	switch (rng_below(rng, 4)) {
	case 0:
		return at & ~4095ull;
	case 1:
		return at & ~511ull;
	case 2:
		return (at & ~4095ull) + 1 <= below ? (at & ~4095ull) + 1 : at;
	default:
		return at;
	}
}

static uint64_t length(struct rng *rng, uint64_t below)
{
	return place(rng, rng_below(rng, 2) && below > 70000 ? 70000 : below);
}

static uint64_t expected(const struct rig *g, uint64_t at, uint64_t n)
{
	uint64_t there = at < g->bytes ? g->bytes - at : 0;

	return n < there ? n : there;
}

static void one_read(struct rig *g, struct rng *rng)
{
	uint64_t at = place(rng, g->bytes + 5000), to = place(rng, MEMORY_BYTES), n = length(rng, MEMORY_BYTES - to), get = expected(g, at, n);

	if (rng_below(rng, 3) == 0)
		rig_cold(g);
	assert_int_equal(hearth_ds_read(g->file, g->memory, to, at, n), get);
	memcpy(g->want + to, g->shadow + at, get);
	rig_compare_memory(g);
}

static void wrote(struct rig *g, uint64_t at, uint64_t from, uint64_t n)
{
	memcpy(g->shadow + at, g->want + from, n);
	if (n && at + n > g->bytes)
		g->bytes = at + n;
}

static void one_write(struct rig *g, struct rng *rng)
{
	uint64_t at = place(rng, g->bytes), from = place(rng, MEMORY_BYTES), n = length(rng, MEMORY_BYTES - from);
	uint8_t fresh[100];

	n = at + n > g->room ? g->room - at : n;
	rig_fill(fresh, sizeof(fresh), rng_next(rng));
	rig_poke(g, from, fresh, n < sizeof(fresh) ? n : sizeof(fresh));
	assert_int_equal(hearth_ds_write(g->file, g->memory, from, at, n), n);
	wrote(g, at, from, n);
	assert_int_equal(hearth_ds_file_bytes(g->file), g->bytes);
}

/* operations of a queue are in no order: each has its own part of the memory, and of the file if it writes */
static void queued_reads(struct rig *g, struct rng *rng, struct hearth_ds_queue *q)
{
	struct hearth_ds_op ops[OPS];
	struct hearth_ds_done done[OPS];
	uint64_t part = MEMORY_BYTES / OPS, together = rng_below(rng, 2), at = place(rng, g->bytes);
	ssize_t n = 0;

	for (uint64_t k = 0; k < OPS; k++) {
		uint64_t bytes = length(rng, part);

		at = together ? at : place(rng, g->bytes + 5000);
		ops[k] = (struct hearth_ds_op){ .file = g->file, .memory = g->memory, .memory_offset = k * part, .file_offset = at, .bytes = bytes, .tag = k, .kind = HEARTH_DS_READ };
		at += bytes;
	}
	if (rng_below(rng, 2))
		rig_cold(g);
	assert_int_equal(hearth_ds_submit(q, ops, OPS), 0);
	while (n < OPS) {
		ssize_t r = hearth_ds_reap(q, done + n, (size_t)(OPS - n), 1, -1);

		assert_true(r > 0);
		n += r;
	}
	for (int k = 0; k < OPS; k++) {
		const struct hearth_ds_op *op = &ops[done[k].tag];
		uint64_t get = expected(g, op->file_offset, op->bytes);

		assert_int_equal(done[k].result, get);
		memcpy(g->want + op->memory_offset, g->shadow + op->file_offset, get);
	}
	rig_compare_memory(g);
}

static void queued_writes(struct rig *g, struct rng *rng, struct hearth_ds_queue *q)
{
	struct hearth_ds_done done[OPS];
	uint64_t part = g->bytes / OPS, n = rng_below(rng, OPS);

	for (uint64_t k = 0; k < n; k++) {
		uint64_t from = place(rng, MEMORY_BYTES - part), skip = place(rng, part), bytes = length(rng, part - skip);
		struct hearth_ds_op op = { .file = g->file, .memory = g->memory, .memory_offset = from, .file_offset = k * part + skip, .bytes = bytes, .tag = bytes, .kind = HEARTH_DS_WRITE };

		assert_int_equal(hearth_ds_submit(q, &op, 1), 0);
		wrote(g, op.file_offset, from, bytes);
	}
	assert_int_equal(hearth_ds_reap(q, done, OPS, OPS, -1), n);
	for (uint64_t k = 0; k < n; k++)
		assert_int_equal(done[k].result, done[k].tag);
}

static void rounds(const char *uri, const char *where, enum hearth_ds_cache cache, uint64_t seed)
{
	struct hearth_ds_options o = { .cache = cache, .threads = 3, .ring_bytes = 32 << 20 };
	struct rng rng = { seed };
	struct hearth_ds_queue *q;
	struct rig g;

	rig_open(&g, uri, where, FILE_BYTES, MEMORY_BYTES, &o);
	assert_int_equal(hearth_ds_queue_open(g.ds, 8, &q), 0);
	for (int k = 0; k < ROUNDS; k++) {
		switch (rng_below(&rng, 5)) {
		case 0:
			one_write(&g, &rng);
			break;
		case 1:
			queued_reads(&g, &rng, q);
			break;
		case 2:
			queued_writes(&g, &rng, q);
			break;
		default:
			one_read(&g, &rng);
		}
	}
	rig_compare_file(&g);
	rig_close(&g);
}

static void everywhere(uint64_t seed)
{
	for (size_t d = 0; d < 1 + RIG_CUDA; d++)
		for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
			for (int cache = HEARTH_DS_CACHE_AUTO; cache <= HEARTH_DS_CACHE_ALWAYS; cache++)
				rounds(uris[d], places[p], cache, seed++);
}

static void random_ranges(void **state)
{
	everywhere(prop_seed());
}

static void without_io_uring(void **state)
{
	setenv("HEARTH_FAULT", "fail:ds.uring", 1);
	everywhere(prop_seed() + 100);
	unsetenv("HEARTH_FAULT");
}

/* every transfer is half done: the rest must follow */
static void short_transfers(void **state)
{
	setenv("HEARTH_FAULT", "fail:ds.short", 1);
	everywhere(prop_seed() + 200);
	unsetenv("HEARTH_FAULT");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_ranges), cmocka_unit_test(without_io_uring), cmocka_unit_test(short_transfers) };

	return rig_run("devices=1,memory=1G", tests);
}
