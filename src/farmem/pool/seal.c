/* SPDX-License-Identifier: Apache-2.0 */
#include "seal.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "store.h"

#define NONCE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG   crypto_aead_xchacha20poly1305_ietf_ABYTES

enum { PLAIN, SQUEEZED };

_Static_assert(NONCE == 24 && NONCE + TAG + 1 + POOL_PAGE_BYTES <= STORE_SEALED_BYTES, "a sealed page fits");

struct whose {
	struct farmem_object object;
	uint64_t page, epoch;
};

int sealer_init(struct sealer *s)
{
	if (sodium_init() < 0)
		return -EIO;
	randombytes_buf(s->start, sizeof(s->start));
	s->count = 0;
	s->squeeze = squeeze_new();
	return s->squeeze ? 0 : -ENOMEM;
}

void sealer_done(struct sealer *s)
{
	s->squeeze = squeeze_free(s->squeeze);
}

uint32_t seal_page(struct sealer *s, const struct key *k, const struct farmem_object *o, struct pool_ref ref, const void *page, uint8_t *out)
{
	struct whose whose = { *o, ref.page, ref.epoch };
	uint8_t text[1 + POOL_PAGE_BYTES];
	unsigned long long n;
	uint32_t len = squeeze_close(s->squeeze, page, POOL_PAGE_BYTES, text + 1, SQUEEZE_PAYS);

	text[0] = len ? SQUEEZED : PLAIN;
	if (!len) {
		memcpy(text + 1, page, POOL_PAGE_BYTES);
		len = POOL_PAGE_BYTES;
	}
	memcpy(out, s->start, sizeof(s->start));
	s->count++;
	memcpy(out + sizeof(s->start), &s->count, sizeof(s->count));
	crypto_aead_xchacha20poly1305_ietf_encrypt(out + NONCE, &n, text, 1 + len, (const uint8_t *)&whose, sizeof(whose), NULL, out, k->page);
	return (uint32_t)(NONCE + n);
}

int seal_open(const struct key *k, const struct farmem_object *o, struct pool_ref ref, const uint8_t *data, uint32_t n, void *page)
{
	struct whose whose = { *o, ref.page, ref.epoch };
	uint8_t text[STORE_SEALED_BYTES];
	unsigned long long len;

	if (n < NONCE + TAG + 1 || n > STORE_SEALED_BYTES)
		return -EBADMSG;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(text, &len, NULL, data + NONCE, n - NONCE, (const uint8_t *)&whose, sizeof(whose), data, k->page) < 0)
		return -EBADMSG;
	if (text[0] == SQUEEZED)
		return squeeze_open(text + 1, (uint32_t)len - 1, page, POOL_PAGE_BYTES) ? 0 : -EBADMSG;
	if (text[0] != PLAIN || len != 1 + POOL_PAGE_BYTES)
		return -EBADMSG;
	memcpy(page, text + 1, POOL_PAGE_BYTES);
	return 0;
}
