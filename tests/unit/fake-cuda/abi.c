/* SPDX-License-Identifier: Apache-2.0 */
/* The fake driver's prototypes are cuda.h's: this compiles only if they are. */
#define __CUDA_API_VERSION_INTERNAL     /* the names as they are in the library, older forms too */
#include <cuda.h>

#include "fake_cuda/calls.h"

int main(void)
{
	return 0;
}
