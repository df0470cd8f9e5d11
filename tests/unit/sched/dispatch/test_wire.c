/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>

#include "sched/wire.h"

/* A request as docs/wire.md describes it, byte by byte: type 3, id 0x0807060504030201, payload "abcd". */
static const uint8_t request[] = {
	'H', 'R', 'T', 'H', 1, 1, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c', 'd',
};

static int parse_changed(size_t at, uint8_t value)
{
	uint8_t copy[sizeof(request)];
	struct wire_header h;

	memcpy(copy, request, sizeof(copy));
	copy[at] = value;
	return wire_parse(copy, sizeof(copy), &h);
}

static void test_request(void **state)
{
	struct wire_header h;
	uint8_t again[WIRE_HEADER_BYTES];

	assert_int_equal(wire_parse(request, sizeof(request), &h), 0);
	assert_int_equal(h.kind, WIRE_REQUEST);
	assert_int_equal(h.type, 3);
	assert_int_equal(h.id, 0x0807060504030201ull);
	assert_int_equal(h.payload_len, 4);
	wire_write(&h, again);
	assert_memory_equal(again, request, sizeof(again));
}

static void test_reply(void **state)
{
	struct wire_header h = { .kind = WIRE_REPLY, .type = 0xfffe, .status = WIRE_LOST, .id = UINT64_MAX, .queue_ns = UINT32_MAX, .service_ns = 7 }, got;
	uint8_t out[WIRE_HEADER_BYTES];

	wire_write(&h, out);
	assert_int_equal(wire_parse(out, sizeof(out), &got), 0);
	assert_int_equal(got.kind, WIRE_REPLY);
	assert_int_equal(got.type, 0xfffe);
	assert_int_equal(got.status, WIRE_LOST);
	assert_int_equal(got.id, UINT64_MAX);
	assert_int_equal(got.payload_len, 0);
	assert_int_equal(got.queue_ns, UINT32_MAX);
	assert_int_equal(got.service_ns, 7);
	assert_int_equal(out[20], WIRE_LOST);
	assert_int_equal(wire_ns32(UINT64_MAX), UINT32_MAX);
	assert_int_equal(wire_ns32(5), 5);
}

static void test_refused(void **state)
{
	struct wire_header h = { .id = 42 };
	uint8_t big[WIRE_HEADER_BYTES + WIRE_PAYLOAD_MAX + 1] = { 0 };

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(parse_changed(i, 0), -EBADMSG);
	assert_int_equal(parse_changed(4, 2), -EPROTONOSUPPORT);
	assert_int_equal(parse_changed(5, 0), -EINVAL);
	assert_int_equal(parse_changed(5, 3), -EINVAL);
	assert_int_equal(parse_changed(20, WIRE_STATUSES), -EINVAL);
	assert_int_equal(parse_changed(20, WIRE_OVERLOAD), -EBADMSG);
	assert_int_equal(parse_changed(22, 1), -EBADMSG);
	assert_int_equal(parse_changed(24, 1), -EBADMSG);
	assert_int_equal(parse_changed(31, 1), -EBADMSG);
	assert_int_equal(parse_changed(16, 3), -EMSGSIZE);
	assert_int_equal(parse_changed(16, 5), -EMSGSIZE);
	assert_int_equal(parse_changed(19, 0xff), -EMSGSIZE);
	for (size_t len = 0; len < sizeof(request); len++)
		assert_int_equal(wire_parse(request, len, &h), -EMSGSIZE);
	/* one byte more than there may be, and said so */
	memcpy(big, request, WIRE_HEADER_BYTES);
	big[16] = (WIRE_PAYLOAD_MAX + 1) & 0xff;
	big[17] = (WIRE_PAYLOAD_MAX + 1) >> 8;
	assert_int_equal(wire_parse(big, sizeof(big), &h), -EMSGSIZE);
	assert_int_equal(h.id, 42);
	big[16]--;
	assert_int_equal(wire_parse(big, sizeof(big) - 1, &h), 0);
}

/* What may be answered: requests whose header can be read; no strangers, no replies, nothing shorter than the answer. */
static void test_answerable(void **state)
{
	uint8_t copy[sizeof(request)];
	struct wire_header h = { 0 };

	memcpy(copy, request, sizeof(copy));
	copy[16] = 99;
	assert_true(wire_answerable(copy, sizeof(copy), &h));
	assert_int_equal(h.id, 0x0807060504030201ull);
	assert_int_equal(h.type, 3);
	assert_false(wire_answerable(copy, WIRE_HEADER_BYTES - 1, &h));
	copy[5] = WIRE_REPLY;
	assert_false(wire_answerable(copy, sizeof(copy), &h));
	copy[5] = WIRE_REQUEST;
	copy[4] = 2;
	assert_false(wire_answerable(copy, sizeof(copy), &h));
	copy[4] = 1;
	copy[0] = 'X';
	assert_false(wire_answerable(copy, sizeof(copy), &h));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_reply),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_answerable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
