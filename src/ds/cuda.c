/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"

/* Once for the process, and never unloaded: the driver has threads of its own. */
static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda driver;

static int driver_get(struct hearth_err *err)
{
	int r = 0;

	pthread_mutex_lock(&driver_lock);
	if (!driver.lib)
		r = cuda_load(&driver, NULL, err);
	pthread_mutex_unlock(&driver_lock);
	return r < 0 ? -ENODEV : 0;
}

static int parse(const char *text, int *ret)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n > 1023)
		return -EINVAL;
	*ret = (int)n;
	return 0;
}

static int find(struct cuda_device *c, struct hearth_err *err)
{
	int n = 0;

	if (cuda_err(c->cu, c->cu->init(0), err, "cuInit") < 0)
		return -ENODEV;
	if (cuda_err(c->cu, c->cu->device_count(&n), err, "cuDeviceGetCount") < 0 || c->ordinal >= n)
		return err_set(err, -ENODEV, "cuda:%d: this process sees %d devices", c->ordinal, n);
	return cuda_err(c->cu, c->cu->device_get(&c->device, c->ordinal), err, "cuDeviceGet");
}

int cuda_open(const char *text, struct cuda_device **ret, struct hearth_err *err)
{
	struct cuda_device *c;
	int n, r = parse(text, &n);

	if (r < 0)
		return err_set(err, r, "'cuda:%.50s' is no device: a number follows the colon", text);
	r = driver_get(err);
	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(err, -ENOMEM, "out of memory");
	c->cu = &driver;
	c->ordinal = n;
	r = find(c, err);
	if (r == 0)
		r = cuda_err(c->cu, c->cu->primary_retain(&c->context, c->device), err, "cuDevicePrimaryCtxRetain");
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

struct cuda_device *cuda_close(struct cuda_device *c)
{
	if (c)
		c->cu->primary_release(c->device);
	free(c);
	return NULL;
}

int cuda_enter(struct cuda_device *c, struct hearth_err *err)
{
	return cuda_err(c->cu, c->cu->push_current(c->context), err, "cuCtxPushCurrent");
}

void cuda_leave(struct cuda_device *c)
{
	cu_context ours;

	(void)c->cu->pop_current(&ours);
}

cu_context cuda_current(void)
{
	cu_context context = NULL;

	if (driver.lib)
		(void)driver.get_current(&context);
	return context;
}

void cuda_current_again(cu_context context)
{
	(void)driver.set_current(context);
}

int cuda_own(struct cuda_device *c, uint64_t at, size_t bytes, struct hearth_err *err)
{
	const uint64_t ends[] = { at, at + bytes - 1 };

	for (int k = 0; k < 2; k++) {
		unsigned type = 0;
		int ordinal = -1;

		if (c->cu->pointer_attribute(&type, CU_POINTER_MEMORY_TYPE, ends[k]) != CU_OK || type != CU_MEMORY_DEVICE)
			return err_set(err, -EINVAL, "0x%llx is no device memory; memory of the process is registered with the device \"host\"", (unsigned long long)ends[k]);
		if (c->cu->pointer_attribute(&ordinal, CU_POINTER_ORDINAL, ends[k]) != CU_OK || ordinal != c->ordinal)
			return err_set(err, -EINVAL, "0x%llx is memory of cuda:%d, not of cuda:%d", (unsigned long long)ends[k], ordinal, c->ordinal);
	}
	return 0;
}

int cuda_stream(struct cuda_device *c, cu_stream *ret, struct hearth_err *err)
{
	int least = 0, greatest = 0;

	/*
	 * The greatest priority: a stream that waits for us (hearth_ds_enqueue) may hold up others of its channel, and streams share channels with those of their own priority only.
	 */
	(void)c->cu->priority_range(&least, &greatest);
	return cuda_err(c->cu, c->cu->stream_create_priority(ret, CU_STREAM_NONBLOCKING, greatest), err, "cuStreamCreateWithPriority");
}

/* ---- copies ---- */

bool copies_add(struct copies *k, cu_deviceptr to, cu_deviceptr from, size_t bytes)
{
	size_t last = k->n - 1;

	if (k->n && k->to[last] + k->bytes[last] == to && k->from[last] + k->bytes[last] == from) {
		k->bytes[last] += bytes;
		return true;
	}
	if (k->n == COPIES_MAX)
		return false;
	k->to[k->n] = to;
	k->from[k->n] = from;
	k->bytes[k->n++] = bytes;
	return true;
}

static cu_result start_batch(const struct cuda *cu, struct copies *k, cu_stream stream)
{
	struct cu_copy_attributes attributes = { .source_order = CU_SOURCE_STREAM_ORDER };
	size_t from = 0, failed;

	if (cu->copy_batch)
		return cu->copy_batch(k->to, k->from, k->bytes, k->n, &attributes, &from, 1, stream);
	return cu->copy_batch_12(k->to, k->from, k->bytes, k->n, &attributes, &from, 1, &failed, stream);
}

int copies_start(struct cuda_device *c, struct copies *k, cu_stream stream, struct hearth_err *err)
{
	const struct cuda *cu = c->cu;
	cu_result r = CU_OK;
	size_t n = k->n;

	if (n > 2 && (cu->copy_batch || cu->copy_batch_12) && !atomic_load_explicit(&c->no_batch, memory_order_relaxed)) {
		if (start_batch(cu, k, stream) == CU_OK) {
			k->n = 0;
			return 0;
		}
		/* refused as a whole: what is wrong with one of them comes to light one by one */
		atomic_store(&c->no_batch, true);
	}
	for (size_t i = 0; i < n && r == CU_OK; i++)
		r = cu->copy_htod(k->to[i], (void *)(uintptr_t)k->from[i], k->bytes[i], stream);
	k->n = 0;
	return cuda_err(cu, r, err, "cuMemcpyHtoDAsync");
}
