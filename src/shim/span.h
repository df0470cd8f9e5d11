/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_SPAN_H
#define SHIM_SPAN_H

#include <stddef.h>
#include <stdint.h>

/* Things with addresses that do not overlap, sorted by them. Not thread-safe. */
struct span { uint64_t at, bytes; };            /* the first member of what is kept */
struct spans { struct span **v; size_t n, cap; };

/** spans_add - @s is borrowed and must not overlap what is there. Return: 0, -ENOMEM, -EEXIST. */
int spans_add(struct spans *t, struct span *s);
void spans_remove(struct spans *t, const struct span *s);       /* nothing happens if it is not there */
/** spans_find - what holds an address, or NULL */
void *spans_find(const struct spans *t, uint64_t address);
/** spans_from - index of the first that ends after an address; t->n if there is none */
size_t spans_from(const struct spans *t, uint64_t address);
void spans_done(struct spans *t);               /* frees the index, not what it names; empty and usable again */

#endif
