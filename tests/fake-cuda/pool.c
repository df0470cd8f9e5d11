/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "fake.h"

/* cuMemAllocAsync: the memory is there at once, it goes when the stream comes to the free. */

/* NULL, or a pool that is known; fake.lock held */
static struct pool *pool_of(CUmemoryPool handle)
{
	for (struct pool *p = fake.pools; p; p = p->next)
		if (p == (struct pool *)handle)
			return p;
	return NULL;
}

static CUresult take(CUdeviceptr *ret, size_t bytes, struct pool *p, CUstream handle)
{
	CUresult r;
	struct stream *s = stream_from(handle, &r);
	uint64_t va;

	if (!s)
		return r;
	if (!ret || !bytes || s->capture)
		return s->capture ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	if (!p)
		p = fake.current_pool[s->ctx->device] ? fake.current_pool[s->ctx->device] : pool_default(s->ctx->device);
	r = p ? alloc_new(s->ctx, p->device, bytes, ALLOC_POOL, p, &va) : CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_unlock(&fake.lock);
	if (!r)
		*ret = va;
	return r;
}

EXPORT CUresult cuMemAllocAsync(CUdeviceptr *ret, size_t bytes, CUstream s)
{
	CALL(CALL_CTX);
	return take(ret, bytes, NULL, s);
}

EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr *ret, size_t bytes, CUmemoryPool pool, CUstream s)
{
	struct pool *p;

	CALL(CALL_CTX);
	pthread_mutex_lock(&fake.lock);
	p = pool_of(pool);
	pthread_mutex_unlock(&fake.lock);
	return p ? take(ret, bytes, p, s) : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemFreeAsync(CUdeviceptr va, CUstream handle)
{
	struct work w = { .kind = WORK_FREE, .va = va };
	struct alloc *a;
	struct stream *s;
	CUresult r;

	CALL(CALL_CTX);
	s = stream_from(handle, &r);
	if (!s)
		return r;
	pthread_mutex_lock(&fake.lock);
	a = table_find(&fake.allocs, va);
	pthread_mutex_unlock(&fake.lock);
	if (!a || a->at.va != va || a->kind == ALLOC_GLOBALS)
		return CUDA_ERROR_INVALID_VALUE;
	return stream_submit(s, &w, NULL);
}

EXPORT CUresult cuMemPoolCreate(CUmemoryPool *ret, const CUmemPoolProps *props)
{
	struct pool *p;

	CALL(CALL_INIT);
	if (!ret || !props || props->allocType != CU_MEM_ALLOCATION_TYPE_PINNED || props->location.id < 0 || (uint32_t)props->location.id >= fake.machine->devices)
		return CUDA_ERROR_INVALID_VALUE;
	if (props->location.type != CU_MEM_LOCATION_TYPE_DEVICE || props->handleTypes)
		return CUDA_ERROR_NOT_SUPPORTED;
	p = calloc(1, sizeof(*p));
	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	p->device = (unsigned)props->location.id;
	pthread_mutex_lock(&fake.lock);
	p->next = fake.pools;
	fake.pools = p;
	pthread_mutex_unlock(&fake.lock);
	*ret = (CUmemoryPool)p;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
	struct pool *p;

	CALL(CALL_INIT);
	stream_wait_ctx(NULL);
	pthread_mutex_lock(&fake.lock);
	p = pool_of(pool);
	for (int d = 0; d < FAKE_DEVICES_MAX; d++) {
		if (p && fake.default_pool[d] == p)
			p = NULL;
		if (p && fake.current_pool[d] == p)
			fake.current_pool[d] = NULL;
	}
	for (size_t k = 0; p && k < fake.allocs.n; k++) {
		struct alloc *a = (struct alloc *)fake.allocs.v[k];

		if (a->pool == p)
			a->pool = NULL;
	}
	for (struct pool **at = &fake.pools; p && *at; at = &(*at)->next) {
		if (*at != p)
			continue;
		*at = p->next;
		break;
	}
	pthread_mutex_unlock(&fake.lock);
	free(p);
	return p ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
	CALL(CALL_INIT);
	return pool ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute what, void *value)
{
	struct pool *p;

	CALL(CALL_INIT);
	pthread_mutex_lock(&fake.lock);
	p = pool_of(pool);
	if (p && value && what == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
		p->threshold = *(uint64_t *)value;
	if (p && value && what == CU_MEMPOOL_ATTR_USED_MEM_HIGH)
		p->used_high = p->used;
	pthread_mutex_unlock(&fake.lock);
	return p && value ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute what, void *ret)
{
	struct pool *p;

	CALL(CALL_INIT);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	p = pool_of(pool);
	if (p && what <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES)
		*(int *)ret = 1;
	else if (p)
		*(uint64_t *)ret = what == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? p->threshold :
			what == CU_MEMPOOL_ATTR_USED_MEM_HIGH || what == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH ? p->used_high : p->used;
	pthread_mutex_unlock(&fake.lock);
	return p ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *desc, size_t n)
{
	CALL(CALL_INIT);
	return pool && desc ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult pool_get(CUmemoryPool *ret, CUdevice d, bool current)
{
	if (!ret || d < 0 || (uint32_t)d >= fake.machine->devices)
		return ret ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	*ret = (CUmemoryPool)(current && fake.current_pool[d] ? fake.current_pool[d] : pool_default((unsigned)d));
	pthread_mutex_unlock(&fake.lock);
	return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

EXPORT CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *ret, CUdevice d)
{
	CALL(CALL_INIT);
	return pool_get(ret, d, false);
}

EXPORT CUresult cuDeviceGetMemPool(CUmemoryPool *ret, CUdevice d)
{
	CALL(CALL_INIT);
	return pool_get(ret, d, true);
}

EXPORT CUresult cuDeviceSetMemPool(CUdevice d, CUmemoryPool pool)
{
	struct pool *p;

	CALL(CALL_INIT);
	if (d < 0 || (uint32_t)d >= fake.machine->devices)
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&fake.lock);
	p = pool_of(pool);
	if (p)
		fake.current_pool[d] = p;
	pthread_mutex_unlock(&fake.lock);
	return p ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
