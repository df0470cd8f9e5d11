/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SCHED_SIM_POOL_H
#define TESTS_SCHED_SIM_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* Runs @work(0..n-1), in any order, on all CPUs. */
struct pool { void (*work)(unsigned i); unsigned n; atomic_uint next; };

static void *pool_main(void *arg)
{
	struct pool *p = arg;
	unsigned i;

	while ((i = atomic_fetch_add(&p->next, 1)) < p->n)
		p->work(i);
	return NULL;
}

static inline void pool_run(void (*work)(unsigned i), unsigned n)
{
	struct pool p = { .work = work, .n = n };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[64];
	unsigned started = 0;

	while (started + 1 < cpus && started < 64 && pthread_create(&threads[started], NULL, pool_main, &p) == 0)
		started++;
	pool_main(&p);
	while (started > 0)
		pthread_join(threads[--started], NULL);
}

#endif
