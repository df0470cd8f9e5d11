/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "priv.h"

int cf_direct_only(const struct cf_claim *c)
{
	struct hearth_ds_report report;
	int r;

	if (cf.p.bools[CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE] || c->range.place == CF_HOST)
		return 0;
	r = hearth_ds_probe(c->file->ds, c->range.ds, &report);
	if (r < 0)
		return r;
	if (report.path == HEARTH_DS_MAP || report.path == HEARTH_DS_CUFILE)
		return 0;
	cf_log(CF_LOG_ERROR, "there is no direct path between this file and this device, and allow_compat_mode forbids others: %s", report.why[HEARTH_DS_MAP]);
	return CU_FILE_IO_NOT_SUPPORTED;
}

/* what can be said under the lock. Return: as cf_claim; @ret->file is set where there are bytes to move. */
static int look_up(const struct cf_io *io, struct cf_claim *ret)
{
	struct cf_file *f = cf_file_get(io->fh);
	const char *what = io->write ? "a write" : "a read";
	int e = 0;

	if (!f) {
		cf_log(CF_LOG_ERROR, "%s: %p is no registered file", what, io->fh);
		return CU_FILE_HANDLE_NOT_REGISTERED;
	}
	if (!io->base || io->base_offset < 0 || io->file_offset < 0 || io->size > SSIZE_MAX || io->size > (uint64_t)(INT64_MAX - io->file_offset)) {
		cf_log(CF_LOG_ERROR, "%s: %zu bytes at offset %lld of a file and %lld of %p cannot be", what, io->size, (long long)io->file_offset, (long long)io->base_offset, io->base);
		e = CU_FILE_INVALID_VALUE;
	} else if (f->access == (io->write ? O_RDONLY : O_WRONLY))
		e = -EBADF;
	else if (io->size > 0)
		e = (int)cf_range_get(io->base, io->base_offset, io->size, &ret->range);
	if (e == 0 && io->size > 0)
		ret->file = f;
	else
		f->refs--;
	return e;
}

int cf_claim(const struct cf_io *io, struct cf_claim *ret)
{
	int e;

	*ret = (struct cf_claim){ 0 };
	e = look_up(io, ret);
	cf_leave();
	if (!ret->file)
		return e;
	if (!ret->range.ds)
		e = (int)cf_range_make(io->base, io->base_offset, io->size, &ret->range);
	if (e == 0)
		e = cf_direct_only(ret);
	if (e != 0)
		cf_unclaim(ret);
	return e;
}

void cf_unclaim(struct cf_claim *c)
{
	if (!c->file)
		return;
	if (c->range.buffer)
		cf_put(&c->range.buffer->refs);
	else
		hearth_ds_release(c->range.ds);
	cf_put(&c->file->refs);
	*c = (struct cf_claim){ 0 };
}

/* what cuFileRead returns: bytes, -1 and errno of what is the file's, minus the number of what is the interface's */
static ssize_t result(int64_t n)
{
	if (n >= 0 || n < -CUFILEOP_BASE_ERR)
		return n;
	errno = (int)-n;
	return -1;
}

ssize_t cf_run(const struct cf_io *io)
{
	uint64_t began = cf_count_io_begin();
	struct cf_claim c;
	int64_t n;
	int e = (int)cf_enter();

	if (e == CU_FILE_SUCCESS)
		e = cf_claim(io, &c);
	if (e != 0)
		return result(cf_count_io_end(began, io->write, false, e > 0 ? -e : e));
	if (!c.file)
		return 0;
	n = io->write ? hearth_ds_write(c.file->ds, c.range.ds, c.range.offset, (uint64_t)io->file_offset, io->size)
		      : hearth_ds_read(c.file->ds, c.range.ds, c.range.offset, (uint64_t)io->file_offset, io->size);
	if (n < 0)
		cf_log(CF_LOG_ERROR, "%s", hearth_ds_error());
	cf_unclaim(&c);
	return result(cf_count_io_end(began, io->write, false, n));
}

CF_EXPORT ssize_t cuFileRead(CUfileHandle_t fh, void *base, size_t size, off_t file_offset, off_t base_offset)
{
	return cf_run(&(struct cf_io){ .fh = fh, .base = base, .size = size, .file_offset = file_offset, .base_offset = base_offset });
}

CF_EXPORT ssize_t cuFileWrite(CUfileHandle_t fh, const void *base, size_t size, off_t file_offset, off_t base_offset)
{
	return cf_run(&(struct cf_io){ .fh = fh, .base = (void *)base, .size = size, .file_offset = file_offset, .base_offset = base_offset, .write = true });
}
