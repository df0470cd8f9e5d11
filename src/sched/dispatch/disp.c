/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "disp_private.h"

#define DISP_BATCH 8            /* requests taken from the front a round, as published: workers that are done wait no longer than for these */
#define END_WAIT_MS 2000        /* at the end, for the deaths of workers that were still busy */

/* ---- one round ---- */

static void account(struct disp *d, const struct req *r, uint64_t now)
{
	struct disp_type *t = disp_type_of(d, r->type);
	uint64_t latency = now - r->arrival_ns;
	unsigned status = r->status < WIRE_STATUSES ? r->status : WIRE_FAILED;  /* written by a worker */

	counter_add(&t->status[status], 1);
	lhist_record(&t->latency_ns, latency);
	if (status == WIRE_OK)
		lhist_record(&t->slowdown, latency * 64 / (r->service_ns > 0 ? r->service_ns : 1));
}

void disp_complete(struct disp *d, uint64_t now, uint32_t w, struct req *r)
{
	struct worker *worker = &d->worker[w];

	worker->running = NULL;
	d->busy[w / 64] &= ~(1ull << w % 64);
	d->running--;
	sched_complete_service(d->sched, now, w, r->service_ns + r->send_ns);
	if (worker->killed)
		sched_worker_down(d->sched, now, w);    /* done in time after all, but its end is on the way */
	account(d, r, now);
	if (d->cfg.recorder != NULL)
		recorder_put(d->cfg.recorder, r->order, r->arrival_ns, r->type, r->service_ns);
	d->cfg.front->done(d->cfg.front_ctx, now, r);
}

/* without a worker that finished it */
void disp_end(struct disp *d, uint64_t now, struct req *r, enum wire_status status, uint32_t worker, enum stage stage)
{
	r->status = (uint8_t)status;
	counter_add(&disp_type_of(d, r->type)->status[status], 1);
	d->cfg.front->ended(d->cfg.front_ctx, now, r, worker, stage);
}

unsigned disp_collect(struct disp *d, uint64_t now, uint32_t w)
{
	struct req *r = d->worker[w].running;

	if (r == NULL || !slot_done(d->worker[w].slot))
		return 0;
	disp_complete(d, now, w, r);
	return 1;
}

static struct worker *worker_at(struct disp *d, uint32_t word, uint64_t left)
{
	return &d->worker[word * 64 + (uint32_t)__builtin_ctzll(left)];
}

/* What is with another core is asked for, for all workers, before the first answer is waited for: so the time that it takes passes once, not once for each. */
static uint64_t finished_of(struct disp *d, uint32_t word)
{
	uint64_t finished = 0;

	for (uint64_t left = d->busy[word]; left != 0; left &= left - 1)
		slot_look(worker_at(d, word, left)->slot);
	for (uint64_t left = d->busy[word]; left != 0; left &= left - 1) {
		struct worker *worker = worker_at(d, word, left);

		if (!slot_done(worker->slot))
			continue;
		finished |= left & -left;
		if (d->cfg.front->fetch != NULL)
			d->cfg.front->fetch(d->cfg.front_ctx, worker->running);
	}
	return finished;
}

static unsigned collect(struct disp *d, uint64_t now)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < SCHED_WORKERS_WORDS; i++)
		for (uint64_t left = finished_of(d, i); left != 0; left &= left - 1)
			n += disp_collect(d, now, i * 64 + (uint32_t)__builtin_ctzll(left));
	return n;
}

void disp_offer(struct disp *d, uint64_t now, uint64_t arrival, uint32_t type, uint32_t flow, struct req *r)
{
	/* it may have come after this round began */
	r->arrival_ns = arrival < now ? arrival : now;
	r->type = type < d->types ? type : SCHED_UNKNOWN;
	r->status = WIRE_OK;
	if (sched_enqueue_late(d->sched, now, r->arrival_ns, r->type, flow, (uintptr_t)r) == 0)
		r->order = d->order++;
	else
		disp_end(d, now, r, WIRE_OVERLOAD, DISP_NOBODY, STAGE_IDLE);
}

static void give(struct disp *d, uint64_t now, const struct sched_start *start)
{
	struct worker *worker = &d->worker[start->worker];
	struct req *r = (struct req *)(uintptr_t)start->request;

	worker->given_ns = now;
	r->seq = ++worker->given;
	worker->running = r;
	d->latest = start->worker;
	d->busy[start->worker / 64] |= 1ull << start->worker % 64;
	d->running++;
	slot_give(worker->slot, r);
}

bool disp_expects(const struct disp *d, uint64_t now, uint64_t ns)
{
	const struct worker *latest = &d->worker[d->latest];

	return latest->running != NULL && now - latest->given_ns < ns;
}

static void start_requests(struct disp *d, uint64_t now)
{
	struct sched_start start;

	while (sched_next(d->sched, now, &start))
		give(d, now, &start);
}

