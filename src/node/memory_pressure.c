// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "priv.h"

/*
 * How scarce memory is (PSI). Read once a second, as the policy wants to know how much; and where the kernel tells when it gets scarce (a trigger), at once then: avg10 needs seconds to show it.
 */

#define WINDOW_US 2000000               /* what anybody may ask for: others need CAP_SYS_RESOURCE */

double memory_pressure_read(const char *path)
{
	char *text = NULL;
	double avg10 = 0;

	if (file_read(path, 4096, &text, NULL) == 0 && sscanf(text, "some avg10=%lf", &avg10) != 1)
		avg10 = 0;
	free(text);
	return avg10 / 100;
}

/* the kernel has seen so much of it in the last window, whatever the average says */
static void triggered(struct ev_loop *loop, ev_io *w, int events)
{
	struct node *n = w->data;
	struct memory_pressure *p = &n->memory.pressure;
	struct epoll_event e;
	double psi;

	(void)loop;
	(void)events;
	if (epoll_wait(p->epoll_fd, &e, 1, 0) != 1)
		return;
	if (e.events & EPOLLERR) {      /* its control group is gone */
		memory_pressure_end(n);
		return;
	}
	psi = memory_pressure_read(n->cfg->memory_pressure);
	log_debug("memory is scarce: at least %.0f%% of the last %d s", p->share * 100, WINDOW_US / 1000000);
	memory_pressure_is(n, psi > p->share ? psi : p->share);
}

/* libev does not know of POLLPRI, which is how a trigger is told: an epoll of its own is readable then */
static int watch(struct memory_pressure *p, const char *path)
{
	struct epoll_event e = { .events = EPOLLPRI };
	char trigger[64];
	int n = snprintf(trigger, sizeof(trigger), "some %.0f %d", p->share * WINDOW_US, WINDOW_US);

	p->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->fd < 0 || p->epoll_fd < 0)
		return -errno;
	/* a file that is not the kernel's cannot be watched, and is not written to */
	if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->fd, &e) < 0 || epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, p->fd, NULL) < 0)
		return -errno;
	if (write(p->fd, trigger, (size_t)n + 1) < 0)
		return -errno;
	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->fd, &e) < 0 ? -errno : 0;
}

void memory_pressure_begin(struct node *n, double share)
{
	struct memory_pressure *p = &n->memory.pressure;
	int r;

	p->share = share;
	r = watch(p, n->cfg->memory_pressure);
	if (r < 0) {
		log_debug("%s: memory pressure is looked at once a second only: %s", n->cfg->memory_pressure, strerror(-r));
		memory_pressure_end(n);
		return;
	}
	ev_io_init(&p->watch, triggered, p->epoll_fd, EV_READ);
	p->watch.data = n;
	ev_io_start(n->loop, &p->watch);
}

void memory_pressure_end(struct node *n)
{
	struct memory_pressure *p = &n->memory.pressure;

	ev_io_stop(n->loop, &p->watch);
	fd_close(&p->epoll_fd);
	fd_close(&p->fd);
}
