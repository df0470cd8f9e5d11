/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "ahead.h"
#include "cufile.h"

/* what one system call may transfer: the kernel's own limit is just below 2 GiB */
#define CALL_BYTES (1u << 30)

/* ---- opening and closing ---- */

static int file_kind(struct hearth_ds_file *f, struct hearth_err *err)
{
	struct statfs fs;
	struct stat st;
	int flags = fcntl(f->fd, F_GETFL);

	if (flags < 0 || fstat(f->fd, &st) < 0)
		return err_set(err, -errno, "descriptor %d: %s", f->fd, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, -EINVAL, "descriptor %d is %s: only regular files and block devices have offsets", f->fd, S_ISDIR(st.st_mode) ? "a directory" : "a pipe or the like");
	f->block_device = S_ISBLK(st.st_mode);
	f->readable = (flags & O_ACCMODE) != O_WRONLY;
	f->writable = (flags & O_ACCMODE) != O_RDONLY;
	f->append = flags & O_APPEND;
	f->owned = f->writable || geteuid() == 0 || st.st_uid == geteuid();
	f->layered = fstatfs(f->fd, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
	return 0;
}

/* takes @fd if @own, also on failure */
static int file_new(struct hearth_ds *ds, int fd, bool own, struct hearth_ds_file **ret, struct hearth_err *err)
{
	struct hearth_ds_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f) {
		if (own)
			fd_close(&fd);
		return err_set(err, -ENOMEM, "out of memory");
	}
	*f = (struct hearth_ds_file){ .ds = ds, .fd = fd, .own = own, .direct = DIRECT_UNKNOWN, .spent = -1, .sampler = SAMPLER_UNNEEDED };
	r = file_kind(f, err);
	if (r < 0) {
		if (own)
			fd_close(&fd);
		free(f);
		return r;
	}
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&ds->lock);
	f->next = ds->files;
	ds->files = f;
	pthread_mutex_unlock(&ds->lock);
	*ret = f;
	return 0;
}

int hearth_ds_file(struct hearth_ds *ds, int dirfd, const char *path, int flags, struct hearth_ds_file **ret)
{
	/* O_NONBLOCK: a FIFO in place of the file is an error, not a wait */
	int fd = fd_move_up(openat(dirfd, path, (flags & ~O_DIRECT) | O_CLOEXEC | O_NONBLOCK, 0666)), r;

	if (fd < 0)
		return err_set(ds_error(), -errno, "%s: %s", path, strerror(errno));
	r = file_new(ds, fd, true, ret, ds_error());
	if (r < 0)
		err_prefix(ds_error(), "%s", path);
	return r;
}

/* the same file anew, with or without O_DIRECT; the descriptor that there is keeps its flags */
int file_reopen(int fd, bool direct)
{
	char path[40];
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = fd_move_up(open(path, (flags & O_ACCMODE) | (direct ? O_DIRECT : 0) | O_CLOEXEC));
	return fd < 0 ? -errno : fd;
}

int hearth_ds_file_of(struct hearth_ds *ds, int fd, struct hearth_ds_file **ret)
{
	int flags = fcntl(fd, F_GETFL), again;

	if (flags < 0)
		return err_set(ds_error(), -errno, "descriptor %d: %s", fd, strerror(errno));
	/* what it was opened with it cannot do without: unaligned ends go through the page cache */
	if (flags & O_DIRECT) {
		again = file_reopen(fd, false);
		if (again < 0)
			return err_set(ds_error(), again, "descriptor %d has O_DIRECT and cannot be opened anew without: %s", fd, strerror(-again));
		return file_new(ds, again, true, ret, ds_error());
	}
	return file_new(ds, fd, false, ret, ds_error());
}

struct hearth_ds_file *hearth_ds_file_close(struct hearth_ds_file *file)
{
	struct hearth_ds_file **at;
	struct hearth_ds *ds;
	int direct, sampler;

	if (!file)
		return NULL;
	ds = file->ds;
	uses_wait_none(&file->uses);
	pthread_mutex_lock(&ds->lock);
	for (at = &ds->files; *at != file; at = &(*at)->next)
		;
	*at = file->next;
	pairs_of_file_free(file);
	pthread_mutex_unlock(&ds->lock);
	ahead_free(file);
	cufile_forget(file);
	direct = atomic_load(&file->direct);
	if (direct >= 0)
		fd_close(&direct);
	sampler = atomic_load(&file->sampler);
	if (sampler >= 0)
		fd_close(&sampler);
	fd_close(&file->spent);
	if (file->own)
		fd_close(&file->fd);
	pthread_mutex_destroy(&file->lock);
	free(file);
	return NULL;
}

int64_t file_bytes(struct hearth_ds_file *f)
{
	struct stat st;
	uint64_t bytes;

	if (f->block_device)
		return ioctl(f->fd, BLKGETSIZE64, &bytes) < 0 ? -errno : (int64_t)bytes;
	return fstat(f->fd, &st) < 0 ? -errno : st.st_size;
}

int64_t hearth_ds_file_bytes(struct hearth_ds_file *file)
{
	int64_t n = file_bytes(file);

	return n < 0 ? err_set(ds_error(), (int)n, "size of a file: %s", strerror((int)-n)) : n;
}

