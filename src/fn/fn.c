/* SPDX-License-Identifier: Apache-2.0 */
#include "hearth/fn.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fn/wire.h"
#include "rx.h"

#define TX_KEEP_BYTES (256u << 10)      /* an idle function keeps no more than this for its next reply */
#define TX_BATCH_BYTES (64u << 10)
#define TX_BATCH_REPLIES 64u
/*
 * Replies are collected while events wait and handlers are quicker than this. A send costs 1 to 2 us, so there is nothing to win for slower ones, and
 * a reply never waits for a handler known to be slow.
 */
#define QUICK_NS 20000u
#define HOLD_START_NS 1000000u          /* of functions that nothing is known about: slow */

struct event {
	struct hearth_fn_event pub;     /* first: the user's pointer is this one */
	struct event *next;
	struct rx_chunk *chunk;
	uint64_t generation;
	uint64_t taken_ns;
};

/*
 * Threads: one waits in poll() without the lock ("reading"); it alone touches rx and changes conn_fd, the latter under the lock. The others wait for
 * `turn`. Everything else is under the lock.
 */
struct hearth_fn {
	pthread_mutex_t lock;
	pthread_cond_t turn;
	unsigned waiters;
	bool reading, ready, broken;    /* broken: conn_fd is of no use any more, the next reader closes it */
	int listen_fd, conn_fd, next_fd, stop_fd;
	uint64_t generation;            /* counts connections: replies to events of an older one are dropped */
	size_t event_max;
	struct rx rx;
	struct event *free_events;
	uint8_t *tx;
	size_t tx_len, tx_cap;
	unsigned tx_replies;
	uint64_t hold_ns;               /* how long events are held lately: maximum, fading */
	void *room;
	size_t room_cap;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- sending; under the lock ---- */

/* Wait until the peer reads on. A new connection ends the wait: it replaces this one. Return: 0, -ECONNRESET. */
static int wait_writable(struct hearth_fn *fn)
{
	struct pollfd p[2] = { { .fd = fn->conn_fd, .events = POLLOUT }, { .fd = fn->listen_fd, .events = POLLIN } };

	if (poll(p, 2, -1) < 0)
		return errno == EINTR ? 0 : -ECONNRESET;
	if (p[1].revents && fn->next_fd < 0) {
		fn->next_fd = fn_accept(fn->listen_fd);
		if (fn->next_fd >= 0)
			return -ECONNRESET;
		fn->next_fd = -1;
	}
	return p[0].revents & (POLLERR | POLLHUP) ? -ECONNRESET : 0;
}

static int send_all(struct hearth_fn *fn, struct iovec *iov, size_t count)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };
	ssize_t n;

	if (fn->conn_fd < 0 || fn->broken)
		return -ECONNRESET;
	while (msg.msg_iovlen > 0) {
		if (msg.msg_iov->iov_len == 0) {
			msg.msg_iov++;
			msg.msg_iovlen--;
			continue;
		}
		n = sendmsg(fn->conn_fd, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno != EAGAIN || wait_writable(fn) < 0)) {
			/* The reader may be waiting on this descriptor: it is woken by the end of file and closes it. */
			fn->broken = true;
			shutdown(fn->conn_fd, SHUT_RDWR);
			return -ECONNRESET;
		}
		while (n > 0) {
			size_t part = (size_t)n < msg.msg_iov->iov_len ? (size_t)n : msg.msg_iov->iov_len;

			msg.msg_iov->iov_base = (uint8_t *)msg.msg_iov->iov_base + part;
			msg.msg_iov->iov_len -= part;
			n -= (ssize_t)part;
			if (n > 0) {
				msg.msg_iov++;
				msg.msg_iovlen--;
			}
		}
	}
	return 0;
}

