/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/1.1 connection of the Runtime API: from bytes to whole requests. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rapi.h"
#include "rapi_state.h"

#define PATH_MAX_BYTES 512
#define VALUE_MAX_BYTES (48u << 10)     /* the error document of a failed stream comes in a trailer, in base64 */
#define TYPE_MAX_BYTES 256
#define AHEAD_MAX_BYTES (64u << 10)     /* what a client may send while it waits for an answer */

struct rapi_conn {
	struct rapi *rapi;
	void *owner;
	http_parser parser;
	struct buf in, out;             /* in: received while an answer is awaited */
	bool waiting, closing;
	/* the request that is being received */
	char path[PATH_MAX_BYTES], field[64], content_type[TYPE_MAX_BYTES], error_type[TYPE_MAX_BYTES];
	char fork_error[RAPI_WHY_MAX / 2];
	size_t path_len, field_len, body_len;
	pid_t worker, forked;
	bool in_value, streaming, expects, in_trailer, failed_in_trailer, too_large, whole;
	enum rapi_route route;
	char id[RAPI_ID_MAX];
	struct buf value, body, error_body;
};

static struct rapi_conn *conn_of(http_parser *p) { return p->data; }

static void request_reset(struct rapi_conn *c)
{
	c->path_len = c->field_len = c->body_len = 0;
	c->content_type[0] = c->error_type[0] = c->fork_error[0] = 0;
	c->worker = c->forked = 0;
	c->in_value = c->streaming = c->expects = c->in_trailer = c->failed_in_trailer = c->too_large = c->whole = false;
	buf_done(&c->value);
	buf_done(&c->body);
	buf_done(&c->error_body);
}

static int on_begin(http_parser *p)
{
	request_reset(conn_of(p));
	return 0;
}

static int on_url(http_parser *p, const char *at, size_t len)
{
	struct rapi_conn *c = conn_of(p);

	/* Longer ones match no route; what is cut off is of no interest. */
	if (len > sizeof c->path - c->path_len)
		len = sizeof c->path - c->path_len;
	memcpy(c->path + c->path_len, at, len);
	c->path_len += len;
	return 0;
}

static int base64_digit(int ch)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = ch ? strchr(digits, ch) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* What is no base64 is kept as it is: better a raw error document than none. */
static int base64_decode(const struct buf *text, struct buf *out)
{
	const uint8_t *s = buf_head(text);
	uint32_t bits = 0;
	size_t i, n = text->len;
	int have = 0, digit;
	uint8_t byte;

	while (n > 0 && s[n - 1] == '=')
		n--;
	for (i = 0; i < n; i++) {
		digit = base64_digit(s[i]);
		if (digit < 0) {
			buf_reset(out);
			return buf_append(out, s, text->len);
		}
		bits = bits << 6 | (uint32_t)digit;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		byte = (uint8_t)(bits >> have);
		if (buf_append(out, &byte, 1) < 0)
			return -ENOMEM;
	}
	return 0;
}

static bool is_field(const struct rapi_conn *c, const char *name)
{
	return c->field_len == strlen(name) && strncasecmp(c->field, name, c->field_len) == 0;
}

static void copy_value(const struct rapi_conn *c, char *to, size_t max)
{
	size_t n = c->value.len < max ? c->value.len : max - 1;

	if (n)
		memcpy(to, buf_head(&c->value), n);
	to[n] = 0;
}

/* The value as a process's number. Return: -1 if it is none, which is nobody's. */
static pid_t value_pid(const struct rapi_conn *c)
{
	char text[16], *end;
	long pid;

	copy_value(c, text, sizeof text);
	pid = strtol(text, &end, 10);
	return c->value.len < sizeof text && end > text && !*end && pid > 1 && pid <= INT_MAX ? (pid_t)pid : -1;
}

static bool value_is(const struct rapi_conn *c, const char *what)
{
	return c->value.len == strlen(what) && strncasecmp((char *)buf_head(&c->value), what, c->value.len) == 0;
}

/* One header or trailer is complete. */
static int header_done(struct rapi_conn *c)
{
	int ret = 0;

	if (is_field(c, "Content-Type")) {
		copy_value(c, c->content_type, sizeof c->content_type);
	} else if (is_field(c, "Lambda-Runtime-Function-Error-Type")) {
		copy_value(c, c->error_type, sizeof c->error_type);
		c->failed_in_trailer |= c->in_trailer;
	} else if (is_field(c, "Lambda-Runtime-Function-Error-Body")) {
		buf_reset(&c->error_body);
		ret = base64_decode(&c->value, &c->error_body);
	} else if (is_field(c, "Lambda-Runtime-Function-Response-Mode")) {
		c->streaming = value_is(c, "streaming");
	} else if (is_field(c, "Expect")) {
		c->expects = value_is(c, "100-continue");
	} else if (is_field(c, "Hearth-Worker")) {
		c->worker = value_pid(c);
	} else if (is_field(c, "Hearth-Forked")) {
		c->forked = value_pid(c);
	} else if (is_field(c, "Hearth-Fork-Error")) {
		copy_value(c, c->fork_error, sizeof c->fork_error);
	}
	c->field_len = 0;
	c->in_value = false;
	buf_reset(&c->value);
	return ret;
}

