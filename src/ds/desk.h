/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_DESK_H
#define DS_DESK_H

#include "pump.h"

/*
 * The short way of a synchronous operation by STAGE that is one I/O and one copy: the calling thread takes a desk of the device, which is room in a slot of the ring and a stream, and does both itself. Rows of
 * desks are made as they are needed, of a slot each, and kept. To take one is one atomic instruction; a thread comes back to the same desk as long as nobody else is there.
 */
#define SHORT_BYTES (64u << 10)         /* at most: what is longer has something to overlap */
#define DESK_BYTES (SHORT_BYTES + 2 * BLOCK_BYTES)
#define ROW_DESKS (PIECE_BYTES / DESK_BYTES)

struct desk { _Alignas(64) atomic_bool taken; uint8_t *room; cu_stream stream; };
struct desk_row { struct desk desks[ROW_DESKS]; };

/** desk_take - one for this thread, of a device "cuda:N" whose context is current. Does not wait. Return: NULL: none is free, or none can be had; a pump does it, or says why not. */
struct desk *desk_take(struct hearth_ds_device *d);
void desk_put(struct desk *k);
/** desk_read, desk_write - all of @op, SHORT_BYTES at most, by STAGE. The context is current. Return: bytes, fewer only at the end of the file; -errno. */
ssize_t desk_read(struct desk *k, struct op *op, struct hearth_err *err);
ssize_t desk_write(struct desk *k, struct op *op, struct hearth_err *err);
/** desks_free - of a device; its context is current */
void desks_free(struct hearth_ds_device *d);

#endif
