/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_WIRE_H
#define FARMEM_POOL_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "farmem/pool.h"

/*
 * What a pool and its clients say to each other. A frame: head, n items, data of all items, one after the other; little endian. The pool speaks first:
 *
 *   pool                          client
 *   HELLO challenge       ->
 *                         <-      JOIN challenge, node, a proof for each tenant
 *   WELCOME proof, or REFUSED ->
 *                         <-      PUT, GETV, DEL, STAT: several at a time
 *   RESULT (same id)      ->
 *   MEMORY                ->      (RDMA) where a region of the pool's memory can be read
 *
 * With keys, every frame from WELCOME on has a tag (Poly1305, under a key of its direction and turn): of its head and its items. Items have the digest of their data, of whose, which and when it is (pool_store_digest).
 */

enum wire_kind { WIRE_HELLO = 1, WIRE_JOIN, WIRE_WELCOME, WIRE_REFUSED, WIRE_PUT, WIRE_GETV, WIRE_DEL, WIRE_STAT, WIRE_RESULT, WIRE_MEMORY };

#define WIRE_MAGIC       0x324c5048u    /* "HPL2" */
#define WIRE_TAG_BYTES   16u
#define WIRE_KEY_BYTES   32u
#define WIRE_PROOF_BYTES 32u
/* head.flags: HELLO: the pool wants proofs; PUT, GETV and their results: contents are sealed */
#define WIRE_KEYS   1u
#define WIRE_SEALED 2u
/* data of frames without items */
#define WIRE_SMALL_BYTES 8192u

struct wire_head {
	uint32_t magic;
	uint8_t kind, flags;
	uint16_t n;
	uint32_t id, data_bytes;
	struct farmem_object object;
	uint8_t tag[WIRE_TAG_BYTES];
};

/**
 * struct wire_item - a page
 * @held, @at: in results over RDMA, of sealed pages: that the pool has so many bytes of it in its memory, in units of WIRE_AT_BYTES from its beginning. A hint: they may be something else by the time they are read.
 */
struct wire_item {
	uint64_t page, digest;
	uint32_t epoch;
	int32_t status;
	uint16_t len, held;
	uint32_t at;
};
_Static_assert(sizeof(struct wire_head) == 56 && sizeof(struct wire_item) == 32, "as on the wire");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are little endian");

/** struct wire_join - JOIN's data begins with this; then a struct wire_proof for each tenant */
struct wire_join {
	uint8_t challenge[WIRE_KEY_BYTES];
	uint64_t node;
};

struct wire_proof {
	uint64_t tenant;
	uint8_t proof[WIRE_PROOF_BYTES];
};

#define WIRE_AT_BYTES     128u
#define WIRE_REGION_BYTES (16u << 20)

/** struct wire_memory - MEMORY's data: a part of the pool's memory can be read with @rkey, its first byte at @address */
struct wire_memory {
	uint32_t region, rkey;
	uint64_t address;
};

/* keys of frames that are made at a time */
#define WIRE_AHEAD 32u

/** struct wire_turns - one direction: each frame's tag has a key of its own, from the stream of the direction's key; @ahead: of this turn and those around it */
struct wire_turns {
	uint8_t key[WIRE_KEY_BYTES];
	uint8_t ahead[WIRE_AHEAD][WIRE_KEY_BYTES];
	uint64_t turn;
};

/** struct wire_session - tags of a connection; all zero: none */
struct wire_session {
	bool on;
	struct wire_turns in, out;
};

/** struct wire_frame - where a frame's parts are in a buffer */
struct wire_frame {
	struct wire_head head;
	const uint8_t *items, *data;
	size_t bytes;
};

/**
 * wire_decode - the frame that a buffer begins with, from whoever
 * Return: 1, 0 (not all of it is there yet), -EPROTO (there will never be one).
 * What it returns 1 for: a known kind, at most POOL_OP_PAGES items, each with at most STORE_SEALED_BYTES of data, data of exactly the items' length.
 */
int wire_decode(const void *data, size_t n, struct wire_frame *ret);
struct wire_item wire_item(const struct wire_frame *f, unsigned k);
/** wire_check - the tag of a frame that came. Return: 0, -EACCES. */
int wire_check(struct wire_session *s, const struct wire_frame *f);

/**
 * wire_begin - room for a frame at the end of a buffer: head and items; data is appended by the caller up to wire_end()
 * @ret: where it begins, from the buffer's head. Return: 0, -ENOMEM.
 */
int wire_begin(struct buf *b, const struct wire_head *head, size_t *ret);
void wire_set_item(struct buf *b, size_t frame, unsigned k, const struct wire_item *i);
/** wire_end - its length and tag */
void wire_end(struct wire_session *s, struct buf *b, size_t frame);
/** wire_small - a frame without items. Return: 0, -ENOMEM. */
int wire_small(struct wire_session *s, struct buf *b, enum wire_kind kind, uint8_t flags, const void *data, uint32_t n);

#endif
