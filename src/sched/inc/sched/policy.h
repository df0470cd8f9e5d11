/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_H
#define SCHED_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The policy core: which waiting request starts on which idle worker, and when. Pure: no clock, no I/O, no allocation after sched_new; the same object
 * file serves the live dispatcher, the gateway and the simulator. Not thread-safe: one owner. Times are in ns of any clock that does not go back.
 *
 * The owner's loop: after every sched_enqueue and sched_complete, and whenever the time that sched_timer gave has come, call sched_next until it says false.
 */
#define SCHED_WORKERS_MAX 256
#define SCHED_TYPES_MAX 256
#define SCHED_NAME_MAX 32
#define SCHED_NEVER UINT64_MAX
/** any type number that is not configured counts as this one: it has a queue of its own and is the policy's last choice, but never starves */
#define SCHED_UNKNOWN UINT32_MAX

/* In the order of sched_policy_names. The last two are for the simulator only: sched_new refuses them. */
enum sched_policy {
	SCHED_CFCFS,            /* centralised first come, first served */
	SCHED_DFCFS_RANDOM,     /* a queue per worker: random, */
	SCHED_DFCFS_RR,         /* round robin, */
	SCHED_DFCFS_HASH,       /* by flow */
	SCHED_FP,               /* fixed priority: shortest type first */
	SCHED_EDF,              /* earliest deadline first */
	SCHED_DARC,             /* Persephone's, as published (SOSP'21) */
	SCHED_DARC_STATIC,      /* so many workers reserved for the shortest types, for good */
	SCHED_MINIMAX,          /* ours: docs/adr */
	SCHED_TS,               /* processor sharing with a quantum (Shinjuku) */
	SCHED_WS,               /* d-FCFS with work stealing (Shenango) */
	SCHED_POLICIES,
};
extern const char *const sched_policy_names[SCHED_POLICIES + 1];        /* NULL-terminated; "minimax", "c-fcfs", ... */

/**
 * struct sched_type - one configured type of requests
 * @name:        "" is its number. A type without a name and a mean is spare until its first request: sched_explain says nothing of it, and DARC does not wait for it.
 * @mean_ns:     expected service time; 0 = to be learnt. A given one is where learning starts, not its end.
 * @deadline_ns: SCHED_EDF: after arrival; 0 = ten times the mean
 * @ratio:       expected share of requests, 0..1; 0 = to be learnt. If every type has mean_ns and ratio, DARC reserves from the first request on.
 * @queue_max:   requests that may wait; 0 = sched_config.queue_max
 */
struct sched_type {
	char name[SCHED_NAME_MAX];
	uint64_t mean_ns, deadline_ns;
	double ratio;
	uint32_t queue_max;
};

/**
 * struct sched_config - everything there is to configure; all zero but workers and types_n is a good configuration (c-FCFS)
 * @reserved:        SCHED_DARC_STATIC: workers reserved for the shortest group, 1..workers-1
 * @queue_max:       requests of a type that may wait, 0 = 4096; at most 2^24
 * @window_requests: DARC: completions before a reservation is looked at again; 0 = 50,000, as published
 * @seed:            SCHED_DFCFS_RANDOM
 * @hold_max:        SCHED_MINIMAX: nothing is held back whose slowdown is that already; 0 = held for as long as it takes. With few workers and rare short requests
 *                   that can be hundreds of times what it takes itself.
 */
struct sched_config {
	enum sched_policy policy;
	uint32_t workers, types_n;
	struct sched_type types[SCHED_TYPES_MAX];
	uint32_t reserved, queue_max, window_requests;
	uint64_t seed;
	double hold_max;
};

/** struct sched_start - a decision: @request (as given to sched_enqueue) runs on @worker from now on */
struct sched_start {
	uint64_t request;
	uint64_t arrival_ns;
	uint32_t worker;
	uint32_t type;                  /* as configured, or SCHED_UNKNOWN */
};

struct sched;

/**
 * sched_new - a scheduler with all its workers idle
 * @cfg: copied
 * Return: 0, -EINVAL with message (which value, why, what would be right), -ENOMEM.
 */
int sched_new(const struct sched_config *cfg, struct sched **ret, struct hearth_err *err);
struct sched *sched_free(struct sched *s);      /* NULL is fine; returns NULL. Waiting requests are forgotten. */

