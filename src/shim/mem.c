/* SPDX-License-Identifier: Apache-2.0 */
#include "mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "capture.h"
#include "gate.h"
#include "link.h"
#include "log.h"
#include "refuse.h"
#include "shim.h"

/* how long an allocation waits for the keeper to let go of memory that was freed */
#define KEEPER_FREE_NS (2 * NS_PER_S)
#define PITCH_BYTES 512u

struct mem mem = { .next_id = 1, .next_name = 1 };

static struct { uint64_t *v; size_t n, cap; } deferred;        /* freed during a capture */

/* ---- memory, whoever's ---- */

void mem_list(struct mem_phys *p)
{
	p->prev = NULL;
	p->next = mem.first;
	if (p->next)
		p->next->prev = p;
	else
		mem.last = p;
	mem.first = p;
}

static void list_remove(struct mem_phys *p)
{
	*(p->prev ? &p->prev->next : &mem.first) = p->next;
	*(p->next ? &p->next->prev : &mem.last) = p->prev;
	p->next = p->prev = NULL;
}

void mem_unlist(struct mem_phys *p)
{
	list_remove(p);
	if (p->announced)
		link_freed(p->id);
}

void mem_publish(struct mem_phys *p)
{
	list_remove(p);
	p->id = mem.next_id++;
	p->prev = mem.last;
	*(p->prev ? &p->prev->next : &mem.first) = p;
	mem.last = p;
	link_changed();
}

CUresult mem_set_access(const struct mem_map *m)
{
	CUmemAccessDesc desc[CTX_DEVICES_MAX];
	size_t n = 0;

	for (int i = 0; i < CTX_DEVICES_MAX; i++) {
		if (m->access[i])
			desc[n++] = (CUmemAccessDesc){ { CU_MEM_LOCATION_TYPE_DEVICE, i }, m->access[i] };
	}
	return n ? DRV(cuMemSetAccess)(m->at.at, m->at.bytes, desc, n) : CUDA_SUCCESS;
}

void mem_phys_free(struct mem_phys *p)
{
	if (!p)
		return;
	while (p->maps) {
		struct mem_map *m = p->maps;

		p->maps = m->next;
		if (p->attached)
			DRV(cuMemUnmap)(m->at.at, m->at.bytes);
		if (p->kind != MEM_PROGRAM)
			DRV(cuMemAddressFree)(m->at.at, m->at.bytes);
		free(m);
	}
	if (p->attached)
		DRV(cuMemRelease)(p->handle);
	fd_close(&p->shared_fd);
	free(p->block);
	free(p);
}

/* Empty blocks that are kept for the next small allocation. Return: was there one. */
static bool give_back_empty(void)
{
	struct mem_phys *p, *next, *found = NULL;

	pthread_mutex_lock(&shim_lock);
	for (p = mem.first; p; p = next) {
		struct ctx *c = p->kind == MEM_SLAB ? ctx_find(p->ctx) : NULL;

		next = p->next;
		if (!c || !p->block || c->slab.empty != p->block)
			continue;
		slab_drop_empty(&c->slab);
		spans_remove(&mem.maps, &p->maps->at);
		mem_unlist(p);
		p->next = found;
		found = p;
	}
	pthread_mutex_unlock(&shim_lock);
	if (!found)
		return false;
	for (; found; found = next) {
		next = found->next;
		mem_phys_free(found);
	}
	return true;
}

