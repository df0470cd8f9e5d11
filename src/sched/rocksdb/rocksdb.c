// SPDX-License-Identifier: Apache-2.0
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <rocksdb/c.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/yaml.h"
#include "hearth/app.h"
#include "sched/wire.h"

/*
 * GET, SCAN and PUT on a RocksDB database. One process may write to a database, and its threads share its caches, so the workers are threads of one process
 * (HEARTH_APP_SHARED), as they are in every program that uses RocksDB.
 *
 * Options: path (/var/lib/hearth/rocksdb), and for the database that is made there if there is none: keys (100000) and value_bytes (64); cache (64MiB) for blocks;
 * read_only (no): PUT fails then, and another process may have the database too. A new database is filled under another name and renamed when it is whole.
 *
 * Keys that are made, as `hearth load` asks for them: "key" and ten digits. Values: splitmix64 of the key's number and on, little-endian, cut at value_bytes.
 */
#define ROCKSDB_PATH "/var/lib/hearth/rocksdb"
#define ROCKSDB_KEYS 100000
#define ROCKSDB_KEYS_MAX 100000000ull
#define ROCKSDB_VALUE_BYTES 64
#define ROCKSDB_VALUE_MAX (1u << 20)
#define ROCKSDB_CACHE_BYTES (64ull << 20)
#define ROCKSDB_CACHE_MAX (1ull << 40)
#define BATCH_BYTES (1u << 20)          /* of writes at a time while a database is filled */

#define REQUEST_BYTES 8                 /* before the key */
#define REPLY_BYTES 8                   /* before the value */

struct store {
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_block_based_table_options_t *table;
	rocksdb_cache_t *cache;
	rocksdb_readoptions_t *read;
	rocksdb_writeoptions_t *write;
};

struct settings {
	const char *path;
	uint64_t keys, value_bytes, cache_bytes;
	bool read_only;
};

/* ---- opening ---- */

static int whole_number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value == 0 || value > max)
		return -EINVAL;
	*ret = value;
	return 0;
}

enum { OPTION_PATH, OPTION_KEYS, OPTION_VALUE_BYTES, OPTION_CACHE, OPTION_READ_ONLY, OPTIONS };
static const char *const option_names[OPTIONS] = { "path", "keys", "value_bytes", "cache", "read_only" };
static const char *const option_values[OPTIONS] = { "a folder", "a number from 1 to 100000000", "a number from 1 to 1048576", "a size such as 64MiB, at most 1TiB",
						    "yes or no" };

/* Return: 0, -EINVAL. */
static int take_option(int option, const char *value, struct settings *s)
{
	switch (option) {
	case OPTION_PATH:
		s->path = value;
		return *value != '\0' ? 0 : -EINVAL;
	case OPTION_KEYS:
		return whole_number(value, ROCKSDB_KEYS_MAX, &s->keys);
	case OPTION_VALUE_BYTES:
		return whole_number(value, ROCKSDB_VALUE_MAX, &s->value_bytes);
	case OPTION_CACHE:
		return parse_bytes(value, &s->cache_bytes) == 0 && s->cache_bytes <= ROCKSDB_CACHE_MAX ? 0 : -EINVAL;
	default:
		s->read_only = !strcmp(value, "yes") || !strcmp(value, "true");
		return s->read_only || !strcmp(value, "no") || !strcmp(value, "false") ? 0 : -EINVAL;
	}
}

static int take_options(const struct hearth_app_env *env, struct settings *s)
{
	for (size_t i = 0; env->options != NULL && env->options[i] != NULL; i++) {
		const char *key = env->options[i], *value = strchr(key, '=');
		int n = (int)strcspn(key, "="), option = 0;

		while (option < OPTIONS && (strncmp(key, option_names[option], (size_t)n) != 0 || option_names[option][n] != '\0'))
			option++;
		value = value != NULL ? value + 1 : "";
		if (option == OPTIONS) {
			snprintf(env->error, env->error_room, "application rocksdb: no option \"%.*s\"; it has path, keys, value_bytes, cache and read_only", n, key);
			return -EINVAL;
		}
		if (take_option(option, value, s) < 0) {
			snprintf(env->error, env->error_room, "application rocksdb: option %s: \"%s\" is not %s", option_names[option], value, option_values[option]);
			return -EINVAL;
		}
	}
	return 0;
}

