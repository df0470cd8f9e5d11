/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hist.h"
#include "replay.h"

#define ERRORS_LISTED 20
#define GIB ((double)(1ull << 30))

/*
 * Both systems are measured over the same stretch of time. The headline ends with the last answer: what plain keep-alive would go on holding after it, and
 * Hearth would not, is left out, because in a longer trace other requests would come. The same figures with the idle time after it are given beside them.
 */
static const char method[] =
	"Hearth: memory of every instance with a process (local), plus memory of this machine that holds what is not with its instance (pool), plus hearthd itself, sampled every 250 ms and integrated. Plain keep-alive: simulated on the very same "
	"requests (from when each began to run to when its answer was complete), most recently used instance first, each instance in memory from its first request until "
	"the (compressed) keep-alive time after its last one; its memory is the median seen of that function's instances while hot, with what of it was elsewhere; its platform costs nothing. "
	"'memory' ends for both with the last answer; 'memory_with_tail' goes on for one keep-alive time.";

struct counts { unsigned requests, start[START_KINDS]; };

struct build {
	const struct report_in *in;
	struct ka_result ka;
	uint64_t *bytes;        /* a target's memory while hot */
	const struct sample *samples;
	size_t n_samples;
	unsigned failed;
	uint64_t last_ns;       /* the last answer */
	uint64_t tail_ns;       /* one keep-alive time later */
	struct hist *hist;      /* scratch */
};

static double ms(uint64_t ns)
{
	return round((double)ns / 1e3) / 1e3;
}

static double gib_s(double byte_s)
{
	return round(byte_s / GIB * 1e4) / 1e4;
}

static uint64_t latency_ns(const struct request *q)
{
	return q->end_ns > q->at_ns ? q->end_ns - q->at_ns : 0;
}

static json_t *quantiles(const struct hist *h)
{
	return json_pack("{s:I,s:f,s:f,s:f,s:f,s:f,s:f}", "count", (json_int_t)h->count, "min", ms(h->count ? h->min : 0), "p25", ms(hist_quantile(h, 0.25)), "p50",
		ms(hist_quantile(h, 0.5)), "p95", ms(hist_quantile(h, 0.95)), "p99", ms(hist_quantile(h, 0.99)), "max", ms(h->max));
}

/* Latencies of the requests that succeeded; start START_KINDS is all of them. */
static json_t *latency_of(struct build *b, enum start_kind start)
{
	hist_reset(b->hist);
	for (size_t i = 0; i < b->in->n; i++) {
		const struct request *q = &b->in->requests[i];

		if (!q->error && (start == START_KINDS || q->start == start))
			hist_record(b->hist, latency_ns(q));
	}
	return quantiles(b->hist);
}

static json_t *lateness(struct build *b)
{
	hist_reset(b->hist);
	for (size_t i = 0; i < b->in->n; i++)
		hist_record(b->hist, b->in->requests[i].sent_ns - b->in->requests[i].at_ns);
	return quantiles(b->hist);
}

enum { LOCAL = 1, POOL = 2, DAEMON = 4, AWAY = 8, ALL = LOCAL | POOL | DAEMON };

static double bytes_of(const struct sample *s, unsigned what)
{
	return (what & LOCAL ? (double)s->instances_bytes : 0) + (what & POOL ? (double)s->pool_bytes : 0) + (what & DAEMON ? (double)s->node_bytes : 0) + (what & AWAY ? (double)s->away_bytes : 0);
}

/* Hearth's byte-seconds: straight lines between the samples; before the first and after the last the nearest one holds. */
static double hearth_byte_s(const struct build *b, uint64_t horizon_ns, unsigned what)
{
	double sum = 0, before_v = 0, before_t = 0;
	double end = (double)horizon_ns / 1e9;

	for (size_t i = 0; i <= b->n_samples; i++) {
		const struct sample *s = &b->samples[i < b->n_samples ? i : b->n_samples - 1];
		double v = bytes_of(s, what);
		double t = i < b->n_samples ? (double)s->t_ns / 1e9 : end;

		if (i == 0)
			before_v = v;
		if (t > end) {                  /* cut the line at the horizon */
			v = before_v + (v - before_v) * (end - before_t) / (t - before_t);
			t = end;
		}
		if (t > before_t)
			sum += (v + before_v) / 2 * (t - before_t);
		if (t >= end)
			break;
		before_v = v;
		before_t = t;
	}
	return sum;
}