CUresult mem_phys_new(const CUmemAllocationProp *prop, uint64_t bytes, struct mem_phys **ret)
{
	uint64_t deadline_ns = clock_mono_ns() + KEEPER_FREE_NS;
	struct mem_phys *p = calloc(1, sizeof *p);
	CUresult err;
	bool again;

	if (!p)
		return CUDA_ERROR_OUT_OF_MEMORY;
	p->shared_fd = -1;
	do {
		uint32_t answers = link_answers();

		err = DRV(cuMemCreate)(&p->handle, bytes, prop, 0);
		again = err == CUDA_ERROR_OUT_OF_MEMORY && give_back_empty();
		if (err == CUDA_ERROR_OUT_OF_MEMORY && !again) {
			gate_leave();
			again = link_wait_freed(answers, deadline_ns);
			/* what is not ours to free may still be held for programs that are parked */
			if (!again)
				again = link_ask_room(prop->location.id, bytes, deadline_ns);
			gate_enter();
		}
	} while (again);
	if (err != CUDA_SUCCESS) {
		free(p);
		return err;
	}
	p->bytes = bytes;
	p->prop = *prop;
	p->attached = true;
	*ret = p;
	return CUDA_SUCCESS;
}

/* ---- the shim's own: cuMemAlloc ---- */

static CUresult map_somewhere(struct mem_phys *p, uint64_t access)
{
	struct mem_map *m = calloc(1, sizeof *m);
	CUdeviceptr at = 0;
	CUresult ret;

	if (!m)
		return CUDA_ERROR_OUT_OF_MEMORY;
	ret = DRV(cuMemAddressReserve)(&at, p->bytes, 0, 0, 0);
	if (ret != CUDA_SUCCESS)
		goto no_address;
	ret = DRV(cuMemMap)(at, p->bytes, 0, p->handle, 0);
	if (ret != CUDA_SUCCESS)
		goto no_map;
	m->at = (struct span){ at, p->bytes };
	m->phys = p;
	for (int i = 0; i < CTX_DEVICES_MAX; i++)
		m->access[i] = access >> i & 1 ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : 0;
	ret = mem_set_access(m);
	if (ret != CUDA_SUCCESS)
		goto no_access;
	p->maps = m;
	return CUDA_SUCCESS;
no_access:
	DRV(cuMemUnmap)(at, p->bytes);
no_map:
	DRV(cuMemAddressFree)(at, p->bytes);
no_address:
	free(m);
	return ret;
}

/* mapped memory that is in no table yet */
static CUresult buffer_new(CUcontext ctx, CUdevice device, uint64_t bytes, uint64_t access, struct mem_phys **ret)
{
	CUmemAllocationProp prop = {
		.type = CU_MEM_ALLOCATION_TYPE_PINNED, .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, .location = { CU_MEM_LOCATION_TYPE_DEVICE, device },
		.allocFlags = { .gpuDirectRDMACapable = ctx_device(device).rdma },
	};
	struct mem_phys *p = NULL;
	CUresult err;

	err = mem_phys_new(&prop, bytes, &p);
	if (err != CUDA_SUCCESS)
		return err;
	p->ctx = ctx;
	err = map_somewhere(p, access);
	if (err != CUDA_SUCCESS) {
		mem_phys_free(p);
		return err;
	}
	*ret = p;
	return CUDA_SUCCESS;
}

/* Peers may have come since it was mapped, or gone. */
static CUresult access_again(struct mem_phys *p, const struct ctx *c)
{
	uint64_t access = ctx_access(c);
	CUmemAccessDesc changed[CTX_DEVICES_MAX];
	size_t n = 0;

	for (int i = 0; i < CTX_DEVICES_MAX; i++) {
		uint8_t want = access >> i & 1 ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE;

		if (p->maps->access[i] != want)
			changed[n++] = (CUmemAccessDesc){ { CU_MEM_LOCATION_TYPE_DEVICE, i }, want };
		p->maps->access[i] = want;
	}
	return n ? DRV(cuMemSetAccess)(p->maps->at.at, p->maps->at.bytes, changed, n) : CUDA_SUCCESS;
}

