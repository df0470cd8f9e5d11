/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "cuda.h"
#include "map.h"

/* Return: 0, -errno: it cannot be what @m says */
static int own(struct hearth_ds_memory *m, struct hearth_err *err)
{
	struct hearth_ds_device *d = m->device;
	int r;

	if (d->kind == DEVICE_HOST) {
		m->cpu = (uint8_t *)(uintptr_t)m->at;
		return 0;
	}
	/* there is no other way to memory of these */
	if (d->kind == DEVICE_IVSHMEM)
		return map_memory(m, err);
	r = cuda_enter(d->cuda, err);
	if (r < 0)
		return r;
	r = cuda_own(d->cuda, m->at, m->bytes, err);
	if (r == 0 && d->p2p)
		(void)map_memory(m, NULL);
	cuda_leave(d->cuda);
	return r;
}

int hearth_ds_register(struct hearth_ds_device *device, uint64_t at, size_t bytes, struct hearth_ds_memory **ret)
{
	struct hearth_ds *ds = device->ds;
	struct hearth_ds_memory *m;
	int r;

	if (bytes == 0 || at + bytes < at || (device->kind == DEVICE_HOST && at == 0))
		return err_set(ds_error(), -EINVAL, "hearth_ds_register: %zu bytes at 0x%llx are no memory", bytes, (unsigned long long)at);
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	m->device = device;
	m->at = at;
	m->bytes = bytes;
	r = own(m, ds_error());
	if (r < 0) {
		map_memory_done(m);
		free(m);
		return r;
	}
	pthread_mutex_lock(&ds->lock);
	m->id = ++ds->last_id;
	m->next = ds->memories;
	ds->memories = m;
	pthread_mutex_unlock(&ds->lock);
	*ret = m;
	return 0;
}

struct hearth_ds_memory *hearth_ds_release(struct hearth_ds_memory *memory)
{
	struct hearth_ds_memory **at;
	struct hearth_ds *ds;

	if (!memory)
		return NULL;
	ds = memory->device->ds;
	uses_wait_none(&memory->uses);
	pthread_mutex_lock(&ds->lock);
	for (at = &ds->memories; *at != memory; at = &(*at)->next)
		;
	*at = memory->next;
	pairs_of_memory_gone(memory);
	pthread_mutex_unlock(&ds->lock);
	map_memory_done(memory);
	free(memory);
	return NULL;
}
