/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "cuda.h"

static int own(struct hearth_ds_device *d, uint64_t at, size_t bytes)
{
	int r = cuda_enter(d->cuda, ds_error());

	if (r < 0)
		return r;
	r = cuda_own(d->cuda, at, bytes, ds_error());
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
	if (device->cuda && (r = own(device, at, bytes)) < 0)
		return r;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	m->device = device;
	m->at = at;
	m->bytes = bytes;
	if (device->kind == DEVICE_HOST)
		m->cpu = (uint8_t *)(uintptr_t)at;
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
	free(memory);
	return NULL;
}
