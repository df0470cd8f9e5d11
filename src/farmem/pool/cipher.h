/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_CIPHER_H
#define FARMEM_POOL_CIPHER_H

#include <stddef.h>
#include <stdint.h>

/*
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): libsodium derives the key of a nonce's first 16 bytes, which pages of one client have in common, so that is done once for many; what is left is ChaCha20-Poly1305 (RFC 8439),
 * of which OpenSSL's takes half the time of libsodium's. Where OpenSSL gives none (it may be told to by the machine's configuration), all of it is libsodium's; the bytes are the same.
 */

#define CIPHER_KEY_BYTES   32u
#define CIPHER_NONCE_BYTES 24u
#define CIPHER_TAG_BYTES   16u

struct cipher;

/** cipher_new - for one thread at a time. Return: NULL without memory. */
struct cipher *cipher_new(void);
struct cipher *cipher_free(struct cipher *c);
/** cipher_close - @with: authenticated too; @out: of @n + CIPHER_TAG_BYTES */
void cipher_close(struct cipher *c, const uint8_t key[CIPHER_KEY_BYTES], const uint8_t nonce[CIPHER_NONCE_BYTES], const void *with, size_t n_with, const uint8_t *text, size_t n, uint8_t *out);
/** cipher_open - @in: of @n bytes, tag included; @out: of @n - CIPHER_TAG_BYTES, and means nothing on failure. Return: 0, -EBADMSG. */
int cipher_open(struct cipher *c, const uint8_t key[CIPHER_KEY_BYTES], const uint8_t nonce[CIPHER_NONCE_BYTES], const void *with, size_t n_with, const uint8_t *in, size_t n, uint8_t *out);

#endif
