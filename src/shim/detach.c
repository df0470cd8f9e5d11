/* SPDX-License-Identifier: Apache-2.0 */
#include "detach.h"

#include <errno.h>
#include <unistd.h>

#include "log.h"
#include "mem.h"
#include "shim.h"

static CUresult map_again(struct mem_map *m)
{
	CUresult ret = DRV(cuMemMap)(m->at.at, m->at.bytes, m->offset, m->phys->handle, 0);

	if (ret != CUDA_SUCCESS)
		return ret;
	ret = mem_set_access(m);
	if (ret != CUDA_SUCCESS)
		DRV(cuMemUnmap)(m->at.at, m->at.bytes);
	return ret;
}

static CUresult unmap_all(void)
{
	CUresult ret;
	size_t i;

	for (i = 0; i < mem.maps.n; i++) {
		ret = DRV(cuMemUnmap)(mem.maps.v[i]->at, mem.maps.v[i]->bytes);
		if (ret != CUDA_SUCCESS)
			break;
	}
	if (i == mem.maps.n)
		return CUDA_SUCCESS;
	while (i-- > 0)
		map_again((struct mem_map *)mem.maps.v[i]);
	return ret;
}

static void release(struct mem_phys *p)
{
	if (DRV(cuMemRelease)(p->handle) != CUDA_SUCCESS)
		log_once(LOG_RELEASE, "device memory could not be released: it goes with the driver's checkpoint, slowly");
	p->attached = false;
}

int detach_all(void)
{
	CUresult ret;

	pthread_mutex_lock(&shim_lock);
	ret = unmap_all();
	for (struct mem_phys *p = mem.first; p && ret == CUDA_SUCCESS; p = p->next)
		release(p);
	pthread_mutex_unlock(&shim_lock);
	return (int)ret;
}

static void unmap_some(struct mem_phys *p, const struct mem_map *end)
{
	for (struct mem_map *m = p->maps; m != end; m = m->next)
		DRV(cuMemUnmap)(m->at.at, m->at.bytes);
}

static CUresult attach(struct mem_phys *p)
{
	CUresult ret = DRV(cuMemCreate)(&p->handle, p->bytes, &p->prop, 0);

	if (ret != CUDA_SUCCESS)
		return ret;
	for (struct mem_map *m = p->maps; m; m = m->next) {
		ret = map_again(m);
		if (ret == CUDA_SUCCESS)
			continue;
		unmap_some(p, m);
		release(p);
		return ret;
	}
	p->attached = true;
	return CUDA_SUCCESS;
}

static struct mem_phys *by_id(uint64_t id)
{
	struct mem_phys *p = mem.first;

	while (p && p->id != id)
		p = p->next;
	return p;
}

int detach_create(uint64_t id, int *ret_fd)
{
	struct mem_phys *p;
	int ret, fd = -1;

	pthread_mutex_lock(&shim_lock);
	p = id ? by_id(id) : NULL;
	ret = !p ? -ENOENT : p->attached ? -EEXIST : (int)attach(p);
	if (ret == 0) {
		ret = (int)DRV(cuMemExportToShareableHandle)(&fd, p->handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
		if (ret == 0) {
			p->announced = true;
			*ret_fd = fd;
		} else {
			unmap_some(p, NULL);
			release(p);
		}
	}
	pthread_mutex_unlock(&shim_lock);
	return ret;
}

int detach_finish(void)
{
	int ret = 0;

	pthread_mutex_lock(&shim_lock);
	for (struct mem_phys *p = mem.first; p && ret == 0; p = p->next) {
		if (!p->attached)
			ret = p->id ? -ENODATA : (int)attach(p);
	}
	pthread_mutex_unlock(&shim_lock);
	return ret;
}

void detach_undo(void)
{
	pthread_mutex_lock(&shim_lock);
	for (struct mem_phys *p = mem.first; p; p = p->next) {
		if (!p->attached)
			continue;
		unmap_some(p, NULL);
		release(p);
	}
	pthread_mutex_unlock(&shim_lock);
}
