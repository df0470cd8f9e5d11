/* SPDX-License-Identifier: Apache-2.0 */
#include "keys.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "farmem/engine.h"

#define CONTEXT "hearthpl"
#define HEX (2 * WIRE_KEY_BYTES)
enum { SUBKEY_ACCESS = 1, SUBKEY_PAGE };

static void derive(const uint8_t secret[WIRE_KEY_BYTES], struct key *k)
{
	crypto_kdf_derive_from_key(k->access, sizeof(k->access), SUBKEY_ACCESS, CONTEXT, secret);
	crypto_kdf_derive_from_key(k->page, sizeof(k->page), SUBKEY_PAGE, CONTEXT, secret);
}

int keys_tenant(const char *text, uint64_t *ret)
{
	char *end;

	if ((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || *text == '_') {
		*ret = farmem_digest(text);
		return strpbrk(text, " \t\n") ? -EINVAL : 0;
	}
	errno = 0;
	*ret = strtoull(text, &end, 0);
	return errno || *end || *text < '0' || *text > '9' ? -EINVAL : 0;
}

/* Return: 0, -EINVAL with message */
static int read_line(char *line, bool pool, struct keys *keys, struct hearth_err *err)
{
	char *save, *tenant = strtok_r(line, " \t", &save), *what = strtok_r(NULL, " \t", &save), *hex = strtok_r(NULL, " \t", &save);
	struct key *k = &keys->key[keys->n];
	uint8_t bytes[WIRE_KEY_BYTES];
	size_t n;

	if (!tenant || *tenant == '#')
		return 0;
	if (!what || !hex || strtok_r(NULL, " \t", &save) || (strcmp(what, "secret") && strcmp(what, "access")))
		return err_set(err, -EINVAL, "a line is \"TENANT secret HEX\" or \"TENANT access HEX\"");
	if (keys_tenant(tenant, &k->tenant) < 0)
		return err_set(err, -EINVAL, "\"%s\" is neither a tenant's number nor its name, which begins with a letter or _", tenant);
	if (keys->n == KEYS_MAX || keys_find(keys, k->tenant))
		return keys->n == KEYS_MAX ? err_set(err, -EINVAL, "more than %u keys", KEYS_MAX) : err_set(err, -EINVAL, "tenant %s has a key already", tenant);
	if (strlen(hex) != HEX || sodium_hex2bin(bytes, sizeof(bytes), hex, HEX, NULL, &n, NULL) < 0 || n != sizeof(bytes))
		return err_set(err, -EINVAL, "a key is %u hexadecimal digits", (unsigned)HEX);
	if (pool != !strcmp(what, "access")) {
		sodium_memzero(bytes, sizeof(bytes));
		return err_set(err, -EINVAL, pool ? "a secret would let the pool read pages: give it the access key (hearth pool --print-access)" : "an access key cannot seal pages: a node needs the secret");
	}
	if (pool)
		memcpy(k->access, bytes, sizeof(bytes));
	else
		derive(bytes, k);
	sodium_memzero(bytes, sizeof(bytes));
	keys->n++;
	return 0;
}

int keys_read(const char *path, bool pool, struct keys *ret, struct hearth_err *err)
{
	unsigned number = 0;
	struct stat st;
	char *text = NULL, *rest, *line;
	size_t len = 0;
	int r = sodium_init() < 0 ? -EIO : stat(path, &st) < 0 ? -errno : 0;

	memset(ret, 0, sizeof(*ret));
	if (!r && st.st_mode & 077)
		return err_set(err, -EPERM, "%s: others can read it; chmod 600", path);
	r = r ? r : file_read(path, 1 << 20, &text, &len);
	if (r < 0)
		return err_set(err, r, "%s: %s", path, strerror(-r));
	for (rest = text; !r && (line = strsep(&rest, "\n")); ) {
		number++;
		r = read_line(line, pool, ret, err);
		if (r < 0)
			err_prefix(err, "%s line %u", path, number);
	}
	sodium_memzero(text, len);
	free(text);
	if (!r && !ret->n)
		r = err_set(err, -EINVAL, "%s: no keys in it", path);
	return r;
}

const struct key *keys_find(const struct keys *k, uint64_t tenant)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->key[i].tenant == tenant)
			return &k->key[i];
	return NULL;
}

static void print(FILE *out, const char *tenant, const char *what, const uint8_t key[WIRE_KEY_BYTES])
{
	char hex[HEX + 1];

	sodium_bin2hex(hex, sizeof(hex), key, WIRE_KEY_BYTES);
	fprintf(out, "%s %s %s\n", tenant, what, hex);
	sodium_memzero(hex, sizeof(hex));
}

int keys_print_new(FILE *out, const char *tenant)
{
	uint8_t secret[WIRE_KEY_BYTES];
	uint64_t number;

	if (keys_tenant(tenant, &number) < 0)
		return -EINVAL;
	if (sodium_init() < 0)
		return -EIO;
	crypto_kdf_keygen(secret);
	print(out, tenant, "secret", secret);
	sodium_memzero(secret, sizeof(secret));
	return 0;
}

void keys_print_access(FILE *out, const struct keys *k)
{
	char number[24];

	for (unsigned i = 0; i < k->n; i++) {
		snprintf(number, sizeof(number), "%" PRIu64, k->key[i].tenant);
		print(out, number, "access", k->key[i].access);
	}
}

void keys_done(struct keys *k)
{
	sodium_memzero(k, sizeof(*k));
}

void keys_prove(const struct key *k, enum proof_of who, const uint8_t pool[WIRE_KEY_BYTES], const uint8_t client[WIRE_KEY_BYTES], uint64_t node, uint8_t ret[WIRE_PROOF_BYTES])
{
	crypto_generichash_state s;
	uint64_t words[3] = { who, k->tenant, node };

	crypto_generichash_init(&s, k->access, sizeof(k->access), WIRE_PROOF_BYTES);
	crypto_generichash_update(&s, (const uint8_t *)"hearth pool proof", 17);
	crypto_generichash_update(&s, (const uint8_t *)words, sizeof(words));
	crypto_generichash_update(&s, pool, WIRE_KEY_BYTES);
	crypto_generichash_update(&s, client, WIRE_KEY_BYTES);
	crypto_generichash_final(&s, ret, WIRE_PROOF_BYTES);
}

void keys_session(const struct key *const *keys, unsigned n, bool pool, const uint8_t pool_challenge[WIRE_KEY_BYTES], const uint8_t client[WIRE_KEY_BYTES], struct wire_session *ret)
{
	uint8_t both[2 * WIRE_KEY_BYTES];
	crypto_generichash_state s;

	crypto_generichash_init(&s, NULL, 0, sizeof(both));
	crypto_generichash_update(&s, (const uint8_t *)"hearth pool session", 19);
	crypto_generichash_update(&s, pool_challenge, WIRE_KEY_BYTES);
	crypto_generichash_update(&s, client, WIRE_KEY_BYTES);
	for (unsigned k = 0; k < n; k++)
		crypto_generichash_update(&s, keys[k]->access, WIRE_KEY_BYTES);
	crypto_generichash_final(&s, both, sizeof(both));
	*ret = (struct wire_session){ .on = n > 0 };
	memcpy(pool ? ret->in.key : ret->out.key, both, WIRE_KEY_BYTES);
	memcpy(pool ? ret->out.key : ret->in.key, both + WIRE_KEY_BYTES, WIRE_KEY_BYTES);
	sodium_memzero(both, sizeof(both));
}
