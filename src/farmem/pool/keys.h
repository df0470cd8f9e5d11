/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_KEYS_H
#define FARMEM_POOL_KEYS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"
#include "wire.h"

/*
 * Keys of tenants. A node has a tenant's secret; from it come the key that its pages are sealed with, and the access key, which a pool has: with that a tenant is recognised, and pages cannot be read.
 * A file of keys has lines "TENANT secret HEX" (a node's) or "TENANT access HEX" (a pool's); TENANT is a number, HEX are 64 digits.
 */

/* in one file: each is proved on every connection */
#define KEYS_MAX 128u

struct key {
	uint64_t tenant;
	uint8_t access[WIRE_KEY_BYTES];
	uint8_t page[WIRE_KEY_BYTES];   /* a node's */
};

struct keys {
	unsigned n;
	struct key key[KEYS_MAX];
};

/**
 * keys_read - @pool: access keys are wanted, and a secret is an error: nobody but nodes should have it
 * Return: 0, -EINVAL (a line is wrong), -EPERM (others can read the file), -errno; with message.
 */
int keys_read(const char *path, bool pool, struct keys *ret, struct hearth_err *err);
const struct key *keys_find(const struct keys *k, uint64_t tenant);
/** keys_tenant - of a tenant's number, or of its name, which begins with a letter or _. Return: 0, -EINVAL. */
int keys_tenant(const char *text, uint64_t *ret);
/** keys_print_new - a line with a new secret; for @tenant see keys_tenant(). Return: 0, -EINVAL, -EIO. */
int keys_print_new(FILE *out, const char *tenant);
/** keys_print_access - the pool's lines for a node's */
void keys_print_access(FILE *out, const struct keys *k);
void keys_done(struct keys *k);

/* ---- proofs: over both challenges, by who has the access key; the session's keys are of all that were proved ---- */

enum proof_of { PROOF_CLIENT, PROOF_POOL };
void keys_prove(const struct key *k, enum proof_of who, const uint8_t pool[WIRE_KEY_BYTES], const uint8_t client[WIRE_KEY_BYTES], uint64_t node, uint8_t ret[WIRE_PROOF_BYTES]);
/** keys_session - @keys: those that were proved, in turn. @pool: this is the pool's end. */
void keys_session(const struct key *const *keys, unsigned n, bool pool, const uint8_t pool_challenge[WIRE_KEY_BYTES], const uint8_t client[WIRE_KEY_BYTES], struct wire_session *ret);

#endif
