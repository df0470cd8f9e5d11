/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "fn/wire.h"

static size_t put(uint8_t *out, struct fn_frame head, const char *meta, const char *body)
{
	size_t meta_len = strlen(meta), body_len = strlen(body);

	head.meta_len = (uint16_t)meta_len;
	head.len = (uint32_t)(meta_len + body_len);
	fn_frame_put(out, &head);
	memcpy(out + FN_HEAD_BYTES, meta, meta_len);
	memcpy(out + FN_HEAD_BYTES + meta_len, body, body_len);
	return FN_HEAD_BYTES + meta_len + body_len;
}

static void frame_comes_back_and_needs_every_byte(void **state)
{
	uint8_t bytes[256];
	struct fn_view v;
	size_t n = put(bytes, (struct fn_frame){ .type = FN_INVOKE, .flags = 1, .id = 0x0102030405060708, .arg = 77 }, "a=b\nempty=\n", "body"), i;

	for (i = 0; i < n; i++) {
		assert_int_equal(fn_frame_peek(bytes, i, FN_BODY_MAX, &v), 0);
		assert_int_equal(v.total, i < FN_HEAD_BYTES ? FN_HEAD_BYTES : n);
	}
	assert_int_equal(fn_frame_peek(bytes, n, FN_BODY_MAX, &v), 1);
	assert_int_equal(v.total, n);
	assert_int_equal(v.head.id, 0x0102030405060708);
	assert_int_equal(v.head.arg, 77);
	assert_int_equal(v.head.flags, 1);
	assert_int_equal(v.body_len, 4);
	assert_memory_equal(v.body, "body", 4);
	assert_memory_equal(bytes + 8, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
}

static int peek_head(struct fn_frame head, size_t body_max)
{
	uint8_t bytes[FN_HEAD_BYTES];
	struct fn_view v;

	fn_frame_put(bytes, &head);
	bytes[24] = (uint8_t)head.reserved;     /* fn_frame_put never writes it */
	return fn_frame_peek(bytes, sizeof bytes, body_max, &v);
}

static void bad_headers(void **state)
{
	assert_int_equal(peek_head((struct fn_frame){ .type = 0 }, 10), -EPROTO);
	assert_int_equal(peek_head((struct fn_frame){ .type = 1, .reserved = 1 }, 10), -EPROTO);
	assert_int_equal(peek_head((struct fn_frame){ .type = 1, .meta_len = 5, .len = 4 }, 10), -EPROTO);
	assert_int_equal(peek_head((struct fn_frame){ .type = 1, .meta_len = FN_META_MAX + 1, .len = FN_META_MAX + 1 }, 10), -EPROTO);
	assert_int_equal(peek_head((struct fn_frame){ .type = 1, .len = 11 }, 10), -EMSGSIZE);
	assert_int_equal(peek_head((struct fn_frame){ .type = 1, .len = 10 }, 10), 0);
	assert_int_equal(peek_head((struct fn_frame){ .type = 1, .len = UINT32_MAX }, SIZE_MAX), -EMSGSIZE);
	assert_int_equal(peek_head((struct fn_frame){ .type = 1, .len = FN_BODY_MAX }, SIZE_MAX), 0);
	assert_int_equal(peek_head((struct fn_frame){ .type = 255 }, 0), 1);
}

static void bad_meta(void **state)
{
	static const char *const bad[] = { "a", "a=b", "=b\n", "\n", "a=b\n\n", "a=b\nc\n", "a=b\nc=d" };
	uint8_t bytes[256];
	struct fn_view v;
	size_t i, n;

	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		n = put(bytes, (struct fn_frame){ .type = FN_INVOKE }, bad[i], "");
		assert_int_equal(fn_frame_peek(bytes, n, FN_BODY_MAX, &v), -EPROTO);
	}
	n = put(bytes, (struct fn_frame){ .type = FN_INVOKE }, "a=b\n", "");
	bytes[FN_HEAD_BYTES + 2] = 0;
	assert_int_equal(fn_frame_peek(bytes, n, FN_BODY_MAX, &v), -EPROTO);
}

static void meta_is_written_and_found(void **state)
{
	char meta[32];
	const char *value;
	size_t len = 0, value_len;

	assert_int_equal(fn_meta_put(meta, sizeof meta, &len, "one", "1=x", 3), 0);
	assert_int_equal(fn_meta_put(meta, sizeof meta, &len, "two", NULL, 0), 0);
	assert_int_equal(len, 13);
	assert_memory_equal(meta, "one=1=x\ntwo=\n", 13);
	assert_true(fn_meta_get(meta, len, "one", &value, &value_len));
	assert_int_equal(value_len, 3);
	assert_true(fn_meta_get(meta, len, "two", &value, &value_len));
	assert_int_equal(value_len, 0);
	assert_false(fn_meta_get(meta, len, "on", &value, &value_len));
	assert_int_equal(fn_meta_put(meta, sizeof meta, &len, "", "", 0), -EINVAL);
	assert_int_equal(fn_meta_put(meta, sizeof meta, &len, "a=", "", 0), -EINVAL);
	assert_int_equal(fn_meta_put(meta, sizeof meta, &len, "a", "x\ny", 3), -EINVAL);
	assert_int_equal(fn_meta_put(meta, sizeof meta, &len, "a", "x\0y", 3), -EINVAL);
	assert_int_equal(fn_meta_put(meta, sizeof meta, &len, "a", "12345678901234567", 17), -EMSGSIZE);
	assert_int_equal(len, 13);
	assert_int_equal(fn_meta_put(meta, sizeof meta, &len, "a", "1234567890123456", 16), 0);
	assert_int_equal(len, 32);
	assert_int_equal(fn_meta_put(meta, sizeof meta, &len, "a", "", 0), -EMSGSIZE);
}

static void addresses(void **state)
{
	struct sockaddr_un a, b;
	socklen_t a_len, b_len;
	char longest[200];

	assert_int_equal(fn_address(FN_NAME_INIT, NULL, &a, &a_len), 0);
	assert_int_equal(a_len, offsetof(struct sockaddr_un, sun_path) + strlen(FN_NAME_INIT));
	assert_memory_equal(a.sun_path, "\0hearth-init", 12);
	assert_int_equal(fn_address(FN_NAME_INIT, "x7", &a, &a_len), 0);
	assert_int_equal(fn_address(FN_NAME_INIT, "-x7", &b, &b_len), 0);
	assert_int_equal(a_len, b_len);
	assert_memory_equal(&a, &b, a_len);
	assert_memory_equal(a.sun_path, "\0hearth-init-x7", 15);
	memset(longest, 'x', sizeof longest);
	longest[sizeof longest - 1] = 0;
	assert_int_equal(fn_address(FN_NAME_INIT, longest, &a, &a_len), -ENAMETOOLONG);
	longest[sizeof a.sun_path - strlen(FN_NAME_INIT) - 1] = 0;
	assert_int_equal(fn_address(FN_NAME_INIT, longest, &a, &a_len), 0);
	assert_int_equal(a_len, sizeof a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frame_comes_back_and_needs_every_byte), cmocka_unit_test(bad_headers), cmocka_unit_test(bad_meta),
		cmocka_unit_test(meta_is_written_and_found), cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
