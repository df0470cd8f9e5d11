/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_QUEUE_H
#define SCHED_POLICY_QUEUE_H

#include <errno.h>
#include <stdlib.h>

/*
 * Waiting requests: lists of nodes out of one slab, ordered by arrival; a list per type, or per worker (d-FCFS). A slab instead of a ring per queue: its size is the
 * sum of what the types may have waiting, whoever's queue they are in; a node that was given back last is used first, so a few of them stay in the cache
 * however many may wait; and taking one out of the middle leaves no hole.
 */
struct node {
	uint64_t request, arrival_ns;
	uint32_t next, flow;
	uint32_t seq;           /* order of those that came at the same time; wraps */
	uint16_t type;
};

struct queue { uint32_t head, tail, len; };

struct queues {
	struct node *nodes;
	uint32_t nodes_n, fresh, free;  /* those from `fresh` on were never used */
	uint32_t seq;
	struct queue q[TYPES];          /* by type, or by worker */
};

static inline bool node_before(const struct node *a, const struct node *b)
{
	return a->arrival_ns != b->arrival_ns ? a->arrival_ns < b->arrival_ns : (int32_t)(a->seq - b->seq) < 0;
}

static inline uint32_t node_get(struct queues *qs)
{
	uint32_t n = qs->free;

	if (n != NONE)
		qs->free = qs->nodes[n].next;
	else if (qs->fresh < qs->nodes_n)
		n = qs->fresh++;
	return n;
}

static inline void node_put(struct queues *qs, uint32_t n)
{
	qs->nodes[n].next = qs->free;
	qs->free = n;
}

int queues_init(struct queues *qs, uint32_t nodes);
void queues_done(struct queues *qs);
/** queue_insert - where its arrival belongs. Return: it is the head. */
bool queue_insert(struct queues *qs, struct queue *q, uint32_t n);

/** queue_push - as queue_insert; at once when it is the last */
static inline bool queue_push(struct queues *qs, struct queue *q, uint32_t n)
{
	struct node *node = &qs->nodes[n];

	node->next = NONE;
	if (q->len == 0) {
		q->head = q->tail = n;
		q->len = 1;
		return true;
	}
	if (__builtin_expect(node_before(node, &qs->nodes[q->tail]), 0))
		return queue_insert(qs, q, n);
	qs->nodes[q->tail].next = n;
	q->tail = n;
	q->len++;
	return false;
}

static inline uint32_t queue_pop(struct queues *qs, struct queue *q)
{
	uint32_t n = q->head;

	q->head = qs->nodes[n].next;
	q->len--;
	return n;
}

/** queue_remove - the request out of the middle. Return: its node, not given back yet; NONE: it is not there. @ret_head: it was the head */
uint32_t queue_remove(struct queues *qs, struct queue *q, uint32_t type, uint64_t request, bool *ret_head);
/** queues_sorted - all that wait, by arrival, into @ret (room for all) */
void queues_sorted(const struct queues *qs, uint32_t queues_n, struct node *ret);

#endif
