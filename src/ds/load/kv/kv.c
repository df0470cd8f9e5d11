/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "kv.h"
#include "priv.h"

static int no_memory(void)
{
	return err_set(ds_error(), -ENOMEM, "out of memory");
}

static int want_writable(const struct hearth_ds_kv *kv)
{
	return kv->writable ? 0 : err_set(ds_error(), -EROFS, "KV store %s is open for reading only", kv->path);
}

/* looked at one by one: neighbours share an operation, and would share its error */
static bool fits(const struct hearth_ds_kv *kv, const struct hearth_ds_kv_block *b)
{
	uint64_t bytes = kv->state.head.block_bytes;

	return b->memory && b->memory_offset <= b->memory->bytes && bytes <= b->memory->bytes - b->memory_offset;
}

/* ---- put ---- */

/* room in memory for all that noting @n blocks takes. The lock is held. */
static int reserve(struct hearth_ds_kv *kv, size_t n)
{
	if (kv_table_reserve(&kv->state.table, n) < 0 || array_grow((void **)&kv->changes, &kv->changes_cap, kv->changes_n + n, sizeof(*kv->changes)) < 0 ||
	    array_grow((void **)&kv->given_up, &kv->given_up_cap, kv->given_up_n + n, sizeof(*kv->given_up)) < 0)
		return no_memory();
	return 0;
}

static void note_given_up(struct hearth_ds_kv *kv, uint64_t position)
{
	if (position != KV_NOWHERE)
		kv->given_up[kv->given_up_n++] = position;
}

struct put {
	const struct hearth_ds_kv_block *blocks;
	size_t n;
	uint64_t *positions, *digests;
	size_t *order;
	int *results;
};

static void put_done(struct put *p)
{
	free(p->positions);
	free(p->digests);
	free(p->order);
	free(p->results);
}

static int put_begin(struct hearth_ds_kv *kv, struct put *p)
{
	int r;

	p->positions = calloc(p->n, sizeof(*p->positions));
	p->digests = calloc(p->n, sizeof(*p->digests));
	p->order = calloc(p->n, sizeof(*p->order));
	p->results = calloc(p->n, sizeof(*p->results));
	if (!p->positions || !p->digests || !p->order || !p->results)
		return no_memory();
	for (size_t k = 0; k < p->n; k++) {
		if (p->blocks[k].layer >= kv->state.head.layers || !fits(kv, &p->blocks[k]))
			return err_set(ds_error(), -EINVAL, "KV store %s: block %llu, layer %u: there are layers 0 to %u, and a block needs %llu bytes of memory to come from", kv->path,
				       (unsigned long long)p->blocks[k].id, p->blocks[k].layer, kv->state.head.layers - 1, (unsigned long long)kv->state.head.block_bytes);
		p->order[k] = k;        /* positions come in order */
	}
	pthread_rwlock_wrlock(&kv->lock);
	r = kv_space_take(&kv->state.space, p->n, p->positions);
	pthread_rwlock_unlock(&kv->lock);
	if (r == -ENOSPC)
		err_set(ds_error(), r, "KV store %s is full: it has room for %llu blocks; drop some, and commit that", kv->path, (unsigned long long)kv->state.head.blocks_max);
	return r == -ENOMEM ? no_memory() : r;
}

static int put_write(struct hearth_ds_kv *kv, struct put *p)
{
	int r = kv_transfer(kv, p->blocks, p->positions, p->order, p->n, true, p->results);
	void *room = NULL;

	for (size_t k = 0; r == 0 && k < p->n; k++)
		if (p->results[k] < 0)
			r = err_set(ds_error(), p->results[k], "KV store %s: cannot write block %llu, layer %u: %s", kv->path, (unsigned long long)p->blocks[k].id, p->blocks[k].layer,
				    strerror(-p->results[k]));
	if (r < 0 || !kv->state.head.checked)
		return r;
	room = malloc(kv->state.head.block_bytes);
	if (!room)
		return no_memory();
	for (size_t k = 0; r == 0 && k < p->n; k++) {
		r = kv_read_digest(kv, p->positions[k], room, &p->digests[k]);
		if (r < 0)
			err_set(ds_error(), r, "KV store %s: cannot read block %llu, layer %u back: %s", kv->path, (unsigned long long)p->blocks[k].id, p->blocks[k].layer, strerror(-r));
	}
	free(room);
	return r;
}

