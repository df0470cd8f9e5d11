/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_STORE_H
#define FARMEM_PAGER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "farmem/engine.h"

/* The pool, for several threads: one lock around it. */

enum store_kind { STORE_PUT, STORE_GET, STORE_DEL, STORE_DEL_ALL };

/** struct store_state - what another process needs to go on with an embedded pool: descriptors */
struct store_state {
	int fds[4];
	uint32_t n;
};

/**
 * struct store_op - pages of one object
 * @ids:    of the pages; @pages: PUT: from where, GET: to where; @status: 0 or -errno of each, set by the store (DEL: not used)
 * @done:   called by store_work() without locks held, if store_submit() returned false; the operation belongs to the store until then
 */
struct store_op {
	enum store_kind kind;
	struct farmem_object object;
	const uint64_t *ids;
	void **pages;
	int *status;
	unsigned n;
	void (*done)(struct store_op *op);
	void *ctx;
};

struct store;

/**
 * store_open - @uri: of the pool; "embedded:" for one in this process
 * @state: of the process before this one, or all zero; brought up to date
 * Return: 0, -errno with message
 */
int store_open(const char *uri, struct store_state *state, struct store **ret, struct hearth_err *err);
struct store *store_close(struct store *s);
/** store_submit - Return: true: it is done; false: done() follows */
bool store_submit(struct store *s, struct store_op *op);
/** store_fd - readable when store_work() has something to do; -1: never */
int store_fd(const struct store *s);
void store_work(struct store *s);
/** store_bytes - memory of this machine that it takes */
uint64_t store_bytes(struct store *s, const struct farmem_object *object);

#endif
