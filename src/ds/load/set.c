/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "load.h"

#define INDEX_BYTES_MAX (64u << 20)

/* ---- one file ---- */

static int read_header(struct set_file *f, uint64_t file_bytes, struct hearth_err *err)
{
	uint8_t prefix[HEADER_PREFIX_BYTES] = { 0 };
	uint64_t n = 0, data_at;
	char *json = NULL;
	ssize_t got = fd_pread_full(f->fd, prefix, sizeof(prefix), 0);
	int r = got < 0 ? err_set(err, (int)got, "%s", strerror((int)-got)) : header_length(prefix, file_bytes, &n, err);

	if (r < 0)
		return r;
	json = malloc(n + 1);
	if (!json)
		return err_set(err, -ENOMEM, "out of memory");
	got = fd_pread_full(f->fd, json, n, HEADER_PREFIX_BYTES);
	data_at = HEADER_PREFIX_BYTES + n;
	if (got < 0)
		r = err_set(err, (int)got, "%s", strerror((int)-got));
	else if ((uint64_t)got < n)
		r = err_set(err, -EBADMSG, "it became shorter while it was read");
	else
		r = header_parse(json, n, file_bytes - data_at, &f->header, err);
	free(json);
	for (size_t k = 0; r == 0 && k < f->header.tensors_n; k++)
		f->header.tensors[k].offset += data_at;
	return r;
}

static int open_file(struct hearth_ds *ds, const char *path, struct set_file *f, struct hearth_err *err)
{
	struct stat st;
	int r = 0;

	f->path = strdup(path);
	if (!f->path)
		return err_set(err, -ENOMEM, "out of memory");
	/* looked at first: opening a pipe would wait for a writer */
	if (stat(path, &st) < 0)
		return err_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s is no file", path);
	f->fd = fd_move_up(open(path, O_RDONLY | O_CLOEXEC));
	if (f->fd < 0 || fstat(f->fd, &st) < 0)
		return err_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	r = read_header(f, (uint64_t)st.st_size, err);
	if (r < 0) {
		err_prefix(err, "%s", path);
		return r;
	}
	return hearth_ds_file_of(ds, f->fd, &f->file);
}

/* ---- a set ---- */

static int by_tensor(const void *a, const void *b)
{
	const struct weight *x = a, *y = b;

	return strcmp(x->tensor, y->tensor);
}

/* leave what the index does not name out of a file's header; @w, @n: what it names of it */
static int keep_named(struct set_file *f, const struct weight *w, size_t n, struct hearth_err *err)
{
	struct header *h = &f->header;
	bool *found = calloc(n, sizeof(*found));
	size_t kept = 0, missing = 0;

	if (!found)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t k = 0; k < h->tensors_n; k++) {
		struct hearth_ds_tensor t = h->tensors[k];
		const struct weight *named = bsearch(&(struct weight){ .tensor = (char *)t.name }, w, n, sizeof(*w), by_tensor);

		if (named) {
			found[named - w] = true;
			h->tensors[kept++] = t;
		} else {
			tensor_done(&t);
		}
	}
	h->tensors_n = kept;
	while (missing < n && found[missing])
		missing++;
	free(found);
	return missing == n ? 0 : err_set(err, -EBADMSG, "%s: tensor '%.80s' is not in it, but the index says so", f->path, w[missing].tensor);
}

static size_t same_file(const struct weight_map *m, size_t from)
{
	size_t to = from;

	while (to < m->n && !strcmp(m->weights[to].file, m->weights[from].file))
		to++;
	return to - from;
}

