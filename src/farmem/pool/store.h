/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_STORE_H
#define FARMEM_POOL_STORE_H

#include "farmem/pool.h"

/*
 * Pages in memory. Index and contents are in two memfds; what is only in this process is made anew by who adopts them. A page is there from one store of the entry's state on, written after all that it stands for,
 * so there is no instant at which a process can be killed and leave half a page. For one thread; for several while all they do is pool_store_get(), and pool_store_object() of one that is not to be made.
 */

/* what a pool that cannot read its pages is given: sealed by its client, at most this long */
#define STORE_SEALED_BYTES 4192u

/** pool_store_digest - of contents, and of whose, which and when they are: what the index has, and frames carry. Finds damage; no defence against an attacker. */
uint64_t pool_store_digest(const struct farmem_object *o, struct pool_ref ref, bool sealed, const void *data, uint32_t len);

struct store;
struct pool_store_object;

/**
 * pool_store_new - a store, or one that is adopted
 * @options: memory_bytes, quota_bytes, adopt, fds
 * Return: 0, -ENOMEM, -EUCLEAN (not descriptors of a store), -errno; with message.
 */
int pool_store_new(const struct pool_options *options, struct store **ret, struct hearth_err *err);
struct store *pool_store_free(struct store *s);
void pool_store_fds(const struct store *s, int ret[2]);

/** pool_store_object - @make: if it is not there. Valid until the next pool_store_object() or pool_store_del(). Return: NULL: not there, or (@make) no room for more objects. */
struct pool_store_object *pool_store_object(struct store *s, const struct farmem_object *id, bool make);
/** pool_store_put - Return: 0 (also if it was there already), -ESTALE (a newer one is there), -ENOSPC, -EDQUOT; then what was there is as it was. */
int pool_store_put(struct store *s, struct pool_store_object *o, struct pool_ref ref, const void *page);
/** pool_store_get - @ret_digest: what pool_store_digest() of it was when it was put; @page: not to be used unless it returns 0. Return: 0, -ENOENT, -ESTALE, -EBADMSG. */
int pool_store_get(struct store *s, struct pool_store_object *o, struct pool_ref ref, void *page, uint64_t *ret_digest);
/** pool_store_put_sealed, pool_store_get_sealed - the same for contents that are kept as they are; pool_store_get_sealed() returns their length, and has room for STORE_SEALED_BYTES */
int pool_store_put_sealed(struct store *s, struct pool_store_object *o, struct pool_ref ref, const void *data, uint32_t len);
int pool_store_get_sealed(struct store *s, struct pool_store_object *o, struct pool_ref ref, void *data, uint64_t *ret_digest);
/** pool_store_del - a page, unless its epoch is a higher one; the object goes with its last page. Return: 0, -ENOENT, -ESTALE. */
int pool_store_del(struct store *s, struct pool_store_object *o, struct pool_ref ref);
void pool_store_del_object(struct store *s, struct pool_store_object *o);
/** pool_store_stat - @o: NULL: of all */
void pool_store_stat(const struct store *s, const struct pool_store_object *o, struct pool_stat *ret);
/**
 * pool_store_lend - others read contents where they are from here on, or (@on is false) no more: memory stays where it is, and what was a sealed page is spoiled before its place is used again
 * Return: the memory, of @ret_bytes.
 */
void *pool_store_lend(struct store *s, bool on, uint64_t *ret_bytes);
/** pool_store_where - where a sealed page's contents are in that memory. Return: their length; 0: it has none. */
uint32_t pool_store_where(const struct store *s, const struct pool_store_object *o, uint64_t page, uint64_t *ret_where);
/** pool_store_tidy - see pool_tidy() */
unsigned pool_store_tidy(struct store *s, unsigned pages);
/** pool_store_ease - see pool_ease() */
bool pool_store_ease(struct store *s);

#endif
