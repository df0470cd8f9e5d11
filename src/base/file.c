/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

#define SEAL_HEAD "#xxh3 "
#define SEAL_LEN (sizeof(SEAL_HEAD) - 1 + DIGEST_HEX_LEN + 1)
#define TEMP_TRIES 16
#define REMOVE_PASSES 8

/* ---- reading ---- */

/* Until end of file, whatever fstat says: files of /proc and /sys call themselves empty. @first: a guess of the size */
static int read_all(int fd, size_t first, size_t max_bytes, char **ret_data, size_t *ret_len)
{
	size_t cap = first, len = 0;
	char *data = NULL, *grown;
	ssize_t n;
	int r;

	for (;;) {
		/* one byte more than the limit shows that there is more; one behind that holds the NUL */
		if (cap > max_bytes)
			cap = max_bytes;
		grown = realloc(data, cap + 2);
		if (grown == NULL) {
			r = -ENOMEM;
			goto err;
		}
		data = grown;
		n = fd_read_full(fd, data + len, cap + 1 - len);
		if (n < 0) {
			r = (int)n;
			goto err;
		}
		len += (size_t)n;
		if (len <= cap)
			break;
		if (cap == max_bytes) {
			r = -EFBIG;
			goto err;
		}
		cap = cap > max_bytes / 2 ? max_bytes : cap * 2;
	}
	data[len] = '\0';
	*ret_data = data;
	if (ret_len != NULL)
		*ret_len = len;
	return 0;
err:
	free(data);
	return r;
}

int file_read(const char *path, size_t max_bytes, char **ret_data, size_t *ret_len)
{
	int fd FD_AUTO = -1;
	size_t first = 4096;
	struct stat st;

	if (max_bytes > SSIZE_MAX - 2)
		max_bytes = SSIZE_MAX - 2;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > max_bytes)
		return -EFBIG;
	if (S_ISREG(st.st_mode) && st.st_size > 0)
		first = (size_t)st.st_size;
	return read_all(fd, first, max_bytes, ret_data, ret_len);
}

int file_read_sealed(const char *path, size_t max_bytes, char **ret_data, size_t *ret_len, struct hearth_err *err)
{
	char *data, hex[DIGEST_HEX_LEN + 1];
	struct digest want;
	size_t len, limit = max_bytes > SSIZE_MAX - SEAL_LEN ? SSIZE_MAX : max_bytes + SEAL_LEN;
	const char *seal;
	int r;

	r = file_read(path, limit, &data, &len);
	if (r < 0)
		return err_set(err, r, "cannot read %s: %s", path, strerror(-r));
	if (len < SEAL_LEN)
		goto damaged;
	seal = data + len - SEAL_LEN;
	if (memcmp(seal, SEAL_HEAD, sizeof(SEAL_HEAD) - 1) != 0 || seal[SEAL_LEN - 1] != '\n')
		goto damaged;
	memcpy(hex, seal + sizeof(SEAL_HEAD) - 1, DIGEST_HEX_LEN);
	hex[DIGEST_HEX_LEN] = '\0';
	len -= SEAL_LEN;
	if (digest_from_hex(hex, &want) < 0 || !digest_equal(want, digest_mem(data, len)))
		goto damaged;
	data[len] = '\0';
	*ret_data = data;
	if (ret_len != NULL)
		*ret_len = len;
	return 0;
damaged:
	free(data);
	return err_set(err, -EBADMSG, "%s is damaged: its last line is not the digest of what is before it", path);
}

/* ---- replacing ---- */

/* Split a path into an open folder and a name in it. */
static int open_parent(const char *path, int *ret_dirfd, char name[NAME_MAX + 1])
{
	size_t len = strlen(path), start;
	char *dir;
	int fd;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (start = len; start > 0 && path[start - 1] != '/'; start--)
		;
	if (len == start || len - start > NAME_MAX)
		return len == start ? -EINVAL : -ENAMETOOLONG;
	memcpy(name, path + start, len - start);
	name[len - start] = '\0';
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	dir = start == 0 ? strdup(".") : strndup(path, start);
	if (dir == NULL)
		return -ENOMEM;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	free(dir);
	if (fd < 0)
		return fd;
	*ret_dirfd = fd;
	return 0;
}

