/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schedule.h"

#define MAX 400000

static struct arrival got[MAX];

/* All lanes' arrivals, in order of time. */
static int by_due(const void *a, const void *b)
{
	const struct arrival *x = a, *y = b;

	return x->due_ns < y->due_ns ? -1 : x->due_ns > y->due_ns;
}

static size_t play(const struct load_config *cfg)
{
	size_t n = 0;

	for (unsigned lane = 0; lane < cfg->threads; lane++) {
		struct schedule s;
		uint64_t last_ns = 0;

		assert_int_equal(schedule_init(&s, cfg, lane), 0);
		while (n < MAX && schedule_next(&s, &got[n])) {
			assert_true(got[n].due_ns >= last_ns);
			last_ns = got[n++].due_ns;
		}
		schedule_done(&s);
	}
	assert_true(n < MAX);
	qsort(got, n, sizeof(*got), by_due);
	return n;
}

static struct load_config config(const char *workload, struct workload **ret)
{
	assert_int_equal(workload_load(workload, ret, NULL), 0);
	return (struct load_config){ .workload = *ret, .rate_hz = 100000, .duration_ns = 2000000000, .threads = 1, .seed = 42 };
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Kolmogorov and Smirnov: the largest distance between the gaps' distribution and 1 - exp(-x) */
static double ks_exponential(size_t n, double mean_ns)
{
	double *gap = calloc(n, sizeof(double)), d = 0;
	uint64_t last_ns = 0;

	assert_non_null(gap);
	for (size_t i = 0; i < n; last_ns = got[i++].due_ns)
		gap[i] = (double)(got[i].due_ns - last_ns) / mean_ns;
	qsort(gap, n, sizeof(double), by_value);
	for (size_t i = 0; i < n; i++) {
		double f = 1 - exp(-gap[i]), lo = fabs(f - (double)i / (double)n), hi = fabs(f - (double)(i + 1) / (double)n);

		d = fmax(d, fmax(lo, hi));
	}
	free(gap);
	return d;
}

static void poisson(unsigned threads)
{
	struct workload *w;
	struct load_config cfg = config("high-bimodal", &w);
	double mean, sum = 0, sum2 = 0;
	uint64_t last_ns = 0;
	size_t n;

	cfg.threads = threads;
	n = play(&cfg);
	/* 200,000 expected, standard deviation 447 */
	assert_true(fabs((double)n - 200000) < 4 * 447);
	for (size_t i = 0; i < n; last_ns = got[i++].due_ns) {
		double gap = (double)(got[i].due_ns - last_ns);

		sum += gap;
		sum2 += gap * gap;
	}
	mean = sum / (double)n;
	assert_true(fabs(mean - 10000) < 100);
	assert_true(fabs(sum2 / (double)n / mean / mean - 2) < 0.05);           /* E[x^2] = 2 E[x]^2 */
	/* 1% of true samples would exceed 1.63 / sqrt(n); times are whole ns, which is within it */
	assert_true(ks_exponential(n, 10000) < 1.63 / sqrt((double)n));
	workload_free(w);
}

static void poisson_one_lane(void **state) { poisson(1); }
static void poisson_of_lanes_together(void **state) { poisson(7); }

static void same_seed_same_schedule(void **state)
{
	struct workload *w;
	struct load_config cfg = config("tpcc", &w);
	size_t n = play(&cfg);
	struct arrival *first = malloc(n * sizeof(*first));

	assert_non_null(first);
	memcpy(first, got, n * sizeof(*first));
	assert_int_equal(play(&cfg), n);
	assert_memory_equal(first, got, n * sizeof(*first));
	cfg.seed++;
	play(&cfg);
	assert_memory_not_equal(first, got, n * sizeof(*first));
	free(first);
	workload_free(w);
}

static void uniform_takes_turns(void **state)
{
	struct workload *w;
	struct load_config cfg = config("high-bimodal", &w);
	size_t n;

	cfg.arrivals = LOAD_UNIFORM;
	cfg.threads = 3;
	n = play(&cfg);
	assert_int_equal(n, 200000);
	for (size_t i = 0; i < n; i++)
		assert_true(fabs((double)got[i].due_ns - (5000 + 10000 * (double)i)) <= 1);
	workload_free(w);
}

static void ratios(void **state)
{
	static const double want[] = { 0.44, 0.04, 0.44, 0.04, 0.04 };
	struct workload *w;
	struct load_config cfg = config("tpcc", &w);
	size_t n = play(&cfg), seen[5] = { 0 };

	for (size_t i = 0; i < n; i++) {
		seen[got[i].type]++;
		assert_int_equal(got[i].service_ns, (uint64_t)w->types[got[i].type].mean_ns);
	}
	for (int t = 0; t < 5; t++)
		assert_true(fabs((double)seen[t] / (double)n - want[t]) < 4 * sqrt(want[t] * (1 - want[t]) / (double)n));
	workload_free(w);
}

static const char phased[] =
	"types:\n  - { name: a, service: 1us, ratio: 1 }\n  - { name: b, service: 9us, ratio: 0 }\n"
	"phases:\n  - { duration: 1s, rate: 10000 }\n  - { duration: 500ms, load: 2, ratio: { b: 1 } }\n  - { rate: 1000, service: { a: 5us } }\n";

static void phases(void **state)
{
	struct workload *w = NULL;
	struct load_config cfg = { .rate_hz = 20000, .duration_ns = 2000000000, .threads = 2, .arrivals = LOAD_UNIFORM };
	size_t n, of[3] = { 0 };

	assert_int_equal(workload_parse(phased, strlen(phased), "w", &w, NULL), 0);
	cfg.workload = w;
	assert_int_equal(schedule_check(&cfg, NULL), 0);
	assert_int_equal(schedule_length_ns(&cfg), 3500000000u);
	n = play(&cfg);
	for (size_t i = 0; i < n; i++) {
		uint32_t p = got[i].due_ns < 1000000000 ? 0 : got[i].due_ns < 1500000000 ? 1 : 2;

		assert_int_equal(got[i].phase, p);
		assert_int_equal(got[i].type, p == 1);
		assert_int_equal(got[i].service_ns, p == 0 ? 1000 : p == 1 ? 9000 : 5000);
		of[p]++;
	}
	assert_int_equal(of[0], 10000);
	assert_int_equal(of[1], 20000);
	assert_int_equal(of[2], 2000);
	workload_free(w);
}

static void impossible(void **state)
{
	struct workload *w;
	struct load_config cfg = config("high-bimodal", &w);
	struct hearth_err err = { 0 };

	cfg.rate_hz = 0;
	assert_int_equal(schedule_check(&cfg, &err), -22);
	assert_non_null(strstr(err.msg, "no rate"));
	cfg.rate_hz = 1e9;
	assert_int_equal(schedule_check(&cfg, &err), -22);
	assert_non_null(strstr(err.msg, "cannot be sent"));
	cfg.rate_hz = NAN;
	assert_int_equal(schedule_check(&cfg, &err), -22);
	cfg.rate_hz = 1;
	cfg.duration_ns = 0;
	assert_int_equal(schedule_check(&cfg, &err), -22);
	assert_non_null(strstr(err.msg, "no duration"));
	workload_free(w);
}

/* ---- traces ---- */

static struct load_trace *parse(const char *text, struct hearth_err *err)
{
	struct load_trace *t = NULL;

