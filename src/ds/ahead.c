/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading ahead. The page cache does this for those who read through it; who reads beside it has to do it himself, and to see to it that nobody gets what was in the file before: pieces are used only
 * while the file's times and size are what they were. Times have the grain of a clock tick, so nothing is read ahead of a file that changed in the last seconds: a change that comes after is then seen in them.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "ahead.h"
#include "base/clock.h"

#define STREAK 2u                       /* calls in order before it begins */
#define SETTLED_NS (2 * NS_PER_S)

/* made at the first call in order. NULL: no memory; then it is done without. */
static struct ahead *ahead_get(struct hearth_ds_file *f)
{
	struct ahead *a = atomic_load_explicit(&f->ahead, memory_order_acquire);

	if (a)
		return a;
	pthread_mutex_lock(&f->lock);
	a = atomic_load(&f->ahead);
	if (!a) {
		a = calloc(1, sizeof(*a));
		if (a) {
			pthread_mutex_init(&a->lock, NULL);
			pthread_mutex_init(&a->done_lock, NULL);
			pthread_cond_init(&a->done, NULL);
		}
		atomic_store_explicit(&f->ahead, a, memory_order_release);
	}
	pthread_mutex_unlock(&f->lock);
	return a;
}

static void wait_ready(struct ahead *a, unsigned k)
{
	if (atomic_load_explicit(&a->pieces[k].ready, memory_order_acquire))
		return;
	pthread_mutex_lock(&a->done_lock);
	while (!atomic_load(&a->pieces[k].ready))
		pthread_cond_wait(&a->done, &a->done_lock);
	pthread_mutex_unlock(&a->done_lock);
}

/* a->lock is held */
static void drop_first(struct ahead *a)
{
	struct piece *piece = &a->pieces[a->first].piece;

	wait_ready(a, a->first);
	ring_put(atomic_load(&a->device->ring), piece->slot);
	atomic_fetch_sub(&a->device->ahead, 1);
	a->first = (a->first + 1) % AHEAD_PIECES;
	a->n--;
}

static void drop_all(struct ahead *a)
{
	while (a->n)
		drop_first(a);
}

static bool same_times(const struct ahead *a, const struct stat *st)
{
	return st->st_size == a->size && st->st_mtim.tv_sec == a->changed[0].tv_sec && st->st_mtim.tv_nsec == a->changed[0].tv_nsec && st->st_ctim.tv_sec == a->changed[1].tv_sec &&
	       st->st_ctim.tv_nsec == a->changed[1].tv_nsec;
}

/* ---- serving ---- */

/* Return: bytes, 0 (the first piece does not have what is at @at), -errno */
static ssize_t serve_first(struct ahead *a, cu_stream stream, uint64_t to, uint64_t at, size_t bytes, struct hearth_err *err)
{
	struct piece *piece = &a->pieces[a->first].piece;
	const struct cuda *cu = a->device->cuda->cu;
	size_t n;
	int r;

	if (at < piece->at || at >= piece->at + piece->n)
		return 0;
	wait_ready(a, a->first);
	if (piece->got != piece->n)
		return 0;
	n = piece->at + piece->n - at < bytes ? (size_t)(piece->at + piece->n - at) : bytes;
	r = cuda_err(cu, cu->copy_htod(to, piece->slot->at + (at - piece->at), n, stream), err, "cuMemcpyHtoDAsync");
	/* its slot is given back when nothing reads it any more */
	if (r == 0)
		r = cuda_err(cu, cu->stream_sync(stream), err, "cuStreamSynchronize");
	if (r < 0)
		return r;
	if (at + n == piece->at + piece->n)
		drop_first(a);
	return (ssize_t)n;
}

