/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "priv.h"

struct cf_file *cf_file_get(CUfileHandle_t fh)
{
	struct cf_file *f = cf_table_find(&cf.files, (uint64_t)(uintptr_t)fh);

	if (f)
		f->refs++;
	return f;
}

static void file_free(void *thing)
{
	struct cf_file *f = thing;

	hearth_ds_file_close(f->ds);
	fd_close(&f->fd);
	free(f);
}

/* cf.lock held; let go while it is in use */
static void file_close(struct cf_file *f)
{
	cf_table_remove(&cf.files, f->number);
	if (cf.by_fd[f->their] == f->number)
		cf.by_fd[f->their] = 0;
	cf_retire(&f->refs, file_free, f);
}

void cf_files_close(void)
{
	for (size_t k = 0; k < cf.files.n; k++)
		if (cf.files.slot[k].thing)
			file_close(cf.files.slot[k].thing);
	free(cf.by_fd);
	cf.by_fd = NULL;
	cf.by_fd_cap = 0;
}

/*
 * whether a descriptor of the program's is still what it was when @f was registered, or its number has another file since. Where the kernel does not tell, the same
 * file counts as the same.
 */
static bool same_open_file(const struct cf_file *f, int fd)
{
	struct stat a, b;
	long r = syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, fd, f->fd);

	if (r >= 0)
		return r == 0;
	return fstat(fd, &a) == 0 && fstat(f->fd, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* what a descriptor cannot be: the number of the error, or success */
static CUfileOpError check_kind(int fd, int *ret_flags)
{
	struct stat st;
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0) {
		cf_log(CF_LOG_ERROR, "cuFileHandleRegister: %d is no open descriptor", fd);
		return CU_FILE_INVALID_VALUE;
	}
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		cf_log(CF_LOG_ERROR, "cuFileHandleRegister: descriptor %d is neither a file nor a block device", fd);
		return CU_FILE_INVALID_FILE_TYPE;
	}
	/* writes would go to the end, whatever offset is given */
	if (flags & (O_APPEND | O_PATH)) {
		cf_log(CF_LOG_ERROR, "cuFileHandleRegister: descriptor %d was opened with %s", fd, flags & O_PATH ? "O_PATH" : "O_APPEND");
		return CU_FILE_INVALID_FILE_OPEN_FLAG;
	}
	*ret_flags = flags;
	return CU_FILE_SUCCESS;
}

static CUfileOpError file_new(int fd, int flags, struct cf_file **ret)
{
	struct cf_file *f = calloc(1, sizeof(*f));
	CUfileOpError e = CU_FILE_NOMEM_ERROR;
	int r;

	if (!f)
		return e;
	/* 0 is a descriptor like any other; ours are never the ones that programs have fixed ideas about */
	*f = (struct cf_file){ .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .their = fd, .access = flags & O_ACCMODE };
	if (f->fd < 0) {
		cf_log(CF_LOG_ERROR, "cuFileHandleRegister: descriptor %d cannot be duplicated: %s", fd, strerror(errno));
		e = CU_FILE_GETNEWFD_FAILED;
		goto err;
	}
	if (!cf_ds())
		goto err;
	r = hearth_ds_file_of(cf.ds, f->fd, &f->ds);
	if (r < 0) {
		cf_log(CF_LOG_ERROR, "cuFileHandleRegister: %s", hearth_ds_error());
		e = cf_error_of(r, CU_FILE_IO_NOT_SUPPORTED);
		goto err;
	}
	f->number = cf_table_add(&cf.files, f);
	if (f->number == 0)
		goto err;
	*ret = f;
	return CU_FILE_SUCCESS;
err:
	file_free(f);
	return e;
}

/* cf.lock held */
static CUfileOpError register_fd(int fd, struct cf_file **ret)
{
	size_t had = cf.by_fd_cap;
	struct cf_file *f;
	CUfileOpError e;
	int flags;

	e = check_kind(fd, &flags);
	if (e != CU_FILE_SUCCESS)
		return e;
	if (array_grow((void **)&cf.by_fd, &cf.by_fd_cap, (size_t)fd + 1, sizeof(*cf.by_fd)) < 0)
		return CU_FILE_NOMEM_ERROR;
	memset(cf.by_fd + had, 0, (cf.by_fd_cap - had) * sizeof(*cf.by_fd));
	f = cf_table_find(&cf.files, cf.by_fd[fd]);
	if (f && same_open_file(f, fd))
		return CU_FILE_HANDLE_ALREADY_REGISTERED;
	e = file_new(fd, flags, &f);
	if (e != CU_FILE_SUCCESS)
		return e;
	cf.by_fd[fd] = f->number;
	*ret = f;
	return CU_FILE_SUCCESS;
}

CF_EXPORT CUfileError_t cuFileHandleRegister(CUfileHandle_t *fh, CUfileDescr_t *descr)
{
	struct cf_file *f;
	CUfileOpError e;

	if (!fh || !descr)
		return cf_status(CU_FILE_INVALID_VALUE);
	e = cf_enter();
	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	if (descr->type == CU_FILE_HANDLE_TYPE_OPAQUE_FD) {
		e = register_fd(descr->handle.fd, &f);
	} else {
		cf_log(CF_LOG_ERROR, "cuFileHandleRegister: only files of descriptors (CU_FILE_HANDLE_TYPE_OPAQUE_FD) can be registered");
		e = CU_FILE_IO_NOT_SUPPORTED;
	}
	if (e == CU_FILE_SUCCESS)
		*fh = (CUfileHandle_t)(uintptr_t)f->number;
	cf_count(CF_FILE_REGISTER, e == CU_FILE_SUCCESS, 1);
	cf_leave();
	return cf_status(e);
}

CF_EXPORT void cuFileHandleDeregister(CUfileHandle_t fh)
{
	struct cf_file *f;

	if (!cf_lock())
		return;
	f = cf_table_find(&cf.files, (uint64_t)(uintptr_t)fh);
	if (f)
		file_close(f);
	else
		cf_log(CF_LOG_ERROR, "cuFileHandleDeregister: %p is no registered file", fh);
	cf_count(CF_FILE_DEREGISTER, f != NULL, 1);
	cf_leave();
}
