/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loopback.h"

#define CONNS_SPARE 31
#define READ_BYTES (16u << 10)
#define OUT_MAX_BYTES (256u << 10)      /* a client that doesn't take its answers isn't listened to */

struct http_conn {
	struct http_conn *next;
	struct http *http;
	struct loop_io io;
	struct rapi_conn *rapi;
	bool closing;
};

static void conn_drop(struct http_conn *c)
{
	struct http *h = c->http;
	struct http_conn **at = &h->conns;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	h->count--;
	loop_close(h->loop, &c->io);
	rapi_conn_free(c->rapi);
	free(c);
	loop_want(h->loop, &h->listener, EPOLLIN);
}

/* Send what the socket takes. Return: false when the connection is gone. */
static bool conn_flush(struct http_conn *c)
{
	struct buf *out = rapi_conn_out(c->rapi);
	uint32_t want;
	ssize_t n;

	while (out->len > 0) {
		n = send(c->io.fd, buf_head(out), out->len, MSG_NOSIGNAL);
		if (n >= 0) {
			buf_consume(out, (size_t)n);
		} else if (errno == EAGAIN) {
			break;
		} else if (errno != EINTR) {
			conn_drop(c);
			return false;
		}
	}
	if (out->len == 0) {
		buf_done(out);          /* idle runtimes keep no memory for the next event */
		if (c->closing || rapi_conn_closing(c->rapi)) {
			conn_drop(c);
			return false;
		}
	}
	want = out->len > 0 ? EPOLLOUT : 0;
	if (out->len <= OUT_MAX_BYTES && !c->closing)
		want |= EPOLLIN;
	loop_want(c->http->loop, &c->io, want);
	return true;
}

static void conn_ready(struct loop_io *io, uint32_t events)
{
	struct http_conn *c = io->ctx;
	char data[READ_BYTES];
	ssize_t n;

	if (events & EPOLLOUT && !conn_flush(c))
		return;
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	n = recv(c->io.fd, data, sizeof data, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_drop(c);
		return;
	}
	if (!c->closing && rapi_conn_input(c->rapi, data, (size_t)n) < 0)
		c->closing = true;
	conn_flush(c);
}

void http_output(struct rapi_conn *rapi)
{
	conn_flush(rapi_conn_owner(rapi));
}

static struct http_conn *conn_new(struct http *h, int fd)
{
	struct http_conn *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->rapi = rapi_conn_new(h->rapi);
	if (!c->rapi) {
		free(c);
		return NULL;
	}
	c->http = h;
	c->io = (struct loop_io){ .fd = fd, .ready = conn_ready, .ctx = c };
	rapi_conn_set_owner(c->rapi, c);
	c->next = h->conns;
	h->conns = c;
	h->count++;
	return c;
}

static void listener_ready(struct loop_io *io, uint32_t events)
{
	struct http *h = io->ctx;
	struct http_conn *c;
	int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	c = conn_new(h, fd);
	if (!c)
		close(fd);
	else if (loop_add(h->loop, &c->io, EPOLLIN) < 0)
		conn_drop(c);
	if (h->count >= h->max)
		loop_want(h->loop, &h->listener, 0);    /* the others wait in the kernel */
}

int http_init(struct http *h, struct loop *loop, struct rapi *rapi, uint16_t port, unsigned workers)
{
	int fd;

	*h = (struct http){ .loop = loop, .rapi = rapi, .max = workers + CONNS_SPARE, .listener = { .fd = -1, .ready = listener_ready, .ctx = h } };
	fd = loopback_listen(port);
	if (fd < 0)
		return fd;
	h->listener.fd = fd;
	return loop_add(loop, &h->listener, EPOLLIN);
}

void http_done(struct http *h)
{
	while (h->conns)
		conn_drop(h->conns);
	if (h->loop)
		loop_close(h->loop, &h->listener);
}
