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

static void lines_are_calls(void **state)
{
	char path[] = "/tmp/hearth-record-XXXXXX", *text, *line, *rest;
	struct call_recorder *r;
	struct hearth_err err;
	unsigned long long t, service;
	uint64_t now;
	int fd = mkstemp(path), n = 0;
	char type[64];

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(call_recorder_open(path, &r, &err), 0);
	assert_string_equal(call_recorder_path(r), path);
	call_recorder_write(r, 1, "early", 5);          /* had arrived before the recording began */
	now = clock_mono_ns();
	for (int i = 0; i < 3; i++)
		call_recorder_write(r, now + (uint64_t)i * 1000, i == 1 ? "long" : "short", 10 + (uint64_t)i);
	assert_int_equal(call_recorder_calls(r), 3);
	call_recorder_flush(r);
	text = read_back(path);
	line = strtok_r(text, "\n", &rest);
	assert_string_equal(line, "t_ns,type,service_ns");
	for (; (line = strtok_r(NULL, "\n", &rest)); n++) {
		assert_int_equal(sscanf(line, "%llu,%63[^,],%llu", &t, type, &service), 3);
		assert_string_equal(type, n == 1 ? "long" : "short");
		assert_int_equal(service, 10 + n);
		assert_true(t < 60 * NS_PER_S);
	}
	assert_int_equal(n, 3);
	free(text);
	assert_null(call_recorder_close(r));
	unlink(path);
}

static void what_cannot_be_written(void **state)
{
	struct call_recorder *r = NULL;
	struct hearth_err err;

	(void)state;
	assert_int_equal(call_recorder_open("relative.csv", &r, &err), -EINVAL);
	assert_int_equal(call_recorder_open("/nonexistent/x.csv", &r, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/x.csv"));
	assert_null(r);
	/* a disk that is full ends the recording, not the daemon */
	assert_int_equal(call_recorder_open("/dev/full", &r, &err), 0);
	call_recorder_write(r, clock_mono_ns(), "a", 1);
	call_recorder_flush(r);
	call_recorder_write(r, clock_mono_ns(), "a", 1);
	assert_int_equal(call_recorder_calls(r), 1);
	call_recorder_close(r);
}

/* what nobody writes away has an end */
static void memory_is_bounded(void **state)
{
	struct call_recorder *r;
	struct hearth_err err;

	(void)state;
	assert_int_equal(call_recorder_open("/dev/null", &r, &err), 0);
	for (int i = 0; i < 1000000; i++)
		call_recorder_write(r, clock_mono_ns(), "a-type-with-quite-a-name", 123456789);
	assert_true(call_recorder_calls(r) < 500000);
	call_recorder_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_calls),
		cmocka_unit_test(what_cannot_be_written),
		cmocka_unit_test(memory_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