/* Send what is collected, and then a body that was too large to collect. */
static int flush_locked(struct hearth_fn *fn, const void *body, size_t body_len)
{
	struct iovec iov[2] = { { fn->tx, fn->tx_len }, { (void *)body, body_len } };
	int ret = 0;

	if (fn->tx_len + body_len > 0)
		ret = send_all(fn, iov, 2);
	fn->tx_len = 0;
	fn->tx_replies = 0;
	if (fn->tx_cap > TX_KEEP_BYTES) {
		free(fn->tx);
		fn->tx = NULL;
		fn->tx_cap = 0;
	}
	return ret;
}

static uint8_t *tx_room(struct hearth_fn *fn, size_t n)
{
	size_t cap = fn->tx_cap ? fn->tx_cap : 8192;
	uint8_t *grown;

	while (cap - fn->tx_len < n)
		cap *= 2;
	if (cap > fn->tx_cap) {
		grown = realloc(fn->tx, cap);
		if (!grown)
			return NULL;
		fn->tx = grown;
		fn->tx_cap = cap;
	}
	return fn->tx + fn->tx_len;
}

static int tx_notice(struct hearth_fn *fn, struct fn_frame head)
{
	uint8_t *out = tx_room(fn, FN_HEAD_BYTES);

	if (!out)
		return -ENOMEM;
	fn_frame_put(out, &head);
	fn->tx_len += FN_HEAD_BYTES;
	return flush_locked(fn, NULL, 0);
}

/* ---- connections; only by the reader, or while there is none; under the lock ---- */

static void conn_drop(struct hearth_fn *fn)
{
	close_fd(&fn->conn_fd);
	fn->broken = false;
	fn->generation++;
	fn->tx_len = 0;
	fn->tx_replies = 0;
	if (fn->rx.chunk)
		rx_reset(&fn->rx);
}

static int conn_install(struct hearth_fn *fn, int fd)
{
	int ret;

	conn_drop(fn);
	fn->conn_fd = fd;
	ret = tx_notice(fn, (struct fn_frame){ .type = FN_HELLO, .flags = fn->ready ? FN_FLAG_READY : 0, .arg = FN_VERSION });
	return ret == -ENOMEM ? ret : 0;
}

/* ---- receiving ---- */

static struct event *event_new(struct hearth_fn *fn)
{
	struct event *e = fn->free_events;

	if (!e)
		return malloc(sizeof *e);
	fn->free_events = e->next;
	return e;
}

static void event_put(struct hearth_fn *fn, struct event *e)
{
	rx_put(&fn->rx, e->chunk);
	e->next = fn->free_events;
	fn->free_events = e;
}

static void event_fill(struct event *e, const struct fn_view *v)
{
	static const struct { const char *key; size_t offset; } fields[] = {
		{ "request_id", offsetof(struct hearth_fn_event, request_id) },
		{ "arn", offsetof(struct hearth_fn_event, arn) },
		{ "trace_id", offsetof(struct hearth_fn_event, trace_id) },
		{ "content_type", offsetof(struct hearth_fn_event, content_type) },
		{ "client_context", offsetof(struct hearth_fn_event, client_context) },
		{ "cognito_identity", offsetof(struct hearth_fn_event, cognito_identity) },
	};
	struct fn_meta m;
	size_t pos = 0, i;

	e->pub = (struct hearth_fn_event){
		.id = v->head.id, .deadline_ms = v->head.arg, .body = v->body, .body_len = v->body_len,
		.request_id = "", .arn = "", .trace_id = "", .content_type = "", .client_context = "", .cognito_identity = "",
	};
	while (fn_meta_next(v->meta, v->head.meta_len, &pos, &m)) {
		for (i = 0; i < sizeof fields / sizeof *fields; i++) {
			if (!fn_meta_is(&m, fields[i].key))
				continue;
			v->meta[(m.value - v->meta) + (ptrdiff_t)m.value_len] = 0;     /* was the newline */
			memcpy((char *)&e->pub + fields[i].offset, &m.value, sizeof m.value);
			break;
		}
	}
}

