/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>

#include "cuda/driver.h"
#include "priv.h"

enum { INVALID_CONTEXT = 201 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda cuda;
static atomic_bool loaded;

static int count_loads(struct dl_phdr_info *info, size_t bytes, void *arg)
{
	*(unsigned long long *)arg = info->dlpi_adds;
	return 1;
}

/* dlopen() looks into folders even if it is to load nothing: it is only asked again when some library was loaded since */
static bool is_there(void)
{
	static atomic_ullong looked_at;
	const char *env = getenv("HEARTH_LIBCUDA");
	unsigned long long loads = 0;
	void *there;

	(void)dl_iterate_phdr(count_loads, &loads);
	if (loads == atomic_load_explicit(&looked_at, memory_order_relaxed))
		return false;
	there = dlopen(env && *env ? env : "libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	if (there)
		dlclose(there);
	else
		atomic_store_explicit(&looked_at, loads, memory_order_relaxed);
	return there != NULL;
}

/* A program that never loaded the driver has no device memory: it is not loaded on its behalf. */
static bool driver(void)
{
	struct hearth_err err = { 0 };

	if (atomic_load_explicit(&loaded, memory_order_acquire))
		return true;
	if (!is_there())
		return false;
	pthread_mutex_lock(&lock);
	if (!atomic_load(&loaded)) {
		if (cuda_load(&cuda, NULL, &err) < 0)
			cf_log(CF_LOG_ERROR, "%s", err.msg);
		else
			atomic_store_explicit(&loaded, true, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return atomic_load(&loaded);
}

struct fact { int attribute; void *to; };

static cu_result ask(uint64_t at, const struct fact *facts, int n)
{
	cu_result r = CU_OK;

	for (int k = 0; k < n && r == CU_OK; k++)
		r = cuda.pointer_attribute(facts[k].to, facts[k].attribute, at);
	return r;
}

/* The call wants a current context, any: addresses are the same in all of them. This thread has none: it gets one that there is, for as long as it takes. */
static cu_result ask_in_any(uint64_t at, const struct fact *facts, int facts_n)
{
	cu_result r = INVALID_CONTEXT;
	int n = 0, active;
	unsigned flags;
	cu_context context;

	if (!cuda.primary_state || cuda.device_count(&n) != CU_OK)
		return r;
	for (int d = 0; d < n && r == INVALID_CONTEXT; d++) {
		if (cuda.primary_state(d, &flags, &active) != CU_OK || !active || cuda.primary_retain(&context, d) != CU_OK)
			continue;
		if (cuda.push_current(context) == CU_OK) {
			r = ask(at, facts, facts_n);
			(void)cuda.pop_current(&context);
		}
		cuda.primary_release(d);
	}
	return r;
}

static bool know(uint64_t at, const struct fact *facts, int n)
{
	cu_result r = ask(at, facts, n);

	if (r == INVALID_CONTEXT)
		r = ask_in_any(at, facts, n);
	return r == CU_OK;
}

int cf_place_of(uint64_t at)
{
	unsigned type = 0;
	int ordinal = 0;

	if (!driver() || !know(at, (struct fact[]){ { CU_POINTER_MEMORY_TYPE, &type }, { CU_POINTER_ORDINAL, &ordinal } }, 2))
		return CF_HOST;
	return type == CU_MEMORY_DEVICE && ordinal >= 0 && ordinal < CF_DEVICES ? ordinal : CF_HOST;
}

size_t cf_extent_of(uint64_t at, int place)
{
	uint64_t start = 0;
	size_t bytes = 0;

	/* user space ends there; what of it is memory the kernel knows best */
	if (place == CF_HOST)
		return at < 1ull << 47 ? (size_t)((1ull << 47) - at) : 0;
	if (!know(at, (struct fact[]){ { CU_POINTER_RANGE_START, &start }, { CU_POINTER_RANGE_BYTES, &bytes } }, 2))
		return 0;
	return at - start < bytes ? bytes - (size_t)(at - start) : 0;
}

int cf_stream_place(void)
{
	cu_device device;

	return driver() && cuda.current_device && cuda.current_device(&device) == CU_OK && device >= 0 && device < CF_DEVICES ? device : CF_HOST;
}

int cf_stream_wait(void)
{
	return cf_stream_place() == CF_HOST ? CU_OK : cuda.stream_sync(NULL);
}
