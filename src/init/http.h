/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_HTTP_H
#define INIT_HTTP_H

#include "loop.h"
#include "rapi.h"

/* The Runtime API's TCP side: 127.0.0.1:port. */
struct http_conn;

struct http {
	struct loop *loop;
	struct rapi *rapi;
	struct loop_io listener;
	struct http_conn *conns;
	unsigned count, max;
};

/** http_init - @workers: that each have a connection for as long as they live. Return: 0, -errno. */
int http_init(struct http *h, struct loop *loop, struct rapi *rapi, uint16_t port, unsigned workers);
void http_done(struct http *h);
/** http_output - send what a connection has to say; for rapi_ops.output */
void http_output(struct rapi_conn *c);

#endif
