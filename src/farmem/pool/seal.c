/* SPDX-License-Identifier: Apache-2.0 */
#include "seal.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "store.h"

#define NONCE CIPHER_NONCE_BYTES
#define TAG   CIPHER_TAG_BYTES

#define UNTRIED_MAX 7u

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
	s->untried = s->run = 0;
	s->squeeze = squeeze_new();
	s->cipher = cipher_new();
	if (s->squeeze && s->cipher)
		return 0;
	sealer_done(s);
	return -ENOMEM;
}

void sealer_done(struct sealer *s)
{
	s->squeeze = squeeze_free(s->squeeze);
	s->cipher = cipher_free(s->cipher);
}

/* Memory that does not compress lies together: of it one page in eight is tried, in the end. Return: bytes in @out, 0: as it is. */
static uint32_t squeeze(struct sealer *s, const void *page, uint8_t *out)
{
	uint32_t len;

	if (s->untried > 0) {
		s->untried--;
		return 0;
	}
	len = squeeze_close(s->squeeze, page, POOL_PAGE_BYTES, out, SQUEEZE_PAYS);
	s->run = len ? 0 : s->run < UNTRIED_MAX ? 2 * s->run + 1 : UNTRIED_MAX;
	s->untried = s->run;
	return len;
}

uint32_t seal_page(struct sealer *s, const struct key *k, const struct farmem_object *o, struct pool_ref ref, const void *page, uint8_t *out)
{
	struct whose whose = { *o, ref.page, ref.epoch };
	uint8_t text[1 + POOL_PAGE_BYTES];
	uint32_t len = squeeze(s, page, text + 1);

	text[0] = len ? SQUEEZED : PLAIN;
	if (!len) {
		memcpy(text + 1, page, POOL_PAGE_BYTES);
		len = POOL_PAGE_BYTES;
	}
	memcpy(out, s->start, sizeof(s->start));
	s->count++;
	memcpy(out + sizeof(s->start), &s->count, sizeof(s->count));
	cipher_close(s->cipher, k->page, out, &whose, sizeof(whose), text, 1 + len, out + NONCE);
	return NONCE + 1 + len + TAG;
}

int seal_open(struct sealer *s, const struct key *k, const struct farmem_object *o, struct pool_ref ref, const uint8_t *data, uint32_t n, void *page)
{
	struct whose whose = { *o, ref.page, ref.epoch };
	uint8_t text[STORE_SEALED_BYTES];
	uint32_t len = n - NONCE - TAG;

	if (n < NONCE + TAG + 1 || n > STORE_SEALED_BYTES)
		return -EBADMSG;
	if (cipher_open(s->cipher, k->page, data, &whose, sizeof(whose), data + NONCE, n - NONCE, text) < 0)
		return -EBADMSG;
	if (text[0] == SQUEEZED)
		return squeeze_open(text + 1, len - 1, page, POOL_PAGE_BYTES) ? 0 : -EBADMSG;
	if (text[0] != PLAIN || len != 1 + POOL_PAGE_BYTES)
		return -EBADMSG;
	memcpy(page, text + 1, POOL_PAGE_BYTES);
	return 0;
}