/* into the tables; @block_for: as a block for allocations of that size, 0: as a whole. shim_lock held. */
static CUresult buffer_enter(struct mem_phys *p, size_t block_for)
{
	struct ctx *c = ctx_find(p->ctx);
	CUresult ret;

	if (!c || spans_add(&mem.maps, &p->maps->at) < 0)
		return CUDA_ERROR_OUT_OF_MEMORY;
	ret = access_again(p, c);
	if (ret == CUDA_SUCCESS && block_for > 0) {
		p->block = slab_add(&c->slab, p->maps->at.at, block_for);
		ret = p->block ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
	}
	if (ret != CUDA_SUCCESS) {
		spans_remove(&mem.maps, &p->maps->at);
		return ret;
	}
	p->kind = block_for > 0 ? MEM_SLAB : MEM_WHOLE;
	mem_list(p);
	mem_publish(p);
	return CUDA_SUCCESS;
}

static CUresult alloc_whole(CUcontext ctx, CUdevice device, uint64_t access, size_t bytes, CUdeviceptr *ret)
{
	struct mem_phys *p = NULL;
	CUresult err = buffer_new(ctx, device, (bytes + MEM_GRANULE - 1) / MEM_GRANULE * MEM_GRANULE, access, &p);

	if (err != CUDA_SUCCESS)
		return err;
	p->asked = bytes;
	pthread_mutex_lock(&shim_lock);
	err = buffer_enter(p, 0);
	if (err == CUDA_SUCCESS)
		*ret = p->maps->at.at;
	pthread_mutex_unlock(&shim_lock);
	if (err != CUDA_SUCCESS)
		mem_phys_free(p);
	return err;
}

static CUresult alloc_small(CUcontext ctx, CUdevice device, uint64_t access, size_t bytes, CUdeviceptr *ret)
{
	struct mem_phys *p = NULL;
	struct slab_block *block;
	struct ctx *c;
	CUresult err;

	pthread_mutex_lock(&shim_lock);
	c = ctx_find(ctx);
	*ret = c ? slab_take(&c->slab, bytes, &block) : 0;
	pthread_mutex_unlock(&shim_lock);
	if (*ret)
		return CUDA_SUCCESS;
	err = buffer_new(ctx, device, SLAB_BLOCK_BYTES, access, &p);
	if (err != CUDA_SUCCESS)
		return err;
	pthread_mutex_lock(&shim_lock);
	err = buffer_enter(p, bytes);
	if (err == CUDA_SUCCESS)
		*ret = slab_take(&ctx_find(ctx)->slab, bytes, &block);
	pthread_mutex_unlock(&shim_lock);
	if (err != CUDA_SUCCESS)
		mem_phys_free(p);
	return err;
}

static CUresult allocate(CUdeviceptr *ret, size_t bytes)
{
	CUcontext ctx = NULL;
	CUdevice device = 0;
	CUdeviceptr at = 0;
	uint64_t access = 0;
	struct ctx *c;
	CUresult err;

	if (!shim_is_active() || !ret || bytes == 0 || bytes > SIZE_MAX - MEM_GRANULE || DRV(cuCtxGetCurrent)(&ctx) != CUDA_SUCCESS || !ctx
		|| DRV(cuCtxGetDevice)(&device) != CUDA_SUCCESS || !ctx_device(device).usable)
		return DRV(cuMemAlloc_v2)(ret, bytes);
	mem_free_deferred();
	pthread_mutex_lock(&shim_lock);
	c = ctx_note(ctx, device, false);
	access = c ? ctx_access(c) : 0;
	pthread_mutex_unlock(&shim_lock);
	if (!c)
		return CUDA_ERROR_OUT_OF_MEMORY;
	err = bytes <= SLAB_MAX ? alloc_small(ctx, device, access, bytes, &at) : alloc_whole(ctx, device, access, bytes, &at);
	if (err == CUDA_SUCCESS) {
		*ret = at;
		return CUDA_SUCCESS;
	}
	/* What cannot be made exportable may still be had from the driver; a full device says so itself. */
	err = DRV(cuMemAlloc_v2)(ret, bytes);
	if (err == CUDA_SUCCESS)
		log_once(LOG_NO_EXPORT, "%zu bytes of device memory stay with the driver: they could not be made exportable", bytes);
	return err;
}

