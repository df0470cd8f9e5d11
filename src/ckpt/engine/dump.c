/* SPDX-License-Identifier: Apache-2.0 */
#include "dump.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"
#include "ckpt/criu.h"
#include "ckpt/pagemap.h"
#include "ckpt/program.h"
#include "../criu/leave.h"
#include "tree.h"

#define DUMP_MAX_MS 120000
#define LOOK_MS 1

/* ---- the minder ---- */

static void mind(void *ctx, int from_engine)
{
	struct dump *d = ctx;
	struct pollfd criu = { .fd = pidfd_of(d->pid), .events = POLLIN };
	char ok;

	setsid();
	prctl(PR_SET_NAME, "hearth-minder");
	/* else CRIU would wait for ever for an engine that is gone */
	fd_close(&d->go);
	fd_close(&d->serve);
	fd_close(&d->status);
	close(STDIN_FILENO);
	close(STDOUT_FILENO);           /* whoever reads our output waits for its end */
	close(STDERR_FILENO);
	if (fd_read_full(from_engine, &ok, 1) == 1)
		_exit(0);
	/* the engine was killed. CRIU must not be disturbed: it holds the tree's processes half-way */
	while (criu.fd >= 0 && poll(&criu, 1, -1) < 0 && errno == EINTR)
		;
	criu_run_on(d->root);
	if (d->undo)
		d->undo(d->ctx);
	dir_remove(d->work);
	_exit(0);
}

/* ---- CRIU ---- */

static int build_args(const struct dump *d, struct args *a, int serve, int status)
{
	args_add(a, "%s", d->criu);
	args_add(a, "dump");
	args_add(a, "--no-default-config");
	args_add(a, "-t");
	args_add(a, "%d", (int)d->root);
	args_add(a, "-D");
	args_add(a, "%s", d->work);
	args_add(a, "-o");
	args_add(a, CRIU_LOG);
	args_add(a, "-v2");
	args_add(a, d->stop ? "--leave-stopped" : "--leave-running");
	args_add(a, "--lazy-pages");
	args_add(a, "--ps-socket");
	args_add(a, "%d", serve);
	args_add(a, "--status-fd");
	args_add(a, "%d", status);
	args_add(a, "--tcp-established");
	args_add(a, "--network-lock");
	args_add(a, "skip");            /* the connections live on with the tree; an image has them closed */
	args_add(a, "--file-locks");
	args_add(a, "--link-remap");
	args_add(a, "--manage-cgroups=ignore");
	return a->failed ? -ENOMEM : 0;
}

static _Noreturn void dump_child(const struct dump *d, struct args *a, int go, int serve, int status)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char ok;

	setsid();
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	criu_learn(a->v[0]);            /* while the program runs: after a boot it takes as long as a dump */
	if (fd_read_full(go, &ok, 1) != 1)
		_exit(1);               /* the engine ended before there was a minder, or gave up */
	fd_set_cloexec(serve, false);
	fd_set_cloexec(status, false);
	if (criu_match_ids(d->root) < 0)
		_exit(126);
	criu_exec(a->v, d->leave[0] ? d->leave : NULL, d->work);
	_exit(127);
}

static int fork_criu(struct dump *d, struct hearth_err *err)
{
	int go[2] = { -1, -1 }, status[2] = { -1, -1 }, serve[2] = { -1, -1 }, r = 0;
	struct args a = { 0 };

	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(status, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, serve) < 0)
		r = err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	if (r == 0 && build_args(d, &a, serve[1], status[1]) < 0)
		r = err_set(err, -ENOMEM, "out of memory");
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);         /* for criu_end_helpers() */
	if (r == 0) {
		d->pid = fork();
		if (d->pid == 0) {
			close(go[1]);
			close(serve[0]);
			close(status[0]);
			dump_child(d, &a, go[0], serve[1], status[1]);
		}
		if (d->pid < 0)
			r = err_set(err, -errno, "cannot fork: %s", strerror(errno));
	}
	args_done(&a);
	fd_close(&go[0]);
	fd_close(&status[1]);
	fd_close(&serve[1]);
	d->go = go[1];
	d->status = status[0];
	d->serve = serve[0];
	return r;
}

int dump_prepare(struct dump *d, struct hearth_err *err)
{
	int r = tree_work_folder(d->work, sizeof(d->work), &d->work_lock, err);

	if (!program_find_library("HEARTH_CRIU_LEAVE", LEAVE_LIBRARY, d->leave, sizeof(d->leave), &d->why_not_left))
		d->leave[0] = '\0';
	if (r == 0)
		r = fork_criu(d, err);
	if (r == 0)
		r = criu_minder(mind, d, &d->minder, err);
	return r;
}

/* CRIU ended, or is to end. Return: 0, -EIO, -EOWNERDEAD */
static int wait_criu(struct dump *d, struct hearth_err *err)
{
	char log[PATH_MAX + 16], what[64];
	pid_t pid = d->pid;
	int r;

	if (pid <= 0)
		return 0;
	d->pid = 0;
	snprintf(log, sizeof(log), "%s/" CRIU_LOG, d->work);
	snprintf(what, sizeof(what), "dump process %d", (int)d->root);
	r = criu_wait(pid, DUMP_MAX_MS, what, log, err);
	criu_end_helpers();
	return tree_work_room(d->work, r, err);
}

int dump_hold(struct dump *d, struct hearth_err *err)
{
	uint64_t deadline = clock_mono_ns() + DUMP_MAX_MS * NS_PER_MS;
	struct pollfd p = { .fd = d->status, .events = POLLIN };
	char ok;
	int n = 0, r;

	if (fd_write_full(d->go, "g", 1) < 0)
		return err_set(err, -EIO, "CRIU's process ended before it began");
	fd_close(&d->go);
	/* CRIU does not tell when it has stopped the tree: it is looked at, to a millisecond, for the report */
	while (clock_mono_ns() < deadline && (n = poll(&p, 1, d->frozen_ns ? 1000 : LOOK_MS)) <= 0)
		if (!d->frozen_ns && proc_state(d->root) == 't')
			d->frozen_ns = clock_mono_ns();
	if (!d->frozen_ns)
		d->frozen_ns = clock_mono_ns();
	if (n > 0 && read(d->status, &ok, 1) == 1)
		return pagemap_take_left(d->work, err);
	if (n <= 0)
		kill(d->pid, SIGKILL);
	r = wait_criu(d, err);
	return r < 0 ? r : err_set(err, -EIO, "CRIU ended without holding process %d", (int)d->root);
}

int dump_release(struct dump *d, struct hearth_err *err)
{
	fd_close(&d->serve);
	return wait_criu(d, err);
}

void dump_abort(struct dump *d)
{
	uint8_t unknown[32];
	struct hearth_err err;

	if (d->pid > 0 && d->go >= 0) {
		fd_close(&d->go);       /* it has not begun */
	} else if (d->pid > 0) {
		memset(unknown, 0xff, sizeof(unknown));
		(void)!send(d->serve, unknown, sizeof(unknown), MSG_NOSIGNAL);
	}
	fd_close(&d->serve);
	(void)wait_criu(d, &err);
	criu_run_on(d->root);
}

void dump_end(struct dump *d)
{
	if (d->minder >= 0)
		(void)fd_write_full(d->minder, "d", 1);
	fd_close(&d->minder);
	fd_close(&d->go);
	fd_close(&d->status);
	fd_close(&d->serve);
	if (d->work[0])
		dir_remove(d->work);
	d->work[0] = '\0';
	fd_close(&d->work_lock);
}
