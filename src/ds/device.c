/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "desk.h"
#include "map.h"
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
		map_device_done(d);
		desks_free(d);
		ring_free(atomic_load(&d->ring));
		if (d->cuda)
			cuda_leave(d->cuda);
	}
	cuda_close(d->cuda);
	pthread_mutex_destroy(&d->lock);
	free(d);
	return NULL;
}

static int open_cuda(struct hearth_ds_device *d, struct hearth_err *err)
{
	char pci[32] = "";
	int r = cuda_open(d->uri + strlen("cuda:"), &d->cuda, err);

	if (r < 0)
		return r;
	/* without it the others remain: why is told by hearth_ds_probe */
	if (d->cuda->cu->pci_bus_id && d->cuda->cu->pci_bus_id(pci, sizeof(pci), d->cuda->device) == CU_OK)
		(void)map_device(d, pci);
	else
		snprintf(d->why_map, sizeof(d->why_map), "the driver does not say where the device is");
	return 0;
}

static int open_ivshmem(struct hearth_ds_device *d, struct hearth_err *err)
{
	if (map_device(d, d->uri + strlen("ivshmem:")) < 0)
		return err_set(err, -ENODEV, "%s", d->why_map);
	return 0;
}

static const struct { const char *prefix; enum device_kind kind; int (*open)(struct hearth_ds_device *d, struct hearth_err *err); } kinds[] = {
	{ "cuda:", DEVICE_CUDA, open_cuda },
	{ "ivshmem:", DEVICE_IVSHMEM, open_ivshmem },
};

/* ds->lock is held */
static int device_open(struct hearth_ds *ds, const char *uri, struct hearth_ds_device **ret, struct hearth_err *err)
{
	struct hearth_ds_device *d;
	size_t k, n = sizeof(kinds) / sizeof(kinds[0]);
	int r = 0;

	for (k = 0; k < n && strncmp(uri, kinds[k].prefix, strlen(kinds[k].prefix)) != 0; k++)
		;
	if ((k == n && strcmp(uri, "host") != 0) || strlen(uri) >= sizeof(d->uri))
		return err_set(err, -EINVAL, "'%.60s' is no device; there are host, cuda:N and ivshmem:BDF", uri);
	d = device_new(ds, uri, k == n ? DEVICE_HOST : kinds[k].kind);
	if (!d)
		return err_set(err, -ENOMEM, "out of memory");
	r = k == n ? 0 : kinds[k].open(d, err);
	if (r < 0) {
		device_free(d);
		return r;
	}
	d->next = ds->devices;
	ds->devices = d;
	*ret = d;
	return 0;
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
	if (!d)
		r = device_open(ds, uri, &d, ds_error());
	pthread_mutex_unlock(&ds->lock);
	if (d)
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
