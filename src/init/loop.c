/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"

int loop_init(struct loop *loop)
{
	*loop = (struct loop){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_done(struct loop *loop)
{
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	loop->epoll_fd = -1;
}

int loop_add(struct loop *loop, struct loop_io *io, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	io->events = events;
	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) < 0 ? -errno : 0;
}

int loop_want(struct loop *loop, struct loop_io *io, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	if (io->fd < 0 || io->events == events)
		return 0;
	io->events = events;
	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0 ? -errno : 0;
}

void loop_close(struct loop *loop, struct loop_io *io)
{
	if (io->fd < 0)
		return;
	/* Explicitly: a descriptor that a child inherited between fork and exec would stay in the set. */
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	close(io->fd);
	io->fd = -1;
}

void loop_timer_add(struct loop *loop, struct loop_timer *timer)
{
	assert(loop->timer_count < LOOP_TIMERS);
	loop->timers[loop->timer_count++] = timer;
}

/* Fire what is due. Return: ms until the next one, -1 = none. */
static int timers_run(struct loop *loop)
{
	uint64_t now = clock_mono_ns(), next = 0;
	size_t i;

	for (i = 0; i < loop->timer_count; i++) {
		struct loop_timer *t = loop->timers[i];

		if (t->at_ns && t->at_ns <= now) {
			t->at_ns = 0;
			t->fire(t);
		}
	}
	for (i = 0; i < loop->timer_count; i++) {
		struct loop_timer *t = loop->timers[i];

		if (t->at_ns && (!next || t->at_ns < next))
			next = t->at_ns;
	}
	if (!next)
		return -1;
	return next <= now ? 0 : (int)((next - now + NS_PER_MS - 1) / NS_PER_MS);
}

int loop_run(struct loop *loop)
{
	while (!loop->stop) {
		struct epoll_event ev;
		int timeout_ms = timers_run(loop), n;

		if (loop->stop)
			break;
		n = epoll_wait(loop->epoll_fd, &ev, 1, timeout_ms);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 1) {
			struct loop_io *io = ev.data.ptr;

			io->ready(io, ev.events);
		}
	}
	return 0;
}
