/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "ring_private.h"

#define CACHE_LINE 64

/*
 * Each side keeps a copy of the other's counter and reads the shared one only when the copy says full or empty: a busy ring costs one cache-line transfer
 * a batch, not one an item. The first items lie in the line of the producer's counter, so that a small ring hands over an item with one transfer.
 */
struct spsc {
	alignas(CACHE_LINE) _Atomic size_t head;        /* next to read; the consumer's */
	size_t tail_seen, consumer_mask;
	alignas(CACHE_LINE) _Atomic size_t tail;        /* next to write; the producer's */
	size_t head_seen, producer_mask;
	void *slot[];
};

/*
 * Dmitry Vyukov's bounded queue. A slot's seq is 2 * pos while it is free for the item number pos, 2 * pos + 1 while it holds that item. The factor of two
 * tells "holds pos" from "free for pos + 1", which the published form confuses at capacity 1.
 */
struct mpsc_slot {
	_Atomic size_t seq;
	void *item;
};

struct mpsc {
	alignas(CACHE_LINE) _Atomic size_t tail;        /* next to claim; all producers */
	alignas(CACHE_LINE) size_t head;                /* next to read; the consumer's alone */
	alignas(CACHE_LINE) size_t capacity;
	struct mpsc_slot slot[];
};

/* Whole cache lines; 0: no such capacity. */
static size_t ring_bytes(size_t capacity, size_t head_bytes, size_t slot_bytes)
{
	if (capacity == 0 || (capacity & (capacity - 1)) != 0)
		return 0;
	if (capacity > (SIZE_MAX / 2 - head_bytes) / slot_bytes)
		return 0;
	return (head_bytes + capacity * slot_bytes + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
}

static void *ring_alloc(size_t capacity, size_t head_bytes, size_t slot_bytes)
{
	size_t bytes = ring_bytes(capacity, head_bytes, slot_bytes);

	return bytes > 0 ? aligned_alloc(CACHE_LINE, bytes) : NULL;
}

static struct spsc *spsc_init_at(struct spsc *r, size_t capacity, size_t start)
{
	atomic_init(&r->tail, start);
	atomic_init(&r->head, start);
	r->head_seen = start;
	r->tail_seen = start;
	r->consumer_mask = capacity - 1;
	r->producer_mask = capacity - 1;
	return r;
}

struct spsc *spsc_new_at(size_t capacity, size_t start)
{
	struct spsc *r = ring_alloc(capacity, offsetof(struct spsc, slot), sizeof(r->slot[0]));

	return r != NULL ? spsc_init_at(r, capacity, start) : NULL;
}

size_t spsc_bytes(size_t capacity)
{
	return ring_bytes(capacity, offsetof(struct spsc, slot), sizeof(void *));
}

struct spsc *spsc_init(void *mem, size_t capacity)
{
	assert(((uintptr_t)mem & (CACHE_LINE - 1)) == 0);
	return spsc_bytes(capacity) > 0 ? spsc_init_at(mem, capacity, 0) : NULL;
}

struct spsc *spsc_new(size_t capacity)
{
	return spsc_new_at(capacity, 0);
}

struct spsc *spsc_free(struct spsc *r)
{
	free(r);
	return NULL;
}

bool spsc_push(struct spsc *r, void *item)
{
	size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	assert(item != NULL);
	if (tail - r->head_seen > r->producer_mask) {
		r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
		if (tail - r->head_seen > r->producer_mask)
			return false;
	}
	r->slot[tail & r->producer_mask] = item;
	atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
	return true;
}

void *spsc_pop(struct spsc *r)
{
	size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	void *item;

	if (head == r->tail_seen) {
		r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
		if (head == r->tail_seen)
			return NULL;
	}
	item = r->slot[head & r->consumer_mask];
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
	return item;
}

bool spsc_empty(struct spsc *r)
{
	return atomic_load_explicit(&r->head, memory_order_relaxed) == atomic_load_explicit(&r->tail, memory_order_acquire);
}

struct mpsc *mpsc_new_at(size_t capacity, size_t start)
{
	struct mpsc *r = ring_alloc(capacity, sizeof(*r), sizeof(r->slot[0]));

	if (r == NULL)
		return NULL;
	atomic_init(&r->tail, start);
	r->head = start;
	r->capacity = capacity;
	for (size_t pos = start, i = 0; i < capacity; i++, pos++)
		atomic_init(&r->slot[pos & (capacity - 1)].seq, 2 * pos);
	return r;
}

struct mpsc *mpsc_new(size_t capacity)
{
	return mpsc_new_at(capacity, 0);
}

struct mpsc *mpsc_free(struct mpsc *r)
{
	free(r);
	return NULL;
}

bool mpsc_push(struct mpsc *r, void *item)
{
	size_t pos = atomic_load_explicit(&r->tail, memory_order_relaxed);
	struct mpsc_slot *slot;

	assert(item != NULL);
	for (;;) {
		size_t seq, behind;

		slot = &r->slot[pos & (r->capacity - 1)];
		seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
		behind = seq - 2 * pos;
		if (behind == 0) {
			if (atomic_compare_exchange_weak_explicit(&r->tail, &pos, pos + 1, memory_order_relaxed, memory_order_relaxed))
				break;
		} else if (behind > SIZE_MAX / 2) {
			return false;   /* still holds an item of the lap before */
		} else {
			pos = atomic_load_explicit(&r->tail, memory_order_relaxed);
		}
	}
	slot->item = item;
	atomic_store_explicit(&slot->seq, 2 * pos + 1, memory_order_release);
	return true;
}

void *mpsc_pop(struct mpsc *r)
{
	size_t pos = r->head;
	struct mpsc_slot *slot = &r->slot[pos & (r->capacity - 1)];
	void *item;

	/* claimed but not yet written counts as empty: items come out in the order in which they were claimed */
	if (atomic_load_explicit(&slot->seq, memory_order_acquire) != 2 * pos + 1)
		return NULL;
	item = slot->item;
	atomic_store_explicit(&slot->seq, 2 * (pos + r->capacity), memory_order_release);
	r->head = pos + 1;
	return item;
}
