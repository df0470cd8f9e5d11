/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_HOST_H
#define DS_HOST_H

#include "priv.h"

struct slot;

/**
 * host_read, host_write - one piece between a file and memory of the process, by the page cache or beside it
 * @d:      whose ring to use
 * @n:      within a piece
 * @cache:  may the page cache serve it; false where the processor is slow to copy into @to
 * @bounce: a slot; NULL: taken when needed, and the caller's to give back
 * Context: blocks.
 * Return: bytes, fewer only at the end of the file; -errno.
 */
ssize_t host_read(struct hearth_ds_file *f, struct hearth_ds_device *d, uint8_t *to, size_t n, uint64_t at, bool cache, struct slot **bounce);
ssize_t host_write(struct hearth_ds_file *f, struct hearth_ds_device *d, const uint8_t *from, size_t n, uint64_t at, struct slot **bounce);
/**
 * host_read_around - the same into room of one's own, blocks around it and all, in one read
 * @room: aligned to BLOCK_BYTES, long enough for whole blocks around. @ret: where in it the byte at @at is
 */
ssize_t host_read_around(struct hearth_ds_file *f, uint8_t *room, size_t n, uint64_t at, uint8_t **ret);
/** host_transfer - any number of bytes, a piece after the other. Return: as host_read. */
ssize_t host_transfer(struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes, bool write);

#endif
