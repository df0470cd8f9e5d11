/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "kv.h"
#include "priv.h"

#define INDEX_BYTES_MAX (4ull << 30)

static int path_of(char out[PATH_MAX], const char *folder, const char *name)
{
	return snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX ? 0 : err_set(ds_error(), -ENAMETOOLONG, "path too long: %s", folder);
}

struct hearth_ds_kv *hearth_ds_kv_close(struct hearth_ds_kv *kv)
{
	if (!kv)
		return NULL;
	hearth_ds_queue_close(kv->idle);
	hearth_ds_file_close(kv->file);
	fd_close(&kv->data);
	fd_close(&kv->index);
	pthread_rwlock_destroy(&kv->lock);
	kv_state_done(&kv->state);
	free(kv->changes);
	free(kv->given_up);
	free(kv->path);
	free(kv);
	return NULL;
}

static struct hearth_ds_kv *kv_new(struct hearth_ds *ds, const char *path, bool writable)
{
	struct hearth_ds_kv *kv = calloc(1, sizeof(*kv));
	pthread_rwlockattr_t attr;

	if (!kv)
		return NULL;
	kv->ds = ds;
	kv->writable = writable;
	kv->data = kv->index = -1;
	/* gets that follow one another without a pause would keep puts out for ever */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&kv->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	kv->path = strdup(path);
	return kv->path ? kv : hearth_ds_kv_close(kv);
}

/* who has the data open for writing, or reading, as long as the descriptor is open */
static int open_data(struct hearth_ds_kv *kv, int flags)
{
	char path[PATH_MAX];
	int r = path_of(path, kv->path, "data");

	if (r < 0)
		return r;
	kv->data = fd_move_up(open(path, flags | O_CLOEXEC, 0666));
	if (kv->data < 0)
		return err_set(ds_error(), -errno, "cannot open KV store %s: data: %s", kv->path, strerror(errno));
	if (flock(kv->data, (kv->writable ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0)
		return err_set(ds_error(), errno == EWOULDBLOCK ? -EBUSY : -errno, "KV store %s: %s", kv->path,
			       errno == EWOULDBLOCK ? "it is in use by another; one at a time may write, and nobody reads meanwhile" : strerror(errno));
	return hearth_ds_file_of(kv->ds, kv->data, &kv->file);
}

static int open_index(struct hearth_ds_kv *kv)
{
	char path[PATH_MAX], *log;
	struct stat st;
	size_t n;
	int r = path_of(path, kv->path, "index");

	if (r < 0)
		return r;
	r = file_read(path, INDEX_BYTES_MAX, &log, &n);
	if (r < 0)
		return err_set(ds_error(), r, "cannot open KV store %s: index: %s", kv->path, strerror(-r));
	r = fstat(kv->data, &st) < 0 ? err_set(ds_error(), -errno, "%s", strerror(errno)) : kv_index_parse((uint8_t *)log, n, (uint64_t)st.st_size, &kv->state, ds_error());
	free(log);
	if (r < 0) {
		err_prefix(ds_error(), "KV store %s: index", kv->path);
		return r;
	}
	kv->index = fd_move_up(open(path, (kv->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
	if (kv->index < 0)
		return err_set(ds_error(), -errno, "cannot open KV store %s: index: %s", kv->path, strerror(errno));
	/* it is cut off before the first commit, by which time it may be gone already */
	kv->torn = kv->state.recovered > 0;
	return 0;
}

int hearth_ds_kv_open(struct hearth_ds *ds, const char *path, int writable, struct hearth_ds_kv **ret)
{
	struct hearth_ds_kv *kv = kv_new(ds, path, writable != 0);
	int r = kv ? open_data(kv, writable ? O_RDWR : O_RDONLY) : err_set(ds_error(), -ENOMEM, "out of memory");

	if (r == 0)
		r = open_index(kv);
	if (r < 0) {
		hearth_ds_kv_close(kv);
		return r;
	}
	*ret = kv;
	return 0;
}

/* the index comes last: with it, the store is there */
static int fill_folder(struct hearth_ds_kv *kv, const struct kv_head *head)
{
	char path[PATH_MAX];
	struct stat st;
	int r = path_of(path, kv->path, "index");

	if (r == 0)
		r = open_data(kv, O_RDWR | O_CREAT | O_EXCL);
	if (r == 0 && fstat(kv->data, &st) < 0)
		r = err_set(ds_error(), -errno, "%s", strerror(errno));
	if (r == 0)
		r = file_replace(path, head, sizeof(*head), st.st_mode & 0666, ds_error());
	if (r == 0)
		r = open_index(kv);
	return r;
}

static void remove_folder(const struct hearth_ds_kv *kv)
{
	char path[PATH_MAX];

	if (path_of(path, kv->path, "index") == 0)
		unlink(path);
	if (path_of(path, kv->path, "data") == 0)
		unlink(path);
	rmdir(kv->path);
}

int hearth_ds_kv_create(struct hearth_ds *ds, const char *path, const struct hearth_ds_kv_options *options, struct hearth_ds_kv **ret)
{
	struct hearth_ds_kv *kv;
	struct hearth_err why;
	struct kv_head head;
	int r = kv_head_make(options, &head, ds_error());

	if (r < 0)
		return err_prefix(ds_error(), "KV store %s", path);
	kv = kv_new(ds, path, true);
	if (!kv)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	if (mkdir(path, 0777) < 0) {
		r = err_set(ds_error(), -errno, "cannot make KV store %s: %s", path, strerror(errno));
	} else {
		r = fill_folder(kv, &head);
		if (r < 0) {
			why = *ds_error();
			remove_folder(kv);
			*ds_error() = why;
		}
	}
	if (r < 0) {
		hearth_ds_kv_close(kv);
		return r;
	}
	*ret = kv;
	return 0;
}