/**
 * sched_switch - another policy, or the same one with other parameters, while requests wait and run
 * @cfg: as for sched_new, with the same number of types; fewer workers than now only if the ones to go are idle or down
 *
 * What waits keeps its order of arrival, what was learnt is kept. Allocates.
 * Return: 0, -EINVAL with message, -ENOMEM; on failure all is as it was.
 */
int sched_switch(struct sched *s, uint64_t now_ns, const struct sched_config *cfg, struct hearth_err *err);

/**
 * sched_enqueue - a request arrived
 * @type:    0..types_n-1; anything else is SCHED_UNKNOWN
 * @flow:    SCHED_DFCFS_HASH: requests of one flow share a worker; any value elsewhere
 * @request: the owner's; handed back by sched_next
 * Return: 0, -ENOBUFS (the type's queue is full; counted as dropped).
 */
int sched_enqueue(struct sched *s, uint64_t now_ns, uint32_t type, uint32_t flow, uint64_t request);
/** sched_enqueue_late - the same for a request that has been waiting since @arrival_ns (<= now_ns) elsewhere */
int sched_enqueue_late(struct sched *s, uint64_t now_ns, uint64_t arrival_ns, uint32_t type, uint32_t flow, uint64_t request);
/** sched_cancel - take a waiting request back. O(what waits in the same queue: of the types that share it; d-FCFS: of all). Return: 0, -ENOENT (it does not wait). */
int sched_cancel(struct sched *s, uint64_t now_ns, uint32_t type, uint64_t request);

/** sched_next - the next request to start, if one should start now. Return: false when none should; look at sched_timer then. */
bool sched_next(struct sched *s, uint64_t now_ns, struct sched_start *ret);
/** sched_timer - when sched_next may say something new without an event before; SCHED_NEVER = never */
uint64_t sched_timer(const struct sched *s);

/** sched_complete - the request on @worker is done; now - start counts as its service time. The worker is idle. Ignored if it runs nothing (it is down, say). */
void sched_complete(struct sched *s, uint64_t now_ns, uint32_t worker);
/** sched_complete_service - the same with a service time that the worker measured itself */
void sched_complete_service(struct sched *s, uint64_t now_ns, uint32_t worker, uint64_t service_ns);
/** sched_worker_down - @worker hangs or died: what it ran counts as lost, and it is given nothing until sched_worker_up. Return: it ran something. */
bool sched_worker_down(struct sched *s, uint64_t now_ns, uint32_t worker);
void sched_worker_up(struct sched *s, uint64_t now_ns, uint32_t worker);

/* ---- what it does, and why ---- */

/** struct sched_type_stats - @steals: starts on a worker that is not reserved for the type's group (DARC); @held: times minimax held it back */
struct sched_type_stats {
	uint64_t enqueued, started, completed, dropped, lost, cancelled, steals, held;
	uint64_t mean_ns;               /* learnt; 0 = nothing yet */
	double rate_hz;                 /* of arrivals; learnt */
	uint32_t depth;                 /* waiting now */
};

#define SCHED_WORKERS_WORDS (SCHED_WORKERS_MAX / 64)

/** struct sched_group - types scheduled alike, by ascending service time; bit w of @reserved / @stealable: worker w */
struct sched_group {
	uint32_t types_n;
	uint16_t types[SCHED_TYPES_MAX];
	double demand;                  /* workers' worth of work that arrives */
	uint64_t reserved[SCHED_WORKERS_WORDS], stealable[SCHED_WORKERS_WORDS];
};

/** @type: SCHED_UNKNOWN for the unknown ones */
void sched_stats(const struct sched *s, uint32_t type, struct sched_type_stats *ret);
/** sched_groups - @ret: room for @max. Return: how many groups there are now; 0 while the policy has none (yet). */
size_t sched_groups(const struct sched *s, struct sched_group *ret, size_t max);
/** sched_updates - how often the reservation (DARC) or the model (minimax) was computed anew */
uint64_t sched_updates(const struct sched *s);
const struct sched_config *sched_config_of(const struct sched *s);
uint32_t sched_waiting(const struct sched *s);  /* all types */
uint32_t sched_idle(const struct sched *s);     /* workers */
/**
 * sched_explain - the present state of the policy in words, a line per fact: groups, reservations, estimates, what is held back and why
 * @out: NUL-terminated, cut at @n bytes
 */
void sched_explain(const struct sched *s, uint64_t now_ns, char *out, size_t n);

#endif
