/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int ok)
{
	if (!ok)
		abort();
}

/* Whatever is taken lies within the frame, and its answer, in place, is a datagram that its sender would take. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct frame_host we = { .mac = { 2, 0, 0, 0, 0, 1 }, .port = htons(7001), .ip = htonl(0x0a4d0001) }, sender;
	struct frame_udp udp, back;
	uint8_t *frame = malloc(len + 1);

	memcpy(frame, data, len);
	if (frame_parse(frame, len, &we, &udp) == 0) {
		check(FRAME_HEADERS_BYTES + udp.payload_len <= len);
		memcpy(sender.mac, frame + 6, FRAME_MAC_BYTES);
		memcpy(&sender.ip, frame + 26, 4);
		memcpy(&sender.port, frame + 34, 2);
		check(frame_answer(frame, udp.payload_len) == FRAME_HEADERS_BYTES + udp.payload_len);
		check(memcmp(frame + FRAME_HEADERS_BYTES, data + FRAME_HEADERS_BYTES, udp.payload_len) == 0);
		check(frame_parse(frame, FRAME_HEADERS_BYTES + udp.payload_len, &sender, &back) == 0 && back.payload_len == udp.payload_len);
	} else {
		check(memcmp(frame, data, len) == 0);
	}
	memcpy(frame, data, len);
	if (frame_arp(frame, len, &we) > 0) {
		check(memcmp(frame, data + 6, FRAME_MAC_BYTES) == 0 && memcmp(frame + 6, we.mac, FRAME_MAC_BYTES) == 0);
		check(frame_arp(frame, len, &we) == 0);         /* an answer is not answered */
	}
	free(frame);
	return 0;
}
