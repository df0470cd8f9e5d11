/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_PAIR_H
#define FARMEM_POOL_PAIR_H

#include "remote.h"

/*
 * Two pools with the same pages. A page is put at both, and is there once one has it: one that is away misses what is put meanwhile, and its older epochs are never taken for newer ones. What the first cannot give,
 * the second is asked for.
 */

struct pair;

/** pair_new - @pool: borrowed. Return: NULL: out of memory. */
struct pair *pair_new(struct remote *pool[2]);
/** pair_free - after its pools */
struct pair *pair_free(struct pair *p);
void pair_submit(struct pair *p, struct pool_op *op);

#endif
