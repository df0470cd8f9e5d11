/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "hearth/app.h"
#include "sched/wire.h"
#include "seed.h"

/* The application against a real database and a model that is a sorted array. */
#define ROUNDS 4000
#define KEYS 300
#define VALUE_BYTES 50
#define ROOM 1440

extern const struct hearth_app hearth_app;

struct entry {
	char key[24], value[1500];
	size_t value_len;
};

struct model {
	struct entry *entry;
	size_t n;
};

static char error[512];

static int start(const char *const *options, void **ret)
{
	struct hearth_app_env env = { .options = options, .workers = 1, .error = error, .error_room = sizeof(error) };

	error[0] = '\0';
	return hearth_app.init(&env, ret);
}

static void *must_start(const char *const *options)
{
	void *server = NULL, *worker = NULL;
	int r = start(options, &server);

	if (r < 0)
		fail_msg("%d: %s", r, error);
	assert_int_equal(hearth_app.worker_init(server, NULL, 0, &worker), 0);
	return worker;
}

/* Return: status; the reply is in @data then */
static int ask(void *worker, uint8_t op, const char *key, size_t key_len, const void *value, size_t value_len, uint32_t limit, uint8_t *data, uint32_t *ret_len)
{
	struct hearth_app_request r = { .data = data, .len = (uint32_t)(8 + key_len + value_len), .room = ROOM };
	int status;

	data[0] = op;
	data[1] = 0;
	data[2] = (uint8_t)key_len;
	data[3] = (uint8_t)(key_len >> 8);
	for (int i = 0; i < 4; i++)
		data[4 + i] = (uint8_t)(limit >> 8 * i);
	memcpy(data + 8, key, key_len);
	if (value_len > 0)
		memcpy(data + 8 + key_len, value, value_len);
	status = hearth_app.handle(worker, &r);
	*ret_len = r.len;
	return status;
}

static uint32_t word(const uint8_t *data, int at)
{
	return (uint32_t)data[at] | (uint32_t)data[at + 1] << 8 | (uint32_t)data[at + 2] << 16 | (uint32_t)data[at + 3] << 24;
}

/* Return: the first entry not below the key */
static size_t place(const struct model *m, const char *key)
{
	size_t i = 0;

	while (i < m->n && strcmp(m->entry[i].key, key) < 0)
		i++;
	return i;
}

static void model_put(struct model *m, const char *key, const char *value, size_t n)
{
	size_t i = place(m, key);

	if (i == m->n || strcmp(m->entry[i].key, key) != 0) {
		memmove(&m->entry[i + 1], &m->entry[i], (m->n - i) * sizeof(struct entry));
		snprintf(m->entry[i].key, sizeof(m->entry[i].key), "%s", key);
		m->n++;
	}
	memcpy(m->entry[i].value, value, n);
	m->entry[i].value_len = n;
}

static void check_get(void *worker, const struct model *m, const char *key)
{
	size_t i = place(m, key), n;
	bool there = i < m->n && strcmp(m->entry[i].key, key) == 0;
	uint8_t data[ROOM];
	uint32_t len;

	assert_int_equal(ask(worker, WIRE_ROCKSDB_GET, key, strlen(key), NULL, 0, 0, data, &len), HEARTH_APP_OK);
	assert_int_equal(word(data, 0), there);
	n = there ? m->entry[i].value_len : 0;
	assert_int_equal(word(data, 4), n);
	if (n > ROOM - 8)
		n = ROOM - 8;
	assert_int_equal(len, 8 + n);
	if (n > 0)
		assert_memory_equal(data + 8, m->entry[i].value, n);
}

