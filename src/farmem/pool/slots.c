/* SPDX-License-Identifier: Apache-2.0 */
#include "slots.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"

/* Linux 6.1's, which older headers lack */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static const uint16_t sizes[] = { 128, 256, 512, 1024, 1536, 2048, 2560, 3072, 3584, 4096, SLOTS_MAX_BYTES };
#define CLASSES (sizeof(sizes) / sizeof(sizes[0]))
#define NO_CHUNK UINT32_MAX

#define BLOCK_BYTES  SLOTS_BLOCK_BYTES
#define BLOCK_CHUNKS (BLOCK_BYTES / SLOTS_CHUNK_BYTES)
#define NO_BLOCK     UINT32_MAX
/* chunks that may lie ready: what is more goes back to the kernel as it becomes empty, a huge page as a whole where that is possible; and those that stay when nothing is put any more */
#define READY_MAX    2048u
#define READY_LEAST  64u
/* a huge page that took longer than touching its small ones would have: the kernel had to look for it */
#define SLOW_NS      (1500 * NS_PER_US)
#define SMALL_MOST   64u

/* refs: of each slot, 0 is free; NULL: the chunk is not cut. prev, next: among those of its class that have room. */
struct chunk {
	uint32_t *refs;
	uint32_t prev, next;
	uint16_t used, hint;
	uint8_t class;
};

/* What a block's chunks are decides in which list it is: those to be cut next come first. */
enum list {
	SOME_READY,             /* beside some that are cut */
	ALL_READY,              /* and none is cut */
	ALL_VOID,               /* without memory */
	SOME_VOID,              /* beside some that are cut */
	LISTS,                  /* all are cut: in no list */
};

/* a bit a chunk: cut, or not cut but with memory */
struct block {
	uint32_t prev, next;
	uint16_t cut, ready;
	uint8_t list;
};

struct slots {
	int fd;
	uint64_t bytes;
	uint8_t *room_for_mem, *mem;
	struct chunk *chunk;
	struct block *block;
	uint32_t n, blocks, begun;      /* chunks; blocks; of those the ones that are in a list, or were */
	uint32_t ready, ready_max;      /* chunks */
	bool used_ready;                /* some, since pool_slots_ease() */
	uint32_t first[LISTS];
	uint32_t room[CLASSES];
	uint32_t small, small_next;     /* blocks to come for which no huge page is asked for; and if the one after those is slow as well */
	bool pinned;                    /* pool_slots_pin() */
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

/* A huge page is mapped as one only where addresses are as the file's. */
static bool map(struct slots *s)
{
	size_t bytes = s->bytes + BLOCK_BYTES;
	uint8_t *all = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (all == MAP_FAILED)
		return false;
	s->room_for_mem = all;
	s->mem = (uint8_t *)(((uintptr_t)all + BLOCK_BYTES - 1) & ~(uintptr_t)(BLOCK_BYTES - 1));
	return mmap(s->mem, s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, s->fd, 0) != MAP_FAILED;
}

struct slots *pool_slots_new(int fd, uint64_t bytes)
{
	struct slots *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fd = fd;
	s->bytes = bytes;
	s->n = (uint32_t)(bytes / SLOTS_CHUNK_BYTES);
	s->blocks = (s->n + BLOCK_CHUNKS - 1) / BLOCK_CHUNKS;
	s->ready_max = s->n / 32 < READY_MAX ? s->n / 32 : READY_MAX;
	for (unsigned k = 0; k < LISTS; k++)
		s->first[k] = NO_BLOCK;
	for (unsigned c = 0; c < CLASSES; c++)
		s->room[c] = NO_CHUNK;
	s->chunk = calloc(s->n, sizeof(*s->chunk));
	s->block = calloc(s->blocks, sizeof(*s->block));
	if (!s->chunk || !s->block || !map(s))
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
	free(s->block);
	if (s->room_for_mem)
		munmap(s->room_for_mem, s->bytes + BLOCK_BYTES);
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

/* ---- blocks ---- */

static uint16_t chunks_of(const struct slots *s, uint32_t b)
{
	uint32_t n = s->n - b * BLOCK_CHUNKS;

	return n < BLOCK_CHUNKS ? (uint16_t)((1u << n) - 1) : UINT16_MAX;
}

static enum list list_of(const struct slots *s, const struct block *b)
{
	if (b->ready)
		return b->cut ? SOME_READY : ALL_READY;
	if (!b->cut)
		return ALL_VOID;
	return b->cut == chunks_of(s, (uint32_t)(b - s->block)) ? LISTS : SOME_VOID;
}

static void block_out(struct slots *s, uint32_t k)
{
	struct block *b = &s->block[k];

	if (b->list == LISTS)
		return;
	if (b->prev == NO_BLOCK)
		s->first[b->list] = b->next;
	else
		s->block[b->prev].next = b->next;
	if (b->next != NO_BLOCK)
		s->block[b->next].prev = b->prev;
}

static void block_in(struct slots *s, uint32_t k)
{
	struct block *b = &s->block[k];

	b->list = (uint8_t)list_of(s, b);
	if (b->list == LISTS)
		return;
	b->prev = NO_BLOCK;
	b->next = s->first[b->list];
	if (b->next != NO_BLOCK)
		s->block[b->next].prev = k;
	s->first[b->list] = k;
}

/* its chunks are other ones now */
static void block_set(struct slots *s, uint32_t k, uint16_t cut, uint16_t ready)
{
	struct block *b = &s->block[k];
	bool moves;

	s->ready += (uint32_t)__builtin_popcount(ready) - (uint32_t)__builtin_popcount(b->ready);
	b->cut = cut;
	b->ready = ready;
	moves = b->list != list_of(s, b);
	if (moves) {
		block_out(s, k);
		block_in(s, k);
	}
}

static void begin_until(struct slots *s, uint32_t k)
{
	while (s->begun <= k)
		block_in(s, s->begun++);
}

/* should it fail, the memory stays and is used again */
static void release(const struct slots *s, uint64_t where, uint64_t bytes)
{
	(void)fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)where, (off_t)bytes);
}

