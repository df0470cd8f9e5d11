/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane over HTTP/1.1: connections that are kept open, all made before the run starts. A request whose time has come takes a free connection, or waits in a
 * queue until there is one; its latency counts from when it was due in either case.
 */
#include <errno.h>
#include <http_parser.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "lane.h"

#define EVENTS 128
#define ROUND 4096                              /* requests that are noticed to be due before answers are looked for again */
#define QUEUE (1u << 18)                        /* requests that may wait for a connection */
#define READ_BYTES 65536
#define CONNECT_NS (10 * NS_PER_S)              /* at the start */
#define RECONNECT_NS (100 * NS_PER_MS)          /* after a connection that could not be made */

enum conn_state { CONN_CLOSED, CONN_CONNECTING, CONN_IDLE, CONN_BUSY };

struct conn {
	struct http *h;
	int fd;
	enum conn_state state;
	http_parser parser;
	struct flight request;
	struct buf own;                         /* a request made for one use */
	const uint8_t *out;
	size_t out_len;
	uint64_t retry_ns, sent_ns, queue_ns;
	bool complete, function_error, keep;
	char header[24];                        /* name of the one being read, if it is of interest */
	int start;                              /* as the gateway says: index into starts, -1 */
	TAILQ_ENTRY(conn) busy;                 /* by sent_ns */
	SLIST_ENTRY(conn) idle;
	TAILQ_ENTRY(conn) closed;               /* by retry time */
};

struct http {
	struct lane lane;
	int epoll;
	struct conn *conns;
	unsigned conns_n;
	struct flight *queue;                   /* ring of QUEUE */
	uint64_t head, tail;
	TAILQ_HEAD(busy_conns, conn) busy;
	SLIST_HEAD(idle_conns, conn) idle;
	TAILQ_HEAD(closed_conns, conn) closed;
	unsigned connected, busy_n;
	struct buf *requests;                   /* one a type; empty: made for each */
	uint8_t *in;
	http_parser_settings settings;
};

/* ---- requests ---- */

static int body_append(struct buf *b, const char *body, const char *type, uint64_t service_ns)
{
	int rc = 0;

	while (rc == 0 && *body) {
		size_t len = strcspn(body, "{");

		rc = buf_append(b, body, len);
		body += len;
		if (rc == 0 && strncmp(body, "{service_ns}", 12) == 0) {
			rc = buf_printf(b, "%" PRIu64, service_ns);
			body += 12;
		} else if (rc == 0 && strncmp(body, "{type}", 6) == 0) {
			rc = buf_append(b, type, strlen(type));
			body += 6;
		} else if (rc == 0 && *body) {
			rc = buf_append(b, body++, 1);
		}
	}
	return rc;
}

