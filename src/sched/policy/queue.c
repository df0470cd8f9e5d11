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

size_t queue_copy(const struct slab *b, const struct queue *q, struct node *ret)
{
	size_t k = 0;

	for (uint32_t n = q->head; n != NONE; n = b->nodes[n].next)
		ret[k++] = b->nodes[n];
	return k;
}

static int by_arrival(const void *a, const void *b)
{
	return node_before(a, b) ? -1 : node_before(b, a);
}

void nodes_sort(struct node *nodes, size_t n)
{
	qsort(nodes, n, sizeof(*nodes), by_arrival);
}
