/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/thread.h"
#include "private.h"

#define BUFFER_BYTES (1u << 20)
#define BUFFERS 32                      /* in all, so also how many writes are under way at most */

/*
 * Chunks are copied into buffers that are one piece of a pack each; one thread per draft writes full ones through its ring, as many at a time as there are buffers. Requests belong to the thread that
 * submits them and end with it, so it is never one of the callers'. Where the kernel refuses io_uring the same thread writes one after the other.
 */
struct wbuf {
	struct wbuf *next;
	uint8_t *data;
	struct space *space;
	uint64_t at, seq;
	size_t cap, fill, done;
	unsigned copying;               /* callers who are at it */
	bool closed;
};

struct writer {
	struct store_draft *draft;
	pthread_t thread;
	bool running, ring_ok, stop;
	struct io_uring ring;
	int wake;                       /* eventfd */
	uint64_t wake_room;
	pthread_cond_t changed;         /* a buffer is free, or an error */
	struct wbuf all[BUFFERS];
	struct wbuf *free, *open, *queue, **queue_end;
	uint64_t next_seq;
};

/* ---- the callers' side, under the draft's lock ---- */

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

static void hand_over(struct writer *w, struct wbuf *b)
{
	static const uint64_t one = 1;

	b->next = NULL;
	*w->queue_end = b;
	w->queue_end = &b->next;
	/* cannot fail: the counter never comes near its end */
	(void)!write(w->wake, &one, sizeof(one));
}

