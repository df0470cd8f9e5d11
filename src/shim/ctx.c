/* SPDX-License-Identifier: Apache-2.0 */
#include "ctx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/thread.h"
#include "capture.h"
#include "futex.h"
#include "gate.h"
#include "log.h"
#include "mem.h"
#include "refuse.h"
#include "shim.h"

static struct {
	struct ctx *first;
	struct ctx_device device[CTX_DEVICES_MAX];
	struct peer { CUcontext user, owner; CUdevice user_device; } *peers;    /* user may use owner's memory */
	size_t npeers, cap;
} ctxs;

static int attribute(CUdevice_attribute which, CUdevice device)
{
	int value = 0;

	return DRV(cuDeviceGetAttribute)(&value, which, device) == CUDA_SUCCESS ? value : 0;
}

/* A MIG instance has a UUID of its own, which only the second version tells. */
static void device_identify(CUdevice device, struct ctx_device *d)
{
	CUuuid whole = { { 0 } }, part = { { 0 } };
	bool have_whole = DRV(cuDeviceGetUuid)(&whole, device) == CUDA_SUCCESS, have_part = DRV(cuDeviceGetUuid_v2)(&part, device) == CUDA_SUCCESS;

	memcpy(d->uuid, have_part ? part.bytes : whole.bytes, sizeof d->uuid);
	if (have_whole && have_part && memcmp(whole.bytes, part.bytes, sizeof whole.bytes) != 0)
		refuse(SHIM_MIG, "the device is a MIG instance");
	if (attribute(CU_DEVICE_ATTRIBUTE_MPS_ENABLED, device))
		refuse(SHIM_MPS, "the device is shared through MPS");
}

static struct ctx_device device_ask(CUdevice device)
{
	struct ctx_device d = { .known = true };
	CUmemAllocationProp prop = {
		.type = CU_MEM_ALLOCATION_TYPE_PINNED, .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, .location = { CU_MEM_LOCATION_TYPE_DEVICE, device },
	};
	size_t granule = 0;

	device_identify(device, &d);
	d.usable = attribute(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, device) && attribute(CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, device)
		&& DRV(cuMemGetAllocationGranularity)(&granule, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM) == CUDA_SUCCESS && granule > 0 && MEM_GRANULE % granule == 0;
	d.rdma = attribute(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, device);
	if (!d.usable)
		log_once(LOG_NO_EXPORT, "device %d cannot export memory in pieces of 2 MiB: its memory stays with the driver, and checkpoints are slow", device);
	return d;
}

struct ctx_device ctx_device(CUdevice device)
{
	struct ctx_device d = { 0 };

	if (device < 0 || device >= CTX_DEVICES_MAX)
		return d;
	pthread_mutex_lock(&shim_lock);
	d = ctxs.device[device];
	pthread_mutex_unlock(&shim_lock);
	if (d.known)
		return d;
	d = device_ask(device);
	pthread_mutex_lock(&shim_lock);
	ctxs.device[device] = d;
	pthread_mutex_unlock(&shim_lock);
	return d;
}

void ctx_device_uuid(CUdevice device, uint8_t uuid[16])
{
	memcpy(uuid, ctxs.device[device].uuid, 16);
}

struct ctx *ctx_find(CUcontext handle)
{
	struct ctx *c = ctxs.first;

	while (c && c->handle != handle)
		c = c->next;
	return c;
}

struct ctx *ctx_note(CUcontext handle, CUdevice device, bool primary)
{
	struct ctx *c = ctx_find(handle);

	if (!c) {
		c = calloc(1, sizeof *c);
		if (!c)
			return NULL;
		c->handle = handle;
		c->device = device;
		c->next = ctxs.first;
		ctxs.first = c;
	}
	c->primary |= primary;
	return c;
}

static void note(CUcontext handle, CUdevice device, bool primary)
{
	pthread_mutex_lock(&shim_lock);
	ctx_note(handle, device, primary);
	pthread_mutex_unlock(&shim_lock);
}

uint64_t ctx_access(const struct ctx *c)
{
	uint64_t mask = 1ull << c->device;

	for (size_t i = 0; i < ctxs.npeers; i++) {
		if (ctxs.peers[i].owner == c->handle)
			mask |= 1ull << ctxs.peers[i].user_device;
	}
	return mask;
}

/* ---- waiting ---- */

CUresult ctx_wait(CUcontext handle)
{
	CUcontext current = NULL;
	CUresult ret;

	DRV(cuCtxGetCurrent)(&current);
	if (current == handle)
		return DRV(cuCtxSynchronize)();
	ret = DRV(cuCtxPushCurrent_v2)(handle);
	if (ret != CUDA_SUCCESS)
		return ret;
	ret = DRV(cuCtxSynchronize)();
	DRV(cuCtxPopCurrent_v2)(&current);
	return ret;
}