/* Return: 1 (an event), 0 (read on; *ret_need bytes make the next frame), -ENOMEM. A peer that breaks the protocol is dropped. */
static int take_event(struct hearth_fn *fn, struct event **ret, size_t *ret_need)
{
	struct rx_chunk *chunk;
	struct fn_view v;
	struct event *e;
	int got = rx_take(&fn->rx, fn->event_max, &v, &chunk);

	*ret_need = FN_HEAD_BYTES;
	if (got == 0) {
		*ret_need = v.total;
		return 0;
	}
	if (got < 0) {
		conn_drop(fn);
		return 0;
	}
	if (v.head.type != FN_INVOKE) {
		rx_put(&fn->rx, chunk);
		conn_drop(fn);
		return 0;
	}
	e = event_new(fn);
	if (!e) {
		rx_put(&fn->rx, chunk);
		conn_drop(fn);          /* the event is lost: the node has to know */
		return -ENOMEM;
	}
	e->chunk = chunk;
	e->generation = fn->generation;
	event_fill(e, &v);
	e->taken_ns = now_ns();
	*ret = e;
	return 1;
}

/* The reader's turn: wait, then accept or receive once. Called and left with the lock held; not held while waiting. */
static int read_more(struct hearth_fn *fn, size_t need)
{
	struct pollfd p[3] = {
		{ .fd = fn->stop_fd, .events = POLLIN }, { .fd = fn->listen_fd, .events = POLLIN }, { .fd = fn->conn_fd, .events = POLLIN },
	};
	ssize_t n = -1;
	uint8_t *tail;
	size_t room;
	int ret, fd;

	if (fn->next_fd >= 0) {
		fd = fn->next_fd;
		fn->next_fd = -1;
		return conn_install(fn, fd);
	}
	ret = rx_room(&fn->rx, need, &tail, &room);
	if (ret < 0)
		return ret;
	fn->reading = true;
	pthread_mutex_unlock(&fn->lock);
	ret = poll(p, 3, -1) < 0 && errno != EINTR ? -errno : 0;
	if (ret == 0 && p[2].revents) {
		n = recv(p[2].fd, tail, room, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			p[2].revents = 0;
	}
	pthread_mutex_lock(&fn->lock);
	fn->reading = false;
	if (ret < 0)
		return ret;
	if (p[0].revents)
		return -ESHUTDOWN;
	if (p[2].revents && n > 0)
		rx_commit(&fn->rx, (size_t)n);
	else if (p[2].revents)
		conn_drop(fn);
	if (p[1].revents) {
		fd = fn_accept(fn->listen_fd);
		if (fd >= 0)
			return conn_install(fn, fd);
		if (fd != -EAGAIN && fd != -EACCES)
			return fd;
	}
	return 0;
}

int hearth_fn_next(struct hearth_fn *fn, const struct hearth_fn_event **ret)
{
	struct event *e = NULL;
	size_t need;
	int got;

	pthread_mutex_lock(&fn->lock);
	for (;;) {
		if (fn->reading) {
			fn->waiters++;
			pthread_cond_wait(&fn->turn, &fn->lock);
			fn->waiters--;
			continue;
		}
		got = take_event(fn, &e, &need);
		if (got != 0)
			break;
		flush_locked(fn, NULL, 0);      /* a lost connection shows when reading */
		got = read_more(fn, need);
		if (got < 0)
			break;
	}
	/* One more thread may go: there may be another event, and else somebody has to read. */
	if (fn->waiters)
		pthread_cond_signal(&fn->turn);
	pthread_mutex_unlock(&fn->lock);
	if (got < 0)
		return got;
	*ret = &e->pub;
	return 0;
}

/* ---- replying ---- */

static const char too_large[] = "{\"errorMessage\":\"The reply is larger than the channel allows\",\"errorType\":\"Function.ResponseSizeTooLarge\"}";
static const char bad_type[] = "{\"errorMessage\":\"The reply's content or error type is malformed\",\"errorType\":\"Function.InvalidReply\"}";

static int reply_meta(const struct hearth_fn_reply *r, char *meta, size_t cap, size_t *len)
{
	int ret = 0;

	*len = 0;
	if (r->content_type)
		ret = fn_meta_put(meta, cap, len, "content_type", r->content_type, strlen(r->content_type));
	if (ret == 0 && r->error_type)
		ret = fn_meta_put(meta, cap, len, "error_type", r->error_type, strlen(r->error_type));
	return ret < 0 ? -EINVAL : 0;
}

/* Queue a checked reply; small bodies are copied, larger ones are sent from where they are. */
static int reply_queue(struct hearth_fn *fn, const struct event *e, const struct hearth_fn_reply *r, const char *meta, size_t meta_len)
{
	bool large = r->body_len > TX_BATCH_BYTES;
	size_t inline_len = FN_HEAD_BYTES + meta_len + (large ? 0 : r->body_len);
	uint8_t *out = tx_room(fn, inline_len);

	if (!out)
		return -ENOMEM;
	fn_frame_put(out, &(struct fn_frame){
		.len = (uint32_t)(meta_len + r->body_len), .type = FN_RESULT, .meta_len = (uint16_t)meta_len,
		.id = e->pub.id, .arg = r->error_type ? FN_FUNCTION_ERROR : FN_OK,
	});
	memcpy(out + FN_HEAD_BYTES, meta, meta_len);
	if (!large && r->body_len)
		memcpy(out + FN_HEAD_BYTES + meta_len, r->body, r->body_len);
	fn->tx_len += inline_len;
	fn->tx_replies++;
	if (large)
		return flush_locked(fn, r->body, r->body_len);
	/* While somebody waits for events, or no event is there, nobody would send it soon. */
	if (fn->reading || fn->hold_ns > QUICK_NS || fn->tx_replies >= TX_BATCH_REPLIES || fn->tx_len >= TX_BATCH_BYTES || !rx_pending(&fn->rx))
		return flush_locked(fn, NULL, 0);
	return 0;
}

int hearth_fn_reply(struct hearth_fn *fn, const struct hearth_fn_event *event, const struct hearth_fn_reply *reply)
{
	struct event *e = (struct event *)event;
	struct hearth_fn_reply r = *reply;
	uint64_t held = now_ns() - e->taken_ns;
	char meta[1024];
	size_t meta_len;
	int ret, bad;

	bad = r.body_len > FN_BODY_MAX ? -EMSGSIZE : reply_meta(&r, meta, sizeof meta, &meta_len);
	if (bad < 0) {
		const char *doc = bad == -EMSGSIZE ? too_large : bad_type;

		r = (struct hearth_fn_reply){ .body = doc, .body_len = strlen(doc), .error_type = bad == -EMSGSIZE ? "Function.ResponseSizeTooLarge" : "Function.InvalidReply" };
		reply_meta(&r, meta, sizeof meta, &meta_len);
	}
	pthread_mutex_lock(&fn->lock);
	fn->hold_ns = held > fn->hold_ns ? held : fn->hold_ns - fn->hold_ns / 8;
	if (e->generation != fn->generation || fn->broken) {
		ret = -ECONNRESET;
	} else {
		ret = reply_queue(fn, e, &r, meta, meta_len);
		if (ret == -ENOMEM) {
			/* The caller would wait for ever: let the node see that something is wrong. */
			fn->broken = true;
			shutdown(fn->conn_fd, SHUT_RDWR);
		}
	}
	event_put(fn, e);
	pthread_mutex_unlock(&fn->lock);
	return bad < 0 ? bad : ret;
}

int hearth_fn_flush(struct hearth_fn *fn)
{
	int ret;

	pthread_mutex_lock(&fn->lock);
	ret = flush_locked(fn, NULL, 0);
	pthread_mutex_unlock(&fn->lock);
	return ret;
}

int hearth_fn_ready(struct hearth_fn *fn)
{
	pthread_mutex_lock(&fn->lock);
	if (!fn->ready) {
		fn->ready = true;
		if (fn->conn_fd >= 0)
			tx_notice(fn, (struct fn_frame){ .type = FN_READY_NOW });      /* lost: the next HELLO says it */
	}
	pthread_mutex_unlock(&fn->lock);
	return 0;
}

void hearth_fn_stop(struct hearth_fn *fn)
{
	const uint64_t one = 1;
	int saved = errno;

	/* Can only fail when the counter is full: then it is readable already. */
	if (write(fn->stop_fd, &one, sizeof one) < 0)
		errno = saved;
}

/* ---- open, close, serve ---- */

int hearth_fn_open(const struct hearth_fn_options *options, struct hearth_fn **ret)
{
	const struct hearth_fn_options none = { 0 };
	struct hearth_fn *fn;
	const char *suffix;
	int err;

	if (!options)
		options = &none;
	suffix = options->suffix ? options->suffix : getenv("HEARTH_SUFFIX");
	fn = calloc(1, sizeof *fn);
	if (!fn)
		return -ENOMEM;
	pthread_mutex_init(&fn->lock, NULL);
	pthread_cond_init(&fn->turn, NULL);
	fn->conn_fd = fn->next_fd = fn->stop_fd = -1;
	fn->hold_ns = HOLD_START_NS;
	fn->event_max = options->max_event_bytes && options->max_event_bytes < FN_BODY_MAX ? options->max_event_bytes : FN_BODY_MAX;
	err = fn->listen_fd = fn_listen(FN_NAME_NATIVE, suffix);
	if (err < 0)
		goto err;
	fn->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fn->stop_fd < 0) {
		err = -errno;
		goto err;
	}
	*ret = fn;
	return 0;
err:
	hearth_fn_close(fn);
	return err;
}

