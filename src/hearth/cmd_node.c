// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "cli.h"

/* hearthd lies beside hearth in a build tree, in ../sbin when installed */
static int find_hearthd(char *path, size_t n)
{
	char self[4000], *slash;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		return -errno;
	self[len] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	snprintf(path, n, "%s/hearthd", self);
	if (access(path, X_OK) == 0)
		return 0;
	snprintf(path, n, "%s/../sbin/hearthd", self);
	return access(path, X_OK) == 0 ? 0 : -ENOENT;
}

/* in the background: its own session, nothing of ours but the log */
static void become_daemon(const char *log)
{
	int null = open("/dev/null", O_RDWR), fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0640);

	setsid();
	dup2(null, 0);
	dup2(fd >= 0 ? fd : null, 1);
	dup2(fd >= 0 ? fd : null, 2);
	if (fd > 2)
		close(fd);
	if (null > 2)
		close(null);
}

static int wait_ready(int ready, pid_t pid, const char *log, struct hearth_err *err)
{
	char c;
	int status = 0;

	if (read(ready, &c, 1) == 1)
		return 0;
	waitpid(pid, &status, 0);
	return err_set(err, -EIO, "hearthd did not start (exit status %d); its log %s says why", WIFEXITED(status) ? WEXITSTATUS(status) : -1, log);
}

struct up_options {
	char *argv[32];
	int n;
	bool detach;
	const char *log;
	char ready_fd[16];
};

static int parse_up(struct cli *cli, int argc, char **argv, struct up_options *o)
{
	static const char *const passed_on[] = { "--config", "--state", "--listen", "--isolation", "--log-level", "--libexec", NULL };

	for (int i = 1; i < argc; i++) {
		const char *const *p = passed_on;

		if (!strcmp(argv[i], "-d") || !strcmp(argv[i], "--detach")) {
			o->detach = true;
			continue;
		}
		if (!strcmp(argv[i], "--log") && i + 1 < argc) {
			o->log = argv[++i];
			continue;
		}
		while (*p && strcmp(argv[i], *p))
			p++;
		if (!*p || i + 1 >= argc || o->n > 24)
			return cli_usage(cli, argv[i][0] == '-' && *p ? "an option lacks its value" : "unknown option");
		o->argv[o->n++] = argv[i++];
		o->argv[o->n++] = argv[i];
	}
	return CLI_OK;
}

static int up_detached(struct cli *cli, const char *program, struct up_options *o)
{
	char log[4096];
	struct hearth_err err;
	int ready[2], r;
	pid_t pid;

	dir_make(cli->run_dir, 0755);
	snprintf(log, sizeof(log), "%s", o->log ? o->log : "");
	if (!o->log)
		snprintf(log, sizeof(log), "%s/hearthd.log", cli->run_dir);
	if (pipe(ready) < 0)
		return cli_fail(cli, (err_set(&err, -errno, "pipe: %s", strerror(errno)), &err));
	fd_set_cloexec(ready[0], true);
	snprintf(o->ready_fd, sizeof(o->ready_fd), "%d", ready[1]);
	o->argv[o->n++] = "--ready-fd";
	o->argv[o->n++] = o->ready_fd;
	pid = fork();
	if (pid == 0) {
		become_daemon(log);
		execv(program, o->argv);
		_exit(127);
	}
	close(ready[1]);
	r = pid < 0 ? err_set(&err, -errno, "fork: %s", strerror(errno)) : wait_ready(ready[0], pid, log, &err);
	close(ready[0]);
	if (r < 0)
		return cli_fail(cli, &err);
	if (cli->json) {
		json_t *o_json = json_pack("{s:b,s:i,s:s}", "ok", 1, "pid", (int)pid, "log", log);

		r = cli_print_json(o_json);
		json_decref(o_json);
		return r;
	}
	printf("hearthd runs (pid %d); log %s\n", (int)pid, log);
	return CLI_OK;
}

int cmd_up(struct cli *cli, int argc, char **argv)
{
	struct up_options o = { .n = 1 };
	char program[4096];
	struct hearth_err err;
	int r;

	r = parse_up(cli, argc, argv, &o);
	if (r != CLI_OK)
		return r;
	if (find_hearthd(program, sizeof(program)) < 0) {
		err_set(&err, -ENOENT, "hearthd is neither beside hearth nor in ../sbin; install Hearth whole");
		return cli_fail(cli, &err);
	}
	o.argv[0] = program;
	o.argv[o.n++] = "--run";
	o.argv[o.n++] = (char *)cli->run_dir;
	if (o.detach)
		return up_detached(cli, program, &o);
	execv(program, o.argv);
	err_set(&err, -errno, "cannot run %s: %s", program, strerror(errno));
	return cli_fail(cli, &err);
}

/* the lock is the daemon's life: it is released when the process ends, however it ends */
static int wait_gone(const struct cli *cli, pid_t pid, struct hearth_err *err)
{
	struct pollfd p = { .events = POLLIN };
	int fd = pidfd_of(pid), r;

	(void)cli;
	if (fd == -ESRCH)
		return 0;
	if (fd < 0)
		return err_set(err, fd, "cannot watch hearthd (pid %d): %s", (int)pid, strerror(-fd));
	p.fd = fd;
	r = poll(&p, 1, 90 * 1000);
	close(fd);
	return r > 0 ? 0 : err_set(err, -ETIMEDOUT, "hearthd (pid %d) has not ended within 90 s; its log says what it waits for", (int)pid);
}

int cmd_down(struct cli *cli, int argc, char **argv)
{
	bool keep = argc == 2 && !strcmp(argv[1], "--keep");
	json_t *request, *info = NULL, *reply = NULL;
	struct hearth_err err;
	pid_t pid;
	int r;

	if (argc > 1 && !keep)
		return cli_usage(cli, "unknown argument");
	request = json_pack("{s:s}", "op", "info");
	r = ctl_call(cli, request, &info, &err);
	json_decref(request);
	if (r < 0)
		return cli_fail(cli, &err);
	pid = (pid_t)json_integer_value(json_object_get(json_object_get(info, "node"), "pid"));
	json_decref(info);
	request = json_pack("{s:s,s:b}", "op", "down", "keep", keep);
	r = ctl_call(cli, request, &reply, &err);
	json_decref(request);
	if (r == 0)
		r = wait_gone(cli, pid, &err);
	if (r < 0) {
		json_decref(reply);
		return cli_fail(cli, &err);
	}
	if (cli->json)
		r = cli_print_json(reply);
	json_decref(reply);
	return r == 0 ? CLI_OK : CLI_FAILED;
}
