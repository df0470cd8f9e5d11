/* SPDX-License-Identifier: Apache-2.0 */
/* pagemap_merge: what CRIU has stays byte for byte, what was left out is added once, in order */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../img.h"
#include "base/rng.h"
#include "ckpt/pagemap.h"

#define MAGIC_COMMON 0x54564319u
#define MAGIC_PAGEMAP 0x56084025u
#define PAGE 4096ull
#define PAGES 512               /* of the address space of a test */
#define BASE 0x10000000ull
enum { NONE, THEIRS, LAZY };

static void begin(struct buf *b)
{
	const uint32_t words[] = { MAGIC_COMMON, MAGIC_PAGEMAP, 2 };

	assert_int_equal(buf_append(b, words, sizeof(words)), 0);
	assert_int_equal(img_put(b, 1, 7), 0);
}

static void entry(struct buf *b, uint64_t first, uint64_t pages, uint64_t flags)
{
	struct buf e = { 0 };
	uint32_t n;

	assert_int_equal(img_put(&e, 1, BASE + first * PAGE) | img_put(&e, 2, pages) | img_put(&e, 4, flags) | img_put(&e, 5, pages), 0);
	n = (uint32_t)e.len;
	assert_int_equal(buf_append(b, &n, 4) | buf_append(b, buf_head(&e), e.len), 0);
	buf_done(&e);
}

/* what each page is in a merged file; entries ascend and never meet */
static int note(void *ctx, uint64_t start, uint64_t bytes, bool present, bool lazy)
{
	uint8_t *what = ctx;

	for (uint64_t k = 0; k < bytes / PAGE; k++) {
		uint64_t page = (start - BASE) / PAGE + k;

		assert_true(page < PAGES);
		assert_int_equal(what[page], NONE);
		for (uint64_t later = page + 1; k == 0 && later < PAGES; later++)
			assert_int_equal(what[later], NONE);
		what[page] = lazy && !present ? LAZY : THEIRS;
	}
	return 0;
}

static void check(struct buf *b, const uint8_t expected[PAGES])
{
	uint8_t seen[PAGES] = { 0 };
	uint32_t id = 0;

	assert_int_equal(pagemap_walk(buf_head(b), b->len, note, seen, &id), 0);
	assert_int_equal(id, 7);
	assert_memory_equal(seen, expected, PAGES);
}

static void test_random(void **state)
{
	struct rng rng;

	rng_seed(&rng, 5);
	for (int round = 0; round < 2000; round++) {
		struct buf theirs = { 0 }, merged = { 0 };
		struct pagemap_left left[24];
		uint8_t expected[PAGES] = { 0 };
		size_t n = rng_below(&rng, 24);

		for (size_t k = 0; k < n; k++) {
			uint64_t first = rng_below(&rng, PAGES - 1), pages = 1 + rng_below(&rng, PAGES - first < 64 ? PAGES - first : 64);

			left[k] = (struct pagemap_left){ BASE + first * PAGE, BASE + (first + pages) * PAGE };
			memset(expected + first, LAZY, pages);
		}
		begin(&theirs);
		for (uint64_t at = rng_below(&rng, 64); at < PAGES; at += rng_below(&rng, 64)) {
			uint64_t pages = 1 + rng_below(&rng, 32);

			if (at + pages > PAGES)
				break;
			entry(&theirs, at, pages, 4);
			memset(expected + at, THEIRS, pages);
			at += pages;
		}
		assert_int_equal(pagemap_merge(buf_head(&theirs), theirs.len, left, n, &merged), 0);
		check(&merged, expected);
		buf_done(&theirs);
		buf_done(&merged);
	}
}

static void test_nothing_left(void **state)
{
	struct buf theirs = { 0 }, merged = { 0 };

	begin(&theirs);
	entry(&theirs, 3, 4, 2);
	assert_int_equal(pagemap_merge(buf_head(&theirs), theirs.len, NULL, 0, &merged), 0);
	assert_int_equal(merged.len, theirs.len);
	assert_memory_equal(buf_head(&merged), buf_head(&theirs), theirs.len);
	buf_done(&theirs);
	buf_done(&merged);
}

static void test_malformed(void **state)
{
	struct pagemap_left good[] = { { BASE, BASE + PAGE } }, odd[] = { { BASE + 1, BASE + PAGE } }, backward[] = { { BASE + PAGE, BASE } };
	struct buf theirs = { 0 }, merged = { 0 };

	begin(&theirs);
	entry(&theirs, 3, 4, 2);
	assert_int_equal(pagemap_merge(buf_head(&theirs), theirs.len, odd, 1, &merged), -EBADMSG);
	assert_int_equal(pagemap_merge(buf_head(&theirs), theirs.len, backward, 1, &merged), -EBADMSG);
	for (size_t cut = 1; cut < theirs.len; cut++) {
		int r;

		buf_reset(&merged);
		r = pagemap_merge(buf_head(&theirs), theirs.len - cut, good, 1, &merged);
		assert_true(r == -EBADMSG || (r == 0 && cut >= theirs.len - 14));       /* without the entry it is whole again */
	}
	buf_done(&theirs);
	buf_done(&merged);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random), cmocka_unit_test(test_nothing_left), cmocka_unit_test(test_malformed) };

	return cmocka_run_group_tests_name("left", tests, NULL, NULL);
}
