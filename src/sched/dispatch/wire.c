/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "sched/wire.h"

/* The header as it lies in a datagram, little-endian. Its fields are where a compiler puts them anyway, so a copy of 32 bytes reads it all. */
struct wire_raw {
	uint32_t magic;
	uint8_t version, kind;
	uint16_t type;
	uint64_t id;
	uint32_t payload_len;
	uint16_t status, reserved;
	uint32_t queue_ns, service_ns;
};
_Static_assert(sizeof(struct wire_raw) == WIRE_HEADER_BYTES, "a header is 32 bytes");

static void header_of(const struct wire_raw *raw, struct wire_header *ret)
{
	*ret = (struct wire_header){
		.kind = raw->kind,
		.type = le16toh(raw->type),
		.status = le16toh(raw->status),
		.id = le64toh(raw->id),
		.payload_len = le32toh(raw->payload_len),
		.queue_ns = le32toh(raw->queue_ns),
		.service_ns = le32toh(raw->service_ns),
	};
}

int wire_parse(const void *data, size_t len, struct wire_header *ret)
{
	struct wire_raw raw;

	if (len < sizeof(raw))
		return -EMSGSIZE;
	memcpy(&raw, data, sizeof(raw));
	if (raw.magic != htole32(WIRE_MAGIC))
		return -EBADMSG;
	if (raw.version != WIRE_VERSION)
		return -EPROTONOSUPPORT;
	if ((raw.kind != WIRE_REQUEST && raw.kind != WIRE_REPLY) || le16toh(raw.status) >= WIRE_STATUSES)
		return -EINVAL;
	if (raw.reserved != 0 || (raw.kind == WIRE_REQUEST && (raw.status != 0 || raw.queue_ns != 0 || raw.service_ns != 0)))
		return -EBADMSG;
	if (le32toh(raw.payload_len) > WIRE_PAYLOAD_MAX || le32toh(raw.payload_len) != len - sizeof(raw))
		return -EMSGSIZE;
	header_of(&raw, ret);
	return 0;
}

bool wire_answerable(const void *data, size_t len, struct wire_header *ret)
{
	struct wire_raw raw;

	if (len < sizeof(raw))
		return false;
	memcpy(&raw, data, sizeof(raw));
	if (raw.magic != htole32(WIRE_MAGIC) || raw.version != WIRE_VERSION || raw.kind != WIRE_REQUEST)
		return false;
	header_of(&raw, ret);
	return true;
}

void wire_write(const struct wire_header *h, void *out)
{
	struct wire_raw raw = {
		.magic = htole32(WIRE_MAGIC),
		.version = WIRE_VERSION,
		.kind = h->kind,
		.type = htole16(h->type),
		.id = htole64(h->id),
		.payload_len = htole32(h->payload_len),
		.status = htole16(h->status),
		.queue_ns = htole32(h->queue_ns),
		.service_ns = htole32(h->service_ns),
	};

	memcpy(out, &raw, sizeof(raw));
}
