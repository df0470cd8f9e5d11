/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "farmem/pool.h"
#include "seed.h"

#define OBJECTS 6u
#define PAGES   700u
#define MEMORY  (8u << 20)

/* what a page should be: @content makes its bytes */
struct model {
	bool there;
	uint32_t epoch;
	uint64_t content;
};

static struct model model[OBJECTS][PAGES];

static struct farmem_object object(unsigned k)
{
	return (struct farmem_object){ .tenant = 1 + k / 3, .function = 7, .instance = k };
}

/* Zeros, contents that occur often, contents that compress well, and noise. */
static void fill(uint8_t *page, uint64_t content)
{
	struct rng g = { content };

	memset(page, 0, POOL_PAGE_BYTES);
	if (content % 4 == 0)
		return;
	for (unsigned k = 0; k < POOL_PAGE_BYTES; k += 8) {
		uint64_t v = content % 4 == 1 ? content : content % 4 == 2 ? rng_next(&g) & 0xff : rng_next(&g);

		memcpy(page + k, &v, sizeof(v));
	}
}

static void done(struct pool_op *op)
{
	*(unsigned *)op->ctx += 1;
}

static int one(struct pool *p, enum pool_kind kind, unsigned o, uint64_t page, uint32_t epoch, void *data)
{
	struct pool_ref ref = { page, epoch };
	unsigned ended = 0;
	int status = 1;
	struct pool_op op = { .kind = kind, .object = object(o), .refs = &ref, .pages = &data, .status = &status, .n = 1, .done = done, .ctx = &ended };

	pool_submit(p, &op);
	assert_int_equal(ended, 1);
	assert_int_equal(op.result, status);
	return status;
}

static void check(struct pool *p, unsigned o, uint64_t page)
{
	const struct model *m = &model[o][page];
	uint8_t want[POOL_PAGE_BYTES], got[POOL_PAGE_BYTES];
	int r = one(p, POOL_GETV, o, page, m->epoch, got);

	if (!m->there) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	fill(want, m->content);
	assert_memory_equal(got, want, POOL_PAGE_BYTES);
	assert_int_equal(one(p, POOL_GETV, o, page, m->epoch + 1, got), -ESTALE);
}

static struct pool_stat stat_of(struct pool *p, struct farmem_object o)
{
	struct pool_stat st = { 0 };
	unsigned ended = 0;
	struct pool_op op = { .kind = POOL_STAT, .object = o, .stat = &st, .done = done, .ctx = &ended };

	pool_submit(p, &op);
	return st;
}

static void check_all(struct pool *p)
{
	uint64_t pages = 0;

	for (unsigned o = 0; o < OBJECTS; o++)
		for (unsigned k = 0; k < PAGES; k++) {
			check(p, o, k);
			pages += model[o][k].there;
		}
	assert_int_equal(stat_of(p, (struct farmem_object){ 0 }).pages, pages);
}

/* Its process is gone; another one goes on with its descriptors. */
static struct pool *adopt(struct pool *p)
{
	struct pool_options options = { .adopt = true };
	struct pool_stat before = stat_of(p, (struct farmem_object){ 0 }), one_before = stat_of(p, object(1)), after;
	struct hearth_err err;
	struct pool *next;
	int fds[2];

	assert_int_equal(pool_fds(p, fds), 2);
	memcpy(options.fds, fds, sizeof(fds));
	assert_int_equal(pool_open("embedded:", &options, &next, &err), 0);
	after = stat_of(next, (struct farmem_object){ 0 });
	assert_memory_equal(&before, &after, sizeof(before));
	after = stat_of(next, object(1));
	assert_memory_equal(&one_before, &after, sizeof(after));
	pool_close(p);
	return next;
}

static void put(struct pool *p, struct rng *g, unsigned o, unsigned k)
{
	struct model *m = &model[o][k];
	uint64_t content = rng_next(g) % 64 ? rng_below(g, 4000) : rng_next(g);
	uint8_t page[POOL_PAGE_BYTES];
	uint32_t epoch = m->there && rng_below(g, 4) ? m->epoch + 1 : m->epoch;
	int r;

	fill(page, content);
	r = one(p, POOL_PUT, o, k, epoch, page);
	if (r == -ENOSPC)
		return;
	assert_int_equal(r, 0);
	*m = (struct model){ true, epoch, content };
	if (epoch)
		assert_int_equal(one(p, POOL_PUT, o, k, epoch - 1, page), -ESTALE);
}

