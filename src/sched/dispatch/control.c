/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "control.h"
#include "sched/serve.h"

#define PEERS_MAX 16
#define QUESTION_MAX 256
#define ANSWER_MAX (16u << 20)
#define ASK_TIMEOUT_S 30

struct peer {
	int fd;                 /* -1: free */
	uint64_t since;         /* counts connections: the smallest is the oldest */
	char question[QUESTION_MAX];
	size_t question_len;
	struct buf out;
};

struct control {
	int listen, epoll;
	char *path;
	control_answer *answer;
	void *ctx;
	uint64_t accepted;
	struct peer peer[PEERS_MAX];
};

static void hang_up(struct peer *p)
{
	fd_close(&p->fd);       /* and out of the epoll set */
	buf_done(&p->out);
	p->question_len = 0;
}

static void watch(const struct control *c, int fd, uint32_t events, void *what, int op)
{
	struct epoll_event ev = { .events = events, .data.ptr = what };

	(void)epoll_ctl(c->epoll, op, fd, &ev);
}

static void take_peer(struct control *c)
{
	int fd = accept4(c->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct peer *place = &c->peer[0];

	if (fd < 0)
		return;
	for (size_t i = 0; i < PEERS_MAX && place->fd >= 0; i++)
		if (c->peer[i].fd < 0 || c->peer[i].since < place->since)
			place = &c->peer[i];
	hang_up(place);
	place->fd = fd;
	place->since = ++c->accepted;
	watch(c, fd, EPOLLIN, place, EPOLL_CTL_ADD);
}

static void send_answer(struct control *c, struct peer *p)
{
	while (p->out.len > 0) {
		ssize_t n = send(p->fd, buf_head(&p->out), p->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			watch(c, p->fd, EPOLLOUT, p, EPOLL_CTL_MOD);
			return;
		}
		if (n < 0)
			break;
		buf_consume(&p->out, (size_t)n);
	}
	hang_up(p);
}

static void answer(struct control *c, struct peer *p)
{
	struct buf body = { 0 };
	struct hearth_err err = { 0 };
	int r;

	*(char *)memchr(p->question, '\n', p->question_len) = '\0';
	r = c->answer(c->ctx, p->question, &body, &err);
	if (r < 0)
		r = buf_printf(&p->out, "error %s\n", err.msg);
	else
		r = buf_append(&p->out, "ok\n", 3) < 0 || (body.len > 0 && buf_append(&p->out, buf_head(&body), body.len) < 0) ? -ENOMEM : 0;
	buf_done(&body);
	if (r < 0)
		hang_up(p);
	else
		send_answer(c, p);
}

static void read_question(struct control *c, struct peer *p)
{
	ssize_t n = recv(p->fd, p->question + p->question_len, sizeof(p->question) - p->question_len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		hang_up(p);
		return;
	}
	p->question_len += (size_t)n;
	if (memchr(p->question, '\n', p->question_len) != NULL)
		answer(c, p);
	else if (p->question_len == sizeof(p->question))
		hang_up(p);
}

void control_step(struct control *c)
{
	struct epoll_event ev[PEERS_MAX + 1];
	int n = epoll_wait(c->epoll, ev, PEERS_MAX + 1, 0);

	for (int i = 0; i < n; i++) {
		struct peer *p = ev[i].data.ptr;

		/* a peer may have been dropped for another since: reading from that is harmless, it says EAGAIN */
		if (p == NULL)
			take_peer(c);
		else if (p->fd >= 0 && p->out.len > 0)
			send_answer(c, p);
		else if (p->fd >= 0)
			read_question(c, p);
	}
}

int control_fd(const struct control *c)
{
	return c->epoll;
}

struct control *control_free(struct control *c)
{
	if (c == NULL)
		return NULL;
	for (size_t i = 0; i < PEERS_MAX; i++)
		hang_up(&c->peer[i]);
	if (c->listen >= 0 && c->path != NULL && c->path[0] != '@')
		unlink(c->path);
	fd_close(&c->listen);
	fd_close(&c->epoll);
	free(c->path);
	free(c);
	return NULL;
}

int control_new(const char *path, control_answer *on_question, void *ctx, struct control **ret, struct hearth_err *err)
{
	struct control *c = calloc(1, sizeof(*c));
	int r = 0;

	if (c == NULL)
		return err_set(err, -ENOMEM, "control socket: out of memory");
	for (size_t i = 0; i < PEERS_MAX; i++)
		c->peer[i].fd = -1;
	c->answer = on_question;
	c->ctx = ctx;
	c->path = strdup(path);
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	c->listen = sock_unix_listen(path, 0600);
	if (c->listen < 0)
		r = err_set(err, c->listen, "control socket %s: %s%s", path, strerror(-c->listen), c->listen == -EADDRINUSE ? "; a server has it" : "");
	else if (c->path == NULL || c->epoll < 0)
		r = err_set(err, -ENOMEM, "control socket: out of memory");
	if (r < 0) {
		control_free(c);
		return r;
	}
	watch(c, c->listen, EPOLLIN, NULL, EPOLL_CTL_ADD);
	*ret = c;
	return 0;
}

/* ---- the other side ---- */

static int read_all(int fd, struct buf *in)
{
	for (;;) {
		uint8_t *tail;
		ssize_t n;

		if (in->len > ANSWER_MAX || buf_reserve(in, 65536, &tail) < 0)
			return -ENOMEM;
		n = recv(fd, tail, 65536, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (n == 0)
			return 0;
		buf_commit(in, (size_t)n);
	}
}

/* "ok\n..." or "error ...\n" */
static int open_answer(const char *socket, struct buf *in, char **ret, struct hearth_err *err)
{
	const char *text = (const char *)buf_head(in);
	char *copy;

	if (in->len >= 6 && memcmp(text, "error ", 6) == 0)
		return err_set(err, -EREMOTEIO, "%.*s", (int)(in->len - 7), text + 6);
	if (in->len < 3 || memcmp(text, "ok\n", 3) != 0)
		return err_set(err, -EPROTO, "%s is no control socket of hearth serve: it gave no answer", socket);
	copy = strndup(text + 3, in->len - 3);
	if (copy == NULL)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = copy;
	return 0;
}

int serve_ask(const char *socket, const char *question, char **ret, struct hearth_err *err)
{
	const struct timeval limit = { .tv_sec = ASK_TIMEOUT_S };
	FD_AUTO int fd = sock_unix_connect(socket);
	struct buf in = { 0 };
	char line[QUESTION_MAX];
	int n = snprintf(line, sizeof(line), "%s\n", question), r;

	if (fd < 0)
		return err_set(err, fd, "control socket %s: %s; is `hearth serve` running with `control: %s`?", socket, strerror(-fd), socket);
	if (n >= (int)sizeof(line))
		return err_set(err, -EINVAL, "question to %s is too long", socket);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	r = fd_write_full(fd, line, (size_t)n);
	if (r == 0)
		r = read_all(fd, &in);
	r = r < 0 ? err_set(err, r, "control socket %s: %s", socket, strerror(-r)) : open_answer(socket, &in, ret, err);
	buf_done(&in);
	return r;
}
