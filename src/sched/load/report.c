/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <jansson.h>

#include "sched/load.h"
#include "sched/wire.h"

static const char *const status_names[WIRE_STATUSES] = { "ok", "overload", "malformed", "unknown", "lost", "failed" };
static const char *const arrival_names[] = { "poisson", "uniform", "trace" };
static const char *const start_names[] = { "cold", "wake", "hot", "warm" };

static double us(uint64_t ns) { return (double)ns / 1e3; }
static double share(uint64_t part, uint64_t whole) { return whole ? (double)part / (double)whole : 0; }
static double slow(const struct hist *h, double q) { return (double)hist_quantile(h, q) / LOAD_SLOWDOWN_UNIT; }
static double per_second(uint64_t n, uint64_t from_ns, uint64_t to_ns) { return to_ns > from_ns ? (double)n * 1e9 / (double)(to_ns - from_ns) : 0; }

/* ---- JSON ---- */

static json_t *hist_json(const struct hist *h, double unit)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "count", (json_int_t)h->count, "mean", h->count ? (double)h->sum / (double)h->count / unit : 0.0,
		"p50", (double)hist_quantile(h, 0.5) / unit, "p90", (double)hist_quantile(h, 0.9) / unit, "p99", (double)hist_quantile(h, 0.99) / unit,
		"p999", (double)hist_quantile(h, 0.999) / unit, "max", (double)h->max / unit);
}

static json_t *statuses_json(const struct load_config *cfg, const struct load_series *s)
{
	json_t *o = json_object();
	char name[16];

	for (unsigned i = 0; o && i < LOAD_STATUS_MAX; i++) {
		if (s->status[i] == 0)
			continue;
		snprintf(name, sizeof(name), "%u", i);
		json_object_set_new(o, !cfg->http && i < WIRE_STATUSES ? status_names[i] : name, json_integer((json_int_t)s->status[i]));
	}
	return o;
}

static json_t *series_json(const struct load_config *cfg, const struct load_series *s, uint64_t from_ns, uint64_t to_ns)
{
	json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:o}", "due", (json_int_t)s->due, "unsent", (json_int_t)s->unsent, "answered",
		(json_int_t)s->answered, "ok", (json_int_t)s->ok, "lost", (json_int_t)s->lost, "late", (json_int_t)s->late, "duplicates", (json_int_t)s->duplicates,
		"offered_rps", per_second(s->due, from_ns, to_ns), "throughput_rps", per_second(s->in_window, from_ns, to_ns), "status", statuses_json(cfg, s), "latency_us",
		hist_json(&s->latency, 1e3));

	if (o && s->slowdown.count)
		json_object_set_new(o, "slowdown", hist_json(&s->slowdown, LOAD_SLOWDOWN_UNIT));
	if (o && s->queue.count) {
		json_object_set_new(o, "queue_us", hist_json(&s->queue, 1e3));
		json_object_set_new(o, "service_us", hist_json(&s->service, 1e3));
		if (s->server_slowdown.count)
			json_object_set_new(o, "server_slowdown", hist_json(&s->server_slowdown, LOAD_SLOWDOWN_UNIT));
	}
	return o;
}

static json_t *types_json(const struct load_config *cfg, const struct load_result *r, const struct load_series *types, uint64_t from_ns, uint64_t to_ns)
{
	json_t *o = json_object();

	for (uint32_t t = 0; o && t < r->workload->types_n; t++)
		if (types[t].due)
			json_object_set_new(o, r->workload->types[t].name, series_json(cfg, &types[t], from_ns, to_ns));
	return o;
}

static json_t *phases_json(const struct load_config *cfg, const struct load_result *r)
{
	json_t *a = json_array();

	for (uint32_t i = 0; a && i < r->workload->phases_n; i++) {
		const struct load_phase_result *p = &r->phases[i];

		json_array_append_new(a, json_pack("{s:f, s:f, s:o, s:o}", "start_s", (double)p->start_ns / 1e9, "end_s", (double)p->end_ns / 1e9, "total",
			series_json(cfg, &p->total, p->start_ns, p->end_ns), "types", types_json(cfg, r, p->types, p->start_ns, p->end_ns)));
	}
	return a;
}

