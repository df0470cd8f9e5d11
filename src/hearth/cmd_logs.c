// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli.h"

/* where the last @lines lines of a file begin */
static off_t tail_start(int fd, long lines)
{
	char block[8192];
	off_t at = lseek(fd, 0, SEEK_END);
	bool last = true;

	while (at > 0) {
		size_t n = at < (off_t)sizeof(block) ? (size_t)at : sizeof(block);

		at -= (off_t)n;
		if (pread(fd, block, n, at) != (ssize_t)n)
			return 0;
		for (size_t i = n; i-- > 0;) {
			if (block[i] == '\n' && !(last && i == n - 1) && lines-- <= 1)
				return at + (off_t)i + 1;
			last = false;
		}
	}
	return 0;
}

static int copy_rest(int fd)
{
	char block[65536];
	ssize_t n;

	while ((n = read(fd, block, sizeof(block))) > 0)
		if (fwrite(block, 1, (size_t)n, stdout) != (size_t)n)
			return -EPIPE;
	return fflush(stdout) == 0 ? 0 : -EPIPE;
}

/* until the reader goes away; after a rotation the new file is followed */
static int follow(const char *path, int *fd)
{
	char events[4096] __attribute__((aligned(8)));
	int FD_AUTO watch = inotify_init1(IN_CLOEXEC);
	char dir[PATH_MAX];
	struct stat now, open_one;

	snprintf(dir, sizeof(dir), "%s", path);
	*strrchr(dir, '/') = '\0';
	if (watch < 0 || inotify_add_watch(watch, path, IN_MODIFY) < 0 || inotify_add_watch(watch, dir, IN_CREATE) < 0)
		return -errno;
	for (;;) {
		if (copy_rest(*fd) < 0)
			return 0;
		if (read(watch, events, sizeof(events)) < 0 && errno != EINTR)
			return -errno;
		if (stat(path, &now) == 0 && fstat(*fd, &open_one) == 0 && now.st_ino != open_one.st_ino) {
			copy_rest(*fd);
			fd_close(fd);
			*fd = open(path, O_RDONLY | O_CLOEXEC);
			if (*fd < 0)
				return -errno;
			inotify_add_watch(watch, path, IN_MODIFY);
		}
	}
}

int cmd_logs(struct cli *cli, int argc, char **argv)
{
	const char *name = NULL, *path;
	json_t *request, *reply = NULL;
	struct hearth_err err;
	bool following = false;
	long lines = 100;
	char *end;
	int FD_AUTO fd = -1;
	int r = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-f"))
			following = true;
		else if (!strcmp(argv[i], "-n") && i + 1 < argc) {
			lines = strtol(argv[++i], &end, 10);
			if (*end || lines < 1)
				return cli_usage(cli, "-n takes a number of lines, 1 or more");
		} else if (argv[i][0] == '-' || name)
			return cli_usage(cli, "unknown argument");
		else
			name = argv[i];
	}
	if (!name)
		return cli_usage(cli, "which function?");
	request = json_pack("{s:s,s:s}", "op", "logs", "name", name);
	r = ctl_call(cli, request, &reply, &err);
	json_decref(request);
	if (r < 0)
		return cli_fail(cli, &err);
	path = json_string_value(json_object_get(reply, "path"));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err_set(&err, -errno, "log %s: %s", path, strerror(errno));
		r = cli_fail(cli, &err);
	} else {
		lseek(fd, tail_start(fd, lines), SEEK_SET);
		r = copy_rest(fd) < 0 ? CLI_FAILED : CLI_OK;
		if (following && (r = follow(path, &fd)) < 0) {
			err_set(&err, r, "log %s: %s", path, strerror(-r));
			r = cli_fail(cli, &err);
		}
	}
	json_decref(reply);
	return r;
}
