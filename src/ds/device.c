/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"

static struct hearth_ds_device *device_new(struct hearth_ds *ds, const char *uri, enum device_kind kind)
{
	struct hearth_ds_device *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->ds = ds;
	d->kind = kind;
	snprintf(d->uri, sizeof(d->uri), "%s", uri);
	pthread_mutex_init(&d->lock, NULL);
	return d;
}

static struct hearth_ds_device *device_free(struct hearth_ds_device *d)
{
	crew_free(atomic_load(&d->crew));
	if (!d->cuda || cuda_enter(d->cuda, NULL) == 0) {
		streams_free(d->streams);
		ring_free(atomic_load(&d->ring));
		if (d->cuda)
			cuda_leave(d->cuda);
	}
	cuda_close(d->cuda);
	pthread_mutex_destroy(&d->lock);
	free(d);
	return NULL;
}

static int device_open(struct hearth_ds *ds, const char *uri, struct hearth_ds_device **ret, struct hearth_err *err)
{
	struct hearth_ds_device *d;
	bool cuda = strncmp(uri, "cuda:", 5) == 0;
	int r;

	if (!cuda && strcmp(uri, "host") != 0)
		return err_set(err, -EINVAL, "'%.60s' is no device; there are host, cuda:N and ivshmem:BDF", uri);
	d = device_new(ds, uri, cuda ? DEVICE_CUDA : DEVICE_HOST);
	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	r = cuda ? cuda_open(uri + 5, &d->cuda, err) : 0;
	if (r < 0)
		device_free(d);
	else
		*ret = d;
	return r;
}

int device_pin(struct hearth_ds_device *d, void *at, size_t bytes, struct hearth_err *err)
{
	int r;

	if (!d->cuda)
		return 0;
	r = cuda_enter(d->cuda, err);
	if (r < 0)
		return r;
	r = cuda_err(d->cuda->cu, d->cuda->cu->host_register(at, bytes, CU_HOST_PORTABLE), err, "cuMemHostRegister");
	cuda_leave(d->cuda);
	return r;
}

void device_unpin(struct hearth_ds_device *d, void *at)
{
	if (d->cuda)
		(void)d->cuda->cu->host_unregister(at);
}

int hearth_ds_device(struct hearth_ds *ds, const char *uri, struct hearth_ds_device **ret)
{
	struct hearth_ds_device *d;
	int r = 0;

	pthread_mutex_lock(&ds->lock);
	for (d = ds->devices; d && strcmp(d->uri, uri) != 0; d = d->next)
		;
	if (!d) {
		r = device_open(ds, uri, &d, ds_error());
		if (r == 0) {
			d->next = ds->devices;
			ds->devices = d;
		}
	}
	pthread_mutex_unlock(&ds->lock);
	if (r == 0)
		*ret = d;
	return r;
}

void devices_free(struct hearth_ds *ds)
{
	while (ds->devices) {
		struct hearth_ds_device *d = ds->devices;

		ds->devices = d->next;
		device_free(d);
	}
}
