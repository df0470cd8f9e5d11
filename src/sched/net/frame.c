// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

enum {
	AT_DST_MAC = 0, AT_SRC_MAC = 6, AT_TYPE = 12,
	AT_IP = 14, AT_IP_LEN = 16, AT_IP_ID = 18, AT_IP_FRAG = 20, AT_TTL = 22, AT_PROTOCOL = 23, AT_IP_SUM = 24, AT_SRC_IP = 26, AT_DST_IP = 30,
	AT_UDP = 34, AT_SRC_PORT = 34, AT_DST_PORT = 36, AT_UDP_LEN = 38, AT_UDP_SUM = 40,
	AT_ARP = 14, AT_ARP_OP = 20, AT_SHA = 22, AT_SPA = 28, AT_THA = 32, AT_TPA = 38, ARP_FRAME_BYTES = 42,
	TYPE_IPV4 = 0x0800, TYPE_ARP = 0x0806, PROTOCOL_UDP = 17, TTL = 64,
	FRAG_MORE_OR_OFFSET = 0x3fff, FRAG_DONT = 0x4000, ARP_REQUEST = 1, ARP_REPLY = 2,
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, size_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static uint32_t load32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static uint16_t load16(const uint8_t *p)
{
	uint16_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

/* The sum of 16-bit words does not care in which byte order it is made, so words are added as they lie in memory, four at a time. */
uint64_t frame_checksum(const void *data, size_t len, uint64_t sum)
{
	const uint8_t *p = data;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		sum += word;
		sum += sum < word;
	}
	if (len > 0) {
		uint64_t word = 0;

		memcpy(&word, p, len);
		sum += word;
		sum += sum < word;
	}
	return sum;
}

uint16_t frame_checksum_done(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)~sum;
}

/* Addresses, protocol and length. Two parts at even offsets of the sum: order does not matter. */
static uint64_t pseudo_header(const uint8_t *frame, size_t udp_len)
{
	uint8_t rest[4] = { 0, PROTOCOL_UDP, (uint8_t)(udp_len >> 8), (uint8_t)udp_len };

	return frame_checksum(rest, sizeof(rest), frame_checksum(frame + AT_SRC_IP, 8, 0));
}

static bool udp_checksum_ok(const uint8_t *frame, size_t udp_len)
{
	uint16_t given = load16(frame + AT_UDP_SUM), unfinished;
	uint64_t pseudo;

	if (given == 0)
		return true;
	pseudo = pseudo_header(frame, udp_len);
	unfinished = (uint16_t)~frame_checksum_done(pseudo);
	return given == unfinished || frame_checksum_done(frame_checksum(frame + AT_UDP, udp_len, pseudo)) == 0;
}

/* Can a reply be sent there? Not to groups, to "this network", to a loopback, to ourselves. */
static bool can_be_answered(const uint8_t *frame, const struct frame_host *host)
{
	uint8_t first = frame[AT_SRC_IP];

	return !(frame[AT_SRC_MAC] & 1) && first != 0 && first != 127 && first < 224 && load16(frame + AT_SRC_PORT) != 0 &&
		load32(frame + AT_SRC_IP) != host->ip;
}

static uint32_t flow_of(const uint8_t *frame)
{
	uint64_t ip, h;

	memcpy(&ip, frame + AT_SRC_IP, sizeof(ip));
	h = (ip ^ (uint64_t)load32(frame + AT_SRC_PORT) << 16) * 0x9e3779b97f4a7c15ull;
	h = (h ^ h >> 32) * 0xd6e8feb86659fd93ull;
	return (uint32_t)(h >> 32);
}

int frame_parse(const uint8_t *frame, size_t len, const struct frame_host *host, struct frame_udp *ret)
{
	size_t ip_header, ip_len, udp_len;

	if (len < FRAME_ETH_BYTES + FRAME_IP_BYTES || get16(frame + AT_TYPE) != TYPE_IPV4 || memcmp(frame + AT_DST_MAC, host->mac, FRAME_MAC_BYTES) != 0)
		return -ENOMSG;
	if (load32(frame + AT_DST_IP) != host->ip || frame[AT_PROTOCOL] != PROTOCOL_UDP)
		return -ENOMSG;
	ip_header = (size_t)(frame[AT_IP] & 0x0f) * 4;
	ip_len = get16(frame + AT_IP_LEN);
	if (frame[AT_IP] >> 4 != 4 || ip_header < FRAME_IP_BYTES || ip_len < ip_header || ip_len > len - FRAME_ETH_BYTES)
		return -EBADMSG;
	if (frame_checksum_done(frame_checksum(frame + AT_IP, ip_header, 0)) != 0)
		return -EBADMSG;
	if (get16(frame + AT_IP_FRAG) & FRAG_MORE_OR_OFFSET)
		return -EOPNOTSUPP;
	if (ip_len < ip_header + FRAME_UDP_BYTES)
		return -EBADMSG;
	if (load16(frame + AT_IP + ip_header + 2) != host->port)
		return -ENOMSG;
	if (ip_header != FRAME_IP_BYTES)
		return -EOPNOTSUPP;
	udp_len = get16(frame + AT_UDP_LEN);
	if (udp_len < FRAME_UDP_BYTES || udp_len > ip_len - FRAME_IP_BYTES || !can_be_answered(frame, host) || !udp_checksum_ok(frame, udp_len))
		return -EBADMSG;
	ret->payload_len = (uint32_t)(udp_len - FRAME_UDP_BYTES);
	ret->flow = flow_of(frame);
	return 0;
}

