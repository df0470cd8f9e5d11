/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "serve_private.h"

/* Prometheus text format 0.0.4. Names of types need no escaping: config.c sees to that. */

static const char *const status_names[WIRE_STATUSES] = { "ok", "overload", "malformed", "unknown", "lost", "failed" };

static int head(struct buf *out, const char *name, const char *type, const char *help)
{
	return buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

struct family {
	const char *name, *help;
	size_t offset;          /* of a uint64_t in struct sched_type_stats */
};

#define FAMILY(n, field, h) { "hearth_serve_" n "_total", h, offsetof(struct sched_type_stats, field) }
static const struct family families[] = {
	FAMILY("enqueued", enqueued, "Requests that began to wait."),
	FAMILY("started", started, "Requests given to a worker."),
	FAMILY("completed", completed, "Requests that a worker finished."),
	FAMILY("dropped", dropped, "Requests refused because their queue was full."),
	FAMILY("lost", lost, "Requests whose worker died or hung."),
	FAMILY("steals", steals, "Starts on a worker that is not reserved for the type's group."),
	FAMILY("held", held, "Times that the policy held a request back although a worker was idle."),
};

static int put_families(struct serve *s, const struct serve_state *st, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		const struct family *f = &families[i];

		r |= head(out, f->name, "counter", f->help);
		for (uint32_t t = 0; t <= st->cfg.types_n; t++)
			r |= buf_printf(out, "%s{type=\"%s\"} %" PRIu64 "\n", f->name, serve_type_name(s, t),
					*(const uint64_t *)((const char *)&st->type[t] + f->offset));
	}
	return r;
}

static int put_gauges(struct serve *s, const struct serve_state *st, struct buf *out)
{
	int r = head(out, "hearth_serve_depth", "gauge", "Requests waiting.");

	for (uint32_t t = 0; t <= st->cfg.types_n; t++)
		r |= buf_printf(out, "hearth_serve_depth{type=\"%s\"} %u\n", serve_type_name(s, t), st->type[t].depth);
	r |= head(out, "hearth_serve_mean_seconds", "gauge", "Service time as learnt.");
	for (uint32_t t = 0; t <= st->cfg.types_n; t++)
		r |= buf_printf(out, "hearth_serve_mean_seconds{type=\"%s\"} %.9g\n", serve_type_name(s, t), (double)st->type[t].mean_ns / 1e9);
	r |= head(out, "hearth_serve_rate_hz", "gauge", "Requests a second as learnt.");
	for (uint32_t t = 0; t <= st->cfg.types_n; t++)
		r |= buf_printf(out, "hearth_serve_rate_hz{type=\"%s\"} %.9g\n", serve_type_name(s, t), st->type[t].rate_hz);
	return r;
}

static unsigned bits(const uint64_t words[SCHED_WORKERS_WORDS])
{
	unsigned n = 0;

	for (size_t i = 0; i < SCHED_WORKERS_WORDS; i++)
		n += (unsigned)__builtin_popcountll(words[i]);
	return n;
}

static int put_reservations(struct serve *s, const struct serve_state *st, struct buf *out)
{
	int r = head(out, "hearth_serve_reserved_workers", "gauge", "Workers reserved for the type's group.");

	for (size_t g = 0; g < st->groups_n; g++)
		for (uint32_t i = 0; i < st->groups[g].types_n; i++)
			r |= buf_printf(out, "hearth_serve_reserved_workers{type=\"%s\"} %u\n", serve_type_name(s, st->groups[g].types[i]),
					bits(st->groups[g].reserved));
	r |= head(out, "hearth_serve_stealable_workers", "gauge", "Further workers that the type's group may take.");
	for (size_t g = 0; g < st->groups_n; g++)
		for (uint32_t i = 0; i < st->groups[g].types_n; i++)
			r |= buf_printf(out, "hearth_serve_stealable_workers{type=\"%s\"} %u\n", serve_type_name(s, st->groups[g].types[i]),
					bits(st->groups[g].stealable));
	return r;
}

static int put_statuses(struct serve *s, const struct serve_state *st, struct buf *out)
{
	int r = head(out, "hearth_serve_requests_total", "counter", "Requests that ended, by how.");

	for (uint32_t t = 0; t <= st->cfg.types_n; t++)
		for (unsigned i = 0; i < WIRE_STATUSES; i++)
			r |= buf_printf(out, "hearth_serve_requests_total{type=\"%s\",status=\"%s\"} %" PRIu64 "\n", serve_type_name(s, t), status_names[i],
					counter_get(&disp_type_of(s->disp, t)->status[i]));
	return r;
}

