/* SPDX-License-Identifier: Apache-2.0 */
/* The vendor's library as a path, with a double of it: taken where it is direct, never where it would copy through memory, and given up for a pair of file and memory where it fails. */
#include "rig.h"

#include <errno.h>

#define MIB (1u << 20)

static void take(struct rig *g, uint64_t at, uint64_t to, uint64_t n)
{
	assert_int_equal(hearth_ds_read(g->file, g->memory, to, at, n), n);
	memcpy(g->want + to, g->shadow + at, n);
	rig_compare_memory(g);
}

static void queued(struct rig *g, uint64_t at, uint64_t to, uint64_t n, enum hearth_ds_path path)
{
	struct hearth_ds_op op = { g->file, g->memory, to, at, n, 1, HEARTH_DS_READ, 0 };
	struct hearth_ds_queue *q;
	struct hearth_ds_done done;

	assert_int_equal(hearth_ds_queue_open(g->ds, 0, &q), 0);
	assert_int_equal(hearth_ds_submit(q, &op, 1), 0);
	assert_int_equal(hearth_ds_reap(q, &done, 1, 1, -1), 1);
	assert_int_equal(done.result, n);
	assert_int_equal(done.path, path);
	hearth_ds_queue_close(q);
	memcpy(g->want + to, g->shadow + at, n);
	rig_compare_memory(g);
}

static void direct(void **state)
{
	struct hearth_ds_report r;
	struct rig g;

	rig_open(&g, "cuda:0", NULL, 3 * MIB + 5, 4 * MIB, NULL);
	take(&g, 0, 7, 3 * MIB + 5);
	take(&g, 100, 5, 1000);
	queued(&g, 4096, 4096, 2 * MIB, HEARTH_DS_CUFILE);
	assert_int_equal(hearth_ds_probe(g.file, g.memory, &r), 0);
	assert_int_equal(r.path, HEARTH_DS_CUFILE);
	assert_int_equal(r.carried[HEARTH_DS_CUFILE], 3 * MIB + 5 + 1000 + 2 * MIB);
	assert_int_equal(r.carried[HEARTH_DS_STAGE], 0);
	rig_close(&g);
}

static void not_taken(const char *why)
{
	struct hearth_ds_report r;
	struct rig g;

	rig_open(&g, "cuda:0", NULL, 3 * MIB + 5, 4 * MIB, NULL);
	take(&g, 0, 7, 3 * MIB + 5);
	assert_int_equal(hearth_ds_probe(g.file, g.memory, &r), 0);
	assert_int_equal(r.path, HEARTH_DS_STAGE);
	assert_non_null(strstr(r.why[HEARTH_DS_CUFILE], why));
	rig_close(&g);
}

static void compat(void **state)
{
	not_taken("compatibility mode");
}

static void refuses(void **state)
{
	not_taken("does not take this file");
}

/* $HEARTH_LIBCUFILE is the library itself: it must not call itself for ever */
static void own(void **state)
{
	not_taken("Hearth's own");
}

static unsigned told;

static void tell(void *ctx, const char *text)
{
	if (strstr(text, "io_uring"))   /* where it cannot be used, that is told too */
		return;
	told++;
	assert_non_null(strstr(text, "cufile"));
	assert_non_null(strstr(text, "stage"));
}

static void broken(void **state)
{
	struct hearth_ds_options o = { .fallback = HEARTH_DS_WARN, .log = tell }, forbid = { .fallback = HEARTH_DS_FORBID }, only = { .path = HEARTH_DS_CUFILE };
	struct hearth_ds_report r;
	struct hearth_ds_file *other;
	struct rig g;

	rig_open(&g, "cuda:0", NULL, 3 * MIB + 5, 4 * MIB, &o);
	assert_int_equal(hearth_ds_probe(g.file, g.memory, &r), 0);
	assert_int_equal(r.path, HEARTH_DS_CUFILE);
	take(&g, 0, 7, 3 * MIB + 5);
	take(&g, 0, 9, 100);
	assert_int_equal(told, 1);
	assert_int_equal(hearth_ds_probe(g.file, g.memory, &r), 0);
	assert_int_equal(r.path, HEARTH_DS_STAGE);
	assert_non_null(strstr(r.why[HEARTH_DS_CUFILE], "failed before"));
	assert_int_equal(r.carried[HEARTH_DS_STAGE], 3 * MIB + 5 + 100);
	/* this pair, and nothing else */
	assert_int_equal(hearth_ds_file(g.ds, AT_FDCWD, g.path, O_RDONLY, &other), 0);
	assert_int_equal(hearth_ds_probe(other, g.memory, &r), 0);
	assert_int_equal(r.path, HEARTH_DS_CUFILE);
	hearth_ds_file_close(other);
	rig_close(&g);
	rig_open(&g, "cuda:0", NULL, MIB, MIB, &o);
	queued(&g, 0, 0, MIB, HEARTH_DS_STAGE);
	rig_close(&g);
	rig_open(&g, "cuda:0", NULL, MIB, MIB, &forbid);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, MIB), -EIO);
	assert_non_null(strstr(hearth_ds_error(), "path cufile"));
	rig_close(&g);
	rig_open(&g, "cuda:0", NULL, MIB, MIB, &only);
	assert_int_equal(hearth_ds_read(g.file, g.memory, 0, 0, MIB), -EIO);
	rig_close(&g);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest all[] = { cmocka_unit_test(direct), cmocka_unit_test(compat), cmocka_unit_test(refuses), cmocka_unit_test(broken), cmocka_unit_test(own) };

	setenv("HEARTH_FAKE_CUFILE", argv[1], 1);
	for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++)
		if (strcmp(all[k].name, argv[1]) == 0) {
			const struct CMUnitTest one[] = { all[k] };

			return rig_run("devices=1,memory=1G", one);
		}
	return 1;
}
