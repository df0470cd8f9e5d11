/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <http_parser.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "conn.h"

/*
 * A client's connection: read, parse, hand over, write. One request is in work at a time; what a client pipelines behind it stays in the block,
 * and when that is full the reader rests. Input is read while a request is in work all the same, since that is how a client's leaving is seen.
 */

#define BODY_ROOM 4096			/* least space for body bytes behind a head */
#define BODY_PROGRESS 1024		/* least growth of a body in body_ns */

static void conn_process(struct http_conn *c);

/* Lifetime */

void conn_unref(struct http_conn *c)
{
	struct http_server *server = c->server;

	if (--c->refs > 0)
		return;
	if (server->n_spare_conns >= CONN_SPARE_MAX) {
		free(c);
		return;
	}
	c->next_spare = server->spare_conns;
	server->spare_conns = c;
	server->n_spare_conns++;
}

static void conn_drop_body(struct http_conn *c)
{
	server_buf_put(c->server, &c->body);
}

void conn_close(struct http_conn *c)
{
	struct http_server *server = c->server;

	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_CLOSED;
	ev_io_stop(server->loop, &c->reader);
	ev_io_stop(server->loop, &c->writer);
	ev_timer_stop(server->loop, &c->timer);
	close(c->fd);
	c->fd = -1;
	server_block_put(server, c->block);
	c->block = NULL;
	conn_drop_body(c);
	server_buf_put(server, &c->out);
	LIST_REMOVE(c, link);
	server->counters.connections--;
	server_conn_gone(server);
	conn_unref(c);
}

void conn_abort(struct http_conn *c)
{
	if (c->state == CONN_WORK && c->handled) {
		c->handled = false;
		c->server->counters.aborted++;
		if (c->req.on_abort != NULL)
			c->req.on_abort(&c->req);
	}
	conn_close(c);
}

void conn_quit_idle(struct http_conn *c)
{
	if (c->state == CONN_HEAD && !c->head_started && c->out.len == 0)
		conn_close(c);
}

/* Time: the timer is only moved when it would fire too late. Firing too early costs one look a minute; moving it costs every request. */

static void conn_arm(struct http_conn *c, uint64_t now_ns)
{
	struct ev_loop *loop = c->server->loop;
	double s = c->deadline_ns > now_ns ? (double)(c->deadline_ns - now_ns) / 1e9 : 0.;

	ev_timer_stop(loop, &c->timer);
	/* the loop's idea of now may be older than ours */
	ev_timer_set(&c->timer, s + 0.001, 0.);
	ev_timer_start(loop, &c->timer);
	c->armed_ns = c->deadline_ns;
}

void conn_deadline(struct http_conn *c, uint64_t at_ns)
{
	c->deadline_ns = at_ns;
	if (at_ns != 0 && (c->armed_ns == 0 || at_ns < c->armed_ns))
		conn_arm(c, clock_mono_ns());
}

static void conn_timeout(struct http_conn *c, uint64_t now_ns)
{
	struct http_server *server = c->server;

	if (c->out.len > 0) {
		server->counters.stalled++;
		conn_abort(c);
		return;
	}
	switch (c->state) {
	case CONN_HEAD:
		if (c->head_started) {
			server->counters.rejected_timeout++;
			reply_reject(c, 408, "RequestTimeout", "the request head did not arrive in time");
		} else {
			conn_close(c);
		}
		break;
	case CONN_BODY:
		if (c->body_raw - c->body_mark >= BODY_PROGRESS) {
			c->body_mark = c->body_raw;
			conn_deadline(c, now_ns + server->config.body_ns);
		} else {
			server->counters.rejected_timeout++;
			reply_reject(c, 408, "RequestTimeout", "the request body arrives too slowly");
		}
		break;
	case CONN_LINGER:
		conn_close(c);
		break;
	default:
		break;
	}
}

static void on_timer(struct ev_loop *loop, struct ev_timer *w, int revents)
{
	struct http_conn *c = w->data;
	uint64_t now_ns = clock_mono_ns();

	c->armed_ns = 0;
	if (c->deadline_ns == 0)
		return;
	if (now_ns < c->deadline_ns) {
		conn_arm(c, now_ns);
		return;
	}
	conn_ref(c);
	conn_timeout(c, now_ns);
	conn_unref(c);
}