ssize_t ahead_serve(struct hearth_ds_file *f, struct hearth_ds_device *d, cu_stream stream, uint64_t to, uint64_t at, size_t bytes, struct hearth_err *err)
{
	struct ahead *a = atomic_load_explicit(&f->ahead, memory_order_acquire);
	size_t done = 0;
	struct stat st;
	ssize_t r = 0;

	if (!a || pthread_mutex_trylock(&a->lock) != 0)
		return 0;
	if (a->n && (a->device != d || a->next != at || fstat(f->fd, &st) < 0 || !same_times(a, &st)))
		drop_all(a);
	while (a->n && done < bytes) {
		r = serve_first(a, stream, to + done, at + done, bytes - done, err);
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	/* something else than what comes next */
	if (r == 0 && done < bytes)
		drop_all(a);
	a->served += done;
	pthread_mutex_unlock(&a->lock);
	return r < 0 ? r : (ssize_t)done;
}

/* ---- reading ---- */

void ahead_read(struct piece *piece)
{
	struct hearth_ds_file *f = piece->file;
	struct ahead *a = atomic_load(&f->ahead);

	piece->got = ds_file_read(f, true, piece->slot->at, piece->cover, piece->at);
	if (piece->got > piece->n)
		piece->got = piece->n;
	pthread_mutex_lock(&a->done_lock);
	for (unsigned k = 0; k < AHEAD_PIECES; k++)
		if (piece == &a->pieces[k].piece)
			atomic_store_explicit(&a->pieces[k].ready, true, memory_order_release);
	pthread_cond_broadcast(&a->done);
	pthread_mutex_unlock(&a->done_lock);
	uses_put(&f->uses);
}

static bool settled(const struct hearth_ds *ds, const struct stat *st)
{
	uint64_t now = clock_wall_ns(), m = (uint64_t)st->st_mtim.tv_sec * NS_PER_S + (uint64_t)st->st_mtim.tv_nsec, c = (uint64_t)st->st_ctim.tv_sec * NS_PER_S + (uint64_t)st->st_ctim.tv_nsec;

	/* tests do not wait for it */
	return (m + SETTLED_NS < now && c + SETTLED_NS < now) || ds_fault(ds, "ds.settled");
}

/* Return: false, no more now */
static bool begin_one(struct ahead *a, struct hearth_ds_file *f, uint64_t at)
{
	struct hearth_ds_device *d = a->device;
	unsigned k = (a->first + a->n) % AHEAD_PIECES;
	struct piece *piece = &a->pieces[k].piece;
	struct ring *ring = atomic_load(&d->ring);
	size_t n = piece_at(at, (uint64_t)a->size - at);

	/* half of a ring at most lies in wait */
	if (cache_serves(f, at, n) || atomic_fetch_add(&d->ahead, 1) >= ring_slots(ring) / 2) {
		atomic_fetch_sub(&d->ahead, 1);
		return false;
	}
	*piece = (struct piece){ .file = f, .at = at, .n = (uint32_t)n, .cover = (uint32_t)((n + f->offset_align - 1) / f->offset_align * f->offset_align), .path = PATH_AHEAD, .slot = ring_take(ring, false) };
	if (!piece->slot) {
		atomic_fetch_sub(&d->ahead, 1);
		return false;
	}
	atomic_store(&a->pieces[k].ready, false);
	uses_get(&f->uses);
	if (crew_give(d, piece) < 0) {
		uses_put(&f->uses);
		ring_put(ring, piece->slot);
		atomic_fetch_sub(&d->ahead, 1);
		return false;
	}
	a->n++;
	return true;
}

static void begin(struct ahead *a, struct hearth_ds_file *f, struct hearth_ds_device *d)
{
	struct stat st;
	uint64_t at;

	if (fstat(f->fd, &st) < 0 || !settled(f->ds, &st))
		return;
	if (a->n && !same_times(a, &st))
		drop_all(a);
	if (a->n == 0) {
		a->device = d;
		a->changed[0] = st.st_mtim;
		a->changed[1] = st.st_ctim;
		a->size = st.st_size;
		at = a->next - a->next % PIECE_BYTES;
	} else {
		const struct piece *last = &a->pieces[(a->first + a->n - 1) % AHEAD_PIECES].piece;

		at = last->at + last->n;
	}
	while (a->n < AHEAD_PIECES && at < (uint64_t)a->size && begin_one(a, f, at))
		at += piece_at(at, (uint64_t)a->size - at);
}

void ahead_more(struct hearth_ds_file *f, struct hearth_ds_device *d, uint64_t at, uint64_t next)
{
	struct ahead *a = f->block_device || f->ds->o.cache == HEARTH_DS_CACHE_ALWAYS || file_direct(f) < 0 ? NULL : ahead_get(f);

	if (!a || pthread_mutex_trylock(&a->lock) != 0)
		return;
	a->streak = at == a->next ? a->streak + 1 : 0;
	a->next = next;
	/* long calls have enough under way by themselves, more than a crew has */
	if (a->streak >= STREAK && next - at <= (uint64_t)crew_threads(f->ds) * PIECE_BYTES)
		begin(a, f, d);
	pthread_mutex_unlock(&a->lock);
}

void ahead_free(struct hearth_ds_file *f)
{
	struct ahead *a = atomic_load(&f->ahead);

	if (!a)
		return;
	drop_all(a);
	pthread_mutex_destroy(&a->lock);
	pthread_mutex_destroy(&a->done_lock);
	pthread_cond_destroy(&a->done);
	free(a);
}
