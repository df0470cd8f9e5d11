/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "cuda.h"
#include "map.h"

#define TRIAL_BYTES (64u << 10)         /* memory of our own for trying a way: what NVIDIA's driver pins at least */

/* the module, once for a context; ds->lock is held */
static int node_of(struct hearth_ds *ds, struct hearth_err *err)
{
	int r;

	if (ds->p2p_node >= 0)
		return ds->p2p_node;
	r = p2p_open(&ds->p2p_node, err);
	if (r < 0)
		ds->p2p_node = -1;
	return r < 0 ? r : ds->p2p_node;
}

int map_device(struct hearth_ds_device *d, const char *pci)
{
	struct hearth_err err = { 0 };
	struct hearth_p2p_device *device = calloc(1, sizeof(*device));
	int node = device ? node_of(d->ds, &err) : err_set(&err, -ENOMEM, "out of memory"), r = node;

	if (node >= 0)
		r = p2p_find(node, pci, device, &err);
	if (r < 0) {
		free(device);
		snprintf(d->why_map, sizeof(d->why_map), "%.239s", err.msg);
		return r;
	}
	d->p2p = device;
	return 0;
}

/* memory of the device that nobody else uses: a way is tried by sending bytes */
static int trial(struct hearth_ds_device *d, struct hearth_err *err)
{
	const struct cuda *cu = d->cuda->cu;
	int on = 1, r;

	if (d->trial.id)
		return 0;
	r = cuda_enter(d->cuda, err);
	if (r < 0)
		return r;
	r = cuda_err(cu, cu->mem_alloc(&d->trial_at, TRIAL_BYTES), err, "cuMemAlloc");
	if (r == 0 && cu->set_pointer_attribute)
		(void)cu->set_pointer_attribute(&on, CU_POINTER_SYNC_MEMOPS, d->trial_at);
	if (r == 0)
		r = p2p_register(d->ds->p2p_node, d->p2p, d->trial_at, TRIAL_BYTES, true, &d->trial, err);
	if (r < 0 && d->trial_at) {
		(void)cu->mem_free(d->trial_at);
		d->trial_at = 0;
	}
	cuda_leave(d->cuda);
	return r;
}

void map_device_done(struct hearth_ds_device *d)
{
	p2p_release(&d->trial);
	if (d->trial_at)
		(void)d->cuda->cu->mem_free(d->trial_at);
	free(d->p2p);
}

int map_memory(struct hearth_ds_memory *m, struct hearth_err *err)
{
	struct hearth_ds_device *d = m->device;
	struct hearth_err why = { 0 };
	int on = 1, r;

	if (!d->p2p)
		return err_set(err, -ENODEV, "%s", d->why_map);
	if (d->cuda && !d->cuda->cu->flush_writes) {
		m->why_map = strdup("the driver lacks the call that orders other devices' writes (cuFlushGPUDirectRDMAWrites)");
		return err_set(err, -EOPNOTSUPP, "the driver lacks cuFlushGPUDirectRDMAWrites");
	}
	/* copies within the driver are then ordered with what storage does */
	if (d->cuda && d->cuda->cu->set_pointer_attribute)
		(void)d->cuda->cu->set_pointer_attribute(&on, CU_POINTER_SYNC_MEMOPS, m->at);
	r = p2p_register(d->ds->p2p_node, d->p2p, m->at, m->bytes, true, &m->map, &why);
	if (r < 0) {
		m->why_map = strdup(why.msg);
		return err_set(err, r, "%s", why.msg);
	}
	m->cpu = m->map.addr;
	return 0;
}

void map_memory_done(struct hearth_ds_memory *m)
{
	p2p_release(&m->map);
	free(m->why_map);
}

void map_trusted(struct hearth_ds_file *f, struct hearth_ds_memory *m, char why[240])
{
	struct hearth_ds_device *d = m->device;
	struct hearth_err err = { 0 };
	int r = 0;

	pthread_mutex_lock(&d->lock);
	if (d->cuda)
		r = trial(d, &err);
	if (r == 0)
		r = p2p_trust(d->cuda ? &d->trial : &m->map, f->fd, f->writable, &err);
	pthread_mutex_unlock(&d->lock);
	snprintf(why, 240, "%.239s", r < 0 ? err.msg : "");
}

int map_arrived(struct hearth_ds_memory *m)
{
	struct cuda_device *c = m->device->cuda;
	int r = c ? cuda_enter(c, NULL) : 0;

	if (!c || r < 0)
		return r;
	r = cuda_errno(c->cu->flush_writes(CU_FLUSH_CURRENT_CONTEXT, CU_FLUSH_TO_OWNER));
	cuda_leave(c);
	return r;
}
