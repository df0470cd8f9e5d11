/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host memory that the driver pins. It stays the driver's, but where it is stands in a table (struct shim_host) that is found from outside: whoever brings the process back fills in that memory first. Memory
 * is in the table before it is pinned, and until it no longer is.
 */
#include "host.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gate.h"
#include "refuse.h"
#include "shim.h"

#define PAGE 4096ull
#define TABLE_BYTES (sizeof(struct shim_host) + SHIM_HOST_MAX * sizeof(struct shim_host_range))

static struct shim_host *table;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;        /* not shim_lock: pinning much memory takes long, and is not to keep the gate from closing */

/* not a child's: it would be looked up there. What is not written to takes no memory. */
static struct shim_host *table_new(void)
{
	int fd = memfd_create(SHIM_HOST_NAME, MFD_CLOEXEC);
	void *at = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, TABLE_BYTES) == 0)
		at = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (at == MAP_FAILED)
		return NULL;
	(void)madvise(at, TABLE_BYTES, MADV_DONTFORK);
	((struct shim_host *)at)->magic = SHIM_HOST_MAGIC;
	return at;
}

void host_fork_child(void)
{
	pthread_mutex_init(&lock, NULL);
	table = NULL;
}

/* Return: false: no room for it */
static bool note(const void *start, size_t bytes)
{
	bool done;

	if (!shim_is_active() || !start || !bytes)
		return true;
	pthread_mutex_lock(&lock);
	if (!table)
		table = table_new();
	done = table && table->n < SHIM_HOST_MAX;
	if (done) {
		table->range[table->n] = (struct shim_host_range){ (uint64_t)(uintptr_t)start, bytes };
		__atomic_store_n(&table->n, table->n + 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lock);
	return done;
}

/* what cannot be noted could not be brought back */
static void refuse_it(const char *call)
{
	gate_enter();
	refuse(SHIM_OTHER, call);
	gate_leave();
}

static void forget(const void *start)
{
	if (!shim_is_active())
		return;
	pthread_mutex_lock(&lock);
	for (uint32_t i = table ? table->n : 0; i-- > 0;) {
		if (table->range[i].start != (uint64_t)(uintptr_t)start)
			continue;
		table->range[i] = table->range[table->n - 1];
		__atomic_store_n(&table->n, table->n - 1, __ATOMIC_RELEASE);
		break;
	}
	pthread_mutex_unlock(&lock);
}

/* A program that has come back may register memory that is still on its way: here it is waited for. What is not to be had (memory of a device, say) is the driver's to judge. */
static void have(const void *start, size_t bytes)
{
	uintptr_t from = (uintptr_t)start & ~(PAGE - 1), to = ((uintptr_t)start + bytes + PAGE - 1) & ~(PAGE - 1);

	if (shim_is_active() && to > from)
		(void)madvise((void *)from, to - from, MADV_POPULATE_READ);     /* NOLINT(performance-no-int-to-ptr): the page of an address */
}

#define REGISTER(name) \
	SHIM_EXPORT CUresult name(void *p, size_t bytesize, unsigned int Flags) \
	{ \
		CUresult ret; \
\
		have(p, bytesize); \
		if (!note(p, bytesize)) \
			refuse_it(#name); \
		ret = DRV(name)(p, bytesize, Flags); \
		if (ret != CUDA_SUCCESS) \
			forget(p); \
		return ret; \
	}

REGISTER(cuMemHostRegister)
REGISTER(cuMemHostRegister_v2)

#define ALLOC(name, proto, bytes, ...) \
	SHIM_EXPORT CUresult name proto \
	{ \
		CUresult ret; \
\
		gate_enter();           /* as it is pinned before it is noted */ \
		ret = DRV(name)(pp, __VA_ARGS__); \
		if (ret == CUDA_SUCCESS && !note(*pp, bytes)) \
			refuse(SHIM_OTHER, #name); \
		gate_leave(); \
		return ret; \
	}

ALLOC(cuMemHostAlloc, (void **pp, size_t bytesize, unsigned int Flags), bytesize, bytesize, Flags)
ALLOC(cuMemAllocHost, (void **pp, unsigned int bytesize), bytesize, bytesize)
ALLOC(cuMemAllocHost_v2, (void **pp, size_t bytesize), bytesize, bytesize)

#define GONE(name) \
	SHIM_EXPORT CUresult name(void *p) \
	{ \
		CUresult ret = DRV(name)(p); \
\
		if (ret == CUDA_SUCCESS) \
			forget(p); \
		return ret; \
	}

GONE(cuMemHostUnregister)
GONE(cuMemFreeHost)