/* RocksDB's message becomes ours. Return: 0 if there is none. */
static int failed(const struct hearth_app_env *env, const char *what, const char *path, char *message)
{
	if (message == NULL)
		return 0;
	snprintf(env->error, env->error_room, "application rocksdb: %s %s: %s", what, path, message);
	rocksdb_free(message);
	return -EIO;
}

static void write_value(uint64_t number, uint8_t *out, size_t n)
{
	uint64_t state = number;

	for (size_t at = 0; at < n; at += sizeof(uint64_t)) {
		uint64_t z = state += 0x9e3779b97f4a7c15ull;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
		z = htole64(z ^ (z >> 31));
		memcpy(out + at, &z, n - at < sizeof(z) ? n - at : sizeof(z));
	}
}

static char *put_all(rocksdb_t *db, const rocksdb_writeoptions_t *write, const struct settings *s)
{
	rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
	uint8_t *value = malloc(s->value_bytes);
	char *message = value == NULL ? strdup("out of memory") : NULL, key[24];
	size_t bytes = 0;

	for (uint64_t i = 0; message == NULL && i < s->keys; i++) {
		size_t n = (size_t)snprintf(key, sizeof(key), "key%010" PRIu64, i);

		write_value(i, value, s->value_bytes);
		rocksdb_writebatch_put(batch, key, n, (char *)value, s->value_bytes);
		bytes += n + s->value_bytes;
		if (bytes >= BATCH_BYTES || i + 1 == s->keys) {
			rocksdb_write(db, write, batch, &message);
			rocksdb_writebatch_clear(batch);
			bytes = 0;
		}
	}
	rocksdb_writebatch_destroy(batch);
	free(value);
	return message;
}

/* filled, compacted into sorted files, closed */
static int fill(const struct hearth_app_env *env, const struct store *st, const struct settings *s, const char *path)
{
	rocksdb_options_t *options = rocksdb_options_create_copy(st->options);
	rocksdb_writeoptions_t *write = rocksdb_writeoptions_create();
	rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
	rocksdb_t *db;
	char *message = NULL;

	rocksdb_options_set_create_if_missing(options, 1);
	rocksdb_options_set_error_if_exists(options, 1);
	rocksdb_writeoptions_disable_WAL(write, 1);
	db = rocksdb_open(options, path, &message);
	if (db != NULL) {
		message = put_all(db, write, s);
		if (message == NULL)
			rocksdb_flush(db, flush, &message);
		if (message == NULL)
			rocksdb_compact_range(db, NULL, 0, NULL, 0);
		rocksdb_close(db);
	}
	rocksdb_flushoptions_destroy(flush);
	rocksdb_writeoptions_destroy(write);
	rocksdb_options_destroy(options);
	return failed(env, "making a database in", path, message);
}

static void parent_of(const char *path, char *out, size_t n)
{
	char *slash;

	snprintf(out, n, "%s", path);
	slash = strrchr(out, '/');
	if (slash == NULL)
		snprintf(out, n, ".");
	else
		slash[slash == out] = '\0';
}

