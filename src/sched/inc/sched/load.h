/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_LOAD_H
#define SCHED_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/hist.h"
#include "sched/recording.h"
#include "sched/workload.h"

/*
 * An open-loop load generator. Requests are due at times that were fixed before the first was sent; latency counts from that time, whatever the server
 * or the generator itself did meanwhile, so that a stall is seen by every request that would have come during it (no coordinated omission). How late
 * the generator sent is measured and reported.
 */

/* ---- what is recorded can be sent again ---- */

/**
 * struct load_trace - requests at given times, by ascending @at_ns
 * @workload: their types in order of appearance, with the means seen; one phase
 * @numbers:  of each type: its name where that is a number, else its place
 */
struct load_trace {
	struct recorded_request *items;
	size_t n;
	struct workload *workload;
	uint16_t *numbers;
};
/**
 * load_trace_new - from items in any order
 * @names:  one a type
 * @items:  heap; taken over, also on failure
 * Return: 0, -EINVAL (no items, more than SCHED_TYPES_MAX types; with message), -ENOMEM.
 */
int load_trace_new(const char *what, const char *const *names, size_t names_n, struct recorded_request *items, size_t n, struct load_trace **ret,
	struct hearth_err *err);
/** load_trace_parse - a recording (sched/recording.h); the first request is due at once. Return: 0, -EINVAL (file:line), -ENOMEM. */
int load_trace_parse(const char *text, size_t len, const char *file, struct load_trace **ret, struct hearth_err *err);
int load_trace_load(const char *path, struct load_trace **ret, struct hearth_err *err);
void load_trace_dilate(struct load_trace *t, double factor);
struct load_trace *load_trace_free(struct load_trace *t);

/* ---- what to do ---- */

enum load_arrivals { LOAD_POISSON, LOAD_UNIFORM, LOAD_TRACE };
enum load_app { LOAD_SPIN, LOAD_ROCKSDB, LOAD_ECHO };   /* echo: spin's requests, which come back as they are */

/**
 * struct load_http - a request over HTTP, one a type
 * @path: "/2015-03-31/functions/f/invocations"
 * @body: {service_ns} and {type} are replaced by those of the request
 */
struct load_http { const char *method, *path, *headers, *body; };

/** struct load_progress - so far; lanes are threads */
struct load_progress { uint64_t elapsed_ns, total_ns, sent, answered, lost, flying, recent_rate; };

/**
 * struct load_config
 * @target:       "ADDRESS:PORT" of a UDP server, or "http://ADDRESS[:PORT]"
 * @workload:     borrowed; of the trace, when there is one
 * @numbers:      UDP: the number of each type on the wire; NULL: its place
 * @rate_hz:      requests a second of phases without a rate of their own
 * @duration_ns:  of the last phase, if it has none of its own
 * @threads, @flows: flows of each thread: UDP sockets with ports of their own, or HTTP connections
 * @warmup:       share of the run, 0..0.9, whose requests are sent but not measured
 * @timeout_ns:   a request without an answer for so long is lost
 * @spin_ns:      the last part of a wait is spent looking at the clock; UINT64_MAX: never sleep
 * @segment:      UDP: what is due at once on a flow is given to the kernel as one buffer to cut up
 * @keys:         rocksdb: keys are 0..keys-1; @scan_limit: keys that a SCAN reads
 * @http:         one a type; NULL for UDP
 * @has_service:  HTTP: the workload's service times are real ones (else there is no slowdown)
 * @stop:         becomes true when the run should end early; may be NULL
 * @progress:     once a second, from the caller's thread; may be NULL
 */
struct load_config {
	const char *target;
	const struct workload *workload;
	const struct load_trace *trace;
	const uint16_t *numbers;
	enum load_arrivals arrivals;
	enum load_app app;
	double rate_hz, warmup;
	uint64_t duration_ns, timeout_ns, spin_ns, seed;
	unsigned threads, flows;
	uint64_t keys;
	uint32_t scan_limit;
	const struct load_http *http;
	bool has_service, segment;
	const atomic_bool *stop;
	void (*progress)(void *ctx, const struct load_progress *p);
	void *ctx;
};
#define LOAD_THREADS_MAX 64
#define LOAD_FLOWS_MAX 10000

/* ---- what came of it ---- */

