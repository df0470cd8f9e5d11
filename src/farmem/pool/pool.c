/* SPDX-License-Identifier: Apache-2.0 */
#include "farmem/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

struct pool {
	struct store *store;
};

/* ---- the store of this process ---- */

static int embedded_page(struct store *s, struct store_object *o, const struct pool_op *op, unsigned k)
{
	switch (op->kind) {
	case POOL_PUT:
		return store_put(s, o, op->refs[k], op->pages[k]);
	case POOL_GETV:
		return store_get(s, o, op->refs[k], op->pages[k]);
	default:
		return -EINVAL;
	}
}

static int embedded_del(struct store *s, struct pool_op *op)
{
	struct store_object *o = store_object(s, &op->object, false);
	int r, result = 0;

	if (o && !op->n)
		store_del_object(s, o);
	for (unsigned k = 0; k < op->n; k++) {
		r = o ? store_del(s, o, op->refs[k]) : -ENOENT;
		if (op->status)
			op->status[k] = r;
		if (!result)
			result = r;
		o = store_object(s, &op->object, false);
	}
	return result;
}

static int embedded_stat(struct store *s, struct pool_op *op)
{
	static const struct farmem_object all;
	bool whole = !memcmp(&op->object, &all, sizeof(all));
	struct store_object *o = whole ? NULL : store_object(s, &op->object, false);

	if (!whole && !o)
		return -ENOENT;
	store_stat(s, o, op->stat);
	return 0;
}

static int embedded_pages(struct store *s, struct pool_op *op)
{
	struct store_object *o = store_object(s, &op->object, op->kind == POOL_PUT);
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

int pool_open(const char *uri, const struct pool_options *options, struct pool **ret, struct hearth_err *err)
{
	struct pool *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return err_set(err, -ENOMEM, "out of memory");
	r = strcmp(uri, "embedded:") ? err_set(err, -EINVAL, "no such pool: %s", uri) : store_new(options, &p->store, err);
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
	store_free(pool->store);
	free(pool);
	return NULL;
}

int pool_fds(const struct pool *pool, int ret[2])
{
	if (!pool->store)
		return 0;
	store_fds(pool->store, ret);
	return 2;
}

void pool_submit(struct pool *pool, struct pool_op *op)
{
	embedded(pool->store, op);
}

int pool_fd(const struct pool *pool)
{
	return -1;
}

void pool_work(struct pool *pool)
{
}

unsigned pool_tidy(struct pool *pool, unsigned pages)
{
	return pool->store ? store_tidy(pool->store, pages) : 0;
}
