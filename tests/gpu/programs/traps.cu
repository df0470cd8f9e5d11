/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that are hard to checkpoint, one a trap. Each does numbered steps on the device and prints "step N VALUE SECONDS END" after each: VALUE depends on all that the steps before did, so
 * a byte that was lost, or a write that came twice, shows. A trap's values are the same in every run.
 *
 *   traps NAME [--steps N] [--hold STEP:FILE]...       traps --list
 *
 * Exit status 77: this machine lacks what the trap needs.
 */
#include <cuda.h>
#include <cuda_runtime.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#define MIB (1u << 20)
#define SKIP 77
#define HOLDS_MAX 16
#define CHECK(call) check((int)(call), #call, __LINE__)

typedef unsigned long long u64;

static void check(int error, const char *what, int line)
{
	if (error == 0)
		return;
	printf("failed %s (line %d): %d %s\n", what, line, error, cudaGetErrorString((cudaError_t)error));
	fflush(stdout);
	exit(1);
}

/* ---- what traps share: a mixing function, on both sides; filling; and a digest of a buffer ---- */

__host__ __device__ static u64 mix(u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

__global__ void fill(uint32_t *words, size_t n, u64 seed)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
		words[i] = (uint32_t)mix(seed + i);
}

/* every word depends on what it was */
__global__ void turn(uint32_t *words, size_t n, u64 seed)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
		words[i] = (uint32_t)mix(words[i] + seed + i);
}

__global__ void add_up(const uint32_t *words, size_t n, u64 *sum)
{
	u64 mine = 0;

	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
		mine += mix(words[i] + (i << 32));
	atomicAdd(sum, mine);
}

static uint32_t *device_words(size_t n, u64 seed)
{
	uint32_t *words;

	CHECK(cudaMalloc(&words, n * sizeof(*words)));
	fill<<<128, 256>>>(words, n, seed);
	CHECK(cudaGetLastError());
	return words;
}

static u64 digest(const uint32_t *words, size_t n)
{
	u64 *sum, found;

	CHECK(cudaMalloc(&sum, sizeof(*sum)));
	CHECK(cudaMemset(sum, 0, sizeof(*sum)));
	add_up<<<128, 256>>>(words, n, sum);
	CHECK(cudaMemcpy(&found, sum, sizeof(found), cudaMemcpyDeviceToHost));
	CHECK(cudaFree(sum));
	return found;
}

/* ---- pointers: a chain through several allocations, known to nobody but the device ---- */

#define NODES 4096
#define NODE_PARTS 8
struct node {
	struct node *next;
	uint32_t *value;
};
static struct node *chain;

__global__ void link(struct node **parts, uint32_t **values, struct node **head)
{
	for (int i = 0; i < NODES; i++) {
		int to = (i * 5 + 1) % NODES;   /* all of them, in a cycle */
		struct node *n = &parts[i % NODE_PARTS][i / NODE_PARTS];

		n->next = &parts[to % NODE_PARTS][to / NODE_PARTS];
		n->value = &values[i % NODE_PARTS][mix(i) % (MIB / 4)];
	}
	*head = parts[0];
}

__global__ void walk(struct node *n, u64 seed, u64 *sum)
{
	*sum = 0;
	for (int i = 0; i < NODES; i++, n = n->next) {
		*n->value += (uint32_t)(seed + i);
		*sum = mix(*sum + *n->value);
	}
}

static void pointers_setup(void)
{
	struct node **parts, **head;
	uint32_t **values;

	CHECK(cudaMalloc(&parts, NODE_PARTS * sizeof(*parts)));
	CHECK(cudaMalloc(&values, NODE_PARTS * sizeof(*values)));
	CHECK(cudaMalloc(&head, sizeof(*head)));
	for (int i = 0; i < NODE_PARTS; i++) {
		struct node *part;
		uint32_t *value = device_words(MIB / 4, i);

		CHECK(cudaMalloc(&part, NODES / NODE_PARTS * sizeof(*part)));
		CHECK(cudaMemcpy(parts + i, &part, sizeof(part), cudaMemcpyHostToDevice));
		CHECK(cudaMemcpy(values + i, &value, sizeof(value), cudaMemcpyHostToDevice));
	}
	link<<<1, 1>>>(parts, values, head);
	CHECK(cudaMemcpy(&chain, head, sizeof(chain), cudaMemcpyDeviceToHost));
}

