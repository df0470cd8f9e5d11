/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "message.h"

static void test_head_scan(void **state)
{
	static const struct { const char *text; int want; size_t len; } cases[] = {
		{ "GET / HTTP/1.1\r\n\r\n", 1, 18 },
		{ "GET / HTTP/1.1\r\nA: b\r\n\r\nrest", 1, 24 },
		{ "GET / HTTP/1.1\r\nA: b\r\n", 0, 0 },
		{ "GET / HTTP/1.1\r\nA: b\r", 0, 0 },
		{ "GET / HTTP/1.1\n\n", -EBADMSG, 0 },
		{ "GET / HTTP/1.1\r\nA: b\n\r\n", -EBADMSG, 0 },
		{ "GET / HTTP/1.1\r\nA: b\r\n\n", -EBADMSG, 0 },
		{ "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", -EBADMSG, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct head_scan whole = { 0 }, bytewise = { 0 };
		size_t len = 0, n = strlen(cases[i].text), got = 0;
		int r = 0;

		assert_int_equal(head_scan(&whole, cases[i].text, n, &len), cases[i].want);
		assert_int_equal(len, cases[i].len);
		for (size_t k = 1; k <= n && r == 0; k++)
			r = head_scan(&bytewise, cases[i].text, k, &got);
		assert_int_equal(r, cases[i].want);
		assert_int_equal(got, cases[i].len);
	}
}

/* Feeds step bytes at a time. Return: decoded bytes in out, or -1 malformed, -2 incomplete. */
static int decode(const char *text, size_t step, char *out, size_t *ret_used)
{
	struct body_frame f;
	struct http_view piece;
	size_t n = strlen(text), at = 0, len = 0;

	body_frame_init(&f, BODY_CHUNKED, 0);
	while (at < n && !f.done) {
		ssize_t used = body_frame_next(&f, text + at, n - at < step ? n - at : step, &piece);

		if (used < 0)
			return -1;
		memcpy(out + len, piece.data, piece.len);
		len += piece.len;
		at += (size_t)used;
	}
	*ret_used = at;
	return f.done ? (int)len : -2;
}

static void test_chunked(void **state)
{
	static const struct { const char *text, *want; int len; } cases[] = {
		{ "5\r\nhello\r\n0\r\n\r\n", "hello", 5 },
		{ "5;x=y\r\nhello\r\n1 \r\n!\r\n000\r\nTrailer: z\r\n\r\n", "hello!", 6 },
		{ "A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 10 },
		{ "0\r\n\r\n", "", 0 },
		{ "5\r\nhel", "", -2 },
		{ "0\r\n", "", -2 },
		{ "5\rXhello\r\n0\r\n\r\n", "", -1 },
		{ "5\nhello\r\n0\r\n\r\n", "", -1 },
		{ "5\r\nhelloXX0\r\n\r\n", "", -1 },
		{ "\r\n", "", -1 },
		{ "-5\r\nhello\r\n", "", -1 },
		{ "0x5\r\nhello\r\n", "", -1 },
		{ "fffffffffffffffff\r\n", "", -1 },
		{ "0\r\nTrailer: a\n\r\n", "", -1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t step = 1; step < 40; step++) {
			char out[64];
			size_t used = 0;
			int n = decode(cases[i].text, step, out, &used);

			assert_int_equal(n, cases[i].len);
			if (n >= 0) {
				assert_memory_equal(out, cases[i].want, (size_t)n);
				assert_int_equal(used, strlen(cases[i].text));
			}
		}
	}
}

static void test_length(void **state)
{
	struct body_frame f;
	struct http_view piece;

	body_frame_init(&f, BODY_LENGTH, 5);
	assert_int_equal(body_frame_next(&f, "abc", 3, &piece), 3);
	assert_false(f.done);
	assert_int_equal(body_frame_next(&f, "defgh", 5, &piece), 2);
	assert_int_equal(piece.len, 2);
	assert_true(f.done);
	body_frame_init(&f, BODY_LENGTH, 0);
	assert_true(f.done);
}

static void test_names_and_lists(void **state)
{
	assert_true(head_name_ok(http_view_of("X-A_b!")));
	assert_false(head_name_ok(http_view_of("")));
	assert_false(head_name_ok(http_view_of("A b")));
	assert_false(head_name_ok(http_view_of("A:")));
	assert_true(head_value_ok(http_view_of("a\tb \xc3\xa4")));
	assert_false(head_value_ok(http_view_of("a\r\nb")));
	assert_false(head_target_ok(http_view_of("/a b")));
	assert_true(head_list_has(http_view_of("close, X-Foo ,te"), http_view_of("x-foo")));
	assert_false(head_list_has(http_view_of("close, X-Foobar"), http_view_of("x-foo")));
	assert_true(head_is_hop(http_view_of("transfer-ENCODING")));
	assert_false(head_is_hop(http_view_of("Host")));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_head_scan), cmocka_unit_test(test_chunked), cmocka_unit_test(test_length),
		cmocka_unit_test(test_names_and_lists) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
