/* SPDX-License-Identifier: Apache-2.0 */
#include "span.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

size_t spans_from(const struct spans *t, uint64_t address)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t at = (low + high) / 2;

		if (t->v[at]->at + t->v[at]->bytes > address)
			high = at;
		else
			low = at + 1;
	}
	return low;
}

int spans_add(struct spans *t, struct span *s)
{
	size_t at = spans_from(t, s->at);

	if (at < t->n && t->v[at]->at < s->at + s->bytes)
		return -EEXIST;
	if (array_grow((void **)&t->v, &t->cap, t->n + 1, sizeof *t->v) < 0)
		return -ENOMEM;
	memmove(&t->v[at + 1], &t->v[at], (t->n - at) * sizeof *t->v);
	t->v[at] = s;
	t->n++;
	return 0;
}

void spans_remove(struct spans *t, const struct span *s)
{
	size_t at = spans_from(t, s->at);

	if (at == t->n || t->v[at] != s)
		return;
	t->n--;
	memmove(&t->v[at], &t->v[at + 1], (t->n - at) * sizeof *t->v);
}

void *spans_find(const struct spans *t, uint64_t address)
{
	size_t at = spans_from(t, address);

	return at < t->n && t->v[at]->at <= address ? t->v[at] : NULL;
}

void spans_done(struct spans *t)
{
	free(t->v);
	*t = (struct spans){ 0 };
}
