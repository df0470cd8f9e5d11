/* SPDX-License-Identifier: Apache-2.0 */
#include "rapi.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rapi_state.h"

#define NO_DEADLINE_MS 9999999999999ull         /* the year 2286: runtimes expect a number */

void rapi_init(struct rapi *r, size_t response_max, const struct rapi_ops *ops, void *ctx)
{
	*r = (struct rapi){ .response_max = response_max, .ops = ops, .ctx = ctx };
}

void rapi_done(struct rapi *r)
{
	buf_done(&r->meta);
	buf_done(&r->event);
}

uint64_t rapi_running(const struct rapi *r)
{
	return r->queued || r->state == RAPI_RUNNING ? r->id : 0;
}

/* ---- answers ---- */

static const char *reason(int status)
{
	switch (status) {
	case 202: return "Accepted";
	case 400: return "Bad Request";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 413: return "Request Entity Too Large";
	default: return "Internal Server Error";
	}
}

static int answer(struct buf *out, int status, const char *json)
{
	return buf_printf(out, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status, reason(status), strlen(json), json);
}

int rapi_answer_error(struct buf *out, int status, const char *type, const char *message)
{
	char json[384];

	snprintf(json, sizeof json, "{\"errorMessage\":\"%s\",\"errorType\":\"%s\"}\n", message, type);
	return answer(out, status, json);
}

static int answer_ok(struct buf *out)
{
	return answer(out, 202, "{\"status\":\"OK\"}\n");
}

static int answer_state(struct rapi *r, struct buf *out, const char *wanted)
{
	static const char *const names[] = {
		[RAPI_INIT] = "Started", [RAPI_IDLE] = "InvocationResponseSent", [RAPI_WAITING] = "Ready",
		[RAPI_RUNNING] = "Running", [RAPI_FAILED] = "InitError",
	};
	char message[160];

	snprintf(message, sizeof message, "State transition from %s to %s failed for runtime. Error: State transition is not allowed", names[r->state], wanted);
	return rapi_answer_error(out, 403, "InvalidStateTransition", message);
}

/* ---- the event for the runtime ---- */

static int put_header(struct buf *out, const struct buf *meta, const char *key, const char *header, const char *otherwise)
{
	const char *value;
	size_t len, i;

	if (!fn_meta_get((char *)buf_head(meta), meta->len, key, &value, &len)) {
		if (!otherwise)
			return 0;
		value = otherwise;
		len = strlen(otherwise);
	}
	/* What cannot be in a header is left out, header and all: a carriage return would end it early. */
	for (i = 0; i < len; i++)
		if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
			return 0;
	return buf_printf(out, "%s: %.*s\r\n", header, (int)len, value);
}

static int event_write(struct rapi *r, struct buf *out)
{
	static const struct { const char *key, *header, *otherwise; } headers[] = {
		{ "content_type", "Content-Type", "application/json" },
		{ "arn", "Lambda-Runtime-Invoked-Function-Arn", NULL },
		{ "trace_id", "Lambda-Runtime-Trace-Id", NULL },
		{ "client_context", "Lambda-Runtime-Client-Context", NULL },
		{ "cognito_identity", "Lambda-Runtime-Cognito-Identity", NULL },
	};
	int ret;
	size_t i;

	ret = buf_printf(out, "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: %s\r\nLambda-Runtime-Deadline-Ms: %" PRIu64 "\r\n",
		r->request_id, r->deadline_ms ? r->deadline_ms : (uint64_t)NO_DEADLINE_MS);
	for (i = 0; ret == 0 && i < sizeof headers / sizeof *headers; i++)
		ret = put_header(out, &r->meta, headers[i].key, headers[i].header, headers[i].otherwise);
	if (ret == 0)
		ret = buf_printf(out, "Content-Length: %zu\r\n\r\n", r->event.len);
	if (ret == 0 && r->event.len)
		ret = buf_append(out, buf_head(&r->event), r->event.len);
	return ret;
}

static void result_send(struct rapi *r, const struct rapi_result *result)
{
	r->state = RAPI_IDLE;
	memcpy(r->answered_id, r->request_id, sizeof r->answered_id);
	r->ops->result(r->ctx, result);
}

