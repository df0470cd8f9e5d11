/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_HINTS_H
#define FARMEM_POOL_HINTS_H

#include "farmem/pool.h"
#include "wire.h"

/*
 * Where pages were in a pool's memory when it spoke of them last. Any of it may be wrong, by chance too, as the table is not of pages but of their hashes: what is read there is a page once its seal opens as that
 * page's. A page whose place is not known, or not any more, is asked for.
 */

struct hints;

/** struct hint - @len bytes at @at of that memory */
struct hint {
	struct wire_memory memory;
	uint64_t at;
	uint32_t len;
};

/** hints_new - takes memory as it learns, up to 64 MiB. Return: NULL: out of memory. */
struct hints *hints_new(void);
struct hints *hints_free(struct hints *h);
/** hints_reset - all is forgotten: it is another pool, or the same one again */
void hints_reset(struct hints *h);
/** hints_memory - Return: 0, -EPROTO (no pool is that large), -ENOMEM */
int hints_memory(struct hints *h, const struct wire_memory *m);
/** hints_note - what an item of a result says; nothing if it says nothing */
void hints_note(struct hints *h, const struct farmem_object *o, const struct wire_item *i);
void hints_forget(struct hints *h, const struct farmem_object *o, uint64_t page);
bool hints_find(const struct hints *h, const struct farmem_object *o, struct pool_ref ref, struct hint *ret);

#endif
