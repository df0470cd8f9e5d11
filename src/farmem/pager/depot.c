/* SPDX-License-Identifier: Apache-2.0 */
#include "depot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/spin.h"
#include "soon.h"
#include "step.h"

#define TIDY_PAGES 8
#define BULK_PAGES 8                    /* at a time, of what nobody waits for */
#define LOOK_NS (200 * NS_PER_US)       /* for an answer, before others are asked to wait for it */
#define OTHERS_TURN 4                   /* looks between two at whether others wait too */
#define EPOCH 1                         /* numbers are used once, so there is nothing to tell apart */

struct depot {
	pthread_rwlock_t lock;
	unsigned pressing;              /* who wants the lock for what somebody waits for */
	bool here;                      /* the pool is in this process */
	struct pool *pool;
	struct depot_op *ended;         /* whose done() is to be called by depot_work() */
	struct spin spin;
	int bell, epoll_fd;             /* epoll_fd: that is told of answers, while any is waited for there */
	uint64_t tag;
	unsigned waiting;               /* operations that depot_work() ends */
	bool watched;
};

/* descriptors that outlive this process, whose holder has the same ones */
static int keep_fds(struct depot *d, struct depot_state *state)
{
	int fds[2];

	if (state->n || pool_fds(d->pool, fds) != 2)
		return 0;
	for (unsigned k = 0; k < 2; k++) {
		state->fds[k] = fcntl(fds[k], F_DUPFD_CLOEXEC, 0);
		if (state->fds[k] < 0)
			return -errno;
	}
	state->n = 2;
	return 0;
}

/* who changes something goes before those that read from then on: they come again and again */
static void lock_init(pthread_rwlock_t *l)
{
	pthread_rwlockattr_t a;

	pthread_rwlockattr_init(&a);
	pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(l, &a);
	pthread_rwlockattr_destroy(&a);
}

int depot_open(const char *uri, const char *key_file, struct depot_state *state, int bell, struct depot **ret, struct hearth_err *err)
{
	struct pool_options o = { .key_file = key_file, .adopt = state->n == 2, .fds = { state->fds[0], state->fds[1] } };
	struct depot *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	lock_init(&d->lock);
	d->bell = bell;
	d->epoll_fd = -1;
	spin_init(&d->spin, LOOK_NS);
	r = pool_open(uri, &o, &d->pool, err);
	if (r == 0) {
		r = keep_fds(d, state);
		if (r < 0)
			err_set(err, r, "cannot keep the pool's descriptors: %s", strerror(-r));
	}
	if (r < 0) {
		pool_close(d->pool);
		free(d);
		return r;
	}
	d->here = state->n == 2;
	*ret = d;
	return 0;
}

static void lock_as(struct depot *d, bool reads)
{
	if (reads)
		soon(&d->lock, pthread_rwlock_tryrdlock, pthread_rwlock_rdlock);
	else
		soon(&d->lock, pthread_rwlock_trywrlock, pthread_rwlock_wrlock);
}

/* Whoever moves pages that nobody waits for leaves the lock to those that are waited for: it would be its own again before one that sleeps has woken. @reads: with others who do */
static void lock(struct depot *d, bool waited_for, bool reads)
{
	if (waited_for) {
		__atomic_add_fetch(&d->pressing, 1, __ATOMIC_RELAXED);
		lock_as(d, reads);
		__atomic_sub_fetch(&d->pressing, 1, __ATOMIC_RELAXED);
		return;
	}
	while (__atomic_load_n(&d->pressing, __ATOMIC_RELAXED))
		sched_yield();
	lock_as(d, reads);
}

static void unlock(struct depot *d)
{
	pthread_rwlock_unlock(&d->lock);
}

bool depot_here(const struct depot *d)
{
	return d->here;
}

/* under the lock, which is shared by those that read of a pool in this process: by pool_submit(), or by pool_work() */
static void done(struct pool_op *p)
{
	struct depot_op *op = p->ctx;

	op->complete = true;
	if (op->looked_ns)
		spin_saw(&op->depot->spin, clock_mono_ns() - op->looked_ns);
	if (!op->waits)
		return;
	op->depot->waiting--;
	op->next = op->depot->ended;
	op->depot->ended = op;
}

/* what tests want to happen */
static bool refused(struct depot_op *op)
{
	bool full = op->kind == DEPOT_PUT && step("pager-pool-full"), lost = op->kind == DEPOT_GET && step("pager-pool-lost");

	for (unsigned k = 0; (full || lost) && k < op->n; k++)
		op->status[k] = full ? -ENOSPC : -ENOENT;
	return full || lost;
}

