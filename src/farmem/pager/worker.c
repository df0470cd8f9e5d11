/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who serves spaces: a thread a processor, which stays there. A fault is answered soonest by the processor that waits for it (4 us; 74 us by another that sleeps, in our measurements), so a space is with the
 * worker of the processor on which its process was last seen. Faults first, then what is to come back, then what is to leave, each a batch at a time; who has none of that helps others (share.c).
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/thread.h"
#include "space.h"

/* faults until it is looked where the process runs: after it has moved, and when it did not for long; a look costs more than a fault */
#define LOOK_LEAST 32
#define LOOK_MOST 256
#define EVENTS 32

enum { TAG_BELL, TAG_UFFD, TAG_HELPER };

static uint64_t tag_of(const struct space *s, unsigned kind)
{
	return (uint64_t)s->st->generation << 32 | (uint64_t)(s - s->p->spaces) << 2 | kind;
}

static int watch(struct worker *w, const struct space *s, int op, int fd, unsigned kind, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.u64 = tag_of(s, kind) };

	return fd >= 0 && epoll_ctl(w->epoll_fd, op, fd, &e) < 0 ? -errno : 0;
}

static struct worker *worker_of(const struct space *s)
{
	int cpu = s->st->pid ? look_cpu(s->st->pid, s->st->pid) : -1;

	for (unsigned k = 0; k < s->p->workers_n; k++)
		if (s->p->workers[k].cpu == cpu)
			return &s->p->workers[k];
	return s->home ? s->home : &s->p->workers[0];
}

static int join(struct space *s, struct worker *w)
{
	int r = watch(w, s, EPOLL_CTL_ADD, s->st->uffd, TAG_UFFD, s->held || s->waits ? 0 : EPOLLIN);

	if (r == 0)
		r = watch(w, s, EPOLL_CTL_ADD, s->st->conn, TAG_HELPER, EPOLLIN);
	s->home = w;
	s->faults_until_look = s->look_every = LOOK_LEAST;
	worker_ring(w);
	return r;
}

int worker_adopt(struct space *s)
{
	return join(s, worker_of(s));
}

void worker_leave(struct space *s)
{
	if (!s->home)
		return;
	(void)watch(s->home, s, EPOLL_CTL_DEL, s->st->uffd, TAG_UFFD, 0);
	(void)watch(s->home, s, EPOLL_CTL_DEL, s->st->conn, TAG_HELPER, 0);
	s->home = NULL;
}

void worker_leave_helper(struct space *s)
{
	if (s->home)
		(void)watch(s->home, s, EPOLL_CTL_DEL, s->st->conn, TAG_HELPER, 0);
	fd_close(&s->st->conn);
}

void worker_settle(struct space *s)
{
	struct worker *to = worker_of(s);

	if (to == s->home) {
		s->look_every = s->look_every < LOOK_MOST ? 2 * s->look_every : LOOK_MOST;
		s->faults_until_look = s->look_every;
		return;
	}
	worker_leave(s);
	if (join(s, to) < 0)
		log_error("instance %s: its faults cannot be watched any more: out of memory", space_target(s)->st->name);
}

static void read_or_not(struct space *s, bool held, bool waits)
{
	bool reads = !s->held && !s->waits, will = !held && !waits;

	s->held = held;
	s->waits = waits;
	if (s->home && reads != will)
		(void)watch(s->home, s, EPOLL_CTL_MOD, s->st->uffd, TAG_UFFD, will ? EPOLLIN : 0);
}

void worker_hold(struct space *s, bool hold)
{
	read_or_not(s, hold, s->waits);
}

void worker_ring(struct worker *w)
{
	(void)!write(w->bell, &(uint64_t){ 1 }, sizeof(uint64_t));
}

bool worker_wake(struct worker *w)
{
	bool asleep = __atomic_load_n(&w->asleep, __ATOMIC_RELAXED);

	if (asleep)
		worker_ring(w);
	return asleep;
}

