/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/rng.h"

#define N 1000000

/* a seed gives one sequence, whoever asks */
static void test_sequence(void **state)
{
	struct rng a, b;
	uint64_t seen = 0;

	rng_seed(&a, 42);
	rng_seed(&b, 42);
	for (int i = 0; i < 1000; i++) {
		uint64_t x = rng_next(&a);

		assert_int_equal(x, rng_next(&b));
		seen ^= x;
	}
	rng_seed(&b, 43);
	assert_int_not_equal(rng_next(&a), rng_next(&b));
	assert_int_not_equal(seen, 0);
}

/* splitmix64's first output for seed 0 is published, and so is xoshiro256**'s first output: rotl(s1 * 5, 7) * 9 */
static void test_reference(void **state)
{
	struct rng r;

	rng_seed(&r, 0);
	assert_int_equal(r.s[0], 0xe220a8397b1dcdafull);
	r = (struct rng){ { 1, 2, 3, 4 } };
	assert_int_equal(rng_next(&r), 11520);
	assert_int_equal(rng_next(&r), 0);
	assert_int_equal(rng_next(&r), 1509978240);
	assert_int_equal(rng_next(&r), 1215971899390074240);
}

static void test_moments(void **state)
{
	double sum = 0, squares = 0, e = 0, e2 = 0, u = 0;
	struct rng r;

	rng_seed(&r, 7);
	for (int i = 0; i < N; i++) {
		double x = rng_normal(&r), y = rng_exp(&r), z = rng_uniform(&r);

		assert_true(y >= 0 && y < 45 && z >= 0 && z < 1);
		sum += x;
		squares += x * x;
		e += y;
		e2 += y * y;
		u += z;
	}
	/* five standard errors */
	assert_true(fabs(sum / N) < 0.005 && fabs(squares / N - 1) < 0.0071);
	assert_true(fabs(e / N - 1) < 0.005 && fabs(e2 / N - 2) < 0.023);
	assert_true(fabs(u / N - 0.5) < 0.0015);
}

/* the same as the logarithm of the same bits */
static void test_exp(void **state)
{
	struct rng r, copy;

	rng_seed(&r, 9);
	for (int i = 0; i < N; i++) {
		copy = r;
		assert_true(fabs(rng_exp(&r) + log((double)(rng_next(&copy) | 1) * 0x1p-64)) < 1e-9);
	}
}

static void test_below(void **state)
{
	unsigned count[6] = { 0 };
	struct rng r;

	rng_seed(&r, 3);
	for (int i = 0; i < 60000; i++)
		count[rng_below(&r, 6)]++;
	for (int i = 0; i < 6; i++)
		assert_true(count[i] > 9500 && count[i] < 10500);
	assert_int_equal(rng_below(&r, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_moments),
		cmocka_unit_test(test_exp),
		cmocka_unit_test(test_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
