/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/track.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "track_private.h"
#include "uffd.h"

struct track {
	size_t n;
	struct { pid_t pid; int uffd; bool rests; } v[];
};

/* a process of its own: see track_arm() */
static _Noreturn void injector(const pid_t *pids, size_t n, int sock)
{
	setsid();
	prctl(PR_SET_NAME, "hearth-inject");
	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL);
	for (size_t k = 0; k < n; k++) {
		int uffd = inject_uffd(pids[k]);

		/* nobody is there any more: the rest is left alone */
		if (sock_send_fd(sock, uffd >= 0 ? 'U' : 'N', uffd) < 0)
			break;
		fd_close(&uffd);
	}
	_exit(0);
}

static int take(struct track *t, pid_t pid, int sock)
{
	int uffd, r;
	char what;

	r = sock_recv_fd(sock, &what, &uffd);
	if (r <= 0)
		return r < 0 ? r : -EIO;
	if (what == 'U' && uffd >= 0 && uffd_enable(uffd) == 0) {
		t->v[t->n].pid = pid;
		t->v[t->n++].uffd = uffd;
	} else {
		fd_close(&uffd);
	}
	return 0;
}

int track_arm(const pid_t *pids, size_t n, struct track **ret, struct hearth_err *err)
{
	struct track *t;
	int ends[2], r = 0;
	pid_t pid;

	if (!track_supported() || fault_point("track-unsupported"))
		return err_set(err, -EOPNOTSUPP, "this kernel does not tell which pages were written (PAGEMAP_SCAN and async write protection came with Linux 6.7)");
	t = calloc(1, sizeof(*t) + n * sizeof(t->v[0]));
	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		free(t);
		return err_set(err, -errno, "cannot make a socket pair: %s", strerror(errno));
	}
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		injector(pids, n, ends[1]);
	}
	close(ends[1]);
	if (pid < 0)
		r = err_set(err, -errno, "cannot fork: %s", strerror(errno));
	for (size_t k = 0; k < n && r == 0; k++)
		r = take(t, pids[k], ends[0]);
	close(ends[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0) {
		track_disarm(t);
		return err->code ? r : err_set(err, r, "the process that arms the tracking ended: %s", strerror(-r));
	}
	*ret = t;
	return 0;
}

static int uffd_of(const struct track *t, pid_t pid)
{
	for (size_t k = 0; t && k < t->n; k++)
		if (t->v[k].pid == pid && !t->v[k].rests)
			return t->v[k].uffd;
	return -1;
}

bool track_armed(const struct track *t, pid_t pid)
{
	return uffd_of(t, pid) >= 0;
}

static void set_rest(struct track *t, pid_t pid, bool rests)
{
	for (size_t k = 0; t && k < t->n; k++)
		if (t->v[k].pid == pid)
			t->v[k].rests = rests;
}

void track_rest(struct track *t, pid_t pid)
{
	set_rest(t, pid, true);
}

bool track_wake(struct track *t, pid_t pid)
{
	set_rest(t, pid, false);
	return track_armed(t, pid);
}

void track_forget(struct track *t, pid_t pid)
{
	for (size_t k = 0; t && k < t->n; k++)
		if (t->v[k].pid == pid)
			fd_close(&t->v[k].uffd);
}

struct track *track_disarm(struct track *t)
{
	for (size_t k = 0; t && k < t->n; k++)
		fd_close(&t->v[k].uffd);
	free(t);
	return NULL;
}

int track_scan(struct track *t, pid_t pid, bool protect, struct track_spans *ret, struct hearth_err *err)
{
	int r = track_scan_pages(pid, uffd_of(t, pid), protect, ret);

	if (r == -ENOTTY || r == -EINVAL)       /* before Linux 6.7 */
		r = track_mappings(pid, ret);
	return r < 0 ? err_set(err, r, "cannot read the page map of process %d: %s", (int)pid, strerror(-r)) : 0;
}
