// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "priv.h"

#define READ_BYTES (64u << 10)
#define RETRY_MIN_S 0.0005
#define RETRY_MAX_S 0.02

struct channel {
	struct ev_loop *loop;
	const struct channel_ops *ops;
	void *ctx;
	int netns, fd;
	const char *name;
	char suffix[NODE_ID_LEN + 2];
	ev_io read_watch, write_watch;
	ev_timer retry;
	double retry_s;
	bool dispatching, closed;
	struct buf in, out;
};

/* The name space of a socket is fixed when it is made, so the connection is made inside and used outside. */
static int connect_in(int netns, const char *name, const char *suffix)
{
	static int own = -1;
	int fd;

	if (netns < 0)
		return fn_connect(name, suffix);
	if (own < 0)
		own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own < 0 || setns(netns, CLONE_NEWNET) < 0)
		return -errno;
	fd = fn_connect(name, suffix);
	if (setns(own, CLONE_NEWNET) < 0) {
		log_error("cannot return to the daemon's network namespace: %s", strerror(errno));
		abort();        /* every later socket would be in the wrong place */
	}
	return fd;
}

static void hangup(struct channel *ch)
{
	ev_io_stop(ch->loop, &ch->read_watch);
	ev_io_stop(ch->loop, &ch->write_watch);
	ev_timer_stop(ch->loop, &ch->retry);
	fd_close(&ch->fd);
	buf_reset(&ch->in);
	buf_reset(&ch->out);
}

static void destroy(struct channel *ch)
{
	hangup(ch);
	buf_done(&ch->in);
	buf_done(&ch->out);
	free(ch);
}

static void broken(struct channel *ch, const char *why)
{
	hangup(ch);
	ch->ops->closed(ch->ctx, why);
}

static bool flush(struct channel *ch)
{
	while (ch->out.len > 0) {
		ssize_t n = send(ch->fd, buf_head(&ch->out), ch->out.len, MSG_NOSIGNAL);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return false;
			ev_io_start(ch->loop, &ch->write_watch);
			return true;
		}
		buf_consume(&ch->out, (size_t)n);
	}
	ev_io_stop(ch->loop, &ch->write_watch);
	return true;
}

/* Return: NULL, or why the peer is not to be talked to any more */
static const char *dispatch(struct channel *ch)
{
	struct fn_view v;
	int r;

	while (!ch->closed && ch->fd >= 0) {
		r = fn_frame_peek(buf_head(&ch->in), ch->in.len, FN_BODY_MAX, &v);
		if (r == 0)
			return NULL;
		if (r < 0)
			return "it sent what is no frame";
		if (!ch->ops->frame(ch->ctx, &v.head, v.meta, v.body, v.body_len))
			return "it sent a frame that it must not send";
		if (!ch->closed && ch->fd >= 0)
			buf_consume(&ch->in, v.total);
	}
	return NULL;
}

/* Return: something came; @ch may be gone by then, its owner was told */
static bool read_once(struct channel *ch)
{
	const char *why = NULL;
	uint8_t *tail;
	ssize_t n;

	if (buf_reserve(&ch->in, READ_BYTES, &tail) < 0) {
		broken(ch, "out of memory");
		return false;
	}
	n = recv(ch->fd, tail, READ_BYTES, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		broken(ch, n == 0 ? "closed by the instance" : strerror(errno));
		return false;
	}
	buf_commit(&ch->in, (size_t)n);
	ch->dispatching = true;
	why = dispatch(ch);
	ch->dispatching = false;
	if (ch->closed)
		destroy(ch);
	else if (why)
		broken(ch, why);
	return true;
}

static void readable(struct ev_loop *loop, ev_io *w, int events)
{
	(void)loop;
	(void)events;
	read_once(w->data);
}

bool channel_drain(struct channel *ch)
{
	return ch->fd >= 0 && !ch->dispatching && read_once(ch);
}

static void writable(struct ev_loop *loop, ev_io *w, int events)
{
	struct channel *ch = w->data;

	(void)loop;
	(void)events;
	if (!flush(ch))
		broken(ch, strerror(errno));
}

static int try_connect(struct channel *ch)
{
	int fd = connect_in(ch->netns, ch->name, ch->suffix);

	if (fd < 0)
		return fd;
	ch->fd = fd;
	ev_io_set(&ch->read_watch, fd, EV_READ);
	ev_io_set(&ch->write_watch, fd, EV_WRITE);
	ev_io_start(ch->loop, &ch->read_watch);
	return 0;
}

/* A listener announces itself nowhere; until it is there the connect is refused. The first tries come within a millisecond. */
static void retry(struct ev_loop *loop, ev_timer *w, int events)
{
	struct channel *ch = w->data;
	int r = try_connect(ch);

	(void)events;
	ev_timer_stop(loop, w);
	if (r == 0)
		return;
	if (r != -ECONNREFUSED && r != -EAGAIN) {
		broken(ch, strerror(-r));
		return;
	}
	ch->retry_s = ch->retry_s * 2 > RETRY_MAX_S ? RETRY_MAX_S : ch->retry_s * 2;
	ev_timer_set(w, ch->retry_s, 0);
	ev_timer_start(loop, w);
}

struct channel *channel_open(struct ev_loop *loop, int netns, const char *name, const char *suffix, const struct channel_ops *ops, void *ctx)
{
	struct channel *ch = calloc(1, sizeof(*ch));

	if (!ch)
		return NULL;
	ch->loop = loop;
	ch->ops = ops;
	ch->ctx = ctx;
	ch->netns = netns;
	ch->fd = -1;
	ch->name = name;
	snprintf(ch->suffix, sizeof(ch->suffix), "%s", suffix);
	ev_init(&ch->read_watch, readable);
	ev_init(&ch->write_watch, writable);
	ev_timer_init(&ch->retry, retry, 0, 0);
	ch->read_watch.data = ch->write_watch.data = ch->retry.data = ch;
	ch->retry_s = RETRY_MIN_S;
	if (try_connect(ch) < 0) {
		ev_timer_set(&ch->retry, ch->retry_s, 0);
		ev_timer_start(loop, &ch->retry);
	}
	return ch;
}

int channel_send(struct channel *ch, enum fn_type type, uint64_t id, uint64_t arg, const char *meta, size_t meta_len, const void *body, size_t len)
{
	struct fn_frame f = { .len = (uint32_t)(meta_len + len), .type = (uint8_t)type, .meta_len = (uint16_t)meta_len, .id = id, .arg = arg };
	uint8_t *tail;

	if (!ch || ch->fd < 0)
		return -ENOTCONN;
	if (buf_reserve(&ch->out, sizeof(f) + meta_len + len, &tail) < 0)
		return -ENOMEM;
	fn_frame_put(tail, &f);
	if (meta_len)
		memcpy(tail + sizeof(f), meta, meta_len);
	if (len)
		memcpy(tail + sizeof(f) + meta_len, body, len);
	buf_commit(&ch->out, sizeof(f) + meta_len + len);
	/* sent at the end of this round of the loop, together with what else is sent by then; an error shows on the read side too */
	if (!ev_is_active(&ch->write_watch)) {
		ev_io_start(ch->loop, &ch->write_watch);
		ev_feed_event(ch->loop, &ch->write_watch, EV_WRITE);
	}
	return 0;
}

bool channel_connected(const struct channel *ch)
{
	return ch && ch->fd >= 0;
}

struct channel *channel_close(struct channel *ch)
{
	if (!ch)
		return NULL;
	ch->closed = true;
	if (ch->dispatching)
		hangup(ch);     /* freed when the frame's handler has returned */
	else
		destroy(ch);
	return NULL;
}
