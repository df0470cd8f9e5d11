/* SPDX-License-Identifier: Apache-2.0 */
#include "owner.h"

#include <errno.h>
#include <stdlib.h>
#include <uthash.h>

struct node {
	uint64_t id, connections, left_ns;
	UT_hash_handle hh;
};

struct owned {
	struct farmem_object object;
	uint64_t node;
	UT_hash_handle hh;
};

struct owners {
	struct node *nodes;
	struct owned *owned;
};

struct owners *owners_new(void)
{
	return calloc(1, sizeof(struct owners));
}

struct owners *owners_free(struct owners *o)
{
	struct node *n, *next;
	struct owned *w, *after;

	if (!o)
		return NULL;
	HASH_ITER(hh, o->nodes, n, next) {
		HASH_DELETE(hh, o->nodes, n);
		free(n);
	}
	HASH_ITER(hh, o->owned, w, after) {
		HASH_DELETE(hh, o->owned, w);
		free(w);
	}
	free(o);
	return NULL;
}

int owners_join(struct owners *o, uint64_t node)
{
	struct node *n;

	HASH_FIND(hh, o->nodes, &node, sizeof(node), n);
	if (!n) {
		n = calloc(1, sizeof(*n));
		if (!n)
			return -ENOMEM;
		n->id = node;
		HASH_ADD(hh, o->nodes, id, sizeof(n->id), n);
	}
	n->connections++;
	return 0;
}

void owners_leave(struct owners *o, uint64_t node, uint64_t now_ns)
{
	struct node *n;

	HASH_FIND(hh, o->nodes, &node, sizeof(node), n);
	if (n && !--n->connections)
		n->left_ns = now_ns;
}

int owners_own(struct owners *o, const struct farmem_object *object, uint64_t node)
{
	struct owned *w;

	HASH_FIND(hh, o->owned, object, sizeof(*object), w);
	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w)
			return -ENOMEM;
		w->object = *object;
		HASH_ADD(hh, o->owned, object, sizeof(w->object), w);
	}
	w->node = node;
	return 0;
}

void owners_forget(struct owners *o, const struct farmem_object *object)
{
	struct owned *w;

	HASH_FIND(hh, o->owned, object, sizeof(*object), w);
	if (!w)
		return;
	HASH_DELETE(hh, o->owned, w);
	free(w);
}

static uint64_t forget_of(struct owners *o, uint64_t node, void (*gone)(void *ctx, const struct farmem_object *object), void *ctx)
{
	struct owned *w, *next;
	uint64_t count = 0;

	HASH_ITER(hh, o->owned, w, next) {
		if (w->node != node)
			continue;
		HASH_DELETE(hh, o->owned, w);
		gone(ctx, &w->object);
		free(w);
		count++;
	}
	return count;
}

uint64_t owners_expire(struct owners *o, uint64_t since_ns, void (*gone)(void *ctx, const struct farmem_object *object), void *ctx)
{
	struct node *n, *next;
	uint64_t count = 0;

	HASH_ITER(hh, o->nodes, n, next) {
		if (n->connections || n->left_ns > since_ns)
			continue;
		count += forget_of(o, n->id, gone, ctx);
		HASH_DELETE(hh, o->nodes, n);
		free(n);
	}
	return count;
}

uint64_t owners_nodes(const struct owners *o)
{
	return HASH_COUNT(o->nodes);
}
