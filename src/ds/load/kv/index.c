/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "kv.h"

#define STRIDE_ALIGN 512
#define SECTOR_BYTES 512
#define BLOCK_BYTES_MAX (1ull << 40)
#define LAYERS_MAX (1u << 20)
#define ZEROS_TELLING 40        /* no record, and no two beside one another, have so many zeros in a row */

_Static_assert(sizeof(struct kv_head) == 56 && sizeof(struct kv_frame) == 32 && sizeof(struct kv_record) == 32, "the index has no padding");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the index is little endian");

static uint64_t sum(const void *data, size_t n)
{
	return digest_mem(data, n).lo;
}

/* ---- head ---- */

int kv_head_make(const struct hearth_ds_kv_options *o, struct kv_head *ret, struct hearth_err *err)
{
	struct kv_head h = { .magic = KV_MAGIC, .version = KV_VERSION, .layers = o->layers, .block_bytes = o->block_bytes, .blocks_max = o->blocks_max, .checked = o->checked };

	for (size_t k = 0; k < sizeof(o->zero) / sizeof(o->zero[0]); k++)
		if (o->zero[k])
			return err_set(err, -EINVAL, "options.zero must be all 0");
	if (o->block_bytes == 0 || o->block_bytes > BLOCK_BYTES_MAX || o->layers == 0 || o->layers > LAYERS_MAX || o->checked > 1)
		return err_set(err, -EINVAL, "a store needs blocks of 1 byte to 1 TiB, 1 to %u layers, and checked 0 or 1", LAYERS_MAX);
	h.stride_bytes = (h.block_bytes + STRIDE_ALIGN - 1) / STRIDE_ALIGN * STRIDE_ALIGN;
	if (h.blocks_max > INT64_MAX / h.stride_bytes)
		return err_set(err, -EINVAL, "%llu blocks of %llu bytes are more than a file can have", (unsigned long long)o->blocks_max, (unsigned long long)o->block_bytes);
	h.digest = sum(&h, offsetof(struct kv_head, digest));
	*ret = h;
	return 0;
}

static int parse_head(const uint8_t *log, size_t n, struct kv_head *ret, struct hearth_err *err)
{
	struct hearth_ds_kv_options o;
	struct kv_head h, again;

	if (n < sizeof(h) || memcmp(log, KV_MAGIC, sizeof(h.magic)) != 0)
		return err_set(err, -EBADMSG, "it is no index of a KV store");
	memcpy(&h, log, sizeof(h));
	if (h.version != KV_VERSION)
		return err_set(err, -EBADMSG, "it is of version %u, this program knows %u", h.version, KV_VERSION);
	o = (struct hearth_ds_kv_options){ .block_bytes = h.block_bytes, .blocks_max = h.blocks_max, .layers = h.layers, .checked = h.checked };
	if (kv_head_make(&o, &again, err) < 0 || memcmp(&h, &again, sizeof(h)) != 0)
		return err_set(err, -EBADMSG, "its head is damaged");
	*ret = h;
	return 0;
}

/* ---- frames ---- */

enum { WHOLE, TORN, DAMAGED };

/*
 * A frame was appended by one write. If the machine went down before it was synced, sectors of it may be missing, and read as zeros. If only the process did, the file ends early.
 * Anything else is damage to what was committed, and must not be taken for the former.
 */
static bool has_lost_sector(const uint8_t *log, size_t from, size_t to)
{
	while (from < to) {
		size_t end = (from / SECTOR_BYTES + 1) * SECTOR_BYTES, k;

		if (end > to)
			end = to;
		for (k = from; k < end && log[k] == 0; k++)
			;
		if (k == end && end - from >= ZEROS_TELLING)
			return true;
		from = end;
	}
	return false;
}

static int look_at_frame(const uint8_t *log, size_t at, size_t n, struct kv_frame *ret)
{
	size_t left = n - at, bytes;
	struct kv_frame f;

	if (left < sizeof(f))
		return TORN;
	memcpy(&f, log + at, sizeof(f));
	if (f.magic != KV_FRAME_MAGIC || f.check != sum(&f, offsetof(struct kv_frame, check)))
		return has_lost_sector(log, at, n) ? TORN : DAMAGED;
	left -= sizeof(f);
	if (f.records > left / sizeof(struct kv_record))
		return TORN;
	bytes = f.records * sizeof(struct kv_record);
	if (f.digest != sum(log + at + sizeof(f), bytes))
		return left == bytes && has_lost_sector(log, at + sizeof(f), n) ? TORN : DAMAGED;
	*ret = f;
	return WHOLE;
}