static int request_build(struct http *h, uint32_t type, uint64_t service_ns, struct buf *out)
{
	const struct load_http *r = &h->lane.cfg->http[type];
	struct buf body = { 0 };
	int rc = r->body ? body_append(&body, r->body, h->lane.cfg->workload->types[type].name, service_ns) : 0;

	buf_reset(out);
	if (rc == 0)
		rc = buf_printf(out, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", r->method, r->path, h->lane.run->address.text, r->headers ? r->headers : "");
	if (rc == 0 && r->body)
		rc = buf_printf(out, "Content-Length: %zu\r\n", body.len);
	if (rc == 0)
		rc = buf_append(out, "\r\n", 2);
	if (rc == 0)
		rc = buf_append(out, buf_head(&body), body.len);
	buf_done(&body);
	return rc;
}

static bool body_varies(const char *body)
{
	return body && strstr(body, "{service_ns}");
}

/* ---- connections ---- */

static void conn_open(struct conn *c)
{
	const struct address *to = &c->h->lane.run->address;
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
	int on = 1;

	c->fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	c->state = CONN_CONNECTING;
	http_parser_init(&c->parser, HTTP_RESPONSE);
	c->parser.data = c;
	if (c->fd >= 0) {
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if ((connect(c->fd, (const struct sockaddr *)&to->sa, to->len) == 0 || errno == EINPROGRESS) && epoll_ctl(c->h->epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0)
			return;
	}
	fd_close(&c->fd);
	c->state = CONN_CLOSED;
	c->retry_ns = clock_mono_ns() + RECONNECT_NS;
	TAILQ_INSERT_TAIL(&c->h->closed, c, closed);
}

/* The connection is no good any more. A request on it is lost; @error: not because its time was up. */
static void conn_drop(struct conn *c, bool error)
{
	struct http *h = c->h;
	bool was_connecting = c->state == CONN_CONNECTING;

	fd_close(&c->fd);
	if (c->state == CONN_IDLE)
		SLIST_REMOVE(&h->idle, c, conn, idle);
	if (c->state == CONN_BUSY) {
		TAILQ_REMOVE(&h->busy, c, busy);
		h->busy_n--;
		h->lane.errors += error;
		lane_lost(&h->lane, &c->request);
	}
	h->connected -= !was_connecting;
	if (was_connecting) {
		c->state = CONN_CLOSED;
		c->retry_ns = clock_mono_ns() + RECONNECT_NS;
		TAILQ_INSERT_TAIL(&h->closed, c, closed);
	} else {
		conn_open(c);
	}
}

static int conn_send(struct conn *c)
{
	while (c->out_len > 0) {
		ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		c->out += n;
		c->out_len -= (size_t)n;
	}
	return 0;
}

/* ---- a request ---- */

/* Return: 0, -ENOMEM; a connection that fails at this is replaced, and its request lost. */
static int request_start(struct conn *c, const struct flight *f)
{
	struct http *h = c->h;
	struct buf *b = &h->requests[f->type];
	uint64_t now_ns = lane_now(&h->lane);

	if (b->len == 0) {
		b = &c->own;
		if (request_build(h, f->type, f->service_ns, b) < 0)
			return err_set(&h->lane.err, -ENOMEM, "no memory for a request");
	}
	c->request = *f;
	c->state = CONN_BUSY;
	c->complete = c->function_error = false;
	c->queue_ns = 0;
	c->sent_ns = now_ns;
	c->start = -1;
	c->header[0] = '\0';
	c->out = buf_head(b);
	c->out_len = b->len;
	TAILQ_INSERT_TAIL(&h->busy, c, busy);
	h->busy_n++;
	hist_record(&h->lane.conn_wait, now_ns > f->due_ns ? now_ns - f->due_ns : 0);
	if (conn_send(c) < 0)
		conn_drop(c, true);
	return 0;
}

/* Free connections take what waits, the longest waiting first. */
static int serve_queue(struct http *h)
{
	struct conn *c;
	int rc = 0;

	while (rc == 0 && h->tail < h->head && (c = SLIST_FIRST(&h->idle))) {
		SLIST_REMOVE_HEAD(&h->idle, idle);
		rc = request_start(c, &h->queue[h->tail++ % QUEUE]);
	}
	return rc;
}

static int send_due(struct http *h, uint64_t now_ns)
{
	struct lane *l = &h->lane;

	for (unsigned n = 0; n < ROUND && l->more && l->next.due_ns <= now_ns; n++) {
		bool room = h->head - h->tail < QUEUE;

		lane_due(l, &l->next, now_ns, room);
		if (room)
			h->queue[h->head++ % QUEUE] = (struct flight){ .due_ns = l->next.due_ns, .service_ns = l->next.service_ns, .phase = l->next.phase,
				.type = (uint16_t)l->next.type, .measured = lane_measured(l, l->next.due_ns) };
		lane_advance(l);
	}
	return serve_queue(h);
}

/* ---- an answer ---- */

static const char *const interesting[] = { "X-Amz-Function-Error", "X-Hearth-Wait-Ms", "X-Hearth-Start" };

static int on_header_field(http_parser *p, const char *at, size_t len)
{
	struct conn *c = p->data;

	/* The parser gives a name in pieces only where a read ended within it; those few are not looked at. */
	c->header[0] = '\0';
	if (len > 2 && (at[0] | 32) == 'x' && len < sizeof(c->header)) {
		memcpy(c->header, at, len);
		c->header[len] = '\0';
	}
	return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t len)
{
	static const char *const names[] = { "cold", "wake", "hot", "warm" };
	struct conn *c = p->data;
	char text[24] = "";
	double ms;

	if (c->header[0] == '\0' || len >= sizeof(text))
		return 0;
	memcpy(text, at, len);
	if (strcasecmp(c->header, interesting[0]) == 0)
		c->function_error = true;
	else if (strcasecmp(c->header, interesting[1]) == 0 && (ms = strtod(text, NULL)) > 0 && ms < 1e9)
		c->queue_ns = (uint64_t)(ms * 1e6);
	else if (strcasecmp(c->header, interesting[2]) == 0)
		for (int i = 0; i < 4; i++)
			if (strcasecmp(text, names[i]) == 0)
				c->start = i;
	return 0;
}

static int on_headers_complete(http_parser *p)
{
	struct conn *c = p->data;

	return strcmp(c->h->lane.cfg->http[c->request.type].method, "HEAD") == 0;      /* 1: no body follows */
}

static int on_message_complete(http_parser *p)
{
	struct conn *c = p->data;

	if (p->status_code / 100 == 1)          /* "100 Continue" and the like: the answer is still to come */
		return 0;
	c->complete = true;
	c->keep = http_should_keep_alive(p);
	http_parser_pause(p, 1);
	return 0;
}

static void answer(struct conn *c, uint64_t now_ns)
{
	struct http *h = c->h;
	struct lane *l = &h->lane;
	bool ok = c->parser.status_code / 100 == 2 && !c->function_error;

	lane_answered(l, &c->request, &(struct answer){ .now_ns = now_ns, .queue_ns = c->queue_ns, .status = c->parser.status_code, .ok = ok,
		.slow_ns = l->cfg->has_service ? c->request.service_ns : 0 });
	if (c->start >= 0 && c->request.measured)
		l->starts[c->start]++;
	TAILQ_REMOVE(&h->busy, c, busy);
	h->busy_n--;
	c->state = CONN_IDLE;
	c->out_len = 0;
	SLIST_INSERT_HEAD(&h->idle, c, idle);
	if (c->keep)
		http_parser_init(&c->parser, HTTP_RESPONSE);
	else
		conn_drop(c, false);
}

/* What a read gave. Return: false when the connection is gone. */
static bool take(struct conn *c, const uint8_t *data, size_t n)
{
	size_t used;

	if (c->state != CONN_BUSY) {
		conn_drop(c, true);             /* an answer to nothing */
		return false;
	}
	used = http_parser_execute(&c->parser, &c->h->settings, (const char *)data, n);
	if (c->complete) {
		bool kept = c->keep && used == n && c->out_len == 0;    /* it may be refused before it is sent: 413 */

		c->keep = kept;
		answer(c, lane_now(&c->h->lane));
		return kept;
	}
	if (n > 0 && HTTP_PARSER_ERRNO(&c->parser) == HPE_OK && used == n)
		return true;
	conn_drop(c, true);
	return false;
}

/* @ends: the server has sent all it will */
static void conn_read(struct conn *c, bool ends)
{
	for (;;) {
		ssize_t n = recv(c->fd, c->h->in, READ_BYTES, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 || (n == 0 && c->state != CONN_BUSY)) {
			conn_drop(c, true);
			return;
		}
		/* Less than asked for: nothing is left (epoll(7)), but perhaps the end. */
		if (!take(c, c->h->in, (size_t)n) || (n < READ_BYTES && !ends))
			return;
	}
}

static void conn_event(struct conn *c, uint32_t events)
{
	if (c->fd < 0)
		return;
	if (c->state == CONN_CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		if (sock_error(c->fd) < 0) {
			conn_drop(c, true);
			return;
		}
		c->state = CONN_IDLE;
		c->h->connected++;
		SLIST_INSERT_HEAD(&c->h->idle, c, idle);
		return;
	}
	if ((events & EPOLLOUT) && c->out_len > 0 && conn_send(c) < 0) {
		conn_drop(c, true);
		return;
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP))
		conn_read(c, events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP));
}

