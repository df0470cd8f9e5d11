/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_NET_FRAME_H
#define SCHED_NET_FRAME_H

#include <stddef.h>
#include <stdint.h>

/*
 * Ethernet II, IPv4 and UDP headers, for the backends without a kernel stack in between (AF_XDP, DPDK). Pure functions on bytes; nothing is trusted,
 * nothing is read behind @len. Addresses and ports are in network byte order throughout.
 */
#define FRAME_ETH_BYTES 14
#define FRAME_IP_BYTES 20
#define FRAME_UDP_BYTES 8
#define FRAME_HEADERS_BYTES (FRAME_ETH_BYTES + FRAME_IP_BYTES + FRAME_UDP_BYTES)
#define FRAME_MAC_BYTES 6
/** what fits behind the headers at the usual MTU of 1500 */
#define FRAME_PAYLOAD_MAX 1472

/** struct frame_host - who we are */
struct frame_host {
	uint8_t mac[FRAME_MAC_BYTES];
	uint16_t port;
	uint32_t ip;
};

/** struct frame_udp - a datagram inside a frame; its payload begins at FRAME_HEADERS_BYTES */
struct frame_udp {
	uint32_t payload_len;
	uint32_t flow;          /* hash of both ends' address and port */
};

/**
 * frame_parse - is this a datagram for us, and whole?
 * @host: we; the frame must be for our MAC, address and port
 * @ret:  untouched on failure
 *
 * The IPv4 header's checksum is checked, and UDP's if there is one. A UDP checksum over nothing but the pseudo-header counts as right: so a virtual device
 * (veth, virtio, tap) hands over what its kernel would have let the hardware finish. Bytes behind the IPv4 length are Ethernet's padding; bytes of it behind
 * UDP's length are cut off, as the kernel does.
 * Return: 0; -ENOMSG: not for us; for us but useless: -EBADMSG (damaged, or from an address that cannot be answered), -EOPNOTSUPP (fragment, IPv4 options).
 */
int frame_parse(const uint8_t *frame, size_t len, const struct frame_host *host, struct frame_udp *ret);

/**
 * frame_answer - turn the headers of a datagram that frame_parse took around, for a reply whose payload is in place
 * @frame: room for FRAME_HEADERS_BYTES + @payload_len; all header fields are written anew from the addresses, with checksums
 * Return: length of the frame.
 */
size_t frame_answer(uint8_t *frame, size_t payload_len);

/**
 * frame_arp - answer a question for our address in place, where no kernel does
 *
 * RFC 826 for Ethernet and IPv4, requests only: broadcast or to our MAC, from a sender with a unicast MAC that says the same in both headers. Probes (sender
 * 0.0.0.0, RFC 5227) are answered too. Nothing is learnt: replies go to where a request came from.
 * Return: length of the answer; 0: nothing to answer.
 */
size_t frame_arp(uint8_t *frame, size_t len, const struct frame_host *host);

/** frame_checksum - RFC 1071 over @len bytes. @sum: what was added before, 0 to begin. Return: running sum for frame_checksum_done. */
uint64_t frame_checksum(const void *data, size_t len, uint64_t sum);
/** frame_checksum_done - Return: the checksum as it goes into the header */
uint16_t frame_checksum_done(uint64_t sum);

/**
 * frame_listen - "ADDRESS:PORT" with an IPv4 address in dotted decimal
 * Return: 0, -EINVAL. @ret_ip, @ret_port untouched on failure.
 */
int frame_listen(const char *text, uint32_t *ret_ip, uint16_t *ret_port);

#endif
