// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "priv.h"

/* The node's side of its slots: the clock, the timer, the configuration, and what the control socket says and asks about them. */

#define EXPLAIN_BYTES 65536
/* libev's idea of now is a little late: a timer fires early by that, and asking again at once would be a busy loop */
#define WAKE_MIN_S 50e-6

static void wake_fired(struct ev_loop *loop, ev_timer *w, int events)
{
	struct node *n = w->data;

	(void)loop;
	(void)events;
	slots_dispatch(n->slots, clock_mono_ns());
}

static void wake_at(void *ctx, uint64_t at_ns)
{
	struct node *n = ctx;
	uint64_t now = clock_mono_ns();
	double wait_s = at_ns > now ? (double)(at_ns - now) / NS_PER_S : 0;

	ev_timer_stop(n->loop, &n->slots_wake);
	if (at_ns == SCHED_NEVER)
		return;
	ev_timer_set(&n->slots_wake, wait_s > WAKE_MIN_S ? wait_s : WAKE_MIN_S, 0);
	ev_timer_start(n->loop, &n->slots_wake);
}

static const struct slots_ops ops = { .start = invocation_start, .wake_at = wake_at };

/* what is configured while there is no limit is to be right when there is one */
static int configure(struct node *n, const struct slots_config *cfg, struct hearth_err *err)
{
	struct slots_config with = *cfg;
	int r;

	if (cfg->slots == 0) {
		with.slots = cfg->reserved + 2;
		r = slots_check(n->slots, &with, NULL, err);
		if (r < 0)
			return r;
	}
	return slots_configure(n->slots, clock_mono_ns(), cfg, err);
}

int node_slots_init(struct node *n, struct hearth_err *err)
{
	const struct slots_config cfg = {
		.slots = (uint32_t)n->cfg->slots,
		.policy = (enum sched_policy)n->cfg->policy,
		.reserved = (uint32_t)n->cfg->policy_reserved,
		.window = (uint32_t)n->cfg->policy_window,
	};
	int r;

	ev_init(&n->slots_wake, wake_fired);
	n->slots_wake.data = n;
	n->types = types_new();
	n->slots = n->types ? slots_new(&ops, n, n->types) : NULL;
	if (!n->slots)
		return err_set(err, -ENOMEM, "cannot start: out of memory");
	r = configure(n, &cfg, err);
	if (r == 0 && n->cfg->record_calls && *n->cfg->record_calls)
		r = call_recorder_open(n->cfg->record_calls, n->types, &n->recorder, err);
	return r;
}

void node_slots_done(struct node *n)
{
	if (n->loop)
		ev_timer_stop(n->loop, &n->slots_wake);
	n->recorder = call_recorder_close(n->recorder);
	n->slots = slots_free(n->slots);
	n->types = types_free(n->types);
}

void function_set_type(struct function *fn)
{
	struct node *n = fn->node;
	uint32_t before = fn->type;

	/* taken before the other is given back: the same name keeps its place */
	fn->type = types_take(n->types, function_type_name(fn));
	types_give(n->types, before);
	if (fn->type == TYPE_OTHER)
		log_warn("function %s: there are %d types of calls already; its calls are scheduled as type \"%s\", as those of all that are too many", fn->m.name,
			 TYPES_MAX, n->types->type[TYPE_OTHER].name);
	slots_named(n->slots, clock_mono_ns());
}

/* ---- the control socket ---- */

static int policy_of(const char *name, enum sched_policy *ret, struct hearth_err *err)
{
	char known[256] = "";

	for (int i = 0; sched_policy_names[i]; i++) {
		size_t used = strlen(known);

		if (!strcmp(name, sched_policy_names[i])) {
			*ret = (enum sched_policy)i;
			return 0;
		}
		if (i < SCHED_TS)
			snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", sched_policy_names[i]);
	}
	return err_set(err, -EINVAL, "policy: there is no \"%s\"; use one of %s", name, known);
}

static int number_of(const json_t *request, const char *key, uint32_t max, uint32_t *value, struct hearth_err *err)
{
	const json_t *v = json_object_get(request, key);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
		return err_set(err, -EINVAL, "%s: use a number from 0 to %u", key, max);
	*value = (uint32_t)json_integer_value(v);
	return 0;
}

