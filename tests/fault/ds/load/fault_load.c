/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "hearth/ds_load.h"
#include "wraps.h"

/*
 * Every system call, and every allocation, fails once while a set is opened, loaded and saved: an error with a sentence, nothing left over; and what was there under the saved file's name
 * is still there, or the new one, whole.
 */
#define SWEEP_MAX 3000
#define BYTES 5000
#define OLD "what was there before"

static char dir[64], index_path[96], saved_path[96];
static uint8_t data[2][BYTES];

static void write_part(const char *name, const char *tensors, const uint8_t *bytes)
{
	uint64_t n = strlen(tensors);
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(&n, 8, 1, f), 1);
	assert_int_equal(fwrite(tensors, 1, n, f), n);
	assert_int_equal(fwrite(bytes, 1, BYTES, f), BYTES);
	assert_int_equal(fclose(f), 0);
}

static void write_set(void)
{
	static const char index[] = "{\"weight_map\":{\"a\":\"1\",\"b\":\"1\",\"c\":\"2\"}}";

	write_part("1", "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"b\":{\"dtype\":\"U8\",\"shape\":[4997],\"data_offsets\":[3,5000]}}", data[0]);
	write_part("2", "{\"c\":{\"dtype\":\"F64\",\"shape\":[25,25],\"data_offsets\":[0,5000]}}", data[1]);
	assert_int_equal(file_replace(index_path, index, sizeof(index) - 1, 0600, NULL), 0);
}

static bool same(const struct hearth_ds_loaded *l)
{
	const struct hearth_ds_placed *a = hearth_ds_loaded_at(l, 0), *b = hearth_ds_loaded_at(l, 1), *c = hearth_ds_loaded_at(l, 2);

	return hearth_ds_loaded_count(l) == 3 && !memcmp((void *)(uintptr_t)a->at, data[0], 3) && !memcmp((void *)(uintptr_t)b->at, data[0] + 3, BYTES - 3) &&
	       !memcmp((void *)(uintptr_t)c->at, data[1], BYTES);
}

static int save(struct hearth_ds *ds, const struct hearth_ds_loaded *l)
{
	static const char *const meta[] = { "key", "value" };
	struct hearth_ds_save s[3];

	for (size_t k = 0; k < 3; k++) {
		const struct hearth_ds_placed *p = hearth_ds_loaded_at(l, k);

		s[k] = (struct hearth_ds_save){ p->tensor->name, p->tensor->dtype, p->tensor->dims, p->tensor->shape, p->memory, p->offset };
	}
	return hearth_ds_save(ds, saved_path, s, 3, meta, 1);
}

static int scenario(bool *ret_same)
{
	struct hearth_ds *ds = NULL;
	struct hearth_ds_device *host = NULL;
	struct hearth_ds_tensors *t = NULL;
	struct hearth_ds_loaded *l = NULL;
	int r = hearth_ds_open(NULL, &ds);

	if (r == 0)
		r = hearth_ds_device(ds, "host", &host);
	if (r == 0)
		r = hearth_ds_tensors_open(ds, index_path, &t);
	if (r == 0)
		r = hearth_ds_load(t, &(struct hearth_ds_load_options){ .device = host, .piece_bytes = 512 }, &l);
	if (r == 0) {
		*ret_same = same(l);
		r = save(ds, l);
	}
	hearth_ds_loaded_unref(l);
	hearth_ds_tensors_close(t);
	hearth_ds_close(ds);
	return r;
}

/* Return: whether it is what was there before; fails when it is neither */
static bool saved_is_old(void)
{
	struct hearth_ds *ds;
	struct hearth_ds_tensors *t;
	char *text;
	size_t n;

	assert_int_equal(file_read(saved_path, 1 << 20, &text, &n), 0);
	if (n == strlen(OLD)) {
		assert_memory_equal(text, OLD, n);
		free(text);
		return true;
	}
	free(text);
	assert_int_equal(hearth_ds_open(NULL, &ds), 0);
	if (hearth_ds_tensors_open(ds, saved_path, &t) < 0)
		fail_msg("%s", hearth_ds_error());
	assert_int_equal(hearth_ds_tensors_count(t), 3);
	hearth_ds_tensors_close(t);
	hearth_ds_close(ds);
	return false;
}

