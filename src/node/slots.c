// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slots.h"

/*
 * minimax holds nothing back whose slowdown is that already: a node has few slots, and its short functions may come once an hour. From 2 slots on this costs the
 * shorts next to nothing (docs/adr/0011-node-slots.md). One slot cannot be kept free for anyone.
 */
#define SLOTS_HOLD_MAX 10
#define SLOTS_HOLD_MAX_OF_ONE 1

TAILQ_HEAD(slot_calls, slot_call);

struct slots {
	const struct slots_ops *ops;
	void *ctx;
	const struct types *types;
	struct slots_config cfg;
	struct sched *core;                             /* NULL: no limit */
	uint32_t workers;                               /* of the core: more than cfg.slots while there were more and those still run */
	uint32_t epoch;                                 /* of the core: who started under another one holds no slot of this one */
	struct slot_call *running[SCHED_WORKERS_MAX];
	bool down[SCHED_WORKERS_MAX];
	struct slot_calls waiting;                      /* in the order of their offers */
	uint32_t busy, waits;
	uint64_t now_ns, wake_ns, generation;           /* generation: of the types' names that the core knows */
	bool dispatching;
};

struct slots *slots_new(const struct slots_ops *ops, void *ctx, const struct types *types)
{
	struct slots *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->ops = ops;
	s->ctx = ctx;
	s->types = types;
	s->wake_ns = SCHED_NEVER;
	TAILQ_INIT(&s->waiting);
	return s;
}

struct slots *slots_free(struct slots *s)
{
	if (s)
		sched_free(s->core);
	free(s);
	return NULL;
}

/* the core's clock must not go back, and who calls from within ops.start has looked at a later one */
static uint64_t advance(struct slots *s, uint64_t now_ns)
{
	if (now_ns > s->now_ns)
		s->now_ns = now_ns;
	return s->now_ns;
}

/* ---- configuration ---- */

static uint64_t calls_seen(const struct types *t)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < t->n; i++)
		n += t->type[i].functions ? t->type[i].completed : 0;
	return n;
}

/* Of a core that runs, always with all types: functions come and go meanwhile, and their number cannot be changed. */
static struct sched_config *core_config(const struct slots *s, const struct slots_config *cfg, uint32_t workers, uint32_t types_n)
{
	struct sched_config *c = calloc(1, sizeof(*c));
	uint64_t seen = calls_seen(s->types);

	if (!c)
		return NULL;
	c->policy = cfg->policy;
	c->workers = workers;
	c->reserved = cfg->reserved;
	c->window_requests = cfg->window;
	c->hold_max = cfg->slots > 1 ? SLOTS_HOLD_MAX : SLOTS_HOLD_MAX_OF_ONE;
	c->types_n = types_n;
	for (uint32_t i = 0; i < s->types->n; i++) {
		const struct call_type *t = &s->types->type[i];

		/* one without a name is spare: no policy waits until it is known */
		if (t->functions == 0 || (t->service_ns == 0 && types_n < TYPES_MAX))
			continue;
		snprintf(c->types[i].name, sizeof(c->types[i].name), "%.*s", SCHED_NAME_MAX - 1, t->name);
		c->types[i].mean_ns = t->service_ns;
		c->types[i].ratio = seen ? (double)t->completed / (double)seen : 0;
	}
	return c;
}

static int make_core(const struct slots *s, const struct slots_config *cfg, uint32_t types_n, struct sched **ret, struct hearth_err *err)
{
	struct sched_config *c;
	int r;

	if (cfg->slots == 0 || cfg->slots > SCHED_WORKERS_MAX)
		return err_set(err, -EINVAL, "slots: %u is out of range; use 1 to %d, or 0 for no limit", cfg->slots, SCHED_WORKERS_MAX);
	c = core_config(s, cfg, cfg->slots, types_n);
	if (!c)
		return err_set(err, -ENOMEM, "slots: out of memory");
	r = sched_new(c, ret, err);
	free(c);
	return r;
}

int slots_check(const struct slots *s, const struct slots_config *cfg, struct sched **ret, struct hearth_err *err)
{
	struct sched *core = NULL;
	/* with what is there only: what every type is known of, it need not learn first */
	int r = make_core(s, cfg, s->types->n ? s->types->n : 1, &core, err);

	if (r < 0)
		return r;
	if (ret)
		*ret = core;
	else
		sched_free(core);
	return 0;
}

/* behind the last worker that runs something */
static uint32_t busy_end(const struct slots *s)
{
	uint32_t w = s->workers;

	while (w > 0 && !s->running[w - 1])
		w--;
	return w;
}

/* Idle workers get something new only as far as there are slots that nobody has: those beyond the slots count while they run. */
static void set_down(struct slots *s, uint32_t slots)
{
	uint32_t spare = slots > s->busy ? slots - s->busy : 0;

	for (uint32_t w = 0; w < s->workers; w++) {
		bool down = !s->running[w] && spare == 0;

		if (!s->running[w] && spare > 0)
			spare--;
		if (down && !s->down[w])
			sched_worker_down(s->core, s->now_ns, w);
		else if (!down && s->down[w])
			sched_worker_up(s->core, s->now_ns, w);
		s->down[w] = down;
	}
}

