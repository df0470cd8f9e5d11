/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_EDF_H
#define SCHED_POLICY_EDF_H

struct edf_entry {
	uint64_t deadline_ns;
	uint32_t seq, queue;
};

/* a queue for each type; those that are not empty are in a heap by the deadline of their heads */
struct edf {
	uint64_t after_ns[TYPES];       /* type -> its deadline, after arrival */
	uint32_t n, pos[TYPES];         /* queue -> its entry, if that is below n and says so */
	struct edf_entry heap[TYPES];
};

#endif
