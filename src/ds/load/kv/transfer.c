/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/file.h"
#include "kv.h"
#include "priv.h"

#define REAP_MAX 64

struct transfer {
	struct hearth_ds_kv *kv;
	const struct hearth_ds_kv_block *blocks;
	const uint64_t *positions;
	const size_t *order;
	size_t n;
	int *results;
	struct hearth_ds_op *ops;
	size_t *first;                  /* of each op: its first block, an index of @order; one more than there are ops */
	size_t ops_n;
};

static bool joins(const struct transfer *t, const struct hearth_ds_op *op, const struct hearth_ds_kv_block *b, uint64_t file_offset)
{
	const struct kv_head *h = &t->kv->state.head;

	return h->stride_bytes == h->block_bytes && op->memory == b->memory && op->memory_offset + op->bytes == b->memory_offset && op->file_offset + op->bytes == file_offset;
}

static void make_ops(struct transfer *t, bool write)
{
	const struct kv_head *h = &t->kv->state.head;

	for (size_t k = 0; k < t->n; k++) {
		const struct hearth_ds_kv_block *b = &t->blocks[t->order[k]];
		uint64_t at = t->positions[t->order[k]] * h->stride_bytes;

		if (t->ops_n > 0 && joins(t, &t->ops[t->ops_n - 1], b, at)) {
			t->ops[t->ops_n - 1].bytes += h->block_bytes;
		} else {
			t->ops[t->ops_n] = (struct hearth_ds_op){ .file = t->kv->file, .memory = b->memory, .memory_offset = b->memory_offset, .file_offset = at, .bytes = h->block_bytes,
								  .tag = t->ops_n, .kind = write ? HEARTH_DS_WRITE : HEARTH_DS_READ };
			t->first[t->ops_n++] = k;
		}
	}
	t->first[t->ops_n] = t->n;
}

/* an operation's result is its blocks'; where it was cut short, those that are whole are there */
static void ended(struct transfer *t, size_t op, int64_t result)
{
	uint64_t bytes = 0;

	for (size_t k = t->first[op]; k < t->first[op + 1]; k++) {
		bytes += t->kv->state.head.block_bytes;
		t->results[t->order[k]] = result < 0 ? (int)result : (uint64_t)result < bytes ? -EIO : 0;
	}
}

static int queue_take(struct hearth_ds_kv *kv, struct hearth_ds_queue **ret)
{
	*ret = atomic_exchange(&kv->idle, NULL);
	return *ret ? 0 : hearth_ds_queue_open(kv->ds, 0, ret);
}

static void queue_give(struct hearth_ds_kv *kv, struct hearth_ds_queue *q)
{
	hearth_ds_queue_close(atomic_exchange(&kv->idle, q));
}

static int run_queued(struct transfer *t)
{
	struct hearth_ds_done done[REAP_MAX];
	struct hearth_ds_queue *q;
	size_t left = t->ops_n;
	int r = queue_take(t->kv, &q);

	if (r < 0)
		return r;
	r = hearth_ds_submit(q, t->ops, t->ops_n);
	while (r == 0 && left > 0) {
		ssize_t got = hearth_ds_reap(q, done, REAP_MAX, 1, -1);

		if (got <= 0)
			r = got < 0 ? (int)got : err_set(ds_error(), -EIO, "%s: operations were lost", t->kv->path);
		for (ssize_t k = 0; k < got; k++)
			ended(t, done[k].tag, done[k].result);
		left -= got > 0 ? (size_t)got : 0;
	}
	if (r < 0)
		hearth_ds_queue_close(q);
	else
		queue_give(t->kv, q);
	return r;
}

static void run_one(struct transfer *t)
{
	const struct hearth_ds_op *op = &t->ops[0];

	ended(t, 0, op->kind == HEARTH_DS_WRITE ? hearth_ds_write(op->file, op->memory, op->memory_offset, op->file_offset, op->bytes)
						: hearth_ds_read(op->file, op->memory, op->memory_offset, op->file_offset, op->bytes));
}

int kv_transfer(struct hearth_ds_kv *kv, const struct hearth_ds_kv_block *blocks, const uint64_t *positions, const size_t *order, size_t n, bool write, int *results)
{
	struct transfer t = { .kv = kv, .blocks = blocks, .positions = positions, .order = order, .n = n, .results = results };
	int r = 0;

	if (n == 0)
		return 0;
	t.ops = reallocarray(NULL, n, sizeof(*t.ops));
	t.first = reallocarray(NULL, n + 1, sizeof(*t.first));
	if (!t.ops || !t.first) {
		r = err_set(ds_error(), -ENOMEM, "out of memory");
	} else {
		make_ops(&t, write);
		if (t.ops_n == 1)
			run_one(&t);
		else
			r = run_queued(&t);
	}
	free(t.ops);
	free(t.first);
	return r;
}

int kv_read_digest(const struct hearth_ds_kv *kv, uint64_t position, void *room, uint64_t *ret)
{
	const struct kv_head *h = &kv->state.head;
	ssize_t got = fd_pread_full(kv->data, room, h->block_bytes, (off_t)(position * h->stride_bytes));
	uint64_t digest;

	if (got < 0)
		return (int)got;
	if ((uint64_t)got < h->block_bytes)
		return -EIO;
	digest = digest_mem(room, h->block_bytes).lo;
	*ret = digest ? digest : 1;     /* 0 means that there is none */
	return 0;
}
