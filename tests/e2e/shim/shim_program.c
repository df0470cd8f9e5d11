/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CUDA program that does as it is told. usage: shim_program direct|dlsym|proc1|proc2   (how it comes to the driver)
 * Commands on standard input, one a line, each answered with one line; "error N" is the driver's error.
 *   init                        alloc BYTES -> ADDR            fill ADDR BYTES VALUE           managed -> ADDR
 *   ctx DEVICE -> HANDLE        pitch W H -> ADDR PITCH        sum ADDR BYTES -> SUM           free ADDR
 *   current HANDLE              destroy HANDLE                 range ADDR -> START BYTES       reset DEVICE
 *   create BYTES -> HANDLE      map HANDLE BYTES -> ADDR       unmap ADDR BYTES                release HANDLE
 *   hammer THREADS              calls -> N (by all hammers)    rest: hammers end -> N          short: a thread that fills once and ends
 *   block: a stream waits for   unblock                        capture, endcapture             fork -> what a child that begins anew says
 *   peer HANDLE                 attr ADDR -> CONTEXT START BYTES                               retain ADDR -> HANDLE
 *   copy TO FROM BYTES
 *   fd -> open descriptors that are sockets or eventfds        ipc ADDR                        hold: from now on a kernel may run until unblock
 */
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAKE_CUDA_NO_RENAMES
#include "fake_cuda/driver.h"

#define HAMMERS 16
/* name for cuGetProcAddress, version, symbol */
#define CALLS(X) \
	X(cuInit, 2000, cuInit) X(cuDeviceGet, 2000, cuDeviceGet) X(cuCtxCreate, 3020, cuCtxCreate_v2) X(cuCtxDestroy, 4000, cuCtxDestroy_v2) X(cuCtxSetCurrent, 4000, cuCtxSetCurrent) \
	X(cuDevicePrimaryCtxRetain, 7000, cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxReset, 11000, cuDevicePrimaryCtxReset_v2) X(cuCtxEnablePeerAccess, 4000, cuCtxEnablePeerAccess) \
	X(cuCtxGetCurrent, 4000, cuCtxGetCurrent) X(cuMemAlloc, 3020, cuMemAlloc_v2) X(cuMemAllocPitch, 3020, cuMemAllocPitch_v2) X(cuMemFree, 3020, cuMemFree_v2) \
	X(cuMemAllocManaged, 6000, cuMemAllocManaged) X(cuMemsetD8, 3020, cuMemsetD8_v2) X(cuMemsetD8Async, 3020, cuMemsetD8Async) X(cuMemcpyDtoH, 3020, cuMemcpyDtoH_v2) X(cuMemcpyDtoD, 3020, cuMemcpyDtoD_v2) X(cuMemcpyAsync, 4000, cuMemcpyAsync) \
	X(cuMemGetAddressRange, 3020, cuMemGetAddressRange_v2) X(cuPointerGetAttribute, 4000, cuPointerGetAttribute) X(cuMemCreate, 10020, cuMemCreate) X(cuMemRelease, 10020, cuMemRelease) \
	X(cuMemMap, 10020, cuMemMap) X(cuMemUnmap, 10020, cuMemUnmap) X(cuMemSetAccess, 10020, cuMemSetAccess) X(cuMemAddressReserve, 10020, cuMemAddressReserve) \
	X(cuMemRetainAllocationHandle, 11000, cuMemRetainAllocationHandle) X(cuIpcGetMemHandle, 4010, cuIpcGetMemHandle) X(cuIpcOpenMemHandle, 11000, cuIpcOpenMemHandle_v2) X(cuIpcCloseMemHandle, 4010, cuIpcCloseMemHandle) X(cuStreamCreate, 2000, cuStreamCreate) \
	X(cuStreamSynchronize, 2000, cuStreamSynchronize) X(cuLaunchHostFunc, 10000, cuLaunchHostFunc) X(cuStreamBeginCapture, 10010, cuStreamBeginCapture_v2) X(cuStreamEndCapture, 10000, cuStreamEndCapture)

