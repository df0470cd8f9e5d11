/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to processes before CRIU dumps them and after it failed to. */
#include "ckpt/criu.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"

#define SMAPS_MAX (64u << 20)

/* CRIU reads live TCP connections in repair mode; one that was killed leaves them in it, and they would transmit nothing more */
static void unrepair(pid_t pid)
{
	FD_AUTO int pidfd = pidfd_of(pid);
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = pidfd < 0 ? NULL : opendir(path);
	while (d && (e = readdir(d))) {
		int on = 0, off = 0;
		socklen_t len = sizeof(on);
		FD_AUTO int fd = e->d_name[0] == '.' ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, atoi(e->d_name), 0);

		if (fd >= 0 && getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, &len) == 0 && on)
			(void)setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off));
	}
	if (d)
		closedir(d);
}

void criu_run_on(pid_t root)
{
	pid_t *tree = NULL;
	ssize_t n = proc_tree(root, &tree);

	for (ssize_t k = 0; k < n; k++)
		unrepair(tree[k]);
	for (ssize_t k = 0; k < n; k++)
		kill(tree[k], SIGCONT);
	free(tree);
}

/* VmFlags "um": a mapping whose missing pages a userfaultfd serves. CRIU would take pages that are still to come for ones that never were. */
static bool waits_for_pages(pid_t pid)
{
	char path[64], *text = NULL, *line;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	if (file_read(path, SMAPS_MAX, &text, NULL) < 0)
		return false;           /* gone meanwhile; or the dump itself will tell */
	for (line = strstr(text, "VmFlags:"); line && !found; line = strstr(line + 1, "VmFlags:"))
		found = memmem(line, strcspn(line, "\n"), " um", 3) != NULL;
	free(text);
	return found;
}

static bool any_waits(const pid_t *tree, ssize_t n)
{
	bool waits = false;

	for (ssize_t k = 0; k < n && !waits; k++)
		waits = waits_for_pages(tree[k]);
	return waits;
}

static bool is_userfaultfd(pid_t pid, int fd, const char *link)
{
	return !strcmp(link, "anon_inode:[userfaultfd]");
}

static bool is_in(const pid_t *tree, ssize_t n, pid_t pid)
{
	for (ssize_t k = 0; k < n; k++)
		if (tree[k] == pid)
			return true;
	return false;
}

/* the kernel takes a process's descriptors out of sight when it begins to end, and lets go of the memory that they serve some time before pidfds tell its end */
static bool may_let_go(pid_t pid, int pidfd)
{
	return proc_ending(pid) && poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, 0) == 0;
}

/*
 * pidfds of those outside of the tree that serve somebody's memory, or did and are on their way out: which of them serves ours, the kernel does not tell
 * Return: how many; *ret: new array
 */
static size_t find_servers(const pid_t *tree, ssize_t n, struct pollfd **ret)
{
	size_t found = 0, cap = 0;
	DIR *d = opendir("/proc");
	struct dirent *e;

	*ret = NULL;
	while (d && (e = readdir(d))) {
		pid_t pid = (pid_t)atoi(e->d_name);

		if (pid <= 0 || pid == getpid() || is_in(tree, n, pid))
			continue;
		FD_AUTO int fd = pidfd_of(pid);
		if (fd < 0 || !(proc_any_fd(pid, is_userfaultfd) || may_let_go(pid, fd)))
			continue;
		if (array_grow((void **)ret, &cap, found + 1, sizeof(**ret)) < 0)
			break;
		(*ret)[found++] = (struct pollfd){ .fd = fd, .events = POLLIN };
		fd = -1;
	}
	if (d)
		closedir(d);
	return found;
}

/*
 * until one of them ends, unless nothing waits any more: ours may have ended before it was found, and the others, which serve strangers, need not end for long
 * Return: whether there was one to wait for
 */