/* ---- the loop ---- */

static int wait_events(struct http *h, uint64_t wait_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(wait_ns / NS_PER_S), .tv_nsec = (long)(wait_ns % NS_PER_S) };
	struct epoll_event ev[EVENTS];
	int n = epoll_pwait2(h->epoll, ev, EVENTS, &ts, NULL);

	if (n < 0 && errno != EINTR)
		return err_set(&h->lane.err, -errno, "cannot wait: %s", strerror(errno));
	for (int i = 0; i < n; i++)
		conn_event(ev[i].data.ptr, ev[i].events);
	return 0;
}

static void reopen(struct http *h)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&h->closed)) && c->retry_ns <= clock_mono_ns()) {
		TAILQ_REMOVE(&h->closed, c, closed);
		conn_open(c);
	}
}

/*
 * The timeout of a request that got a connection counts from then. If it counted from when the request was due, a server that is a little too slow would see
 * nearly every connection given up and made anew, as the queue then holds requests that are about to be lost.
 */
static void expire(struct http *h, uint64_t now_ns)
{
	uint64_t timeout_ns = h->lane.cfg->timeout_ns;
	struct conn *c;

	while ((c = TAILQ_FIRST(&h->busy)) && c->sent_ns + timeout_ns < now_ns)
		conn_drop(c, false);
	while (h->tail < h->head && h->queue[h->tail % QUEUE].due_ns + timeout_ns < now_ns)
		lane_lost(&h->lane, &h->queue[h->tail++ % QUEUE]);
}

