/* SPDX-License-Identifier: Apache-2.0 */
#include "crew.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS_MAX 16

struct crew {
	crew_fn work;
	void *ctx;
	size_t n;
	atomic_size_t next;
	atomic_int failed;
	pthread_mutex_t lock;
	struct hearth_err first;
};

static void *member(void *arg)
{
	struct crew *c = arg;
	struct hearth_err err = { 0 };
	size_t k;

	while (!atomic_load(&c->failed) && (k = atomic_fetch_add(&c->next, 1)) < c->n) {
		int r = c->work(c->ctx, k, &err);

		if (r >= 0)
			continue;
		pthread_mutex_lock(&c->lock);
		if (!atomic_exchange(&c->failed, r))
			c->first = err;
		pthread_mutex_unlock(&c->lock);
	}
	return NULL;
}

int crew_run(size_t n, crew_fn work, void *ctx, struct hearth_err *err)
{
	struct crew c = { .work = work, .ctx = ctx, .n = n, .lock = PTHREAD_MUTEX_INITIALIZER };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t threads[THREADS_MAX];
	size_t more = 0;
	int r;

	while (more + 1 < THREADS_MAX && (long)more + 1 < cpus && more + 1 < n && pthread_create(&threads[more], NULL, member, &c) == 0)
		more++;
	member(&c);
	for (size_t k = 0; k < more; k++)
		pthread_join(threads[k], NULL);
	pthread_mutex_destroy(&c.lock);
	r = atomic_load(&c.failed);
	if (r < 0 && err)
		*err = c.first.code ? c.first : (struct hearth_err){ .code = r };
	return r;
}
