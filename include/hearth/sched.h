/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_SCHED_H
#define HEARTH_SCHED_H

/*
 * libhearth-sched: the scheduler in a program of your own. Requests of different types are submitted from any thread; a dispatcher thread decides which
 * starts when, on which of the worker threads, so that short ones do not wait behind long ones. See hearth-sched(3).
 *
 * Nothing here may be used in a child after fork().
 */

#include <stddef.h>
#include <stdint.h>

#ifdef HEARTH_SCHED_BUILD
#pragma GCC visibility push(default)
#endif
#ifdef __cplusplus
extern "C" {
#endif

/** struct hearth_sched - a dispatcher and its workers; opaque */
struct hearth_sched;

/** a type that is not configured: such requests have a queue of their own, and are served last but never starve */
#define HEARTH_SCHED_UNKNOWN UINT32_MAX
/** as a type for hearth_sched_submit: ask the configuration's classify */
#define HEARTH_SCHED_CLASSIFY (UINT32_MAX - 1)

/** enum hearth_sched_end - how a request ended */
enum hearth_sched_end {
	HEARTH_SCHED_DONE,
	HEARTH_SCHED_FAILED,            /* run returned something other than 0 */
	HEARTH_SCHED_OVERLOAD,          /* its type's queue was full, or the scheduler was closed while it waited */
	HEARTH_SCHED_LOST,              /* run took longer than hang_ns: whether it still runs is not known */
};

/** enum hearth_sched_idle - what threads do that have nothing to do */
enum hearth_sched_idle {
	HEARTH_SCHED_ADAPTIVE,          /* look for spin_ns, then sleep */
	HEARTH_SCHED_SLEEP,
	HEARTH_SCHED_POLL,              /* never sleep: a core of its own for each worker and the dispatcher */
};

/**
 * struct hearth_sched_type - one type of requests; all but the name may be 0
 * @name:        borrowed during hearth_sched_open only
 * @mean_ns:     expected time in run; 0 = to be learnt
 * @deadline_ns: policy "edf": after submission; 0 = ten times the mean
 * @ratio:       expected share of requests, 0..1; 0 = to be learnt
 * @queue_max:   requests that may wait; 0 = the configuration's
 */
struct hearth_sched_type {
	const char *name;
	uint64_t mean_ns, deadline_ns;
	double ratio;
	uint32_t queue_max;
};

/** struct hearth_sched_result - @latency_ns: submission to end; @service_ns: in run. Both 0 where it did not run to its end. */
struct hearth_sched_result {
	enum hearth_sched_end end;
	int value;                      /* what run returned */
	uint32_t type;
	uint64_t latency_ns, service_ns;
};

/**
 * struct hearth_sched_config - zero is right for all but workers, types and run
 * @workers:  threads that run requests, 1..256; the dispatcher is one more
 * @policy:   "minimax" (NULL), "darc", "darc-static", "c-fcfs", "fp", "edf", "d-fcfs-random", "d-fcfs-rr", "d-fcfs-hash"
 * @types:    @types_n of them, 1..256
 * @run:      runs a request, on a worker's thread, one at a time on each. Return: 0, or anything else: HEARTH_SCHED_FAILED.
 * @done:     called exactly once for each request that was submitted: after run on the same thread, or on the dispatcher's thread where it did
 *            not run or was lost; it must not block there. It may submit. NULL: nobody to tell.
 * @classify: the type of a request, on the submitter's thread; only for HEARTH_SCHED_CLASSIFY
 * @ctx:      passed to all three
 * @queue_max: requests of a type that may wait; 0 = 4096
 * @reserved, @window_requests, @seed: of policies darc-static, darc and d-fcfs-random; hearth-serve(1) describes them
 * @capacity: requests inside at a time, waiting and running; 0 = 16384; rounded up to a power of two
 * @spin_ns:  HEARTH_SCHED_ADAPTIVE; 0 = 50 us
 * @hang_ns:  a run that takes longer is given up: its request is lost, and another thread takes the worker's place; 0 = never
 * @cpus:     one core a worker, then one for the dispatcher; NULL = anywhere
 * @zero:     all 0
 */
struct hearth_sched_config {
	uint32_t workers, types_n;
	const struct hearth_sched_type *types;
	const char *policy;
	int (*run)(void *ctx, uint32_t worker, uint32_t type, void *request);
	void (*done)(void *ctx, void *request, const struct hearth_sched_result *result);
	uint32_t (*classify)(void *ctx, const void *request);
	void *ctx;
	uint32_t queue_max, reserved, window_requests, capacity;
	uint64_t seed;
	enum hearth_sched_idle idle;
	uint64_t spin_ns, hang_ns;
	const int *cpus;
	uint64_t zero[8];
};

/**
 * hearth_sched_open - start the dispatcher and the workers
 * @config: copied
 * @ret:    for hearth_sched_close; untouched on failure
 * @error:  what is wrong, on what, why, what to do; @room bytes; may be NULL with 0
 * Context: blocks until the workers are there.
 * Return: 0, -EINVAL, -ENOMEM, -EAGAIN (threads).
 */
int hearth_sched_open(const struct hearth_sched_config *config, struct hearth_sched **ret, char *error, size_t room);

/**
 * hearth_sched_submit - hand over a request
 * @type:    its place in the configuration's list, HEARTH_SCHED_CLASSIFY, or anything else for unknown
 * @request: the program's; comes back to run and done; not NULL
 * Context: thread-safe; does not block, allocates nothing; also from run and done.
 * Return: 0 (done will be called), -ENOBUFS (@capacity requests are inside; done will not be called).
 */
int hearth_sched_submit(struct hearth_sched *s, uint32_t type, void *request);

/**
 * struct hearth_sched_stats - of one type, since the start
 * @p50_ns, @p99_ns, @p999_ns: latency, within 19%; of requests that ran
 * @slowdown_p999: latency divided by service time, likewise
 */
struct hearth_sched_stats {
	uint64_t enqueued, started, completed, dropped, lost, steals, held;
	uint64_t mean_ns, p50_ns, p99_ns, p999_ns;
	double rate_hz, slowdown_p999;
	uint32_t depth;
	uint32_t zero;
};

/** hearth_sched_stats - @type: HEARTH_SCHED_UNKNOWN for unknown ones. Context: thread-safe; waits for the dispatcher's next round. Not from done. Return: 0, -EINVAL (type). */
int hearth_sched_stats(struct hearth_sched *s, uint32_t type, struct hearth_sched_stats *ret);
/** hearth_sched_explain - what the policy does at present and why, in words; NUL-terminated, cut at @n bytes. Context: as hearth_sched_stats. */
void hearth_sched_explain(struct hearth_sched *s, char *out, size_t n);
/**
 * hearth_sched_switch - another policy, or other parameters, while requests wait and run
 * @config: policy, types (as many as now), queue_max, reserved, window_requests and seed are taken from it, the rest is not looked at
 * Context: as hearth_sched_stats.
 * Return: 0, -EINVAL, -ENOMEM; on failure all is as it was.
 */
int hearth_sched_switch(struct hearth_sched *s, const struct hearth_sched_config *config, char *error, size_t room);

/**
 * hearth_sched_close - stop and free
 * @drain_ns: for so long what waits is still run; then it ends with HEARTH_SCHED_OVERLOAD. What runs is waited for likewise, and lost then.
 *
 * Every request has ended when it returns. A thread that was given up may still be in run; should it come back, it ends without touching anything.
 * Context: no other call may run or come; not from run or done. NULL is fine.
 * Return: NULL.
 */
struct hearth_sched *hearth_sched_close(struct hearth_sched *s, uint64_t drain_ns);

#ifdef __cplusplus
}
#endif
#ifdef HEARTH_SCHED_BUILD
#pragma GCC visibility pop
#endif
#endif
