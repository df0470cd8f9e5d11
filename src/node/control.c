// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "priv.h"

/*
 * The control socket: one JSON object a line each way. The socket's mode (0600) is the permission; root and the daemon's own user are let in.
 * A line over LINE_MAX_BYTES or a peer that does not read its answers is hung up on.
 */
#define LINE_MAX_BYTES (1u << 20)
#define PEERS_MAX 64

struct peer {
	struct control *control;
	struct peer *prev, *next;
	int fd;
	ev_io read_watch, write_watch;
	struct buf in, out;
};

struct control {
	struct node *node;
	int fd;
	ev_io accept_watch;
	struct peer *peers;
	int count;
	char path[PATH_MAX];
};

json_t *control_refuse(const struct hearth_err *err)
{
	return json_pack("{s:b,s:s,s:i}", "ok", 0, "error", err->msg, "code", err->code);
}

json_t *control_ok(void)
{
	return json_pack("{s:b}", "ok", 1);
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* {"op":"deploy","file":name for messages,"text":manifest,"base":folder,"set":more YAML} */
static json_t *op_deploy(struct node *n, const json_t *request)
{
	const char *text = text_of(request, "text");
	struct hearth_err err;
	struct manifest m;
	bool changed;
	json_t *o;
	char name[NODE_NAME_LEN];

	if (n->stopping) {
		err_set(&err, -ESHUTDOWN, "hearthd is stopping");
		return control_refuse(&err);
	}
	if (manifest_parse(text, strlen(text), text_of(request, "file"), text_of(request, "base"), text_of(request, "set"), &m, &err) < 0)
		return control_refuse(&err);
	snprintf(name, sizeof(name), "%s", m.name);
	if (function_find(n, name) && function_find(n, name)->removing) {
		manifest_done(&m);
		err_set(&err, -EBUSY, "function %s is being removed; try again in a moment", name);
		return control_refuse(&err);
	}
	if (function_deploy(n, &m, &changed, &err) < 0) {
		manifest_done(&m);
		return control_refuse(&err);
	}
	o = control_ok();
	json_object_set_new(o, "name", json_string(name));
	json_object_set_new(o, "changed", json_boolean(changed));
	return o;
}

static json_t *op_rm(struct node *n, const json_t *request)
{
	struct hearth_err err;

	return function_remove(n, text_of(request, "name"), &err) < 0 ? control_refuse(&err) : control_ok();
}

static json_t *op_ps(struct node *n, const json_t *request)
{
	const char *only = text_of(request, "name");
	json_t *o = control_ok(), *functions = json_array(), *instances = json_array();
	struct function *fn, *next;
	struct instance *inst;

	HASH_ITER(hh, n->functions, fn, next) {
		if ((*only && strcmp(only, fn->m.name)) || fn->removing)
			continue;
		json_array_append_new(functions, function_to_json(fn));
		TAILQ_FOREACH(inst, &fn->instances, entry)
			json_array_append_new(instances, instance_to_json(inst));
	}
	json_object_set_new(o, "node", node_to_json(n));
	json_object_set_new(o, "functions", functions);
	json_object_set_new(o, "instances", instances);
	return o;
}

static json_t *op_describe(struct node *n, const json_t *request)
{
	struct function *fn = function_find(n, text_of(request, "name"));
	struct hearth_err err;
	json_t *o;

	if (!fn) {
		err_set(&err, -ENOENT, "no function \"%s\" is deployed; `hearth ps` lists those that are", text_of(request, "name"));
		return control_refuse(&err);
	}
	o = control_ok();
	json_object_set_new(o, "manifest", manifest_to_json(&fn->m));
	return o;
}

/* park and wake take a function (all its instances) or one instance */
static json_t *for_instances(struct node *n, const json_t *request, const char *verb, int (*act)(struct instance *, struct hearth_err *), bool (*fits)(const struct instance *))
{
	const char *name = text_of(request, "name");
	struct function *fn = function_find(n, name);
	struct instance *inst = fn ? NULL : instance_find(n, name), *next;
	struct hearth_err err = { 0 };
	json_t *done = json_array(), *o;
	int tried = 0;

	if (inst) {
		tried++;
		if (act(inst, &err) == 0)
			json_array_append_new(done, json_string(inst->id));
	} else if (fn) {
		TAILQ_FOREACH_SAFE(inst, &fn->instances, entry, next) {
			if (!fits(inst))
				continue;
			tried++;
			if (act(inst, &err) == 0)
				json_array_append_new(done, json_string(inst->id));
		}
		if (!tried)
			err_set(&err, -ENOENT, "function %s has no instance to %s; `hearth ps` shows their states", name, verb);
	} else {
		err_set(&err, -ENOENT, "no function or instance \"%s\"; `hearth ps` lists them", name);
	}
	if (json_array_size(done) == 0) {
		json_decref(done);
		return control_refuse(&err);
	}
	o = control_ok();
	json_object_set_new(o, "instances", done);
	return o;
}

static bool can_be_parked(const struct instance *inst)
{
	return inst->state == INST_HOT || inst->state == INST_WARM;
}

static bool can_be_woken(const struct instance *inst)
{
	return inst->state == INST_PARKED;
}

static json_t *op_park(struct node *n, const json_t *request)
{
	return for_instances(n, request, "park", instance_park, can_be_parked);
}

static json_t *op_wake(struct node *n, const json_t *request)
{
	return for_instances(n, request, "wake", instance_wake, can_be_woken);
}

static json_t *op_logs(struct node *n, const json_t *request)
{
	const char *name = text_of(request, "name");
	char path[PATH_MAX];
	struct hearth_err err;
	json_t *o;

	snprintf(path, sizeof(path), "%s/logs/%s.log", n->cfg->state_dir, name);
	if (!*name || strchr(name, '/') || (!function_find(n, name) && access(path, R_OK) < 0)) {
		err_set(&err, -ENOENT, "no function \"%s\" is deployed, and none left a log", name);
		return control_refuse(&err);
	}
	o = control_ok();
	json_object_set_new(o, "path", json_string(path));
	return o;
}

static json_t *op_info(struct node *n, const json_t *request)
{
	json_t *o = control_ok();

	(void)request;
	json_object_set_new(o, "node", node_to_json(n));
	return o;
}

static json_t *op_down(struct node *n, const json_t *request)
{
	node_shutdown(n, !json_is_true(json_object_get(request, "keep")));
	return control_ok();
}

static const struct {
	const char *name;
	json_t *(*run)(struct node *n, const json_t *request);
} ops[] = {
	{ "deploy", op_deploy }, { "rm", op_rm }, { "ps", op_ps }, { "describe", op_describe }, { "park", op_park },
	{ "wake", op_wake }, { "logs", op_logs }, { "info", op_info }, { "down", op_down }, { "sched", op_sched }, { "explain", op_explain },
};

static json_t *answer(struct node *n, const char *line, size_t len)
{
	json_error_t where;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &where), *reply = NULL;
	struct hearth_err err;

	if (!json_is_object(request)) {
		err_set(&err, -EINVAL, "the request is no JSON object: %s", request ? "another kind of value" : where.text);
		json_decref(request);
		return control_refuse(&err);
	}
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]) && !reply; i++)
		if (!strcmp(ops[i].name, text_of(request, "op")))
			reply = ops[i].run(n, request);
	if (!reply) {
		err_set(&err, -EINVAL, "unknown operation \"%s\"; are hearth and hearthd of one version?", text_of(request, "op"));
		reply = control_refuse(&err);
	}
	json_decref(request);
	return reply;
}

