/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define REST_WAIT_NS NS_PER_S

/* In the child: become the function. Returns only on failure. */
static int become(char **argv, int out, int err)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;
	int sig, null;

	if (setsid() < 0)
		return -errno;
	for (sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);     /* fails for those that nobody may change */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0)
		return -errno;
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		return -errno;
	execvp(argv[0], argv);
	return -errno;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The pipe's read end reports how exec went: end of file, or the error. */
static int exec_result(int status_fd, pid_t pid)
{
	int failed = 0;
	ssize_t n;

	do
		n = read(status_fd, &failed, sizeof failed);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof failed)
		return 0;
	waitpid(pid, NULL, 0);
	return failed;
}

pid_t child_spawn(char **argv, int *ret_out, int *ret_err)
{
	int p[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };     /* output, errors, result of exec */
	pid_t pid = -1;
	int ret = 0, i;

	for (i = 0; i < 3 && ret == 0; i++)
		if (pipe2(p[i], O_CLOEXEC) < 0)
			ret = -errno;
	if (ret == 0) {
		pid = fork();
		if (pid < 0)
			ret = -errno;
	}
	if (pid == 0) {
		ret = become(argv, p[0][1], p[1][1]);
		_exit(write(p[2][1], &ret, sizeof ret) < 0 ? 126 : 127);
	}
	for (i = 0; i < 3; i++)
		close_fd(&p[i][1]);
	if (ret == 0)
		ret = exec_result(p[2][0], pid);
	if (ret == 0 && (fcntl(p[0][0], F_SETFL, O_NONBLOCK) < 0 || fcntl(p[1][0], F_SETFL, O_NONBLOCK) < 0))
		ret = -errno;
	close_fd(&p[2][0]);
	if (ret < 0) {
		close_fd(&p[0][0]);
		close_fd(&p[1][0]);
		return ret;
	}
	*ret_out = p[0][0];
	*ret_err = p[1][0];
	return pid;
}

/* SIGKILL to every child of this process. What they leave behind becomes a child, too, and is found the next time. */
static void kill_children(void)
{
	char text[4096], *at = text, *end;
	ssize_t n;
	int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return;
	text[n] = 0;
	for (;;) {
		long pid = strtol(at, &end, 10);

		/* A number at the very end may be cut off: it is left for the next round. */
		if (end == at || *end != ' ')
			return;
		if (pid > 1)
			kill((pid_t)pid, SIGKILL);
		at = end;
	}
}

void child_kill_rest(pid_t group)
{
	uint64_t deadline = clock_mono_ns() + REST_WAIT_NS, now;
	struct timespec wait;
	sigset_t chld;
	pid_t pid;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (;;) {
		if (getpid() == 1) {
			kill(-1, SIGKILL);
		} else {
			if (group > 0)
				kill(-group, SIGKILL);
			kill_children();
		}
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		now = clock_mono_ns();
		if ((pid < 0 && errno == ECHILD) || now >= deadline)
			return;
		wait = (struct timespec){ .tv_nsec = (long)(deadline - now < 50 * NS_PER_MS ? deadline - now : 50 * NS_PER_MS) };
		sigtimedwait(&chld, NULL, &wait);
	}
}