/* Complete or absent. */
static int make_database(const struct hearth_app_env *env, const struct store *st, const struct settings *s)
{
	char temporary[4096], parent[4096];
	int r;

	parent_of(s->path, parent, sizeof(parent));
	if (snprintf(temporary, sizeof(temporary), "%s.tmp-%ld", s->path, (long)getpid()) >= (int)sizeof(temporary))
		r = -ENAMETOOLONG;
	else
		r = dir_make(parent, 0755);
	if (r < 0) {
		snprintf(env->error, env->error_room, "application rocksdb: folder %s: %s; name another with the option path", parent, strerror(-r));
		return r;
	}
	(void)dir_remove(temporary);
	r = fill(env, st, s, temporary);
	if (r == 0 && rename(temporary, s->path) < 0) {
		r = -errno;
		snprintf(env->error, env->error_room, "application rocksdb: renaming %s to %s: %s", temporary, s->path, strerror(errno));
	}
	if (r == 0)
		(void)dir_fsync(parent);
	else
		(void)dir_remove(temporary);
	return r;
}

static void store_done(void *server)
{
	struct store *st = server;

	if (st == NULL)
		return;
	if (st->db != NULL)
		rocksdb_close(st->db);
	rocksdb_writeoptions_destroy(st->write);
	rocksdb_readoptions_destroy(st->read);
	rocksdb_options_destroy(st->options);
	rocksdb_block_based_options_destroy(st->table);
	rocksdb_cache_destroy(st->cache);
	free(st);
}

static int open_database(const struct hearth_app_env *env, struct store *st, const struct settings *s)
{
	struct stat there;
	char *message = NULL;
	int r = 0;

	if (stat(s->path, &there) < 0 && errno == ENOENT && !s->read_only)
		r = make_database(env, st, s);
	if (r < 0)
		return r;
	st->db = s->read_only ? rocksdb_open_for_read_only(st->options, s->path, 0, &message) : rocksdb_open(st->options, s->path, &message);
	return failed(env, "opening the database in", s->path, message);
}

static int store_init(const struct hearth_app_env *env, void **ret_server)
{
	struct settings s = { .path = ROCKSDB_PATH, .keys = ROCKSDB_KEYS, .value_bytes = ROCKSDB_VALUE_BYTES, .cache_bytes = ROCKSDB_CACHE_BYTES };
	struct store *st;
	int r = take_options(env, &s);

	if (r < 0)
		return r;
	st = calloc(1, sizeof(*st));
	if (st == NULL)
		return -ENOMEM;
	st->options = rocksdb_options_create();
	st->table = rocksdb_block_based_options_create();
	st->cache = rocksdb_cache_create_lru(s.cache_bytes);
	st->read = rocksdb_readoptions_create();
	st->write = rocksdb_writeoptions_create();
	rocksdb_block_based_options_set_block_cache(st->table, st->cache);
	rocksdb_options_set_block_based_table_factory(st->options, st->table);
	r = open_database(env, st, &s);
	if (r < 0) {
		store_done(st);
		return r;
	}
	*ret_server = st;
	return 0;
}

static int store_worker_init(void *server, const struct hearth_app_env *env, uint32_t worker, void **ret_worker)
{
	*ret_worker = server;
	return 0;
}

/* ---- requests ---- */

struct operation {
	uint8_t what;
	const char *key, *value;
	size_t key_len, value_len;
	uint32_t limit;
};

/* Return: HEARTH_APP_OK, _MALFORMED, _UNKNOWN. */
static int parse(const struct hearth_app_request *request, struct operation *op)
{
	const uint8_t *data = request->data;
	uint16_t key_len;
	uint32_t limit;

	if (request->len < REQUEST_BYTES || data[1] != 0)
		return HEARTH_APP_MALFORMED;
	memcpy(&key_len, data + 2, sizeof(key_len));
	memcpy(&limit, data + 4, sizeof(limit));
	*op = (struct operation){ .what = data[0], .key = (const char *)data + REQUEST_BYTES, .key_len = le16toh(key_len), .limit = le32toh(limit) };
	if (op->what != WIRE_ROCKSDB_GET && op->what != WIRE_ROCKSDB_SCAN && op->what != WIRE_ROCKSDB_PUT)
		return HEARTH_APP_UNKNOWN;
	if (op->key_len > request->len - REQUEST_BYTES)
		return HEARTH_APP_MALFORMED;
	op->value = op->key + op->key_len;
	op->value_len = request->len - REQUEST_BYTES - op->key_len;
	if (op->what != WIRE_ROCKSDB_PUT && op->value_len != 0)
		return HEARTH_APP_MALFORMED;
	if (op->what != WIRE_ROCKSDB_SCAN && (op->limit != 0 || op->key_len == 0))
		return HEARTH_APP_MALFORMED;
	return HEARTH_APP_OK;
}

