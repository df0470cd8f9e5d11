/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "conn.h"

#define ACCEPT_BATCH 64			/* connections taken in one wakeup, so that a flood of them does not starve the ones that are there */
#define ACCEPT_PAUSE_S 0.1

struct conn_block *server_block_get(struct http_server *server, size_t cap)
{
	struct conn_block *block = server->spare_blocks;

	if (cap <= CONN_BLOCK_BYTES && block != NULL) {
		server->spare_blocks = block->next;
		server->n_spare_blocks--;
		return block;
	}
	block = malloc(sizeof(*block) + cap);
	if (block != NULL)
		block->cap = cap;
	return block;
}

void server_block_put(struct http_server *server, struct conn_block *block)
{
	if (block == NULL)
		return;
	if (block->cap != CONN_BLOCK_BYTES || server->n_spare_blocks >= CONN_SPARE_MAX) {
		free(block);
		return;
	}
	block->next = server->spare_blocks;
	server->spare_blocks = block;
	server->n_spare_blocks++;
}

void server_buf_get(struct http_server *server, struct buf *b)
{
	if (b->cap == 0 && server->n_spare_bufs > 0)
		*b = server->spare_bufs[--server->n_spare_bufs];
}

void server_buf_put(struct http_server *server, struct buf *b)
{
	if (b->cap == 0)
		return;
	if (b->cap > 4 * CONN_SMALL_BYTES || server->n_spare_bufs >= CONN_SPARE_MAX) {
		buf_done(b);
		return;
	}
	buf_reset(b);
	server->spare_bufs[server->n_spare_bufs++] = *b;
	*b = (struct buf){ 0 };
}

static void on_stopped_timer(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct http_server *server = w->data;
	void (*cb)(void *) = server->on_stopped;

	server->on_stopped = NULL;
	if (cb != NULL)
		cb(server->stopped_ctx);
}

void server_conn_gone(struct http_server *server)
{
	if (server->stopping && LIST_EMPTY(&server->conns) && server->on_stopped != NULL && !ev_is_active(&server->stopped)) {
		ev_timer_set(&server->stopped, 0., 0.);
		ev_timer_start(server->loop, &server->stopped);
	}
}

/* One too many: the reason in one write, which a fresh socket's buffer takes. */
static void server_refuse(struct http_server *server, int fd)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 82\r\nConnection: close\r\n"
		"Retry-After: 1\r\n\r\n{\"error\":{\"type\":\"TooManyConnections\",\"message\":\"the connection limit is reached\"}}";
	ssize_t n = send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

	(void)n;
	server->counters.rejected_connections++;
	close(fd);
}

static void server_take(struct http_server *server, int fd, const struct sockaddr_storage *addr)
{
	char peer[INET6_ADDRSTRLEN] = "";
	int one = 1, r;

	if (addr->ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, peer, sizeof(peer));
	else if (addr->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)addr)->sin6_addr, peer, sizeof(peer));
	if (server->counters.connections >= server->config.max_connections) {
		server_refuse(server, fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	r = conn_new(server, fd, peer);
	if (r < 0)
		log_debug("http: connection from %s dropped: %s", peer, strerror(-r));
}

static void on_acceptable(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct http_server *server = w->data;

	for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage addr = { 0 };
		socklen_t len = sizeof(addr);
		int fd = accept4(server->fd, (struct sockaddr *)&addr, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			server_take(server, fd, &addr);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* the queue stays readable while we cannot take from it: look again later instead of spinning */
			log_debug("http: accept: %s", strerror(errno));
			ev_io_stop(loop, &server->acceptor);
			ev_timer_set(&server->pause, ACCEPT_PAUSE_S, 0.);
			ev_timer_start(loop, &server->pause);
		}
		return;
	}
}

static void on_pause_over(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct http_server *server = w->data;

	if (server->fd >= 0)
		ev_io_start(loop, &server->acceptor);
}