/* Output */

static void conn_set_broken(struct http_conn *c)
{
	c->broken = true;
	c->corked = false;
	buf_reset(&c->out);
	ev_io_stop(c->server->loop, &c->writer);
	ev_feed_event(c->server->loop, &c->reader, EV_CUSTOM);
}

int conn_queue(struct http_conn *c, const void *data, size_t len)
{
	int r;

	server_buf_get(c->server, &c->out);
	r = buf_append(&c->out, data, len);
	if (r < 0)
		conn_set_broken(c);
	return r;
}

/* After a write: wait for room, or be done with it. @taken: the client took something, which gives it new time. */
static void conn_written(struct http_conn *c, bool taken)
{
	if (c->out.len > 0) {
		if (taken || !ev_is_active(&c->writer))
			conn_deadline(c, clock_mono_ns() + c->server->config.stall_ns);
		ev_io_start(c->server->loop, &c->writer);
		if (c->out.len > c->server->config.max_buffer_bytes)
			c->was_full = true;
	} else {
		if (ev_is_active(&c->writer))
			ev_io_stop(c->server->loop, &c->writer);
		server_buf_put(c->server, &c->out);
	}
}

/* What is queued, then data, as far as the socket takes it. */
static int conn_write_now(struct http_conn *c, const void *data, size_t len)
{
	struct iovec iov[2] = { { buf_head(&c->out), c->out.len }, { (void *)data, len } };
	size_t queued = c->out.len, n;
	ssize_t r;

	r = queued > 0 && len > 0 ? writev(c->fd, iov, 2) : write(c->fd, queued > 0 ? iov[0].iov_base : data, queued + len);
	if (r < 0 && errno != EAGAIN && errno != EINTR) {
		conn_set_broken(c);
		return -EPIPE;
	}
	n = r > 0 ? (size_t)r : 0;
	c->unsent = c->unsent && n == 0;
	c->server->counters.bytes_out += n;
	if (n < queued) {
		buf_consume(&c->out, n);
		n = 0;
	} else {
		buf_consume(&c->out, queued);
		n -= queued;
	}
	return n < len ? conn_queue(c, (const char *)data + n, len - n) : 0;
}

int conn_write(struct http_conn *c, const void *data, size_t len)
{
	uint64_t before = c->server->counters.bytes_out;
	int r;

	if (c->broken)
		return -EPIPE;
	if (c->out.len + len == 0)
		return 0;
	/* while it waits for room there is no use in trying */
	r = !ev_is_active(&c->writer) ? conn_write_now(c, data, len) : len > 0 ? conn_queue(c, data, len) : 0;
	if (r == 0)
		conn_written(c, c->server->counters.bytes_out != before);
	return r;
}

/* Everything is written and this was the last reply. */
static void conn_finish(struct http_conn *c)
{
	if (!c->linger) {
		conn_close(c);
		return;
	}
	shutdown(c->fd, SHUT_WR);
	ev_io_start(c->server->loop, &c->reader);
	conn_deadline(c, clock_mono_ns() + CONN_LINGER_NS);
}

static void conn_drained(struct http_conn *c)
{
	switch (c->state) {
	case CONN_LINGER:
		conn_finish(c);
		break;
	case CONN_HEAD:
		if (c->server->stopping && c->block == NULL) {
			conn_close(c);
			break;
		}
		conn_deadline(c, clock_mono_ns() + c->server->config.idle_ns);
		ev_io_start(c->server->loop, &c->reader);
		conn_process(c);
		break;
	default:
		conn_deadline(c, 0);
		break;
	}
}

static void on_writable(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct http_conn *c = w->data;
	uint64_t before = c->server->counters.bytes_out;

	conn_ref(c);
	if (conn_write_now(c, NULL, 0) < 0) {
		conn_abort(c);
	} else {
		conn_written(c, c->server->counters.bytes_out != before);
		if (c->was_full && c->out.len <= c->server->config.max_buffer_bytes / 2) {
			c->was_full = false;
			if (c->state == CONN_WORK && c->handled && c->req.on_drain != NULL)
				c->req.on_drain(&c->req);
		}
		if (c->state != CONN_CLOSED && c->out.len == 0)
			conn_drained(c);
	}
	conn_unref(c);
}

