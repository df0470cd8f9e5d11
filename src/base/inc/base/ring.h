/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Bounded lock-free rings of pointers. Capacity: a power of two. Head and tail are free-running counters (they wrap correctly), each on its own cache line.
 * spsc: one producer thread, one consumer thread. mpsc: any number of producers, one consumer (per-slot sequence numbers, Vyukov).
 * push: false when full. pop: NULL when empty. Pointers must not be NULL.
 */
struct spsc;
struct mpsc;

struct spsc *spsc_new(size_t capacity);         /* NULL: no memory, or capacity is no power of two (1 is one) */
struct spsc *spsc_free(struct spsc *r);         /* NULL is fine; always returns NULL */
/** spsc_bytes - memory that spsc_init needs; 0 where spsc_new would fail */
size_t spsc_bytes(size_t capacity);
/**
 * spsc_init - an empty ring in the caller's memory; nothing to free. In a MAP_SHARED mapping the two sides may be processes, for which the items' addresses
 * must mean the same (the mapping was made before they forked).
 * @mem: spsc_bytes(@capacity), aligned to 64
 * Return: the ring, at @mem; NULL where spsc_new would fail.
 */
struct spsc *spsc_init(void *mem, size_t capacity);
bool spsc_push(struct spsc *r, void *item);
void *spsc_pop(struct spsc *r);
bool spsc_empty(struct spsc *r);                /* the consumer's; for who is about to sleep */

struct mpsc *mpsc_new(size_t capacity);
struct mpsc *mpsc_free(struct mpsc *r);
bool mpsc_push(struct mpsc *r, void *item);
void *mpsc_pop(struct mpsc *r);

#endif
