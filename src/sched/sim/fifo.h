/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_FIFO_H
#define SIM_FIFO_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

/* A queue of requests, for the policies that only the simulator has; grows as needed. All zero is an empty one. */
struct waiting { uint64_t arrival_ns, request, rest_ns; };

struct fifo {
	struct waiting *items;
	uint64_t head, tail, cap;               /* counters; cap is a power of two */
};

static inline uint64_t fifo_len(const struct fifo *q) { return q->tail - q->head; }
static inline const struct waiting *fifo_head(const struct fifo *q) { return &q->items[q->head & (q->cap - 1)]; }
static inline struct waiting fifo_pop(struct fifo *q) { return q->items[q->head++ & (q->cap - 1)]; }
static inline void fifo_done(struct fifo *q) { free(q->items); }

/* Return: 0, -ENOMEM */
static inline int fifo_push(struct fifo *q, struct waiting item)
{
	if (fifo_len(q) == q->cap) {
		uint64_t cap = q->cap ? 2 * q->cap : 256;
		struct waiting *items = malloc(cap * sizeof(*items));

		if (!items)
			return -ENOMEM;
		for (uint64_t i = 0; i < fifo_len(q); i++)
			items[i] = q->items[(q->head + i) & (q->cap - 1)];
		free(q->items);
		q->items = items;
		q->tail = fifo_len(q);
		q->head = 0;
		q->cap = cap;
	}
	q->items[q->tail++ & (q->cap - 1)] = item;
	return 0;
}

#endif
