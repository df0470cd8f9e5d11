// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "priv.h"

/*
 * A lambda function called as a web address gets what it would get from an AWS function URL: an event in payload format 2.0, and its answer is read the same
 * way: an object with a statusCode sets status, headers and body; anything else is the body of a 200.
 */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *base64_encode(const uint8_t *in, size_t n)
{
	char *out = malloc((n + 2) / 3 * 4 + 1), *p = out;

	if (!out)
		return NULL;
	for (size_t i = 0; in && i < n; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) | (i + 2 < n ? in[i + 2] : 0);

		*p++ = base64_digits[v >> 18];
		*p++ = base64_digits[v >> 12 & 63];
		*p++ = i + 1 < n ? base64_digits[v >> 6 & 63] : '=';
		*p++ = i + 2 < n ? base64_digits[v & 63] : '=';
	}
	*p = '\0';
	return out;
}

/* Return: bytes, or -1 where it is no base64. @out may be @in. */
static ssize_t base64_decode(const char *in, uint8_t *out)
{
	uint32_t v = 0;
	int bits = 0;
	size_t n = 0;

	for (; *in && *in != '='; in++) {
		const char *at = strchr(base64_digits, *in);

		if (!at)
			return -1;
		v = v << 6 | (uint32_t)(at - base64_digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[n++] = (uint8_t)(v >> bits);
		}
	}
	return (ssize_t)n;
}

static int hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t percent_decode(const char *in, size_t len, bool form, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (in[i] == '%' && i + 2 < len && hex_value(in[i + 1]) >= 0 && hex_value(in[i + 2]) >= 0) {
			out[n++] = (char)(hex_value(in[i + 1]) << 4 | hex_value(in[i + 2]));
			i += 2;
		} else {
			out[n++] = form && in[i] == '+' ? ' ' : in[i];
		}
	}
	return n;
}

static json_t *text_json(struct http_view v)
{
	json_t *s = json_stringn(v.data ? v.data : "", v.len);

	return s ? s : json_string("");         /* not UTF-8 */
}

static json_t *headers_json(const struct http_request *req)
{
	json_t *o = json_object();

	for (size_t i = 0; i < req->n_headers; i++) {
		const struct http_header *h = &req->headers[i];
		char name[128];
		json_t *before;

		if (h->name.len >= sizeof(name))
			continue;
		for (size_t k = 0; k < h->name.len; k++)
			name[k] = (char)tolower((unsigned char)h->name.data[k]);
		name[h->name.len] = '\0';
		before = json_object_get(o, name);
		if (before)     /* repeated: joined with a comma */
			json_object_set_new(o, name, json_sprintf("%s,%.*s", json_string_value(before), (int)h->value.len, h->value.data));
		else
			json_object_set_new(o, name, text_json(h->value));
	}
	return o;
}

/* every Cookie header, cut at "; "; NULL where there is none */
static json_t *cookies_json(const struct http_request *req)
{
	json_t *list = NULL;

	for (size_t i = 0; i < req->n_headers; i++) {
		struct http_view rest = req->headers[i].value;

		while (http_view_is(req->headers[i].name, "Cookie") && rest.len > 0) {
			const char *end = memchr(rest.data, ';', rest.len);
			size_t n = end ? (size_t)(end - rest.data) : rest.len;

			list = list ? list : json_array();
			json_array_append_new(list, text_json((struct http_view){ rest.data, n }));
			n += end != NULL;
			while (n < rest.len && rest.data[n] == ' ')
				n++;
			rest = (struct http_view){ rest.data + n, rest.len - n };
		}
	}
	return list;
}

/* a form's + is a space. @out holds as much as @in. What is not UTF-8 then becomes empty, as everywhere here. */
static json_t *query_text(const char *in, size_t len, char *out)
{
	size_t n = percent_decode(in, len, true, out);

	return text_json((struct http_view){ out, n });
}

/* a name that comes again has its values joined with commas; NULL where there is no query */
static json_t *query_json(const char *query)
{
	json_t *o = query && *query ? json_object() : NULL;
	char *scratch = o ? malloc(strlen(query) + 1) : NULL;

	for (const char *p = query; scratch && *p;) {
		size_t n = strcspn(p, "&"), key = strcspn(p, "&=");
		json_t *name = query_text(p, key, scratch), *value = query_text(p + key + (key < n), n - key - (key < n), scratch);
		json_t *before = json_object_get(o, json_string_value(name));

		if (key > 0 && before)
			json_object_set_new(o, json_string_value(name), json_sprintf("%s,%s", json_string_value(before), json_string_value(value)));
		else if (key > 0)
			json_object_set(o, json_string_value(name), value);
		json_decref(name);
		json_decref(value);
		p += n + (p[n] == '&');
	}
	free(scratch);
	return o;
}

