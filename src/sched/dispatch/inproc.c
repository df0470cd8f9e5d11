/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ring.h"
#include "base/thread.h"
#include "crew.h"
#include "disp.h"
#include "hearth/sched.h"
#include "pool.h"

/* The in-process API: a front whose requests are a program's own calls, and a crew of threads. */
#define CAPACITY 16384u
#define CAPACITY_MAX (1u << 22)
#define SPIN_NS (50 * NS_PER_US)

struct hearth_sched {
	struct hearth_sched_config cfg;         /* types and names not to be used after open */
	struct bell bell;
	struct req *reqs;
	struct pool pool;
	struct mpsc *submitted;
	struct req *peeked;                     /* taken from there by arm, not yet by receive; the dispatcher's */
	struct crew_thread *crew;
	struct disp *disp;
	pthread_t thread;
	bool started;
	pthread_mutex_t asking;                 /* one disp_call at a time */
};

/* ---- the front ---- */

static void give_back(struct hearth_sched *s, const struct req *r)
{
	pool_put(&s->pool, (uint32_t)(r - s->reqs));
}

static struct req *take(struct hearth_sched *s)
{
	struct req *r = s->peeked;

	s->peeked = NULL;
	return r != NULL ? r : mpsc_pop(s->submitted);
}

static unsigned inproc_receive(void *ctx, uint64_t now, unsigned max)
{
	struct hearth_sched *s = ctx;
	struct req *r;
	unsigned n;

	for (n = 0; n < max && (r = take(s)) != NULL; n++)
		disp_offer(s->disp, now, r->arrival_ns, r->type, (uint32_t)((uintptr_t)r->item >> 4), r);
	return n;
}

static void inproc_done(void *ctx, uint64_t now, struct req *r)
{
	give_back(ctx, r);
}

static void inproc_ended(void *ctx, uint64_t now, struct req *r, uint32_t worker, enum stage stage)
{
	const struct hearth_sched_result result = { .end = r->status == WIRE_LOST ? HEARTH_SCHED_LOST : HEARTH_SCHED_OVERLOAD, .type = r->type };
	struct hearth_sched *s = ctx;
	void *item = r->item;

	/* first: done may submit, and finds room */
	give_back(s, r);
	if (s->cfg.done != NULL)
		s->cfg.done(s->cfg.ctx, item, &result);
}

static void inproc_flush(void *ctx, uint64_t now)
{
}

static int inproc_fd(void *ctx)
{
	return -1;
}

static bool inproc_arm(void *ctx)
{
	struct hearth_sched *s = ctx;

	if (s->peeked == NULL)
		s->peeked = mpsc_pop(s->submitted);
	return s->peeked == NULL;
}

static const struct disp_front inproc_front = {
	.receive = inproc_receive,
	.done = inproc_done,
	.ended = inproc_ended,
	.flush = inproc_flush,
	.fd = inproc_fd,
	.arm = inproc_arm,
};

/* ---- workers ---- */

/* struct work - of one worker's thread. Copied, as the scheduler may be closed when a thread that was given up comes back. */
struct work {
	struct hearth_sched *s;
	int (*run)(void *ctx, uint32_t worker, uint32_t type, void *request);
	void *ctx;
	uint32_t worker;
	int value;
};

static uint8_t work_handle(void *ctx, struct req *r)
{
	struct work *w = ctx;

	w->value = w->run(w->ctx, w->worker, r->type, r->item);
	return w->value == 0 ? WIRE_OK : WIRE_FAILED;
}

static void work_send(void *ctx, struct req *r)
{
	const struct work *w = ctx;
	const struct hearth_sched_result result = {
		.end = r->status == WIRE_OK ? HEARTH_SCHED_DONE : HEARTH_SCHED_FAILED,
		.value = w->value,
		.type = r->type,
		.latency_ns = clock_mono_ns() - r->arrival_ns,
		.service_ns = r->service_ns,
	};

	if (w->s->cfg.done != NULL)
		w->s->cfg.done(w->ctx, r->item, &result);
}

