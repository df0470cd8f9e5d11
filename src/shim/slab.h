/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_SLAB_H
#define SHIM_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Small allocations inside blocks of 2 MiB, one struct slab a context. Sizes are rounded up to a class: 512, 1024, 1536, 2048, 3072, 4096, ... 1 MiB; an address is a multiple of 512, as the driver's are.
 * A block serves one class until it is empty. One empty block is kept, for any class; the others are the caller's to give back. Pure: knows addresses only, touches no memory behind them. Not thread-safe.
 */
#define SLAB_BLOCK_BYTES (2u << 20)
#define SLAB_MIN 512u
#define SLAB_MAX (1u << 20)
#define SLAB_CLASSES 22
#define SLAB_SLOTS (SLAB_BLOCK_BYTES / SLAB_MIN)

struct slab_block {
	uint64_t base;
	struct slab_block *next, **at;  /* of those with room; at = NULL: not among them */
	unsigned class, slots, used;
	uint16_t free;                  /* first free slot; the others follow in next_free */
	uint16_t next_free[SLAB_SLOTS];
	uint32_t asked[SLAB_SLOTS];     /* bytes asked for; 0: free. The highest bit: being freed. */
};
struct slab { struct slab_block *room[SLAB_CLASSES], *empty; };

/** slab_class_bytes - size of the slots of a class */
size_t slab_class_bytes(unsigned class);
/** slab_class - the class for so many bytes (1..SLAB_MAX) */
unsigned slab_class(size_t bytes);
/** slab_take - room for @bytes. @ret_block: where. Return: its address, 0 if a block must be added first. */
uint64_t slab_take(struct slab *s, size_t bytes, struct slab_block **ret_block);
/** slab_add - a new block for allocations of @bytes. Return: the block, which the caller frees with free() once it is given back; NULL: no memory. */
struct slab_block *slab_add(struct slab *s, uint64_t base, size_t bytes);
/** slab_at - the allocation that an address is in: its start and size as asked. Return: false if there is none, or it is being freed. */
bool slab_at(const struct slab_block *b, uint64_t address, uint64_t *ret_start, size_t *ret_asked);
/** slab_mark - an allocation is being freed: slab_at() does not find it any more; @undo: it is not */
void slab_mark(struct slab_block *b, uint64_t start, bool undo);
/** slab_give - the slot of an allocation is free again. Return: true if the block is empty and no longer the slab's: the caller gives it back. */
bool slab_give(struct slab *s, struct slab_block *b, uint64_t start);
/** slab_drop_empty - take out the empty block that is kept, or NULL */
struct slab_block *slab_drop_empty(struct slab *s);

#endif
