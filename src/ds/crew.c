/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for what keeps a processor busy (copies out of the page cache) or blocks (writes; reads where io_uring is not allowed). Into a device a thread works in slices: while one is read, that
 * before it is on its way. Slices are large, as a link to a device does not reach its rate with short copies (of 512 KiB, 43 GB/s where those of 4 MiB get 53); the first ones after a pause are
 * short, so that the link does not wait for a long one to be read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/thread.h"
#include "ahead.h"
#include "crew.h"
#include "cufile.h"
#include "host.h"

#define SLICE_BYTES PIECE_BYTES
#define FIRST_SLICE_BYTES (512u << 10)
#define STATIONS 2u

/** struct station - a slice of @piece on its way to the device from @slot; @last: the piece's last one. NULL: none is. */
struct station { struct slot *slot; cu_event event; struct piece *piece; bool last; };
struct hand {
	struct crew *crew;
	struct cuda_device *cuda;
	cu_stream stream;
	struct slot *bounce;
	struct station stations[STATIONS];
	unsigned next;
	size_t slice;                   /* how long the next one may be */
	struct copies copies;
	int broken;                     /* why it has no stream */
};

static void give_back(struct piece *piece)
{
	struct pump *p = piece->pump;
	struct piece *head = atomic_load_explicit(&p->returned, memory_order_relaxed);

	do
		piece->next = head;
	while (!atomic_compare_exchange_weak_explicit(&p->returned, &head, piece, memory_order_release, memory_order_relaxed));
	pump_wake(p);
	uses_put(&p->lent);
}

/* ---- stations ---- */

static void station_wait(struct hand *h, struct station *s)
{
	struct piece *piece = s->piece;

	if (!piece)
		return;
	if (h->cuda->cu->event_sync(s->event) != CU_OK)
		piece->got = -EIO;
	s->piece = NULL;
	if (s->last)
		give_back(piece);
}

static void drain(struct hand *h)
{
	for (unsigned k = 0; k < STATIONS && h->cuda; k++)
		station_wait(h, &h->stations[(h->next + k) % STATIONS]);
}

static void put_slots(struct hand *h)
{
	struct ring *ring = atomic_load(&h->crew->device->ring);

	for (unsigned k = 0; k < STATIONS; k++) {
		if (h->stations[k].slot)
			ring_put(ring, h->stations[k].slot);
		h->stations[k].slot = NULL;
	}
	if (h->bounce)
		ring_put(ring, h->bounce);
	h->bounce = NULL;
	h->next = 0;
}

/* its second slot is not waited for: then it works with the first alone */
static int need_slots(struct hand *h)
{
	struct ring *ring;
	int r;

	if (h->stations[0].slot)
		return 0;
	r = ring_get(h->crew->device, &ring, NULL);
	if (r < 0)
		return r;
	h->stations[0].slot = ring_take(ring, true);
	h->stations[1].slot = ring_take(ring, false);
	h->slice = FIRST_SLICE_BYTES;
	return 0;
}

/* ---- into a device ---- */

/* blocks around a slice fit its room, as slices are cut at its multiples */
static ssize_t stage_slice(struct hand *h, struct piece *piece, size_t n, uint64_t done, bool last)
{
	struct station *s = &h->stations[h->next];
	uint64_t at = piece->at + done;
	uint8_t *room, *from;
	ssize_t got;
	int r;

	station_wait(h, s);
	room = from = s->slot->at;
	got = piece->cached ? ds_file_read(piece->file, false, room, n, at) : host_read_around(piece->file, room, n, at, &from);
	if (got < 0)
		return got;
	r = piece_copy(h->cuda, &h->copies, h->stream, piece, at, (uint64_t)got, from, NULL);
	if (r == 0)
		r = copies_start(h->cuda, &h->copies, h->stream, NULL);
	if (r == 0)
		r = cuda_errno(h->cuda->cu->event_record(s->event, h->stream));
	if (r < 0)
		return r;
	s->piece = piece;
	s->last = last || (size_t)got < n;
	/* one of the slices before it may have failed */
	if (s->last && piece->got == 0)
		piece->got = (int64_t)(done + (size_t)got);
	h->next = h->stations[1].slot ? (h->next + 1) % STATIONS : 0;
	h->slice = h->slice < SLICE_BYTES ? 2 * h->slice : SLICE_BYTES;
	return got;
}

static void stage_read(struct hand *h, struct piece *piece)
{
	uint64_t done = 0;

	while (done < piece->n) {
		/* the last block of a slice may not go beyond its room */
		size_t n = h->slice - (piece->at + done) % h->slice;
		ssize_t got;

		n = n < piece->n - done ? n : piece->n - done;
		got = stage_slice(h, piece, n, done, done + n == piece->n);
		if (got < 0) {
			/* slices before it may be on their way */
			(void)h->cuda->cu->stream_sync(h->stream);
			drain(h);
			h->copies.n = 0;
			piece->got = got;
			give_back(piece);
			return;
		}
		done += (size_t)got;
		if ((size_t)got < n)
			return;
	}
}

/* ---- out of a device ---- */

static void stage_write(struct hand *h, struct piece *piece)
{
	struct op *op = piece->ops;
	uint8_t *at;
	cu_result r;

	drain(h);
	at = h->stations[0].slot->at + piece->at % BLOCK_BYTES;
	r = h->cuda->cu->copy_dtoh(at, op->memory->at + op->memory_offset + (piece->at - op->file_offset), piece->n, h->stream);
	if (r == CU_OK)
		r = h->cuda->cu->stream_sync(h->stream);
	piece->got = r == CU_OK ? host_write(piece->file, h->crew->device, at, piece->n, piece->at, &h->bounce) : cuda_errno(r);
	give_back(piece);
}