static u64 pointers_step(int step)
{
	u64 *sum, found;

	CHECK(cudaMalloc(&sum, sizeof(*sum)));
	walk<<<1, 1>>>(chain, step, sum);
	CHECK(cudaMemcpy(&found, sum, sizeof(found), cudaMemcpyDeviceToHost));
	CHECK(cudaFree(sum));
	return found;
}

/* ---- atomics: a histogram and a ticket counter ---- */

static uint32_t *table;
#define TABLE_WORDS (1u << 20)

__global__ void count(uint32_t *words, u64 seed)
{
	u64 i = blockIdx.x * (u64)blockDim.x + threadIdx.x;

	atomicAdd(&words[mix(seed * 0x100000 + i) % (TABLE_WORDS - 1)], 1);
	atomicAdd(&words[TABLE_WORDS - 1], 1);
}

static void atomics_setup(void) { table = device_words(TABLE_WORDS, 7); }

static u64 atomics_step(int step)
{
	count<<<1024, 256>>>(table, step);
	return digest(table, TABLE_WORDS);
}

/* ---- graph: kernels, a copy and a host node, captured once and replayed ---- */

static cudaGraphExec_t graph;
static cudaStream_t graph_stream;
static uint32_t *graph_words, *graph_copy;
static u64 graph_host;
#define GRAPH_WORDS (4u << 20)

static void on_host(void *count) { ++*(u64 *)count; }

static void graph_setup(void)
{
	cudaGraph_t made;

	graph_words = device_words(GRAPH_WORDS, 1);
	graph_copy = device_words(GRAPH_WORDS, 2);
	CHECK(cudaStreamCreateWithFlags(&graph_stream, cudaStreamNonBlocking));
	CHECK(cudaDeviceSynchronize());
	CHECK(cudaStreamBeginCapture(graph_stream, cudaStreamCaptureModeThreadLocal));
	turn<<<128, 256, 0, graph_stream>>>(graph_words, GRAPH_WORDS, 3);
	CHECK(cudaMemcpyAsync(graph_copy, graph_words, GRAPH_WORDS * 2, cudaMemcpyDeviceToDevice, graph_stream));
	turn<<<128, 256, 0, graph_stream>>>(graph_copy, GRAPH_WORDS, 4);
	CHECK(cudaLaunchHostFunc(graph_stream, on_host, &graph_host));
	CHECK(cudaStreamEndCapture(graph_stream, &made));
	CHECK(cudaGraphInstantiate(&graph, made, 0));
	CHECK(cudaGraphDestroy(made));
}

static u64 graph_step(int step)
{
	for (int i = 0; i < 20; i++)
		CHECK(cudaGraphLaunch(graph, graph_stream));
	CHECK(cudaStreamSynchronize(graph_stream));
	return digest(graph_words, GRAPH_WORDS) ^ digest(graph_copy, GRAPH_WORDS) ^ graph_host;
}

/* ---- one-byte: of much memory a single byte changes ---- */

static uint8_t *much;
#define MUCH_BYTES (256u * MIB)

__global__ void put_byte(uint8_t *bytes, u64 at) { bytes[at] ^= 0x5a; }

static void onebyte_setup(void) { much = (uint8_t *)device_words(MUCH_BYTES / 4, 9); }

static u64 onebyte_step(int step)
{
	put_byte<<<1, 1>>>(much, mix(step) % MUCH_BYTES);
	return digest((uint32_t *)much, MUCH_BYTES / 4);
}

/* ---- churn: allocations of all sizes come and go ---- */

