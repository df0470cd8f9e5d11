/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "gate.h"
#include "link.h"
#include "mem.h"
#include "refuse.h"
#include "shim.h"

/*
 * Memory that the program makes of physical handles itself (PyTorch's expandable segments, NCCL). It is made exportable, and the program gets handles of ours: the driver's change when memory comes back
 * after a checkpoint. Handles that are not ours (imported, of the host, multicast) are the driver's.
 */
#define NAME_BIT (1ull << 63)

/* shim_lock held */
static struct mem_phys *by_name(CUmemGenericAllocationHandle name)
{
	return name & NAME_BIT ? spans_find(&mem.names, name) : NULL;
}

/* the driver's handle for one of the program's */
static CUmemGenericAllocationHandle real_handle(CUmemGenericAllocationHandle name, struct mem_phys **ret)
{
	struct mem_phys *p;
	CUmemGenericAllocationHandle handle;

	pthread_mutex_lock(&shim_lock);
	p = by_name(name);
	handle = p ? p->handle : name;
	pthread_mutex_unlock(&shim_lock);
	*ret = p;
	return handle;
}

static bool can_be_ours(const CUmemAllocationProp *prop, unsigned long long flags)
{
	return shim_is_active() && prop && flags == 0 && prop->type == CU_MEM_ALLOCATION_TYPE_PINNED && prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE
		&& (prop->requestedHandleTypes & ~(CUmemAllocationHandleType)CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) == CU_MEM_HANDLE_TYPE_NONE
		&& ctx_device(prop->location.id).usable;
}

static CUresult create_ours(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *prop)
{
	CUmemAllocationProp ours = *prop;
	struct mem_phys *p = NULL;
	CUresult ret;

	ours.requestedHandleTypes |= CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
	ret = mem_phys_new(&ours, size, &p);
	if (ret != CUDA_SUCCESS)
		return ret;
	p->kind = MEM_PROGRAM;
	p->types = prop->requestedHandleTypes;
	p->refs = 1;
	pthread_mutex_lock(&shim_lock);
	p->name = (struct span){ NAME_BIT | mem.next_name++, 1 };
	if (spans_add(&mem.names, &p->name) == 0)
		mem_list(p);
	else
		ret = CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_unlock(&shim_lock);
	if (ret == CUDA_SUCCESS)
		*handle = p->name.at;
	else
		mem_phys_free(p);
	return ret;
}

SHIM_EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *prop, unsigned long long flags)
{
	CUresult ret;

	gate_enter();
	if (handle && size % MEM_GRANULE == 0 && can_be_ours(prop, flags)) {
		ret = create_ours(handle, size, prop);
	} else {
		ret = DRV(cuMemCreate)(handle, size, prop, flags);
		if (ret == CUDA_SUCCESS && prop->location.type == CU_MEM_LOCATION_TYPE_DEVICE && prop->requestedHandleTypes & CU_MEM_HANDLE_TYPE_FABRIC)
			refuse(SHIM_FABRIC, "cuMemCreate of memory with a fabric handle");
	}
	gate_leave();
	return ret;
}

/* Nobody has a handle of it and it is mapped nowhere: out of the tables. shim_lock held. Return: it can be freed. */
static bool unused(struct mem_phys *p)
{
	if (p->refs > 0 || p->maps)
		return false;
	mem_unlist(p);
	return true;
}

SHIM_EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
	struct mem_phys *p, *gone = NULL;
	CUresult ret = CUDA_SUCCESS;

	gate_enter();
	pthread_mutex_lock(&shim_lock);
	p = by_name(handle);
	if (p && --p->refs == 0)
		spans_remove(&mem.names, &p->name);
	if (p && unused(p))
		gone = p;
	pthread_mutex_unlock(&shim_lock);
	if (p)
		mem_phys_free(gone);
	else
		ret = DRV(cuMemRelease)(handle);
	gate_leave();
	return ret;
}

