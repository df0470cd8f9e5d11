/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/hist.h"

static struct hist a, b;

static void test_empty_and_one(void **state)
{
	hist_reset(&a);
	assert_int_equal(hist_quantile(&a, 0.5), 0);
	hist_record(&a, 123456789);
	assert_int_equal(hist_quantile(&a, 0), 123456789);
	assert_int_equal(hist_quantile(&a, 0.5), 123456789);
	assert_int_equal(hist_quantile(&a, 1), 123456789);
	assert_int_equal(a.min, 123456789);
	assert_int_equal(a.max, 123456789);
}

static void test_exact_below_128(void **state)
{
	hist_reset(&a);
	for (uint64_t v = 0; v < 100; v++)
		hist_record(&a, v);
	assert_int_equal(hist_quantile(&a, 0.5), 49);
	assert_int_equal(hist_quantile(&a, 0.99), 98);
	assert_int_equal(hist_quantile(&a, 0.991), 99);
	assert_int_equal(hist_quantile(&a, -1), 0);
	assert_int_equal(hist_quantile(&a, 0.0 / 0.0), 0);
	assert_int_equal(a.sum, 4950);
}

static void test_extremes(void **state)
{
	hist_reset(&a);
	hist_record(&a, UINT64_MAX);
	hist_record(&a, 1ull << 63);
	hist_record(&a, (1ull << 63) - 1);
	hist_record(&a, 0);
	assert_int_equal(a.count, 4);
	assert_int_equal(a.sum, UINT64_MAX);    /* stopped at its end */
	assert_int_equal(hist_quantile(&a, 0.25), 0);
	assert_int_equal(hist_quantile(&a, 1), UINT64_MAX);
}

static void test_merge(void **state)
{
	hist_reset(&a);
	hist_reset(&b);
	hist_merge(&a, &b);
	assert_int_equal(a.count, 0);
	hist_record(&b, 5);
	hist_record(&b, 1000000);
	hist_merge(&a, &b);
	hist_record(&a, 2);
	hist_merge(&a, &b);
	assert_int_equal(a.count, 5);
	assert_int_equal(a.min, 2);
	assert_int_equal(a.max, 1000000);
	assert_int_equal(a.sum, 2000012);
	assert_int_equal(hist_quantile(&a, 0.6), 5);
}

static void test_saturation(void **state)
{
	hist_reset(&a);
	hist_record(&a, 7);
	a.bucket[7] = UINT32_MAX;
	hist_record(&a, 7);
	assert_int_equal(a.bucket[7], UINT32_MAX);
	hist_merge(&a, &a);
	assert_int_equal(a.bucket[7], UINT32_MAX);
	assert_int_equal(hist_quantile(&a, 0.9), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_and_one),
		cmocka_unit_test(test_exact_below_128),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_saturation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