/*
 * Memory for a block that has none: one huge page, at a tenth of what the kernel takes to make and map its 512 small ones as they are touched (bench_pages). The kernel does it whatever shmem_enabled
 * is but "deny" (Linux 6.1). Where it cannot, or has to tidy up first, some blocks get theirs by being touched, each time it happens again twice as many.
 */
static void populate(struct slots *s, uint32_t k)
{
	uint8_t *at = s->mem + (uint64_t)k * BLOCK_BYTES;
	uint64_t t = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	int r;

	if (s->pinned || chunks_of(s, k) != UINT16_MAX)
		return;
	if (s->small) {
		s->small--;
		return;
	}
	*(volatile uint8_t *)at = 0;            /* nothing at all cannot be collapsed */
	r = madvise(at, BLOCK_BYTES, MADV_COLLAPSE);
	if (r == 0)
		block_set(s, k, 0, UINT16_MAX);
	if (r == 0 && clock_ns(CLOCK_THREAD_CPUTIME_ID) - t < SLOW_NS) {
		s->small_next = 0;
		return;
	}
	s->small_next = !s->small_next ? 1 : s->small_next < SMALL_MOST ? 2 * s->small_next : SMALL_MOST;
	s->small = s->small_next;
}

/* the first block that has something to be cut; NO_BLOCK: all is */
static uint32_t next_block(struct slots *s)
{
	uint32_t k;

	if (s->first[SOME_READY] != NO_BLOCK)
		return s->first[SOME_READY];
	if (s->first[ALL_READY] != NO_BLOCK)
		return s->first[ALL_READY];
	/* while there are no huge pages, what was begun is used up first */
	if (s->small && s->first[SOME_VOID] != NO_BLOCK)
		return s->first[SOME_VOID];
	if (s->first[ALL_VOID] == NO_BLOCK && s->begun < s->blocks)
		begin_until(s, s->begun);
	k = s->first[ALL_VOID];
	if (k == NO_BLOCK)
		return s->first[SOME_VOID];
	populate(s, k);
	return k;
}

