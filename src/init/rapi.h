/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_RAPI_H
#define INIT_RAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <http_parser.h>

#include "base/buf.h"
#include "fn/wire.h"

/*
 * The AWS Lambda Runtime API, 2018-06-01, as a state machine without I/O: bytes of HTTP connections go in, bytes and invocations' results come out.
 * https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 * One path is ours: POST .../runtime/hearth/loaded, before a runtime imports the function. On AWS it is a 404 that a runtime may ignore.
 *
 *   INIT --next--> WAITING --invoke--> RUNNING --response or error--> IDLE --next--> WAITING
 *   INIT --init error--> FAILED
 *
 * An invocation that comes in IDLE (the runtime answered and will ask again) waits for the runtime. One invocation at a time.
 */
#define RAPI_RESPONSE_MAX 6291556u      /* Lambda's: 6 MiB and 100 bytes */
#define RAPI_ID_MAX 128

enum rapi_state { RAPI_INIT, RAPI_IDLE, RAPI_WAITING, RAPI_RUNNING, RAPI_FAILED };

struct rapi_result {
	uint64_t id;
	enum fn_outcome outcome;
	const char *content_type, *error_type;  /* "" = none */
	const void *body;
	size_t body_len;
};

struct rapi_conn;

struct rapi_ops {
	void (*loaded)(void *ctx);                                      /* the runtime says that it is loaded: what comes now is the function's */
	void (*ready)(void *ctx);                                       /* the runtime asked for its first invocation */
	void (*result)(void *ctx, const struct rapi_result *result);
	void (*init_error)(void *ctx, const struct rapi_result *error); /* id and outcome mean nothing */
	void (*output)(void *ctx, struct rapi_conn *conn);              /* conn->out grew outside of rapi_conn_input */
};

struct rapi {
	enum rapi_state state;
	size_t response_max;
	const struct rapi_ops *ops;
	void *ctx;
	struct rapi_conn *waiter;
	/* the invocation that waits or runs */
	bool queued;
	uint64_t id, deadline_ms;
	char request_id[RAPI_ID_MAX], answered_id[RAPI_ID_MAX];
	struct buf meta, event;
};

void rapi_init(struct rapi *r, size_t response_max, const struct rapi_ops *ops, void *ctx);
void rapi_done(struct rapi *r);
/** rapi_invoke - an invocation for the runtime; copied. Return: 0, -EBUSY (one is there, or the runtime isn't ready), -ENOMEM. */
int rapi_invoke(struct rapi *r, const struct fn_view *frame);
/** rapi_running - id of the invocation that waits or runs, 0 = none */
uint64_t rapi_running(const struct rapi *r);

/** rapi_conn_new - one HTTP connection of the runtime; out: bytes to send to it, consumed by the caller. NULL: no memory. */
struct rapi_conn *rapi_conn_new(struct rapi *r);
struct rapi_conn *rapi_conn_free(struct rapi_conn *c);  /* NULL is fine; returns NULL */
/** rapi_conn_input - bytes came. Return: 0, or -EPIPE: nothing more will be understood, send out and close. */
int rapi_conn_input(struct rapi_conn *c, const void *data, size_t len);
struct buf *rapi_conn_out(struct rapi_conn *c);
/** rapi_conn_closing - close once out is sent? */
bool rapi_conn_closing(const struct rapi_conn *c);
void *rapi_conn_owner(const struct rapi_conn *c);
void rapi_conn_set_owner(struct rapi_conn *c, void *owner);

#endif
