/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "fake.h"

/* Virtual memory management. Handles are pointers to struct phys, checked against the list. */

static struct phys *handle_of(CUmemGenericAllocationHandle h)
{
	for (struct phys *p = fake.phys; p; p = p->next)
		if ((uint64_t)p == h && p->handles)
			return p;
	return NULL;
}

static bool aligned(uint64_t n)
{
	return n && n % GRANULARITY == 0;
}

static CUresult prop_check(const CUmemAllocationProp *prop)
{
	if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED)
		return CUDA_ERROR_INVALID_VALUE;
	if (prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE || prop->requestedHandleTypes & CU_MEM_HANDLE_TYPE_FABRIC)
		return CUDA_ERROR_NOT_SUPPORTED;
	return prop->location.id < 0 || (uint32_t)prop->location.id >= fake.machine->devices ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

EXPORT CUresult cuMemGetAllocationGranularity(size_t *ret, const CUmemAllocationProp *prop, CUmemAllocationGranularity_flags option)
{
	CUresult r;

	CALL(CALL_INIT);
	r = prop_check(prop);
	if (r || !ret)
		return r ? r : CUDA_ERROR_INVALID_VALUE;
	*ret = GRANULARITY;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle *ret, size_t bytes, const CUmemAllocationProp *prop, unsigned long long flags)
{
	struct phys *p;
	CUresult r;

	CALL(CALL_INIT);
	if (!ret || !aligned(bytes) || flags)
		return CUDA_ERROR_INVALID_VALUE;
	r = prop_check(prop);
	if (r)
		return r;
	pthread_mutex_lock(&fake.lock);
	r = phys_new(prop, bytes, (prop->requestedHandleTypes & CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) != 0, &p);
	if (!r) {
		p->handles = 1;
		*ret = (uint64_t)p;
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle h)
{
	struct phys *p;

	CALL(CALL_INIT);
	pthread_mutex_lock(&fake.lock);
	p = handle_of(h);
	if (p) {
		p->handles--;
		phys_put(p);
	}
	pthread_mutex_unlock(&fake.lock);
	return p ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *ret, void *at)
{
	struct mapping *m;

	CALL(CALL_INIT);
	pthread_mutex_lock(&fake.lock);
	m = table_find(&fake.allocs, (uint64_t)at) ? NULL : table_find(&fake.mappings, (uint64_t)at);
	if (m && ret) {
		m->phys->handles++;
		*ret = (uint64_t)m->phys;
	}
	pthread_mutex_unlock(&fake.lock);
	return m && ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *ret, CUmemGenericAllocationHandle h)
{
	struct phys *p;

	CALL(CALL_INIT);
	pthread_mutex_lock(&fake.lock);
	p = handle_of(h);
	if (p && ret)
		*ret = p->prop;
	pthread_mutex_unlock(&fake.lock);
	return p && ret ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuMemExportToShareableHandle(void *ret, CUmemGenericAllocationHandle h, CUmemAllocationHandleType type, unsigned long long flags)
{
	struct phys *p;
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	int fd;

	CALL(CALL_INIT);
	if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || !ret || flags)
		return type == CU_MEM_HANDLE_TYPE_FABRIC ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	p = handle_of(h);
	if (p && p->shareable) {
		fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 3);
		r = fd < 0 ? CUDA_ERROR_OPERATING_SYSTEM : CUDA_SUCCESS;
		if (!r) {
			p->exported = true;
			*(int *)ret = fd;
		}
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

EXPORT CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *ret, void *handle, CUmemAllocationHandleType type)
{
	struct phys *p;
	CUresult r;

	CALL(CALL_INIT);
	if (!ret || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
		return CUDA_ERROR_INVALID_VALUE;
	if (fake.restored)
		return CUDA_ERROR_OPERATING_SYSTEM;     /* so on 580.159: a process that was checkpointed and restored imports nothing */
	pthread_mutex_lock(&fake.lock);
	r = phys_import((int)(intptr_t)handle, &p);
	if (!r) {
		p->handles = 1;
		*ret = (uint64_t)p;
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

EXPORT CUresult cuMemAddressReserve(CUdeviceptr *ret, size_t bytes, size_t align, CUdeviceptr hint, unsigned long long flags)
{
	struct reservation *s;
	uint64_t va;
	CUresult r;

	CALL(CALL_INIT);
	if (!ret || !aligned(bytes) || (align & (align - 1)) || flags)
		return CUDA_ERROR_INVALID_VALUE;
	s = calloc(1, sizeof(*s));
	if (!s)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&fake.lock);
	r = va_reserve(bytes, align, hint, &va);
	if (!r) {
		s->at = (struct span){ va, bytes };
		if (!table_add(&fake.reservations, &s->at)) {
			munmap((void *)va, bytes);
			r = CUDA_ERROR_OUT_OF_MEMORY;
		}
	}
	pthread_mutex_unlock(&fake.lock);
	if (r)
		free(s);
	else
		*ret = va;
	return r;
}

EXPORT CUresult cuMemAddressFree(CUdeviceptr va, size_t bytes)
{
	struct reservation *s;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	CALL(CALL_INIT);
	pthread_mutex_lock(&fake.lock);
	s = table_find(&fake.reservations, va);
	if (s && s->at.va == va && s->at.bytes == bytes && !table_overlaps(&fake.mappings, va, bytes)) {
		table_remove(&fake.reservations, &s->at);
		munmap((void *)va, bytes);
		free(s);
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

EXPORT CUresult cuMemMap(CUdeviceptr va, size_t bytes, size_t offset, CUmemGenericAllocationHandle h, unsigned long long flags)
{
	struct reservation *s;
	struct mapping *m;
	struct phys *p;
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	CALL(CALL_INIT);
	if (!aligned(bytes) || va % GRANULARITY || offset % GRANULARITY || flags)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	p = handle_of(h);
	s = table_find(&fake.reservations, va);
	if (p && s && va + bytes <= s->at.va + s->at.bytes && offset <= p->bytes && bytes <= p->bytes - offset)
		r = table_overlaps(&fake.mappings, va, bytes) ? CUDA_ERROR_INVALID_VALUE : map_new(va, p, offset, bytes, &m);
	pthread_mutex_unlock(&fake.lock);
	return r;
}

/* whole mappings, without holes, that fill [va, va + bytes) */
static bool covered(uint64_t va, uint64_t bytes)
{
	uint64_t end = va + bytes;

	while (va < end) {
		struct mapping *m = table_find(&fake.mappings, va);

		if (!m || m->at.va != va || table_find(&fake.allocs, va))
			return false;
		va += m->at.bytes;
	}
	return va == end;
}

EXPORT CUresult cuMemUnmap(CUdeviceptr va, size_t bytes)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;

	CALL(CALL_INIT);
	pthread_mutex_lock(&fake.lock);
	if (bytes && covered(va, bytes)) {
		for (uint64_t at = va; at < va + bytes;) {
			struct mapping *m = table_find(&fake.mappings, at);

			at += m->at.bytes;
			map_free(m);
		}
		r = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

EXPORT CUresult cuMemSetAccess(CUdeviceptr va, size_t bytes, const CUmemAccessDesc *desc, size_t n)
{
	CUresult r = CUDA_SUCCESS;

	CALL(CALL_INIT);
	if (!desc || !n || !bytes)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t k = 0; k < n; k++)
		if (desc[k].location.type != CU_MEM_LOCATION_TYPE_DEVICE || desc[k].location.id < 0 || (uint32_t)desc[k].location.id >= fake.machine->devices)
			return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&fake.lock);
	if (!covered(va, bytes))
		r = CUDA_ERROR_INVALID_VALUE;
	for (uint64_t at = va; !r && at < va + bytes;) {
		struct mapping *m = table_find(&fake.mappings, at);

		for (size_t k = 0; k < n; k++)
			m->access[desc[k].location.id] = (uint8_t)desc[k].flags;
		r = map_protect(m);
		at += m->at.bytes;
	}
	pthread_mutex_unlock(&fake.lock);
	return r;
}

EXPORT CUresult cuMemGetAccess(unsigned long long *ret, const CUmemLocation *where, CUdeviceptr va)
{
	struct mapping *m;

	CALL(CALL_INIT);
	if (!ret || !where || where->id < 0 || where->id >= FAKE_DEVICES_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&fake.lock);
	m = table_find(&fake.mappings, va);
	if (m)
		*ret = m->access[where->id];
	pthread_mutex_unlock(&fake.lock);
	return m ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
