/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_http LISTEN_PORT UPSTREAM_PORT - the gateway's proxy path alone: every request goes to 127.0.0.1:UPSTREAM_PORT.
 * LISTEN_PORT 0 takes a free one; which one is printed.
 * Ends with SIGTERM; then prints what it counted.
 */
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "http/server.h"
#include "http/upstream.h"

static const struct http_header extra[] = {
	{ { "X-Hearth-Start", 14 }, { "hot", 3 } },
	{ { "X-Hearth-Instance", 17 }, { "bench-1", 7 } },
};

static void on_done(void *ctx, const struct http_result *result)
{
	if (result->owed != NULL)
		http_reply_error(result->owed, result->outcome == HTTP_DEADLINE ? 504 : 502, http_outcome_name(result->outcome), result->why);
}

static void on_request(void *ctx, struct http_request *req)
{
	struct http_forward fw = { .req = req, .response_headers = extra, .n_response_headers = 2,
		.deadline_ns = req->received_ns + 30 * NS_PER_S, .done = on_done };

	if (http_upstream_send(ctx, &fw) < 0)
		http_reply_error(req, 502, "Upstream", "cannot connect");
}

static void on_signal(struct ev_loop *loop, struct ev_signal *w, int revents)
{
	ev_break(loop, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
	struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
	struct hearth_err err = { 0 };
	struct http_upstream *up;
	struct http_server *server;
	struct ev_signal term;

	if (argc != 3) {
		fprintf(stderr, "usage: bench_http LISTEN_PORT UPSTREAM_PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	up = http_upstream_new(loop, &(struct http_upstream_config){ .netns_fd = -1, .ip = "127.0.0.1", .port = (uint16_t)atoi(argv[2]),
		.max_connections = 1024 }, &err);
	server = up == NULL ? NULL : http_server_new(loop, &(struct http_config){ .host = "127.0.0.1", .port = (uint16_t)atoi(argv[1]) },
		on_request, up, &err);
	if (server == NULL) {
		fprintf(stderr, "bench_http: %s\n", err.msg);
		http_upstream_free(up);
		return 1;
	}
	printf("listening on %u\n", http_server_port(server));
	fflush(stdout);
	ev_signal_init(&term, on_signal, SIGTERM);
	ev_signal_start(loop, &term);
	ev_run(loop, 0);
	fprintf(stderr, "bench_http: %llu requests on %llu connections\n", (unsigned long long)http_server_counters(server)->requests,
		(unsigned long long)http_server_counters(server)->accepted);
	http_server_free(server);
	http_upstream_free(up);
	ev_loop_destroy(loop);
	return 0;
}
