/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Runtime API on any bytes, over two connections, with invocations in between. 0x01 at the start of a line of input switches to the other
 * connection, 0x02 sends an invocation, 0x03 ends a connection. Whatever comes: at most one result for each invocation that was accepted, and
 * the bytes of answers are bounded by what was sent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzz {
	struct rapi rapi;
	struct rapi_conn *conn[2];
	uint64_t accepted, results, result_id;
	int readies;
};

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "wrong: %s\n", what);
	abort();
}

static void on_ready(void *ctx) { ((struct fuzz *)ctx)->readies++; }

static void on_result(void *ctx, const struct rapi_result *r)
{
	struct fuzz *f = ctx;

	f->results++;
	check(f->results <= f->accepted && r->id == f->accepted, "one result for the newest invocation");
	check(r->body_len <= FN_BODY_MAX && (r->body || r->body_len == 0), "body");
	check(memchr(r->content_type, 0, 1000) && memchr(r->error_type, 0, 1000), "strings end");
}

static void on_init_error(void *ctx, const struct rapi_result *r)
{
	check(((struct fuzz *)ctx)->readies == 0, "initialisation error before the first next");
}

static void on_output(void *ctx, struct rapi_conn *c) { check(rapi_conn_out(c)->len > 0, "output"); }

static const struct rapi_ops ops = { on_ready, on_ready, on_result, on_init_error, on_output };

static void send_invocation(struct fuzz *f)
{
	static char meta[] = "request_id=a\ntrace_id=t\n";
	static uint8_t body[] = "{}";
	struct fn_view v = {
		.head = { .type = FN_INVOKE, .id = f->accepted + 1, .meta_len = sizeof meta - 1 }, .meta = meta, .body = body, .body_len = 2,
	};

	f->accepted++;          /* before: it may be answered at once, by what was received ahead */
	if (rapi_invoke(&f->rapi, &v) < 0)
		f->accepted--;
}

static void send_bytes(struct fuzz *f, int which, const uint8_t *data, size_t len)
{
	if (!f->conn[which])
		f->conn[which] = rapi_conn_new(&f->rapi);
	if (rapi_conn_input(f->conn[which], data, len) < 0 || rapi_conn_closing(f->conn[which]))
		f->conn[which] = rapi_conn_free(f->conn[which]);
	else
		buf_done(rapi_conn_out(f->conn[which]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz f = { 0 };
	size_t at = 0, end;
	int which = 0;

	rapi_init(&f.rapi, 500, &ops, &f);
	while (at < len) {
		if (data[at] == 1) {
			which ^= 1;
			at++;
		} else if (data[at] == 2) {
			send_invocation(&f);
			at++;
		} else if (data[at] == 3) {
			f.conn[which] = rapi_conn_free(f.conn[which]);
			at++;
		}
		for (end = at; end < len && (data[end] < 1 || data[end] > 3); end++)
			;
		if (end > at)
			send_bytes(&f, which, data + at, end - at);
		at = end;
	}
	rapi_conn_free(f.conn[0]);
	rapi_conn_free(f.conn[1]);
	rapi_done(&f.rapi);
	check(f.readies <= 1, "ready once");
	return 0;
}
