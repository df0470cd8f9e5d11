/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define BUF_MIN_CAP 256

/* A new block holding just the unread bytes at its front, so that growing never copies what was consumed. */
static int buf_grow(struct buf *b, size_t need)
{
	size_t cap = b->cap < BUF_MIN_CAP ? BUF_MIN_CAP : b->cap;
	uint8_t *data;

	while (cap < need) {
		if (cap > SIZE_MAX / 2) {
			cap = need;
			break;
		}
		cap *= 2;
	}
	data = malloc(cap);
	if (data == NULL)
		return -ENOMEM;
	if (b->len > 0)
		memcpy(data, b->data + b->off, b->len);
	free(b->data);
	b->data = data;
	b->off = 0;
	b->cap = cap;
	return 0;
}

int buf_reserve(struct buf *b, size_t n, uint8_t **ret_tail)
{
	int r;

	if (n > (size_t)PTRDIFF_MAX - b->len)
		return -ENOMEM;
	if (b->data == NULL || b->cap - b->off - b->len < n) {
		/* Sliding costs len bytes and frees off bytes: with off >= len every byte is moved at most once a byte consumed. */
		if (b->data != NULL && b->cap - b->len >= n && b->off >= b->len) {
			memmove(b->data, b->data + b->off, b->len);
			b->off = 0;
		} else {
			r = buf_grow(b, b->len + n);
			if (r < 0)
				return r;
		}
	}
	*ret_tail = b->data + b->off + b->len;
	return 0;
}

void buf_commit(struct buf *b, size_t n)
{
	assert(n <= b->cap - b->off - b->len);
	b->len += n;
}

int buf_append(struct buf *b, const void *data, size_t n)
{
	uint8_t *tail;
	int r;

	if (n == 0)
		return 0;
	r = buf_reserve(b, n, &tail);
	if (r < 0)
		return r;
	memcpy(tail, data, n);
	buf_commit(b, n);
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	size_t room = 128;
	uint8_t *tail;
	va_list ap;
	int n, r;

	/* most texts fit at the first try; the second knows the length */
	for (;;) {
		r = buf_reserve(b, room, &tail);
		if (r < 0)
			return r;
		va_start(ap, fmt);
		n = vsnprintf((char *)tail, room, fmt, ap);
		va_end(ap);
		if (n < 0)
			return -EINVAL;
		if ((size_t)n < room)
			break;
		room = (size_t)n + 1;
	}
	buf_commit(b, (size_t)n);
	return 0;
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->len);
	b->len -= n;
	b->off = b->len == 0 ? 0 : b->off + n;
}

void buf_reset(struct buf *b)
{
	b->off = 0;
	b->len = 0;
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}

int array_grow(void **array, size_t *cap, size_t need, size_t size)
{
	size_t n = *cap ? *cap * 2 : 64;
	void *bigger;

	if (need <= *cap)
		return 0;
	while (n < need && n <= SIZE_MAX / 2)
		n *= 2;
	bigger = n < need ? NULL : reallocarray(*array, n, size);
	if (!bigger)
		return -ENOMEM;
	*array = bigger;
	*cap = n;
	return 0;
}
