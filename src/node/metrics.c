// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "priv.h"

/* Prometheus text format 0.0.4. Names of functions need no escaping: they are letters, digits, - and _. */

struct family {
	const char *name, *type, *help;
	size_t offset;          /* of a uint64_t in struct counters */
};

#define FAMILY(n, field, h) { "hearth_function_" n "_total", "counter", h, offsetof(struct counters, field) }
static const struct family families[] = {
	FAMILY("requests", requests, "Calls taken in."),
	FAMILY("errors", errors, "Calls that the node answered with an error (429, 502, 503, 504) or whose client left."),
	FAMILY("function_errors", function_errors, "Calls that the function itself answered with an error."),
	FAMILY("rejected", rejected, "Calls refused because the queue was full."),
	FAMILY("timeouts", timeouts, "Calls that waited or ran too long."),
	FAMILY("lost", lost, "Calls whose instance ended under them."),
	FAMILY("parks", parks, "Instances checkpointed into an image."),
	FAMILY("park_failures", park_failures, "Checkpoints that failed; the instance stayed."),
	FAMILY("wake_failures", wake_failures, "Images that could not be restored; a cold start took their place."),
	FAMILY("start_failures", start_failures, "Cold starts that failed."),
	FAMILY("oom_kills", oom_kills, "Instances ended for using more than their memory limit."),
	FAMILY("log_bytes", log_bytes, "Bytes written by functions to their output."),
};

static const double bounds_s[] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60 };

int metrics_head(struct buf *out, const char *name, const char *type, const char *help)
{
	return buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static int render_counters(struct node *n, struct buf *out)
{
	struct function *fn, *next;
	int r = 0;

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		const struct family *f = &families[i];

		r |= metrics_head(out, f->name, f->type, f->help);
		HASH_ITER(hh, n->functions, fn, next)
			r |= buf_printf(out, "%s{function=\"%s\"} %llu\n", f->name, fn->m.name,
					(unsigned long long)*(const uint64_t *)((const char *)&fn->count + f->offset));
	}
	r |= metrics_head(out, "hearth_function_starts_total", "counter", "Instances that became ready, by how; warm: whose memory was away when a call took them.");
	HASH_ITER(hh, n->functions, fn, next)
		for (int k = START_WARM; k < START_KINDS; k++)
			r |= buf_printf(out, "hearth_function_starts_total{function=\"%s\",kind=\"%s\"} %llu\n", fn->m.name, start_names[k],
					(unsigned long long)fn->count.starts[k]);
	return r;
}

/* cumulative counts at fixed bounds, from the histogram's finer ones */
static int render_histogram(struct buf *out, const struct function *fn, enum start_kind kind)
{
	const struct hist *h = fn->latency[kind];
	int r = 0;

	if (h->count == 0)
		return 0;
	for (size_t b = 0; b < sizeof(bounds_s) / sizeof(bounds_s[0]); b++)
		r |= buf_printf(out, "hearth_request_seconds_bucket{function=\"%s\",start=\"%s\",le=\"%g\"} %llu\n", fn->m.name, start_names[kind],
				bounds_s[b], (unsigned long long)hist_count_below(h, (uint64_t)(bounds_s[b] * NS_PER_S)));
	r |= buf_printf(out, "hearth_request_seconds_bucket{function=\"%s\",start=\"%s\",le=\"+Inf\"} %llu\n", fn->m.name, start_names[kind],
			(unsigned long long)h->count);
	r |= buf_printf(out, "hearth_request_seconds_sum{function=\"%s\",start=\"%s\"} %.9g\n", fn->m.name, start_names[kind], (double)h->sum / NS_PER_S);
	r |= buf_printf(out, "hearth_request_seconds_count{function=\"%s\",start=\"%s\"} %llu\n", fn->m.name, start_names[kind],
			(unsigned long long)h->count);
	return r;
}

