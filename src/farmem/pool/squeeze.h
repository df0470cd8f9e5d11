/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_SQUEEZE_H
#define FARMEM_POOL_SQUEEZE_H

#include <stdbool.h>
#include <stdint.h>

/* Compression (LZ4), where it pays: a page that would not become smaller than this stays as it is. */
#define SQUEEZE_PAYS 3072u

struct squeeze;

/** squeeze_new - memory to compress with, for one thread. NULL: out of memory. */
struct squeeze *squeeze_new(void);
struct squeeze *squeeze_free(struct squeeze *s);
/** squeeze_close - Return: bytes in @out; 0: it does not fit */
uint32_t squeeze_close(struct squeeze *s, const void *in, uint32_t len, void *out, uint32_t room);
/** squeeze_open - @len bytes, from whoever, back to exactly @want. Return: whether they are that. */
bool squeeze_open(const void *in, uint32_t len, void *out, uint32_t want);

#endif
