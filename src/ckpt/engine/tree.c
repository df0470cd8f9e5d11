/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"

#define STATUS_MAX 65536
#define NET_MAX (64u << 20)
#define TCP_ESTABLISHED 1
#define MAJOR_MEM 1
#define MAJOR_PTS 136
#define MAJOR_TTY 5

struct scan {
	json_t *pipes, *files;
	uint64_t *sockets;              /* inodes */
	size_t sockets_n;
	bool inspect;                   /* refuse; otherwise only list files */
};

/* ---- one descriptor ---- */

static int refuse(struct hearth_err *err, pid_t pid, int fd, const char *what, const char *why)
{
	return err_set(err, -EOPNOTSUPP, "cannot checkpoint: descriptor %d of process %d is %s%s", fd, (int)pid, what, why);
}

static unsigned long fd_flags(pid_t pid, int fd)
{
	char path[64], *text = NULL, *line;
	unsigned long flags = 0;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, fd);
	if (file_read(path, STATUS_MAX, &text, NULL) == 0 && (line = strstr(text, "flags:")))
		flags = strtoul(line + 6, NULL, 8);
	free(text);
	return flags;
}

static int check_anon(pid_t pid, int fd, const char *link, struct hearth_err *err)
{
	static const char *const fine[] = { "[eventfd]", "[eventpoll]", "[signalfd]", "[timerfd]", "inotify", "[pidfd]" };
	const char *what = strchr(link, ':') + 1;

	if (!strcmp(what, "[io_uring]"))
		return refuse(err, pid, fd, "an io_uring", ", which CRIU can't dump; most programs that use one have a switch for not doing so");
	for (size_t k = 0; k < sizeof(fine) / sizeof(fine[0]); k++)
		if (!strcmp(what, fine[k]))
			return 0;
	return refuse(err, pid, fd, what, ", which CRIU can't dump");
}

static int check_device(pid_t pid, int fd, const char *link, const struct stat *st, struct hearth_err *err)
{
	if (S_ISBLK(st->st_mode))
		return refuse(err, pid, fd, link, ", a block device");
	if (major(st->st_rdev) >= MAJOR_PTS && major(st->st_rdev) < MAJOR_PTS + 8)
		return refuse(err, pid, fd, link, ", a terminal, which nobody could give back; begin the program with `hearth run`, or with its input, output and errors elsewhere");
	if (major(st->st_rdev) == MAJOR_TTY || !strncmp(link, "/dev/tty", 8))
		return refuse(err, pid, fd, link, ", a terminal; begin the program with `hearth run`");
	if (major(st->st_rdev) == MAJOR_MEM || !strncmp(link, "/dev/nvidia", 11))
		return 0;               /* null and zero; the driver's own, which it closes before the dump, or CRIU says no */
	return refuse(err, pid, fd, link, ", a device that CRIU can't dump");
}

static int add_pipe(struct scan *s, int fd, const char *link, unsigned long flags)
{
	unsigned long long inode = strtoull(link + 6, NULL, 10);
	json_t *p;
	size_t k;

	json_array_foreach(s->pipes, k, p)
		if ((unsigned long long)json_integer_value(json_object_get(p, "inode")) == inode) {
			json_object_set_new(p, (flags & O_ACCMODE) == O_RDONLY ? "read" : "write", json_true());
			return 0;
		}
	p = json_pack("{s:I,s:i,s:b}", "inode", (json_int_t)inode, "fd", fd, (flags & O_ACCMODE) == O_RDONLY ? "read" : "write", 1);
	return json_array_append_new(s->pipes, p) < 0 ? -ENOMEM : 0;
}

static int add_file(struct scan *s, const char *link, const struct stat *st)
{
	json_t *f;
	size_t k, n = strlen(link);

	/* a file without a name is in the image itself */
	if (st->st_nlink == 0 || !strncmp(link, "/memfd:", 7) || (n > 10 && !strcmp(link + n - 10, " (deleted)")))
		return 0;
	json_array_foreach(s->files, k, f)
		if (!strcmp(json_string_value(json_object_get(f, "path")), link))
			return 0;
	f = json_pack("{s:s,s:I}", "path", link, "size", (json_int_t)st->st_size);
	return json_array_append_new(s->files, f) < 0 ? -EINVAL : 0;    /* a name that is not UTF-8: CRIU checks it alone */
}

static int look_at_fd(struct scan *s, pid_t pid, int fd, struct hearth_err *err)
{
	char path[64], link[PATH_MAX];
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0 || stat(path, &st) < 0)
		return 0;               /* closed meanwhile */
	link[n] = '\0';
	if (S_ISREG(st.st_mode) && link[0] == '/')
		return add_file(s, link, &st) == -ENOMEM ? -ENOMEM : 0;
	if (!s->inspect)
		return 0;
	if (!strncmp(link, "anon_inode:", 11))
		return check_anon(pid, fd, link, err);
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		return check_device(pid, fd, link, &st, err);
	if (!strncmp(link, "pipe:[", 6))
		return add_pipe(s, fd, link, fd_flags(pid, fd));
	if (!strncmp(link, "socket:[", 8)) {
		uint64_t *more = realloc(s->sockets, (s->sockets_n + 1) * sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->sockets = more;
		s->sockets[s->sockets_n++] = strtoull(link + 8, NULL, 10);
	}
	return 0;
}

