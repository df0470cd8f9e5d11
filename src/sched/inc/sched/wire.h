/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_WIRE_H
#define SCHED_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What `hearth serve` and `hearth load` say to each other, one datagram a message. Little-endian; docs/wire.md is the text for implementers.
 *
 *   0  u32 magic        "HRTH"
 *   4  u8  version      1
 *   5  u8  kind         enum wire_kind
 *   6  u16 type         as the server configured them; a reply repeats it
 *   8  u64 id           the client's; a reply repeats it
 *  16  u32 payload_len  exactly what follows the header
 *  20  u16 status       enum wire_status; 0 in a request
 *  22  u16 reserved     0
 *  24  u32 queue_ns     reply: arrival at the server to start on a worker; saturates; 0 in a request
 *  28  u32 service_ns   reply: time on the worker; saturates; 0 in a request
 *  32  payload
 */
#define WIRE_MAGIC 0x48545248u          /* "HRTH" in memory */
#define WIRE_VERSION 1
#define WIRE_HEADER_BYTES 32
#define WIRE_PAYLOAD_MAX 1440           /* with IPv4, UDP and Ethernet headers within 1,514 bytes */

enum wire_kind { WIRE_REQUEST = 1, WIRE_REPLY = 2 };
enum wire_status { WIRE_OK, WIRE_OVERLOAD, WIRE_MALFORMED, WIRE_UNKNOWN, WIRE_LOST, WIRE_FAILED, WIRE_STATUSES };

struct wire_header {
	uint8_t kind;
	uint16_t type, status;
	uint64_t id;
	uint32_t payload_len, queue_ns, service_ns;
};

/**
 * wire_parse - check a datagram and read its header, in every build
 * @data:  the datagram; its payload begins at WIRE_HEADER_BYTES
 * @ret:   untouched on failure
 * Return: 0; -EBADMSG (no magic, reserved not 0, a request with reply fields), -EPROTONOSUPPORT (version), -EINVAL (kind or status), -EMSGSIZE (length, over or under).
 */
int wire_parse(const void *data, size_t len, struct wire_header *ret);
/**
 * wire_answerable - may a datagram that wire_parse refused be answered with WIRE_MALFORMED? Only where it is a request of this version whose header is whole, so
 * that nothing is sent to who never spoke this protocol, no reply is ever replied to, and the 32 bytes of the answer are no more than came in.
 * @ret: type and id are for the answer, the rest is unchecked; untouched on false
 */
bool wire_answerable(const void *data, size_t len, struct wire_header *ret);
/** wire_ns32 - a duration for queue_ns and service_ns */
static inline uint32_t wire_ns32(uint64_t ns) { return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX; }
/** wire_write - @out: WIRE_HEADER_BYTES */
void wire_write(const struct wire_header *h, void *out);

/* payload of the application `spin`: u64 service time in ns; its reply has no payload */
#define WIRE_SPIN_BYTES 8
/* payload of the application `rocksdb`: u8 operation, u8 0, u16 key length, u32 limit (SCAN: keys at most), key; the reply: u32 keys, u32 bytes, then the value (GET) cut at the payload limit */
enum wire_rocksdb_op { WIRE_ROCKSDB_GET = 1, WIRE_ROCKSDB_SCAN = 2, WIRE_ROCKSDB_PUT = 3 };

#endif
