/* SPDX-License-Identifier: Apache-2.0 */
/* The Runtime API: tables of what a runtime sends, and what it and hearthd get */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rapi.h"

#define NEXT "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"
#define POST(path, headers, length, body) "POST /2018-06-01/runtime/" path " HTTP/1.1\r\n" headers "Content-Length: " length "\r\n\r\n" body
#define OK_202 "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"status\":\"OK\"}\n"

struct bench {
	struct rapi rapi;
	struct rapi_conn *conn;
	char log[4096];         /* what hearthd got */
	size_t log_len, last_body_len;
};

static void note(struct bench *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct bench *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	b->log_len += (size_t)vsnprintf(b->log + b->log_len, sizeof b->log - b->log_len, fmt, args);
	va_end(args);
}

static void on_loaded(void *ctx) { note(ctx, "loaded;"); }
static void on_ready(void *ctx) { note(ctx, "ready;"); }

static void on_result(void *ctx, const struct rapi_result *r)
{
	struct bench *b = ctx;

	b->last_body_len = r->body_len;
	note(b, "%llu,%d,%s,%s,%.*s;", (unsigned long long)r->id, (int)r->outcome, r->content_type, r->error_type,
		(int)(r->body_len < 100 ? r->body_len : 100), r->body_len ? (const char *)r->body : "");
}

static void on_init_error(void *ctx, const struct rapi_result *r)
{
	note(ctx, "init_error,%s,%.*s;", r->error_type, (int)r->body_len, r->body_len ? (const char *)r->body : "");
}

static void on_output(void *ctx, struct rapi_conn *c) { note(ctx, "output;"); }

static const struct rapi_ops ops = { .loaded = on_loaded, .ready = on_ready, .result = on_result, .init_error = on_init_error, .output = on_output };

static void start(struct bench *b)
{
	memset(b, 0, sizeof *b);
	rapi_init(&b->rapi, 1000, &ops, b);
	b->conn = rapi_conn_new(&b->rapi);
	assert_non_null(b->conn);
}

static void finish(struct bench *b)
{
	rapi_conn_free(b->conn);
	rapi_done(&b->rapi);
}

static int invoke(struct bench *b, uint64_t id, const char *meta, const char *body)
{
	struct fn_view v = {
		.head = { .type = FN_INVOKE, .id = id, .arg = 99, .meta_len = (uint16_t)strlen(meta) },
		.meta = (char *)meta, .body = (uint8_t *)body, .body_len = strlen(body),
	};

	return rapi_invoke(&b->rapi, &v);
}

/* A step: an invocation if meta is given, else bytes from the runtime; then what the runtime and hearthd got since the last step. */
struct step { uint64_t id; const char *meta, *sent, *answer, *log; };

static void expect_text(const char *what, const char *got, size_t len, const char *wanted, size_t step)
{
	if (wanted[0] ? strncmp(got, wanted, strlen(wanted)) != 0 && !strstr(got, wanted) : len > 0)
		fail_msg("step %zu, %s: got \"%s\" instead of \"%s\"", step, what, got, wanted);
}

static void run_step(struct bench *b, const struct step *s, size_t number, size_t piece)
{
	struct buf *out = rapi_conn_out(b->conn);
	size_t len = strlen(s->sent), at, n;

	if (s->meta) {
		int ret = invoke(b, s->id, s->meta, s->sent);

		if (ret < 0)
			note(b, "refused;");
	} else {
		for (at = 0; at < len; at += n) {
			n = len - at < piece ? len - at : piece;
			if (rapi_conn_input(b->conn, s->sent + at, n) < 0) {
				note(b, "closed;");
				break;
			}
		}
	}
	assert_int_equal(buf_append(out, "", 1), 0);
	expect_text("answer", (char *)buf_head(out), out->len - 1, s->answer, number);
	expect_text("hearthd", b->log, b->log_len, s->log, number);
	buf_done(out);
	b->log_len = 0;
	b->log[0] = 0;
}

/* Every table is run with its bytes in one piece, and byte by byte. */
static void run(const struct step *steps, size_t count)
{
	static const size_t pieces[] = { 1 << 20, 1, 7 };
	struct bench b;
	size_t i, p;

	for (p = 0; p < sizeof pieces / sizeof *pieces; p++) {
		start(&b);
		for (i = 0; i < count; i++)
			run_step(&b, &steps[i], i, pieces[p]);
		finish(&b);
	}
}
#define RUN(...) do { static const struct step steps[] = { __VA_ARGS__ }; run(steps, sizeof steps / sizeof *steps); } while (0)