static CUresult map_ours(struct mem_phys *p, CUdeviceptr at, size_t size, size_t offset, unsigned long long flags)
{
	struct mem_map *m = calloc(1, sizeof *m);
	CUresult ret;

	if (!m)
		return CUDA_ERROR_OUT_OF_MEMORY;
	ret = DRV(cuMemMap)(at, size, offset, p->handle, flags);
	if (ret != CUDA_SUCCESS) {
		free(m);
		return ret;
	}
	*m = (struct mem_map){ .at = { at, size }, .phys = p, .offset = offset };
	pthread_mutex_lock(&shim_lock);
	if (spans_add(&mem.maps, &m->at) < 0) {
		ret = CUDA_ERROR_OUT_OF_MEMORY;
	} else {
		m->next = p->maps;
		p->maps = m;
		if (p->id == 0)
			mem_publish(p);
	}
	pthread_mutex_unlock(&shim_lock);
	if (ret != CUDA_SUCCESS) {
		DRV(cuMemUnmap)(at, size);
		free(m);
	}
	return ret;
}

SHIM_EXPORT CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags)
{
	CUmemGenericAllocationHandle real;
	struct mem_phys *p;
	CUresult ret;

	gate_enter();
	real = real_handle(handle, &p);
	ret = p ? map_ours(p, ptr, size, offset, flags) : DRV(cuMemMap)(ptr, size, offset, real, flags);
	gate_leave();
	return ret;
}

/* Is there memory in a range that the program got from cuMemAlloc? The driver would not let it be handled like this. */
static bool not_programs(uint64_t at, size_t size)
{
	bool found = false;

	pthread_mutex_lock(&shim_lock);
	for (size_t i = spans_from(&mem.maps, at); i < mem.maps.n && mem.maps.v[i]->at - at < size && !found; i++)
		found = ((struct mem_map *)mem.maps.v[i])->phys->kind != MEM_PROGRAM;
	pthread_mutex_unlock(&shim_lock);
	return found;
}

static void map_drop(struct mem_map *m)
{
	struct mem_map **at = &m->phys->maps;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	spans_remove(&mem.maps, &m->at);
}

static struct mem_phys *unmapped(uint64_t at, size_t size)
{
	struct mem_phys *gone = NULL;
	struct mem_map *m;
	size_t i;

	pthread_mutex_lock(&shim_lock);
	while ((i = spans_from(&mem.maps, at)) < mem.maps.n && mem.maps.v[i]->at < at + size) {
		m = (struct mem_map *)mem.maps.v[i];
		map_drop(m);
		if (unused(m->phys)) {
			m->phys->next = gone;
			gone = m->phys;
		}
		free(m);
	}
	pthread_mutex_unlock(&shim_lock);
	return gone;
}

SHIM_EXPORT CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
	struct mem_phys *gone, *next;
	CUresult ret;

	gate_enter();
	ret = not_programs(ptr, size) ? CUDA_ERROR_INVALID_VALUE : DRV(cuMemUnmap)(ptr, size);
	for (gone = ret == CUDA_SUCCESS ? unmapped(ptr, size) : NULL; gone; gone = next) {
		next = gone->next;
		mem_phys_free(gone);
	}
	gate_leave();
	return ret;
}

/* noted for the time when it is mapped again. Return: false: access for something that is not a device, or for a part of a mapping */
static bool note_access(uint64_t at, size_t size, const CUmemAccessDesc *desc, size_t count)
{
	bool whole = true;

	pthread_mutex_lock(&shim_lock);
	for (size_t i = spans_from(&mem.maps, at); i < mem.maps.n && mem.maps.v[i]->at < at + size; i++) {
		struct mem_map *m = (struct mem_map *)mem.maps.v[i];

		whole &= m->at.at >= at && m->at.at + m->at.bytes <= at + size;
		for (size_t k = 0; k < count; k++) {
			if (desc[k].location.type == CU_MEM_LOCATION_TYPE_DEVICE && desc[k].location.id >= 0 && desc[k].location.id < CTX_DEVICES_MAX)
				m->access[desc[k].location.id] = (uint8_t)desc[k].flags;
			else
				whole = false;
		}
	}
	pthread_mutex_unlock(&shim_lock);
	return whole;
}

SHIM_EXPORT CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count)
{
	CUresult ret;

	gate_enter();
	ret = not_programs(ptr, size) ? CUDA_ERROR_INVALID_VALUE : DRV(cuMemSetAccess)(ptr, size, desc, count);
	if (ret == CUDA_SUCCESS && !note_access(ptr, size, desc, count))
		refuse(SHIM_OTHER, "cuMemSetAccess for the host or for a part of a mapping");
	gate_leave();
	return ret;
}

