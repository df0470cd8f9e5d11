/* SPDX-License-Identifier: Apache-2.0 */
#include "slots.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

static const uint16_t sizes[] = { 128, 256, 512, 1024, 1536, 2048, 2560, 3072, 3584, 4096, SLOTS_MAX_BYTES };
#define CLASSES (sizeof(sizes) / sizeof(sizes[0]))
#define NO_CHUNK UINT32_MAX

/* refs: of each slot, 0 is free; NULL: the chunk is not cut. prev, next: among those of its class that have room, or among those that are not cut. */
struct chunk {
	uint32_t *refs;
	uint32_t prev, next;
	uint16_t used, hint;
	uint8_t class;
};

struct slots {
	int fd;
	uint64_t bytes;
	uint8_t *mem;
	struct chunk *chunk;
	uint32_t n, begun;              /* chunks; of those the ones that were ever cut */
	uint32_t uncut;                 /* the first of those that were and are not */
	uint32_t room[CLASSES];
	bool pinned;
};

static unsigned class_of(uint32_t len)
{
	unsigned c = 0;

	assert(len <= SLOTS_MAX_BYTES);
	while (sizes[c] < len)
		c++;
	return c;
}

static uint32_t slots_in(unsigned class)
{
	return SLOTS_CHUNK_BYTES / sizes[class];
}

uint32_t pool_slots_size(uint32_t len)
{
	return sizes[class_of(len)];
}

struct slots *pool_slots_new(int fd, uint64_t bytes)
{
	struct slots *s = calloc(1, sizeof(*s));
	uint32_t n = (uint32_t)(bytes / SLOTS_CHUNK_BYTES);

	if (!s)
		return NULL;
	s->fd = fd;
	s->bytes = bytes;
	s->n = n;
	s->uncut = NO_CHUNK;
	for (unsigned c = 0; c < CLASSES; c++)
		s->room[c] = NO_CHUNK;
	s->chunk = calloc(n, sizeof(*s->chunk));
	s->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (!s->chunk || s->mem == MAP_FAILED)
		return pool_slots_free(s);
	return s;
}

struct slots *pool_slots_free(struct slots *s)
{
	if (!s)
		return NULL;
	for (uint32_t k = 0; s->chunk && k < s->n; k++)
		free(s->chunk[k].refs);
	free(s->chunk);
	if (s->mem && s->mem != MAP_FAILED)
		munmap(s->mem, s->bytes);
	free(s);
	return NULL;
}

static void list_add(struct slots *s, uint32_t *head, uint32_t k)
{
	struct chunk *c = &s->chunk[k];

	c->prev = NO_CHUNK;
	c->next = *head;
	if (c->next != NO_CHUNK)
		s->chunk[c->next].prev = k;
	*head = k;
}

static void list_remove(struct slots *s, uint32_t *head, uint32_t k)
{
	struct chunk *c = &s->chunk[k];

	if (c->prev == NO_CHUNK)
		*head = c->next;
	else
		s->chunk[c->prev].next = c->next;
	if (c->next != NO_CHUNK)
		s->chunk[c->next].prev = c->prev;
}

static int cut(struct slots *s, uint32_t k, unsigned class)
{
	struct chunk *c = &s->chunk[k];

	c->refs = calloc(slots_in(class), sizeof(*c->refs));
	if (!c->refs)
		return -ENOMEM;
	list_remove(s, &s->uncut, k);
	c->class = (uint8_t)class;
	c->used = c->hint = 0;
	list_add(s, &s->room[class], k);
	return 0;
}

static int cut_next(struct slots *s, unsigned class)
{
	uint32_t k = s->uncut;

	if (k == NO_CHUNK && s->begun == s->n)
		return -ENOSPC;
	if (k == NO_CHUNK)
		list_add(s, &s->uncut, k = s->begun++);
	return cut(s, k, class);
}

uint64_t pool_slots_take(struct slots *s, uint32_t len)
{
	unsigned class = class_of(len);
	uint32_t k, at;
	struct chunk *c;

	if (s->room[class] == NO_CHUNK && cut_next(s, class) < 0)
		return SLOTS_NONE;
	k = s->room[class];
	c = &s->chunk[k];
	for (at = c->hint; c->refs[at]; at = (at + 1) % slots_in(class))
		;
	c->refs[at] = 1;
	c->hint = (uint16_t)((at + 1) % slots_in(class));
	if (++c->used == slots_in(class))
		list_remove(s, &s->room[class], k);
	return (uint64_t)k * SLOTS_CHUNK_BYTES + (uint64_t)at * sizes[class];
}

int pool_slots_keep(struct slots *s, uint64_t where, uint32_t len)
{
	uint32_t k = (uint32_t)(where / SLOTS_CHUNK_BYTES), in = (uint32_t)(where % SLOTS_CHUNK_BYTES);
	unsigned class = class_of(len);
	struct chunk *c = &s->chunk[k];

	if (where >= s->bytes || in % sizes[class] || in / sizes[class] >= slots_in(class) || (c->refs && c->class != class))
		return -EUCLEAN;
	if (!c->refs) {
		while (s->begun <= k)
			list_add(s, &s->uncut, s->begun++);
		if (cut(s, k, class) < 0)
			return -ENOMEM;
	}
	if (c->refs[in / sizes[class]]++ == 0 && ++c->used == slots_in(class))
		list_remove(s, &s->room[class], k);
	return 0;
}

/* should it fail, the memory stays and is used again */
static void release(const struct slots *s, uint64_t where, uint64_t bytes)
{
	(void)fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)where, (off_t)bytes);
}

void pool_slots_settle(struct slots *s)
{
	for (uint32_t k = s->uncut; k != NO_CHUNK; k = s->chunk[k].next)
		release(s, (uint64_t)k * SLOTS_CHUNK_BYTES, SLOTS_CHUNK_BYTES);
	if (s->begun < s->n)
		release(s, (uint64_t)s->begun * SLOTS_CHUNK_BYTES, (uint64_t)(s->n - s->begun) * SLOTS_CHUNK_BYTES);
}

void pool_slots_pin(struct slots *s, bool on)
{
	if (s->pinned && !on)
		pool_slots_settle(s);
	s->pinned = on;
}

uint32_t pool_slots_refs(const struct slots *s, uint64_t where)
{
	const struct chunk *c = &s->chunk[where / SLOTS_CHUNK_BYTES];

	return c->refs[where % SLOTS_CHUNK_BYTES / sizes[c->class]];
}

uint32_t pool_slots_drop(struct slots *s, uint64_t where)
{
	uint32_t k = (uint32_t)(where / SLOTS_CHUNK_BYTES);
	struct chunk *c = &s->chunk[k];
	uint32_t left = --c->refs[where % SLOTS_CHUNK_BYTES / sizes[c->class]];

	if (left)
		return left;
	if (c->used-- == slots_in(c->class))
		list_add(s, &s->room[c->class], k);
	if (c->used)
		return 0;
	list_remove(s, &s->room[c->class], k);
	free(c->refs);
	c->refs = NULL;
	if (!s->pinned)
		release(s, (uint64_t)k * SLOTS_CHUNK_BYTES, SLOTS_CHUNK_BYTES);
	list_add(s, &s->uncut, k);
	return 0;
}

void *pool_slots_at(const struct slots *s, uint64_t where)
{
	return s->mem + where;
}
