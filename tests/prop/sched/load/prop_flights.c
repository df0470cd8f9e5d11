/* SPDX-License-Identifier: Apache-2.0 */
/* The table of requests under way against a model that keeps every request for ever and searches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "flights.h"
#include "seed.h"

#define STEPS 200000
#define CAPACITY 64

struct model { uint64_t due_ns[STEPS]; uint8_t state[STEPS]; uint64_t n; };

static uint64_t model_flying(const struct model *m)
{
	uint64_t flying = 0;

	/* none can be older than the ring is long */
	for (uint64_t i = m->n > CAPACITY ? m->n - CAPACITY : 0; i < m->n; i++)
		flying += m->state[i] == FLIGHT_FLYING;
	return flying;
}

static void step_add(struct flights *f, struct model *m, uint64_t now_ns)
{
	struct flight evicted, *e;
	bool was;

	e = flights_add(f, &evicted, &was);
	assert_int_equal(e->seq, m->n);
	e->due_ns = now_ns;
	if (m->n >= CAPACITY) {
		uint64_t oldest = m->n - CAPACITY;

		assert_int_equal(was, m->state[oldest] == FLIGHT_FLYING);
		if (was) {
			assert_int_equal(evicted.seq, oldest);
			m->state[oldest] = FLIGHT_LOST;
		}
	} else {
		assert_false(was);
	}
	m->due_ns[m->n] = now_ns;
	m->state[m->n++] = FLIGHT_FLYING;
}

static void step_answer(struct flights *f, struct model *m, uint64_t seq)
{
	struct flight *e;
	enum flight_match got = flights_answer(f, seq, &e);
	bool forgotten = m->n > CAPACITY && seq < m->n - CAPACITY;

	if (seq >= m->n) {
		assert_int_equal(got, FLIGHT_STRAY);
	} else if (forgotten) {
		assert_int_equal(got, FLIGHT_LATE);
		assert_null(e);
	} else {
		assert_int_equal(got, m->state[seq] == FLIGHT_FLYING ? FLIGHT_FIRST : m->state[seq] == FLIGHT_LOST ? FLIGHT_LATE : FLIGHT_DUPLICATE);
		assert_int_equal(e->due_ns, m->due_ns[seq]);
		m->state[seq] = FLIGHT_ANSWERED;
	}
}

static void step_expire(struct flights *f, struct model *m, uint64_t before_ns)
{
	struct flight *e;

	while ((e = flights_expire(f, before_ns))) {
		assert_int_equal(m->state[e->seq], FLIGHT_FLYING);
		assert_true(m->due_ns[e->seq] < before_ns);
		m->state[e->seq] = FLIGHT_LOST;
	}
	for (uint64_t i = m->n > CAPACITY ? m->n - CAPACITY : 0; i < m->n; i++)
		assert_false(m->state[i] == FLIGHT_FLYING && m->due_ns[i] < before_ns);
}

static void against_model(void **state)
{
	static struct model m;
	struct rng g = { prop_seed() };
	struct flights f;
	uint64_t now_ns = 0;

	assert_int_equal(flights_init(&f, CAPACITY), 0);
	while (m.n < STEPS) {
		uint64_t what = rng_below(&g, 100);

		now_ns += rng_below(&g, 10);
		if (what < 50)
			step_add(&f, &m, now_ns);
		else if (what < 95)
			step_answer(&f, &m, m.n + rng_below(&g, 4) - (m.n < 90 ? rng_below(&g, m.n + 1) : rng_below(&g, 90)));
		else
			step_expire(&f, &m, now_ns > 200 ? now_ns - rng_below(&g, 200) : 0);
		assert_int_equal(f.flying, model_flying(&m));
	}
	flights_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(against_model) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