void conn_request_over(struct http_conn *c)
{
	struct http_server *server = c->server;

	c->handled = c->begun = c->corked = false;
	c->req.head = false;		/* should the next head be rejected before it is read */
	c->req.minor = 1;
	if (c->broken) {
		conn_close(c);
		return;
	}
	conn_drop_body(c);
	c->start = c->body_end;
	if (c->close_after) {
		c->linger = c->linger || c->start < c->end;
		server_block_put(server, c->block);
		c->block = NULL;
		c->state = CONN_LINGER;
		if (c->out.len == 0)
			conn_finish(c);
		return;
	}
	c->state = CONN_HEAD;
	c->scan = (struct head_scan){ 0 };
	c->head_started = c->timed = false;
	if (c->start == c->end) {
		server_block_put(server, c->block);
		c->block = NULL;
	} else if (!c->processing) {
		ev_feed_event(server->loop, &c->reader, EV_CUSTOM);
	}
	if (c->out.len == 0)
		conn_deadline(c, clock_mono_ns() + server->config.idle_ns);
	if (!ev_is_active(&c->reader))
		ev_io_start(server->loop, &c->reader);
}

/* Input: the head */

static int on_url(http_parser *p, const char *at, size_t len)
{
	struct http_conn *c = p->data;

	c->req.target = (struct http_view){ at, len };
	return 0;
}

static int on_field(http_parser *p, const char *at, size_t len)
{
	struct http_conn *c = p->data;

	if (c->req.n_headers == HTTP_HEADERS_MAX) {
		c->too_many = true;
		return -1;
	}
	c->block->headers[c->req.n_headers++] = (struct http_header){ .name = { at, len }, .value = { at + len, 0 } };
	return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
	struct http_conn *c = p->data;

	c->block->headers[c->req.n_headers - 1].value = head_trim((struct http_view){ at, len });
	return 0;
}

static const http_parser_settings head_settings = { .on_url = on_url, .on_header_field = on_field, .on_header_value = on_value };

static bool reject_malformed(struct http_conn *c, unsigned status, const char *message)
{
	c->server->counters.rejected_malformed++;
	reply_reject(c, status, status == 501 ? "NotImplemented" : "BadRequest", message);
	return false;
}

static bool reject_head_size(struct http_conn *c, const char *message)
{
	c->server->counters.rejected_header_size++;
	reply_reject(c, 431, "RequestHeaderFieldsTooLarge", message);
	return false;
}

static bool reject_body_size(struct http_conn *c)
{
	c->server->counters.rejected_body_size++;
	reply_reject(c, 413, "RequestTooLarge", "the request body is larger than allowed");
	return false;
}

/* "GET http://host/path HTTP/1.1" is allowed, to us only the path matters. */
static void request_split_target(struct http_request *req)
{
	struct http_view t = req->target;
	const char *p = t.data, *end = t.data + t.len, *q;

	if (p[0] != '/' && p[0] != '*') {
		q = memmem(p, t.len, "://", 3);
		p = q != NULL ? q + 3 : end;
		while (p < end && *p != '/' && *p != '?')
			p++;
	}
	q = memchr(p, '?', (size_t)(end - p));
	req->path = (struct http_view){ p, (size_t)((q != NULL ? q : end) - p) };
	if (req->path.len == 0)
		req->path = http_view_of("/");
	req->query = q != NULL ? (struct http_view){ q + 1, (size_t)(end - q - 1) } : (struct http_view){ end, 0 };
}