static void an_invocation(void **state)
{
	RUN({ 0, NULL, NEXT, "", "ready;" },
	    { 1, "request_id=abc\ntrace_id=T\narn=A\nclient_context=C\ncognito_identity=I\ncontent_type=text/x\n", "event",
	      "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: abc\r\nLambda-Runtime-Deadline-Ms: 99\r\nContent-Type: text/x\r\n"
	      "Lambda-Runtime-Invoked-Function-Arn: A\r\nLambda-Runtime-Trace-Id: T\r\nLambda-Runtime-Client-Context: C\r\n"
	      "Lambda-Runtime-Cognito-Identity: I\r\nContent-Length: 5\r\n\r\nevent", "output;" },
	    { 0, NULL, POST("invocation/abc/response", "Content-Type: text/y\r\n", "3", "yes"), OK_202, "1,0,text/y,,yes;" },
	    { 0, NULL, NEXT, "", "" },
	    { 2, "request_id=def\n", "", "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n", "output;" },
	    { 0, NULL, POST("invocation/def/error", "lambda-runtime-function-error-type: E.T\r\n", "2", "{}"), OK_202, "2,1,,E.T,{};" });
}

static void invocation_before_the_runtime_asks_again(void **state)
{
	RUN({ 1, "request_id=a\n", "x", "", "refused;" },
	    { 0, NULL, NEXT, "", "ready;" }, { 1, "request_id=a\n", "x", "200 OK", "output;" },
	    { 2, "request_id=b\n", "x", "", "refused;" },
	    { 0, NULL, POST("invocation/a/response", "", "0", ""), OK_202, "1,0,,,;" },
	    { 2, "request_id=b\n", "y", "", "" }, { 3, "request_id=c\n", "z", "", "refused;" },
	    { 0, NULL, NEXT, "Request-Id: b\r\n", "" });
}

static void wrong_ids_and_states(void **state)
{
	RUN({ 0, NULL, POST("invocation/a/response", "", "0", ""), "400 Bad Request", "" },
	    { 0, NULL, NEXT, "", "ready;" }, { 1, "request_id=a\n", "x", "200 OK", "output;" },
	    { 0, NULL, NEXT, "{\"errorMessage\":\"State transition from Running to Ready failed for runtime. Error: State transition is not allowed\",\"errorType\":\"InvalidStateTransition\"}", "" },
	    { 0, NULL, POST("invocation/b/response", "", "1", "x"), "{\"errorMessage\":\"Invalid request ID\",\"errorType\":\"InvalidRequestID\"}", "" },
	    { 0, NULL, POST("invocation/b/error", "", "1", "x"), "400 Bad Request", "" },
	    { 0, NULL, POST("init/error", "", "1", "x"), "403 Forbidden", "" },
	    { 0, NULL, POST("invocation/a/response", "", "1", "x"), OK_202, "1,0,,,x;" },
	    { 0, NULL, POST("invocation/a/response", "", "1", "y"), "403 Forbidden", "" },
	    { 0, NULL, POST("invocation/a/error", "", "1", "y"), "from InvocationResponseSent to InvocationErrorResponse", "" });
}

static void wrong_paths_and_methods(void **state)
{
	RUN({ 0, NULL, "GET / HTTP/1.1\r\n\r\n", "404 Not Found", "" },
	    { 0, NULL, "GET /2018-06-01/runtime/invocation/next/x HTTP/1.1\r\n\r\n", "404 Not Found", "" },
	    { 0, NULL, "GET /2018-06-01/runtime/invocation/x HTTP/1.1\r\n\r\n", "404 Not Found", "" },
	    { 0, NULL, "GET /2018-06-01/runtime/invocation//response HTTP/1.1\r\n\r\n", "404 Not Found", "" },
	    { 0, NULL, "GET /2018-06-01/runtime/invocation/x/response/ HTTP/1.1\r\n\r\n", "404 Not Found", "" },
	    { 0, NULL, "POST /2018-06-01/runtime/invocation/next HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", "405 Method Not Allowed", "" },
	    { 0, NULL, "GET /2018-06-01/runtime/invocation/x/response HTTP/1.1\r\n\r\n", "{\"errorMessage\":\"This path is not served with this method\",\"errorType\":\"MethodNotAllowed\"}", "" },
	    { 0, NULL, "PUT /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405", "" },
	    { 0, NULL, "GET /2018-06-01/runtime/invocation/next?x=1 HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n", "", "ready;" },
	    { 1, "request_id=a\n", "x", "200 OK", "output;" });
}