json_t *load_report_json(const struct load_config *cfg, const struct load_result *r)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:I}", "target", cfg->target, "protocol", cfg->http ? "http" : "udp", "workload", r->workload->name,
		"arrivals", arrival_names[cfg->arrivals], "threads", (int)cfg->threads, "flows", (int)cfg->flows, "seed", (json_int_t)cfg->seed);
	json_t *generator = json_pack("{s:b, s:s, s:f, s:f, s:I, s:o, s:f}", "limit", r->generator_limit, "why", r->why, "due_rps", r->offered_hz,
		"sent_rps", r->sent_hz, "sent", (json_int_t)r->sent, "lag_us", hist_json(&r->lag, 1e3), "cpu_s", (double)r->cpu_ns / 1e9);

	if (!o || !generator) {
		json_decref(o);
		json_decref(generator);
		return NULL;
	}
	if (cfg->http) {
		json_object_set_new(generator, "connection_wait_us", hist_json(&r->conn_wait, 1e3));
		json_object_set_new(generator, "connection_errors", json_integer((json_int_t)r->errors));
		json_object_set_new(o, "starts", json_pack("{s:I, s:I, s:I, s:I}", start_names[0], (json_int_t)r->starts[0], start_names[1], (json_int_t)r->starts[1],
			start_names[2], (json_int_t)r->starts[2], start_names[3], (json_int_t)r->starts[3]));
	} else {
		json_object_set_new(generator, "stray", json_integer((json_int_t)r->stray));
		json_object_set_new(generator, "malformed", json_integer((json_int_t)r->malformed));
		json_object_set_new(generator, "refused", json_integer((json_int_t)r->refused));
	}
	json_object_set_new(o, "stopped", json_boolean(r->stopped));
	json_object_set_new(o, "measured", json_pack("{s:f, s:f}", "start_s", (double)r->start_ns / 1e9, "end_s", (double)r->end_ns / 1e9));
	json_object_set_new(o, "wall_s", json_real((double)r->wall_ns / 1e9));
	json_object_set_new(o, "warmup", json_pack("{s:I, s:I}", "due", (json_int_t)r->warmup_due, "lost", (json_int_t)r->warmup_lost));
	json_object_set_new(o, "generator", generator);
	json_object_set_new(o, "total", series_json(cfg, &r->total, r->start_ns, r->end_ns));
	json_object_set_new(o, "types", types_json(cfg, r, r->types, r->start_ns, r->end_ns));
	if (r->workload->phases_n > 1)
		json_object_set_new(o, "phases", phases_json(cfg, r));
	/* what a search or a gate looks at, where it is easily found */
	json_object_set_new(o, "slowdown_p999", json_real(slow(&r->total.slowdown, 0.999)));
	json_object_set_new(o, "throughput_rps", json_real(per_second(r->total.in_window, r->start_ns, r->end_ns)));
	json_object_set_new(o, "loss", json_real(share(r->total.due - r->total.ok, r->total.due)));
	return o;
}

/* ---- text ---- */

static void text_head(FILE *f)
{
	fprintf(f, "  %-16s %9s %7s %7s %10s | %9s %9s %9s %9s %9s | %8s %8s %8s\n", "", "due", "lost", "not ok", "per second", "p50 us", "p90", "p99", "p99.9", "max",
		"slow p50", "p99", "p99.9");
}

static void text_series(FILE *f, const char *name, const struct load_series *s, uint64_t from_ns, uint64_t to_ns)
{
	fprintf(f, "  %-16s %9" PRIu64 " %7" PRIu64 " %7" PRIu64 " %10.0f | %9.1f %9.1f %9.1f %9.1f %9.1f |", name, s->due, s->lost + s->unsent, s->answered - s->ok,
		per_second(s->in_window, from_ns, to_ns), us(hist_quantile(&s->latency, 0.5)), us(hist_quantile(&s->latency, 0.9)), us(hist_quantile(&s->latency, 0.99)),
		us(hist_quantile(&s->latency, 0.999)), us(s->latency.max));
	if (s->slowdown.count)
		fprintf(f, " %8.2f %8.2f %8.2f", slow(&s->slowdown, 0.5), slow(&s->slowdown, 0.99), slow(&s->slowdown, 0.999));
	fputc('\n', f);
}

static void text_types(FILE *f, const struct load_result *r, const struct load_series *types, const struct load_series *total, uint64_t from_ns, uint64_t to_ns)
{
	for (uint32_t t = 0; r->workload->types_n > 1 && t < r->workload->types_n; t++)
		if (types[t].due)
			text_series(f, r->workload->types[t].name, &types[t], from_ns, to_ns);
	text_series(f, r->workload->types_n > 1 ? "all" : r->workload->types[0].name, total, from_ns, to_ns);
}