SHIM_EXPORT CUresult cuMemExportToShareableHandle(void *shareableHandle, CUmemGenericAllocationHandle handle, CUmemAllocationHandleType handleType, unsigned long long flags)
{
	CUmemGenericAllocationHandle real;
	struct mem_phys *p;
	CUresult ret;

	gate_enter();
	real = real_handle(handle, &p);
	ret = p && !(p->types & handleType) ? CUDA_ERROR_INVALID_VALUE : DRV(cuMemExportToShareableHandle)(shareableHandle, real, handleType, flags);
	if (ret == CUDA_SUCCESS)
		refuse(SHIM_IPC, "cuMemExportToShareableHandle");
	gate_leave();
	return ret;
}

SHIM_EXPORT CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle)
{
	CUmemGenericAllocationHandle real;
	struct mem_phys *p;
	CUresult ret;

	gate_enter();
	real = real_handle(handle, &p);
	ret = DRV(cuMemGetAllocationPropertiesFromHandle)(prop, real);
	if (ret == CUDA_SUCCESS && p)
		prop->requestedHandleTypes = p->types;
	gate_leave();
	return ret;
}

SHIM_EXPORT CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
	struct mem_phys *p = NULL;
	CUresult ret = CUDA_SUCCESS;
	struct mem_map *m;

	gate_enter();
	pthread_mutex_lock(&shim_lock);
	m = spans_find(&mem.maps, (uint64_t)(uintptr_t)addr);
	p = m ? m->phys : NULL;
	if (p && (p->kind != MEM_PROGRAM || !handle))
		ret = CUDA_ERROR_INVALID_VALUE;
	else if (p && p->refs == 0 && spans_add(&mem.names, &p->name) < 0)
		ret = CUDA_ERROR_OUT_OF_MEMORY;
	if (p && ret == CUDA_SUCCESS) {
		p->refs++;
		*handle = p->name.at;
	}
	pthread_mutex_unlock(&shim_lock);
	if (!p)
		ret = DRV(cuMemRetainAllocationHandle)(handle, addr);
	gate_leave();
	return ret;
}

SHIM_EXPORT CUresult cuMulticastBindMem(CUmemGenericAllocationHandle mcHandle, size_t mcOffset, CUmemGenericAllocationHandle memHandle, size_t memOffset, size_t size, unsigned long long flags)
{
	CUmemGenericAllocationHandle real;
	struct mem_phys *p;
	CUresult ret;

	gate_enter();
	real = real_handle(memHandle, &p);
	ret = DRV(cuMulticastBindMem)(mcHandle, mcOffset, real, memOffset, size, flags);
	if (ret == CUDA_SUCCESS)
		refuse(SHIM_OTHER, "cuMulticastBindMem");
	gate_leave();
	return ret;
}

static CUresult map_arrays(fn_cuMemMapArrayAsync *fn, CUarrayMapInfo *list, unsigned int count, CUstream stream)
{
	CUarrayMapInfo *real = list && count > 0 ? malloc(count * sizeof *real) : NULL;
	struct mem_phys *p;
	CUresult ret;

	if (!real)
		return list && count > 0 ? CUDA_ERROR_OUT_OF_MEMORY : fn(list, count, stream);   /* nothing to map: its error */
	gate_enter();
	memcpy(real, list, count * sizeof *real);
	for (unsigned i = 0; i < count; i++)
		real[i].memHandle.memHandle = real_handle(list[i].memHandle.memHandle, &p);
	ret = fn(real, count, stream);
	if (ret == CUDA_SUCCESS)
		refuse(SHIM_OTHER, "cuMemMapArrayAsync");
	gate_leave();
	free(real);
	return ret;
}

SHIM_EXPORT CUresult cuMemMapArrayAsync(CUarrayMapInfo *mapInfoList, unsigned int count, CUstream hStream)
{
	return map_arrays(DRV(cuMemMapArrayAsync), mapInfoList, count, hStream);
}

SHIM_EXPORT CUresult cuMemMapArrayAsync_ptsz(CUarrayMapInfo *mapInfoList, unsigned int count, CUstream hStream)
{
	return map_arrays(DRV(cuMemMapArrayAsync_ptsz), mapInfoList, count, hStream);
}
