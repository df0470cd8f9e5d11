/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve_private.h"

/* ---- the policy core's state ---- */

static void copy_state(struct sched *core, uint64_t now, void *arg)
{
	struct serve_state *st = arg;

	st->cfg = *sched_config_of(core);
	for (uint32_t t = 0; t <= st->cfg.types_n; t++)
		sched_stats(core, t < st->cfg.types_n ? t : SCHED_UNKNOWN, &st->type[t]);
	st->groups_n = sched_groups(core, st->groups, SCHED_TYPES_MAX);
	st->updates = sched_updates(core);
	st->waiting = sched_waiting(core);
	st->idle = sched_idle(core);
	sched_explain(core, now, st->text, sizeof(st->text));
}

struct serve_state *serve_state_free(struct serve_state *st)
{
	if (st != NULL)
		free(st->groups);
	free(st);
	return NULL;
}

struct serve_state *serve_state_take(struct serve *s)
{
	struct serve_state *st = calloc(1, sizeof(*st));

	if (st == NULL)
		return NULL;
	st->groups = calloc(SCHED_TYPES_MAX, sizeof(*st->groups));
	if (st->groups == NULL)
		return serve_state_free(st);
	disp_call(s->disp, copy_state, st);
	return st;
}

/* ---- in words ---- */

static int say_server(struct serve *s, const struct serve_state *st, struct buf *out)
{
	struct disp_counters *c = disp_counters_of(s->disp);
	char address[128], how[192] = "";

	serve_address(s, address, sizeof(address));
	if (s->net->describe != NULL)
		s->net->describe(s->port, how, sizeof(how));
	return buf_printf(out, "%s (%s), application %s, policy %s\nworkers: %u of %u ready, %u idle; %" PRIu64 " died so far, %" PRIu64 " of them for hanging\n"
			  "waiting: %u\n", address, how[0] != '\0' ? how : s->net->name, s->cfg->app, sched_policy_names[st->cfg.policy], disp_ready(s->disp, NULL, NULL),
			  st->cfg.workers, st->idle, counter_get(&c->died), counter_get(&c->hung), st->waiting);
}

/* ---- as JSON ---- */

static json_t *workers_of(const uint64_t words[SCHED_WORKERS_WORDS])
{
	json_t *list = json_array();

	for (uint32_t w = 0; w < SCHED_WORKERS_MAX; w++)
		if (words[w / 64] >> w % 64 & 1)
			json_array_append_new(list, json_integer(w));
	return list;
}

static json_t *group_json(const struct serve *s, const struct sched_group *g)
{
	json_t *types = json_array();

	for (uint32_t i = 0; i < g->types_n; i++)
		json_array_append_new(types, json_string(serve_type_name(s, g->types[i])));
	return json_pack("{s:o,s:f,s:o,s:o}", "types", types, "demand", g->demand, "reserved", workers_of(g->reserved), "stealable", workers_of(g->stealable));
}

static json_t *type_json(struct serve *s, const struct serve_state *st, uint32_t t)
{
	const struct sched_type_stats *y = &st->type[t];
	struct disp_type *d = disp_type_of(s->disp, t);
	json_t *o = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "name", serve_type_name(s, t), "enqueued", (json_int_t)y->enqueued,
			      "started", (json_int_t)y->started, "completed", (json_int_t)y->completed, "dropped", (json_int_t)y->dropped,
			      "lost", (json_int_t)y->lost, "steals", (json_int_t)y->steals, "held", (json_int_t)y->held);

	json_object_set_new(o, "depth", json_integer(y->depth));
	json_object_set_new(o, "mean_us", json_real((double)y->mean_ns / 1e3));
	json_object_set_new(o, "rate_rps", json_real(y->rate_hz));
	json_object_set_new(o, "p50_us", json_real((double)lhist_quantile(&d->latency_ns, .5) / 1e3));
	json_object_set_new(o, "p99_us", json_real((double)lhist_quantile(&d->latency_ns, .99) / 1e3));
	json_object_set_new(o, "p999_us", json_real((double)lhist_quantile(&d->latency_ns, .999) / 1e3));
	json_object_set_new(o, "slowdown_p999", json_real((double)lhist_quantile(&d->slowdown, .999) / 64));
	return o;
}

static json_t *server_json(struct serve *s, const struct serve_state *st)
{
	struct disp_counters *c = disp_counters_of(s->disp);
	json_t *pids = json_array(), *groups = json_array(), *types = json_array();
	char address[128];

	serve_address(s, address, sizeof(address));
	for (uint32_t w = 0; w < st->cfg.workers; w++)
		json_array_append_new(pids, json_integer(crew_proc_pid(s->crew, w)));
	for (size_t g = 0; g < st->groups_n; g++)
		json_array_append_new(groups, group_json(s, &st->groups[g]));
	for (uint32_t t = 0; t <= st->cfg.types_n; t++)
		json_array_append_new(types, type_json(s, st, t));
	return json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:s}", "listen", address, "backend", s->net->name, "app", s->cfg->app,
			 "policy", sched_policy_names[st->cfg.policy], "workers", (json_int_t)st->cfg.workers, "ready", (json_int_t)disp_ready(s->disp, NULL, NULL),
			 "idle", (json_int_t)st->idle, "waiting", (json_int_t)st->waiting, "died", (json_int_t)counter_get(&c->died),
			 "hung", (json_int_t)counter_get(&c->hung), "updates", (json_int_t)st->updates, "nursery", (json_int_t)crew_proc_nursery(s->crew),
			 "pids", pids, "groups", groups, "types", types, "explanation", st->text);
}

static int put_json(struct serve *s, const struct serve_state *st, struct buf *out)
{
	json_t *o = server_json(s, st);
	char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
	int r = text != NULL ? buf_printf(out, "%s\n", text) : -ENOMEM;

	free(text);
	json_decref(o);
	return r;
}

int serve_explain(struct serve *s, bool json, struct buf *out)
{
	struct serve_state *st = serve_state_take(s);
	int r;

	if (st == NULL)
		return -ENOMEM;
	if (json)
		r = put_json(s, st, out);
	else if ((r = say_server(s, st, out)) == 0)
		r = buf_append(out, st->text, strlen(st->text));
	serve_state_free(st);
	return r;
}