static void peer_free(struct peer *p)
{
	struct ev_loop *loop = p->control->node->loop;

	ev_io_stop(loop, &p->read_watch);
	ev_io_stop(loop, &p->write_watch);
	fd_close(&p->fd);
	buf_done(&p->in);
	buf_done(&p->out);
	DL_DELETE(p->control->peers, p);
	p->control->count--;
	free(p);
}

static int append_line(const char *data, size_t n, void *ctx)
{
	return buf_append(ctx, data, n) < 0 ? -1 : 0;
}

/* Return: false when the peer is to be hung up on */
static bool flush(struct peer *p)
{
	while (p->out.len > 0) {
		ssize_t n = send(p->fd, buf_head(&p->out), p->out.len, MSG_NOSIGNAL);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return false;
			ev_io_start(p->control->node->loop, &p->write_watch);
			return true;
		}
		buf_consume(&p->out, (size_t)n);
	}
	ev_io_stop(p->control->node->loop, &p->write_watch);
	return true;
}

static bool serve(struct peer *p)
{
	uint8_t *nl;

	while (p->in.len > 0 && (nl = memchr(buf_head(&p->in), '\n', p->in.len))) {
		size_t len = (size_t)(nl - buf_head(&p->in));
		json_t *reply = answer(p->control->node, (const char *)buf_head(&p->in), len);
		bool fine = json_dump_callback(reply, append_line, &p->out, JSON_COMPACT) == 0 && buf_append(&p->out, "\n", 1) == 0;

		json_decref(reply);
		buf_consume(&p->in, len + 1);
		if (!fine || !flush(p))
			return false;
	}
	return p->in.len < LINE_MAX_BYTES;
}

