/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program with state in device memory, for the fake CUDA driver: each step changes every buffer and prints a loss that depends on all that went before, so that a
 * program that goes on from an image prints exactly what the one before would have printed.
 *
 *   gpu_counter [--steps N] [--buffers N] [--bytes N] [--devices N] [--threads N] [--graph] [--churn] [--pinned] [--pace USEC] [--still] [--host BYTES] [--registered BYTES]
 *       buffers and bytes are each thread's; thread T is on device T modulo devices; still: buffers change at the first step only
 *       registered: so much memory of each thread is registered with the driver, anew every 64 steps; what is in it is looked at before
 *       host: a thread writes over so many bytes of ordinary memory without a pause, and ends the program when it finds any but what it wrote
 */
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_cuda/driver.h"

#define THREADS_MAX 16
#define LINKS 64
#define BUFFERS_MAX 256

static const char module_text[] = "fake-cuda\nkernel train 8 8 8\nkernel increment 8\nkernel chase 8 8\nkernel bump\nglobal count 8\n";
static struct { unsigned long steps, buffers, bytes, pace, host, registered; unsigned devices, threads; bool graph, churn, pinned, still; } o = {
	.steps = ~0ul, .buffers = 4, .bytes = 1 << 20, .devices = 1, .threads = 1, .pace = 1000,
};
static pthread_barrier_t begin, end;

struct link { CUdeviceptr next, value; };
struct worker {
	pthread_t thread;
	unsigned n;
	CUcontext ctx;
	CUstream stream;
	CUfunction train, increment, chase, bump;
	CUdeviceptr buffer[BUFFERS_MAX], links, sums, extra, count;    /* sums: loss, counter, sum of the list */
	CUgraphExec graph;
	uint64_t *seen, plain[4], *registered;
	bool built;
};

#define CHECK(call) check((call), #call, __LINE__)
static void check(CUresult r, const char *what, int line)
{
	const char *text = NULL;

	if (r == CUDA_SUCCESS)
		return;
	cuGetErrorString(r, &text);
	fprintf(stderr, "gpu_counter: line %d: %s: %d (%s)\n", line, what, r, text ? text : "?");
	exit(1);
}

static void launch(struct worker *w, CUfunction f, unsigned threads, void **args)
{
	CHECK(cuLaunchKernel(f, 1, 1, 1, threads, 1, 1, 0, w->stream, args, NULL));
}

static void enqueue(struct worker *w, bool buffers)
{
	CUdeviceptr counter = w->sums + 8, sum = w->sums + 16;
	uint64_t words = o.bytes / 8;

	for (unsigned long k = 0; buffers && k < o.buffers; k++)
		launch(w, w->train, 32, (void *[]){ &w->buffer[k], &words, &w->sums });
	launch(w, w->increment, 32, (void *[]){ &counter });
	launch(w, w->chase, 1, (void *[]){ &w->links, &sum });
	launch(w, w->bump, 1, NULL);
}

/* pointers inside device memory: what points there must be found at the same address again */
static void make_links(struct worker *w)
{
	struct link list[LINKS];

	CHECK(cuMemAlloc(&w->links, sizeof(list)));
	for (unsigned k = 0; k < LINKS; k++)
		list[k] = (struct link){ k + 1 < LINKS ? w->links + (k * 37 + 37) % LINKS * sizeof(list[0]) : 0, k };
	CHECK(cuMemcpyHtoD(w->links, list, sizeof(list)));
}

static void make_registered(struct worker *w)
{
	size_t words = o.registered / 8;

	w->registered = mmap(NULL, o.registered, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w->registered == MAP_FAILED) {
		perror("gpu_counter: mmap");
		exit(1);
	}
	for (size_t k = 0; k < words; k++)
		w->registered[k] = k * 0x9e3779b97f4a7c15ull;
	CHECK(cuMemHostRegister(w->registered, o.registered, 0));
}

static void register_anew(struct worker *w)
{
	for (size_t k = 0; k < o.registered / 8; k += 509)
		if (w->registered[k] != k * 0x9e3779b97f4a7c15ull) {
			fprintf(stderr, "gpu_counter: word %zu of the registered memory is %lx\n", k, (unsigned long)w->registered[k]);
			_exit(3);
		}
	CHECK(cuMemHostUnregister(w->registered));
	CHECK(cuMemHostRegister(w->registered, o.registered, 0));
}

static void setup(struct worker *w)
{
	CUmodule module;
	CUdevice device;
	size_t bytes;

	CHECK(cuDeviceGet(&device, (int)(w->n % o.devices)));
	CHECK(cuDevicePrimaryCtxRetain(&w->ctx, device));
	CHECK(cuCtxSetCurrent(w->ctx));
	CHECK(cuStreamCreate(&w->stream, CU_STREAM_NON_BLOCKING));
	CHECK(cuModuleLoadData(&module, module_text));
	CHECK(cuModuleGetFunction(&w->train, module, "train"));
	CHECK(cuModuleGetFunction(&w->increment, module, "increment"));
	CHECK(cuModuleGetFunction(&w->chase, module, "chase"));
	CHECK(cuModuleGetFunction(&w->bump, module, "bump"));
	CHECK(cuModuleGetGlobal(&w->count, &bytes, module, "count"));
	CHECK(cuMemAlloc(&w->sums, 64));
	CHECK(cuMemsetD8(w->sums, 0, 64));
	for (unsigned long k = 0; k < o.buffers; k++) {
		CHECK(cuMemAlloc(&w->buffer[k], o.bytes));
		CHECK(cuMemsetD32(w->buffer[k], (unsigned)(k * 2654435761u + w->n + 1), o.bytes / 4));
	}
	make_links(w);
	w->seen = w->plain;
	if (o.pinned)
		CHECK(cuMemAllocHost((void **)&w->seen, sizeof(w->plain)));
	if (o.registered)
		make_registered(w);
}

