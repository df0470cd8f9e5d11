/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many pages come back faster by several processors: the space's worker asks others that sleep to take batches of the same list. Whose turn it is, and which pages are whose, is known to this process only, under the space's
 * lock; the index says REMOTE of each page until it is there, so nobody has to know of it should all of us be killed.
 */
#include "soon.h"
#include "space.h"

#define SHARE_PAGES 1024                /* of fewer the others would be awake when all are there */
#define HELPERS_MOST 7                  /* the kernel's locks around a program's memory are one's for all */
#define LOOK_AT_EVERY 16                /* batches of the space's worker between two looks at which processors are idle */

/* of all that this process may use, how many run nothing */
static unsigned idle_processors(const struct pager *p)
{
	unsigned running = look_running();

	return running && running < p->workers_n ? p->workers_n - running : 0;
}

/* others that may help */
static unsigned helpers(const struct space *s)
{
	unsigned idle;

	if (s->p->fetch_workers)
		return s->p->fetch_workers - 1;
	idle = idle_processors(s->p);
	/* one is left to the threads of the request that comes; when all comes back none does */
	if (idle && !s->in.all)
		idle--;
	idle += s->fetches;
	return idle < HELPERS_MOST ? idle : HELPERS_MOST;
}

void share_stop(struct space *s)
{
	s->shared = false;
	s->in.batches = 0;
}

/* as many as are not there yet, of those that have nothing to do */
static void wake(const struct space *s)
{
	const struct pager *p = s->p;
	unsigned home = (unsigned)(s->home - p->workers);

	for (unsigned k = 1, there = s->fetches; k < p->workers_n && there < s->helpers; k++)
		there += worker_wake(&p->workers[(home + k) % p->workers_n]);
}

void share_ask(struct space *s)
{
	bool many = s->in.pages.n - s->in.pages.at >= (s->shared ? 1 : SHARE_PAGES) && depot_here(s->p->depot), look = many && s->in.batches++ % LOOK_AT_EVERY == 0;

	if (look)
		s->helpers = helpers(s);
	s->shared = many && s->helpers;
	if (look)
		wake(s);
}

bool share_help(struct space *s, struct worker *w)
{
	if (!s->shared || s->fetches > s->helpers)
		return false;
	(void)step("pager-helping");
	return fetch_step(s, w);
}

int share_copy(struct space *s, uint64_t address, const uint8_t *from, unsigned pages)
{
	int r;

	pthread_rwlock_rdlock(&s->copies);
	pthread_mutex_unlock(&s->lock);
	r = fetch_copy(s, address, from, pages, 0);
	pthread_rwlock_unlock(&s->copies);
	(void)step("pager-copied");
	pthread_mutex_lock(&s->lock);
	return r;
}

void share_copies_end(struct space *s)
{
	/* none begins, as we have the space's lock */
	soon(&s->copies, pthread_rwlock_trywrlock, pthread_rwlock_wrlock);
	pthread_rwlock_unlock(&s->copies);
}