static json_t *memory(const struct build *b, uint64_t horizon_ns)
{
	double hearth = hearth_byte_s(b, horizon_ns, ALL);
	double keepalive = keepalive_byte_s(&b->ka, b->bytes, horizon_ns);

	return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "keepalive_gib_s", gib_s(keepalive), "hearth_gib_s", gib_s(hearth), "saved_pct",
		keepalive > 0 ? round((1 - hearth / keepalive) * 1e3) / 10 : 0.0, "hearthd_gib_s", gib_s(hearth_byte_s(b, horizon_ns, DAEMON)),
		"local_gib_s", gib_s(hearth_byte_s(b, horizon_ns, LOCAL)), "pool_gib_s", gib_s(hearth_byte_s(b, horizon_ns, POOL)), "away_gib_s", gib_s(hearth_byte_s(b, horizon_ns, AWAY)), "horizon_s", ms(horizon_ns) / 1e3);
}

static json_t *series(const struct build *b)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < b->n_samples; i++) {
		const struct sample *s = &b->samples[i];

		json_array_append_new(list, json_pack("{s:f,s:I,s:I,s:I,s:I,s:i,s:i,s:i,s:i}", "t_s", ms(s->t_ns) / 1e3, "hearth_bytes", (json_int_t)bytes_of(s, ALL),
			"pool_bytes", (json_int_t)s->pool_bytes, "away_bytes", (json_int_t)s->away_bytes,
			"keepalive_bytes", (json_int_t)keepalive_bytes_at(&b->ka, b->bytes, s->t_ns), "live", (int)s->live, "hot", (int)s->hot, "warm", (int)s->warm, "parked", (int)s->parked));
	}
	return list;
}

/* Of the calls that neither started nor woke an instance: that is what memory policies differ in. */
static double found_p95_ms(struct build *b, size_t target)
{
	hist_reset(b->hist);
	for (size_t i = 0; i < b->in->n; i++) {
		const struct request *q = &b->in->requests[i];

		if (q->target == target && !q->error && (q->start == START_HOT || q->start == START_WARM))
			hist_record(b->hist, latency_ns(q));
	}
	return ms(hist_quantile(b->hist, 0.95));
}

static json_t *function_entry(struct build *b, size_t target)
{
	const struct report_in *in = b->in;
	struct counts c = { 0 };
	unsigned errors = 0, keepalive_cold = 0;
	double found_ms = found_p95_ms(b, target);

	hist_reset(b->hist);
	for (size_t i = 0; i < in->n; i++) {
		const struct request *q = &in->requests[i];

		if (q->target != target)
			continue;
		c.requests++;
		errors += q->error != NULL;
		if (q->start < START_KINDS)
			c.start[q->start]++;
		if (!q->error)
			hist_record(b->hist, latency_ns(q));
	}
	for (size_t i = 0; i < b->ka.n; i++)
		keepalive_cold += b->ka.instances[i].func == target;
	return json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:f,s:f,s:f,s:I,s:i}", "name", in->targets->v[target].name, "requests", (int)c.requests, "errors", (int)errors, "cold",
		(int)c.start[START_COLD], "wake", (int)c.start[START_WAKE], "warm", (int)c.start[START_WARM], "hot", (int)c.start[START_HOT], "p50_ms", ms(hist_quantile(b->hist, 0.5)), "p95_ms",
		ms(hist_quantile(b->hist, 0.95)), "found_p95_ms", found_ms, "hot_bytes", (json_int_t)b->bytes[target], "keepalive_cold_starts", (int)keepalive_cold);
}

static json_t *functions(struct build *b)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < b->in->targets->n; i++)
		json_array_append_new(list, function_entry(b, i));
	return list;
}

static json_t *error_list(const struct build *b, unsigned *ret_errors)
{
	json_t *list = json_array();

	*ret_errors = 0;
	for (size_t i = 0; list && i < b->in->n; i++) {
		const struct request *q = &b->in->requests[i];

		if (q->error && (*ret_errors)++ < ERRORS_LISTED)
			json_array_append_new(list, json_pack("{s:I,s:s,s:f,s:s}", "request", (json_int_t)i, "function", b->in->targets->v[q->target].name, "t_s", ms(q->at_ns) / 1e3,
				"error", q->error));
	}
	return list;
}

