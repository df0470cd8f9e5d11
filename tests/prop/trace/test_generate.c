/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <math.h>

#include "fit.h"
#include "private.h"

#define SEEDS 100
#define POINTS 21

/*
 * Tolerances, as Kolmogorov-Smirnov distances D (largest gap between two distribution functions). Two independent samples of 199 from one distribution differ
 * by more than 0.163 in 1 case of 100; the generator must be that near nearly always, and clearly nearer on average. A trace of uniform arrivals, or one
 * log-normal for all durations, is at 0.3 and more (test_tolerance_means_something).
 */
#define D_WORST 0.20
#define D_MEAN 0.13

static struct trace *make(struct trace_spec spec)
{
	struct hearth_err err = { 0 };
	struct trace *t = NULL;

	if (trace_generate(&spec, &t, &err) < 0)
		fail_msg("%s", err.msg);
	return t;
}

/* D between sorted values and the distribution given by its quantiles at 0, 5, ... 100 %, straight lines between. */
static double distance_to_quantiles(const double *v, size_t n, const double *at)
{
	double worst = 0;

	for (size_t i = 0; i < n; i++) {
		double p = v[i] < at[0] ? 0 : 1;

		for (size_t k = 0; k + 1 < POINTS; k++)
			if (v[i] >= at[k] && v[i] < at[k + 1])
				p = ((double)k + (v[i] - at[k]) / (at[k + 1] - at[k])) / (POINTS - 1);
		worst = fmax(worst, fmax(fabs(p - (double)i / (double)n), fabs(p - (double)(i + 1) / (double)n)));
	}
	return worst;
}

static double distance(const double *a, size_t n, const double *b, size_t m)
{
	double worst = 0;

	for (size_t i = 0, j = 0; i < n && j < m;) {
		double x = fmin(a[i], b[j]);

		while (i < n && a[i] <= x)
			i++;
		while (j < m && b[j] <= x)
			j++;
		worst = fmax(worst, fabs((double)i / (double)n - (double)j / (double)m));
	}
	return worst;
}

static void test_prng_known_values(void **state)
{
	struct rng r;

	/* xoshiro256** from state 1,2,3,4: the first numbers that its authors' program gives */
	r = (struct rng){ { 1, 2, 3, 4 } };
	assert_true(rng_next(&r) == 11520);
	assert_true(rng_next(&r) == 0);
	assert_true(rng_next(&r) == 1509978240);
	assert_true(rng_next(&r) == 1215971899390074240);
	/* splitmix64 from 0 */
	rng_seed(&r, 0);
	assert_true(r.s[0] == 0xe220a8397b1dcdafull);
	assert_true(fabs(normal_quantile(0.975) - 1.959963984540054) < 1e-9);
	assert_true(fabs(normal_quantile(0.5)) < 1e-9);
}

static void test_shape(void **state)
{
	static const struct trace_spec specs[] = {
		{ 1, 1, 1, 1000000000 }, { 2, 1, 500, 60000000000 }, { 3, 40, 40, 600000000000 }, { 4, 500, 20000, 3600000000000 }, { 5, 31, 199, 1200000000000 },
		{ 6, 7, 10000, 10000000000 }, { 7, 3, 9, 2000000000 },
	};

	for (size_t k = 0; k < sizeof(specs) / sizeof(specs[0]); k++) {
		struct trace *t = make(specs[k]);

		assert_int_equal(t->n_calls, specs[k].calls);
		assert_int_equal(t->n_funcs, specs[k].functions);
		assert_true(trace_is_generated(t));
		assert_true(trace_span_ns(t) <= specs[k].span_ns);
		assert_int_equal(t->calls[0].start_ns, 0);
		for (size_t i = 0; i < t->n_funcs; i++)
			assert_true(t->funcs[i].calls >= 1);
		for (size_t i = 0; i < t->n_calls; i++) {
			assert_true(i == 0 || t->calls[i - 1].start_ns <= t->calls[i].start_ns);
			assert_true(t->calls[i].duration_ns <= (uint64_t)(FIT_DURATION_MAX_S * 1e9) + 1000000);
		}
		trace_free(t);
	}
}

static bool same(const struct trace *a, const struct trace *b)
{
	for (size_t i = 0; i < a->n_calls; i++)
		if (a->calls[i].start_ns != b->calls[i].start_ns || a->calls[i].duration_ns != b->calls[i].duration_ns || a->calls[i].func != b->calls[i].func)
			return false;
	return true;
}

static void test_seed_decides(void **state)
{
	struct trace *a = make(trace_spec_fitted(7)), *b = make(trace_spec_fitted(7)), *c = make(trace_spec_fitted(8));

	assert_true(same(a, b));
	assert_false(same(a, c));
	trace_free(a);
	trace_free(b);
	trace_free(c);
}

static void test_bad_sizes(void **state)
{
	static const struct trace_spec bad[] = {
		{ 1, 0, 10, 1000000000 }, { 1, 100001, 200000, 1000000000 }, { 1, 10, 9, 1000000000 }, { 1, 10, 10000001, 1000000000 }, { 1, 10, 10, 999999999 },
		{ 1, 10, 10, 2592000000000001 },
	};
	struct trace *t = NULL;
	struct hearth_err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(trace_generate(&bad[i], &t, &err), -EINVAL);
	assert_null(t);
}

