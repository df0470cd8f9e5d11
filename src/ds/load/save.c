/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "load.h"

#define DATA_ALIGN 4096         /* of the first tensor in the file: the header is padded with blanks, as the format allows */
#define REAP_MAX 64

struct save {
	struct hearth_ds *ds;
	const char *path;
	const struct hearth_ds_save **order;
	size_t n;
	char temp[PATH_MAX];
	int fd;
	uint64_t data_at;
};

/* ---- the header ---- */

static int by_width(const void *a, const void *b)
{
	const struct hearth_ds_save *const *x = a, *const *y = b;
	unsigned m = hearth_ds_dtype_bits((*x)->dtype), n = hearth_ds_dtype_bits((*y)->dtype);

	/* else in the order of the caller's array */
	return m != n ? (m > n ? -1 : 1) : (*x > *y) - (*x < *y);
}

static int add_meta(json_t *root, const char *const *meta, size_t meta_n)
{
	json_t *o = json_object();

	if (json_object_set_new(root, "__metadata__", o) < 0)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	for (size_t k = 0; k < meta_n; k++)
		if (json_object_set_new(o, meta[2 * k], json_string(meta[2 * k + 1])) < 0)
			return err_set(ds_error(), -EINVAL, "hearth_ds_save: metadata '%.80s' is no UTF-8", meta[2 * k]);
	return 0;
}

/* NULL: out of memory */
static json_t *describe(const struct hearth_ds_save *t, uint64_t at, uint64_t bytes)
{
	json_t *shape = json_array();
	uint64_t end = at + bytes;

	for (uint32_t k = 0; shape && k < t->dims; k++)
		if (json_array_append_new(shape, json_integer((json_int_t)t->shape[k])) < 0) {
			json_decref(shape);
			return NULL;
		}
	return json_pack("{s:s, s:o, s:[I, I]}", "dtype", hearth_ds_dtype_name(t->dtype), "shape", shape, "data_offsets", (json_int_t)at, (json_int_t)end);
}

static int add_tensor(json_t *root, const struct hearth_ds_save *t, uint64_t *at)
{
	uint64_t bytes = 0;
	json_t *o;

	if (tensor_size(t->dtype, t->shape, t->dims, &bytes) < 0 || bytes > INT64_MAX - *at)
		return err_set(ds_error(), -EINVAL, "hearth_ds_save: tensor '%.80s' has no type that there is, or a shape that gives no size", t->name);
	if (json_object_get(root, t->name) || !strcmp(t->name, "__metadata__"))
		return err_set(ds_error(), -EINVAL, "hearth_ds_save: two tensors are named '%.80s', or that name is the format's own", t->name);
	o = describe(t, *at, bytes);
	if (!o)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	if (json_object_set_new(root, t->name, o) < 0)
		return err_set(ds_error(), -EINVAL, "hearth_ds_save: the name of tensor '%.80s' is no UTF-8", t->name);
	*at += bytes;
	return 0;
}

static int header_text(const struct save *s, const char *const *meta, size_t meta_n, char **ret)
{
	json_t *root = json_object();
	uint64_t at = 0;
	int r = root ? 0 : err_set(ds_error(), -ENOMEM, "out of memory");

	if (r == 0 && meta_n > 0)
		r = add_meta(root, meta, meta_n);
	for (size_t k = 0; r == 0 && k < s->n; k++)
		r = add_tensor(root, s->order[k], &at);
	if (r == 0) {
		*ret = json_dumps(root, JSON_COMPACT);
		if (!*ret)
			r = err_set(ds_error(), -ENOMEM, "out of memory");
	}
	json_decref(root);
	return r;
}

