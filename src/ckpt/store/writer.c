/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"

#define BUFFER_BYTES (1u << 20)
#define BUFFERS 32                      /* in all, so also how many writes are under way at most */
#define WAIT_MS 60000                   /* any limit: it leaves the writing to the queue's own thread, as requests belong to the thread that makes them, and callers come and go */

/*
 * Chunks are copied into buffers that are one piece of a pack each; full ones go to a queue of libhearth-ds, which writes as many at a time as there are buffers, beside the page cache where the
 * file system can. Whoever needs a buffer when none is free waits for the queue; others wait for whoever does. All of it under the draft's lock, which is not held while it is waited for.
 */
struct wbuf {
	struct wbuf *next;
	uint8_t *data;
	struct space *space;
	uint64_t at, seq;
	size_t cap, fill;
	unsigned copying;               /* callers who are at it */
	bool closed;
};

struct writer {
	struct store_draft *draft;
	uint8_t *room;                  /* of all buffers; what was never used takes no memory */
	struct io io;
	struct hearth_ds_memory *memory;        /* @room */
	struct hearth_ds_queue *queue;
	pthread_cond_t changed;         /* a buffer is free, or handed over, or there is an error */
	struct wbuf all[BUFFERS];
	struct wbuf *free, *open;
	unsigned under_way;             /* handed over and not collected */
	bool collecting;                /* somebody waits for the queue */
	uint64_t next_seq;
};

/* ---- its life ---- */

/* Return: 0, -ENOMEM */
static int set_up(struct writer *w)
{
	int r = io_get(w->draft->store, &w->io);

	w->room = r == 0 ? io_room((size_t)BUFFERS * BUFFER_BYTES) : NULL;
	if (!w->room)
		return -ENOMEM;
	r = hearth_ds_register(w->io.host, (uintptr_t)w->room, (size_t)BUFFERS * BUFFER_BYTES, &w->memory);
	return r == 0 ? hearth_ds_queue_open(w->io.ds, BUFFERS, &w->queue) : r;
}

static int writer_new(struct store_draft *d)
{
	struct writer *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->draft = d;
	pthread_cond_init(&w->changed, NULL);
	r = set_up(w);
	if (r < 0) {
		writer_free(w);
		return r;
	}
	/* the first is used first, and whichever was used last again: a small image takes little memory */
	for (size_t k = BUFFERS; k-- > 0; ) {
		w->all[k].data = w->room + k * BUFFER_BYTES;
		w->all[k].next = w->free;
		w->free = &w->all[k];
	}
	d->writer = w;
	return 0;
}

struct writer *writer_free(struct writer *w)
{
	if (!w)
		return NULL;
	hearth_ds_queue_close(w->queue);
	hearth_ds_release(w->memory);
	free(w->room);
	pthread_cond_destroy(&w->changed);
	free(w);
	return NULL;
}

/* ---- buffers ---- */

uint64_t writer_next(const struct writer *w)
{
	return w->next_seq;
}

/* buffers that are in use have a space */
uint64_t writer_oldest(const struct writer *w)
{
	uint64_t oldest = UINT64_MAX;

	for (size_t k = 0; k < BUFFERS; k++)
		if (w->all[k].space && w->all[k].seq < oldest)
			oldest = w->all[k].seq;
	return oldest;
}

static void free_buffer(struct writer *w, struct wbuf *b)
{
	b->space = NULL;
	b->next = w->free;
	w->free = b;
}

static void ended(struct writer *w, struct wbuf *b, int64_t result)
{
	if (result < 0 && !w->draft->failed)
		w->draft->failed = (int)result;
	w->under_way--;
	free_buffer(w, b);
}

/* Return: 0, -ENOMEM and others: none of it is under way */
static int submit(struct writer *w, struct wbuf *b)
{
	struct hearth_ds_op op = { .memory = w->memory, .memory_offset = (uint64_t)(b->data - w->room), .file_offset = b->at, .bytes = b->fill, .tag = (uint64_t)(b - w->all), .kind = HEARTH_DS_WRITE };
	int r = b->space->file ? 0 : hearth_ds_file_of(w->io.ds, b->space->fd, &b->space->file);

	op.file = b->space->file;
	return r == 0 ? hearth_ds_submit(w->queue, &op, 1) : r;
}

