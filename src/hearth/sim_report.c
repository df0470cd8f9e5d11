/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"

/* ---- JSON ---- */

/* JSON knows no infinity */
static json_t *number(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static void set(json_t *o, const char *key, json_t *value)
{
	json_object_set_new(o, key, value);
}

static json_t *bits_json(const uint64_t *mask)
{
	json_t *a = json_array();

	for (int w = 0; w < SCHED_WORKERS_MAX; w++)
		if (mask[w / 64] >> (w % 64) & 1)
			json_array_append_new(a, json_integer(w));
	return a;
}

static json_t *groups_json(const struct sim_report *r, const struct sim_update *u)
{
	json_t *a = json_array();

	for (size_t g = 0; u && g < u->groups_n; g++) {
		json_t *o = json_object(), *types = json_array();

		for (uint32_t t = 0; t < u->groups[g].types_n; t++)
			json_array_append_new(types, json_string(u->groups[g].types[t] < r->workload->types_n ? r->workload->types[u->groups[g].types[t]].name : "unknown"));
		set(o, "types", types);
		set(o, "demand", number(u->groups[g].demand));
		set(o, "reserved", bits_json(u->groups[g].reserved));
		set(o, "stealable", bits_json(u->groups[g].stealable));
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *type_json(const struct sim_report *r, uint32_t i)
{
	const struct sim_type_result *t = &r->result->types[i];
	json_t *o = json_object();

	set(o, "name", json_string(r->workload->types[i].name));
	set(o, "arrived", json_integer((json_int_t)t->arrived));
	set(o, "measured", json_integer((json_int_t)t->latency_ns.n));
	set(o, "dropped", json_integer((json_int_t)t->dropped));
	set(o, "stolen", json_integer((json_int_t)t->stolen));
	set(o, "held", json_integer((json_int_t)t->held));
	set(o, "mean_us", number(t->latency_ns.mean / 1e3));
	set(o, "p50_us", number(t->latency_ns.p50 / 1e3));
	set(o, "p99_us", number(t->latency_ns.p99 / 1e3));
	set(o, "p999_us", number(t->latency_ns.p999 / 1e3));
	set(o, "max_us", number(t->latency_ns.max / 1e3));
	set(o, "slowdown_p50", number(t->slowdown.p50));
	set(o, "slowdown_p99", number(t->slowdown.p99));
	set(o, "slowdown_p999", number(t->slowdown.p999));
	return o;
}

static json_t *interval_json(const struct sim_report *r, const struct sim_interval *i)
{
	uint32_t n = r->result->types_n;
	json_t *o = json_object(), *types = json_array();

	set(o, "from_s", number((double)i->from_ns * 1e-9));
	set(o, "phase", json_integer(i->phase));
	set(o, "n", json_integer((json_int_t)i->slowdown[n].n));
	set(o, "slowdown_p999", number(i->slowdown[n].p999));
	for (uint32_t t = 0; t < n; t++) {
		json_t *y = json_object();

		set(y, "name", json_string(r->workload->types[t].name));
		set(y, "n", json_integer((json_int_t)i->latency_ns[t].n));
		set(y, "p999_us", number(i->latency_ns[t].p999 / 1e3));
		set(y, "slowdown_p999", number(i->slowdown[t].p999));
		json_array_append_new(types, y);
	}
	set(o, "types", types);
	return o;
}

static json_t *updates_json(const struct sim_report *r)
{
	json_t *a = json_array();

	for (size_t i = 0; i < r->result->updates_n; i++) {
		json_t *o = json_object();

		set(o, "at_s", number((double)r->result->updates[i].at_ns * 1e-9));
		set(o, "reservations", groups_json(r, &r->result->updates[i]));
		json_array_append_new(a, o);
	}
	return a;
}

static void set_asked(json_t *o, const struct sim_report *r)
{
	const struct sim_config *c = r->cfg;

	set(o, "workload", json_string(r->workload->name));
	set(o, "policy", json_string(sched_policy_names[c->policy]));
	set(o, "workers", json_integer(c->workers));
	set(o, "load", number(r->result->rate_hz * workload_mean_ns(r->workload, 0) * 1e-9 / c->workers));
	set(o, "rate_rps", number(r->result->rate_hz));
	set(o, "seed", json_integer((json_int_t)c->seed));
	set(o, "rtt_us", number((double)c->rtt_ns / 1e3));
	set(o, "overhead_ns", json_integer((json_int_t)c->overhead_ns));
	set(o, "dispatch_ns", json_integer((json_int_t)c->dispatch_ns));
	if (c->policy == SCHED_TS) {
		set(o, "quantum_us", number((double)c->quantum_ns / 1e3));
		set(o, "preempt_ns", json_integer((json_int_t)c->preempt_ns));
	}
	if (c->scv >= 0)
		set(o, "scv", number(c->scv));
}

static void set_found(json_t *o, const struct sim_report *r)
{
	const struct sim_result *s = r->result;
	json_t *types = json_array();

	set(o, "requests", json_integer((json_int_t)s->arrived));
	set(o, "slowdown_mean", number(s->slowdown.mean));
	set(o, "slowdown_p50", number(s->slowdown.p50));
	set(o, "slowdown_p99", number(s->slowdown.p99));
	set(o, "slowdown_p999", number(s->slowdown.p999));
	for (uint32_t t = 0; t < s->types_n; t++)
		json_array_append_new(types, type_json(r, t));
	set(o, "types", types);
	set(o, "throughput_rps", number(s->throughput_hz));
	set(o, "utilisation", number(s->utilisation));
	set(o, "dropped", json_integer((json_int_t)s->dropped));
	set(o, "stolen", json_integer((json_int_t)s->stolen));
	set(o, "preempted", json_integer((json_int_t)s->preempted));
	set(o, "reservations", groups_json(r, s->updates_n ? &s->updates[s->updates_n - 1] : NULL));
	set(o, "updates", json_integer((json_int_t)s->model_updates));
	set(o, "simulated_s", number(s->simulated_s));
	set(o, "events", json_integer((json_int_t)s->events));
	set(o, "wall_s", number(s->wall_s));
}

static json_t *target_json(const struct sim_report *r)
{
	json_t *o = json_object();

	if (r->target->kind == SIM_TARGET_LATENCY) {
		set(o, "type", json_string(r->workload->types[r->target->type].name));
		set(o, "p999_us", number(r->target->value / 1e3));
	} else {
		set(o, "slowdown_p999", number(r->target->value));
	}
	return o;
}

json_t *sim_report_json(const struct sim_report *r)
{
	json_t *o = json_object();

	if (r->target) {
		set(o, "target", target_json(r));
		set(o, "max_load", number(r->max->load));
		set(o, "max_rate_rps", number(r->max->rate_hz));
		set(o, "runs", json_integer(r->max->runs));
		if (r->max->load == 0)
			return o;
	}
	set_asked(o, r);
	set_found(o, r);
	if (r->cfg->interval_ns > 0) {
		json_t *a = json_array();

		for (size_t i = 0; i < r->result->intervals_n; i++)
			json_array_append_new(a, interval_json(r, &r->result->intervals[i]));
		set(o, "intervals", a);
		set(o, "reservation_changes", updates_json(r));
	}
	return o;
}

/* ---- for people ---- */

static void print_workers(const uint64_t *mask)
{
	bool first = true;

	for (int w = 0; w < SCHED_WORKERS_MAX; w++) {
		int from = w;

		if (!(mask[w / 64] >> (w % 64) & 1))
			continue;
		while (w + 1 < SCHED_WORKERS_MAX && mask[(w + 1) / 64] >> ((w + 1) % 64) & 1)
			w++;
		printf(from == w ? "%s%d" : "%s%d-%d", first ? "" : ",", from, w);
		first = false;
	}
	if (first)
		putchar('-');
}

static void print_groups(const struct sim_report *r)
{
	const struct sim_update *u = r->result->updates_n ? &r->result->updates[r->result->updates_n - 1] : NULL;

	for (size_t g = 0; u && g < u->groups_n; g++) {
		printf("group %zu: ", g + 1);
		for (uint32_t t = 0; t < u->groups[g].types_n; t++)
			printf("%s%s", t ? ", " : "", u->groups[g].types[t] < r->workload->types_n ? r->workload->types[u->groups[g].types[t]].name : "unknown");
		printf("; demand %.2f workers; reserved ", u->groups[g].demand);
		print_workers(u->groups[g].reserved);
		printf("; may take ");
		print_workers(u->groups[g].stealable);
		putchar('\n');
	}
}

static const char *rate_text(char *out, size_t n, double hz)
{
	if (hz >= 1e6)
		snprintf(out, n, "%.3f Mrps", hz / 1e6);
	else if (hz >= 1e3)
		snprintf(out, n, "%.1f krps", hz / 1e3);
	else
		snprintf(out, n, "%.2f rps", hz);
	return out;
}

static void print_types(const struct sim_report *r)
{
	const struct sim_result *s = r->result;

	printf("%-16s %10s %10s %10s %10s %10s %9s\n", "type", "requests", "p50 us", "p99 us", "p99.9 us", "slowdown", "dropped");
	for (uint32_t t = 0; t < s->types_n; t++) {
		const struct sim_type_result *y = &s->types[t];

		printf("%-16s %10" PRIu64 " %10.2f %10.2f %10.2f %10.2f %9" PRIu64 "\n", r->workload->types[t].name, y->arrived, y->latency_ns.p50 / 1e3, y->latency_ns.p99 / 1e3,
			y->latency_ns.p999 / 1e3, y->slowdown.p999, y->dropped);
	}
	printf("%-16s %10" PRIu64 " %10s %10s %10s %10.2f %9" PRIu64 "\n", "all", s->arrived, "", "", "", s->slowdown.p999, s->dropped);
}

void sim_report_print(const struct sim_report *r)
{
	const struct sim_result *s = r->result;
	char rate[32];

	if (r->target) {
		char what[96];

		if (r->target->kind == SIM_TARGET_LATENCY)
			snprintf(what, sizeof(what), "p99.9 of %s at most %.6g us", r->workload->types[r->target->type].name, r->target->value / 1e3);
		else
			snprintf(what, sizeof(what), "p99.9 slowdown at most %.6g", r->target->value);
		if (r->max->load == 0) {
			printf("%s with %s: %s is not kept at any load\n", r->workload->name, sched_policy_names[r->cfg->policy], what);
			return;
		}
		printf("%s: load %.4f, %s (%u runs)\nAt this load:\n", what, r->max->load, rate_text(rate, sizeof(rate), r->max->rate_hz), r->max->runs);
	}
	printf("%s, %s, %u workers, load %.3f, %s, %" PRIu64 " requests, seed %" PRIu64 "\n", r->workload->name, sched_policy_names[r->cfg->policy], r->cfg->workers,
		s->rate_hz * workload_mean_ns(r->workload, 0) * 1e-9 / r->cfg->workers, rate_text(rate, sizeof(rate), s->rate_hz), s->arrived, r->cfg->seed);
	print_types(r);
	printf("(slowdown: the 99.9th percentile of latency divided by service time)\n");
	print_groups(r);
	printf("throughput %s, utilisation %.1f%%", rate_text(rate, sizeof(rate), s->throughput_hz), s->utilisation * 100);
	if (s->stolen)
		printf(", %" PRIu64 " stolen", s->stolen);
	if (s->preempted)
		printf(", %" PRIu64 " preempted", s->preempted);
	printf("; %.2f s simulated in %.2f s, %.1f million events/s\n", s->simulated_s, s->wall_s, (double)s->events / s->wall_s / 1e6);
}
