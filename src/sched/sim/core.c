/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "engine.h"

/* The policy core as the live dispatcher uses it: enqueue, complete, and next until it says no. */

#define UPDATES_MAX 4096

struct core {
	struct sched *sched;
	uint64_t updates;                       /* sched_updates when we last looked */
	struct sched_group *groups;             /* room for one a type and one for unknown ones */
	size_t groups_max, updates_cap;
	bool service_only;
	uint64_t service_ns[SCHED_WORKERS_MAX]; /* of what a worker runs */
};

static void config_fill(const struct engine *e, struct sched_config *c)
{
	const struct sim_config *cfg = e->cfg;
	const struct workload *w = e->arrivals.w;

	*c = (struct sched_config){ .policy = cfg->policy, .workers = cfg->workers, .types_n = w->types_n, .reserved = cfg->reserved, .seed = cfg->seed,
		.window_requests = cfg->window_requests, .hold_max = cfg->hold_max, .queue_max = cfg->queue_max ? cfg->queue_max : SIM_QUEUE_MAX_DEFAULT };
	for (uint32_t t = 0; t < w->types_n; t++) {
		memcpy(c->types[t].name, w->types[t].name, sizeof(c->types[t].name));
		if (cfg->known) {
			c->types[t].mean_ns = (uint64_t)(w->phases[0].mean_ns[t] + 0.5) + (cfg->service_only ? 0 : cfg->overhead_ns);
			c->types[t].ratio = w->phases[0].ratio[t];
		}
	}
}

static int core_init(struct engine *e, struct hearth_err *err)
{
	struct sched_config *cfg = malloc(sizeof(*cfg));
	struct core *c = calloc(1, sizeof(*c));
	int rc;

	e->state = c;
	if (!c || !cfg) {
		free(cfg);
		return err_set(err, -ENOMEM, "no memory for the policy");
	}
	config_fill(e, cfg);
	c->service_only = e->cfg->service_only && e->cfg->overhead_ns > 0;
	c->groups_max = cfg->types_n + 1;
	c->groups = calloc(c->groups_max, sizeof(*c->groups));
	rc = c->groups ? sched_new(cfg, &c->sched, err) : err_set(err, -ENOMEM, "no memory for the policy");
	free(cfg);
	return rc;
}

static void core_done(struct engine *e)
{
	struct core *c = e->state;

	if (c) {
		sched_free(c->sched);
		free(c->groups);
	}
	free(c);
}

/* ---- reservations over time ---- */

static bool same_groups(const struct sched_group *a, const struct sched_group *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i].types_n != b[i].types_n || memcmp(a[i].types, b[i].types, a[i].types_n * sizeof(a[i].types[0])) != 0 ||
		    memcmp(a[i].reserved, b[i].reserved, sizeof(a[i].reserved)) != 0 || memcmp(a[i].stealable, b[i].stealable, sizeof(a[i].stealable)) != 0)
			return false;
	return true;
}

/* The policy has looked at its reservation again: keep it, beside the last one if it is another. Out of memory, the log ends early; nothing else depends on it. */
static __attribute__((noinline)) void note_groups(struct engine *e, struct core *c)
{
	struct sim_result *r = &e->result;
	size_t n = sched_groups(c->sched, c->groups, c->groups_max);
	struct sim_update *last = r->updates_n > 0 ? &r->updates[r->updates_n - 1] : NULL, *next;

	c->updates = sched_updates(c->sched);
	if (last && last->groups_n == n && same_groups(last->groups, c->groups, n)) {
		/* the same but for the demand as it is known by now */
		memcpy(last->groups, c->groups, n * sizeof(*last->groups));
		return;
	}
	if (n == 0 || r->updates_n >= UPDATES_MAX)
		return;
	if (array_grow((void **)&r->updates, &c->updates_cap, r->updates_n + 1, sizeof(*r->updates)) < 0 || !r->updates)
		return;
	next = &r->updates[r->updates_n];
	*next = (struct sim_update){ .at_ns = e->now, .groups_n = n, .groups = malloc(n * sizeof(*next->groups)) };
	if (!next->groups)
		return;
	memcpy(next->groups, c->groups, n * sizeof(*next->groups));
	r->updates_n++;
}

/* ---- events ---- */

static inline void start_all(struct engine *e, struct core *c)
{
	struct sched_start s;

	while (sched_next(c->sched, e->now, &s)) {
		engine_start(e, s.worker, s.arrival_ns, s.request, 0);
		c->service_ns[s.worker] = request_service_ns(s.request);
	}
	e->timer_ns = sched_timer(c->sched);
}

static int core_arrive(struct engine *e, const struct arrival *a)
{
	struct core *c = e->state;
	int rc = sched_enqueue_late(c->sched, e->now, a->at_ns, a->told, a->flow, a->request);

	start_all(e, c);
	return rc;
}

static int core_worker(struct engine *e, uint32_t w)
{
	struct core *c = e->state;

	engine_idle(e, w);
	e->result.completed++;
	if (__builtin_expect(c->service_only, 0))
		sched_complete_service(c->sched, e->now, w, c->service_ns[w]);
	else
		sched_complete(c->sched, e->now, w);
	start_all(e, c);
	if (__builtin_expect(sched_updates(c->sched) != c->updates, 0))
		note_groups(e, c);
	return 0;
}

static void core_timer(struct engine *e)
{
	start_all(e, e->state);
}

static uint64_t core_waiting(const struct engine *e)
{
	return sched_waiting(((const struct core *)e->state)->sched);
}

static void core_finish(struct engine *e)
{
	struct core *c = e->state;
	struct sim_result *r = &e->result;

	if (r->updates_n == 0)
		note_groups(e, c);
	for (uint32_t t = 0; t < r->types_n; t++) {
		struct sched_type_stats s;

		sched_stats(c->sched, t, &s);
		r->types[t].stolen = s.steals;
		r->types[t].held = s.held;
		r->stolen += s.steals;
	}
	r->model_updates = sched_updates(c->sched);
}

const struct driver core_driver = { core_init, core_done, core_arrive, core_worker, core_timer, core_waiting, core_finish };
