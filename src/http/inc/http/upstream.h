/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HTTP_UPSTREAM_H
#define HTTP_UPSTREAM_H

#include "http/server.h"

/**
 * Connections to one HTTP server (an instance), and forwarding of requests to it. Context as in http/server.h.
 */
struct http_upstream;

struct http_upstream_config {
	int netns_fd;			/* network namespace to open sockets in, -1 = own; borrowed during http_upstream_new only (duplicated) */
	const char *ip;			/* copied */
	uint16_t port;
	unsigned max_connections;	/* busy ones; 0 = 64 */
	uint64_t idle_ns;		/* an unused connection is closed after that; 0 = 30 s */
};

/** enum http_outcome - how a forward ended */
enum http_outcome {
	HTTP_FORWARDED,			/* the response is on its way to the client in full */
	HTTP_CLIENT_GONE,		/* the client left; nothing to reply to */
	HTTP_REFUSED,			/* no connection, or closed before a byte of response */
	HTTP_DIED,			/* closed after some bytes of response */
	HTTP_BAD_RESPONSE,		/* not HTTP/1.x, smuggling oddities, or 101 */
	HTTP_DEADLINE,			/* deadline_ns passed */
};

/**
 * struct http_result - what done is told
 * @owed:   the request, when nothing has been sent and the caller must reply (502, 504, ...); otherwise NULL: the request is over
 * @status: of the response, 0 when there was none
 * @why:    one line for people, never NULL, "" for HTTP_FORWARDED; only valid during the call
 */
struct http_result {
	enum http_outcome outcome;
	struct http_request *owed;
	unsigned status;
	uint64_t body_bytes;
	const char *why;
};

typedef void (*http_done)(void *ctx, const struct http_result *result);

/**
 * struct http_forward - one forward; copied by http_upstream_send, what it points to is borrowed until done
 * @target:           replaces the client's target ("/x?y"); data NULL = as the client sent it. Must be free of spaces and control characters.
 * @request_headers:  added to the request
 * @response_headers: added to the response (and replace those of the same name)
 * @deadline_ns:      CLOCK_MONOTONIC, for the whole response; 0 = none
 * @done:             called exactly once, from the loop, never from inside http_upstream_send
 */
struct http_forward {
	struct http_request *req;
	struct http_view target;
	const struct http_header *request_headers;
	size_t n_request_headers;
	const struct http_header *response_headers;
	size_t n_response_headers;
	uint64_t deadline_ns;
	http_done done;
	void *ctx;
};

/** http_upstream_new - Return: pool, NULL with err filled in (-ENOMEM, -EINVAL: ip, -EBADF: netns_fd). Opens no connection. */
struct http_upstream *http_upstream_new(struct ev_loop *loop, const struct http_upstream_config *config, struct hearth_err *err);
/**
 * http_upstream_free - close all connections; forwards in work end with HTTP_REFUSED or HTTP_DIED, their done is called from here
 * NULL is fine; may be called from a done (of this pool too). Return: NULL.
 */
struct http_upstream *http_upstream_free(struct http_upstream *up);

/**
 * http_upstream_send - forward a request and stream its response back to the client
 *
 * Takes over req->on_abort and req->on_drain (req->user stays the caller's) and puts them back before done. Hop-by-hop headers are dropped both
 * ways, Host is kept, X-Forwarded-For and X-Forwarded-Proto are added, a chunked request goes on with a Content-Length. A connection that was
 * kept alive and turns out closed before a byte of response is replaced by a fresh one, once, for methods that are idempotent (RFC 9110 9.2.2);
 * for the others it is probed before it is used.
 * Return: 0, and done will be called; else done will not be called and the request is still owed a reply: -EAGAIN (max_connections are busy),
 * -ECONNREFUSED and other errors of socket(2) and connect(2), -EINVAL (target, headers), -ENOMEM.
 */
int http_upstream_send(struct http_upstream *up, const struct http_forward *fw);

/** http_upstream_hangup - close idle connections (before a checkpoint). Return: busy ones, still open. */
unsigned http_upstream_hangup(struct http_upstream *up);
unsigned http_upstream_busy(const struct http_upstream *up);
const char *http_outcome_name(enum http_outcome outcome);

#endif
