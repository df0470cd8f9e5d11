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
	for (uint32_t w = 0; w < s->workers_n; w++) {
		if (s->queues.q[w].len > 0)
			bit_set(s->loaded, w);
	}
}

static bool pick(struct sched *s, uint64_t now_ns, uint32_t *ret_queue, uint32_t *ret_worker)
{
	uint32_t w = bit_first_and(s->loaded, s->idle, s->words);

	if (w == NONE)
		return false;
	*ret_queue = *ret_worker = w;
	return true;
}

static void workers(struct sched *s, uint64_t now_ns)
{
	for (uint32_t w = 0; w < s->workers_n; w++) {
		struct queue q = s->queues.q[w];

		if (q.len == 0 || !bit_get(s->down, w) || next_up(s, w) == w)
			continue;
		s->queues.q[w] = (struct queue){ NONE, NONE, 0 };
		bit_clear(s->loaded, w);
		for (uint32_t n = q.head; q.len > 0; q.len--) {
			const struct node *node = &s->queues.nodes[n];
			uint32_t next = node->next, to = route(s, node->type, node->flow);

			queue_push(&s->queues, queue_of(s, to), n);
			bit_set(s->loaded, to);
			n = next;
		}
	}
}

static void explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	static const char *const by[] = { [SCHED_DFCFS_RANDOM] = "at random", [SCHED_DFCFS_RR] = "in turn", [SCHED_DFCFS_HASH] = "by flow" };

	text_add(out, "a queue for each worker, chosen %s at arrival\n", by[s->cfg.policy]);
	for (uint32_t w = 0; w < s->workers_n; w++) {
		if (s->queues.q[w].len > 0)
			text_add(out, "worker %u: %u waiting%s\n", w, s->queues.q[w].len, bit_get(s->down, w) ? " (it is down)" : "");
	}
}

const struct policy policy_dfcfs = { .attach = attach, .route = route, .pick = pick, .workers = workers, .explain = explain };
