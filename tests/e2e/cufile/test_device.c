/* SPDX-License-Identifier: Apache-2.0 */
/* The drop-in with memory of devices: the fake driver's. Its device memory can be read by the processor, too; test_dropin.py shows that copies are made all the same. */
#include "rig.h"

#include <pthread.h>
#include <stdatomic.h>

#include "fake_cuda/driver.h"

#define ROOM (8u << 20)

static CUcontext context[2];
static CUdeviceptr memory[2];

static int device_begin(void **state)
{
	CUdevice d;

	if (rig_begin(state) < 0)
		return -1;
	setenv("HEARTH_FAKE_CUDA", "devices=2,memory=256M", 1);
	setenv("HEARTH_FAKE_CUDA_DIR", path_of("machine"), 1);
	if (mkdir(path_of("machine"), 0755) < 0 || cuInit(0))
		return -1;
	for (int k = 0; k < 2; k++)
		if (cuDeviceGet(&d, k) || cuDevicePrimaryCtxRetain(&context[k], d) || cuCtxSetCurrent(context[k]) || cuMemAlloc(&memory[k], ROOM))
			return -1;
	return 0;
}

static void *pointer(int device, size_t offset)
{
	return (void *)(uintptr_t)(memory[device] + offset);
}

static void fill(int device, uint8_t value)
{
	assert_int_equal(cuCtxSetCurrent(context[device]), CUDA_SUCCESS);
	assert_int_equal(cuMemsetD8(memory[device], value, ROOM), CUDA_SUCCESS);
	assert_int_equal(cuCtxSynchronize(), CUDA_SUCCESS);             /* reads are ordered with no stream */
}

static uint8_t *contents(int device, size_t offset, size_t n)
{
	static uint8_t copy[ROOM];

	assert_int_equal(cuCtxSetCurrent(context[device]), CUDA_SUCCESS);
	assert_int_equal(cuMemcpyDtoH(copy, memory[device] + offset, n), CUDA_SUCCESS);
	return copy;
}

/* both devices, registered and not, all kinds of alignment, from threads with any context and none */
static void test_reads(void **state)
{
	static const struct { size_t n, to; off_t from; } cases[] = {
		{ 1, 0, 0 }, { 4096, 0, 0 }, { 4096, 4096, 8192 }, { 511, 77, 3 }, { 100000, 1, 4095 }, { 1 << 20, 1 << 20, 1 << 20 }, { 3 * (1 << 20) + 5, 513, 1 }, { 5000000, 0, 123457 },
	};
	int fds[2] = { make_file("f", 31, FILE_BYTES, O_RDONLY), open(path_of("f"), O_RDONLY | O_DIRECT) };

	for (int way = 0; way < 16; way++) {
		int device = way & 1, registered = way >> 1 & 1, fd = fds[way >> 2 & 1];
		CUcontext current = way >> 3 ? context[!device] : NULL, after;
		CUfileHandle_t h;

		if (fd < 0)
			continue;
		h = handle_of(fd);
		if (registered)
			assert_int_equal(cuFileBufRegister(pointer(device, 0), ROOM, 0).err, CU_FILE_SUCCESS);
		for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
			uint8_t *copy;

			fill(device, GUARD);
			assert_int_equal(cuCtxSetCurrent(current), CUDA_SUCCESS);
			assert_int_equal(cuFileRead(h, pointer(device, 0), cases[k].n, cases[k].from, (off_t)cases[k].to), cases[k].n);
			assert_int_equal(cuCtxGetCurrent(&after), CUDA_SUCCESS);
			assert_ptr_equal(after, current);
			copy = contents(device, 0, ROOM);
			assert_all(copy, GUARD, cases[k].to);
			assert_bytes(copy + cases[k].to, 31, (uint64_t)cases[k].from, cases[k].n);
			assert_all(copy + cases[k].to + cases[k].n, GUARD, 4096);
		}
		driver_closed(NULL);
	}
	close(fds[0]);
	close(fds[1]);
}

