// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "priv.h"

/*
 * One hearth-box that waits for the next wake, with a cgroup and a network name space made beforehand: a wake then begins with CRIU. The next one is started when
 * the wake that took this one has had its time on the processors.
 */

#define AGAIN_S 0.5
#define AFTER_FAILURE_S 30.0
#define END_MS 2000
/* what fits into a pipe without anybody reading */
#define SPEC_MAX 32768

static void start_later(struct node *n, double seconds)
{
	ev_timer_stop(n->loop, &n->standby.again);
	ev_timer_set(&n->standby.again, seconds, 0);
	ev_timer_start(n->loop, &n->standby.again);
}

static void forget(struct node *n)
{
	ev_io_stop(n->loop, &n->standby.ended);
	fd_close(&n->standby.in);
	fd_close(&n->standby.out);
	n->standby.pid = 0;
}

/* it said something, or ended, without having been asked */
static void ended(struct ev_loop *loop, ev_io *w, int events)
{
	struct node *n = w->data;

	(void)loop;
	(void)events;
	log_debug("the hearth-box that stood by ended; wakes take a little longer until the next one does");
	forget(n);
	start_later(n, AFTER_FAILURE_S);
}

static void start(struct ev_loop *loop, ev_timer *w, int events)
{
	struct node *n = w->data;
	char *argv[] = { n->box, (char *)"--stand-by", n->cgroup_root, NULL };
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, r = 0;

	(void)events;
	if (!n->can_park || n->stopping || n->standby.pid)
		return;
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		r = -errno;
	if (r == 0)
		r = box_spawn(argv, in[0], out[1], &n->standby.pid);
	fd_close(&in[0]);
	fd_close(&out[1]);
	if (r < 0) {
		log_debug("no hearth-box stands by: %s", strerror(-r));
		fd_close(&in[1]);
		fd_close(&out[0]);
		n->standby.pid = 0;
		start_later(n, AFTER_FAILURE_S);
		return;
	}
	fd_set_nonblock(in[1], true);
	n->standby.in = in[1];
	n->standby.out = out[0];
	ev_io_init(&n->standby.ended, ended, out[0], EV_READ);
	n->standby.ended.data = n;
	ev_io_start(loop, &n->standby.ended);
}

void standby_init(struct node *n)
{
	n->standby.in = n->standby.out = -1;
	ev_timer_init(&n->standby.again, start, 0, 0);
	n->standby.again.data = n;
}

void standby_begin(struct node *n)
{
	if (!n->standby.pid)
		start_later(n, 0);
}

bool standby_take(struct node *n, const char *spec, size_t len, pid_t *ret_pid, int *ret_out)
{
	if (!n->standby.pid || len > SPEC_MAX)
		return false;
	start_later(n, AGAIN_S);
	if (write(n->standby.in, spec, len) != (ssize_t)len) {
		forget(n);
		return false;
	}
	*ret_pid = n->standby.pid;
	*ret_out = n->standby.out;
	n->standby.out = -1;
	forget(n);
	return true;
}

void standby_end(struct node *n)
{
	struct pollfd p = { .fd = n->standby.out, .events = POLLIN };

	ev_timer_stop(n->loop, &n->standby.again);
	fd_close(&n->standby.in);
	/* it takes its cgroup away before it ends; and it ends before us, for a service manager looks at what is left */
	if (n->standby.pid) {
		if (poll(&p, 1, END_MS) <= 0)
			kill(n->standby.pid, SIGKILL);
		(void)waitpid(n->standby.pid, NULL, 0);
	}
	forget(n);
}

bool standby_owns(const struct node *n, const char *cgroup)
{
	pid_t pid;

	if (strncmp(cgroup, STANDBY_PREFIX, strlen(STANDBY_PREFIX)))
		return false;
	pid = (pid_t)atoi(cgroup + strlen(STANDBY_PREFIX));
	/* one that has been taken is about to give its group the instance's name */
	return pid == n->standby.pid || job_runs(n, pid);
}
