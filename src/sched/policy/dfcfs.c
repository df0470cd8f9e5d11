/* SPDX-License-Identifier: Apache-2.0 */
/* Decentralised first come, first served: a queue per worker, chosen at arrival. A worker that is down hands its queue to the others. */
#include "private.h"

static uint64_t random_next(struct sched *s)
{
	uint64_t z = s->rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* the worker itself, or the next one that is up; when none is, itself: its queue is handed on when one comes up */
static uint32_t next_up(const struct sched *s, uint32_t w)
{
	for (uint32_t i = 0; i < s->workers_n; i++) {
		uint32_t at = (w + i) % s->workers_n;

		if (!bit_get(s->down, at))
			return at;
	}
	return w;
}

static uint32_t route(struct sched *s, uint32_t type, uint32_t flow)
{
	uint32_t w;

	switch (s->cfg.policy) {
	case SCHED_DFCFS_RR:
		w = next_up(s, s->turn);
		s->turn = w + 1 < s->workers_n ? w + 1 : 0;
		return w;
	case SCHED_DFCFS_HASH:
		/* flows may be small numbers: spread them */
		return next_up(s, (uint32_t)((uint64_t)(flow * 0x9e3779b1u) * s->workers_n >> 32));
	default:
		return next_up(s, (uint32_t)((random_next(s) >> 32) * s->workers_n >> 32));
	}
}

static void attach(struct sched *s, uint64_t now_ns)
{
	sched_map(s, s->workers_n, NULL);
}

static uint64_t pick(struct sched *s, uint64_t now_ns)
{
	uint32_t w = bit_first_and(s->queues.nonempty, s->idle, s->words);

	return w != NONE ? pick_of(w, w) : PICK_NONE;
}

static void workers(struct sched *s, uint64_t now_ns)
{
	for (uint32_t w = 0; w < s->workers_n; w++) {
		uint32_t n = s->queues.q[w].head;

		if (n == NONE || !bit_get(s->down, w) || next_up(s, w) == w)
			continue;
		s->queues.q[w].head = NONE;
		bit_clear(s->queues.nonempty, w);
		while (n != NONE) {
			const struct node *node = &s->slab.nodes[n];
			uint32_t next = node->next, to = route(s, node->type, node->flow);

			queue_push(&s->slab, &s->queues.q[to], n);
			bit_set(s->queues.nonempty, to);
			n = next;
		}
	}
}

static uint32_t length(const struct sched *s, uint32_t w)
{
	uint32_t k = 0;

	for (uint32_t n = s->queues.q[w].head; n != NONE; n = s->slab.nodes[n].next)
		k++;
	return k;
}

static void explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	static const char *const by[] = { [SCHED_DFCFS_RANDOM] = "at random", [SCHED_DFCFS_RR] = "in turn", [SCHED_DFCFS_HASH] = "by flow" };

	text_add(out, "a queue for each worker, chosen %s at arrival\n", by[s->cfg.policy]);
	for (uint32_t w = 0; w < s->workers_n; w++) {
		if (s->queues.q[w].head != NONE)
			text_add(out, "worker %u: %u waiting%s\n", w, length(s, w), bit_get(s->down, w) ? " (it is down)" : "");
	}
}

const struct policy policy_dfcfs = { .attach = attach, .route = route, .pick = pick, .workers = workers, .explain = explain };