/* ---- one of them ---- */

static void in_place(struct hand *h, struct piece *piece)
{
	struct op *op = piece->ops;
	uint8_t *cpu = op->memory->cpu + op->memory_offset + (piece->at - op->file_offset);
	struct hearth_ds_device *d = h->crew->device;

	/* who may have to wait for a slot holds none */
	drain(h);
	put_slots(h);
	piece->got = piece->write ? host_write(piece->file, d, cpu, piece->n, piece->at, &h->bounce) : host_read(piece->file, d, cpu, piece->n, piece->at, piece->path != HEARTH_DS_MAP, &h->bounce);
	give_back(piece);
}

static void by_cufile(struct piece *piece)
{
	struct op *op = piece->ops;

	piece->got = cufile_transfer(piece->file, op->memory, op->memory_offset + (piece->at - op->file_offset), piece->at, piece->n, piece->write);
	give_back(piece);
}

static void work_on(struct hand *h, struct piece *piece)
{
	int r = h->broken;

	if (piece->path == PATH_AHEAD) {
		ahead_read(piece);
		return;
	}
	if (piece->path == HEARTH_DS_CUFILE) {
		by_cufile(piece);
		return;
	}
	if (piece->path != HEARTH_DS_STAGE) {
		in_place(h, piece);
		return;
	}
	if (r == 0)
		r = need_slots(h);
	if (r < 0) {
		piece->got = r;
		give_back(piece);
	} else if (piece->write) {
		stage_write(h, piece);
	} else {
		stage_read(h, piece);
	}
}

static void hand_open(struct hand *h)
{
	const struct cuda *cu;
	int r;

	if (!h->cuda)
		return;
	cu = h->cuda->cu;
	r = cuda_errno(cu->set_current(h->cuda->context));
	if (r == 0)
		r = cuda_stream(h->cuda, &h->stream, NULL);
	/* waited for by looking: it is a matter of some 10 us, and to be woken takes longer */
	for (unsigned k = 0; k < STATIONS && r == 0; k++)
		r = cuda_errno(cu->event_create(&h->stations[k].event, CU_EVENT_NO_TIMING));
	h->broken = r;
}

static void hand_close(struct hand *h)
{
	put_slots(h);
	if (!h->cuda)
		return;
	for (unsigned k = 0; k < STATIONS; k++)
		if (h->stations[k].event)
			(void)h->cuda->cu->event_destroy(h->stations[k].event);
	if (h->stream)
		(void)h->cuda->cu->stream_destroy(h->stream);
}

/* the next piece; before it waits for one, what it has is finished and given back. NULL: the end. */
static struct piece *next_piece(struct hand *h)
{
	struct crew *c = h->crew;
	struct piece *piece;

	pthread_mutex_lock(&c->lock);
	if (!c->pieces.head && !c->stop) {
		pthread_mutex_unlock(&c->lock);
		drain(h);
		put_slots(h);
		pthread_mutex_lock(&c->lock);
	}
	while (!c->pieces.head && !c->stop)
		pthread_cond_wait(&c->more, &c->lock);
	piece = c->pieces.head;
	if (piece) {
		c->pieces.head = piece->next;
		if (!c->pieces.head)
			c->pieces.tail = NULL;
	}
	pthread_mutex_unlock(&c->lock);
	return piece;
}

static void *crew_main(void *arg)
{
	struct crew *c = arg;
	struct hand h = { .crew = c, .cuda = c->device->cuda };
	struct piece *piece;

	hand_open(&h);
	while ((piece = next_piece(&h)))
		work_on(&h, piece);
	drain(&h);
	hand_close(&h);
	return NULL;
}

/* ---- all of them ---- */

unsigned crew_threads(const struct hearth_ds *ds)
{
	long n = ds->o.threads;

	if (n == 0) {
		n = sysconf(_SC_NPROCESSORS_ONLN) * 3 / 4;
		n = n < 1 ? 1 : n > 12 ? 12 : n;
	}
	return n > CREW_MAX ? CREW_MAX : (unsigned)n;
}

static struct crew *crew_get(struct hearth_ds_device *d)
{
	struct crew *c = atomic_load_explicit(&d->crew, memory_order_acquire);

	if (c)
		return c;
	pthread_mutex_lock(&d->lock);
	c = atomic_load(&d->crew);
	if (!c) {
		c = calloc(1, sizeof(*c));
		if (c) {
			c->device = d;
			pthread_mutex_init(&c->lock, NULL);
			pthread_cond_init(&c->more, NULL);
			while (c->n < crew_threads(d->ds) && thread_spawn(&c->threads[c->n], crew_main, c) == 0)
				c->n++;
			if (c->n == 0)
				c = crew_free(c);
		}
		atomic_store_explicit(&d->crew, c, memory_order_release);
	}
	pthread_mutex_unlock(&d->lock);
	return c;
}

int crew_give(struct hearth_ds_device *d, struct piece *piece)
{
	struct crew *c = crew_get(d);

	if (!c)
		return -EAGAIN;
	if (piece->pump)
		uses_get(&piece->pump->lent);
	pthread_mutex_lock(&c->lock);
	pieces_add(&c->pieces, piece);
	pthread_mutex_unlock(&c->lock);
	pthread_cond_signal(&c->more);
	return 0;
}

struct crew *crew_free(struct crew *c)
{
	if (!c)
		return NULL;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_mutex_unlock(&c->lock);
	pthread_cond_broadcast(&c->more);
	while (c->n > 0)
		pthread_join(c->threads[--c->n], NULL);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->more);
	free(c);
	return NULL;
}