static int look_at_fds(struct scan *s, pid_t pid, struct hearth_err *err)
{
	char path[64];
	struct dirent *e;
	int r = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : err_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	while (r == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.')
			r = look_at_fd(s, pid, atoi(e->d_name), err);
	closedir(d);
	return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
}

/* ---- one process ---- */

static const char *status_line(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at ? at + strlen(key) : "";
}

static int check_status(pid_t pid, struct hearth_err *err)
{
	char path[64], *text = NULL;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	r = file_read(path, STATUS_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : err_set(err, r, "cannot read %s: %s", path, strerror(-r));
	if (atoi(status_line(text, "\nTracerPid:")) > 0)
		r = err_set(err, -EOPNOTSUPP, "cannot checkpoint: process %d is being traced by process %d (a debugger?)", (int)pid, atoi(status_line(text, "\nTracerPid:")));
	else if (strpbrk(status_line(text, "\nNSpid:\t"), "\t\n") && *strpbrk(status_line(text, "\nNSpid:\t"), "\t\n") == '\t')
		r = err_set(err, -EOPNOTSUPP, "cannot checkpoint: process %d is in a PID name space of its own (a container?)", (int)pid);
	free(text);
	return r;
}

/* ---- the network ---- */

static bool owns(const struct scan *s, uint64_t inode)
{
	for (size_t k = 0; k < s->sockets_n; k++)
		if (s->sockets[k] == inode)
			return true;
	return false;
}

struct endpoint { char local[80], remote[80]; bool ours; };

/* an IPv4 address as a server sees it that listens on both, as the client sees it */
static void unmap(char *address)
{
	static const char mapped[] = "0000000000000000FFFF0000";

	if (!strncmp(address, mapped, sizeof(mapped) - 1))
		memmove(address, address + sizeof(mapped) - 1, strlen(address + sizeof(mapped) - 1) + 1);
}

static int read_tcp(const struct scan *s, pid_t root, const char *which, struct endpoint **v, size_t *n)
{
	char path[64], *text = NULL, *save = NULL;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)root, which);
	r = file_read(path, NET_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (char *line = strtok_r(text, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save)) {
		struct endpoint e = { .ours = false }, *more;
		unsigned long long inode;
		unsigned state;

		if (sscanf(line, " %*d: %79s %79s %x %*s %*s %*s %*d %*d %llu", e.local, e.remote, &state, &inode) != 4 || state != TCP_ESTABLISHED)
			continue;
		unmap(e.local);
		unmap(e.remote);
		e.ours = owns(s, inode);
		more = realloc(*v, (*n + 1) * sizeof(**v));
		if (!more) {
			r = -ENOMEM;
		} else {
			*v = more;
			(*v)[(*n)++] = e;
		}
	}
	free(text);
	return r;
}

/* Return: how many connections lead out of the tree, -errno */
static int tcp_outside(const struct scan *s, pid_t root)
{
	struct endpoint *v = NULL;
	size_t n = 0;
	int outside = 0, r = s->sockets_n ? read_tcp(s, root, "tcp", &v, &n) : 0;

	if (r == 0 && s->sockets_n)
		r = read_tcp(s, root, "tcp6", &v, &n);
	for (size_t k = 0; k < n && r == 0; k++) {
		bool inside = false;

		for (size_t i = 0; i < n && v[k].ours && !inside; i++)
			inside = v[i].ours && !strcmp(v[i].local, v[k].remote) && !strcmp(v[i].remote, v[k].local);
		outside += v[k].ours && !inside;
	}
	free(v);
	return r < 0 ? r : outside;
}

/* ---- the tree ---- */

json_t *tree_pids(pid_t root)
{
	json_t *all = json_array();
	pid_t *tree = NULL;
	ssize_t n = proc_tree(root, &tree);

	for (ssize_t k = 0; k < n && all; k++) {
		char path[64];
		struct dirent *e;
		DIR *d;

		snprintf(path, sizeof(path), "/proc/%d/task", (int)tree[k]);
		d = opendir(path);
		while (d && (e = readdir(d)))
			if (e->d_name[0] != '.')
				json_array_append_new(all, json_integer(atoi(e->d_name)));
		if (d)
			closedir(d);
	}
	free(tree);
	return all;
}

json_t *tree_files(pid_t root)
{
	struct scan s = { .files = json_array() };
	pid_t *tree = NULL;
	ssize_t n = proc_tree(root, &tree);
	struct hearth_err err;

	for (ssize_t k = 0; k < n && s.files; k++)
		(void)look_at_fds(&s, tree[k], &err);
	free(tree);
	return s.files;
}

static int look_at_all(struct scan *s, const pid_t *tree, size_t n, struct hearth_err *err)
{
	int r = 0;

	if (getsid(tree[0]) != tree[0])
		return err_set(err, -EOPNOTSUPP, "cannot checkpoint: process %d belongs to the session of process %d, which is not part of it; begin it with `hearth run` or setsid(1)",
			       (int)tree[0], (int)getsid(tree[0]));
	for (size_t k = 0; k < n && r == 0; k++) {
		r = check_status(tree[k], err);
		if (r == 0)
			r = look_at_fds(s, tree[k], err);
	}
	return r;
}

int tree_inspect(pid_t root, json_t **ret, struct hearth_err *err)
{
	struct scan s = { .pipes = json_array(), .files = json_array(), .inspect = true };
	uint64_t starttime = 0;
	pid_t *tree = NULL;
	ssize_t n = proc_tree(root, &tree);
	int outside = 0, r = n < 0 ? (int)n : proc_starttime(root, &starttime);

	if (r < 0)
		err_set(err, r, "process %d: %s", (int)root, r == -ESRCH ? "there is no such process" : strerror(-r));
	else
		r = look_at_all(&s, tree, (size_t)n, err);
	if (r == 0)
		outside = tcp_outside(&s, root);
	if (outside < 0)
		r = err_set(err, outside, "cannot read the connections of process %d: %s", (int)root, strerror(-outside));
	if (r == 0) {
		*ret = json_pack("{s:i,s:I,s:o,s:O,s:O,s:i}", "root", (int)root, "starttime", (json_int_t)starttime, "pids", tree_pids(root), "pipes", s.pipes, "files", s.files, "tcp_outside", outside);
		if (!*ret)
			r = err_set(err, -ENOMEM, "out of memory");
	}
	json_decref(s.pipes);
	json_decref(s.files);
	free(s.sockets);
	free(tree);
	return r;
}

static bool is_gpu(pid_t pid, int fd, const char *link)
{
	return !strncmp(link, "/dev/nvidia", 11);
}

static bool is_written_unseen(pid_t pid, int fd, const char *link)
{
	return is_gpu(pid, fd, link) || (link[0] == '/' && (fd_flags(pid, fd) & O_DIRECT));
}

bool tree_uses_gpu(pid_t pid)
{
	return proc_any_fd(pid, is_gpu);
}

bool tree_devices_write(pid_t pid)
{
	return proc_any_fd(pid, is_written_unseen);
}

#define WORK_NAME "hearth-dump-"
#define FULL_BYTES 65536

/* those whose owners were killed. A folder has its name only once it is locked, so one without a lock is nobody's. */
static void sweep_work_folders(const char *parent)
{
	DIR *d = opendir(parent);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[PATH_MAX];
		struct stat st;
		FD_AUTO int fd = -1;

		if (strncmp(e->d_name, WORK_NAME, strlen(WORK_NAME)))
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || flock(fd, LOCK_EX | LOCK_NB) < 0)
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", parent, e->d_name) < (int)sizeof(path))
			(void)dir_remove(path);
	}
	if (d)
		closedir(d);
}

