/* SPDX-License-Identifier: Apache-2.0 */
#include "../../base/check.h"

#include <errno.h>

#include "base/file.h"
#include "base/rng.h"
#include "kv.h"

#define BLOCK 1000              /* 1024 in the file */
#define DATA_BYTES (1u << 30)

static const struct hearth_ds_kv_options options = { .block_bytes = BLOCK, .layers = 4, .checked = 1 };

/* ---- the table and the space, against naive ones ---- */

#define KEYS 300

static void test_table(void **state)
{
	uint64_t naive[KEYS];
	struct kv_table t = { 0 };
	struct rng g;

	rng_seed(&g, 1);
	for (size_t k = 0; k < KEYS; k++)
		naive[k] = KV_NOWHERE;
	assert_null(kv_table_find(&t, 1, 0));
	assert_true(kv_table_drop(&t, 1, 0) == KV_NOWHERE);
	for (unsigned i = 0; i < 100000; i++) {
		/* few keys, many of them neighbours: long runs of slots, with holes torn into them */
		size_t k = rng_below(&g, KEYS), n = 0, at = 0;
		struct kv_record r = { .id = k / 4, .layer = k % 4, .position = i, .digest = i };

		if (rng_below(&g, 2)) {
			assert_int_equal(kv_table_reserve(&t, 1), 0);
			assert_true(kv_table_put(&t, &r) == naive[k]);
			naive[k] = i;
		} else {
			assert_true(kv_table_drop(&t, r.id, r.layer) == naive[k]);
			naive[k] = KV_NOWHERE;
		}
		if (i % 100)
			continue;
		for (k = 0; k < KEYS; k++) {
			const struct kv_record *found = kv_table_find(&t, k / 4, k % 4);

			assert_true((found ? found->position : KV_NOWHERE) == naive[k]);
			n += naive[k] != KV_NOWHERE;
		}
		assert_int_equal(t.n, n);
		while (kv_table_next(&t, &at))
			n--;
		assert_int_equal(n, 0);
	}
	kv_table_done(&t);
}

static void test_space(void **state)
{
	enum { MAX = 1000 };
	bool naive[MAX] = { 0 };
	struct kv_space s = { .max = MAX };
	uint64_t got[64];
	size_t taken = 0;
	struct rng g;

	rng_seed(&g, 2);
	for (unsigned i = 0; i < 50000; i++) {
		size_t n = 1 + rng_below(&g, 64), longest = 0, run = 0;

		for (size_t k = 0; k < MAX; k++) {
			run = naive[k] ? 0 : run + 1;
			longest = run > longest ? run : longest;
		}
		if (rng_below(&g, 5) < 2) {
			int r = kv_space_take(&s, n, got);

			assert_int_equal(r, taken + n <= MAX ? 0 : -ENOSPC);
			for (size_t k = 0; r == 0 && k < n; k++) {
				assert_true(got[k] < MAX && !naive[got[k]]);
				assert_true(k == 0 || got[k] > got[k - 1]);
				if (longest >= n)
					assert_true(got[k] == got[0] + k);
				naive[got[k]] = true;
			}
			taken += r == 0 ? n : 0;
		} else {
			for (size_t k = 0; k < n; k++) {
				size_t p = rng_below(&g, MAX);

				if (naive[p])
					kv_space_give(&s, p);
				taken -= naive[p];
				naive[p] = false;
			}
		}
	}
	for (size_t k = 0; k < MAX; k++)
		assert_int_equal(kv_space_set(&s, k), naive[k] ? -EEXIST : 0);
	assert_int_equal(kv_space_set(&s, MAX), -ENOSPC);
	kv_space_done(&s);

	/* without a limit there is always more */
	s = (struct kv_space){ 0 };
	for (unsigned k = 0; k < 1000; k++) {
		assert_int_equal(kv_space_take(&s, 64, got), 0);
		assert_true(got[0] == k * 64 && got[63] == k * 64 + 63);
	}
	kv_space_done(&s);
}

/* ---- the log ---- */

struct log { uint8_t data[1 << 16]; size_t n; uint64_t sequence; };

static void log_begin(struct log *l)
{
	struct kv_head h;

	assert_int_equal(kv_head_make(&options, &h, NULL), 0);
	memcpy(l->data, &h, sizeof(h));
	l->n = sizeof(h);
	l->sequence = 0;
}

