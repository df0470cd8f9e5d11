/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a command's own on a device, and a way to look at it that is not the library's: what was verified went by two ways. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cuda/driver.h"
#include "ds_cli.h"

struct device_memory {
	uint64_t at, bytes;
	bool host, bar;                 /* @bar: of a device without a driver; a way to look at it is the library's only */
	struct cuda cu;
	cu_device device;
	cu_context context;
};

static int new_host(struct device_memory *m, struct hearth_err *err)
{
	void *at = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return err_set(err, -errno, "no memory: %s", strerror(errno));
	(void)madvise(at, m->bytes, MADV_HUGEPAGE);
	m->at = (uint64_t)(uintptr_t)at;
	return 0;
}

static int new_cuda(struct device_memory *m, const char *number, struct hearth_err *err)
{
	int r = cuda_load(&m->cu, NULL, err);

	if (r == 0)
		r = cuda_err(&m->cu, m->cu.init(0), err, "cuInit");
	if (r == 0)
		r = cuda_err(&m->cu, m->cu.device_get(&m->device, atoi(number)), err, "cuDeviceGet");
	if (r == 0)
		r = cuda_err(&m->cu, m->cu.primary_retain(&m->context, m->device), err, "cuDevicePrimaryCtxRetain");
	if (r == 0)
		r = cuda_err(&m->cu, m->cu.set_current(m->context), err, "cuCtxSetCurrent");
	if (r == 0)
		r = cuda_err(&m->cu, m->cu.mem_alloc(&m->at, m->bytes), err, "cuMemAlloc");
	return r;
}

int device_memory_new(const char *uri, uint64_t bytes, struct device_memory **ret, struct hearth_err *err)
{
	struct device_memory *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return err_set(err, -ENOMEM, "out of memory");
	m->bytes = bytes;
	m->host = strcmp(uri, "host") == 0;
	m->bar = strncmp(uri, "ivshmem:", 8) == 0;
	r = m->host ? new_host(m, err) : m->bar ? 0 : new_cuda(m, uri + strlen("cuda:"), err);
	if (r < 0)
		device_memory_free(m);
	else
		*ret = m;
	return r;
}

uint64_t device_memory_at(const struct device_memory *m)
{
	return m->at;
}

int device_memory_get(struct device_memory *m, uint64_t offset, void *to, uint64_t n, struct hearth_err *err)
{
	int r;

	if (m->bar)
		return err_set(err, -EOPNOTSUPP, "there is no other way to look at this device's memory than the one to be verified");
	if (m->host) {
		memcpy(to, (const uint8_t *)(uintptr_t)m->at + offset, n);
		return 0;
	}
	r = cuda_err(&m->cu, m->cu.copy_dtoh(to, m->at + offset, n, NULL), err, "cuMemcpyDtoHAsync");
	return r == 0 ? cuda_err(&m->cu, m->cu.stream_sync(NULL), err, "cuStreamSynchronize") : r;
}

int device_memory_put(struct device_memory *m, uint64_t offset, const void *from, uint64_t n, struct hearth_err *err)
{
	int r;

	if (m->bar)
		return err_set(err, -EOPNOTSUPP, "there is no other way to this device's memory than the one to be verified");
	if (m->host) {
		memcpy((uint8_t *)(uintptr_t)m->at + offset, from, n);
		return 0;
	}
	r = cuda_err(&m->cu, m->cu.copy_htod(m->at + offset, from, n, NULL), err, "cuMemcpyHtoDAsync");
	return r == 0 ? cuda_err(&m->cu, m->cu.stream_sync(NULL), err, "cuStreamSynchronize") : r;
}

int device_memory_enter(struct device_memory *m, struct hearth_err *err)
{
	return m->context ? cuda_err(&m->cu, m->cu.set_current(m->context), err, "cuCtxSetCurrent") : 0;
}

int device_memory_stream(struct device_memory *m, cu_stream *ret, struct hearth_err *err)
{
	*ret = NULL;
	return m->context ? cuda_err(&m->cu, m->cu.stream_create(ret, CU_STREAM_NONBLOCKING), err, "cuStreamCreate") : 0;
}

int device_memory_stream_sync(struct device_memory *m, cu_stream stream, struct hearth_err *err)
{
	return m->context ? cuda_err(&m->cu, m->cu.stream_sync(stream), err, "cuStreamSynchronize") : 0;
}

void device_memory_stream_free(struct device_memory *m, cu_stream stream)
{
	if (stream)
		(void)m->cu.stream_destroy(stream);
}

struct device_memory *device_memory_free(struct device_memory *m)
{
	if (!m)
		return NULL;
	if (m->host && m->at)
		munmap((void *)(uintptr_t)m->at, m->bytes);
	if (m->context) {
		if (m->at)
			(void)m->cu.mem_free(m->at);
		(void)m->cu.primary_release(m->device);
	}
	free(m);
	return NULL;
}
