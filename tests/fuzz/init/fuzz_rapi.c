/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Runtime API on any bytes, over two connections, with invocations in between. 0x01 at the start of a line of input switches to the other
 * connection, 0x02 sends an invocation, 0x03 ends a connection. 0x04 at the very beginning: the runtime may become a zygote; 0x05 then ends the process that the
 * next two digits name, 0x06 cancels the newest invocation, 0x07 lets time go by, 0x08 has all rest. Whatever comes: at most one result for each invocation that was accepted, and the bytes of answers are bounded by what was sent.
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
	uint64_t now;
	bool zygote;
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
	check(f->results <= f->accepted && (f->zygote ? r->id <= f->accepted : r->id == f->accepted), "one result for the newest invocation");
	check(r->body_len <= FN_BODY_MAX && (r->body || r->body_len == 0), "body");
	check(memchr(r->content_type, 0, 1000) && memchr(r->error_type, 0, 1000), "strings end");
}

static void on_init_error(void *ctx, const struct rapi_result *r)
{
	check(((struct fuzz *)ctx)->readies == 0, "initialisation error before the first next");
}

static void on_output(void *ctx, struct rapi_conn *c) { check(rapi_conn_out(c)->len > 0, "output"); }

static void on_workers(void *ctx, unsigned count) { check(count <= 3, "workers"); }
static void on_rested(void *ctx) { check(!((struct fuzz *)ctx)->rapi.workers, "rested"); }
static uint64_t on_waits(void *ctx) { return ((struct fuzz *)ctx)->now++; }
static bool on_alive(void *ctx, pid_t pid) { return pid & 1; }
static void on_end(void *ctx, pid_t pid) { check(pid == 0 || pid > 1, "a worker of its own, or the zygote"); }

static const struct rapi_ops ops = {
	.loaded = on_ready, .ready = on_ready, .result = on_result, .init_error = on_init_error, .output = on_output,
	.workers = on_workers, .rested = on_rested, .waits = on_waits, .alive = on_alive, .end = on_end,
};

/* Return: bytes that it took of @data */
static size_t control(struct fuzz *f, const uint8_t *data, size_t len)
{
	if (data[0] == 5 && len > 2) {
		rapi_worker_ended(&f->rapi, (data[1] - '0') * 10 + data[2] - '0', data[2]);
		return 3;
	}
	if (data[0] == 6)
		rapi_cancel(&f->rapi, f->accepted);
	if (data[0] == 8)
		rapi_rest(&f->rapi);
	if (data[0] == 7) {
		f->now += 2;
		rapi_idle_end(&f->rapi, f->now);
		check(rapi_idle_due(&f->rapi) == 0 || rapi_idle_due(&f->rapi) > f->now, "due");
	}
	return 1;
}

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
	f.zygote = len && data[0] == 4;
	if (f.zygote)
		rapi_allow_fork(&f.rapi, 3, 3);
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
		} else if (f.zygote && data[at] >= 4 && data[at] <= 8) {
			at += control(&f, data + at, len - at);
		}
		for (end = at; end < len && (data[end] < 1 || data[end] > (f.zygote ? 8 : 3)); end++)
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
