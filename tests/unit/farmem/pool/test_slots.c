/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: none is given out twice, and how much memory stays when they are free again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "slots.h"

#define MIB (1ull << 20)
#define STORE (512 * MIB)
/* what lies ready of such a store, and what of it stays */
#define READY (16 * MIB)
#define LEAST (8 * MIB)
#define PAGE 4096u

struct world {
	int fd;
	struct slots *s;
	uint64_t *where;
	size_t n;
};

static int begin(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->fd = memfd_create("test-slots", MFD_CLOEXEC);
	assert_true(w->fd >= 0 && ftruncate(w->fd, STORE) == 0);
	w->s = pool_slots_new(w->fd, STORE);
	w->where = calloc(STORE / PAGE, sizeof(*w->where));
	assert_non_null(w->s);
	*state = w;
	return 0;
}

static int end(void **state)
{
	struct world *w = *state;

	pool_slots_free(w->s);
	close(w->fd);
	free(w->where);
	free(w);
	return 0;
}

static uint64_t memory(const struct world *w)
{
	struct stat st;

	assert_int_equal(fstat(w->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void take(struct world *w, size_t pages)
{
	for (; pages; pages--) {
		uint64_t at = pool_slots_take(w->s, PAGE);

		assert_true(at != SLOTS_NONE);
		*(uint64_t *)pool_slots_at(w->s, at) = at;
		w->where[w->n++] = at;
	}
}

/* each has what was written to it: it is nobody else's */
static void check(const struct world *w)
{
	for (size_t k = 0; k < w->n; k++)
		if (w->where[k] != SLOTS_NONE)
			assert_int_equal(*(uint64_t *)pool_slots_at(w->s, w->where[k]), w->where[k]);
}

/* all but every @keep-th; 0: all */
static void drop(struct world *w, size_t keep)
{
	for (size_t k = 0; k < w->n; k++)
		if (w->where[k] != SLOTS_NONE && (!keep || k % keep)) {
			assert_int_equal(pool_slots_drop(w->s, w->where[k]), 0);
			w->where[k] = SLOTS_NONE;
		}
}

static void test_ready(void **state)
{
	struct world *w = *state;
	uint32_t left, before = UINT32_MAX;

	take(w, 96 * MIB / PAGE);
	check(w);
	assert_true(memory(w) >= 96 * MIB);
	drop(w, 0);
	assert_true(memory(w) >= LEAST && memory(w) <= READY);
	/* what lies ready is used, and is not given back meanwhile */
	(void)pool_slots_ease(w->s);
	w->n = 0;
	take(w, 8 * MIB / PAGE);
	check(w);
	assert_true(memory(w) <= READY);
	drop(w, 0);
	left = pool_slots_ease(w->s);
	assert_true(left > 0 && memory(w) > READY / 2);
	for (; left; before = left, left = pool_slots_ease(w->s))
		assert_true(left < before);
	assert_true(memory(w) <= LEAST);
}

/* blocks of which some are in use give their memory back too */
static void test_scattered(void **state)
{
	struct world *w = *state;
	uint64_t kept;

	take(w, 128 * MIB / PAGE);
	/* a chunk in four stays */
	drop(w, 4 * SLOTS_CHUNK_BYTES / PAGE);
	check(w);
	kept = 32 * MIB;
	assert_true(memory(w) <= kept + READY);
	(void)pool_slots_ease(w->s);
	while (pool_slots_ease(w->s))
		;
	assert_true(memory(w) <= kept + LEAST);
	/* all of it can be had again, also where blocks were broken up */
	take(w, (STORE - 128 * MIB) / PAGE);
	check(w);
	while (w->n < STORE / PAGE) {
		uint64_t at = pool_slots_take(w->s, PAGE);

		if (at == SLOTS_NONE)
			break;
		*(uint64_t *)pool_slots_at(w->s, at) = at;
		w->where[w->n++] = at;
	}
	check(w);
	drop(w, 0);
	assert_true(memory(w) <= READY);
}

/* who adopts the memory speaks for what is in use; the rest goes back */
static void test_adopted(void **state)
{
	struct world *w = *state;
	struct slots *next;

	take(w, 32 * MIB / PAGE);
	drop(w, 4 * SLOTS_CHUNK_BYTES / PAGE);
	next = pool_slots_new(w->fd, STORE);
	assert_non_null(next);
	for (size_t k = 0; k < w->n; k++)
		if (w->where[k] != SLOTS_NONE)
			assert_int_equal(pool_slots_keep(next, w->where[k], PAGE), 0);
	pool_slots_settle(next);
	pool_slots_free(w->s);
	w->s = next;
	check(w);
	assert_true(memory(w) <= 8 * MIB);
	take(w, 32 * MIB / PAGE);
	check(w);
}

static void test_small(void **state)
{
	/* less than a block, and no multiple of one */
	static const uint64_t bytes[] = { MIB, 5 * MIB };
	int fd = memfd_create("test-slots", MFD_CLOEXEC);

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		uint64_t n = 0;
		struct slots *s;

		assert_int_equal(ftruncate(fd, (off_t)bytes[k]), 0);
		s = pool_slots_new(fd, bytes[k]);
		assert_non_null(s);
		for (uint64_t at; (at = pool_slots_take(s, PAGE)) != SLOTS_NONE; n++) {
			assert_true(at + PAGE <= bytes[k]);
			memset(pool_slots_at(s, at), 1, PAGE);
		}
		assert_int_equal(n, bytes[k] / PAGE);
		for (uint64_t at = 0; at < bytes[k]; at += PAGE)
			(void)pool_slots_drop(s, at);
		assert_int_equal(pool_slots_ease(s), 0);
		pool_slots_free(s);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ready, begin, end), cmocka_unit_test_setup_teardown(test_scattered, begin, end), cmocka_unit_test_setup_teardown(test_adopted, begin, end),
		cmocka_unit_test(test_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
