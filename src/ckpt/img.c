/* SPDX-License-Identifier: Apache-2.0 */
#include "img.h"

#include <string.h>

#define MAGIC_COMMON 0x54564319u

static bool varint(struct img_span *s, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64 && s->p < s->end; shift += 7) {
		uint8_t b = *s->p++;

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

int img_field(struct img_span *s, struct img_field *f)
{
	uint64_t key, n;

	if (s->p == s->end)
		return 0;
	if (!varint(s, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff)
		return -1;
	f->number = (unsigned)(key >> 3);
	f->wire = (unsigned)(key & 7);
	switch (f->wire) {
	case 0:
		f->at = s->p;
		return varint(s, &f->value) ? 1 : -1;
	case 2:
		if (!varint(s, &n) || n > (uint64_t)(s->end - s->p))
			return -1;
		f->bytes = (struct img_span){ s->p, s->p + n };
		s->p += n;
		return 1;
	case 1:
	case 5:
		n = f->wire == 1 ? 8 : 4;
		if (n > (uint64_t)(s->end - s->p))
			return -1;
		s->p += n;
		return 1;
	default:
		return -1;
	}
}

static bool u32(struct img_span *s, uint32_t *ret)
{
	if (s->end - s->p < 4)
		return false;
	memcpy(ret, s->p, 4);
	s->p += 4;
	return true;
}

bool img_open(struct img_span *s, uint32_t magic)
{
	uint32_t m;

	return u32(s, &m) && m == MAGIC_COMMON && u32(s, &m) && m == magic;
}

int img_record(struct img_span *s, struct img_span *ret)
{
	uint32_t n;

	if (s->p == s->end)
		return 0;
	if (!u32(s, &n) || n > (size_t)(s->end - s->p))
		return -1;
	*ret = (struct img_span){ s->p, s->p + n };
	s->p += n;
	return 1;
}

static int put_varint(struct buf *b, uint64_t v)
{
	uint8_t bytes[10];
	size_t n = 0;

	do {
		bytes[n] = (uint8_t)(v & 0x7f) | (v > 0x7f ? 0x80 : 0);
		v >>= 7;
	} while (bytes[n++] & 0x80);
	return buf_append(b, bytes, n);
}

int img_put(struct buf *b, unsigned number, uint64_t value)
{
	int r = put_varint(b, (uint64_t)number << 3);

	return r < 0 ? r : put_varint(b, value);
}
