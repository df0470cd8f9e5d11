/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "private.h"

static bool entry_before(const struct lane_entry *a, const struct lane_entry *b)
{
	return a->key != b->key ? a->key < b->key : (int32_t)(a->seq - b->seq) < 0;
}

static void place(struct lanes *l, struct lane_entry *heap, uint32_t at, struct lane_entry e)
{
	heap[at] = e;
	l->pos[e.type] = (uint16_t)at;
}

static uint32_t sift_up(struct lanes *l, struct lane_entry *heap, uint32_t at)
{
	struct lane_entry e = heap[at];

	while (at > 0 && entry_before(&e, &heap[(at - 1) / 2])) {
		place(l, heap, at, heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	place(l, heap, at, e);
	return at;
}

static void sift_down(struct lanes *l, struct lane_entry *heap, uint32_t n, uint32_t at)
{
	struct lane_entry e = heap[at];

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && entry_before(&heap[child + 1], &heap[child]))
			child++;
		if (!entry_before(&heap[child], &e))
			break;
		place(l, heap, at, heap[child]);
		at = child;
	}
	place(l, heap, at, e);
}

void lanes_sift(struct sched *s, uint32_t type)
{
	struct lanes *l = &s->lanes;
	uint32_t lane = l->of[type], n = l->len[lane], at = l->pos[type];
	struct lane_entry *heap = &l->heap[l->first[lane]];
	bool in = at < n && heap[at].type == type;

	if (s->queues.q[type].len == 0) {
		if (!in)
			return;
		l->len[lane] = (uint16_t)--n;
		if (n == 0) {
			bit_clear(l->nonempty, lane);
		} else if (at < n) {
			place(l, heap, at, heap[n]);
			sift_down(l, heap, n, sift_up(l, heap, at));
		}
		return;
	}
	if (!in) {
		at = n;
		l->len[lane] = (uint16_t)++n;
		bit_set(l->nonempty, lane);
	}
	place(l, heap, at, (struct lane_entry){ head_of(s, type)->arrival_ns + l->add_ns[type], head_of(s, type)->seq, type });
	sift_down(l, heap, n, sift_up(l, heap, at));
}

void lanes_set(struct sched *s, uint32_t n, const uint16_t *of, const uint64_t *add_ns)
{
	struct lanes *l = &s->lanes;
	uint32_t types = s->types_n + 1;

	memset(l, 0, sizeof(*l));
	l->n = n;
	l->words = (n + 63) / 64;
	for (uint32_t t = 0; t < types; t++) {
		l->of[t] = of[t];
		l->first[of[t] + 1]++;
		if (add_ns != NULL)
			l->add_ns[t] = add_ns[t];
	}
	for (uint32_t i = 0; i < n; i++)
		l->first[i + 1] = (uint16_t)(l->first[i + 1] + l->first[i]);
	/* a lane of one type never sifts: its entry is there for good */
	for (uint32_t t = 0; t < types; t++) {
		if (lane_single(l, of[t]))
			l->heap[l->first[of[t]]].type = t;
		if (s->queues.q[t].len > 0)
			lanes_sift(s, t);
	}
}
