/* SPDX-License-Identifier: Apache-2.0 */
#include "farmem/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "pair.h"
#include "store.h"

/* store: embedded; remote: one, or the two of a pair */
struct pool {
	struct store *store;
	struct remote *remote[2];
	struct pair *pair;
	int epoll;                      /* of a pair */
};

/* ---- the store of this process ---- */

static int embedded_page(struct store *s, struct pool_store_object *o, const struct pool_op *op, unsigned k)
{
	uint64_t digest;

	switch (op->kind) {
	case POOL_PUT:
		return pool_store_put(s, o, op->refs[k], op->pages[k]);
	case POOL_GETV:
		return pool_store_get(s, o, op->refs[k], op->pages[k], &digest);
	default:
		return -EINVAL;
	}
}

static int embedded_del(struct store *s, struct pool_op *op)
{
	struct pool_store_object *o = pool_store_object(s, &op->object, false);
	int r, result = 0;

	if (o && !op->n)
		pool_store_del_object(s, o);
	for (unsigned k = 0; k < op->n; k++) {
		r = o ? pool_store_del(s, o, op->refs[k]) : -ENOENT;
		if (op->status)
			op->status[k] = r;
		if (!result)
			result = r;
		o = pool_store_object(s, &op->object, false);
	}
	return result;
}

static int embedded_stat(struct store *s, struct pool_op *op)
{
	static const struct farmem_object all;
	bool whole = !memcmp(&op->object, &all, sizeof(all));
	struct pool_store_object *o = whole ? NULL : pool_store_object(s, &op->object, false);

	if (!whole && !o)
		return -ENOENT;
	pool_store_stat(s, o, op->stat);
	return 0;
}

static int embedded_pages(struct store *s, struct pool_op *op)
{
	struct pool_store_object *o = pool_store_object(s, &op->object, op->kind == POOL_PUT);
	int result = 0;

	for (unsigned k = 0; k < op->n; k++) {
		op->status[k] = o ? embedded_page(s, o, op, k) : op->kind == POOL_PUT ? -ENOSPC : -ENOENT;
		if (!result)
			result = op->status[k];
	}
	return result;
}

static void embedded(struct store *s, struct pool_op *op)
{
	op->result = op->kind == POOL_DEL ? embedded_del(s, op) : op->kind == POOL_STAT ? embedded_stat(s, op) : embedded_pages(s, op);
	op->done(op);
}

/* ---- all kinds ---- */

static int open_remote(const char *uri, const struct pool_options *options, struct pool *p, struct hearth_err *err)
{
	const char *comma = strchr(uri, ',');
	struct pool_options mine = *options;
	struct epoll_event e = { .events = EPOLLIN };
	int r;

	if (!comma)
		return remote_new(uri, strlen(uri), options, &p->remote[0], err);
	/* both within the time that an operation has */
	mine.timeout_ns = (options->timeout_ns ? options->timeout_ns : 2 * NS_PER_S) / 2;
	r = remote_new(uri, (size_t)(comma - uri), &mine, &p->remote[0], err);
	if (r == 0)
		r = remote_new(comma + 1, strlen(comma + 1), &mine, &p->remote[1], err);
	if (r < 0)
		return r;
	p->pair = pair_new(p->remote);
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!p->pair || p->epoll < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, remote_fd(p->remote[0]), &e) < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, remote_fd(p->remote[1]), &e) < 0)
		return err_set(err, p->pair ? -errno : -ENOMEM, "pools %s: %s", uri, strerror(p->pair ? errno : ENOMEM));
	return 0;
}

int pool_open(const char *uri, const struct pool_options *options, struct pool **ret, struct hearth_err *err)
{
	struct pool *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(err, -ENOMEM, "out of memory");
	p->epoll = -1;
	r = strcmp(uri, "embedded:") ? open_remote(uri, options, p, err) : pool_store_new(options, &p->store, err);
	if (r < 0) {
		pool_close(p);
		return r;
	}
	*ret = p;
	return 0;
}

struct pool *pool_close(struct pool *pool)
{
	if (!pool)
		return NULL;
	pool_store_free(pool->store);
	remote_free(pool->remote[0]);
	remote_free(pool->remote[1]);
	pair_free(pool->pair);
	fd_close(&pool->epoll);
	free(pool);
	return NULL;
}

int pool_fds(const struct pool *pool, int ret[2])
{
	if (!pool->store)
		return 0;
	pool_store_fds(pool->store, ret);
	return 2;
}

void pool_submit(struct pool *pool, struct pool_op *op)
{
	if (pool->store)
		embedded(pool->store, op);
	else if (pool->pair)
		pair_submit(pool->pair, op);
	else
		remote_submit(pool->remote[0], op);
}

int pool_fd(const struct pool *pool)
{
	return pool->store ? -1 : pool->pair ? pool->epoll : remote_fd(pool->remote[0]);
}

void pool_work(struct pool *pool)
{
	for (unsigned k = 0; k < 2; k++)
		if (pool->remote[k])
			remote_work(pool->remote[k]);
}

void pool_look(struct pool *pool)
{
	for (unsigned k = 0; k < 2; k++)
		if (pool->remote[k])
			remote_look(pool->remote[k]);
}

unsigned pool_tidy(struct pool *pool, unsigned pages)
{
	return pool->store ? pool_store_tidy(pool->store, pages) : 0;
}

bool pool_ease(struct pool *pool)
{
	return pool->store && pool_store_ease(pool->store);
}