static void hand_over(struct writer *w, struct wbuf *b)
{
	int r;

	w->under_way++;
	r = submit(w, b);
	if (r < 0)
		ended(w, b, r);
	pthread_cond_broadcast(&w->changed);
}

static void close_open(struct writer *w)
{
	struct wbuf *b = w->open;

	if (!b)
		return;
	w->open = NULL;
	if (b->fill < b->cap)
		space_give(b->space, (uint32_t)((b->at + b->fill) / STORE_PAGE), (uint32_t)((b->cap - b->fill) / STORE_PAGE));
	b->closed = true;
	if (b->copying == 0 && b->fill == 0)
		free_buffer(w, b);
	else if (b->copying == 0)
		hand_over(w, b);
}

/* what has been written so far */
static void collect(struct writer *w)
{
	struct hearth_ds_done done[BUFFERS];
	ssize_t n = hearth_ds_reap(w->queue, done, BUFFERS, 0, 0);

	for (ssize_t k = 0; k < n; k++)
		ended(w, &w->all[done[k].tag], done[k].result);
}

/* until a buffer was written, or anything else has changed */
static void wait_changed(struct writer *w)
{
	struct store_draft *d = w->draft;
	struct hearth_ds_done done;
	ssize_t n;

	if (w->collecting || w->under_way == 0) {
		pthread_cond_wait(&w->changed, &d->lock);
		return;
	}
	w->collecting = true;
	pthread_mutex_unlock(&d->lock);
	n = hearth_ds_reap(w->queue, &done, 1, 1, WAIT_MS);
	pthread_mutex_lock(&d->lock);
	w->collecting = false;
	if (n > 0)
		ended(w, &w->all[done.tag], done.result);
	pthread_cond_broadcast(&w->changed);
}

/* ---- the callers' side ---- */

/* Return: 1 there is one, 0 look again, -errno. May let the lock go. */
static int next_buffer(struct store_draft *d, uint32_t pages, struct hearth_err *err)
{
	struct writer *w = d->writer;
	struct wbuf *b;
	uint32_t page;
	int n;

	collect(w);
	b = w->free;
	if (!b) {
		wait_changed(w);
		return 0;
	}
	n = draft_space(d, pages, BUFFER_BYTES / STORE_PAGE, false, &b->space, &page, err);
	if (n < 0) {
		b->space = NULL;
		return n;
	}
	w->free = b->next;
	b->at = (uint64_t)page * STORE_PAGE;
	b->cap = (size_t)n * STORE_PAGE;
	b->fill = 0;
	b->copying = 0;
	b->closed = false;
	b->seq = w->next_seq++;
	w->open = b;
	return 1;
}

int writer_room(struct store_draft *d, uint32_t stored, struct wbuf **ret, uint8_t **ret_to, struct store_chunk *c, struct hearth_err *err)
{
	size_t bytes = (size_t)pages_of(stored) * STORE_PAGE;
	struct wbuf *b;
	int r = d->writer ? 0 : writer_new(d);

	if (r < 0)
		return draft_error(d, r, err);
	for (;;) {
		if (d->failed)
			return draft_error(d, d->failed, err);
		b = d->writer->open;
		if (b && b->cap - b->fill >= bytes)
			break;
		close_open(d->writer);
		r = next_buffer(d, pages_of(stored), err);
		if (r < 0)
			return r;
	}
	c->pack = b->space->pack->id;
	c->at = b->at + b->fill;
	*ret_to = b->data + b->fill;
	b->fill += bytes;
	b->copying++;
	*ret = b;
	return 0;
}

void writer_copied(struct store_draft *d, struct wbuf *b)
{
	b->copying--;
	if (b == d->writer->open && b->fill == b->cap)
		close_open(d->writer);
	else if (b->closed && b->copying == 0)
		hand_over(d->writer, b);
}

void writer_drain(struct store_draft *d)
{
	struct writer *w = d->writer;

	close_open(w);
	while (collect(w), writer_oldest(w) != UINT64_MAX)
		wait_changed(w);
}
