/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_LANES_H
#define SCHED_POLICY_LANES_H

/*
 * A lane is a set of types that a policy treats alike; within it the request with the smallest key is next: its arrival, plus what the type adds (EDF). Lanes are in
 * order of priority. c-FCFS and EDF have one lane, fixed priority one a type, DARC and minimax one a group. Each lane is a heap of the types that have
 * something waiting, so a decision costs O(log types) at most, and O(1) in a lane of one type.
 */
#define LANE_WORDS (TYPES / 64 + 1)

struct lane_entry {
	uint64_t key;
	uint32_t seq;
	uint32_t type;
};

struct lanes {
	uint32_t n, words;
	uint64_t nonempty[LANE_WORDS];
	uint16_t of[TYPES];             /* type -> lane */
	uint16_t pos[TYPES];            /* type -> its entry, of those below len */
	uint16_t first[TYPES + 1];      /* lane -> its heap */
	uint16_t len[TYPES];            /* lane -> types that have something waiting */
	uint64_t add_ns[TYPES];         /* type -> added to the arrival */
	struct lane_entry heap[TYPES];
};

/** lanes_set - @of: lane of each type, below @n; @add_ns: NULL = 0 */
void lanes_set(struct sched *s, uint32_t n, const uint16_t *of, const uint64_t *add_ns);
/** lanes_sift - the slow half of lanes_changed */
void lanes_sift(struct sched *s, uint32_t type);

/* the type that is next in a lane that is not empty */
static inline uint32_t lane_top(const struct lanes *l, uint32_t lane) { return l->heap[l->first[lane]].type; }
static inline bool lane_single(const struct lanes *l, uint32_t lane) { return l->first[lane + 1] - l->first[lane] == 1; }

#endif
