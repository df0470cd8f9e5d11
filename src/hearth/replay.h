/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_REPLAY_H
#define HEARTH_REPLAY_H

#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cli.h"
#include "trace/trace.h"

/*
 * hearth replay: sends a trace's calls to a node at their times and says what came back, how fast, and how much memory it took. Times here are in
 * nanoseconds since the replay's start unless a name says otherwise.
 */

/* -- targets: the deployed functions (replay_map.c) ------------------------------------------------------------------------------------------------ */

struct target {
	char *name;             /* heap */
	double weight;          /* heavier ones get the trace functions that run longer */
	bool http;              /* GET /function/NAME/ instead of the Invoke API */
	unsigned concurrency;   /* requests that one instance takes at a time */
};

struct targets {
	struct target *v;       /* lightest first */
	size_t n;
};

/** targets_from_list - "name,name,...", lightest first. @ret: targets_done it. Return: 0, -EINVAL (with message), -ENOMEM. */
int targets_from_list(const char *list, struct targets *ret, struct hearth_err *err);
/** targets_from_file - a JSON object {"name": weight, ...}, heavier is more. Return: 0, -EINVAL (with message), -errno. */
int targets_from_file(const char *path, struct targets *ret, struct hearth_err *err);
/** targets_ask - fill in what the node's answer to {"op":"ps"} says of them. Return: 0, -ENOENT (not deployed), -EPROTO. */
int targets_ask(struct targets *t, const json_t *ps, struct hearth_err *err);
void targets_done(struct targets *t);
/**
 * targets_map - give every function of the trace a target: both ranked by weight (mean duration of the trace's functions), rank onto rank
 * @ret: n_funcs target indices, heap, caller frees
 * Every target is used when the trace has at least as many functions. Return: 0, -ENOMEM.
 */
int targets_map(const struct targets *t, const struct trace *trace, uint32_t **ret);

/* -- the requests (replay_run.c) ------------------------------------------------------------------------------------------------------------------- */

enum start_kind { START_COLD, START_WAKE, START_WARM, START_HOT, START_KINDS };
extern const char *const start_names[START_KINDS];

struct request {
	uint32_t target;
	uint64_t at_ns;         /* when it is due */
	uint64_t sent_ns;       /* when it was sent */
	uint64_t end_ns;        /* when the answer was complete */
	uint64_t wait_ns;       /* it waited for an instance, says the gateway */
	enum start_kind start;  /* START_KINDS: the answer did not say */
	char *error;            /* heap; NULL: fine */
};

struct sampler;

struct run_spec {
	const char *gateway;            /* "http://host:port" */
	const struct targets *targets;
	struct request *requests;       /* sorted by at_ns; the results are written here */
	size_t n;
	uint64_t origin_ns;             /* CLOCK_MONOTONIC of the replay's start */
	uint64_t timeout_ns;            /* of one request */
	struct sampler *sampler;        /* for the progress line */
	volatile sig_atomic_t *stop;    /* set by a signal handler */
};

/**
 * run_requests - send every request at its time, whatever became of the others (open loop), and wait for all answers
 * Context: blocks. Return: 0 (single failures are in requests[].error), -EINTR (stopped), -ENOMEM, -EIO.
 */
int run_requests(const struct run_spec *spec, struct hearth_err *err);

/* -- memory (replay_sample.c) ---------------------------------------------------------------------------------------------------------------------- */

struct sample {
	uint64_t t_ns;
	uint64_t instances_bytes;       /* of all instances with a process */
	uint64_t node_bytes;            /* of hearthd */
	uint64_t away_bytes;            /* of instances, elsewhere: in the pool, in swap */
	uint64_t pool_bytes;            /* memory of this machine that what is away takes */
	unsigned hot, warm, parked, live;       /* live: with a process */
};

/** sampler_start - ask the node now and then every 250 ms, from a thread of its own. @ret: sampler_free it. Return: 0, -errno with message. */
int sampler_start(const struct cli *cli, const struct targets *targets, uint64_t origin_ns, struct sampler **ret, struct hearth_err *err);
/** sampler_last - the newest sample. Context: any thread. */
struct sample sampler_last(struct sampler *s);
/** sampler_wait_parked - until two new samples in a row saw no instance with a process, or until_ns (CLOCK_MONOTONIC), or *stop */
void sampler_wait_parked(struct sampler *s, uint64_t until_ns, volatile sig_atomic_t *stop);
/** sampler_stop - take a last sample and end the thread; the data below may be read from here on */
void sampler_stop(struct sampler *s);
const struct sample *sampler_data(const struct sampler *s, size_t *ret_n, unsigned *ret_failed);
/** sampler_hot_bytes - the median memory of a target's instances while hot (while running at all, if never seen hot); 0: never seen */
uint64_t sampler_hot_bytes(struct sampler *s, size_t target);
struct sampler *sampler_free(struct sampler *s);

/* -- plain keep-alive (replay_keepalive.c) --------------------------------------------------------------------------------------------------------- */

struct ka_request { uint64_t start_ns, end_ns; uint32_t func; };
struct ka_instance { uint32_t func; uint64_t born_ns, gone_ns; };

struct ka_result {
	struct ka_instance *instances;  /* heap; each was one cold start */
	size_t n;
};

/**
 * keepalive_simulate - what a platform that only keeps instances alive would have held in memory for the same requests
 * @reqs:        sorted by start_ns
 * @concurrency: of each function, at least 1
 * A request takes the most recently used instance with room; without one a new instance starts. An instance stays from its first request until
 * keepalive_ns after its last one ended. Context: pure. Return: 0, -ENOMEM.
 */
int keepalive_simulate(const struct ka_request *reqs, size_t n, const unsigned *concurrency, uint64_t keepalive_ns, struct ka_result *ret);
/** keepalive_bytes_at - memory at one moment, given each function's memory */
uint64_t keepalive_bytes_at(const struct ka_result *r, const uint64_t *func_bytes, uint64_t t_ns);
/** keepalive_byte_s - byte-seconds in 0..horizon */
double keepalive_byte_s(const struct ka_result *r, const uint64_t *func_bytes, uint64_t horizon_ns);
void keepalive_done(struct ka_result *r);

/* -- the report (replay_report.c) ------------------------------------------------------------------------------------------------------------------ */

struct report_in {
	const char *trace_name;
	const struct trace *trace;
	bool synthetic;
	uint64_t seed;
	double compress;
	uint64_t keepalive_ns;          /* as configured, not compressed */
	const struct targets *targets;
	const struct request *requests;
	size_t n;
	struct sampler *sampler;        /* stopped */
	uint64_t wall_ns;
};

/** report_build - everything that report.json holds. @ret: json_decref it. Return: 0, -ENOMEM. */
int report_build(const struct report_in *in, json_t **ret);
/** report_print - the table for people */
void report_print(const json_t *report);

#endif
