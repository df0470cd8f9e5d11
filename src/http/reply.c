/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <http_parser.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "conn.h"

#define HEAD_FIXED 256			/* more than status line, Date, framing and Connection take */

struct http_view http_request_header(const struct http_request *req, const char *name)
{
	size_t i = head_find(req->headers, req->n_headers, 0, name);

	return i < req->n_headers ? req->headers[i].value : (struct http_view){ NULL, 0 };
}

static char *put(char *p, const char *data, size_t len)
{
	memcpy(p, data, len);
	return p + len;
}

static char *put_text(char *p, const char *text)
{
	return put(p, text, strlen(text));
}

static char *put_number(char *p, uint64_t v)
{
	char digits[20];
	size_t n = 0;

	do {
		digits[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	while (n > 0)
		*p++ = digits[--n];
	return p;
}

static char *put_date(struct http_server *server, char *p)
{
	time_t now = (time_t)ev_now(server->loop);
	struct tm tm;

	if (now != server->date_s) {
		gmtime_r(&now, &tm);
		strftime(server->date, sizeof(server->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
		server->date_s = now;
	}
	return put_text(p, server->date);
}

/* Bytes that the headers take at most, or 0 when one of them would break the message apart. */
static size_t headers_bytes(const struct http_header *headers, size_t n)
{
	size_t bytes = HEAD_FIXED;

	for (size_t i = 0; i < n; i++) {
		if (!head_name_ok(headers[i].name) || !head_value_ok(headers[i].value))
			return 0;
		bytes += headers[i].name.len + headers[i].value.len + 4;
	}
	return bytes;
}

static bool header_is_ours(struct http_view name)
{
	return (name.len == 10 || name.len == 14 || name.len == 17) && (http_view_is(name, "Connection") || http_view_is(name, "Keep-Alive") ||
		http_view_is(name, "Content-Length") || http_view_is(name, "Transfer-Encoding"));
}

static char *put_status(char *p, unsigned status)
{
	const char *reason = http_status_str(status);

	p = put(p, "HTTP/1.1 ", 9);
	p = put_number(p, status);
	*p++ = ' ';
	p = put_text(p, strcmp(reason, "<unknown>") == 0 ? "Unknown" : reason);
	return put(p, "\r\n", 2);
}

static char *put_framing(struct http_conn *c, char *p, bool bodyless, int64_t length)
{
	if (!bodyless && length >= 0) {
		p = put(p, "Content-Length: ", 16);
		p = put_number(p, (uint64_t)length);
		p = put(p, "\r\n", 2);
	} else if (!bodyless && c->chunked) {
		p = put(p, "Transfer-Encoding: chunked\r\n", 28);
	}
	if (c->close_after)
		p = put(p, "Connection: close\r\n", 19);
	else if (c->req.minor == 0)
		p = put(p, "Connection: keep-alive\r\n", 24);
	return put(p, "\r\n", 2);
}

/* The head goes into c->out; nothing is sent yet. */
static int reply_head(struct http_conn *c, unsigned status, const struct http_header *headers, size_t n, int64_t length)
{
	bool bodyless = status == 204 || status == 304, date = false;
	size_t bytes = headers_bytes(headers, n);
	uint8_t *tail;
	char *p;
	int r;

	assert(!c->begun && c->state != CONN_CLOSED);
	if (bytes == 0 || status < 200 || status > 999)
		return -EINVAL;
	if (c->server->stopping)
		c->close_after = true;
	c->no_body = bodyless || c->req.head;
	c->chunked = length < 0 && !bodyless && c->req.minor >= 1;
	c->until_close = length < 0 && !c->no_body && c->req.minor == 0;
	if (c->until_close)
		c->close_after = true;
	c->unsent = c->out.len == 0;
	server_buf_get(c->server, &c->out);
	r = buf_reserve(&c->out, bytes, &tail);
	if (r < 0)
		return r;
	p = put_status((char *)tail, status);
	for (size_t i = 0; i < n; i++) {
		if (header_is_ours(headers[i].name))
			continue;
		date = date || (headers[i].name.len == 4 && http_view_is(headers[i].name, "Date"));
		p = put(p, headers[i].name.data, headers[i].name.len);
		p = put(p, ": ", 2);
		p = put(p, headers[i].value.data, headers[i].value.len);
		p = put(p, "\r\n", 2);
	}
	if (!date)
		p = put_date(c->server, p);
	p = put_framing(c, p, bodyless, length);
	buf_commit(&c->out, (size_t)(p - (char *)tail));
	c->begun = true;
	c->left = length >= 0 ? (uint64_t)length : UINT64_MAX;
	return 0;
}

static void reply_flush(struct http_conn *c)
{
	/* what fails here is seen by the loop */
	if (!c->corked && c->out.len > 0)
		(void)conn_write(c, NULL, 0);
}

/* Small pieces join their head, so that both leave in one segment; large ones are not copied. */
static int reply_data(struct http_conn *c, const void *data, size_t len)
{
	if (len <= CONN_SMALL_BYTES && c->out.len + len <= 2 * CONN_SMALL_BYTES)
		return conn_queue(c, data, len);
	return conn_write(c, data, len);
}

static int reply_chunk(struct http_conn *c, const void *data, size_t len)
{
	char size[20];
	int n = snprintf(size, sizeof(size), "%zx\r\n", len), r;

	r = conn_queue(c, size, (size_t)n);
	if (r == 0)
		r = reply_data(c, data, len);
	return r == 0 ? conn_queue(c, "\r\n", 2) : r;
}

bool reply_take_back(struct http_conn *c)
{
	if (!c->unsent || c->broken)
		return false;
	buf_reset(&c->out);
	ev_io_stop(c->server->loop, &c->writer);
	c->begun = c->corked = c->was_full = false;
	return true;
}

int http_reply_begin(struct http_request *req, unsigned status, const struct http_header *headers, size_t n, int64_t length)
{
	struct http_conn *c = conn_of(req);
	int r = reply_head(c, status, headers, n, length);

	if (r == 0)
		reply_flush(c);
	return r;
}

int http_reply_body(struct http_request *req, const void *data, size_t len)
{
	struct http_conn *c = conn_of(req);
	int r = 0;

	assert(c->begun);
	if (len > c->left)
		return -EMSGSIZE;
	if (c->left != UINT64_MAX)
		c->left -= len;
	if (c->broken)
		return -EPIPE;
	if (len == 0 || c->no_body)
		return 0;
	r = c->chunked ? reply_chunk(c, data, len) : reply_data(c, data, len);
	if (r == 0)
		reply_flush(c);
	return r;
}

bool http_reply_full(const struct http_request *req)
{
	return conn_of(req)->was_full;
}

void http_reply_cork(struct http_request *req, bool on)
{
	struct http_conn *c = conn_of(req);

	c->corked = on;
	reply_flush(c);
}

int http_reply_end(struct http_request *req)
{
	struct http_conn *c = conn_of(req);
	int r = 0;

	assert(c->begun);
	if (c->left != UINT64_MAX && c->left > 0 && !c->no_body) {
		http_reply_abort(req);
		return -EPROTO;
	}
	conn_ref(c);
	if (c->chunked && !c->no_body && !c->broken)
		(void)conn_queue(c, "0\r\n\r\n", 5);
	c->corked = false;
	reply_flush(c);
	conn_request_over(c);
	conn_unref(c);
	return r;
}

void http_reply_abort(struct http_request *req)
{
	struct http_conn *c = conn_of(req);

	conn_ref(c);
	c->handled = false;
	/* what is queued is worth nothing without its end; closing with a reset tells a reader-until-close that it is not the end */
	if (c->begun && c->state != CONN_CLOSED)
		(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	conn_close(c);
	conn_unref(c);
}

int http_reply(struct http_request *req, unsigned status, const struct http_header *headers, size_t n, const void *body, size_t len)
{
	struct http_conn *c = conn_of(req);
	int r = reply_head(c, status, headers, n, (int64_t)len);

	if (r == -ENOMEM)
		http_reply_abort(req);
	if (r < 0)
		return r;
	conn_ref(c);
	c->left = 0;
	if (!c->no_body)
		(void)conn_write(c, body, len);
	else
		reply_flush(c);
	conn_request_over(c);
	conn_unref(c);
	return 0;
}

/* Text that jansson takes: anything that is not UTF-8 becomes a '?'. */
static json_t *json_text(const char *text)
{
	json_t *value = json_string(text);
	char *copy;

	if (value != NULL)
		return value;
	copy = strdup(text);
	if (copy == NULL)
		return NULL;
	for (char *p = copy; *p != '\0'; p++)
		if ((uint8_t)*p >= 0x80)
			*p = '?';
	value = json_string(copy);
	free(copy);
	return value;
}

static void reply_json(struct http_request *req, unsigned status, const struct http_header *headers, size_t n, json_t *body)
{
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	if (text == NULL)
		http_reply_abort(req);
	else
		(void)http_reply(req, status, headers, n, text, strlen(text));
	free(text);
}

static const struct http_header json_content = { { "Content-Type", 12 }, { "application/json", 16 } };

void http_reply_error(struct http_request *req, unsigned status, const char *type, const char *message)
{
	json_t *body = json_pack("{s:{s:o,s:o}}", "error", "type", json_text(type), "message", json_text(message));

	reply_json(req, status, &json_content, 1, body);
}

void http_reply_error_aws(struct http_request *req, unsigned status, const char *type, const char *message)
{
	struct http_header headers[2] = { json_content, { { "X-Amzn-ErrorType", 16 }, http_view_of(type) } };
	json_t *body = json_pack("{s:o,s:o}", "Type", json_text(type), "Message", json_text(message));

	reply_json(req, status, headers, head_value_ok(headers[1].value) ? 2 : 1, body);
}

void reply_reject(struct http_conn *c, unsigned status, const char *type, const char *message)
{
	c->state = CONN_WORK;
	c->handled = false;
	c->begun = false;
	c->close_after = c->linger = true;
	c->body_end = c->end;
	conn_deadline(c, 0);
	http_reply_error(&c->req, status, type, message);
}
