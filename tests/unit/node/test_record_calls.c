// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "priv.h"

static char *read_back(const char *path)
{
	char *text;

	assert_int_equal(file_read(path, 1 << 20, &text, NULL), 0);
	return text;
}

static struct types *types_short_and_long(void)
{
	struct types *t = types_new();

	types_take(t, "short");
	types_take(t, "a-name-of-more-than-thirty-one-characters");
	return t;
}

/* in order of arrival, whatever the order of their ends; a line a call that was answered */
static void lines_are_calls(void **state)
{
	char path[] = "/tmp/hearth-record-XXXXXX", *text, *line, *rest, type[64];
	static const char *const types_seen[] = { "short", "a-name-of-more-than-thirty-one-", "short" };
	struct types *types = types_short_and_long();
	unsigned long long t, last = 0, service;
	struct call_recorder *r;
	struct hearth_err err;
	uint64_t now, number[4];
	int fd = mkstemp(path), n = 0;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(call_recorder_open(path, types, &r, &err), 0);
	assert_string_equal(call_recorder_path(r), path);
	assert_int_equal(call_recorder_begin(r, 1), 0);         /* had arrived before the recording began */
	call_recorder_end(r, 0, true, 0, 5);
	now = clock_mono_ns();
	for (unsigned i = 0; i < 4; i++)
		number[i] = call_recorder_begin(r, now + i * 1000);
	call_recorder_end(r, number[3], true, 0, 12);
	call_recorder_end(r, number[1], true, 1, 11);
	call_recorder_end(r, number[2], false, 0, 0);
	assert_int_equal(call_recorder_calls(r), 0);
	call_recorder_end(r, number[0], true, 0, 0);
	assert_int_equal(call_recorder_calls(r), 3);
	call_recorder_end(r, number[0], true, 0, 10);
	call_recorder_flush(r);
	text = read_back(path);
	line = strtok_r(text, "\n", &rest);
	assert_string_equal(line, "t_ns,type,service_ns");
	for (; (line = strtok_r(NULL, "\n", &rest)); n++) {
		assert_int_equal(sscanf(line, "%llu,%63[^,],%llu", &t, type, &service), 3);
		assert_string_equal(type, types_seen[n]);
		assert_int_equal(service, n == 0 ? 1 : 10 + n);
		assert_true(t >= last && t < 60 * NS_PER_S);
		last = t;
	}
	assert_int_equal(n, 3);
	free(text);
	assert_null(call_recorder_close(r));
	unlink(path);
	types_free(types);
}

static void what_still_runs_is_left_out(void **state)
{
	struct types *types = types_short_and_long();
	struct call_recorder *r, *next;
	struct hearth_err err;
	char path[] = "/tmp/hearth-record-XXXXXX", *text;
	int fd = mkstemp(path);
	uint64_t old;

	(void)state;
	close(fd);
	assert_int_equal(call_recorder_open(path, types, &r, &err), 0);
	old = call_recorder_begin(r, clock_mono_ns());
	call_recorder_end(r, call_recorder_begin(r, clock_mono_ns()), true, 0, 77);
	call_recorder_close(r);
	text = read_back(path);
	assert_non_null(strstr(text, ",short,77\n"));
	free(text);
	/* and it is not taken for one of the next recording */
	assert_int_equal(call_recorder_open(path, types, &next, &err), 0);
	call_recorder_begin(next, clock_mono_ns());
	call_recorder_end(next, old, true, 0, 5);
	assert_int_equal(call_recorder_calls(next), 0);
	call_recorder_close(next);
	unlink(path);
	types_free(types);
}

static void what_cannot_be_written(void **state)
{
	struct types *types = types_short_and_long();
	struct call_recorder *r = NULL;
	struct hearth_err err;

	(void)state;
	assert_int_equal(call_recorder_open("relative.csv", types, &r, &err), -EINVAL);
	assert_int_equal(call_recorder_open("/nonexistent/x.csv", types, &r, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/x.csv"));
	assert_null(r);
	/* a disk that is full ends the recording, not the daemon */
	assert_int_equal(call_recorder_open("/dev/full", types, &r, &err), 0);
	call_recorder_end(r, call_recorder_begin(r, clock_mono_ns()), true, 0, 5);
	call_recorder_flush(r);
	assert_int_equal(call_recorder_begin(r, clock_mono_ns()), 0);
	assert_int_equal(call_recorder_calls(r), 1);
	call_recorder_close(r);
	types_free(types);
}

/* what nobody writes away has an end, and a call that never ends does not stop the others for good */
static void memory_is_bounded(void **state)
{
	struct types *types = types_short_and_long();
	struct call_recorder *r;
	struct hearth_err err;
	uint64_t stuck;

	(void)state;
	assert_int_equal(call_recorder_open("/dev/null", types, &r, &err), 0);
	stuck = call_recorder_begin(r, clock_mono_ns());
	for (int i = 0; i < 65535; i++)
		call_recorder_end(r, call_recorder_begin(r, clock_mono_ns()), true, 0, 5);
	assert_int_equal(call_recorder_calls(r), 0);
	call_recorder_end(r, call_recorder_begin(r, clock_mono_ns()), true, 0, 5);
	assert_int_equal(call_recorder_calls(r), 65536);
	call_recorder_end(r, stuck, true, 0, 5);
	assert_int_equal(call_recorder_calls(r), 65536);
	for (int i = 0; i < 1000000; i++)
		call_recorder_end(r, call_recorder_begin(r, clock_mono_ns()), true, 1, 123456789);
	assert_true(call_recorder_calls(r) < 500000);
	call_recorder_close(r);
	types_free(types);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_calls),
		cmocka_unit_test(what_still_runs_is_left_out),
		cmocka_unit_test(what_cannot_be_written),
		cmocka_unit_test(memory_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