size_t frame_answer(uint8_t *frame, size_t payload_len)
{
	size_t udp_len = payload_len + FRAME_UDP_BYTES, ip_len = udp_len + FRAME_IP_BYTES;
	uint8_t mac[FRAME_MAC_BYTES];
	uint32_t ip = load32(frame + AT_DST_IP);
	uint16_t port = load16(frame + AT_DST_PORT), sum;

	memcpy(mac, frame + AT_DST_MAC, FRAME_MAC_BYTES);
	memcpy(frame + AT_DST_MAC, frame + AT_SRC_MAC, FRAME_MAC_BYTES);
	memcpy(frame + AT_SRC_MAC, mac, FRAME_MAC_BYTES);
	put16(frame + AT_TYPE, TYPE_IPV4);
	frame[AT_IP] = 0x45;
	frame[AT_IP + 1] = 0;
	put16(frame + AT_IP_LEN, ip_len);
	put16(frame + AT_IP_ID, 0);             /* RFC 6864: means nothing where fragments are forbidden */
	put16(frame + AT_IP_FRAG, FRAG_DONT);
	frame[AT_TTL] = TTL;
	frame[AT_PROTOCOL] = PROTOCOL_UDP;
	put16(frame + AT_IP_SUM, 0);
	memcpy(frame + AT_DST_IP, frame + AT_SRC_IP, sizeof(ip));
	memcpy(frame + AT_SRC_IP, &ip, sizeof(ip));
	sum = frame_checksum_done(frame_checksum(frame + AT_IP, FRAME_IP_BYTES, 0));
	memcpy(frame + AT_IP_SUM, &sum, sizeof(sum));
	memcpy(frame + AT_DST_PORT, frame + AT_SRC_PORT, sizeof(port));
	memcpy(frame + AT_SRC_PORT, &port, sizeof(port));
	put16(frame + AT_UDP_LEN, udp_len);
	put16(frame + AT_UDP_SUM, 0);
	sum = frame_checksum_done(frame_checksum(frame + AT_UDP, udp_len, pseudo_header(frame, udp_len)));
	if (sum == 0)
		sum = 0xffff;                   /* 0 would mean: none */
	memcpy(frame + AT_UDP_SUM, &sum, sizeof(sum));
	return FRAME_ETH_BYTES + ip_len;
}

size_t frame_arp(uint8_t *frame, size_t len, const struct frame_host *host)
{
	static const uint8_t ethernet_ipv4[] = { 0, 1, 8, 0, FRAME_MAC_BYTES, 4 }, everyone[FRAME_MAC_BYTES] = { 255, 255, 255, 255, 255, 255 };

	if (len < ARP_FRAME_BYTES || get16(frame + AT_TYPE) != TYPE_ARP || memcmp(frame + AT_ARP, ethernet_ipv4, sizeof(ethernet_ipv4)) != 0)
		return 0;
	if (memcmp(frame + AT_DST_MAC, everyone, FRAME_MAC_BYTES) != 0 && memcmp(frame + AT_DST_MAC, host->mac, FRAME_MAC_BYTES) != 0)
		return 0;
	if (get16(frame + AT_ARP_OP) != ARP_REQUEST || load32(frame + AT_TPA) != host->ip || load32(frame + AT_SPA) == host->ip)
		return 0;
	if (frame[AT_SRC_MAC] & 1 || memcmp(frame + AT_SRC_MAC, frame + AT_SHA, FRAME_MAC_BYTES) != 0)
		return 0;
	memcpy(frame + AT_DST_MAC, frame + AT_SRC_MAC, FRAME_MAC_BYTES);
	memcpy(frame + AT_SRC_MAC, host->mac, FRAME_MAC_BYTES);
	put16(frame + AT_ARP_OP, ARP_REPLY);
	memcpy(frame + AT_THA, frame + AT_SHA, FRAME_MAC_BYTES + 4);    /* with the address behind it */
	memcpy(frame + AT_SHA, host->mac, FRAME_MAC_BYTES);
	memcpy(frame + AT_SPA, &host->ip, sizeof(host->ip));
	return ARP_FRAME_BYTES;
}

int frame_listen(const char *text, uint32_t *ret_ip, uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':');
	char address[INET_ADDRSTRLEN], *end;
	struct in_addr ip;
	unsigned long port;

	if (colon == NULL || (size_t)(colon - text) >= sizeof(address) || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	memcpy(address, text, (size_t)(colon - text));
	address[colon - text] = '\0';
	port = strtoul(colon + 1, &end, 10);
	if (*end != '\0' || port > UINT16_MAX || inet_pton(AF_INET, address, &ip) != 1)
		return -EINVAL;
	*ret_ip = ip.s_addr;
	*ret_port = htons((uint16_t)port);
	return 0;
}