/* ---- O_DIRECT ---- */

/* Linux 6.1 tells it of files, and of block devices from 6.11 on; a page is right everywhere */
static void ask_alignment(struct hearth_ds_file *f, int fd)
{
	struct statx sx;

	f->offset_align = f->memory_align = BLOCK_BYTES;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) < 0 || !(sx.stx_mask & STATX_DIOALIGN) || !sx.stx_dio_offset_align || !sx.stx_dio_mem_align)
		return;
	if (sx.stx_dio_offset_align <= BLOCK_BYTES && sx.stx_dio_mem_align <= BLOCK_BYTES) {
		f->offset_align = sx.stx_dio_offset_align;
		f->memory_align = sx.stx_dio_mem_align;
	}
}

static const char *why_no_direct(int r)
{
	switch (r) {
	case -EINVAL:
		return "its file system has no O_DIRECT";
	case -EACCES:
	case -EPERM:
		return "it may not be opened again for O_DIRECT";
	case -ENOENT:
		return "/proc is not mounted, so it cannot be opened again for O_DIRECT";
	default:
		return "it could not be opened again for O_DIRECT";
	}
}

int file_direct(struct hearth_ds_file *f)
{
	int fd = atomic_load_explicit(&f->direct, memory_order_acquire);

	if (fd != DIRECT_UNKNOWN)
		return fd;
	pthread_mutex_lock(&f->lock);
	fd = atomic_load(&f->direct);
	if (fd == DIRECT_UNKNOWN) {
		fd = ds_fault(f->ds, "ds.direct") ? -EINVAL : file_reopen(f->fd, true);
		if (fd < 0) {
			f->why = why_no_direct(fd);
			fd = DIRECT_NONE;
		} else {
			ask_alignment(f, fd);
		}
		atomic_store_explicit(&f->direct, fd, memory_order_release);
	}
	pthread_mutex_unlock(&f->lock);
	return fd;
}

void file_no_direct(struct hearth_ds_file *f, const char *why)
{
	pthread_mutex_lock(&f->lock);
	if (atomic_load(&f->direct) >= 0) {
		f->why = why;
		/* others may be using it: it is closed with the file */
		f->spent = atomic_load(&f->direct);
		atomic_store(&f->direct, DIRECT_NONE);
	}
	pthread_mutex_unlock(&f->lock);
}

/* ---- whole transfers ---- */

static ssize_t read_once(struct hearth_ds_file *f, int fd, void *to, size_t n, uint64_t at)
{
	ssize_t got;

	if (ds_fault(f->ds, "ds.eio"))
		return -EIO;
	if (n > 1 && ds_fault(f->ds, "ds.short"))
		n = n > 4096 ? (n / 2 + 511) & ~(size_t)511 : n / 2;
	do
		got = pread(fd, to, n < CALL_BYTES ? n : CALL_BYTES, (off_t)at);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

ssize_t file_short(struct hearth_ds_file *f, void *to, size_t n, uint64_t at, size_t got)
{
	while (got < n) {
		ssize_t r = read_once(f, f->fd, (uint8_t *)to + got, n - got, at + got);

		if (r <= 0)
			return r < 0 ? r : (ssize_t)got;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

ssize_t ds_file_read(struct hearth_ds_file *f, bool direct, void *to, size_t n, uint64_t at)
{
	int fd = direct ? file_direct(f) : DIRECT_NONE;
	ssize_t r = 0;

	if (fd >= 0) {
		r = read_once(f, fd, to, n, at);
		if (r == (ssize_t)n || (r < 0 && r != -EINVAL))
			return r;
		if (r == -EINVAL) {
			file_no_direct(f, "its file system refuses O_DIRECT reads");
			r = 0;
		}
	}
	/* what is beyond a short direct read, if anything, need not be aligned */
	return file_short(f, to, n, at, (size_t)r);
}

static ssize_t write_once(struct hearth_ds_file *f, int fd, const void *from, size_t n, uint64_t at)
{
	ssize_t put;

	if (ds_fault(f->ds, "ds.eio"))
		return -EIO;
	do
		put = pwrite(fd, from, n < CALL_BYTES ? n : CALL_BYTES, (off_t)at);
	while (put < 0 && errno == EINTR);
	return put < 0 ? -errno : put;
}

ssize_t ds_file_write(struct hearth_ds_file *f, bool direct, const void *from, size_t n, uint64_t at)
{
	int fd = direct ? file_direct(f) : DIRECT_NONE;
	size_t put = 0;

	while (put < n) {
		ssize_t r = write_once(f, fd >= 0 ? fd : f->fd, (const uint8_t *)from + put, n - put, at + put);

		if (r == -EINVAL && fd >= 0) {
			file_no_direct(f, "its file system refuses O_DIRECT writes");
			fd = DIRECT_NONE;
			continue;
		}
		if (r <= 0)
			return r < 0 ? r : -EIO;
		put += (size_t)r;
		/* an odd part was written: the rest is not aligned any more */
		if (fd >= 0 && put % f->offset_align != 0)
			fd = DIRECT_NONE;
	}
	return (ssize_t)n;
}