/* @alone: nothing else is to be done */
static void on_event(struct worker *w, uint64_t tag, bool alone)
{
	struct space *s = &w->p->spaces[(tag >> 2) % SPACES_MAX];
	uint64_t n;

	if ((tag & 3) == TAG_BELL) {
		(void)!read(w->bell, &n, sizeof(n));
		return;
	}
	pthread_mutex_lock(&s->lock);
	if (s->live && s->home == w && s->st->generation == tag >> 32) {
		if ((tag & 3) == TAG_UFFD)
			space_readable(s, w);
		else if (s->st->conn >= 0)
			out_helper(s);
		if (s->gone)
			space_bell(s);
	}
	handover(s, w, alone);
}

/* Return: it has more to do at once */
static bool work_on(struct space *s, struct worker *w)
{
	bool more, yields;

	s->wants = false;
	read_or_not(s, s->held, fetch_waits(s));
	if (s->parked.n && !s->held && !s->waits) {
		space_readable(s, w);
		fetch_answered(s);
	}
	s->wants |= s->parked.n && !s->held && !s->waits;
	more = fetch_step(s, w);
	yields = !more && (s->waits || out_yields(s));
	more = more || (!yields && out_step(s));
	/* others may have wanted something meanwhile */
	more |= s->wants;
	s->wants = more || yields;
	w->yields |= yields;
	if (!s->wants)
		space_flush(s);
	return more;
}

/* Return: somebody has more to do at once */
static bool work(struct worker *w)
{
	bool more = false;

	for (unsigned k = 0; k < __atomic_load_n(&w->p->spaces_top, __ATOMIC_RELAXED); k++) {
		struct space *s = &w->p->spaces[k];

		if (!atomic_load_explicit(&s->wants, memory_order_relaxed) && !atomic_load_explicit(&s->shared, memory_order_relaxed))
			continue;
		pthread_mutex_lock(&s->lock);
		if (s->live && !s->gone) {
			more |= s->home == w ? s->wants && work_on(s, w) : share_help(s, w);
			if (s->gone)
				space_bell(s);
		} else if (!s->live) {
			s->wants = false;
		}
		pthread_mutex_unlock(&s->lock);
	}
	return more;
}

/* Return: as epoll_wait(). @more: there is something to do in any case */
static int next_events(struct worker *w, struct epoll_event *events, bool more)
{
	bool late = handover_late(w);
	int n;

	__atomic_store_n(&w->asleep, !more && !late, __ATOMIC_RELAXED);
	n = epoll_wait(w->epoll_fd, events, EVENTS, more || late ? 0 : w->yields ? YIELD_LOOK_MS : -1);
	__atomic_store_n(&w->asleep, false, __ATOMIC_RELAXED);
	if (late && n > 0)
		handover_pause(w);
	return n;
}

static void *run(void *arg)
{
	struct worker *w = arg;
	struct epoll_event events[EVENTS];
	bool more = false;
	char name[16];
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		log_debug("a worker does not stay on processor %d", w->cpu);
	snprintf(name, sizeof(name), "pager/%d", w->cpu);
	prctl(PR_SET_NAME, name);
	w->tid = gettid();
	while (true) {
		int n = next_events(w, events, more);

		for (int k = 0; k < n; k++)
			on_event(w, events[k].data.u64, n == 1 && !more);
		w->yields = false;
		more = work(w);
	}
	return NULL;
}

static int start(struct pager *p, int cpu)
{
	struct worker *w = &p->workers[p->workers_n];
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = TAG_BELL };
	int r;

	*w = (struct worker){ .p = p, .cpu = cpu, .epoll_fd = epoll_create1(EPOLL_CLOEXEC), .bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	r = w->epoll_fd < 0 || w->bell < 0 || epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->bell, &e) < 0 ? -errno : thread_spawn(&w->thread, run, w);
	if (r == 0)
		p->workers_n++;
	return r;
}

int workers_start(struct pager *p)
{
	cpu_set_t set;
	int r = sched_getaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;

	p->workers = r == 0 ? calloc((size_t)CPU_COUNT(&set), sizeof(*p->workers)) : NULL;
	if (!p->workers)
		return r < 0 ? r : -ENOMEM;
	for (int cpu = 0; cpu < CPU_SETSIZE && r == 0; cpu++)
		if (CPU_ISSET(cpu, &set))
			r = start(p, cpu);
	return r < 0 ? r : handover_start(p);
}