/* Return: NO_CHUNK: all are cut */
static uint32_t next_chunk(struct slots *s)
{
	uint32_t k = next_block(s);
	const struct block *b = &s->block[k];

	if (k == NO_BLOCK)
		return NO_CHUNK;
	return k * BLOCK_CHUNKS + (uint32_t)__builtin_ctz(b->ready ? b->ready : chunks_of(s, k) & ~b->cut);
}

static uint16_t chunk_bit(uint32_t k)
{
	return (uint16_t)(1u << k % BLOCK_CHUNKS);
}

static void give_back_block(struct slots *s, uint32_t k)
{
	release(s, (uint64_t)k * BLOCK_BYTES, BLOCK_BYTES);
	block_set(s, k, 0, 0);
}

static void give_back_chunk(struct slots *s, uint32_t k)
{
	const struct block *b = &s->block[k / BLOCK_CHUNKS];

	release(s, (uint64_t)k * SLOTS_CHUNK_BYTES, SLOTS_CHUNK_BYTES);
	block_set(s, k / BLOCK_CHUNKS, b->cut, (uint16_t)(b->ready & ~chunk_bit(k)));
}

/* A chunk that is empty lies ready, or its memory goes back. */
static void uncut(struct slots *s, uint32_t k)
{
	uint32_t n = k / BLOCK_CHUNKS;
	struct block *b = &s->block[n];

	block_set(s, n, (uint16_t)(b->cut & ~chunk_bit(k)), (uint16_t)(b->ready | chunk_bit(k)));
	if (s->pinned)
		return;
	if (s->ready > s->ready_max && !b->cut)
		give_back_block(s, n);
	else if (s->ready > s->ready_max)
		give_back_chunk(s, k);
}

uint32_t pool_slots_ease(struct slots *s)
{
	uint32_t least = s->ready_max < READY_LEAST ? s->ready_max : READY_LEAST, left = s->ready > least ? s->ready - least : 0, until = s->ready - (left + 7) / 8;

	if (s->pinned)
		return 0;
	if (s->used_ready || !left) {
		s->used_ready = false;
		return left;
	}
	while (s->ready > until && s->first[ALL_READY] != NO_BLOCK)
		give_back_block(s, s->first[ALL_READY]);
	while (s->ready > until)
		give_back_chunk(s, s->first[SOME_READY] * BLOCK_CHUNKS + (uint32_t)__builtin_ctz(s->block[s->first[SOME_READY]].ready));
	return s->ready > least ? s->ready - least : 0;
}

/* ---- chunks ---- */

static int cut(struct slots *s, uint32_t k, unsigned class)
{
	struct chunk *c = &s->chunk[k];
	struct block *b = &s->block[k / BLOCK_CHUNKS];

	c->refs = calloc(slots_in(class), sizeof(*c->refs));
	if (!c->refs)
		return -ENOMEM;
	s->used_ready |= b->ready & chunk_bit(k);
	block_set(s, k / BLOCK_CHUNKS, b->cut | chunk_bit(k), (uint16_t)(b->ready & ~chunk_bit(k)));
	c->class = (uint8_t)class;
	c->used = c->hint = 0;
	list_add(s, &s->room[class], k);
	return 0;
}

static int cut_next(struct slots *s, unsigned class)
{
	uint32_t k = next_chunk(s);

	return k == NO_CHUNK ? -ENOSPC : cut(s, k, class);
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
		begin_until(s, k / BLOCK_CHUNKS);
		if (cut(s, k, class) < 0)
			return -ENOMEM;
	}
	if (c->refs[in / sizes[class]]++ == 0 && ++c->used == slots_in(class))
		list_remove(s, &s->room[class], k);
	return 0;
}

void pool_slots_settle(struct slots *s)
{
	for (uint32_t k = 0; k < s->n && k < s->begun * BLOCK_CHUNKS; k++)
		if (!s->chunk[k].refs)
			give_back_chunk(s, k);
	if (s->begun < s->blocks)
		release(s, (uint64_t)s->begun * BLOCK_BYTES, s->bytes - (uint64_t)s->begun * BLOCK_BYTES);
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
	uncut(s, k);
	return 0;
}

void *pool_slots_at(const struct slots *s, uint64_t where)
{
	return s->mem + where;
}
