/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_QUEUE_H
#define SCHED_POLICY_QUEUE_H

#include <errno.h>
#include <stdlib.h>

/*
 * Waiting requests. A queue is a list of nodes by arrival; which types share one is the policy's: all (c-FCFS), those of a group (DARC, minimax), none (fixed priority), or a
 * queue is a worker's (d-FCFS). Nodes are out of one slab. Against a ring for each type: its size is the sum of what the types may have waiting, whatever
 * queue they are in; the node that was given back last is used first, so a few of them stay in the cache however many may wait; types that share a queue need no search for
 * the oldest; taking one out of the middle leaves no hole.
 */
#define QUEUE_WORDS (TYPES / 64 + 1)

struct node {
	uint64_t request, arrival_ns;
	uint32_t next, flow;
	uint32_t seq;           /* order of those that came at the same time; wraps */
	uint16_t type;
};

struct queue { uint32_t head, tail; };         /* empty: head is NONE */

struct slab {
	struct node *nodes;
	uint32_t nodes_n, fresh, free;  /* those from `fresh` on were never used */
	uint32_t seq;
};

struct queues {
	uint32_t n, words;
	uint64_t nonempty[QUEUE_WORDS];
	struct queue q[TYPES];
};

static inline bool node_before(const struct node *a, const struct node *b)
{
	return a->arrival_ns != b->arrival_ns ? a->arrival_ns < b->arrival_ns : (int32_t)(a->seq - b->seq) < 0;
}

static inline uint32_t node_get(struct slab *b)
{
	uint32_t n = b->free;

	if (__builtin_expect(n != NONE, 1))
		b->free = b->nodes[n].next;
	else if (b->fresh < b->nodes_n)
		n = b->fresh++;
	return n;
}

static inline void node_put(struct slab *b, uint32_t n)
{
	b->nodes[n].next = b->free;
	b->free = n;
}

int slab_init(struct slab *b, uint32_t nodes);
void slab_done(struct slab *b);
/** queue_insert - where its arrival belongs. Return: it is the head. */
bool queue_insert(struct slab *b, struct queue *q, uint32_t n);

/** queue_push - as queue_insert; at once when it is the last */
static inline bool queue_push(struct slab *b, struct queue *q, uint32_t n)
{
	struct node *node = &b->nodes[n];

	node->next = NONE;
	if (q->head == NONE) {
		q->head = q->tail = n;
		return true;
	}
	if (__builtin_expect(node_before(node, &b->nodes[q->tail]), 0))
		return queue_insert(b, q, n);
	b->nodes[q->tail].next = n;
	q->tail = n;
	return false;
}

static inline uint32_t queue_pop(struct slab *b, struct queue *q)
{
	uint32_t n = q->head;

	q->head = b->nodes[n].next;
	return n;
}

/** queue_remove - the request out of the middle. Return: its node, not given back yet; NONE: it is not there. @ret_head: it was the head */
uint32_t queue_remove(struct slab *b, struct queue *q, uint32_t type, uint64_t request, bool *ret_head);
/** queues_init - that many queues, all empty */
void queues_init(struct queues *qs, uint32_t n);
/** queues_take - all that waits as one list by arrival; the queues are empty. Return: its first node, or NONE. */
uint32_t queues_take(struct slab *b, struct queues *qs);

#endif
