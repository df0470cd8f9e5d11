/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#include "base/ring.h"
#include "ring_private.h"

static int items[16];

static void test_capacity(void **state)
{
	const size_t bad[] = { 0, 3, 6, 100, SIZE_MAX, SIZE_MAX / 2 + 1 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(spsc_new(bad[i]));
		assert_null(mpsc_new(bad[i]));
	}
	assert_null(spsc_free(NULL));
	assert_null(mpsc_free(NULL));
}

/* Fill, overflow and drain, several laps, beginning just before the counters wrap (and before twice the counter does). */
static void test_laps(void **state)
{
	const size_t starts[] = { 0, 1, SIZE_MAX - 5, SIZE_MAX / 2 - 5, SIZE_MAX };

	for (size_t capacity = 1; capacity <= 8; capacity *= 2) {
		for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
			struct spsc *one = spsc_new_at(capacity, starts[s]);
			struct mpsc *many = mpsc_new_at(capacity, starts[s]);

			assert_non_null(one);
			assert_non_null(many);
			for (int lap = 0; lap < 20; lap++) {
				assert_null(spsc_pop(one));
				assert_true(spsc_empty(one));
				assert_null(mpsc_pop(many));
				for (size_t i = 0; i < capacity; i++) {
					assert_true(spsc_push(one, &items[i]));
					assert_true(mpsc_push(many, &items[i]));
				}
				assert_false(spsc_empty(one));
				assert_false(spsc_push(one, &items[0]));
				assert_false(mpsc_push(many, &items[0]));
				for (size_t i = 0; i < capacity; i++) {
					assert_ptr_equal(spsc_pop(one), &items[i]);
					assert_ptr_equal(mpsc_pop(many), &items[i]);
				}
			}
			spsc_free(one);
			mpsc_free(many);
		}
	}
}

#define ITEMS 10000

/* The two sides in two processes: every item arrives, in order. */
static void test_between_processes(void **state)
{
	char *base = mmap(NULL, ITEMS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void *mem = mmap(NULL, spsc_bytes(8), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct spsc *r;
	int status;
	pid_t pid;

	assert_true(base != MAP_FAILED && mem != MAP_FAILED);
	assert_int_equal(spsc_bytes(3), 0);
	assert_null(spsc_init(mem, 3));
	r = spsc_init(mem, 8);
	assert_non_null(r);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		for (int i = 0; i < ITEMS; i++)
			while (!spsc_push(r, base + i))
				sched_yield();
		_exit(0);
	}
	for (int i = 0; i < ITEMS; i++) {
		char *got;

		while ((got = spsc_pop(r)) == NULL)
			sched_yield();
		assert_ptr_equal(got, base + i);
	}
	assert_null(spsc_pop(r));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	munmap(mem, spsc_bytes(8));
	munmap(base, ITEMS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_between_processes),
		cmocka_unit_test(test_capacity),
		cmocka_unit_test(test_laps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
