/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_DRIVER_H
#define SHIM_DRIVER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "gen/calls.h"

/*
 * The real driver. DRV(cuMemFree_v2)(p) calls it, whatever way the program came to it. Entry points that it does not have answer CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND.
 */
#define SHIM_HIDDEN __attribute__((visibility("hidden")))
#define SHIM_EXPORT __attribute__((visibility("default")))

typedef void shim_fn(void);         /* whichever; cast before it is called */

/**
 * struct shim_call - an entry point that the shim wraps or uses; the table is made by tools/gen-shim
 * @symbol:  as libcuda.so.1 exports it; @name, @version, @per_thread: as cuGetProcAddress knows it
 * @wrapper: what the program gets in its place; NULL: the driver's own
 */
struct shim_call {
	const char *symbol, *name;
	int version;
	bool per_thread;
	shim_fn *wrapper;
};
extern const struct shim_call shim_calls[CALL_COUNT] SHIM_HIDDEN;
extern _Atomic(shim_fn *) driver_slots[CALL_COUNT] SHIM_HIDDEN;

/** driver_find - look an entry point up in libcuda.so.1, which is loaded if need be. Return: never NULL. */
shim_fn *driver_find(unsigned call) SHIM_HIDDEN;
/** driver_has - does the driver have it */
bool driver_has(unsigned call) SHIM_HIDDEN;

static inline shim_fn *driver_fn(unsigned call)
{
	shim_fn *fn = atomic_load_explicit(&driver_slots[call], memory_order_relaxed);

	return __builtin_expect(fn != NULL, 1) ? fn : driver_find(call);
}

#define DRV(name) ((fn_##name *)driver_fn(CALL_##name))

#endif
