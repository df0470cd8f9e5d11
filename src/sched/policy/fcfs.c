/* SPDX-License-Identifier: Apache-2.0 */
/* Centralised first come, first served: one lane. What DARC and minimax do until they know enough, too. */
#include "fcfs.h"

void fcfs_attach(struct sched *s, uint64_t now_ns)
{
	static const uint16_t all_one[TYPES];

	sched_map(s, 1, all_one);
}

uint64_t fcfs_pick(struct sched *s, uint64_t now_ns)
{
	uint32_t w = bit_first(s->idle, s->words);

	return w != NONE ? pick_of(0, w) : PICK_NONE;
}

static void explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	text_add(out, "one queue for all types, in order of arrival; any idle worker takes the first\n");
}

const struct policy policy_cfcfs = { .attach = fcfs_attach, .pick = fcfs_pick, .explain = explain };
