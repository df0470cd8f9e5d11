/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_SLOTS_H
#define FARMEM_POOL_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Memory of a store in slots. A chunk of 128 KiB is cut into slots of one size; 16 chunks are a block, which is a huge page where the kernel gives one. Of what has become empty up to 256 MiB (1/32 of
 * the store, if that is less) lies ready for what comes next, the rest goes back to the kernel at once, and that by and by when nothing comes (pool_slots_ease). Which slots are taken is known to this
 * process only: who adopts the memory says of each slot that it is (pool_slots_keep).
 */

#define SLOTS_CHUNK_BYTES (128u << 10)
#define SLOTS_BLOCK_BYTES (2u << 20)
/* the largest content */
#define SLOTS_MAX_BYTES 4224u
#define SLOTS_NONE UINT64_MAX

struct slots;

/** pool_slots_new - @fd: of @bytes (a multiple of the chunk), borrowed. Return: NULL: out of memory. */
struct slots *pool_slots_new(int fd, uint64_t bytes);
struct slots *pool_slots_free(struct slots *s);
/** pool_slots_take - one for @len bytes, with one reference. Return: where it is, SLOTS_NONE (full, or out of memory). */
uint64_t pool_slots_take(struct slots *s, uint32_t len);
/** pool_slots_keep - one more reference, to a slot that may not have been known so far. Return: 0, -EUCLEAN (there is no slot for @len bytes at @where), -ENOMEM. */
int pool_slots_keep(struct slots *s, uint64_t where, uint32_t len);
/** pool_slots_settle - all that is in use was said: the memory of what nobody spoke for goes back to the kernel */
void pool_slots_settle(struct slots *s);
/**
 * pool_slots_ease - give an eighth of the memory that lies ready back to the kernel, down to 8 MiB, unless some of it was used since this was called last
 * Return: chunks that the next ones can give back.
 */
uint32_t pool_slots_ease(struct slots *s);
/** pool_slots_pin - memory that has become empty stays as it is, as others know where it is; or no more: then it goes back */
void pool_slots_pin(struct slots *s, bool on);
/** pool_slots_refs - how many references it has */
uint32_t pool_slots_refs(const struct slots *s, uint64_t where);
/** pool_slots_drop - one reference less; its memory is free with the last. Return: references left. */
uint32_t pool_slots_drop(struct slots *s, uint64_t where);
void *pool_slots_at(const struct slots *s, uint64_t where);
/** pool_slots_size - of the slot that @len bytes take */
uint32_t pool_slots_size(uint32_t len);

#endif
