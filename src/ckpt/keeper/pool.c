/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "pool.h"

void pool_init(struct pool *p, struct device *device)
{
	*p = (struct pool){ .device = device };
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->regions_lock, NULL);
}

/* the store's callbacks: a segment is mapped, and is about to be unmapped. What cannot be registered is copied through a buffer. */
static void segment_mapped(void *ctx, void *at, size_t bytes)
{
	struct pool *p = ctx;
	bool room;

	if (!p->device || device_use(p->device, NULL) < 0)
		return;
	pthread_mutex_lock(&p->regions_lock);
	room = array_grow((void **)&p->regions, &p->cap, p->n + 1, sizeof(*p->regions)) == 0;
	if (room && p->device->cu->host_register(at, bytes, CU_HOST_PORTABLE) == CU_OK)
		p->regions[p->n++] = (struct region){ at, bytes };
	pthread_mutex_unlock(&p->regions_lock);
}

static void segment_gone(void *ctx, void *at, size_t bytes)
{
	struct pool *p = ctx;

	(void)bytes;
	pthread_mutex_lock(&p->regions_lock);
	for (size_t k = 0; k < p->n; k++)
		if (p->regions[k].at == at) {
			if (device_use(p->device, NULL) == 0)
				p->device->cu->host_unregister(at);
			p->regions[k] = p->regions[--p->n];
			break;
		}
	pthread_mutex_unlock(&p->regions_lock);
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

int pool_keep(struct pool *p, const char *dir, uint64_t bytes, struct hearth_err *err)
{
	int r = pool_open(p, dir, &p->kept, err);

	if (r < 0)
		return r;
	p->kept_bytes = bytes;
	r = pool_refill(p, err);
	if (r < 0) {
		pool_close(p, p->kept);
		p->kept = NULL;
		p->kept_bytes = 0;
	}
	return r;
}

int pool_refill(struct pool *p, struct hearth_err *err)
{
	return p->kept ? store_reserve_segments(p->kept, p->kept_bytes, segment_mapped, p, err) : 0;
}

void pool_done(struct pool *p)
{
	pool_close(p, p->kept);
	free(p->regions);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->regions_lock);
}
