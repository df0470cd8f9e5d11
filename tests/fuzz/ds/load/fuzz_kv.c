/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a KV store. Checksums keep mutations out, so they are made right again before parsing: first as it is, then with every frame's digests put right. What is accepted is
 * consistent, and says the same when it is written anew.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "kv.h"

#define DATA_BYTES (1u << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static bool taken(const struct kv_space *s, uint64_t p)
{
	return p < s->end && (s->bits[p / 64] >> (p % 64) & 1);
}

static void again(const struct kv_state *s)
{
	struct hearth_err err = { 0 };
	const struct kv_record *r;
	struct kv_state other;
	size_t at = 0, n;
	void *log;

	must(kv_index_whole(s, &log, &n) == 0 && kv_index_parse(log, n, DATA_BYTES, &other, &err) == 0 && other.table.n == s->table.n && other.recovered == 0);
	while ((r = kv_table_next(&s->table, &at))) {
		const struct kv_record *found = kv_table_find(&other.table, r->id, r->layer);

		must(found && memcmp(found, r, sizeof(*r)) == 0);
	}
	kv_state_done(&other);
	free(log);
}

static void parse(const uint8_t *log, size_t n)
{
	struct hearth_err err = { 0 };
	const struct kv_record *r;
	size_t at = 0, count = 0;
	struct kv_state s;
	uint64_t used = 0;

	if (kv_index_parse(log, n, DATA_BYTES, &s, &err) < 0) {
		must(err.msg[0]);
		return;
	}
	must(s.log_bytes + s.recovered == n);
	while ((r = kv_table_next(&s.table, &at))) {
		must(r->layer < s.head.layers && r->position * s.head.stride_bytes + s.head.block_bytes <= DATA_BYTES && taken(&s.space, r->position));
		count++;
	}
	for (uint64_t p = 0; p < s.space.end; p++)
		used += taken(&s.space, p);
	must(count == s.table.n && used == count);
	again(&s);
	kv_state_done(&s);
}

static void put_right(uint8_t *log, size_t n)
{
	struct kv_head h;
	struct kv_frame f;
	uint64_t sequence = 0;

	if (n < sizeof(h))
		return;
	memcpy(&h, log, sizeof(h));
	h.digest = digest_mem(&h, offsetof(struct kv_head, digest)).lo;
	memcpy(log, &h, sizeof(h));
	for (size_t at = sizeof(h); n - at >= sizeof(f);) {
		size_t left = n - at - sizeof(f), bytes;

		memcpy(&f, log + at, sizeof(f));
		f.magic = KV_FRAME_MAGIC;
		f.sequence = ++sequence;
		f.records %= 64;
		bytes = f.records * sizeof(struct kv_record);
		f.check = digest_mem(&f, offsetof(struct kv_frame, check)).lo;
		if (bytes <= left)
			f.digest = digest_mem(log + at + sizeof(f), bytes).lo;
		memcpy(log + at, &f, sizeof(f));
		if (bytes > left)
			break;
		at += sizeof(f) + bytes;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + 1);

	parse(data, len);
	if (!copy)
		return 0;
	memcpy(copy, data, len);
	put_right(copy, len);
	parse(copy, len);
	free(copy);
	return 0;
}