/* Hand the invocation to the runtime on a connection that asked for it. */
static void deliver(struct rapi *r, struct buf *out)
{
	struct buf text = { 0 };
	int ret = event_write(r, &text);

	if (ret == 0)
		ret = buf_append(out, buf_head(&text), text.len);
	buf_done(&text);
	buf_done(&r->meta);
	buf_done(&r->event);
	r->queued = false;
	r->state = RAPI_RUNNING;
	if (ret < 0) {
		static const char doc[] = "{\"errorMessage\":\"hearth-init has no memory for the event\",\"errorType\":\"Runtime.OutOfMemory\"}";

		rapi_answer_error(out, 500, "InternalServerError", "No memory for the event");
		result_send(r, &(struct rapi_result){
			.id = r->id, .outcome = FN_FUNCTION_ERROR, .content_type = "", .error_type = "Runtime.OutOfMemory", .body = doc, .body_len = sizeof doc - 1 });
	}
}

/* The request's id goes into headers and paths: what doesn't fit there is replaced. */
static void set_request_id(struct rapi *r, const struct fn_view *v)
{
	const char *id;
	size_t len, i;
	bool good = fn_meta_get(v->meta, v->head.meta_len, "request_id", &id, &len) && len > 0 && len < sizeof r->request_id;

	for (i = 0; good && i < len; i++)
		good = id[i] > ' ' && id[i] < 0x7f && !strchr("/?#%", id[i]);
	if (good) {
		memcpy(r->request_id, id, len);
		r->request_id[len] = 0;
	} else {
		snprintf(r->request_id, sizeof r->request_id, "%08" PRIx64 "-0000-4000-8000-%012" PRIx64, r->id >> 48, r->id & 0xffffffffffffu);
	}
}

int rapi_invoke(struct rapi *r, const struct fn_view *v)
{
	if (r->queued || (r->state != RAPI_IDLE && r->state != RAPI_WAITING))
		return -EBUSY;
	if (buf_append(&r->meta, v->meta, v->head.meta_len) < 0 || buf_append(&r->event, v->body, v->body_len) < 0) {
		buf_done(&r->meta);
		buf_done(&r->event);
		return -ENOMEM;
	}
	r->id = v->head.id;
	r->deadline_ms = v->head.arg;
	r->queued = true;
	set_request_id(r, v);
	if (r->state == RAPI_WAITING) {
		struct rapi_conn *c = r->waiter;

		r->waiter = NULL;
		deliver(r, rapi_conn_out(c));
		rapi_conn_resume(c);
		r->ops->output(r->ctx, c);
	}
	return 0;
}

/* ---- requests ---- */

static bool take_word(const char **path, size_t *len, const char *word)
{
	size_t n = strlen(word);

	if (*len < n || memcmp(*path, word, n) != 0)
		return false;
	*path += n;
	*len -= n;
	return true;
}

enum rapi_route rapi_route(enum http_method method, const char *path, size_t len, char id[RAPI_ID_MAX])
{
	const char *query = memchr(path, '?', len), *slash;
	enum rapi_route route;
	size_t id_len;

	id[0] = 0;
	if (query)
		len = (size_t)(query - path);
	if (!take_word(&path, &len, "/2018-06-01/runtime/"))
		return ROUTE_NONE;
	if (len == 10 && memcmp(path, "init/error", 10) == 0)
		return method == HTTP_POST ? ROUTE_INIT_ERROR : ROUTE_BAD_METHOD;
	if (len == 13 && memcmp(path, "hearth/loaded", 13) == 0)
		return method == HTTP_POST ? ROUTE_LOADED : ROUTE_BAD_METHOD;
	if (!take_word(&path, &len, "invocation/"))
		return ROUTE_NONE;
	if (len == 4 && memcmp(path, "next", 4) == 0)
		return method == HTTP_GET ? ROUTE_NEXT : ROUTE_BAD_METHOD;
	slash = memchr(path, '/', len);
	if (!slash || slash == path)
		return ROUTE_NONE;
	id_len = (size_t)(slash - path);
	if (id_len >= RAPI_ID_MAX)
		id_len = 0;             /* "" is nobody's id */
	memcpy(id, path, id_len);
	id[id_len] = 0;
	len -= (size_t)(slash - path);
	if (len == 9 && memcmp(slash, "/response", 9) == 0)
		route = ROUTE_RESPONSE;
	else if (len == 6 && memcmp(slash, "/error", 6) == 0)
		route = ROUTE_ERROR;
	else
		return ROUTE_NONE;
	return method == HTTP_POST ? route : ROUTE_BAD_METHOD;
}