#define SLOTS 64
static struct { uint32_t *words; size_t n; } slots[SLOTS];

static void churn_slot(int i, u64 seed)
{
	size_t n = mix(seed) % 8 == 0 ? mix(seed + 1) % (4 * MIB) + 1 : mix(seed + 1) % 40000 + 1;

	CHECK(cudaFree(slots[i].words));
	slots[i].n = n;
	slots[i].words = device_words(n, seed);
}

static void churn_setup(void)
{
	for (int i = 0; i < SLOTS; i++)
		churn_slot(i, i);
}

static u64 churn_step(int step)
{
	u64 sum = 0;

	for (int i = 0; i < SLOTS / 4; i++)
		churn_slot(mix(step * 100 + i) % SLOTS, (step + 1) * 1000 + i);
	for (int i = 0; i < SLOTS; i++) {
		turn<<<8, 256>>>(slots[i].words, slots[i].n, step);
		sum = mix(sum + digest(slots[i].words, slots[i].n));
	}
	return sum;
}

/* ---- streams: of every kind, in a chain of events that reaches over the steps, and functions on the host ---- */

#define STREAMS 8
static cudaStream_t streams[STREAMS];
static cudaEvent_t events[STREAMS];
static uint32_t *stream_words;
static u64 stream_host;

static void streams_setup(void)
{
	int least, greatest;

	CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
	stream_words = device_words(MIB, 5);
	for (int i = 0; i < STREAMS; i++) {
		CHECK(i % 2 ? cudaStreamCreate(&streams[i]) : cudaStreamCreateWithPriority(&streams[i], cudaStreamNonBlocking, i % 4 ? least : greatest));
		CHECK(cudaEventCreateWithFlags(&events[i], i % 3 ? cudaEventDisableTiming : cudaEventDefault));
	}
	CHECK(cudaDeviceSynchronize());
	CHECK(cudaEventRecord(events[STREAMS - 1], streams[STREAMS - 1]));
}

static u64 streams_step(int step)
{
	for (int i = 0; i < STREAMS; i++) {
		CHECK(cudaStreamWaitEvent(streams[i], events[(i + STREAMS - 1) % STREAMS], 0));
		turn<<<64, 256, 0, streams[i]>>>(stream_words, MIB, i);
		CHECK(cudaLaunchHostFunc(streams[i], on_host, &stream_host));
		CHECK(cudaEventRecord(events[i], streams[i]));
	}
	CHECK(cudaEventSynchronize(events[STREAMS - 1]));
	return digest(stream_words, MIB) ^ stream_host;
}

/* ---- threads: each with a stream and memory of its own, all launching at once ---- */

#define THREADS 4
static struct {
	std::mutex lock;
	std::condition_variable changed;
	int step, busy;
	u64 sums[THREADS];
} crew;

static void crew_member(int me)
{
	uint32_t *words = device_words(MIB, me);
	cudaStream_t stream;

	CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
	CHECK(cudaDeviceSynchronize());
	for (int next = 1;; next++) {
		std::unique_lock<std::mutex> held(crew.lock);

		crew.changed.wait(held, [&] { return crew.step >= next; });
		held.unlock();
		for (int i = 0; i < 200; i++)
			turn<<<16, 256, 0, stream>>>(words, MIB, i);
		CHECK(cudaStreamSynchronize(stream));
		crew.sums[me] = digest(words, MIB);
		held.lock();
		crew.busy--;
		crew.changed.notify_all();
	}
}

static void threads_setup(void)
{
	for (int i = 0; i < THREADS; i++)
		std::thread(crew_member, i).detach();
}

static u64 threads_step(int step)
{
	std::unique_lock<std::mutex> held(crew.lock);
	u64 sum = 0;

	crew.busy = THREADS;
	crew.step = step + 1;
	crew.changed.notify_all();
	crew.changed.wait(held, [] { return crew.busy == 0; });
	for (int i = 0; i < THREADS; i++)
		sum = mix(sum + crew.sums[i]);
	return sum;
}

