/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>

#include "frame.h"

/* A datagram of ours, byte by byte; the checksums are from another implementation. */
static const uint8_t good[] = {
	0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02, 0x08, 0x00,
	0x45, 0x00, 0x00, 0x21, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0x13, 0xfc, 0x0a, 0x4d, 0x00, 0x02, 0x0a, 0x4d, 0x00, 0x01,
	0xc3, 0x50, 0x1b, 0x59, 0x00, 0x0d, 0xc8, 0xbb, 'h', 'e', 'l', 'l', 'o',
};

static struct frame_host we(void)
{
	struct frame_host h = { .mac = { 2, 0, 0, 0, 0, 1 }, .port = htons(7001) };

	inet_pton(AF_INET, "10.77.0.1", &h.ip);
	return h;
}

/* RFC 1071 by the book */
static uint16_t slow_sum(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint32_t slow_pseudo(const uint8_t *f, size_t udp_len)
{
	return slow_sum(f + 26, 8, 0) + 17u + (uint32_t)udp_len;
}

static void fix_ip_sum(uint8_t *f)
{
	uint16_t sum;

	f[24] = f[25] = 0;
	sum = (uint16_t)~slow_sum(f + 14, (size_t)(f[14] & 15) * 4, 0);
	f[24] = (uint8_t)(sum >> 8);
	f[25] = (uint8_t)sum;
}

/* a copy with some bytes changed and the IPv4 checksum right again: { at, value, at, value, -1 } */
static int changed(const int *edits, size_t len, bool fix)
{
	struct frame_host host = we();
	struct frame_udp udp = { 77, 77 };
	uint8_t f[sizeof(good) + 64] = { 0 };
	uint8_t *copy;
	int r;

	memcpy(f, good, sizeof(good));
	for (; *edits >= 0; edits += 2)
		f[edits[0]] = (uint8_t)edits[1];
	if (fix)
		fix_ip_sum(f);
	copy = malloc(len);     /* so that a sanitizer sees the first byte read behind it */
	memcpy(copy, f, len);
	r = frame_parse(copy, len, &host, &udp);
	free(copy);
	if (r < 0)
		assert_int_equal(udp.payload_len, 77);
	return r;
}
#define CHANGED(len, fix, ...) changed((const int[]){ __VA_ARGS__, -1 }, len, fix)
#define SAME(len) changed((const int[]){ -1 }, len, false)

static void test_good(void **state)
{
	struct frame_host host = we();
	struct frame_udp udp, other;
	uint8_t f[sizeof(good)];

	assert_int_equal(frame_parse(good, sizeof(good), &host, &udp), 0);
	assert_int_equal(udp.payload_len, 5);
	assert_int_equal(SAME(sizeof(good)), 0);
	/* Ethernet's padding */
	assert_int_equal(SAME(60), 0);
	memcpy(f, good, sizeof(f));
	f[34] ^= 1;             /* another port, another flow */
	f[40] = f[41] = 0;
	assert_int_equal(frame_parse(f, sizeof(f), &host, &other), 0);
	assert_int_not_equal(udp.flow, other.flow);
}

static void test_lengths(void **state)
{
	const size_t all = sizeof(good);

	for (size_t n = 0; n < all; n++)
		assert_int_equal(SAME(n), n < 34 ? -ENOMSG : -EBADMSG);
	assert_int_equal(CHANGED(all, true, 17, 0x22), -EBADMSG);       /* IPv4: one more than there is */
	assert_int_equal(CHANGED(all, true, 16, 0xff), -EBADMSG);
	assert_int_equal(CHANGED(all, true, 17, 27), -EBADMSG);         /* no room for UDP's header */
	assert_int_equal(CHANGED(all, true, 17, 19), -EBADMSG);         /* nor for its own */
	assert_int_equal(CHANGED(all, true, 17, 0), -EBADMSG);
	assert_int_equal(CHANGED(all, true, 39, 7), -EBADMSG);          /* UDP: less than its header */
	assert_int_equal(CHANGED(all, true, 39, 0), -EBADMSG);
	assert_int_equal(CHANGED(all, true, 39, 14), -EBADMSG);         /* one more than there is */
	assert_int_equal(CHANGED(all, true, 38, 0xff), -EBADMSG);
	/* less than there is: cut off */
	assert_int_equal(CHANGED(all, true, 39, 12, 40, 0, 41, 0), 0);
}

static void test_headers(void **state)
{
	const size_t all = sizeof(good);

	assert_int_equal(CHANGED(all, true, 13, 0x06), -ENOMSG);        /* ARP */
	assert_int_equal(CHANGED(all, true, 12, 0x81), -ENOMSG);        /* VLAN */
	assert_int_equal(CHANGED(all, true, 5, 9), -ENOMSG);            /* for another MAC */
	assert_int_equal(CHANGED(all, true, 0, 0xff), -ENOMSG);
	assert_int_equal(CHANGED(all, true, 33, 9), -ENOMSG);           /* for another address */
	assert_int_equal(CHANGED(all, true, 23, 6), -ENOMSG);           /* TCP */
	assert_int_equal(CHANGED(all, true, 37, 9), -ENOMSG);           /* for another port */
	assert_int_equal(CHANGED(all, true, 14, 0x65), -EBADMSG);       /* version 6 */
	assert_int_equal(CHANGED(all, true, 14, 0x44), -EBADMSG);       /* a header of 16 bytes */
	assert_int_equal(CHANGED(all, true, 14, 0x40), -EBADMSG);
	assert_int_equal(CHANGED(all, true, 20, 0x20), -EOPNOTSUPP);    /* a first fragment */
	assert_int_equal(CHANGED(all, true, 21, 0x01), -EOPNOTSUPP);    /* a later one */
	assert_int_equal(CHANGED(all, false, 24, 0), -EBADMSG);         /* IPv4 checksum */
	assert_int_equal(CHANGED(all, false, 22, 1), -EBADMSG);
	assert_int_equal(CHANGED(all, true, 40, 0xc8, 41, 0xbc), -EBADMSG);     /* UDP checksum */
	assert_int_equal(CHANGED(all, true, 46, 'p'), -EBADMSG);
	assert_int_equal(CHANGED(all, true, 40, 0, 41, 0), 0);          /* none */
	assert_int_equal(CHANGED(all, true, 20, 0x00), 0);              /* may be fragmented, is not */
}

/* Options: 24 bytes of header, the datagram behind them; to another port it is nobody's business. */
static void test_options(void **state)
{
	struct frame_host host = we();
	struct frame_udp udp;
	uint8_t f[80] = { 0 };

	memcpy(f, good, 34);
	memset(f + 34, 1, 4);
	memcpy(f + 38, good + 34, sizeof(good) - 34);
	f[14] = 0x46;
	f[17] += 4;
	fix_ip_sum(f);
	assert_int_equal(frame_parse(f, sizeof(good) + 4, &host, &udp), -EOPNOTSUPP);
	f[41] = 9;
	assert_int_equal(frame_parse(f, sizeof(good) + 4, &host, &udp), -ENOMSG);
	f[14] = 0x4f;
	fix_ip_sum(f);
	assert_int_equal(frame_parse(f, 60, &host, &udp), -EBADMSG);
}

static void test_senders(void **state)
{
	const size_t all = sizeof(good);

	assert_int_equal(CHANGED(all, true, 6, 0x03, 40, 0, 41, 0), -EBADMSG);                          /* a group's MAC */
	assert_int_equal(CHANGED(all, true, 26, 0, 40, 0, 41, 0), -EBADMSG);                            /* 0.x */
	assert_int_equal(CHANGED(all, true, 26, 127, 40, 0, 41, 0), -EBADMSG);
	assert_int_equal(CHANGED(all, true, 26, 224, 40, 0, 41, 0), -EBADMSG);
	assert_int_equal(CHANGED(all, true, 26, 255, 27, 255, 28, 255, 29, 255, 40, 0, 41, 0), -EBADMSG);
	assert_int_equal(CHANGED(all, true, 29, 1, 40, 0, 41, 0), -EBADMSG);                            /* ourselves */
	assert_int_equal(CHANGED(all, true, 34, 0, 35, 0, 40, 0, 41, 0), -EBADMSG);                     /* port 0 */
}

/* What a virtual device leaves to hardware that is not there: the sum over the pseudo-header, not complemented. */
static void test_unfinished_checksum(void **state)
{
	uint16_t pseudo = slow_sum(NULL, 0, slow_pseudo(good, 13));

	assert_int_equal(CHANGED(sizeof(good), true, 40, pseudo >> 8, 41, pseudo & 255), 0);
	assert_int_equal(CHANGED(sizeof(good), true, 40, pseudo >> 8, 41, (pseudo + 1) & 255), -EBADMSG);
}

static void check_answer(const uint8_t *f, size_t len, size_t payload)
{
	uint16_t sum;

	assert_int_equal(len, 42 + payload);
	assert_memory_equal(f, good + 6, 6);
	assert_memory_equal(f + 6, good, 6);
	assert_int_equal(f[14], 0x45);
	assert_int_equal(f[16] << 8 | f[17], 28 + payload);
	assert_int_equal(f[22], 64);
	assert_int_equal(slow_sum(f + 14, 20, 0), 0xffff);
	assert_memory_equal(f + 26, good + 30, 4);
	assert_memory_equal(f + 30, good + 26, 4);
	assert_memory_equal(f + 34, good + 36, 2);
	assert_memory_equal(f + 36, good + 34, 2);
	assert_int_equal(f[38] << 8 | f[39], 8 + payload);
	sum = slow_sum(f + 34, 8 + payload, slow_pseudo(f, 8 + payload));
	assert_int_equal(sum, 0xffff);
	assert_true(f[40] != 0 || f[41] != 0);
}

/* every length, odd ones too, with bytes behind it that must not count */
static void test_answer(void **state)
{
	uint8_t f[42 + FRAME_PAYLOAD_MAX + 16];

	for (size_t n = 0; n <= FRAME_PAYLOAD_MAX; n++) {
		memset(f, 0xa5, sizeof(f));
		memcpy(f, good, 42);
		for (size_t i = 0; i < n; i++)
			f[42 + i] = (uint8_t)(i * 7 + n);
		check_answer(f, frame_answer(f, n), n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(f[42 + i], (uint8_t)(i * 7 + n));
		assert_int_equal(f[42 + n], 0xa5);
	}
}

/* A checksum that comes out as 0 is sent as its other form: 0 would say that there is none. */
static void test_answer_checksum_zero(void **state)
{
	unsigned found = 0;

	for (unsigned x = 0; x < 65536; x++) {
		uint8_t f[44];

		memcpy(f, good, 42);
		f[42] = (uint8_t)(x >> 8);
		f[43] = (uint8_t)x;
		frame_answer(f, 2);
		assert_true(f[40] != 0 || f[41] != 0);
		found += f[40] == 0xff && f[41] == 0xff;
	}
	assert_int_equal(found, 1);
}

static const uint8_t arp[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x02, 0x08, 0x06,
	0, 1, 8, 0, 6, 4, 0, 1, 0x02, 0, 0, 0, 0, 0x02, 10, 77, 0, 2, 0, 0, 0, 0, 0, 0, 10, 77, 0, 1,
};

static size_t ask(const int *edits, size_t len)
{
	struct frame_host host = we();
	uint8_t f[sizeof(arp)];

	memcpy(f, arp, sizeof(f));
	for (; *edits >= 0; edits += 2)
		f[edits[0]] = (uint8_t)edits[1];
	return frame_arp(f, len, &host);
}
#define ASK(...) ask((const int[]){ __VA_ARGS__, -1 }, sizeof(arp))

static void test_arp(void **state)
{
	static const uint8_t answer[] = {
		0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06,
		0, 1, 8, 0, 6, 4, 0, 2, 0x02, 0, 0, 0, 0, 0x01, 10, 77, 0, 1, 0x02, 0, 0, 0, 0, 0x02, 10, 77, 0, 2,
	};
	struct frame_host host = we();
	uint8_t f[sizeof(arp)];

	memcpy(f, arp, sizeof(f));
	assert_int_equal(frame_arp(f, sizeof(f), &host), sizeof(answer));
	assert_memory_equal(f, answer, sizeof(answer));
	assert_int_equal(ASK(0, 2, 1, 0, 2, 0, 3, 0, 4, 0, 5, 1), 42);  /* to us alone */
	assert_int_equal(ASK(28, 0, 29, 0, 30, 0, 31, 0), 42);          /* a probe */
	for (size_t n = 0; n < sizeof(arp); n++)
		assert_int_equal(ask((const int[]){ -1 }, n), 0);
	assert_int_equal(ASK(5, 9), 0);         /* to somebody else */
	assert_int_equal(ASK(41, 9), 0);        /* about somebody else */
	assert_int_equal(ASK(21, 2), 0);        /* an answer */
	assert_int_equal(ASK(31, 1), 0);        /* from who says to be us */
	assert_int_equal(ASK(27, 9), 0);        /* two senders */
	assert_int_equal(ASK(6, 3, 22, 3), 0);  /* from a group */
	assert_int_equal(ASK(18, 8), 0);
	assert_int_equal(ASK(15, 6), 0);
	assert_int_equal(ASK(13, 0), 0);
}

static void test_listen(void **state)
{
	static const char *const bad[] = { "", ":", "10.0.0.1", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:+1", "10.0.0.1: 1", "10.0.0:1",
					   "[::1]:1", "::1:1", "host:1", "10.0.0.1:1x", "10.0.0.1000000000000000:1", ":5", "10.0.0.1:99999999999999999999" };
	uint32_t ip = 7;
	uint16_t port = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(frame_listen(bad[i], &ip, &port), -EINVAL);
	assert_int_equal(ip, 7);
	assert_int_equal(port, 7);
	assert_int_equal(frame_listen("10.77.0.1:7001", &ip, &port), 0);
	assert_int_equal(ip, we().ip);
	assert_int_equal(port, we().port);
	assert_int_equal(frame_listen("0.0.0.0:0", &ip, &port), 0);
	assert_int_equal(ip | port, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_lengths), cmocka_unit_test(test_headers), cmocka_unit_test(test_options),
		cmocka_unit_test(test_senders), cmocka_unit_test(test_unfinished_checksum), cmocka_unit_test(test_answer),
		cmocka_unit_test(test_answer_checksum_zero), cmocka_unit_test(test_arp), cmocka_unit_test(test_listen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
