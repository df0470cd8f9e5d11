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
 * struct way - how a connection's bytes go to the other end
 * @reached:   by who connects: whether the other end has been reached. Return: 1, 0 (not yet), -errno.
 * @fill:      take in what is there. Return: 1, 0 (nothing for now), -ECONNRESET (the other side is gone), -errno.
 * @flush:     send what can be sent. Return: 0, -errno.
 * @name:      who the other end is
 * @done:      what is behind @at; may be NULL
 * @only_in:   the descriptor is only ever readable, also by what is no data, such as that there is room: fill() has to be called then, whatever else has come
 */
struct way {
	int (*reached)(struct conn *c);
	int (*fill)(struct conn *c);
	int (*flush)(struct conn *c);
	void (*name)(const struct conn *c, char *ret, size_t n);
	void (*done)(struct conn *c);
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
void conn_init(struct conn *c, int fd, const struct way *way, void *at);
void conn_done(struct conn *c);
int conn_reached(struct conn *c);
int conn_fill(struct conn *c);
int conn_flush(struct conn *c);
/** conn_next - the next frame, its tag checked; conn_drop() it when it is dealt with. Return: 1, 0 (not all of it has come), -EPROTO, -EACCES (not from who joined). */
int conn_next(struct conn *c, struct wire_frame *ret);
void conn_drop(struct conn *c, const struct wire_frame *f);
/** conn_blocked - whether there is something to go for which the descriptor has to be writable */
bool conn_blocked(const struct conn *c);

#endif