/* @cfg: what there is, then what is asked for. @ret_asked: anything at all. */
static int settings_of(const json_t *request, struct slots_config *cfg, bool *ret_asked, struct hearth_err *err)
{
	const char *policy = json_string_value(json_object_get(request, "policy"));
	int r = 0;

	*ret_asked = policy || json_object_get(request, "slots") || json_object_get(request, "reserved") || json_object_get(request, "window");
	if (policy)
		r = policy_of(policy, &cfg->policy, err);
	if (r == 0)
		r = number_of(request, "slots", SCHED_WORKERS_MAX, &cfg->slots, err);
	if (r == 0)
		r = number_of(request, "reserved", SCHED_WORKERS_MAX, &cfg->reserved, err);
	if (r == 0)
		r = number_of(request, "window", 1u << 30, &cfg->window, err);
	return r;
}

static void put_quantiles(json_t *o, const char *name, const struct hist *h, double unit)
{
	static const struct {
		const char *suffix;
		double q;
	} at[] = { { "p50", .5 }, { "p99", .99 }, { "p999", .999 } };
	char key[32];

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		snprintf(key, sizeof(key), "%s_%s", name, at[i].suffix);
		json_object_set_new(o, key, h ? json_real((double)hist_quantile(h, at[i].q) / unit) : json_null());
	}
}

static json_t *type_json(const struct node *n, uint32_t type)
{
	const struct call_type *t = &n->types->type[type];
	const struct sched *core = slots_core(n->slots);
	json_t *o = json_pack("{s:s,s:I,s:I,s:I,s:I,s:f}", "name", t->name, "functions", (json_int_t)t->functions, "completed", (json_int_t)t->completed, "lost",
			      (json_int_t)t->lost, "rejected", (json_int_t)t->rejected, "service_ms", (double)t->service_ns / NS_PER_MS);

	put_quantiles(o, "latency_ms", t->latency, NS_PER_MS);
	put_quantiles(o, "slowdown", t->slowdown, 1000);
	if (core) {
		struct sched_type_stats st;

		sched_stats(core, type == TYPE_OTHER ? SCHED_UNKNOWN : type, &st);
		json_object_set_new(o, "waiting", json_integer(st.depth));
		json_object_set_new(o, "running", json_integer((json_int_t)(st.started - st.completed - st.lost)));
		json_object_set_new(o, "started", json_integer((json_int_t)st.started));
		json_object_set_new(o, "steals", json_integer((json_int_t)st.steals));
		json_object_set_new(o, "held", json_integer((json_int_t)st.held));
		json_object_set_new(o, "rate_hz", json_real(st.rate_hz));
	}
	return o;
}

static json_t *types_json(const struct node *n)
{
	json_t *a = json_array();

	for (uint32_t i = 0; i < n->types->n; i++)
		if (types_used(n->types, i))
			json_array_append_new(a, type_json(n, i));
	if (types_used(n->types, TYPE_OTHER))
		json_array_append_new(a, type_json(n, TYPE_OTHER));
	return a;
}

static json_t *workers_json(const uint64_t *bits)
{
	json_t *a = json_array();

	for (unsigned w = 0; w < SCHED_WORKERS_MAX; w++)
		if (bits[w / 64] >> (w % 64) & 1)
			json_array_append_new(a, json_integer(w));
	return a;
}

static json_t *groups_json(const struct node *n, const struct sched *core)
{
	struct sched_group *groups = calloc(TYPES_MAX + 1, sizeof(*groups));
	size_t count = groups ? sched_groups(core, groups, TYPES_MAX + 1) : 0;
	json_t *a = json_array();

	for (size_t i = 0; i < count && i <= TYPES_MAX; i++) {
		json_t *names = json_array();

		for (uint32_t k = 0; k < groups[i].types_n; k++)
			json_array_append_new(names, json_string(n->types->type[groups[i].types[k] < TYPES_MAX ? groups[i].types[k] : TYPE_OTHER].name));
		json_array_append_new(a, json_pack("{s:o,s:f,s:o,s:o}", "types", names, "demand", groups[i].demand, "reserved", workers_json(groups[i].reserved),
						   "stealable", workers_json(groups[i].stealable)));
	}
	free(groups);
	return a;
}

