/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_SIM_H
#define SCHED_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sched/policy.h"
#include "sched/recording.h"
#include "sched/workload.h"

/*
 * Discrete-event simulator of the scheduler: arrivals (Poisson, or recorded), a dispatcher, workers, and between them the very object files of the policy
 * core. SCHED_TS and SCHED_WS, which the core does not have, are simulated here. One run uses one thread and nothing shared: runs may go in parallel.
 *
 * The same seed gives the same arrivals and service times whatever the policy, so that policies are compared on the same requests.
 */
#define SIM_REQUESTS_MAX 1000000000ull
#define SIM_QUEUE_MAX_DEFAULT (1u << 17)

/**
 * struct sim_trace - requests as they came to a live dispatcher
 * @workload: its types: names, shares and mean service times as recorded; one phase
 * @requests: their types are the workload's; a service time of 0 has become 1
 */
struct sim_trace {
	struct workload *workload;
	struct recorded_request *requests;
	size_t n;
};

/**
 * sim_trace_load - read a recorded trace
 * @path: sched/recording.h
 * @ret:  sim_trace_free it; untouched on failure
 * Return: 0, -EINVAL with file:line, -ENOMEM, -errno of reading.
 */
int sim_trace_load(const char *path, struct sim_trace **ret, struct hearth_err *err);
int sim_trace_parse(const char *text, size_t len, const char *file, struct sim_trace **ret, struct hearth_err *err);
struct sim_trace *sim_trace_free(struct sim_trace *t);  /* NULL is fine; returns NULL */

enum sim_target_kind { SIM_TARGET_NONE, SIM_TARGET_SLOWDOWN, SIM_TARGET_LATENCY };

/**
 * struct sim_target - what a search or an early end goes by: the 99.9th percentile of
 * @kind:  the slowdown over all requests, or the latency of @type in ns
 * @value: is at most this
 */
struct sim_target {
	enum sim_target_kind kind;
	uint32_t type;
	double value;
};

/**
 * struct sim_config - one run; sim_config_default fills it in
 * @workload:     borrowed; phases follow each other in time
 * @trace:        recorded arrivals instead of Poisson ones, borrowed; @workload is then the trace's
 * @load:         share of the workers' capacity that the requests ask for, in every phase alike (times the phase's own scale); or
 * @rate_hz:      requests a second; both 0 with a @trace: as recorded; phases with a rate of their own keep it
 * @requests:     at most so many; 0 = until the phases or the trace end
 * @warmup:       share of the requests that is not measured
 * @known:        the policy is told the types' mean service times and shares instead of learning them
 * @rtt_ns:       added to every latency, and so to the slowdown: network time that the scheduler does not see
 * @overhead_ns:  every request holds its worker so much longer (receive, reply, completion message)
 * @service_only: the policy is told service times without overhead_ns, as a worker measures them itself (and as Persephone corrects them); else from start to
 *                completion, as a dispatcher sees them
 * @dispatch_ns:  every request holds the dispatcher, which is one, so long before it is queued
 * @scv:          of all service times, in place of the workload's; < 0 = as the workload says
 * @misclassify:  share of the requests of which the policy is told a type drawn at random
 * @of_mean:      slowdown is 1 + (time not served) / (mean of the type) instead of latency / (service time of the request)
 * @reserved, @window_requests, @queue_max, @hold_max: as in struct sched_config
 * @quantum_ns, @preempt_ns: SCHED_TS: slice of time, and what taking a worker from a request costs
 * @ts_multi:     SCHED_TS: a queue a type, the one whose head has waited longest for its mean first; else one queue
 * @steal_ns:     SCHED_WS: what taking a request from another worker's queue costs
 * @interval_ns:  a line of the time series each; 0 = none
 * @stop:         end the run as soon as it is certain that this target is missed; SIM_TARGET_NONE = never
 * @progress:     called now and then with requests done and, when that is known, to be done; false ends the run with -EINTR. May be NULL.
 */
struct sim_config {
	const struct workload *workload;
	const struct sim_trace *trace;
	enum sched_policy policy;
	uint32_t workers, reserved, window_requests, queue_max;
	double load, rate_hz, warmup, scv, misclassify, hold_max;
	uint64_t requests, seed;
	uint64_t rtt_ns, overhead_ns, dispatch_ns, quantum_ns, preempt_ns, steal_ns, interval_ns;
	bool known, of_mean, ts_multi, service_only;
	struct sim_target stop;
	bool (*progress)(void *arg, uint64_t done, uint64_t all);
	void *progress_arg;
};

struct sim_config sim_config_default(void);

/** struct sim_quantiles - of @n values, to 0.1%. @p999_all: with dropped requests as infinitely slow ones (HUGE_VAL). */
struct sim_quantiles {
	uint64_t n;
	double mean, p50, p99, p999, p999_all, max;
};

struct sim_type_result {
	uint64_t arrived, dropped, stolen, held;
	struct sim_quantiles latency_ns, slowdown;
};

/** struct sim_interval - what started in @interval_ns from @from_ns on; one sim_quantiles a type and one for all (the last) */
struct sim_interval {
	uint64_t from_ns;
	uint32_t phase;
	struct sim_quantiles *latency_ns, *slowdown;
};

/** struct sim_update - the policy's groups from @at_ns on */
struct sim_update {
	uint64_t at_ns;
	size_t groups_n;
	struct sched_group *groups;
};

/**
 * struct sim_result - what came of it
 * @types:      one a type of the workload
 * @stopped:    the run ended early: cfg->stop is missed. The other figures are then of a part.
 * @updates:    changes of reservations, in order, 4096 at most; @updates_n == 0 while the policy has none
 * @model_updates: how often the policy computed its reservation or model anew
 * @preempted:  SCHED_TS
 */
struct sim_result {
	uint32_t types_n;
	struct sim_type_result *types;
	struct sim_quantiles slowdown;
	uint64_t arrived, completed, dropped, stolen, preempted, model_updates, events;
	double rate_hz, throughput_hz, utilisation, simulated_s, wall_s;
	bool stopped;
	struct sim_update *updates;
	size_t updates_n;
	struct sim_interval *intervals;
	size_t intervals_n;
};

/**
 * sim_run - simulate
 * @ret: sim_result_done it; untouched on failure
 * Return: 0, -EINVAL with message, -ENOMEM, -EINTR (asked by @progress), -EDEADLK (a policy that leaves requests waiting for good, with message).
 */
int sim_run(const struct sim_config *cfg, struct sim_result *ret, struct hearth_err *err);
void sim_result_done(struct sim_result *r);
/** sim_meets - whether a run's figures meet a target; dropped requests count as infinitely slow */
bool sim_meets(const struct sim_result *r, const struct sim_target *t);

/** struct sim_max - the highest load that meets a target, and one run at it; @load 0: not even the lowest does */
struct sim_max {
	double load, rate_hz;
	unsigned runs;
	struct sim_result at;
};

/**
 * sim_find_max_load - search by sections, between loads of 0.002 and 0.999, to 0.0005
 * @jobs: runs at a time, 1..64
 * @ret:  sim_result_done its @at
 * Return: 0, and as sim_run.
 */
int sim_find_max_load(const struct sim_config *cfg, const struct sim_target *t, unsigned jobs, struct sim_max *ret, struct hearth_err *err);

#endif
