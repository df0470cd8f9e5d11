/* SPDX-License-Identifier: Apache-2.0 */
#include "slab.h"

#include <stdlib.h>

#define FREEING (1u << 31)
#define END UINT16_MAX

/* 512, then 2 and 3 times each power of two from 512 on: 1024 1536 2048 3072 ... 1 MiB */
size_t slab_class_bytes(unsigned class)
{
	return class == 0 ? SLAB_MIN : (size_t)(class % 2 ? 2 : 3) * SLAB_MIN << (class - 1) / 2;
}

unsigned slab_class(size_t bytes)
{
	unsigned class = 0;

	while (slab_class_bytes(class) < bytes)
		class++;
	return class;
}

static void room_add(struct slab *s, struct slab_block *b)
{
	b->at = &s->room[b->class];
	b->next = *b->at;
	if (b->next)
		b->next->at = &b->next;
	*b->at = b;
}

static void room_remove(struct slab_block *b)
{
	*b->at = b->next;
	if (b->next)
		b->next->at = b->at;
	b->at = NULL;
}

static void block_begin(struct slab *s, struct slab_block *b, unsigned class)
{
	b->class = class;
	b->slots = (unsigned)(SLAB_BLOCK_BYTES / slab_class_bytes(class));
	b->used = 0;
	b->free = 0;
	for (unsigned i = 0; i < b->slots; i++) {
		b->next_free[i] = i + 1 < b->slots ? (uint16_t)(i + 1) : END;
		b->asked[i] = 0;
	}
	room_add(s, b);
}

struct slab_block *slab_add(struct slab *s, uint64_t base, size_t bytes)
{
	struct slab_block *b = malloc(sizeof *b);

	if (!b)
		return NULL;
	b->base = base;
	block_begin(s, b, slab_class(bytes));
	return b;
}

uint64_t slab_take(struct slab *s, size_t bytes, struct slab_block **ret_block)
{
	unsigned class = slab_class(bytes), slot;
	struct slab_block *b = s->room[class];

	if (!b && s->empty) {
		block_begin(s, s->empty, class);
		b = s->empty;
		s->empty = NULL;
	}
	if (!b)
		return 0;
	slot = b->free;
	b->free = b->next_free[slot];
	b->asked[slot] = (uint32_t)bytes;
	b->used++;
	if (b->free == END)
		room_remove(b);
	*ret_block = b;
	return b->base + slot * slab_class_bytes(class);
}

static unsigned slot_of(const struct slab_block *b, uint64_t address)
{
	return (unsigned)((address - b->base) / slab_class_bytes(b->class));
}

bool slab_at(const struct slab_block *b, uint64_t address, uint64_t *ret_start, size_t *ret_asked)
{
	unsigned slot = slot_of(b, address);
	uint64_t start = b->base + slot * slab_class_bytes(b->class);

	if (slot >= b->slots || b->asked[slot] == 0 || b->asked[slot] & FREEING || address - start >= b->asked[slot])
		return false;
	*ret_start = start;
	*ret_asked = b->asked[slot];
	return true;
}

void slab_mark(struct slab_block *b, uint64_t start, bool undo)
{
	if (undo)
		b->asked[slot_of(b, start)] &= ~FREEING;
	else
		b->asked[slot_of(b, start)] |= FREEING;
}

bool slab_give(struct slab *s, struct slab_block *b, uint64_t start)
{
	unsigned slot = slot_of(b, start);

	b->asked[slot] = 0;
	b->next_free[slot] = b->free;
	b->free = (uint16_t)slot;
	b->used--;
	if (!b->at)
		room_add(s, b);
	if (b->used > 0)
		return false;
	room_remove(b);
	if (s->empty)
		return true;
	s->empty = b;
	return false;
}

struct slab_block *slab_drop_empty(struct slab *s)
{
	struct slab_block *b = s->empty;

	s->empty = NULL;
	return b;
}