SHIM_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
	CUresult ret;

	gate_enter();
	ret = allocate(dptr, bytesize);
	gate_leave();
	return ret;
}

SHIM_EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes, size_t Height, unsigned int ElementSizeBytes)
{
	size_t pitch = 0, bytes = 0;
	CUresult ret;

	gate_enter();
	if (shim_is_active() && dptr && pPitch && WidthInBytes > 0 && (ElementSizeBytes == 4 || ElementSizeBytes == 8 || ElementSizeBytes == 16)
		&& !__builtin_add_overflow(WidthInBytes, PITCH_BYTES - 1, &pitch) && !__builtin_mul_overflow(pitch &= ~(size_t)(PITCH_BYTES - 1), Height, &bytes) && bytes > 0) {
		ret = allocate(dptr, bytes);
		if (ret == CUDA_SUCCESS)
			*pPitch = pitch;
	} else {
		ret = DRV(cuMemAllocPitch_v2)(dptr, pPitch, WidthInBytes, Height, ElementSizeBytes);
	}
	gate_leave();
	return ret;
}

/* ---- freeing ---- */

struct mem_phys *mem_at(uint64_t address, uint64_t *ret_start, size_t *ret_bytes)
{
	struct mem_map *m = spans_find(&mem.maps, address);
	struct mem_phys *p = m ? m->phys : NULL;

	if (!p || p->kind == MEM_PROGRAM)
		return NULL;
	if (p->kind == MEM_SLAB)
		return slab_at(p->block, address, ret_start, ret_bytes) ? p : NULL;
	if (p->freeing || address - m->at.at >= p->asked)
		return NULL;
	*ret_start = m->at.at;
	*ret_bytes = p->asked;
	return p;
}

static void mark(struct mem_phys *p, uint64_t start, bool undo)
{
	if (p->kind == MEM_SLAB)
		slab_mark(p->block, start, undo);
	else
		p->freeing = !undo;
}

/* The device may still use it; then it goes. It was marked before. */
static CUresult free_marked(CUcontext ctx, uint64_t start)
{
	struct mem_phys *gone = NULL;
	struct mem_map *m;
	struct ctx *c;
	CUresult ret = ctx_wait_users(ctx);

	pthread_mutex_lock(&shim_lock);
	m = spans_find(&mem.maps, start);
	c = ctx_find(ctx);
	if (!m || !c || m->phys->ctx != ctx) {
		ret = CUDA_SUCCESS;             /* its context ended meanwhile */
	} else if (ret != CUDA_SUCCESS) {
		mark(m->phys, start, true);
	} else if (m->phys->kind == MEM_WHOLE || slab_give(&c->slab, m->phys->block, start)) {
		gone = m->phys;
		spans_remove(&mem.maps, &m->at);
		mem_unlist(gone);
	}
	pthread_mutex_unlock(&shim_lock);
	mem_phys_free(gone);
	return ret;
}

static uint64_t deferred_take(CUcontext *ret_ctx)
{
	uint64_t start = 0;

	pthread_mutex_lock(&shim_lock);
	while (deferred.n > 0 && start == 0) {
		struct mem_map *m = spans_find(&mem.maps, deferred.v[--deferred.n]);

		if (m) {
			start = deferred.v[deferred.n];
			*ret_ctx = m->phys->ctx;
		}
	}
	pthread_mutex_unlock(&shim_lock);
	return start;
}

void mem_free_deferred(void)
{
	CUcontext ctx = NULL;
	uint64_t start;

	if (__atomic_load_n(&deferred.n, __ATOMIC_RELAXED) == 0 || capture_any())
		return;
	while ((start = deferred_take(&ctx)))
		free_marked(ctx, start);
}

