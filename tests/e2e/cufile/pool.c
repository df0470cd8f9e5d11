/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that uses cuFile as I/O libraries on top of it do (KvikIO's documented ways): both libraries by dlopen, every symbol looked up at the start; a file opened
 * twice, with O_DIRECT and without; reads of one range in parallel by a pool of threads, each a base of the allocation and an offset into it, the context pushed and
 * popped around; buffers mostly not registered; then the same in a stream, with results that are looked at after the stream was waited for. usage: pool idle | pool
 * FILE. Prints what it saw.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cufile/abi.h"
#include "fake_cuda/types.h"

#define TASK_BYTES (1u << 20)
#define THREADS 4
#define FILE_BYTES (9u * (1u << 20) + 12345)

static struct {
#define X(type, name, arguments) type (*name) arguments;
	CUFILE_CALLS(X)
#undef X
} cufile;

static struct {
	CUresult (*init)(unsigned), (*get)(CUdevice *, int), (*retain)(CUcontext *, CUdevice), (*push)(CUcontext), (*pop)(CUcontext *), (*alloc)(CUdeviceptr *, size_t), (*free)(CUdeviceptr);
	CUresult (*to_host)(void *, CUdeviceptr, size_t), (*stream)(CUstream *, unsigned), (*wait)(CUstream), (*destroy)(CUstream);
} cuda;

static int failed(const char *what, long code)
{
	fprintf(stderr, "%s: %ld (errno %d)\n", what, code, errno);
	return 1;
}

static int look_up(void *lib, const char *name, void *to)
{
	void *at = dlsym(lib, name);

	memcpy(to, &at, sizeof(at));
	return at ? 0 : failed(name, 0);
}

static int load_cufile(void)
{
	void *lib = dlopen("libcufile.so.0", RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
	int r = 0;

	if (!lib)
		return failed(dlerror(), 0);
#define X(type, name, arguments) r |= look_up(lib, #name, &cufile.name);
	CUFILE_CALLS(X)
#undef X
	return r;
}

static int load_cuda(void)
{
	void *lib = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);

	if (!lib)
		return failed(dlerror(), 0);
	return look_up(lib, "cuInit", &cuda.init) | look_up(lib, "cuDeviceGet", &cuda.get) | look_up(lib, "cuDevicePrimaryCtxRetain", &cuda.retain) | look_up(lib, "cuCtxPushCurrent_v2", &cuda.push)
	     | look_up(lib, "cuCtxPopCurrent_v2", &cuda.pop) | look_up(lib, "cuMemAlloc_v2", &cuda.alloc) | look_up(lib, "cuMemFree_v2", &cuda.free) | look_up(lib, "cuMemcpyDtoH_v2", &cuda.to_host)
	     | look_up(lib, "cuStreamCreate", &cuda.stream) | look_up(lib, "cuStreamSynchronize", &cuda.wait) | look_up(lib, "cuStreamDestroy_v2", &cuda.destroy);
}

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static bool mapped(const char *name)
{
	FILE *file = fopen("/proc/self/maps", "r");
	char line[500];
	bool found = false;

	while (file && fgets(line, sizeof(line), file))
		found = found || strstr(line, name);
	if (file)
		fclose(file);
	return found;
}

/* what it costs to have it loaded and not to use it, or only to open the driver */
static int idle(void)
{
	unsigned fds = entries("/proc/self/fd");

	if (load_cufile() || cufile.cuFileDriverOpen().err)
		return 1;
	printf("threads %u descriptors %d driver %d\n", entries("/proc/self/task") - 2, (int)(entries("/proc/self/fd") - fds), mapped("libcuda"));
	return 0;
}

static CUcontext context;
static CUdeviceptr memory;
static CUfileHandle_t handles[2];
static atomic_uint next_task, wrong;

static uint8_t byte_at(size_t k)
{
	return (uint8_t)(k * 2654435761u >> 11);
}

/* aligned tasks by the O_DIRECT handle, the others by the other one */
static void *work(void *arg)
{
	size_t bytes = FILE_BYTES - 1001, at;
	CUcontext popped;

	while ((at = (size_t)atomic_fetch_add(&next_task, 1) * TASK_BYTES) < bytes) {
		size_t n = bytes - at < TASK_BYTES ? bytes - at : TASK_BYTES;
		int which = (1001 + at) % 4096 == 0 && n % 4096 == 0 ? 0 : 1;
		ssize_t got;

		if (cuda.push(context))
			atomic_fetch_add(&wrong, 1);
		got = cufile.cuFileRead(handles[which], (void *)(uintptr_t)memory, n, (off_t)(1001 + at), (off_t)(4096 + at));
		if (got != (ssize_t)n) {
			failed("cuFileRead", got);
			atomic_fetch_add(&wrong, 1);
		}
		if (cuda.pop(&popped))
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static int check(size_t device_offset, size_t file_offset, size_t n)
{
	uint8_t *copy = malloc(n);
	int r = !copy || cuda.to_host(copy, memory + device_offset, n) ? failed("copy", 0) : 0;

	for (size_t k = 0; r == 0 && k < n; k++)
		if (copy[k] != byte_at(file_offset + k))
			r = failed("the device has other bytes from here on", (long)k);
	free(copy);
	return r;
}

static int in_parallel(void)
{
	pthread_t t[THREADS];

	for (int k = 0; k < THREADS; k++)
		if (pthread_create(&t[k], NULL, work, NULL))
			return failed("pthread_create", k);
	for (int k = 0; k < THREADS; k++)
		pthread_join(t[k], NULL);
	return atomic_load(&wrong) ? 1 : check(4096, 1001, FILE_BYTES - 1001);
}

/* arguments of an operation in a stream live until the stream was waited for */
static int in_stream(void)
{
	struct { size_t n; off_t at, to; ssize_t done; } *a = calloc(1, sizeof(*a));
	CUstream stream;
	CUfileError_t e;
	int r;

	if (!a || cuda.stream(&stream, 0))
		return failed("cuStreamCreate", 0);
	a->n = 3000000;
	a->at = 77;
	a->to = 5;
	e = cufile.cuFileReadAsync(handles[1], (void *)(uintptr_t)memory, &a->n, &a->at, &a->to, &a->done, stream);
	if (e.err || cuda.wait(stream) || a->done != 3000000)
		return failed("cuFileReadAsync", e.err ? (long)e.err : (long)a->done);
	r = check(5, 77, 3000000);
	free(a);
	return cuda.destroy(stream) ? 1 : r;
}

static int run(const char *path)
{
	int fd[2] = { open(path, O_RDONLY | O_DIRECT | O_CLOEXEC), open(path, O_RDONLY | O_CLOEXEC) };
	CUfileDrvProps_t props;
	CUcontext popped;
	CUdevice device;
	int r, version = 0;

	if (fd[0] < 0)
		fd[0] = open(path, O_RDONLY | O_CLOEXEC);
	if (load_cuda() || load_cufile() || cuda.init(0) || cuda.get(&device, 0) || cuda.retain(&context, device) || cuda.push(context) || cuda.alloc(&memory, FILE_BYTES + 4096))
		return failed("preparation", 0);
	if (cufile.cuFileGetVersion(&version).err || version < 1070 || cufile.cuFileDriverOpen().err || cufile.cuFileDriverGetProperties(&props).err)
		return failed("cuFileDriverOpen", version);
	for (int k = 0; k < 2; k++) {
		CUfileDescr_t descr = { .type = CU_FILE_HANDLE_TYPE_OPAQUE_FD, .handle.fd = fd[k] };
		CUfileError_t e = cufile.cuFileHandleRegister(&handles[k], &descr);

		if (e.err)
			return failed("cuFileHandleRegister", e.err);
	}
	r = in_parallel();
	if (r == 0)
		r = in_stream();
	for (int k = 0; k < 2; k++) {
		cufile.cuFileHandleDeregister(handles[k]);
		close(fd[k]);
	}
	if (cufile.cuFileDriverClose_v2().err || cuda.free(memory) || cuda.pop(&popped))
		return failed("the end", 0);
	if (r == 0)
		printf("ok\n");
	return r;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: pool idle | pool FILE\n");
		return 2;
	}
	return strcmp(argv[1], "idle") == 0 ? idle() : run(argv[1]);
}
