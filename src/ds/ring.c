/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that I/O goes through, of a device: slots of PIECE_BYTES. It grows by segments, as it is needed; a segment is pinned for the device, in huge pages where there are any.
 * Who waits for a slot holds none, and who holds some gives them back without waiting for more: so everybody gets on, however small the ring is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ring.h"

#define HUGE_BYTES (2ull << 20)

static uint8_t *segment_map(size_t bytes, bool touch)
{
	uint8_t *at = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *from;

	if (at == MAP_FAILED)
		return NULL;
	from = (uint8_t *)(((uintptr_t)at + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	if (from > at)
		munmap(at, (size_t)(from - at));
	munmap(from + bytes, (size_t)(at + HUGE_BYTES - from));
	(void)madvise(from, bytes, MADV_HUGEPAGE);
	/* a child has no use for it, and copying what is pinned would take a while */
	(void)madvise(from, bytes, MADV_DONTFORK);
	/* touched now, so that registering does not do it page by page. Linux 5.14; before, registering does */
	if (touch)
		(void)madvise(from, bytes, MADV_POPULATE_WRITE);
	return from;
}

/* r->lock is held. Return: 0, -ENOMEM, -errno. */
static int grow(struct ring *r, struct hearth_err *err)
{
	struct segment *s = &r->segments[r->segments_n];
	int failed;

	if (r->segments_n == r->segments_max)
		return -ENOMEM;
	if (ds_fault(r->device->ds, "ds.ring"))
		return err_set(err, -ENOMEM, "%s: no memory for the ring", r->device->uri);
	s->slots = calloc(SEGMENT_SLOTS, sizeof(*s->slots));
	s->at = s->slots ? segment_map(SEGMENT_BYTES, r->device->kind == DEVICE_CUDA) : NULL;
	if (!s->at) {
		free(s->slots);
		return err_set(err, -ENOMEM, "%s: no memory for the ring", r->device->uri);
	}
	failed = device_pin(r->device, s->at, SEGMENT_BYTES, err);
	if (failed < 0) {
		munmap(s->at, SEGMENT_BYTES);
		free(s->slots);
		return failed;
	}
	for (unsigned k = SEGMENT_SLOTS; k-- > 0;) {
		s->slots[k] = (struct slot){ .next = r->free, .at = s->at + (size_t)k * PIECE_BYTES, .segment = r->segments_n };
		r->free = &s->slots[k];
	}
	r->segments_n++;
	return 0;
}

int ring_get(struct hearth_ds_device *d, struct ring **ret, struct hearth_err *err)
{
	struct ring *r = atomic_load_explicit(&d->ring, memory_order_acquire);
	uint64_t bytes = d->ds->o.ring_bytes ? d->ds->o.ring_bytes : RING_BYTES;
	int failed = 0;

	if (r) {
		*ret = r;
		return 0;
	}
	pthread_mutex_lock(&d->lock);
	r = atomic_load(&d->ring);
	if (!r) {
		unsigned n = bytes < SEGMENT_BYTES ? 1 : bytes / SEGMENT_BYTES < SEGMENTS_MAX ? (unsigned)(bytes / SEGMENT_BYTES) : SEGMENTS_MAX;

		r = calloc(1, sizeof(*r) + n * sizeof(r->segments[0]));
		if (r) {
			r->device = d;
			r->segments_max = n;
			pthread_mutex_init(&r->lock, NULL);
			pthread_cond_init(&r->freed, NULL);
			failed = grow(r, err);
			if (failed < 0)
				ring_free(r);
		} else {
			failed = err_set(err, -ENOMEM, "out of memory");
		}
		if (failed == 0)
			atomic_store_explicit(&d->ring, r, memory_order_release);
	}
	pthread_mutex_unlock(&d->lock);
	if (failed == 0)
		*ret = r;
	return failed;
}

/* r->lock is held */
static struct slot *take(struct ring *r, bool wait)
{
	struct slot *s;

	/* a segment that cannot be had is not asked for again: what there is must do */
	if (!r->free && r->segments_n < r->segments_max && grow(r, NULL) < 0)
		r->segments_max = r->segments_n;
	while (wait && !r->free) {
		r->waiting++;
		pthread_cond_wait(&r->freed, &r->lock);
		r->waiting--;
	}
	s = r->free;
	if (s) {
		r->free = s->next;
		s->used = s->refs = 0;
	}
	return s;
}

struct slot *ring_take(struct ring *r, bool wait)
{
	struct slot *s;

	pthread_mutex_lock(&r->lock);
	s = take(r, wait);
	pthread_mutex_unlock(&r->lock);
	return s;
}

/* fewer than a segment has slots, so that whoever waits for one gets it, however few segments can be had */
struct slot *ring_keep(struct ring *r)
{
	struct slot *s;

	pthread_mutex_lock(&r->lock);
	s = r->kept < r->segments_max && r->kept < SEGMENT_SLOTS - 1 ? take(r, false) : NULL;
	r->kept += s != NULL;
	pthread_mutex_unlock(&r->lock);
	return s;
}

unsigned ring_slots(struct ring *r)
{
	unsigned n;

	pthread_mutex_lock(&r->lock);
	n = r->segments_max * SEGMENT_SLOTS - r->kept;
	pthread_mutex_unlock(&r->lock);
	return n;
}

void ring_put(struct ring *r, struct slot *s)
{
	bool wake;

	pthread_mutex_lock(&r->lock);
	s->next = r->free;
	r->free = s;
	wake = r->waiting > 0;
	pthread_mutex_unlock(&r->lock);
	if (wake)
		pthread_cond_signal(&r->freed);
}

void ring_free(struct ring *r)
{
	if (!r)
		return;
	for (unsigned k = 0; k < r->segments_n; k++) {
		device_unpin(r->device, r->segments[k].at);
		munmap(r->segments[k].at, SEGMENT_BYTES);
		free(r->segments[k].slots);
	}
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->freed);
	free(r);
}
