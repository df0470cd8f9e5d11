/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <signal.h>

#include "base/thread.h"

static void *mask(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, arg);
	return arg;
}

/* the thread takes no signal; its maker takes those it took before */
static void test_signals(void **state)
{
	sigset_t before, its, after;
	pthread_t thread;
	void *ret;

	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert_int_equal(thread_spawn(&thread, mask, &its), 0);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_ptr_equal(ret, &its);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int sig = 1; sig < NSIG; sig++) {
		if (sig != SIGKILL && sig != SIGSTOP && (sig < 32 || sig >= SIGRTMIN))
			assert_int_equal(sigismember(&its, sig), 1);
		assert_int_equal(sigismember(&after, sig), sig == SIGUSR2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_signals) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