static void test_text_and_back(void **state)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct trace *t = make(trace_spec_fitted(seed)), *again = NULL;
		struct buf b = { 0 };

		assert_int_equal(trace_format(t, &b), 0);
		assert_int_equal(trace_parse((const char *)buf_head(&b), b.len, "again", &again, NULL), 0);
		assert_int_equal(again->n_calls, t->n_calls);
		for (size_t i = 0; i < t->n_calls; i++) {
			assert_int_equal(again->calls[i].start_ns, t->calls[i].start_ns);
			assert_int_equal(again->calls[i].duration_ns, t->calls[i].duration_ns);
		}
		buf_done(&b);
		trace_free(t);
		trace_free(again);
	}
}

/* Distances of a trace's durations and gaps to the reference: the real trace's where given, the fitted constants otherwise. */
static void measure(const struct trace *t, const struct trace *real, double *ret_durations, double *ret_gaps)
{
	static const double duration_at[POINTS] = FIT_DURATION_S_AT, gap_at[POINTS] = FIT_GAP_S_AT;
	double *d, *g, *rd, *rg;

	assert_int_equal(trace_durations_s(t, &d), 0);
	assert_int_equal(trace_gaps_s(t, &g), 0);
	if (real) {
		assert_int_equal(trace_durations_s(real, &rd), 0);
		assert_int_equal(trace_gaps_s(real, &rg), 0);
		*ret_durations = distance(d, t->n_calls, rd, real->n_calls);
		*ret_gaps = distance(g, t->n_calls - 1, rg, real->n_calls - 1);
		free(rd);
		free(rg);
	} else {
		*ret_durations = distance_to_quantiles(d, t->n_calls, duration_at);
		*ret_gaps = distance_to_quantiles(g, t->n_calls - 1, gap_at);
	}
	free(d);
	free(g);
}

static void check_fit(const struct trace *real)
{
	double sum_d = 0, sum_g = 0, worst_d = 0, worst_g = 0;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct trace *t = make(trace_spec_fitted(seed));
		double d, g;

		measure(t, real, &d, &g);
		sum_d += d;
		sum_g += g;
		worst_d = fmax(worst_d, d);
		worst_g = fmax(worst_g, g);
		trace_free(t);
	}
	print_message("# %d seeds: durations D mean %.3f worst %.3f, gaps D mean %.3f worst %.3f\n", SEEDS, sum_d / SEEDS, worst_d, sum_g / SEEDS, worst_g);
	assert_true(worst_d <= D_WORST && worst_g <= D_WORST);
	assert_true(sum_d / SEEDS <= D_MEAN && sum_g / SEEDS <= D_MEAN);
}

static void test_fits_constants(void **state)
{
	check_fit(NULL);
}

static void test_fits_real_trace(void **state)
{
	struct trace *real = real_trace();

	assert_non_null(real);
	check_fit(real);
	trace_free(real);
}

static void test_popularity_fits(void **state)
{
	static const unsigned tops[] = FIT_TOPS;
	static const double want[] = FIT_TOP_SHARE;
	enum { N = sizeof(tops) / sizeof(tops[0]) };
	struct trace *t = make(trace_spec_fitted(1));
	double share[N];

	assert_int_equal(trace_top_share(t, tops, N, share), 0);
	for (size_t i = 0; i < N; i++)
		if (fabs(share[i] - want[i]) > 0.03)
			fail_msg("the top %u have %.3f of the calls, the real ones %.3f", tops[i], share[i], want[i]);
	trace_free(t);
}

/* The same calls, spread evenly and all with durations from one log-normal, are far outside the tolerance. */
static void test_tolerance_means_something(void **state)
{
	struct trace *t = make(trace_spec_fitted(1));
	struct rng r;
	double d, g;

	rng_seed(&r, 1);
	for (size_t i = 0; i < t->n_calls; i++) {
		t->calls[i].start_ns = rng_below(&r, (uint64_t)(FIT_SPAN_S * 1e9));
		t->calls[i].duration_ns = (uint64_t)(exp(0.5 + 1.0 * rng_normal(&r)) * 1e9);
	}
	trace_finish(t);
	measure(t, NULL, &d, &g);
	print_message("# naive trace: durations D %.3f, gaps D %.3f\n", d, g);
	assert_true(d > 1.4 * D_WORST && g > 1.4 * D_WORST);
	trace_free(t);
}

/* With --real: only what needs the recorded trace; 77 where there is none. */
int main(int argc, char **argv)
{
	const struct CMUnitTest real_tests[] = { cmocka_unit_test(test_fits_real_trace) };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prng_known_values),
		cmocka_unit_test(test_shape),
		cmocka_unit_test(test_seed_decides),
		cmocka_unit_test(test_bad_sizes),
		cmocka_unit_test(test_text_and_back),
		cmocka_unit_test(test_fits_constants),
		cmocka_unit_test(test_popularity_fits),
		cmocka_unit_test(test_tolerance_means_something),
	};

	if (argc == 2 && strcmp(argv[1], "--real") == 0)
		return have_real_trace() ? cmocka_run_group_tests(real_tests, NULL, NULL) : 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