static void check_scan(void *worker, const struct model *m, const char *key, uint32_t limit)
{
	uint32_t keys = 0, bytes = 0, len;
	uint8_t data[ROOM];

	for (size_t i = place(m, key); i < m->n && (limit == 0 || keys < limit); i++, keys++)
		bytes += (uint32_t)m->entry[i].value_len;
	assert_int_equal(ask(worker, WIRE_ROCKSDB_SCAN, key, strlen(key), NULL, 0, limit, data, &len), HEARTH_APP_OK);
	assert_int_equal(len, 8);
	assert_int_equal(word(data, 0), keys);
	assert_int_equal(word(data, 4), bytes);
}

/* What was filled in is a function of the key's number, by the documentation. */
static void load_model(struct model *m)
{
	for (uint64_t i = 0; i < KEYS; i++) {
		struct rng g = { i };
		uint64_t words[(VALUE_BYTES + 7) / 8];
		char key[24];

		for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++)
			words[w] = rng_next(&g);
		snprintf(key, sizeof(key), "key%010u", (unsigned)i);
		model_put(m, key, (const char *)words, VALUE_BYTES);
	}
}

static void random_step(struct rng *g, void *worker, struct model *m)
{
	char key[24], value[1400];
	uint8_t data[ROOM];
	uint32_t len;
	size_t n = rng_below(g, 8) == 0 ? rng_below(g, sizeof(value)) : rng_below(g, 80);

	snprintf(key, sizeof(key), "ke%c%0*u", (int)('x' + rng_below(g, 3)), (int)(rng_below(g, 2) ? 10 : rng_below(g, 11)), (unsigned)rng_below(g, KEYS + 20));
	switch (rng_below(g, 3)) {
	case 0:
		check_get(worker, m, key);
		break;
	case 1:
		check_scan(worker, m, rng_below(g, 10) == 0 ? "" : key, (uint32_t)rng_below(g, 400));
		break;
	default:
		for (size_t i = 0; i < n; i++)
			value[i] = (char)rng_next(g);
		assert_int_equal(ask(worker, WIRE_ROCKSDB_PUT, key, strlen(key), value, n, 0, data, &len), HEARTH_APP_OK);
		assert_int_equal(word(data, 0), 1);
		assert_int_equal(word(data, 4), n);
		model_put(m, key, value, n);
	}
}

static void prop_model(void **unused)
{
	char folder[] = "/tmp/hearth-rocksdb-XXXXXX", path[64];
	struct rng g = { prop_seed() };
	struct model m = { .entry = calloc(KEYS + ROUNDS, sizeof(struct entry)) };
	uint8_t data[ROOM];
	void *worker;
	uint32_t len;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "path=%s/a/db", folder);
	{
		const char *const options[] = { path, "keys=300", "value_bytes=50", "cache=1MiB", NULL }, *const again[] = { path, "keys=7", NULL };
		const char *const read_only[] = { path, "read_only=yes", NULL };
		void *second = NULL;

		worker = must_start(options);
		load_model(&m);
		check_scan(worker, &m, "", 0);
		for (int i = 0; i < ROUNDS; i++)
			random_step(&g, worker, &m);
		/* somebody else has it */
		assert_int_equal(start(again, &second), -EIO);
		assert_non_null(strstr(error, path + 5));
		hearth_app.done(worker);
		/* what is there stays, and is not made again */
		worker = must_start(again);
		for (size_t i = 0; i < m.n; i++)
			check_get(worker, &m, m.entry[i].key);
		check_scan(worker, &m, "", 0);
		hearth_app.done(worker);
		worker = must_start(read_only);
		check_scan(worker, &m, "", 0);
		assert_int_equal(ask(worker, WIRE_ROCKSDB_PUT, "k", 1, "v", 1, 0, data, &len), HEARTH_APP_FAILED);
		check_get(worker, &m, "k");
		hearth_app.done(worker);
	}
	free(m.entry);
	assert_int_equal(dir_remove(folder), 0);
}

static int raw(void *worker, const void *bytes, uint32_t len)
{
	uint8_t data[ROOM] = { 0 };
	struct hearth_app_request r = { .data = data, .len = len, .room = ROOM };

	memcpy(data, bytes, len);
	return hearth_app.handle(worker, &r);
}

