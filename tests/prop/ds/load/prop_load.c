/* SPDX-License-Identifier: Apache-2.0 */
/* Random sets of tensors, written by a writer of this test's own, loaded in random ways, compared; then saved and loaded again. */
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

#define ROUNDS 60
#define TENSORS_MAX 40
#define FILES_MAX 4

static struct hearth_ds *ds;
static struct hearth_ds_device *host;
static char dir[64];
static struct rng g;

struct model_tensor {
	char name[40];
	enum hearth_ds_dtype dtype;
	uint32_t dims, file;
	uint64_t shape[4], bytes;
	uint8_t *data;
	bool wanted, own;               /* to be loaded; into memory of the test */
	unsigned ready;                 /* told so many times */
};

struct model {
	struct model_tensor t[TENSORS_MAX];
	size_t n, order[TENSORS_MAX];   /* in which they lie in the files */
	unsigned files;
	char path[160];
};

/* ---- making one ---- */

static void make_tensor(struct model_tensor *t, size_t k, unsigned files)
{
	uint64_t elements = 1;

	snprintf(t->name, sizeof(t->name), "%s.%zu.%llx", rng_below(&g, 2) ? "layers" : "head", k, (unsigned long long)rng_below(&g, 4096));
	t->dims = (uint32_t)rng_below(&g, 5);
	for (uint32_t d = 0; d < t->dims; d++) {
		t->shape[d] = rng_below(&g, 12) == 0 ? 0 : 1 + rng_below(&g, rng_below(&g, 6) ? 9 : 70);
		elements *= t->shape[d];
	}
	do {
		t->dtype = (enum hearth_ds_dtype)rng_below(&g, HEARTH_DS_DTYPES);
	} while (elements * hearth_ds_dtype_bits(t->dtype) % 8);
	t->bytes = elements * hearth_ds_dtype_bits(t->dtype) / 8;
	t->file = (uint32_t)rng_below(&g, files);
	t->data = malloc(t->bytes + 1);
	assert_non_null(t->data);
	for (uint64_t i = 0; i < t->bytes; i++)
		t->data[i] = (uint8_t)rng_next(&g);
}

static void make(struct model *m)
{
	*m = (struct model){ .n = rng_below(&g, TENSORS_MAX + 1), .files = 1 + (unsigned)rng_below(&g, FILES_MAX) };
	for (size_t k = 0; k < m->n; k++) {
		size_t at = rng_below(&g, k + 1);

		make_tensor(&m->t[k], k, m->files);
		m->order[k] = m->order[at];
		m->order[at] = k;
	}
}

static void model_done(struct model *m)
{
	for (size_t k = 0; k < m->n; k++)
		free(m->t[k].data);
}

/* ---- writing it, as the format says, by other means than the library ---- */

static void write_file(const struct model *m, unsigned file, const char *path)
{
	static char json[1 << 16];
	uint64_t at = 0, length;
	size_t n = (size_t)sprintf(json, "{%s", rng_below(&g, 2) ? "\"__metadata__\":{\"format\":\"pt\"}" : "");
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	for (size_t k = 0; k < m->n; k++) {
		const struct model_tensor *t = &m->t[m->order[k]];

		if (t->file != file)
			continue;
		n += (size_t)sprintf(json + n, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", n > 1 ? "," : "", t->name, hearth_ds_dtype_name(t->dtype));
		for (uint32_t d = 0; d < t->dims; d++)
			n += (size_t)sprintf(json + n, "%s%llu", d ? ", " : "", (unsigned long long)t->shape[d]);
		n += (size_t)sprintf(json + n, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)(at + t->bytes));
		at += t->bytes;
	}
	n += (size_t)sprintf(json + n, "}%*s", (int)rng_below(&g, 20), "");
	length = n;
	assert_int_equal(fwrite(&length, 8, 1, f), 1);
	assert_int_equal(fwrite(json, 1, n, f), n);
	for (size_t k = 0; k < m->n; k++) {
		const struct model_tensor *t = &m->t[m->order[k]];

		if (t->file == file)
			assert_int_equal(fwrite(t->data, 1, t->bytes, f), t->bytes);
	}
	assert_int_equal(fclose(f), 0);
}