	return load_trace_parse(text, strlen(text), "t.csv", &t, err) == 0 ? t : NULL;
}

static void traces(void **state)
{
	struct load_trace *t = parse("t_ns,type,service_ns\n1000,long,100000\n5000,short,900\n7000,7,50\n9000,short,1100\n", NULL);
	struct load_config cfg = { .trace = t, .threads = 3, .arrivals = LOAD_TRACE };
	static const struct arrival want[] = { { 0, 100000, 0, 0 }, { 4000, 900, 1, 0 }, { 6000, 50, 2, 0 }, { 8000, 1100, 1, 0 } };

	assert_non_null(t);
	cfg.workload = t->workload;
	assert_int_equal(t->workload->types_n, 3);
	assert_string_equal(t->workload->types[0].name, "long");
	assert_true(t->workload->types[1].mean_ns == 1000 && t->workload->types[1].ratio == 0.5);
	assert_int_equal(t->numbers[0], 0);
	assert_int_equal(t->numbers[1], 1);
	assert_int_equal(t->numbers[2], 7);
	assert_int_equal(play(&cfg), 4);
	for (int i = 0; i < 4; i++)
		assert_memory_equal(&got[i], &want[i], sizeof(want[i]));
	load_trace_dilate(t, 2.5);
	assert_int_equal(schedule_length_ns(&cfg), 20001);
	assert_int_equal(t->items[0].service_ns, 250000);
	load_trace_free(t);
}

/* What the reader refuses is in test_recording.c; this is that it is asked. */
static void wrong_traces(void **state)
{
	struct hearth_err err = { 0 };

	assert_null(parse("t_ns,type,service_ns\n5000,long,100000\n1000,short,900\n", &err));
	assert_non_null(strstr(err.msg, "t.csv:3: t_ns goes back"));
}

/* Requests that were not recorded may be in any order. */
static void given_requests(void **state)
{
	static const struct recorded_request given[] = { { 5000, 10, 0 }, { 1000, 0, 1 }, { 9000, 30, 0 } };
	static const char *const names[] = { "a", "b" };
	struct recorded_request *items = malloc(sizeof(given));
	struct hearth_err err = { 0 };
	struct load_trace *t = NULL;

	assert_non_null(items);
	memcpy(items, given, sizeof(given));
	assert_int_equal(load_trace_new("t", names, 2, items, 3, &t, &err), 0);
	assert_true(t->items[0].at_ns == 0 && t->items[0].type == 1 && t->items[1].at_ns == 4000 && t->items[2].at_ns == 8000);
	assert_true(t->workload->types[0].mean_ns == 20 && t->workload->types[1].mean_ns == 1);
	load_trace_free(t);
	t = NULL;
	assert_int_equal(load_trace_new("t", names, 2, NULL, 0, &t, &err), -22);
	assert_non_null(strstr(err.msg, "no requests"));
	items = calloc(1, sizeof(*items));
	assert_int_equal(load_trace_new("t", names, 257, items, 1, &t, &err), -22);
	assert_non_null(strstr(err.msg, "257 types"));
	assert_null(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(poisson_one_lane), cmocka_unit_test(poisson_of_lanes_together), cmocka_unit_test(same_seed_same_schedule),
		cmocka_unit_test(uniform_takes_turns), cmocka_unit_test(ratios), cmocka_unit_test(phases), cmocka_unit_test(impossible), cmocka_unit_test(traces),
		cmocka_unit_test(wrong_traces), cmocka_unit_test(given_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
