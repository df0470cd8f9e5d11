/* SPDX-License-Identifier: Apache-2.0 */
/* The replay's parts that need no node: which function gets which calls, and the counterfactual. */
#include "check.h"

#include <errno.h>

#include "replay.h"

#define S 1000000000ull

static void test_list(void **state)
{
	struct targets t = { 0 };
	struct hearth_err err;

	assert_int_equal(targets_from_list("light,middle,heavy", &t, &err), 0);
	assert_int_equal(t.n, 3);
	assert_string_equal(t.v[0].name, "light");
	assert_string_equal(t.v[2].name, "heavy");
	targets_done(&t);
	assert_int_equal(targets_from_list("a,,b", &t, &err), -EINVAL);
	assert_int_equal(targets_from_list("", &t, &err), -EINVAL);
	assert_int_equal(targets_from_list("a,b,a", &t, &err), -EINVAL);
	assert_string_equal(err.msg, "function a is named twice");
}

static void test_ask(void **state)
{
	struct targets t = { 0 };
	struct hearth_err err;
	json_t *ps = json_loads("{\"functions\":[{\"name\":\"b\",\"contract\":\"http\",\"concurrency\":8},{\"name\":\"a\",\"contract\":\"lambda\"}]}", 0, NULL);

	assert_int_equal(targets_from_list("a,b", &t, &err), 0);
	assert_int_equal(targets_ask(&t, ps, &err), 0);
	assert_false(t.v[0].http);
	assert_int_equal(t.v[0].concurrency, 1);
	assert_true(t.v[1].http);
	assert_int_equal(t.v[1].concurrency, 8);
	targets_done(&t);
	assert_int_equal(targets_from_list("a,c", &t, &err), 0);
	assert_int_equal(targets_ask(&t, ps, &err), -ENOENT);
	targets_done(&t);
	json_decref(ps);
}

/* Functions f0 (1 s) .. f9 (10 s) in a shuffled file. */
static struct trace *ten_functions(void)
{
	static const char text[] = "app,func,end_timestamp,duration\na,f3,10,4\na,f9,20,10\na,f0,1,1\na,f5,6,6\na,f1,2,2\na,f2,3,3\na,f8,9,9\na,f4,5,5\na,f6,7,7\na,f7,8,8\n";
	struct trace *t = NULL;

	assert_int_equal(trace_parse(text, strlen(text), "ten", &t, NULL), 0);
	return t;
}

static void test_map_heavy_to_heavy(void **state)
{
	struct trace *t = ten_functions();
	struct targets three = { 0 };
	unsigned used[3] = { 0 };
	uint32_t *map;

	assert_int_equal(targets_from_list("x,y,z", &three, NULL), 0);
	assert_int_equal(targets_map(&three, t, &map), 0);
	for (size_t i = 0; i < t->n_funcs; i++) {
		unsigned rank = (unsigned)(t->funcs[i].name[1] - '0');

		assert_int_equal(map[i], rank * 3 / 10);
		used[map[i]]++;
	}
	assert_true(used[0] && used[1] && used[2]);
	free(map);
	targets_done(&three);
	trace_free(t);
}

static void test_map_more_targets(void **state)
{
	struct trace *t = ten_functions();
	struct targets many = { 0 };
	bool used[12] = { false };
	uint32_t *map;

	assert_int_equal(targets_from_list("a,b,c,d,e,f,g,h,i,j,k,l", &many, NULL), 0);
	assert_int_equal(targets_map(&many, t, &map), 0);
	for (size_t i = 0; i < t->n_funcs; i++) {
		assert_false(used[map[i]]);
		used[map[i]] = true;
	}
	assert_true(used[0] && used[11]);
	free(map);
	targets_done(&many);
	trace_free(t);
}

