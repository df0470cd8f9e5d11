/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "host.h"
#include "map.h"
#include "stage.h"

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

bool path_try_next(const struct hearth_ds *ds, enum hearth_ds_path path, ssize_t r)
{
	if (ds->o.path != HEARTH_DS_AUTO || ds->o.fallback == HEARTH_DS_FORBID || (path != HEARTH_DS_MAP && path != HEARTH_DS_CUFILE))
		return false;
	return r == -EREMOTEIO || r == -EFAULT || r == -EINVAL || r == -EOPNOTSUPP || r == -ENODEV || r == -EIO || r == -EPERM;
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

/* where nothing is to be gained by more than one I/O at a time */
static bool in_this_thread(enum hearth_ds_path path, size_t bytes)
{
	return (path == HEARTH_DS_HOST || path == HEARTH_DS_MAP) && bytes <= PIECE_BYTES;
}

static ssize_t transfer(struct op *op)
{
	struct hearth_ds_file *f = op->file;
	ssize_t r;

	op->pair = pair_get(f, op->memory);
	if (!op->pair)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	op->path = (uint8_t)atomic_load(&op->pair->path);
	if (op->path == HEARTH_DS_AUTO)
		return no_path(f, op->memory);
	if (in_this_thread(op->path, op->bytes)) {
		r = host_transfer(f, op->memory, op->memory_offset, op->file_offset, op->bytes, op->write);
		if (r >= 0 && op->path == HEARTH_DS_MAP && !op->write && map_arrived(op->memory) < 0)
			r = -EIO;
		if (r >= 0)
			pair_carried(op->pair, op->path, (uint64_t)r);
		if (r >= 0 || !path_try_next(f->ds, op->path, r))
			return r;
	}
	/* where this path fails again the next one is tried, and it is found out whose fault it was */
	return stage_transfer(op, ds_error());
}

uint64_t op_clip_to(struct hearth_ds_file *f, int64_t size, uint64_t at, uint64_t bytes)
{
	/* files of /proc say 0 and are not; they have no O_DIRECT */
	if (size == 0 && file_direct(f) < 0)
		return bytes;
	if (at >= (uint64_t)size)
		return 0;
	return (uint64_t)size - at < bytes ? (uint64_t)size - at : bytes;
}

static ssize_t one(struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes, bool write)
{
	struct op op = { .file = f, .memory = m, .memory_offset = memory_offset, .file_offset = at, .bytes = bytes, .write = write };
	int64_t size;
	ssize_t r = op_check(f, m, memory_offset, at, bytes, write, ds_error());

	if (r < 0 || bytes == 0)
		return r;
	uses_get(&f->uses);
	uses_get(&m->uses);
	size = write ? 0 : file_bytes(f);
	if (!write && size >= 0)
		op.bytes = op_clip_to(f, size, at, bytes);
	ds_error()->msg[0] = '\0';
	r = size < 0 ? size : op.bytes ? transfer(&op) : 0;
	if (r < 0 && !ds_error()->msg[0])
		err_set(ds_error(), (int)r, "%s", strerror((int)-r));
	if (r < 0)
		err_prefix(ds_error(), "%s of %zu bytes at offset %" PRIu64 " by path %s", write ? "write" : "read", bytes, at, hearth_ds_path_name(op.path ? op.path : f->ds->o.path));
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
