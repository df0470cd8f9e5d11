/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

#define STACK_MAX 64
static __thread struct { struct ctx *v[STACK_MAX]; unsigned n; } stack;

struct ctx *ctx_current(void)
{
	return stack.n ? stack.v[stack.n - 1] : NULL;
}

struct ctx *ctx_from(CUcontext handle)
{
	for (struct ctx *c = fake.contexts; c; c = c->next)
		if (c == (struct ctx *)handle && !c->destroyed)
			return c;
	return NULL;
}

CUresult ctx_error(struct ctx *c)
{
	return c->destroyed ? CUDA_ERROR_CONTEXT_IS_DESTROYED : __atomic_load_n(&c->sticky, __ATOMIC_ACQUIRE);
}

void ctx_fail(struct ctx *c, CUresult error)
{
	__atomic_store_n(&c->sticky, error, __ATOMIC_RELEASE);
}

static struct ctx *ctx_new(unsigned device, unsigned flags, bool primary)
{
	struct ctx *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct ctx){ .device = device, .flags = flags, .primary = primary, .id = ++fake.next_id, .refs = 1, .next = fake.contexts };
	fake.contexts = c;
	return c;
}

/* The struct stays: other threads may have it on their stacks, and must be told that it is gone. */
static void ctx_end(struct ctx *c)
{
	stream_end_ctx(c);
	module_free_all(c);
	alloc_free_of(c);
	c->destroyed = true;
	if (c->primary)
		fake.primary[c->device] = NULL;
}

static bool device_ok(CUdevice d)
{
	return d >= 0 && (uint32_t)d < fake.machine->devices;
}

EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *ret, CUdevice d)
{
	CALL(CALL_INIT);
	if (!ret || !device_ok(d))
		return ret ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	if (fake.primary[d])
		fake.primary[d]->refs++;
	else
		fake.primary[d] = ctx_new((unsigned)d, 0, true);
	*ret = (CUcontext)fake.primary[d];
	pthread_mutex_unlock(&fake.lock);
	return *ret ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

static CUresult primary_release(CUdevice d, bool all)
{
	struct ctx *c;

	if (!device_ok(d))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&fake.lock);
	c = fake.primary[d];
	if (c && (all || --c->refs == 0))
		ctx_end(c);
	pthread_mutex_unlock(&fake.lock);
	return c || all ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice d)
{
	CALL(CALL_INIT);
	return primary_release(d, false);
}

EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice d)
{
	CALL(CALL_INIT);
	return primary_release(d, true);
}

EXPORT CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice d, unsigned int flags)
{
	CALL(CALL_INIT);
	if (!device_ok(d))
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&fake.lock);
	if (fake.primary[d])
		fake.primary[d]->flags = flags;
	pthread_mutex_unlock(&fake.lock);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned int *flags, int *active)
{
	CALL(CALL_INIT);
	if (!device_ok(d))
		return CUDA_ERROR_INVALID_DEVICE;
	if (!flags || !active)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	*flags = fake.primary[d] ? fake.primary[d]->flags : 0;
	*active = fake.primary[d] != NULL;
	pthread_mutex_unlock(&fake.lock);
	return CUDA_SUCCESS;
}

