/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/hist.h"
#include "seed.h"

#define VALUES 5000
#define ROUNDS 40

static struct hist whole, half[2];
static uint64_t sorted[VALUES];

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Shapes as latencies have them: uniform, all sizes alike, few distinct ones. */
static uint64_t draw(struct rng *g, int shape)
{
	switch (shape) {
	case 0:
		return rng_below(g, 1000000000);
	case 1:
		return rng_next(g) >> (1 + rng_below(g, 63));
	default:
		return 100 + 1000 * rng_below(g, 5);
	}
}

/* Against the sorted values: never below the exact quantile, above it by less than 2^-HIST_SUB_BITS; in two merged halves just the same. */
static void prop_quantiles(void **state)
{
	struct rng g = { prop_seed() };

	for (int round = 0; round < ROUNDS; round++) {
		size_t n = 1 + rng_below(&g, VALUES);
		uint64_t sum = 0;

		hist_reset(&whole);
		hist_reset(&half[0]);
		hist_reset(&half[1]);
		for (size_t i = 0; i < n; i++) {
			sorted[i] = draw(&g, round % 3);
			sum += sorted[i] / n;   /* the sum itself may pass 2^64 */
			hist_record(&whole, sorted[i]);
			hist_record(&half[rng_below(&g, 2)], sorted[i]);
		}
		hist_merge(&half[0], &half[1]);
		assert_memory_equal(&half[0], &whole, sizeof(whole));
		qsort(sorted, n, sizeof(sorted[0]), by_value);
		assert_int_equal(whole.count, n);
		assert_int_equal(whole.min, sorted[0]);
		assert_int_equal(whole.max, sorted[n - 1]);
		assert_true(whole.sum >= sum);
		for (int i = 0; i <= 1000; i++) {
			double q = i / 1000.0;
			size_t rank = (size_t)ceil(q * (double)n);
			uint64_t exact = sorted[rank > 0 ? rank - 1 : 0], got = hist_quantile(&whole, q);

			assert_true(got >= exact);
			assert_true(got - exact <= exact >> HIST_SUB_BITS);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prop_quantiles) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