static void write_model(struct model *m)
{
	FILE *f;

	if (m->files == 1 || m->n == 0) {
		m->files = 1;
		for (size_t k = 0; k < m->n; k++)
			m->t[k].file = 0;
		snprintf(m->path, sizeof(m->path), "%s/model.safetensors", dir);
		write_file(m, 0, m->path);
		return;
	}
	for (unsigned k = 0; k < m->files; k++) {
		snprintf(m->path, sizeof(m->path), "%s/part-%u.safetensors", dir, k);
		write_file(m, k, m->path);
	}
	snprintf(m->path, sizeof(m->path), "%s/model.safetensors.index.json", dir);
	f = fopen(m->path, "w");
	assert_non_null(f);
	fprintf(f, "{\"metadata\":{},\"weight_map\":{");
	for (size_t k = 0; k < m->n; k++)
		fprintf(f, "%s\"%s\":\"part-%u.safetensors\"", k ? "," : "", m->t[k].name, m->t[k].file);
	fprintf(f, "}}");
	assert_int_equal(fclose(f), 0);
}

/* ---- loading it ---- */

struct loading {
	struct model *m;
	struct hearth_ds_memory *own;
	uint8_t *own_at;
	uint64_t own_bytes;
	uint64_t last_file, last_offset, done;
	unsigned told;
};

static struct model_tensor *find(struct model *m, const char *name)
{
	for (size_t k = 0; k < m->n; k++)
		if (!strcmp(m->t[k].name, name))
			return &m->t[k];
	fail_msg("a tensor '%s' that nobody wrote", name);
	return NULL;
}

static void same(const struct model_tensor *t, const struct hearth_ds_tensor *other)
{
	assert_int_equal(t->dtype, other->dtype);
	assert_int_equal(t->dims, other->dims);
	for (uint32_t d = 0; d < t->dims; d++)
		assert_int_equal(t->shape[d], other->shape[d]);
	assert_int_equal(t->bytes, other->bytes);
}

static int place(void *ctx, const struct hearth_ds_tensor *tensor, struct hearth_ds_place *ret)
{
	struct loading *l = ctx;
	struct model_tensor *t = find(l->m, tensor->name);

	assert_ptr_equal(ret->device, host);
	t->wanted = rng_below(&g, 5) != 0;
	t->own = rng_below(&g, 3) == 0;
	if (!t->wanted)
		return 1;
	if (t->own) {
		ret->memory = l->own;
		ret->offset = l->own_bytes;
		l->own_bytes += tensor->bytes + rng_below(&g, 3);
	}
	return 0;
}

static int ready(void *ctx, const struct hearth_ds_placed *placed)
{
	struct loading *l = ctx;
	struct model_tensor *t = find(l->m, placed->tensor->name);

	t->ready++;
	l->told++;
	/* in the order of the files, and there */
	assert_true(placed->tensor->file > l->last_file || (placed->tensor->file == l->last_file && placed->tensor->offset >= l->last_offset));
	l->last_file = placed->tensor->file;
	l->last_offset = placed->tensor->offset;
	assert_true(t->bytes == 0 || memcmp((const void *)(uintptr_t)placed->at, t->data, t->bytes) == 0);
	return 0;
}

static void progress(void *ctx, uint64_t done_bytes, uint64_t all_bytes)
{
	struct loading *l = ctx;

	assert_true(done_bytes >= l->done && done_bytes <= all_bytes);
	l->done = done_bytes;
}

static int by_address(const void *a, const void *b)
{
	const struct hearth_ds_placed *const *x = a, *const *y = b;

	return ((*x)->at > (*y)->at) - ((*x)->at < (*y)->at);
}

static void check(const struct loading *l, const struct hearth_ds_loaded *loaded, uint32_t align)
{
	size_t n = hearth_ds_loaded_count(loaded), wanted = 0, with_bytes = 0;
	const struct hearth_ds_placed *list[TENSORS_MAX];
	struct hearth_ds_load_stats stats;
	uint64_t bytes = 0;

	for (size_t k = 0; k < n; k++) {
		const struct hearth_ds_placed *p = hearth_ds_loaded_at(loaded, k);
		const struct model_tensor *t = find(l->m, p->tensor->name);
		unsigned own = hearth_ds_dtype_bits(t->dtype) / 8;

		same(t, p->tensor);
		assert_true(t->wanted && t->ready == 1);
		bytes += t->bytes;
		if (t->bytes == 0) {
			assert_true(p->at == 0 && !p->memory);
			continue;
		}
		assert_memory_equal((const void *)(uintptr_t)p->at, t->data, t->bytes);
		if (!t->own)
			assert_true(p->at % (own > align ? own : align) == 0);
		list[with_bytes++] = p;
	}
	assert_null(hearth_ds_loaded_at(loaded, n));
	for (size_t k = 0; k < l->m->n; k++)
		wanted += l->m->t[k].wanted;
	assert_int_equal(n, wanted);
	assert_int_equal(l->told, n);
	hearth_ds_loaded_stats(loaded, &stats);
	assert_int_equal(stats.tensors, n);
	assert_int_equal(stats.bytes, bytes);
	assert_int_equal(stats.carried[HEARTH_DS_HOST], bytes);
	assert_int_equal(l->done, bytes);
	assert_true(stats.reads <= with_bytes);
	qsort(list, with_bytes, sizeof(list[0]), by_address);
	for (size_t k = 1; k < with_bytes; k++)
		assert_true(list[k - 1]->at + list[k - 1]->tensor->bytes <= list[k]->at);
}

