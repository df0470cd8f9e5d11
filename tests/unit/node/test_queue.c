// SPDX-License-Identifier: Apache-2.0
/* Calls that wait, and one that waits again: turns are those of arrival. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "priv.h"

static void turns_are(struct function *fn, const uint64_t *ids, unsigned n)
{
	struct invocation *inv = TAILQ_FIRST(&fn->queue);

	assert_int_equal(fn->queued, n);
	for (unsigned k = 0; k < n; k++, inv = TAILQ_NEXT(inv, entry)) {
		assert_non_null(inv);
		assert_int_equal(inv->id, ids[k]);
		assert_true(inv->queued);
	}
	assert_null(inv);
}

static void returned(void **state)
{
	struct function fn = { 0 };
	struct instance inst = { 0 };
	struct invocation inv[4] = { 0 };

	(void)state;
	TAILQ_INIT(&fn.queue);
	for (unsigned k = 0; k < 4; k++) {
		inv[k].id = k + 1;
		waiting_push(&fn, &inv[k]);
	}
	for (unsigned k = 0; k < 4; k += 3)
		waiting_remove(&fn, &inv[k]);
	turns_are(&fn, (uint64_t[]){ 2, 3 }, 2);
	waiting_place(&fn, &inv[1], &inst);
	assert_ptr_equal(fn.unplaced, &inv[2]);
	waiting_return(&fn, &inv[3]);
	assert_ptr_equal(fn.unplaced, &inv[2]);
	waiting_return(&fn, &inv[0]);
	turns_are(&fn, (uint64_t[]){ 1, 2, 3, 4 }, 4);
	assert_ptr_equal(fn.unplaced, &inv[0]);
	for (unsigned k = 0; k < 4; k++)
		waiting_remove(&fn, &inv[k]);
	turns_are(&fn, NULL, 0);
	assert_null(fn.unplaced);
	assert_int_equal(inst.held, 0);
	waiting_return(&fn, &inv[2]);
	turns_are(&fn, (uint64_t[]){ 3 }, 1);
	assert_ptr_equal(fn.unplaced, &inv[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(returned) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
