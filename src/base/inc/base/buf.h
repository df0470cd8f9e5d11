/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

/**
 * struct buf - growable byte queue: appended at the end, consumed from the front
 *
 * All zero is an empty buffer. data + off is the first unread byte, len counts unread bytes.
 * A failed append leaves the buffer as it was.
 */
struct buf {
	uint8_t *data;
	size_t off, len, cap;
};

/** buf_reserve - room for n more bytes. @ret_tail: where to write them. Return: 0, -ENOMEM. */
int buf_reserve(struct buf *b, size_t n, uint8_t **ret_tail);
/** buf_commit - n bytes were written behind the end (n <= what was reserved) */
void buf_commit(struct buf *b, size_t n);
int buf_append(struct buf *b, const void *data, size_t n);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** buf_consume - drop n bytes from the front (n <= len); compacts lazily */
void buf_consume(struct buf *b, size_t n);
static inline uint8_t *buf_head(const struct buf *b) { return b->data != NULL ? b->data + b->off : NULL; }
void buf_reset(struct buf *b);       /* empty, keeps its memory */
void buf_done(struct buf *b);        /* frees; the buffer is empty and usable again */

/**
 * array_grow - room for @need elements of @size bytes in a heap array
 * @array, @cap: doubled as needed; both untouched on failure. Return: 0, -ENOMEM.
 */
int array_grow(void **array, size_t *cap, size_t need, size_t size);

#endif