static int open_set(struct hearth_ds_tensors *t, const char *index, const struct weight_map *m, struct hearth_err *err)
{
	const char *slash = strrchr(index, '/');
	char path[PATH_MAX];
	size_t files = 0;

	for (size_t k = 0; k < m->n; k += same_file(m, k))
		files++;
	t->files = calloc(files + 1, sizeof(*t->files));
	if (!t->files)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t k = 0, n; k < m->n; k += n) {
		struct set_file *f = &t->files[t->files_n];
		int r;

		n = same_file(m, k);
		f->fd = -1;
		t->files_n++;
		if (snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash - index + 1) : 0, index, m->weights[k].file) >= (int)sizeof(path))
			return err_set(err, -ENAMETOOLONG, "%s: its files' paths are too long", index);
		r = open_file(t->ds, path, f, err);
		if (r == 0)
			r = keep_named(f, &m->weights[k], n, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int open_index(struct hearth_ds_tensors *t, const char *path, struct hearth_err *err)
{
	struct weight_map m = { 0 };
	char *text;
	size_t n;
	int r = file_read(path, INDEX_BYTES_MAX, &text, &n);

	if (r < 0)
		return err_set(err, r, "cannot read %s: %s", path, strerror(-r));
	r = weight_map_parse(text, n, &m, err);
	free(text);
	if (r < 0) {
		err_prefix(err, "%s", path);
		return r;
	}
	r = open_set(t, path, &m, err);
	weight_map_done(&m);
	return r;
}

static int open_one(struct hearth_ds_tensors *t, const char *path, struct hearth_err *err)
{
	t->files = calloc(1, sizeof(*t->files));
	if (!t->files)
		return err_set(err, -ENOMEM, "out of memory");
	t->files[0].fd = -1;
	t->files_n = 1;
	return open_file(t->ds, path, &t->files[0], err);
}

/* what a folder stands for. Return: 0, -errno with message */
static int resolve(const char *path, char ret[PATH_MAX], struct hearth_err *err)
{
	static const char *const names[] = { "/model.safetensors.index.json", "/model.safetensors" };
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	if (strlen(path) + sizeof("/model.safetensors.index.json") > PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "path too long: %s", path);
	snprintf(ret, PATH_MAX, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return 0;
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		snprintf(ret, PATH_MAX, "%s%s", path, names[k]);
		if (access(ret, F_OK) == 0)
			return 0;
	}
	return err_set(err, -ENOENT, "%s: there is neither model.safetensors.index.json nor model.safetensors in it; name a file", path);
}

static int by_name(const void *a, const void *b)
{
	const struct hearth_ds_tensor *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int make_lists(struct hearth_ds_tensors *t, struct hearth_err *err)
{
	for (size_t k = 0; k < t->files_n; k++)
		t->n += t->files[k].header.tensors_n;
	t->tensors = calloc(t->n + 1, sizeof(*t->tensors));
	t->by_name = calloc(t->n + 1, sizeof(*t->by_name));
	if (!t->tensors || !t->by_name)
		return err_set(err, -ENOMEM, "out of memory");
	t->n = 0;
	for (size_t k = 0; k < t->files_n; k++)
		for (size_t i = 0; i < t->files[k].header.tensors_n; i++) {
			t->files[k].header.tensors[i].file = (uint32_t)k;
			t->tensors[t->n] = t->by_name[t->n] = &t->files[k].header.tensors[i];
			t->n++;
		}
	qsort(t->by_name, t->n, sizeof(*t->by_name), by_name);
	return 0;
}

int hearth_ds_tensors_open(struct hearth_ds *ds, const char *path, struct hearth_ds_tensors **ret)
{
	struct hearth_ds_tensors *t = calloc(1, sizeof(*t));
	struct hearth_err *err = ds_error();
	char file[PATH_MAX];
	size_t n;
	int r;

	if (!t)
		return err_set(err, -ENOMEM, "out of memory");
	t->refs = 1;
	t->ds = ds;
	r = resolve(path, file, err);
	if (r == 0) {
		n = strlen(file);
		r = n > 5 && !strcmp(file + n - 5, ".json") ? open_index(t, file, err) : open_one(t, file, err);
	}
	if (r == 0)
		r = make_lists(t, err);
	if (r < 0) {
		hearth_ds_tensors_close(t);
		return r;
	}
	*ret = t;
	return 0;
}

struct hearth_ds_tensors *tensors_ref(struct hearth_ds_tensors *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void tensors_unref(struct hearth_ds_tensors *t)
{
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t k = 0; k < t->files_n; k++) {
		header_done(&t->files[k].header);
		free(t->files[k].path);
	}
	free(t->files);
	free(t->tensors);
	free(t->by_name);
	free(t);
}

struct hearth_ds_tensors *hearth_ds_tensors_close(struct hearth_ds_tensors *t)
{
	for (size_t k = 0; t && k < t->files_n; k++) {
		t->files[k].file = hearth_ds_file_close(t->files[k].file);
		fd_close(&t->files[k].fd);
	}
	tensors_unref(t);
	return NULL;
}

/* ---- looking at it ---- */

size_t hearth_ds_tensors_count(const struct hearth_ds_tensors *t)
{
	return t->n;
}

const struct hearth_ds_tensor *hearth_ds_tensors_at(const struct hearth_ds_tensors *t, size_t k)
{
	return k < t->n ? t->tensors[k] : NULL;
}

const struct hearth_ds_tensor *hearth_ds_tensors_find(const struct hearth_ds_tensors *t, const char *name)
{
	const struct hearth_ds_tensor wanted = { .name = name }, *key = &wanted;
	const struct hearth_ds_tensor **found = bsearch(&key, t->by_name, t->n, sizeof(*t->by_name), by_name);

	return found ? *found : NULL;
}

const char *hearth_ds_tensors_file(const struct hearth_ds_tensors *t, size_t k)
{
	return k < t->files_n ? t->files[k].path : NULL;
}

const char *hearth_ds_tensors_meta(const struct hearth_ds_tensors *t, size_t k, const char **ret_key)
{
	for (size_t i = 0; i < t->files_n; i++) {
		const struct header *h = &t->files[i].header;

		if (k < h->meta_n) {
			*ret_key = h->meta[k].key;
			return h->meta[k].value;
		}
		k -= h->meta_n;
	}
	return NULL;
}
