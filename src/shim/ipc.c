/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device memory shared between processes by handles, the old way. The driver makes no such handles of exportable memory, so ours say where the memory can be had: a descriptor of the process that has it,
 * which whoever opens the handle takes over with pidfd_getfd(2). Both processes need the shim, and be of the same user. Handles that are not ours are the driver's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "gate.h"
#include "link.h"
#include "log.h"
#include "mem.h"
#include "refuse.h"
#include "shim.h"

#define HANDLE_MAGIC 0x3170696874726165ull

/* what is in the 64 bytes of a handle. @starttime: of the process, so that another of the same number is not taken for it; @bytes: of the physical memory; @offset: of the allocation in it */
struct shared { uint64_t magic, starttime, bytes, offset; int32_t pid, fd; };
_Static_assert(sizeof(struct shared) <= sizeof(CUipcMemHandle), "it must fit in a handle");

struct opened { struct opened *next; CUdeviceptr address, at; size_t bytes; };
static struct opened *opened;           /* shim_lock */

static void read_text(const char *path, char *text, size_t room)
{
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : fd_read_full(fd, text, room - 1);

	text[n < 0 ? 0 : n] = '\0';
}

/* Field 22 of /proc/PID/stat, as it is outside of time name spaces: a program that was restored has one, in which all others began at another time. 0: it is not there. */
static uint64_t starttime_of(int pid)
{
	char path[32], text[1024], *p;
	long long s = 0, ns = 0;
	unsigned long long t;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	read_text(path, text, sizeof text);
	p = strrchr(text, ')');         /* the name before it may have blanks */
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &t) != 1)
		return 0;
	read_text("/proc/self/timens_offsets", text, sizeof text);
	p = strstr(text, "boottime");
	if (p)
		(void)sscanf(p, "boottime %lld %lld", &s, &ns);
	return t - (uint64_t)((s * 1000000000 + ns) / (1000000000 / sysconf(_SC_CLK_TCK)));
}

/* shifting there and back rounds */
static bool began_at(int pid, uint64_t then)
{
	uint64_t t = starttime_of(pid);

	return t && t + 1 >= then && then + 1 >= t;
}

