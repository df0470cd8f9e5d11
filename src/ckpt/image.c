/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"

#define MANIFEST_MAX (4u << 20)
#define DIGEST_THREADS 2

static int path_of(char out[PATH_MAX], const char *dir, const char *name)
{
	return snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

struct image *image_free(struct image *img)
{
	if (!img)
		return NULL;
	for (size_t k = 0; k < img->files_n; k++)
		free(img->files[k].name);
	for (char **m = img->mounts; m && *m; m++)
		free(*m);
	free(img->files);
	free(img->mounts);
	free(img->path);
	free(img->id);
	free(img->function);
	free(img->criu);
	free(img->meta);
	free(img);
	return NULL;
}

/* ---- manifest to struct ---- */

static int copy_string(json_t *root, const char *key, char **ret)
{
	const char *text = json_string_value(json_object_get(root, key));

	if (!text)
		return -EBADMSG;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int copy_u64(json_t *root, const char *key, uint64_t *ret)
{
	json_t *v = json_object_get(root, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return -EBADMSG;
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

static int copy_mounts(json_t *root, struct image *img)
{
	json_t *list = json_object_get(root, "mounts"), *v;
	size_t k;

	if (!json_is_array(list))
		return -EBADMSG;
	img->mounts = calloc(json_array_size(list) + 1, sizeof(*img->mounts));
	if (!img->mounts)
		return -ENOMEM;
	json_array_foreach(list, k, v) {
		const char *text = json_string_value(v);

		if (!text || *text != '/')
			return -EBADMSG;
		img->mounts[k] = strdup(text);
		if (!img->mounts[k])
			return -ENOMEM;
	}
	return 0;
}

static int copy_files(json_t *root, struct image *img)
{
	json_t *list = json_object_get(root, "files"), *v;
	size_t k;

	if (!json_is_array(list))
		return -EBADMSG;
	img->files = calloc(json_array_size(list) + 1, sizeof(*img->files));
	if (!img->files)
		return -ENOMEM;
	json_array_foreach(list, k, v) {
		struct image_file *f = &img->files[k];
		const char *hex = json_string_value(json_object_get(v, "xxh3"));
		int r = copy_string(v, "name", &f->name);

		img->files_n = k + 1;
		if (r < 0)
			return r;
		if (!*f->name || strchr(f->name, '/') || f->name[0] == '.' || !hex || digest_from_hex(hex, &f->digest) < 0)
			return -EBADMSG;
		r = copy_u64(v, "bytes", &f->bytes);
		if (r < 0)
			return r;
	}
	return 0;
}

static int from_json(json_t *root, struct image *img)
{
	json_t *meta = json_object_get(root, "meta");
	int r = copy_string(root, "id", &img->id);

	if (r == 0)
		r = copy_string(root, "function", &img->function);
	if (r == 0)
		r = copy_string(root, "criu", &img->criu);
	if (r == 0)
		r = copy_u64(root, "created_ns", &img->created_ns);
	if (r == 0)
		r = copy_u64(root, "pages_bytes", &img->pages_bytes);
	if (r == 0)
		r = copy_u64(root, "image_bytes", &img->image_bytes);
	if (r == 0 && json_object_get(root, "empty_tmp_bytes"))
		r = copy_u64(root, "empty_tmp_bytes", &img->empty_tmp_bytes);
	if (r == 0)
		r = copy_mounts(root, img);
	if (r == 0)
		r = copy_files(root, img);
	if (r == 0 && json_is_object(meta)) {
		img->meta = json_dumps(meta, JSON_COMPACT);
		if (!img->meta)
			r = -ENOMEM;
	}
	return r;
}

int image_load(const char *path, struct image **ret, struct hearth_err *err)
{
	char file[PATH_MAX], *text = NULL;
	struct image *img = NULL;
	json_t *root = NULL;
	size_t len = 0;
	int r = path_of(file, path, IMAGE_MANIFEST);

	if (r == 0)
		r = file_read_sealed(file, MANIFEST_MAX, &text, &len, NULL);
	if (r < 0)
		return err_set(err, r, "image %s: %s: %s; %s", path, IMAGE_MANIFEST, r == -EBADMSG ? "damaged" : strerror(-r),
			       r == -ENOENT ? "there is no image" : "remove the image, the function will start cold");
	root = json_loadb(text, len, 0, NULL);
	img = calloc(1, sizeof(*img));
	if (!img) {
		r = -ENOMEM;
		goto err;
	}
	r = -EBADMSG;
	if (!json_is_object(root))
		goto err;
	if (json_integer_value(json_object_get(root, "version")) != IMAGE_VERSION) {
		r = -EPROTO;
		goto err;
	}
	img->path = strdup(path);
	r = img->path ? from_json(root, img) : -ENOMEM;
	if (r < 0)
		goto err;
	json_decref(root);
	free(text);
	*ret = img;
	return 0;
err:
	json_decref(root);
	free(text);
	image_free(img);
	return err_set(err, r, "image %s: %s: %s; remove the image, the function will start cold", path, IMAGE_MANIFEST,
		       r == -EPROTO ? "written by another version of Hearth" : r == -EBADMSG ? "malformed" : strerror(-r));
}

/* ---- struct to manifest ---- */

static json_t *to_json(const struct image *img)
{
	json_t *mounts = json_array(), *files = json_array(), *root;

	for (char **m = img->mounts; m && *m; m++)
		json_array_append_new(mounts, json_string(*m));
	for (size_t k = 0; k < img->files_n; k++) {
		char hex[DIGEST_HEX_LEN + 1];

		digest_to_hex(img->files[k].digest, hex);
		json_array_append_new(files, json_pack("{s:s,s:I,s:s}", "name", img->files[k].name, "bytes", (json_int_t)img->files[k].bytes, "xxh3", hex));
	}
	root = json_pack("{s:i,s:s,s:s,s:I,s:s,s:I,s:I,s:o,s:o}", "version", IMAGE_VERSION, "id", img->id, "function", img->function,
			 "created_ns", (json_int_t)img->created_ns, "criu", img->criu, "pages_bytes", (json_int_t)img->pages_bytes,
			 "image_bytes", (json_int_t)img->image_bytes, "mounts", mounts, "files", files);
	if (root && img->empty_tmp_bytes)
		json_object_set_new(root, "empty_tmp_bytes", json_integer((json_int_t)img->empty_tmp_bytes));
	if (root && img->meta)
		json_object_set_new(root, "meta", json_loads(img->meta, 0, NULL));
	return root;
}

static int write_manifest(const struct image_draft *d, const struct image *img, struct hearth_err *err)
{
	char file[PATH_MAX], *text;
	json_t *root = to_json(img);
	int r;

	text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
	json_decref(root);
	if (!text)
		return err_set(err, -ENOMEM, "image %s: out of memory writing the manifest", d->target);
	r = path_of(file, d->tmp, IMAGE_MANIFEST);
	if (r == 0) {
		size_t len = strlen(text);

		text[len] = '\n';               /* the NUL's place; length travels separately */
		r = file_replace_sealed(file, text, len + 1, 0600, err);
	}
	free(text);
	return r;
}

/* ---- verification ---- */

static int by_size(const void *a, const void *b)
{
	const struct image_file *x = *(struct image_file *const *)a, *y = *(struct image_file *const *)b;

	return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

bool image_file_is_pages(const struct image_file *f)
{
	return !strncmp(f->name, IMAGE_PAGES, strlen(IMAGE_PAGES));
}

int image_check(const struct image *img, const struct image_file *f, uint64_t bytes, struct digest digest, struct hearth_err *err)
{
	if (bytes != f->bytes)
		return err_set(err, -EBADMSG, "image %s: %s is damaged: %llu bytes, the manifest says %llu; remove the image, the function will start cold",
			       img->path, f->name, (unsigned long long)bytes, (unsigned long long)f->bytes);
	if (!digest_equal(digest, f->digest))
		return err_set(err, -EBADMSG, "image %s: %s is damaged: its digest differs from the manifest's; remove the image, the function will start cold",
			       img->path, f->name);
	return 0;
}

int image_verify(const struct image *img, bool pages, unsigned threads, struct hearth_err *err)
{
	struct image_file **order = calloc(img->files_n + 1, sizeof(*order));
	FD_AUTO int dir = open(img->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = order ? 0 : -ENOMEM;

	if (r == 0 && dir < 0)
		r = -errno;
	if (r < 0) {
		free(order);
		return err_set(err, r, "image %s: %s", img->path, strerror(-r));
	}
	for (size_t k = 0; k < img->files_n; k++)
		order[k] = &img->files[k];
	qsort(order, img->files_n, sizeof(*order), by_size);
	for (size_t k = 0; k < img->files_n && r == 0; k++) {
		struct digest d;
		uint64_t bytes;

		if (!pages && image_file_is_pages(order[k]))
			continue;
		r = digest_file(dir, order[k]->name, threads, &d, &bytes);
		if (r < 0)
			err_set(err, r, "image %s: %s: %s; remove the image, the function will start cold", img->path, order[k]->name, strerror(-r));
		else
			r = image_check(img, order[k], bytes, d, err);
	}
	free(order);
	return r;
}

/* ---- writing ---- */

static int split(const char *path, char dir[PATH_MAX], const char **name)
{
	const char *slash = strrchr(path, '/');

	if (*path != '/' || !slash[1] || slash[1] == '.' || strlen(path) >= PATH_MAX)
		return -EINVAL;
	snprintf(dir, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	*name = slash + 1;
	return 0;
}

int image_begin(const char *target, struct image_draft *ret, struct hearth_err *err)
{
	struct image_draft d = { .lock = -1 };
	char dir[PATH_MAX];
	const char *name;
	int r = split(target, dir, &name);

	if (r < 0)
		return err_set(err, r, "image folder '%s' must be an absolute path whose last part does not begin with a dot", target);
	r = dir_make(dir, 0700);
	if (r < 0)
		return err_set(err, r, "cannot make %s for an image: %s", dir, strerror(-r));
	if (access(target, F_OK) == 0)
		return err_set(err, -EEXIST, "image %s exists already; remove it first or choose another name", target);
	if (snprintf(d.tmp, PATH_MAX, "%s/.tmp-%s-XXXXXX", dir, name) >= PATH_MAX)
		return err_set(err, -ENAMETOOLONG, "image path too long: %s", target);
	snprintf(d.target, PATH_MAX, "%s", target);
	if (!mkdtemp(d.tmp))
		return err_set(err, -errno, "cannot make a folder in %s for an image: %s", dir, strerror(errno));
	d.lock = open(d.tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d.lock < 0 || flock(d.lock, LOCK_EX | LOCK_NB) < 0) {
		r = -errno;
		fd_close(&d.lock);
		rmdir(d.tmp);
		return err_set(err, r, "cannot lock %s: %s", d.tmp, strerror(-r));
	}
	*ret = d;
	return 0;
}

static int add_file(struct image *img, size_t *cap, const char *name)
{
	if (img->files_n == *cap) {
		size_t more = *cap ? *cap * 2 : 64;
		struct image_file *p = realloc(img->files, more * sizeof(*p));

		if (!p)
			return -ENOMEM;
		img->files = p;
		*cap = more;
	}
	img->files[img->files_n] = (struct image_file){ .name = strdup(name) };
	if (!img->files[img->files_n].name)
		return -ENOMEM;
	img->files_n++;
	return 0;
}

static int collect(const char *dir, struct image *img)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t cap = 0;
	int r = 0;

	if (!d)
		return -errno;
	while (r == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.' && strcmp(e->d_name, IMAGE_MANIFEST))
			r = add_file(img, &cap, e->d_name);
	closedir(d);
	return r;
}

static int sync_file(const char *dir, const char *name)
{
	char path[PATH_MAX];
	FD_AUTO int fd = -1;

	if (path_of(path, dir, name) < 0)
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static int digest_all(const struct image_draft *d, struct image *img)
{
	img->image_bytes = img->pages_bytes = 0;
	for (size_t k = 0; k < img->files_n; k++) {
		struct image_file *f = &img->files[k];
		int r = digest_file(d->lock, f->name, DIGEST_THREADS, &f->digest, &f->bytes);

		if (r < 0)
			return r;
		img->image_bytes += f->bytes;
		if (image_file_is_pages(f))
			img->pages_bytes += f->bytes;
	}
	return 0;
}

int image_commit(struct image_draft *draft, struct image *img, uint64_t *ret_digest_ns, uint64_t *ret_sync_ns, struct hearth_err *err)
{
	uint64_t t0 = clock_mono_ns(), t1;
	char dir[PATH_MAX];
	const char *name;
	int r;

	img->created_ns = clock_wall_ns();
	r = collect(draft->tmp, img);
	if (r == 0)
		r = digest_all(draft, img);
	if (r < 0)
		return err_set(err, r, "cannot read back image %s: %s", draft->target, strerror(-r));
	t1 = clock_mono_ns();
	for (size_t k = 0; k < img->files_n && r == 0; k++)
		r = sync_file(draft->tmp, img->files[k].name);
	if (r < 0)
		return err_set(err, r, "cannot write image %s to disk: %s", draft->target, strerror(-r));
	r = write_manifest(draft, img, err);
	if (r < 0)
		return r;
	if (fsync(draft->lock) < 0 || renameat2(AT_FDCWD, draft->tmp, AT_FDCWD, draft->target, RENAME_NOREPLACE) < 0)
		return err_set(err, -errno, "cannot make image %s visible: %s", draft->target, strerror(errno));
	draft->tmp[0] = '\0';
	fd_close(&draft->lock);
	if (split(draft->target, dir, &name) == 0)
		r = dir_fsync(dir);
	if (r < 0) {
		/* visible, but perhaps not after a power failure: better none than a doubtful one */
		image_remove(draft->target);
		return err_set(err, r, "cannot make image %s durable: %s", draft->target, strerror(-r));
	}
	if (ret_digest_ns)
		*ret_digest_ns = t1 - t0;
	if (ret_sync_ns)
		*ret_sync_ns = clock_mono_ns() - t1;
	return 0;
}

void image_abort(struct image_draft *draft)
{
	if (draft->tmp[0])
		dir_remove(draft->tmp);
	draft->tmp[0] = '\0';
	fd_close(&draft->lock);
}

int image_withdraw(const struct image_draft *draft)
{
	struct stat own, there;

	if (fstat(draft->lock, &own) < 0)
		return -errno;
	if (stat(draft->target, &there) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (own.st_dev != there.st_dev || own.st_ino != there.st_ino)
		return 0;
	return rename(draft->target, draft->tmp) < 0 ? -errno : 0;
}

void image_wait(const char *target)
{
	char dir[PATH_MAX], draft[PATH_MAX], path[PATH_MAX];
	const char *name;
	struct dirent *e;
	DIR *d;

	if (split(target, dir, &name) < 0 || snprintf(draft, sizeof(draft), ".tmp-%s-", name) >= (int)sizeof(draft))
		return;
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		FD_AUTO int fd = -1;

		if ((strcmp(e->d_name, name) && strncmp(e->d_name, draft, strlen(draft))) || path_of(path, dir, e->d_name) < 0)
			continue;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		while (fd >= 0 && flock(fd, LOCK_EX) < 0 && errno == EINTR)
			;
	}
	if (d)
		closedir(d);
}

/* ---- folders of images ---- */

/* Return: 0 and where it is now, in heap memory; NULL when it was absent. -errno */
static int hide(const char *path, char **ret)
{
	char dir[PATH_MAX], gone[PATH_MAX];
	const char *name;
	int r = split(path, dir, &name);

	if (r < 0)
		return r;
	*ret = NULL;
	if (snprintf(gone, sizeof(gone), "%s/.tmp-gone-%s-XXXXXX", dir, name) >= (int)sizeof(gone))
		return -ENAMETOOLONG;
	if (access(path, F_OK) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* an empty folder of ours is replaced by the image in one step: from here on nobody sees it */
	if (!mkdtemp(gone))
		return -errno;
	if (rename(path, gone) < 0) {
		r = -errno;
		rmdir(gone);
		return r == -ENOENT ? 0 : r;
	}
	*ret = strdup(gone);
	return *ret ? 0 : dir_remove(gone);
}

int image_remove(const char *path)
{
	char *gone;
	int r = hide(path, &gone);

	if (r < 0 || !gone)
		return r;
	r = dir_remove(gone);
	free(gone);
	return r;
}

static void *removal(void *arg)
{
	/* of this thread only; whoever was just woken needs the processors more */
	(void)setpriority(PRIO_PROCESS, 0, 19);
	(void)dir_remove(arg);
	free(arg);
	return NULL;
}

int image_discard(const char *path)
{
	pthread_t thread;
	char *gone;
	int r = hide(path, &gone);

	if (r < 0 || !gone)
		return r;
	r = thread_spawn(&thread, removal, gone);
	if (r == 0) {
		pthread_detach(thread);
		return 0;
	}
	r = dir_remove(gone);
	free(gone);
	return r;
}

static int by_age(const void *a, const void *b)
{
	const struct image *x = *(struct image *const *)a, *y = *(struct image *const *)b;

	return x->created_ns < y->created_ns ? -1 : x->created_ns > y->created_ns;
}

static int list_one(const char *dir, const char *name, struct image ***list, size_t *n, size_t *cap, size_t *bad)
{
	char path[PATH_MAX];
	int r;

	if (*n == *cap) {
		size_t more = *cap ? *cap * 2 : 16;
		struct image **p = realloc(*list, more * sizeof(**list));

		if (!p)
			return -ENOMEM;
		*list = p;
		*cap = more;
	}
	r = path_of(path, dir, name);
	if (r == 0)
		r = image_load(path, &(*list)[*n], NULL);
	if (r == 0)
		(*n)++;
	else if (r != -ENOMEM)
		(*bad)++;
	return r == -ENOMEM ? r : 0;
}

int image_list(const char *dir, struct image ***ret, size_t *ret_n, size_t *ret_bad)
{
	struct image **list = NULL;
	size_t n = 0, cap = 0, bad = 0;
	struct dirent *e;
	DIR *d = opendir(dir);
	int r = 0;

	if (!d && errno != ENOENT)
		return -errno;
	while (d && r == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.')
			r = list_one(dir, e->d_name, &list, &n, &cap, &bad);
	if (d)
		closedir(d);
	if (r < 0) {
		while (n)
			image_free(list[--n]);
		free(list);
		return r;
	}
	if (n)
		qsort(list, n, sizeof(*list), by_age);
	*ret = list;
	*ret_n = n;
	if (ret_bad)
		*ret_bad = bad;
	return 0;
}

int image_sweep(const char *dir)
{
	struct dirent *e;
	DIR *d = opendir(dir);
	int n = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while ((e = readdir(d))) {
		FD_AUTO int fd = -1;
		char path[PATH_MAX];

		if (strncmp(e->d_name, ".tmp-", 5) || path_of(path, dir, e->d_name) < 0)
			continue;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
			continue;               /* being written */
		if (dir_remove(path) == 0)
			n++;
	}
	closedir(d);
	return n;
}