static void peer_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct peer *p = w->data;
	uint8_t *tail;
	ssize_t n;

	(void)loop;
	(void)events;
	if (buf_reserve(&p->in, 16384, &tail) < 0) {
		peer_free(p);
		return;
	}
	n = recv(p->fd, tail, 16384, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		buf_commit(&p->in, (size_t)n);
	if (n <= 0 || !serve(p))
		peer_free(p);
}

static void peer_writable(struct ev_loop *loop, ev_io *w, int events)
{
	struct peer *p = w->data;

	(void)loop;
	(void)events;
	if (!flush(p))
		peer_free(p);
}

static void accept_peer(struct ev_loop *loop, ev_io *w, int events)
{
	struct control *c = w->data;
	int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct peer *p;
	uid_t uid;

	(void)events;
	if (fd < 0)
		return;
	p = calloc(1, sizeof(*p));
	if (!p || c->count >= PEERS_MAX || sock_peer_cred(fd, &uid, NULL, NULL) < 0 || (uid != 0 && uid != geteuid())) {
		free(p);
		close(fd);
		return;
	}
	p->control = c;
	p->fd = fd;
	ev_io_init(&p->read_watch, peer_readable, fd, EV_READ);
	ev_io_init(&p->write_watch, peer_writable, fd, EV_WRITE);
	p->read_watch.data = p->write_watch.data = p;
	ev_io_start(loop, &p->read_watch);
	DL_APPEND(c->peers, p);
	c->count++;
}

struct control *control_new(struct node *n, struct hearth_err *err)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c) {
		err_set(err, -ENOMEM, "cannot open the control socket: out of memory");
		return NULL;
	}
	c->node = n;
	snprintf(c->path, sizeof(c->path), "%s/hearthd.sock", n->cfg->run_dir);
	c->fd = sock_unix_listen(c->path, 0600);
	if (c->fd < 0) {
		err_set(err, c->fd, "cannot open the control socket %s: %s", c->path, strerror(-c->fd));
		free(c);
		return NULL;
	}
	ev_io_init(&c->accept_watch, accept_peer, c->fd, EV_READ);
	c->accept_watch.data = c;
	ev_io_start(n->loop, &c->accept_watch);
	return c;
}

struct control *control_free(struct control *c)
{
	struct peer *p, *next;

	if (!c)
		return NULL;
	DL_FOREACH_SAFE(c->peers, p, next)
		peer_free(p);
	ev_io_stop(c->node->loop, &c->accept_watch);
	fd_close(&c->fd);
	unlink(c->path);
	free(c);
	return NULL;
}
