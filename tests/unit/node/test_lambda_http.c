/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "priv.h"

static json_t *event_of(struct http_request *req, const char *target)
{
	char *text = lambda_http_event(req, target, "id", "f");
	json_t *o;

	assert_non_null(text);
	o = json_loads(text, 0, NULL);
	assert_non_null(o);
	free(text);
	return o;
}

static const char *text_at(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "(none)";
}

static void test_event(void **state)
{
	struct http_header headers[] = {
		{ http_view_of("X-One"), http_view_of("1") }, { http_view_of("x-one"), http_view_of("2") }, { http_view_of("Cookie"), http_view_of("a=1; b=2;c=3") },
	};
	struct http_request req = { .method = http_view_of("PUT"), .headers = headers, .n_headers = 3, .body = http_view_of("text"), .has_body = true };
	json_t *o, *q;

	(void)state;
	o = event_of(&req, "/p/%41?x=1&y=a%20b+c&x=2&flag&=nameless&z=%zz");
	assert_string_equal(text_at(o, "version"), "2.0");
	assert_string_equal(text_at(o, "rawPath"), "/p/%41");
	assert_string_equal(text_at(o, "body"), "text");
	assert_string_equal(text_at(json_object_get(o, "headers"), "x-one"), "1,2");
	assert_int_equal(json_array_size(json_object_get(o, "cookies")), 3);
	assert_string_equal(json_string_value(json_array_get(json_object_get(o, "cookies"), 2)), "c=3");
	q = json_object_get(o, "queryStringParameters");
	assert_string_equal(text_at(q, "x"), "1,2");
	assert_string_equal(text_at(q, "y"), "a b c");
	assert_string_equal(text_at(q, "flag"), "");
	assert_string_equal(text_at(q, "z"), "%zz");
	assert_int_equal(json_object_size(q), 4);
	json_decref(o);
}

static void test_bytes_that_are_no_text(void **state)
{
	static const struct { const char *bytes; size_t n; const char *base64; } bodies[] = {
		{ "\xff", 1, "/w==" }, { "\xff\xfe", 2, "//4=" }, { "\xff\xfe\xfd", 3, "//79" }, { "\xff\xfe\xfd\x00", 4, "//79AA==" },
	};
	struct http_header headers[] = { { http_view_of("X-Latin"), http_view_of("\xe9") } };
	struct http_request req = { .method = http_view_of("POST"), .headers = headers, .n_headers = 1, .has_body = true };
	json_t *o;

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		req.body = (struct http_view){ bodies[i].bytes, bodies[i].n };
		o = event_of(&req, "/\xff?\xff=\xfe&a=%ff");
		assert_true(json_is_true(json_object_get(o, "isBase64Encoded")));
		assert_string_equal(text_at(o, "body"), bodies[i].base64);
		json_decref(o);
	}
}

static void test_percent(void **state)
{
	static const char *const pairs[][2] = { { "a%3Ab", "a:b" }, { "%", "%" }, { "%4", "%4" }, { "%4g", "%4g" }, { "%41", "A" }, { "%%41", "%A" }, { "+", "+" } };
	char out[16];

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		size_t n = percent_decode(pairs[i][0], strlen(pairs[i][0]), false, out);

		assert_int_equal(n, strlen(pairs[i][1]));
		assert_memory_equal(out, pairs[i][1], n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_event), cmocka_unit_test(test_bytes_that_are_no_text), cmocka_unit_test(test_percent) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
