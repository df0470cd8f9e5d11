/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_TREE_H
#define SIM_TREE_H

#include <stdint.h>
#include <string.h>

#include "sched/policy.h"

/*
 * Which worker is done next: a tournament over all of them. A leaf is time << 8 | worker, so that a node is the smaller of its two children and names the
 * winner too; one worker's change costs a load, a minimum and a store a level, without a branch.
 */
#define TREE_IDLE UINT64_MAX

struct tree {
	uint32_t leaves;                        /* a power of two */
	uint64_t node[2 * SCHED_WORKERS_MAX];   /* 1 is the root; leaf w is leaves + w */
};

static inline void tree_init(struct tree *t, uint32_t workers)
{
	for (t->leaves = 1; t->leaves < workers; t->leaves *= 2)
		;
	memset(t->node, 0xff, sizeof(t->node));
}

static inline void tree_put(struct tree *t, uint32_t worker, uint64_t key)
{
	uint32_t i = t->leaves + worker;

	t->node[i] = key;
	for (; i > 1; i /= 2) {
		uint64_t other = t->node[i ^ 1];

		key = key < other ? key : other;
		t->node[i / 2] = key;
	}
}

static inline void tree_set(struct tree *t, uint32_t worker, uint64_t at_ns) { tree_put(t, worker, at_ns << 8 | worker); }
static inline void tree_clear(struct tree *t, uint32_t worker) { tree_put(t, worker, TREE_IDLE); }
/* UINT64_MAX >> 8 while all are idle: later than any event */
static inline uint64_t tree_at(const struct tree *t) { return t->node[1] >> 8; }
static inline uint32_t tree_worker(const struct tree *t) { return t->node[1] & 0xff; }

#endif