static json_t *starts(const struct build *b)
{
	unsigned n[START_KINDS + 1] = { 0 };

	for (size_t i = 0; i < b->in->n; i++)
		n[b->in->requests[i].start]++;
	return json_pack("{s:i,s:i,s:i,s:i}", "cold", (int)n[START_COLD], "wake", (int)n[START_WAKE], "warm", (int)n[START_WARM], "hot", (int)n[START_HOT]);
}

static json_t *host(void)
{
	struct utsname u;

	uname(&u);
	return json_pack("{s:s,s:I}", "kernel", u.release, "cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN));
}

static int by_start(const void *a, const void *b)
{
	const struct ka_request *x = a, *y = b;

	return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

/* A call occupies an instance while it runs, not while it waits for one: both systems are given the same number of instances at any moment. */
static int simulate(struct build *b)
{
	const struct report_in *in = b->in;
	struct ka_request *reqs = calloc(in->n, sizeof(*reqs));
	unsigned *concurrency = calloc(in->targets->n, sizeof(*concurrency));
	int rc = -ENOMEM;

	if (!reqs || !concurrency)
		goto out;
	for (size_t i = 0; i < in->n; i++) {
		const struct request *q = &in->requests[i];

		reqs[i] = (struct ka_request){ q->at_ns, q->at_ns + latency_ns(q), q->target };
		if (reqs[i].start_ns + q->wait_ns < reqs[i].end_ns)
			reqs[i].start_ns += q->wait_ns;
		if (reqs[i].end_ns > b->last_ns)
			b->last_ns = reqs[i].end_ns;
	}
	qsort(reqs, in->n, sizeof(*reqs), by_start);
	for (size_t i = 0; i < in->targets->n; i++)
		concurrency[i] = in->targets->v[i].concurrency;
	b->tail_ns = b->last_ns + (uint64_t)((double)in->keepalive_ns / in->compress);
	rc = keepalive_simulate(reqs, in->n, concurrency, (uint64_t)((double)in->keepalive_ns / in->compress), &b->ka);
out:
	free(reqs);
	free(concurrency);
	return rc;
}

static json_t *assemble(struct build *b)
{
	const struct report_in *in = b->in;
	unsigned errors;
	json_t *r = json_pack("{s:s,s:b,s:I,s:i}", "trace", in->trace_name, "synthetic", in->synthetic, "seed", (json_int_t)in->seed, "requests", (int)in->n);
	json_t *list = error_list(b, &errors), *by_start = json_object();

	json_object_set_new(r, "errors", json_integer(errors));
	json_object_set_new(r, "error_list", list);
	json_object_set_new(r, "starts", starts(b));
	json_object_set_new(r, "latency_ms", latency_of(b, START_KINDS));
	for (int k = 0; k < START_KINDS; k++)
		json_object_set_new(by_start, start_names[k], latency_of(b, (enum start_kind)k));
	json_object_set_new(r, "latency_by_start", by_start);
	json_object_set_new(r, "memory", memory(b, b->last_ns));
	json_object_set_new(r, "memory_with_tail", memory(b, b->tail_ns));
	json_object_set_new(r, "memory_method", json_string(method));
	json_object_set_new(r, "keepalive_cold_starts", json_integer((json_int_t)b->ka.n));
	json_object_set_new(r, "keepalive_s", json_real((double)in->keepalive_ns / NS_PER_S));
	json_object_set_new(r, "compress", json_real(in->compress));
	json_object_set_new(r, "wall_s", json_real(ms(in->wall_ns) / 1e3));
	json_object_set_new(r, "send_late_ms", lateness(b));
	json_object_set_new(r, "samples", json_pack("{s:I,s:i}", "taken", (json_int_t)b->n_samples, "failed", (int)b->failed));
	json_object_set_new(r, "trace_functions", json_integer((json_int_t)in->trace->n_funcs));
	json_object_set_new(r, "trace_span_s", json_real(ms(trace_span_ns(in->trace)) / 1e3));
	json_object_set_new(r, "host", host());
	json_object_set_new(r, "functions", functions(b));
	json_object_set_new(r, "series", series(b));
	return r;
}

int report_build(const struct report_in *in, json_t **ret)
{
	struct build b = { .in = in };
	int rc = -ENOMEM;

	b.samples = sampler_data(in->sampler, &b.n_samples, &b.failed);
	b.bytes = calloc(in->targets->n, sizeof(*b.bytes));
	b.hist = malloc(sizeof(*b.hist));
	if (!b.bytes || !b.hist)
		goto out;
	for (size_t i = 0; i < in->targets->n; i++)
		b.bytes[i] = sampler_hot_bytes(in->sampler, i);
	rc = simulate(&b);
	if (rc < 0)
		goto out;
	*ret = assemble(&b);
	rc = *ret ? 0 : -ENOMEM;
out:
	keepalive_done(&b.ka);
	free(b.bytes);
	free(b.hist);
	return rc;
}

static double number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static void print_latency(const char *name, const json_t *l)
{
	printf("  %-6s %8.0f %12.1f %12.1f %12.1f %12.1f\n", name, number(l, "count"), number(l, "p50"), number(l, "p95"), number(l, "p99"), number(l, "max"));
}

static void print_functions(const json_t *list)
{
	int width = 8;

	for (size_t i = 0; i < json_array_size(list); i++) {
		int len = (int)json_string_length(json_object_get(json_array_get(list, i), "name"));

		width = len > width ? len : width;
	}
	printf("  %-*s %8s %6s %6s %6s %6s %6s %10s %10s %10s\n", width, "function", "requests", "errors", "cold", "wake", "warm", "hot", "p50 ms", "p95 ms", "hot MiB");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *f = json_array_get(list, i);

		printf("  %-*s %8.0f %6.0f %6.0f %6.0f %6.0f %6.0f %10.1f %10.1f %10.1f\n", width, json_string_value(json_object_get(f, "name")), number(f, "requests"), number(f, "errors"),
			number(f, "cold"), number(f, "wake"), number(f, "warm"), number(f, "hot"), number(f, "p50_ms"), number(f, "p95_ms"), number(f, "hot_bytes") / (1 << 20));
	}
}

void report_print(const json_t *r)
{
	const json_t *by_start = json_object_get(r, "latency_by_start"), *m = json_object_get(r, "memory"), *tail = json_object_get(r, "memory_with_tail");
	const json_t *list = json_object_get(r, "error_list");

	printf("trace %s%s: %.0f requests in %.1f s (time compressed %gx), %.0f errors\n\n", json_string_value(json_object_get(r, "trace")),
		json_is_true(json_object_get(r, "synthetic")) ? " (SYNTHETIC: generated, not recorded)" : "", number(r, "requests"), number(r, "wall_s"), number(r, "compress"),
		number(r, "errors"));
	printf("  %-6s %8s %12s %12s %12s %12s\n", "start", "requests", "p50 ms", "p95 ms", "p99 ms", "max ms");
	for (int k = 0; k < START_KINDS; k++)
		print_latency(start_names[k], json_object_get(by_start, start_names[k]));
	print_latency("all", json_object_get(r, "latency_ms"));
	putchar('\n');
	print_functions(json_object_get(r, "functions"));
	printf("\n  memory until the last answer: Hearth %.3f GiB s, plain keep-alive %.3f GiB s: %.1f%% saved\n", number(m, "hearth_gib_s"), number(m, "keepalive_gib_s"),
		number(m, "saved_pct"));
	printf("    of that: instances %.3f, pool %.3f, hearthd %.3f GiB s; away from its instance: %.3f GiB s\n", number(m, "local_gib_s"), number(m, "pool_gib_s"), number(m, "hearthd_gib_s"),
		number(m, "away_gib_s"));
	printf("  with the idle time after it:  Hearth %.3f GiB s, plain keep-alive %.3f GiB s: %.1f%% saved\n", number(tail, "hearth_gib_s"), number(tail, "keepalive_gib_s"),
		number(tail, "saved_pct"));
	printf("  calls that waited for a cold start: %.0f; plain keep-alive would have started %.0f instances cold\n", number(json_object_get(r, "starts"), "cold"), number(r, "keepalive_cold_starts"));
	for (size_t i = 0; i < json_array_size(list); i++)
		printf("  error: request %.0f to %s: %s\n", number(json_array_get(list, i), "request"), json_string_value(json_object_get(json_array_get(list, i), "function")),
			json_string_value(json_object_get(json_array_get(list, i), "error")));
}
