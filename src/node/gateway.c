// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "priv.h"

/*
 * What a request's path means:
 *   POST /2015-03-31/functions/NAME/invocations   the AWS Lambda Invoke API
 *   any  /function/NAME[/PATH][?QUERY]            passed on to the function
 *   GET  /healthz, /metrics
 */

#define INVOKE_PREFIX "/2015-03-31/functions/"
#define INVOKE_SUFFIX "/invocations"
#define FUNCTION_PREFIX "/function/"

static void client_gone(struct http_request *req)
{
	struct invocation *inv = req->user;

	if (inv)
		invocation_client_gone(inv);
}

static bool starts_with(struct http_view v, const char *prefix)
{
	size_t n = strlen(prefix);

	return v.len >= n && !memcmp(v.data, prefix, n);
}

static void submit(struct function *fn, struct invocation *inv, struct http_request *req)
{
	req->user = inv;
	req->on_abort = client_gone;
	invocation_submit(fn, inv);
}

static void out_of_memory(struct http_request *req)
{
	http_reply_error(req, 503, "ServiceUnavailable", "hearthd has no memory for another call");
}

/* ---- the Invoke API ---- */

/* a name, name:qualifier, or an ARN that ends so; AWS's clients escape the colons. Return: false when it can be no function's. */
static bool function_of(struct http_view v, char name[NODE_NAME_LEN])
{
	static const char arn[] = ":function:";
	const char *at, *colon;
	char plain[512];

	if (v.len > sizeof(plain))
		return false;
	v.len = percent_decode(v.data, v.len, false, plain);
	v.data = plain;
	at = memmem(v.data, v.len, arn, sizeof(arn) - 1);
	if (at) {
		v.len -= (size_t)(at + sizeof(arn) - 1 - v.data);
		v.data = at + sizeof(arn) - 1;
	}
	colon = memchr(v.data, ':', v.len);
	if (colon)
		v.len = (size_t)(colon - v.data);
	if (v.len == 0 || v.len >= NODE_NAME_LEN)
		return false;
	memcpy(name, v.data, v.len);
	name[v.len] = '\0';
	return !memchr(name, '\0', v.len);
}

static struct function *live_function(struct node *n, const char *name)
{
	struct function *fn = function_find(n, name);

	return fn && !fn->removing ? fn : NULL;
}

static void invoke_event(struct function *fn, struct http_request *req)
{
	struct http_header h = { http_view_of("X-Amzn-RequestId"), { 0 } };
	struct invocation *inv;
	char id[37];

	if (fn->m.contract == CONTRACT_HTTP) {
		http_reply_error_aws(req, 400, "InvalidParameterValueException", "invocation type Event needs a lambda or native function; this one speaks HTTP");
		return;
	}
	if (fn->queued >= (unsigned)(fn->m.queue_limit ? fn->m.queue_limit : fn->node->cfg->queue_limit)) {
		fn->count.rejected++;
		fn->node->types->type[fn->type].rejected++;
		http_reply_error_aws(req, 429, "TooManyRequestsException", "the function's queue is full; try again later");
		return;
	}
	inv = invocation_new(fn, INV_EVENT_ASYNC, NULL);
	if (inv)
		inv->owned = malloc(req->body.len + 1);
	if (!inv || !inv->owned) {
		free(inv);
		out_of_memory(req);
		return;
	}
	memcpy(inv->owned, req->body.data ? req->body.data : "", req->body.len);
	inv->payload = (const uint8_t *)inv->owned;
	inv->payload_len = req->body.len;
	snprintf(id, sizeof(id), "%s", inv->request_id);
	h.value = http_view_of(id);
	http_reply(req, 202, &h, 1, NULL, 0);
	invocation_submit(fn, inv);
}

static void invoke_api(struct node *n, struct http_request *req)
{
	size_t skip = strlen(INVOKE_PREFIX), tail = strlen(INVOKE_SUFFIX);
	struct http_view middle = { req->path.data + skip, req->path.len - skip }, type;
	char name[NODE_NAME_LEN], message[200];
	struct invocation *inv;
	struct function *fn;

	if (middle.len <= tail || memcmp(middle.data + middle.len - tail, INVOKE_SUFFIX, tail)) {
		http_reply_error_aws(req, 404, "ResourceNotFoundException", "no such operation; POST " INVOKE_PREFIX "NAME" INVOKE_SUFFIX " calls a function");
		return;
	}
	middle.len -= tail;
	if (!http_view_is(req->method, "POST")) {
		http_reply_error_aws(req, 405, "MethodNotAllowedException", "a function is invoked with POST");
		return;
	}
	fn = function_of(middle, name) ? live_function(n, name) : NULL;
	if (!fn) {
		snprintf(message, sizeof(message), "Function not found: %.*s", (int)(middle.len > 80 ? 80 : middle.len), middle.data);
		http_reply_error_aws(req, 404, "ResourceNotFoundException", message);
		return;
	}
	type = http_request_header(req, "X-Amz-Invocation-Type");
	if (!type.data || http_view_is(type, "RequestResponse")) {
		inv = invocation_new(fn, INV_EVENT_SYNC, req);
		if (!inv) {
			out_of_memory(req);
			return;
		}
		inv->payload = (const uint8_t *)req->body.data;
		inv->payload_len = req->body.len;
		submit(fn, inv, req);
	} else if (http_view_is(type, "Event")) {
		invoke_event(fn, req);
	} else if (http_view_is(type, "DryRun")) {
		http_reply(req, 204, NULL, 0, NULL, 0);
	} else {
		http_reply_error_aws(req, 400, "InvalidParameterValueException", "X-Amz-Invocation-Type: use RequestResponse, Event or DryRun");
	}
}

