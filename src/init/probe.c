/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include <sys/epoll.h>

#include "base/clock.h"
#include "loopback.h"

#define INTERVAL_MIN_NS (1 * NS_PER_MS)
#define INTERVAL_MAX_NS (20 * NS_PER_MS)

static void try_again(struct probe *p)
{
	loop_close(p->loop, &p->io);
	p->timer.at_ns = clock_mono_ns() + p->interval_ns;
	p->interval_ns += p->interval_ns / 2;
	if (p->interval_ns > INTERVAL_MAX_NS)
		p->interval_ns = INTERVAL_MAX_NS;
}

static void try(struct loop_timer *timer)
{
	struct probe *p = timer->ctx;

	p->io.fd = loopback_connect_start(p->port);
	if (p->io.fd < 0 || loop_add(p->loop, &p->io, EPOLLOUT) < 0)
		try_again(p);
}

static void connected(struct loop_io *io, uint32_t events)
{
	struct probe *p = io->ctx;

	if (loopback_connected(io->fd) < 0 || events & (EPOLLERR | EPOLLHUP)) {
		try_again(p);
		return;
	}
	probe_stop(p);
	p->ready(p->ctx);
}

void probe_start(struct probe *p, struct loop *loop, uint16_t port, void (*ready)(void *ctx), void *ctx)
{
	*p = (struct probe){
		.loop = loop, .port = port, .interval_ns = INTERVAL_MIN_NS, .ready = ready, .ctx = ctx,
		.io = { .fd = -1, .ready = connected, .ctx = p }, .timer = { .fire = try, .ctx = p },
	};
	loop_timer_add(loop, &p->timer);
	p->timer.at_ns = clock_mono_ns();
}

void probe_stop(struct probe *p)
{
	if (!p->loop)
		return;
	p->timer.at_ns = 0;
	loop_close(p->loop, &p->io);
}
