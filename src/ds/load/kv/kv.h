/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_LOAD_KV_H
#define DS_LOAD_KV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "hearth/ds_load.h"

/*
 * A store is a folder: "data", blocks at positions of one size, and "index", which says what is where. The index is a log: a head, then frames. A frame is what one commit
 * changed, with a digest over it: it counts whole or not at all. A position is not written again before a frame that gives it up is on the disk. When most of the log is of the past, it
 * is replaced by a new one with a single frame.
 */

/* ---- a record: where a block is ---- */
#define KV_NOWHERE UINT64_MAX

struct kv_record {
	uint64_t id;
	uint32_t layer, zero;
	uint64_t position;              /* KV_NOWHERE: the block is dropped */
	uint64_t digest;                /* of its bytes; 0: not noted */
};

/* ---- table.c: records by key. Open addressing, linear; the caller locks. ---- */
struct kv_table {
	struct kv_record *slots;        /* free: position KV_NOWHERE */
	size_t n, cap;
};
struct kv_record *kv_table_find(const struct kv_table *t, uint64_t id, uint32_t layer);
/** kv_table_reserve - room for @n more, so that kv_table_put cannot fail. Return: 0, -ENOMEM. */
int kv_table_reserve(struct kv_table *t, size_t n);
/** kv_table_put - add or replace. Return: the position that it replaced, KV_NOWHERE. */
uint64_t kv_table_put(struct kv_table *t, const struct kv_record *r);
/** kv_table_drop - Return: its position, KV_NOWHERE: it was not there. */
uint64_t kv_table_drop(struct kv_table *t, uint64_t id, uint32_t layer);
/** kv_table_next - walk over all: *@at begins with 0. Return: NULL behind the last. */
const struct kv_record *kv_table_next(const struct kv_table *t, size_t *at);
void kv_table_done(struct kv_table *t);

/* ---- space.c: which positions are taken ---- */
struct kv_space {
	uint64_t *bits;
	uint64_t end;                   /* positions from here on are free, and have no bits */
	uint64_t max;                   /* how many there are; 0: no limit */
	uint64_t hint;                  /* all below are taken */
	size_t words_cap;
};
/** kv_space_take - @n free positions, one behind the other where there are so many. @ret: @n of them. Return: 0, -ENOSPC, -ENOMEM: none. */
int kv_space_take(struct kv_space *s, size_t n, uint64_t *ret);
/** kv_space_set - @position is taken. Return: 0, -EEXIST, -ENOSPC (beyond the limit), -ENOMEM. */
int kv_space_set(struct kv_space *s, uint64_t position);
void kv_space_give(struct kv_space *s, uint64_t position);
void kv_space_done(struct kv_space *s);

/* ---- index.c: the log ---- */
#define KV_MAGIC "HearthKV"
#define KV_VERSION 1
#define KV_FRAME_MAGIC 0x5646564bu      /* "KVFV" */

/* in the byte order of the machines that Hearth runs on, little endian; a store of another one is refused by its version */
struct kv_head {
	char magic[8];
	uint32_t version, layers;
	uint64_t block_bytes, stride_bytes, blocks_max;
	uint32_t checked, zero;
	uint64_t digest;                /* of all before it */
};
struct kv_frame {
	uint32_t magic, records;
	uint64_t sequence;              /* 1, 2, 3... in one log */
	uint64_t check;                 /* digest of all before it */
	uint64_t digest;                /* of the records */
};

struct kv_state {
	struct kv_head head;
	struct kv_table table;
	struct kv_space space;
	uint64_t sequence;              /* of the last frame */
	uint64_t log_bytes;             /* up to the end of it */
	uint64_t recovered;             /* bytes behind that: of a commit that did not come to its end */
};

/** kv_head_make - Return: 0, -EINVAL with a message. */
int kv_head_make(const struct hearth_ds_kv_options *o, struct kv_head *ret, struct hearth_err *err);
/**
 * kv_index_parse - what an index says
 * @data_bytes: of the file with blocks; a block beyond it is damage
 * @ret:        kv_state_done() it; untouched on failure
 * Return: 0, -EBADMSG (one sentence without the file's name), -ENOMEM.
 */
int kv_index_parse(const uint8_t *log, size_t n, uint64_t data_bytes, struct kv_state *ret, struct hearth_err *err);
void kv_state_done(struct kv_state *s);
/** kv_frame_make - a frame as it is written. @ret: heap memory. Return: 0, -ENOMEM. */
int kv_frame_make(uint64_t sequence, const struct kv_record *records, size_t n, void **ret, size_t *ret_n);
/** kv_index_whole - a new log: the head, and one frame with all that is in the table. Return: as kv_frame_make. */
int kv_index_whole(const struct kv_state *s, void **ret, size_t *ret_n);

/* ---- the store ---- */
struct hearth_ds_kv {
	struct hearth_ds *ds;
	char *path;
	bool writable;
	int data, index;
	struct hearth_ds_file *file;    /* data, for the library */
	_Atomic(struct hearth_ds_queue *) idle;         /* one that no transfer uses */
	pthread_rwlock_t lock;          /* all below; held for reading during gets, so that no position is written again under them; not during puts' writes */
	struct kv_state state;
	struct kv_record *changes;      /* since the last commit */
	size_t changes_n, changes_cap;
	uint64_t *given_up;             /* positions that are free after the next commit */
	size_t given_up_n, given_up_cap;
	bool torn;                      /* bytes of a failed commit are still behind the log */
	bool broken;                    /* written data did not reach the disk, or the index is lost: nothing can be committed any more */
};

/**
 * kv_transfer - read or write blocks at positions; neighbours that are neighbours in memory too travel as one
 * @order:   @n indices of @blocks and @positions, sorted by position
 * @results: by the same indices: 0, -errno
 * Return: 0, -ENOMEM: nothing was tried.
 */
int kv_transfer(struct hearth_ds_kv *kv, const struct hearth_ds_kv_block *blocks, const uint64_t *positions, const size_t *order, size_t n, bool write, int *results);
/** kv_read_digest - of the block at a position, as it is in the file. @room: a block's bytes. Return: 0, -errno. */
int kv_read_digest(const struct hearth_ds_kv *kv, uint64_t position, void *room, uint64_t *ret);

#endif