/* the i-th context that uses an owner's memory; the owner is the last. NULL: no more */
static CUcontext user_of(CUcontext owner, size_t i)
{
	CUcontext found = NULL;
	size_t seen = 0;

	pthread_mutex_lock(&shim_lock);
	for (size_t k = 0; k < ctxs.npeers && !found; k++) {
		if (ctxs.peers[k].owner == owner && seen++ == i)
			found = ctxs.peers[k].user;
	}
	pthread_mutex_unlock(&shim_lock);
	return found ? found : i == seen ? owner : NULL;
}

CUresult ctx_wait_users(CUcontext handle)
{
	CUresult ret = CUDA_SUCCESS;
	CUcontext user;

	for (size_t i = 0; ret == CUDA_SUCCESS && (user = user_of(handle, i)); i++)
		ret = ctx_wait(user);
	return ret;
}

struct drain {
	CUcontext *v;
	size_t n;
	int result;
	_Atomic uint32_t state;         /* futex: 0 runs, 1 done, 2 nobody waits for it any more */
};

static struct drain *drain_free(struct drain *d)
{
	free(d->v);
	free(d);
	return NULL;
}

/* Contexts that somebody made without our noticing can only be primary ones. */
static CUresult drain_unseen(void)
{
	CUresult ret = CUDA_SUCCESS;
	int count = 0;

	DRV(cuDeviceGetCount)(&count);
	for (int i = 0; i < count && ret == CUDA_SUCCESS; i++) {
		CUcontext primary = NULL;
		unsigned flags;
		int active = 0;

		if (DRV(cuDevicePrimaryCtxGetState)(i, &flags, &active) != CUDA_SUCCESS || !active || DRV(cuDevicePrimaryCtxRetain)(&primary, i) != CUDA_SUCCESS)
			continue;
		ret = ctx_wait(primary);
		if (driver_has(CALL_cuDevicePrimaryCtxRelease_v2))
			DRV(cuDevicePrimaryCtxRelease_v2)(i);
		else
			DRV(cuDevicePrimaryCtxRelease)(i);
	}
	return ret;
}

static void *drain_thread(void *arg)
{
	struct drain *d = arg;
	CUresult ret = CUDA_SUCCESS;

	for (size_t i = 0; i < d->n && ret == CUDA_SUCCESS; i++) {
		ret = ctx_wait(d->v[i]);
		if (ret == CUDA_ERROR_CONTEXT_IS_DESTROYED || ret == CUDA_ERROR_INVALID_CONTEXT)
			ret = CUDA_SUCCESS;     /* ended in a way that we do not see */
	}
	d->result = (int)(ret == CUDA_SUCCESS ? drain_unseen() : ret);
	if (atomic_exchange(&d->state, 1) == 2)
		drain_free(d);
	else
		futex_wake_all(&d->state);
	return NULL;
}

static struct drain *drain_new(void)
{
	struct drain *d = calloc(1, sizeof *d);
	size_t cap = 0;

	if (!d)
		return NULL;
	pthread_mutex_lock(&shim_lock);
	for (struct ctx *c = ctxs.first; c; c = c->next) {
		if (array_grow((void **)&d->v, &cap, d->n + 1, sizeof(CUcontext)) < 0) {
			pthread_mutex_unlock(&shim_lock);
			return drain_free(d);
		}
		d->v[d->n++] = c->handle;
	}
	pthread_mutex_unlock(&shim_lock);
	return d;
}

int ctx_drain_all(uint64_t deadline_ns)
{
	struct drain *d = drain_new();
	pthread_t thread;
	int ret = 0;

	if (!d)
		return -ENOMEM;
	ret = thread_spawn(&thread, drain_thread, d);
	if (ret < 0) {
		drain_free(d);
		return ret;
	}
	while (ret == 0 && atomic_load(&d->state) == 0)
		ret = futex_wait(&d->state, 0, deadline_ns, false);
	if (ret < 0 && atomic_exchange(&d->state, 2) == 0) {
		pthread_detach(thread);
		return ret;
	}
	pthread_join(thread, NULL);
	ret = d->result;
	drain_free(d);
	return ret;
}

/* ---- the program's calls ---- */

/* NOLINTBEGIN(bugprone-macro-parentheses): a prototype cannot be */
#define CREATE(name, proto, args) \
	SHIM_EXPORT CUresult name proto \
	{ \
		CUresult ret; \
\
		gate_enter(); \
		ret = DRV(name) args; \
		if (ret == CUDA_SUCCESS && pctx) \
			note(*pctx, dev, false); \
		gate_leave(); \
		return ret; \
	}
/* NOLINTEND(bugprone-macro-parentheses) */

CREATE(cuCtxCreate, (CUcontext *pctx, unsigned int flags, CUdevice dev), (pctx, flags, dev))
CREATE(cuCtxCreate_v2, (CUcontext *pctx, unsigned int flags, CUdevice dev), (pctx, flags, dev))
CREATE(cuCtxCreate_v3, (CUcontext *pctx, CUexecAffinityParam *paramsArray, int numParams, unsigned int flags, CUdevice dev), (pctx, paramsArray, numParams, flags, dev))
CREATE(cuCtxCreate_v4, (CUcontext *pctx, CUctxCreateParams *ctxCreateParams, unsigned int flags, CUdevice dev), (pctx, ctxCreateParams, flags, dev))

