/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors on several devices, the fake driver's and the host, in memory of the library and of the caller's; KV blocks on one; a device that has too little memory. */
#include "../rig.h"

#include <errno.h>

#include "base/fd.h"
#include "base/file.h"
#include "hearth/ds_load.h"

#define TENSORS 24
#define MIB (1u << 20)

static struct hearth_ds *ds;
static struct hearth_ds_device *devices[3];
static struct hearth_ds_tensors *tensors;
static char dir[64], path[96];
static uint8_t data[TENSORS * MIB];

static uint64_t length_of(size_t k) { return k % 5 == 4 ? 100 + k : k % 3 == 0 ? MIB / 2 : 4096; }

static void write_file(void)
{
	static char json[8192];
	uint64_t n = 0, at = 0;
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	n += (uint64_t)sprintf(json + n, "{");
	for (size_t k = 0; k < TENSORS; k++) {
		n += (uint64_t)sprintf(json + n, "%s\"t%02zu\":{\"dtype\":\"U8\",\"shape\":[%llu],\"data_offsets\":[%llu,%llu]}", k ? "," : "", k, (unsigned long long)length_of(k), (unsigned long long)at,
				       (unsigned long long)(at + length_of(k)));
		at += length_of(k);
	}
	n += (uint64_t)sprintf(json + n, "}");
	assert_int_equal(fwrite(&n, 8, 1, f), 1);
	assert_int_equal(fwrite(json, 1, n, f), n);
	for (uint64_t k = 0; k < at; k++)
		data[k] = (uint8_t)(k * 2654435761u >> 13);
	assert_int_equal(fwrite(data, 1, at, f), at);
	assert_int_equal(fclose(f), 0);
}

/* device memory, by way of a file */
static void same(struct hearth_ds_memory *memory, uint64_t offset, const uint8_t *want, size_t n)
{
	static uint8_t got[MIB];
	int fd = memfd_create("look", MFD_CLOEXEC);
	struct hearth_ds_file *file;

	assert_true(n <= sizeof(got));
	assert_int_equal(hearth_ds_file_of(ds, fd, &file), 0);
	assert_int_equal(hearth_ds_write(file, memory, offset, 0, n), n);
	assert_int_equal(fd_pread_full(fd, got, sizeof(got), 0), n);
	assert_memory_equal(got, want, n);
	hearth_ds_file_close(file);
	close(fd);
}

struct placing { struct hearth_ds_buffer own; uint64_t used; unsigned ready; };

/* the k-th on device k % 3; every 7th into memory of the caller's */
static int place(void *ctx, const struct hearth_ds_tensor *tensor, struct hearth_ds_place *ret)
{
	struct placing *p = ctx;
	unsigned k = (unsigned)atoi(tensor->name + 1);

	ret->device = devices[k % 3];
	if (k % 7 == 6) {
		ret->memory = p->own.memory;
		ret->offset = p->used;
		p->used += tensor->bytes;
	}
	return 0;
}

static int ready(void *ctx, const struct hearth_ds_placed *placed)
{
	struct placing *p = ctx;

	assert_int_equal(atoi(placed->tensor->name + 1), p->ready++);
	return 0;
}

static void test_placed(void **state)
{
	struct placing p = { .used = 12345 };
	struct hearth_ds_loaded *loaded;
	struct hearth_ds_load_stats stats;
	const uint8_t *want = data;
	uint64_t bytes = 0;

	assert_int_equal(hearth_ds_alloc(devices[1], 4 * MIB, &p.own), 0);
	if (hearth_ds_load(tensors, &(struct hearth_ds_load_options){ .place = place, .ready = ready, .ctx = &p }, &loaded) < 0)
		fail_msg("%s", hearth_ds_error());
	assert_int_equal(p.ready, TENSORS);
	for (size_t k = 0; k < TENSORS; k++) {
		const struct hearth_ds_placed *t = hearth_ds_loaded_at(loaded, k);

		assert_int_equal(t->tensor->bytes, length_of(k));
		assert_ptr_equal(t->device, k % 7 == 6 ? devices[1] : devices[k % 3]);
		assert_true(k % 7 == 6 ? t->memory == p.own.memory : t->at % 256 == 0);
		same(t->memory, t->offset, want, t->tensor->bytes);
		want += length_of(k);
		bytes += length_of(k);
	}
	hearth_ds_loaded_stats(loaded, &stats);
	assert_true(stats.carried[HEARTH_DS_STAGE] > 0 && stats.carried[HEARTH_DS_HOST] > 0);
	assert_int_equal(stats.carried[HEARTH_DS_STAGE] + stats.carried[HEARTH_DS_HOST], bytes);
	hearth_ds_loaded_unref(loaded);
	hearth_ds_free(&p.own);
}

