/* SPDX-License-Identifier: Apache-2.0 */
#include "private.h"

int queues_init(struct queues *qs, uint32_t nodes)
{
	/* pages that are never used are never there */
	qs->nodes = calloc(nodes, sizeof(*qs->nodes));
	if (qs->nodes == NULL)
		return -ENOMEM;
	qs->nodes_n = nodes;
	qs->fresh = 0;
	qs->free = NONE;
	for (uint32_t i = 0; i < TYPES; i++)
		qs->q[i] = (struct queue){ NONE, NONE, 0 };
	return 0;
}

void queues_done(struct queues *qs)
{
	free(qs->nodes);
	qs->nodes = NULL;
}

bool queue_insert(struct queues *qs, struct queue *q, uint32_t n)
{
	struct node *node = &qs->nodes[n];
	uint32_t prev = NONE, at = q->len > 0 ? q->head : NONE;

	while (at != NONE && node_before(&qs->nodes[at], node)) {
		prev = at;
		at = qs->nodes[at].next;
	}
	node->next = at;
	if (prev == NONE)
		q->head = n;
	else
		qs->nodes[prev].next = n;
	if (at == NONE)
		q->tail = n;
	q->len++;
	return prev == NONE;
}

uint32_t queue_remove(struct queues *qs, struct queue *q, uint32_t type, uint64_t request, bool *ret_head)
{
	uint32_t prev = NONE, at = q->len > 0 ? q->head : NONE;

	while (at != NONE && (qs->nodes[at].request != request || qs->nodes[at].type != type)) {
		prev = at;
		at = qs->nodes[at].next;
	}
	if (at == NONE)
		return NONE;
	*ret_head = prev == NONE;
	if (prev == NONE)
		q->head = qs->nodes[at].next;
	else
		qs->nodes[prev].next = qs->nodes[at].next;
	if (q->tail == at)
		q->tail = prev;
	q->len--;
	return at;
}

static int by_arrival(const void *a, const void *b)
{
	return node_before(a, b) ? -1 : node_before(b, a);
}

void queues_sorted(const struct queues *qs, uint32_t queues_n, struct node *ret)
{
	size_t k = 0;

	for (uint32_t i = 0; i < queues_n; i++) {
		uint32_t n = qs->q[i].head;

		for (uint32_t left = qs->q[i].len; left > 0; left--, n = qs->nodes[n].next)
			ret[k++] = qs->nodes[n];
	}
	if (k > 1)
		qsort(ret, k, sizeof(*ret), by_arrival);
}
