/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HTTP_CONN_H
#define HTTP_CONN_H

#include <ev.h>
#include <netinet/in.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "http/server.h"
#include "message.h"

#define CONN_BLOCK_BYTES 16384		/* what a connection with unread input holds; idle ones hold none */
#define CONN_SPARE_MAX 256		/* blocks and buffers kept for reuse; what the busiest moment needed beyond that is given back */
#define CONN_SMALL_BYTES 16384		/* pieces up to here are copied to go out with their head, larger ones are written from where they are */
#define CONN_LINGER_NS (2 * NS_PER_S)	/* how long a rejected client's remaining bytes are read and dropped, so that it gets to see why */

/** struct conn_block - unread input and the headers that point into it; never moves while a request is in work */
struct conn_block {
	struct conn_block *next;
	size_t cap;
	struct http_header headers[HTTP_HEADERS_MAX];
	char data[];
};

enum conn_state {
	CONN_HEAD,		/* waiting for a head, or for the rest of one */
	CONN_BODY,
	CONN_WORK,		/* a request is with the handler */
	CONN_LINGER,		/* replied and shut down; input is dropped until the client closes too */
	CONN_CLOSED,
};

struct http_conn {
	struct http_request req;
	struct http_server *server;
	LIST_ENTRY(http_conn) link;		/* all open ones */
	struct http_conn *next_spare;
	unsigned refs;				/* callbacks at work on it, and 1 for being open */
	int fd;
	struct ev_io reader, writer;
	struct ev_timer timer;
	uint64_t deadline_ns;			/* 0 = none */
	uint64_t armed_ns;			/* when the timer fires, 0 = not armed; it is only ever moved to be earlier */
	enum conn_state state;
	bool processing;			/* conn_process is on the stack */
	bool broken;				/* writing failed */
	bool close_after;			/* the reply in work is the last one */
	bool linger;				/* the client may still be sending */
	bool head_started;			/* bytes of a head are here, its time is running */
	bool timed;				/* the time of the present head or body is running */
	bool handled;				/* req is with the handler, not one of our own rejections */

	/* input: block->data[start, end) is unread or belongs to the request in work */
	struct conn_block *block;
	size_t start, end;
	struct head_scan scan;
	struct body_frame frame;
	size_t head_len;
	size_t body_end;			/* end of the request in work, in the block */
	struct buf body;			/* a body that did not arrive in one piece */
	uint64_t body_raw, body_mark;		/* bytes of body seen, framing included; at the start of the present period */

	bool too_many;				/* headers */

	/* output */
	struct buf out;				/* unsent */
	bool unsent;				/* nothing of the present reply has left */
	bool begun, chunked, no_body, corked, was_full;
	bool until_close;			/* body ends where the connection does */
	uint64_t left;				/* of the announced length */

	void *forward;				/* the upstream connection that works on req */
	char peer[INET6_ADDRSTRLEN];
};

LIST_HEAD(conn_list, http_conn);

struct http_server {
	struct ev_loop *loop;
	struct http_config config;
	http_handler handler;
	void *ctx;
	int fd;
	uint16_t port;
	struct ev_io acceptor;
	struct ev_timer pause;			/* the listener rests while descriptors are short */
	struct ev_timer stopped;		/* calls on_stopped from the loop */
	bool stopping;
	void (*on_stopped)(void *ctx);
	void *stopped_ctx;
	struct conn_list conns;
	struct http_counters counters;
	struct http_conn *spare_conns;
	unsigned n_spare_conns;
	struct conn_block *spare_blocks;
	unsigned n_spare_blocks;
	struct buf spare_bufs[CONN_SPARE_MAX];
	unsigned n_spare_bufs;
	time_t date_s;				/* second of the text below */
	char date[64];
};

/* server.c: pools */
struct conn_block *server_block_get(struct http_server *server, size_t cap);
void server_block_put(struct http_server *server, struct conn_block *block);
void server_buf_get(struct http_server *server, struct buf *b);
void server_buf_put(struct http_server *server, struct buf *b);
void server_conn_gone(struct http_server *server);	/* one is closed: the last of a stopping server tells its owner */

/* conn.c */
int conn_new(struct http_server *server, int fd, const char *peer);
void conn_close(struct http_conn *c);			/* no callback is called */
void conn_abort(struct http_conn *c);			/* close, and tell the handler's side; only from the loop */
void conn_quit_idle(struct http_conn *c);		/* the server stops */
void conn_deadline(struct http_conn *c, uint64_t at_ns);
void conn_request_over(struct http_conn *c);		/* the reply has ended */
static inline void conn_ref(struct http_conn *c) { c->refs++; }
void conn_unref(struct http_conn *c);
/** conn_write - what is queued, then data; the rest is queued. Return: 0, -EPIPE, -ENOMEM: broken, the loop will see to it. */
/** conn_queue - keep for later. Return: 0, -ENOMEM: broken. */
int conn_queue(struct http_conn *c, const void *data, size_t len);
int conn_write(struct http_conn *c, const void *data, size_t len);

/* reply.c */
/** reply_take_back - forget a reply that has begun, if nothing of it has left. Return: it is owed again. */
bool reply_take_back(struct http_conn *c);
void reply_reject(struct http_conn *c, unsigned status, const char *type, const char *message);

static inline struct http_conn *conn_of(const struct http_request *req) { return (struct http_conn *)req; }

#endif
