/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/thread.h"
#include "crew.h"

/*
 * A slot is the crew's until its thread is given up, and that thread's from then on: it frees it should it ever come back, when the crew may be gone.
 * @spare: for the one that replaces it, so that giving up does not fail half way
 */
struct crew_thread {
	struct crew_config cfg;
	struct disp *disp;
	struct bell *bell;
	struct idle idle;
	pthread_t thread[SCHED_WORKERS_MAX];
	bool started[SCHED_WORKERS_MAX];
	struct slot *slot[SCHED_WORKERS_MAX];
	void *spare;
};

struct thread_arg {
	struct crew_work work;
	uint32_t worker;
	int cpu;
	struct slot *slot;
};

int crew_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

static void let_go(struct slot *s)
{
	if (atomic_fetch_sub(&s->refs, 1) == 1)
		free(s);
}

static void *thread_main(void *arg)
{
	struct thread_arg *a = arg;

	if (a->cpu >= 0)
		(void)crew_pin(a->cpu);
	a->work.worker(a->work.ctx, a->worker, a->slot);
	if (slot_seized(a->slot))
		let_go(a->slot);
	free(a);
	return NULL;
}

static int thread_start(void *ctx, uint32_t worker, struct slot *slot)
{
	struct crew_thread *c = ctx;
	struct thread_arg *a = calloc(1, sizeof(*a));
	int r;

	if (a == NULL)
		return -ENOMEM;
	*a = (struct thread_arg){ .work = c->cfg.work, .worker = worker, .cpu = c->cfg.cpus != NULL ? c->cfg.cpus[worker] : -1, .slot = slot };
	r = thread_spawn(&c->thread[worker], thread_main, a);
	if (r < 0) {
		free(a);
		return r == -EAGAIN ? -ENOMEM : r;      /* no room for threads */
	}
	c->started[worker] = true;
	return 0;
}

static bool thread_kill(void *ctx, uint32_t worker, const struct req *r)
{
	struct crew_thread *c = ctx;

	if (c->spare == NULL)
		c->spare = aligned_alloc(64, slot_bytes());
	if (c->spare == NULL || !slot_seize(c->slot[worker], r))
		return false;   /* looked at again soon */
	log_debug("worker %u hangs: its thread is given up and another takes its place", worker);
	pthread_detach(c->thread[worker]);
	c->started[worker] = false;
	disp_died(c->disp, worker);
	return true;
}

static struct slot *thread_fresh(void *ctx, uint32_t worker, struct slot *old)
{
	struct crew_thread *c = ctx;

	let_go(old);
	c->slot[worker] = slot_init(c->spare, worker, c->bell, &c->idle);
	c->spare = NULL;
	return c->slot[worker];
}

const struct disp_crew crew_thread_ops = {
	.start = thread_start,
	.kill = thread_kill,
	.fresh = thread_fresh,
};

struct crew_thread *crew_thread_free(struct crew_thread *c)
{
	if (c == NULL)
		return NULL;
	for (uint32_t w = 0; w < c->cfg.workers; w++) {
		if (c->started[w])
			pthread_join(c->thread[w], NULL);
		free(c->slot[w]);
	}
	free(c->spare);
	free(c);
	return NULL;
}

int crew_thread_new(const struct crew_config *cfg, struct bell *bell, const struct idle *idle, struct crew_thread **ret, struct hearth_err *err)
{
	struct crew_thread *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return err_set(err, -ENOMEM, "workers: out of memory");
	c->cfg = *cfg;
	c->bell = bell;
	c->idle = *idle;
	for (uint32_t w = 0; w < cfg->workers; w++) {
		void *mem = aligned_alloc(64, slot_bytes());

		if (mem == NULL) {
			crew_thread_free(c);
			return err_set(err, -ENOMEM, "workers: out of memory");
		}
		c->slot[w] = slot_init(mem, w, bell, idle);
	}
	*ret = c;
	return 0;
}

struct slot *const *crew_thread_slots(const struct crew_thread *c)
{
	return c->slot;
}

void crew_thread_bind(struct crew_thread *c, struct disp *d)
{
	c->disp = d;
}
