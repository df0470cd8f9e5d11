/* SPDX-License-Identifier: Apache-2.0 */
#include "pages.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "ckpt/pagemap.h"
#include "memory.h"

#define PIECE (1u << 20)
#define IMG_MAX (256u << 20)

struct filler {
	int old, fresh;                 /* pages files */
	struct memory_source *source;
	uint8_t *buf;
	struct hearth_err *err;
};

static int put_entry(void *ctx, uint64_t start, uint64_t bytes, bool present, bool lazy)
{
	struct filler *f = ctx;
	int r = 0;

	if (!present && !lazy)
		return 0;
	while (bytes && r == 0) {
		size_t n = bytes < PIECE ? bytes : PIECE;

		if (present)
			r = fd_read_full(f->old, f->buf, n) == (ssize_t)n ? 0 : -EBADMSG;
		else
			r = f->source ? memory_source_read(f->source, start, f->buf, n, f->err) : -EBADMSG;
		if (r == 0)
			r = fd_write_full(f->fresh, f->buf, n);
		start += n;
		bytes -= n;
	}
	return r;
}

static int nothing(void *ctx, uint64_t start, uint64_t bytes, bool present, bool lazy)
{
	(void)start;
	(void)bytes;
	*(bool *)ctx |= lazy && !present;
	return 0;
}

static int write_new(int dirfd, const char *name, const char *data, size_t len)
{
	FD_AUTO int fd = openat(dirfd, name, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd_write_full(fd, data, len);
}

static int fill_in(struct store_image *img, int dirfd, int pid, const char *name, char *map, size_t len, uint32_t id, struct hearth_err *err)
{
	struct filler f = { .old = -1, .fresh = -1, .buf = aligned_alloc(4096, PIECE), .err = err };
	char old[64], fresh[64];
	int r = f.buf ? memory_source_open(img, pid, &f.source, err) : -ENOMEM;

	snprintf(old, sizeof(old), "pages-%u.img", id);
	snprintf(fresh, sizeof(fresh), "pages-%u.img.new", id);
	if (r == 0) {
		f.old = openat(dirfd, old, O_RDONLY | O_CLOEXEC);
		f.fresh = openat(dirfd, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (f.old < 0 || f.fresh < 0)
			r = -errno;
	}
	if (r == 0)
		r = pagemap_walk(map, len, put_entry, &f, &id);
	if (r == 0 && renameat(dirfd, fresh, dirfd, old) < 0)
		r = -errno;
	if (r == 0)
		r = write_new(dirfd, name, map, len);
	memory_source_close(f.source);
	fd_close(&f.old);
	fd_close(&f.fresh);
	free(f.buf);
	return r;
}

static int complete_one(struct store_image *img, int dirfd, const char *dir, const char *name, int pid, struct hearth_err *err)
{
	char path[PATH_MAX], *map = NULL, *copy;
	bool lacks = false;
	uint32_t id = 0;
	size_t len;
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, "path too long: %s", dir);
	r = file_read(path, IMG_MAX, &map, &len);
	copy = r == 0 ? malloc(len + 1) : NULL;         /* looking marks it as well */
	if (r == 0 && !copy)
		r = -ENOMEM;
	if (r == 0) {
		memcpy(copy, map, len);
		r = pagemap_walk(copy, len, nothing, &lacks, &id);
	}
	if (r == 0 && lacks)
		r = fill_in(img, dirfd, pid, name, map, len, id, err);
	free(copy);
	free(map);
	return r < 0 && !(err && err->code) ? err_set(err, r, "cannot bring back the memory of process %d: %s", pid, strerror(-r)) : r;
}

int pages_complete(struct store_image *img, const char *dir, struct hearth_err *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return err_set(err, -errno, "cannot read %s: %s", dir, strerror(errno));
	while (r == 0 && (e = readdir(d))) {
		int pid, len = 0;

		if (sscanf(e->d_name, "pagemap-%d.img%n", &pid, &len) == 1 && len && !e->d_name[len])
			r = complete_one(img, dirfd(d), dir, e->d_name, pid, err);
	}
	closedir(d);
	return r;
}
