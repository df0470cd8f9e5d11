/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POOL_H
#define SCHED_POOL_H

#include <stdatomic.h>
#include <stdint.h>

/*
 * Free numbers 0..n-1, taken and given back by any thread, without locks: a stack (Treiber) whose head carries a count, so that a number that was taken
 * and came back meanwhile is noticed.
 */
struct pool {
	_Atomic uint64_t head;          /* count << 32 | number + 1; 0 in the lower half: empty */
	_Atomic uint32_t *next;         /* number + 1 of the one below; the caller's memory, n of them */
};

static inline void pool_put(struct pool *p, uint32_t number)
{
	uint64_t head = atomic_load_explicit(&p->head, memory_order_relaxed);

	do {
		atomic_store_explicit(&p->next[number], (uint32_t)head, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(&p->head, &head, ((head >> 32) + 1) << 32 | (number + 1), memory_order_release, memory_order_relaxed));
}

/* Return: a number, or UINT32_MAX. */
static inline uint32_t pool_take(struct pool *p)
{
	uint64_t head = atomic_load_explicit(&p->head, memory_order_acquire);
	uint32_t below;

	do {
		if ((uint32_t)head == 0)
			return UINT32_MAX;
		below = atomic_load_explicit(&p->next[(uint32_t)head - 1], memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(&p->head, &head, ((head >> 32) + 1) << 32 | below, memory_order_acquire, memory_order_acquire));
	return (uint32_t)head - 1;
}

#endif
