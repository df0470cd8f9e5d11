/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "kv.h"

#define CAP_MIN 64

/* at most 3/4 full */

static size_t home(const struct kv_table *t, uint64_t id, uint32_t layer)
{
	uint64_t z = (id + 0x9e3779b97f4a7c15ull * (layer + 1)) * 0xbf58476d1ce4e5b9ull;

	return (size_t)(z ^ (z >> 31)) & (t->cap - 1);
}

static bool is_free(const struct kv_record *r)
{
	return r->position == KV_NOWHERE;
}

/* the slot with that key, or the free one where it would be; there is one */
static size_t locate(const struct kv_table *t, uint64_t id, uint32_t layer)
{
	size_t i = home(t, id, layer);

	while (!is_free(&t->slots[i]) && (t->slots[i].id != id || t->slots[i].layer != layer))
		i = (i + 1) & (t->cap - 1);
	return i;
}

struct kv_record *kv_table_find(const struct kv_table *t, uint64_t id, uint32_t layer)
{
	struct kv_record *r = t->cap ? &t->slots[locate(t, id, layer)] : NULL;

	return r && !is_free(r) ? r : NULL;
}

int kv_table_reserve(struct kv_table *t, size_t n)
{
	struct kv_table bigger = { .cap = t->cap ? t->cap : CAP_MIN };
	size_t need;

	if (__builtin_add_overflow(t->n, n, &need) || need > SIZE_MAX / 4)
		return -ENOMEM;
	while (need > bigger.cap / 4 * 3)
		bigger.cap *= 2;
	if (bigger.cap == t->cap)
		return 0;
	bigger.slots = reallocarray(NULL, bigger.cap, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t k = 0; k < bigger.cap; k++)
		bigger.slots[k] = (struct kv_record){ .position = KV_NOWHERE };
	for (size_t k = 0; k < t->cap; k++)
		if (!is_free(&t->slots[k]))
			(void)kv_table_put(&bigger, &t->slots[k]);
	free(t->slots);
	*t = bigger;
	return 0;
}

uint64_t kv_table_put(struct kv_table *t, const struct kv_record *r)
{
	size_t i = locate(t, r->id, r->layer);
	uint64_t old = t->slots[i].position;

	t->n += is_free(&t->slots[i]);
	t->slots[i] = *r;
	return old;
}

uint64_t kv_table_drop(struct kv_table *t, uint64_t id, uint32_t layer)
{
	size_t hole, i, mask = t->cap - 1;
	uint64_t old;

	if (t->cap == 0)
		return KV_NOWHERE;
	hole = i = locate(t, id, layer);
	old = t->slots[hole].position;
	if (old == KV_NOWHERE)
		return old;
	/* those behind that would not be found across the hole move into it */
	for (;;) {
		size_t h;

		i = (i + 1) & mask;
		if (is_free(&t->slots[i]))
			break;
		h = home(t, t->slots[i].id, t->slots[i].layer);
		if (((i - h) & mask) >= ((i - hole) & mask)) {
			t->slots[hole] = t->slots[i];
			hole = i;
		}
	}
	t->slots[hole].position = KV_NOWHERE;
	t->n--;
	return old;
}

const struct kv_record *kv_table_next(const struct kv_table *t, size_t *at)
{
	while (*at < t->cap && is_free(&t->slots[*at]))
		(*at)++;
	return *at < t->cap ? &t->slots[(*at)++] : NULL;
}

void kv_table_done(struct kv_table *t)
{
	free(t->slots);
	*t = (struct kv_table){ 0 };
}
