/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

/* No allocation in steady state: every malloc of the process is counted, dispatcher and workers included. Not with sanitizers, which have their own. */
static atomic_ulong allocations;

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);

void *malloc(size_t n)
{
	atomic_fetch_add(&allocations, 1);
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	atomic_fetch_add(&allocations, 1);
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	atomic_fetch_add(&allocations, 1);
	return __libc_realloc(p, n);
}

static void ignore(void *ctx, const uint8_t *data, size_t len)
{
}

static int nothing(void *worker, struct hearth_app_request *r)
{
	return HEARTH_APP_OK;
}

static void serve_some(struct rig *rig, const uint8_t (*messages)[64], size_t n)
{
	unsigned long before = atomic_load(&rig->net.sent_n);

	mem_feed(&rig->net, messages, 3, n);
	while (atomic_load(&rig->net.sent_n) < before + n)
		sched_yield();
}

static void test_none(void **state)
{
	static const enum sched_policy policies[] = { SCHED_CFCFS, SCHED_DFCFS_HASH, SCHED_FP, SCHED_EDF, SCHED_DARC, SCHED_MINIMAX };
	static uint8_t messages[3][64];

	for (uint16_t i = 0; i < 3; i++)
		rig_message(messages[i], i, i, "x", 1);
	for (size_t p = 0; p < sizeof(policies) / sizeof(policies[0]); p++) {
		struct rig *rig = rig_start(p % 2, 2, policies[p], 0, p % 3 == 0 ? IDLE_ADAPTIVE : IDLE_SLEEP, nothing);
		unsigned long before;

		rig->net.sent = ignore;
		rig_run(rig);
		serve_some(rig, messages, 1000);
		before = atomic_load(&allocations);
		serve_some(rig, messages, 20000);
		assert_int_equal(atomic_load(&allocations) - before, 0);
		rig_end(rig);
	}
	/* the counting works */
	free(malloc(1));
	assert_true(atomic_load(&allocations) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
