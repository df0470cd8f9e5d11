/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "host.h"

int op_check(struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t file_offset, uint64_t bytes, bool write, struct hearth_err *err)
{
	if (memory_offset > m->bytes || bytes > m->bytes - memory_offset)
		return err_set(err, -EINVAL, "%" PRIu64 " bytes at offset %" PRIu64 " are not within the %zu bytes that were registered", bytes, memory_offset, m->bytes);
	if (file_offset > INT64_MAX || bytes > INT64_MAX - file_offset)
		return err_set(err, -EINVAL, "%" PRIu64 " bytes at offset %" PRIu64 " are beyond what a file can have", bytes, file_offset);
	if (write ? !f->writable : !f->readable)
		return err_set(err, -EBADF, "the file was not opened for %s", write ? "writing" : "reading");
	if (write && f->append)
		return err_set(err, -EINVAL, "the file was opened with O_APPEND, so it cannot be written at an offset");
	return 0;
}

/* what another path may do better: the path's own errors, and those that could be the path's or the file's */
static bool try_next(const struct hearth_ds *ds, enum hearth_ds_path path, ssize_t r)
{
	if (ds->o.path != HEARTH_DS_AUTO || ds->o.fallback == HEARTH_DS_FORBID || (path != HEARTH_DS_MAP && path != HEARTH_DS_CUFILE))
		return false;
	return r == -EREMOTEIO || r == -EFAULT || r == -EINVAL || r == -EOPNOTSUPP || r == -ENODEV || r == -EIO || r == -EPERM;
}

static ssize_t by_path(enum hearth_ds_path path, struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes, bool write)
{
	switch (path) {
	case HEARTH_DS_MAP:
	case HEARTH_DS_HOST:
		return host_transfer(f, m, memory_offset, at, bytes, write);
	default:
		return -EOPNOTSUPP;
	}
}

static ssize_t no_path(struct hearth_ds_file *f, struct hearth_ds_memory *m)
{
	enum hearth_ds_path wanted = f->ds->o.path;
	char why[240];

	if (wanted == HEARTH_DS_AUTO)
		return err_set(ds_error(), -EOPNOTSUPP, "no path is left between this file and memory on %s; hearth_ds_probe says why", m->device->uri);
	path_why_not(f, m, wanted, why);
	return err_set(ds_error(), -EOPNOTSUPP, "path %s was asked for, but %s", hearth_ds_path_name(wanted), why);
}

static ssize_t transfer(struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes, bool write)
{
	struct pair *p = pair_get(f, m);
	enum hearth_ds_path path, blamed = HEARTH_DS_AUTO;
	ssize_t r, first = 0;

	if (!p)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	for (;;) {
		path = blamed == HEARTH_DS_AUTO ? atomic_load(&p->path) : pair_next(p, f, m, blamed);
		if (path == HEARTH_DS_AUTO)
			return blamed == HEARTH_DS_AUTO ? no_path(f, m) : first;
		r = by_path(path, f, m, memory_offset, at, bytes, write);
		if (r >= 0) {
			/* only now it is known that it was the path's fault, and not the file's */
			if (blamed != HEARTH_DS_AUTO)
				pair_downgrade(p, f, m, blamed, (int)first);
			atomic_fetch_add_explicit(&p->carried[path], (uint64_t)r, memory_order_relaxed);
			return r;
		}
		if (!try_next(f->ds, path, r))
			break;
		first = r;
		blamed = path;
	}
	return err_set(ds_error(), (int)r, "%s of %zu bytes at offset %" PRIu64 " by path %s: %s", write ? "write" : "read", bytes, at, hearth_ds_path_name(path), strerror((int)-r));
}

ssize_t op_clip(struct hearth_ds_file *f, uint64_t at, size_t bytes)
{
	int64_t size = file_bytes(f);

	if (size < 0)
		return size;
	/* files of /proc say 0 and are not; they have no O_DIRECT */
	if (size == 0 && file_direct(f) < 0)
		return (ssize_t)bytes;
	if (at >= (uint64_t)size)
		return 0;
	return (uint64_t)size - at < bytes ? (ssize_t)((uint64_t)size - at) : (ssize_t)bytes;
}

static ssize_t one(struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes, bool write)
{
	ssize_t r = op_check(f, m, memory_offset, at, bytes, write, ds_error());

	if (r < 0 || bytes == 0)
		return r;
	uses_get(&f->uses);
	uses_get(&m->uses);
	r = write ? (ssize_t)bytes : op_clip(f, at, bytes);
	if (r < 0)
		err_set(ds_error(), (int)r, "size of the file: %s", strerror((int)-r));
	else if (r > 0)
		r = transfer(f, m, memory_offset, at, (size_t)r, write);
	uses_put(&m->uses);
	uses_put(&f->uses);
	return r;
}

ssize_t hearth_ds_read(struct hearth_ds_file *file, struct hearth_ds_memory *memory, size_t memory_offset, uint64_t file_offset, size_t bytes)
{
	return one(file, memory, memory_offset, file_offset, bytes, false);
}

ssize_t hearth_ds_write(struct hearth_ds_file *file, struct hearth_ds_memory *memory, size_t memory_offset, uint64_t file_offset, size_t bytes)
{
	return one(file, memory, memory_offset, file_offset, bytes, true);
}
