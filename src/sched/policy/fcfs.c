/* SPDX-License-Identifier: Apache-2.0 */
/* Centralised first come, first served: one lane. What DARC and minimax do until they know enough, too. */
#include <string.h>

#include "fcfs.h"

void fcfs_attach(struct sched *s, uint64_t now_ns)
{
	static const uint16_t all_one[TYPES];

	lanes_set(s, 1, all_one, NULL);
}

bool fcfs_pick(struct sched *s, uint64_t now_ns, uint32_t *ret_queue, uint32_t *ret_worker)
{
	*ret_queue = lane_top(&s->lanes, 0);
	*ret_worker = bit_first(s->idle, s->words);
	return true;
}

static void explain(const struct sched *s, uint64_t now_ns, struct text *out)
{
	text_add(out, "one queue for all types, in order of arrival; any idle worker takes the first\n");
}

const struct policy policy_cfcfs = { .attach = fcfs_attach, .pick = fcfs_pick, .explain = explain };
