/* SPDX-License-Identifier: Apache-2.0 */
#include "chan.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MAX_BYTES (256u << 10)
#define READ_BYTES (64u << 10)
#define IOV_MAX_FRAMES 32

static void peer_drop(struct chan *c)
{
	loop_close(c->loop, &c->peer);
	buf_done(&c->in);
	outq_hangup(&c->out);
}

/* Send what the socket takes; wait for room when something is left. While much is left nothing is read: each frame read may add an answer. */
static void flush(struct chan *c)
{
	struct iovec iov[IOV_MAX_FRAMES];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t n;

	while (c->peer.fd >= 0) {
		msg.msg_iovlen = outq_iov(&c->out, iov, IOV_MAX_FRAMES);
		if (msg.msg_iovlen == 0) {
			loop_want(c->loop, &c->peer, EPOLLIN);
			if (c->done)
				c->loop->stop = true;
			return;
		}
		n = sendmsg(c->peer.fd, &msg, MSG_NOSIGNAL);
		if (n >= 0) {
			outq_sent(&c->out, (size_t)n);
		} else if (errno == EAGAIN) {
			loop_want(c->loop, &c->peer, EPOLLOUT);
			return;
		} else if (errno != EINTR) {
			peer_drop(c);
		}
	}
}

/* One frame from hearthd. Return: 0, -EPROTO. */
static int frame_take(struct chan *c, const struct fn_view *v)
{
	switch (v->head.type) {
	case FN_INVOKE:
		c->ops->invoke(c->ctx, v);
		return 0;
	case FN_STOP:
		if (v->head.arg < 1 || v->head.arg > 64)
			return -EPROTO;
		c->ops->stop(c->ctx, (int)v->head.arg);
		return 0;
	case FN_CANCEL:
		c->ops->cancel(c->ctx, v->head.id);
		return 0;
	case FN_REST:
		c->ops->rest(c->ctx);
		return 0;
	default:
		return -EPROTO;
	}
}

/* Every whole frame that was received. Return: 0, -EPROTO, -EMSGSIZE, -ENOTCONN (hung up on the way). */
static int frames_take(struct chan *c)
{
	struct fn_view v;
	int got;

	while (c->in.len > 0) {
		got = fn_frame_peek(buf_head(&c->in), c->in.len, FN_BODY_MAX, &v);
		if (got <= 0)
			return got;
		got = frame_take(c, &v);
		if (got < 0)
			return got;
		if (c->peer.fd < 0)
			return -ENOTCONN;
		buf_consume(&c->in, v.total);
	}
	buf_done(&c->in);       /* idle instances keep no memory for the next event */
	return 0;
}

static void peer_ready(struct loop_io *io, uint32_t events)
{
	struct chan *c = io->ctx;
	uint8_t *tail;
	ssize_t n;

	if (events & EPOLLOUT)
		flush(c);
	if (c->peer.fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (buf_reserve(&c->in, READ_BYTES, &tail) < 0) {
		peer_drop(c);
		return;
	}
	n = recv(c->peer.fd, tail, READ_BYTES, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		peer_drop(c);
		return;
	}
	buf_commit(&c->in, (size_t)n);
	if (frames_take(c) < 0)
		peer_drop(c);
}

static uint8_t flags(const struct chan *c)
{
	return (uint8_t)((c->ready ? FN_FLAG_READY : 0) | (c->loaded ? FN_FLAG_LOADED : 0) | (c->zygote ? FN_FLAG_ZYGOTE : 0));
}

/* In front of what waits for a connection: what is, so that who comes later knows it. */
static int hello(struct chan *c)
{
	struct buf ids = { 0 };
	struct fn_frame head = { .type = FN_HELLO, .flags = flags(c), .arg = c->forks ? FN_VERSION_WORKERS : FN_VERSION };
	int ret = c->ops->running(c->ctx, &ids);

	if (ret == 0)
		ret = outq_result_ids(&c->out, &ids);
	if (ret == 0 && c->zygote)
		ret = outq_put_first(&c->out, (struct fn_frame){ .type = FN_WORKERS, .arg = c->workers }, NULL, 0);
	if (ret == 0 && ids.len) {
		memcpy(&head.id, buf_head(&ids), sizeof head.id);
		head.id = le64toh(head.id);
	}
	if (ret == 0)
		ret = outq_put_first(&c->out, head, buf_head(&ids), c->forks ? ids.len : 0);
	buf_done(&ids);
	return ret;
}

static void listener_ready(struct loop_io *io, uint32_t events)
{
	struct chan *c = io->ctx;
	int fd = fn_accept(io->fd);

	if (fd < 0)
		return;
	peer_drop(c);           /* one peer: the newest */
	c->peer.fd = fd;
	if (loop_add(c->loop, &c->peer, EPOLLIN) < 0 || hello(c) < 0) {
		peer_drop(c);
		return;
	}
	flush(c);
}

int chan_init(struct chan *c, struct loop *loop, const char *suffix, const struct chan_ops *ops, void *ctx)
{
	int ret;

	*c = (struct chan){
		.loop = loop, .ops = ops, .ctx = ctx,
		.listener = { .fd = -1, .ready = listener_ready, .ctx = c },
		.peer = { .fd = -1, .ready = peer_ready, .ctx = c },
	};
	outq_init(&c->out, LOG_MAX_BYTES);
	ret = fn_listen(FN_NAME_INIT, suffix);
	if (ret < 0)
		return ret;
	c->listener.fd = ret;
	return loop_add(loop, &c->listener, EPOLLIN);
}

void chan_done(struct chan *c)
{
	loop_close(c->loop, &c->listener);
	loop_close(c->loop, &c->peer);
	buf_done(&c->in);
	outq_done(&c->out);
}

int chan_send(struct chan *c, struct fn_frame head, const char *meta, size_t meta_len, const void *body, size_t body_len)
{
	int ret = outq_put(&c->out, head, meta, meta_len, body, body_len);

	/* Not while the socket is known to be full: the loop goes on when it isn't. */
	if (!(c->peer.events & EPOLLOUT) || c->peer.fd < 0)
		flush(c);
	return ret;
}

void chan_log(struct chan *c, unsigned stream, const void *data, size_t len)
{
	outq_log(&c->out, stream, data, len);
	if (!(c->peer.events & EPOLLOUT) || c->peer.fd < 0)
		flush(c);
}

void chan_ready(struct chan *c, bool zygote)
{
	if (c->ready)
		return;
	c->ready = true;
	c->zygote = zygote;
	if (c->peer.fd >= 0)
		chan_send(c, (struct fn_frame){ .type = FN_READY_NOW, .flags = zygote ? FN_FLAG_ZYGOTE : 0 }, NULL, 0, NULL, 0);
}

void chan_workers(struct chan *c, unsigned count)
{
	c->workers = count;
	if (c->peer.fd >= 0)
		chan_send(c, (struct fn_frame){ .type = FN_WORKERS, .arg = count }, NULL, 0, NULL, 0);
}

void chan_loaded(struct chan *c)
{
	if (c->loaded)
		return;
	c->loaded = true;
	if (c->peer.fd >= 0)
		chan_send(c, (struct fn_frame){ .type = FN_LOADED_NOW }, NULL, 0, NULL, 0);
}

void chan_finish(struct chan *c)
{
	c->done = true;
	flush(c);
}
