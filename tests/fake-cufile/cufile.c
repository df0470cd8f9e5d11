/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libhearth-ds and `hearth ds bench` call of libcufile, over the (fake) driver's memory. $HEARTH_FAKE_CUFILE: "direct", as where nvidia-fs is loaded; "compat", only its compatibility mode; "broken", direct,
 * but every transfer fails; "refuses", direct, but takes no file; "lies", as "compat", but says that it has read and has not.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "cuda/driver.h"

#define EXPORT __attribute__((visibility("default")))

struct error { int err, cu; };
struct descr { int type; union { int fd; void *handle; } handle; const void *ops; };
struct props {
	struct { unsigned major, minor; size_t poll, direct_io; unsigned status, control; } fs;
	unsigned rest[6];
};

struct error cuFileDriverOpen(void);
struct error cuFileDriverClose(void);
struct error cuFileDriverGetProperties(struct props *ret);
struct error cuFileBufRegister(const void *base, size_t n, int flags);
struct error cuFileBufDeregister(const void *base);
struct error cuFileHandleRegister(void **ret, struct descr *descr);
void cuFileHandleDeregister(void *handle);
ssize_t cuFileRead(void *handle, void *base, size_t n, off_t at, off_t memory_offset);
ssize_t cuFileWrite(void *handle, const void *base, size_t n, off_t at, off_t memory_offset);

static struct cuda cu;

static bool mode(const char *name)
{
	const char *text = getenv("HEARTH_FAKE_CUFILE");

	return text && strcmp(text, name) == 0;
}

EXPORT struct error cuFileDriverOpen(void)
{
	struct hearth_err err;

	return (struct error){ .err = cuda_load(&cu, NULL, &err) < 0 ? 5001 : 0 };
}

EXPORT struct error cuFileDriverClose(void)
{
	return (struct error){ 0 };
}

EXPORT struct error cuFileBufRegister(const void *base, size_t n, int flags)
{
	return (struct error){ 0 };
}

EXPORT struct error cuFileBufDeregister(const void *base)
{
	return (struct error){ 0 };
}

EXPORT struct error cuFileDriverGetProperties(struct props *ret)
{
	*ret = (struct props){ .fs = { .major = 2, .minor = 20, .status = mode("compat") || mode("lies") ? 0 : 1 << 4 } };
	return (struct error){ 0 };
}

EXPORT struct error cuFileHandleRegister(void **ret, struct descr *descr)
{
	int *fd = malloc(sizeof(*fd));

	if (!fd || mode("refuses")) {
		free(fd);
		return (struct error){ .err = 5027 };
	}
	*fd = dup(descr->handle.fd);
	*ret = fd;
	return (struct error){ 0 };
}

EXPORT void cuFileHandleDeregister(void *handle)
{
	close(*(int *)handle);
	free(handle);
}

static ssize_t transfer(int fd, cu_deviceptr memory, size_t n, off_t at, bool write)
{
	size_t room = (n + (size_t)at % 4096 + 8191) & ~(size_t)4095;
	char *buf = aligned_alloc(4096, room), *from = buf + at % 4096;
	ssize_t r = -1;

	if (mode("lies")) {
		free(buf);
		return (ssize_t)n;
	}
	if (!buf || mode("broken")) {
		free(buf);
		errno = EIO;
		return -1;
	}
	if (write) {
		/* unaligned ones are not what this double is for */
		if (cu.copy_dtoh(from, memory, n, NULL) == CU_OK && cu.stream_sync(NULL) == CU_OK)
			r = pwrite(fd, from, n, at);
	} else {
		r = pread(fd, buf, room, at - at % 4096);
		r = r < 0 ? r : r - at % 4096;
		r = r > (ssize_t)n ? (ssize_t)n : r;
		if (r > 0 && (cu.copy_htod(memory, from, (size_t)r, NULL) != CU_OK || cu.stream_sync(NULL) != CU_OK))
			r = -5008;
	}
	free(buf);
	return r;
}

EXPORT ssize_t cuFileRead(void *handle, void *base, size_t n, off_t at, off_t memory_offset)
{
	return transfer(*(int *)handle, (cu_deviceptr)(uintptr_t)base + (cu_deviceptr)memory_offset, n, at, false);
}

EXPORT ssize_t cuFileWrite(void *handle, const void *base, size_t n, off_t at, off_t memory_offset)
{
	return transfer(*(int *)handle, (cu_deviceptr)(uintptr_t)base + (cu_deviceptr)memory_offset, n, at, true);
}
