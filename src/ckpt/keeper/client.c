/* SPDX-License-Identifier: Apache-2.0 */
/* The client of hearth-keeper: ckpt/keeper.h */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "ckpt/keeper.h"
#include "request.h"

#define ANSWER_MAX (192u << 10)

struct keeper { int fd; };

static const char cancel_text[] = "{\"op\":\"cancel\"}";

int keeper_connect(const char *path, struct keeper **ret, struct hearth_err *err)
{
	struct keeper *k = malloc(sizeof(*k));

	if (!k)
		return err_set(err, -ENOMEM, "out of memory");
	path = path ? path : KEEPER_SOCKET;
	k->fd = sock_unix_connect_packets(path);
	if (k->fd < 0) {
		int r = k->fd;

		free(k);
		return err_set(err, r, "no keeper at %s: %s; hearthd starts it where there is a CUDA driver", path, strerror(-r));
	}
	*ret = k;
	return 0;
}

struct keeper *keeper_close(struct keeper *k)
{
	if (k) {
		fd_close(&k->fd);
		free(k);
	}
	return NULL;
}

void keeper_cancel(struct keeper *k)
{
	(void)send(k->fd, cancel_text, sizeof(cancel_text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* one packet of an answer. Return: 0, -EPIPE, -EBADMSG, -errno. */
static int receive(struct keeper *k, char *room, json_t **ret, int *ret_fd, struct hearth_err *err)
{
	ssize_t got = sock_packet_recv(k->fd, room, ANSWER_MAX, ret_fd, true);

	if (got == 0 || got == -ECONNRESET)
		return err_set(err, -EPIPE, "the keeper ended (killed?); programs whose memory was detached are lost unless an image is there; its messages are in the daemon's log");
	if (got < 0)
		return err_set(err, (int)got, "cannot hear the keeper: %s", strerror((int)-got));
	*ret = json_loadb(room, (size_t)got, 0, NULL);
	if (json_is_object(*ret))
		return 0;
	json_decref(*ret);
	fd_close(ret_fd);
	return err_set(err, -EBADMSG, "the keeper answered with what is no answer");
}

static int answer_error(const json_t *o, struct hearth_err *err)
{
	json_int_t code = json_integer_value(json_object_get(o, "code"));
	const char *text = json_string_value(json_object_get(o, "error"));

	return err_set(err, code < 0 && code > -4096 ? (int)code : -EIO, "%s", text ? text : "the keeper failed and does not say why");
}

/* @request: stolen */
static int ask(struct keeper *k, json_t *request, struct hearth_err *err)
{
	char *text = json_dumps(request, JSON_COMPACT);
	int r = text ? sock_packet_send(k->fd, text, strlen(text), -1, true) : err_set(err, -ENOMEM, "out of memory");

	if (text && r < 0)
		err_set(err, r, "cannot reach the keeper: %s", strerror(-r));
	json_decref(request);
	free(text);
	return r;
}

/* @ret_result, @ret_fd: NULL where none is expected */
static int answer(struct keeper *k, keeper_progress progress, void *ctx, struct keeper_report *ret, json_t **ret_result, int *ret_fd, struct hearth_err *err)
{
	char *room = malloc(ANSWER_MAX);
	json_t *o = NULL;
	bool given_up = false;
	int fd = -1, r = room ? 0 : err_set(err, -ENOMEM, "out of memory");

	while (r == 0) {
		r = receive(k, room, &o, &fd, err);
		if (r < 0 || json_object_get(o, "ok"))
			break;
		fd_close(&fd);
		if (progress && !given_up && !progress(ctx, (uint64_t)json_integer_value(json_object_get(o, "done")), (uint64_t)json_integer_value(json_object_get(o, "total")))) {
			given_up = true;
			keeper_cancel(k);
		}
		json_decref(o);
		o = NULL;
	}
	if (r == 0 && ret)
		report_from_json(json_object_get(o, "report"), ret);
	if (r == 0 && !json_is_true(json_object_get(o, "ok")))
		r = answer_error(o, err);
	if (r == 0 && ret_fd && fd < 0)
		r = err_set(err, -EBADMSG, "the keeper sent no objects");
	if (r == 0 && ret_result)
		*ret_result = json_incref(json_object_get(o, "result"));
	if (r == 0 && ret_fd) {
		*ret_fd = fd;
		fd = -1;
	}
	fd_close(&fd);
	json_decref(o);
	free(room);
	return r;
}

/* @request: stolen */
static int call(struct keeper *k, json_t *request, keeper_progress progress, void *ctx, struct keeper_report *ret, json_t **ret_result, int *ret_fd, struct hearth_err *err)
{
	int r = ask(k, request, err);

	return r == 0 ? answer(k, progress, ctx, ret, ret_result, ret_fd, err) : r;
}

static int step(struct keeper *k, json_t *request, struct keeper_report *ret, struct hearth_err *err)
{
	return call(k, request, NULL, NULL, ret, NULL, NULL, err);
}

static json_t *with_store(json_t *request, const struct keeper_store *store)
{
	char *real = store ? realpath(store->dir, NULL) : NULL;

	if (store)
		json_object_set_new(request, "store", json_string(real ? real : store->dir));
	if (store && store->base)
		json_object_set_new(request, "base", json_string(store->base));
	if (store && store->zstd_level)
		json_object_set_new(request, "zstd", json_integer(store->zstd_level));
	free(real);
	return request;
}

static json_t *with_timeout(const char *op, uint64_t timeout_ns)
{
	return json_pack("{s:s,s:I}", "op", op, "timeout_ns", (json_int_t)timeout_ns);
}

static json_t *with_pids(const char *op, const pid_t *pids, size_t n)
{
	json_t *list = json_array();

	for (size_t k = 0; k < n; k++)
		json_array_append_new(list, json_integer(pids[k]));
	return json_pack("{s:s,s:o}", "op", op, "pids", list);
}

static uint64_t number(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

static bool truth(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

int keeper_info(struct keeper *k, struct keeper_info *ret, struct hearth_err *err)
{
	json_t *o = NULL;
	int r = call(k, json_pack("{s:s}", "op", "info"), NULL, NULL, NULL, &o, NULL, err);

	if (r == 0)
		*ret = (struct keeper_info){
			.pid = (pid_t)number(o, "pid"), .driver_version = (int)number(o, "driver_version"), .devices = (unsigned)number(o, "devices"),
			.processes = (unsigned)number(o, "processes"), .operations = (unsigned)number(o, "operations"), .held = (unsigned)number(o, "held"),
			.checkpoint = truth(o, "checkpoint"), .export = truth(o, "export"), .buffers = number(o, "buffers"), .bytes = number(o, "bytes"),
			.held_bytes = number(o, "held_bytes"), .pool_bytes = number(o, "pool_bytes"), .pool_ready_bytes = number(o, "pool_ready_bytes"), .copied_bytes = number(o, "copied_bytes"),
			.hashed_bytes = number(o, "hashed_bytes"),
		};
	json_decref(o);
	return r;
}

int keeper_inspect(struct keeper *k, const pid_t *pids, size_t n, struct keeper_inspection *ret, struct hearth_err *err)
{
	json_t *o = NULL, *list, *p;
	size_t i;
	int r;

	if (n > KEEPER_PIDS_MAX)
		return err_set(err, -E2BIG, "more than %d processes in one operation", KEEPER_PIDS_MAX);
	r = call(k, with_pids("inspect", pids, n), NULL, NULL, NULL, &o, NULL, err);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->devices = (unsigned)number(o, "devices");
	ret->refusals = (unsigned)number(o, "refusals");
	snprintf(ret->why, sizeof(ret->why), "%s", json_string_value(json_object_get(o, "why")) ?: "");
	snprintf(ret->notes, sizeof(ret->notes), "%s", json_string_value(json_object_get(o, "notes")) ?: "");
	list = json_object_get(o, "processes");
	json_array_foreach(list, i, p) {
		if (i >= n)
			break;
		ret->process[ret->n++] = (struct keeper_process){ .pid = (pid_t)number(p, "pid"), .cuda = truth(p, "cuda"), .shim = truth(p, "shim"),
								  .refusals = (unsigned)number(p, "refusals"), .buffers = number(p, "buffers"), .bytes = number(p, "bytes") };
		ret->buffers += number(p, "buffers");
		ret->bytes += number(p, "bytes");
	}
	json_decref(o);
	return 0;
}

int keeper_begin(struct keeper *k, const pid_t *pids, size_t n, struct hearth_err *err)
{
	return step(k, with_pids("begin", pids, n), NULL, err);
}

int keeper_precopy(struct keeper *k, const struct keeper_store *store, keeper_progress progress, void *ctx, struct keeper_report *ret, struct hearth_err *err)
{
	return call(k, with_store(json_pack("{s:s}", "op", "precopy"), store), progress, ctx, ret, NULL, NULL, err);
}

int keeper_stop(struct keeper *k, bool runs_on, uint64_t timeout_ns, struct keeper_report *ret, struct hearth_err *err)
{
	json_t *o = with_timeout("stop", timeout_ns);

	json_object_set_new(o, "runs_on", json_boolean(runs_on));
	return step(k, o, ret, err);
}

int keeper_detach(struct keeper *k, struct keeper_report *ret, struct hearth_err *err)
{
	return step(k, json_pack("{s:s}", "op", "detach"), ret, err);
}

int keeper_driver_checkpoint(struct keeper *k, uint64_t timeout_ns, struct keeper_report *ret, struct hearth_err *err)
{
	return step(k, with_timeout("driver_checkpoint", timeout_ns), ret, err);
}

int keeper_driver_restore(struct keeper *k, struct keeper_report *ret, struct hearth_err *err)
{
	return step(k, json_pack("{s:s}", "op", "driver_restore"), ret, err);
}

int keeper_attach(struct keeper *k, uint64_t timeout_ns, keeper_progress progress, void *ctx, struct keeper_report *ret, struct hearth_err *err)
{
	return call(k, with_timeout("attach", timeout_ns), progress, ctx, ret, NULL, NULL, err);
}

int keeper_drain(struct keeper *k, const struct keeper_store *store, keeper_progress progress, void *ctx, int *ret_fd, struct keeper_report *ret, struct hearth_err *err)
{
	return call(k, with_store(json_pack("{s:s}", "op", "drain"), store), progress, ctx, ret, NULL, ret_fd, err);
}

int keeper_hold(struct keeper *k, const char *name, struct hearth_err *err)
{
	return step(k, json_pack("{s:s,s:s}", "op", "hold", "hold", name), NULL, err);
}

int keeper_held(struct keeper *k, struct keeper_held **ret, size_t *ret_n, struct hearth_err *err)
{
	json_t *list = NULL, *o;
	struct keeper_held *held;
	size_t i;
	int r = call(k, json_pack("{s:s}", "op", "held"), NULL, NULL, NULL, &list, NULL, err);

	if (r < 0)
		return r;
	held = calloc(json_array_size(list) + 1, sizeof(*held));
	if (!held) {
		json_decref(list);
		return err_set(err, -ENOMEM, "out of memory");
	}
	json_array_foreach(list, i, o) {
		snprintf(held[i].name, sizeof(held[i].name), "%s", json_string_value(json_object_get(o, "name")) ?: "");
		held[i].bytes = number(o, "bytes");
		held[i].age_ns = number(o, "age_ns");
	}
	*ret = held;
	*ret_n = json_array_size(list);
	json_decref(list);
	return 0;
}

int keeper_release_held(struct keeper *k, const char *name, struct hearth_err *err)
{
	return step(k, json_pack("{s:s,s:s}", "op", "release_held", "hold", name), NULL, err);
}

static json_t *from_where(json_t *o, const struct keeper_store *store, const char *image, const char *hold)
{
	o = with_store(o, store);
	json_object_del(o, "base");
	json_object_del(o, "zstd");
	if (image)
		json_object_set_new(o, "image", json_string(image));
	if (hold)
		json_object_set_new(o, "hold", json_string(hold));
	return o;
}

int keeper_stage(struct keeper *k, const struct keeper_store *store, const char *image, const char *hold, struct hearth_err *err)
{
	return ask(k, from_where(json_pack("{s:s}", "op", "stage"), store, image, hold), err);
}

int keeper_staged(struct keeper *k, struct keeper_report *ret, struct hearth_err *err)
{
	return answer(k, NULL, NULL, ret, NULL, NULL, err);
}

int keeper_load(struct keeper *k, const struct keeper_store *store, const char *image, const char *hold, const struct keeper_pid_map *map, size_t n, struct keeper_report *ret,
		struct hearth_err *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("[i,i]", (int)map[i].was, (int)map[i].is));
	return step(k, from_where(json_pack("{s:s,s:o}", "op", "load", "pids", list), store, image, hold), ret, err);
}

int keeper_abort(struct keeper *k, struct keeper_report *ret, struct hearth_err *err)
{
	return step(k, json_pack("{s:s}", "op", "abort"), ret, err);
}

int keeper_end(struct keeper *k, struct hearth_err *err)
{
	return step(k, json_pack("{s:s}", "op", "end"), NULL, err);
}