static int render_gauges(struct node *n, struct buf *out)
{
	struct function *fn, *next;
	struct instance *inst;
	int r = 0;

	r |= metrics_head(out, "hearth_function_queue_length", "gauge", "Calls that wait for a slot.");
	HASH_ITER(hh, n->functions, fn, next)
		r |= buf_printf(out, "hearth_function_queue_length{function=\"%s\"} %u\n", fn->m.name, fn->queued);
	r |= metrics_head(out, "hearth_instances", "gauge", "Instances by state.");
	HASH_ITER(hh, n->functions, fn, next) {
		unsigned count[INST_STATES] = { 0 };

		TAILQ_FOREACH(inst, &fn->instances, entry)
			count[inst->state]++;
		for (int s = 0; s < INST_STATES; s++)
			r |= buf_printf(out, "hearth_instances{function=\"%s\",state=\"%s\"} %u\n", fn->m.name, instance_state_names[s], count[s]);
	}
	r |= metrics_head(out, "hearth_function_memory_bytes", "gauge", "Memory of a function's instances that only their end (or parking) gives back.");
	HASH_ITER(hh, n->functions, fn, next) {
		uint64_t bytes = 0;

		TAILQ_FOREACH(inst, &fn->instances, entry)
			bytes += instance_memory(inst);
		r |= buf_printf(out, "hearth_function_memory_bytes{function=\"%s\"} %llu\n", fn->m.name, (unsigned long long)bytes);
	}
	return r;
}

static int render_node(struct node *n, struct buf *out)
{
	const struct http_counters *c = http_server_counters(n->http);
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} rows[] = {
		{ "hearth_node_memory_bytes", "gauge", "Resident memory of hearthd.", node_rss_bytes() },
		{ "hearth_node_functions", "gauge", "Functions deployed.", HASH_COUNT(n->functions) },
		{ "hearth_node_parked", "gauge", "Instances parked in images.", n->parked_total },
		{ "hearth_node_adopted_total", "counter", "Running instances taken over from an earlier daemon.", n->adopted_total },
		{ "hearth_gateway_connections", "gauge", "Open client connections.", c->connections },
		{ "hearth_gateway_accepted_total", "counter", "Client connections accepted.", c->accepted },
		{ "hearth_gateway_requests_total", "counter", "Complete requests.", c->requests },
		{ "hearth_gateway_received_bytes_total", "counter", "Bytes from clients.", c->bytes_in },
		{ "hearth_gateway_sent_bytes_total", "counter", "Bytes to clients.", c->bytes_out },
		{ "hearth_gateway_malformed_total", "counter", "Requests that were no HTTP/1.1.", c->rejected_malformed },
		{ "hearth_gateway_oversized_total", "counter", "Requests with too large a head or body.", c->rejected_header_size + c->rejected_body_size },
		{ "hearth_gateway_slow_total", "counter", "Clients dropped for sending or reading too slowly.", c->rejected_timeout + c->stalled },
		{ "hearth_gateway_refused_total", "counter", "Connections over the limit.", c->rejected_connections },
	};
	int r = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		r |= metrics_head(out, rows[i].name, rows[i].type, rows[i].help);
		r |= buf_printf(out, "%s %llu\n", rows[i].name, (unsigned long long)rows[i].value);
	}
	return r;
}

int metrics_render(struct node *n, struct buf *out)
{
	struct function *fn, *next;
	int r = render_node(n, out) | render_counters(n, out) | render_gauges(n, out);

	r |= metrics_head(out, "hearth_request_seconds", "histogram", "Time from a call's arrival to its answer, by how its instance was started for it.");
	HASH_ITER(hh, n->functions, fn, next)
		for (int k = 0; k < START_KINDS; k++)
			r |= render_histogram(out, fn, (enum start_kind)k);
	r |= metrics_sched(n, out);
	r |= metrics_keeper(n, out);
	r |= metrics_memory(n, out);
	return r < 0 ? -ENOMEM : 0;
}
