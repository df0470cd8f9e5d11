/* SPDX-License-Identifier: Apache-2.0 */
#include "thread.h"

#include <limits.h>
#include <signal.h>

/* beside what glibc takes from it for thread-local variables */
#define STACK_BYTES (512u << 10)

int thread_start(pthread_t *ret, void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return -err;
	pthread_attr_setstacksize(&attr, STACK_BYTES + (size_t)PTHREAD_STACK_MIN);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(ret, &attr, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}
