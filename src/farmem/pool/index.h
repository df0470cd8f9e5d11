/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_INDEX_H
#define FARMEM_POOL_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "farmem/pool.h"

/*
 * What a store has and where: objects, and of each its pages. Both are tables in a memfd, whose records become valid, or no longer so, by one store of their state. Counts, lists and look-up of objects are this
 * process's own. Entries are numbered; a page's neighbours are beside it (64 pages, one page of memory).
 */

/* the smallest store */
#define INDEX_LEAST_BYTES (1u << 20)

enum form {
	FORM_ZERO,
	FORM_RAW,               /* as it is, never tried to be compressed */
	FORM_KEPT,              /* as it is: compressing it did not pay */
	FORM_LZ4,
	FORM_SEALED,            /* by a client: nobody here can read it */
};

#define VALUE_ZERO UINT64_MAX

/** struct value - contents of a page: @where in the slots, or VALUE_ZERO; @digest of contents and of whose, which and when they are; @like: another page had them when this was put */
struct value {
	uint64_t where, digest;
	uint32_t epoch;
	uint16_t len;
	uint8_t form;
	uint8_t like;
};

static inline uint32_t value_len(const struct value *v)
{
	return v->len;
}

struct index;
struct pool_store_object;

/** pool_index_bytes, pool_index_entries - size of the memfd, and entries (a power of two), of a store with @memory bytes for contents */
uint64_t pool_index_bytes(uint64_t memory);
uint64_t pool_index_entries(uint64_t memory);

/**
 * pool_index_new - map it
 * @adopt: it is another process's: finish what that one had begun, and call @each for every page; an error of @each ends it
 * Return: 0, -EUCLEAN (it is none, or damaged), -ENOMEM, or the error of @each.
 */
int pool_index_new(int fd, uint64_t memory, bool adopt, int (*each)(void *ctx, struct index *x, struct pool_store_object *o, const struct value *v), void *ctx, struct index **ret);
struct index *pool_index_free(struct index *x);

/** pool_index_object - NULL: not there, or no room for another */
struct pool_store_object *pool_index_object(struct index *x, const struct farmem_object *id, bool make);
struct farmem_object pool_index_object_id(const struct pool_store_object *o);
/** pool_index_object_dies - from here on it is not there, for who adopts this; its pages are to be removed now */
void pool_index_object_dies(struct index *x, struct pool_store_object *o);
/** pool_index_object_done - forget it if it has no pages */
void pool_index_object_done(struct index *x, struct pool_store_object *o);

/** pool_index_get - the page's value, or NULL. Valid until the index is changed. */
const struct value *pool_index_get(const struct index *x, const struct pool_store_object *o, uint64_t page);
/** pool_index_set - @ret_old: what it was, if it returns 1; @ret_entry: its number. Return: 0 (it was not there), 1, -ENOSPC (the index is full). */
int pool_index_set(struct index *x, struct pool_store_object *o, uint64_t page, const struct value *v, struct value *ret_old, uint32_t *ret_entry);
/** pool_index_remove - the page has to be there */
void pool_index_remove(struct index *x, struct pool_store_object *o, uint64_t page, struct value *ret_old);
/** pool_index_remove_any - some page of the object. Return: false: it has none. */
bool pool_index_remove_any(struct index *x, struct pool_store_object *o, struct value *ret_old);
/** pool_index_raw - the entry that has been FORM_RAW for the longest time, its object and value; NULL: there is none */
const struct value *pool_index_raw(struct index *x, uint32_t *ret_entry, struct pool_store_object **ret_o);
/** pool_index_value - the value of the entry with a number; NULL: it is free, or not of that tenant */
const struct value *pool_index_value(struct index *x, uint32_t entry, uint64_t tenant);
/** pool_index_replace - another value for the same page */
void pool_index_replace(struct index *x, uint32_t entry, const struct value *v);

/** pool_index_count - a page more (@n is 1) or less (-1) in the counts of object and all; @bytes: of its slot, 0 for zeros */
void pool_index_count(struct index *x, struct pool_store_object *o, int n, const struct value *v, uint32_t bytes);
/** pool_index_charge - to what the object's tenant and all have: @slots, @bytes, negative when given back. A slot that several pages share counts once. */
void pool_index_charge(struct index *x, struct pool_store_object *o, int slots, int64_t bytes);
uint64_t pool_index_tenant_bytes(const struct pool_store_object *o);
/** pool_index_stat - without quota_bytes; of an object (@o), or (NULL) of all */
void pool_index_stat(const struct index *x, const struct pool_store_object *o, struct pool_stat *ret);

#endif