static int on_field(http_parser *p, const char *at, size_t len)
{
	struct rapi_conn *c = conn_of(p);

	if (c->in_value && header_done(c) < 0)
		return -1;
	if (len > sizeof c->field - c->field_len)
		len = sizeof c->field - c->field_len;   /* too long for any that matters */
	memcpy(c->field + c->field_len, at, len);
	c->field_len += len;
	return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
	struct rapi_conn *c = conn_of(p);

	c->in_value = true;
	if (c->value.len + len > VALUE_MAX_BYTES)
		return -1;
	return len && buf_append(&c->value, at, len) < 0 ? -1 : 0;
}

static int on_headers(http_parser *p)
{
	struct rapi_conn *c = conn_of(p);

	if (c->in_value && header_done(c) < 0)
		return -1;
	c->route = rapi_route(p->method, c->path, c->path_len, c->id);
	c->in_trailer = true;           /* whatever header comes now */
	p->upgrade = 0;                 /* offered by some clients; not taken up */
	if (c->expects && buf_printf(&c->out, "HTTP/1.1 100 Continue\r\n\r\n") < 0)
		return -1;
	return 0;
}

static size_t body_max(const struct rapi_conn *c)
{
	if (c->route == ROUTE_BAD_METHOD || c->route == ROUTE_NONE || c->route == ROUTE_NEXT || c->route == ROUTE_FORK)
		return 0;
	return c->streaming ? FN_BODY_MAX : c->rapi->response_max;
}

static int on_body(http_parser *p, const char *at, size_t len)
{
	struct rapi_conn *c = conn_of(p);

	c->body_len += len;
	if (c->body_len > body_max(c)) {
		/* Read to its end all the same: clients look for the answer only then. */
		c->too_large = true;
		buf_done(&c->body);
		return 0;
	}
	return buf_append(&c->body, at, len) < 0 ? -1 : 0;
}

static int on_complete(http_parser *p)
{
	struct rapi_conn *c = conn_of(p);

	if (c->in_value && header_done(c) < 0)
		return -1;
	c->whole = true;
	if (!http_should_keep_alive(p))
		c->closing = true;
	http_parser_pause(p, 1);        /* one request at a time */
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_begin, .on_url = on_url, .on_header_field = on_field, .on_header_value = on_value,
	.on_headers_complete = on_headers, .on_body = on_body, .on_message_complete = on_complete,
};

struct rapi_conn *rapi_conn_new(struct rapi *r)
{
	struct rapi_conn *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->rapi = r;
	http_parser_init(&c->parser, HTTP_REQUEST);
	c->parser.data = c;
	return c;
}

struct rapi_conn *rapi_conn_free(struct rapi_conn *c)
{
	if (!c)
		return NULL;
	rapi_conn_left(c->rapi, c);
	request_reset(c);
	buf_done(&c->in);
	buf_done(&c->out);
	free(c);
	return NULL;
}

struct buf *rapi_conn_out(struct rapi_conn *c) { return &c->out; }
bool rapi_conn_closing(const struct rapi_conn *c) { return c->closing && !c->waiting; }
void *rapi_conn_owner(const struct rapi_conn *c) { return c->owner; }
void rapi_conn_set_owner(struct rapi_conn *c, void *owner) { c->owner = owner; }

static void handle(struct rapi_conn *c)
{
	struct rapi_request q = {
		.route = c->route, .content_type = c->content_type, .error_type = c->error_type,
		.worker = c->worker, .forked = c->forked, .fork_error = c->fork_error,
		.too_large = c->too_large, .failed_in_trailer = c->failed_in_trailer,
		.body = c->body.len ? buf_head(&c->body) : NULL, .body_len = c->too_large ? c->body_len : c->body.len,
	};

	memcpy(q.id, c->id, sizeof q.id);
	if (c->failed_in_trailer && c->error_body.len) {
		q.body = buf_head(&c->error_body);
		q.body_len = c->error_body.len;
		q.content_type = "application/json";
	}
	c->waiting = !rapi_handle(c->rapi, c, &q, &c->out);
	request_reset(c);
}

/* Parse and answer until the bytes are used up or an answer has to wait. Return: bytes used. */
static size_t parse(struct rapi_conn *c, const char *data, size_t len)
{
	size_t used = 0;

	while (used < len && !c->waiting && !c->closing) {
		used += http_parser_execute(&c->parser, &settings, data + used, len - used);
		if (c->whole) {
			http_parser_pause(&c->parser, 0);
			handle(c);
			continue;
		}
		if (HTTP_PARSER_ERRNO(&c->parser) != HPE_OK) {
			c->closing = true;
			request_reset(c);
			rapi_answer_error(&c->out, 400, "BadRequest", "This is no HTTP/1.1 request");
		}
	}
	return used;
}

int rapi_conn_input(struct rapi_conn *c, const void *data, size_t len)
{
	size_t used = c->waiting ? 0 : parse(c, data, len);

	if (c->closing && !c->waiting)
		return -EPIPE;
	if (used == len)
		return 0;
	if (c->in.len + len - used > AHEAD_MAX_BYTES || buf_append(&c->in, (const char *)data + used, len - used) < 0) {
		c->closing = true;
		c->waiting = false;
		rapi_conn_left(c->rapi, c);
		rapi_answer_error(&c->out, 400, "BadRequest", "Too much sent ahead of an answer");
		return -EPIPE;
	}
	return 0;
}

void rapi_conn_resume(struct rapi_conn *c)
{
	size_t used;

	c->waiting = false;
	if (c->in.len == 0)
		return;
	used = parse(c, (char *)buf_head(&c->in), c->in.len);
	if (c->in.len)
		buf_consume(&c->in, used);
}
