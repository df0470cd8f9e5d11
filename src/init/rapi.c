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
	*r = (struct rapi){ .response_max = response_max, .ops = ops, .ctx = ctx, .calls_max = 1 };
}

void rapi_allow_fork(struct rapi *r, unsigned max, uint64_t idle_ns)
{
	r->may_fork = true;
	r->calls_max = max;
	r->idle_ns = idle_ns;
}

/* ---- answers ---- */

static const char *reason(int status)
{
	switch (status) {
	case 200: return "OK";
	case 202: return "Accepted";
	case 400: return "Bad Request";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 410: return "Gone";
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

int rapi_answer_fork(struct buf *out)
{
	return answer(out, 200, "{\"action\":\"fork\"}\n");
}

static int answer_state(const struct rapi_worker *w, struct buf *out, const char *wanted)
{
	static const char *const names[] = {
		[RAPI_INIT] = "Started", [RAPI_IDLE] = "InvocationResponseSent", [RAPI_WAITING] = "Ready",
		[RAPI_RUNNING] = "Running", [RAPI_FAILED] = "InitError", [RAPI_ZYGOTE] = "Zygote",
	};
	char message[160];

	snprintf(message, sizeof message, "State transition from %s to %s failed for runtime. Error: State transition is not allowed", names[w->state], wanted);
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

int rapi_event_write(const struct rapi_call *call, struct buf *out)
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
		call->request_id, call->deadline_ms ? call->deadline_ms : (uint64_t)NO_DEADLINE_MS);
	for (i = 0; ret == 0 && i < sizeof headers / sizeof *headers; i++)
		ret = put_header(out, &call->meta, headers[i].key, headers[i].header, headers[i].otherwise);
	if (ret == 0)
		ret = buf_printf(out, "Content-Length: %zu\r\n\r\n", call->event.len);
	if (ret == 0 && call->event.len)
		ret = buf_append(out, buf_head(&call->event), call->event.len);
	return ret;
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
	if (len == 11 && memcmp(path, "hearth/fork", 11) == 0)
		return method == HTTP_GET ? ROUTE_FORK : ROUTE_BAD_METHOD;
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

static bool handle_next(struct rapi *r, struct rapi_worker *w, struct rapi_conn *c, struct buf *out)
{
	bool first = w->state == RAPI_INIT;

	if (w->state != RAPI_INIT && w->state != RAPI_IDLE) {
		answer_state(w, out, "Ready");
		return true;
	}
	w->asked = true;
	if (r->resting && w->pid) {
		rapi_answer_not_needed(r, w, out);
		return true;
	}
	if (r->waiting) {
		rapi_deliver(r, w, out);
		return true;
	}
	w->waiter = c;
	w->state = RAPI_WAITING;
	if (w->pid)
		w->since_ns = r->ops->waits(r->ctx);
	if (first)
		r->ops->ready(r->ctx);
	return false;
}

static bool handle_fork(struct rapi *r, struct rapi_conn *c, const struct rapi_request *q, struct buf *out)
{
	bool first = r->own.state == RAPI_INIT;

	if ((!first && r->own.state != RAPI_ZYGOTE) || r->zygote) {
		answer_state(&r->own, out, "Zygote");
		return true;
	}
	r->own.state = RAPI_ZYGOTE;
	if (first)
		r->ops->ready(r->ctx);
	if (rapi_fork_told(r, q)) {
		rapi_answer_fork(out);
		return true;
	}
	r->zygote = c;
	return false;
}

static void handle_too_large(struct rapi *r, struct rapi_worker *w, struct buf *out)
{
	char text[160], doc[224];
	int len;

	snprintf(text, sizeof text, "Response payload size exceeded maximum allowed payload size (%zu bytes).", r->response_max);
	len = snprintf(doc, sizeof doc, "{\"errorMessage\":\"%s\",\"errorType\":\"Function.ResponseSizeTooLarge\"}", text);
	snprintf(text, sizeof text, "Exceeded maximum allowed payload size (%zu bytes).", r->response_max);
	rapi_answer_error(out, 413, "RequestEntityTooLarge", text);
	rapi_result_send(r, w, &(struct rapi_result){
		.outcome = FN_FUNCTION_ERROR, .content_type = "", .error_type = "Function.ResponseSizeTooLarge", .body = doc, .body_len = (size_t)len });
}

static void handle_result(struct rapi *r, struct rapi_worker *w, const struct rapi_request *q, struct buf *out)
{
	bool response = q->route == ROUTE_RESPONSE;

	if (w->state != RAPI_RUNNING || strcmp(q->id, w->call->request_id) != 0) {
		/* The second answer to an invocation is out of turn, an answer to any other one is out of place. */
		if (q->id[0] && w->state != RAPI_RUNNING && strcmp(q->id, w->answered_id) == 0)
			answer_state(w, out, response ? "InvocationResponse" : "InvocationErrorResponse");
		else
			rapi_answer_error(out, 400, "InvalidRequestID", "Invalid request ID");
		return;
	}
	if (q->too_large) {
		handle_too_large(r, w, out);
		return;
	}
	answer_ok(out);
	rapi_result_send(r, w, &(struct rapi_result){
		.outcome = response && !q->failed_in_trailer ? FN_OK : FN_FUNCTION_ERROR,
		.content_type = q->content_type, .error_type = q->error_type, .body = q->body, .body_len = q->body_len });
}

static void handle_init_error(struct rapi *r, const struct rapi_request *q, struct buf *out)
{
	if (r->own.state != RAPI_INIT) {
		answer_state(&r->own, out, "InitError");
		return;
	}
	if (q->too_large) {
		rapi_answer_error(out, 413, "RequestEntityTooLarge", "The error document is too large");
		return;
	}
	r->own.state = RAPI_FAILED;
	answer_ok(out);
	r->ops->init_error(r->ctx, &(struct rapi_result){
		.content_type = q->content_type, .error_type = q->error_type, .body = q->body, .body_len = q->body_len });
}

static void handle_loaded(struct rapi *r, struct buf *out)
{
	if (r->own.state != RAPI_INIT) {
		answer_state(&r->own, out, "Loaded");
		return;
	}
	answer_ok(out);
	r->ops->loaded(r->ctx);
}

/* A question for work, or an answer to an invocation: of one that may. */
static bool handle_worker(struct rapi *r, struct rapi_conn *c, const struct rapi_request *q, struct buf *out)
{
	struct rapi_worker *w = rapi_worker_of(r, q);

	if (!w) {
		rapi_answer_error(out, 403, "UnknownWorker", "This process was not forked to work, or is to end");
		return true;
	}
	if (q->route == ROUTE_NEXT)
		return handle_next(r, w, c, out);
	handle_result(r, w, q, out);
	return true;
}

bool rapi_handle(struct rapi *r, struct rapi_conn *c, const struct rapi_request *q, struct buf *out)
{
	switch (q->route) {
	case ROUTE_NEXT:
	case ROUTE_RESPONSE:
	case ROUTE_ERROR:
		return handle_worker(r, c, q, out);
	case ROUTE_INIT_ERROR:
		handle_init_error(r, q, out);
		return true;
	case ROUTE_LOADED:
		handle_loaded(r, out);
		return true;
	case ROUTE_FORK:
		if (r->may_fork)
			return handle_fork(r, c, q, out);
		break;
	case ROUTE_BAD_METHOD:
		rapi_answer_error(out, 405, "MethodNotAllowed", "This path is not served with this method");
		return true;
	case ROUTE_NONE:
		break;
	}
	rapi_answer_error(out, 404, "NotFound", "This path is not part of the Runtime API 2018-06-01");
	return true;
}
