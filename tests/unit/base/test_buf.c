/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>

#include "base/buf.h"

static void test_append_consume(void **state)
{
	struct buf b = { 0 };

	assert_null(buf_head(&b));
	assert_int_equal(buf_append(&b, NULL, 0), 0);
	assert_int_equal(buf_append(&b, "hello ", 6), 0);
	assert_int_equal(buf_append(&b, "world", 5), 0);
	assert_int_equal(b.len, 11);
	buf_consume(&b, 6);
	assert_memory_equal(buf_head(&b), "world", 5);
	buf_consume(&b, 5);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.off, 0);
	buf_done(&b);
	assert_null(b.data);
	assert_int_equal(buf_append(&b, "x", 1), 0);
	buf_done(&b);
}

static void test_reserve(void **state)
{
	struct buf b = { 0 };
	uint8_t *tail;

	assert_int_equal(buf_reserve(&b, 1000, &tail), 0);
	memset(tail, 'a', 1000);
	buf_commit(&b, 600);
	assert_int_equal(b.len, 600);
	assert_int_equal(buf_reserve(&b, SIZE_MAX, &tail), -ENOMEM);
	assert_int_equal(buf_reserve(&b, SIZE_MAX / 2, &tail), -ENOMEM);
	assert_int_equal(b.len, 600);
	assert_int_equal(buf_head(&b)[599], 'a');
	buf_reset(&b);
	assert_int_equal(b.len, 0);
	assert_true(b.cap >= 1000);
	buf_done(&b);
}

static void test_printf(void **state)
{
	struct buf b = { 0 };
	char big[1000];

	memset(big, 'z', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(buf_printf(&b, "%d-%s", 42, "x"), 0);
	assert_int_equal(buf_printf(&b, "%s", big), 0);
	assert_int_equal(buf_printf(&b, "%s", ""), 0);
	assert_int_equal(b.len, 4 + 999);
	assert_memory_equal(buf_head(&b), "42-xzzz", 7);
	buf_done(&b);
}

/* A queue that stays short must not grow with what passes through it. */
static void test_no_growth(void **state)
{
	struct buf b = { 0 };
	char piece[100] = { 0 };

	for (int i = 0; i < 10000; i++) {
		assert_int_equal(buf_append(&b, piece, sizeof(piece)), 0);
		if (b.len > 300)
			buf_consume(&b, 150);
	}
	assert_true(b.cap <= 4096);
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_consume),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_printf),
		cmocka_unit_test(test_no_growth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