static void test_interior_pointers(void **state)
{
	int fd = make_file("f", 32, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);

	assert_int_equal(cuFileBufRegister(pointer(0, 1 << 20), 1 << 20, 0).err, CU_FILE_SUCCESS);
	/* a pointer into a buffer, one into the allocation only, and one from before the buffer to within it */
	for (size_t k = 0; k < 3; k++) {
		size_t at = (size_t[]){ (1 << 20) + 4097, 12345, (1 << 20) - 5000 }[k];
		uint8_t *copy;

		fill(0, GUARD);
		assert_int_equal(cuFileRead(h, pointer(0, at), 60000, 99, 11), 60000);
		copy = contents(0, 0, ROOM);
		assert_all(copy, GUARD, at + 11);
		assert_bytes(copy + at + 11, 32, 99, 60000);
		assert_all(copy + at + 11 + 60000, GUARD, 10000);
	}
	assert_int_equal(cuFileRead(h, pointer(0, 1 << 20), 60000, 0, (1 << 20) - 59999), -CU_FILE_INVALID_MAPPING_RANGE);
	close(fd);
}

static void test_writes(void **state)
{
	static uint8_t data[ROOM], found[ROOM];
	int fd = make_file("f", 1, 0, O_RDWR);
	CUfileHandle_t h = handle_of(fd);

	for (size_t k = 0; k < ROOM; k++)
		data[k] = byte_at(33, k);
	for (int device = 0; device < 2; device++) {
		assert_int_equal(cuCtxSetCurrent(context[device]), CUDA_SUCCESS);
		assert_int_equal(cuMemcpyHtoD(memory[device], data, ROOM), CUDA_SUCCESS);
		assert_int_equal(cuFileWrite(h, pointer(device, 0), 3000001, 100000 * device + 17, 4095), 3000001);
		assert_int_equal(pread(fd, found, 3000001, 100000 * device + 17), 3000001);
		assert_memory_equal(found, data + 4095, 3000001);
	}
	close(fd);
}

