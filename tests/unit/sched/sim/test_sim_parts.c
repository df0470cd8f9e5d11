/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's parts against plain ones: tournament tree, quantiles, queue, drawing of types. */
#include "check.h"

#include "arrivals.h"
#include "fifo.h"
#include "quant.h"
#include "tree.h"

static void tree_is_a_minimum(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 3, 14, 64, 200, 256 };
	struct rng rng;

	rng_seed(&rng, 1);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t at[SCHED_WORKERS_MAX];
		struct tree *t = malloc(sizeof(*t));

		tree_init(t, sizes[i]);
		memset(at, 0xff, sizeof(at));
		assert_int_equal(tree_at(t), UINT64_MAX >> 8);
		for (int step = 0; step < 5000; step++) {
			uint32_t w = (uint32_t)rng_below(&rng, sizes[i]), first = 0;

			if (rng_below(&rng, 3) == 0) {
				at[w] = UINT64_MAX;
				tree_clear(t, w);
			} else {
				at[w] = rng_below(&rng, step % 2 ? 20 : 1ull << 50);
				tree_set(t, w, at[w]);
			}
			for (uint32_t k = 1; k < sizes[i]; k++)
				first = at[k] < at[first] ? k : first;
			if (at[first] == UINT64_MAX) {
				assert_int_equal(tree_at(t), UINT64_MAX >> 8);
				continue;
			}
			assert_int_equal(tree_at(t), at[first]);
			assert_int_equal(tree_worker(t), first);        /* of equals the lowest */
		}
		free(t);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void quantiles_are_close(void **state)
{
	enum { N = 20000 };
	double *v = malloc(N * sizeof(*v));
	struct sim_quantiles all;
	struct quant q, half[2];
	struct rng rng;

	assert_int_equal(quant_init(&q) + quant_init(&half[0]) + quant_init(&half[1]), 0);
	rng_seed(&rng, 2);
	for (int i = 0; i < N; i++) {
		v[i] = exp(30 * rng_uniform(&rng));
		quant_add(&half[i % 2], v[i]);
	}
	quant_merge(&q, &half[0]);
	quant_merge(&q, &half[1]);
	qsort(v, N, sizeof(*v), by_value);
	quant_report(&q, 0, &all);
	assert_int_equal(all.n, N);
	assert_near(all.p50, v[N / 2 - 1], 0.001);
	assert_near(all.p99, v[N * 99 / 100 - 1], 0.001);
	assert_near(all.p999, v[N / 1000 * 999 - 1], 0.001);
	assert_true(all.max == v[N - 1] && all.p999_all == all.p999);
	/* 21 lost of 20,021: the 99.9th percentile is one of them; 10 are not enough */
	quant_report(&q, 21, &all);
	assert_true(isinf(all.p999_all));
	quant_report(&q, 10, &all);
	assert_near(all.p999_all, v[N - 11], 0.001);
	quant_reset(&q);
	quant_report(&q, 0, &all);
	assert_true(all.n == 0 && all.p999 == 0 && all.max == 0);
	quant_report(&q, 1, &all);
	assert_true(isinf(all.p999_all));
	/* one value is exact, whatever it is */
	quant_add(&q, 635000);
	quant_add(&q, 635000);
	quant_report(&q, 0, &all);
	assert_true(all.p50 == 635000 && all.p999 == 635000);
	/* outside the range: first and last bucket */
	quant_add(&q, 0.5);
	quant_add(&q, 1e30);
	quant_report(&q, 0, &all);
	assert_true(all.max == 1e30);
	quant_done(&q);
	quant_done(&half[0]);
	quant_done(&half[1]);
	free(v);
}

static void fifo_keeps_order(void **state)
{
	struct fifo q = { 0 };
	uint64_t in = 0, out = 0;
	struct rng rng;

	rng_seed(&rng, 3);
	for (int i = 0; i < 20000; i++) {
		if (rng_below(&rng, 5) < 3) {
			assert_int_equal(fifo_push(&q, (struct waiting){ .request = in }), 0);
			in++;
		} else if (fifo_len(&q) > 0) {
			assert_int_equal(fifo_head(&q)->request, out);
			assert_int_equal(fifo_pop(&q).request, out);
			out++;
		}
		assert_int_equal(fifo_len(&q), in - out);
	}
	fifo_done(&q);
}

static void types_come_by_their_shares(void **state)
{
	struct workload_type types[] = { { "a", 10, 0.7 }, { "b", 20, 0.2 }, { "never", 30, 0 }, { "c", 40, 0.0999 }, { "d", 50, 0.0001 } };
	struct workload *w = mix(types, 5);
	struct sim_config c = sim_config_default();
	uint64_t count[5] = { 0 };
	double gap = 0, gap2 = 0;
	uint64_t last = 0;
	struct arrivals *a = malloc(sizeof(*a));
	struct arrival r;

	c.workload = w;
	c.load = 0;
	c.rate_hz = 1e6;
	assert_int_equal(arrivals_init(a, &c, NULL), 0);
	for (int i = 0; i < 1000000; i++) {
		double g;

		assert_true(arrivals_next(a, &r));
		count[request_type(r.request)]++;
		assert_int_equal(r.told, request_type(r.request));
		assert_int_equal(request_service_ns(r.request), (uint64_t)types[r.told].mean_ns);
		assert_int_equal((r.request & REQUEST_MEASURED) != 0, i >= 100000);
		assert_true(r.at_ns >= last && r.ready_ns == r.at_ns);
		g = (double)(r.at_ns - last);
		gap += g;
		gap2 += g * g;
		last = r.at_ns;
	}
	assert_false(arrivals_next(a, &r));
	assert_near(count[0], 700000, 0.005);
	assert_near(count[1], 200000, 0.01);
	assert_int_equal(count[2], 0);
	assert_near(count[3], 99900, 0.015);
	assert_near(count[4], 100, 0.4);
	assert_near(gap / 1e6, 1000, 0.005);
	assert_near(gap2 / 1e6, 2e6, 0.01);     /* exponential */
	free(a);
	workload_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tree_is_a_minimum), cmocka_unit_test(quantiles_are_close), cmocka_unit_test(fifo_keeps_order), cmocka_unit_test(types_come_by_their_shares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
