/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdlib.h>

#include "cuda/driver.h"
#include "priv.h"

enum { INVALID_CONTEXT = 201 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda cuda;
static atomic_bool loaded;

/* A program that never loaded the driver has no device memory: it is not loaded on its behalf. */
static bool driver(void)
{
	const char *env = getenv("HEARTH_LIBCUDA");
	struct hearth_err err = { 0 };
	void *there;

	if (atomic_load_explicit(&loaded, memory_order_acquire))
		return true;
	there = dlopen(env && *env ? env : "libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	if (!there)
		return false;
	dlclose(there);
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

static cu_result ask(uint64_t at, unsigned *type, int *ordinal)
{
	cu_result r = cuda.pointer_attribute(type, CU_POINTER_MEMORY_TYPE, at);

	return r == CU_OK ? cuda.pointer_attribute(ordinal, CU_POINTER_ORDINAL, at) : r;
}

/* The call wants a current context, any: addresses are the same in all of them. This thread has none: it gets one that there is, for as long as it takes. */
static cu_result ask_in_any(uint64_t at, unsigned *type, int *ordinal)
{
	cu_result r = INVALID_CONTEXT;
	int n = 0, active;
	unsigned flags;
	cu_context context;

	if (cuda.device_count(&n) != CU_OK)
		return r;
	for (int d = 0; d < n && r == INVALID_CONTEXT; d++) {
		if (cuda.primary_state(d, &flags, &active) != CU_OK || !active || cuda.primary_retain(&context, d) != CU_OK)
			continue;
		if (cuda.push_current(context) == CU_OK) {
			r = ask(at, type, ordinal);
			(void)cuda.pop_current(&context);
		}
		cuda.primary_release(d);
	}
	return r;
}

int cf_place_of(uint64_t at)
{
	unsigned type = 0;
	int ordinal = 0;
	cu_result r;

	if (!driver())
		return CF_HOST;
	r = ask(at, &type, &ordinal);
	if (r == INVALID_CONTEXT && cuda.primary_state)
		r = ask_in_any(at, &type, &ordinal);
	return r == CU_OK && type == CU_MEMORY_DEVICE && ordinal >= 0 && ordinal < CF_DEVICES ? ordinal : CF_HOST;
}
