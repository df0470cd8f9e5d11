/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "cuda.h"
#include "load.h"

/* Memory for who has none. It begins at a multiple of a page on every device, so that O_DIRECT can write into it where it can at all. */

#define PAGE_BYTES 4096u
#define HUGE_BYTES (2u << 20)

/* huge pages where there are some: otherwise half of the time of a load from the page cache goes into page faults */
static int host_alloc(size_t bytes, struct hearth_ds_buffer *b)
{
	size_t align = bytes >= HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES, all;
	void *base;

	if (__builtin_add_overflow(bytes, 2 * align - 1, &all))
		return err_set(ds_error(), -ENOMEM, "out of memory: %zu bytes were asked for", bytes);
	all -= all % align;
	base = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return err_set(ds_error(), -errno, "cannot allocate %zu bytes: %s", bytes, strerror(errno));
	if (align == HUGE_BYTES)
		(void)madvise(base, all, MADV_HUGEPAGE);
	b->base = (uintptr_t)base;
	b->at = (b->base + align - 1) & ~(uint64_t)(align - 1);
	b->bytes = bytes;
	return 0;
}

static void host_free(struct hearth_ds_buffer *b)
{
	size_t align = b->bytes >= HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES, all = b->bytes + 2 * align - 1;

	munmap((void *)(uintptr_t)b->base, all - all % align);
}

static int cuda_alloc(struct hearth_ds_device *d, size_t bytes, struct hearth_ds_buffer *b)
{
	struct cuda_device *c = d->cuda;
	size_t all;
	int r;

	if (__builtin_add_overflow(bytes, PAGE_BYTES - 1, &all))
		return err_set(ds_error(), -ENOMEM, "%s: out of memory: %zu bytes were asked for", d->uri, bytes);
	r = cuda_enter(c, ds_error());
	if (r < 0)
		return r;
	r = cuda_err(c->cu, c->cu->mem_alloc(&b->base, all), ds_error(), "cuMemAlloc");
	cuda_leave(c);
	if (r < 0)
		return err_prefix(ds_error(), "%s: cannot allocate %zu bytes", d->uri, all);
	b->at = (b->base + PAGE_BYTES - 1) & ~(uint64_t)(PAGE_BYTES - 1);
	b->bytes = bytes;
	return 0;
}

/* the driver waits for the device first: kernels that still read it are done */
static void cuda_give_back(struct hearth_ds_buffer *b)
{
	struct cuda_device *c = b->device->cuda;

	if (cuda_enter(c, NULL) < 0)
		return;
	(void)c->cu->mem_free(b->base);
	cuda_leave(c);
}

static int take(struct hearth_ds_device *d, size_t bytes, struct hearth_ds_buffer *b)
{
	switch (d->kind) {
	case DEVICE_HOST:
		return host_alloc(bytes, b);
	case DEVICE_CUDA:
		return cuda_alloc(d, bytes, b);
	default:
		return err_set(ds_error(), -EOPNOTSUPP, "%s: its memory is not to be had by allocating; register a range of it and say that tensors go there", d->uri);
	}
}

static void give_back(struct hearth_ds_buffer *b)
{
	switch (b->device->kind) {
	case DEVICE_HOST:
		host_free(b);
		break;
	case DEVICE_CUDA:
		cuda_give_back(b);
		break;
	default:
		break;
	}
}

int hearth_ds_alloc(struct hearth_ds_device *device, size_t bytes, struct hearth_ds_buffer *ret)
{
	struct hearth_ds_buffer b = { .device = device };
	int r = bytes ? take(device, bytes, &b) : err_set(ds_error(), -EINVAL, "hearth_ds_alloc: 0 bytes are no memory");

	if (r < 0)
		return r;
	r = hearth_ds_register(device, b.at, bytes, &b.memory);
	if (r < 0) {
		give_back(&b);
		return r;
	}
	*ret = b;
	return 0;
}

void hearth_ds_free(struct hearth_ds_buffer *b)
{
	if (b->memory) {
		hearth_ds_release(b->memory);
		give_back(b);
	}
	*b = (struct hearth_ds_buffer){ 0 };
}
