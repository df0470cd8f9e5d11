/* SPDX-License-Identifier: Apache-2.0 */
#include "rx.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Reading into less than this isn't worth a system call. */
#define RX_TAIL_MIN 4096u

static struct rx_chunk *chunk_new(struct rx *rx, size_t cap)
{
	struct rx_chunk *c = rx->spares;

	if (cap <= RX_CHUNK_BYTES && c) {
		rx->spares = c->next;
		rx->spare_count--;
	} else {
		if (cap < RX_CHUNK_BYTES)
			cap = RX_CHUNK_BYTES;
		c = malloc(sizeof *c + cap);
		if (!c)
			return NULL;
		c->cap = cap;
	}
	c->next = NULL;
	c->refs = 1;
	c->start = c->end = 0;
	return c;
}

void rx_put(struct rx *rx, struct rx_chunk *c)
{
	if (--c->refs > 0)
		return;
	/* Large ones go back at once: an idle function is to be small. */
	if (c->cap != RX_CHUNK_BYTES || rx->spare_count == RX_SPARES) {
		free(c);
		return;
	}
	c->next = rx->spares;
	rx->spares = c;
	rx->spare_count++;
}

void rx_done(struct rx *rx)
{
	free(rx->chunk);
	while (rx->spares) {
		struct rx_chunk *c = rx->spares;

		rx->spares = c->next;
		free(c);
	}
	*rx = (struct rx){ 0 };
}

/* Go on in another chunk, taking along the beginning of a frame. */
static int rx_move(struct rx *rx, size_t cap)
{
	struct rx_chunk *old = rx->chunk, *c = chunk_new(rx, cap);

	if (!c)
		return -ENOMEM;
	if (old) {
		c->end = old->end - old->start;
		memcpy(c->bytes, old->bytes + old->start, c->end);
		old->end = old->start;
		rx_put(rx, old);
	}
	rx->chunk = c;
	return 0;
}

int rx_reset(struct rx *rx)
{
	if (rx->chunk)
		rx->chunk->end = rx->chunk->start;
	return rx->chunk ? 0 : rx_move(rx, 0);
}

int rx_room(struct rx *rx, size_t need, uint8_t **ret_tail, size_t *ret_len)
{
	struct rx_chunk *c = rx->chunk;
	int ret = 0;

	if (!c || c->cap < need) {
		ret = rx_move(rx, need);
	} else if (c->refs == 1 && c->start == c->end && (c->cap == RX_CHUNK_BYTES || need > RX_CHUNK_BYTES)) {
		c->start = c->end = 0;
	} else if (c->cap > RX_CHUNK_BYTES && c->start == c->end) {
		ret = rx_move(rx, need);
	} else if (c->cap - c->start < need || (c->cap - c->end < RX_TAIL_MIN && c->start > 0)) {
		if (c->refs > 1) {
			ret = rx_move(rx, need);
		} else {
			memmove(c->bytes, c->bytes + c->start, c->end - c->start);
			c->end -= c->start;
			c->start = 0;
		}
	}
	if (ret < 0)
		return ret;
	*ret_tail = rx->chunk->bytes + rx->chunk->end;
	*ret_len = rx->chunk->cap - rx->chunk->end;
	return 0;
}

void rx_commit(struct rx *rx, size_t len)
{
	rx->chunk->end += len;
}

int rx_take(struct rx *rx, size_t body_max, struct fn_view *ret, struct rx_chunk **ret_chunk)
{
	struct rx_chunk *c = rx->chunk;
	int got;

	if (!c) {
		ret->total = FN_HEAD_BYTES;
		return 0;
	}
	got = fn_frame_peek(c->bytes + c->start, c->end - c->start, body_max, ret);
	if (got <= 0)
		return got;
	c->start += ret->total;
	c->refs++;
	*ret_chunk = c;
	return 1;
}

bool rx_pending(const struct rx *rx)
{
	const struct rx_chunk *c = rx->chunk;
	uint32_t len;

	if (!c || c->end - c->start < FN_HEAD_BYTES)
		return false;
	memcpy(&len, c->bytes + c->start + offsetof(struct fn_frame, len), sizeof len);
	return c->end - c->start - FN_HEAD_BYTES >= le32toh(len);
}
