/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"

#include "sched/workload.h"

static void named(void **state)
{
	static const double mean_ns[] = { 50500, 2997.5, 19068, 318250, 13600, 11000, 8000. * 128 / 255, 31875, 2450, 50500 };

	for (int i = 0; workload_names[i]; i++) {
		struct workload *w = NULL;

		assert_int_equal(workload_load(workload_names[i], &w, NULL), 0);
		assert_string_equal(w->name, workload_names[i]);
		assert_int_equal(w->phases_n, strcmp(w->name, "phases") == 0 ? 4 : 1);
		assert_true(fabs(workload_mean_ns(w, 0) - mean_ns[i]) < 0.01);
		workload_free(w);
	}
}

static void unknown_name(void **state)
{
	struct hearth_err err = { 0 };
	struct workload *w = (void *)1;

	assert_int_equal(workload_load("medium-bimodal", &w, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "high-bimodal"));
	assert_int_equal(workload_load("no/such.yaml", &w, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "no/such.yaml"));
	assert_ptr_equal(w, (void *)1);
}

static struct workload *parse(const char *text, struct hearth_err *err)
{
	struct workload *w = NULL;

	return workload_parse(text, strlen(text), "w.yaml", &w, err) == 0 ? w : NULL;
}

#define TWO "types:\n  - { name: a, service: 1us, ratio: 0.5 }\n  - { name: b, service: 100us, ratio: 0.5, scv: 0.1 }\n"

static void phases(void **state)
{
	struct workload *w = parse(TWO "phases:\n  - { duration: 5s, rate: 2e5 }\n  - { duration: 1s, load: 0.5, ratio: { b: 1 } }\n  - { service: { a: 2us } }\n", NULL);

	assert_non_null(w);
	assert_int_equal(w->phases_n, 3);
	assert_true(w->types[1].scv == 0.1);
	assert_int_equal(w->phases[0].duration_ns, 5000000000u);
	assert_true(w->phases[0].rate_hz == 2e5 && w->phases[1].rate_hz == 0 && w->phases[1].scale == 0.5);
	assert_true(w->phases[1].ratio[0] == 0 && w->phases[1].ratio[1] == 1);
	assert_true(w->phases[2].mean_ns[0] == 2000 && w->phases[2].mean_ns[1] == 100000 && w->phases[2].ratio[0] == 0.5);
	workload_dilate(w, 10);
	assert_true(w->phases[0].duration_ns == 50000000000u && w->phases[0].rate_hz == 2e4 && w->phases[2].mean_ns[0] == 20000 && w->types[0].mean_ns == 10000);
	workload_free(w);
}

