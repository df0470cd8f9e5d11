/* SPDX-License-Identifier: Apache-2.0 */
#include "rewind.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

#define PIECE 65536

/* Return: 0 as it was, 1 grew, -ESTALE */
static int compare(const char *path, int64_t size, bool cut, struct hearth_err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(err, -ESTALE, "%s, which the program had open, is no longer there: %s", path, strerror(errno));
	if (st.st_size == size)
		return 0;
	if (st.st_size < size)
		return err_set(err, -ESTALE, "%s, which the program had open, has %lld bytes and had %lld: what is missing can't be brought back", path, (long long)st.st_size, (long long)size);
	if (!cut)
		return err_set(err, -ESTALE, "%s, which the program had open, grew from %lld to %lld bytes since; --rewind-files cuts it and keeps what was cut off beside it", path,
			       (long long)size, (long long)st.st_size);
	return 1;
}

static int save_tail(const char *path, int from, int64_t size, const char *image, struct hearth_err *err)
{
	char to[PATH_MAX];
	uint8_t *buf;
	ssize_t n = 0;
	int r;

	if (snprintf(to, sizeof(to), "%s.after-%s", path, image) >= (int)sizeof(to))
		return err_set(err, -ENAMETOOLONG, "path too long: %s", path);
	FD_AUTO int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "cannot keep what is cut off %s in %s: %s", path, to, strerror(errno));
	buf = malloc(PIECE);
	r = buf ? 0 : -ENOMEM;
	while (r == 0 && (n = fd_pread_full(from, buf, PIECE, size)) > 0) {
		r = fd_write_full(fd, buf, (size_t)n);
		size += n;
	}
	free(buf);
	if (r == 0 && n < 0)
		r = (int)n;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r < 0 ? err_set(err, r, "cannot keep what is cut off %s in %s: %s", path, to, strerror(-r)) : 0;
}

static int cut_one(const char *path, int64_t size, const char *image, struct hearth_err *err)
{
	FD_AUTO int fd = open(path, O_RDWR | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	r = save_tail(path, fd, size, image, err);
	if (r == 0 && ftruncate(fd, size) < 0)
		r = err_set(err, -errno, "cannot cut %s: %s", path, strerror(errno));
	return r;
}

int rewind_files(const json_t *files, const char *image, bool cut, struct hearth_err *err)
{
	json_t *f;
	size_t k;

	for (int pass = 0; pass < 2; pass++)
		json_array_foreach(files, k, f) {
			const char *path = json_string_value(json_object_get(f, "path"));
			int64_t size = json_integer_value(json_object_get(f, "size"));
			int r = path ? compare(path, size, cut, err) : 0;

			if (r == 1 && pass == 1)
				r = cut_one(path, size, image, err);
			if (r < 0)
				return r;
		}
	return 0;
}