/* Bounds are those of the histogram's own buckets, so nothing is estimated: so many units or fewer than that. */
static int put_histogram(struct buf *out, const char *name, const char *type, const struct lhist *h, unsigned first, unsigned last, unsigned step, double unit)
{
	uint64_t count = 0, below;
	int r = 0;

	for (unsigned i = first; i <= last; i += step) {
		below = lhist_below(h, lhist_bound(i));
		r |= buf_printf(out, "%s_bucket{type=\"%s\",le=\"%.9g\"} %" PRIu64 "\n", name, type, (double)(lhist_bound(i) + 1) * unit, below);
	}
	count = lhist_below(h, UINT64_MAX);
	r |= buf_printf(out, "%s_bucket{type=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, type, count);
	r |= buf_printf(out, "%s_sum{type=\"%s\"} %.9g\n", name, type, (double)counter_get(&h->sum) * unit);
	r |= buf_printf(out, "%s_count{type=\"%s\"} %" PRIu64 "\n", name, type, count);
	return r;
}

static int put_histograms(struct serve *s, const struct serve_state *st, struct buf *out)
{
	int r = head(out, "hearth_serve_latency_seconds", "histogram", "Arrival to completion, in the server.");

	/* 1.024 us to 17.2 s, a bucket an octave */
	for (uint32_t t = 0; t <= st->cfg.types_n; t++)
		r |= put_histogram(out, "hearth_serve_latency_seconds", serve_type_name(s, t), &disp_type_of(s->disp, t)->latency_ns,
				   lhist_index((1ull << 10) - 1), lhist_index((1ull << 34) - 1), 4, 1e-9);
	r |= head(out, "hearth_serve_slowdown", "histogram", "Latency divided by the request's own service time; requests that succeeded.");
	/* 1.25 to 8192, two buckets an octave */
	for (uint32_t t = 0; t <= st->cfg.types_n; t++)
		r |= put_histogram(out, "hearth_serve_slowdown", serve_type_name(s, t), &disp_type_of(s->disp, t)->slowdown,
				   lhist_index(64), lhist_index((8192ull * 64) - 1), 2, 1.0 / 64);
	return r;
}

static int put_one(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
	return head(out, name, type, help) | buf_printf(out, "%s %" PRIu64 "\n", name, value);
}

static int put_server(struct serve *s, const struct serve_state *st, struct buf *out)
{
	const struct front_counters *f = &s->front.counters;
	struct disp_counters *d = disp_counters_of(s->disp);
	struct net_counters n;
	int r;

	s->net->counters(s->port, &n);
	r = head(out, "hearth_serve_info", "gauge", "What runs.");
	r |= buf_printf(out, "hearth_serve_info{backend=\"%s\",policy=\"%s\",version=\"" HEARTH_VERSION "\"} 1\n", s->net->name, sched_policy_names[st->cfg.policy]);
	r |= put_one(out, "hearth_serve_uptime_seconds", "gauge", "Since the start.", (clock_mono_ns() - s->begun_ns) / NS_PER_S);
	r |= put_one(out, "hearth_serve_workers", "gauge", "Workers configured.", st->cfg.workers);
	r |= put_one(out, "hearth_serve_workers_ready", "gauge", "Workers that take requests.", disp_ready(s->disp, NULL, NULL));
	r |= put_one(out, "hearth_serve_workers_idle", "gauge", "Workers without a request.", st->idle);
	r |= put_one(out, "hearth_serve_workers_died_total", "counter", "Workers that ended before they were told to.", counter_get(&d->died));
	r |= put_one(out, "hearth_serve_workers_hung_total", "counter", "Workers ended because of hang_timeout.", counter_get(&d->hung));
	r |= put_one(out, "hearth_serve_policy_updates_total", "counter", "Times that the reservation or the model was computed anew.", st->updates);
	r |= put_one(out, "hearth_serve_dispatcher_sleeps_total", "counter", "Times that the dispatcher slept.", counter_get(&d->slept));
	r |= put_one(out, "hearth_serve_received_total", "counter", "Datagrams received.", n.rx);
	r |= put_one(out, "hearth_serve_sent_total", "counter", "Datagrams sent.", n.tx);
	r |= put_one(out, "hearth_serve_received_bytes_total", "counter", "Bytes received, of payloads.", n.rx_bytes);
	r |= put_one(out, "hearth_serve_sent_bytes_total", "counter", "Bytes sent, of payloads.", n.tx_bytes);
	r |= put_one(out, "hearth_serve_receive_drops_total", "counter", "Datagrams dropped before the server saw them.", n.rx_dropped);
	r |= put_one(out, "hearth_serve_send_drops_total", "counter", "Replies that could not be sent.", n.tx_dropped);
	r |= put_one(out, "hearth_serve_malformed_total", "counter", "Datagrams that are no valid message.", counter_get(&f->malformed));
	r |= put_one(out, "hearth_serve_malformed_answered_total", "counter", "Those of them whose sender was told.", counter_get(&f->answered));
	r |= put_one(out, "hearth_serve_stray_replies_total", "counter", "Valid messages that are replies, not requests.", counter_get(&f->replies));
	if (s->recorder != NULL)
		r |= put_one(out, "hearth_serve_record_lost_total", "counter", "Requests that the recorded trace lacks.", recorder_lost(s->recorder));
	return r;
}

int serve_metrics(struct serve *s, struct buf *out)
{
	struct serve_state *st = serve_state_take(s);
	int r;

	if (st == NULL)
		return -ENOMEM;
	r = put_server(s, st, out) | put_families(s, st, out) | put_gauges(s, st, out) | put_reservations(s, st, out) | put_statuses(s, st, out) |
	    put_histograms(s, st, out);
	serve_state_free(st);
	return r < 0 ? -ENOMEM : 0;
}