/* As many workers as there are slots, or as many as it takes to keep those that run something: these go when they are idle. */
static int resize(struct slots *s, const struct slots_config *cfg, struct hearth_err *err)
{
	uint32_t end = busy_end(s), workers = cfg->slots > end ? cfg->slots : end;
	struct sched_config *c = core_config(s, cfg, workers, TYPES_MAX);
	int r;

	if (!c)
		return err_set(err, -ENOMEM, "slots: out of memory");
	r = sched_switch(s->core, s->now_ns, c, err);
	free(c);
	if (r < 0)
		return r;
	s->generation = s->types->generation;
	for (uint32_t w = workers; w < s->workers; w++)
		s->down[w] = false;
	s->workers = workers;
	set_down(s, cfg->slots);
	return 0;
}

static void take_from_waiting(struct slots *s, struct slot_call *c)
{
	TAILQ_REMOVE(&s->waiting, c, entry);
	s->waits--;
}

static void start_without(struct slots *s)
{
	struct slot_call *c;

	while ((c = TAILQ_FIRST(&s->waiting))) {
		take_from_waiting(s, c);
		c->state = SLOT_RUNS;
		c->epoch = s->epoch;
		s->ops->start(s->ctx, c);
	}
}

static void no_core(struct slots *s)
{
	s->core = sched_free(s->core);
	s->workers = s->busy = 0;
	s->epoch++;
	memset(s->running, 0, sizeof(s->running));
	memset(s->down, 0, sizeof(s->down));
}

static void tell_wake(struct slots *s)
{
	uint64_t at = s->core ? sched_timer(s->core) : SCHED_NEVER;

	/* the same time is told again: the owner's timer may have fired a little early */
	if (at != SCHED_NEVER || s->wake_ns != SCHED_NEVER)
		s->ops->wake_at(s->ctx, at);
	s->wake_ns = at;
}

int slots_configure(struct slots *s, uint64_t now_ns, const struct slots_config *cfg, struct hearth_err *err)
{
	struct sched *fresh = NULL;
	int r;

	advance(s, now_ns);
	if (cfg->slots == 0) {
		s->cfg = *cfg;
		no_core(s);
		tell_wake(s);
		start_without(s);
		return 0;
	}
	r = make_core(s, cfg, TYPES_MAX, &fresh, err);
	if (r < 0)
		return r;
	if (s->core) {
		sched_free(fresh);
		r = resize(s, cfg, err);
		if (r < 0)
			return r;
	} else {
		no_core(s);
		s->core = fresh;
		s->workers = cfg->slots;
		s->generation = s->types->generation;
	}
	s->cfg = *cfg;
	slots_dispatch(s, now_ns);
	return 0;
}

void slots_named(struct slots *s, uint64_t now_ns)
{
	struct hearth_err err;

	advance(s, now_ns);
	if (s->core && s->generation != s->types->generation)
		(void)resize(s, &s->cfg, &err);         /* without memory the names are those of before */
}

/* ---- calls ---- */

static uint32_t core_type(const struct slot_call *c)
{
	return c->type < TYPES_MAX ? c->type : SCHED_UNKNOWN;
}

int slots_offer(struct slots *s, uint64_t now_ns, struct slot_call *c)
{
	int r;

	if (!s->core)
		return -ENOTSUP;
	r = sched_enqueue(s->core, advance(s, now_ns), core_type(c), 0, (uintptr_t)c);
	if (r < 0)
		return r;
	c->state = SLOT_WAITS;
	TAILQ_INSERT_TAIL(&s->waiting, c, entry);
	s->waits++;
	return 0;
}

void slots_withdraw(struct slots *s, uint64_t now_ns, struct slot_call *c)
{
	if (c->state != SLOT_WAITS)
		return;
	sched_cancel(s->core, advance(s, now_ns), core_type(c), (uintptr_t)c);
	take_from_waiting(s, c);
	c->state = SLOT_NONE;
}

void slots_done(struct slots *s, uint64_t now_ns, struct slot_call *c, bool answered, uint64_t service_ns)
{
	struct hearth_err err;

	now_ns = advance(s, now_ns);
	if (c->state != SLOT_RUNS)
		return;
	c->state = SLOT_NONE;
	if (!s->core || c->epoch != s->epoch)
		return;
	s->running[c->worker] = NULL;
	s->busy--;
	if (answered) {
		sched_complete_service(s->core, now_ns, c->worker, service_ns);
	} else {
		sched_worker_down(s->core, now_ns, c->worker);
		sched_worker_up(s->core, now_ns, c->worker);
	}
	if (s->workers > s->cfg.slots && resize(s, &s->cfg, &err) < 0)
		set_down(s, s->cfg.slots);
}

static void start(struct slots *s, const struct sched_start *st)
{
	struct slot_call *c = (struct slot_call *)(uintptr_t)st->request;

	take_from_waiting(s, c);
	c->state = SLOT_RUNS;
	c->worker = st->worker;
	c->epoch = s->epoch;
	s->running[st->worker] = c;
	s->busy++;
	s->ops->start(s->ctx, c);
}

void slots_dispatch(struct slots *s, uint64_t now_ns)
{
	struct sched_start st;

	advance(s, now_ns);
	if (!s->core || s->dispatching)
		return;
	s->dispatching = true;
	while (s->core && sched_next(s->core, s->now_ns, &st))
		start(s, &st);
	s->dispatching = false;
	tell_wake(s);
}

/* ---- what others see ---- */

bool slots_limited(const struct slots *s)
{
	return s->core != NULL;
}

const struct slots_config *slots_config_of(const struct slots *s)
{
	return &s->cfg;
}

uint32_t slots_busy(const struct slots *s)
{
	return s->busy;
}

uint32_t slots_waiting(const struct slots *s)
{
	return s->waits;
}

const struct sched *slots_core(const struct slots *s)
{
	return s->core;
}
