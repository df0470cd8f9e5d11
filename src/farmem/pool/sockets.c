/* SPDX-License-Identifier: Apache-2.0 */
#include "sockets.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "pipes.h"

/* ---- sockets ---- */

static int socket_reached(struct conn *c)
{
	int r = sock_error(c->fd);

	return r < 0 ? r : 1;
}

static int socket_fill(struct conn *c)
{
	uint8_t *tail;
	ssize_t n;

	if (buf_reserve(&c->in, CONN_READ_BYTES, &tail) < 0)
		return -ENOMEM;
	n = recv(c->fd, tail, CONN_READ_BYTES, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	buf_commit(&c->in, (size_t)n);
	return 1;
}

static int socket_flush(struct conn *c)
{
	while (c->out.len) {
		ssize_t n = send(c->fd, buf_head(&c->out), c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		buf_consume(&c->out, (size_t)n);
	}
	return 0;
}

static void socket_name(const struct conn *c, char *ret, size_t n)
{
	struct sockaddr_in6 a = { 0 };
	socklen_t len = sizeof(a);
	pid_t pid = 0;
	uid_t uid = 0;
	char host[INET6_ADDRSTRLEN] = "?";

	snprintf(ret, n, "?");
	if (getpeername(c->fd, (struct sockaddr *)&a, &len) < 0)
		return;
	if (a.sin6_family == AF_UNIX) {
		(void)sock_peer_cred(c->fd, &uid, NULL, &pid);
		snprintf(ret, n, "process %d of user %u", (int)pid, (unsigned)uid);
	} else if (getnameinfo((struct sockaddr *)&a, len, host, sizeof(host), NULL, 0, NI_NUMERICHOST) == 0) {
		snprintf(ret, n, "%s port %u", host, (unsigned)ntohs(a.sin6_port));
	}
}

static const struct way socket_way = { .reached = socket_reached, .fill = socket_fill, .flush = socket_flush, .name = socket_name };

/* ---- shared memory ---- */

/* at: NULL: it has not come yet, and nothing goes before */

/* Bytes that only wake. Return: 0, -ECONNRESET, -errno. */
static int clear_wakes(struct conn *c)
{
	uint8_t bytes[64];
	ssize_t n;

	while ((n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n == 0 ? -ECONNRESET : errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static int take_pipes(struct conn *c)
{
	struct pipes *p;
	int r = pipes_take(c->fd, &p);

	if (r == 1)
		c->at = p;
	return r;
}

static int shared_fill(struct conn *c)
{
	int r = c->at ? clear_wakes(c) : take_pipes(c), got = 0;
	ssize_t n = 1;
	uint8_t *tail;

	if (!c->at)
		return r;
	/* what was said before the other side went is heard */
	while (n > 0 && c->in.len < CONN_OUT_BYTES) {
		if (buf_reserve(&c->in, CONN_READ_BYTES, &tail) < 0)
			return -ENOMEM;
		n = pipes_read(c->at, tail, CONN_READ_BYTES);
		if (n < 0)
			return (int)n;
		buf_commit(&c->in, (size_t)n);
		got |= n > 0;
	}
	c->more = n > 0;
	pipes_wake(c->at, c->fd);
	return got || r > 0 ? got : r;
}

static int shared_flush(struct conn *c)
{
	ssize_t n = 1;

	if (!c->at)
		return 0;
	while (c->out.len && n > 0) {
		n = pipes_write(c->at, buf_head(&c->out), c->out.len);
		if (n < 0)
			return (int)n;
		buf_consume(&c->out, (size_t)n);
	}
	pipes_wake(c->at, c->fd);
	return 0;
}

/* the client brings it */
static int shared_reached(struct conn *c)
{
	struct pipes *p;
	int r = socket_reached(c);

	if (r == 1)
		r = pipes_make(c->fd, &p);
	if (r < 0)
		return r;
	c->at = p;
	return 1;
}

static void shared_done(struct conn *c)
{
	pipes_free(c->at);
}

static const struct way shared_way = { .reached = shared_reached, .fill = shared_fill, .flush = shared_flush, .name = socket_name, .done = shared_done, .only_in = true };

/* ---- connecting and listening ---- */

/* Done, or refused, at once; a pool that does not accept has a backlog, and a full one refuses. */
static int unix_connect(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

	if (fd < 0)
		return -errno;
	memcpy(a.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	r = -errno;
	fd_close(&fd);
	return r;
}

static int sockets_connect(const struct place *p, struct conn *ret)
{
	int fd = p->kind == PLACE_TCP ? sock_tcp_connect_start(p->host, p->port) : unix_connect(p->host);

	if (fd < 0)
		return fd;
	conn_init(ret, fd, p->kind == PLACE_SHARED ? &shared_way : &socket_way, NULL);
	return 0;
}

static int sockets_listen(const struct place *p, struct listener *ret)
{
	ret->fd = p->kind == PLACE_TCP ? sock_tcp_listen(p->host, p->port, &ret->port) : sock_unix_listen(p->host, 0600);
	return ret->fd < 0 ? ret->fd : 0;
}

static int sockets_accept(struct listener *l, struct conn *ret)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED ? 0 : -errno;
	if (l->kind == PLACE_TCP)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	conn_init(ret, fd, l->kind == PLACE_SHARED ? &shared_way : &socket_way, NULL);
	return 1;
}

const struct transport sockets_transport = { .connect = sockets_connect, .listen = sockets_listen, .accept = sockets_accept };
