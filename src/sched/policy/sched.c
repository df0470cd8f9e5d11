/* SPDX-License-Identifier: Apache-2.0 */
/* What every policy shares: requests in and out, workers, counters, switching. */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "private.h"

static const struct policy *const policies[SCHED_POLICIES] = {
	[SCHED_CFCFS] = &policy_cfcfs, [SCHED_DFCFS_RANDOM] = &policy_dfcfs, [SCHED_DFCFS_RR] = &policy_dfcfs, [SCHED_DFCFS_HASH] = &policy_dfcfs,
	[SCHED_FP] = &policy_fp, [SCHED_EDF] = &policy_edf, [SCHED_DARC] = &policy_darc, [SCHED_DARC_STATIC] = &policy_darc,
	[SCHED_MINIMAX] = &policy_minimax,
};

/* ---- life ---- */

static void adopt_config(struct sched *s, const struct sched_config *cfg)
{
	uint32_t more = cfg->workers;

	s->cfg = *cfg;
	config_defaults(&s->cfg);
	s->ops = policies[cfg->policy];
	s->hooks = (uint8_t)((s->ops->route != NULL ? HOOK_ROUTE : 0) | (s->ops->head != NULL ? HOOK_HEAD : 0) | (s->ops->started != NULL ? HOOK_STARTED : 0) |
		(s->ops->done != NULL ? HOOK_DONE : 0));
	s->types_n = cfg->types_n;
	for (uint32_t w = s->workers_n; w < more; w++) {
		s->workers[w].type = NONE;
		bit_set(s->idle, w);
	}
	for (uint32_t w = more; w < s->workers_n; w++) {
		bit_clear(s->idle, w);
		bit_clear(s->down, w);
	}
	s->workers_n = more;
	s->words = (more + 63) / 64;
	for (uint32_t t = 0; t < cfg->types_n; t++)
		s->types[t].max = s->cfg.types[t].queue_max;
	s->types[cfg->types_n].max = s->cfg.queue_max;
	s->rng = s->cfg.seed;
	s->turn = 0;
	s->timer_ns = SCHED_NEVER;
}

/* the policy takes over what waits and runs */
static void begin(struct sched *s, uint64_t now_ns)
{
	estimates_begin(s, now_ns);
	s->look_at_policy = SCHED_NEVER;
	s->ops->attach(s, now_ns);
	sched_look_again(s);
}

int sched_new(const struct sched_config *cfg, struct sched **ret, struct hearth_err *err)
{
	struct sched *s;
	int r = config_check(cfg, err);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return err_set(err, -ENOMEM, "scheduler: no memory for its state");
	adopt_config(s, cfg);
	if (slab_init(&s->slab, config_nodes(&s->cfg)) < 0) {
		free(s);
		return err_set(err, -ENOMEM, "scheduler: no memory for %u waiting requests; a smaller queue_max needs less", config_nodes(cfg));
	}
	estimates_init(s);
	begin(s, 0);
	*ret = s;
	return 0;
}

struct sched *sched_free(struct sched *s)
{
	if (s != NULL)
		slab_done(&s->slab);
	free(s);
	return NULL;
}

static int check_switch(const struct sched *s, const struct sched_config *cfg, struct hearth_err *err)
{
	int r = config_check(cfg, err);

	if (r < 0)
		return r;
	if (cfg->types_n != s->types_n)
		return err_set(err, -EINVAL, "scheduler: %u types instead of %u: a running scheduler keeps its types", cfg->types_n, s->types_n);
	for (uint32_t w = cfg->workers; w < s->workers_n; w++) {
		if (s->workers[w].type != NONE)
			return err_set(err, -EINVAL, "scheduler: %u workers instead of %u: worker %u still runs a request", cfg->workers, s->workers_n, w);
	}
	return 0;
}

