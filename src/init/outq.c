/* SPDX-License-Identifier: Apache-2.0 */
#include "outq.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct outq_frame {
	struct outq_frame *next;
	struct fn_frame head;           /* host order; bytes[] starts with its wire form */
	size_t len, sent;
	uint8_t bytes[];
};

static size_t frame_cost(const struct outq_frame *f)
{
	return sizeof *f + f->len;
}

void outq_init(struct outq *q, size_t log_max)
{
	*q = (struct outq){ .log_max = log_max };
}

void outq_done(struct outq *q)
{
	while (q->head) {
		struct outq_frame *f = q->head;

		q->head = f->next;
		free(f);
	}
	q->tail = NULL;
	q->log_bytes = 0;
}

static struct outq_frame *frame_new(struct fn_frame head, const char *meta, size_t meta_len, const void *body, size_t body_len)
{
	struct outq_frame *f = malloc(sizeof *f + FN_HEAD_BYTES + meta_len + body_len);

	if (!f)
		return NULL;
	head.len = (uint32_t)(meta_len + body_len);
	head.meta_len = (uint16_t)meta_len;
	*f = (struct outq_frame){ .head = head, .len = FN_HEAD_BYTES + meta_len + body_len };
	fn_frame_put(f->bytes, &head);
	if (meta_len)
		memcpy(f->bytes + FN_HEAD_BYTES, meta, meta_len);
	if (body_len)
		memcpy(f->bytes + FN_HEAD_BYTES + meta_len, body, body_len);
	return f;
}

static void append(struct outq *q, struct outq_frame *f)
{
	if (q->tail)
		q->tail->next = f;
	else
		q->head = f;
	q->tail = f;
}

int outq_put(struct outq *q, struct fn_frame head, const char *meta, size_t meta_len, const void *body, size_t body_len)
{
	struct outq_frame *f;

	if (meta_len > FN_META_MAX || body_len > FN_BODY_MAX)
		return -EMSGSIZE;
	f = frame_new(head, meta, meta_len, body, body_len);
	if (!f)
		return -ENOMEM;
	append(q, f);
	return 0;
}

int outq_put_first(struct outq *q, struct fn_frame head, const void *body, size_t body_len)
{
	struct outq_frame *f = frame_new(head, NULL, 0, body, body_len);

	if (!f)
		return -ENOMEM;
	assert(!q->head || q->head->sent == 0);
	f->next = q->head;
	q->head = f;
	if (!q->tail)
		q->tail = f;
	return 0;
}

static void count_lost(struct outq_frame *f, uint64_t bytes)
{
	f->head.arg += bytes;
	fn_frame_put(f->bytes, &f->head);
}

static bool is_droppable(const struct outq_frame *f)
{
	return f->head.type == FN_LOG && f->sent == 0;
}

/* The oldest log frame that isn't half sent goes; its place keeps the count. Return: false when there is none. */
static bool drop_oldest(struct outq *q)
{
	struct outq_frame *f, *before = NULL;
	uint64_t lost;

	for (f = q->head; f && !is_droppable(f); f = f->next)
		before = f;
	if (!f)
		return false;
	lost = f->head.len;
	q->log_bytes -= frame_cost(f);
	if (before && before->head.type == FN_LOG_LOST && before->sent == 0) {
		before->next = f->next;
		if (q->tail == f)
			q->tail = before;
		free(f);
		count_lost(before, lost);
		return true;
	}
	/* Becomes the count itself: no allocation that could fail. */
	f->head = (struct fn_frame){ .type = FN_LOG_LOST };
	f->len = FN_HEAD_BYTES;
	count_lost(f, lost);
	return true;
}

void outq_log(struct outq *q, unsigned stream, const void *data, size_t len)
{
	struct outq_frame *f = frame_new((struct fn_frame){ .type = FN_LOG, .arg = stream }, NULL, 0, data, len);

	if (!f) {
		if (q->tail && q->tail->head.type == FN_LOG_LOST && q->tail->sent == 0)
			count_lost(q->tail, len);
		return;
	}
	while (q->log_bytes + frame_cost(f) > q->log_max && drop_oldest(q))
		;
	append(q, f);
	q->log_bytes += frame_cost(f);
}

size_t outq_iov(const struct outq *q, struct iovec *iov, size_t max)
{
	const struct outq_frame *f;
	size_t n = 0;

	for (f = q->head; f && n < max; f = f->next)
		iov[n++] = (struct iovec){ .iov_base = (void *)(f->bytes + f->sent), .iov_len = f->len - f->sent };
	return n;
}

static void pop(struct outq *q)
{
	struct outq_frame *f = q->head;

	if (f->head.type == FN_LOG)
		q->log_bytes -= frame_cost(f);
	q->head = f->next;
	if (!q->head)
		q->tail = NULL;
	free(f);
}

void outq_sent(struct outq *q, size_t n)
{
	while (n > 0) {
		struct outq_frame *f = q->head;
		size_t part = f->len - f->sent;

		if (n < part) {
			f->sent += n;
			return;
		}
		n -= part;
		pop(q);
	}
}

/* Of use to the next connection too? What it begins with is said anew: whether the runtime is loaded and the function ready, how many workers there are. A refusal was for the old one. */
static bool survives(const struct outq_frame *f)
{
	switch (f->head.type) {
	case FN_HELLO:
	case FN_READY_NOW:
	case FN_LOADED_NOW:
	case FN_WORKERS:
	case FN_RESTED:
		return false;
	case FN_RESULT:
		return f->head.arg != FN_REFUSED;
	default:
		return true;
	}
}

void outq_hangup(struct outq *q)
{
	struct outq_frame *f = q->head, *next;
	size_t log_bytes = q->log_bytes;

	q->head = q->tail = NULL;
	for (; f; f = next) {
		next = f->next;
		f->next = NULL;
		f->sent = 0;
		if (survives(f))
			append(q, f);
		else
			free(f);
	}
	q->log_bytes = log_bytes;
}

int outq_result_ids(const struct outq *q, struct buf *ids)
{
	const struct outq_frame *f;
	int ret = 0;

	for (f = q->head; f && ret == 0; f = f->next) {
		uint64_t wire = htole64(f->head.id);

		if (f->head.type == FN_RESULT && f->head.arg != FN_REFUSED)
			ret = buf_append(ids, &wire, sizeof wire);
	}
	return ret;
}