/* ---- contexts: two made with the driver's functions beside the primary one ---- */

#define CONTEXTS 3
static CUcontext contexts[CONTEXTS];
static uint32_t *context_words[CONTEXTS];

static void contexts_setup(void)
{
	CUdevice device;

	CHECK(cuInit(0));
	CHECK(cuDeviceGet(&device, 0));
	CHECK(cuDevicePrimaryCtxRetain(&contexts[0], device));
	for (int i = 0; i < CONTEXTS; i++) {
		if (i > 0)
			CHECK(cuCtxCreate(&contexts[i], NULL, 0, device));
		CHECK(cuCtxSetCurrent(contexts[i]));
		context_words[i] = device_words(MIB, i);
	}
}

static u64 contexts_step(int step)
{
	u64 sum = 0;

	for (int i = 0; i < CONTEXTS; i++) {
		CHECK(cuCtxSetCurrent(contexts[i]));
		turn<<<64, 256>>>(context_words[i], MIB, step);
		sum = mix(sum + digest(context_words[i], MIB));
	}
	return sum;
}

/* ---- devices: a ring of copies over all ---- */

#define DEVICES_MAX 8
static int devices;
static uint32_t *device_ring[DEVICES_MAX];

static void devices_setup(void)
{
	CHECK(cudaGetDeviceCount(&devices));
	if (devices < 2) {
		printf("skipped: two devices are needed\n");
		exit(SKIP);
	}
	devices = devices > DEVICES_MAX ? DEVICES_MAX : devices;
	for (int i = 0; i < devices; i++) {
		CHECK(cudaSetDevice(i));
		device_ring[i] = device_words(MIB, i);
	}
}

static u64 devices_step(int step)
{
	u64 sum = 0;

	for (int i = 0; i < devices; i++) {
		CHECK(cudaSetDevice(i));
		turn<<<64, 256>>>(device_ring[i], MIB, step);
		CHECK(cudaMemcpyPeer(device_ring[(i + 1) % devices] + MIB / 2, (i + 1) % devices, device_ring[i], i, MIB));
	}
	for (int i = 0; i < devices; i++) {
		CHECK(cudaSetDevice(i));
		sum = mix(sum + digest(device_ring[i], MIB));
	}
	return sum;
}

/* ---- pool: cudaMallocAsync, whose memory stays in its pool ---- */

#define POOLED 8
static uint32_t *pooled[POOLED];
static cudaStream_t pool_stream;

static void pool_slot(int i, u64 seed)
{
	if (pooled[i])
		CHECK(cudaFreeAsync(pooled[i], pool_stream));
	CHECK(cudaMallocAsync(&pooled[i], 4 * MIB, pool_stream));
	fill<<<64, 256, 0, pool_stream>>>(pooled[i], MIB, seed);
}

static void pool_setup(void)
{
	cudaMemPool_t pool;
	uint64_t all = UINT64_MAX;

	CHECK(cudaStreamCreate(&pool_stream));
	CHECK(cudaDeviceGetDefaultMemPool(&pool, 0));
	CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all));
	for (int i = 0; i < POOLED; i++)
		pool_slot(i, i);
}

static u64 pool_step(int step)
{
	u64 sum = 0;

	pool_slot(step % POOLED, step);
	for (int i = 0; i < POOLED; i++)
		turn<<<64, 256, 0, pool_stream>>>(pooled[i], MIB, step);
	CHECK(cudaStreamSynchronize(pool_stream));
	for (int i = 0; i < POOLED; i++)
		sum = mix(sum + digest(pooled[i], MIB));
	return sum;
}

/* ---- pinned: host memory of the driver's, mapped into the device, and of the program's, registered ---- */

static uint32_t *pinned, *mapped, *mapped_device, *registered, *pinned_device;