static void text_statuses(FILE *f, const struct load_config *cfg, const struct load_result *r)
{
	const char *sep = "  answers: ";

	if (r->total.answered == r->total.ok)
		return;
	for (unsigned i = 0; i < LOAD_STATUS_MAX; i++) {
		if (r->total.status[i] == 0)
			continue;
		if (!cfg->http && i < WIRE_STATUSES)
			fprintf(f, "%s%" PRIu64 " %s", sep, r->total.status[i], status_names[i]);
		else
			fprintf(f, "%s%" PRIu64 " with status %u", sep, r->total.status[i], i);
		sep = ", ";
	}
	fputc('\n', f);
}

static void text_notes(FILE *f, const struct load_config *cfg, const struct load_result *r)
{
	uint64_t lag_ns = hist_quantile(&r->lag, 0.99), p99_ns = hist_quantile(&r->total.latency, 0.99);

	text_statuses(f, cfg, r);
	if (r->total.late + r->total.duplicates + r->stray + r->malformed + r->refused + r->errors)
		fprintf(f, "  also: %" PRIu64 " late answers, %" PRIu64 " second answers, %" PRIu64 " to nothing, %" PRIu64 " malformed, %" PRIu64 " refused, %" PRIu64
			" connections failed\n", r->total.late, r->total.duplicates, r->stray, r->malformed, r->refused, r->errors);
	if (r->starts[0] + r->starts[1] + r->starts[2] + r->starts[3])
		fprintf(f, "  starts: %" PRIu64 " cold, %" PRIu64 " wake, %" PRIu64 " warm, %" PRIu64 " hot\n", r->starts[0], r->starts[1], r->starts[3], r->starts[2]);
	if (r->total.server_slowdown.count)
		fprintf(f, "  slowdown as the server saw it, without network and generator: p50 %.2f, p99 %.2f, p99.9 %.2f\n", slow(&r->total.server_slowdown, 0.5),
			slow(&r->total.server_slowdown, 0.99), slow(&r->total.server_slowdown, 0.999));
	if (cfg->http)
		fprintf(f, "  waited for one of %u connections: p50 %.1f us, p99 %.1f us, max %.1f us\n", cfg->threads * cfg->flows, us(hist_quantile(&r->conn_wait, 0.5)),
			us(hist_quantile(&r->conn_wait, 0.99)), us(r->conn_wait.max));
	fprintf(f, "  generator: %.0f a second due, %.0f sent; late by p50 %.1f us, p99 %.1f us, max %.1f us; %.2f s of CPU\n", r->offered_hz, r->sent_hz,
		us(hist_quantile(&r->lag, 0.5)), us(lag_ns), us(r->lag.max), (double)r->cpu_ns / 1e9);
	if (r->generator_limit)
		fprintf(f, "  THE GENERATOR WAS THE LIMIT: %s; the figures are its own more than the server's (--threads, --spin, a machine of its own)\n", r->why);
	else if (lag_ns > p99_ns / 2 && p99_ns > 0)
		fprintf(f, "  note: sending late is more than half of the p99 latency above; --spin, or a machine of its own, would make it smaller\n");
	if (r->stopped)
		fprintf(f, "  stopped early: these are the results until then\n");
}

void load_report_text(FILE *f, const struct load_config *cfg, const struct load_result *r)
{
	fprintf(f, "%s, %s, %s arrivals, %u thread%s with %u %s, %.3g s measured of %.3g s\n", cfg->target, r->workload->name, arrival_names[cfg->arrivals],
		cfg->threads, cfg->threads > 1 ? "s" : "", cfg->flows, cfg->http ? "connections" : "flows", (double)(r->end_ns - r->start_ns) / 1e9, (double)r->end_ns / 1e9);
	text_head(f);
	for (uint32_t i = 0; r->workload->phases_n > 1 && i < r->workload->phases_n; i++) {
		const struct load_phase_result *p = &r->phases[i];

		fprintf(f, " phase %u, %.3g s to %.3g s\n", i + 1, (double)p->start_ns / 1e9, (double)p->end_ns / 1e9);
		text_types(f, r, p->types, &p->total, p->start_ns, p->end_ns);
	}
	if (r->workload->phases_n > 1)
		fprintf(f, " all phases\n");
	text_types(f, r, r->types, &r->total, r->start_ns, r->end_ns);
	text_notes(f, cfg, r);
}