/* ---- any method and path ---- */

/* what follows the name, query included, as the function is to see it */
static char *target_for(const struct http_request *req, struct http_view rest)
{
	char *target = NULL;

	if (asprintf(&target, "%s%.*s%s%.*s", rest.len ? "" : "/", (int)rest.len, rest.len ? rest.data : "", req->query.len ? "?" : "",
		     (int)req->query.len, req->query.len ? req->query.data : "") < 0)
		return NULL;
	return target;
}

static void pass_on(struct node *n, struct http_request *req)
{
	size_t skip = strlen(FUNCTION_PREFIX);
	struct http_view name_view = { req->path.data + skip, req->path.len - skip }, rest = { 0 };
	const char *slash = memchr(name_view.data, '/', name_view.len);
	char name[NODE_NAME_LEN], message[200];
	struct function *fn = NULL;
	struct invocation *inv;

	if (slash) {
		rest = (struct http_view){ slash, name_view.len - (size_t)(slash - name_view.data) };
		name_view.len = (size_t)(slash - name_view.data);
	}
	if (name_view.len > 0 && name_view.len < sizeof(name)) {
		memcpy(name, name_view.data, name_view.len);
		name[name_view.len] = '\0';
		fn = live_function(n, name);
	}
	if (!fn) {
		snprintf(message, sizeof(message), "no function \"%.*s\" is deployed", (int)(name_view.len > 80 ? 80 : name_view.len), name_view.data);
		http_reply_error(req, 404, "FunctionNotFound", message);
		return;
	}
	inv = invocation_new(fn, INV_HTTP, req);
	if (inv)
		inv->target = target_for(req, rest);
	if (inv && inv->target && fn->m.contract == CONTRACT_LAMBDA) {
		inv->wrap = true;
		inv->owned = lambda_http_event(req, inv->target, inv->request_id, fn->m.name);
	}
	if (!inv || !inv->target || (inv->wrap && !inv->owned)) {
		if (inv)
			free(inv->target);
		free(inv);
		out_of_memory(req);
		return;
	}
	inv->payload = inv->wrap ? (const uint8_t *)inv->owned : (const uint8_t *)req->body.data;
	inv->payload_len = inv->wrap ? strlen(inv->owned) : req->body.len;
	submit(fn, inv, req);
}

/* ---- the node's own ---- */

static void healthz(struct node *n, struct http_request *req)
{
	struct http_header h = { http_view_of("Content-Type"), http_view_of("text/plain") };

	if (n->stopping)
		http_reply(req, 503, &h, 1, "stopping\n", 9);
	else
		http_reply(req, 200, &h, 1, "ok\n", 3);
}

static void metrics(struct node *n, struct http_request *req)
{
	struct http_header h = { http_view_of("Content-Type"), http_view_of("text/plain; version=0.0.4; charset=utf-8") };
	struct buf out = { 0 };

	if (metrics_render(n, &out) < 0)
		out_of_memory(req);
	else
		http_reply(req, 200, &h, 1, buf_head(&out), out.len);
	buf_done(&out);
}

static void own_page(struct node *n, struct http_request *req, void (*page)(struct node *, struct http_request *))
{
	if (http_view_is(req->method, "GET") || req->head)
		page(n, req);
	else
		http_reply_error(req, 405, "MethodNotAllowed", "this address is read with GET");
}

void gateway_request(void *ctx, struct http_request *req)
{
	struct node *n = ctx;

	if (n->stopping)
		http_reply_error(req, 503, "ServiceUnavailable", "hearthd is stopping");
	else if (starts_with(req->path, FUNCTION_PREFIX))
		pass_on(n, req);
	else if (starts_with(req->path, INVOKE_PREFIX))
		invoke_api(n, req);
	else if (http_view_is(req->path, "/healthz"))
		own_page(n, req, healthz);
	else if (http_view_is(req->path, "/metrics"))
		own_page(n, req, metrics);
	else
		http_reply_error(req, 404, "NotFound", "hearthd answers /function/NAME/..., " INVOKE_PREFIX "NAME" INVOKE_SUFFIX ", /healthz and /metrics");
}
