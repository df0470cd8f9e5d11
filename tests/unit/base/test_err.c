/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>

#include "base/err.h"

static void test_set(void **state)
{
	struct hearth_err err;

	errno = EPIPE;
	assert_int_equal(err_set(&err, -ENOENT, "cannot open %s", "x"), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_string_equal(err.msg, "cannot open x");
	assert_int_equal(errno, EPIPE);
	assert_int_equal(err_set(NULL, -EINVAL, "nobody reads this"), -EINVAL);
}

static void test_prefix(void **state)
{
	struct hearth_err err;

	err_set(&err, -EBADMSG, "bad digest");
	assert_int_equal(err_prefix(&err, "image %d", 7), -EBADMSG);
	assert_string_equal(err.msg, "image 7: bad digest");
	assert_int_equal(err_prefix(NULL, "image %d", 7), -EIO);
}

static void test_one_line(void **state)
{
	struct hearth_err err;

	err_set(&err, -EINVAL, "name %s", "a\nb\033[2Jc");
	assert_string_equal(err.msg, "name a?b?[2Jc");
}

static void test_truncation(void **state)
{
	struct hearth_err err;
	char big[2000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&err, -EINVAL, "%s", big);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	assert_int_equal(err_prefix(&err, "head"), -EINVAL);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	assert_memory_equal(err.msg, "head: xxx", 9);
	err_prefix(&err, "%s", big);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_one_line),
		cmocka_unit_test(test_truncation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
