/* SPDX-License-Identifier: Apache-2.0 */
/* Another preloaded library, as a profiler may be: counts cuMemAlloc of programs that are linked with the driver and goes on to the next one with RTLD_NEXT, which libc resolves for its caller. */
#include <dlfcn.h>
#include <stdio.h>

#define FAKE_CUDA_NO_RENAMES
#include "fake_cuda/driver.h"

static unsigned calls;

__attribute__((visibility("default"))) CUresult cuMemAlloc_v2(CUdeviceptr *p, size_t n)
{
	__typeof__(&cuMemAlloc_v2) next = (__typeof__(&cuMemAlloc_v2))dlsym(RTLD_NEXT, "cuMemAlloc_v2");

	calls++;
	return next && next != cuMemAlloc_v2 ? next(p, n) : CUDA_ERROR_NOT_FOUND;
}

__attribute__((destructor)) static void report(void)
{
	fprintf(stderr, "next: %u calls\n", calls);
}