int tree_work_folder(char *ret, size_t n, int *ret_lock, struct hearth_err *err)
{
	struct statfs fs;
	bool shm = statfs("/dev/shm", &fs) == 0 && fs.f_type == TMPFS_MAGIC && access("/dev/shm", W_OK) == 0;
	const char *parent = shm ? "/dev/shm" : "/tmp";
	char made[64];
	int fd = -1;

	sweep_work_folders(parent);
	snprintf(made, sizeof(made), "%s/." WORK_NAME "XXXXXX", parent);
	if (!mkdtemp(made)) {
		made[0] = '\0';
		goto err;
	}
	fd = open(made, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		goto err;
	snprintf(ret, n, "%s/%s", parent, made + strlen(parent) + 2);
	if (rename(made, ret) < 0)
		goto err;
	*ret_lock = fd;
	return 0;
err:
	err_set(err, -errno, "cannot make a folder for CRIU's files in %s: %s", parent, strerror(errno));
	if (made[0])
		(void)rmdir(made);
	fd_close(&fd);
	ret[0] = '\0';
	return err->code;
}

int tree_work_room(const char *work, int r, struct hearth_err *err)
{
	struct statfs fs;

	if (r >= 0 || !*work || statfs(work, &fs) < 0 || (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize >= FULL_BYTES)
		return r;
	return err_set(err, -ENOSPC, "no room is left for CRIU's files in %.*s; free some, or make it larger", (int)(strrchr(work, '/') - work), work);
}
