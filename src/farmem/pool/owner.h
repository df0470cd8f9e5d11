/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_OWNER_H
#define FARMEM_POOL_OWNER_H

#include <stdint.h>

#include "farmem/engine.h"

/* Which node an object is of, the one that put or read it last; and nodes that have vanished. Pure: time is the caller's. */

struct owners;

struct owners *owners_new(void);
struct owners *owners_free(struct owners *o);
/** owners_join, owners_leave - a connection of a node begins, ends. Return: 0, -ENOMEM. */
int owners_join(struct owners *o, uint64_t node);
void owners_leave(struct owners *o, uint64_t node, uint64_t now_ns);
/** owners_own - an object is a node's that has joined. Return: 0, -ENOMEM (it stays whose it was). */
int owners_own(struct owners *o, const struct farmem_object *object, uint64_t node);
void owners_forget(struct owners *o, const struct farmem_object *object);
/** owners_expire - nodes without connections since before @since_ns are forgotten; @gone is called for each of their objects. Return: how many objects. */
uint64_t owners_expire(struct owners *o, uint64_t since_ns, void (*gone)(void *ctx, const struct farmem_object *object), void *ctx);
uint64_t owners_nodes(const struct owners *o);

#endif