static void initialisation_error(void **state)
{
	RUN({ 0, NULL, POST("init/error", "Lambda-Runtime-Function-Error-Type: Runtime.X\r\n", "4", "{ a}"), OK_202, "init_error,Runtime.X,{ a};" },
	    { 0, NULL, NEXT, "from InitError to Ready", "" },
	    { 0, NULL, POST("init/error", "", "1", "x"), "403", "" },
	    { 1, "request_id=a\n", "x", "", "refused;" });
}

#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define STREAMED(path, rest) "POST /2018-06-01/runtime/" path " HTTP/1.1\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n" CHUNKED \
	"Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n" rest

static void chunks_and_streams(void **state)
{
	RUN({ 0, NULL, NEXT, "", "ready;" }, { 1, "request_id=a\n", "x", "200 OK", "output;" },
	    { 0, NULL, "POST /2018-06-01/runtime/invocation/a/response HTTP/1.1\r\n" CHUNKED "\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", OK_202, "1,0,,,abcde;" },
	    { 0, NULL, NEXT, "", "" }, { 2, "request_id=b\n", "x", "200 OK", "output;" },
	    { 0, NULL, STREAMED("invocation/b/response", "3\r\nabc\r\n0\r\n\r\n"), OK_202, "2,0,,,abc;" },
	    { 0, NULL, NEXT, "", "" }, { 3, "request_id=c\n", "x", "200 OK", "output;" },
	    { 0, NULL, STREAMED("invocation/c/response", "3\r\nabc\r\n0\r\nLambda-Runtime-Function-Error-Type: S.E\r\nLambda-Runtime-Function-Error-Body: eyJhIjoxfQ==\r\n\r\n"),
	      OK_202, "3,1,application/json,S.E,{\"a\":1};" });
}

static void expect_continue_and_pipelining(void **state)
{
	RUN({ 0, NULL, NEXT, "", "ready;" }, { 1, "request_id=a\n", "x", "200 OK", "output;" },
	    { 0, NULL, POST("invocation/a/response", "Expect: 100-continue\r\n", "1", "x") NEXT, "HTTP/1.1 100 Continue\r\n\r\n" OK_202, "1,0,,,x;" },
	    { 0, NULL, "GET /ahead HTTP/1.1\r\n\r\n", "", "" },
	    { 2, "request_id=b\n", "e", "Content-Length: 1\r\n\r\neHTTP/1.1 404 Not Found", "output;" },
	    { 0, NULL, "POST /2018-06-01/runtime/invocation/b/response HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", OK_202, "2,0,,,x;closed;" });
}