static void log_add(struct log *l, const struct kv_record *records, size_t n)
{
	void *frame;
	size_t bytes;

	assert_int_equal(kv_frame_make(++l->sequence, records, n, &frame, &bytes), 0);
	memcpy(l->data + l->n, frame, bytes);
	l->n += bytes;
	free(frame);
}

/* three commits: some blocks; one replaced; one dropped */
static void log_three(struct log *l, size_t ends[4])
{
	const struct kv_record first[] = { { 1, 0, 0, 0, 11 }, { 1, 1, 0, 1, 12 }, { 2, 3, 0, 2, 13 } }, second[] = { { 1, 1, 0, 3, 14 } }, third[] = { { 2, 3, 0, KV_NOWHERE, 0 } };

	log_begin(l);
	ends[0] = l->n;
	log_add(l, first, 3);
	ends[1] = l->n;
	log_add(l, second, 1);
	ends[2] = l->n;
	log_add(l, third, 1);
	ends[3] = l->n;
}

static void is_state(const struct kv_state *s, unsigned commits)
{
	const struct kv_record *r = kv_table_find(&s->table, 1, 1);

	assert_int_equal(s->sequence, commits);
	assert_int_equal(s->table.n, commits == 0 ? 0 : commits == 3 ? 2 : 3);
	assert_int_equal(r ? r->position : KV_NOWHERE, commits == 0 ? KV_NOWHERE : commits == 1 ? 1 : 3);
	assert_int_equal(kv_table_find(&s->table, 2, 3) != NULL, commits == 1 || commits == 2);
}

/* a log that was cut off anywhere is the state of the last commit that is whole */
static void test_cut_off(void **state)
{
	struct hearth_err err = { 0 };
	static struct log l;
	size_t ends[4];

	log_three(&l, ends);
	for (size_t n = 0; n <= l.n; n++) {
		struct kv_state s;
		unsigned commits = 0;
		int r = kv_index_parse(l.data, n, DATA_BYTES, &s, &err);

		if (n < ends[0]) {
			assert_int_equal(r, -EBADMSG);
			continue;
		}
		while (commits < 3 && ends[commits + 1] <= n)
			commits++;
		assert_int_equal(r, 0);
		is_state(&s, commits);
		assert_int_equal(s.log_bytes, ends[commits]);
		assert_int_equal(s.recovered, n - ends[commits]);
		kv_state_done(&s);
	}
}

/* any byte that is another one is noticed, and never taken for an unfinished commit */
static void test_flipped(void **state)
{
	struct hearth_err err = { 0 };
	static struct log l;
	size_t ends[4];

	log_three(&l, ends);
	for (size_t at = 0; at < l.n; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct kv_state s;

			l.data[at] ^= (uint8_t)(1 << bit);
			assert_int_equal(kv_index_parse(l.data, l.n, DATA_BYTES, &s, &err), -EBADMSG);
			l.data[at] ^= (uint8_t)(1 << bit);
		}
}

/* the machine went down while a commit was being written: sectors of it read as zeros */
static void test_lost_sectors(void **state)
{
	struct kv_record records[64];
	struct hearth_err err = { 0 };
	static struct log l;
	size_t before;

	log_begin(&l);
	log_add(&l, (const struct kv_record[]){ { 9, 0, 0, 100, 1 } }, 1);
	before = l.n;
	for (size_t k = 0; k < 64; k++)
		records[k] = (struct kv_record){ .id = k, .position = k, .digest = k + 1 };
	log_add(&l, records, 64);
	for (size_t sector = 0; sector * 512 < l.n; sector++) {
		static struct log lost;
		struct kv_state s;
		size_t from = sector * 512 < before ? before : sector * 512, to = sector * 512 + 512 > l.n ? l.n : sector * 512 + 512;

		lost = l;
		memset(lost.data + from, 0, to - from);
		assert_int_equal(kv_index_parse(lost.data, lost.n, DATA_BYTES, &s, &err), 0);
		assert_int_equal(s.table.n, 1);
		assert_int_equal(s.recovered, l.n - before);
		kv_state_done(&s);
		/* but not when a later commit is there: then it had been written */
		log_add(&lost, (const struct kv_record[]){ { 10, 0, 0, 200, 1 } }, 1);
		if (from > before)
			assert_int_equal(kv_index_parse(lost.data, lost.n, DATA_BYTES, &s, &err), -EBADMSG);
	}
}