static void sweep(enum fault_kind kind, int error)
{
	bool fired = true, warm;

	/* libc keeps what threads had for the next ones: not to be taken for a leak */
	assert_int_equal(scenario(&warm), 0);
	for (unsigned nth = 1; fired; nth++) {
		long blocks = fault_live_blocks();
		unsigned fds = fault_open_fds();
		bool as_written = true;
		int r;

		assert_true(nth < SWEEP_MAX);
		assert_int_equal(file_replace(saved_path, OLD, strlen(OLD), 0600, NULL), 0);
		fault_arm(kind, nth, error);
		r = scenario(&as_written);
		fired = fault_disarm();
		assert_true(as_written);
		if (r == 0)
			assert_false(saved_is_old());
		else if (!saved_is_old() && !strstr(hearth_ds_error(), "a power cut"))
			fail_msg("call %u (%s) failed: '%s', but the file is there", nth, fault_last(), hearth_ds_error());
		assert_true(fired || r == 0);
		assert_true(r == 0 || hearth_ds_error()[0]);
		if (fault_live_blocks() != blocks)
			fail_msg("call %u (%s) failed: %ld blocks more than before", nth, fault_last(), fault_live_blocks() - blocks);
		assert_int_equal(fault_open_fds(), fds);
	}
}

static void test_syscalls(void **state) { sweep(FAULT_SYSCALL, EIO); }
static void test_allocations(void **state) { sweep(FAULT_ALLOC, ENOMEM); }

/* ---- files that change after they were opened, callbacks that end it ---- */

static int stop_at_b(void *ctx, const struct hearth_ds_placed *placed) { return placed->tensor->name[0] == 'b'; }
static int refuse_c(void *ctx, const struct hearth_ds_tensor *tensor, struct hearth_ds_place *ret) { return tensor->name[0] == 'c' ? -EPERM : 0; }
static int nowhere(void *ctx, const struct hearth_ds_tensor *tensor, struct hearth_ds_place *ret) { ret->device = NULL; return 0; }
static int beyond(void *ctx, const struct hearth_ds_tensor *tensor, struct hearth_ds_place *ret) { ret->memory = ctx; ret->offset = 8; return 0; }

static void test_load_errors(void **state)
{
	static uint8_t small[10];
	static const char *const missing[] = { "a", "nobody*" };
	struct hearth_ds *ds;
	struct hearth_ds_device *host;
	struct hearth_ds_memory *memory;
	struct hearth_ds_tensors *t;
	struct hearth_ds_loaded *l;
	char part[96];

	assert_int_equal(hearth_ds_open(NULL, &ds), 0);
	assert_int_equal(hearth_ds_device(ds, "host", &host), 0);
	assert_int_equal(hearth_ds_register(host, (uintptr_t)small, sizeof(small), &memory), 0);
	assert_int_equal(hearth_ds_tensors_open(ds, index_path, &t), 0);
#define FAILS(error, says, ...) do { \
		assert_int_equal(hearth_ds_load(t, &(struct hearth_ds_load_options){ __VA_ARGS__ }, &l), error); \
		if (!strstr(hearth_ds_error(), says)) \
			fail_msg("'%s' does not say '%s'", hearth_ds_error(), says); \
	} while (0)
	FAILS(-ECANCELED, "ended by its caller", .device = host, .ready = stop_at_b);
	FAILS(-EPERM, "ended by its caller", .device = host, .place = refuse_c);
	FAILS(-EINVAL, "no device for tensor 'a'", .device = host, .place = nowhere);
	FAILS(-EINVAL, "tensor 'a' has 3 bytes: they don't fit", .device = host, .place = beyond, .ctx = memory);
	FAILS(-ENOENT, "no tensor's name matches 'nobody*'", .device = host, .filters = missing, .filters_n = 2);
	FAILS(-EINVAL, "neither a device", .align = 1);
	FAILS(-EINVAL, "power of 2", .device = host, .align = 48);
	FAILS(-EINVAL, "power of 2", .device = host, .align = 8192);
	FAILS(-EINVAL, "must be all 0", .device = host, .zero = { 1 });
	snprintf(part, sizeof(part), "%s/2", dir);
	assert_int_equal(truncate(part, 4000), 0);
	FAILS(-EIO, "/2: it ends at 4000: it became shorter", .device = host);
	hearth_ds_tensors_close(t);
	assert_int_equal(hearth_ds_tensors_open(ds, index_path, &t), -EBADMSG);
	assert_non_null(strstr(hearth_ds_error(), "/2: its tensors end after 5000 bytes"));
	hearth_ds_release(memory);
	hearth_ds_close(ds);
	write_set();
}

static int setup(void **state)
{
	json_never_fails();
	for (size_t k = 0; k < BYTES; k++) {
		data[0][k] = (uint8_t)(k * 7 + k / 251);
		data[1][k] = (uint8_t)(k * 11 + k / 13);
	}
	snprintf(dir, sizeof(dir), "/tmp/hearth-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(index_path, sizeof(index_path), "%s/index.json", dir);
	snprintf(saved_path, sizeof(saved_path), "%s/saved", dir);
	write_set();
	return 0;
}

static int teardown(void **state)
{
	return dir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_syscalls), cmocka_unit_test(test_allocations), cmocka_unit_test(test_load_errors) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