/* What waits when the server ends and the time for that is over: handed out as if every worker were idle, in order of arrival, whatever the policy was. */
static void drop_waiting(struct disp *d, uint64_t now)
{
	struct sched_config cfg = *sched_config_of(d->sched);
	struct sched_start start;

	cfg.policy = SCHED_CFCFS;
	for (uint32_t w = 0; w < d->workers; w++)
		sched_worker_down(d->sched, now, w);
	if (sched_waiting(d->sched) == 0 || sched_switch(d->sched, now, &cfg, NULL) < 0)
		return;
	sched_worker_up(d->sched, now, 0);
	while (sched_next(d->sched, now, &start)) {
		struct req *r = (struct req *)(uintptr_t)start.request;

		sched_complete(d->sched, now, start.worker);
		if (d->cfg.recorder != NULL)
			recorder_void(d->cfg.recorder, r->order);
		disp_end(d, now, r, WIRE_OVERLOAD, DISP_NOBODY, STAGE_IDLE);
	}
}

static bool stopping(const struct disp *d)
{
	return counter_get(&d->stop_ns) != 0;
}

static bool finished(const struct disp *d, uint64_t now)
{
	return stopping(d) && ((d->running == 0 && sched_waiting(d->sched) == 0) || now >= counter_get(&d->stop_ns));
}

static void answer_call(struct disp *d, uint64_t now)
{
	if (atomic_load_explicit(&d->called, memory_order_relaxed) == 0 || atomic_exchange(&d->called, 0) == 0)
		return;
	d->call(d->sched, now, d->call_arg);
	sem_post(&d->answered);
	d->idle_ns = 0;
}

/* ---- rest ---- */

static bool nothing_there(struct disp *d, uint64_t now)
{
	if (finished(d, now) || atomic_load_explicit(&d->called, memory_order_acquire) != 0)
		return false;
	for (uint32_t i = 0; i < SCHED_WORKERS_WORDS; i++)
		for (uint64_t left = d->busy[i]; left != 0; left &= left - 1)
			if (slot_done(d->worker[i * 64 + (uint32_t)__builtin_ctzll(left)].slot))
				return false;
	return stopping(d) || d->cfg.front->arm(d->cfg.front_ctx);
}

static uint64_t wake_ns(const struct disp *d)
{
	uint64_t t = sched_timer(d->sched), stop = counter_get(&d->stop_ns);

	if (d->care_ns < t && (d->down > 0 || d->starting > 0 || (d->running > 0 && d->cfg.hang_ns > 0)))
		t = d->care_ns;
	if (d->cfg.recorder != NULL && d->record_ns < t && recorder_pending(d->cfg.recorder))
		t = d->record_ns;
	return stop != 0 && stop < t ? stop : t;
}

static void sleep_until(struct disp *d, uint64_t now)
{
	struct pollfd fds[] = {
		{ .fd = d->cfg.bell->fd, .events = POLLIN },
		{ .fd = d->cfg.crew->fd != NULL ? d->cfg.crew->fd(d->cfg.crew_ctx) : -1, .events = POLLIN },
		{ .fd = stopping(d) ? -1 : d->cfg.front->fd(d->cfg.front_ctx), .events = POLLIN },
	};
	uint64_t until, ns;
	struct timespec ts;

	d->cfg.front->flush(d->cfg.front_ctx, 0);
	bell_arm(d->cfg.bell);
	if (nothing_there(d, now)) {
		until = wake_ns(d);
		ns = until > now ? until - now : 0;
		ts = (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };
		counter_add(&d->counters.slept, 1);
		if (ppoll(fds, 3, until == SCHED_NEVER ? NULL : &ts, NULL) > 0 && fds[1].revents != 0)
			d->care_ns = 0;
	}
	bell_disarm(d->cfg.bell);
	if (d->starting > 0)
		d->care_ns = 0;
}

static void rest(struct disp *d, uint64_t now)
{
	if (d->idle_ns == 0)
		d->idle_ns = now;
	if (d->cfg.idle.mode == IDLE_SLEEP || (d->cfg.idle.mode == IDLE_ADAPTIVE && now - d->idle_ns >= d->cfg.idle.spin_ns)) {
		sleep_until(d, now);
		d->idle_ns = 0;
	} else if (d->cfg.idle.mode != IDLE_POLL || d->cfg.idle.yield) {
		idle_pause(&d->cfg.idle);       /* who polls on a core of its own looks again at once: a round is long enough */
	}
}

/* ---- from beginning to end ---- */

static void begin(struct disp *d)
{
	uint64_t now = clock_mono_ns();

	(void)prctl(PR_SET_TIMERSLACK, 1);
	for (uint32_t w = 0; w < d->workers; w++)
		sched_worker_down(d->sched, now, w);
	workers_care(d, now);
}

/* Workers that are still busy are ended, and what they had is lost. */
static void end_busy(struct disp *d)
{
	uint64_t until = clock_mono_ns() + END_WAIT_MS * NS_PER_MS;

	for (uint32_t w = 0; w < d->workers; w++)
		if (d->worker[w].running != NULL && !d->worker[w].killed)
			d->worker[w].killed = d->cfg.crew->kill(d->cfg.crew_ctx, w, d->worker[w].running);
	while (d->running > 0 && clock_mono_ns() < until) {
		struct pollfd pfd = { .fd = d->cfg.crew->fd != NULL ? d->cfg.crew->fd(d->cfg.crew_ctx) : -1, .events = POLLIN };

		(void)poll(&pfd, 1, 10);
		collect(d, clock_mono_ns());
		if (d->cfg.crew->look != NULL)
			d->cfg.crew->look(d->cfg.crew_ctx);
	}
}