/* @core: the one that runs, or one that would; NULL: no limit */
static void put_core(json_t *o, const struct node *n, const struct slots_config *cfg, const struct sched *core)
{
	char *text = core ? malloc(EXPLAIN_BYTES) : NULL;

	if (text)
		sched_explain(core, clock_mono_ns(), text, EXPLAIN_BYTES);
	json_object_set_new(o, "slots", json_integer(cfg->slots));
	json_object_set_new(o, "policy", json_string(sched_policy_names[cfg->policy]));
	json_object_set_new(o, "reserved", json_integer(cfg->reserved));
	json_object_set_new(o, "window", json_integer(cfg->window));
	json_object_set_new(o, "updates", json_integer(core ? (json_int_t)sched_updates(core) : 0));
	json_object_set_new(o, "groups", core ? groups_json(n, core) : json_array());
	json_object_set_new(o, "explain", json_string(text ? text : core ? "" :
		"No limit: a call runs as soon as an instance of its function has room for it, and the kernel shares the CPUs.\n"));
	free(text);
}

static json_t *state_json(const struct node *n)
{
	json_t *o = json_object();

	put_core(o, n, slots_config_of(n->slots), slots_core(n->slots));
	json_object_set_new(o, "busy", json_integer(slots_busy(n->slots)));
	json_object_set_new(o, "waiting", json_integer(slots_waiting(n->slots)));
	json_object_set_new(o, "types", types_json(n));
	json_object_set_new(o, "types_left_out", json_integer(n->types->left_out));
	json_object_set_new(o, "record", n->recorder ? json_string(call_recorder_path(n->recorder)) : json_null());
	json_object_set_new(o, "recorded", json_integer(n->recorder ? (json_int_t)call_recorder_calls(n->recorder) : 0));
	return o;
}

static json_t *answer_with(const char *key, json_t *value)
{
	json_t *o = control_ok();

	json_object_set_new(o, key, value);
	return o;
}

/* {"op":"explain"}: what the scheduler does and why; with policy, slots, reserved or window: what it would do with them */
json_t *op_explain(struct node *n, const json_t *request)
{
	struct slots_config cfg = *slots_config_of(n->slots);
	struct sched *core = NULL;
	struct hearth_err err;
	bool asked;
	json_t *o;
	int r;

	r = settings_of(request, &cfg, &asked, &err);
	if (r == 0 && asked && cfg.slots > 0)
		r = slots_check(n->slots, &cfg, &core, &err);
	if (r < 0)
		return control_refuse(&err);
	o = answer_with("sched", state_json(n));
	if (asked) {
		json_t *would = json_object();

		put_core(would, n, &cfg, core);
		json_object_set_new(o, "would", would);
	}
	sched_free(core);
	return o;
}

static int record(struct node *n, const char *path, struct hearth_err *err)
{
	struct call_recorder *fresh = NULL;
	int r = *path ? call_recorder_open(path, n->types, &fresh, err) : 0;

	if (r < 0)
		return r;
	call_recorder_close(n->recorder);
	n->recorder = fresh;
	return 0;
}

/* all functions: what waited for a slot and needs none now has started already, what waits for an instance may find the rules changed */
static void pump_all(struct node *n)
{
	struct function *fn, *next;

	HASH_ITER(hh, n->functions, fn, next)
		function_pump(fn);
}

/* {"op":"sched"}: the settings; with policy, slots, reserved, window or record ("": no longer): changes them */
json_t *op_sched(struct node *n, const json_t *request)
{
	const char *path = json_string_value(json_object_get(request, "record"));
	struct slots_config cfg = *slots_config_of(n->slots);
	struct hearth_err err;
	bool asked;
	int r;

	if (n->stopping) {
		err_set(&err, -ESHUTDOWN, "hearthd is stopping");
		return control_refuse(&err);
	}
	r = settings_of(request, &cfg, &asked, &err);
	if (r == 0 && asked)
		r = configure(n, &cfg, &err);
	if (r == 0 && path)
		r = record(n, path, &err);
	if (r < 0)
		return control_refuse(&err);
	if (asked) {
		log_info("slots: %u, policy %s%s", cfg.slots, sched_policy_names[cfg.policy], cfg.slots ? "" : " (not in use: no limit)");
		pump_all(n);
	}
	return answer_with("sched", state_json(n));
}
