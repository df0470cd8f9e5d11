/* SPDX-License-Identifier: Apache-2.0 */
/* Fixed priority, the shortest type first, and earliest deadline first. */
#include <string.h>

#include "priority.h"

/* ---- by service time ---- */

/* Ascending by mean, then by number; what is not known yet is first, so that it becomes known. n: without the unknown requests. */
void types_by_mean(const struct sched *s, uint16_t *ret)
{
	for (uint32_t t = 0; t < s->types_n; t++) {
		uint32_t k = t;

		for (; k > 0 && s->est.of[ret[k - 1]].mean_ns > s->est.of[t].mean_ns; k--)
			ret[k] = ret[k - 1];
		ret[k] = (uint16_t)t;
	}
}

static void fp_order(struct sched *s, uint64_t now_ns)
{
	uint16_t order[TYPES], of[TYPES];

	types_by_mean(s, order);
	for (uint32_t i = 0; i < s->types_n; i++)
		of[order[i]] = (uint16_t)i;
	of[s->types_n] = (uint16_t)s->types_n;
	if (s->lanes.n != s->types_n + 1 || memcmp(of, s->lanes.of, (s->types_n + 1) * sizeof(*of)) != 0)
		lanes_set(s, s->types_n + 1, of, NULL);
}

static void fp_attach(struct sched *s, uint64_t now_ns)
{
	s->lanes.n = 0;
	fp_order(s, now_ns);
}

static bool fp_pick(struct sched *s, uint64_t now_ns, uint32_t *ret_queue, uint32_t *ret_worker)
{
	uint32_t u = s->types_n;

	*ret_worker = bit_first(s->idle, s->words);
	*ret_queue = s->queues.q[u].len > 0 && policy_unknown_due(s, now_ns) ? u : lane_top(&s->lanes, bit_first(s->lanes.nonempty, s->lanes.words));
	return true;
}

static void fp_explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	text_add(out, "the shortest type first:");
	for (uint32_t i = 0; i < s->types_n; i++) {
		text_add(out, i > 0 ? ", " : " ");
		text_type(out, s, s->lanes.heap[s->lanes.first[i]].type);
	}
	text_add(out, "; unknown requests last, but one each time the longest type's mean has passed ten times\n");
}

const struct policy policy_fp = { .attach = fp_attach, .pick = fp_pick, .learnt = fp_order, .explain = fp_explain };

/* ---- by deadline ---- */

static uint64_t relative_deadline(const struct sched *s, uint32_t t)
{
	return s->cfg.types[t].deadline_ns > 0 ? s->cfg.types[t].deadline_ns : (uint64_t)(10 * s->est.of[t].mean_ns);
}

/* An unknown request has the latest of all deadlines, as of its arrival: later ones overtake it for that long and no longer. */
static void edf_order(struct sched *s, uint64_t now_ns)
{
	static const uint16_t all_one[TYPES];
	uint64_t add[TYPES] = { 0 };
	uint32_t u = s->types_n;

	add[u] = (uint64_t)(10 * s->est.of[u].mean_ns);
	for (uint32_t t = 0; t < u; t++) {
		add[t] = relative_deadline(s, t);
		add[u] = add[t] > add[u] ? add[t] : add[u];
	}
	if (s->lanes.n != 1 || memcmp(add, s->lanes.add_ns, sizeof(add)) != 0)
		lanes_set(s, 1, all_one, add);
}

static void edf_attach(struct sched *s, uint64_t now_ns)
{
	s->lanes.n = 0;
	edf_order(s, now_ns);
}

static bool edf_pick(struct sched *s, uint64_t now_ns, uint32_t *ret_queue, uint32_t *ret_worker)
{
	*ret_queue = lane_top(&s->lanes, 0);
	*ret_worker = bit_first(s->idle, s->words);
	return true;
}

static void edf_explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	text_add(out, "the earliest deadline first, after arrival:");
	for (uint32_t t = 0; t <= s->types_n; t++) {
		text_add(out, t > 0 ? ", " : " ");
		text_type(out, s, t);
		text_add(out, " ");
		text_ns(out, (double)s->lanes.add_ns[t]);
	}
	text_add(out, "\n");
}

const struct policy policy_edf = { .attach = edf_attach, .pick = edf_pick, .learnt = edf_order, .explain = edf_explain };