/* all are noted, or none and the positions are free again */
static int put_note(struct hearth_ds_kv *kv, struct put *p, int r)
{
	pthread_rwlock_wrlock(&kv->lock);
	if (r == 0)
		r = reserve(kv, p->n);
	for (size_t k = 0; k < p->n; k++) {
		struct kv_record record = { .id = p->blocks[k].id, .layer = p->blocks[k].layer, .position = p->positions[k], .digest = p->digests[k] };

		if (r < 0) {
			kv_space_give(&kv->state.space, p->positions[k]);
			continue;
		}
		note_given_up(kv, kv_table_put(&kv->state.table, &record));
		kv->changes[kv->changes_n++] = record;
	}
	pthread_rwlock_unlock(&kv->lock);
	return r;
}

int hearth_ds_kv_put(struct hearth_ds_kv *kv, const struct hearth_ds_kv_block *blocks, size_t n)
{
	struct put p = { .blocks = blocks, .n = n };
	int r = want_writable(kv);

	if (r < 0 || n == 0)
		return r;
	r = put_begin(kv, &p);
	if (r == 0)
		r = put_note(kv, &p, put_write(kv, &p));
	put_done(&p);
	return r;
}

/* ---- get ---- */

static int by_position(const void *a, const void *b, void *ctx)
{
	const uint64_t *positions = ctx, x = positions[*(const size_t *)a], y = positions[*(const size_t *)b];

	return (x > y) - (x < y);
}

/* which are there. Return: how many; @order: their indices, by position */
static size_t look_up(const struct hearth_ds_kv *kv, struct hearth_ds_kv_block *blocks, size_t n, uint64_t *positions, size_t *order)
{
	size_t found = 0;
	bool sorted = true;

	for (size_t k = 0; k < n; k++) {
		const struct kv_record *r = kv_table_find(&kv->state.table, blocks[k].id, blocks[k].layer);

		blocks[k].result = r ? -EINVAL : -ENOENT;
		if (!r || !fits(kv, &blocks[k]))
			continue;
		positions[k] = r->position;
		sorted = sorted && (found == 0 || positions[order[found - 1]] <= r->position);
		order[found++] = k;
	}
	if (!sorted)
		qsort_r(order, found, sizeof(*order), by_position, positions);
	return found;
}

static int64_t get(struct hearth_ds_kv *kv, struct hearth_ds_kv_block *blocks, size_t n, uint64_t *positions, size_t *order, int *results)
{
	int64_t got = 0;
	size_t found;
	int r;

	pthread_rwlock_rdlock(&kv->lock);
	found = look_up(kv, blocks, n, positions, order);
	r = kv_transfer(kv, blocks, positions, order, found, false, results);
	pthread_rwlock_unlock(&kv->lock);
	if (r < 0)
		return r;
	for (size_t k = 0; k < found; k++) {
		blocks[order[k]].result = results[order[k]] < 0 ? results[order[k]] : (int64_t)kv->state.head.block_bytes;
		got += results[order[k]] == 0;
	}
	return got;
}

int64_t hearth_ds_kv_get(struct hearth_ds_kv *kv, struct hearth_ds_kv_block *blocks, size_t n)
{
	uint64_t *positions = calloc(n + 1, sizeof(*positions));
	size_t *order = calloc(n + 1, sizeof(*order));
	int *results = calloc(n + 1, sizeof(*results));
	int64_t got;

	if (positions && order && results)
		got = get(kv, blocks, n, positions, order, results);
	else
		got = no_memory();
	free(positions);
	free(order);
	free(results);
	return got;
}

/* ---- the rest ---- */

