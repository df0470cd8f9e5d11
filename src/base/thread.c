// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <signal.h>

int thread_spawn(pthread_t *ret, void *(*run)(void *arg), void *arg)
{
	sigset_t all, old;
	pthread_t thread;
	int r;

	/* a thread begins with the mask of its maker: blocked before it is there, no signal finds it */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		*ret = thread;
	return -r;
}
