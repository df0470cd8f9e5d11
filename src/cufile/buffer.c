/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "priv.h"

/* the first buffer that begins beyond @at; cf.buffer is sorted, and no two begin at one address */
static size_t above(uint64_t at)
{
	size_t low = 0, high = cf.buffers;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (cf.buffer[middle]->at > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static struct cf_buffer *buffer_at(uint64_t at)
{
	size_t k = above(at);

	return k > 0 && cf.buffer[k - 1]->at == at ? cf.buffer[k - 1] : NULL;
}

/* one that all of a range lies in */
static struct cf_buffer *buffer_around(uint64_t at, size_t bytes)
{
	for (size_t k = above(at); k > 0; k--) {
		struct cf_buffer *b = cf.buffer[k - 1];

		if (at - b->at >= cf.longest_bytes)
			break;
		if (at - b->at < b->bytes && bytes <= b->bytes - (at - b->at))
			return b;
	}
	return NULL;
}

int cf_device(int place, struct hearth_ds_device **ret)
{
	_Atomic(struct hearth_ds_device *) *at = place == CF_HOST ? &cf.host : &cf.cuda[place];
	char uri[16] = "host";
	int r = 0;

	if (!cf_ds())
		return -ENOMEM;
	*ret = atomic_load_explicit(at, memory_order_acquire);
	if (*ret)
		return 0;
	if (place != CF_HOST)
		snprintf(uri, sizeof(uri), "cuda:%d", place);
	r = hearth_ds_device(cf.ds, uri, ret);
	if (r == 0)
		atomic_store_explicit(at, *ret, memory_order_release);
	return r;
}

/* make a range known to libhearth-ds */
static CUfileOpError memory_of(uint64_t at, size_t bytes, int *ret_place, struct hearth_ds_memory **ret)
{
	int place = cf_place_of(at), r;
	struct hearth_ds_device *device;

	if (place == CF_HOST && !cf.p.bools[CUFILE_PARAM_PROPERTIES_ALLOW_SYSTEM_MEMORY]) {
		cf_log(CF_LOG_ERROR, "0x%llx is memory of the host, which allow_system_memory forbids", (unsigned long long)at);
		return CU_FILE_CUDA_MEMORY_TYPE_INVALID;
	}
	r = cf_device(place, &device);
	if (r == 0)
		r = hearth_ds_register(device, at, bytes, ret);
	*ret_place = place;
	if (r < 0)
		cf_log(CF_LOG_ERROR, "%s", hearth_ds_error());
	return cf_error_of(r, place == CF_HOST ? CU_FILE_INVALID_VALUE : CU_FILE_CUDA_POINTER_RANGE_ERROR);
}

CUfileOpError cf_range_get(const void *base, off_t offset, size_t bytes, struct cf_range *ret)
{
	uint64_t at = (uint64_t)(uintptr_t)base;
	struct cf_buffer *b = buffer_at(at);

	*ret = (struct cf_range){ 0 };
	if (!base || offset < 0 || at + (uint64_t)offset < at || at + (uint64_t)offset + bytes < at)
		return CU_FILE_INVALID_VALUE;
	if (b && ((uint64_t)offset > b->bytes || bytes > b->bytes - (uint64_t)offset)) {
		cf_log(CF_LOG_ERROR, "%zu bytes at %lld are beyond the %zu that were registered at %p", bytes, (long long)offset, b->bytes, base);
		return CU_FILE_INVALID_MAPPING_RANGE;
	}
	at += (uint64_t)offset;
	if (!b)
		b = buffer_around(at, bytes);
	if (!b)
		return CU_FILE_SUCCESS;
	b->refs++;
	*ret = (struct cf_range){ .buffer = b, .ds = b->ds, .offset = at - b->at, .place = b->place };
	return CU_FILE_SUCCESS;
}

CUfileOpError cf_range_make(const void *base, off_t offset, size_t bytes, struct cf_range *r)
{
	return memory_of((uint64_t)(uintptr_t)base + (uint64_t)offset, bytes, &r->place, &r->ds);
}

/* cf.lock held */
static CUfileOpError buffer_new(uint64_t at, size_t bytes)
{
	struct cf_buffer *b = calloc(1, sizeof(*b));
	uint64_t limit = (uint64_t)cf.p.sizes[CUFILE_PARAM_PROPERTIES_MAX_DEVICE_PINNED_MEM_SIZE_KB] << 10;
	CUfileOpError e = CU_FILE_NOMEM_ERROR;
	size_t k = above(at);

	if (!b || array_grow((void **)&cf.buffer, &cf.buffer_cap, cf.buffers + 1, sizeof(struct cf_buffer *)) < 0)
		goto err;
	*b = (struct cf_buffer){ .at = at, .bytes = bytes };
	e = memory_of(at, bytes, &b->place, &b->ds);
	if (e != CU_FILE_SUCCESS)
		goto err;
	if (b->place != CF_HOST && (bytes > limit || cf.pinned[b->place] > limit - bytes)) {
		cf_log(CF_LOG_ERROR, "cuFileBufRegister: with %zu more bytes it would be more than max_device_pinned_mem_size_kb allows", bytes);
		hearth_ds_release(b->ds);
		e = CU_FILE_INVALID_MAPPING_SIZE;
		goto err;
	}
	if (b->place != CF_HOST)
		cf.pinned[b->place] += bytes;
	memmove(&cf.buffer[k + 1], &cf.buffer[k], (cf.buffers - k) * sizeof(struct cf_buffer *));
	cf.buffer[k] = b;
	cf.buffers++;
	if (bytes > cf.longest_bytes)
		cf.longest_bytes = bytes;
	return CU_FILE_SUCCESS;
err:
	free(b);
	return e;
}

static void buffer_free(void *thing)
{
	struct cf_buffer *b = thing;

	hearth_ds_release(b->ds);
	free(b);
}

/* cf.lock held; let go while it is in use */
static void buffer_close(struct cf_buffer *b)
{
	size_t k = above(b->at);

	cf.buffers--;
	memmove(&cf.buffer[k - 1], &cf.buffer[k], (cf.buffers - (k - 1)) * sizeof(struct cf_buffer *));
	if (b->place != CF_HOST)
		cf.pinned[b->place] -= b->bytes;
	cf_retire(&b->refs, buffer_free, b);
}

void cf_buffers_close(void)
{
	while (cf.buffers > 0)
		buffer_close(cf.buffer[cf.buffers - 1]);
	free(cf.buffer);
	cf.buffer = NULL;
	cf.buffer_cap = 0;
	cf.longest_bytes = 0;
}

CF_EXPORT CUfileError_t cuFileBufRegister(const void *base, size_t bytes, int flags)
{
	uint64_t at = (uint64_t)(uintptr_t)base;
	CUfileOpError e;

	if (!base || bytes == 0 || at + bytes < at || (flags & ~(CU_FILE_RDMA_REGISTER | CU_FILE_RDMA_RELAXED_ORDERING)))
		return cf_status(CU_FILE_INVALID_VALUE);
	e = cf_enter();
	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	e = buffer_at(at) ? CU_FILE_MEMORY_ALREADY_REGISTERED : buffer_new(at, bytes);
	cf_count(CF_BUFFER_REGISTER, e == CU_FILE_SUCCESS, 1);
	cf_leave();
	return cf_status(e);
}

CF_EXPORT CUfileError_t cuFileBufDeregister(const void *base)
{
	struct cf_buffer *b;
	CUfileOpError e;

	if (!base)
		return cf_status(CU_FILE_INVALID_VALUE);
	e = cf_enter_open();
	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	b = buffer_at((uint64_t)(uintptr_t)base);
	if (b)
		buffer_close(b);
	cf_count(CF_BUFFER_DEREGISTER, b != NULL, 1);
	cf_leave();
	return cf_status(b ? CU_FILE_SUCCESS : CU_FILE_MEMORY_NOT_REGISTERED);
}
