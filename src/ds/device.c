/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "priv.h"
#include "ring.h"

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
	ring_free(atomic_load(&d->ring));
	pthread_mutex_destroy(&d->lock);
	free(d);
	return NULL;
}

static int device_open(struct hearth_ds *ds, const char *uri, struct hearth_ds_device **ret, struct hearth_err *err)
{
	if (strcmp(uri, "host") != 0)
		return err_set(err, -EINVAL, "'%.60s' is no device; there are host, cuda:N and ivshmem:BDF", uri);
	*ret = device_new(ds, uri, DEVICE_HOST);
	return *ret ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int device_pin(struct hearth_ds_device *d, void *at, size_t bytes, struct hearth_err *err)
{
	return 0;
}

void device_unpin(struct hearth_ds_device *d, void *at)
{
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