static bool wait_for_server(const pid_t *tree, ssize_t n, int limit_ms)
{
	struct pollfd *p;
	size_t servers = find_servers(tree, n, &p);

	if (servers && any_waits(tree, n))
		(void)poll(p, servers, limit_ms);
	for (size_t k = 0; k < servers; k++)
		close(p[k].fd);
	free(p);
	return servers > 0;
}

/* one of the tree serves itself, or another of it: no stranger's end would change that */
static bool serves_itself(const pid_t *tree, ssize_t n)
{
	for (ssize_t k = 0; k < n; k++)
		if (proc_any_fd(tree[k], is_userfaultfd))
			return true;
	return false;
}

int criu_tree_whole(pid_t root, int limit_ms)
{
	uint64_t deadline = clock_mono_ns() + (uint64_t)limit_ms * NS_PER_MS, now;
	bool served = true;

	for (;;) {
		pid_t *tree = NULL;
		ssize_t n = proc_tree(root, &tree);
		bool waits = any_waits(tree, n);

		now = clock_mono_ns();
		/* nobody serves it: it was looked at once more, as the last may have ended between the two looks */
		if (n < 0 || !waits || !served || now >= deadline) {
			free(tree);
			return n < 0 ? (int)n : waits ? -EBUSY : 0;
		}
		served = !serves_itself(tree, n) && wait_for_server(tree, n, (int)((deadline - now) / NS_PER_MS) + 1);
		free(tree);
	}
}

/* real user and group of a process */
static int ids_of(pid_t pid, uid_t *ret_uid, gid_t *ret_gid)
{
	char path[64], *text = NULL, *uid, *gid;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	r = file_read(path, 65536, &text, NULL);
	if (r < 0)
		return r;
	uid = strstr(text, "\nUid:");
	gid = strstr(text, "\nGid:");
	r = uid && gid && sscanf(uid, "\nUid: %u", ret_uid) == 1 && sscanf(gid, "\nGid: %u", ret_gid) == 1 ? 0 : -EPROTO;
	free(text);
	return r;
}

int criu_match_ids(pid_t pid)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	uid_t uid;
	gid_t gid;
	int r;

	if (syscall(SYS_capget, &head, data) == 0 && (data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective & CAP_TO_MASK(CAP_SYS_RESOURCE)))
		return 0;
	r = ids_of(pid, &uid, &gid);
	if (r < 0)
		return r;
	return setresgid(gid, (gid_t)-1, (gid_t)-1) < 0 || setresuid(uid, (uid_t)-1, (uid_t)-1) < 0 ? -errno : 0;
}

void criu_end_helpers(void)
{
	pid_t *list = NULL;
	ssize_t n = proc_children(getpid(), &list);

	for (ssize_t k = 0; k < n; k++) {
		char path[64], *comm = NULL;

		snprintf(path, sizeof(path), "/proc/%d/comm", (int)list[k]);
		if (file_read(path, 64, &comm, NULL) == 0 && !strcmp(comm, "criu\n")) {
			kill(list[k], SIGKILL);
			waitpid(list[k], NULL, 0);
		}
		free(comm);
	}
	free(list);
}

void criu_kill_orphans(pid_t spare)
{
	for (;;) {
		pid_t *list = NULL;
		ssize_t n = proc_children(getpid(), &list), killed = 0;

		for (ssize_t k = 0; k < n; k++) {
			if (list[k] == spare)
				continue;
			kill(list[k], SIGKILL);
			killed += waitpid(list[k], NULL, __WALL) == list[k];
		}
		free(list);
		if (!killed)
			return;
	}
}

int criu_minder(void (*mind)(void *ctx, int from), void *ctx, int *ret, struct hearth_err *err)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		mind(ctx, ends[0]);
		_exit(0);
	}
	close(ends[0]);
	if (pid < 0) {
		close(ends[1]);
		return err_set(err, -errno, "cannot fork: %s", strerror(errno));
	}
	*ret = ends[1];
	return 0;
}