static void worker(void *ctx, uint32_t number, struct slot *slot)
{
	static const struct slot_work ops = { .handle = work_handle, .send = work_send };
	struct hearth_sched *s = ctx;
	struct work w = { .s = s, .run = s->cfg.run, .ctx = s->cfg.ctx, .worker = number };

	prctl(PR_SET_NAME, "hearth-worker");
	slot_ready(slot, NULL);
	slot_run(slot, &ops, &w);
}

static void *dispatcher(void *arg)
{
	struct hearth_sched *s = arg;

	prctl(PR_SET_NAME, "hearth-disp");
	if (s->cfg.cpus != NULL)
		(void)crew_pin(s->cfg.cpus[s->cfg.workers]);
	disp_run(s->disp);
	return NULL;
}

/* ---- opening ---- */

static int check(const struct hearth_sched_config *c, struct hearth_err *err)
{
	if (c->run == NULL)
		return err_set(err, -EINVAL, "hearth_sched_open: run is NULL; it is what workers do");
	if (c->workers == 0 || c->workers > SCHED_WORKERS_MAX)
		return err_set(err, -EINVAL, "hearth_sched_open: %u workers; there can be 1 to %d", c->workers, SCHED_WORKERS_MAX);
	if (c->types_n == 0 || c->types_n > SCHED_TYPES_MAX || c->types == NULL)
		return err_set(err, -EINVAL, "hearth_sched_open: %u types; there can be 1 to %d", c->types_n, SCHED_TYPES_MAX);
	if (c->capacity > CAPACITY_MAX || (unsigned)c->idle > HEARTH_SCHED_POLL)
		return err_set(err, -EINVAL, "hearth_sched_open: capacity %u (at most %u) or idle %d (0 to 2) is out of range", c->capacity, CAPACITY_MAX, (int)c->idle);
	for (size_t i = 0; i < sizeof(c->zero) / sizeof(c->zero[0]); i++)
		if (c->zero[i] != 0)
			return err_set(err, -EINVAL, "hearth_sched_open: `zero` is not zero: the program was made for a later version of libhearth-sched");
	return 0;
}

static int policy_of(const char *name, enum sched_policy *ret, struct hearth_err *err)
{
	for (int p = 0; p < SCHED_POLICIES; p++) {
		if (strcmp(name != NULL ? name : "minimax", sched_policy_names[p]) == 0) {
			*ret = (enum sched_policy)p;
			return 0;
		}
	}
	return err_set(err, -EINVAL, "no policy \"%s\"; hearth_sched_config in hearth-sched(3) lists them", name);
}

static int core_config(const struct hearth_sched_config *c, uint32_t workers, struct sched_config *ret, struct hearth_err *err)
{
	memset(ret, 0, sizeof(*ret));
	ret->workers = workers;
	ret->types_n = c->types_n;
	ret->reserved = c->reserved;
	ret->queue_max = c->queue_max;
	ret->window_requests = c->window_requests;
	ret->seed = c->seed;
	for (uint32_t t = 0; t < c->types_n; t++) {
		const struct hearth_sched_type *from = &c->types[t];

		ret->types[t] = (struct sched_type){ .mean_ns = from->mean_ns, .deadline_ns = from->deadline_ns, .ratio = from->ratio, .queue_max = from->queue_max };
		snprintf(ret->types[t].name, SCHED_NAME_MAX, "%s", from->name != NULL ? from->name : "");
	}
	return policy_of(c->policy, &ret->policy, err);
}

static struct idle idle_of(const struct hearth_sched_config *c)
{
	static const enum idle_mode modes[] = { [HEARTH_SCHED_ADAPTIVE] = IDLE_ADAPTIVE, [HEARTH_SCHED_SLEEP] = IDLE_SLEEP, [HEARTH_SCHED_POLL] = IDLE_POLL };

	return (struct idle){ .mode = modes[c->idle], .spin_ns = c->spin_ns != 0 ? c->spin_ns : SPIN_NS };
}

