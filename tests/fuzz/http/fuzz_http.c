/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real state machines over real sockets. First byte of the input: bit 0 says whether the rest is what a client says to a server (0) or what an
 * instance answers to a forwarded request (1); the other bits say in pieces of what size it arrives. Checked besides crashes: nobody waits for
 * ever, and when everybody has left no connection is open and every forward has been reported exactly once.
 */
#include <assert.h>
#include <ev.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "http/server.h"
#include "http/upstream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct world {
	struct ev_loop *loop;
	struct http_server *server;
	struct http_upstream *up;	/* NULL: requests are answered here */
	int listener;
	unsigned sent, done;
};

static void on_done(void *ctx, const struct http_result *result)
{
	struct world *w = ctx;

	w->done++;
	if (result->owed != NULL)
		http_reply_error(result->owed, 502, http_outcome_name(result->outcome), result->why);
}

static void on_request(void *ctx, struct http_request *req)
{
	struct world *w = ctx;
	struct http_forward fw = { .req = req, .done = on_done, .ctx = w };

	for (size_t i = 0; i < req->n_headers; i++)
		assert(memchr(req->headers[i].value.data, '\n', req->headers[i].value.len) == NULL);
	if (w->up == NULL)
		(void)http_reply(req, 200, req->headers, req->n_headers, req->body.data, req->body.len);
	else if (http_upstream_send(w->up, &fw) == 0)
		w->sent++;
	else
		http_reply_error(req, 503, "Upstream", "no connection");
}

static void settle(struct world *w, int client)
{
	char sink[65536];

	for (int i = 0; i < 4; i++) {
		ev_run(w->loop, EVRUN_NOWAIT);
		if (recv(client, sink, sizeof(sink), MSG_DONTWAIT) > 0)
			i = 0;
	}
}

static void feed(struct world *w, int fd, int client, const uint8_t *data, size_t len, size_t step)
{
	for (size_t at = 0; at < len; at += step) {
		if (send(fd, data + at, len - at < step ? len - at : step, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		settle(w, client);
	}
}

static void answer(struct world *w, int client, const uint8_t *data, size_t len, size_t step)
{
	static const char request[] = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
	int fd;

	assert(send(client, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0);
	settle(w, client);
	fd = accept(w->listener, NULL, NULL);
	assert(fd >= 0);
	settle(w, client);
	feed(w, fd, client, data, len, step);
	close(fd);
	settle(w, client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct world w = { .listener = -1 };
	static uint16_t port;
	int pair[2];
	size_t step;

	if (len < 2)
		return 0;
	if (w.loop == NULL) {
		signal(SIGPIPE, SIG_IGN);
		w.loop = ev_loop_new(EVBACKEND_EPOLL);
		w.listener = sock_tcp_listen("127.0.0.1", 0, &port);
		w.server = http_server_new(w.loop, &(struct http_config){ .max_body_bytes = 4096, .max_header_bytes = 4096 }, on_request, &w, NULL);
		assert(w.listener >= 0 && w.server != NULL);
	}
	/* few pieces for long inputs, so that a run stays short */
	step = (size_t)(data[0] >> 1) + 1 + len / 64;
	w.up = NULL;
	if (data[0] & 1)
		w.up = http_upstream_new(w.loop, &(struct http_upstream_config){ .netns_fd = -1, .ip = "127.0.0.1", .port = port }, NULL);
	w.sent = w.done = 0;
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	assert(http_server_adopt(w.server, pair[1]) == 0);
	if (data[0] & 1)
		answer(&w, pair[0], data + 1, len - 1, step);
	else
		feed(&w, pair[0], pair[0], data + 1, len - 1, step);
	close(pair[0]);
	for (int i = 0; i < 8; i++)
		ev_run(w.loop, EVRUN_NOWAIT);
	assert(http_server_counters(w.server)->connections == 0);
	assert(w.sent == w.done);
	http_upstream_free(w.up);
	return 0;
}
