/* SPDX-License-Identifier: Apache-2.0 */
/* The fake driver's own kernels: what tests need that a real program would have compiled. Device addresses are addresses of the process. */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "fake.h"

#define PTR(l, i, type) ((type *)(uintptr_t)FAKE_ARG(l, i, uint64_t))

fake_kernel fake_kernel_hearth_hash, fake_kernel_hearth_gather;

/* saxpy(y, x, a, n) */
static void saxpy(const struct fake_launch *l)
{
	float *y = PTR(l, 0, float), a = FAKE_ARG(l, 2, float);
	const float *x = PTR(l, 1, float);
	uint32_t n = FAKE_ARG(l, 3, uint32_t);

	for (uint32_t i = 0; i < n; i++)
		y[i] += a * x[i];
}

/* increment(counter): every thread of the grid adds one */
static void increment(const struct fake_launch *l)
{
	_Atomic uint64_t *counter = PTR(l, 0, _Atomic uint64_t);

	for (size_t n = fake_threads(l); n > 0; n--)
		atomic_fetch_add(counter, 1);
}

/* chase(head, sum): a list in device memory, linked by device addresses; each value is added to the sum and then changed */
struct link { uint64_t next, value; };
static void chase(const struct fake_launch *l)
{
	uint64_t *sum = PTR(l, 1, uint64_t);

	for (struct link *at = PTR(l, 0, struct link); at; at = (struct link *)(uintptr_t)at->next) {
		*sum += at->value;
		at->value = at->value * 6364136223846793005ull + 1442695040888963407ull;
	}
}

/* poke(at, value): one byte */
static void poke(const struct fake_launch *l)
{
	*PTR(l, 0, uint8_t) = FAKE_ARG(l, 1, uint8_t);
}

static uint64_t xorshift(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

/* train(weights, words, loss): every word changes; the loss depends on all of them, their places and the one before */
static void train(const struct fake_launch *l)
{
	uint64_t *w = PTR(l, 0, uint64_t), n = FAKE_ARG(l, 1, uint64_t), *loss = PTR(l, 2, uint64_t), sum = *loss;

	for (uint64_t i = 0; i < n; i++) {
		w[i] = xorshift(w[i] + i + 1);
		sum = sum * 0x9e3779b97f4a7c15ull + w[i];
	}
	*loss = sum;
}

/* wait(flag): a persistent kernel: until the host sets the flag */
static void wait_for(const struct fake_launch *l)
{
	_Atomic uint32_t *flag = PTR(l, 0, _Atomic uint32_t);

	while (atomic_load(flag) == 0)
		sched_yield();
}

/* bump(): adds one to the module's global "count" */
static void bump(const struct fake_launch *l)
{
	uint64_t *count = l->global(l->module, "count", NULL);

	if (count)
		++*count;
}

static const struct { const char *name; fake_kernel *fn; } kernels[] = {
	{ "saxpy", saxpy }, { "increment", increment }, { "chase", chase }, { "poke", poke }, { "train", train }, { "wait", wait_for }, { "bump", bump },
	{ "hearth_hash", fake_kernel_hearth_hash }, { "hearth_gather", fake_kernel_hearth_gather },
};

fake_kernel *kernel_builtin(const char *name)
{
	for (size_t k = 0; k < sizeof(kernels) / sizeof(kernels[0]); k++)
		if (strcmp(kernels[k].name, name) == 0)
			return kernels[k].fn;
	return NULL;
}