static void wrong_files(void **state)
{
	static const struct { const char *text, *why; } bad[] = {
		{ "", "empty" },
		{ "[1", "w.yaml:2: did not find" },
		{ "phases: []\n", "types are missing" },
		{ "types: []\n", "1 to 256" },
		{ "types: 3\n", "list" },
		{ "types:\n  - { name: a, service: 1us, ratio: 0.5 }\n", "add to 0.5" },
		{ "types:\n  - { name: a, service: 1us, ratio: 1.5 }\n", "0..1" },
		{ "types:\n  - { name: a, service: 1us, ratio: nan }\n", "number" },
		{ "types:\n  - { name: a, service: 1us, ratio: -1 }\n  - { name: b, service: 1us, ratio: 2 }\n", "0..1" },
		{ "types:\n  - { name: a, service: 1, ratio: 1 }\n", "time such as" },
		{ "types:\n  - { name: a, service: 2h, ratio: 1 }\n", "1ns..1h" },
		{ "types:\n  - { name: a, ratio: 1 }\n", "service time" },
		{ "types:\n  - { name: a, name: b, service: 1us, ratio: 1 }\n", "twice" },
		{ "types:\n  - { name: a, service: 1us, ratio: 1, colour: red }\n", "no key \"colour\"" },
		{ "types:\n  - { name: a, service: 1us, ratio: .5 }\n  - { name: a, service: 1us, ratio: .5 }\n", "two types" },
		{ "types:\n  - { name: 01234567890123456789012345678901, service: 1us, ratio: 1 }\n", "1 to 31" },
		{ "types:\n  - { name: a, service: 1us, ratio: 1, scv: -1 }\n", "scv" },
		{ "types:\n  - { [x]: a }\n", "words" },
		{ "types:\n  - { name: a, service: 1us, ratio: 1, high: 2us }\n", "go together" },
		{ "types:\n  - { name: a, service: 3us, ratio: 1, high: 2us, high_ratio: 0.1 }\n", "more than service" },
		{ "types:\n  - { name: a, service: 1us, ratio: 1, high: 2us, high_ratio: 1 }\n", "0..1" },
		{ "types:\n  - { name: a, service: 1us, ratio: 1, high: 2us, high_ratio: 0.1, scv: 1 }\n", "give one" },
		{ "types:\n  - { name: a, ratio: 1, samples: no/such }\n", "w.yaml:2: cannot read the samples no/such" },
		{ TWO "phases: []\n", "1 to 256" },
		{ TWO "phases:\n  - { rate: 1 }\n  - { rate: 1 }\n", "no duration" },
		{ TWO "phases:\n  - { rate: 0 }\n", "more than 0" },
		{ TWO "phases:\n  - { rate: 1e10 }\n", "1e9" },
		{ TWO "phases:\n  - { load: 0 }\n", "more than 0" },
		{ TWO "phases:\n  - { ratio: { c: 1 } }\n", "no type is called c" },
		{ TWO "phases:\n  - { ratio: { a: 0.9 } }\n", "add to 0.9" },
		{ TWO "phases:\n  - { service: { a: fast } }\n", "time such as" },
		{ TWO "extra: 1\n", "no key \"extra\"" },
		{ TWO "types: []\n", "twice" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hearth_err err = { 0 };

		assert_null(parse(bad[i].text, &err));
		if (!strstr(err.msg, bad[i].why))
			fail_msg("\"%s\" is not said of: %s (but: %s)", bad[i].why, bad[i].text, err.msg);
	}
}

static void service_times(void **state)
{
	static const double scv[] = { 0, 0.1, 1, 4 };
	struct sched_random r;

	sched_random_seed(&r, 7);
	for (size_t i = 0; i < sizeof(scv) / sizeof(scv[0]); i++) {
		double sum = 0, sum2 = 0;
		const int n = 400000;

		for (int k = 0; k < n; k++) {
			double x = workload_service_ns(10000, scv[i], &r);

			sum += x;
			sum2 += x * x;
		}
		sum /= n;
		sum2 = sum2 / n - sum * sum;
		assert_true(fabs(sum - 10000) < 150);
		assert_true(fabs(sum2 / sum / sum - scv[i]) <= 0.2 * scv[i]);
	}
}

static void other_distributions(void **state)
{
	char dir[] = "/tmp/hearth-test-XXXXXX", path[64], text[256];
	struct hearth_err err = { 0 };
	struct workload *w = NULL;
	struct sched_random r;
	double sum[2] = { 0 };
	unsigned high = 0;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/times", dir);
	assert_int_equal(file_replace(path, "100\n300\n", 8, 0600, NULL), 0);
	snprintf(text, sizeof(text), "types:\n  - { name: a, service: 1us, high: 50us, high_ratio: 0.01, ratio: 0.5 }\n  - { name: b, samples: times, ratio: 0.5 }\n");
	snprintf(path, sizeof(path), "%s/w.yaml", dir);
	assert_int_equal(file_replace(path, text, strlen(text), 0600, NULL), 0);
	if (workload_load(path, &w, &err) < 0)
		fail_msg("%s", err.msg);
	assert_true(fabs(w->types[0].mean_ns - 1490) < 1e-6 && fabs(w->types[1].mean_ns - 200) < 1e-6);
	sched_random_seed(&r, 5);
	for (int i = 0; i < 100000; i++) {
		double a = workload_draw_ns(&w->types[0], 2980, &r), b = workload_draw_ns(&w->types[1], 200, &r);

		assert_true(fabs(a - 2000) < 1e-6 || fabs(a - 100000) < 1e-6);
		assert_true(fabs(b - 100) < 1e-6 || fabs(b - 300) < 1e-6);
		high += a > 3000;
		sum[0] += a;
		sum[1] += b;
	}
	assert_true(high > 800 && high < 1200);
	assert_true(fabs(sum[1] / 100000 - 200) < 2);
	workload_free(w);
	snprintf(path, sizeof(path), "%s/times", dir);
	assert_int_equal(file_replace(path, "100\nfast\n", 9, 0600, NULL), 0);
	snprintf(path, sizeof(path), "%s/w.yaml", dir);
	w = NULL;
	assert_int_equal(workload_load(path, &w, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "times:2: not a service time"));
	assert_int_equal(dir_remove(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(named), cmocka_unit_test(unknown_name), cmocka_unit_test(phases), cmocka_unit_test(wrong_files), cmocka_unit_test(service_times),
		cmocka_unit_test(other_distributions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