static bool handle_next(struct rapi *r, struct rapi_conn *c, struct buf *out)
{
	if (r->state != RAPI_INIT && r->state != RAPI_IDLE) {
		answer_state(r, out, "Ready");
		return true;
	}
	if (r->queued) {
		deliver(r, out);
		return true;
	}
	r->waiter = c;
	if (r->state == RAPI_INIT) {
		r->state = RAPI_WAITING;
		r->ops->ready(r->ctx);
	}
	r->state = RAPI_WAITING;
	return false;
}

static void handle_too_large(struct rapi *r, const struct rapi_request *q, struct buf *out)
{
	char text[160], doc[224];
	int len;

	snprintf(text, sizeof text, "Response payload size exceeded maximum allowed payload size (%zu bytes).", r->response_max);
	len = snprintf(doc, sizeof doc, "{\"errorMessage\":\"%s\",\"errorType\":\"Function.ResponseSizeTooLarge\"}", text);
	snprintf(text, sizeof text, "Exceeded maximum allowed payload size (%zu bytes).", r->response_max);
	rapi_answer_error(out, 413, "RequestEntityTooLarge", text);
	result_send(r, &(struct rapi_result){
		.id = r->id, .outcome = FN_FUNCTION_ERROR, .content_type = "", .error_type = "Function.ResponseSizeTooLarge", .body = doc, .body_len = (size_t)len });
}

static void handle_result(struct rapi *r, const struct rapi_request *q, struct buf *out)
{
	bool response = q->route == ROUTE_RESPONSE;

	if (r->state != RAPI_RUNNING || strcmp(q->id, r->request_id) != 0) {
		/* The second answer to an invocation is out of turn, an answer to any other one is out of place. */
		if (q->id[0] && r->state != RAPI_RUNNING && strcmp(q->id, r->answered_id) == 0)
			answer_state(r, out, response ? "InvocationResponse" : "InvocationErrorResponse");
		else
			rapi_answer_error(out, 400, "InvalidRequestID", "Invalid request ID");
		return;
	}
	if (q->too_large) {
		handle_too_large(r, q, out);
		return;
	}
	answer_ok(out);
	result_send(r, &(struct rapi_result){
		.id = r->id, .outcome = response && !q->failed_in_trailer ? FN_OK : FN_FUNCTION_ERROR,
		.content_type = q->content_type, .error_type = q->error_type, .body = q->body, .body_len = q->body_len });
}

static void handle_init_error(struct rapi *r, const struct rapi_request *q, struct buf *out)
{
	if (r->state != RAPI_INIT) {
		answer_state(r, out, "InitError");
		return;
	}
	if (q->too_large) {
		rapi_answer_error(out, 413, "RequestEntityTooLarge", "The error document is too large");
		return;
	}
	r->state = RAPI_FAILED;
	answer_ok(out);
	r->ops->init_error(r->ctx, &(struct rapi_result){
		.content_type = q->content_type, .error_type = q->error_type, .body = q->body, .body_len = q->body_len });
}

static void handle_loaded(struct rapi *r, struct buf *out)
{
	if (r->state != RAPI_INIT) {
		answer_state(r, out, "Loaded");
		return;
	}
	answer_ok(out);
	r->ops->loaded(r->ctx);
}

bool rapi_handle(struct rapi *r, struct rapi_conn *c, const struct rapi_request *q, struct buf *out)
{
	switch (q->route) {
	case ROUTE_NEXT:
		return handle_next(r, c, out);
	case ROUTE_RESPONSE:
	case ROUTE_ERROR:
		handle_result(r, q, out);
		return true;
	case ROUTE_INIT_ERROR:
		handle_init_error(r, q, out);
		return true;
	case ROUTE_LOADED:
		handle_loaded(r, out);
		return true;
	case ROUTE_BAD_METHOD:
		rapi_answer_error(out, 405, "MethodNotAllowed", "This path is not served with this method");
		return true;
	case ROUTE_NONE:
		break;
	}
	rapi_answer_error(out, 404, "NotFound", "This path is not part of the Runtime API 2018-06-01");
	return true;
}