static void step(struct pool **p, struct rng *g)
{
	unsigned o = (unsigned)rng_below(g, OBJECTS), k = (unsigned)rng_below(g, PAGES);
	struct pool_op all = { .kind = POOL_DEL, .object = object(o), .done = done, .ctx = &(unsigned){ 0 } };

	switch (rng_below(g, 400)) {
	case 0:
		pool_submit(*p, &all);
		memset(model[o], 0, sizeof(model[o]));
		break;
	case 1:
		*p = adopt(*p);
		break;
	case 2 ... 20:
		pool_tidy(*p, 50);
		break;
	case 21 ... 60:
		assert_int_equal(one(*p, POOL_DEL, o, k, model[o][k].epoch, NULL), model[o][k].there ? 0 : -ENOENT);
		model[o][k].there = false;
		model[o][k].epoch = 0;
		break;
	case 61 ... 200:
		check(*p, o, k);
		break;
	default:
		put(*p, g, o, k);
	}
}

static void test_model(void **state)
{
	struct pool_options options = { .memory_bytes = MEMORY };
	struct rng g = { prop_seed() };
	struct hearth_err err;
	struct pool *p;

	memset(model, 0, sizeof(model));
	assert_int_equal(pool_open("embedded:", &options, &p, &err), 0);
	for (unsigned k = 0; k < 60000; k++) {
		step(&p, &g);
		if (k % 10000 == 9999)
			check_all(p);
	}
	while (pool_tidy(p, 1000))
		;
	check_all(p);
	p = adopt(p);
	check_all(p);
	for (unsigned o = 0; o < OBJECTS; o++) {
		struct pool_op all = { .kind = POOL_DEL, .object = object(o), .done = done, .ctx = &(unsigned){ 0 } };

		pool_submit(p, &all);
	}
	assert_int_equal(stat_of(p, (struct farmem_object){ 0 }).stored_bytes, 0);
	assert_int_equal(stat_of(p, (struct farmem_object){ 0 }).pages, 0);
	pool_close(p);
}

/* ---- killed at any instant ---- */

/* shared with the one that is killed: of each page, the last epoch that was put, and the one that was being put; contents are made from page and epoch */
struct journal {
	uint32_t done[PAGES], begun[PAGES];
};

static uint64_t content_of(unsigned k, uint32_t epoch)
{
	return (uint64_t)k * 131 + epoch;
}

static void writer(struct pool *p, struct journal *j)
{
	struct rng g = { (uint64_t)getpid() };
	uint8_t page[POOL_PAGE_BYTES];

	for (;;) {
		unsigned k = (unsigned)rng_below(&g, PAGES);
		uint32_t epoch = j->begun[k] + 1;

		fill(page, content_of(k, epoch));
		__atomic_store_n(&j->begun[k], epoch, __ATOMIC_SEQ_CST);
		if (one(p, POOL_PUT, 0, k, epoch, page) < 0)
			_exit(1);
		__atomic_store_n(&j->done[k], epoch, __ATOMIC_SEQ_CST);
		if (k % 16 == 0)
			pool_tidy(p, 8);
	}
}

static void check_journal(struct pool *p, const struct journal *j)
{
	uint8_t want[POOL_PAGE_BYTES], got[POOL_PAGE_BYTES];

	for (unsigned k = 0; k < PAGES; k++) {
		uint32_t epoch = j->done[k];
		int r = epoch ? one(p, POOL_GETV, 0, k, epoch, got) : -ESTALE;

		/* then what was being put is there whole, or it was never put */
		if (r == -ESTALE && j->begun[k] != epoch)
			r = one(p, POOL_GETV, 0, k, epoch = j->begun[k], got);
		if (!j->done[k] && r < 0) {
			assert_true(r == -ENOENT || r == -ESTALE);
			continue;
		}
		assert_int_equal(r, 0);
		fill(want, content_of(k, epoch));
		assert_memory_equal(got, want, POOL_PAGE_BYTES);
	}
}

/* A pager that is killed -9, over and over, at whatever instruction it is; each time another process goes on with its descriptors. */
static void test_killed(void **state)
{
	struct journal *j = mmap(NULL, sizeof(*j), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pool_options options = { .memory_bytes = MEMORY };
	struct rng g = { prop_seed() };
	struct hearth_err err;
	struct pool *p;
	int fds[2];

	assert_ptr_not_equal(j, MAP_FAILED);
	assert_int_equal(pool_open("embedded:", &options, &p, &err), 0);
	for (unsigned round = 0; round < 60; round++) {
		uint64_t end = clock_mono_ns() + rng_below(&g, 20 * NS_PER_MS);
		pid_t pid;
		int status;

		pool_fds(p, fds);
		pid = fork();
		if (!pid) {
			struct pool_options mine = { .adopt = true, .fds = { fds[0], fds[1] } };

			if (pool_open("embedded:", &mine, &p, &err) < 0)
				_exit(1);
			writer(p, j);
		}
		while (clock_mono_ns() < end)
			;
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		options = (struct pool_options){ .adopt = true, .fds = { fds[0], fds[1] } };
		{
			struct pool *next;

			assert_int_equal(pool_open("embedded:", &options, &next, &err), 0);
			pool_close(p);
			p = next;
		}
		check_journal(p, j);
	}
	pool_close(p);
	munmap(j, sizeof(*j));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