static void save_and_compare(struct model *m, const struct hearth_ds_loaded *loaded)
{
	size_t n = hearth_ds_loaded_count(loaded);
	struct hearth_ds_save save[TENSORS_MAX];
	struct hearth_ds_tensors *t;
	struct hearth_ds_loaded *again;
	const char *key, *meta[] = { "format", "pt", "\xc3\xa9\"", "two\nlines" };
	char path[160];

	for (size_t k = 0; k < n; k++) {
		const struct hearth_ds_placed *p = hearth_ds_loaded_at(loaded, k);

		save[k] = (struct hearth_ds_save){ .name = p->tensor->name, .dtype = p->tensor->dtype, .dims = p->tensor->dims, .shape = p->tensor->shape, .memory = p->memory,
						   .offset = p->offset };
	}
	snprintf(path, sizeof(path), "%s/saved.safetensors", dir);
	assert_int_equal(hearth_ds_save(ds, path, save, n, meta, 2), 0);
	assert_int_equal(hearth_ds_tensors_open(ds, path, &t), 0);
	assert_string_equal(hearth_ds_tensors_meta(t, 1, &key), "two\nlines");
	assert_string_equal(key, "\xc3\xa9\"");
	assert_null(hearth_ds_tensors_meta(t, 2, &key));
	assert_int_equal(hearth_ds_tensors_count(t), n);
	if (n > 0)
		assert_int_equal(hearth_ds_tensors_at(t, 0)->offset % 4096, 0);
	assert_int_equal(hearth_ds_load(t, &(struct hearth_ds_load_options){ .device = host }, &again), 0);
	for (size_t k = 0; k < n; k++) {
		const struct hearth_ds_placed *p = hearth_ds_loaded_at(again, k);
		const struct model_tensor *was = find(m, p->tensor->name);

		same(was, p->tensor);
		assert_true(was->bytes == 0 || memcmp((const void *)(uintptr_t)p->at, was->data, was->bytes) == 0);
	}
	hearth_ds_loaded_unref(again);
	hearth_ds_tensors_close(t);
}

static void one_round(void)
{
	static struct model m;
	static const uint32_t aligns[] = { 0, 1, 16, 512, 4096 };
	struct loading l = { .m = &m };
	uint32_t align = aligns[rng_below(&g, 5)];
	struct hearth_ds_load_options o = { .device = host, .place = place, .ready = ready, .progress = progress, .ctx = &l, .align = align,
					    .piece_bytes = rng_below(&g, 2) ? 0 : 1 + rng_below(&g, 20000), .depth = (uint32_t)rng_below(&g, 9) };
	struct hearth_ds_tensors *t;
	struct hearth_ds_loaded *loaded;
	uint64_t room = TENSORS_MAX * 4;

	make(&m);
	write_model(&m);
	for (size_t k = 0; k < m.n; k++)
		room += m.t[k].bytes;
	l.own_at = malloc(room);
	assert_non_null(l.own_at);
	assert_int_equal(hearth_ds_register(host, (uintptr_t)l.own_at, room, &l.own), 0);
	if (hearth_ds_tensors_open(ds, m.path, &t) < 0)
		fail_msg("%s", hearth_ds_error());
	assert_int_equal(hearth_ds_tensors_count(t), m.n);
	for (size_t k = 0; k < m.n; k++)
		same(&m.t[k], hearth_ds_tensors_find(t, m.t[k].name));
	assert_null(hearth_ds_tensors_find(t, "nobody"));
	if (hearth_ds_load(t, &o, &loaded) < 0)
		fail_msg("%s", hearth_ds_error());
	check(&l, loaded, align ? align : 256);
	save_and_compare(&m, loaded);
	hearth_ds_loaded_unref(loaded);
	hearth_ds_tensors_close(t);
	hearth_ds_release(l.own);
	free(l.own_at);
	model_done(&m);
}

static void test_rounds(void **state)
{
	g.state = prop_seed();
	for (unsigned k = 0; k < ROUNDS; k++)
		one_round();
}

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/hearth-test-XXXXXX");
	if (!mkdtemp(dir) || hearth_ds_open(NULL, &ds) < 0)
		return -1;
	return hearth_ds_device(ds, "host", &host);
}

static int teardown(void **state)
{
	hearth_ds_close(ds);
	return dir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rounds) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