/* 64 MiB a device: it fails as a whole, and leaves nothing behind */
static void test_too_little_memory(void **state)
{
	struct hearth_ds_buffer much, rest;
	struct hearth_ds_loaded *loaded;

	assert_int_equal(hearth_ds_alloc(devices[0], 60 * MIB, &much), 0);
	for (unsigned k = 0; k < 3; k++) {
		assert_int_equal(hearth_ds_load(tensors, &(struct hearth_ds_load_options){ .device = devices[0] }, &loaded), -ENOMEM);
		assert_non_null(strstr(hearth_ds_error(), "cuda:0: cannot allocate"));
	}
	hearth_ds_free(&much);
	assert_int_equal(hearth_ds_alloc(devices[0], 60 * MIB, &rest), 0);
	hearth_ds_free(&rest);
	assert_int_equal(hearth_ds_alloc(devices[0], 0, &rest), -EINVAL);
	assert_int_equal(hearth_ds_alloc(devices[0], SIZE_MAX, &rest), -ENOMEM);
	assert_int_equal(hearth_ds_alloc(devices[2], SIZE_MAX, &rest), -ENOMEM);
	hearth_ds_free(&rest);
}

static void test_kv(void **state)
{
	static const struct hearth_ds_kv_options options = { .block_bytes = 8192, .layers = 1, .checked = 1 };
	struct hearth_ds_kv_block blocks[20];
	struct hearth_ds_buffer from, to;
	struct hearth_ds_kv *kv;
	char store[96];

	snprintf(store, sizeof(store), "%s/kv", dir);
	assert_int_equal(hearth_ds_alloc(devices[2], 20 * 8192, &from), 0);
	assert_int_equal(hearth_ds_alloc(devices[1], 20 * 8192, &to), 0);
	memcpy((void *)(uintptr_t)from.at, data, 20 * 8192);
	assert_int_equal(hearth_ds_kv_create(ds, store, &options, &kv), 0);
	for (unsigned k = 0; k < 20; k++)
		blocks[k] = (struct hearth_ds_kv_block){ .id = k, .memory = from.memory, .memory_offset = k * 8192 };
	assert_int_equal(hearth_ds_kv_put(kv, blocks, 20), 0);
	/* onto the device, in another order, some where there is no room, some that are not there */
	for (unsigned k = 0; k < 20; k++)
		blocks[k] = (struct hearth_ds_kv_block){ .id = k == 3 ? 77 : 19 - k, .memory = k == 5 ? NULL : to.memory, .memory_offset = k == 7 ? 19 * 8192 + 1 : k * 8192 };
	assert_int_equal(hearth_ds_kv_get(kv, blocks, 20), 17);
	for (unsigned k = 0; k < 20; k++) {
		assert_int_equal(blocks[k].result, k == 3 ? -ENOENT : k == 5 || k == 7 ? -EINVAL : 8192);
		if (blocks[k].result > 0)
			same(to.memory, k * 8192, data + (19 - k) * 8192, 8192);
	}
	/* and from the device */
	for (unsigned k = 0; k < 20; k++)
		blocks[k] = (struct hearth_ds_kv_block){ .id = 100 + k, .memory = to.memory, .memory_offset = k * 8192 };
	assert_int_equal(hearth_ds_kv_put(kv, blocks, 20), 0);
	for (unsigned k = 0; k < 20; k++)
		blocks[k].memory = from.memory;
	memset((void *)(uintptr_t)from.at, 0, 20 * 8192);
	assert_int_equal(hearth_ds_kv_get(kv, blocks, 20), 20);
	assert_memory_equal((void *)(uintptr_t)from.at, data + 19 * 8192, 8192);
	blocks[0].memory_offset = 20 * 8192;
	assert_int_equal(hearth_ds_kv_put(kv, blocks, 1), -EINVAL);
	hearth_ds_kv_close(kv);
	hearth_ds_free(&from);
	hearth_ds_free(&to);
}

static int setup(void **state)
{
	static const char *const names[] = { "cuda:0", "cuda:1", "host" };

	snprintf(dir, sizeof(dir), "/tmp/hearth-test-XXXXXX");
	if (!mkdtemp(dir) || hearth_ds_open(NULL, &ds) < 0)
		return -1;
	for (unsigned k = 0; k < 3; k++)
		if (hearth_ds_device(ds, names[k], &devices[k]) < 0)
			return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	write_file();
	return hearth_ds_tensors_open(ds, path, &tensors);
}

static int teardown(void **state)
{
	hearth_ds_tensors_close(tensors);
	hearth_ds_close(ds);
	return dir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_placed), cmocka_unit_test(test_too_little_memory), cmocka_unit_test(test_kv) };

	rig_machine("devices=2,memory=64M");
	return rig_machine_gone(cmocka_run_group_tests(tests, setup, teardown));
}
