/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_DEPOT_H
#define FARMEM_PAGER_DEPOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "farmem/engine.h"
#include "farmem/pool.h"

/*
 * The pool, for several threads. One lock around it, which who moves pages in bulk gives up after a few of them for who waits for one. Who reads pages of a pool in this process shares it with others who do: a page cannot go
 * while it is read, and readers do not wait for each other.
 */

#define DEPOT_PAGES 256                 /* of one operation */

enum depot_kind { DEPOT_PUT, DEPOT_GET, DEPOT_DEL, DEPOT_DEL_ALL };

/** struct depot_state - what another process needs to go on with an embedded pool: descriptors, once there are @n */
struct depot_state {
	int fds[2];
	uint32_t n;
};

/**
 * struct depot_op - pages of one object
 * @ids:    of the pages, never used twice, borrowed during depot_submit(); @pages: PUT: from where, GET: to where; @status: 0 or -errno of each (not for DEL)
 * @done:   called without locks held, if depot_submit() returned false; the operation belongs to the depot until then
 * @waited_for: a thread of a program waits: depot_submit() looks for the answer of a pool that is elsewhere for a moment, as long as nothing can be read from @others
 */
struct depot_op {
	enum depot_kind kind;
	struct farmem_object object;
	const uint64_t *ids;
	void **pages;
	int *status;
	unsigned n;
	void (*done)(struct depot_op *op);
	void *ctx;
	bool waited_for;
	int others;
	/* the depot's */
	struct depot_op *next;
	struct depot *depot;
	bool complete, waits;
	uint64_t looked_ns;             /* since when it is looked for; 0: it was not */
	struct pool_op pool_op;
	struct pool_ref refs[DEPOT_PAGES];
};

struct depot;

/**
 * depot_open - @uri: of the pool; "embedded:" for one in this process
 * @key_file: secrets of tenants, or NULL (farmem/pool.h)
 * @state: of the process before this one, or all zero; brought up to date
 * @bell:  an eventfd that asks for depot_work()
 * Return: 0, -errno with message
 */
int depot_open(const char *uri, const char *key_file, struct depot_state *state, int bell, struct depot **ret, struct hearth_err *err);
/** depot_submit - Return: true: it is done; false: done() follows, by depot_work() */
bool depot_submit(struct depot *d, struct depot_op *op);
/** depot_here - whether the pool is in this process: what is asked of it is done when depot_submit() returns */
bool depot_here(const struct depot *d);
/** depot_watch - have an epoll tell, as @tag, when depot_work() has something to do that nobody looks for by himself. Return: 0, -errno. */
int depot_watch(struct depot *d, int epoll_fd, uint64_t tag);
void depot_work(struct depot *d);
/** depot_tidy - make contents of a pool in this process smaller, a few pages at a time: faults do not wait for longer. Return: whether there may be more. */
bool depot_tidy(struct depot *d);
/** depot_ease - see pool_ease() */
bool depot_ease(struct depot *d);
/** depot_bytes - memory of this machine that an object takes */
uint64_t depot_bytes(struct depot *d, const struct farmem_object *object);

#endif