int64_t hearth_ds_kv_drop(struct hearth_ds_kv *kv, uint64_t id)
{
	int64_t dropped = 0;
	int r = want_writable(kv);

	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&kv->lock);
	r = reserve(kv, kv->state.head.layers);
	for (uint32_t layer = 0; r == 0 && layer < kv->state.head.layers; layer++) {
		uint64_t position = kv_table_drop(&kv->state.table, id, layer);

		if (position == KV_NOWHERE)
			continue;
		note_given_up(kv, position);
		kv->changes[kv->changes_n++] = (struct kv_record){ .id = id, .layer = layer, .position = KV_NOWHERE };
		dropped++;
	}
	pthread_rwlock_unlock(&kv->lock);
	return r < 0 ? r : dropped;
}

static int by_key(const void *a, const void *b)
{
	const struct hearth_ds_kv_key *x = a, *y = b;

	return x->id != y->id ? (x->id < y->id ? -1 : 1) : (x->layer > y->layer) - (x->layer < y->layer);
}

/* @ret: heap memory, all of them sorted. The lock is held. */
static int all_keys(const struct hearth_ds_kv *kv, struct hearth_ds_kv_key **ret)
{
	struct hearth_ds_kv_key *keys = calloc(kv->state.table.n + 1, sizeof(*keys));
	const struct kv_record *r;
	size_t at = 0, n = 0;

	if (!keys)
		return no_memory();
	while ((r = kv_table_next(&kv->state.table, &at)))
		keys[n++] = (struct hearth_ds_kv_key){ .id = r->id, .layer = r->layer };
	qsort(keys, n, sizeof(*keys), by_key);
	*ret = keys;
	return 0;
}

int64_t hearth_ds_kv_list(struct hearth_ds_kv *kv, struct hearth_ds_kv_key *ret, size_t max)
{
	struct hearth_ds_kv_key *keys = NULL;
	size_t n;
	int r = 0;

	pthread_rwlock_rdlock(&kv->lock);
	n = kv->state.table.n;
	if (max > 0)
		r = all_keys(kv, &keys);
	pthread_rwlock_unlock(&kv->lock);
	if (r < 0)
		return r;
	if (keys)
		memcpy(ret, keys, (max < n ? max : n) * sizeof(*keys));
	free(keys);
	return (int64_t)n;
}

static int check_one(const struct hearth_ds_kv *kv, struct hearth_ds_kv_key key, void *room)
{
	const struct kv_record *record = kv_table_find(&kv->state.table, key.id, key.layer);
	uint64_t digest = 0;
	int r = record ? kv_read_digest(kv, record->position, room, &digest) : -ENOENT;

	return r == 0 && digest != record->digest ? -EBADMSG : r;
}

int64_t hearth_ds_kv_check(struct hearth_ds_kv *kv, void (*bad)(void *ctx, struct hearth_ds_kv_key key, int error), void *ctx)
{
	struct hearth_ds_kv_key *keys = NULL;
	int64_t damaged = 0;
	void *room;
	int r;

	if (!kv->state.head.checked)
		return err_set(ds_error(), -EOPNOTSUPP, "KV store %s was made without digests: there is nothing to compare with", kv->path);
	room = malloc(kv->state.head.block_bytes);
	if (!room)
		return no_memory();
	pthread_rwlock_rdlock(&kv->lock);
	r = all_keys(kv, &keys);
	for (size_t k = 0; keys && k < kv->state.table.n; k++) {
		int error = check_one(kv, keys[k], room);

		damaged += error < 0;
		if (error < 0 && bad)
			bad(ctx, keys[k], error);
	}
	pthread_rwlock_unlock(&kv->lock);
	free(keys);
	free(room);
	return r < 0 ? r : damaged;
}

void hearth_ds_kv_info(struct hearth_ds_kv *kv, struct hearth_ds_kv_info *ret)
{
	const struct kv_head *h = &kv->state.head;
	struct stat st = { 0 };

	pthread_rwlock_rdlock(&kv->lock);
	*ret = (struct hearth_ds_kv_info){ .options = { .block_bytes = h->block_bytes, .blocks_max = h->blocks_max, .layers = h->layers, .checked = h->checked },
					   .blocks = kv->state.table.n, .uncommitted = kv->changes_n, .index_bytes = kv->state.log_bytes, .recovered = kv->state.recovered };
	pthread_rwlock_unlock(&kv->lock);
	if (fstat(kv->data, &st) == 0)
		ret->file_bytes = (uint64_t)st.st_size;
}
