/* SPDX-License-Identifier: Apache-2.0 */
/* The frame codec on any bytes: what it accepts lies inside the buffer and is the same when encoded again; the receive buffer, fed in pieces, agrees. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fn/wire.h"
#include "rx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define BODY_MAX 4096

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "wrong: %s\n", what);
	abort();
}

static void check_frame(uint8_t *at, size_t len, const struct fn_view *v)
{
	uint8_t head[FN_HEAD_BYTES];
	struct fn_view cut;
	struct fn_meta m;
	char meta[FN_META_MAX];
	size_t pos = 0, meta_len = 0;

	check(v->total <= len && v->body_len <= BODY_MAX, "frame inside its buffer");
	check((uint8_t *)v->meta == at + FN_HEAD_BYTES && v->body + v->body_len == at + v->total, "parts in their places");
	fn_frame_put(head, &v->head);
	check(memcmp(head, at, sizeof head) == 0, "header comes back");
	while (fn_meta_next(v->meta, v->head.meta_len, &pos, &m)) {
		char key[FN_META_MAX + 1];

		memcpy(key, m.key, m.key_len);
		key[m.key_len] = 0;
		check(fn_meta_put(meta, sizeof meta, &meta_len, key, m.value, m.value_len) == 0, "metadata can be written again");
	}
	check(pos == v->head.meta_len && meta_len == pos && memcmp(meta, v->meta, pos) == 0, "metadata comes back");
	check(fn_frame_peek(at, v->total - 1, BODY_MAX, &cut) == 0, "one byte less is no frame");
}

/* Frames that the receive buffer finds when the bytes come in pieces. */
static size_t count_in_pieces(const uint8_t *data, size_t len, size_t piece)
{
	struct rx rx = { 0 };
	struct rx_chunk *chunk, *kept[4] = { 0 };
	struct fn_view v;
	size_t count = 0, room, n, i;
	uint8_t *tail;
	int got = 0;

	while (got >= 0 && len > 0) {
		size_t need = FN_HEAD_BYTES;

		while ((got = rx_take(&rx, BODY_MAX, &v, &chunk)) > 0) {
			/* A few frames stay out for a while, as with several threads. */
			if (kept[count % 4])
				rx_put(&rx, kept[count % 4]);
			kept[count++ % 4] = chunk;
		}
		if (got < 0)
			break;
		need = v.total;
		check(rx_room(&rx, need, &tail, &room) == 0 && room > 0, "room to read on");
		n = len < piece ? len : piece;
		if (n > room)
			n = room;
		memcpy(tail, data, n);
		rx_commit(&rx, n);
		data += n;
		len -= n;
	}
	while (got >= 0 && rx_take(&rx, BODY_MAX, &v, &chunk) > 0) {
		count++;
		rx_put(&rx, chunk);
	}
	for (i = 0; i < 4; i++)
		if (kept[i])
			rx_put(&rx, kept[i]);
	rx_done(&rx);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1), *at = copy;
	size_t left = len, count = 0;
	struct fn_view v;

	memcpy(copy, data, len);
	while (fn_frame_peek(at, left, BODY_MAX, &v) > 0) {
		check_frame(at, left, &v);
		at += v.total;
		left -= v.total;
		count++;
	}
	check(memcmp(copy, data, len) == 0, "input untouched");
	check(count_in_pieces(data, len, 1 + len / 7) == count, "same frames in pieces");
	check(count_in_pieces(data, len, 1 + len / 2) == count, "same frames in halves");
	free(copy);
	return 0;
}