char *lambda_http_event(const struct http_request *req, const char *target, const char *request_id, const char *function)
{
	const char *query = strchr(target, '?');
	struct http_view path = { target, query ? (size_t)(query - target) : strlen(target) };
	json_t *body = json_stringn(req->body.data ? req->body.data : "", req->body.len), *event, *context, *cookies, *params;
	bool binary = body == NULL;     /* jansson takes valid UTF-8 only */
	char *text;

	if (binary) {
		char *b64 = base64_encode((const uint8_t *)req->body.data, req->body.len);

		body = b64 ? json_string(b64) : NULL;
		free(b64);
	}
	context = json_pack("{s:s,s:s,s:s,s:I,s:{s:o,s:o,s:s,s:o,s:o}}", "requestId", request_id, "apiId", function, "stage", "$default", "timeEpoch",
			    (json_int_t)(clock_wall_ns() / NS_PER_MS), "http", "method", text_json(req->method), "path", text_json(path), "protocol", "HTTP/1.1",
			    "sourceIp", text_json(req->peer), "userAgent", text_json(http_request_header(req, "User-Agent")));
	event = json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:b}", "version", "2.0", "routeKey", "$default", "rawPath", text_json(path), "rawQueryString",
			  text_json(http_view_of(query ? query + 1 : "")), "headers", headers_json(req), "requestContext", context, "isBase64Encoded", binary);
	if (body && req->has_body)
		json_object_set(event, "body", body);
	json_decref(body);
	cookies = cookies_json(req);
	if (cookies)
		json_object_set_new(event, "cookies", cookies);
	params = query_json(query ? query + 1 : NULL);
	if (params)
		json_object_set_new(event, "queryStringParameters", params);
	text = event ? json_dumps(event, JSON_COMPACT) : NULL;
	json_decref(event);
	return text;
}

#define HEADERS_MAX 64

/* headers of an answer; texts that are not in the answer itself are kept in @made until they are sent */
struct answer_headers {
	struct http_header h[HEADERS_MAX];
	size_t n;
	json_t *made;
};

static void add_header(struct answer_headers *a, const char *name, json_t *value)
{
	if (a->n >= HEADERS_MAX)
		return;
	if (json_is_number(value) || json_is_boolean(value)) {
		char *text = json_dumps(value, JSON_ENCODE_ANY);

		value = text ? json_string(text) : NULL;
		free(text);
		json_array_append_new(a->made, value);
	}
	if (json_is_string(value))
		a->h[a->n++] = (struct http_header){ http_view_of(name), { json_string_value(value), json_string_length(value) } };
}

static void collect_headers(struct answer_headers *a, const struct invocation *inv, const json_t *answer)
{
	json_t *value;
	const char *name;
	bool typed = false;
	size_t i;

	a->n = invocation_headers(inv, a->h);
	json_object_foreach(json_object_get(answer, "headers"), name, value)
		typed |= !strcasecmp(name, "content-type");
	if (!typed)
		a->h[a->n++] = (struct http_header){ http_view_of("Content-Type"), http_view_of("application/json") };
	json_object_foreach(json_object_get(answer, "headers"), name, value)
		add_header(a, name, value);
	json_array_foreach(json_object_get(answer, "cookies"), i, value)
		add_header(a, "Set-Cookie", value);
}

/* "201" is taken as 201 is. Return: 0 where it is no status. */
static unsigned status_of(const json_t *answer)
{
	const json_t *v = json_object_get(answer, "statusCode");
	json_int_t status = json_is_string(v) ? atoi(json_string_value(v)) : json_integer_value(v);

	return status >= 200 && status <= 599 ? (unsigned)status : 0;
}

static void reply_object(struct invocation *inv, json_t *answer)
{
	struct answer_headers a = { .made = json_array() };
	json_t *body = json_object_get(answer, "body");
	const char *text = json_string_value(body);
	size_t len = json_string_length(body);
	unsigned status = status_of(answer);
	char *dumped = NULL;

	collect_headers(&a, inv, answer);
	if (body && !text && !json_is_null(body)) {
		text = dumped = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
		len = dumped ? strlen(dumped) : 0;
	} else if (text && json_is_true(json_object_get(answer, "isBase64Encoded"))) {
		ssize_t r;

		dumped = strdup(text);
		r = dumped ? base64_decode(text, (uint8_t *)dumped) : -1;
		text = dumped;
		len = r < 0 ? 0 : (size_t)r;
		if (r < 0)
			status = 0;
	}
	if (!status || http_reply(inv->req, status, a.h, a.n, text, len) == -EINVAL)
		http_reply_error(inv->req, 502, "BadAnswer", "the function's answer has a statusCode, header or base64 body that cannot be sent");
	json_decref(a.made);
	free(dumped);
}

void lambda_http_reply(struct invocation *inv, const uint8_t *body, size_t len)
{
	json_t *answer = json_loadb((const char *)body, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	struct http_header h[4];
	size_t n = invocation_headers(inv, h);

	h[n++] = (struct http_header){ http_view_of("Content-Type"), http_view_of("application/json") };
	if (json_is_object(answer) && json_object_get(answer, "statusCode"))
		reply_object(inv, answer);
	else if (json_is_string(answer))
		http_reply(inv->req, 200, h, n, json_string_value(answer), json_string_length(answer));
	else
		http_reply(inv->req, 200, h, n, body, len);
	json_decref(answer);
}
