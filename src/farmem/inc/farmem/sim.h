/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_SIM_H
#define FARMEM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "farmem/policy.h"

/*
 * A day of many functions under a memory policy: how much local memory it takes, and what that costs. The policy "hearth" is the object that hearthd runs (farmem/policy.h). What is
 * measured and what is assumed of a function's memory is in hearth-sim-mem(1) and src/farmem/sim/model.c.
 */

/* ---- traces ---- */

#define MEMSIM_RUN_QUANTILES 7
extern const double memsim_run_quantiles[MEMSIM_RUN_QUANTILES];         /* 0, 0.01, 0.25, 0.5, 0.75, 0.99, 1 */

/**
 * struct memsim_function - one function of a trace
 * @run_ms:                    its run times at memsim_run_quantiles, ascending
 * @idle_bytes, @typical_bytes, @busy_bytes: 5th, 50th and 95th percentile of what its application had allocated
 */
struct memsim_function {
	double run_ms[MEMSIM_RUN_QUANTILES];
	uint64_t idle_bytes, typical_bytes, busy_bytes;
};

#define MEMSIM_NAME_BYTES 129

/** struct memsim_trace - @calls: functions_n * minutes counts, those of a function in a row;  @names: one a function; NULL of a synthetic one */
struct memsim_trace {
	char (*names)[MEMSIM_NAME_BYTES];
	struct memsim_function *functions;
	uint32_t *calls;
	size_t functions_n, minutes;
	uint64_t calls_n;
	bool synthetic;
};

/** struct memsim_text - a file's text; borrowed. @file: for messages */
struct memsim_text {
	const char *text, *file;
	size_t len;
};

/**
 * memsim_trace_parse - the three files of the Azure Functions 2019 trace, as vhive-serverless/invitro samples it
 * @inv: HashFunction,HashApp,HashOwner,minute_1..minute_N;  @run: run-time percentiles a function;  @mem: memory percentiles an application
 * @ret: memsim_trace_free it; untouched on failure
 * Return: 0, -EINVAL (message with file:line), -ENOMEM.
 */
int memsim_trace_parse(const struct memsim_text *inv, const struct memsim_text *run, const struct memsim_text *mem, struct memsim_trace **ret, struct hearth_err *err);
/** memsim_trace_load - PREFIX_inv.csv, PREFIX_run.csv and PREFIX_mem.csv */
int memsim_trace_load(const char *prefix, struct memsim_trace **ret, struct hearth_err *err);
/**
 * memsim_trace_generate - a synthetic day like the sample that src/farmem/sim/fit.h describes
 * @functions: 1..100000;  @minutes: 1..MEMSIM_MINUTES_MAX. Same seed and sizes, same trace. Return: 0, -EINVAL, -ENOMEM.
 */
int memsim_trace_generate(uint64_t seed, size_t functions, size_t minutes, struct memsim_trace **ret, struct hearth_err *err);
struct memsim_trace *memsim_trace_free(struct memsim_trace *t);         /* NULL is fine; returns NULL */

#define MEMSIM_MINUTES_MAX (14 * 1440)

/* ---- costs and model ---- */

/**
 * struct memsim_costs - what things take; hearth-sim-mem(1) says where the defaults come from
 * @fault_us: a page that is touched while it is remote;  @prefetch_us: a page that is brought back in a batch
 * @evict_bytes_per_s: at which memory leaves an instance;  @cold_start_ms, @restore_ms: until an instance that is new, or restored from an image, can take a request
 */
struct memsim_costs {
	double fault_us, prefetch_us, cold_start_ms, restore_ms;
	uint64_t evict_bytes_per_s;
};
void memsim_costs_default(struct memsim_costs *ret);
/** memsim_costs_load - YAML: fault_us, prefetch_us, evict_per_s, cold_start_ms, restore_ms; what is not said keeps its default. Return: 0, -EINVAL with file:line, -errno. */
int memsim_costs_load(const char *path, struct memsim_costs *ret, struct hearth_err *err);

enum memsim_arrivals { MEMSIM_POISSON, MEMSIM_EVEN, MEMSIM_BURST, MEMSIM_ARRIVALS };
extern const char *const memsim_arrivals_names[MEMSIM_ARRIVALS + 1];    /* "poisson", "even", "burst" */

