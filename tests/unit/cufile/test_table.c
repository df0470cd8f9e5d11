/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>

#include "base/rng.h"
#include "priv.h"

#define THINGS 300

/* numbers find what they were given for, and nothing once it is gone, whoever has its slot by then */
static void test_random(void **state)
{
	static int thing[THINGS];
	static uint64_t number[THINGS], gone[THINGS];
	struct cf_table t = { .kind = CF_FILE };
	struct rng rng;

	rng_seed(&rng, 4);
	for (int turn = 0; turn < 100000; turn++) {
		size_t k = (size_t)rng_below(&rng, THINGS);

		assert_ptr_equal(cf_table_find(&t, number[k]), number[k] ? &thing[k] : NULL);
		assert_null(cf_table_find(&t, gone[k]));
		if (number[k]) {
			cf_table_remove(&t, number[k]);
			gone[k] = number[k];
			number[k] = 0;
		} else {
			number[k] = cf_table_add(&t, &thing[k]);
			assert_true(number[k] != 0 && (int64_t)number[k] > 0);
		}
	}
	assert_true(t.n <= THINGS + 1);
	free(t.slot);
}

static void test_made_up(void **state)
{
	struct cf_table files = { .kind = CF_FILE }, batches = { .kind = CF_BATCH };
	int thing;
	uint64_t file = cf_table_add(&files, &thing), batch = cf_table_add(&batches, &thing);
	struct rng rng;

	assert_null(cf_table_find(&files, batch));
	assert_null(cf_table_find(&batches, file));
	assert_null(cf_table_find(&files, 0));
	assert_null(cf_table_find(&files, UINT64_MAX));
	assert_null(cf_table_find(&files, (uint64_t)(uintptr_t)&thing));
	rng_seed(&rng, 5);
	for (int k = 0; k < 100000; k++) {
		uint64_t any = rng_next(&rng);

		if (any != file)
			assert_null(cf_table_find(&files, any));
	}
	cf_table_remove(&files, batch);
	cf_table_remove(&files, UINT64_MAX);
	assert_ptr_equal(cf_table_find(&files, file), &thing);
	free(files.slot);
	free(batches.slot);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random), cmocka_unit_test(test_made_up) };

	return cmocka_run_group_tests_name("cufile-table", tests, NULL, NULL);
}
