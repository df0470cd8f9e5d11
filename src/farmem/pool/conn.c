/* SPDX-License-Identifier: Apache-2.0 */
#include "conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

/* one read, and how much may have come before it is dealt with */
#define READ_BYTES (512u << 10)

void conn_init(struct conn *c, int fd, bool pipes)
{
	*c = (struct conn){ .fd = fd, .pipes_to_come = pipes };
}

int conn_share(struct conn *c)
{
	return pipes_make(c->fd, &c->pipes);
}

void conn_done(struct conn *c)
{
	fd_close(&c->fd);
	c->pipes = pipes_free(c->pipes);
	buf_done(&c->in);
	buf_done(&c->out);
	explicit_bzero(&c->session, sizeof(c->session));
}

/* Bytes that only wake. Return: 0, -ECONNRESET, -errno. */
static int clear_wakes(struct conn *c)
{
	uint8_t bytes[64];
	ssize_t n;

	while ((n = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n == 0 ? -ECONNRESET : errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static int fill_shared(struct conn *c)
{
	int r = c->pipes ? clear_wakes(c) : pipes_take(c->fd, &c->pipes), got = 0;
	ssize_t n = 1;
	uint8_t *tail;

	if (!c->pipes)
		return r;
	c->pipes_to_come = false;
	/* what was said before the other side went is heard */
	while (n > 0 && c->in.len < CONN_OUT_BYTES) {
		if (buf_reserve(&c->in, READ_BYTES, &tail) < 0)
			return -ENOMEM;
		n = pipes_read(c->pipes, tail, READ_BYTES);
		if (n < 0)
			return (int)n;
		buf_commit(&c->in, (size_t)n);
		got |= n > 0;
	}
	c->more = n > 0;
	pipes_wake(c->pipes, c->fd);
	return got || r > 0 ? got : r;
}

int conn_fill(struct conn *c)
{
	uint8_t *tail;
	ssize_t n;

	if (c->pipes || c->pipes_to_come)
		return fill_shared(c);
	if (buf_reserve(&c->in, READ_BYTES, &tail) < 0)
		return -ENOMEM;
	n = recv(c->fd, tail, READ_BYTES, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	buf_commit(&c->in, (size_t)n);
	return 1;
}

int conn_next(struct conn *c, struct wire_frame *ret)
{
	int r = wire_decode(buf_head(&c->in), c->in.len, ret);

	return r == 1 && wire_check(&c->session, ret) < 0 ? -EACCES : r;
}

void conn_drop(struct conn *c, const struct wire_frame *f)
{
	buf_consume(&c->in, f->bytes);
}

static int flush_shared(struct conn *c)
{
	ssize_t n = 1;

	while (c->out.len && n > 0) {
		n = pipes_write(c->pipes, buf_head(&c->out), c->out.len);
		if (n < 0)
			return (int)n;
		buf_consume(&c->out, (size_t)n);
	}
	pipes_wake(c->pipes, c->fd);
	return 0;
}

bool conn_blocked(const struct conn *c)
{
	return c->out.len && !c->pipes && !c->pipes_to_come;
}

int conn_flush(struct conn *c)
{
	if (c->pipes_to_come)
		return 0;
	if (c->pipes)
		return flush_shared(c);
	while (c->out.len) {
		ssize_t n = send(c->fd, buf_head(&c->out), c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		buf_consume(&c->out, (size_t)n);
	}
	return 0;
}

/* ---- places ---- */

static int parse_tcp(const char *text, struct place *p)
{
	const char *colon = strrchr(text, ':');
	struct in_addr v4;
	struct in6_addr v6;
	char *end;
	long port;

	if (!colon || (size_t)(colon - text) >= sizeof(p->host))
		return -EINVAL;
	memcpy(p->host, text, (size_t)(colon - text));
	p->host[colon - text] = 0;
	port = strtol(colon + 1, &end, 10);
	if (!colon[1] || *end || port < 0 || port > 65535)
		return -EINVAL;
	p->port = (uint16_t)port;
	if (inet_pton(AF_INET, p->host, &v4) == 1)
		p->loopback = ntohl(v4.s_addr) >> 24 == 127;
	else if (inet_pton(AF_INET6, p->host, &v6) == 1)
		p->loopback = IN6_IS_ADDR_LOOPBACK(&v6);
	else
		return -EINVAL;
	return 0;
}

static int parse_path(const char *text, struct place *p)
{
	const char *path = strchr(text, ':');

	p->shared = !strncmp(text, "shm:", 4);
	if ((!p->shared && strncmp(text, "unix:", 5)) || !path[1] || strlen(path + 1) >= sizeof(p->host))
		return -EINVAL;
	p->is_unix = p->loopback = true;
	memcpy(p->host, path + 1, strlen(path + 1));
	return 0;
}

int place_parse(const char *uri, size_t n, struct place *ret, struct hearth_err *err)
{
	char text[256];
	int r = -EINVAL;

	*ret = (struct place){ 0 };
	if (n < sizeof(text)) {
		memcpy(text, uri, n);
		text[n] = 0;
		if (!strncmp(text, "tcp:", 4)) {
			r = parse_tcp(text + 4, ret);
		} else {
			r = parse_path(text, ret);
		}
	}
	return r ? err_set(err, r, "\"%.*s\" is not \"tcp:HOST:PORT\", with a number for HOST, and not \"unix:PATH\" or \"shm:PATH\"", (int)(n < 200 ? n : 200), uri) : 0;
}

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

int place_connect(const struct place *p)
{
	return p->is_unix ? unix_connect(p->host) : sock_tcp_connect_start(p->host, p->port);
}

int place_listen(const struct place *p, uint16_t *ret_port)
{
	return p->is_unix ? sock_unix_listen(p->host, 0600) : sock_tcp_listen(p->host, p->port, ret_port);
}