static void pinned_setup(void)
{
	CHECK(cudaMallocHost(&pinned, 4 * MIB));
	CHECK(cudaHostAlloc(&mapped, 4 * MIB, cudaHostAllocMapped | cudaHostAllocPortable));
	CHECK(cudaHostGetDevicePointer(&mapped_device, mapped, 0));
	CHECK(posix_memalign((void **)&registered, 4096, 4 * MIB));
	memset(registered, 1, 4 * MIB);
	memset(pinned, 2, 4 * MIB);
	memset(mapped, 3, 4 * MIB);
	CHECK(cudaHostRegister(registered, 4 * MIB, cudaHostRegisterDefault));
	pinned_device = device_words(MIB, 0);
}

static u64 pinned_step(int step)
{
	u64 sum = 0;

	for (int i = 0; i < 1000; i++)
		pinned[mix(step * 1000 + i) % MIB] += i;
	CHECK(cudaMemcpyAsync(pinned_device, pinned, 4 * MIB, cudaMemcpyHostToDevice, 0));
	turn<<<64, 256>>>(pinned_device, MIB, step);
	turn<<<64, 256>>>(mapped_device, MIB, step);
	CHECK(cudaMemcpyAsync(registered, pinned_device, 4 * MIB, cudaMemcpyDeviceToHost, 0));
	CHECK(cudaDeviceSynchronize());
	for (size_t i = 0; i < MIB; i++)
		sum = mix(sum + registered[i] + mapped[i]);
	return sum;
}

/* ---- globals: variables and constants of the module, and memory that a kernel allocated ---- */

__device__ uint32_t variables[MIB / 4];
__constant__ uint32_t constants[1024];
__device__ uint32_t *heap;

__global__ void heap_new(void)
{
	heap = (uint32_t *)malloc(MIB);
	for (int i = 0; heap && i < MIB / 4; i++)
		heap[i] = i;
}

__global__ void globals_turn(u64 seed)
{
	for (int i = threadIdx.x; i < MIB / 4; i += blockDim.x) {
		variables[i] = (uint32_t)mix(variables[i] + constants[i % 1024] + seed);
		heap[i] += variables[i];
	}
}

static void globals_setup(void) { heap_new<<<1, 1>>>(); }

static u64 globals_step(int step)
{
	uint32_t values[1024], *of_heap, *of_variables;

	for (int i = 0; step % 4 == 0 && i < 1024; i++)         /* the others find what was put there before */
		values[i] = (uint32_t)mix(step + i);
	if (step % 4 == 0)
		CHECK(cudaMemcpyToSymbol(constants, values, sizeof(values)));
	globals_turn<<<1, 256>>>(step);
	CHECK(cudaMemcpyFromSymbol(&of_heap, heap, sizeof(of_heap)));
	CHECK(cudaGetSymbolAddress((void **)&of_variables, variables));
	return digest(of_heap, MIB / 4) ^ digest(of_variables, MIB / 4);
}

/* ---- late: kernels are launched without a pause by a thread of its own, so some in the last microsecond before any stop; device and host must have counted the same ---- */

static uint32_t *late_count;
static std::atomic<uint32_t> late_launched;
static std::atomic<bool> late_asked;    /* a mutex alone would go to the thread that just gave it back */
static std::mutex late_lock;

__global__ void late_add(uint32_t *count) { ++*count; }

static void late_thread(void)
{
	cudaStream_t stream;

	CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
	for (;;) {
		while (late_asked)
			std::this_thread::yield();
		std::lock_guard<std::mutex> held(late_lock);

		for (int i = 0; i < 100; i++, late_launched++)
			late_add<<<1, 1, 0, stream>>>(late_count);
		CHECK(cudaGetLastError());
	}
}

static void late_setup(void)
{
	CHECK(cudaMalloc(&late_count, sizeof(*late_count)));
	CHECK(cudaMemset(late_count, 0, sizeof(*late_count)));
	CHECK(cudaDeviceSynchronize());
	std::thread(late_thread).detach();
}