/* A new file next to its future name; hidden, so that nobody who lists the folder takes it for the real thing. */
static int temp_open(int dirfd, char temp[NAME_MAX + 1])
{
	unsigned long long salt;
	int fd;

	for (int i = 0; i < TEMP_TRIES; i++) {
		if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
			return -errno;
		snprintf(temp, NAME_MAX + 1, ".tmp-%016llx", salt);
		fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd >= 0)
			return fd;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

struct part {
	const void *data;
	size_t n;
};

/* Fill a new temporary file and, if asked to, make it durable. On failure it is gone. */
static int temp_write(int dirfd, const struct part *parts, size_t count, mode_t mode, bool durable, char temp[NAME_MAX + 1], const char **ret_step)
{
	int fd, r = 0;

	*ret_step = "create a temporary file for";
	fd = temp_open(dirfd, temp);
	if (fd < 0)
		return fd;
	*ret_step = "write";
	for (size_t i = 0; i < count && r == 0; i++)
		r = fd_write_full(fd, parts[i].data, parts[i].n);
	if (r < 0)
		goto err;
	*ret_step = "set the mode of";
	if (fchmod(fd, mode) < 0) {
		r = -errno;
		goto err;
	}
	*ret_step = "sync";
	if (durable && fsync(fd) < 0) {
		r = -errno;
		goto err;
	}
	/* some network file systems report a full disk only here */
	*ret_step = "close";
	r = close(fd) < 0 ? -errno : 0;
	fd = -1;
	if (r < 0 && r != -EINTR)
		goto err;
	return 0;
err:
	fd_close(&fd);
	unlinkat(dirfd, temp, 0);
	return r;
}

static int replace(const char *path, const struct part *parts, size_t count, mode_t mode, bool durable, struct hearth_err *err)
{
	char name[NAME_MAX + 1], temp[NAME_MAX + 1];
	const char *step = "open the folder of";
	int dirfd FD_AUTO = -1;
	int r;

	r = open_parent(path, &dirfd, name);
	if (r < 0)
		return err_set(err, r, "cannot %s %s: %s", step, path, strerror(-r));
	r = temp_write(dirfd, parts, count, mode, durable, temp, &step);
	if (r < 0)
		return err_set(err, r, "cannot %s %s: %s", step, path, strerror(-r));
	if (renameat(dirfd, temp, dirfd, name) < 0) {
		r = -errno;
		unlinkat(dirfd, temp, 0);
		return err_set(err, r, "cannot put the new %s in place: %s", path, strerror(-r));
	}
	if (durable && fsync(dirfd) < 0) {
		r = -errno;
		return err_set(err, r, "%s is written, but its folder cannot be synced and a power cut may bring the old one back: %s", path, strerror(-r));
	}
	return 0;
}

int file_replace(const char *path, const void *data, size_t n, mode_t mode, struct hearth_err *err)
{
	struct part part = { data, n };

	return replace(path, &part, 1, mode, true, err);
}

static int replace_sealed(const char *path, const void *data, size_t n, mode_t mode, bool durable, struct hearth_err *err)
{
	char hex[DIGEST_HEX_LEN + 1], seal[SEAL_LEN + 1];
	struct part parts[2] = { { data, n }, { seal, SEAL_LEN } };

	digest_to_hex(digest_mem(data, n), hex);
	snprintf(seal, sizeof(seal), SEAL_HEAD "%s\n", hex);
	return replace(path, parts, 2, mode, durable, err);
}

int file_replace_sealed(const char *path, const void *data, size_t n, mode_t mode, struct hearth_err *err)
{
	return replace_sealed(path, data, n, mode, true, err);
}

int file_note_sealed(const char *path, const void *data, size_t n, mode_t mode, struct hearth_err *err)
{
	return replace_sealed(path, data, n, mode, false, err);
}

/* ---- folders ---- */

static int make_one(const char *path, mode_t mode)
{
	struct stat st;
	int r;

	if (mkdir(path, mode) == 0)
		return 0;
	r = -errno;
	/* EEXIST, but also EROFS or EACCES for a folder that has long been there */
	if (stat(path, &st) < 0)
		return r;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int dir_make(const char *path, mode_t mode)
{
	char *copy;
	int r = 0;

	if (path[0] == '\0')
		return -EINVAL;
	copy = strdup(path);
	if (copy == NULL)
		return -ENOMEM;
	for (char *p = copy + 1; *p != '\0' && r == 0; p++) {
		if (*p != '/' || p[-1] == '/')
			continue;
		*p = '\0';
		r = make_one(copy, mode);
		*p = '/';
	}
	if (r == 0)
		r = make_one(copy, mode);
	free(copy);
	return r;
}

int dir_fsync(const char *path)
{
	int fd FD_AUTO = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

/* struct mount_id - what tells two mounts apart; the device number alone does not, since a bind mount shares it */
struct mount_id {
	uint64_t mount;
	uint32_t major, minor;
};

static int mount_of(int fd, struct mount_id *ret)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0)
		return -errno;
	if ((sx.stx_mask & STATX_MNT_ID) == 0)
		return -EOPNOTSUPP;
	*ret = (struct mount_id){ sx.stx_mnt_id, sx.stx_dev_major, sx.stx_dev_minor };
	return 0;
}

static bool mount_same(const struct mount_id *a, const struct mount_id *b)
{
	return a->mount == b->mount && a->major == b->major && a->minor == b->minor;
}

static int remove_entry(int dirfd, const char *name, const struct mount_id *mount);

/* One look through a folder. Failures do not stop it: the rest is removed all the same. @ret_removed: how many went. Return: 0, the first error. */
static int remove_pass(DIR *dir, const struct mount_id *mount, unsigned *ret_removed)
{
	struct dirent *e;
	int first = 0, r;

	*ret_removed = 0;
	for (;;) {
		errno = 0;
		e = readdir(dir);
		if (e == NULL)
			return first != 0 ? first : -errno;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = remove_entry(dirfd(dir), e->d_name, mount);
		if (r == 0)
			(*ret_removed)++;
		else if (first == 0)
			first = r;
	}
}

/* Empty an open folder; takes over fd. Several passes: a file system may skip names while others are removed. */
static int remove_content(int fd, const struct mount_id *mount)
{
	DIR *dir = fdopendir(fd);
	unsigned removed;
	int r;

	if (dir == NULL) {
		r = -errno;
		close(fd);
		return r;
	}
	for (int pass = 0; pass < REMOVE_PASSES; pass++) {
		r = remove_pass(dir, mount, &removed);
		if (removed == 0)
			break;
		rewinddir(dir);
	}
	closedir(dir);
	return r;
}

/*
 * Every step is relative to an open folder and follows no link, so nobody who can rename things in the tree can lead us out of it. A folder that turns out
 * to be the root of another mount is left as it is: -EBUSY.
 */
static int remove_entry(int dirfd, const char *name, const struct mount_id *mount)
{
	struct mount_id here;
	int fd, r;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	/* POSIX says EPERM for a folder, Linux EISDIR */
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	r = -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : errno == ENOTDIR ? r : -errno;
	r = mount_of(fd, &here);
	if (r == 0 && !mount_same(&here, mount))
		r = -EBUSY;
	if (r < 0) {
		close(fd);
		return r;
	}
	r = remove_content(fd, mount);
	if (r < 0)
		return r;
	return unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int dir_remove(const char *path)
{
	char name[NAME_MAX + 1];
	int parent FD_AUTO = -1;
	struct mount_id mount;
	int r;

	r = open_parent(path, &parent, name);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = mount_of(parent, &mount);
	if (r < 0)
		return r;
	return remove_entry(parent, name, &mount);
}
