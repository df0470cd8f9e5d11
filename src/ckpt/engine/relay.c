/* SPDX-License-Identifier: Apache-2.0 */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define PIECE 65536
#define LOG_MAX (8 << 20)
#define TOLD_MAX 65536

static void wanted_signals(sigset_t *set)
{
	static const int list[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD };

	sigemptyset(set);
	for (size_t k = 0; k < sizeof(list) / sizeof(list[0]); k++)
		sigaddset(set, list[k]);
}

int relay_begin(struct relay *r, struct hearth_err *err)
{
	sigset_t set;

	wanted_signals(&set);
	r->log_fd = -1;
	sigprocmask(SIG_BLOCK, &set, NULL);
	r->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signals < 0)
		return err_set(err, -errno, "cannot wait for signals: %s", strerror(errno));
	if (r->log) {
		r->log_fd = open(r->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (r->log_fd < 0)
			return err_set(err, -errno, "cannot open the log %s: %s", r->log, strerror(errno));
	}
	return 0;
}

void relay_child(void)
{
	sigset_t set;

	wanted_signals(&set);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	signal(SIGPIPE, SIG_DFL);
}

void relay_end(struct relay *r)
{
	fd_close(&r->from[0]);
	fd_close(&r->from[1]);
	fd_close(&r->log_fd);
	fd_close(&r->signals);
}

/* the log and the one before: at most twice LOG_MAX */
static void turn_log(struct relay *r)
{
	char old[PATH_MAX];
	struct stat st;

	if (fstat(r->log_fd, &st) < 0 || st.st_size < LOG_MAX || snprintf(old, sizeof(old), "%s.1", r->log) >= (int)sizeof(old) || rename(r->log, old) < 0)
		return;
	fd_close(&r->log_fd);
	r->log_fd = open(r->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

/* Return: bytes passed on, 0 end, -EAGAIN, -errno */
static ssize_t pass(struct relay *r, int which)
{
	static uint8_t buf[PIECE];
	ssize_t n = read(r->from[which], buf, sizeof(buf));

	if (n < 0)
		return errno == EINTR ? 1 : -errno;
	if (n == 0)
		return 0;
	if (r->log)
		turn_log(r);
	/* nobody listens any more: the program is not to be held up by that */
	(void)fd_write_full(r->log ? r->log_fd : which ? STDERR_FILENO : STDOUT_FILENO, buf, (size_t)n);
	return n;
}

/* Return: true if @root has ended */
static bool reap(pid_t root, int *ret_status)
{
	bool ended = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == root) {
			*ret_status = status;
			ended = true;
		}
	return ended;
}

static bool on_signals(struct relay *r, pid_t root, int *ret_status)
{
	struct signalfd_siginfo si;
	bool ended = false;

	while (read(r->signals, &si, sizeof(si)) == sizeof(si))
		if (si.ssi_signo == SIGCHLD)
			ended |= reap(root, ret_status);
		else
			kill(root, (int)si.ssi_signo);
	return ended;
}

int relay_run(struct relay *r, pid_t root, int *ret_status)
{
	bool ended = reap(root, ret_status);

	for (int k = 0; k < 2; k++)
		if (r->from[k] >= 0)
			fd_set_nonblock(r->from[k], true);
	while (!ended) {
		struct pollfd p[3] = { { r->from[0], POLLIN, 0 }, { r->from[1], POLLIN, 0 }, { r->signals, POLLIN, 0 } };

		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return -errno;
		for (int k = 0; k < 2; k++)
			if (p[k].revents && pass(r, k) == 0)
				fd_close(&r->from[k]);
		if (p[2].revents)
			ended = on_signals(r, root, ret_status);
	}
	/* what it wrote last; others of its tree may hold the other end for longer */
	for (int k = 0; k < 2; k++)
		while (r->from[k] >= 0 && pass(r, k) > 0)
			;
	return 0;
}

/* how long, then the text */
static json_t *read_told(int fd)
{
	json_t *told = NULL;
	uint32_t len;
	char *text;

	if (fd_read_full(fd, &len, sizeof(len)) != (ssize_t)sizeof(len) || len > TOLD_MAX)
		return NULL;
	text = malloc(len + 1);
	if (text && fd_read_full(fd, text, len) == (ssize_t)len)
		told = json_loadb(text, len, 0, NULL);
	free(text);
	return told;
}

int relay_detach(int *ret_report, json_t **ret_told, struct hearth_err *err)
{
	struct hearth_err said;
	int ends[2], null;
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		err_set(err, -errno, "cannot fork: %s", strerror(errno));
		close(ends[0]);
		close(ends[1]);
		return err->code;
	}
	if (pid == 0) {
		close(ends[0]);
		setsid();
		prctl(PR_SET_NAME, "hearth-relay");
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		fd_close(&null);
		*ret_report = ends[1];
		return 0;
	}
	close(ends[1]);
	n = fd_read_full(ends[0], &said, sizeof(said));
	if (n == (ssize_t)sizeof(said) && ret_told)
		*ret_told = read_told(ends[0]);
	close(ends[0]);
	if (n != (ssize_t)sizeof(said))
		return err_set(err, -EIO, "the process that was to read the program's output ended");
	said.msg[sizeof(said.msg) - 1] = '\0';
	if (said.code < 0)
		return err_set(err, said.code, "%s", said.msg);
	return 1;
}

void relay_report(int *report, const struct hearth_err *err, const json_t *told)
{
	char *text = told ? json_dumps(told, JSON_COMPACT) : NULL;
	uint32_t len = text ? (uint32_t)strlen(text) : 0;

	if (*report >= 0) {
		(void)fd_write_full(*report, err, sizeof(*err));
		if (text && len <= TOLD_MAX && fd_write_full(*report, &len, sizeof(len)) == 0)
			(void)fd_write_full(*report, text, len);
	}
	free(text);
	fd_close(report);
}