static int make_requests(struct hearth_sched *s, struct hearth_err *err)
{
	uint32_t n = 64;

	while (n < (s->cfg.capacity != 0 ? s->cfg.capacity : CAPACITY))
		n *= 2;
	s->reqs = aligned_alloc(64, n * sizeof(*s->reqs));
	s->pool.next = calloc(n, sizeof(*s->pool.next));
	s->submitted = mpsc_new(n);
	if (s->reqs == NULL || s->pool.next == NULL || s->submitted == NULL)
		return err_set(err, -ENOMEM, "hearth_sched_open: no memory for %u requests", n);
	memset(s->reqs, 0, n * sizeof(*s->reqs));
	while (n-- > 0)
		pool_put(&s->pool, n);
	return 0;
}

static int make_dispatcher(struct hearth_sched *s, const struct sched_config *core, struct hearth_err *err)
{
	struct idle idle = idle_of(&s->cfg);
	struct crew_config crew = { .workers = s->cfg.workers, .cpus = s->cfg.cpus, .work = { .worker = worker, .ctx = s } };
	struct disp_config cfg = { .sched = core, .bell = &s->bell, .idle = idle, .hang_ns = s->cfg.hang_ns, .front = &inproc_front, .front_ctx = s,
				   .crew = &crew_thread_ops };
	int r;

	s->bell.silent = idle.mode == IDLE_POLL;
	s->bell.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->bell.fd < 0)
		return err_set(err, -errno, "hearth_sched_open: eventfd: %s", strerror(errno));
	r = crew_thread_new(&crew, &s->bell, &idle, &s->crew, err);
	if (r < 0)
		return r;
	cfg.crew_ctx = s->crew;
	cfg.slots = crew_thread_slots(s->crew);
	r = disp_new(&cfg, &s->disp, err);
	if (r == 0)
		crew_thread_bind(s->crew, s->disp);
	return r;
}

static int start(struct hearth_sched *s, struct hearth_err *err)
{
	struct pollfd pfd = { .fd = disp_ready_fd(s->disp), .events = POLLIN };
	const char *reason;
	uint64_t count;
	uint32_t failed;
	int r;

	r = thread_spawn(&s->thread, dispatcher, s);
	if (r < 0)
		return err_set(err, r, "hearth_sched_open: thread: %s", strerror(-r));
	s->started = true;
	while (disp_ready(s->disp, &failed, &reason) < s->cfg.workers) {
		if (failed != DISP_NOBODY)
			return err_set(err, -EAGAIN, "hearth_sched_open: thread of worker %u: %s", failed, reason);
		if (poll(&pfd, 1, -1) > 0)
			(void)!read(pfd.fd, &count, sizeof(count));
	}
	return 0;
}

struct hearth_sched *hearth_sched_close(struct hearth_sched *s, uint64_t drain_ns)
{
	struct req *r;

	if (s == NULL)
		return NULL;
	if (s->started) {
		disp_stop(s->disp, drain_ns);
		pthread_join(s->thread, NULL);
		/* submitted and never seen */
		while ((r = take(s)) != NULL) {
			r->status = WIRE_OVERLOAD;
			inproc_ended(s, 0, r, DISP_NOBODY, STAGE_IDLE);
		}
	}
	crew_thread_free(s->crew);
	disp_free(s->disp);
	fd_close(&s->bell.fd);
	mpsc_free(s->submitted);
	free(s->pool.next);
	free(s->reqs);
	pthread_mutex_destroy(&s->asking);
	free(s);
	return NULL;
}

static int say(const struct hearth_err *err, int r, char *error, size_t room)
{
	if (room > 0)
		snprintf(error, room, "%s", err->msg);
	return r;
}

int hearth_sched_open(const struct hearth_sched_config *config, struct hearth_sched **ret, char *error, size_t room)
{
	struct hearth_err err = { 0 };
	struct sched_config core;
	struct hearth_sched *s;
	int r = check(config, &err);

	if (r == 0)
		r = core_config(config, config->workers, &core, &err);
	if (r < 0)
		return say(&err, r, error, room);
	s = aligned_alloc(64, (sizeof(*s) + 63) & ~(size_t)63);
	if (s == NULL)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	s->cfg = *config;
	s->bell.fd = -1;
	pthread_mutex_init(&s->asking, NULL);
	r = make_requests(s, &err);
	if (r == 0)
		r = make_dispatcher(s, &core, &err);
	if (r == 0)
		r = start(s, &err);
	if (r < 0) {
		hearth_sched_close(s, 0);
		return say(&err, r, error, room);
	}
	*ret = s;
	return 0;
}