/* shim_lock held. Return: CUDA_ERROR_NOT_SUPPORTED: it is not of the kind that can be shared so */
static CUresult share(struct mem_phys *p, uint64_t start, struct shared *ret)
{
	CUresult err = CUDA_SUCCESS;

	if (p->kind == MEM_PROGRAM || !p->maps)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (p->shared_fd < 0)
		err = DRV(cuMemExportToShareableHandle)(&p->shared_fd, p->handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
	if (err != CUDA_SUCCESS)
		return err;
	fd_set_cloexec(p->shared_fd, true);
	*ret = (struct shared){ .magic = HANDLE_MAGIC, .bytes = p->bytes, .offset = p->maps->offset + (start - p->maps->at.at), .pid = (int)getpid(), .fd = p->shared_fd };
	ret->starttime = starttime_of(ret->pid);
	refuse_note(SHIM_IPC, "cuIpcGetMemHandle");
	link_changed();
	return CUDA_SUCCESS;
}

SHIM_EXPORT CUresult cuIpcGetMemHandle(CUipcMemHandle *pHandle, CUdeviceptr dptr)
{
	struct shared s = { 0 };
	struct mem_phys *p = NULL;
	CUresult ret;
	uint64_t start;
	size_t bytes;

	gate_enter();
	if (shim_is_active() && pHandle) {
		pthread_mutex_lock(&shim_lock);
		p = mem_at(dptr, &start, &bytes);
		ret = p ? share(p, start, &s) : CUDA_SUCCESS;
		pthread_mutex_unlock(&shim_lock);
	}
	if (p && ret == CUDA_SUCCESS) {
		/* some systems let only children be looked into */
		(void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
		memset(pHandle, 0, sizeof *pHandle);
		memcpy(pHandle, &s, sizeof s);
	}
	if (!p) {
		ret = DRV(cuIpcGetMemHandle)(pHandle, dptr);
		if (ret == CUDA_SUCCESS)
			refuse(SHIM_IPC, "cuIpcGetMemHandle");
	}
	gate_leave();
	return ret;
}

/* Return: a descriptor of the memory, -errno */
static int fetch(const struct shared *s)
{
	FD_AUTO int pidfd = pidfd_of(s->pid);
	int fd = pidfd < 0 ? pidfd : !began_at(s->pid, s->starttime) ? -ESRCH : (int)syscall(SYS_pidfd_getfd, pidfd, s->fd, 0);

	return fd == -1 ? -errno : fd;
}

static CUresult map_shared(const struct shared *s, int fd, struct opened *ret)
{
	CUmemAccessDesc desc = { { CU_MEM_LOCATION_TYPE_DEVICE, 0 }, CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
	CUmemGenericAllocationHandle handle;
	CUdevice device;
	CUresult err = DRV(cuCtxGetDevice)(&device);

	if (err != CUDA_SUCCESS)
		return err;
	desc.location.id = device;
	err = DRV(cuMemImportFromShareableHandle)(&handle, (void *)(uintptr_t)fd, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
	if (err != CUDA_SUCCESS)
		return err;
	ret->bytes = s->bytes;
	err = DRV(cuMemAddressReserve)(&ret->at, s->bytes, 0, 0, 0);
	if (err == CUDA_SUCCESS) {
		err = DRV(cuMemMap)(ret->at, s->bytes, 0, handle, 0);
		if (err == CUDA_SUCCESS)
			err = DRV(cuMemSetAccess)(ret->at, s->bytes, &desc, 1);
		if (err != CUDA_SUCCESS) {
			DRV(cuMemUnmap)(ret->at, s->bytes);
			DRV(cuMemAddressFree)(ret->at, s->bytes);
		}
	}
	DRV(cuMemRelease)(handle);      /* the mapping holds it */
	ret->address = ret->at + s->offset;
	return err;
}

static CUresult open_shared(CUdeviceptr *pdptr, const struct shared *s)
{
	FD_AUTO int fd = s->offset < s->bytes ? fetch(s) : -EINVAL;
	struct opened *o;
	CUresult err;

	if (fd < 0) {
		log_once(LOG_IPC, "cuIpcOpenMemHandle: cannot get the memory of process %d: %s", (int)s->pid, strerror(-fd));
		return fd == -EPERM ? CUDA_ERROR_NOT_PERMITTED : CUDA_ERROR_INVALID_VALUE;
	}
	o = calloc(1, sizeof *o);
	if (!o)
		return CUDA_ERROR_OUT_OF_MEMORY;
	err = map_shared(s, fd, o);
	if (err != CUDA_SUCCESS) {
		free(o);
		return err;
	}
	pthread_mutex_lock(&shim_lock);
	o->next = opened;
	opened = o;
	pthread_mutex_unlock(&shim_lock);
	*pdptr = o->address;
	return CUDA_SUCCESS;
}

#define OPEN(name) \
	SHIM_EXPORT CUresult name(CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned int Flags) \
	{ \
		struct shared s; \
		CUresult ret; \
\
		memcpy(&s, &handle, sizeof s); \
		gate_enter(); \
		ret = pdptr && s.magic == HANDLE_MAGIC ? open_shared(pdptr, &s) : DRV(name)(pdptr, handle, Flags); \
		if (ret == CUDA_SUCCESS) \
			refuse_object(SHIM_IPC, "cuIpcOpenMemHandle", *pdptr); \
		gate_leave(); \
		return ret; \
	}

OPEN(cuIpcOpenMemHandle)
OPEN(cuIpcOpenMemHandle_v2)

static struct opened *opened_take(CUdeviceptr address)
{
	struct opened **at = &opened, *o;

	pthread_mutex_lock(&shim_lock);
	while (*at && (*at)->address != address)
		at = &(*at)->next;
	o = *at;
	if (o)
		*at = o->next;
	pthread_mutex_unlock(&shim_lock);
	return o;
}

static CUresult close_shared(struct opened *o)
{
	CUcontext current = NULL;
	CUresult ret = DRV(cuCtxGetCurrent)(&current);

	/* the driver waits for what uses it, and so do we */
	if (ret == CUDA_SUCCESS && current)
		ret = ctx_wait(current);
	if (ret == CUDA_SUCCESS)
		ret = DRV(cuMemUnmap)(o->at, o->bytes);
	if (ret == CUDA_SUCCESS)
		ret = DRV(cuMemAddressFree)(o->at, o->bytes);
	free(o);
	return ret;
}

SHIM_EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr dptr)
{
	struct opened *o;
	CUresult ret;

	gate_enter();
	o = opened_take(dptr);
	ret = o ? close_shared(o) : DRV(cuIpcCloseMemHandle)(dptr);
	if (ret == CUDA_SUCCESS)
		refuse_gone(dptr);
	gate_leave();
	return ret;
}