static void end(struct disp *d)
{
	end_busy(d);
	drop_waiting(d, clock_mono_ns());
	d->cfg.front->flush(d->cfg.front_ctx, 0);
	for (uint32_t w = 0; w < d->workers; w++)
		slot_stop(d->worker[w].slot);
	if (d->cfg.recorder != NULL)
		recorder_push(d->cfg.recorder);
	atomic_store(&d->ended, 1);
	answer_call(d, clock_mono_ns());
}

static void push_record(struct disp *d, uint64_t now)
{
	if (d->cfg.recorder == NULL || now < d->record_ns)
		return;
	recorder_push(d->cfg.recorder);
	d->record_ns = now + NS_PER_S;
}

void disp_run(struct disp *d)
{
	uint64_t now;

	for (begin(d), now = clock_mono_ns(); !finished(d, now); now = clock_mono_ns()) {
		unsigned work = collect(d, now);

		if (!stopping(d))
			work += d->cfg.front->receive(d->cfg.front_ctx, now, DISP_BATCH);
		if (work > 0 || now >= sched_timer(d->sched))
			start_requests(d, now);
		d->cfg.front->flush(d->cfg.front_ctx, now);
		counter_add(&d->counters.rounds, 1);
		if (now >= d->care_ns) {
			workers_care(d, now);
			start_requests(d, now);
			push_record(d, now);
		}
		answer_call(d, now);
		if (work == 0)
			rest(d, now);
		else
			d->idle_ns = 0;
	}
	end(d);
}

void disp_stop(struct disp *d, uint64_t drain_ns)
{
	atomic_store(&d->stop_ns, clock_mono_ns() + drain_ns + 1);
	bell_ring(d->cfg.bell);
}

void disp_call(struct disp *d, void (*call)(struct sched *s, uint64_t now, void *arg), void *arg)
{
	d->call = call;
	d->call_arg = arg;
	atomic_store(&d->called, 1);
	bell_ring(d->cfg.bell);
	/* at its end the dispatcher says so and then looks once more: one of the two takes the call, and nobody else uses the policy core any more */
	if (atomic_load(&d->ended) != 0 && atomic_exchange(&d->called, 0) != 0) {
		call(d->sched, clock_mono_ns(), arg);
		return;
	}
	while (sem_wait(&d->answered) < 0)
		;
}

/* ---- the rest ---- */

struct disp *disp_free(struct disp *d)
{
	if (d == NULL)
		return NULL;
	sched_free(d->sched);
	fd_close(&d->ready_fd);
	sem_destroy(&d->answered);
	free(d->type);
	free(d);
	return NULL;
}

int disp_new(const struct disp_config *cfg, struct disp **ret, struct hearth_err *err)
{
	struct disp *d = calloc(1, sizeof(*d));
	int r;

	if (d == NULL)
		return err_set(err, -ENOMEM, "dispatcher: out of memory");
	d->cfg = *cfg;
	d->workers = cfg->sched->workers;
	d->types = cfg->sched->types_n;
	atomic_init(&d->failed, DISP_NOBODY);
	sem_init(&d->answered, 0, 0);
	d->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->type = calloc((size_t)d->types + 1, sizeof(*d->type));
	if (d->type == NULL)
		r = err_set(err, -ENOMEM, "dispatcher: out of memory");
	else if (d->ready_fd < 0)
		r = err_set(err, -errno, "dispatcher: eventfd: %s", strerror(errno));
	else
		r = sched_new(cfg->sched, &d->sched, err);
	if (r < 0) {
		disp_free(d);
		return r;
	}
	d->down = d->workers;
	for (uint32_t w = 0; w < d->workers; w++)
		d->worker[w].slot = cfg->slots[w];
	*ret = d;
	return 0;
}

void disp_set_hang(struct disp *d, uint64_t hang_ns)
{
	d->cfg.hang_ns = hang_ns;
	d->care_ns = 0;
}

struct slot *disp_slot(const struct disp *d, uint32_t worker)
{
	return d->worker[worker].slot;
}

struct disp_type *disp_type_of(const struct disp *d, uint32_t type)
{
	return &d->type[type < d->types ? type : d->types];
}

struct disp_counters *disp_counters_of(struct disp *d)
{
	return &d->counters;
}

uint32_t disp_ready(const struct disp *d, uint32_t *ret_failed, const char **ret_error)
{
	if (ret_failed != NULL)
		*ret_failed = atomic_load_explicit(&d->failed, memory_order_acquire);
	if (ret_error != NULL)
		*ret_error = d->error;
	return atomic_load_explicit(&d->ready, memory_order_acquire);
}

int disp_ready_fd(const struct disp *d)
{
	return d->ready_fd;
}
