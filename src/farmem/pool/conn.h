/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_CONN_H
#define FARMEM_POOL_CONN_H

#include "wire.h"

/* A connection of frames, at either end: what has come and is to be read, what is to go. */

/* what may wait to go before no more is read */
#define CONN_OUT_BYTES (8u << 20)
/* one read, and how much may have come before it is dealt with */
#define CONN_READ_BYTES (512u << 10)

struct conn;

/**
 * struct way_reads - reading of the pool's memory without the pool's doing
 * @admit: by the pool: from here on this client may
 * @lend:  by the pool: a part of its memory. Return: 0, -errno.
 * @begin: by a client: read @len bytes at @at of that part. Return: 1, 0 (not now: after the next of @next), -errno.
 * @next:  what has been read; @ret_data is valid until the next call. Return: 1, 0 (nothing).
 */
struct way_reads {
	int (*admit)(struct conn *c);
	int (*lend)(struct conn *c, void *memory, uint64_t bytes, struct wire_memory *ret);
	int (*begin)(struct conn *c, const struct wire_memory *m, uint64_t at, uint32_t len, uint64_t tag);
	int (*next)(struct conn *c, uint64_t *ret_tag, const uint8_t **ret_data);
};

/**
 * struct way - how a connection's bytes go to the other end
 * @reached:   by who connects: whether the other end has been reached. Return: 1, 0 (not yet), -errno.
 * @fill:      take in what is there. Return: 1, 0 (nothing for now), -ECONNRESET (the other side is gone), -errno.
 * @flush:     send what can be sent. Return: 0, -errno.
 * @name:      who the other end is
 * @gone:      whether all that was flushed has arrived; NULL: it will, also after the end of the connection
 * @again:     have the descriptor be readable once, though nothing comes; NULL: it is writable at such times
 * @done:      what is behind @at; may be NULL
 * @reads:     NULL: there is no such thing
 * @only_in:   the descriptor is only ever readable, also by what is no data, such as that there is room: fill() has to be called then, whatever else has come
 */
struct way {
	int (*reached)(struct conn *c);
	int (*fill)(struct conn *c);
	int (*flush)(struct conn *c);
	void (*name)(const struct conn *c, char *ret, size_t n);
	bool (*gone)(const struct conn *c);
	void (*again)(struct conn *c);
	void (*done)(struct conn *c);
	const struct way_reads *reads;
	bool only_in;
};

/* at: the way's. more: there is more to be taken in, of which no event will tell */
struct conn {
	int fd;
	const struct way *way;
	void *at;
	struct buf in, out;
	struct wire_session session;
	bool more;
};

/** conn_init - @fd: non-blocking; the connection's from here on */
static inline void conn_init(struct conn *c, int fd, const struct way *way, void *at)
{
	*c = (struct conn){ .fd = fd, .way = way, .at = at };
}

void conn_done(struct conn *c);
int conn_reached(struct conn *c);
int conn_fill(struct conn *c);
int conn_flush(struct conn *c);
/** conn_next - the next frame, its tag checked; conn_drop() it when it is dealt with. Return: 1, 0 (not all of it has come), -EPROTO, -EACCES (not from who joined). */
int conn_next(struct conn *c, struct wire_frame *ret);
void conn_drop(struct conn *c, const struct wire_frame *f);
/** conn_idle - nothing is to go any more */
bool conn_idle(const struct conn *c);
/** conn_blocked - whether there is something to go for which the descriptor has to be writable */
bool conn_blocked(const struct conn *c);

#endif