static void test_keepalive_by_hand(void **state)
{
	/* f: 0-2, 1-3 (both run: two instances), 4-5 takes the one used last (the second), 20-21 finds all gone. g: alone. */
	const struct ka_request reqs[] = { { 0, 2 * S, 0 }, { 1 * S, 3 * S, 0 }, { 4 * S, 5 * S, 0 }, { 6 * S, 7 * S, 1 }, { 20 * S, 21 * S, 0 } };
	const unsigned concurrency[] = { 1, 1 };
	const uint64_t bytes[] = { 100, 7 };
	struct ka_result r = { 0 };

	assert_int_equal(keepalive_simulate(reqs, 5, concurrency, 10 * S, &r), 0);
	assert_int_equal(r.n, 4);
	assert_int_equal(r.instances[0].born_ns, 0);
	assert_int_equal(r.instances[0].gone_ns, 12 * S);
	assert_int_equal(r.instances[1].gone_ns, 15 * S);
	assert_int_equal(r.instances[2].gone_ns, 17 * S);
	assert_int_equal(r.instances[3].born_ns, 20 * S);
	assert_int_equal(keepalive_bytes_at(&r, bytes, 0), 100);
	assert_int_equal(keepalive_bytes_at(&r, bytes, 6 * S), 207);
	assert_int_equal(keepalive_bytes_at(&r, bytes, 12 * S), 107);
	assert_int_equal(keepalive_bytes_at(&r, bytes, 18 * S), 0);
	assert_true(keepalive_byte_s(&r, bytes, 100 * S) == 100.0 * (12 + 14 + 11) + 7.0 * 11);
	assert_true(keepalive_byte_s(&r, bytes, 10 * S) == 100.0 * (10 + 9) + 7.0 * 4);
	keepalive_done(&r);
}

static void test_keepalive_slots(void **state)
{
	const struct ka_request reqs[] = { { 0, 5 * S, 0 }, { 1 * S, 5 * S, 0 }, { 2 * S, 5 * S, 0 } };
	const unsigned two[] = { 2 };
	struct ka_result r = { 0 };

	assert_int_equal(keepalive_simulate(reqs, 3, two, 10 * S, &r), 0);
	assert_int_equal(r.n, 2);
	keepalive_done(&r);
}

/* The same rules, told the slow way: no list of live instances, every instance ever made looked at for every request. */
static size_t naive(const struct ka_request *q, size_t n, const unsigned *concurrency, uint64_t keepalive_ns, struct ka_instance *out)
{
	static uint64_t ends[400][4];
	size_t made = 0;

	for (size_t i = 0; i < n; i++) {
		size_t best = made;
		uint64_t best_last = 0;

		for (size_t k = 0; k < made; k++) {
			unsigned busy = 0;
			uint64_t last = out[k].gone_ns - keepalive_ns;

			for (unsigned s = 0; s < concurrency[q[i].func]; s++)
				busy += ends[k][s] > q[i].start_ns;
			if (out[k].func != q[i].func || busy == concurrency[q[i].func] || out[k].gone_ns < q[i].start_ns)
				continue;
			if (best == made || last > best_last) {
				best = k;
				best_last = last;
			}
		}
		if (best == made) {
			out[made] = (struct ka_instance){ q[i].func, q[i].start_ns, 0 };
			memset(ends[made++], 0, sizeof(ends[0]));
		}
		for (unsigned s = 0; s < concurrency[q[i].func]; s++)
			if (ends[best][s] <= q[i].start_ns) {
				ends[best][s] = q[i].end_ns;
				break;
			}
		if (q[i].end_ns + keepalive_ns > out[best].gone_ns)
			out[best].gone_ns = q[i].end_ns + keepalive_ns;
	}
	return made;
}

static void test_keepalive_against_naive(void **state)
{
	static struct ka_request q[400];
	static struct ka_instance slow[400];
	const unsigned concurrency[] = { 1, 2, 1, 4 };

	for (unsigned seed = 1; seed <= 200; seed++) {
		struct ka_result r = { 0 };
		uint64_t now = 0, keepalive_ns;
		size_t n, made;

		srandom(seed);
		n = (size_t)random() % 400 + 1;
		keepalive_ns = (uint64_t)random() % 50;
		for (size_t i = 0; i < n; i++) {
			now += (uint64_t)random() % 5;          /* often the same moment */
			q[i] = (struct ka_request){ now, now + 1 + (uint64_t)random() % 20, (uint32_t)random() % 4 };
		}
		made = naive(q, n, concurrency, keepalive_ns, slow);
		assert_int_equal(keepalive_simulate(q, n, concurrency, keepalive_ns, &r), 0);
		if (r.n != made)
			fail_msg("seed %u: %zu instances, naive model %zu", seed, r.n, made);
		for (size_t k = 0; k < made; k++)
			if (r.instances[k].func != slow[k].func || r.instances[k].born_ns != slow[k].born_ns ||
			    r.instances[k].gone_ns != slow[k].gone_ns)
				fail_msg("seed %u: instance %zu differs", seed, k);
		keepalive_done(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_ask),
		cmocka_unit_test(test_map_heavy_to_heavy),
		cmocka_unit_test(test_map_more_targets),
		cmocka_unit_test(test_keepalive_by_hand),
		cmocka_unit_test(test_keepalive_slots),
		cmocka_unit_test(test_keepalive_against_naive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