static int apply(struct kv_state *s, const struct kv_record *r, uint64_t data_bytes)
{
	uint64_t old, end;
	int rc;

	if (r->layer >= s->head.layers || r->zero)
		return -EBADMSG;
	if (r->position == KV_NOWHERE) {
		old = kv_table_drop(&s->table, r->id, r->layer);
		if (old == KV_NOWHERE)
			return -EBADMSG;
		kv_space_give(&s->space, old);
		return 0;
	}
	if (__builtin_mul_overflow(r->position, s->head.stride_bytes, &end) || __builtin_add_overflow(end, s->head.block_bytes, &end) || end > data_bytes)
		return -EBADMSG;
	rc = kv_space_set(&s->space, r->position);
	if (rc < 0)
		return rc == -ENOMEM ? rc : -EBADMSG;
	old = kv_table_put(&s->table, r);
	if (old != KV_NOWHERE)
		kv_space_give(&s->space, old);
	return 0;
}

static int apply_frame(struct kv_state *s, const struct kv_frame *f, const uint8_t *records, uint64_t data_bytes)
{
	int r = f->sequence == s->sequence + 1 ? kv_table_reserve(&s->table, f->records) : -EBADMSG;

	for (uint32_t k = 0; r == 0 && k < f->records; k++) {
		struct kv_record record;

		memcpy(&record, records + k * sizeof(record), sizeof(record));
		r = apply(s, &record, data_bytes);
	}
	s->sequence = f->sequence;
	return r;
}

int kv_index_parse(const uint8_t *log, size_t n, uint64_t data_bytes, struct kv_state *ret, struct hearth_err *err)
{
	struct kv_state s = { 0 };
	size_t at = sizeof(s.head);
	int r = parse_head(log, n, &s.head, err);

	if (r < 0)
		return r;
	s.space.max = s.head.blocks_max;
	while (r == 0 && at < n) {
		struct kv_frame f;
		int state = look_at_frame(log, at, n, &f);

		if (state == TORN)
			break;
		r = state == WHOLE ? apply_frame(&s, &f, log + at + sizeof(f), data_bytes) : -EBADMSG;
		if (r == 0)
			at += sizeof(f) + f.records * sizeof(struct kv_record);
	}
	if (r < 0) {
		kv_state_done(&s);
		return err_set(err, r, r == -ENOMEM ? "out of memory" : "it is damaged at byte %zu", at);
	}
	s.log_bytes = at;
	s.recovered = n - at;
	*ret = s;
	return 0;
}

void kv_state_done(struct kv_state *s)
{
	kv_table_done(&s->table);
	kv_space_done(&s->space);
}

/* ---- writing ---- */

static void frame_fill(void *to, uint64_t sequence, size_t n)
{
	struct kv_frame f = { .magic = KV_FRAME_MAGIC, .records = (uint32_t)n, .sequence = sequence };

	f.check = sum(&f, offsetof(struct kv_frame, check));
	f.digest = sum((uint8_t *)to + sizeof(f), n * sizeof(struct kv_record));
	memcpy(to, &f, sizeof(f));
}

int kv_frame_make(uint64_t sequence, const struct kv_record *records, size_t n, void **ret, size_t *ret_n)
{
	size_t bytes = sizeof(struct kv_frame) + n * sizeof(*records);
	uint8_t *all = n <= UINT32_MAX ? malloc(bytes) : NULL;

	if (!all)
		return -ENOMEM;
	memcpy(all + sizeof(struct kv_frame), records, n * sizeof(*records));
	frame_fill(all, sequence, n);
	*ret = all;
	*ret_n = bytes;
	return 0;
}

int kv_index_whole(const struct kv_state *s, void **ret, size_t *ret_n)
{
	size_t bytes = sizeof(s->head) + (s->table.n ? sizeof(struct kv_frame) + s->table.n * sizeof(struct kv_record) : 0), at = 0;
	uint8_t *all = s->table.n <= UINT32_MAX ? malloc(bytes) : NULL, *to;
	const struct kv_record *r;

	if (!all)
		return -ENOMEM;
	memcpy(all, &s->head, sizeof(s->head));
	to = all + sizeof(s->head) + sizeof(struct kv_frame);
	while ((r = kv_table_next(&s->table, &at))) {
		memcpy(to, r, sizeof(*r));
		to += sizeof(*r);
	}
	if (s->table.n)
		frame_fill(all + sizeof(s->head), 1, s->table.n);
	*ret = all;
	*ret_n = bytes;
	return 0;
}
