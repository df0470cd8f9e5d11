/* SPDX-License-Identifier: Apache-2.0 */
/* Fixed priority, the shortest type first: a queue for each type, in that order. */
#include "fp.h"

void types_sort(uint32_t n, const double *mean_ns, uint16_t *ret)
{
	for (uint32_t t = 0; t < n; t++) {
		uint32_t k = t;

		for (; k > 0 && mean_ns[ret[k - 1]] > mean_ns[t]; k--)
			ret[k] = ret[k - 1];
		ret[k] = (uint16_t)t;
	}
}

void types_by_mean(const struct sched *s, uint16_t *ret)
{
	double mean_ns[TYPES];

	for (uint32_t t = 0; t < s->types_n; t++)
		mean_ns[t] = s->est.of[t].mean_ns;
	types_sort(s->types_n, mean_ns, ret);
}

static void order(struct sched *s, uint64_t now_ns)
{
	uint16_t by_mean[TYPES], of[TYPES];

	types_by_mean(s, by_mean);
	for (uint32_t i = 0; i < s->types_n; i++)
		of[by_mean[i]] = (uint16_t)i;
	of[s->types_n] = (uint16_t)s->types_n;
	sched_map(s, s->types_n + 1, of);
}

static uint64_t pick(struct sched *s, uint64_t now_ns)
{
	uint32_t last = s->types_n, q, w = bit_first(s->idle, s->words);

	if (w == NONE)
		return PICK_NONE;
	q = bit_first(s->queues.nonempty, s->queues.words);
	if (__builtin_expect(waits(s, last), 0) && (q == last || sched_last_due(s, now_ns))) {
		s->last_ns = now_ns;
		return pick_of(last, w);
	}
	return pick_of(q, w);
}

static void explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	uint16_t by_mean[TYPES];
	const char *comma = " ";

	types_by_mean(s, by_mean);
	text_add(out, "the shortest type first:");
	for (uint32_t i = 0; i < s->types_n; i++) {
		if (type_is_spare(s, by_mean[i]))
			continue;
		text_add(out, "%s", comma);
		text_type(out, s, by_mean[i]);
		comma = ", ";
	}
	text_add(out, "; unknown requests last, but one each time the longest type's mean has passed ten times\n");
}

const struct policy policy_fp = { .attach = order, .pick = pick, .learnt = order, .explain = explain };
