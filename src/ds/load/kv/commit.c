/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "kv.h"
#include "priv.h"

#define COMPACT_MIN_BYTES (1u << 20)
#define COMPACT_RATIO 4

/* what a commit that failed, now or in a former life, has left behind the log goes before anything is appended */
static int cut_tail(struct hearth_ds_kv *kv)
{
	if (ftruncate(kv->index, (off_t)kv->state.log_bytes) < 0)
		return -errno;
	kv->torn = false;
	return 0;
}

static int append(struct hearth_ds_kv *kv, const void *frame, size_t n)
{
	int r = kv->torn ? cut_tail(kv) : 0;

	if (r < 0)
		return r;
	kv->torn = true;
	r = fd_pwrite_full(kv->index, frame, n, (off_t)kv->state.log_bytes);
	(void)ds_fault(kv->ds, "ds-kv-appended");
	if (r == 0 && fdatasync(kv->index) < 0)
		r = -errno;
	if (r < 0)
		(void)cut_tail(kv);     /* else the next one does */
	else
		kv->torn = false;
	return r;
}

/*
 * A new log of what there is. It does not have to succeed: the old one goes on being right. But whichever is under the name afterwards must be the one that is appended to.
 */
static void compact(struct hearth_ds_kv *kv)
{
	struct kv_state *s = &kv->state;
	struct stat was, is;
	char path[PATH_MAX];
	void *log;
	size_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/index", kv->path);     /* it fitted when it was opened */
	if (fstat(kv->index, &was) < 0 || kv_index_whole(s, &log, &n) < 0)
		return;
	(void)file_replace(path, log, n, was.st_mode & 0666, NULL);
	free(log);
	fd = fd_move_up(open(path, O_RDWR | O_CLOEXEC));
	if (fd < 0 || fstat(fd, &is) < 0) {
		kv->broken = true;
	} else if (is.st_ino != was.st_ino || is.st_dev != was.st_dev) {
		int old = kv->index;

		kv->index = fd;
		fd = old;
		s->log_bytes = n;
		s->sequence = s->table.n > 0;
	}
	fd_close(&fd);
}

static void committed(struct hearth_ds_kv *kv, size_t frame_bytes)
{
	struct kv_state *s = &kv->state;

	s->log_bytes += frame_bytes;
	s->sequence++;
	for (size_t k = 0; k < kv->given_up_n; k++)
		kv_space_give(&s->space, kv->given_up[k]);
	kv->given_up_n = kv->changes_n = 0;
	if (s->log_bytes > COMPACT_MIN_BYTES && s->log_bytes / COMPACT_RATIO > s->table.n * sizeof(struct kv_record))
		compact(kv);
}

static int commit(struct hearth_ds_kv *kv)
{
	void *frame;
	size_t n;
	int r;

	if (kv->broken)
		return err_set(ds_error(), -EIO, "KV store %s: an earlier commit failed in a way that may have lost data; close it and open it again", kv->path);
	if (fdatasync(kv->data) < 0) {
		/* the kernel may have dropped what it could not write, and will not say so again */
		kv->broken = true;
		return err_set(ds_error(), -errno, "KV store %s: cannot write blocks to the disk: %s", kv->path, strerror(errno));
	}
	(void)ds_fault(kv->ds, "ds-kv-data-synced");
	r = kv_frame_make(kv->state.sequence + 1, kv->changes, kv->changes_n, &frame, &n);
	if (r < 0)
		return err_set(ds_error(), r, "out of memory");
	r = append(kv, frame, n);
	free(frame);
	if (r < 0)
		return err_set(ds_error(), r, "KV store %s: cannot write its index: %s", kv->path, strerror(-r));
	committed(kv, n);
	return 0;
}

int hearth_ds_kv_commit(struct hearth_ds_kv *kv)
{
	int r = 0;

	if (!kv->writable)
		return err_set(ds_error(), -EROFS, "KV store %s is open for reading only", kv->path);
	pthread_rwlock_wrlock(&kv->lock);
	if (kv->changes_n > 0)
		r = commit(kv);
	pthread_rwlock_unlock(&kv->lock);
	return r;
}