static void prop_bad_requests(void **unused)
{
	char folder[] = "/tmp/hearth-rocksdb-XXXXXX", path[64];
	struct rng g = { prop_seed() };
	void *worker;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "path=%s/db", folder);
	{
		const char *const options[] = { path, "keys=10", NULL };

		worker = must_start(options);
	}
	for (uint32_t n = 0; n < 8; n++)
		assert_int_equal(raw(worker, "\1\0\1\0\0\0\0\0", n), HEARTH_APP_MALFORMED);
	assert_int_equal(raw(worker, "\1\0\1\0\0\0\0\0k", 9), HEARTH_APP_OK);
	assert_int_equal(raw(worker, "\1\1\1\0\0\0\0\0k", 9), HEARTH_APP_MALFORMED);       /* reserved */
	assert_int_equal(raw(worker, "\1\0\2\0\0\0\0\0k", 9), HEARTH_APP_MALFORMED);       /* a longer key than there is */
	assert_int_equal(raw(worker, "\1\0\377\377\0\0\0\0k", 9), HEARTH_APP_MALFORMED);
	assert_int_equal(raw(worker, "\1\0\1\0\0\0\0\0kk", 10), HEARTH_APP_MALFORMED);     /* something behind it */
	assert_int_equal(raw(worker, "\2\0\1\0\0\0\0\0kk", 10), HEARTH_APP_MALFORMED);
	assert_int_equal(raw(worker, "\1\0\1\0\1\0\0\0k", 9), HEARTH_APP_MALFORMED);       /* a limit */
	assert_int_equal(raw(worker, "\3\0\1\0\1\0\0\0k", 9), HEARTH_APP_MALFORMED);
	assert_int_equal(raw(worker, "\1\0\0\0\0\0\0\0", 8), HEARTH_APP_MALFORMED);         /* no key */
	assert_int_equal(raw(worker, "\3\0\0\0\0\0\0\0v", 9), HEARTH_APP_MALFORMED);
	assert_int_equal(raw(worker, "\2\0\0\0\0\0\0\0", 8), HEARTH_APP_OK);
	assert_int_equal(raw(worker, "\0\0\1\0\0\0\0\0k", 9), HEARTH_APP_UNKNOWN);
	assert_int_equal(raw(worker, "\4\0\1\0\0\0\0\0k", 9), HEARTH_APP_UNKNOWN);
	for (int i = 0; i < 20000; i++) {
		uint8_t bytes[32];

		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = rng_below(&g, 2) ? (uint8_t)rng_below(&g, 5) : (uint8_t)rng_next(&g);
		assert_in_range(raw(worker, bytes, (uint32_t)rng_below(&g, sizeof(bytes) + 1)), HEARTH_APP_OK, HEARTH_APP_FAILED);
	}
	hearth_app.done(worker);
	assert_int_equal(dir_remove(folder), 0);
}

static void prop_bad_options(void **unused)
{
	static const char *const bad[] = { "keys=0", "keys=x", "keys=-1", "keys=100000001", "keys=", "value_bytes=0", "value_bytes=1048577", "cache=x", "path=",
					   "read_only=maybe", "folder=/tmp", "key=1", "path" };
	void *server = NULL;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *const options[] = { bad[i], NULL };

		assert_int_equal(start(options, &server), -EINVAL);
		assert_non_null(strstr(error, "application rocksdb: "));
	}
	{
		const char *const unwritable[] = { "path=/proc/hearth/db", NULL }, *const absent[] = { "path=/nonexistent/db", "read_only=yes", NULL };

		assert_true(start(unwritable, &server) < 0);
		assert_non_null(strstr(error, "option path"));
		assert_int_equal(start(absent, &server), -EIO);
	}
	assert_null(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prop_model), cmocka_unit_test(prop_bad_requests), cmocka_unit_test(prop_bad_options) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