struct hearth_fn *hearth_fn_close(struct hearth_fn *fn)
{
	if (!fn)
		return NULL;
	if (fn->conn_fd >= 0)
		flush_locked(fn, NULL, 0);
	close_fd(&fn->conn_fd);
	close_fd(&fn->next_fd);
	close_fd(&fn->listen_fd);
	close_fd(&fn->stop_fd);
	while (fn->free_events) {
		struct event *e = fn->free_events;

		fn->free_events = e->next;
		free(e);
	}
	rx_done(&fn->rx);
	free(fn->tx);
	free(fn->room);
	pthread_cond_destroy(&fn->turn);
	pthread_mutex_destroy(&fn->lock);
	free(fn);
	return NULL;
}

void *hearth_fn_room(struct hearth_fn_reply *reply, size_t len)
{
	struct hearth_fn *fn = reply->scratch;
	size_t cap = fn->room_cap ? fn->room_cap : 4096;
	void *grown;

	if (len > FN_BODY_MAX)
		return NULL;
	while (cap < len)
		cap *= 2;
	if (cap > fn->room_cap) {
		grown = realloc(fn->room, cap);
		if (!grown)
			return NULL;
		fn->room = grown;
		fn->room_cap = cap;
	}
	return fn->room;
}

/* Replies larger than usual don't stay in memory. */
static void room_trim(struct hearth_fn *fn)
{
	if (fn->room_cap <= TX_KEEP_BYTES)
		return;
	free(fn->room);
	fn->room = NULL;
	fn->room_cap = 0;
}

int hearth_fn_serve(const struct hearth_fn_options *options, hearth_fn_handler *handler, void *ctx)
{
	const struct hearth_fn_event *event;
	struct hearth_fn_reply reply;
	struct hearth_fn *fn;
	char doc[96];
	int ret, code;

	ret = hearth_fn_open(options, &fn);
	if (ret < 0)
		return ret;
	hearth_fn_ready(fn);
	while ((ret = hearth_fn_next(fn, &event)) == 0) {
		reply = (struct hearth_fn_reply){ .scratch = fn };
		code = handler(event, &reply, ctx);
		if (code != 0 && !reply.error_type) {
			reply.body = doc;
			reply.body_len = (size_t)snprintf(doc, sizeof doc, "{\"errorMessage\":\"handler returned %d\",\"errorType\":\"Function.HandlerError\"}", code);
			reply.error_type = "Function.HandlerError";
		}
		hearth_fn_reply(fn, event, &reply);     /* whatever went wrong, the node knows; go on with the next one */
		room_trim(fn);
	}
	hearth_fn_close(fn);
	return ret;
}