SHIM_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
	CUresult ret;

	gate_enter();
	ret = DRV(cuDevicePrimaryCtxRetain)(pctx, dev);
	if (ret == CUDA_SUCCESS && pctx)
		note(*pctx, dev, true);
	gate_leave();
	return ret;
}

static void ctx_gone(CUcontext handle)
{
	capture_ctx_gone(handle);
	mem_ctx_gone(handle);
	pthread_mutex_lock(&shim_lock);
	for (size_t i = ctxs.npeers; i > 0; i--) {
		if (ctxs.peers[i - 1].user == handle || ctxs.peers[i - 1].owner == handle)
			ctxs.peers[i - 1] = ctxs.peers[--ctxs.npeers];
	}
	for (struct ctx **at = &ctxs.first; *at; at = &(*at)->next) {
		struct ctx *c = *at;

		if (c->handle == handle) {
			*at = c->next;
			free(c);
			break;
		}
	}
	pthread_mutex_unlock(&shim_lock);
}

static void primary_gone(CUdevice device)
{
	CUcontext handle = NULL;
	unsigned flags;
	int active = 1;

	if (DRV(cuDevicePrimaryCtxGetState)(device, &flags, &active) != CUDA_SUCCESS || active)
		return;
	pthread_mutex_lock(&shim_lock);
	for (struct ctx *c = ctxs.first; c && !handle; c = c->next) {
		if (c->primary && c->device == device)
			handle = c->handle;
	}
	pthread_mutex_unlock(&shim_lock);
	if (handle)
		ctx_gone(handle);
}

#define GONE(name, type, gone) \
	SHIM_EXPORT CUresult name(type what) \
	{ \
		CUresult ret; \
\
		gate_enter(); \
		ret = DRV(name)(what); \
		if (ret == CUDA_SUCCESS) \
			gone(what); \
		gate_leave(); \
		return ret; \
	}

GONE(cuCtxDestroy, CUcontext, ctx_gone)
GONE(cuCtxDestroy_v2, CUcontext, ctx_gone)
GONE(cuDevicePrimaryCtxRelease, CUdevice, primary_gone)
GONE(cuDevicePrimaryCtxRelease_v2, CUdevice, primary_gone)
GONE(cuDevicePrimaryCtxReset, CUdevice, primary_gone)
GONE(cuDevicePrimaryCtxReset_v2, CUdevice, primary_gone)

static CUresult peer_add(CUcontext user, CUdevice device, CUcontext owner)
{
	int ret;

	pthread_mutex_lock(&shim_lock);
	ret = array_grow((void **)&ctxs.peers, &ctxs.cap, ctxs.npeers + 1, sizeof *ctxs.peers);
	if (ret == 0)
		ctxs.peers[ctxs.npeers++] = (struct peer){ user, owner, device };
	pthread_mutex_unlock(&shim_lock);
	return ret == 0 ? mem_peers_changed(owner) : CUDA_ERROR_OUT_OF_MEMORY;
}

SHIM_EXPORT CUresult cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags)
{
	CUcontext user = NULL;
	CUdevice device = 0;
	CUresult ret;

	gate_enter();
	ret = DRV(cuCtxEnablePeerAccess)(peerContext, Flags);
	if (ret == CUDA_SUCCESS && DRV(cuCtxGetCurrent)(&user) == CUDA_SUCCESS && DRV(cuCtxGetDevice)(&device) == CUDA_SUCCESS) {
		ret = peer_add(user, device, peerContext);
		if (ret != CUDA_SUCCESS)
			DRV(cuCtxDisablePeerAccess)(peerContext);
	}
	gate_leave();
	return ret;
}

SHIM_EXPORT CUresult cuCtxDisablePeerAccess(CUcontext peerContext)
{
	CUcontext user = NULL;
	CUresult ret;

	gate_enter();
	ret = DRV(cuCtxDisablePeerAccess)(peerContext);
	if (ret == CUDA_SUCCESS && DRV(cuCtxGetCurrent)(&user) == CUDA_SUCCESS) {
		pthread_mutex_lock(&shim_lock);
		for (size_t i = ctxs.npeers; i > 0; i--) {
			if (ctxs.peers[i - 1].user == user && ctxs.peers[i - 1].owner == peerContext)
				ctxs.peers[i - 1] = ctxs.peers[--ctxs.npeers];
		}
		pthread_mutex_unlock(&shim_lock);
		ret = mem_peers_changed(peerContext);
	}
	gate_leave();
	return ret;
}

void ctx_fork_child(void)
{
	while (ctxs.first) {
		struct ctx *c = ctxs.first;

		ctxs.first = c->next;
		free(c);
	}
	ctxs.npeers = 0;
	memset(ctxs.device, 0, sizeof ctxs.device);
}