CUresult mem_free_any(CUdeviceptr address)
{
	bool later = shim_is_active() && capture_any();
	struct mem_phys *p = NULL;
	CUcontext ctx = NULL;
	uint64_t start = 0;
	size_t bytes;
	CUresult ret;

	if (shim_is_active()) {
		mem_free_deferred();
		pthread_mutex_lock(&shim_lock);
		p = mem_at(address, &start, &bytes);
		if (p && start == address && later && array_grow((void **)&deferred.v, &deferred.cap, deferred.n + 1, sizeof *deferred.v) < 0)
			later = false;
		if (p && start == address) {
			ctx = p->ctx;
			mark(p, start, false);
			if (later)
				deferred.v[deferred.n++] = start;
		}
		pthread_mutex_unlock(&shim_lock);
	}
	if (p)
		return start != address ? CUDA_ERROR_INVALID_VALUE : later ? CUDA_SUCCESS : free_marked(ctx, start);
	ret = DRV(cuMemFree_v2)(address);
	if (ret == CUDA_SUCCESS)
		refuse_gone(address);
	return ret;
}

SHIM_EXPORT CUresult cuMemFree_v2(CUdeviceptr dptr)
{
	CUresult ret;

	gate_enter();
	ret = mem_free_any(dptr);
	gate_leave();
	return ret;
}

/* Ours has no place in a stream's order: it goes once the whole context is idle. */
static CUresult free_async(fn_cuMemFreeAsync *fn, CUdeviceptr address, CUstream stream)
{
	struct mem_phys *p;
	uint64_t start;
	size_t bytes;
	CUresult ret;

	gate_enter();
	pthread_mutex_lock(&shim_lock);
	p = mem_at(address, &start, &bytes);
	pthread_mutex_unlock(&shim_lock);
	ret = p ? mem_free_any(address) : fn(address, stream);
	gate_leave();
	return ret;
}

SHIM_EXPORT CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream)
{
	return free_async(DRV(cuMemFreeAsync), dptr, hStream);
}

SHIM_EXPORT CUresult cuMemFreeAsync_ptsz(CUdeviceptr dptr, CUstream hStream)
{
	return free_async(DRV(cuMemFreeAsync_ptsz), dptr, hStream);
}

SHIM_EXPORT CUresult cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags)
{
	CUresult ret;

	gate_enter();
	ret = DRV(cuMemAllocManaged)(dptr, bytesize, flags);
	if (ret == CUDA_SUCCESS)
		refuse_object(SHIM_MANAGED, "cuMemAllocManaged", *dptr);
	gate_leave();
	return ret;
}

/* ---- contexts and processes ---- */

CUresult mem_peers_changed(CUcontext owner)
{
	CUresult ret = CUDA_SUCCESS;
	struct ctx *c;

	pthread_mutex_lock(&shim_lock);
	c = ctx_find(owner);
	for (struct mem_phys *p = c ? mem.first : NULL; p && ret == CUDA_SUCCESS; p = p->next) {
		if (p->kind != MEM_PROGRAM && p->ctx == owner)
			ret = access_again(p, c);
	}
	pthread_mutex_unlock(&shim_lock);
	return ret;
}

void mem_ctx_gone(CUcontext handle)
{
	struct mem_phys *p, *next, *found = NULL;

	pthread_mutex_lock(&shim_lock);
	for (p = mem.first; p; p = next) {
		next = p->next;
		if (p->kind == MEM_PROGRAM || p->ctx != handle)
			continue;
		spans_remove(&mem.maps, &p->maps->at);
		mem_unlist(p);
		p->next = found;
		found = p;
	}
	pthread_mutex_unlock(&shim_lock);
	for (; found; found = next) {
		next = found->next;
		mem_phys_free(found);
	}
}

/* The driver does not work in a child of a process that used it: nothing of this is of use. */
void mem_fork_child(void)
{
	struct mem_phys *p;

	while ((p = mem.first)) {
		mem.first = p->next;
		for (struct mem_map *m = p->maps; m;) {
			struct mem_map *next = m->next;

			free(m);
			m = next;
		}
		free(p->block);
		free(p);
	}
	mem.last = NULL;
	mem.maps.n = mem.names.n = deferred.n = 0;
}
