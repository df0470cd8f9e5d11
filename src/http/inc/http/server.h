/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct ev_loop;
struct http_server;

/**
 * An HTTP/1.1 server on a libev loop. It knows nothing about functions.
 *
 * Context of everything here: the thread that runs the loop; nothing blocks; invalid after fork.
 * Callbacks (handler, on_abort, on_drain, on_stopped) are only ever called from the loop, never from inside a reply function, so a callback may
 * reply, and code that replies need not expect to be entered again.
 */

/** struct http_view - bytes of someone else; not terminated by a NUL */
struct http_view {
	const char *data;
	size_t len;
};

static inline struct http_view http_view_of(const char *text)
{
	return (struct http_view){ text, strlen(text) };
}

/** http_view_is - equal, ASCII case ignored */
bool http_view_is(struct http_view v, const char *text);

struct http_header {
	struct http_view name, value;
};

#define HTTP_HEADERS_MAX 128		/* headers of one message; more are 431 */

/**
 * struct http_request - one complete request, body included
 *
 * Lives from the call of the handler until its reply has ended (http_reply, http_reply_error, http_reply_end, http_reply_abort) or until on_abort
 * has returned, whichever is first; every view in it just as long. A request has to be replied to exactly once unless it was aborted.
 */
struct http_request {
	struct http_view method;		/* "GET" */
	struct http_view target;		/* as sent: "/a/b?c=d" */
	struct http_view path;			/* "/a/b"; of an absolute target the part after the host; "*" */
	struct http_view query;			/* "c=d", without the '?' */
	const struct http_header *headers;
	size_t n_headers;
	struct http_view body;			/* decoded; len 0 when there is none */
	struct http_view peer;			/* the client's address as text */
	bool has_body;				/* the client sent a Content-Length or chunks, be it of no bytes */
	bool head;				/* method is HEAD */
	bool keep_alive;			/* the connection will take another request */
	uint8_t minor;				/* HTTP/1.minor */
	uint64_t received_ns;			/* CLOCK_MONOTONIC when it was complete */

	/* the handler's */
	void *user;
	void (*on_abort)(struct http_request *req);	/* the client is gone; do not reply; NULL = nobody to tell */
	void (*on_drain)(struct http_request *req);	/* http_reply_full was true and is not any more */
};

/** http_request_header - value of the first header of that name (case ignored). Return: view, data NULL when there is none. */
struct http_view http_request_header(const struct http_request *req, const char *name);

typedef void (*http_handler)(void *ctx, struct http_request *req);

/** struct http_config - 0 (NULL) takes the default in brackets */
struct http_config {
	const char *host;		/* NULL = no listener: connections come from http_server_adopt only */
	uint16_t port;			/* 0 = the kernel picks one, see http_server_port */
	size_t max_header_bytes;	/* request line and headers [32 KiB] */
	size_t max_body_bytes;		/* decoded [6 MB = 6291456] */
	size_t max_buffer_bytes;	/* unsent reply bytes of one client before http_reply_full is true [256 KiB] */
	unsigned max_connections;	/* one more is told 503 [10000] */
	uint64_t header_ns;		/* a started request's head must be complete within [10 s] */
	uint64_t body_ns;		/* in every such period a body must grow by 1 KiB, or end [10 s] */
	uint64_t idle_ns;		/* between requests [60 s] */
	uint64_t stall_ns;		/* a client that takes no byte of its reply for so long is dropped [30 s] */
};

/** struct http_counters - since the start, but for connections */
struct http_counters {
	uint64_t connections;		/* open now */
	uint64_t accepted;
	uint64_t requests;		/* handed to the handler */
	uint64_t bytes_in, bytes_out;
	uint64_t aborted;		/* clients gone before their reply was complete */
	uint64_t rejected_malformed;	/* 400, 501, 505 */
	uint64_t rejected_header_size;	/* 431 */
	uint64_t rejected_body_size;	/* 413 */
	uint64_t rejected_timeout;	/* 408: head or body too slow */
	uint64_t rejected_connections;	/* 503: max_connections */
	uint64_t stalled;		/* dropped: took no bytes for stall_ns */
};

/**
 * http_server_new - start to serve
 * @loop:    borrowed; must outlive the server
 * @config:  copied
 * @handler: called once for each complete request, from the loop
 * Return: server, NULL with err filled in (-EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -ENOMEM, ...).
 */
struct http_server *http_server_new(struct ev_loop *loop, const struct http_config *config, http_handler handler, void *ctx, struct hearth_err *err);

/**
 * http_server_stop - take no more connections, finish what runs
 * @on_stopped: called from the loop once the last connection is closed; may be NULL
 *
 * Idle connections close now; the others after their reply, which says "Connection: close". May be called again (with the same effect).
 */
void http_server_stop(struct http_server *server, void (*on_stopped)(void *ctx), void *ctx);

/** http_server_free - close everything at once; on_abort is called for every request in work. NULL is fine. Not from inside a callback. Return: NULL. */
struct http_server *http_server_free(struct http_server *server);

/** http_server_port - the port in use; 0 without a listener */
uint16_t http_server_port(const struct http_server *server);
const struct http_counters *http_server_counters(const struct http_server *server);

/** http_server_adopt - serve a connected stream socket as if accepted. Takes fd, also on failure. Return: 0, -ENOMEM, -EMFILE (max_connections). */
int http_server_adopt(struct http_server *server, int fd);

/*
 * Replies. Content-Length, Transfer-Encoding, Connection, Keep-Alive and, where missing, Date are the server's business: headers of these names
 * are left out (Date is kept). A name that is no token or a value with a control character is -EINVAL, and nothing has been sent: the request
 * still wants a reply. For HEAD, 204 and 304 body bytes are counted but not sent.
 */

/** http_reply - a whole reply; all views are copied or sent before it returns. Return: 0, -EINVAL, -ENOMEM (connection is closed, request over). */
int http_reply(struct http_request *req, unsigned status, const struct http_header *headers, size_t n, const void *body, size_t len);

/** http_reply_error - {"error":{"type":TYPE,"message":MESSAGE}} as application/json */
void http_reply_error(struct http_request *req, unsigned status, const char *type, const char *message);
/** http_reply_error_aws - {"Type":TYPE,"Message":MESSAGE} and X-Amzn-ErrorType, as AWS Lambda does */
void http_reply_error_aws(struct http_request *req, unsigned status, const char *type, const char *message);

/**
 * http_reply_begin - head of a streamed reply
 * @length: bytes to come, or -1 when not known (chunks; for HTTP/1.0 until the connection closes)
 * Return: 0, -EINVAL, -ENOMEM (no reply has begun).
 */
int http_reply_begin(struct http_request *req, unsigned status, const struct http_header *headers, size_t n, int64_t length);
/**
 * http_reply_body - the next bytes; sent or copied before it returns
 *
 * Always takes all. When http_reply_full says true afterwards, stop until on_drain; going on only costs memory.
 * Return: 0, -EPIPE (client gone; on_abort follows from the loop), -EMSGSIZE (more than length), -ENOMEM.
 */
int http_reply_body(struct http_request *req, const void *data, size_t len);
bool http_reply_full(const struct http_request *req);
/** http_reply_cork - while on, pieces are collected to leave in one write; off (or the end) sends them */
void http_reply_cork(struct http_request *req, bool on);
/** http_reply_end - the reply is complete; the request is over. Fewer bytes than announced close the connection (-EPROTO). */
int http_reply_end(struct http_request *req);
/** http_reply_abort - give up: the connection is closed, so that the client sees an incomplete reply; the request is over */
void http_reply_abort(struct http_request *req);

#endif