#define DECLARE(name, version, symbol) static __typeof__(&symbol) p_##name;
CALLS(DECLARE)

static atomic_bool resting, blocked;
static atomic_ulong calls;
static pthread_t hammers[HAMMERS];
static unsigned nhammers;
static CUstream stream, capturing;

static void find_all(const char *route)
{
	void *lib = strcmp(route, "direct") ? dlopen("libcuda.so.1", RTLD_NOW) : NULL;
	CUresult (*proc1)(const char *, void **, int, cuuint64_t) = NULL;
	CUresult (*proc2)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *) = NULL;
	CUdriverProcAddressQueryResult status;

	if (lib) {
		proc1 = (__typeof__(proc1))dlsym(lib, "cuGetProcAddress");
		proc2 = (__typeof__(proc2))dlsym(lib, "cuGetProcAddress_v2");
	}
#define FIND(name, version, symbol) \
	if (!lib) p_##name = symbol; \
	else if (!strcmp(route, "dlsym")) p_##name = (__typeof__(p_##name))dlsym(lib, #symbol); \
	else if (!strcmp(route, "proc1") ? proc1(#name, (void **)&p_##name, version, 0) : proc2(#name, (void **)&p_##name, version, 0, &status)) p_##name = NULL; \
	if (!p_##name) { fprintf(stderr, "no %s\n", #name); exit(2); }
	CALLS(FIND)
}

static void answer(CUresult ret, const char *fmt, unsigned long long a, unsigned long long b, unsigned long long c)
{
	if (ret)
		printf("error %u", (unsigned)ret);
	else
		printf(fmt, a, b, c);
	putchar('\n');
	fflush(stdout);
}

static CUcontext context(CUdevice device)
{
	CUcontext ctx = NULL;

	if (p_cuDevicePrimaryCtxRetain(&ctx, device) || p_cuCtxSetCurrent(ctx))
		return NULL;
	return ctx;
}

static void *hammer(void *arg)
{
	CUdeviceptr p = 0;
	unsigned char n = 0;

	p_cuCtxSetCurrent(arg);
	while (!atomic_load(&resting)) {
		if (n % 16 == 0 && (p_cuMemAlloc(&p, 4096 + n) || !p))
			break;
		if (p_cuMemsetD8Async(p, n, 4096, NULL))
			break;
		atomic_fetch_add(&calls, 1);
		if (++n % 16 == 0 && p_cuMemFree(p))
			break;
	}
	return atomic_load(&resting) ? NULL : arg;
}

static void *once(void *arg)
{
	p_cuCtxSetCurrent(arg);
	p_cuMemsetD8(0, 0, 0);
	return NULL;
}

static CUresult hammer_start(unsigned n)
{
	CUcontext ctx;
	CUresult ret = p_cuCtxGetCurrent(&ctx);

	for (nhammers = 0; !ret && nhammers < n && nhammers < HAMMERS; nhammers++)
		pthread_create(&hammers[nhammers], NULL, hammer, ctx);
	return ret;
}

static CUresult hammer_rest(void)
{
	bool failed = false;
	void *ret;

	atomic_store(&resting, true);
	for (unsigned i = 0; i < nhammers; i++) {
		pthread_join(hammers[i], &ret);
		failed |= ret != NULL;
	}
	nhammers = 0;
	atomic_store(&resting, false);
	return failed ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

static void wait_here(void *arg)
{
	while (atomic_load(&blocked))
		usleep(1000);
}

static CUresult block(void)
{
	atomic_store(&blocked, true);
	if (!stream && p_cuStreamCreate(&stream, 1))
		return CUDA_ERROR_UNKNOWN;
	return p_cuLaunchHostFunc(stream, wait_here, NULL);
}

static CUresult sum(CUdeviceptr at, size_t bytes, unsigned long long *ret)
{
	unsigned char *copy = malloc(bytes);
	CUresult err = p_cuMemcpyDtoH(copy, at, bytes);

	*ret = 0;
	for (size_t i = 0; i < bytes; i++)
		*ret = *ret * 31 + copy[i];
	free(copy);
	return err;
}

static CUresult make(CUmemGenericAllocationHandle *handle, size_t bytes)
{
	CUmemAllocationProp prop = { .type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = { CU_MEM_LOCATION_TYPE_DEVICE, 0 } };

	return p_cuMemCreate(handle, bytes, &prop, 0);
}

static CUresult map(CUmemGenericAllocationHandle handle, size_t bytes, CUdeviceptr *at)
{
	CUmemAccessDesc access = { { CU_MEM_LOCATION_TYPE_DEVICE, 0 }, CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
	CUresult ret = p_cuMemAddressReserve(at, bytes, 0, 0, 0);

	if (!ret)
		ret = p_cuMemMap(*at, bytes, 0, handle, 0);
	return ret ? ret : p_cuMemSetAccess(*at, bytes, &access, 1);
}

static unsigned long long our_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned long long n = 0;
	struct dirent *e;

	while ((e = readdir(d))) {
		char link[300], to[200] = "";

		snprintf(link, sizeof link, "/proc/self/fd/%s", e->d_name);
		if (readlink(link, to, sizeof to - 1) > 0 && (!strncmp(to, "socket:", 7) || strstr(to, "eventfd")))
			n++;
	}
	closedir(d);
	return n;
}

/* Has a child begun anew: 0; 1: the driver would not, as in a child of a process that used it */
static unsigned long long child(void)
{
	CUdeviceptr p = 0;
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		CUresult ret = p_cuInit(0);

		if (ret)
			_exit(1);
		while (our_descriptors() < 2)           /* until its own service thread is connected */
			usleep(1000);
		_exit(context(0) && p_cuMemAlloc(&p, 3 << 20) == 0 && p_cuMemsetD8(p, 1, 3 << 20) == 0 ? 0 : 2);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? (unsigned long long)WEXITSTATUS(status) : 99;
}

/* the file SHIM_HANDLE is how the handle goes to another process */
static CUresult ipc_give(CUdeviceptr at)
{
	CUipcMemHandle handle;
	CUresult ret = p_cuIpcGetMemHandle(&handle, at);
	FILE *f = ret ? NULL : fopen(getenv("SHIM_HANDLE"), "w");

	return ret ? ret : f && fwrite(&handle, sizeof handle, 1, f) == 1 && fclose(f) == 0 ? CUDA_SUCCESS : CUDA_ERROR_FILE_NOT_FOUND;
}

static CUresult ipc_take(unsigned long long *ret)
{
	FILE *f = fopen(getenv("SHIM_HANDLE"), "r");
	CUipcMemHandle handle;
	CUdeviceptr at = 0;
	CUresult err = f && fread(&handle, sizeof handle, 1, f) == 1 ? p_cuIpcOpenMemHandle(&at, handle, 1) : CUDA_ERROR_FILE_NOT_FOUND;

	if (f)
		fclose(f);
	*ret = at;
	return err;
}

static void obey(const char *word, unsigned long long a, unsigned long long b, unsigned long long c)
{
	unsigned long long x = 0, y = 0, z = 0;
	const char *fmt = "ok";
	CUresult ret = CUDA_SUCCESS;
	CUcontext ctx = NULL;
	CUgraph graph;
	pthread_t thread;
	size_t n = 0;

#define IS(w) (!strcmp(word, w))
	if (IS("init")) {
		ret = p_cuInit(0);
		ret = ret ? ret : context(0) ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
	} else if (IS("ctx")) {
		ret = p_cuCtxCreate(&ctx, 0, (CUdevice)a), x = (uintptr_t)ctx, fmt = "%llu";
	} else if (IS("current")) {
		ret = p_cuCtxSetCurrent((CUcontext)(uintptr_t)a);
	} else if (IS("destroy")) {
		ret = p_cuCtxDestroy((CUcontext)(uintptr_t)a);
	} else if (IS("reset")) {
		ret = p_cuDevicePrimaryCtxReset((CUdevice)a);
	} else if (IS("peer")) {
		ret = p_cuCtxEnablePeerAccess((CUcontext)(uintptr_t)a, 0);
	} else if (IS("alloc")) {
		ret = p_cuMemAlloc(&x, a), fmt = "%llu";
	} else if (IS("pitch")) {
		ret = p_cuMemAllocPitch(&x, &n, a, b, 4), y = n, fmt = "%llu %llu";
	} else if (IS("managed")) {
		ret = p_cuMemAllocManaged(&x, 4096, CU_MEM_ATTACH_GLOBAL), fmt = "%llu";
	} else if (IS("free")) {
		ret = p_cuMemFree(a);
	} else if (IS("fill")) {
		ret = p_cuMemsetD8(a, (unsigned char)c, b);             /* may return before it is done */
		ret = ret ? ret : p_cuStreamSynchronize(NULL);
	} else if (IS("copy")) {
		ret = p_cuMemcpyDtoD(a, b, c);
		ret = ret ? ret : p_cuMemcpyAsync(a, b, c, NULL);
		ret = ret ? ret : p_cuStreamSynchronize(NULL);
	} else if (IS("sum")) {
		ret = sum(a, b, &x), fmt = "%llu";
	} else if (IS("range")) {
		ret = p_cuMemGetAddressRange(&x, &n, a), y = n, fmt = "%llu %llu";
	} else if (IS("attr")) {
		ret = p_cuPointerGetAttribute(&x, CU_POINTER_ATTRIBUTE_CONTEXT, a);
		ret = ret ? ret : p_cuPointerGetAttribute(&y, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, a);
		ret = ret ? ret : p_cuPointerGetAttribute(&z, CU_POINTER_ATTRIBUTE_RANGE_SIZE, a);
		fmt = "%llu %llu %llu";
	} else if (IS("ipc")) {
		ret = ipc_give(a);
	} else if (IS("openipc")) {
		ret = ipc_take(&x), fmt = "%llu";
	} else if (IS("closeipc")) {
		ret = p_cuIpcCloseMemHandle(a);
	} else if (IS("create")) {
		ret = make(&x, a), fmt = "%llu";
	} else if (IS("map")) {
		ret = map(a, b, &x), fmt = "%llu";
	} else if (IS("unmap")) {
		ret = p_cuMemUnmap(a, b);
	} else if (IS("release")) {
		ret = p_cuMemRelease(a);
	} else if (IS("retain")) {
		ret = p_cuMemRetainAllocationHandle(&x, (void *)(uintptr_t)a), fmt = "%llu";
	} else if (IS("hammer")) {
		ret = hammer_start((unsigned)a);
	} else if (IS("calls")) {
		x = atomic_load(&calls), fmt = "%llu";
	} else if (IS("rest")) {
		ret = hammer_rest(), x = atomic_load(&calls), fmt = "%llu";
	} else if (IS("short")) {
		p_cuCtxGetCurrent(&ctx);
		pthread_create(&thread, NULL, once, ctx);
		pthread_join(thread, NULL);
	} else if (IS("block")) {
		ret = block();
	} else if (IS("unblock")) {
		atomic_store(&blocked, false);
		ret = p_cuStreamSynchronize(stream);
	} else if (IS("capture")) {
		ret = capturing ? CUDA_SUCCESS : p_cuStreamCreate(&capturing, 1);
		ret = ret ? ret : p_cuStreamBeginCapture(capturing, CU_STREAM_CAPTURE_MODE_RELAXED);
	} else if (IS("endcapture")) {
		ret = p_cuStreamEndCapture(capturing, &graph);
	} else if (IS("fork")) {
		x = child(), fmt = "%llu";
	} else if (IS("fd")) {
		x = our_descriptors(), fmt = "%llu";
	} else {
		ret = CUDA_ERROR_NOT_FOUND;
	}
	answer(ret, fmt, x, y, z);
}

int main(int argc, char **argv)
{
	char line[200], word[40];

	if (argc != 2)
		return 2;
	find_all(argv[1]);
	while (fgets(line, sizeof line, stdin)) {
		unsigned long long a = 0, b = 0, c = 0;

		if (sscanf(line, "%39s %llu %llu %llu", word, &a, &b, &c) >= 1)
			obey(word, a, b, c);
	}
	return 0;
}
