/* SPDX-License-Identifier: Apache-2.0 */
#include "private.h"

int slab_init(struct slab *b, uint32_t nodes)
{
	/* pages that are never used are never there */
	b->nodes = calloc(nodes, sizeof(*b->nodes));
	if (b->nodes == NULL)
		return -ENOMEM;
	b->nodes_n = nodes;
	b->fresh = 0;
	b->free = NONE;
	return 0;
}

void slab_done(struct slab *b)
{
	free(b->nodes);
	b->nodes = NULL;
}

bool queue_insert(struct slab *b, struct queue *q, uint32_t n)
{
	struct node *node = &b->nodes[n];
	uint32_t prev = NONE, at = q->head;

	while (at != NONE && node_before(&b->nodes[at], node)) {
		prev = at;
		at = b->nodes[at].next;
	}
	node->next = at;
	if (prev == NONE)
		q->head = n;
	else
		b->nodes[prev].next = n;
	if (at == NONE)
		q->tail = n;
	return prev == NONE;
}

uint32_t queue_remove(struct slab *b, struct queue *q, uint32_t type, uint64_t request, bool *ret_head)
{
	uint32_t prev = NONE, at = q->head;

	while (at != NONE && (b->nodes[at].request != request || b->nodes[at].type != type)) {
		prev = at;
		at = b->nodes[at].next;
	}
	if (at == NONE)
		return NONE;
	*ret_head = prev == NONE;
	if (prev == NONE)
		q->head = b->nodes[at].next;
	else
		b->nodes[prev].next = b->nodes[at].next;
	if (q->tail == at)
		q->tail = prev;
	return at;
}

void queues_init(struct queues *qs, uint32_t n)
{
	qs->n = n;
	qs->words = (n + 63) / 64;
	for (uint32_t i = 0; i < QUEUE_WORDS; i++)
		qs->nonempty[i] = 0;
	for (uint32_t i = 0; i < n; i++)
		qs->q[i] = (struct queue){ NONE, NONE };
}

static uint32_t merge(struct slab *b, uint32_t x, uint32_t y)
{
	uint32_t first = NONE, *at = &first;

	while (x != NONE && y != NONE) {
		uint32_t *from = node_before(&b->nodes[y], &b->nodes[x]) ? &y : &x, n = *from;

		*from = b->nodes[n].next;
		*at = n;
		at = &b->nodes[n].next;
	}
	*at = x != NONE ? x : y;
	return first;
}

uint32_t queues_take(struct slab *b, struct queues *qs)
{
	uint32_t list[TYPES] = { NONE }, n = qs->n;

	for (uint32_t i = 0; i < n; i++)
		list[i] = qs->q[i].head;
	queues_init(qs, n);
	for (; n > 1; n = (n + 1) / 2) {
		for (uint32_t i = 0; i < n / 2; i++)
			list[i] = merge(b, list[2 * i], list[2 * i + 1]);
		if (n % 2)
			list[n / 2] = list[n - 1];
	}
	return list[0];
}
