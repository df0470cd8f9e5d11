/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/buf.h"
#include "priv.h"

/* generation, then index, then kind: 32, 28 and 4 bits. A generation is 1 or more and below 2^31, so that no number is 0 and none is negative as an integer. */
#define INDEX_MAX (1u << 28)

uint64_t cf_table_add(struct cf_table *t, void *thing)
{
	size_t at = t->first_free;

	/* 0 ends the list of free slots: slot 0 is never used */
	if (at == 0) {
		at = t->n ? t->n : 1;
		if (at >= INDEX_MAX || array_grow((void **)&t->slot, &t->cap, at + 1, sizeof(*t->slot)) < 0)
			return 0;
		while (t->n <= at)
			t->slot[t->n++] = (struct cf_slot){ 0 };
	} else {
		t->first_free = t->slot[at].next_free;
	}
	t->slot[at].thing = thing;
	t->slot[at].generation = t->slot[at].generation % INT32_MAX + 1;
	return (uint64_t)t->slot[at].generation << 32 | (uint64_t)at << 4 | t->kind;
}

static size_t index_of(const struct cf_table *t, uint64_t number)
{
	size_t at = (number & UINT32_MAX) >> 4;

	return (number & 15) == t->kind && at > 0 && at < t->n && t->slot[at].thing && t->slot[at].generation == number >> 32 ? at : 0;
}

void *cf_table_find(const struct cf_table *t, uint64_t number)
{
	size_t at = index_of(t, number);

	return at ? t->slot[at].thing : NULL;
}

void cf_table_remove(struct cf_table *t, uint64_t number)
{
	size_t at = index_of(t, number);

	if (at == 0)
		return;
	t->slot[at].thing = NULL;
	t->slot[at].next_free = t->first_free;
	t->first_free = (uint32_t)at;
}
