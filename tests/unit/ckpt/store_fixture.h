/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CKPT_STORE_FIXTURE_H
#define TESTS_UNIT_CKPT_STORE_FIXTURE_H

/* cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "private.h"

/* Every test in a store of its own, in memory (/dev/shm) and on whatever holds the test's folder; segments are small, so that there are several. */
#define C STORE_CHUNK_BYTES
#define SEGMENT (32 * C)

struct fixture {
	char dir[128];
	struct store *s;
	struct hearth_err err;
};

static inline const char *place_of(unsigned k)
{
	return k == 0 ? "/dev/shm" : getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
}

static inline void begin(struct fixture *f, const char *top)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "%s/hearth-store-XXXXXX", top);
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(store_open(f->dir, &f->s, &f->err), 0);
	f->s->segment_bytes = SEGMENT;
}

static inline void end(struct fixture *f)
{
	store_close(f->s);
	assert_int_equal(dir_remove(f->dir), 0);
}

static inline void reopen(struct fixture *f)
{
	store_close(f->s);
	assert_int_equal(store_open(f->dir, &f->s, &f->err), 0);
	f->s->segment_bytes = SEGMENT;
}

/* contents by number: 0 is zeros */
static inline void fill(uint8_t *to, size_t n, uint64_t what)
{
	struct rng g;

	memset(to, 0, n);
	rng_seed(&g, what);
	for (size_t i = 0; what && i + 8 <= n; i += 8)
		*(uint64_t *)(to + i) = rng_next(&g);
	if (what && n % 8)
		to[n - 1] = (uint8_t)what;
}

static inline uint8_t *made(size_t chunks, uint64_t first)
{
	uint8_t *p = malloc(chunks * C);

	assert_non_null(p);
	for (size_t k = 0; k < chunks; k++)
		fill(p + k * C, C, first ? first + k : 0);
	return p;
}

static inline struct store_draft *draft(struct fixture *f, const char *name, int level)
{
	struct store_options o = { .zstd_level = level };
	struct store_draft *d = NULL;

	if (store_begin(f->s, name, &o, &d, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	return d;
}

static inline struct store_object *object(struct fixture *f, struct store_draft *d, const char *name, const void *data, size_t n)
{
	struct store_object *o = NULL;

	assert_int_equal(store_object_begin(d, name, n, NULL, &o, &f->err), 0);
	if (data && store_put(o, 0, data, n, NULL, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	return o;
}

static inline struct store_stats commit(struct fixture *f, struct store_draft *d)
{
	struct store_stats st;

	if (store_commit(d, NULL, &st, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	return st;
}

static inline void write_image(struct fixture *f, const char *name, const void *data, size_t n)
{
	struct store_draft *d = draft(f, name, 0);

	object(f, d, "o", data, n);
	commit(f, d);
}

static inline void expect(struct fixture *f, const char *name, const char *what, const void *data, size_t n)
{
	struct store_image *img = NULL;
	uint8_t *got = malloc(n + 1);
	int o;

	if (store_image_open(f->s, name, &img, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	o = store_image_object(img, what);
	assert_true(o >= 0);
	assert_int_equal(store_image_object_bytes(img, o), n);
	if (store_read(img, o, 0, got, n, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	assert_memory_equal(got, data, n);
	free(got);
	store_image_close(img);
}

static inline unsigned packs(struct fixture *f)
{
	char path[256];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/packs", f->dir);
	d = opendir(path);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static inline uint64_t pack_bytes(struct fixture *f)
{
	struct store_usage u;

	assert_int_equal(store_usage(f->s, &u, &f->err), 0);
	return u.pack_bytes;
}

#endif