/* Whoever waits in it is woken by every answer: so only while somebody is to be. Under the lock. */
static void watch(struct depot *d, bool on)
{
	struct epoll_event e = { .events = on ? EPOLLIN : 0, .data.u64 = d->tag };

	if (d->epoll_fd < 0 || d->watched == on)
		return;
	(void)epoll_ctl(d->epoll_fd, EPOLL_CTL_MOD, pool_fd(d->pool), &e);
	d->watched = on;
}

int depot_watch(struct depot *d, int epoll_fd, uint64_t tag)
{
	struct epoll_event e = { .data.u64 = tag };

	if (pool_fd(d->pool) < 0)
		return 0;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pool_fd(d->pool), &e) < 0)
		return -errno;
	d->epoll_fd = epoll_fd;
	d->tag = tag;
	return 0;
}

static bool others_wait(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) != 0;
}

/* For an answer; under the lock, but for the moments between two looks. */
static void look(struct depot *d, struct depot_op *op)
{
	uint64_t now = clock_mono_ns();

	op->looked_ns = now;
	for (unsigned k = 1; now - op->looked_ns < d->spin.now_ns; k++) {
		unlock(d);
		spin_pause(now);
		lock(d, true, false);
		pool_look(d->pool);
		if (op->complete || (k % OTHERS_TURN == 0 && others_wait(op->others)))
			return;
		now = clock_mono_ns();
	}
}

bool depot_submit(struct depot *d, struct depot_op *op)
{
	static const enum pool_kind kinds[] = { [DEPOT_PUT] = POOL_PUT, [DEPOT_GET] = POOL_GETV, [DEPOT_DEL] = POOL_DEL, [DEPOT_DEL_ALL] = POOL_DEL };
	unsigned k = 0, n;
	bool ended, done_now, reads = d->here && op->kind == DEPOT_GET;

	if (refused(op))
		return true;
	for (unsigned i = 0; i < op->n; i++)
		op->refs[i] = (struct pool_ref){ op->ids[i], EPOCH };
	op->depot = d;
	op->complete = op->waits = false;
	op->looked_ns = 0;
	lock(d, op->waited_for, reads);
	do {
		/* one that is here is done at once, so it can be done piece by piece */
		n = d->here && op->n - k > BULK_PAGES ? BULK_PAGES : op->n - k;
		if (k && !op->waited_for && __atomic_load_n(&d->pressing, __ATOMIC_RELAXED)) {
			unlock(d);
			lock(d, false, reads);
		}
		op->pool_op = (struct pool_op){ .kind = kinds[op->kind], .object = op->object, .refs = op->refs + k, .pages = op->pages ? op->pages + k : NULL,
			.status = op->status ? op->status + k : NULL, .n = n, .done = done, .ctx = op };
		pool_submit(d->pool, &op->pool_op);
		k += n;
	} while (k < op->n);
	if (!op->complete && op->waited_for)
		look(d, op);
	op->waits = !op->complete;
	done_now = !op->waits;
	if (op->waits) {
		d->waiting++;
		watch(d, true);
	}
	ended = d->ended != NULL;
	unlock(d);
	/* others' done() takes locks that our caller may have, or that come before his */
	if (ended)
		(void)!write(d->bell, &(uint64_t){ 1 }, sizeof(uint64_t));
	return done_now;
}

void depot_work(struct depot *d)
{
	struct depot_op *ended;

	lock(d, false, false);
	pool_work(d->pool);
	watch(d, d->waiting > 0);
	ended = d->ended;
	d->ended = NULL;
	unlock(d);
	while (ended) {
		struct depot_op *op = ended;

		ended = op->next;
		op->done(op);
	}
}

bool depot_tidy(struct depot *d)
{
	unsigned looked;

	lock(d, false, false);
	looked = pool_tidy(d->pool, TIDY_PAGES);
	unlock(d);
	return looked > 0;
}

bool depot_ease(struct depot *d)
{
	bool more;

	lock(d, false, false);
	more = pool_ease(d->pool);
	unlock(d);
	return more;
}

uint64_t depot_bytes(struct depot *d, const struct farmem_object *object)
{
	struct pool_stat st = { 0 };
	struct pool_op op = { .kind = POOL_STAT, .object = *object, .stat = &st, .done = done, .ctx = &(struct depot_op){ 0 } };
	int fds[2];

	lock(d, false, false);
	/* one that is elsewhere takes nothing of this machine's memory */
	if (pool_fds(d->pool, fds) == 2)
		pool_submit(d->pool, &op);
	unlock(d);
	return st.stored_bytes;
}
