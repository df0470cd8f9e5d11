/* SPDX-License-Identifier: Apache-2.0 */
/* Reading ahead: it serves who reads in order, and never with what the file held before. */
#include "rig.h"

#include <sys/stat.h>

#include "ahead.h"

#define MIB (1u << 20)
#define BYTES (20 * MIB + 777)

static uint64_t served(struct rig *g)
{
	struct ahead *a = atomic_load(&g->file->ahead);

	return a ? a->served : 0;
}

static void begin(struct rig *g)
{
	struct hearth_ds_options o = { .cache = HEARTH_DS_CACHE_NEVER };
	struct timespec old[2] = { { 1000000, 5 }, { 1000000, 5 } };

	/* as if it had lain there for a while; its status change cannot be set back */
	setenv("HEARTH_FAULT", "fail:ds.settled", 1);
	rig_open(g, "cuda:0", NULL, BYTES, BYTES, &o);
	assert_int_equal(futimens(g->fd, old), 0);
	rig_cold(g);
}

static void take(struct rig *g, uint64_t at, uint64_t n)
{
	uint64_t get = at + n > BYTES ? BYTES - at : n;

	assert_int_equal(hearth_ds_read(g->file, g->memory, at, at, n < BYTES - at ? n : BYTES - at), get);
	memcpy(g->want + at, g->shadow + at, get);
	assert_memory_equal(rig_peek(g, at, get), g->want + at, get);
}

/* calls of many sizes, aligned and not, to the end of the file: most of it was read ahead */
static void in_order(void **state)
{
	static const uint64_t sizes[] = { 4096, 65536, 100001, MIB, 3 * MIB + 5, 20 * MIB };

	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		struct hearth_ds_report r;
		struct rig g;
		uint64_t calls = 0, end = sizes[k] < 65536 ? 2 * MIB : BYTES;

		begin(&g);
		for (uint64_t at = 0; at < end; at += sizes[k], calls++)
			take(&g, at, sizes[k]);
		rig_compare_memory(&g);
		/* longer ones overlap in themselves */
		if (calls > 6 && sizes[k] <= MIB)
			assert_true(served(&g) > 0);
		assert_true(served(&g) <= end);
		assert_int_equal(hearth_ds_probe(g.file, g.memory, &r), 0);
		assert_int_equal(r.carried[HEARTH_DS_STAGE], end);
		rig_close(&g);
	}
}

/* what was read ahead and was written since is read again; who jumps gets what is there */
static void changes(void **state)
{
	struct rig g;
	uint64_t before;

	begin(&g);
	for (uint64_t at = 0; at < 4 * MIB; at += 65536)
		take(&g, at, 65536);
	before = served(&g);
	assert_true(before > 0);
	rig_fill(g.shadow + 4 * MIB, 2 * MIB, 99);
	assert_int_equal(pwrite(g.fd, g.shadow + 4 * MIB, 2 * MIB, 4 * MIB), 2 * MIB);
	for (uint64_t at = 4 * MIB; at < 6 * MIB; at += 65536)
		take(&g, at, 65536);
	take(&g, 15 * MIB + 3, 1000);
	take(&g, 15 * MIB + 1003, 1000);
	take(&g, 5, 1000);
	/* through the library, too */
	for (uint64_t at = 8 * MIB; at < 10 * MIB; at += 65536)
		take(&g, at, 65536);
	assert_int_equal(hearth_ds_write(g.file, g.memory, 0, 10 * MIB, 65536), 65536);
	memcpy(g.shadow + 10 * MIB, g.want, 65536);
	take(&g, 10 * MIB, 65536);
	rig_compare_memory(&g);
	rig_close(&g);
}

/* it becomes shorter: no more than there is */
static void shrinks(void **state)
{
	struct rig g;

	begin(&g);
	for (uint64_t at = 0; at < 4 * MIB; at += 65536)
		take(&g, at, 65536);
	assert_int_equal(ftruncate(g.fd, 4 * MIB + 10), 0);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 4 * MIB, 65536), 10);
	rig_close(&g);
}

/* a file that changed a moment ago is not read ahead, as a change that comes now might not be seen in its times */
static void fresh(void **state)
{
	struct hearth_ds_options o = { .cache = HEARTH_DS_CACHE_NEVER };
	struct rig g;

	unsetenv("HEARTH_FAULT");
	rig_open(&g, "cuda:0", NULL, BYTES, BYTES, &o);
	assert_int_equal(futimens(g.fd, (struct timespec[2]){ { .tv_sec = 4000000000 }, { .tv_sec = 4000000000 } }), 0);
	for (uint64_t at = 0; at < 4 * MIB; at += 65536)
		take(&g, at, 65536);
	assert_int_equal(served(&g), 0);
	rig_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(in_order), cmocka_unit_test(changes), cmocka_unit_test(shrinks), cmocka_unit_test(fresh) };

	return rig_run("devices=1,memory=1G", tests);
}