static void free_buffer(struct writer *w, struct wbuf *b)
{
	b->space = NULL;
	b->next = w->free;
	w->free = b;
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

/* Return: 1 there is one, 0 look again, -errno. May let the lock go. */
static int next_buffer(struct store_draft *d, uint32_t pages, struct hearth_err *err)
{
	struct writer *w = d->writer;
	struct wbuf *b = w->free;
	uint32_t page;
	int n;

	if (!b) {
		pthread_cond_wait(&w->changed, &d->lock);
		return 0;
	}
	if (!b->data)
		b->data = aligned_alloc(STORE_PAGE, BUFFER_BYTES);
	if (!b->data)
		return err_set(err, -ENOMEM, "image %s: out of memory", draft_name(d));
	n = draft_space(d, pages, BUFFER_BYTES / STORE_PAGE, false, &b->space, &page, err);
	if (n < 0) {
		b->space = NULL;
		return n;
	}
	w->free = b->next;
	b->at = (uint64_t)page * STORE_PAGE;
	b->cap = (size_t)n * STORE_PAGE;
	b->fill = b->done = 0;
	b->copying = 0;
	b->closed = false;
	b->seq = w->next_seq++;
	w->open = b;
	return 1;
}

int writer_room(struct store_draft *d, uint32_t stored, struct wbuf **ret, uint8_t **ret_to, struct store_chunk *c, struct hearth_err *err)
{
	struct writer *w = d->writer;
	size_t bytes = (size_t)pages_of(stored) * STORE_PAGE;
	struct wbuf *b;
	int r;

	for (;;) {
		if (d->failed)
			return err_set(err, d->failed, "image %s: cannot write to %s: %s", draft_name(d), d->store->dir, strerror(-d->failed));
		b = w->open;
		if (b && b->cap - b->fill >= bytes)
			break;
		close_open(w);
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
	while (writer_oldest(w) != UINT64_MAX)
		pthread_cond_wait(&w->changed, &d->lock);
}

/* ---- the thread's side ---- */

/* Return: whether the rest is to be written now */
static bool was_written(struct wbuf *b, int r, int *failed)
{
	if (r == -EINTR || r == -EAGAIN)
		return true;
	if (r == -EINVAL && b->space->direct) {
		/* opened for direct writing, but it cannot be: some file systems say so only now */
		int flags = fcntl(b->space->fd, F_GETFL);

		b->space->direct = false;
		if (flags >= 0 && fcntl(b->space->fd, F_SETFL, flags & ~O_DIRECT) == 0)
			return true;
	}
	if (r <= 0) {
		*failed = r < 0 ? r : -EIO;
		return false;
	}
	b->done += (size_t)r;
	return b->done < b->fill;
}

static void finished(struct writer *w, struct wbuf *b, int failed)
{
	struct store_draft *d = w->draft;

	pthread_mutex_lock(&d->lock);
	if (failed && !d->failed)
		d->failed = failed;
	free_buffer(w, b);
	pthread_mutex_unlock(&d->lock);
}

/* all that is queued. Return: false when it is time to end and nothing is left. */
static bool take_queue(struct writer *w, struct wbuf **ret)
{
	struct store_draft *d = w->draft;
	bool go_on;

	pthread_mutex_lock(&d->lock);
	*ret = w->queue;
	w->queue = NULL;
	w->queue_end = &w->queue;
	go_on = *ret || !w->stop;
	pthread_mutex_unlock(&d->lock);
	return go_on;
}

static void write_now(struct writer *w, struct wbuf *b)
{
	int failed = 0, r;

	do {
		r = (int)pwrite(b->space->fd, b->data + b->done, b->fill - b->done, (off_t)(b->at + b->done));
		if (r < 0)
			r = -errno;
	} while (was_written(b, r, &failed));
	finished(w, b, failed);
}

static void run_plain(struct writer *w)
{
	struct wbuf *b, *next;

	while (take_queue(w, &b)) {
		if (!b)
			(void)fd_read_full(w->wake, &w->wake_room, sizeof(w->wake_room));
		for (; b; b = next) {
			next = b->next;
			write_now(w, b);
		}
	}
}

/* The ring is larger than what can be under way: there is always an entry. */
static void prep(struct writer *w, struct wbuf *b)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	if (b)
		io_uring_prep_write(sqe, b->space->fd, b->data + b->done, (unsigned)(b->fill - b->done), b->at + b->done);
	else
		io_uring_prep_read(sqe, w->wake, &w->wake_room, sizeof(w->wake_room), 0);
	io_uring_sqe_set_data(sqe, b);
}

/* Return: how many writes have ended */
static unsigned reap(struct writer *w)
{
	struct io_uring_cqe *cqe;
	unsigned ended = 0;

	while (io_uring_peek_cqe(&w->ring, &cqe) == 0) {
		struct wbuf *b = io_uring_cqe_get_data(cqe);
		int r = cqe->res, failed = 0;

		io_uring_cqe_seen(&w->ring, cqe);
		if (!b || was_written(b, r, &failed)) {
			prep(w, b);
			continue;
		}
		finished(w, b, failed);
		ended++;
	}
	return ended;
}

static void run_ring(struct writer *w)
{
	struct wbuf *b, *next;
	unsigned under_way = 0;

	prep(w, NULL);
	while (take_queue(w, &b) || under_way) {
		for (; b; b = next) {
			next = b->next;
			prep(w, b);
			under_way++;
		}
		/* -EINTR and the like: once more */
		(void)io_uring_submit_and_wait(&w->ring, 1);
		under_way -= reap(w);
	}
}

static void *run(void *arg)
{
	struct writer *w = arg;

	if (w->ring_ok)
		run_ring(w);
	else
		run_plain(w);
	return NULL;
}

/* ---- both ---- */

int writer_new(struct store_draft *d, struct writer **ret)
{
	struct writer *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->draft = d;
	w->queue_end = &w->queue;
	pthread_cond_init(&w->changed, NULL);
	for (size_t k = 0; k < BUFFERS; k++) {
		w->all[k].next = w->free;
		w->free = &w->all[k];
	}
	w->wake = eventfd(0, EFD_CLOEXEC);
	r = w->wake < 0 ? -errno : 0;
	if (r == 0)
		w->ring_ok = io_uring_queue_init(2 * BUFFERS, &w->ring, 0) == 0;
	if (r == 0)
		r = thread_spawn(&w->thread, run, w);
	w->running = r == 0;
	if (r < 0)
		writer_free(w);
	else
		*ret = w;
	return r;
}

struct writer *writer_free(struct writer *w)
{
	static const uint64_t one = 1;

	if (!w)
		return NULL;
	if (w->running) {
		pthread_mutex_lock(&w->draft->lock);
		close_open(w);
		w->stop = true;
		pthread_mutex_unlock(&w->draft->lock);
		(void)!write(w->wake, &one, sizeof(one));
		pthread_join(w->thread, NULL);
	}
	if (w->ring_ok)
		io_uring_queue_exit(&w->ring);
	fd_close(&w->wake);
	for (size_t k = 0; k < BUFFERS; k++)
		free(w->all[k].data);
	pthread_cond_destroy(&w->changed);
	free(w);
	return NULL;
}
