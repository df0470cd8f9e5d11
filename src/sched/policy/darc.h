/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_DARC_H
#define SCHED_POLICY_DARC_H

struct darc_group {
	double demand;                                  /* in workers */
	uint64_t reserved[WORDS], stealable[WORDS];
};

struct darc {
	bool reserved;                                  /* before that: c-FCFS */
	bool narrow;                                    /* reserved, and workers and groups fit a word each */
	bool delayed;                                   /* some type's second request has waited for longer than its mean */
	uint32_t groups_n, spillway;
	uint64_t last;                                  /* narrow: the bit of the last queue */
	uint64_t updates, window;                       /* window: s->completed when it began */
	struct { uint64_t completed, sum_ns; } begin[TYPES];    /* of struct type, then */
	double share[TYPES];                            /* of the work that arrived, as of the last reservation; < 0: the type was not there */
	double mean_ns[TYPES], ratio[TYPES];            /* what that was computed from */
	struct darc_group group[TYPES];                 /* by lane; the last one is of what has no group */
};

#endif
