/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "disp_private.h"

/* The workers' lives: they begin, become ready, hang, die, and are replaced. */
#define CARE_MIN_NS NS_PER_MS
#define CARE_MAX_NS (10 * NS_PER_MS)
#define BACKOFF_MIN_NS (10 * NS_PER_MS)         /* before a worker is replaced that died soon after its beginning; doubles */
#define BACKOFF_MAX_NS NS_PER_S
#define LIVED_NS NS_PER_S                       /* one that lived this long is replaced at once */

static void tell(struct disp *d)
{
	const uint64_t one = 1;

	(void)!write(d->ready_fd, &one, sizeof(one));
}

static void keep_reason(struct disp *d, uint32_t w, const char *why);

static void set_ready(struct disp *d, int by)
{
	atomic_store_explicit(&d->ready, atomic_load_explicit(&d->ready, memory_order_relaxed) + (uint32_t)by, memory_order_release);
	tell(d);
}

static void worker_up(struct disp *d, uint64_t now, uint32_t w)
{
	d->worker[w].state = WORKER_UP;
	d->starting--;
	sched_worker_up(d->sched, now, w);
	set_ready(d, 1);
}

/* What it was given may be done, may never have begun, or is lost. */
static void end_running(struct disp *d, uint64_t now, uint32_t w)
{
	struct worker *worker = &d->worker[w];
	struct req *r = worker->running;
	enum stage stage = slot_stage(worker->slot, r);

	if (stage == STAGE_SENT) {
		disp_complete(d, now, w, r);
		sched_worker_down(d->sched, now, w);
		return;
	}
	worker->running = NULL;
	d->busy[w / 64] &= ~(1ull << w % 64);
	d->running--;
	sched_worker_down(d->sched, now, w);
	if (d->cfg.recorder != NULL)
		recorder_void(d->cfg.recorder, r->order);
	disp_end(d, now, r, WIRE_LOST, w, stage);
}

static void plan_restart(struct worker *worker, uint64_t now)
{
	if (now - worker->begun_ns >= LIVED_NS)
		worker->backoff_ns = 0;
	worker->restart_ns = now + worker->backoff_ns;
	worker->backoff_ns = worker->backoff_ns == 0 ? BACKOFF_MIN_NS : worker->backoff_ns * 2;
	if (worker->backoff_ns > BACKOFF_MAX_NS)
		worker->backoff_ns = BACKOFF_MAX_NS;
}

void disp_died(struct disp *d, uint32_t w)
{
	struct worker *worker = &d->worker[w];
	uint64_t now = clock_mono_ns();

	if (worker->state == WORKER_DOWN)
		return;
	counter_add(&d->counters.died, 1);
	if (worker->state == WORKER_STARTING)
		keep_reason(d, w, atomic_load_explicit(&worker->slot->ready, memory_order_acquire) == 2 ? worker->slot->error : "it died while it began");
	if (worker->running != NULL)
		disp_collect(d, now, w);
	if (worker->running != NULL)
		end_running(d, now, w);
	else
		sched_worker_down(d->sched, now, w);
	if (worker->state == WORKER_UP)
		set_ready(d, -1);
	else
		d->starting--;
	worker->state = WORKER_DOWN;
	worker->killed = false;
	d->down++;
	plan_restart(worker, now);
	d->care_ns = 0;
	worker->slot = d->cfg.crew->fresh != NULL ? d->cfg.crew->fresh(d->cfg.crew_ctx, w, worker->slot)
						  : slot_init(worker->slot, w, d->cfg.bell, &worker->slot->idle);
}

static void restart(struct disp *d, uint64_t now, uint32_t w)
{
	struct worker *worker = &d->worker[w];
	int r;

	worker->begun_ns = now;
	r = d->cfg.crew->start(d->cfg.crew_ctx, w, worker->slot);
	if (r == -EAGAIN) {
		worker->restart_ns = now + CARE_MIN_NS; /* many begin at once */
		return;
	}
	if (r < 0) {
		plan_restart(worker, now);
		keep_reason(d, w, strerror(-r));
		log_warn("worker %u cannot be started: %s; trying again in %llu ms", w, strerror(-r),
			 (unsigned long long)((worker->restart_ns - now) / NS_PER_MS));
		return;
	}
	counter_add(&d->counters.started, 1);
	worker->state = WORKER_STARTING;
	d->down--;
	d->starting++;
}

/* For who waits for the start: the first reason why a worker did not begin. */
static void keep_reason(struct disp *d, uint32_t w, const char *why)
{
	if (atomic_load_explicit(&d->failed, memory_order_relaxed) != DISP_NOBODY)
		return;
	snprintf(d->error, sizeof(d->error), "%s", why);
	atomic_store_explicit(&d->failed, w, memory_order_release);
	tell(d);
}

static void workers_news(struct disp *d, uint64_t now)
{
	for (uint32_t w = 0; d->starting > 0 && w < d->workers; w++)
		if (d->worker[w].state == WORKER_STARTING && atomic_load_explicit(&d->worker[w].slot->ready, memory_order_acquire) == 1)
			worker_up(d, now, w);
}

/* A worker that hangs is killed, and what it had is lost once it is dead: until then it may still write to the request's memory. */
static void check_hangs(struct disp *d, uint64_t now)
{
	for (uint32_t i = 0; i < SCHED_WORKERS_WORDS; i++) {
		for (uint64_t left = d->busy[i]; left != 0; left &= left - 1) {
			uint32_t w = i * 64 + (uint32_t)__builtin_ctzll(left);
			struct worker *worker = &d->worker[w];

			if (worker->killed || now - worker->given_ns <= d->cfg.hang_ns)
				continue;
			/* it may have finished since the last look */
			if (disp_collect(d, now, w) > 0)
				continue;
			worker->killed = true;          /* before: disp_died may follow at once */
			if (d->cfg.crew->kill(d->cfg.crew_ctx, w, worker->running))
				counter_add(&d->counters.hung, 1);
			else
				worker->killed = false;
		}
	}
}

void workers_care(struct disp *d, uint64_t now)
{
	uint64_t next = d->cfg.hang_ns > 0 ? d->cfg.hang_ns / 8 : CARE_MAX_NS;

	d->care_ns = now + (next < CARE_MIN_NS ? CARE_MIN_NS : next > CARE_MAX_NS ? CARE_MAX_NS : next);
	if (d->cfg.crew->look != NULL)
		d->cfg.crew->look(d->cfg.crew_ctx);
	workers_news(d, now);
	if (d->cfg.hang_ns > 0)
		check_hangs(d, now);
	for (uint32_t w = 0; d->down > 0 && w < d->workers; w++) {
		if (d->worker[w].state != WORKER_DOWN)
			continue;
		if (d->worker[w].restart_ns <= now)
			restart(d, now, w);
		if (d->worker[w].state == WORKER_DOWN && d->worker[w].restart_ns < d->care_ns)
			d->care_ns = d->worker[w].restart_ns;
	}
	/* in poll mode nobody rings: look at those that begin every millisecond */
	if (d->starting > 0 && d->care_ns > now + CARE_MIN_NS)
		d->care_ns = now + CARE_MIN_NS;
}
