/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_PRIVATE_H
#define SCHED_POLICY_PRIVATE_H

#include "sched/policy.h"

/*
 * One struct sched, cut into parts with a file each: queues of requests (queue.h), estimates (estimate.h), and a policy (struct policy) that says which types share a
 * queue, and which queue's head goes to which idle worker. sched.c holds them together.
 *
 * A type is an index 0..types_n here; types_n is SCHED_UNKNOWN's.
 */
#define NONE UINT32_MAX
#define TYPES (SCHED_TYPES_MAX + 1)             /* with the unknown ones */
#define WORDS SCHED_WORKERS_WORDS

static inline void bit_set(uint64_t *map, uint32_t i) { map[i / 64] |= 1ull << (i % 64); }
static inline void bit_clear(uint64_t *map, uint32_t i) { map[i / 64] &= ~(1ull << (i % 64)); }
static inline bool bit_get(const uint64_t *map, uint32_t i) { return map[i / 64] >> (i % 64) & 1; }

/* lowest bit that is set in both; NONE */
static inline uint32_t bit_first_and(const uint64_t *a, const uint64_t *b, uint32_t words)
{
	for (uint32_t i = 0; i < words; i++) {
		uint64_t both = a[i] & b[i];

		if (both)
			return i * 64 + (uint32_t)__builtin_ctzll(both);
	}
	return NONE;
}

static inline uint32_t bit_first(const uint64_t *a, uint32_t words) { return bit_first_and(a, a, words); }

struct text;

#include "queue.h"
#include "estimate.h"
#include "edf.h"
#include "darc.h"
#include "minimax.h"

/* A type: what changes at every request. What else is counted follows from these and struct type_counts: see sched_stats. */
struct type {
	uint32_t queue, depth, max;
	uint64_t arrived, completed, sum_ns;    /* since the beginning; of all service times */
	double sum2;                    /* of their squares, in this window of the estimates */
} __attribute__((aligned(64)));

struct type_counts { uint64_t dropped, lost, cancelled, steals, held; };

struct worker {
	uint64_t start_ns;
	uint32_t type;          /* of what it runs; NONE: idle or down */
};

#define PICK_NONE UINT64_MAX
/** pick_of - a decision: the head of that queue, on that worker */
static inline uint64_t pick_of(uint32_t queue, uint32_t worker) { return (uint64_t)queue << 32 | worker; }

/**
 * struct policy - how one policy differs from another; every member but attach and pick may be NULL
 * @attach:   the policy begins: requests may wait, workers may run. It maps the types to queues (sched_map); the last queue is that of the unknown ones.
 * @route:    queues are per worker: the one that this request waits for
 * @pick:     something waits, perhaps no worker is idle; Return: pick_of; or PICK_NONE, and s->timer_ns set if time alone will change that
 * @head:     a queue has another head, or none, but not by a start
 * @started:  a request of @type has left @queue for @worker
 * @done:     a request ended; the worker is idle already
 * @learnt:   the estimates are new
 * @look:     s->completed has reached what it returned last. Return: when to look again; SCHED_NEVER.
 * @workers:  a worker went down or came up
 * @groups, @updates: as in policy.h
 * @explain:  appends its lines
 */
struct policy {
	void (*attach)(struct sched *s, uint64_t now_ns);
	uint32_t (*route)(struct sched *s, uint32_t type, uint32_t flow);
	uint64_t (*pick)(struct sched *s, uint64_t now_ns);
	void (*head)(struct sched *s, uint32_t queue);
	void (*started)(struct sched *s, uint64_t now_ns, uint32_t queue, uint32_t type, uint32_t worker);
	void (*done)(struct sched *s, uint64_t now_ns, uint32_t type, uint32_t worker);
	void (*learnt)(struct sched *s, uint64_t now_ns);
	uint64_t (*look)(struct sched *s, uint64_t now_ns);
	void (*workers)(struct sched *s, uint64_t now_ns);
	size_t (*groups)(const struct sched *s, struct sched_group *ret, size_t max);
	uint64_t (*updates)(const struct sched *s);
	void (*explain)(const struct sched *s, uint64_t now_ns, struct text *out);
};

extern const struct policy policy_cfcfs, policy_dfcfs, policy_fp, policy_edf, policy_darc, policy_minimax;

/* which of the members are there: one look instead of two for each */
enum { HOOK_ROUTE = 1, HOOK_HEAD = 2, HOOK_STARTED = 4, HOOK_DONE = 8 };

struct sched {
	const struct policy *ops;
	uint32_t types_n, workers_n, words, waiting;
	uint8_t hooks;
	struct slab slab;
	uint64_t idle[WORDS];
	uint64_t timer_ns;
	/* When there is more to do at a completion: by their number, or by time; look_at is the least of the estimates' and the policy's. */
	uint64_t completed, look_at, look_at_ns, look_at_estimates, look_at_policy;
	struct queues queues;
	struct type types[TYPES];
	struct worker workers[SCHED_WORKERS_MAX];
	struct type_counts counts[TYPES];
	uint64_t down[WORDS];
	/* FP, DARC: when something out of the last queue was last started: what keeps unknown requests from starving */
	uint64_t last_ns;
	uint64_t rng;                   /* d-FCFS: random numbers, whose turn it is */
	uint32_t turn;
	struct estimates est;
	struct edf edf;
	struct darc darc;
	struct minimax minimax;
	struct sched_config cfg;
};

static inline const struct node *head_of(const struct sched *s, uint32_t queue) { return &s->slab.nodes[s->queues.q[queue].head]; }
static inline bool waits(const struct sched *s, uint32_t queue) { return s->queues.q[queue].head != NONE; }

/** sched_look_again - look_at_estimates or look_at_policy have changed */
static inline void sched_look_again(struct sched *s)
{
	s->look_at = s->look_at_policy < s->look_at_estimates ? s->look_at_policy : s->look_at_estimates;
}

/** sched_map - so many queues, and the queue of each type (NULL: queues are per worker); what waits moves there. Return: false, it was so already. */
bool sched_map(struct sched *s, uint32_t queues, const uint16_t *of);
/**
 * sched_last_due - something waits in the last queue, and it is time that it is started before all else: the longest type's mean has passed ten times since it
 * came and since the last such start. So unknown requests get a start a while, and no more than that.
 */
bool sched_last_due(const struct sched *s, uint64_t now_ns);

/** sched_number - a type as the owner knows it */
static inline uint32_t sched_number(const struct sched *s, uint32_t type) { return type == s->types_n ? SCHED_UNKNOWN : type; }

/** type_is_spare - not configured in any way, and never seen: room for a type to come, of which there is nothing to say */
static inline bool type_is_spare(const struct sched *s, uint32_t t)
{
	return t < s->types_n && s->cfg.types[t].name[0] == '\0' && s->cfg.types[t].mean_ns == 0 && s->types[t].arrived == 0;
}

/* Text that is cut at the end of its room. */
struct text {
	char *at;
	size_t room;
};
void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** text_ns - a time as people write it: "1.5 us" */
void text_ns(struct text *t, double ns);
/** text_type - a type's name, or its number */
void text_type(struct text *t, const struct sched *s, uint32_t type);
/** text_workers - "0-3,7" */
void text_workers(struct text *t, const uint64_t *map);

#endif