/* What waits beyond the new bounds stays, and takes no room from other types. */
static uint32_t nodes_for(const struct sched *s, const struct sched_config *full)
{
	uint32_t n = config_nodes(full);

	for (uint32_t t = 0; t <= full->types_n; t++) {
		uint32_t max = t < full->types_n ? full->types[t].queue_max : full->queue_max;

		n += s->types[t].depth > max ? s->types[t].depth - max : 0;
	}
	return n;
}

int sched_switch(struct sched *s, uint64_t now_ns, const struct sched_config *cfg, struct hearth_err *err)
{
	struct sched_config full;
	struct slab old = s->slab, slab = { .seq = s->slab.seq };
	uint32_t n, at;
	int r = check_switch(s, cfg, err);

	if (r < 0)
		return r;
	full = *cfg;
	config_defaults(&full);
	n = nodes_for(s, &full);
	if (slab_init(&slab, n) < 0)
		return err_set(err, -ENOMEM, "scheduler: no memory for %u waiting requests; a smaller queue_max needs less", n);
	at = queues_take(&old, &s->queues);
	s->slab = slab;
	adopt_config(s, cfg);
	/* through one queue for all, from where the policy takes it */
	queues_init(&s->queues, 1);
	for (; at != NONE; at = old.nodes[at].next) {
		n = node_get(&s->slab);
		s->slab.nodes[n] = old.nodes[at];
		queue_push(&s->slab, &s->queues.q[0], n);
	}
	slab_done(&old);
	begin(s, now_ns);
	return 0;
}

/* ---- requests ---- */

static uint32_t index_of(const struct sched *s, uint32_t type) { return type < s->types_n ? type : s->types_n; }

bool sched_map(struct sched *s, uint32_t queues, const uint16_t *of)
{
	bool same = s->queues.n == queues;
	uint32_t at, next, q;

	for (uint32_t t = 0; t <= s->types_n && of != NULL; t++) {
		same &= s->types[t].queue == of[t];
		s->types[t].queue = of[t];
	}
	if (same && of != NULL)
		return false;
	at = queues_take(&s->slab, &s->queues);
	queues_init(&s->queues, queues);
	for (; at != NONE; at = next) {
		const struct node *node = &s->slab.nodes[at];

		next = node->next;
		q = of != NULL ? of[node->type] : s->ops->route(s, node->type, node->flow);
		queue_push(&s->slab, &s->queues.q[q], at);
		bit_set(s->queues.nonempty, q);
	}
	return true;
}

/* the head of a queue is another one than before */
static inline void head_changed(struct sched *s, uint32_t q)
{
	if (!waits(s, q))
		bit_clear(s->queues.nonempty, q);
	if (__builtin_expect(s->hooks & HOOK_HEAD, 0))
		s->ops->head(s, q);
}

/* not at the end of its queue, or the policy wants to know */
static __attribute__((noinline)) int put_slowly(struct sched *s, uint32_t q, uint32_t n)
{
	if (queue_push(&s->slab, &s->queues.q[q], n)) {
		bit_set(s->queues.nonempty, q);
		if (s->hooks & HOOK_HEAD)
			s->ops->head(s, q);
	}
	return 0;
}

static __attribute__((noinline, cold)) int drop(struct sched *s, uint32_t t)
{
	s->counts[t].dropped++;
	return -ENOBUFS;
}

/* The ways of every request are written so that they call nothing, or at their end, and have little wait for a load of the node: registers and branches, not memory. */
static inline __attribute__((always_inline)) int put(struct sched *s, uint64_t arrival_ns, uint32_t t, uint32_t q, uint32_t flow, uint64_t request)
{
	struct type *y = &s->types[t];
	struct queue *queue = &s->queues.q[q];
	struct node *node;
	uint32_t n;

	y->arrived++;
	if (y->depth >= y->max || (n = node_get(&s->slab)) == NONE)
		return drop(s, t);
	node = &s->slab.nodes[n];
	node->request = request;
	node->arrival_ns = arrival_ns;
	node->next = NONE;
	node->flow = flow;
	node->seq = s->slab.seq++;
	node->type = (uint16_t)t;
	y->depth++;
	s->waiting++;
	if (queue->head == NONE) {
		queue->head = queue->tail = n;
		bit_set(s->queues.nonempty, q);
		if (__builtin_expect(s->hooks & HOOK_HEAD, 0))
			s->ops->head(s, q);
		return 0;
	}
	if (__builtin_expect(arrival_ns < s->slab.nodes[queue->tail].arrival_ns, 0))
		return put_slowly(s, q, n);
	s->slab.nodes[queue->tail].next = n;
	queue->tail = n;
	return 0;
}

