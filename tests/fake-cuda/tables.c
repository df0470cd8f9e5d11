/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

/* the first that begins after @va */
static size_t table_after(const struct table *t, uint64_t va)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (t->v[mid]->va <= va)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool table_add(struct table *t, struct span *s)
{
	size_t at = table_after(t, s->va);

	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 64;
		struct span **v = realloc(t->v, cap * sizeof(struct span *));

		if (!v)
			return false;
		t->v = v;
		t->cap = cap;
	}
	memmove(&t->v[at + 1], &t->v[at], (t->n - at) * sizeof(struct span *));
	t->v[at] = s;
	t->n++;
	return true;
}

void table_remove(struct table *t, struct span *s)
{
	for (size_t at = table_after(t, s->va); at-- > 0;) {
		if (t->v[at] != s)
			continue;
		t->n--;
		memmove(&t->v[at], &t->v[at + 1], (t->n - at) * sizeof(struct span *));
		return;
	}
}

void *table_find(const struct table *t, uint64_t va)
{
	size_t at = table_after(t, va);
	struct span *s = at ? t->v[at - 1] : NULL;

	return s && va - s->va < s->bytes ? s : NULL;
}

bool table_overlaps(const struct table *t, uint64_t va, uint64_t bytes)
{
	size_t at = table_after(t, va);

	return (at && va - t->v[at - 1]->va < t->v[at - 1]->bytes) || (at < t->n && t->v[at]->va - va < bytes);
}
