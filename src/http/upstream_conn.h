/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HTTP_UPSTREAM_CONN_H
#define HTTP_UPSTREAM_CONN_H

#include <ev.h>
#include <netinet/in.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "http/upstream.h"
#include "message.h"

#define UPSTREAM_HEAD_MAX (64 << 10)	/* of a response */
#define UPSTREAM_READ_BYTES (64 << 10)

/** struct upstream_conn - a connection to the instance; busy with one forward, or idle */
struct upstream_conn {
	struct http_upstream *up;
	LIST_ENTRY(upstream_conn) link;		/* in up->idle, latest first, or up->busy */
	int fd;
	struct ev_io reader, writer;
	struct ev_timer timer;
	uint64_t deadline_ns, armed_ns;		/* as in struct http_conn */
	bool idle, connecting, reused, retried;

	/* the forward in work */
	struct http_forward fw;
	void (*saved_abort)(struct http_request *req);
	void (*saved_drain)(struct http_request *req);
	struct buf out;				/* unsent head of the request; keeps its memory */
	size_t body_sent;
	bool sent;				/* all of it */

	/* its response */
	bool any;				/* a byte of it has come */
	bool head_done, keep;
	struct buf in;				/* a head that did not come in one piece */
	struct head_scan scan;
	struct body_frame frame;
	unsigned status;
	uint64_t body_bytes;
	size_t n_headers;
	struct http_header headers[HTTP_HEADERS_MAX];
};

LIST_HEAD(upstream_list, upstream_conn);

struct http_upstream {
	struct ev_loop *loop;
	int netns_fd;
	char ip[INET6_ADDRSTRLEN];
	char host[INET6_ADDRSTRLEN + 10];	/* ip:port */
	uint16_t port;
	unsigned max, n_busy;
	uint64_t idle_ns;
	struct upstream_list idle, busy;
	bool closing;
};

/* forward.c */
/** forward_check - Return: 0, -EINVAL */
int forward_check(const struct http_forward *fw);
/** forward_head - write the request's head into out. Return: 0, -ENOMEM. */
int forward_head(const struct http_forward *fw, const char *host, struct buf *out);
/**
 * forward_input - bytes of response came
 * Return: 1 response complete, 0 more to come, -EBADMSG, -ENOMEM. @ret_why: for people, on failure
 */
int forward_input(struct upstream_conn *uc, const char *data, size_t len, const char **ret_why);

#endif