static __attribute__((noinline)) int put_routed(struct sched *s, uint64_t arrival_ns, uint32_t t, uint32_t flow, uint64_t request)
{
	return put(s, arrival_ns, t, s->ops->route(s, t, flow), flow, request);
}

static inline __attribute__((always_inline)) int enqueue(struct sched *s, uint64_t arrival_ns, uint32_t type, uint32_t flow, uint64_t request)
{
	uint32_t t = index_of(s, type);

	if (s->hooks & HOOK_ROUTE)
		return put_routed(s, arrival_ns, t, flow, request);
	return put(s, arrival_ns, t, s->types[t].queue, flow, request);
}

int sched_enqueue(struct sched *s, uint64_t now_ns, uint32_t type, uint32_t flow, uint64_t request)
{
	return enqueue(s, now_ns, type, flow, request);
}

int sched_enqueue_late(struct sched *s, uint64_t now_ns, uint64_t arrival_ns, uint32_t type, uint32_t flow, uint64_t request)
{
	return enqueue(s, arrival_ns, type, flow, request);
}

int sched_cancel(struct sched *s, uint64_t now_ns, uint32_t type, uint64_t request)
{
	uint32_t t = index_of(s, type), first = s->types[t].queue, last = first, n;
	bool head = false;

	if (s->hooks & HOOK_ROUTE) {
		first = 0;
		last = s->queues.n - 1;
	}
	for (uint32_t q = first; q <= last; q++) {
		n = queue_remove(&s->slab, &s->queues.q[q], t, request, &head);
		if (n == NONE)
			continue;
		node_put(&s->slab, n);
		if (head)
			head_changed(s, q);
		s->types[t].depth--;
		s->counts[t].cancelled++;
		s->waiting--;
		return 0;
	}
	return -ENOENT;
}

bool sched_next(struct sched *s, uint64_t now_ns, struct sched_start *ret)
{
	uint32_t q, w, n, t;
	uint64_t pick;
	const struct node *node;

	s->timer_ns = SCHED_NEVER;
	if (s->waiting == 0 || (pick = s->ops->pick(s, now_ns)) == PICK_NONE)
		return false;
	q = (uint32_t)(pick >> 32);
	w = (uint32_t)pick;
	n = queue_pop(&s->slab, &s->queues.q[q]);
	if (!waits(s, q))
		bit_clear(s->queues.nonempty, q);
	node = &s->slab.nodes[n];
	t = node->type;
	ret->request = node->request;
	ret->arrival_ns = node->arrival_ns;
	ret->worker = w;
	ret->type = sched_number(s, t);
	node_put(&s->slab, n);
	s->waiting--;
	s->types[t].depth--;
	s->workers[w].start_ns = now_ns;
	s->workers[w].type = t;
	bit_clear(s->idle, w);
	if (s->hooks & HOOK_STARTED)
		s->ops->started(s, now_ns, q, t, w);
	return true;
}

uint64_t sched_timer(const struct sched *s) { return s->timer_ns; }

/* ---- workers ---- */

static __attribute__((noinline)) void look(struct sched *s, uint64_t now_ns, uint32_t t, uint32_t worker)
{
	if (s->hooks & HOOK_DONE)
		s->ops->done(s, now_ns, t, worker);
	if (s->completed >= s->look_at_estimates || now_ns >= s->look_at_ns)
		estimates_close(s, now_ns);
	if (s->completed >= s->look_at_policy)
		s->look_at_policy = s->ops->look(s, now_ns);
	sched_look_again(s);
}

