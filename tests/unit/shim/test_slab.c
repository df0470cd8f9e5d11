/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/rng.h"
#include "slab.h"

static void test_classes(void **state)
{
	assert_int_equal(slab_class_bytes(0), 512);
	assert_int_equal(slab_class_bytes(2), 1536);
	assert_int_equal(slab_class_bytes(SLAB_CLASSES - 1), SLAB_MAX);
	for (unsigned i = 1; i < SLAB_CLASSES; i++) {
		assert_true(slab_class_bytes(i) > slab_class_bytes(i - 1));
		assert_int_equal(slab_class_bytes(i) % 512, 0);
		assert_int_equal(slab_class(slab_class_bytes(i)), i);
		assert_int_equal(slab_class(slab_class_bytes(i - 1) + 1), i);
	}
	assert_int_equal(slab_class(1), 0);
}

static void test_fill_and_empty(void **state)
{
	struct slab s = { 0 };
	struct slab_block *b, *where;
	uint64_t start, at[4];
	size_t asked;

	assert_int_equal(slab_take(&s, 600000, &where), 0);
	b = slab_add(&s, 1ull << 40, 600000);
	assert_non_null(b);
	assert_int_equal(slab_take(&s, 600000, &where), 1ull << 40);
	at[1] = slab_take(&s, 786432, &where);
	assert_int_equal(at[1], (1ull << 40) + 786432);
	assert_int_equal(slab_take(&s, 600000, &where), 0);
	assert_true(slab_at(b, (1ull << 40) + 599999, &start, &asked));
	assert_int_equal(asked, 600000);
	assert_false(slab_at(b, (1ull << 40) + 600000, &start, &asked));        /* behind what was asked for */
	assert_false(slab_at(b, (1ull << 40) + 2 * 786432, &start, &asked));    /* the rest of the block */
	slab_mark(b, at[1], false);
	assert_false(slab_at(b, at[1], &start, &asked));
	slab_mark(b, at[1], true);
	assert_true(slab_at(b, at[1], &start, &asked));
	assert_false(slab_give(&s, b, at[1]));
	assert_false(slab_give(&s, b, 1ull << 40));     /* empty, but kept */
	assert_int_equal(slab_take(&s, 100, &where), 1ull << 40);               /* for another class */
	assert_ptr_equal(where, b);
	assert_false(slab_give(&s, b, 1ull << 40));
	assert_ptr_equal(slab_drop_empty(&s), b);
	assert_null(slab_drop_empty(&s));
	free(b);
}

#define LIVE 3000
/* against a list of what is live: nothing overlaps, everything is found, all blocks come back */
static void test_random(void **state)
{
	static struct { uint64_t at; size_t bytes; struct slab_block *b; } live[LIVE];
	struct slab s = { 0 };
	unsigned n = 0, blocks = 0, back = 0;
	uint64_t next = 1ull << 41, start;
	struct slab_block *b;
	struct rng rng;
	size_t asked;

	rng_seed(&rng, 5);
	for (unsigned turn = 0; turn < 60000; turn++) {
		if (n < LIVE && rng_below(&rng, turn < 30000 ? 5 : 9) < 3) {
			size_t bytes = 1 + rng_below(&rng, rng_below(&rng, 4) ? 20000 : SLAB_MAX);

			live[n].at = slab_take(&s, bytes, &live[n].b);
			if (!live[n].at) {
				assert_non_null(slab_add(&s, next, bytes));
				next += SLAB_BLOCK_BYTES;
				blocks++;
				live[n].at = slab_take(&s, bytes, &live[n].b);
			}
			live[n].bytes = bytes;
			assert_true(live[n].at >= live[n].b->base && live[n].at + bytes <= live[n].b->base + SLAB_BLOCK_BYTES);
			assert_int_equal(live[n].at % 512, 0);
			assert_true(slab_at(live[n].b, live[n].at + bytes - 1, &start, &asked) && start == live[n].at && asked == bytes);
			n++;
		} else if (n > 0) {
			unsigned i = (unsigned)rng_below(&rng, n);

			assert_true(slab_at(live[i].b, live[i].at, &start, &asked) && start == live[i].at && asked == live[i].bytes);
			b = live[i].b;
			if (slab_give(&s, b, live[i].at)) {
				back++;
				free(b);
			}
			live[i] = live[--n];
		}
	}
	while (n > 0) {
		b = live[--n].b;
		if (slab_give(&s, b, live[n].at)) {
			back++;
			free(b);
		}
	}
	b = slab_drop_empty(&s);
	assert_non_null(b);
	free(b);
	assert_int_equal(back + 1, blocks);
	for (unsigned i = 0; i < SLAB_CLASSES; i++)
		assert_null(s.room[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_classes), cmocka_unit_test(test_fill_and_empty), cmocka_unit_test(test_random) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
