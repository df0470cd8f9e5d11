/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACE_TRACE_H
#define TRACE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/*
 * A trace: who was called when, and for how long. The file format is that of the Azure Functions 2021 trace (Zhang et al., SOSP'21): a CSV file with the
 * header app,func,end_timestamp,duration, both in seconds, rows in any order. In memory the calls are sorted by start and the first one starts at 0.
 */

struct trace_call {
	uint32_t func;          /* index into trace.funcs */
	uint64_t start_ns;      /* since the start of the first call */
	uint64_t duration_ns;
};

struct trace_func {
	char *app, *name;       /* heap */
	uint32_t calls;         /* at least 1 */
	uint64_t total_ns;      /* sum of the durations */
};

struct trace {
	struct trace_call *calls;
	size_t n_calls;         /* at least 1 */
	struct trace_func *funcs;
	size_t n_funcs;
	uint64_t end_ns;        /* when the last call ends */
};

/** TRACE_NAME_MAX - longest name of an application or function, in bytes */
#define TRACE_NAME_MAX 128
/** TRACE_TIME_MAX_S - largest time stamp or duration in a file, in seconds (31 years) */
#define TRACE_TIME_MAX_S 1e9

/**
 * trace_parse - read a trace from memory
 * @text, @len: the file's bytes, borrowed; need not end with NUL
 * @file:       its name for messages
 * @ret:        trace_free it; untouched on failure
 * Return: 0, -EINVAL (message with file:line), -ENOMEM.
 */
int trace_parse(const char *text, size_t len, const char *file, struct trace **ret, struct hearth_err *err);
/** trace_load - trace_parse of a file of at most 1 GiB. Return: 0, -EINVAL, -EFBIG, -ENOMEM, -errno of reading. */
int trace_load(const char *path, struct trace **ret, struct hearth_err *err);
/** trace_format - append a trace as CSV text, to the nanosecond: parsing it again gives the same calls. Return: 0, -ENOMEM. */
int trace_format(const struct trace *t, struct buf *out);
/** trace_free - NULL and half-built ones are fine; always returns NULL */
struct trace *trace_free(struct trace *t);

/** trace_span_ns - from the start of the first call to the start of the last */
uint64_t trace_span_ns(const struct trace *t);
/** trace_is_generated - true when every function bears a name that only trace_generate gives */
bool trace_is_generated(const struct trace *t);

/**
 * struct trace_spec - what trace_generate makes
 * @seed:      same seed and sizes, same trace
 * @functions: 1..100000
 * @calls:     functions..10000000
 * @span_ns:   the calls start in 0..span; 1 s..30 days
 */
struct trace_spec {
	uint64_t seed;
	uint32_t functions, calls;
	uint64_t span_ns;
};

/** trace_spec_fitted - the sizes of the trace that the generator is fitted to (docs/adr/0009-trace-generator.md) */
struct trace_spec trace_spec_fitted(uint64_t seed);

/**
 * trace_generate - make a trace like the one that the constants in fit.h come from
 * @ret: trace_free it; untouched on failure
 *
 * Popularity is Zipf-Mandelbrot; functions are timers, loops or bursts; durations are log-normal per function with parameters drawn from fitted
 * distributions. Context: pure (no clock, no global state).
 * Return: 0, -EINVAL (sizes, with message), -ENOMEM.
 */
int trace_generate(const struct trace_spec *spec, struct trace **ret, struct hearth_err *err);

/** trace_quantile - of sorted values, with linear interpolation between neighbours; 0 when there are none */
double trace_quantile(const double *sorted, size_t n, double q);
/**
 * trace_durations_s, trace_gaps_s - the calls' durations, and the times between one start and the next, both sorted ascending, in seconds
 * @ret: heap, caller frees; n_calls values, n_calls - 1 values (NULL when there is one call)
 * Return: 0, -ENOMEM.
 */
int trace_durations_s(const struct trace *t, double **ret);
int trace_gaps_s(const struct trace *t, double **ret);
/** trace_top_share - for each k in tops, the share (0..1) of all calls that the k most called functions have. Return: 0, -ENOMEM. */
int trace_top_share(const struct trace *t, const unsigned *tops, size_t n, double *ret_share);

#endif
