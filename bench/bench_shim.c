/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the shim adds to a call, on the fake driver. usage: LD_PRELOAD=libhearth-cuda.so bench_shim
 * The same call, which the driver answers at once with an error, through the shim and straight to the driver, in turn; the fastest round of each counts. One thread, then one on each CPU.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define FAKE_CUDA_NO_RENAMES
#include "fake_cuda/driver.h"

#define ROUNDS 100
#define CALLS 100000
#define THREADS_MAX 64

typedef CUresult set_fn(CUdeviceptr, unsigned char, size_t, CUstream);
static set_fn *straight;
struct result { double shim, straight; };

static double round_ns(set_fn *fn)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned i = 0; i < CALLS; i++)
		fn(0, 0, 0, NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / CALLS;
}

static void *run(void *arg)
{
	struct result *r = arg;

	*r = (struct result){ 1e9, 1e9 };
	for (unsigned i = 0; i < ROUNDS; i++) {
		double shim = round_ns(cuMemsetD8Async), direct = round_ns(straight);

		r->shim = shim < r->shim ? shim : r->shim;
		r->straight = direct < r->straight ? direct : r->straight;
	}
	return NULL;
}

static bool find_straight(void)
{
	void *(*libc_dlsym)(void *, const char *) = (void *(*)(void *, const char *))dlvsym(RTLD_DEFAULT, "dlsym", "GLIBC_2.34");
	void *driver = dlopen("libcuda.so.1", RTLD_NOW);

	straight = libc_dlsym && driver ? (set_fn *)libc_dlsym(driver, "cuMemsetD8Async") : NULL;
	return straight && straight != cuMemsetD8Async;
}

int main(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	struct result r[THREADS_MAX], sum = { 0 };
	pthread_t t[THREADS_MAX];

	if (!find_straight()) {
		fprintf(stderr, "bench_shim: the shim is not preloaded\n");
		return 2;
	}
	run(&r[0]);
	printf("1 thread: driver %.2f ns, through the shim %.2f ns: %+.2f ns a call\n", r[0].straight, r[0].shim, r[0].shim - r[0].straight);
	n = n > THREADS_MAX ? THREADS_MAX : n;
	for (long i = 0; i < n; i++) {
		if (pthread_create(&t[i], NULL, run, &r[i]))
			return 1;
	}
	for (long i = 0; i < n; i++) {
		pthread_join(t[i], NULL);
		sum.shim += r[i].shim / (double)n;
		sum.straight += r[i].straight / (double)n;
	}
	printf("%ld threads: driver %.2f ns, through the shim %.2f ns: %+.2f ns a call\n", n, sum.straight, sum.shim, sum.shim - sum.straight);
	return 0;
}