static void answer(struct hearth_app_request *request, uint32_t keys, uint64_t bytes, const char *value, size_t value_len)
{
	uint32_t head[2] = { htole32(keys), htole32(bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX) };
	size_t room = (request->room < WIRE_PAYLOAD_MAX ? request->room : WIRE_PAYLOAD_MAX) - REPLY_BYTES;

	if (value_len > room)
		value_len = room;
	memcpy(request->data, head, sizeof(head));
	if (value_len > 0)
		memcpy(request->data + REPLY_BYTES, value, value_len);
	request->len = (uint32_t)(REPLY_BYTES + value_len);
}

/* Return: HEARTH_APP_OK, _FAILED if RocksDB had something to say */
static int status_of(char *message)
{
	if (message == NULL)
		return HEARTH_APP_OK;
	rocksdb_free(message);
	return HEARTH_APP_FAILED;
}

static int get(struct store *st, const struct operation *op, struct hearth_app_request *request)
{
	char *message = NULL;
	rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(st->db, st->read, op->key, op->key_len, &message);
	const char *value;
	size_t n = 0;

	if (message != NULL)
		return status_of(message);
	value = slice != NULL ? rocksdb_pinnableslice_value(slice, &n) : NULL;
	answer(request, slice != NULL, n, value, n);
	if (slice != NULL)
		rocksdb_pinnableslice_destroy(slice);
	return HEARTH_APP_OK;
}

static int scan(struct store *st, const struct operation *op, struct hearth_app_request *request)
{
	rocksdb_iterator_t *it = rocksdb_create_iterator(st->db, st->read);
	char *message = NULL;
	uint64_t bytes = 0;
	uint32_t keys = 0;
	size_t n;

	for (rocksdb_iter_seek(it, op->key, op->key_len); rocksdb_iter_valid(it) && (op->limit == 0 || keys < op->limit); rocksdb_iter_next(it)) {
		(void)rocksdb_iter_value(it, &n);
		bytes += n;
		keys++;
	}
	rocksdb_iter_get_error(it, &message);
	rocksdb_iter_destroy(it);
	if (message == NULL)
		answer(request, keys, bytes, NULL, 0);
	return status_of(message);
}

static int put(struct store *st, const struct operation *op, struct hearth_app_request *request)
{
	char *message = NULL;

	rocksdb_put(st->db, st->write, op->key, op->key_len, op->value, op->value_len, &message);
	if (message == NULL)
		answer(request, 1, op->value_len, NULL, 0);
	return status_of(message);
}

static int store_handle(void *worker, struct hearth_app_request *request)
{
	struct operation op;
	int r = parse(request, &op);

	if (r != HEARTH_APP_OK)
		return r;
	switch (op.what) {
	case WIRE_ROCKSDB_GET: return get(worker, &op, request);
	case WIRE_ROCKSDB_SCAN: return scan(worker, &op, request);
	default: return put(worker, &op, request);
	}
}

extern const struct hearth_app hearth_app;
__attribute__((visibility("default"))) const struct hearth_app hearth_app = {
	.abi = HEARTH_APP_ABI,
	.bytes = sizeof(struct hearth_app),
	.name = "rocksdb",
	.flags = HEARTH_APP_SHARED,
	.init = store_init,
	.worker_init = store_worker_init,
	.handle = store_handle,
	.done = store_done,
};