/* When something has to be done though nothing arrives. */
static uint64_t next_ns(struct http *h)
{
	struct lane *l = &h->lane;
	struct conn *busy = TAILQ_FIRST(&h->busy), *closed = TAILQ_FIRST(&h->closed);
	uint64_t at_ns = l->more ? l->next.due_ns : UINT64_MAX, timeout_ns = l->cfg->timeout_ns + 1;

	if (busy && busy->sent_ns + timeout_ns < at_ns)
		at_ns = busy->sent_ns + timeout_ns;
	if (h->tail < h->head && h->queue[h->tail % QUEUE].due_ns + timeout_ns < at_ns)
		at_ns = h->queue[h->tail % QUEUE].due_ns + timeout_ns;
	if (closed && closed->retry_ns - l->run->origin_ns < at_ns)
		at_ns = closed->retry_ns - l->run->origin_ns;
	return at_ns;
}

static void forget(struct http *h)
{
	struct conn *c;

	TAILQ_FOREACH(c, &h->busy, busy)
		lane_forget(&h->lane, &c->request);
	while (h->tail < h->head)
		lane_forget(&h->lane, &h->queue[h->tail++ % QUEUE]);
}

static int http_play(struct lane *l)
{
	struct http *h = (struct http *)l;
	int rc = 0;

	lane_advance(l);
	while (rc == 0 && (l->more || h->busy_n > 0 || h->tail < h->head) && !lane_stopped(l)) {
		uint64_t now_ns = lane_now(l);

		if (l->more && l->next.due_ns <= now_ns)
			rc = send_due(h, now_ns);
		if (rc == 0)
			rc = wait_events(h, lane_wait_ns(l, lane_now(l), next_ns(h)));
		if (rc == 0)
			rc = serve_queue(h);
		expire(h, now_ns);
		reopen(h);
		atomic_store_explicit(&l->flying, h->busy_n + h->head - h->tail, memory_order_relaxed);
	}
	forget(h);
	return rc;
}

/* ---- opening ---- */

static int connect_all(struct http *h)
{
	struct lane *l = &h->lane;
	uint64_t end_ns = clock_mono_ns() + CONNECT_NS;
	int rc = 0;

	for (; h->conns_n < l->cfg->flows; h->conns_n++) {
		struct conn *c = &h->conns[h->conns_n];

		*c = (struct conn){ .h = h, .fd = -1 };
		conn_open(c);
	}
	while (rc == 0 && h->connected < h->conns_n) {
		if (!TAILQ_EMPTY(&h->closed))
			return err_set(&l->err, -ECONNREFUSED, "cannot connect to %s%s; is a server running there?", l->run->address.text,
				h->connected ? " as often as asked for: it takes no more connections" : "");
		if (lane_stopped(l))
			return err_set(&l->err, -EINTR, "stopped while connecting");
		if (clock_mono_ns() > end_ns)
			return err_set(&l->err, -ETIMEDOUT, "only %u of %u connections to %s could be made in %llu s", h->connected, h->conns_n, l->run->address.text,
				CONNECT_NS / NS_PER_S);
		rc = wait_events(h, 50 * NS_PER_MS);
	}
	return rc;
}

static int http_open(struct lane *l)
{
	struct http *h = (struct http *)l;

	TAILQ_INIT(&h->busy);
	TAILQ_INIT(&h->closed);
	SLIST_INIT(&h->idle);
	fd_raise_limit();
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	h->conns = calloc(l->cfg->flows, sizeof(*h->conns));
	h->queue = calloc(QUEUE, sizeof(*h->queue));
	h->requests = calloc(l->cfg->workload->types_n, sizeof(*h->requests));
	h->in = malloc(READ_BYTES);
	if (h->epoll < 0 || !h->conns || !h->queue || !h->requests || !h->in)
		return err_set(&l->err, -ENOMEM, "no memory, or no descriptors, for a thread");
	http_parser_settings_init(&h->settings);
	h->settings.on_header_field = on_header_field;
	h->settings.on_header_value = on_header_value;
	h->settings.on_headers_complete = on_headers_complete;
	h->settings.on_message_complete = on_message_complete;
	for (uint32_t t = 0; t < l->cfg->workload->types_n; t++)
		if (!body_varies(l->cfg->http[t].body) && request_build(h, t, 0, &h->requests[t]) < 0)
			return err_set(&l->err, -ENOMEM, "no memory for the requests");
	return connect_all(h);
}

static void http_close(struct lane *l)
{
	struct http *h = (struct http *)l;

	for (unsigned i = 0; i < h->conns_n; i++) {
		fd_close(&h->conns[i].fd);
		buf_done(&h->conns[i].own);
	}
	for (uint32_t t = 0; h->requests && t < l->cfg->workload->types_n; t++)
		buf_done(&h->requests[t]);
	fd_close(&h->epoll);
	free(h->requests);
	free(h->conns);
	free(h->queue);
	free(h->in);
}

const struct lane_ops lane_http = { sizeof(struct http), http_open, http_play, http_close };
