/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "sched/load.h"

/* A server whose slowdown is 1 / (1 - load), as an M/M/1's mean is. */
struct server { double capacity_hz; int calls, fail_at; double generator_hz; };

static int run(void *ctx, double rate_hz, struct load_trial *ret, struct hearth_err *err)
{
	struct server *s = ctx;

	if (++s->calls == s->fail_at)
		return err_set(err, -ETIMEDOUT, "gone");
	ret->value = rate_hz < s->capacity_hz ? 1 / (1 - rate_hz / s->capacity_hz) : 1e9;
	ret->loss = rate_hz < s->capacity_hz ? 0 : 1 - s->capacity_hz / rate_hz;
	ret->generator_limit = s->generator_hz > 0 && rate_hz > s->generator_hz;
	return 0;
}

static double find(struct server *s, double lo_hz, double hi_hz, size_t max, size_t *ret_n)
{
	struct load_search search = { .target = 10, .loss_max = 0, .lo_hz = lo_hz, .hi_hz = hi_hz, .precision = 0.01, .run = run, .ctx = s };
	struct load_trial trials[64];
	double best_hz = -1;

	assert_int_equal(load_search_max(&search, &best_hz, trials, max, ret_n, NULL), 0);
	assert_int_equal((int)*ret_n, s->calls);
	return best_hz;
}

static void finds_the_edge(void **state)
{
	struct server s = { .capacity_hz = 100000 };
	size_t n;
	double best_hz = find(&s, 100, 1e6, 64, &n);

	assert_true(best_hz <= 90000 && best_hz >= 89000);
	assert_true(n < 20);
}

static void all_is_good(void **state)
{
	struct server s = { .capacity_hz = 1e9 };
	size_t n;

	assert_true(find(&s, 100, 1e6, 64, &n) == 1e6);
	assert_int_equal(n, 2);
}

static void nothing_is_good(void **state)
{
	struct server s = { .capacity_hz = 10 };
	size_t n;

	assert_true(find(&s, 100, 1e6, 64, &n) == 0);
	assert_int_equal(n, 1);
}

static void few_trials(void **state)
{
	struct server s = { .capacity_hz = 100000 };
	size_t n;
	double best_hz = find(&s, 100, 1e6, 4, &n);

	assert_int_equal(n, 4);
	assert_true(best_hz > 0 && best_hz <= 90000);
}

static void a_slow_generator_is_no_success(void **state)
{
	struct server s = { .capacity_hz = 1e9, .generator_hz = 5000 };
	size_t n;
	double best_hz = find(&s, 100, 1e6, 64, &n);

	assert_true(best_hz <= 5000 && best_hz >= 4900);
}

static void errors_end_it(void **state)
{
	struct server s = { .capacity_hz = 100000, .fail_at = 3 };
	struct load_search search = { .target = 10, .lo_hz = 1, .hi_hz = 1e6, .precision = 0.01, .run = run, .ctx = &s };
	struct load_trial trials[64];
	struct hearth_err err = { 0 };
	double best_hz = -1;
	size_t n;

	assert_int_equal(load_search_max(&search, &best_hz, trials, 64, &n, &err), -ETIMEDOUT);
	assert_string_equal(err.msg, "gone");
	assert_true(best_hz == -1);
	search.hi_hz = 1;
	assert_int_equal(load_search_max(&search, &best_hz, trials, 64, &n, &err), -EINVAL);
}

static void metrics(void **state)
{
	static struct load_result r;
	static struct load_series types[2];
	struct workload *w;

	assert_int_equal(workload_load("high-bimodal", &w, NULL), 0);
	r.workload = w;
	r.types = types;
	hist_record(&r.total.slowdown, 1500);
	hist_record(&r.total.latency, 2000000);
	hist_record(&types[1].latency, 4000000);
	assert_true(load_metric(&r, "slowdown_p999") == 1.5);
	assert_true(load_metric(&r, "latency_p50") == 2000);
	assert_true(load_metric(&r, "latency_max_long") == 4000);
	assert_true(load_metric(&r, "latency_mean_long") == 4000);
	assert_true(load_metric(&r, "latency_p99_short") == 0);
	assert_true(load_metric(&r, "latency_p98") < 0);
	assert_true(load_metric(&r, "latency_p9") < 0);
	assert_true(load_metric(&r, "latency_p99_middle") < 0);
	assert_true(load_metric(&r, "throughput") < 0);
	workload_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_edge), cmocka_unit_test(all_is_good), cmocka_unit_test(nothing_is_good), cmocka_unit_test(few_trials),
		cmocka_unit_test(a_slow_generator_is_no_success), cmocka_unit_test(errors_end_it), cmocka_unit_test(metrics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