#define LOAD_STATUS_MAX 600             /* enum wire_status over UDP, the status over HTTP */
#define LOAD_SLOWDOWN_UNIT 1000         /* slowdowns are recorded in thousandths */

/**
 * struct load_series - of one type, of one phase, or of all; measured requests only
 * @due:      requests whose time came: sent + unsent
 * @unsent:   HTTP: so many waited for a connection that there was no room for these
 * @answered: in time, whatever the status; @ok: with a good one. due = unsent + answered + lost.
 * @lost:     not answered in time; @late: answered after that; @duplicates: answered once more
 * @in_window: good answers that arrived between warm-up and the end of the schedule: throughput
 * @latency, @slowdown: of good answers; ns, thousandths
 * @queue, @service, @server_slowdown: of good answers, as the server measured them: what it would be without network and generator
 */
struct load_series {
	uint64_t due, unsent, answered, ok, lost, late, duplicates, in_window;
	uint64_t status[LOAD_STATUS_MAX];
	struct hist latency, slowdown, queue, service, server_slowdown;
};

struct load_phase_result {
	uint64_t start_ns, end_ns;              /* the measured part, from the start of the run */
	struct load_series total, *types;
};

/**
 * struct load_result
 * @phases:      their types are in the workload's order
 * @lag:         of every request, warm-up too: ns from when it was due to when it was sent
 * @conn_wait:   HTTP: part of the lag, waiting for a free connection
 * @warmup_due, @warmup_lost: requests of the warm-up
 * @stray, @malformed: datagrams that answered nothing, or were no messages
 * @refused:     the target's machine said that nothing listens there; @errors: connections that failed under a request (HTTP)
 * @starts:      HTTP, from the gateway: cold, wake, hot, warm
 * @generator_limit: the generator, not the server, was what could not keep up; @why says how that was seen
 */
struct load_result {
	const struct workload *workload;
	struct load_series total, *types;
	struct load_phase_result *phases;
	struct hist lag, conn_wait;
	uint64_t start_ns, end_ns, wall_ns, cpu_ns;
	double offered_hz, sent_hz;
	uint64_t sent, warmup_due, warmup_lost, stray, malformed, refused, errors, starts[4];
	bool stopped, generator_limit;
	char why[200];
};

/**
 * load_run - one run
 * @cfg: borrowed
 * @ret: load_result_free it; untouched on failure
 * Context: blocks for the run's length; makes threads. Not interrupted by signals: set @stop.
 * Return: 0, -EINVAL (what is wrong with the configuration), -EHOSTUNREACH (the target's name), -ETIMEDOUT (no answer at all), -ECONNREFUSED, -errno, with message.
 */
int load_run(const struct load_config *cfg, struct load_result **ret, struct hearth_err *err);
/** load_result_workload - @w outlives the result */
struct load_result *load_result_free(struct load_result *r);

/* ---- the most it bears ---- */

/**
 * load_metric - "slowdown_p999", "latency_p99", "server_slowdown_mean", "slowdown_p50_short" (of one type), ...
 * Return: the value (latencies in us), negative: no such metric.
 */
double load_metric(const struct load_result *r, const char *metric);

struct load_trial { double rate_hz, value, loss; bool good, generator_limit; };
/**
 * struct load_search - find the highest rate at which a metric stays at or below a target
 * @loss_max: share of requests that may be lost or refused
 * @lo_hz, @hi_hz: the rates to look between; @precision: relative
 * @run:     one run at a rate
 */
struct load_search {
	double target, loss_max, lo_hz, hi_hz, precision;
	int (*run)(void *ctx, double rate_hz, struct load_trial *ret, struct hearth_err *err);
	void *ctx;
};
/**
 * load_search - bisection
 * @ret_hz: the highest rate that was seen to be good; 0: none
 * @trials: room for @max; @ret_n: how many were made
 * Return: 0, what @run returned.
 */
int load_search_max(const struct load_search *s, double *ret_hz, struct load_trial *trials, size_t max, size_t *ret_n, struct hearth_err *err);

/* ---- saying so ---- */

/** load_report_text - a table for people */
void load_report_text(FILE *f, const struct load_config *cfg, const struct load_result *r);
struct json_t;
/** load_report_json - a json_t *; NULL: no memory */
struct json_t *load_report_json(const struct load_config *cfg, const struct load_result *r);

#endif
