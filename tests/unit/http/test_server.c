/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <ev.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "http/server.h"
#include "http/upstream.h"

/* A server on one end of a socketpair; the test is the client on the other. */
struct fixture {
	struct ev_loop *loop;
	struct http_server *server;
	int fd;
	char got[1 << 20];
	size_t len;
	bool eof, stopped;
	struct http_request *held;
	unsigned aborted, drained;
	struct http_upstream *up;
	struct http_result result;
	unsigned done;
};

static void on_abort(struct http_request *req)
{
	struct fixture *f = req->user;

	f->aborted++;
	f->held = NULL;
}

static void on_drain(struct http_request *req)
{
	((struct fixture *)req->user)->drained++;
}

static void on_done(void *ctx, const struct http_result *result)
{
	struct fixture *f = ctx;

	f->done++;
	f->result = *result;
	if (result->owed != NULL)
		http_reply_error(result->owed, 502, http_outcome_name(result->outcome), result->why);
}

/* /hold keeps the request, /up forwards it; anything else is told what was understood. */
static void on_request(void *ctx, struct http_request *req)
{
	struct fixture *f = ctx;
	char text[512];
	int n;

	req->user = f;
	req->on_abort = on_abort;
	req->on_drain = on_drain;
	if (http_view_is(req->path, "/hold")) {
		f->held = req;
		return;
	}
	if (http_view_is(req->path, "/up")) {
		struct http_header extra = { { "X-Extra", 7 }, { "1", 1 } };
		static struct http_header kept;
		struct http_forward fw = { .req = req, .response_headers = &kept, .n_response_headers = 1, .done = on_done, .ctx = f,
			.deadline_ns = clock_mono_ns() + NS_PER_S };

		kept = extra;
		if (http_upstream_send(f->up, &fw) < 0)
			http_reply_error(req, 503, "Upstream", "send");
		return;
	}
	n = snprintf(text, sizeof(text), "%.*s %.*s ?%.*s [%.*s]", (int)req->method.len, req->method.data, (int)req->path.len, req->path.data,
		(int)req->query.len, req->query.data, (int)req->body.len, req->body.data);
	assert_int_equal(http_reply(req, 200, NULL, 0, text, (size_t)n), 0);
}

static void client_open(struct fixture *f)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(fd_set_nonblock(pair[0], true), 0);
	f->fd = pair[0];
	f->len = 0;
	f->eof = false;
	assert_int_equal(http_server_adopt(f->server, pair[1]), 0);
}

static int setup_with(void **state, struct http_config config)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->loop = ev_loop_new(EVBACKEND_EPOLL);
	f->server = http_server_new(f->loop, &config, on_request, f, NULL);
	client_open(f);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, (struct http_config){ .max_body_bytes = 1000, .max_header_bytes = 2000, .max_buffer_bytes = 4096 });
}

static int setup_hasty(void **state)
{
	return setup_with(state, (struct http_config){ .header_ns = 50 * NS_PER_MS, .body_ns = 50 * NS_PER_MS, .idle_ns = 50 * NS_PER_MS,
		.stall_ns = 50 * NS_PER_MS });
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	http_server_free(f->server);
	http_upstream_free(f->up);
	fd_close(&f->fd);
	ev_loop_destroy(f->loop);
	free(f);
	return 0;
}

static void pull(struct fixture *f)
{
	ssize_t n;

	while (f->len < sizeof(f->got) - 1 && (n = read(f->fd, f->got + f->len, sizeof(f->got) - 1 - f->len)) >= 0) {
		if (n == 0) {
			f->eof = true;
			break;
		}
		f->len += (size_t)n;
	}
	f->got[f->len] = '\0';
}

/* Both sides run until nothing is left to do. */
static void settle(struct fixture *f)
{
	size_t before;

	do {
		before = f->len;
		for (int i = 0; i < 4; i++)
			ev_run(f->loop, EVRUN_NOWAIT);
		pull(f);
	} while (f->len != before);
}

