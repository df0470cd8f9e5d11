/* SPDX-License-Identifier: Apache-2.0 */
/* Earliest deadline first. Within a type that is first come, first served. */
#include <string.h>

#include "private.h"

static bool entry_before(const struct edf_entry *a, const struct edf_entry *b)
{
	return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns : (int32_t)(a->seq - b->seq) < 0;
}

static void place(struct edf *d, uint32_t at, struct edf_entry e)
{
	d->heap[at] = e;
	d->pos[e.queue] = at;
}

/* @e goes where the entry @at is (which may be itself), or up or down from there */
static void sift(struct edf *d, uint32_t at, struct edf_entry e)
{
	for (; at > 0 && entry_before(&e, &d->heap[(at - 1) / 2]); at = (at - 1) / 2)
		place(d, at, d->heap[(at - 1) / 2]);
	for (uint32_t child; (child = 2 * at + 1) < d->n; at = child) {
		child += child + 1 < d->n && entry_before(&d->heap[child + 1], &d->heap[child]);
		if (!entry_before(&d->heap[child], &e))
			break;
		place(d, at, d->heap[child]);
	}
	place(d, at, e);
}

static void head(struct sched *s, uint32_t queue)
{
	struct edf *d = &s->edf;
	uint32_t at = d->pos[queue];
	bool in = at < d->n && d->heap[at].queue == queue;

	if (waits(s, queue)) {
		const struct node *n = head_of(s, queue);

		sift(d, in ? at : d->n++, (struct edf_entry){ n->arrival_ns + d->after_ns[queue], n->seq, queue });
	} else if (in) {
		d->n--;
		if (at < d->n)
			sift(d, at, d->heap[d->n]);
	}
}

static void started(struct sched *s, uint64_t now_ns, uint32_t queue, uint32_t type, uint32_t worker)
{
	head(s, queue);
}

static void heap_all(struct sched *s)
{
	s->edf.n = 0;
	for (uint32_t q = 0; q <= s->types_n; q++)
		head(s, q);
}

static uint64_t after_arrival(const struct sched *s, uint32_t t)
{
	return s->cfg.types[t].deadline_ns > 0 ? s->cfg.types[t].deadline_ns : (uint64_t)(10 * s->est.of[t].mean_ns);
}

/* An unknown request has the latest of all deadlines, as of its arrival: later ones overtake it for that long and no longer. */
static void learnt(struct sched *s, uint64_t now_ns)
{
	struct edf *d = &s->edf;
	uint32_t u = s->types_n;

	d->after_ns[u] = (uint64_t)(10 * s->est.of[u].mean_ns);
	for (uint32_t t = 0; t < u; t++) {
		d->after_ns[t] = after_arrival(s, t);
		d->after_ns[u] = d->after_ns[t] > d->after_ns[u] ? d->after_ns[t] : d->after_ns[u];
	}
	heap_all(s);
}

static void attach(struct sched *s, uint64_t now_ns)
{
	uint16_t of[TYPES];

	for (uint32_t t = 0; t <= s->types_n; t++)
		of[t] = (uint16_t)t;
	s->edf.n = 0;
	sched_map(s, s->types_n + 1, of);
	learnt(s, now_ns);
}

static uint64_t pick(struct sched *s, uint64_t now_ns)
{
	uint32_t w = bit_first(s->idle, s->words);

	return w != NONE ? pick_of(s->edf.heap[0].queue, w) : PICK_NONE;
}

static void explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	const char *comma = " ";

	text_add(out, "the earliest deadline first, after arrival:");
	for (uint32_t t = 0; t <= s->types_n; t++) {
		if (type_is_spare(s, t))
			continue;
		text_add(out, "%s", comma);
		comma = ", ";
		text_type(out, s, t);
		text_add(out, " ");
		text_ns(out, (double)s->edf.after_ns[t]);
	}
	text_add(out, "\n");
}

const struct policy policy_edf = { .attach = attach, .pick = pick, .head = head, .started = started, .learnt = learnt, .explain = explain };