/* ---- using ---- */

int hearth_sched_submit(struct hearth_sched *s, uint32_t type, void *request)
{
	uint32_t number = pool_take(&s->pool);
	struct req *r;

	if (number == UINT32_MAX)
		return -ENOBUFS;
	r = &s->reqs[number];
	r->item = request;
	r->arrival_ns = clock_mono_ns();
	r->type = type == HEARTH_SCHED_CLASSIFY && s->cfg.classify != NULL ? s->cfg.classify(s->cfg.ctx, request) : type;
	(void)mpsc_push(s->submitted, r);       /* has room for all there are */
	bell_ring(&s->bell);
	return 0;
}

static void ask(struct hearth_sched *s, void (*call)(struct sched *core, uint64_t now, void *arg), void *arg)
{
	pthread_mutex_lock(&s->asking);
	disp_call(s->disp, call, arg);
	pthread_mutex_unlock(&s->asking);
}

struct stats_call {
	uint32_t type;
	struct sched_type_stats stats;
};

static void copy_stats(struct sched *core, uint64_t now, void *arg)
{
	struct stats_call *c = arg;

	sched_stats(core, c->type, &c->stats);
}

int hearth_sched_stats(struct hearth_sched *s, uint32_t type, struct hearth_sched_stats *ret)
{
	struct stats_call c = { .type = type };
	const struct disp_type *t = disp_type_of(s->disp, type);

	if (type >= s->cfg.types_n && type != HEARTH_SCHED_UNKNOWN)
		return -EINVAL;
	ask(s, copy_stats, &c);
	*ret = (struct hearth_sched_stats){
		.enqueued = c.stats.enqueued, .started = c.stats.started, .completed = c.stats.completed, .dropped = c.stats.dropped, .lost = c.stats.lost,
		.steals = c.stats.steals, .held = c.stats.held, .mean_ns = c.stats.mean_ns, .rate_hz = c.stats.rate_hz, .depth = c.stats.depth,
		.p50_ns = lhist_quantile(&t->latency_ns, .5), .p99_ns = lhist_quantile(&t->latency_ns, .99), .p999_ns = lhist_quantile(&t->latency_ns, .999),
		.slowdown_p999 = (double)lhist_quantile(&t->slowdown, .999) / 64,
	};
	return 0;
}

struct explain_call {
	char *out;
	size_t n;
};

static void copy_explanation(struct sched *core, uint64_t now, void *arg)
{
	struct explain_call *c = arg;

	sched_explain(core, now, c->out, c->n);
}

void hearth_sched_explain(struct hearth_sched *s, char *out, size_t n)
{
	if (n > 0)
		ask(s, copy_explanation, &(struct explain_call){ out, n });
}

struct switch_call {
	struct sched_config cfg;
	struct hearth_err err;
	int result;
};

static void do_switch(struct sched *core, uint64_t now, void *arg)
{
	struct switch_call *c = arg;

	c->result = sched_switch(core, now, &c->cfg, &c->err);
}

int hearth_sched_switch(struct hearth_sched *s, const struct hearth_sched_config *config, char *error, size_t room)
{
	struct switch_call *c = calloc(1, sizeof(*c));
	int r;

	if (c == NULL)
		return -ENOMEM;
	if (config->types == NULL || config->types_n != s->cfg.types_n)
		r = err_set(&c->err, -EINVAL, "hearth_sched_switch: %u types instead of %u; their number cannot change", config->types_n, s->cfg.types_n);
	else
		r = core_config(config, s->cfg.workers, &c->cfg, &c->err);
	if (r == 0) {
		ask(s, do_switch, c);
		r = c->result;
	}
	say(&c->err, r, error, r < 0 ? room : 0);
	free(c);
	return r;
}