static void say(struct fixture *f, const char *text, size_t len)
{
	assert_int_equal(send(f->fd, text, len, MSG_NOSIGNAL), len);
	settle(f);
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)) != NULL; text++)
		n++;
	return n;
}

#define H "Host: h\r\n"
static const struct { const char *in; unsigned status; const char *body; bool closes; } cases[] = {
	{ "GET /a/b?c=d HTTP/1.1\r\n" H "\r\n", 200, "GET /a/b ?c=d []", false },
	{ "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", 200, "GET / ? []", false },
	{ "GET http://h/p?q HTTP/1.1\r\n" H "\r\n", 200, "GET /p ?q []", false },
	{ "GET http://h HTTP/1.1\r\n" H "\r\n", 200, "GET / ? []", false },
	{ "OPTIONS * HTTP/1.1\r\n" H "\r\n", 200, "OPTIONS * ? []", false },
	{ "GET / HTTP/1.0\r\n\r\n", 200, "GET / ? []", true },
	{ "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, "GET / ? []", false },
	{ "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", 200, "GET / ? []", true },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 200, "POST / ? [abc]", false },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 200, "POST / ? []", false },
	{ "PUT / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, "PUT / ? [abcde]", false },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, NULL, true },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, NULL, true },
	{ "POST / HTTP/1.1\r\n" H "Content-Length : 3\r\n\r\nabc", 400, NULL, true },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc", 400, NULL, true },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n", 400, NULL, true },
	{ "POST / HTTP/1.1\r\n" H "Content-Length: 1001\r\n\r\n", 413, NULL, true },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, NULL, true },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 400, NULL, true },
	{ "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, NULL, true },
	{ "POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417, NULL, true },
	{ "GET / HTTP/1.1\r\n\r\n", 400, NULL, true },
	{ "GET / HTTP/1.1\r\n" H H "\r\n", 400, NULL, true },
	{ "GET / HTTP/1.1\r\nHo st: h\r\n\r\n", 400, NULL, true },
	{ "GET / HTTP/1.1\n" H "\n", 400, NULL, true },
	{ "GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", 400, NULL, true },
	{ "GET /a#b HTTP/1.1\r\n" H "\r\n", 400, NULL, true },
	{ "GET / HTTP/1.2\r\n" H "\r\n", 505, NULL, true },
	{ "GET / HTTP/2.0\r\n" H "\r\n", 505, NULL, true },
	{ "NONSENSE / HTTP/1.1\r\n" H "\r\n", 400, NULL, true },
	{ "CONNECT h:80 HTTP/1.1\r\n" H "\r\n", 501, NULL, true },
	{ "GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 501, NULL, true },
	{ "GET / HTTP/1.1\r\n" H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", 200, "GET / ? []", false },
	{ "\x16\x03\x01", 400, NULL, true },
};

/* Every case whole and byte by byte: the outcome must not depend on how it arrives. */
static void test_requests(void **state)
{
	struct fixture *f = *state;
	char want[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t step = 1; step < 1000; step += 998) {
			size_t n = strlen(cases[i].in);

			for (size_t at = 0; at < n && !f->eof; at += step)
				say(f, cases[i].in + at, n - at < step ? n - at : step);
			snprintf(want, sizeof(want), "HTTP/1.1 %u ", cases[i].status);
			if (count(f->got, want) != 1 || count(f->got, "\r\n\r\n") != 1 || f->eof != cases[i].closes)
				fail_msg("case %zu step %zu: %s answered with %s", i, step, cases[i].in, f->got);
			if (cases[i].body != NULL)
				assert_non_null(strstr(f->got, cases[i].body));
			else
				assert_non_null(strstr(f->got, "{\"error\":{\"type\":"));
			fd_close(&f->fd);
			settle(f);
			client_open(f);
		}
	}
	assert_int_equal(http_server_counters(f->server)->connections, 1);
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	char big[3000];

	memset(big, 'a', sizeof(big));
	say(f, "GET / HTTP/1.1\r\nA: ", 19);
	say(f, big, 2500);
	assert_non_null(strstr(f->got, "HTTP/1.1 431 "));
	fd_close(&f->fd);
	client_open(f);
	say(f, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n7d0\r\n", 62);
	say(f, big, 1500);
	assert_non_null(strstr(f->got, "HTTP/1.1 413 "));
	assert_int_equal(http_server_counters(f->server)->rejected_header_size, 1);
	assert_int_equal(http_server_counters(f->server)->rejected_body_size, 1);
}

static void test_pipelined_in_order(void **state)
{
	struct fixture *f = *state;
	char text[8192];
	size_t n = 0;

	for (int i = 0; i < 100; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s /%d HTTP/1.1\r\n" H "\r\n", i == 50 ? "HEAD" : "GET", i);
	say(f, text, n);
	assert_int_equal(count(f->got, "HTTP/1.1 200 "), 100);
	assert_null(strstr(f->got, "HEAD /50"));
	assert_true(strstr(f->got, "GET /49 ") < strstr(f->got, "GET /51 "));
	/* one that is held holds back those behind it */
	f->len = 0;
	say(f, "GET /hold HTTP/1.1\r\n" H "\r\nGET /next HTTP/1.1\r\n" H "\r\n", 62);
	assert_int_equal(f->len, 0);
	assert_int_equal(http_reply(f->held, 204, NULL, 0, NULL, 0), 0);
	settle(f);
	assert_non_null(strstr(f->got, "HTTP/1.1 204 "));
	assert_null(strstr(strstr(f->got, "HTTP/1.1 204 "), "Content-Length: 0"));
	assert_non_null(strstr(f->got, "GET /next"));
}

static void test_continue(void **state)
{
	struct fixture *f = *state;
	static const char head[] = "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";

	say(f, head, sizeof(head) - 1);
	assert_string_equal(f->got, "HTTP/1.1 100 Continue\r\n\r\n");
	say(f, "ok", 2);
	assert_non_null(strstr(f->got, "POST / ? [ok]"));
}

static void test_stream_and_back_pressure(void **state)
{
	struct fixture *f = *state;
	char block[8192];
	size_t sent = 0;

	memset(block, 'x', sizeof(block));
	assert_int_equal(send(f->fd, "GET /hold HTTP/1.1\r\n" H "\r\n", 31, 0), 31);
	ev_run(f->loop, EVRUN_NOWAIT);
	ev_run(f->loop, EVRUN_NOWAIT);
	assert_non_null(f->held);
	assert_int_equal(http_reply_begin(f->held, 200, NULL, 0, -1), 0);
	while (!http_reply_full(f->held)) {
		assert_int_equal(http_reply_body(f->held, block, sizeof(block)), 0);
		sent += sizeof(block);
		assert_true(sent < 4u << 20);
	}
	assert_int_equal(f->drained, 0);
	settle(f);
	assert_int_equal(f->drained, 1);
	assert_int_equal(http_reply_end(f->held), 0);
	settle(f);
	assert_int_equal(count(f->got, "2000\r\n"), sent / sizeof(block));
	assert_memory_equal(f->got + f->len - 5, "0\r\n\r\n", 5);
	f->len = 0;
	say(f, "GET /again HTTP/1.1\r\n" H "\r\n", 32);
	assert_non_null(strstr(f->got, "GET /again"));
}

static void test_bad_replies(void **state)
{
	struct fixture *f = *state;
	struct http_header evil = { { "X", 1 }, { "a\r\nSet-Cookie: b", 16 } }, name = { { "X: y\r\nZ", 7 }, { "a", 1 } };

	say(f, "GET /hold HTTP/1.1\r\n" H "\r\n", 31);
	assert_int_equal(http_reply(f->held, 200, &evil, 1, "", 0), -EINVAL);
	assert_int_equal(http_reply_begin(f->held, 200, &name, 1, 0), -EINVAL);
	assert_int_equal(http_reply_begin(f->held, 101, NULL, 0, 0), -EINVAL);
	assert_int_equal(http_reply_begin(f->held, 200, NULL, 0, 4), 0);
	assert_int_equal(http_reply_body(f->held, "12345", 5), -EMSGSIZE);
	assert_int_equal(http_reply_body(f->held, "123", 3), 0);
	assert_int_equal(http_reply_end(f->held), -EPROTO);
	settle(f);
	assert_int_equal(http_server_counters(f->server)->connections, 0);
}

static void test_error_text(void **state)
{
	struct fixture *f = *state;

	say(f, "GET /hold HTTP/1.1\r\n" H "\r\n", 31);
	http_reply_error_aws(f->held, 502, "A\"B", "line\n\xff");
	settle(f);
	assert_non_null(strstr(f->got, "{\"Type\":\"A\\\"B\",\"Message\":\"line\\n?\"}"));
	assert_non_null(strstr(f->got, "X-Amzn-ErrorType: A\"B\r\n"));
}

static void test_client_leaves(void **state)
{
	struct fixture *f = *state;

	say(f, "GET /hold HTTP/1.1\r\n" H "\r\n", 31);
	fd_close(&f->fd);
	ev_run(f->loop, EVRUN_NOWAIT);
	assert_int_equal(f->aborted, 1);
	assert_int_equal(http_server_counters(f->server)->aborted, 1);
	assert_int_equal(http_server_counters(f->server)->connections, 0);
}

static void on_stopped(void *ctx)
{
	((struct fixture *)ctx)->stopped = true;
}

static void test_graceful_stop(void **state)
{
	struct fixture *f = *state;

	say(f, "GET /hold HTTP/1.1\r\n" H "\r\n", 31);
	http_server_stop(f->server, on_stopped, f);
	settle(f);
	assert_false(f->stopped);
	assert_int_equal(http_reply(f->held, 200, NULL, 0, "bye", 3), 0);
	settle(f);
	assert_non_null(strstr(f->got, "Connection: close\r\n"));
	assert_true(f->eof);
	ev_run(f->loop, EVRUN_ONCE);
	assert_true(f->stopped);
}

/* The loop is run on its own events until the client is let go. */
static void run_until_closed(struct fixture *f)
{
	for (int i = 0; i < 1000 && !f->eof; i++) {
		ev_run(f->loop, EVRUN_ONCE);
		pull(f);
	}
	assert_true(f->eof);
}

static void test_slow_head(void **state)
{
	struct fixture *f = *state;

	say(f, "GET / HT", 8);
	run_until_closed(f);
	assert_non_null(strstr(f->got, "HTTP/1.1 408 "));
}

static void test_slow_body(void **state)
{
	struct fixture *f = *state;

	say(f, "POST / HTTP/1.1\r\n" H "Content-Length: 9\r\n\r\nabc", 50);
	run_until_closed(f);
	assert_non_null(strstr(f->got, "HTTP/1.1 408 "));
}

static void test_idle(void **state)
{
	struct fixture *f = *state;

	say(f, "GET / HTTP/1.1\r\n" H "\r\n", 27);
	run_until_closed(f);
	assert_int_equal(count(f->got, "HTTP/1.1 "), 1);
}

static void test_stalled_reader(void **state)
{
	struct fixture *f = *state;
	static char block[1 << 20];

	say(f, "GET /hold HTTP/1.1\r\n" H "\r\n", 31);
	assert_int_equal(http_reply(f->held, 200, NULL, 0, block, sizeof(block)), 0);
	while (http_server_counters(f->server)->connections > 0)
		ev_run(f->loop, EVRUN_ONCE);
	assert_int_equal(http_server_counters(f->server)->stalled, 1);
}

/* Forwarding: the test plays the instance too. @answers: what it says to the n-th connection; "" = close at once. */
static const char *forward_via(struct fixture *f, const char *request, const char *answer, size_t step)
{
	uint16_t port;
	int listener = sock_tcp_listen("127.0.0.1", 0, &port), fd;
	static char seen[4096];
	ssize_t n;

	assert_true(listener >= 0);
	http_upstream_free(f->up);
	f->up = http_upstream_new(f->loop, &(struct http_upstream_config){ .netns_fd = -1, .ip = "127.0.0.1", .port = port }, NULL);
	f->done = 0;
	say(f, request, strlen(request));
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	settle(f);
	n = recv(fd, seen, sizeof(seen) - 1, 0);
	assert_true(n > 0);
	seen[n] = '\0';
	for (size_t at = 0, len = strlen(answer); at < len && f->done == 0; at += step) {
		send(fd, answer + at, len - at < step ? len - at : step, MSG_NOSIGNAL);
		settle(f);
	}
	close(fd);
	settle(f);
	close(listener);
	assert_int_equal(f->done, 1);
	return seen;
}

static const struct { const char *method, *answer, *want; enum http_outcome outcome; } answers[] = {
	{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Extra: old\r\n\r\nhi", "\r\n\r\nhi", HTTP_FORWARDED },
	{ "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "0\r\n\r\n", HTTP_FORWARDED },
	{ "GET", "HTTP/1.0 200 OK\r\n\r\nhi", "0\r\n\r\n", HTTP_FORWARDED },
	{ "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 ", HTTP_FORWARDED },
	{ "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 304 ", HTTP_FORWARDED },
	{ "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5\r\n", HTTP_FORWARDED },
	{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "HTTP/1.1 200 ", HTTP_DIED },
	{ "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 ", HTTP_BAD_RESPONSE },
	{ "GET", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 502 ", HTTP_DIED },
	{ "GET", "", "HTTP/1.1 502 ", HTTP_REFUSED },
	{ "GET", "garbage\r\n\r\n", "HTTP/1.1 502 ", HTTP_BAD_RESPONSE },
	{ "GET", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "HTTP/1.1 502 ", HTTP_BAD_RESPONSE },
	{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 502 ", HTTP_BAD_RESPONSE },
	{ "GET", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 502 ", HTTP_BAD_RESPONSE },
};

static void test_forward(void **state)
{
	struct fixture *f = *state;
	char request[128];

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		for (size_t step = 1; step < 1000; step += 998) {
			snprintf(request, sizeof(request), "%s /up HTTP/1.1\r\n" H "\r\n", answers[i].method);
			forward_via(f, request, answers[i].answer, step);
			if (f->result.outcome != answers[i].outcome || strstr(f->got, answers[i].want) == NULL)
				fail_msg("case %zu step %zu: outcome %s (%s), answered with %s", i, step, http_outcome_name(f->result.outcome),
					f->result.why, f->got);
			assert_null(strstr(f->got, "X-Extra: old"));
			if (f->result.outcome == HTTP_FORWARDED)
				assert_non_null(strstr(f->got, "X-Extra: 1\r\n"));
			fd_close(&f->fd);
			settle(f);
			client_open(f);
		}
	}
}

static void test_forwarded_request(void **state)
{
	struct fixture *f = *state;
	const char *seen = forward_via(f, "POST /up?x HTTP/1.1\r\n" H "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
		"X-Forwarded-For: 9.9.9.9\r\nTransfer-Encoding: chunked\r\nX-Keep: 2\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1000);

	assert_string_equal(seen, "POST /up?x HTTP/1.1\r\n" H "X-Keep: 2\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: 9.9.9.9\r\n"
		"Content-Length: 3\r\n\r\nabc");
}


#define T(name, up) cmocka_unit_test_setup_teardown(name, up, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = { T(test_requests, setup), T(test_limits, setup), T(test_pipelined_in_order, setup), T(test_continue, setup),
		T(test_stream_and_back_pressure, setup), T(test_bad_replies, setup), T(test_error_text, setup), T(test_client_leaves, setup),
		T(test_graceful_stop, setup), T(test_slow_head, setup_hasty), T(test_slow_body, setup_hasty), T(test_idle, setup_hasty),
		T(test_stalled_reader, setup_hasty), T(test_forward, setup), T(test_forwarded_request, setup) };

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
