/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

#include "ring_private.h"
#include "seed.h"

#define ITEMS 100000            /* a producer */
#define PRODUCERS 3

/* An item carries who made it and its number there, never 0. */
static void *item_of(uintptr_t producer, uintptr_t number) { return (void *)(producer << 32 | (number + 1)); }

struct job {
	struct spsc *one;
	struct mpsc *many;
	uintptr_t producer;
};

static void *produce(void *arg)
{
	struct job *j = arg;

	for (uintptr_t i = 0; i < ITEMS; i++) {
		while (j->one != NULL ? !spsc_push(j->one, item_of(0, i)) : !mpsc_push(j->many, item_of(j->producer, i)))
			sched_yield();
	}
	return NULL;
}

static void run_spsc(size_t capacity, size_t start)
{
	struct job j = { .one = spsc_new_at(capacity, start) };
	pthread_t thread;

	assert_non_null(j.one);
	assert_int_equal(pthread_create(&thread, NULL, produce, &j), 0);
	for (uintptr_t i = 0; i < ITEMS;) {
		void *item = spsc_pop(j.one);

		if (item == NULL) {
			sched_yield();
			continue;
		}
		assert_ptr_equal(item, item_of(0, i));
		i++;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_null(spsc_pop(j.one));
	spsc_free(j.one);
}

/* Nothing lost, nothing twice, each producer's items in its order. */
static void run_mpsc(size_t capacity, size_t start)
{
	struct mpsc *ring = mpsc_new_at(capacity, start);
	uintptr_t next[PRODUCERS] = { 0 };
	struct job jobs[PRODUCERS];
	pthread_t thread[PRODUCERS];

	assert_non_null(ring);
	for (uintptr_t p = 0; p < PRODUCERS; p++) {
		jobs[p] = (struct job){ .many = ring, .producer = p };
		assert_int_equal(pthread_create(&thread[p], NULL, produce, &jobs[p]), 0);
	}
	for (size_t got = 0; got < (size_t)PRODUCERS * ITEMS;) {
		uintptr_t item = (uintptr_t)mpsc_pop(ring), p = item >> 32;

		if (item == 0) {
			sched_yield();
			continue;
		}
		assert_true(p < PRODUCERS);
		assert_int_equal((item & 0xffffffff) - 1, next[p]);
		next[p]++;
		got++;
	}
	for (uintptr_t p = 0; p < PRODUCERS; p++)
		assert_int_equal(pthread_join(thread[p], NULL), 0);
	assert_null(mpsc_pop(ring));
	mpsc_free(ring);
}

/* The counters wrap in the middle of each run but the first. */
static void prop_threads(void **state)
{
	struct rng g = { prop_seed() };

	for (int round = 0; round < 6; round++) {
		size_t capacity = (size_t)1 << rng_below(&g, 9);
		size_t start = round == 0 ? 0 : (round % 2 != 0 ? SIZE_MAX : SIZE_MAX / 2) - rng_below(&g, ITEMS);

		run_spsc(capacity, start);
		run_mpsc(capacity, start);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prop_threads) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
