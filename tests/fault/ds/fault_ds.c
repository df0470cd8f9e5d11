/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong below the library: the file, its ring, io_uring, the driver. Each is one error of one operation, or a fallback, and the library goes on. */
#include "rig.h"

#include <errno.h>

#define MIB (1u << 20)
#define FILE_BYTES (3 * MIB + 11)

static const char *const uris[] = { "host", "cuda:0" };

static void open_with(struct rig *g, const char *uri, const char *fault)
{
	/* a context asks for faults only if there were some when it was opened */
	setenv("HEARTH_FAULT", fault, 1);
	rig_open(g, uri, NULL, FILE_BYTES, 4 * MIB, NULL);
}

static void close_with(struct rig *g)
{
	unsetenv("HEARTH_FAULT");
	rig_close(g);
}

static void read_all(struct rig *g)
{
	assert_int_equal(hearth_ds_read(g->file, g->memory, 3, 0, FILE_BYTES), FILE_BYTES);
	memcpy(g->want + 3, g->shadow, FILE_BYTES);
	rig_compare_memory(g);
}

static int64_t queued(struct rig *g, uint64_t at, uint64_t n, uint32_t kind)
{
	struct hearth_ds_op op = { g->file, g->memory, 0, at, n, 1, kind, 0 };
	struct hearth_ds_queue *q;
	struct hearth_ds_done done;

	assert_int_equal(hearth_ds_queue_open(g->ds, 0, &q), 0);
	assert_int_equal(hearth_ds_submit(q, &op, 1), 0);
	assert_int_equal(hearth_ds_reap(q, &done, 1, 1, -1), 1);
	hearth_ds_queue_close(q);
	return done.result;
}

/* a drive that cannot read: every size and way says so, and once it can again all is well */
static void broken_drive(void **state)
{
	for (int k = 0; k < 2; k++)
		for (int cold = 0; cold < 2; cold++) {
			struct rig g;

			open_with(&g, uris[k], "fail:ds.eio");
			if (cold)
				rig_cold(&g);
			assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 100), -EIO);
			assert_non_null(strstr(hearth_ds_error(), "100 bytes at offset 0"));
			assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 5, 2 * MIB), -EIO);
			assert_int_equal(queued(&g, 4096, 4096, HEARTH_DS_READ), -EIO);
			assert_int_equal(queued(&g, 0, 3 * MIB, HEARTH_DS_READ), -EIO);
			assert_int_equal(hearth_ds_write(g.file, g.memory, 0, 0, 100), -EIO);
			assert_int_equal(queued(&g, 0, 2 * MIB, HEARTH_DS_WRITE), -EIO);
			unsetenv("HEARTH_FAULT");
			/* what failed left memory as it may: from here on it is known again */
			rig_poke(&g, 0, g.shadow, MIB);
			assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, FILE_BYTES), FILE_BYTES);
			assert_memory_equal(rig_peek(&g, 0, FILE_BYTES), g.shadow, FILE_BYTES);
			close_with(&g);
		}
}

static void no_direct(void **state)
{
	struct hearth_ds_report r;

	for (int k = 0; k < 2; k++) {
		struct rig g;

		open_with(&g, uris[k], "fail:ds.direct");
		read_all(&g);
		assert_int_equal(hearth_ds_probe(g.file, g.memory, &r), 0);
		assert_int_equal(r.offset_align, 1);
		close_with(&g);
	}
}

/* kernels and files of which the page cache cannot be asked about: warm and cold are told apart by other means, and what is read is right */
static void no_cachestat(void **state)
{
	static const char *const faults[] = { "fail:ds.cachestat", "fail:ds.mincore" };

	for (int k = 0; k < 4; k++) {
		struct rig g;

		open_with(&g, uris[k % 2], faults[k / 2]);
		read_all(&g);
		rig_cold(&g);
		read_all(&g);
		assert_int_equal(queued(&g, 1, 3 * MIB, HEARTH_DS_READ), 3 * MIB);
		close_with(&g);
	}
}

/* without a ring there is no way into a device, and it is said; memory of the process needs none where all is aligned */
static void no_ring(void **state)
{
	struct rig g;

	open_with(&g, "cuda:0", "fail:ds.ring");
	rig_cold(&g);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 4096), -ENOMEM);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 3 * MIB), -ENOMEM);
	assert_int_equal(queued(&g, 0, 4096, HEARTH_DS_READ), -ENOMEM);
	assert_int_equal(hearth_ds_write(g.file, g.memory, 0, 0, 3 * MIB), -ENOMEM);
	/* the first segment can be had, and no other: it must do */
	unsetenv("HEARTH_FAULT");
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 4096), 4096);
	setenv("HEARTH_FAULT", "fail:ds.ring", 1);
	memcpy(g.want, g.shadow, 4096);
	read_all(&g);
	close_with(&g);
	open_with(&g, "host", "fail:ds.ring");
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 4096), 4096);
	close_with(&g);
}

/* a file that is cut meanwhile: what was there is read, and the rest is the end */
static void shrinks(void **state)
{
	for (int k = 0; k < 2; k++) {
		struct rig g;

		open_with(&g, uris[k], "fail:ds.short");
		assert_int_equal(ftruncate(g.fd, MIB + 5), 0);
		assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, 3 * MIB), MIB + 5);
		assert_int_equal(queued(&g, 4096, 3 * MIB, HEARTH_DS_READ), MIB + 5 - 4096);
		close_with(&g);
	}
}

/* the driver's calls fail one after the other, from the first to the last that an operation makes; each time it is an error or it worked, and the next operation works */
static void driver(void **state)
{
	struct rig g;
	int failed = 0;

	rig_open(&g, "cuda:0", NULL, FILE_BYTES, 4 * MIB, NULL);
	for (int k = 0; k < 20; k++) {
		ssize_t r = hearth_ds_read(g.file, g.memory, 3, 0, FILE_BYTES);

		if (r < 0) {
			failed++;
			assert_true(r == -EIO || r == -ENOMEM || r == -EINVAL);
			continue;
		}
		memcpy(g.want + 3, g.shadow, FILE_BYTES);
		rig_compare_memory(&g);
	}
	assert_in_range(failed, 0, 2);
	read_all(&g);
	rig_close(&g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(broken_drive), cmocka_unit_test(no_direct), cmocka_unit_test(no_cachestat), cmocka_unit_test(no_ring), cmocka_unit_test(shrinks) };
	const struct CMUnitTest one[] = { cmocka_unit_test(driver) };
	char config[128];

	if (argc == 1)
		return rig_run("devices=1,memory=1G", tests);
	snprintf(config, sizeof(config), "devices=1,memory=1G,fail=%s", argv[1]);
	return rig_run(config, one);
}