/**
 * struct memsim_model - what the trace does not say
 * @minute_ns:      how long a minute of the trace takes: 60 s, unless its columns are of something else, or time goes faster
 * @arrivals:       of a minute's calls: at random, evenly spread from a phase of the function's own, all at that phase
 * @runtime_bytes:  of the runtime segment, at most 0.4 of the idle memory
 * @runtime_hot:    share of the runtime segment that every request touches
 * @init_hot:       the same of the init segment; below 0: by function, as the benchmark functions do
 * @overlap:        share of a request's working set that the request before had too
 */
struct memsim_model {
	enum memsim_arrivals arrivals;
	uint64_t minute_ns, runtime_bytes;
	double runtime_hot, init_hot, overlap;
};
void memsim_model_default(struct memsim_model *ret);

/* ---- running it ---- */

enum memsim_policy { MEMSIM_KEEPALIVE, MEMSIM_TMO, MEMSIM_DAMON, MEMSIM_FAASMEM, MEMSIM_HEARTH, MEMSIM_POLICIES };
extern const char *const memsim_policy_names[MEMSIM_POLICIES + 1];      /* "keepalive", "tmo", "damon", "faasmem-oracle", "hearth" */

/**
 * struct memsim_config
 * @trace:   borrowed
 * @minutes:  the first ones of it; 0: all
 * @policies: bits, 1 << enum memsim_policy; keepalive is always run, as the others are compared with it
 * @knobs:   of hearth; keepalive_ns, floor_bytes and what they have in common count for all
 * @link_bytes_per_s: for hearth, of all functions together; 0: not limited
 * @park:    hearth ends idle instances into images and restores them instead of starting cold
 * @threads: runs at a time, 1..16
 * @rows:    NULL, or room for MEMSIM_POLICIES * functions_n: those of a policy in a row, filled in for every policy that ran
 * @progress: NULL, or called after every minute of every policy, by any of the threads
 */
struct memsim_config {
	const struct memsim_trace *trace;
	size_t minutes;
	unsigned policies;
	struct farmem_knobs knobs;
	struct memsim_costs costs;
	struct memsim_model model;
	uint64_t seed, link_bytes_per_s;
	bool park;
	unsigned threads;
	struct memsim_row *rows;
	void (*progress)(void *arg);
	void *progress_arg;
};

struct memsim_quantiles { double p50, p95, p99; };

/**
 * struct memsim_row - one function under one policy
 * @saved_pct:  of keep-alive's local_gib_s of the same function
 * @added_ms:   to a fifth
 * @alive_s:    of all its instances, from the call that starts one to its end;  @idle_s: without a request;  @semiwarm_s: of that, after the memory of idle instances began to leave
 */
struct memsim_row {
	uint64_t requests, cold_starts, restores, wakes;
	double local_gib_s, saved_pct, alive_s, idle_s, semiwarm_s;
	struct memsim_quantiles added_ms;
};

/**
 * struct memsim_result - one policy
 * @added_ms:          over all requests that found an instance: what pages that were away added to their latency
 * @function_added_ms: over functions, of the 95th percentile of the same
 * @p95_longer_pct:    mean over functions with 20 such calls and more: by how much what calls that found an instance waited for memory makes the 95th percentile of their latency longer
 * @saved_pct:         of keep-alive's local_gib_s
 * @moved_gib:         @out_gib that left, @fault_gib and @prefetch_gib that came back
 * @wakes:             requests that found memory missing which they needed
 */
struct memsim_result {
	bool ran;
	uint64_t requests, cold_starts, restores, wakes, peak_instances;
	double local_gib_s, saved_pct;
	double moved_gib, out_gib, fault_gib, prefetch_gib;
	double start_s;                 /* all that requests waited for instances */
	struct memsim_quantiles added_ms, function_added_ms;
	double added_mean_ms, p95_longer_pct, wall_s;
};

/**
 * memsim_run - every policy asked for
 * @ret: by policy; those that were not asked for, but for keepalive, have @ran false; untouched on failure
 * Context: pure but for time and threads; seconds to a minute. Same configuration, same result but @wall_s.
 * Return: 0, -EINVAL with message, -ENOMEM.
 */
int memsim_run(const struct memsim_config *cfg, struct memsim_result ret[MEMSIM_POLICIES], struct hearth_err *err);

#endif