static void test_wrong_memory(void **state)
{
	int fd = make_file("f", 34, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUdeviceptr small;

	assert_int_equal(cuCtxSetCurrent(context[0]), CUDA_SUCCESS);
	assert_int_equal(cuMemAlloc(&small, 4 << 20), CUDA_SUCCESS);
	assert_int_equal(cuFileBufRegister((void *)(uintptr_t)small, (size_t)1 << 33, 0).err, CU_FILE_CUDA_POINTER_RANGE_ERROR);
	assert_int_equal(cuFileRead(h, (void *)(uintptr_t)small, (size_t)1 << 33, 0, 0), -CU_FILE_CUDA_POINTER_RANGE_ERROR);
	assert_int_equal(cuFileBufRegister((void *)(uintptr_t)small, 4 << 20, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBufRegister((void *)(uintptr_t)small, 4 << 20, 0).err, CU_FILE_MEMORY_ALREADY_REGISTERED);
	assert_int_equal(cuFileBufDeregister((void *)(uintptr_t)small).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBufDeregister((void *)(uintptr_t)small).err, CU_FILE_MEMORY_NOT_REGISTERED);
	assert_int_equal(cuMemFree(small), CUDA_SUCCESS);
	close(fd);
}

static void test_pinned_limit(void **state)
{
	assert_int_equal(cuFileDriverOpen().err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileDriverSetMaxPinnedMemSize(1024).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBufRegister(pointer(0, 0), (1 << 20) + 1, 0).err, CU_FILE_INVALID_MAPPING_SIZE);
	assert_int_equal(cuFileBufRegister(pointer(0, 0), 600 << 10, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBufRegister(pointer(0, 1 << 20), 600 << 10, 0).err, CU_FILE_INVALID_MAPPING_SIZE);
	assert_int_equal(cuFileBufRegister(pointer(1, 0), 600 << 10, 0).err, CU_FILE_SUCCESS);          /* each device has its own */
	assert_int_equal(cuFileBufDeregister(pointer(0, 0)).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBufRegister(pointer(0, 1 << 20), 600 << 10, 0).err, CU_FILE_SUCCESS);
	/* lowered below what there is: nothing more, and no arithmetic below zero */
	assert_int_equal(cuFileDriverSetMaxPinnedMemSize(100).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBufRegister(pointer(0, 0), 1, 0).err, CU_FILE_INVALID_MAPPING_SIZE);
}

/* no direct path here: forbidding the other one is an error that says so, for devices, and for them only */
static void test_compatibility_mode(void **state)
{
	int fd = make_file("f", 35, FILE_BYTES, O_RDONLY);
	static uint8_t data[5000];
	CUfileIOEvents_t e;
	CUfileBatchHandle_t b;
	unsigned nr = 1;
	CUfileHandle_t h;

	assert_int_equal(cuFileSetParameterBool(CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE, false).err, CU_FILE_SUCCESS);
	h = handle_of(fd);
	assert_int_equal(cuFileRead(h, pointer(0, 0), 5000, 0, 0), -CU_FILE_IO_NOT_SUPPORTED);
	assert_int_equal(cuFileRead(h, data, 5000, 0, 0), 5000);
	assert_int_equal(cuFileBatchIOSetUp(&b, 1).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOSubmit(b, 1, &(CUfileIOParams_t){ .mode = CUFILE_BATCH, .u.batch = { pointer(0, 0), 0, 0, 5000 }, .fh = h }, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOGetStatus(b, 1, &nr, &e, NULL).err, CU_FILE_SUCCESS);
	assert_int_equal(e.status, CUFILE_INVALID);
	assert_int_equal((ssize_t)e.ret, -CU_FILE_IO_NOT_SUPPORTED);
	driver_closed(NULL);
	assert_int_equal(cuFileSetParameterBool(CUFILE_PARAM_FORCE_COMPAT_MODE, true).err, CU_FILE_SUCCESS);
	h = handle_of(fd);
	assert_int_equal(cuFileRead(h, pointer(0, 0), 5000, 0, 0), 5000);
	assert_bytes(contents(0, 0, 5000), 35, 0, 5000);
	close(fd);
}

/* one batch with memory of both devices and of the host */
static void test_mixed_batch(void **state)
{
	enum { N = 300 };
	static CUfileIOParams_t p[N];
	static CUfileIOEvents_t e[N];
	static uint8_t data[N * 7000];
	int fd = make_file("f", 36, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUfileBatchHandle_t b;
	unsigned nr = N;

	assert_int_equal(cuFileBufRegister(pointer(1, 0), ROOM, 0).err, CU_FILE_SUCCESS);
	for (size_t k = 0; k < N; k++)
		p[k] = (CUfileIOParams_t){ .mode = CUFILE_BATCH, .fh = h, .cookie = (void *)k,
			.u.batch = { k % 3 == 2 ? data : pointer(k % 3, 0), (off_t)k * 111, (off_t)k * 7000, 1 + (k * 37) % 7000 } };
	assert_int_equal(cuFileBatchIOSetUp(&b, N).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOSubmit(b, N, p, 0).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileBatchIOGetStatus(b, N, &nr, e, NULL).err, CU_FILE_SUCCESS);
	assert_int_equal(nr, N);
	for (unsigned k = 0; k < N; k++) {
		size_t i = (size_t)e[k].cookie;

		assert_int_equal(e[k].status, CUFILE_COMPLETE);
		assert_int_equal(e[k].ret, 1 + (i * 37) % 7000);
		assert_bytes(i % 3 == 2 ? data + i * 7000 : contents(i % 3, i * 7000, 7000), 36, i * 111, e[k].ret);
	}
	close(fd);
}

struct crowd { CUfileHandle_t h; atomic_uint next, wrong; };

static void *read_parts(void *arg)
{
	struct crowd *c = arg;
	unsigned k;

	while ((k = atomic_fetch_add(&c->next, 1)) < 200)
		if (cuFileRead(c->h, pointer((int)(k & 1), 0), 40000, (off_t)k * 30011, (off_t)(k >> 1) * 40000) != 40000)
			atomic_fetch_add(&c->wrong, 1);
	return NULL;
}

static void test_threads(void **state)
{
	int fd = make_file("f", 37, FILE_BYTES, O_RDONLY);
	struct crowd c = { .h = handle_of(fd) };
	pthread_t t[6];

	for (int k = 0; k < 6; k++)
		assert_int_equal(pthread_create(&t[k], NULL, read_parts, &c), 0);
	for (int k = 0; k < 6; k++)
		pthread_join(t[k], NULL);
	assert_int_equal(atomic_load(&c.wrong), 0);
	for (unsigned k = 0; k < 200; k++)
		assert_bytes(contents((int)(k & 1), (size_t)(k >> 1) * 40000, 40000), 37, (uint64_t)k * 30011, 40000);
	close(fd);
}

/* ---- in streams ---- */

struct args { size_t n; off_t at, to; ssize_t done; };

static CUfileOpError read_async(CUfileHandle_t h, void *base, struct args *a, CUstream s)
{
	return cuFileReadAsync(h, base, &a->n, &a->at, &a->to, &a->done, s).err;
}

/* a stream that does not go on before it is let */
struct gate { pthread_mutex_t lock; pthread_cond_t change; bool open, reached; };

static void wait_gate(void *arg)
{
	struct gate *g = arg;

	pthread_mutex_lock(&g->lock);
	g->reached = true;
	pthread_cond_broadcast(&g->change);
	while (!g->open)
		pthread_cond_wait(&g->change, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void close_stream(struct gate *g, CUstream s)
{
	*g = (struct gate){ .lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER };
	assert_int_equal(cuLaunchHostFunc(s, wait_gate, g), CUDA_SUCCESS);
}

static void open_stream(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->open = true;
	pthread_cond_broadcast(&g->change);
	pthread_mutex_unlock(&g->lock);
}

static CUstream stream_of(int device)
{
	CUstream s;

	assert_int_equal(cuCtxSetCurrent(context[device]), CUDA_SUCCESS);
	assert_int_equal(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
	return s;
}

struct seen { const struct args *a; ssize_t done; };

/* in the stream's order: what the program sees right after the operation, before anything waits for the stream */
static void look(void *arg)
{
	struct seen *s = arg;

	s->done = s->a->done;
}

/* sizes and offsets are those of the moment when the stream gets there; the result is there before it goes on */
static void late_or_fixed(unsigned flags, const void *registered_base)
{
	int fd = make_file("f", 41, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUstream s = stream_of(0);
	struct args a = { .n = 100000, .at = 5, .to = 17 }, was = a, now;
	struct seen seen = { .a = &a };
	struct gate g;

	fill(0, GUARD);
	if (registered_base)
		assert_int_equal(cuFileBufRegister(registered_base, ROOM, 0).err, CU_FILE_SUCCESS);
	if (flags)
		assert_int_equal(cuFileStreamRegister(s, flags).err, CU_FILE_SUCCESS);
	close_stream(&g, s);
	assert_int_equal(read_async(h, pointer(0, 0), &a, s), CU_FILE_SUCCESS);
	assert_int_equal(cuLaunchHostFunc(s, look, &seen), CUDA_SUCCESS);
	assert_int_equal(a.done, 0);
	a.n = 70000;
	a.at = 1234;
	a.to = 4097;
	now.n = flags & CU_FILE_STREAM_FIXED_FILE_SIZE ? was.n : a.n;
	now.at = flags & CU_FILE_STREAM_FIXED_FILE_OFFSET ? was.at : a.at;
	now.to = flags & CU_FILE_STREAM_FIXED_BUF_OFFSET ? was.to : a.to;
	open_stream(&g);
	assert_int_equal(cuStreamSynchronize(s), CUDA_SUCCESS);
	assert_int_equal(a.done, now.n);
	assert_int_equal(seen.done, now.n);
	assert_all(contents(0, 0, (size_t)now.to), GUARD, (size_t)now.to);
	assert_bytes(contents(0, (size_t)now.to, now.n), 41, (uint64_t)now.at, now.n);
	assert_all(contents(0, (size_t)now.to + now.n, 5000), GUARD, 5000);
	if (flags)
		assert_int_equal(cuFileStreamDeregister(s).err, CU_FILE_SUCCESS);
	driver_closed(NULL);
	assert_int_equal(cuStreamDestroy(s), CUDA_SUCCESS);
	close(fd);
}

static void test_stream_late(void **state)
{
	for (unsigned flags = 0; flags < 16; flags++) {
		late_or_fixed(flags, NULL);
		late_or_fixed(flags, pointer(0, 0));
	}
}

/* copies of it are asynchronous: those of other memory may wait for the stream */
static uint8_t *pinned(size_t n)
{
	void *at = NULL;

	assert_int_equal(cuMemHostAlloc(&at, n, 0), CUDA_SUCCESS);
	return at;
}

/* copies before and after in the stream see the order; so do two operations of one stream */
static void test_stream_order(void **state)
{
	enum { BYTES = 200000 };
	uint8_t *data = pinned(BYTES), *found = pinned(BYTES);
	int fd = make_file("f", 42, 0, O_RDWR);
	CUfileHandle_t h = handle_of(fd);
	struct args w = { .n = BYTES, .at = 333 }, r = { .n = BYTES, .at = 333, .to = 1 << 20 };
	CUstream s = stream_of(1);
	struct gate g;

	for (size_t k = 0; k < BYTES; k++)
		data[k] = byte_at(43, k);
	close_stream(&g, s);
	assert_int_equal(cuMemcpyHtoDAsync(memory[1], data, BYTES, s), CUDA_SUCCESS);
	assert_int_equal(cuFileWriteAsync(h, pointer(1, 0), &w.n, &w.at, &w.to, &w.done, s).err, CU_FILE_SUCCESS);
	assert_int_equal(read_async(h, pointer(1, 0), &r, s), CU_FILE_SUCCESS);
	assert_int_equal(cuMemcpyDtoHAsync(found, memory[1] + (1 << 20), BYTES, s), CUDA_SUCCESS);
	open_stream(&g);
	assert_int_equal(cuStreamSynchronize(s), CUDA_SUCCESS);
	assert_int_equal(w.done, BYTES);
	assert_int_equal(r.done, BYTES);
	assert_memory_equal(found, data, BYTES);
	assert_int_equal(cuStreamDestroy(s), CUDA_SUCCESS);
	assert_int_equal(cuMemFreeHost(data), CUDA_SUCCESS);
	assert_int_equal(cuMemFreeHost(found), CUDA_SUCCESS);
	close(fd);
}

/* memory of the host, in a device's stream and in order with what is in it */
static void test_stream_host_memory(void **state)
{
	enum { BYTES = 100000 };
	uint8_t *data = pinned(BYTES);
	int fd = make_file("f", 44, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	struct args a = { .n = 50000, .at = 77, .to = 3 };
	CUstream s = stream_of(0);
	struct gate g;

	memset(data, GUARD, BYTES);
	close_stream(&g, s);
	assert_int_equal(read_async(h, data, &a, s), CU_FILE_SUCCESS);
	assert_int_equal(cuMemcpyHtoDAsync(memory[0], data, BYTES, s), CUDA_SUCCESS);
	assert_all(data, GUARD, BYTES);
	open_stream(&g);
	assert_int_equal(cuStreamSynchronize(s), CUDA_SUCCESS);
	assert_int_equal(a.done, 50000);
	assert_bytes(contents(0, 3, 50000), 44, 77, 50000);
	assert_int_equal(cuStreamDestroy(s), CUDA_SUCCESS);
	driver_closed(NULL);
	assert_int_equal(cuMemFreeHost(data), CUDA_SUCCESS);
	close(fd);
}

/* no stream: after what is in the default one, and done at the call's end */
static void test_default_stream(void **state)
{
	int fd = make_file("f", 45, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	struct args a = { .n = 50000, .at = 77, .to = 3 };

	assert_int_equal(cuCtxSetCurrent(context[0]), CUDA_SUCCESS);
	assert_int_equal(cuMemsetD8Async(memory[0], GUARD, ROOM, NULL), CUDA_SUCCESS);
	assert_int_equal(read_async(h, pointer(0, 0), &a, NULL), CU_FILE_SUCCESS);
	assert_int_equal(a.done, 50000);
	assert_bytes(contents(0, 3, 50000), 45, 77, 50000);
	assert_all(contents(0, 50003, 100), GUARD, 100);
	/* also from a thread that has no context */
	assert_int_equal(cuCtxSetCurrent(NULL), CUDA_SUCCESS);
	assert_int_equal(read_async(h, pointer(0, 0), &a, NULL), CU_FILE_SUCCESS);
	assert_int_equal(a.done, 50000);
	close(fd);
}

static void test_stream_wrong(void **state)
{
	int fd = make_file("f", 46, 10000, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUstream s = stream_of(0);
	struct args a = { .n = 5000 };
	struct args bad[] = { { .n = 5000, .at = -1 }, { .n = 5000, .to = -1 }, { .n = 5000, .to = ROOM - 4999 }, { .n = SIZE_MAX }, { .n = 0 }, { .n = 5000, .at = 9000 }, { .n = 5000, .at = 20000 } };
	const ssize_t results[] = { -CU_FILE_INVALID_VALUE, -CU_FILE_INVALID_VALUE, -CU_FILE_INVALID_MAPPING_RANGE, -CU_FILE_INVALID_VALUE, 0, 1000, 0 };

	/* at the call */
	assert_int_equal(cuFileReadAsync(h, NULL, &a.n, &a.at, &a.to, &a.done, s).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileReadAsync(h, pointer(0, 0), NULL, &a.at, &a.to, &a.done, s).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileReadAsync(h, pointer(0, 0), &a.n, &a.at, &a.to, NULL, s).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(read_async(NULL, pointer(0, 0), &a, s), CU_FILE_HANDLE_NOT_REGISTERED);
	assert_int_equal(cuFileWriteAsync(h, pointer(0, 0), &a.n, &a.at, &a.to, &a.done, s).err, CU_FILE_INVALID_FILE_OPEN_FLAG);
	/* when the stream gets there */
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		assert_int_equal(read_async(h, pointer(0, 0), &bad[k], s), CU_FILE_SUCCESS);
	assert_int_equal(read_async(h, pointer(0, 0), &a, s), CU_FILE_SUCCESS);
	assert_int_equal(cuStreamSynchronize(s), CUDA_SUCCESS);
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		assert_int_equal(bad[k].done, results[k]);
	assert_int_equal(a.done, 5000);
	/* streams */
	assert_int_equal(cuFileStreamRegister(s, 16).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileStreamRegister(s, 15).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileStreamRegister(s, 0).err, CU_FILE_INVALID_VALUE);
	assert_int_equal(cuFileStreamDeregister(s).err, CU_FILE_SUCCESS);
	assert_int_equal(cuFileStreamDeregister(s).err, CU_FILE_INVALID_VALUE);
	driver_closed(NULL);
	assert_int_equal(cuFileStreamDeregister(s).err, CU_FILE_DRIVER_NOT_INITIALIZED);
	assert_int_equal(cuStreamDestroy(s), CUDA_SUCCESS);
	close(fd);
}

/* a device that fails is -1 in a stream, and the stream goes on */
static void test_stream_failing_file(void **state)
{
	int fd = make_file("f", 46, FILE_BYTES, O_RDONLY);
	struct args a = { .n = 5000 }, b = { .n = 5000, .at = -1 };
	CUstream s = stream_of(0);
	CUfileHandle_t h;

	setenv("HEARTH_FAULT", "fail:ds.eio", 1);
	h = handle_of(fd);
	assert_int_equal(read_async(h, pointer(0, 0), &a, s), CU_FILE_SUCCESS);
	assert_int_equal(read_async(h, pointer(0, 0), &b, s), CU_FILE_SUCCESS);
	assert_int_equal(cuStreamSynchronize(s), CUDA_SUCCESS);
	assert_int_equal(a.done, -1);
	assert_int_equal(b.done, -CU_FILE_INVALID_VALUE);
	driver_closed(NULL);
	unsetenv("HEARTH_FAULT");
	assert_int_equal(cuStreamDestroy(s), CUDA_SUCCESS);
	close(fd);
}

/* the driver is closed while a stream has not come to an operation yet: the close waits, the operation ends as it would have */
struct closer { CUfileOpError e; atomic_bool done; };

static void *close_driver(void *arg)
{
	struct closer *c = arg;

	c->e = cuFileDriverClose_v2().err;
	atomic_store(&c->done, true);
	return NULL;
}

static void test_close_waits_for_stream(void **state)
{
	int fd = make_file("f", 49, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUstream s = stream_of(0);
	struct args a = { .n = 5000, .at = 9 };
	struct closer c = { .e = CU_FILE_INTERNAL_ERROR };
	struct gate g;
	pthread_t t;

	close_stream(&g, s);
	assert_int_equal(read_async(h, pointer(0, 0), &a, s), CU_FILE_SUCCESS);
	assert_int_equal(pthread_create(&t, NULL, close_driver, &c), 0);
	/* while it waits, others are turned away */
	while (cuFileRead(h, pointer(0, 0), 1, 0, 0) != -CU_FILE_DRIVER_CLOSING)
		;
	assert_false(atomic_load(&c.done));
	assert_int_equal(a.done, 0);
	open_stream(&g);
	pthread_join(t, NULL);
	assert_int_equal(c.e, CU_FILE_SUCCESS);
	assert_int_equal(a.done, 5000);
	assert_int_equal(cuStreamSynchronize(s), CUDA_SUCCESS);
	assert_bytes(contents(0, 0, 5000), 49, 9, 5000);
	assert_int_equal(cuStreamDestroy(s), CUDA_SUCCESS);
	close(fd);
}

/* a stream that is being captured: an operation is not put into a graph, and the capture goes on */
static void test_capture(void **state)
{
	int fd = make_file("f", 47, 10000, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUstream s = stream_of(0);
	struct args a = { .n = 5000 };
	CUgraph graph;

	assert_int_equal(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), CUDA_SUCCESS);
	assert_int_equal(read_async(h, pointer(0, 0), &a, s), CU_FILE_ASYNC_NOT_SUPPORTED);
	assert_int_equal(cuStreamEndCapture(s, &graph), CUDA_SUCCESS);
	assert_int_equal(cuGraphDestroy(graph), CUDA_SUCCESS);
	assert_int_equal(cuStreamDestroy(s), CUDA_SUCCESS);
	close(fd);
}

/* many operations in several streams, unregistered memory, results checked at the end; then the driver is closed with some that were not waited for */
static void test_many_streams(void **state)
{
	enum { STREAMS = 4, EACH = 50, BYTES = 20000 };
	static struct args a[STREAMS][EACH];
	int fd = make_file("f", 48, FILE_BYTES, O_RDONLY);
	CUfileHandle_t h = handle_of(fd);
	CUstream s[STREAMS];

	for (int k = 0; k < STREAMS; k++)
		s[k] = stream_of(k & 1);
	for (int round = 0; round < 2; round++) {
		for (int k = 0; k < STREAMS * EACH; k++) {
			struct args *one = &a[k % STREAMS][k / STREAMS];

			*one = (struct args){ .n = BYTES, .at = k * 1009, .to = (off_t)(k / 2) * BYTES };
			assert_int_equal(cuCtxSetCurrent(context[k & 1]), CUDA_SUCCESS);
			assert_int_equal(read_async(h, pointer(k & 1, 0), one, s[k % STREAMS]), CU_FILE_SUCCESS);
		}
		if (round == 1)
			break;
		for (int k = 0; k < STREAMS; k++)
			assert_int_equal(cuStreamSynchronize(s[k]), CUDA_SUCCESS);
		for (int k = 0; k < STREAMS * EACH; k++) {
			assert_int_equal(a[k % STREAMS][k / STREAMS].done, BYTES);
			assert_bytes(contents(k & 1, (size_t)(k / 2) * BYTES, BYTES), 48, (uint64_t)k * 1009, BYTES);
		}
	}
	driver_closed(NULL);
	for (int k = 0; k < STREAMS * EACH; k++)
		assert_int_equal(a[k % STREAMS][k / STREAMS].done, BYTES);
	for (int k = 0; k < STREAMS; k++)
		assert_int_equal(cuStreamDestroy(s[k]), CUDA_SUCCESS);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, driver_closed, driver_closed)
	const struct CMUnitTest tests[] = {
		TEST(test_reads), TEST(test_interior_pointers), TEST(test_writes), TEST(test_wrong_memory), TEST(test_pinned_limit), TEST(test_compatibility_mode), TEST(test_mixed_batch), TEST(test_threads),
		TEST(test_stream_late), TEST(test_stream_order), TEST(test_stream_host_memory), TEST(test_default_stream), TEST(test_stream_wrong), TEST(test_stream_failing_file), TEST(test_close_waits_for_stream), TEST(test_capture),
		TEST(test_many_streams),
	};

	return cmocka_run_group_tests_name("cufile-device", tests, device_begin, rig_end);
}