static void build_graph(struct worker *w)
{
	CUgraph graph;

	CHECK(cuStreamBeginCapture(w->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
	enqueue(w, true);
	CHECK(cuStreamEndCapture(w->stream, &graph));
	CHECK(cuGraphInstantiate(&w->graph, graph, 0));
}

static void churn(struct worker *w)
{
	if (w->extra)
		CHECK(cuMemFree(w->extra));
	CHECK(cuMemAlloc(&w->extra, 3 << 20));
	CHECK(cuMemsetD8Async(w->extra, 0x5a, 3 << 20, w->stream));
}

static void step(struct worker *w)
{
	if (o.churn)
		churn(w);
	if (w->graph)
		CHECK(cuGraphLaunch(w->graph, w->stream));
	else
		enqueue(w, !o.still || !w->built);
	w->built = true;
	CHECK(cuMemcpyDtoHAsync(w->seen, w->sums, 24, w->stream));
	CHECK(cuMemcpyDtoHAsync(w->seen + 3, w->count, 8, w->stream));
	CHECK(cuStreamSynchronize(w->stream));
}

static void *work(void *arg)
{
	struct worker *w = arg;

	setup(w);
	if (o.graph)
		build_graph(w);
	for (unsigned long n = 0; n < o.steps; n++) {
		pthread_barrier_wait(&begin);
		if (o.registered && n % 64 == 63)
			register_anew(w);
		step(w);
		pthread_barrier_wait(&end);
	}
	return NULL;
}

/* page by page, over and over, with the number of the pass: what another moment left in a page is seen at the next pass, at the latest */
static void *write_host(void *arg)
{
	size_t words = o.host / 4096 * 512;
	uint64_t *at = mmap(NULL, words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED) {
		perror("gpu_counter: mmap");
		exit(1);
	}
	for (uint64_t pass = 1; ; pass++) {
		for (size_t k = 0; k < words; k++) {
			uint64_t was = pass == 1 ? 0 : (pass - 1) * 0x9e3779b97f4a7c15ull + k;

			if (at[k] != was) {
				fprintf(stderr, "gpu_counter: word %zu of pass %lu is %lx, not %lx\n", k, (unsigned long)pass, (unsigned long)at[k], (unsigned long)was);
				_exit(3);
			}
			at[k] = pass * 0x9e3779b97f4a7c15ull + k;
		}
		printf("pass %lu\n", (unsigned long)pass);
	}
	return arg;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "steps", 1, NULL, 's' }, { "buffers", 1, NULL, 'n' }, { "bytes", 1, NULL, 'b' }, { "devices", 1, NULL, 'd' }, { "threads", 1, NULL, 't' }, { "graph", 0, NULL, 'g' },
		{ "churn", 0, NULL, 'c' }, { "pinned", 0, NULL, 'p' }, { "pace", 1, NULL, 'w' }, { "still", 0, NULL, 'i' },
		{ "host", 1, NULL, 'h' }, { "registered", 1, NULL, 'R' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
		switch (c) {
		case 's': o.steps = strtoul(optarg, NULL, 0); break;
		case 'n': o.buffers = strtoul(optarg, NULL, 0); break;
		case 'b': o.bytes = strtoul(optarg, NULL, 0); break;
		case 'd': o.devices = (unsigned)atoi(optarg); break;
		case 't': o.threads = (unsigned)atoi(optarg); break;
		case 'g': o.graph = true; break;
		case 'c': o.churn = true; break;
		case 'p': o.pinned = true; break;
		case 'w': o.pace = strtoul(optarg, NULL, 0); break;
		case 'i': o.still = true; break;
		case 'h': o.host = strtoul(optarg, NULL, 0); break;
		case 'R': o.registered = strtoul(optarg, NULL, 0); break;
		default: exit(2);
		}
	if (o.buffers > BUFFERS_MAX || o.threads > THREADS_MAX || o.threads == 0 || o.devices == 0)
		exit(2);
}

int main(int argc, char **argv)
{
	static struct worker worker[THREADS_MAX];
	pthread_t writer;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	CHECK(cuInit(0));
	pthread_barrier_init(&begin, NULL, o.threads + 1);
	pthread_barrier_init(&end, NULL, o.threads + 1);
	if (o.host && pthread_create(&writer, NULL, write_host, NULL) != 0)
		return 1;
	for (unsigned t = 0; t < o.threads; t++) {
		worker[t].n = t;
		if (pthread_create(&worker[t].thread, NULL, work, &worker[t]) != 0)
			return 1;
	}
	for (unsigned long n = 0; n < o.steps; n++) {
		uint64_t loss = n;

		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		for (unsigned t = 0; t < o.threads; t++)
			for (unsigned k = 0; k < 4; k++)
				loss = (loss ^ worker[t].seen[k]) * 0x9e3779b97f4a7c15ull;
		printf("step %lu loss %016lx\n", n, (unsigned long)loss);
		if (o.pace)
			usleep((useconds_t)o.pace);
	}
	printf("end\n");
	return 0;
}
