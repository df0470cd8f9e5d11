// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "scale.h"
#include "seed.h"

#define MS 1000000ull

static struct scale_input random_input(struct rng *g)
{
	return (struct scale_input){
		.queued = (unsigned)rng_below(g, 200),
		.hot_slots = (unsigned)rng_below(g, 20),
		.coming_slots = (unsigned)rng_below(g, 20),
		.instances = (unsigned)rng_below(g, 20),
		.max_instances = 1 + (unsigned)rng_below(g, 20),
		.slots_per_instance = 1 + (unsigned)rng_below(g, 8),
		.cpus = 1 + (unsigned)rng_below(g, 64),
		.node_slots = rng_below(g, 2) ? 1 + (unsigned)rng_below(g, 40) : 0,
		.computes = rng_below(g, 3) ? (double)rng_below(g, 101) / 100 : 0,
		.exec_ns = rng_below(g, 4) ? rng_below(g, 5000) * MS : 0,
		.start_ns = rng_below(g, 4) ? rng_below(g, 5000) * MS : 0,
	};
}

/* whatever the situation: within the limit, nothing for nobody, never more slots than calls, never a queue without anyone to serve it */
static void keeps_its_limits(void **state)
{
	struct rng g = { prop_seed() };

	(void)state;
	for (int i = 0; i < 200000; i++) {
		struct scale_input in = random_input(&g);
		unsigned more = scale_more(&in);

		assert_true(more == 0 || in.instances + more <= in.max_instances);
		if (in.queued == 0)
			assert_int_equal(more, 0);
		/* places that would only wait for the node's slots are not made */
		if (more > 0 && in.node_slots)
			assert_true(in.hot_slots + in.coming_slots + (more - 1) * in.slots_per_instance < in.node_slots);
		/* nor such whose calls would wait for a processor */
		if (more > 0)
			assert_true((in.hot_slots + in.coming_slots + (more - 1) * in.slots_per_instance + .5) * in.computes <= in.cpus + 1e-9);
		if (more > 0)
			assert_true(in.coming_slots + (more - 1) * in.slots_per_instance < in.queued);
		if (in.queued > 0 && in.hot_slots + in.coming_slots == 0 && in.instances < in.max_instances)
			assert_true(more > 0);
	}
}

/* more waiting calls never ask for fewer instances; what is started already is never asked for again */
static void is_monotone_and_stable(void **state)
{
	struct rng g = { prop_seed() ^ 1 };

	(void)state;
	for (int i = 0; i < 200000; i++) {
		struct scale_input in = random_input(&g), longer;
		unsigned more = scale_more(&in);

		longer = in;
		longer.queued++;
		assert_true(scale_more(&longer) >= more);
		in.instances += more;
		in.coming_slots += more * in.slots_per_instance;
		assert_int_equal(scale_more(&in), 0);
	}
}

static void known_cases(void **state)
{
	struct scale_input in = { .queued = 16, .max_instances = 8, .slots_per_instance = 1, .cpus = 2 };

	(void)state;
	assert_int_equal(scale_more(&in), 2);           /* nothing known: one a CPU */
	in.exec_ns = 80 * MS;
	in.start_ns = 1600 * MS;                        /* a start is worth 20 calls */
	assert_int_equal(scale_more(&in), 1);
	in.hot_slots = 1;                               /* one is there: it is done before another would be */
	assert_int_equal(scale_more(&in), 0);
	in.hot_slots = 0;
	in.exec_ns = 3200 * MS;                         /* long calls: each its own, up to the limit */
	assert_int_equal(scale_more(&in), 8);
	in.computes = 1;                                /* long computations: there are two processors */
	assert_int_equal(scale_more(&in), 2);
	in.computes = .9;
	assert_int_equal(scale_more(&in), 2);
	in.computes = .3;
	assert_int_equal(scale_more(&in), 7);
	in.computes = 0;
	in.slots_per_instance = 4;
	assert_int_equal(scale_more(&in), 4);
	in.node_slots = 6;
	assert_int_equal(scale_more(&in), 2);
	in.coming_slots = 5;
	assert_int_equal(scale_more(&in), 1);
	in.hot_slots = 1;
	assert_int_equal(scale_more(&in), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_its_limits),
		cmocka_unit_test(is_monotone_and_stable),
		cmocka_unit_test(known_cases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
