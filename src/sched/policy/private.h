/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_PRIVATE_H
#define SCHED_POLICY_PRIVATE_H

#include "sched/policy.h"

/*
 * One struct sched, cut into parts with a file each: queues of requests (queue.h), lanes (lanes.h: which type's head is next), estimates (estimate.h),
 * and a policy (struct policy) that only says which waiting request goes to which idle worker. sched.c holds them together.
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
#include "lanes.h"
#include "estimate.h"
#include "darc.h"
#include "minimax.h"

/* what is known of a type besides its estimates */
struct type {
	uint32_t depth, max;
	uint64_t enqueued, started, completed, dropped, lost, cancelled, steals, held;
};

struct worker {
	uint64_t start_ns;
	uint32_t type;          /* of what it runs; NONE: idle or down */
};

/**
 * struct policy - how one policy differs from another; every member but attach and pick may be NULL
 * @attach:   the policy begins: requests may wait, workers may run
 * @route:    queues are per worker: the one that this request waits for
 * @pick:     something waits and a worker is idle; Return: false, and s->timer_ns set if time alone will change that
 * @started:  @type has left its queue for @worker
 * @done:     a request ended; the worker is idle already
 * @learnt:   the estimates are new
 * @workers:  a worker went down or came up
 * @groups, @updates: as in policy.h
 * @explain:  appends its lines
 */
struct policy {
	void (*attach)(struct sched *s, uint64_t now_ns);
	uint32_t (*route)(struct sched *s, uint32_t type, uint32_t flow);
	bool (*pick)(struct sched *s, uint64_t now_ns, uint32_t *ret_queue, uint32_t *ret_worker);
	void (*started)(struct sched *s, uint64_t now_ns, uint32_t type, uint32_t worker);
	void (*done)(struct sched *s, uint64_t now_ns, uint32_t type, uint32_t worker, uint64_t service_ns);
	void (*learnt)(struct sched *s, uint64_t now_ns);
	void (*workers)(struct sched *s, uint64_t now_ns);
	size_t (*groups)(const struct sched *s, struct sched_group *ret, size_t max);
	uint64_t (*updates)(const struct sched *s);
	void (*explain)(const struct sched *s, uint64_t now_ns, struct text *out);
};

extern const struct policy policy_cfcfs, policy_dfcfs, policy_fp, policy_edf, policy_darc, policy_minimax;

struct sched {
	const struct policy *ops;
	uint32_t types_n, workers_n, waiting, idle_n, words;
	uint64_t idle[WORDS], down[WORDS];
	uint64_t timer_ns;
	struct worker workers[SCHED_WORKERS_MAX];
	struct type types[TYPES];
	struct queues queues;
	struct lanes lanes;
	struct estimates est;
	/* d-FCFS: the worker that is next in turn, and the state of its random numbers; workers whose queue holds something */
	uint32_t turn;
	uint64_t rng, loaded[WORDS];
	/* when an unknown request was last started: what keeps them from starving */
	uint64_t unknown_ns;
	struct darc darc;
	struct minimax minimax;
	struct sched_config cfg;
};

static inline struct queue *queue_of(struct sched *s, uint32_t q) { return &s->queues.q[q]; }
static inline const struct node *head_of(const struct sched *s, uint32_t q) { return &s->queues.nodes[s->queues.q[q].head]; }

/** policy_unknown_due - an unknown request waits, and it is time that one is started before all others. So they get a start a while, and no more than that. */
bool policy_unknown_due(const struct sched *s, uint64_t now_ns);

/** sched_number - a type as the owner knows it */
static inline uint32_t sched_number(const struct sched *s, uint32_t type) { return type == s->types_n ? SCHED_UNKNOWN : type; }

/** type_is_spare - not configured in any way, and never seen: room for a type to come, of which there is nothing to say */
static inline bool type_is_spare(const struct sched *s, uint32_t t)
{
	return t < s->types_n && s->cfg.types[t].name[0] == '\0' && s->cfg.types[t].mean_ns == 0 && s->types[t].enqueued + s->types[t].dropped == 0;
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
