/* SPDX-License-Identifier: Apache-2.0 */
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

#define TMP_DEFAULT_BYTES (64ull << 20)
#define MOUNTINFO_MAX (1u << 20)

static const char *const system_dirs[] = { "/usr", "/etc", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32" };
static const char *const devices[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty" };
static const char *const own_dirs[] = { "/dev", "/proc", "/tmp", "/.hearth" };
static const struct { const char *path, *to; } own_links[] = {
	{ "/dev/shm", "/tmp" }, { "/dev/fd", "/proc/self/fd" }, { "/dev/stdin", "/proc/self/fd/0" },
	{ "/dev/stdout", "/proc/self/fd/1" }, { "/dev/stderr", "/proc/self/fd/2" },
};

#define N(array) (sizeof(array) / sizeof((array)[0]))

/* ---- which mounts ---- */

static bool inside(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}

static bool shown(char *const *list, const char *path)
{
	for (; *list; list++)
		if (inside(path, *list))
			return true;
	return false;
}

static int take(char **list, size_t *n, const char *path)
{
	list[*n] = strdup(path);
	if (!list[*n])
		return -ENOMEM;
	(*n)++;
	return 0;
}

static int take_user(char **list, size_t *n, const char *path, const char *what, struct hearth_err *err)
{
	char real[PATH_MAX];

	if (*path != '/')
		return err_set(err, -EINVAL, "%s '%s' must be an absolute path", what, path);
	if (!realpath(path, real))
		return err_set(err, -errno, "%s %s: %s; check the path in the manifest", what, path, strerror(errno));
	if (!strcmp(real, "/") || !strcmp(real, "/proc") || !strcmp(real, "/dev") || !strcmp(real, "/tmp"))
		return err_set(err, -EINVAL, "%s %s cannot be shown in a sandbox, which has its own; choose a folder of its own", what, path);
	if (shown(list, real))
		return 0;
	return take(list, n, path);
}

void list_free(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

/* the octal escapes of /proc's mount tables */
static void unescape(char *text)
{
	char *to = text;

	for (char *p = text; *p; p++) {
		if (p[0] == '\\' && p[1] && p[2] && p[3]) {
			*to++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
}

/* a mount of the host's that belongs to what is shown; not one that mounts at a touch, nor one whose path CRIU's options can't say */
static bool goes_along(char *const *list, const char *point, const char *type)
{
	size_t before = 0;
	struct stat st;

	while (list[before] && strcmp(list[before], point))
		before++;
	return !list[before] && shown(list, point) && strcmp(type, "autofs") && !strpbrk(point, "]:") && stat(point, &st) == 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A bind of /usr shows an empty /usr/local where that is a file system of its own: such mounts are shown too, sorted, an outer one first. */
static int take_inner(char ***list, size_t *n, const char *mountinfo)
{
	size_t lines = 1, first = *n;
	char **more;
	int r = 0;

	for (const char *p = mountinfo; *p; p++)
		lines += *p == '\n';
	more = realloc(*list, (*n + lines + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	*list = more;
	for (const char *line = mountinfo; line && *line && r == 0; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		char point[PATH_MAX], type[64];
		const char *dash = strstr(line, " - ");

		if (!dash || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1 || sscanf(dash, " - %63s", type) != 1)
			continue;
		unescape(point);
		more[*n] = NULL;
		if (goes_along(more, point, type))
			r = take(more, n, point);
	}
	more[*n] = NULL;
	qsort(more + first, *n - first, sizeof(*more), by_path);
	return r;
}

int root_mounts(const char *directory, const char *const *extra, char ***ret, struct hearth_err *err)
{
	char **list, *mountinfo = NULL;
	size_t n = 0, extra_n = 0;
	struct stat st;
	int r = 0;

	while (extra && extra[extra_n])
		extra_n++;
	list = calloc(N(system_dirs) + N(devices) + extra_n + 2, sizeof(*list));
	if (!list)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t k = 0; k < N(system_dirs) && r == 0; k++)
		if (lstat(system_dirs[k], &st) == 0 && S_ISDIR(st.st_mode))
			r = take(list, &n, system_dirs[k]);
	for (size_t k = 0; k < N(devices) && r == 0; k++)
		if (access(devices[k], F_OK) == 0)
			r = take(list, &n, devices[k]);
	if (r == 0 && directory)
		r = take_user(list, &n, directory, "function directory", err);
	for (size_t k = 0; k < extra_n && r == 0; k++)
		r = take_user(list, &n, extra[k], "mount", err);
	if (r == 0)
		r = file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, NULL);
	if (r == 0)
		r = take_inner(&list, &n, mountinfo);
	free(mountinfo);
	if (r < 0) {
		list_free(list);
		return err && err->code ? r : err_set(err, r, "cannot find what to show in the sandbox: %s", strerror(-r));
	}
	*ret = list;
	return 0;
}

/* ---- skeleton ---- */

static int open_in(int dir, const char *name)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH };
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/*
 * mkdir -p of an absolute path below @root, never through a symbolic link: one in the skeleton would lead to the host's folders.
 * The last part becomes a folder or an empty file.
 */
static int make_point(int root, const char *path, bool file)
{
	FD_AUTO int dir = dup(root);

	for (const char *p = path; ; ) {
		char part[NAME_MAX + 1];
		size_t n;
		int next;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n == 0)
			return 0;
		if (n > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(part, p, n);
		part[n] = '\0';
		p += n;
		if (file && !p[strspn(p, "/")]) {
			next = openat(dir, part, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);
			if (next < 0)
				return -errno;
			close(next);
			return 0;
		}
		if (mkdirat(dir, part, 0755) < 0 && errno != EEXIST)
			return -errno;
		next = open_in(dir, part);
		if (next < 0)
			return next;
		fd_close(&dir);
		dir = next;
	}
}

static bool in_tmp(const char *path)
{
	return inside(path, "/tmp");
}

/* mount points, those on the sandbox's own /tmp or those outside it */
static int make_points(int root, char *const *mounts, bool on_tmp, struct hearth_err *err)
{
	for (; *mounts; mounts++) {
		struct stat st;
		int r;

		if (in_tmp(*mounts) != on_tmp)
			continue;
		if (stat(*mounts, &st) < 0)
			return err_set(err, -errno, "%s: %s; the sandbox needs it", *mounts, strerror(errno));
		r = make_point(root, *mounts, !S_ISDIR(st.st_mode));
		if (r < 0)
			return err_set(err, r, "cannot make the mount point %s in the sandbox: %s", *mounts, strerror(-r));
	}
	return 0;
}

static int link_like_host(int root, const char *path)
{
	char to[PATH_MAX];
	ssize_t n = readlink(path, to, sizeof(to) - 1);

	if (n < 0)
		return 0;                       /* absent or a folder */
	to[n] = '\0';
	if (symlinkat(to, root, path + 1) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

static bool same_file(int a, int b)
{
	char x[65536], y[65536];
	ssize_t n;

	do {
		n = fd_read_full(a, x, sizeof(x));
		if (n < 0 || fd_read_full(b, y, sizeof(y)) != n || memcmp(x, y, (size_t)n))
			return false;
	} while (n > 0);
	return true;
}

/* written beside and renamed, as other instances of the function may be starting right now; compared by content, so that it keeps its inode */
static int copy_init(int root, const char *init)
{
	FD_AUTO int from = open(init, O_RDONLY | O_CLOEXEC), to = -1;
	char name[64];
	ssize_t n;
	int r = 0;

	if (from < 0)
		return -errno;
	to = openat(root, ".hearth/init", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (to >= 0 && same_file(from, to))
		return 0;
	fd_close(&to);
	snprintf(name, sizeof(name), ".hearth/init.%d", (int)getpid());
	to = openat(root, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (to < 0 || lseek(from, 0, SEEK_SET) < 0)
		return -errno;
	while ((n = sendfile(to, from, NULL, 1 << 20)) > 0)
		;
	if (n < 0 || fchmod(to, 0755) < 0)
		r = -errno;
	fd_close(&to);                          /* a file open for writing can't be executed */
	if (r == 0 && renameat(root, name, root, ".hearth/init") < 0)
		r = -errno;
	if (r < 0)
		unlinkat(root, name, 0);
	return r;
}

int root_prepare(const char *root, const char *init, char *const *mounts, struct hearth_err *err)
{
	FD_AUTO int fd = -1;
	int r = dir_make(root, 0755);

	if (r == 0) {
		fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fchmod(fd, 0755) < 0)
			r = -errno;
	}
	for (size_t k = 0; k < N(own_dirs) && r == 0; k++)
		r = make_point(fd, own_dirs[k], false);
	for (size_t k = 0; k < N(own_links) && r == 0; k++)
		if (symlinkat(own_links[k].to, fd, own_links[k].path + 1) < 0 && errno != EEXIST)
			r = -errno;
	for (size_t k = 0; k < N(system_dirs) && r == 0; k++)
		r = link_like_host(fd, system_dirs[k]);
	if (r < 0)
		return err_set(err, r, "cannot prepare the sandbox root %s: %s", root, strerror(-r));
	r = make_points(fd, mounts, false, err);
	if (r < 0 || !init)
		return r;
	r = copy_init(fd, init);
	if (r < 0)
		return err_set(err, r, "cannot copy %s to %s/.hearth/init: %s", init, root, strerror(-r));
	return 0;
}

/* ---- entering ---- */

static int set_flags(const char *path, uint64_t flags)
{
	struct mount_attr attr = { .attr_set = flags };

	return mount_setattr(AT_FDCWD, path, 0, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

static int bind_one(const char *root, const char *path, struct hearth_err *err)
{
	bool device = inside(path, "/dev");
	char at[PATH_MAX];
	int r = 0;

	if (snprintf(at, sizeof(at), "%s%s", root, path) >= (int)sizeof(at))
		return err_set(err, -ENAMETOOLONG, "%s: path too long", path);
	if (mount(path, at, NULL, MS_BIND, NULL) < 0)
		r = -errno;
	if (r == 0)
		r = set_flags(at, MOUNT_ATTR_NOSUID | (device ? MOUNT_ATTR_NOEXEC : MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV));
	if (r < 0)
		return err_set(err, r, "cannot show %s in the sandbox: %s", path, strerror(-r));
	return 0;
}

static int mount_own(const char *root, uint64_t tmp_max_bytes, struct hearth_err *err)
{
	char at[PATH_MAX], options[64];

	snprintf(at, sizeof(at), "%s/proc", root);
	if (mount("proc", at, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return err_set(err, -errno, "cannot mount /proc in the sandbox: %s", strerror(errno));
	snprintf(at, sizeof(at), "%s/tmp", root);
	snprintf(options, sizeof(options), "mode=1777,size=%llu", (unsigned long long)(tmp_max_bytes ? tmp_max_bytes : TMP_DEFAULT_BYTES));
	if (mount("tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
		return err_set(err, -errno, "cannot mount /tmp in the sandbox: %s", strerror(errno));
	return 0;
}

int root_enter(const char *root, char *const *mounts, uint64_t tmp_max_bytes, struct hearth_err *err)
{
	FD_AUTO int fd = -1;
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount(root, root, NULL, MS_BIND, NULL) < 0)
		return err_set(err, -errno, "cannot bind the sandbox root %s: %s", root, strerror(errno));
	r = mount_own(root, tmp_max_bytes, err);
	if (r < 0)
		return r;
	fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "cannot open %s: %s", root, strerror(errno));
	r = make_points(fd, mounts, true, err);
	for (; *mounts && r == 0; mounts++)
		r = bind_one(root, *mounts, err);
	if (r < 0)
		return r;
	/* fchdir + pivot_root(".", ".") stacks the old root on the new one; taking it off needs no folder for it */
	fd_close(&fd);
	if (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return err_set(err, -errno, "cannot make %s the root: %s", root, strerror(errno));
	/* what is uid 0 inside must not reach the host's knobs through /proc/sys either */
	r = set_flags("/proc", MOUNT_ATTR_RDONLY);
	if (r == 0)
		r = set_flags("/", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
	if (r < 0)
		return err_set(err, r, "cannot make the sandbox root read-only: %s", strerror(-r));
	return 0;
}
