/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_H
#define FARMEM_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "farmem/engine.h"

/*
 * Where pages are while they are not in a process: in this process's own store ("embedded:"), or at a `hearth pool` ("tcp:HOST:PORT", "rdma:HOST:PORT", "unix:PATH", "shm:PATH"), or at two of those at once ("A,B": every page is at both).
 *
 * A page is of an object and has a number and an epoch. Its owner raises the epoch each time it puts a page that it has changed; what a GETV gives is the page with exactly the epoch that is asked for, whole, and
 * of that object, or an error of that page and of no other. Where a page's status is not 0, what its memory holds then means nothing.
 *
 * A pool is for one thread at a time, takes no locks, and is not valid after fork. But GETV of an embedded one changes nothing: several threads may while none does anything else with it.
 */

#define POOL_PAGE_BYTES 4096u
/* pages of one operation */
#define POOL_OP_PAGES 1024u

struct pool;

/** struct pool_ref - @page: its number (address / 4096), below 2^52; @epoch: which of its contents */
struct pool_ref {
	uint64_t page;
	uint32_t epoch;
};

enum pool_kind { POOL_PUT, POOL_GETV, POOL_DEL, POOL_STAT };

/**
 * struct pool_stat - of an object, or of all of the pool
 * @pages:        that it holds; of those @zero_pages take no memory and @shared_pages none of their own, as another page of the tenant was alike when they were put
 * @stored_bytes: memory that the contents take, of an object with what it shares; @quota_bytes: what they may take (of an object: its tenant's)
 */
struct pool_stat {
	uint64_t pages, zero_pages, shared_pages, stored_bytes, quota_bytes;
};

/**
 * struct pool_op - one operation
 * @refs:   of the pages; for DEL, n = 0 means all of the object, and a page with a higher epoch than the one given stays
 * @pages:  PUT: where they are; GETV: where they go; 4096 bytes each, none twice; not used otherwise
 * @status: of each page (DEL: may be NULL), set before done(): 0, -ENOENT (the pool does not have it), -ESTALE (it has another epoch of it; PUT: a newer one), -EBADMSG (what it has is damaged or another page),
 *          -ENOSPC (the pool is full), -EDQUOT (the tenant's share is), -EACCES (no key for the tenant), -ECONNREFUSED (not one pool answered in time), -ENOMEM
 * @stat:   STAT: of the object; of all if the object is all zero
 * @result: 0, or the status of the first page that is not 0
 * @done:   called once, by pool_work() or already by pool_submit(); the operation, its arrays and memory belong to the pool until then. It may submit other operations.
 */
struct pool_op {
	enum pool_kind kind;
	struct farmem_object object;
	const struct pool_ref *refs;
	void **pages;
	int *status;
	unsigned n;
	struct pool_stat *stat;
	int result;
	void (*done)(struct pool_op *op);
	void *ctx;
	struct pool_op *next;           /* the pool's */
};

/**
 * struct pool_options - all zero is a choice too
 * @memory_bytes: embedded: what its contents may take; 0: half of this machine's memory
 * @quota_bytes:  embedded: of that for one tenant; 0: all
 * @key_file:     remote: with a secret of each tenant (hearth-pool(1)): pages are sealed with it before they leave, and what comes back is opened with it; NULL: neither is done, and only pools on this machine's
 *                loopback (not RDMA) or Unix sockets take that
 * @timeout_ns:   remote: how long an operation may take, over however many connections; 0: 2 s
 * @adopt:        embedded: go on with a store of a process before this one, whose descriptors are in @fds
 * @fds:          the caller's; the pool makes its own of them
 */
struct pool_options {
	uint64_t memory_bytes, quota_bytes;
	const char *key_file;
	uint64_t timeout_ns;
	bool adopt;
	int fds[2];
};

/**
 * pool_open - find or make a pool
 * A remote one need not answer yet: operations wait for it as long as they may.
 * @uri: "embedded:", "tcp:HOST:PORT" (HOST: a number), "rdma:HOST:PORT", "unix:PATH", "shm:PATH" (a Unix socket and shared memory), or two of the latter with a comma between
 * Return: 0, -EINVAL (@uri), -EOPNOTSUPP (RDMA: no library), -ENOMEM, -EUCLEAN (@fds are not of a store), -errno; with message.
 */
int pool_open(const char *uri, const struct pool_options *options, struct pool **ret, struct hearth_err *err);
/** pool_close - operations that are not done are done with -ECANCELED. Contents of an embedded store stay as long as somebody holds its descriptors. Return: NULL. */
struct pool *pool_close(struct pool *pool);
/**
 * pool_fds - descriptors of an embedded store: index, contents; the pool's, to be duplicated
 * A process that adopts them finds every page whose PUT was done, whatever the instant at which the one before it was killed. One process at a time.
 * Return: 2, 0 (not embedded).
 */
int pool_fds(const struct pool *pool, int ret[2]);
/**
 * pool_submit - begin an operation; never blocks
 * An embedded store is done when this returns, done() included.
 */
void pool_submit(struct pool *pool, struct pool_op *op);
/** pool_fd - readable when pool_work() has something to do, epoll likes it; -1: never */
int pool_fd(const struct pool *pool);
void pool_work(struct pool *pool);
/**
 * pool_look - take in what has come, if anything has; with fewer system calls than pool_work() where mostly nothing has
 * For somebody who waits for an operation and looks again and again rather than sleeps (base/spin.h). It keeps no time: what has waited too long ends, and a connection is made, by pool_work() only.
 */
void pool_look(struct pool *pool);
/**
 * pool_tidy - compress contents of an embedded store that were put as they are, oldest first
 * For a moment with nothing better to do: a page costs a few microseconds.
 * @pages: to look at, at most
 * Return: how many were looked at; 0: nothing is left to do.
 */
unsigned pool_tidy(struct pool *pool, unsigned pages);
/**
 * pool_ease - give back memory that an embedded store keeps for what is put next
 * What pages that were deleted leave behind is kept, up to 1/32 of the store and 256 MiB, as new memory is several times as dear. To be called about once a second while nothing else is to be done: an eighth goes back
 * to the kernel each time, unless some was used since the last.
 * Return: whether there is more to give back.
 */
bool pool_ease(struct pool *pool);

#endif