static void no_http(void **state)
{
	RUN({ 0, NULL, "\x16\x03\x01\x02\r\n\r\n", "400 Bad Request", "closed;" });
	RUN({ 0, NULL, "GET / FTP/1.1\r\n\r\n", "400 Bad Request", "closed;" });
	RUN({ 0, NULL, "POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", "400 Bad Request", "closed;" });
	RUN({ 0, NULL, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400 Bad Request", "closed;" });
}

static void odd_request_ids_are_replaced(void **state)
{
	RUN({ 0, NULL, NEXT, "", "ready;" },
	    { 0x123456789abcdef0, "request_id=a/../b\ntrace_id=x\ry\n", "x", "Lambda-Runtime-Aws-Request-Id: 00001234-0000-4000-8000-56789abcdef0\r\nLambda-Runtime-Deadline-Ms: 99\r\nContent-Type: application/json\r\nContent-Length", "output;" },
	    { 0, NULL, POST("invocation/00001234-0000-4000-8000-56789abcdef0/response", "", "0", ""), OK_202, "1311768467463790320,0,,,;" });
}

static void too_large(void **state)
{
	char body[1200], request[1500];
	struct bench b;
	int n;

	memset(body, 'x', sizeof body);
	for (n = 1000; n <= 1001; n++) {
		struct step steps[] = {
			{ 0, NULL, NEXT, "", "ready;" }, { 1, "request_id=a\n", "e", "200 OK", "output;" },
			{ 0, NULL, request, n == 1000 ? OK_202 : "413 Request Entity Too Large", n == 1000 ? "1,0,,,xxx" : "1,1,,Function.ResponseSizeTooLarge,{\"errorMessage\"" },
			{ 0, NULL, NEXT, "", "" },
		};
		size_t i;

		snprintf(request, sizeof request, POST("invocation/a/response", "", "%d", "%.*s"), n, n, body);
		start(&b);
		for (i = 0; i < 4; i++)
			run_step(&b, &steps[i], i, 100);
		finish(&b);
	}
}

static void expect_running(const struct rapi *r, uint64_t id)
{
	struct buf ids = { 0 };

	assert_int_equal(rapi_running(r, &ids), 0);
	assert_int_equal(ids.len, sizeof id);
	assert_memory_equal(buf_head(&ids), &id, sizeof id);
	buf_done(&ids);
}

static void a_waiting_connection_that_ends(void **state)
{
	struct bench b;
	struct rapi_conn *second;

	start(&b);
	assert_int_equal(rapi_conn_input(b.conn, NEXT, strlen(NEXT)), 0);
	second = rapi_conn_new(&b.rapi);
	assert_int_equal(rapi_conn_input(second, NEXT, strlen(NEXT)), 0);
	assert_non_null(strstr((char *)buf_head(rapi_conn_out(second)), "from Ready to Ready"));
	buf_done(rapi_conn_out(second));
	b.conn = rapi_conn_free(b.conn);
	assert_int_equal(invoke(&b, 1, "request_id=a\n", "x"), 0);
	expect_running(&b.rapi, 1);
	assert_int_equal(rapi_conn_input(second, NEXT, strlen(NEXT)), 0);
	assert_non_null(strstr((char *)buf_head(rapi_conn_out(second)), "200 OK"));
	rapi_conn_free(second);
	expect_running(&b.rapi, 1);
	finish(&b);
}

/* said before the function is loaded; later it is out of turn */
static void runtime_loaded(void **state)
{
	RUN({ 0, NULL, POST("hearth/loaded", "", "0", ""), OK_202, "loaded;" },
	    { 0, NULL, "GET /2018-06-01/runtime/hearth/loaded HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", "" },
	    { 0, NULL, NEXT, "", "ready;" },
	    { 1, "request_id=a\n", "x", "200 OK", "output;" },
	    { 0, NULL, POST("hearth/loaded", "", "0", ""), "from Running to Loaded", "" });
}

/* ---- a zygote and its workers: several connections ---- */

#define FORK(headers) "GET /2018-06-01/runtime/hearth/fork HTTP/1.1\r\n" headers "\r\n"
#define NEXT_OF(pid) "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHearth-Worker: " pid "\r\n\r\n"
#define RESPONSE_OF(pid, id) POST("invocation/" id "/response", "Hearth-Worker: " pid "\r\n", "0", "")

struct farm {
	struct bench b;                 /* first: what the ops get. Its connection is the zygote's. */
	struct rapi_conn *worker[4];
	uint64_t now;
	pid_t dead;
};

static void on_workers(void *ctx, unsigned count) { note(ctx, "workers %u;", count); }
static uint64_t on_waits(void *ctx) { return ++((struct farm *)ctx)->now; }
static void on_rested(void *ctx) { note(ctx, "rested;"); }
static bool on_alive(void *ctx, pid_t pid) { return pid != ((struct farm *)ctx)->dead; }
static void on_end(void *ctx, pid_t pid) { note(ctx, "end %d;", (int)pid); }
static void no_output(void *ctx, struct rapi_conn *c) {}

static const struct rapi_ops farm_ops = {
	.loaded = on_loaded, .ready = on_ready, .result = on_result, .init_error = on_init_error, .output = no_output,
	.workers = on_workers, .rested = on_rested, .waits = on_waits, .alive = on_alive, .end = on_end,
};

static void farm_start(struct farm *f, unsigned max)
{
	memset(f, 0, sizeof *f);
	rapi_init(&f->b.rapi, 1000, &farm_ops, f);
	rapi_allow_fork(&f->b.rapi, max, 10);
	f->b.conn = rapi_conn_new(&f->b.rapi);
	for (size_t i = 0; i < 4; i++)
		f->worker[i] = rapi_conn_new(&f->b.rapi);
}

static void farm_finish(struct farm *f)
{
	for (size_t i = 0; i < 4; i++)
		rapi_conn_free(f->worker[i]);
	finish(&f->b);
}

/* what a connection was sent, and what hearthd was told, since the last look; "" nothing */
static void told(struct farm *f, struct rapi_conn *c, const char *answer, const char *log)
{
	struct buf *out = rapi_conn_out(c);

	assert_int_equal(buf_append(out, "", 1), 0);
	expect_text("answer", (char *)buf_head(out), out->len - 1, answer, 0);
	expect_text("hearthd", f->b.log, f->b.log_len, log, 0);
	buf_done(out);
	f->b.log_len = 0;
	f->b.log[0] = 0;
}

static void says(struct farm *f, struct rapi_conn *c, const char *request, const char *answer, const char *log)
{
	assert_int_equal(rapi_conn_input(c, request, strlen(request)), 0);
	told(f, c, answer, log);
}

/* a worker that waits for its first call: one call brought it, and is over */
static void worker_up(struct farm *f, size_t i, const char *next, const char *response, const char *asks)
{
	assert_int_equal(invoke(&f->b, 100 + i, "request_id=x\n", "x"), 0);
	told(f, f->b.conn, "{\"action\":\"fork\"}", "");
	says(f, f->worker[i], next, "Request-Id: x\r\n", "workers");
	says(f, f->b.conn, asks, "", "");
	says(f, f->worker[i], response, OK_202, "10");
	says(f, f->worker[i], next, "", "");
}

static void zygote_and_workers(void **state)
{
	struct farm f;

	farm_start(&f, 2);
	says(&f, f.b.conn, FORK(""), "", "ready;");
	assert_true(rapi_is_zygote(&f.b.rapi));
	says(&f, f.worker[0], NEXT, "from Zygote to Ready", "");
	says(&f, f.worker[0], FORK(""), "from Zygote to Zygote", "");
	says(&f, f.worker[0], NEXT_OF("77"), "UnknownWorker", "");
	assert_int_equal(invoke(&f.b, 1, "request_id=a\n", "x"), 0);
	told(&f, f.b.conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{\"action\":\"fork\"}\n", "");
	says(&f, f.worker[3], NEXT_OF("-1"), "UnknownWorker", "");
	says(&f, f.worker[3], NEXT_OF("1"), "UnknownWorker", "");
	says(&f, f.worker[3], NEXT_OF("12x"), "UnknownWorker", "");
	/* the second call has to wait until the zygote has said what became of the first fork */
	assert_int_equal(invoke(&f.b, 2, "request_id=b\n", "x"), 0);
	assert_int_equal(invoke(&f.b, 3, "request_id=c\n", "x"), -EBUSY);
	says(&f, f.b.conn, FORK("Hearth-Forked: 11\r\n"), "fork", "workers 1;");
	says(&f, f.worker[1], NEXT_OF("12"), "Request-Id: a\r\n", "workers 2;");
	says(&f, f.b.conn, FORK("Hearth-Forked: 12\r\n"), "", "");
	says(&f, f.worker[0], NEXT_OF("11"), "Request-Id: b\r\n", "");
	/* an answer to what another has is no answer, nor is one of nobody */
	says(&f, f.worker[0], RESPONSE_OF("11", "a"), "InvalidRequestID", "");
	says(&f, f.worker[0], RESPONSE_OF("13", "a"), "403 Forbidden", "");
	says(&f, f.worker[0], RESPONSE_OF("x", "a"), "UnknownWorker", "");
	says(&f, f.worker[0], POST("invocation/a/response", "", "0", ""), "400 Bad Request", "");
	says(&f, f.worker[0], NEXT_OF("11"), "from Running to Ready", "");
	says(&f, f.worker[0], RESPONSE_OF("11", "b"), OK_202, "2,0,,,;");
	says(&f, f.worker[0], RESPONSE_OF("11", "b"), "from InvocationResponseSent to InvocationResponse", "");
	says(&f, f.worker[1], RESPONSE_OF("12", "a"), OK_202, "1,0,,,;");
	says(&f, f.worker[0], NEXT_OF("11"), "", "");
	says(&f, f.worker[1], NEXT_OF("12"), "", "");
	/* the one that came last is taken, by a connection of its own again */
	assert_int_equal(invoke(&f.b, 4, "request_id=d\n", "x"), 0);
	told(&f, f.worker[0], "", "");
	told(&f, f.worker[1], "Request-Id: d\r\n", "");
	says(&f, f.worker[2], RESPONSE_OF("12", "d"), OK_202, "4,0,,,;");
	farm_finish(&f);
}

static void no_zygote_unless_it_may(void **state)
{
	RUN({ 0, NULL, FORK(""), "404 Not Found", "" }, { 0, NULL, NEXT, "", "ready;" });
	RUN({ 0, NULL, "POST /2018-06-01/runtime/hearth/fork HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405", "" });
}

/* a runtime that does not fork has one invocation at a time, but another may wait */
static void may_fork_and_does_not(void **state)
{
	struct farm f;

	farm_start(&f, 4);
	says(&f, f.b.conn, NEXT, "", "ready;");
	assert_false(rapi_is_zygote(&f.b.rapi));
	says(&f, f.worker[0], FORK(""), "from Ready to Zygote", "");
	assert_int_equal(invoke(&f.b, 1, "request_id=a\n", "x"), 0);
	told(&f, f.b.conn, "Request-Id: a\r\n", "");
	rapi_cancel(&f.b.rapi, 1);
	says(&f, f.b.conn, POST("invocation/a/response", "", "0", ""), OK_202, "1,0,,,;");
	farm_finish(&f);
}

/* a zygote with one worker, 11, that has call 1 */
static void farm_busy(struct farm *f, unsigned workers)
{
	farm_start(f, workers);
	says(f, f->b.conn, FORK(""), "", "ready;");
	worker_up(f, 0, NEXT_OF("11"), RESPONSE_OF("11", "x"), FORK("Hearth-Forked: 11\r\n"));
	assert_int_equal(invoke(&f->b, 1, "request_id=a\n", "x"), 0);
	told(f, f->worker[0], "Request-Id: a\r\n", "");
}

static void worker_that_dies(void **state)
{
	struct farm f;

	farm_busy(&f, 2);
	assert_int_equal(invoke(&f.b, 2, "request_id=b\n", "x"), 0);
	told(&f, f.b.conn, "fork", "");
	rapi_worker_ended(&f.b.rapi, 5, 0);     /* somebody else */
	rapi_worker_ended(&f.b.rapi, 11, 9);
	told(&f, f.worker[0], "", "1,3,,,was killed by signal 9 (Killed);workers 0;");
	/* the next has a fresh one, on which what is left of the old has no claim */
	says(&f, f.worker[0], RESPONSE_OF("11", "b"), "UnknownWorker", "");
	says(&f, f.worker[1], NEXT_OF("12"), "Request-Id: b\r\n", "workers 1;");
	rapi_worker_ended(&f.b.rapi, 12, 3 << 8);
	told(&f, f.worker[1], "", "2,3,,,exited with status 3;workers 0;");
	farm_finish(&f);
}

static void forks_that_fail(void **state)
{
	struct farm f;

	farm_start(&f, 2);
	says(&f, f.b.conn, FORK(""), "", "ready;");
	assert_int_equal(invoke(&f.b, 1, "request_id=a\n", "x"), 0);
	told(&f, f.b.conn, "fork", "");
	says(&f, f.b.conn, FORK("Hearth-Fork-Error: no room\r\n"), "", "1,3,,,could not be forked: no room;");
	assert_int_equal(invoke(&f.b, 2, "request_id=b\n", "x"), 0);
	told(&f, f.b.conn, "fork", "");
	f.dead = 12;                            /* reaped before its zygote told of it */
	says(&f, f.b.conn, FORK("Hearth-Forked: 12\r\n"), "", "2,3,,,ended before it asked for a call;");
	assert_int_equal(invoke(&f.b, 3, "request_id=c\n", "x"), 0);
	told(&f, f.b.conn, "fork", "");
	says(&f, f.b.conn, FORK("Hearth-Forked: 13\r\n"), "", "workers 1;");
	rapi_worker_ended(&f.b.rapi, 13, 1 << 8);
	told(&f, f.b.conn, "", "workers 0;");
	farm_finish(&f);

	/* with one that works, calls wait for it, and the fork is tried again for the next one */
	farm_busy(&f, 3);
	assert_int_equal(invoke(&f.b, 2, "request_id=b\n", "x"), 0);
	told(&f, f.b.conn, "fork", "");
	says(&f, f.b.conn, FORK("Hearth-Fork-Error: no room\r\n"), "", "");
	assert_int_equal(invoke(&f.b, 3, "request_id=c\n", "x"), 0);
	told(&f, f.b.conn, "fork", "");
	says(&f, f.b.conn, FORK(""), "", "");   /* says nothing: failed, too */
	says(&f, f.worker[0], RESPONSE_OF("11", "a"), OK_202, "1,0,,,;");
	says(&f, f.worker[0], NEXT_OF("11"), "Request-Id: b\r\n", "");
	farm_finish(&f);
}

static void cancelled(void **state)
{
	struct farm f;

	farm_busy(&f, 2);
	rapi_cancel(&f.b.rapi, 7);
	told(&f, f.b.conn, "", "");
	rapi_cancel(&f.b.rapi, 1);
	told(&f, f.b.conn, "", "end 11;workers 0;");
	/* it takes a moment to die: nothing it says counts, and its place is free already */
	says(&f, f.worker[0], RESPONSE_OF("11", "a"), "UnknownWorker", "");
	says(&f, f.worker[0], NEXT_OF("11"), "UnknownWorker", "");
	assert_int_equal(invoke(&f.b, 2, "request_id=b\n", "x"), 0);
	assert_int_equal(invoke(&f.b, 3, "request_id=c\n", "x"), 0);
	told(&f, f.b.conn, "fork", "");
	rapi_worker_ended(&f.b.rapi, 11, 9);
	says(&f, f.worker[1], NEXT_OF("12"), "Request-Id: b\r\n", "workers 1;");
	says(&f, f.b.conn, FORK("Hearth-Forked: 12\r\n"), "fork", "");
	/* one that still waits: whoever was to fork for it all that time is stuck */
	rapi_cancel(&f.b.rapi, 3);
	told(&f, f.b.conn, "", "end 0;");
	farm_finish(&f);
}

static void idle_workers_end(void **state)
{
	struct farm f;

	farm_start(&f, 3);
	says(&f, f.b.conn, FORK(""), "", "ready;");
	worker_up(&f, 0, NEXT_OF("11"), RESPONSE_OF("11", "x"), FORK("Hearth-Forked: 11\r\n"));
	assert_int_equal(rapi_idle_due(&f.b.rapi), 0);  /* the last one stays */
	assert_int_equal(invoke(&f.b, 1, "request_id=a\n", "x"), 0);
	told(&f, f.worker[0], "Request-Id: a\r\n", "");
	worker_up(&f, 1, NEXT_OF("12"), RESPONSE_OF("12", "x"), FORK("Hearth-Forked: 12\r\n"));
	says(&f, f.worker[0], RESPONSE_OF("11", "a"), OK_202, "1,0,,,;");
	says(&f, f.worker[0], NEXT_OF("11"), "", "");
	assert_int_equal(rapi_idle_due(&f.b.rapi), f.now - 1 + 10);
	rapi_idle_end(&f.b.rapi, f.now + 8);
	told(&f, f.worker[1], "", "");
	rapi_idle_end(&f.b.rapi, f.now + 100);
	told(&f, f.worker[1], "410 Gone", "workers 1;");
	told(&f, f.worker[0], "", "");
	assert_int_equal(rapi_idle_due(&f.b.rapi), 0);
	says(&f, f.worker[1], NEXT_OF("12"), "UnknownWorker", "");
	rapi_worker_ended(&f.b.rapi, 12, 0);
	told(&f, f.worker[1], "", "");
	farm_finish(&f);
}

static void all_workers_end(void **state)
{
	struct farm f;

	farm_start(&f, 3);
	says(&f, f.b.conn, FORK(""), "", "ready;");
	rapi_rest(&f.b.rapi);
	told(&f, f.b.conn, "", "rested;");
	worker_up(&f, 0, NEXT_OF("11"), RESPONSE_OF("11", "x"), FORK("Hearth-Forked: 11\r\n"));
	/* one waits, one is about to ask again, one has been asked for and is not needed any more */
	assert_int_equal(invoke(&f.b, 1, "request_id=a\n", "x"), 0);
	told(&f, f.worker[0], "Request-Id: a\r\n", "");
	worker_up(&f, 1, NEXT_OF("12"), RESPONSE_OF("12", "x"), FORK("Hearth-Forked: 12\r\n"));
	assert_int_equal(invoke(&f.b, 2, "request_id=b\n", "x"), 0);
	told(&f, f.worker[1], "Request-Id: b\r\n", "");
	assert_int_equal(invoke(&f.b, 3, "request_id=c\n", "x"), 0);
	told(&f, f.b.conn, "fork", "");
	rapi_rest(&f.b.rapi);                   /* not while calls run */
	says(&f, f.worker[0], RESPONSE_OF("11", "a"), OK_202, "1,0,,,;");
	says(&f, f.worker[0], NEXT_OF("11"), "Request-Id: c\r\n", "");
	says(&f, f.worker[1], RESPONSE_OF("12", "b"), OK_202, "2,0,,,;");
	says(&f, f.worker[1], NEXT_OF("12"), "", "");
	says(&f, f.worker[0], RESPONSE_OF("11", "c"), OK_202, "3,0,,,;");
	rapi_rest(&f.b.rapi);
	told(&f, f.worker[1], "410 Gone", "workers 1;");
	says(&f, f.worker[0], NEXT_OF("11"), "410 Gone", "workers 0;");
	rapi_worker_ended(&f.b.rapi, 11, 0);
	rapi_worker_ended(&f.b.rapi, 12, 0);
	told(&f, f.b.conn, "", "");
	says(&f, f.worker[2], NEXT_OF("13"), "410 Gone", "workers 1;workers 0;");
	rapi_worker_ended(&f.b.rapi, 13, 0);
	told(&f, f.b.conn, "", "rested;");
	farm_finish(&f);
}

/* connections end; who had them asks again on others */
static void connections_that_end(void **state)
{
	struct farm f;

	farm_start(&f, 2);
	says(&f, f.b.conn, FORK(""), "", "ready;");
	worker_up(&f, 0, NEXT_OF("11"), RESPONSE_OF("11", "x"), FORK("Hearth-Forked: 11\r\n"));
	f.worker[0] = rapi_conn_free(f.worker[0]);
	f.b.conn = rapi_conn_free(f.b.conn);
	assert_int_equal(invoke(&f.b, 1, "request_id=a\n", "x"), 0);
	assert_int_equal(invoke(&f.b, 2, "request_id=b\n", "x"), 0);
	says(&f, f.worker[1], NEXT_OF("11"), "Request-Id: a\r\n", "");
	says(&f, f.worker[2], FORK(""), "fork", "");
	says(&f, f.worker[3], NEXT_OF("12"), "Request-Id: b\r\n", "workers 2;");
	farm_finish(&f);
}

static void too_much_ahead(void **state)
{
	static char junk[70000];
	struct bench b;

	start(&b);
	assert_int_equal(rapi_conn_input(b.conn, NEXT, strlen(NEXT)), 0);
	assert_int_equal(rapi_conn_input(b.conn, junk, sizeof junk), -EPIPE);
	assert_int_equal(b.rapi.own.state, RAPI_IDLE);
	finish(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_invocation), cmocka_unit_test(invocation_before_the_runtime_asks_again), cmocka_unit_test(wrong_ids_and_states),
		cmocka_unit_test(wrong_paths_and_methods), cmocka_unit_test(initialisation_error), cmocka_unit_test(chunks_and_streams),
		cmocka_unit_test(expect_continue_and_pipelining), cmocka_unit_test(no_http), cmocka_unit_test(odd_request_ids_are_replaced),
		cmocka_unit_test(too_large), cmocka_unit_test(a_waiting_connection_that_ends), cmocka_unit_test(too_much_ahead),
		cmocka_unit_test(runtime_loaded), cmocka_unit_test(zygote_and_workers), cmocka_unit_test(no_zygote_unless_it_may),
		cmocka_unit_test(may_fork_and_does_not), cmocka_unit_test(worker_that_dies), cmocka_unit_test(forks_that_fail),
		cmocka_unit_test(cancelled), cmocka_unit_test(idle_workers_end), cmocka_unit_test(connections_that_end), cmocka_unit_test(all_workers_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
