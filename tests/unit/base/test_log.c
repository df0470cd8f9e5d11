/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

static int saved_stderr = -1, read_end = -1;

static void capture_begin(void)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	saved_stderr = dup(STDERR_FILENO);
	assert_true(saved_stderr >= 0);
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	close(ends[1]);
	read_end = ends[0];
}

/* What was written to standard error meanwhile. */
static void capture_end(char *out, size_t size)
{
	ssize_t n;

	assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
	fd_close(&saved_stderr);
	n = fd_read_full(read_end, out, size - 1);
	assert_true(n >= 0);
	out[n] = '\0';
	fd_close(&read_end);
}

static void test_levels(void **state)
{
	enum log_level level;
	char out[4096];

	assert_int_equal(log_level_parse("warn", &level), 0);
	assert_int_equal(level, LOG_LEVEL_WARN);
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
	assert_int_equal(level, LOG_LEVEL_WARN);
	assert_int_equal(log_set_level_named("debug"), 0);
	assert_int_equal(log_set_level_named("loud"), -EINVAL);
	assert_true(log_enabled(LOG_LEVEL_DEBUG));
	log_set_level(level);
	assert_true(log_enabled(LOG_LEVEL_ERROR));
	assert_false(log_enabled(LOG_LEVEL_INFO));
	capture_begin();
	log_info("not this");
	log_error("but %s", "this");
	capture_end(out, sizeof(out));
	assert_null(strstr(out, "not this"));
	assert_non_null(strstr(out, "Z error: but this\n"));
	assert_int_equal(out[4], '-');
	assert_int_equal(out[10], 'T');
}

static void test_one_line(void **state)
{
	char out[8192], big[4096];

	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	capture_begin();
	errno = ENOENT;
	log_error("a\nb\033c");
	assert_int_equal(errno, ENOENT);
	log_error("%s", big);
	capture_end(out, sizeof(out));
	assert_non_null(strstr(out, "error: a?b?c\n"));
	assert_non_null(strstr(out, "yyy...\n"));
	assert_true(strlen(out) < 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
