/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_CUDA_KERNEL_H
#define FAKE_CUDA_KERNEL_H

#include <stddef.h>

/*
 * A kernel of the fake driver is a C function fake_kernel_NAME, run once a launch in the thread of its stream; it goes through its grid itself. It is looked for in the library that the module names,
 * in what the program has loaded, and among the driver's own (kernels.c). cuModuleLoadData takes PTX, of which it reads the entries and globals, or text:
 *
 *   fake-cuda
 *   library PATH               a shared object with kernels
 *   kernel NAME BYTES...       sizes of the parameters
 *   global NAME BYTES          memory of the module, zero at first
 */
struct fake_launch {
	unsigned grid[3], block[3], shared_bytes;
	void **args;                    /* args[i]: where the value of parameter i is */
	const void *module;
	void *(*global)(const void *module, const char *name, size_t *ret_bytes);      /* NULL: there is none of that name */
};
typedef void fake_kernel(const struct fake_launch *l);

static inline size_t fake_threads(const struct fake_launch *l)
{
	return (size_t)l->grid[0] * l->grid[1] * l->grid[2] * l->block[0] * l->block[1] * l->block[2];
}

#define FAKE_ARG(l, i, type) (*(type *)(l)->args[i])

#endif
