/* SPDX-License-Identifier: Apache-2.0 */
/* The pager's index against a flat array: set, move, copy and walks, and what another process finds that maps it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "where.h"
#include "seed.h"

#define PAGES 4096              /* eight chunks, in two places far apart */
#define ROUNDS 3000

static uint64_t model[PAGES];

static uint64_t address_of(uint64_t page)
{
	return (page < PAGES / 2 ? 0x550000000000ull : 0x7f0000000000ull) + page * PAGE_BYTES;
}

static uint64_t number_of(uint64_t address)
{
	return address < 0x7f0000000000ull ? (address - 0x550000000000ull) / PAGE_BYTES : (address - 0x7f0000000000ull) / PAGE_BYTES;
}

struct walk { uint64_t first, end, last, n; };

static bool check_one(void *ctx, uint64_t address, uint64_t entry)
{
	struct walk *w = ctx;
	uint64_t page = number_of(address);

	assert_true(page >= w->first && page < w->end);
	assert_int_equal(entry, model[page]);
	w->n++;
	return true;
}

static void check(const struct where *ix, uint64_t first, uint64_t end, bool all)
{
	struct walk w = { .first = first, .end = end };
	uint64_t n = 0;

	for (uint64_t k = first; k < end; k++) {
		n += model[k] != 0;
		assert_int_equal(where_get(ix, address_of(k)), model[k]);
	}
	if (all)
		where_each(ix, check_one, &w);
	else
		where_each_in(ix, address_of(first), address_of(first) + (end - first) * PAGE_BYTES, check_one, &w);
	assert_int_equal(w.n, n);
}

/* inside of one half */
static void range(struct rng *g, uint64_t *first, uint64_t *len)
{
	uint64_t half = rng_below(g, 2) * (PAGES / 2);

	*len = 1 + rng_below(g, 600);
	*first = half + rng_below(g, PAGES / 2 - *len);
}

static void move(struct where *ix, struct rng *g)
{
	uint64_t from, to, len, unused;

	range(g, &from, &len);
	do {
		range(g, &to, &unused);
	} while ((to < from + len && from < to + len) || to % (PAGES / 2) + len > PAGES / 2);
	/* once by halves, as by a pager that was killed, and then again */
	if (rng_below(g, 2))
		assert_int_equal(where_move(ix, address_of(from), address_of(to), len / 2 * PAGE_BYTES), 0);
	assert_int_equal(where_move(ix, address_of(from), address_of(to), len * PAGE_BYTES), 0);
	for (uint64_t k = 0; k < len; k++) {
		model[to + k] = model[from + k] ? model[from + k] : model[to + k];
		model[from + k] = 0;
	}
}

static void against_model(void **state)
{
	struct rng g = { prop_seed() };
	int fd = where_create(), copy_fd = where_create();
	struct where ix, again, copy;

	assert_true(fd >= 0 && copy_fd >= 0);
	assert_int_equal(where_open(&ix, fd), 0);
	memset(model, 0, sizeof(model));
	for (int k = 0; k < ROUNDS; k++) {
		uint64_t first, len;

		range(&g, &first, &len);
		switch (rng_below(&g, 4)) {
		case 0:
			for (uint64_t i = first; i < first + len; i++) {
				model[i] = rng_below(&g, 3) ? rng_next(&g) : 0;
				assert_int_equal(where_set(&ix, address_of(i), model[i]), 0);
			}
			break;
		case 1:
			move(&ix, &g);
			break;
		default:
			check(&ix, first, first + len, false);
		}
	}
	check(&ix, 0, PAGES, true);
	assert_int_equal(where_open(&again, fd), 0);
	check(&again, 0, PAGES, true);
	assert_int_equal(where_open(&copy, copy_fd), 0);
	assert_int_equal(where_copy(&ix, &copy), 0);
	check(&copy, 0, PAGES, true);
	where_close(&ix);
	where_close(&again);
	where_close(&copy);
	where_close(&copy);
	close(fd);
	close(copy_fd);
}

static void entries(void **state)
{
	uint64_t e = entry_with_segment(0, 2);

	e = entry_with_id(entry_with_state(e, PAGE_REMOTE), 0xabcdef012345ull) | ENTRY_USED;
	assert_int_equal(entry_state(e), PAGE_REMOTE);
	assert_int_equal(entry_segment(e), 2);
	assert_int_equal(entry_id(e), 0xabcdef012345ull);
	assert_true(e & ENTRY_SEGMENT_KNOWN);
	e = entry_with_segment(entry_with_id(entry_with_state(e, PAGE_LOCAL), 0), 1);
	assert_int_equal(entry_state(e), PAGE_LOCAL);
	assert_int_equal(entry_segment(e), 1);
	assert_int_equal(entry_id(e), 0);
	assert_true(e & ENTRY_USED);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(entries), cmocka_unit_test(against_model) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
