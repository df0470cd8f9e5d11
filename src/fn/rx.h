/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FN_RX_H
#define FN_RX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fn/wire.h"

/*
 * Receive buffer: frames are used where they were received. A frame that is handed out keeps its chunk alive; the buffer goes on behind it, or in
 * another chunk. Chunks of the usual size are kept and used again. Not thread-safe.
 */
#define RX_CHUNK_BYTES (64u << 10)
#define RX_SPARES 4

struct rx_chunk {
	struct rx_chunk *next;
	unsigned refs;
	size_t cap, start, end;         /* bytes[start..end) are not handed out yet */
	uint8_t bytes[];
};

struct rx {
	struct rx_chunk *chunk, *spares;
	unsigned spare_count;
};

/** rx_done - free everything; no frame may be out */
void rx_done(struct rx *rx);
/** rx_reset - forget what was received and not handed out. Return: 0, -ENOMEM. */
int rx_reset(struct rx *rx);
/** rx_room - where the next bytes go, once a frame of need bytes (see fn_frame_peek) is known to be under way. Return: 0, -ENOMEM. */
int rx_room(struct rx *rx, size_t need, uint8_t **ret_tail, size_t *ret_len);
void rx_commit(struct rx *rx, size_t len);
/**
 * rx_take - hand out the first frame
 * @ret_chunk: holds the frame's bytes; for rx_put
 * @ret:       as fn_frame_peek
 * Return: 1, 0 (read on), -EPROTO, -EMSGSIZE.
 */
int rx_take(struct rx *rx, size_t body_max, struct fn_view *ret, struct rx_chunk **ret_chunk);
void rx_put(struct rx *rx, struct rx_chunk *chunk);
/** rx_pending - is another whole frame there? (cheap, unchecked) */
bool rx_pending(const struct rx *rx);

#endif