/* What http_parser lets pass, or what two servers could read in two ways, is refused here. */
static bool conn_check_headers(struct http_conn *c, bool *ret_expect)
{
	const struct http_request *req = &c->req;
	unsigned hosts = 0, encodings = 0;

	for (size_t i = 0; i < req->n_headers; i++) {
		const struct http_header *h = &req->headers[i];

		if (!head_name_ok(h->name))
			return reject_malformed(c, 400, "a header name holds a character that is not allowed");
		if (h->name.len == 4 && http_view_is(h->name, "Host"))
			hosts++;
		if (h->name.len == 17 && http_view_is(h->name, "Transfer-Encoding")) {
			encodings++;
			if (!http_view_is(h->value, "chunked"))
				return reject_malformed(c, 501, "the only transfer encoding known here is chunked");
		}
		if (h->name.len == 6 && http_view_is(h->name, "Expect")) {
			if (!http_view_is(h->value, "100-continue"))
				return reject_malformed(c, 417, "the only expectation known here is 100-continue");
			*ret_expect = req->minor >= 1;
		}
	}
	if (hosts > 1 || (hosts == 0 && req->minor >= 1))
		return reject_malformed(c, 400, "an HTTP/1.1 request needs exactly one Host header");
	if (encodings > 1 || (encodings == 1 && req->minor == 0))
		return reject_malformed(c, 400, "Transfer-Encoding must come once, and in HTTP/1.1");
	return true;
}

