/* SPDX-License-Identifier: Apache-2.0 */
#include "cipher.h"

#include <errno.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

#define START 16u               /* of a nonce: what the key is derived from */

_Static_assert(CIPHER_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES && CIPHER_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "as libsodium has them");
_Static_assert(CIPHER_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "as libsodium has it");
_Static_assert(START == crypto_core_hchacha20_INPUTBYTES, "as libsodium has it");

/* One direction; key, start: what its derived key is of, if it has one. */
struct direction {
	EVP_CIPHER_CTX *ctx;
	bool has_key;
	uint8_t key[CIPHER_KEY_BYTES], start[START];
};

/* aead: NULL: OpenSSL has none */
struct cipher {
	EVP_CIPHER *aead;
	struct direction close, open;
};

struct cipher *cipher_new(void)
{
	struct cipher *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->aead = fault_point("pool-no-openssl") ? NULL : EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	if (!c->aead)
		return c;
	c->close.ctx = EVP_CIPHER_CTX_new();
	c->open.ctx = EVP_CIPHER_CTX_new();
	return c->close.ctx && c->open.ctx && EVP_EncryptInit_ex2(c->close.ctx, c->aead, NULL, NULL, NULL) == 1 && EVP_DecryptInit_ex2(c->open.ctx, c->aead, NULL, NULL, NULL) == 1 ? c : cipher_free(c);
}

struct cipher *cipher_free(struct cipher *c)
{
	if (!c)
		return NULL;
	EVP_CIPHER_CTX_free(c->close.ctx);
	EVP_CIPHER_CTX_free(c->open.ctx);
	EVP_CIPHER_free(c->aead);
	explicit_bzero(c, sizeof(*c));
	free(c);
	return NULL;
}

/* The key and the nonce for one page. Return: whether OpenSSL took them. */
static bool begin(struct direction *d, const uint8_t *key, const uint8_t *nonce, bool close)
{
	uint8_t derived[crypto_core_hchacha20_OUTPUTBYTES], rest[12] = { 0 };
	const uint8_t *fresh = NULL;
	bool took;

	memcpy(rest + 4, nonce + START, CIPHER_NONCE_BYTES - START);
	if (!d->has_key || memcmp(d->start, nonce, START) || sodium_memcmp(d->key, key, CIPHER_KEY_BYTES)) {
		crypto_core_hchacha20(derived, nonce, key, NULL);
		memcpy(d->key, key, CIPHER_KEY_BYTES);
		memcpy(d->start, nonce, START);
		fresh = derived;
	}
	took = close ? EVP_EncryptInit_ex2(d->ctx, NULL, fresh, rest, NULL) == 1 : EVP_DecryptInit_ex2(d->ctx, NULL, fresh, rest, NULL) == 1;
	if (fresh)
		explicit_bzero(derived, sizeof(derived));
	d->has_key = took;
	return took;
}

void cipher_close(struct cipher *c, const uint8_t key[CIPHER_KEY_BYTES], const uint8_t nonce[CIPHER_NONCE_BYTES], const void *with, size_t n_with, const uint8_t *text, size_t n, uint8_t *out)
{
	EVP_CIPHER_CTX *e = c->close.ctx;
	int some;

	if (c->aead && begin(&c->close, key, nonce, true) && EVP_EncryptUpdate(e, NULL, &some, with, (int)n_with) == 1 && EVP_EncryptUpdate(e, out, &some, text, (int)n) == 1 &&
	    EVP_EncryptFinal_ex(e, out + n, &some) == 1 && EVP_CIPHER_CTX_ctrl(e, EVP_CTRL_AEAD_GET_TAG, CIPHER_TAG_BYTES, out + n) == 1)
		return;
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, text, n, with, n_with, NULL, nonce, key);
}

int cipher_open(struct cipher *c, const uint8_t key[CIPHER_KEY_BYTES], const uint8_t nonce[CIPHER_NONCE_BYTES], const void *with, size_t n_with, const uint8_t *in, size_t n, uint8_t *out)
{
	EVP_CIPHER_CTX *e = c->open.ctx;
	uint8_t tag[CIPHER_TAG_BYTES];
	int some;

	if (n < CIPHER_TAG_BYTES)
		return -EBADMSG;
	if (!c->aead)
		return crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, in, n, with, n_with, nonce, key) < 0 ? -EBADMSG : 0;
	n -= CIPHER_TAG_BYTES;
	memcpy(tag, in + n, sizeof(tag));
	if (!begin(&c->open, key, nonce, false) || EVP_DecryptUpdate(e, NULL, &some, with, (int)n_with) != 1 || EVP_DecryptUpdate(e, out, &some, in, (int)n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(e, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) != 1 || EVP_DecryptFinal_ex(e, out + n, &some) != 1)
		return -EBADMSG;
	return 0;
}