static inline void complete(struct sched *s, uint64_t now_ns, uint32_t worker, uint64_t service_ns)
{
	uint32_t t = s->workers[worker].type;
	struct type *y = &s->types[t];
	double x = (double)(int64_t)service_ns;

	s->workers[worker].type = NONE;
	bit_set(s->idle, worker);
	y->completed++;
	y->sum_ns += service_ns;
	y->sum2 += x * x;
	if (__builtin_expect(++s->completed >= s->look_at || now_ns >= s->look_at_ns, 0))
		look(s, now_ns, t, worker);
	else if (s->hooks & HOOK_DONE)
		s->ops->done(s, now_ns, t, worker);
}

void sched_complete_service(struct sched *s, uint64_t now_ns, uint32_t worker, uint64_t service_ns)
{
	if (worker < s->workers_n && s->workers[worker].type != NONE)
		complete(s, now_ns, worker, service_ns);
}

void sched_complete(struct sched *s, uint64_t now_ns, uint32_t worker)
{
	if (worker < s->workers_n && s->workers[worker].type != NONE)
		complete(s, now_ns, worker, now_ns - s->workers[worker].start_ns);
}

bool sched_worker_down(struct sched *s, uint64_t now_ns, uint32_t worker)
{
	uint32_t t;

	if (worker >= s->workers_n || bit_get(s->down, worker))
		return false;
	bit_set(s->down, worker);
	bit_clear(s->idle, worker);
	t = s->workers[worker].type;
	s->workers[worker].type = NONE;
	if (t != NONE)
		s->counts[t].lost++;
	if (s->ops->workers != NULL)
		s->ops->workers(s, now_ns);
	return t != NONE;
}

void sched_worker_up(struct sched *s, uint64_t now_ns, uint32_t worker)
{
	if (worker >= s->workers_n || !bit_get(s->down, worker))
		return;
	bit_clear(s->down, worker);
	bit_set(s->idle, worker);
	if (s->ops->workers != NULL)
		s->ops->workers(s, now_ns);
}

bool sched_last_due(const struct sched *s, uint64_t now_ns)
{
	uint32_t last = s->queues.n - 1;
	double longest = 0;
	uint64_t since;

	if (!waits(s, last))
		return false;
	since = head_of(s, last)->arrival_ns;
	since = s->last_ns > since ? s->last_ns : since;
	if (now_ns <= since)
		return false;
	for (uint32_t t = 0; t <= s->types_n; t++)
		longest = s->est.of[t].mean_ns > longest ? s->est.of[t].mean_ns : longest;
	return (double)(now_ns - since) > 10 * longest;
}

/* ---- what it does ---- */

void sched_stats(const struct sched *s, uint32_t type, struct sched_type_stats *ret)
{
	uint32_t t = index_of(s, type);
	const struct type *y = &s->types[t];
	const struct type_counts *c = &s->counts[t];
	uint64_t enqueued = y->arrived - c->dropped;

	*ret = (struct sched_type_stats){
		.enqueued = enqueued, .started = enqueued - c->cancelled - y->depth, .completed = y->completed, .dropped = c->dropped, .lost = c->lost,
		.cancelled = c->cancelled, .steals = c->steals, .held = c->held,
		.mean_ns = (uint64_t)(s->est.of[t].mean_ns + .5), .rate_hz = s->est.of[t].rate * 1e9, .depth = y->depth,
	};
}

size_t sched_groups(const struct sched *s, struct sched_group *ret, size_t max)
{
	return s->ops->groups != NULL ? s->ops->groups(s, ret, max) : 0;
}

uint64_t sched_updates(const struct sched *s) { return s->ops->updates != NULL ? s->ops->updates(s) : 0; }
const struct sched_config *sched_config_of(const struct sched *s) { return &s->cfg; }
uint32_t sched_waiting(const struct sched *s) { return s->waiting; }

uint32_t sched_idle(const struct sched *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < WORDS; i++)
		n += (uint32_t)__builtin_popcountll(s->idle[i]);
	return n;
}
