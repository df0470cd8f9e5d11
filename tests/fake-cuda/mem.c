/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fake.h"

/* cuMemAlloc and its kin, memory of the host, what is known about a pointer. Virtual memory management is in vmm.c. */

static CUresult take(uint64_t bytes, enum alloc_kind kind, struct pool *pool, unsigned device, CUdeviceptr *ret)
{
	uint64_t va;
	CUresult r;

	if (!ret || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	r = alloc_new(ctx_current(), device, bytes, kind, pool, &va);
	pthread_mutex_unlock(&fake.lock);
	if (!r)
		*ret = va;
	return r;
}

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *ret, size_t bytes)
{
	CALL(CALL_CTX);
	return take(bytes, ALLOC_DEVICE, NULL, ctx_current()->device, ret);
}

EXPORT CUresult cuMemAllocManaged(CUdeviceptr *ret, size_t bytes, unsigned int flags)
{
	CALL(CALL_CTX);
	if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST)
		return CUDA_ERROR_INVALID_VALUE;
	return take(bytes, ALLOC_MANAGED, NULL, ctx_current()->device, ret);
}

EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr *ret, size_t *ret_pitch, size_t width, size_t rows, unsigned int element)
{
	size_t pitch = (width + 511) / 512 * 512;
	CUresult r;

	CALL(CALL_CTX);
	if (!ret_pitch || !rows || (element != 4 && element != 8 && element != 16))
		return CUDA_ERROR_INVALID_VALUE;
	r = take(pitch * rows, ALLOC_DEVICE, NULL, ctx_current()->device, ret);
	if (!r)
		*ret_pitch = pitch;
	return r;
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr va)
{
	struct alloc *a;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	CALL(CALL_CTX);
	if (!va)
		return CUDA_SUCCESS;
	stream_wait_ctx(NULL);          /* as the driver, which frees nothing that work may still use */
	pthread_mutex_lock(&fake.lock);
	a = table_find(&fake.allocs, va);
	if (a && a->at.va == va && a->kind != ALLOC_GLOBALS) {
		alloc_free(a);
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

EXPORT CUresult cuMemGetInfo_v2(size_t *ret_free, size_t *ret_total)
{
	CALL(CALL_CTX);
	if (!ret_free || !ret_total)
		return CUDA_ERROR_INVALID_VALUE;
	*ret_free = machine_free_bytes(ctx_current()->device);
	*ret_total = fake.machine->device[ctx_current()->device].bytes;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr *ret, size_t *ret_bytes, CUdeviceptr va)
{
	struct span *s;

	CALL(CALL_CTX);
	pthread_mutex_lock(&fake.lock);
	s = table_find(&fake.allocs, va);
	if (!s)
		s = table_find(&fake.mappings, va);
	if (!s)
		s = table_find(&fake.hosts, va);
	if (s && ret)
		*ret = s->va;
	if (s && ret_bytes)
		*ret_bytes = s->bytes;
	pthread_mutex_unlock(&fake.lock);
	return s ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

static CUresult host_add(void *at, size_t bytes, unsigned flags, bool registered)
{
	struct host *h = calloc(1, sizeof(*h));
	CUresult r = CUDA_SUCCESS;

	if (!h)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*h = (struct host){ .at = { (uint64_t)at, bytes }, .flags = flags, .registered = registered };
	pthread_mutex_lock(&fake.lock);
	if (table_overlaps(&fake.hosts, h->at.va, bytes))
		r = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	else if (!table_add(&fake.hosts, &h->at))
		r = CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_unlock(&fake.lock);
	if (r)
		free(h);
	return r;
}

EXPORT CUresult cuMemHostAlloc(void **ret, size_t bytes, unsigned int flags)
{
	void *p;
	CUresult r;

	CALL(CALL_CTX);
	if (!ret || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = host_add(p, bytes, flags, false);
	if (r)
		munmap(p, bytes);
	else
		*ret = p;
	return r;
}

EXPORT CUresult cuMemAllocHost_v2(void **ret, size_t bytes)
{
	CALL(CALL_CTX);
	return cuMemHostAlloc(ret, bytes, 0);
}

static CUresult host_remove(void *at, bool registered, CUresult missing)
{
	struct host *h;
	bool found;

	stream_wait_ctx(NULL);
	pthread_mutex_lock(&fake.lock);
	h = table_find(&fake.hosts, (uint64_t)at);
	found = h && h->at.va == (uint64_t)at && h->registered == registered;
	if (found)
		table_remove(&fake.hosts, &h->at);
	pthread_mutex_unlock(&fake.lock);
	if (!found)
		return missing;
	if (!registered)
		munmap(at, h->at.bytes);
	free(h);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuMemFreeHost(void *at)
{
	CALL(CALL_CTX);
	return host_remove(at, false, CUDA_ERROR_INVALID_VALUE);
}

EXPORT CUresult cuMemHostRegister_v2(void *at, size_t bytes, unsigned int flags)
{
	CALL(CALL_CTX);
	return at && bytes ? host_add(at, bytes, flags, true) : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemHostUnregister(void *at)
{
	CALL(CALL_CTX);
	return host_remove(at, true, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *ret, void *at, unsigned int flags)
{
	bool known;

	CALL(CALL_CTX);
	pthread_mutex_lock(&fake.lock);
	known = memory_is_pinned((uint64_t)at);
	pthread_mutex_unlock(&fake.lock);
	if (!ret || flags || !known)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUdeviceptr)at;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuMemHostGetFlags(unsigned int *ret, void *at)
{
	struct host *h;

	CALL(CALL_CTX);
	pthread_mutex_lock(&fake.lock);
	h = table_find(&fake.hosts, (uint64_t)at);
	if (h && ret)
		*ret = h->flags;
	pthread_mutex_unlock(&fake.lock);
	return h && ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* IPC: the calls are there so that a program's use of them can be seen and refused; a handle says what it is of, and nobody can open it */
EXPORT CUresult cuIpcGetMemHandle(CUipcMemHandle *ret, CUdeviceptr va)
{
	struct alloc *a;

	CALL(CALL_CTX);
	pthread_mutex_lock(&fake.lock);
	a = table_find(&fake.allocs, va);
	pthread_mutex_unlock(&fake.lock);
	if (!ret || !a)
		return CUDA_ERROR_INVALID_VALUE;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->reserved, &va, sizeof(va));
	return CUDA_SUCCESS;
}

EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *ret, CUipcMemHandle handle, unsigned int flags)
{
	CALL(CALL_CTX);
	return CUDA_ERROR_NOT_SUPPORTED;
}

EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr va)
{
	CALL(CALL_CTX);
	return CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuIpcGetEventHandle(CUipcEventHandle *ret, CUevent event)
{
	struct event *e = (struct event *)event;

	CALL(CALL_CTX);
	if (!ret || !e || !(e->flags & CU_EVENT_INTERPROCESS))
		return CUDA_ERROR_INVALID_VALUE;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->reserved, &e, sizeof(e));
	return CUDA_SUCCESS;
}

EXPORT CUresult cuIpcOpenEventHandle(CUevent *ret, CUipcEventHandle handle)
{
	CALL(CALL_CTX);
	return CUDA_ERROR_NOT_SUPPORTED;
}

struct facts { struct alloc *a; struct mapping *m; struct host *h; };

static bool fact_int(const struct facts *f, CUpointer_attribute what, int *ret)
{
	int device = f->a ? (int)f->a->device : f->m ? (int)f->m->phys->device : 0;

	switch (what) {
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*ret = f->h ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
		return true;
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*ret = device;
		return true;
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
		*ret = f->a && f->a->kind == ALLOC_MANAGED;
		return true;
	case CU_POINTER_ATTRIBUTE_MAPPED:
		*ret = 1;
		return true;
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
		*ret = what == CU_POINTER_ATTRIBUTE_ACCESS_FLAGS ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : 0;
		return true;
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
		*ret = f->a && f->a->kind == ALLOC_DEVICE;
		return true;
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
		*ret = !f->a && f->m ? (int)f->m->phys->prop.requestedHandleTypes : 0;
		return true;
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		*ret = f->a || (f->m && f->m->phys->prop.allocFlags.gpuDirectRDMACapable);
		return true;
	default:
		return false;
	}
}

static CUresult fact(const struct facts *f, void *ret, CUpointer_attribute what, CUdeviceptr va)
{
	const struct span *s = f->a ? &f->a->at : f->m ? &f->m->at : &f->h->at;
	struct ctx *c = f->a ? f->a->ctx : NULL;
	int n;

	if (fact_int(f, what, &n)) {
		if (what == CU_POINTER_ATTRIBUTE_IS_MANAGED || what == CU_POINTER_ATTRIBUTE_MAPPED)
			*(bool *)ret = n != 0;
		else
			*(int *)ret = n;
		return CUDA_SUCCESS;
	}
	switch (what) {
	case CU_POINTER_ATTRIBUTE_CONTEXT:
		*(CUcontext *)ret = (CUcontext)c;
		return c ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
		*(CUdeviceptr *)ret = va;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_HOST_POINTER:
		*(void **)ret = (void *)va;
		return f->h || (f->a && f->a->kind == ALLOC_MANAGED) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	case CU_POINTER_ATTRIBUTE_BUFFER_ID:
		*(unsigned long long *)ret = f->a ? f->a->id : s->va;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
	case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
		*(CUdeviceptr *)ret = s->va;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
	case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
		*(size_t *)ret = s->bytes;
		return CUDA_SUCCESS;
	case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
		*(CUmemoryPool *)ret = f->a ? (CUmemoryPool)f->a->pool : NULL;
		return CUDA_SUCCESS;
	default:
		return CUDA_ERROR_NOT_SUPPORTED;
	}
}

static CUresult pointer_fact(void *ret, CUpointer_attribute what, CUdeviceptr va)
{
	struct facts f;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	pthread_mutex_lock(&fake.lock);
	f = (struct facts){ table_find(&fake.allocs, va), table_find(&fake.mappings, va), table_find(&fake.hosts, va) };
	if (f.a || f.m || f.h)
		r = fact(&f, ret, what, va);
	pthread_mutex_unlock(&fake.lock);
	return r;
}

EXPORT CUresult cuPointerGetAttribute(void *ret, CUpointer_attribute what, CUdeviceptr va)
{
	CALL(CALL_CTX);
	return ret ? pointer_fact(ret, what, va) : CUDA_ERROR_INVALID_VALUE;
}

static size_t fact_bytes(CUpointer_attribute what)
{
	switch (what) {
	case CU_POINTER_ATTRIBUTE_IS_MANAGED:
	case CU_POINTER_ATTRIBUTE_MAPPED:
		return sizeof(bool);
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
	case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
	case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
	case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
	case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
	case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
		return sizeof(int);
	default:
		return sizeof(void *);
	}
}

/* unlike the call for one attribute, what does not apply is zero here, and no error */
EXPORT CUresult cuPointerGetAttributes(unsigned int n, CUpointer_attribute *what, void **ret, CUdeviceptr va)
{
	CALL(CALL_CTX);
	if (!n || !what || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned k = 0; k < n; k++)
		if (pointer_fact(ret[k], what[k], va))
			memset(ret[k], 0, fact_bytes(what[k]));
	return CUDA_SUCCESS;
}

EXPORT CUresult cuPointerSetAttribute(const void *value, CUpointer_attribute what, CUdeviceptr va)
{
	CALL(CALL_CTX);
	return value && what == CU_POINTER_ATTRIBUTE_SYNC_MEMOPS ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemGetHandleForAddressRange(void *ret, CUdeviceptr va, size_t bytes, CUmemRangeHandleType type, unsigned long long flags)
{
	CALL(CALL_CTX);
	return CUDA_ERROR_NOT_SUPPORTED;
}