static CUresult push(struct ctx *c)
{
	if (stack.n == STACK_MAX)
		return CUDA_ERROR_OUT_OF_MEMORY;
	stack.v[stack.n++] = c;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxCreate_v2(CUcontext *ret, unsigned int flags, CUdevice d)
{
	struct ctx *c;

	CALL(CALL_INIT);
	if (!ret || !device_ok(d))
		return ret ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	c = ctx_new((unsigned)d, flags, false);
	pthread_mutex_unlock(&fake.lock);
	if (!c)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = (CUcontext)c;
	return push(c);
}

EXPORT CUresult cuCtxCreate_v4(CUcontext *ret, CUctxCreateParams *params, unsigned int flags, CUdevice d)
{
	CALL(CALL_INIT);
	if (params && (params->numExecAffinityParams || params->cigParams))
		return CUDA_ERROR_NOT_SUPPORTED;
	return cuCtxCreate_v2(ret, flags, d);
}

EXPORT CUresult cuCtxDestroy_v2(CUcontext handle)
{
	struct ctx *c;

	CALL(CALL_INIT);
	pthread_mutex_lock(&fake.lock);
	c = ctx_from(handle);
	if (c && !c->primary)
		ctx_end(c);
	pthread_mutex_unlock(&fake.lock);
	if (!c || c->primary)
		return CUDA_ERROR_INVALID_CONTEXT;
	if (ctx_current() == c)
		stack.n--;
	return CUDA_SUCCESS;
}

static CUresult known(CUcontext handle, struct ctx **ret)
{
	pthread_mutex_lock(&fake.lock);
	*ret = ctx_from(handle);
	pthread_mutex_unlock(&fake.lock);
	return *ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

EXPORT CUresult cuCtxPushCurrent_v2(CUcontext handle)
{
	struct ctx *c;
	CUresult r;

	CALL(CALL_INIT);
	r = known(handle, &c);
	return r ? r : push(c);
}

EXPORT CUresult cuCtxPopCurrent_v2(CUcontext *ret)
{
	CALL(CALL_INIT);
	if (!stack.n)
		return CUDA_ERROR_INVALID_CONTEXT;
	stack.n--;
	if (ret)
		*ret = (CUcontext)stack.v[stack.n];
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetCurrent(CUcontext handle)
{
	struct ctx *c = NULL;
	CUresult r;

	CALL(CALL_INIT);
	if (!handle) {
		stack.n -= stack.n > 0;
		return CUDA_SUCCESS;
	}
	r = known(handle, &c);
	if (r)
		return r;
	if (!stack.n)
		return push(c);
	stack.v[stack.n - 1] = c;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetCurrent(CUcontext *ret)
{
	CALL(CALL_INIT);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUcontext)ctx_current();
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetDevice(CUdevice *ret)
{
	CALL(CALL_CTX);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUdevice)ctx_current()->device;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetFlags(unsigned int *ret)
{
	CALL(CALL_CTX);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = ctx_current()->flags;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetId(CUcontext handle, unsigned long long *ret)
{
	struct ctx *c = ctx_current();
	CUresult r = CUDA_SUCCESS;

	CALL(CALL_INIT);
	if (handle)
		r = known(handle, &c);
	if (r || !c || !ret)
		return ret ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_VALUE;
	*ret = c->id;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSynchronize(void)
{
	CALL(CALL_CTX);
	if (capture_active(ctx_current()))
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	stream_wait_ctx(ctx_current());
	return ctx_error(ctx_current());
}

EXPORT CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int *ret)
{
	CALL(CALL_INIT);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = 3020;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetLimit(size_t *ret, CUlimit limit)
{
	CALL(CALL_CTX);
	if (!ret || limit >= CU_LIMIT_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = limit == CU_LIMIT_STACK_SIZE ? 1024 : 8u << 20;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
	CALL(CALL_CTX);
	return limit < CU_LIMIT_MAX ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuCtxGetCacheConfig(CUfunc_cache *ret)
{
	CALL(CALL_CTX);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = CU_FUNC_CACHE_PREFER_NONE;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
	CALL(CALL_CTX);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	CALL(CALL_CTX);
	if (least)
		*least = 0;
	if (greatest)
		*greatest = -5;
	return CUDA_SUCCESS;
}

/* Return: the bit for the other context, 0 when there is none */
static uint64_t peer_bit(CUcontext handle)
{
	struct ctx *c;

	return known(handle, &c) || c->device == ctx_current()->device ? 0 : 1ull << c->device;
}

EXPORT CUresult cuCtxEnablePeerAccess(CUcontext handle, unsigned int flags)
{
	uint64_t bit;

	CALL(CALL_CTX);
	bit = peer_bit(handle);
	if (!bit || flags)
		return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_CONTEXT;
	return __atomic_fetch_or(&ctx_current()->peers, bit, __ATOMIC_SEQ_CST) & bit ? CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED : CUDA_SUCCESS;
}

EXPORT CUresult cuCtxDisablePeerAccess(CUcontext handle)
{
	uint64_t bit;

	CALL(CALL_CTX);
	bit = peer_bit(handle);
	if (!bit)
		return CUDA_ERROR_INVALID_CONTEXT;
	return __atomic_fetch_and(&ctx_current()->peers, ~bit, __ATOMIC_SEQ_CST) & bit ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}
