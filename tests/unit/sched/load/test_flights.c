/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "flights.h"

static struct flights f;

static int setup(void **state) { return flights_init(&f, 8); }
static int teardown(void **state) { flights_done(&f); return 0; }

static uint64_t add(uint64_t due_ns)
{
	struct flight evicted, *e;
	bool was;

	e = flights_add(&f, &evicted, &was);
	assert_false(was);
	e->due_ns = due_ns;
	return e->seq;
}

static void answers(void **state)
{
	struct flight *e;
	uint64_t a = add(10), b = add(20);

	assert_int_equal(flights_answer(&f, b, &e), FLIGHT_FIRST);
	assert_int_equal(e->due_ns, 20);
	assert_int_equal(f.flying, 1);
	assert_int_equal(flights_answer(&f, b, &e), FLIGHT_DUPLICATE);
	assert_int_equal(f.flying, 1);
	assert_int_equal(flights_oldest_ns(&f), 10);
	assert_int_equal(flights_answer(&f, a, &e), FLIGHT_FIRST);
	assert_int_equal(flights_oldest_ns(&f), UINT64_MAX);
}

static void strays(void **state)
{
	struct flight *e = (void *)1;

	assert_int_equal(flights_answer(&f, 0, &e), FLIGHT_STRAY);
	assert_null(e);
	add(1);
	assert_int_equal(flights_answer(&f, 1, &e), FLIGHT_STRAY);
	assert_int_equal(flights_answer(&f, UINT64_MAX, &e), FLIGHT_STRAY);
	assert_int_equal(f.flying, 1);
}

static void lost_then_late(void **state)
{
	struct flight *e;
	uint64_t a = add(10), b = add(20);

	assert_null(flights_expire(&f, 10));
	e = flights_expire(&f, 11);
	assert_non_null(e);
	assert_int_equal(e->seq, a);
	assert_null(flights_expire(&f, 11));
	assert_int_equal(f.flying, 1);
	assert_int_equal(flights_answer(&f, a, &e), FLIGHT_LATE);
	assert_int_equal(e->due_ns, 10);
	assert_int_equal(flights_answer(&f, a, &e), FLIGHT_DUPLICATE);
	assert_int_equal(flights_answer(&f, b, &e), FLIGHT_FIRST);
	assert_int_equal(f.flying, 0);
}

static void answered_ones_do_not_expire(void **state)
{
	struct flight *e;
	uint64_t a = add(1), b = add(2), c = add(3);

	flights_answer(&f, a, &e);
	flights_answer(&f, c, &e);
	e = flights_expire(&f, 100);
	assert_int_equal(e->seq, b);
	assert_null(flights_expire(&f, 100));
	assert_int_equal(f.flying, 0);
}

static void full_ring_gives_up_the_oldest(void **state)
{
	struct flight evicted, *e;
	bool was;
	uint64_t first = add(0), second;

	second = add(1);
	for (uint64_t i = 2; i < 8; i++)
		add(i);
	assert_int_equal(flights_answer(&f, second, &e), FLIGHT_FIRST);
	flights_add(&f, &evicted, &was);
	assert_true(was);
	assert_int_equal(evicted.seq, first);
	assert_int_equal(evicted.state, FLIGHT_LOST);
	assert_int_equal(f.flying, 7);
	/* its place is taken: an answer is late, and nothing is known of it any more */
	assert_int_equal(flights_answer(&f, first, &e), FLIGHT_LATE);
	assert_null(e);
	/* the next place was that of an answered one: nobody has to go */
	flights_add(&f, &evicted, &was);
	assert_false(was);
	assert_int_equal(f.flying, 8);
}

static void goes_round_many_times(void **state)
{
	struct flight *e;

	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t a = add(i), b = add(i);

		assert_int_equal(a, 2 * i);
		assert_int_equal(flights_answer(&f, b, &e), FLIGHT_FIRST);
		assert_int_equal(flights_answer(&f, a, &e), FLIGHT_FIRST);
	}
	assert_int_equal(f.flying, 0);
	assert_null(flights_expire(&f, UINT64_MAX));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answers), TEST(strays), TEST(lost_then_late), TEST(answered_ones_do_not_expire), TEST(full_ring_gives_up_the_oldest), TEST(goes_round_many_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
