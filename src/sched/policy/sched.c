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
	s->types_n = cfg->types_n;
	for (uint32_t w = s->workers_n; w < more; w++) {
		s->workers[w].type = NONE;
		bit_set(s->idle, w);
		s->idle_n++;
	}
	for (uint32_t w = more; w < s->workers_n; w++) {
		s->idle_n -= bit_get(s->idle, w);
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
	if (queues_init(&s->queues, config_nodes(&s->cfg)) < 0) {
		free(s);
		return err_set(err, -ENOMEM, "scheduler: no memory for %u waiting requests; a smaller queue_max needs less", config_nodes(cfg));
	}
	estimates_init(s);
	estimates_begin(s, 0);
	s->ops->attach(s, 0);
	*ret = s;
	return 0;
}

struct sched *sched_free(struct sched *s)
{
	if (s != NULL)
		queues_done(&s->queues);
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

/* a node of before, as a new one in the queue where it belongs now */
static void wait_again(struct sched *s, const struct node *old)
{
	uint32_t n = node_get(&s->queues), q;

	s->queues.nodes[n] = *old;
	q = s->ops->route != NULL ? s->ops->route(s, old->type, old->flow) : old->type;
	queue_push(&s->queues, queue_of(s, q), n);
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
	struct node *waiting;
	struct queues old = s->queues;
	uint32_t n;
	int r = check_switch(s, cfg, err);

	if (r < 0)
		return r;
	full = *cfg;
	config_defaults(&full);
	n = nodes_for(s, &full);
	waiting = calloc(s->waiting + 1, sizeof(*waiting));
	if (waiting == NULL)
		return err_set(err, -ENOMEM, "scheduler: no memory to sort %u waiting requests", s->waiting);
	if (queues_init(&s->queues, n) < 0) {
		s->queues = old;
		free(waiting);
		return err_set(err, -ENOMEM, "scheduler: no memory for %u waiting requests; a smaller queue_max needs less", n);
	}
	queues_sorted(&old, TYPES, waiting);
	s->queues.seq = old.seq;
	queues_done(&old);
	adopt_config(s, cfg);
	memset(s->loaded, 0, sizeof(s->loaded));
	for (uint32_t i = 0; i < s->waiting; i++)
		wait_again(s, &waiting[i]);
	free(waiting);
	estimates_begin(s, now_ns);
	s->ops->attach(s, now_ns);
	return 0;
}

/* ---- requests ---- */

static uint32_t index_of(const struct sched *s, uint32_t type) { return type < s->types_n ? type : s->types_n; }

/* the head of a queue is another one than before */
static inline void head_changed(struct sched *s, uint32_t q)
{
	if (s->ops->route != NULL) {
		if (queue_of(s, q)->len > 0)
			bit_set(s->loaded, q);
		else
			bit_clear(s->loaded, q);
	} else if (lane_single(&s->lanes, s->lanes.of[q])) {
		if (queue_of(s, q)->len > 0)
			bit_set(s->lanes.nonempty, s->lanes.of[q]);
		else
			bit_clear(s->lanes.nonempty, s->lanes.of[q]);
	} else {
		lanes_sift(s, q);
	}
}

int sched_enqueue_late(struct sched *s, uint64_t now_ns, uint64_t arrival_ns, uint32_t type, uint32_t flow, uint64_t request)
{
	uint32_t t = index_of(s, type), n, q = t;
	struct type *ty = &s->types[t];
	struct node *node;

	s->est.of[t].arrived++;
	n = ty->depth < ty->max ? node_get(&s->queues) : NONE;
	if (__builtin_expect(n == NONE, 0)) {
		ty->dropped++;
		return -ENOBUFS;
	}
	node = &s->queues.nodes[n];
	node->request = request;
	node->arrival_ns = arrival_ns;
	node->flow = flow;
	node->type = (uint16_t)t;
	node->seq = s->queues.seq++;
	if (s->ops->route != NULL)
		q = s->ops->route(s, t, flow);
	ty->enqueued++;
	ty->depth++;
	s->waiting++;
	if (queue_push(&s->queues, queue_of(s, q), n))
		head_changed(s, q);
	return 0;
}

int sched_enqueue(struct sched *s, uint64_t now_ns, uint32_t type, uint32_t flow, uint64_t request)
{
	return sched_enqueue_late(s, now_ns, now_ns, type, flow, request);
}

int sched_cancel(struct sched *s, uint64_t now_ns, uint32_t type, uint64_t request)
{
	uint32_t t = index_of(s, type), first = t, last = t, n;
	bool head = false;

	if (s->ops->route != NULL) {
		first = 0;
		last = s->workers_n - 1;
	}
	for (uint32_t q = first; q <= last; q++) {
		n = queue_remove(&s->queues, queue_of(s, q), t, request, &head);
		if (n == NONE)
			continue;
		node_put(&s->queues, n);
		if (head)
			head_changed(s, q);
		s->types[t].depth--;
		s->types[t].cancelled++;
		s->waiting--;
		return 0;
	}
	return -ENOENT;
}

bool sched_next(struct sched *s, uint64_t now_ns, struct sched_start *ret)
{
	uint32_t q, w, n, t;
	struct node *node;

	s->timer_ns = SCHED_NEVER;
	if (s->waiting == 0 || s->idle_n == 0 || !s->ops->pick(s, now_ns, &q, &w))
		return false;
	n = queue_pop(&s->queues, queue_of(s, q));
	node = &s->queues.nodes[n];
	t = node->type;
	*ret = (struct sched_start){ node->request, node->arrival_ns, w, sched_number(s, t) };
	node_put(&s->queues, n);
	head_changed(s, q);
	s->waiting--;
	s->types[t].depth--;
	s->types[t].started++;
	s->workers[w] = (struct worker){ now_ns, t };
	bit_clear(s->idle, w);
	s->idle_n--;
	if (t == s->types_n)
		s->unknown_ns = now_ns;
	if (s->ops->started != NULL)
		s->ops->started(s, now_ns, t, w);
	return true;
}

uint64_t sched_timer(const struct sched *s) { return s->timer_ns; }

/* ---- workers ---- */

void sched_complete_service(struct sched *s, uint64_t now_ns, uint32_t worker, uint64_t service_ns)
{
	struct estimate *e;
	uint32_t t;
	double x = (double)service_ns, d;

	if (worker >= s->workers_n || s->workers[worker].type == NONE)
		return;
	t = s->workers[worker].type;
	s->workers[worker].type = NONE;
	bit_set(s->idle, worker);
	s->idle_n++;
	s->types[t].completed++;
	e = &s->est.of[t];
	e->n++;
	e->sum_ns += service_ns;
	e->sum2 += x * x;
	d = x - e->mean_ns;
	e->err2 += d * d;
	if (s->ops->done != NULL)
		s->ops->done(s, now_ns, t, worker, service_ns);
	if (__builtin_expect(++s->est.n >= s->est.limit || now_ns >= s->est.end_ns, 0))
		estimates_close(s, now_ns);
}

void sched_complete(struct sched *s, uint64_t now_ns, uint32_t worker)
{
	if (worker < s->workers_n)
		sched_complete_service(s, now_ns, worker, now_ns - s->workers[worker].start_ns);
}

bool sched_worker_down(struct sched *s, uint64_t now_ns, uint32_t worker)
{
	uint32_t t;

	if (worker >= s->workers_n || bit_get(s->down, worker))
		return false;
	bit_set(s->down, worker);
	t = s->workers[worker].type;
	if (t == NONE) {
		bit_clear(s->idle, worker);
		s->idle_n--;
	} else {
		s->workers[worker].type = NONE;
		s->types[t].lost++;
	}
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
	s->idle_n++;
	if (s->ops->workers != NULL)
		s->ops->workers(s, now_ns);
}

/* Ten times the longest type's mean, and the same again after each. */
bool policy_unknown_due(const struct sched *s, uint64_t now_ns)
{
	uint32_t u = s->types_n;
	double longest = s->est.of[u].mean_ns;
	uint64_t since;

	if (s->queues.q[u].len == 0)
		return false;
	since = head_of(s, u)->arrival_ns;
	if (s->types[u].started > 0 && s->unknown_ns > since)
		since = s->unknown_ns;
	if (now_ns <= since)
		return false;
	for (uint32_t t = 0; t < u; t++)
		longest = s->est.of[t].mean_ns > longest ? s->est.of[t].mean_ns : longest;
	return (double)(now_ns - since) > 10 * longest;
}

/* ---- what it does ---- */

void sched_stats(const struct sched *s, uint32_t type, struct sched_type_stats *ret)
{
	uint32_t t = index_of(s, type);
	const struct type *ty = &s->types[t];

	*ret = (struct sched_type_stats){
		.enqueued = ty->enqueued, .started = ty->started, .completed = ty->completed, .dropped = ty->dropped, .lost = ty->lost,
		.cancelled = ty->cancelled, .steals = ty->steals, .held = ty->held,
		.mean_ns = (uint64_t)(s->est.of[t].mean_ns + .5), .rate_hz = s->est.of[t].rate * 1e9, .depth = ty->depth,
	};
}

size_t sched_groups(const struct sched *s, struct sched_group *ret, size_t max)
{
	return s->ops->groups != NULL ? s->ops->groups(s, ret, max) : 0;
}

uint64_t sched_updates(const struct sched *s) { return s->ops->updates != NULL ? s->ops->updates(s) : 0; }
const struct sched_config *sched_config_of(const struct sched *s) { return &s->cfg; }
uint32_t sched_waiting(const struct sched *s) { return s->waiting; }
uint32_t sched_idle(const struct sched *s) { return s->idle_n; }