static u64 late_step(int step)
{
	uint32_t from = late_launched, counted;

	while (late_launched - from < 2000)
		std::this_thread::yield();
	late_asked = true;
	late_lock.lock();
	CHECK(cudaDeviceSynchronize());
	CHECK(cudaMemcpy(&counted, late_count, sizeof(counted), cudaMemcpyDeviceToHost));
	counted -= late_launched;
	late_lock.unlock();
	late_asked = false;
	return counted;
}

/* ---- virtual: the program maps its memory itself, some of it twice ---- */

#define VIRTUAL_BYTES (8u * MIB)
static uint32_t *virtual_words[2];

static void virtual_setup(void)
{
	CUmemAllocationProp prop = {};
	CUmemAccessDesc access = {};
	CUmemGenericAllocationHandle handle;
	CUdeviceptr at;

	CHECK(cudaFree(NULL));
	prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
	prop.location.type = access.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
	access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
	CHECK(cuMemCreate(&handle, VIRTUAL_BYTES, &prop, 0));
	for (int i = 0; i < 2; i++) {
		CHECK(cuMemAddressReserve(&at, VIRTUAL_BYTES, 0, 0, 0));
		CHECK(cuMemMap(at, VIRTUAL_BYTES, 0, handle, 0));
		CHECK(cuMemSetAccess(at, VIRTUAL_BYTES, &access, 1));
		virtual_words[i] = (uint32_t *)at;
	}
	CHECK(cuMemRelease(handle));
	fill<<<64, 256>>>(virtual_words[0], VIRTUAL_BYTES / 4, 0);
}

static u64 virtual_step(int step)
{
	turn<<<64, 256>>>(virtual_words[step % 2], VIRTUAL_BYTES / 4, step);
	return digest(virtual_words[(step + 1) % 2], VIRTUAL_BYTES / 4);
}

/* ---- textures: an array behind a surface, and a texture over plain memory ---- */

#define SIDE 512
static cudaSurfaceObject_t surface;
static cudaTextureObject_t texture;
static uint32_t *texels;

__global__ void paint(cudaSurfaceObject_t to, cudaTextureObject_t from, uint32_t *texels_out, u64 seed)
{
	int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
	uint32_t old = surf2Dread<uint32_t>(to, x * 4, y), now = (uint32_t)mix(old + tex1Dfetch<uint32_t>(from, y * SIDE + x) + seed);

	surf2Dwrite(now, to, x * 4, y);
	texels_out[y * SIDE + x] = now + x;
}

static void textures_setup(void)
{
	cudaChannelFormatDesc format = cudaCreateChannelDesc<uint32_t>();
	cudaResourceDesc resource = {};
	cudaTextureDesc look = {};
	cudaArray_t array;

	CHECK(cudaMallocArray(&array, &format, SIDE, SIDE, cudaArraySurfaceLoadStore));
	resource.resType = cudaResourceTypeArray;
	resource.res.array.array = array;
	CHECK(cudaCreateSurfaceObject(&surface, &resource));
	texels = device_words(SIDE * SIDE, 3);
	CHECK(cudaMemcpy2DToArray(array, 0, 0, texels, SIDE * 4, SIDE * 4, SIDE, cudaMemcpyDeviceToDevice));
	resource.resType = cudaResourceTypeLinear;
	resource.res.linear.devPtr = texels;
	resource.res.linear.desc = format;
	resource.res.linear.sizeInBytes = SIDE * SIDE * 4;
	CHECK(cudaCreateTextureObject(&texture, &resource, &look, NULL));
}

static u64 textures_step(int step)
{
	static uint32_t *out;

	if (!out)
		out = device_words(SIDE * SIDE, 4);
	paint<<<dim3(SIDE / 256, SIDE), 256>>>(surface, texture, out, step);
	CHECK(cudaMemcpy(texels, out, SIDE * SIDE * 4, cudaMemcpyDeviceToDevice));
	return digest(out, SIDE * SIDE);
}

/* ---- managed, ipc: what is refused, before anything is done to the program ---- */

static uint32_t *refused_words;

