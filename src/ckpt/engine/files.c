/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "crew.h"

#define PIECE (1u << 20)        /* of whole chunks */

/* a part of a file; @fd is -1 for a file that is extracted as a whole */
struct piece { int object, fd; uint64_t from; };

struct files {
	struct store_image *img;
	int dir;
	struct piece *v;
	size_t n, cap;
};

/* Return: the file's name, NULL: the object is none of CRIU's files */
static const char *file_of(const struct store_image *img, int object)
{
	const char *name = store_image_object_name(img, object);

	return !strncmp(name, "criu/", 5) && !strchr(name + 5, '/') && name[5] != '.' ? name + 5 : NULL;
}

static int add(struct files *f, struct piece p)
{
	if (array_grow((void **)&f->v, &f->cap, f->n + 1, sizeof(*f->v)) < 0)
		return -ENOMEM;
	f->v[f->n++] = p;
	return 0;
}

/* a large one, of which threads write parts: those that have all of its memory are nearly all of what there is */
static int add_parts(struct files *f, int object, const char *name, uint64_t bytes, struct hearth_err *err)
{
	int fd = openat(f->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r = 0;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
		r = err_set(err, -errno, "cannot make %s: %s", name, strerror(errno));
		fd_close(&fd);
		return r;
	}
	for (uint64_t from = 0; from < bytes && r == 0; from += PIECE)
		r = add(f, (struct piece){ object, fd, from });
	if (r < 0 && (f->n == 0 || f->v[f->n - 1].fd != fd))
		close(fd);
	return r < 0 ? err_set(err, r, "out of memory") : 0;
}

static int write_at(int fd, const uint8_t *data, size_t bytes, uint64_t at)
{
	while (bytes) {
		ssize_t n = pwrite(fd, data, bytes, (off_t)at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			at += (uint64_t)n;
			bytes -= (size_t)n;
		}
	}
	return 0;
}

static int do_piece(void *ctx, size_t k, struct hearth_err *err)
{
	static _Thread_local uint8_t buf[PIECE] __attribute__((aligned(4096)));
	struct files *f = ctx;
	const struct piece *p = &f->v[k];
	const char *name = file_of(f->img, p->object);
	uint64_t bytes = store_image_object_bytes(f->img, p->object);
	size_t n;
	int r;

	if (p->fd < 0)
		return store_extract(f->img, p->object, f->dir, name, err);
	n = bytes - p->from < PIECE ? (size_t)(bytes - p->from) : PIECE;
	r = store_read(f->img, p->object, p->from, buf, n, err);
	if (r < 0)
		return r;
	r = write_at(p->fd, buf, n, p->from);
	return r < 0 ? err_set(err, r, "cannot write %s: %s", name, strerror(-r)) : 0;
}

int files_extract(struct store_image *img, const char *dir, struct hearth_err *err)
{
	struct files f = { .img = img, .dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
	int r = f.dir < 0 ? err_set(err, -errno, "cannot read %s: %s", dir, strerror(errno)) : 0;

	for (size_t k = 0; k < store_image_objects(img) && r == 0; k++) {
		const char *name = file_of(img, (int)k);
		uint64_t bytes = store_image_object_bytes(img, (int)k);

		if (name && bytes > PIECE)
			r = add_parts(&f, (int)k, name, bytes, err);
		else if (name && add(&f, (struct piece){ (int)k, -1, 0 }) < 0)
			r = err_set(err, -ENOMEM, "out of memory");
	}
	if (r == 0)
		r = crew_run(f.n, do_piece, &f, err);
	for (size_t k = 0; k < f.n; k++)
		if (f.v[k].fd >= 0 && f.v[k].from == 0)
			close(f.v[k].fd);
	free(f.v);
	fd_close(&f.dir);
	return r;
}
