/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "lane.h"

#define GRANULE (2ull << 20)
#define HASH_CHUNKS_A_BLOCK 8

/* kernels.S */
extern const char keeper_kernels[];

static void look_at(struct device *d)
{
	const struct cuda *cu = d->cu;
	int value = 0;

	if (cu->device_uuid(&d->uuid, d->ordinal) != CU_OK)
		memset(&d->uuid, 0, sizeof(d->uuid));
	if (cu->device_name(d->name, sizeof(d->name), d->ordinal) != CU_OK)
		d->name[0] = '\0';
	d->mig = strstr(d->name, " MIG ") != NULL;
	d->vmm = cu->device_attribute(&value, CU_ATTRIBUTE_VMM, d->ordinal) == CU_OK && value &&
		 cu->device_attribute(&value, CU_ATTRIBUTE_POSIX_FD, d->ordinal) == CU_OK && value;
}

int devices_open(const struct cuda *cu, struct device *ret, struct hearth_err *err)
{
	int n = 0, r = cuda_err(cu, cu->init(0), err, "cuInit");

	if (r == 0)
		r = cuda_err(cu, cu->device_count(&n), err, "cuDeviceGetCount");
	if (r < 0)
		return r;
	if (n > DEVICES_MAX)
		n = DEVICES_MAX;
	for (int k = 0; k < n; k++) {
		ret[k] = (struct device){ .cu = cu };
		pthread_mutex_init(&ret[k].lock, NULL);
		r = cuda_err(cu, cu->device_get(&ret[k].ordinal, k), err, "cuDeviceGet");
		if (r < 0)
			return r;
		look_at(&ret[k]);
	}
	return n;
}

void devices_close(struct device *devices, int n)
{
	for (int k = 0; k < n; k++) {
		struct device *d = &devices[k];

		if (d->context) {
			d->cu->set_current(d->context);
			lanes_free(d);
			if (d->module)
				d->cu->module_unload(d->module);
			d->cu->primary_release(d->ordinal);
		}
		pthread_mutex_destroy(&d->lock);
	}
}

/* without them everything works, only slower: digests are made on the CPU */
static void load_kernels(struct device *d)
{
	const struct cuda *cu = d->cu;
	struct hearth_err err = { 0 };

	if (cuda_err(cu, cu->module_load(&d->module, keeper_kernels), &err, "cuModuleLoadData") == 0 &&
	    cuda_err(cu, cu->module_function(&d->hash, d->module, "hearth_hash"), &err, "hearth_hash") == 0 &&
	    cuda_err(cu, cu->module_function(&d->gather, d->module, "hearth_gather"), &err, "hearth_gather") == 0)
		return;
	d->hash = d->gather = NULL;
	snprintf(d->why, sizeof(d->why), "no kernels on %.40s (%.100s)", d->name, err.msg);
}

int device_use(struct device *d, struct hearth_err *err)
{
	const struct cuda *cu = d->cu;
	bool fresh = false;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	if (!d->context) {
		r = cuda_err(cu, cu->primary_retain(&d->context, d->ordinal), err, "cuDevicePrimaryCtxRetain");
		fresh = r == 0;
		if (r < 0)
			d->context = NULL;
	}
	if (r == 0)
		r = cuda_err(cu, cu->set_current(d->context), err, "cuCtxSetCurrent");
	if (r == 0 && fresh)
		load_kernels(d);
	pthread_mutex_unlock(&d->lock);
	return r;
}

uint64_t device_room(struct device *d, uint64_t *ret_total)
{
	size_t available = 0, total = 0;

	if (d->cu->mem_info(&available, &total) != CU_OK)
		available = total = 0;
	if (ret_total)
		*ret_total = total;
	return available;
}

/* @m->handle is ours in any case */
static int map(struct device *d, struct mapping *m, struct hearth_err *err)
{
	const struct cuda *cu = d->cu;
	struct cu_access access = { { CU_LOCATION_DEVICE, d->ordinal }, CU_ACCESS_READWRITE };
	int r;

	r = cuda_err(cu, cu->address_reserve(&m->at, m->bytes, 0, 0, 0), err, "cuMemAddressReserve");
	if (r < 0)
		goto release;
	r = cuda_err(cu, cu->mem_map(m->at, m->bytes, 0, m->handle, 0), err, "cuMemMap");
	if (r < 0)
		goto unreserve;
	r = cuda_err(cu, cu->set_access(m->at, m->bytes, &access, 1), err, "cuMemSetAccess");
	if (r == 0)
		return 0;
	cu->mem_unmap(m->at, m->bytes);
unreserve:
	cu->address_free(m->at, m->bytes);
release:
	cu->mem_release(m->handle);
	return r;
}

int mapping_import(struct device *d, int fd, uint64_t bytes, struct mapping *ret, struct hearth_err *err)
{
	struct mapping m = { .device = d, .bytes = bytes };
	int r = device_use(d, err);

	if (r == 0)
		r = cuda_err(d->cu, d->cu->mem_import(&m.handle, (void *)(intptr_t)fd, CU_POSIX_FD), err, "cuMemImportFromShareableHandle");
	if (r == 0)
		r = map(d, &m, err);
	if (r == 0)
		*ret = m;
	return r;
}

int mapping_new(struct device *d, uint64_t bytes, struct mapping *ret, struct hearth_err *err)
{
	struct cu_memory_prop prop = { .type = CU_PINNED, .location = { CU_LOCATION_DEVICE, d->ordinal } };
	struct mapping m = { .device = d, .bytes = (bytes + GRANULE - 1) / GRANULE * GRANULE };
	int r = device_use(d, err);

	if (r == 0)
		r = cuda_err(d->cu, d->cu->mem_create(&m.handle, m.bytes, &prop, 0), err, "cuMemCreate");
	if (r == 0)
		r = map(d, &m, err);
	if (r == 0)
		*ret = m;
	return r;
}

void mapping_drop(struct mapping *m)
{
	if (m->device && m->at && device_use(m->device, NULL) == 0) {
		const struct cuda *cu = m->device->cu;

		cu->mem_unmap(m->at, m->bytes);
		cu->address_free(m->at, m->bytes);
		cu->mem_release(m->handle);
	}
	*m = (struct mapping){ 0 };
}

int device_hash(struct device *d, cu_stream stream, cu_deviceptr table, unsigned ranges, uint64_t chunks, uint64_t seed, cu_deviceptr out, struct hearth_err *err)
{
	void *args[] = { &table, &ranges, &chunks, &seed, &out };
	unsigned blocks = (unsigned)((chunks + HASH_CHUNKS_A_BLOCK - 1) / HASH_CHUNKS_A_BLOCK);

	return cuda_err(d->cu, d->cu->launch(d->hash, blocks, 1, 1, 256, 1, 1, 0, stream, args, NULL), err, "hearth_hash");
}

int device_gather(struct device *d, cu_stream stream, cu_deviceptr from, uint64_t chunks, cu_deviceptr to, struct hearth_err *err)
{
	void *args[] = { &from, &chunks, &to };

	return cuda_err(d->cu, d->cu->launch(d->gather, (unsigned)chunks, 1, 1, 256, 1, 1, 0, stream, args, NULL), err, "hearth_gather");
}
