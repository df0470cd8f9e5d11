/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <stdbool.h>

#include "base/rng.h"
#include "span.h"

#define N 200
static void test_random(void **state)
{
	static struct span all[N];
	static bool in[N];
	struct spans t = { 0 };
	struct rng rng;
	size_t count = 0;

	rng_seed(&rng, 9);
	for (unsigned i = 0; i < N; i++)
		all[i] = (struct span){ 1000 + 100ull * i, 1 + rng_below(&rng, 100) };
	for (unsigned turn = 0; turn < 20000; turn++) {
		unsigned i = (unsigned)rng_below(&rng, N);
		uint64_t address = 900 + rng_below(&rng, 100 * N + 200);
		struct span *found = spans_find(&t, address);
		unsigned k = address < 1000 ? N : (unsigned)((address - 1000) / 100);

		assert_ptr_equal(found, k < N && in[k] && address - all[k].at < all[k].bytes ? &all[k] : NULL);
		if (in[i]) {
			assert_int_equal(spans_add(&t, &all[i]), -EEXIST);
			spans_remove(&t, &all[i]);
			count--;
		} else {
			assert_int_equal(spans_add(&t, &all[i]), 0);
			count++;
		}
		in[i] = !in[i];
		assert_int_equal(t.n, count);
		for (size_t j = 1; j < t.n && turn % 100 == 0; j++)
			assert_true(t.v[j - 1]->at + t.v[j - 1]->bytes <= t.v[j]->at);
	}
	spans_done(&t);
	assert_int_equal(t.n, 0);
}

static void test_edges(void **state)
{
	struct span a = { 100, 10 }, b = { 110, 10 }, over = { 95, 6 }, inside = { 105, 1 };
	struct spans t = { 0 };

	assert_null(spans_find(&t, 0));
	spans_remove(&t, &a);
	assert_int_equal(spans_add(&t, &a), 0);
	assert_int_equal(spans_add(&t, &over), -EEXIST);
	assert_int_equal(spans_add(&t, &inside), -EEXIST);
	assert_int_equal(spans_add(&t, &b), 0);
	spans_remove(&t, &over);
	assert_int_equal(t.n, 2);
	assert_ptr_equal(spans_find(&t, 109), &a);
	assert_ptr_equal(spans_find(&t, 110), &b);
	assert_null(spans_find(&t, 120));
	assert_int_equal(spans_from(&t, 110), 1);
	assert_int_equal(spans_from(&t, 120), 2);
	spans_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_edges), cmocka_unit_test(test_random) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