static void managed_setup(void)
{
	CHECK(cudaMallocManaged(&refused_words, 4 * MIB));
	fill<<<64, 256>>>(refused_words, MIB, 0);
}

static void ipc_setup(void)
{
	cudaIpcMemHandle_t handle;

	refused_words = device_words(MIB, 0);
	CHECK(cudaIpcGetMemHandle(&handle, refused_words));
}

static u64 refused_step(int step)
{
	turn<<<64, 256>>>(refused_words, MIB, step);
	return digest(refused_words, MIB);
}

/* ---- the program ---- */

static const struct {
	const char *name;
	void (*setup)(void);
	u64 (*step)(int step);
} traps[] = {
	{ "pointers", pointers_setup, pointers_step }, { "atomics", atomics_setup, atomics_step }, { "graph", graph_setup, graph_step },
	{ "onebyte", onebyte_setup, onebyte_step }, { "churn", churn_setup, churn_step }, { "streams", streams_setup, streams_step },
	{ "threads", threads_setup, threads_step }, { "contexts", contexts_setup, contexts_step }, { "devices", devices_setup, devices_step },
	{ "pool", pool_setup, pool_step }, { "pinned", pinned_setup, pinned_step }, { "globals", globals_setup, globals_step },
	{ "late", late_setup, late_step }, { "virtual", virtual_setup, virtual_step }, { "textures", textures_setup, textures_step },
	{ "managed", managed_setup, refused_step }, { "ipc", ipc_setup, refused_step },
};
#define TRAPS (sizeof(traps) / sizeof(traps[0]))

static struct { int step; const char *file; } holds[HOLDS_MAX];
static int holds_n;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void hold(int step)
{
	for (int i = 0; i < holds_n; i++) {
		uint32_t *first;

		if (holds[i].step != step)
			continue;
		first = device_words(1, 0);
		CHECK(cudaDeviceSynchronize());
		printf("hold %d\n", step);
		while (access(holds[i].file, F_OK) < 0)
			usleep(1000);
		turn<<<1, 1>>>(first, 1, step);
		CHECK(cudaDeviceSynchronize());
		printf("go %d %.6f\n", step, now());
		CHECK(cudaFree(first));
	}
}

static int usage(void)
{
	fputs("usage: traps NAME [--steps N] [--hold STEP:FILE]... | --list\n", stderr);
	return 2;
}

static bool option(char **argv, int *steps)
{
	char *colon = argv[1] ? strchr(argv[1], ':') : NULL;

	if (strcmp(argv[0], "--steps") == 0 && argv[1]) {
		*steps = atoi(argv[1]);
		return true;
	}
	if (strcmp(argv[0], "--hold") != 0 || !colon || holds_n == HOLDS_MAX)
		return false;
	holds[holds_n].step = atoi(argv[1]);
	holds[holds_n++].file = colon + 1;
	return true;
}

int main(int argc, char **argv)
{
	int steps = 20;
	size_t which = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc == 2 && strcmp(argv[1], "--list") == 0 && i < TRAPS; i++)
		puts(traps[i].name);
	if (argc == 2 && strcmp(argv[1], "--list") == 0)
		return 0;
	while (argc > 1 && which < TRAPS && strcmp(argv[1], traps[which].name) != 0)
		which++;
	if (argc < 2 || which == TRAPS || argc % 2)
		return usage();
	for (int i = 2; i < argc; i += 2)
		if (!option(argv + i, &steps))
			return usage();
	traps[which].setup();
	CHECK(cudaDeviceSynchronize());
	printf("ready pid=%d at=%.6f\n", (int)getpid(), now());
	for (int step = 0; step < steps; step++) {
		double began;
		u64 value;

		hold(step);
		began = now();
		value = traps[which].step(step);
		printf("step %d %016llx %.4f %.6f\n", step, value, now() - began, now());
	}
	printf("end at=%.6f\n", now());
	fflush(stdout);
	_exit(0);       /* threads may still be launching */
}
