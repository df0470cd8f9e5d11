/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who waited for a page goes on on the processor of the worker that brought it, which is the one it came from. As the worker runs there the kernel would rather wake it on another, idle one: 20 us a fault instead of 10 on 16
 * processors. A processor that runs nothing but a thread of the class SCHED_IDLE counts as idle, so a worker is of that class while it wakes, and until it has its processor again. It has no lock then. Should others
 * keep the processor for long, a guard makes the worker an ordinary thread again.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "space.h"

#define BELOW_MAX_NS NS_PER_MS          /* that a worker waits for its processor, and whoever faults meanwhile for the worker */
#define WATCH_MS 1
#define WATCHES_IDLE 20                 /* until the guard sleeps: to wake it costs as much as a fault */
#define PAUSE_FAULTS 256                /* somebody had to wait: so many are woken the ordinary way */
#define SAME_THREAD_FAULTS 4            /* one after the other by the same thread: no other one is likely to fault now */

static int set_class(pid_t tid, int class)
{
	return sched_setscheduler(tid, class, &(struct sched_param){ 0 }) < 0 ? -errno : 0;
}

/* Return: a worker has been below since the last time, or is */
static bool look_at(struct worker *w)
{
	uint64_t since = atomic_load(&w->below_ns);
	bool any = w->handovers != w->handovers_seen;

	w->handovers_seen = w->handovers;
	if (!since)
		return any;
	/* again each time that it is still so: what was done the last time may have been for the one before */
	if (clock_mono_ns() - since >= BELOW_MAX_NS) {
		atomic_store(&w->raised, true);
		(void)set_class(w->tid, SCHED_OTHER);
	}
	return true;
}

static bool look_at_all(struct pager *p)
{
	bool any = false;

	for (unsigned k = 0; k < p->workers_n; k++)
		any |= look_at(&p->workers[k]);
	return any;
}

static void *guard(void *arg)
{
	struct pager *p = arg;
	struct handover *h = &p->handover;
	unsigned idle = 0;

	/* a thread that may not go back stays what it is: this one, which then has nothing to guard */
	if (sched_getscheduler(0) != SCHED_OTHER || set_class(0, SCHED_IDLE) < 0 || set_class(0, SCHED_OTHER) < 0) {
		log_info("hearth-pager: threads may not change their scheduling class and back (CAP_SYS_NICE): a fault takes longer on a machine with idle processors");
		return NULL;
	}
	atomic_store(&h->possible, true);
	while (true) {
		uint64_t rung;

		atomic_store(&h->awake, idle < WATCHES_IDLE);
		/* who went below without ringing, as the guard was awake, is seen here */
		idle = look_at_all(p) ? 0 : idle + 1;
		(void)poll(&(struct pollfd){ .fd = h->bell, .events = POLLIN }, 1, idle <= WATCHES_IDLE ? WATCH_MS : -1);
		if (read(h->bell, &rung, sizeof(rung)) == sizeof(rung))
			idle = 0;
	}
}

void handover(struct space *s, struct worker *w, bool alone)
{
	struct handover *h = &s->p->handover;
	struct uffdio_range r = { .start = s->answered.start, .len = s->answered.end - s->answered.start };
	int uffd = s->st->uffd;

	if (w->pause && r.len)
		w->pause--;
	if (!alone || !r.len || w->pause || s->same_thread < SAME_THREAD_FAULTS || s->wants || s->fetches || !atomic_load_explicit(&h->possible, memory_order_relaxed)) {
		fetch_answered(s);
		pthread_mutex_unlock(&s->lock);
		return;
	}
	s->answered.end = s->answered.start;
	/* should the space end now its userfaultfd wakes everybody; if its number is another's by then, that one is told of a page that nobody waits for */
	pthread_mutex_unlock(&s->lock);
	atomic_store(&w->below_ns, clock_mono_ns());
	atomic_fetch_add(&w->handovers, 1);
	if (!atomic_load(&h->awake))
		(void)!write(h->bell, &(uint64_t){ 1 }, sizeof(uint64_t));
	(void)set_class(0, SCHED_IDLE);
	(void)ioctl(uffd, UFFDIO_WAKE, &r);
	/* a test whose processor others have */
	while (step("pager-below") && !atomic_load(&w->raised))
		sched_yield();
	(void)set_class(0, SCHED_OTHER);
	atomic_store(&w->below_ns, 0);
}

bool handover_late(struct worker *w)
{
	return atomic_load_explicit(&w->raised, memory_order_relaxed) && atomic_exchange(&w->raised, false);
}

void handover_pause(struct worker *w)
{
	w->pause = PAUSE_FAULTS;
}

int handover_start(struct pager *p)
{
	struct handover *h = &p->handover;

	h->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return h->bell < 0 ? -errno : thread_spawn(&h->thread, guard, p);
}
