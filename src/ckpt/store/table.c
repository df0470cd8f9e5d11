/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "private.h"

#define CAP_MIN 1024
#define MAPPED_MIN (4u << 20)

/* Open addressing, linear, at most 3/4 full; the digest is its own hash. A slot is free when its pack is 0: chunks of zeros are in no table. */

static size_t home(const struct table *t, struct digest d)
{
	return (size_t)d.lo & (t->cap - 1);
}

struct slot *table_find(const struct table *t, struct digest d)
{
	if (t->cap == 0)
		return NULL;
	for (size_t i = home(t, d); t->slots[i].chunk.pack != 0; i = (i + 1) & (t->cap - 1))
		if (digest_equal(t->slots[i].chunk.digest, d))
			return &t->slots[i];
	return NULL;
}

static struct slot *place(const struct table *t, struct digest d)
{
	size_t i = home(t, d);

	while (t->slots[i].chunk.pack != 0)
		i = (i + 1) & (t->cap - 1);
	return &t->slots[i];
}

/* Large ones are mapped, with huge pages: they are looked into at random, and with small pages nearly every look would also be a miss of the TLB. */
static struct slot *slots_new(size_t n)
{
	size_t bytes = n * sizeof(struct slot);
	void *at;

	if (bytes < MAPPED_MIN)
		return calloc(n, sizeof(struct slot));
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return NULL;
	(void)madvise(at, bytes, MADV_HUGEPAGE);
	return at;
}

static void slots_free(struct slot *slots, size_t n)
{
	if (n * sizeof(*slots) < MAPPED_MIN)
		free(slots);
	else
		munmap(slots, n * sizeof(*slots));
}

static int grow(struct table *t, size_t cap)
{
	struct table bigger = { .n = t->n, .cap = cap };

	bigger.slots = slots_new(bigger.cap);
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < t->cap; i++)
		if (t->slots[i].chunk.pack != 0)
			*place(&bigger, t->slots[i].chunk.digest) = t->slots[i];
	slots_free(t->slots, t->cap);
	*t = bigger;
	return 0;
}

int table_reserve(struct table *t, size_t n)
{
	size_t cap = t->cap ? t->cap : CAP_MIN;

	while (n > cap / 4 * 3)
		cap *= 2;
	return cap > t->cap ? grow(t, cap) : 0;
}

void table_prefetch(const struct table *t, struct digest d)
{
	if (t->cap > 0)
		__builtin_prefetch(&t->slots[home(t, d)]);
}

struct slot *table_add(struct table *t, const struct store_chunk *c)
{
	struct slot *s;

	if ((t->n + 1) * 4 > t->cap * 3 && grow(t, t->cap ? t->cap * 2 : CAP_MIN) < 0)
		return NULL;
	s = place(t, c->digest);
	*s = (struct slot){ .chunk = *c, .refs = 1 };
	t->n++;
	return s;
}

/* what comes behind it moves up, so that no search ends too early */
void table_del(struct table *t, struct slot *s)
{
	size_t hole = (size_t)(s - t->slots), mask = t->cap - 1;

	for (size_t i = (hole + 1) & mask; t->slots[i].chunk.pack != 0; i = (i + 1) & mask) {
		size_t want = home(t, t->slots[i].chunk.digest);

		if (((i - want) & mask) < ((i - hole) & mask))
			continue;
		t->slots[hole] = t->slots[i];
		hole = i;
	}
	t->slots[hole] = (struct slot){ 0 };
	t->n--;
}

void table_done(struct table *t)
{
	slots_free(t->slots, t->cap);
	*t = (struct table){ 0 };
}