static int write_header(struct save *s, const char *text)
{
	size_t n = strlen(text), padded = (n + HEADER_PREFIX_BYTES + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN - HEADER_PREFIX_BYTES;
	uint64_t prefix = htole64(padded);
	char *all = malloc(HEADER_PREFIX_BYTES + padded);
	int r;

	if (!all || padded > HEADER_BYTES_MAX) {
		r = all ? -EFBIG : -ENOMEM;
		free(all);
		return err_set(ds_error(), r, "%s: %s", s->path, r == -ENOMEM ? "out of memory" : "its header would be larger than the format allows");
	}
	memcpy(all, &prefix, sizeof(prefix));
	memcpy(all + HEADER_PREFIX_BYTES, text, n);
	memset(all + HEADER_PREFIX_BYTES + n, ' ', padded - n);
	r = fd_pwrite_full(s->fd, all, HEADER_PREFIX_BYTES + padded, 0);
	free(all);
	s->data_at = HEADER_PREFIX_BYTES + padded;
	return r < 0 ? err_set(ds_error(), r, "cannot write %s: %s", s->path, strerror(-r)) : 0;
}

/* ---- the data ---- */

static int reap(const struct save *s, struct hearth_ds_queue *q, size_t n)
{
	struct hearth_ds_done done[REAP_MAX];

	while (n > 0) {
		ssize_t got = hearth_ds_reap(q, done, REAP_MAX, 1, -1);

		if (got <= 0)
			return got < 0 ? (int)got : err_set(ds_error(), -EIO, "writes were lost");
		for (ssize_t k = 0; k < got; k++)
			if (done[k].result < 0)
				return err_set(ds_error(), (int)done[k].result, "cannot write %s: tensor '%.80s': %s", s->path, s->order[done[k].tag]->name, strerror((int)-done[k].result));
		n -= (size_t)got;
	}
	return 0;
}

static int write_data(const struct save *s)
{
	struct hearth_ds_op *ops = calloc(s->n + 1, sizeof(*ops));
	struct hearth_ds_queue *q = NULL;
	struct hearth_ds_file *file = NULL;
	uint64_t at = s->data_at;
	size_t n = 0;
	int r = ops ? hearth_ds_file_of(s->ds, s->fd, &file) : err_set(ds_error(), -ENOMEM, "out of memory");

	if (r == 0)
		r = hearth_ds_queue_open(s->ds, 0, &q);
	for (size_t k = 0; r == 0 && k < s->n; k++) {
		const struct hearth_ds_save *t = s->order[k];
		uint64_t bytes = 0;

		(void)tensor_size(t->dtype, t->shape, t->dims, &bytes);         /* the header has its size already */
		if (bytes > 0)
			ops[n++] = (struct hearth_ds_op){ .file = file, .memory = t->memory, .memory_offset = t->offset, .file_offset = at, .bytes = bytes, .tag = k, .kind = HEARTH_DS_WRITE };
		at += bytes;
	}
	if (r == 0)
		r = hearth_ds_submit(q, ops, n);
	if (r == 0)
		r = reap(s, q, n);
	hearth_ds_queue_close(q);
	hearth_ds_file_close(file);
	free(ops);
	return r;
}

/* ---- complete or absent ---- */

static int open_temp(struct save *s)
{
	const char *slash = strrchr(s->path, '/'), *name = slash ? slash + 1 : s->path;
	uint64_t tag;

	if (getrandom(&tag, sizeof(tag), 0) != sizeof(tag))
		return err_set(ds_error(), -errno, "cannot write %s: no random numbers: %s", s->path, strerror(errno));
	if (snprintf(s->temp, sizeof(s->temp), "%.*s.tmp-%016llx-%.200s", (int)(name - s->path), s->path, (unsigned long long)tag, name) >= (int)sizeof(s->temp))
		return err_set(ds_error(), -ENAMETOOLONG, "path too long: %s", s->path);
	s->fd = fd_move_up(open(s->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
	return s->fd < 0 ? err_set(ds_error(), -errno, "cannot write %s: %s", s->path, strerror(errno)) : 0;
}

static int put_in_place(struct save *s)
{
	const char *slash = strrchr(s->path, '/');
	char folder[PATH_MAX];
	int r = 0;

	snprintf(folder, sizeof(folder), "%.*s", slash ? (slash == s->path ? 1 : (int)(slash - s->path)) : 1, slash ? s->path : ".");
	if (fsync(s->fd) < 0 || rename(s->temp, s->path) < 0)
		return err_set(ds_error(), -errno, "cannot write %s: %s", s->path, strerror(errno));
	s->temp[0] = '\0';
	r = dir_fsync(folder);
	return r < 0 ? err_set(ds_error(), r, "%s is written, but a power cut may bring back what was there before: %s: %s", s->path, folder, strerror(-r)) : 0;
}

int hearth_ds_save(struct hearth_ds *ds, const char *path, const struct hearth_ds_save *tensors, size_t n, const char *const *meta, size_t meta_n)
{
	struct save s = { .ds = ds, .path = path, .n = n, .fd = -1, .order = calloc(n + 1, sizeof(*s.order)) };
	char *text = NULL;
	int r;

	if (!s.order)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	for (size_t k = 0; k < n; k++)
		s.order[k] = &tensors[k];
	qsort(s.order, n, sizeof(*s.order), by_width);
	r = header_text(&s, meta, meta_n, &text);
	if (r == 0)
		r = open_temp(&s);
	if (r == 0)
		r = write_header(&s, text);
	if (r == 0)
		r = write_data(&s);
	if (r == 0)
		r = put_in_place(&s);
	if (r < 0 && s.fd >= 0 && s.temp[0])
		unlink(s.temp);
	fd_close(&s.fd);
	free(s.order);
	free(text);
	return r;
}
