/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_SEAL_H
#define FARMEM_POOL_SEAL_H

#include "cipher.h"
#include "keys.h"
#include "squeeze.h"

/*
 * Pages as they leave this machine: compressed where it pays, then XChaCha20-Poly1305 with the tenant's page key. Whose, which and when a page is goes into its tag, so that no other page, and no other epoch of it,
 * opens in its place. A nonce is 16 random bytes of this client and a count: none occurs twice, also if an epoch does.
 */

/**
 * struct sealer
 * @untried, @run: pages that are not compressed before it is tried again, as those before them did not become smaller; of such a run
 */
struct sealer {
	uint8_t start[16];
	uint64_t count;
	unsigned untried, run;
	struct squeeze *squeeze;
	struct cipher *cipher;
};

/** sealer_init - @s: for one thread at a time. Return: 0, -ENOMEM, -EIO (no random numbers) */
int sealer_init(struct sealer *s);
void sealer_done(struct sealer *s);
/** seal_page - @out: room for STORE_SEALED_BYTES. Return: bytes in it. */
uint32_t seal_page(struct sealer *s, const struct key *k, const struct farmem_object *o, struct pool_ref ref, const void *page, uint8_t *out);
/** seal_open - Return: 0, -EBADMSG (it is not that page, or not what was sealed; @page means nothing then) */
int seal_open(struct sealer *s, const struct key *k, const struct farmem_object *o, struct pool_ref ref, const uint8_t *data, uint32_t n, void *page);

#endif
