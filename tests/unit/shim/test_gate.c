/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "gate.h"

#define THREADS 8
static atomic_bool stop, hold;
static atomic_uint inside, holding;
static atomic_ulong passed;

static uint64_t in_ms(uint64_t ms)
{
	return clock_mono_ns() + ms * NS_PER_MS;
}

static void *run(void *arg)
{
	while (!atomic_load(&stop)) {
		gate_enter();
		atomic_fetch_add_explicit(&inside, 1, memory_order_relaxed);
		gate_enter();           /* calls nest */
		gate_leave();
		atomic_fetch_sub_explicit(&inside, 1, memory_order_relaxed);
		gate_leave();
		atomic_fetch_add_explicit(&passed, 1, memory_order_relaxed);
	}
	return NULL;
}

static void *run_once(void *arg)
{
	gate_enter();
	gate_leave();
	return NULL;
}

static void hammer(unsigned turns)
{
	pthread_t t[THREADS], extra;

	atomic_store(&stop, false);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, run, NULL), 0);
	for (unsigned turn = 0; turn < turns; turn++) {
		unsigned long before;

		assert_int_equal(gate_close(in_ms(60000)), 0);
		assert_true(gate_is_closed());
		assert_int_equal(atomic_load(&inside), 0);
		assert_int_equal(pthread_create(&extra, NULL, run_once, NULL), 0);      /* its first call finds the gate closed */
		for (unsigned i = 0; i < 100; i++)
			assert_int_equal(atomic_load(&inside), 0);
		before = atomic_load(&passed);
		gate_open();
		pthread_join(extra, NULL);
		while (atomic_load(&passed) < before + THREADS)
			;
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

static void test_hammer(void **state)
{
	hammer(100);
}

static void *run_hold(void *arg)
{
	gate_enter();
	atomic_store(&holding, 1);
	while (atomic_load(&hold))
		usleep(100);
	gate_leave();
	return NULL;
}

static void test_timeout(void **state)
{
	pthread_t t;

	atomic_store(&hold, true);
	assert_int_equal(pthread_create(&t, NULL, run_hold, NULL), 0);
	while (!atomic_load(&holding))
		;
	assert_int_equal(gate_close(in_ms(20)), -ETIMEDOUT);
	assert_false(gate_is_closed());
	gate_enter();
	gate_leave();
	atomic_store(&hold, false);
	assert_int_equal(gate_close(in_ms(60000)), 0);
	gate_open();
	pthread_join(t, NULL);
}

static void *run_steps(void *arg)
{
	while (!atomic_load(&stop)) {
		gate_enter();
		gate_leave();
		gate_enter();
		gate_leave();
		gate_quiet();
		atomic_fetch_add(&passed, 1);
	}
	return NULL;
}

/* closed by the thread that has waited for the device, before it calls again; at once where all have waited; in the end without */
static void test_wish(void **state)
{
	unsigned before;
	pthread_t t;

	gate_enter();
	gate_leave();
	gate_wish(in_ms(20));                   /* this thread does not wait any more */
	assert_int_equal(gate_close(in_ms(60000)), 0);
	gate_open();
	gate_quiet();
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&t, NULL, run_steps, NULL), 0);
	for (int i = 0; i < 100; i++) {
		gate_wish(in_ms(60000));
		before = atomic_load(&passed);
		assert_int_equal(gate_close(in_ms(60000)), 0);
		assert_true(gate_is_closed());
		assert_true(atomic_load(&passed) <= before + 1);
		gate_open();
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	gate_wish(in_ms(60000));                /* nobody is there who has not waited */
	assert_int_equal(gate_close(in_ms(60000)), 0);
	gate_open();
}

static void *run_cancelled(void *arg)
{
	gate_enter();
	atomic_store(&holding, 2);
	for (;;)
		pause();
	return NULL;
}

/* a thread that is cancelled in a call is in none any more */
static void test_cancel(void **state)
{
	pthread_t t;

#ifdef __SANITIZE_THREAD__
	skip();         /* it does not see locks that a cancelled thread's destructors take */
#endif
	assert_int_equal(pthread_create(&t, NULL, run_cancelled, NULL), 0);
	while (atomic_load(&holding) != 2)
		;
	pthread_cancel(t);
	assert_int_equal(gate_close(in_ms(60000)), 0);
	gate_open();
	pthread_join(t, NULL);
}

static void test_fork(void **state)
{
	int status;
	pid_t pid;

	assert_int_equal(gate_close(in_ms(60000)), 0);
	gate_fork_prepare();
	pid = fork();
	if (pid == 0) {
		gate_fork_child();
		gate_enter();
		gate_leave();
		_exit(gate_close(in_ms(60000)) == 0 ? 0 : 1);
	}
	gate_fork_parent();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(gate_is_closed());
	gate_open();
}

static void test_fences(void **state)
{
	gate_use_fences();
	hammer(100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hammer), cmocka_unit_test(test_timeout), cmocka_unit_test(test_wish), cmocka_unit_test(test_cancel), cmocka_unit_test(test_fork), cmocka_unit_test(test_fences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
