// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "priv.h"

/* Processes of the node that outlive us, as instances do: a daemon that starts looks for one first. The connection to it is whose part uses it; its end is the process's end. */

#define FIND_AGAIN_S 0.05               /* where a part of it has ended, and another goes on */
#define BACK_OFF_FIRST_S 1.0
#define BACK_OFF_MAX_S 60.0
#define TICK_S 5.0
#define END_MAX_MS 30000
#define ARGUMENTS_MAX 16

static void later(struct helper *h, double seconds)
{
	ev_timer_stop(h->node->loop, &h->timer);
	ev_timer_set(&h->timer, seconds, 0);
	ev_timer_start(h->node->loop, &h->timer);
}

static bool find(struct helper *h)
{
	if (!h->ops->find(h->node))
		return false;
	h->connected = true;
	h->back_off_s = BACK_OFF_FIRST_S;
	later(h, 0);
	return true;
}

/* its newline: it listens */
static void ready(struct ev_loop *loop, ev_io *w, int events)
{
	struct helper *h = w->data;
	char c;

	(void)events;
	if (read(h->out, &c, 1) < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	ev_io_stop(loop, w);
	fd_close(&h->out);
	if (!h->connected && find(h))
		log_info("%s runs (pid %d)", h->ops->program, (int)h->child.pid);
}

static void ended(struct ev_loop *loop, ev_child *w, int events)
{
	struct helper *h = w->data;

	(void)events;
	ev_child_stop(loop, w);
	ev_io_stop(loop, &h->ready);
	fd_close(&h->out);
	if (h->ops->given_up && h->ops->given_up(h->node, w->rstatus))
		return;
	if (h->connected)
		return;                 /* the end of its connection is what counts */
	later(h, h->back_off_s);
	h->back_off_s = h->back_off_s * 2 < BACK_OFF_MAX_S ? h->back_off_s * 2 : BACK_OFF_MAX_S;
}

static void start(struct helper *h)
{
	char program[4200];
	const char *argv[ARGUMENTS_MAX] = { program };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), out[2] = { -1, -1 }, r = null < 0 ? -errno : 0;
	pid_t pid = 0;

	snprintf(program, sizeof(program), "%s/%s", h->node->cfg->libexec_dir, h->ops->program);
	h->ops->arguments(h->node, argv + 1, ARGUMENTS_MAX - 1);
	if (r == 0 && pipe2(out, O_CLOEXEC) < 0)
		r = -errno;
	if (r == 0)
		r = box_spawn((char *const *)argv, null, out[1], &pid);
	fd_close(&null);
	fd_close(&out[1]);
	if (r < 0) {
		fd_close(&out[0]);
		log_warn("cannot start %s: %s", program, strerror(-r));
		later(h, BACK_OFF_MAX_S);
		return;
	}
	fd_set_nonblock(out[0], true);
	h->out = out[0];
	ev_io_init(&h->ready, ready, out[0], EV_READ);
	h->ready.data = h;
	ev_io_start(h->node->loop, &h->ready);
	ev_child_init(&h->child, ended, pid, 0);
	h->child.data = h;
	ev_child_start(h->node->loop, &h->child);
}

static void tick(struct ev_loop *loop, ev_timer *w, int events)
{
	struct helper *h = w->data;

	(void)loop;
	(void)events;
	/* also while we stop: memory of instances that are to be parked comes back through it */
	if (h->connected) {
		if (h->ops->tick) {
			h->ops->tick(h->node);
			later(h, TICK_S);
		}
	} else if (!find(h) && !ev_is_active(&h->child)) {
		double lost_s = (double)(clock_mono_ns() - h->lost_ns) / NS_PER_S;

		if (lost_s < BACK_OFF_FIRST_S)
			later(h, BACK_OFF_FIRST_S - lost_s);
		else
			start(h);
	}
}

void helper_init(struct helper *h, struct node *n, const struct helper_ops *ops)
{
	h->ops = ops;
	h->node = n;
	h->out = -1;
	h->back_off_s = BACK_OFF_FIRST_S;
	ev_timer_init(&h->timer, tick, 0, 0);
	h->timer.data = h;
}

void helper_begin(struct helper *h)
{
	later(h, 0);
}

void helper_lost(struct helper *h)
{
	h->connected = false;
	h->pid = 0;
	h->restarts++;
	h->lost_ns = clock_mono_ns();
	later(h, FIND_AGAIN_S);
}

/* it undoes what is under way before it ends */
static void end_process(const struct helper *h, pid_t pid)
{
	FD_AUTO int pidfd = pidfd_of(pid);
	struct pollfd end = { .fd = pidfd, .events = POLLIN };

	if (pidfd < 0 || pidfd_signal(pidfd, SIGTERM) < 0)
		return;
	if (poll(&end, 1, END_MAX_MS) == 0)
		log_warn("%s (pid %d) does not end", h->ops->program, (int)pid);
}

void helper_end(struct helper *h, bool stop)
{
	pid_t pid = ev_is_active(&h->child) ? h->child.pid : h->pid;
	int r;

	if (!h->node)
		return;
	ev_timer_stop(h->node->loop, &h->timer);
	ev_io_stop(h->node->loop, &h->ready);
	ev_child_stop(h->node->loop, &h->child);
	fd_close(&h->out);
	h->connected = false;
	if (!stop)
		return;
	r = h->ops->end ? h->ops->end(h->node, END_MAX_MS) : 0;
	if (r < 0)
		log_warn("%s does not end: %s", h->ops->program, strerror(-r));
	/* or one that does not listen yet */
	if (r == 0 && pid > 0)
		end_process(h, pid);
}
