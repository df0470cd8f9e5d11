/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_POOL_CONN_H
#define FARMEM_POOL_CONN_H

#include "pipes.h"
#include "wire.h"

/* A connection of frames, at either end: what has come and is to be read, what is to go. */

/* what may wait to go before no more is read */
#define CONN_OUT_BYTES (8u << 20)

/* more: there is more to be taken in, of which no event will tell */
struct conn {
	int fd;
	struct buf in, out;
	struct wire_session session;
	struct pipes *pipes;
	bool pipes_to_come, more;
};

/** conn_init - @fd: non-blocking; the connection's from here on. @pipes: of this end of shared memory, which the other will bring; nothing goes before. */
void conn_init(struct conn *c, int fd, bool pipes);
/** conn_share - bring that memory. Return: 0, -errno. */
int conn_share(struct conn *c);
void conn_done(struct conn *c);
/** conn_fill - take in what is there, or (shared memory) up to CONN_OUT_BYTES. Return: 1, 0 (nothing for now), -ECONNRESET (the other side is gone), -errno. */
int conn_fill(struct conn *c);
/** conn_next - the next frame, its tag checked; conn_drop() it when it is dealt with. Return: 1, 0 (not all of it has come), -EPROTO, -EACCES (not from who joined). */
int conn_next(struct conn *c, struct wire_frame *ret);
void conn_drop(struct conn *c, const struct wire_frame *f);
/** conn_flush - send what can be sent. Return: 0, -errno. */
int conn_flush(struct conn *c);
/** conn_blocked - whether there is something to go for which the descriptor has to be writable */
bool conn_blocked(const struct conn *c);

/**
 * struct place - where a pool is
 * @is_unix: a Unix socket; @shared: with memory that both ends share; @loopback: what goes there never leaves this machine
 */
struct place {
	bool is_unix, shared, loopback;
	char host[108];
	uint16_t port;
};

/** place_parse - "tcp:HOST:PORT", "unix:PATH" or "shm:PATH" of @n bytes. Return: 0, -EINVAL with message. */
int place_parse(const char *uri, size_t n, struct place *ret, struct hearth_err *err);
/** place_connect - begin; never blocks. Return: descriptor, writable once it is connected or failed; -errno. */
int place_connect(const struct place *p);
/** place_listen - @ret_port: may be NULL. Return: descriptor, -errno. */
int place_listen(const struct place *p, uint16_t *ret_port);

#endif
