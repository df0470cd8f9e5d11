/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/thread.h"
#include "pool.h"

void pool_init(struct pool *p, struct device *device)
{
	*p = (struct pool){ .device = device };
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->regions_lock, NULL);
	pthread_mutex_init(&p->refill_lock, NULL);
	pthread_cond_init(&p->refill, NULL);
}

/* The driver is told of a segment, or to forget it (@bytes 0), by whichever thread is at work with whichever device, which stays the thread's own. */
static bool tell_driver(struct pool *p, void *at, size_t bytes)
{
	const struct cuda *cu = p->device ? p->device->cu : NULL;
	cu_context was = NULL;
	bool ok = false;

	if (!cu || cu->get_current(&was) != CU_OK)
		return false;
	if (device_use(p->device, NULL) == 0)
		ok = (bytes ? cu->host_register(at, bytes, CU_HOST_PORTABLE) : cu->host_unregister(at)) == CU_OK;
	cu->set_current(was);
	return ok;
}

/* the store's callbacks: a segment is mapped, and is about to be unmapped. What cannot be registered is copied through a buffer. */
static void segment_mapped(void *ctx, void *at, size_t bytes)
{
	struct pool *p = ctx;
	bool kept;

	/* not under the lock: it takes some 50 ms, and every copy asks what is registered */
	if (!tell_driver(p, at, bytes))
		return;
	pthread_mutex_lock(&p->regions_lock);
	kept = array_grow((void **)&p->regions, &p->cap, p->n + 1, sizeof(*p->regions)) == 0;
	if (kept)
		p->regions[p->n++] = (struct region){ at, bytes };
	pthread_mutex_unlock(&p->regions_lock);
	if (!kept)
		tell_driver(p, at, 0);
}

static void segment_gone(void *ctx, void *at, size_t bytes)
{
	struct pool *p = ctx;
	bool found = false;

	(void)bytes;
	pthread_mutex_lock(&p->regions_lock);
	for (size_t k = 0; k < p->n && !found; k++)
		if (p->regions[k].at == at) {
			p->regions[k] = p->regions[--p->n];
			found = true;
		}
	pthread_mutex_unlock(&p->regions_lock);
	if (found)
		tell_driver(p, at, 0);
}

bool pool_registered(struct pool *p, const void *at, size_t bytes)
{
	const uint8_t *from = at;
	bool found = false;

	pthread_mutex_lock(&p->regions_lock);
	for (size_t k = 0; k < p->n && !found; k++)
		found = from >= p->regions[k].at && from + bytes <= p->regions[k].at + p->regions[k].bytes;
	pthread_mutex_unlock(&p->regions_lock);
	return found;
}

static int open_new(struct pool *p, const char *dir, struct pool_store **ret, struct hearth_err *err)
{
	struct pool_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	r = store_open(dir, &s->store, err);
	if (r == 0 && store_in_memory(s->store)) {
		store_segments_gone(s->store, segment_gone, p);
		r = store_reserve_segments(s->store, 0, segment_mapped, p, err);
	}
	if (r < 0) {
		store_close(s->store);
		free(s);
		return r;
	}
	s->next = p->stores;
	p->stores = s;
	*ret = s;
	return 0;
}

int pool_open(struct pool *p, const char *dir, struct store **ret, struct hearth_err *err)
{
	char *real = realpath(dir, NULL);
	struct pool_store *s;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	for (s = p->stores; s && strcmp(s->dir, real ? real : dir); s = s->next)
		;
	if (!s)
		r = open_new(p, real ? real : dir, &s, err);
	if (r == 0 && s) {
		s->refs++;
		*ret = s->store;
	}
	pthread_mutex_unlock(&p->lock);
	free(real);
	return r;
}

void pool_close(struct pool *p, struct store *store)
{
	struct pool_store **at, *s;

	if (!store)
		return;
	pthread_mutex_lock(&p->lock);
	for (at = &p->stores; *at && (*at)->store != store; at = &(*at)->next)
		;
	s = *at;
	if (s && --s->refs == 0) {
		*at = s->next;
		store_close(s->store);
		free(s);
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- spare segments ---- */

/* one more, unless there are enough. Return: whether there may be more to do. */
static bool refill_one(struct pool *p)
{
	struct hearth_err err = { 0 };
	uint64_t have = store_spare_bytes(p->kept);

	if (have >= p->kept_bytes)
		return false;
	if (store_reserve_segments(p->kept, have + 1, segment_mapped, p, &err) == 0)
		return true;
	log_warn("%llu of %llu MiB are ready for images: %s", (unsigned long long)(have >> 20), (unsigned long long)(p->kept_bytes >> 20), err.msg);
	return false;
}

static void *refill(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->refill_lock);
	while (!p->ends) {
		bool more;

		if (!p->short_of || p->working > 0) {
			pthread_cond_wait(&p->refill, &p->refill_lock);
			continue;
		}
		p->short_of = false;
		pthread_mutex_unlock(&p->refill_lock);
		more = refill_one(p);
		pthread_mutex_lock(&p->refill_lock);
		p->short_of |= more;
	}
	pthread_mutex_unlock(&p->refill_lock);
	return NULL;
}

int pool_keep(struct pool *p, const char *dir, uint64_t bytes, struct hearth_err *err)
{
	int r = pool_open(p, dir, &p->kept, err);

	if (r < 0)
		return r;
	if (!store_in_memory(p->kept))
		r = err_set(err, -EOPNOTSUPP, "store %s is not in memory: it needs none", dir);
	p->kept_bytes = bytes;
	p->short_of = true;
	if (r == 0)
		r = thread_spawn(&p->thread, refill, p);
	p->filling = r == 0;
	if (r < 0) {
		pool_close(p, p->kept);
		p->kept = NULL;
		p->kept_bytes = 0;
	}
	return r;
}

void pool_work(struct pool *p)
{
	pthread_mutex_lock(&p->refill_lock);
	p->working++;
	pthread_mutex_unlock(&p->refill_lock);
}

void pool_rest(struct pool *p)
{
	pthread_mutex_lock(&p->refill_lock);
	p->working--;
	p->short_of = p->kept != NULL;
	pthread_cond_signal(&p->refill);
	pthread_mutex_unlock(&p->refill_lock);
}

uint64_t pool_spare_bytes(struct pool *p)
{
	return p->kept ? store_spare_bytes(p->kept) : 0;
}

void pool_done(struct pool *p)
{
	if (p->filling) {
		pthread_mutex_lock(&p->refill_lock);
		p->ends = true;
		pthread_cond_signal(&p->refill);
		pthread_mutex_unlock(&p->refill_lock);
		pthread_join(p->thread, NULL);
	}
	pool_close(p, p->kept);
	free(p->regions);
	pthread_cond_destroy(&p->refill);
	pthread_mutex_destroy(&p->refill_lock);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->regions_lock);
}
