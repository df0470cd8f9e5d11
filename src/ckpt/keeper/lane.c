/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "lane.h"

/* behind the digests */
#define TABLE_OFFSET (SLICE_CHUNKS * sizeof(struct digest))

unsigned lanes_wanted(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 4 ? 4 : n > LANES_MAX ? LANES_MAX : (unsigned)n;
}

static void *host_memory(struct device *d, size_t bytes, bool *ret_pinned)
{
	void *at = NULL;

	*ret_pinned = d->cu->host_alloc(&at, bytes, CU_HOST_PORTABLE) == CU_OK;
	return *ret_pinned ? at : aligned_alloc(4096, bytes);
}

static void host_memory_free(struct device *d, void *at, bool pinned)
{
	if (at && pinned)
		d->cu->host_free(at);
	else
		free(at);
}

static void lane_free(struct lane *l)
{
	mapping_drop(&l->staging);
	mapping_drop(&l->small);
	host_memory_free(l->device, l->host, l->pinned);
	if (l->stream)
		l->device->cu->stream_destroy(l->stream);
	free(l);
}

static int lane_new(struct device *d, struct lane **ret, struct hearth_err *err)
{
	const size_t bytes = SLICE_MAX + SLICE_CHUNKS * sizeof(struct digest) + sizeof(struct kernel_range);
	struct lane *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(err, -ENOMEM, "out of memory");
	l->device = d;
	r = cuda_err(d->cu, d->cu->stream_create(&l->stream, CU_STREAM_NONBLOCKING), err, "cuStreamCreate");
	if (r == 0) {
		l->host = host_memory(d, (bytes + 4095) / 4096 * 4096, &l->pinned);
		if (!l->host)
			r = err_set(err, -ENOMEM, "out of memory for a copy buffer");
	}
	if (r < 0) {
		lane_free(l);
		return r;
	}
	l->digests = (struct digest *)(l->host + SLICE_MAX);
	*ret = l;
	return 0;
}

int lane_get(struct device *d, struct lane **ret, struct hearth_err *err)
{
	int r = device_use(d, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&d->lock);
	*ret = d->lanes;
	if (d->lanes)
		d->lanes = d->lanes->next;
	pthread_mutex_unlock(&d->lock);
	return *ret ? 0 : lane_new(d, ret, err);
}

bool lane_can_hash(struct lane *l)
{
	if (l->device->hash && !l->small.at && mapping_new(l->device, TABLE_OFFSET + sizeof(struct kernel_range), &l->small, NULL) == 0) {
		l->digests_at = l->small.at;
		l->table_at = l->small.at + TABLE_OFFSET;
	}
	return l->small.at != 0;
}

void lane_stage(struct lane *l)
{
	if (l->slice || !lane_can_hash(l))
		return;
	for (l->slice = SLICE_MAX; l->slice >= SLICE_MIN; l->slice /= 2)
		if (mapping_new(l->device, l->slice, &l->staging, NULL) == 0)
			return;
	l->slice = 0;
}

void lane_put(struct lane *l)
{
	struct device *d = l->device;

	pthread_mutex_lock(&d->lock);
	l->next = d->lanes;
	d->lanes = l;
	pthread_mutex_unlock(&d->lock);
}

void lanes_unstage(struct device *d)
{
	struct lane *idle;

	pthread_mutex_lock(&d->lock);
	idle = d->lanes;
	d->lanes = NULL;
	pthread_mutex_unlock(&d->lock);
	/* one without lanes may have no context either, and is not to get one for this */
	if (idle)
		(void)device_use(d, NULL);
	while (idle) {
		struct lane *l = idle;

		idle = l->next;
		mapping_drop(&l->staging);
		l->slice = 0;
		lane_put(l);
	}
}

void lanes_prepare(struct device *d)
{
	struct lane *all[LANES_MAX];
	unsigned n = 0;

	while (n < lanes_wanted() && lane_get(d, &all[n], NULL) == 0)
		lane_stage(all[n++]);
	while (n > 0)
		lane_put(all[--n]);
}

void lanes_free(struct device *d)
{
	while (d->lanes) {
		struct lane *l = d->lanes;

		d->lanes = l->next;
		lane_free(l);
	}
}

int lane_sync(struct lane *l, struct hearth_err *err)
{
	return cuda_err(l->device->cu, l->device->cu->stream_sync(l->stream), err, "a copy or digest on the device");
}

int lane_hash(struct lane *l, cu_deviceptr at, uint64_t chunks, uint64_t seed, struct hearth_err *err)
{
	const struct cuda *cu = l->device->cu;
	struct kernel_range *one = (struct kernel_range *)(l->digests + SLICE_CHUNKS);
	int r;

	*one = (struct kernel_range){ at, 0 };
	r = cuda_err(cu, cu->copy_htod(l->table_at, one, sizeof(*one), l->stream), err, "cuMemcpyHtoDAsync");
	if (r == 0)
		r = device_hash(l->device, l->stream, l->table_at, 1, chunks, seed, l->digests_at, err);
	if (r == 0)
		r = cuda_err(cu, cu->copy_dtoh(l->digests, l->digests_at, chunks * sizeof(struct digest), l->stream), err, "cuMemcpyDtoHAsync");
	return r == 0 ? lane_sync(l, err) : r;
}