static void config_defaults(struct http_config *c)
{
	if (c->max_header_bytes == 0)
		c->max_header_bytes = 32 << 10;
	if (c->max_body_bytes == 0)
		c->max_body_bytes = 6 << 20;
	if (c->max_buffer_bytes == 0)
		c->max_buffer_bytes = 256 << 10;
	if (c->max_connections == 0)
		c->max_connections = 10000;
	if (c->header_ns == 0)
		c->header_ns = 10 * NS_PER_S;
	if (c->body_ns == 0)
		c->body_ns = 10 * NS_PER_S;
	if (c->idle_ns == 0)
		c->idle_ns = 60 * NS_PER_S;
	if (c->stall_ns == 0)
		c->stall_ns = 30 * NS_PER_S;
}

struct http_server *http_server_new(struct ev_loop *loop, const struct http_config *config, http_handler handler, void *ctx, struct hearth_err *err)
{
	struct http_server *server = calloc(1, sizeof(*server));

	if (server == NULL) {
		err_set(err, -ENOMEM, "HTTP server: out of memory");
		return NULL;
	}
	server->loop = loop;
	server->config = *config;
	config_defaults(&server->config);
	server->handler = handler;
	server->ctx = ctx;
	server->fd = -1;
	LIST_INIT(&server->conns);
	ev_init(&server->pause, on_pause_over);
	server->pause.data = server;
	ev_init(&server->stopped, on_stopped_timer);
	server->stopped.data = server;
	ev_init(&server->acceptor, on_acceptable);
	server->acceptor.data = server;
	if (config->host != NULL) {
		server->fd = sock_tcp_listen(config->host, config->port, &server->port);
		if (server->fd < 0) {
			err_set(err, server->fd, "HTTP server: cannot listen on %s port %u: %s", config->host, config->port, strerror(-server->fd));
			free(server);
			return NULL;
		}
		ev_io_set(&server->acceptor, server->fd, EV_READ);
		ev_io_start(loop, &server->acceptor);
	}
	server->config.host = NULL;	/* borrowed; not looked at again */
	return server;
}

void http_server_stop(struct http_server *server, void (*on_stopped)(void *ctx), void *ctx)
{
	struct http_conn *c, *next;

	server->stopping = true;
	server->on_stopped = on_stopped;
	server->stopped_ctx = ctx;
	ev_io_stop(server->loop, &server->acceptor);
	ev_timer_stop(server->loop, &server->pause);
	fd_close(&server->fd);
	for (c = LIST_FIRST(&server->conns); c != NULL; c = next) {
		next = LIST_NEXT(c, link);
		conn_quit_idle(c);
	}
	server_conn_gone(server);
}

struct http_server *http_server_free(struct http_server *server)
{
	struct conn_block *block;
	struct http_conn *c;

	if (server == NULL)
		return NULL;
	server->on_stopped = NULL;
	ev_io_stop(server->loop, &server->acceptor);
	ev_timer_stop(server->loop, &server->pause);
	fd_close(&server->fd);
	while ((c = LIST_FIRST(&server->conns)) != NULL) {
		conn_ref(c);
		conn_abort(c);
		conn_unref(c);
	}
	ev_timer_stop(server->loop, &server->stopped);
	while ((c = server->spare_conns) != NULL) {
		server->spare_conns = c->next_spare;
		free(c);
	}
	while ((block = server->spare_blocks) != NULL) {
		server->spare_blocks = block->next;
		free(block);
	}
	while (server->n_spare_bufs > 0)
		buf_done(&server->spare_bufs[--server->n_spare_bufs]);
	free(server);
	return NULL;
}

uint16_t http_server_port(const struct http_server *server)
{
	return server->port;
}

const struct http_counters *http_server_counters(const struct http_server *server)
{
	return &server->counters;
}

int http_server_adopt(struct http_server *server, int fd)
{
	int r;

	if (server->counters.connections >= server->config.max_connections) {
		server->counters.rejected_connections++;
		close(fd);
		return -EMFILE;
	}
	r = fd_set_nonblock(fd, true);
	if (r < 0) {
		close(fd);
		return r;
	}
	return conn_new(server, fd, "");
}
