/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the shim adds to a call, on the fake driver. usage: bench_shim [CALLS]   (alone, and again with LD_PRELOAD=libhearth-cuda.so)
 * The call is one that the driver answers at once with an error (a memset of no context), so that the driver's own time is small; three rounds, the best counts. Threads: 1 and as many as there are CPUs.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define FAKE_CUDA_NO_RENAMES
#include "fake_cuda/driver.h"

static unsigned long calls = 5000000;

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void *run(void *arg)
{
	double *ret = arg, begin, took;

	for (int round = 0; round < 3; round++) {
		begin = now_ns();
		for (unsigned long i = 0; i < calls; i++)
			cuMemsetD8Async(0, 0, 0, NULL);
		took = (now_ns() - begin) / (double)calls;
		*ret = round == 0 || took < *ret ? took : *ret;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	double best[64], sum = 0;
	pthread_t t[64];

	if (argc > 1)
		calls = strtoul(argv[1], NULL, 10);
	if (calls == 0)
		return 2;
	run(&best[0]);
	printf("1 thread: %.2f ns a call\n", best[0]);
	cpus = cpus > 64 ? 64 : cpus;
	for (long i = 0; i < cpus; i++) {
		if (pthread_create(&t[i], NULL, run, &best[i]))
			return 1;
	}
	for (long i = 0; i < cpus; i++) {
		pthread_join(t[i], NULL);
		sum += best[i];
	}
	printf("%ld threads: %.2f ns a call\n", cpus, sum / (double)cpus);
	return 0;
}
