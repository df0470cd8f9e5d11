/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <http_parser.h>
#include <string.h>
#include <strings.h>

#include "conn.h"
#include "upstream_conn.h"

/* The text of a forwarded request, and the reading of its response. */

static bool headers_ok(const struct http_header *headers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!head_name_ok(headers[i].name) || !head_value_ok(headers[i].value))
			return false;
	return true;
}

int forward_check(const struct http_forward *fw)
{
	if (fw->target.data != NULL && !head_target_ok(fw->target))
		return -EINVAL;
	if (!headers_ok(fw->request_headers, fw->n_request_headers) || !headers_ok(fw->response_headers, fw->n_response_headers))
		return -EINVAL;
	return 0;
}

static char *put_view(char *p, struct http_view v)
{
	memcpy(p, v.data, v.len);
	return p + v.len;
}

static char *put_text(char *p, const char *text)
{
	return put_view(p, http_view_of(text));
}

static char *put_header(char *p, const struct http_header *h)
{
	p = put_view(p, h->name);
	*p++ = ':';
	*p++ = ' ';
	p = put_view(p, h->value);
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

/* The client's list, if it came with one, and the client. */
static char *put_forwarded_for(char *p, const struct http_request *req)
{
	size_t n = req->n_headers, i = head_find(req->headers, n, 0, "X-Forwarded-For");

	if (i == n && req->peer.len == 0)
		return p;
	p = put_text(p, "X-Forwarded-For: ");
	for (; i < n; i = head_find(req->headers, n, i + 1, "X-Forwarded-For")) {
		p = put_view(p, req->headers[i].value);
		p = put_text(p, ", ");
	}
	if (req->peer.len > 0)
		p = put_view(p, req->peer);
	else
		p -= 2;
	return put_text(p, "\r\n");
}

static char *put_request_headers(char *p, const struct http_request *req, const char *host)
{
	struct http_view connection = http_request_header(req, "Connection");
	bool has_host = false, has_proto = false;

	for (size_t i = 0; i < req->n_headers; i++) {
		const struct http_header *h = &req->headers[i];

		if (head_is_hop(h->name))
			continue;
		if (h->name.len == 4 && http_view_is(h->name, "Host"))
			has_host = true;
		else if (connection.len > 0 && head_list_has(connection, h->name))
			continue;
		if ((h->name.len == 6 && http_view_is(h->name, "Expect")) || (h->name.len == 15 && http_view_is(h->name, "X-Forwarded-For")))
			continue;
		if (h->name.len == 17 && http_view_is(h->name, "X-Forwarded-Proto"))
			has_proto = true;
		p = put_header(p, h);
	}
	if (!has_host)
		p = put_header(p, &(struct http_header){ { "Host", 4 }, http_view_of(host) });
	if (!has_proto)
		p = put_text(p, "X-Forwarded-Proto: http\r\n");
	return put_forwarded_for(p, req);
}

static size_t request_bytes(const struct http_forward *fw, struct http_view target)
{
	size_t bytes = 512 + fw->req->method.len + target.len;

	for (size_t i = 0; i < fw->req->n_headers; i++)
		bytes += fw->req->headers[i].name.len + fw->req->headers[i].value.len + 4;
	for (size_t i = 0; i < fw->n_request_headers; i++)
		bytes += fw->request_headers[i].name.len + fw->request_headers[i].value.len + 4;
	return bytes;
}

int forward_head(const struct http_forward *fw, const char *host, struct buf *out)
{
	const struct http_request *req = fw->req;
	struct http_view target = fw->target.data != NULL ? fw->target : req->target;
	uint8_t *tail;
	char *p;
	int r = buf_reserve(out, request_bytes(fw, target), &tail);

	if (r < 0)
		return r;
	p = put_view((char *)tail, req->method);
	*p++ = ' ';
	p = put_view(p, target);
	p = put_text(p, " HTTP/1.1\r\n");
	p = put_request_headers(p, req, host);
	for (size_t i = 0; i < fw->n_request_headers; i++)
		p = put_header(p, &fw->request_headers[i]);
	if (req->has_body) {
		char digits[24];
		size_t at = sizeof(digits), v = req->body.len;

		do {
			digits[--at] = (char)('0' + v % 10);
			v /= 10;
		} while (v > 0);
		p = put_text(p, "Content-Length: ");
		p = put_view(p, (struct http_view){ digits + at, sizeof(digits) - at });
		p = put_text(p, "\r\n");
	}
	p = put_text(p, "\r\n");
	buf_commit(out, (size_t)(p - (char *)tail));
	return 0;
}

/* Responses */

static int on_field(http_parser *p, const char *at, size_t len)
{
	struct upstream_conn *uc = p->data;

	if (uc->n_headers == HTTP_HEADERS_MAX)
		return -1;
	uc->headers[uc->n_headers++] = (struct http_header){ .name = { at, len }, .value = { at + len, 0 } };
	return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
	struct upstream_conn *uc = p->data;

	uc->headers[uc->n_headers - 1].value = head_trim((struct http_view){ at, len });
	return 0;
}

/* 1 tells the parser that no body follows, which decides whether the connection can be kept */
static int on_head(http_parser *p)
{
	struct upstream_conn *uc = p->data;

	return uc->fw.req->head ? 1 : 0;
}

static const http_parser_settings response_settings = { .on_header_field = on_field, .on_header_value = on_value, .on_headers_complete = on_head };

static const char *response_check(const struct upstream_conn *uc, const http_parser *p)
{
	size_t i;

	if (HTTP_PARSER_ERRNO(p) != HPE_OK)
		return http_errno_description(HTTP_PARSER_ERRNO(p));
	if (p->http_major != 1)
		return "not an HTTP/1 response";
	if (p->status_code == 101)
		return "switching protocols was not asked for";
	if (p->status_code < 100)
		return "not an HTTP status";
	for (i = 0; i < uc->n_headers; i++)
		if (!head_name_ok(uc->headers[i].name))
			return "a header name holds a character that is not allowed";
	i = head_find(uc->headers, uc->n_headers, 0, "Transfer-Encoding");
	if (i < uc->n_headers && (!http_view_is(uc->headers[i].value, "chunked") ||
		head_find(uc->headers, uc->n_headers, i + 1, "Transfer-Encoding") < uc->n_headers))
		return "a transfer encoding other than chunked";
	return NULL;
}

static bool is_replaced(const struct http_forward *fw, struct http_view name)
{
	for (size_t i = 0; i < fw->n_response_headers; i++)
		if (fw->response_headers[i].name.len == name.len && strncasecmp(fw->response_headers[i].name.data, name.data, name.len) == 0)
			return true;
	return false;
}

/* Headers of the response that go on, then the caller's; in place. */
static size_t response_headers(struct upstream_conn *uc, struct http_header *out, size_t max)
{
	size_t i = head_find(uc->headers, uc->n_headers, 0, "Connection"), n = 0;
	struct http_view connection = i < uc->n_headers ? uc->headers[i].value : (struct http_view){ NULL, 0 };

	for (i = 0; i < uc->n_headers; i++) {
		struct http_view name = uc->headers[i].name;

		if (!head_is_hop(name) && !is_replaced(&uc->fw, name) && !(connection.len > 0 && head_list_has(connection, name)))
			out[n++] = uc->headers[i];
	}
	for (i = 0; i < uc->fw.n_response_headers && n < max; i++)
		out[n++] = uc->fw.response_headers[i];
	return n;
}

/* The final head: begin the reply. */
static int response_begin(struct upstream_conn *uc, const http_parser *p, const char **ret_why)
{
	struct http_header headers[HTTP_HEADERS_MAX + 16];
	size_t n = response_headers(uc, headers, HTTP_HEADERS_MAX + 16);
	bool sized = p->flags & F_CONTENTLENGTH, chunked = p->flags & F_CHUNKED;
	int64_t length = sized ? (int64_t)p->content_length : -1;
	int r;

	if (uc->fw.req->head || p->status_code == 204 || p->status_code == 304)
		body_frame_init(&uc->frame, BODY_NONE, 0);
	else if (chunked)
		body_frame_init(&uc->frame, BODY_CHUNKED, 0);
	else
		body_frame_init(&uc->frame, sized ? BODY_LENGTH : BODY_TO_EOF, sized ? p->content_length : 0);
	uc->status = p->status_code;
	uc->keep = http_should_keep_alive(p) && uc->frame.kind != BODY_TO_EOF;
	http_reply_cork(uc->fw.req, true);
	r = http_reply_begin(uc->fw.req, p->status_code, headers, n, length);
	if (r < 0) {
		http_reply_cork(uc->fw.req, false);
		*ret_why = "the response head cannot be passed on";
		return r;
	}
	uc->head_done = true;
	return 0;
}

/* Heads until the final one; 1xx ones are dropped. Return: 1 final head read, 0 more bytes needed, -errno. data and len move on behind it. */
static int response_head(struct upstream_conn *uc, const char **data, size_t *len, const char **ret_why)
{
	size_t head;
	http_parser p;
	int r;

	while (!uc->head_done) {
		r = head_scan(&uc->scan, *data, *len, &head);
		if (r == 0 && *len <= UPSTREAM_HEAD_MAX)
			return 0;
		if (r <= 0) {
			*ret_why = r < 0 ? "not HTTP: a line of the head does not end with CR LF" : "the response head is too large";
			return -EBADMSG;
		}
		http_parser_init(&p, HTTP_RESPONSE);
		p.data = uc;
		uc->n_headers = 0;
		http_parser_execute(&p, &response_settings, *data, head);
		*ret_why = response_check(uc, &p);
		if (*ret_why != NULL)
			return -EBADMSG;
		if (p.status_code >= 200) {
			r = response_begin(uc, &p, ret_why);
			if (r < 0)
				return r;
		}
		uc->scan = (struct head_scan){ 0 };
		*data += head;
		*len -= head;
	}
	return 1;
}

static int response_body(struct upstream_conn *uc, const char *data, size_t len, const char **ret_why)
{
	struct http_view piece;

	while (len > 0 && !uc->frame.done) {
		ssize_t n = body_frame_next(&uc->frame, data, len, &piece);

		if (n < 0) {
			*ret_why = "the chunked body is malformed";
			return (int)n;
		}
		/* a client that is gone is told by on_abort */
		(void)http_reply_body(uc->fw.req, piece.data, piece.len);
		uc->body_bytes += piece.len;
		data += n;
		len -= (size_t)n;
	}
	if (len > 0)
		uc->keep = false;	/* more than it announced: not to be trusted again */
	return uc->frame.done;
}

int forward_input(struct upstream_conn *uc, const char *data, size_t len, const char **ret_why)
{
	bool kept = uc->in.len > 0;
	int r = 1;

	if (kept) {
		r = buf_append(&uc->in, data, len);
		if (r < 0)
			return r;
		data = (const char *)buf_head(&uc->in);
		len = uc->in.len;
		r = 1;
	}
	if (!uc->head_done)
		r = response_head(uc, &data, &len, ret_why);
	if (r == 0) {
		/* a head that is not all there is kept from its first byte on */
		if (kept)
			buf_consume(&uc->in, uc->in.len - len);
		else
			r = buf_append(&uc->in, data, len);
		return r;
	}
	if (r < 0)
		return r;
	r = response_body(uc, data, len, ret_why);
	buf_reset(&uc->in);
	if (r == 0)
		http_reply_cork(uc->fw.req, false);
	else if (r < 0)
		*ret_why = *ret_why != NULL ? *ret_why : "malformed";
	return r;
}