/* frames that are whole and say what cannot be */
static void test_wrong_records(void **state)
{
	static const struct kv_record wrong[] = {
		{ 5, 4, 0, 5, 0 },                              /* no such layer */
		{ 5, 0, 1, 5, 0 },                              /* a field that must be 0 */
		{ 5, 0, 0, 1, 0 },                              /* a position that another has */
		{ 5, 0, 0, KV_NOWHERE, 0 },                     /* dropped, but it was not there */
		{ 5, 0, 0, DATA_BYTES / 1024, 0 },              /* behind the end of the data */
		{ 5, 0, 0, UINT64_MAX / 1024, 0 },
		{ 5, 0, 0, UINT64_MAX - 1, 0 },
	};
	struct hearth_err err = { 0 };
	struct kv_state s;
	static struct log l;

	for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++) {
		log_begin(&l);
		log_add(&l, (const struct kv_record[]){ { 1, 0, 0, 1, 0 } }, 1);
		log_add(&l, &wrong[k], 1);
		assert_int_equal(kv_index_parse(l.data, l.n, DATA_BYTES, &s, &err), -EBADMSG);
		assert_non_null(strstr(err.msg, "damaged at byte"));
	}
	log_begin(&l);
	l.sequence = 1;                 /* one is missing */
	log_add(&l, (const struct kv_record[]){ { 1, 0, 0, 1, 0 } }, 1);
	assert_int_equal(kv_index_parse(l.data, l.n, DATA_BYTES, &s, &err), -EBADMSG);
	/* the last position that the data have room for: the block need not fill its stride */
	log_begin(&l);
	log_add(&l, (const struct kv_record[]){ { 1, 0, 0, 1, 0 } }, 1);
	assert_int_equal(kv_index_parse(l.data, l.n, 1024 + BLOCK, &s, &err), 0);
	kv_state_done(&s);
	assert_int_equal(kv_index_parse(l.data, l.n, 1024 + BLOCK - 1, &s, &err), -EBADMSG);
}

static void test_heads(void **state)
{
	static const struct hearth_ds_kv_options wrong[] = {
		{ .block_bytes = 0, .layers = 1 }, { .block_bytes = 1, .layers = 0 }, { .block_bytes = 1, .layers = UINT32_MAX }, { .block_bytes = UINT64_MAX, .layers = 1 },
		{ .block_bytes = 1, .layers = 1, .checked = 2 }, { .block_bytes = 1, .layers = 1, .blocks_max = UINT64_MAX }, { .block_bytes = 1, .layers = 1, .zero = { 0, 1 } },
	};
	struct hearth_err err = { 0 };
	struct kv_state s;
	struct kv_head h;
	static struct log l;

	for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++)
		assert_int_equal(kv_head_make(&wrong[k], &h, &err), -EINVAL);
	log_begin(&l);
	l.data[8]++;
	assert_int_equal(kv_index_parse(l.data, l.n, 0, &s, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "version 2"));
}

/* a new log of what there is says the same */
static void test_whole(void **state)
{
	struct hearth_err err = { 0 };
	struct kv_state s, again;
	static struct log l;
	size_t ends[4], n, at = 0;
	const struct kv_record *r;
	void *log;

	log_three(&l, ends);
	assert_int_equal(kv_index_parse(l.data, l.n, DATA_BYTES, &s, &err), 0);
	assert_int_equal(kv_index_whole(&s, &log, &n), 0);
	assert_int_equal(kv_index_parse(log, n, DATA_BYTES, &again, &err), 0);
	assert_int_equal(again.table.n, s.table.n);
	assert_int_equal(again.recovered, 0);
	while ((r = kv_table_next(&s.table, &at))) {
		const struct kv_record *other = kv_table_find(&again.table, r->id, r->layer);

		assert_non_null(other);
		assert_memory_equal(r, other, sizeof(*r));
	}
	free(log);
	kv_state_done(&again);
	kv_state_done(&s);
	/* and an empty one */
	assert_int_equal(kv_index_parse(l.data, ends[0], DATA_BYTES, &s, &err), 0);
	assert_int_equal(kv_index_whole(&s, &log, &n), 0);
	assert_int_equal(n, ends[0]);
	assert_memory_equal(log, l.data, n);
	free(log);
	kv_state_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_space),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_flipped),
		cmocka_unit_test(test_lost_sectors),
		cmocka_unit_test(test_wrong_records),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
