/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "frame.h"
#include "seed.h"

#define ROUNDS 300000
#define MAX_PAYLOAD 96

/*
 * Random datagrams, whole or with a few random bytes changed, against a second reading of the RFCs: one that works on a list of bytes and knows nothing of
 * words, offsets or order of checks.
 */
static uint32_t number(const uint8_t *p, size_t n)
{
	uint32_t value = 0;

	while (n-- > 0)
		value = value << 8 | *p++;
	return value;
}

static uint32_t folded(uint32_t sum)
{
	return sum > 0xffff ? folded((sum & 0xffff) + (sum >> 16)) : sum;
}

static uint32_t sum_of(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i += 2)
		sum += number(p + i, 1) << 8 | (i + 1 < n ? p[i + 1] : 0);
	return sum;
}

/* Return: length of the payload; -1: not taken */
static int model(const uint8_t *f, size_t len, const struct frame_host *host)
{
	const uint8_t *ip = f + 14, *udp = f + 34;
	uint32_t ip_len, udp_len, pseudo, given, source;

	if (len < 42 || memcmp(f, host->mac, 6) != 0 || number(f + 12, 2) != 0x800 || ip[0] != 0x45)
		return -1;
	ip_len = number(ip + 2, 2);
	udp_len = number(udp + 4, 2);
	source = number(ip + 12, 4);
	if (ip_len + 14 > len || ip_len < 28 || udp_len < 8 || udp_len + 20 > ip_len || number(ip + 6, 2) % 0x4000 != 0 || ip[9] != 17)
		return -1;
	if (number(ip + 16, 4) != ntohl(host->ip) || number(udp + 2, 2) != ntohs(host->port) || folded(sum_of(ip, 20)) != 0xffff)
		return -1;
	if (f[6] % 2 != 0 || source >> 24 == 0 || source >> 24 == 127 || source >> 24 > 223 || source == ntohl(host->ip) || number(udp, 2) == 0)
		return -1;
	pseudo = folded(sum_of(ip + 12, 8) + 17 + udp_len);
	given = number(udp + 6, 2);
	if (given != 0 && given != pseudo && folded(pseudo + sum_of(udp, udp_len)) != 0xffff)
		return -1;
	return (int)udp_len - 8;
}

static size_t make(struct rng *g, uint8_t *f, const struct frame_host *host)
{
	size_t payload = (size_t)(rng_next(g) % MAX_PAYLOAD), len = 42 + payload;

	for (size_t i = 0; i < len; i++)
		f[i] = (uint8_t)rng_next(g);
	/* as an answer to somebody whose addresses are random: what it says of us is put in as the sender */
	memcpy(f, host->mac, 6);
	f[6] &= 0xfe;
	memcpy(f + 30, &host->ip, 4);
	memcpy(f + 36, &host->port, 2);
	frame_answer(f, payload);
	/* and turned round, which keeps both checksums */
	for (int i = 0; i < 6; i++) {
		uint8_t t = f[i];

		f[i] = f[6 + i];
		f[6 + i] = t;
	}
	for (int i = 0; i < 4; i++) {
		uint8_t t = f[26 + i];

		f[26 + i] = f[30 + i];
		f[30 + i] = t;
	}
	for (int i = 0; i < 2; i++) {
		uint8_t t = f[34 + i];

		f[34 + i] = f[36 + i];
		f[36 + i] = t;
	}
	return len;
}

/* a change that leaves the IPv4 checksum right, half of the time */
static void damage(struct rng *g, uint8_t *f, size_t len)
{
	static const uint8_t interesting[] = { 0, 0xff, 5, 6, 12, 13, 14, 15, 16, 17, 20, 21, 23, 24, 25, 26, 34, 35, 36, 38, 39, 40, 41 };
	uint64_t n = rng_next(g) % 3;

	while (n-- > 0) {
		size_t at = rng_next(g) % 2 ? interesting[rng_next(g) % sizeof(interesting)] : rng_next(g) % len;

		if (at < len)
			f[at] = rng_next(g) % 2 ? (uint8_t)rng_next(g) : (uint8_t)(f[at] ^ 1u << rng_next(g) % 8);
	}
	if (rng_next(g) % 2) {
		uint16_t sum;

		f[24] = f[25] = 0;
		sum = (uint16_t)~folded(sum_of(f + 14, 20));
		f[24] = (uint8_t)(sum >> 8);
		f[25] = (uint8_t)sum;
	}
	if (rng_next(g) % 8 == 0)
		f[40] = f[41] = 0;
}

static void prop_parse(void **unused)
{
	struct frame_host host = { .mac = { 2, 0, 0, 0, 0, 1 }, .port = htons(7001), .ip = htonl(0x0a4d0001) };
	struct rng g = { prop_seed() };
	uint64_t taken = 0;

	for (int round = 0; round < ROUNDS; round++) {
		uint8_t f[42 + MAX_PAYLOAD + 8] = { 0 };
		struct frame_udp udp = { 0 };
		size_t len = make(&g, f, &host), cut;
		int want, got;

		damage(&g, f, len);
		cut = rng_next(&g) % 8 == 0 ? rng_next(&g) % len : len + rng_next(&g) % 8;
		want = model(f, cut, &host);
		got = frame_parse(f, cut, &host, &udp) == 0 ? (int)udp.payload_len : -1;
		if (got != want)
			fail_msg("round %d: %d instead of %d", round, got, want);
		taken += want >= 0;
	}
	/* neither all nor none, or the test would say nothing */
	assert_in_range(taken, ROUNDS / 10, ROUNDS * 9 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prop_parse) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