static bool conn_check_head(struct http_conn *c, const http_parser *p, bool *ret_expect)
{
	struct http_request *req = &c->req;

	if (c->too_many)
		return reject_head_size(c, "too many headers");
	if (HTTP_PARSER_ERRNO(p) != HPE_OK)
		return reject_malformed(c, 400, http_errno_description(HTTP_PARSER_ERRNO(p)));
	if (p->http_major != 1 || p->http_minor > 1)
		return reject_malformed(c, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
	if (p->method == HTTP_CONNECT)
		return reject_malformed(c, 501, "CONNECT is not supported");
	if (!head_target_ok(req->target) || memchr(req->target.data, '#', req->target.len) != NULL)
		return reject_malformed(c, 400, "the request target holds a character that is not allowed");
	if (!conn_check_headers(c, ret_expect))
		return false;
	if (p->upgrade && http_view_is(http_request_header(req, "Upgrade"), "h2c") == false)
		return reject_malformed(c, 501, "protocol upgrades are not supported");
	return true;
}

/* A complete head is at start. Return: it is good, c->frame says how its body is framed. */
static bool conn_parse_head(struct http_conn *c)
{
	struct http_request *req = &c->req;
	const char *head = c->block->data + c->start;
	bool expect = false;
	http_parser p;

	*req = (struct http_request){ .headers = c->block->headers, .peer = http_view_of(c->peer) };
	c->too_many = false;
	c->body_end = c->end;		/* should it be rejected */
	http_parser_init(&p, HTTP_REQUEST);
	p.data = c;
	http_parser_execute(&p, &head_settings, head, c->head_len);
	req->minor = (uint8_t)p.http_minor;
	if (!conn_check_head(c, &p, &expect))
		return false;
	req->method = http_view_of(http_method_str(p.method));
	req->head = p.method == HTTP_HEAD;
	req->keep_alive = http_should_keep_alive(&p) && !c->server->stopping;
	c->close_after = !req->keep_alive;
	request_split_target(req);
	if (p.flags & F_CHUNKED) {
		body_frame_init(&c->frame, BODY_CHUNKED, 0);
	} else if (p.flags & F_CONTENTLENGTH) {
		if (p.content_length > c->server->config.max_body_bytes)
			return reject_body_size(c);
		body_frame_init(&c->frame, BODY_LENGTH, p.content_length);
	} else {
		body_frame_init(&c->frame, BODY_NONE, 0);
	}
	req->has_body = c->frame.kind != BODY_NONE;
	/* who has begun to send does not wait for our word */
	if (expect && !c->frame.done && c->start + c->head_len == c->end)
		conn_write(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	return true;
}

/* Space behind the head, made before the head is parsed, since nothing moves afterwards. */
static int conn_make_room(struct http_conn *c, size_t used, size_t room)
{
	struct conn_block *block = c->block, *large;
	size_t len = c->end - c->start;

	if (block->cap - c->start - used >= room)
		return 0;
	if (block->cap - used >= room) {
		memmove(block->data, block->data + c->start, len);
	} else {
		large = server_block_get(c->server, c->server->config.max_header_bytes + CONN_BLOCK_BYTES);
		if (large == NULL)
			return -ENOMEM;
		memcpy(large->data, block->data + c->start, len);
		server_block_put(c->server, block);
		c->block = large;
	}
	c->start = 0;
	c->end = len;
	return 0;
}

/* The parser takes an unknown first byte for a bad method; said here, before a whole head of it has been waited for (TLS to a plain port). */
static bool conn_starts_badly(const struct http_conn *c)
{
	char first = c->block->data[c->start];

	return !head_name_ok((struct http_view){ &first, 1 }) && first != '\r';
}

/* The time for a head, or for a period of body, begins with what is there of it first. */
static void conn_time_once(struct http_conn *c, uint64_t ns)
{
	if (!c->timed)
		conn_deadline(c, clock_mono_ns() + ns);
	c->timed = true;
}

static bool conn_head(struct http_conn *c)
{
	const struct http_config *config = &c->server->config;
	size_t avail;
	int r;

	while (c->scan.pos == 0 && c->end - c->start >= 2 && memcmp(c->block->data + c->start, "\r\n", 2) == 0)
		c->start += 2;
	avail = c->end - c->start;
	if (avail == 0) {
		server_block_put(c->server, c->block);
		c->block = NULL;
		return false;
	}
	if (!c->head_started) {
		c->head_started = true;
		if (conn_starts_badly(c))
			return reject_malformed(c, 400, "this is not HTTP");
	}
	/* a lone CR may be the first half of an empty line, to be skipped when it is whole */
	r = avail == 1 && c->block->data[c->start] == '\r' ? 0 : head_scan(&c->scan, c->block->data + c->start, avail, &c->head_len);
	if (r < 0)
		return reject_malformed(c, 400, "every line of the head must end with CR LF and none may be folded");
	if (r == 0 ? avail > config->max_header_bytes : c->head_len > config->max_header_bytes)
		return reject_head_size(c, "request line and headers are too large");
	if (r == 0) {
		conn_time_once(c, config->header_ns);
		return false;
	}
	if (conn_make_room(c, c->head_len, BODY_ROOM) < 0) {
		conn_close(c);
		return false;
	}
	if (!conn_parse_head(c))
		return c->state == CONN_HEAD;
	c->state = CONN_BODY;
	c->body_raw = c->body_mark = 0;
	c->timed = false;
	return true;
}

/* Input: the body */

static void conn_dispatch(struct http_conn *c)
{
	struct http_server *server = c->server;
	struct http_request *req = &c->req;

	if (c->body.len > 0)
		req->body = (struct http_view){ (const char *)buf_head(&c->body), c->body.len };
	c->state = CONN_WORK;
	c->handled = true;
	c->begun = false;
	c->linger = false;
	conn_deadline(c, 0);
	req->received_ns = clock_mono_ns();
	server->counters.requests++;
	server->handler(server->ctx, req);
}

/* One piece of body: kept where it is when it is all of it. Return: 0, -EMSGSIZE, -ENOMEM. */
static int conn_body_piece(struct http_conn *c, struct http_view piece)
{
	if (piece.len == 0)
		return 0;
	if (c->body.len + piece.len > c->server->config.max_body_bytes)
		return -EMSGSIZE;
	if (c->frame.kind == BODY_LENGTH && c->frame.done && c->body.len == 0) {
		c->req.body = piece;
		return 0;
	}
	server_buf_get(c->server, &c->body);
	return buf_append(&c->body, piece.data, piece.len);
}

static bool conn_body(struct http_conn *c)
{
	size_t at = c->start + c->head_len, pos = at;
	struct http_view piece;
	int r = 0;

	while (pos < c->end && !c->frame.done && r == 0) {
		ssize_t n = body_frame_next(&c->frame, c->block->data + pos, c->end - pos, &piece);

		if (n < 0)
			return reject_malformed(c, 400, "the chunked body is malformed");
		pos += (size_t)n;
		r = conn_body_piece(c, piece);
	}
	c->body_raw += pos - at;
	/* chunks of a byte each are legal, an endless row of them is not wanted */
	if (r == -EMSGSIZE || c->body_raw / 8 > c->server->config.max_body_bytes + BODY_ROOM)
		return reject_body_size(c);
	if (r < 0) {
		conn_close(c);
		return false;
	}
	if (c->frame.done) {
		c->body_end = pos;
		conn_dispatch(c);
		return true;
	}
	conn_time_once(c, c->server->config.body_ns);
	c->end = at;		/* consumed: the space is used again */
	return false;
}

static void conn_process(struct http_conn *c)
{
	if (c->processing)
		return;
	c->processing = true;
	while ((c->state == CONN_HEAD || c->state == CONN_BODY) && c->block != NULL && c->out.len == 0 && !c->broken)
		if (!(c->state == CONN_HEAD ? conn_head(c) : conn_body(c)))
			break;
	c->processing = false;
}

/* The client has closed its side. With a request in work that counts as gone, as it does for other proxies. */
static void conn_eof(struct http_conn *c)
{
	if (c->state == CONN_HEAD && c->out.len > 0) {
		/* replied, not all sent yet: it may still be reading */
		c->linger = false;
		c->state = CONN_LINGER;
		ev_io_stop(c->server->loop, &c->reader);
		return;
	}
	conn_abort(c);
}

static void conn_discard(struct http_conn *c)
{
	char scratch[4096];
	ssize_t n;

	n = read(c->fd, scratch, sizeof(scratch));
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	if (c->out.len > 0)
		ev_io_stop(c->server->loop, &c->reader);
	else
		conn_close(c);
}

static void conn_read(struct http_conn *c)
{
	struct http_server *server = c->server;
	ssize_t n;

	if (c->block == NULL) {
		c->block = server_block_get(server, CONN_BLOCK_BYTES);
		c->start = c->end = 0;
		if (c->block == NULL) {
			conn_abort(c);
			return;
		}
	}
	if (c->end == c->block->cap && c->state == CONN_HEAD && c->out.len == 0 && conn_make_room(c, c->end - c->start, 1) < 0) {
		conn_close(c);
		return;
	}
	if (c->end == c->block->cap) {
		ev_io_stop(server->loop, &c->reader);	/* until the request in work is over */
		return;
	}
	n = read(c->fd, c->block->data + c->end, c->block->cap - c->end);
	if (n > 0) {
		c->end += (size_t)n;
		server->counters.bytes_in += (uint64_t)n;
	} else if (n == 0) {
		conn_eof(c);
	} else if (errno != EAGAIN && errno != EINTR) {
		conn_abort(c);
	}
}

static void on_readable(struct ev_loop *loop, struct ev_io *w, int revents)
{
	struct http_conn *c = w->data;

	conn_ref(c);
	if (c->broken)
		conn_abort(c);
	else if (c->state == CONN_LINGER)
		conn_discard(c);
	else if (revents & EV_READ)
		conn_read(c);
	conn_process(c);
	conn_unref(c);
}

int conn_new(struct http_server *server, int fd, const char *peer)
{
	struct http_conn *c = server->spare_conns;

	if (c != NULL) {
		server->spare_conns = c->next_spare;
		server->n_spare_conns--;
	} else {
		c = malloc(sizeof(*c));
		if (c == NULL) {
			close(fd);
			return -ENOMEM;
		}
	}
	*c = (struct http_conn){ .server = server, .refs = 1, .fd = fd, .state = CONN_HEAD, .req.minor = 1 };
	memcpy(c->peer, peer, strlen(peer) + 1);
	ev_io_init(&c->reader, on_readable, fd, EV_READ);
	ev_io_init(&c->writer, on_writable, fd, EV_WRITE);
	ev_init(&c->timer, on_timer);
	c->reader.data = c->writer.data = c->timer.data = c;
	LIST_INSERT_HEAD(&server->conns, c, link);
	server->counters.accepted++;
	server->counters.connections++;
	ev_io_start(server->loop, &c->reader);
	conn_deadline(c, clock_mono_ns() + server->config.header_ns);
	return 0;
}
