/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "fake.h"

/* The driver's own kernels. */
static void saxpy(const struct fake_launch *l)
{
	const float *x = FAKE_ARG(l, 0, float *);
	float *y = FAKE_ARG(l, 1, float *), a = FAKE_ARG(l, 2, float);

	for (int k = 0, n = FAKE_ARG(l, 3, int); k < n; k++)
		y[k] = a * x[k] + y[k];
}

static void increment(const struct fake_launch *l)
{
	__atomic_add_fetch(FAKE_ARG(l, 0, uint64_t *), fake_threads(l), __ATOMIC_SEQ_CST);
}

static const struct { const char *name; fake_kernel *fn; } builtin[] = { { "saxpy", saxpy }, { "increment", increment } };

fake_kernel *kernel_builtin(const char *name)
{
	for (size_t k = 0; k < sizeof(builtin) / sizeof(builtin[0]); k++)
		if (strcmp(builtin[k].name, name) == 0)
			return builtin[k].fn;
	return NULL;
}
