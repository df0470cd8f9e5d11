/* SPDX-License-Identifier: Apache-2.0 */
/* Engines: a thread for each, which carries out one request after another; when the connection ends, it undoes what was begun. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "op.h"

static void say(struct engine *e, json_t *o, int fd)
{
	char *text = json_dumps(o, JSON_COMPACT);
	int r = text ? sock_packet_send(e->fd, text, strlen(text), fd, true) : -ENOMEM;

	if (r < 0)
		log_debug("an engine does not take its answer: %s", strerror(-r));
	free(text);
	json_decref(o);
}

void engine_progress(struct engine *e, uint64_t done, uint64_t total)
{
	char text[100];
	int n = snprintf(text, sizeof(text), "{\"done\":%llu,\"total\":%llu}", (unsigned long long)done, (unsigned long long)total);

	/* one that does not read misses some */
	(void)sock_packet_send(e->fd, text, (size_t)n, -1, false);
}

static json_t *info(struct keeper_server *k)
{
	uint64_t buffers = 0, bytes = 0, held_bytes = 0;
	unsigned processes = 0, held = 0, operations = 0;
	bool export = k->devices_n > 0;

	pthread_mutex_lock(&k->lock);
	for (struct process *p = k->processes; p; p = p->next) {
		processes++;
		buffers += p->n;
		bytes += process_bytes(p);
		if (p->dead || p->state == PROCESS_DETACHED)
			held_bytes += process_bytes(p);
	}
	for (struct hold *h = k->holds; h; h = h->next) {
		held++;
		for (struct process *p = h->processes; p; p = p->next)
			held_bytes += process_bytes(p);
	}
	for (struct engine *e = k->engines; e; e = e->next)
		operations += e->op != NULL;
	pthread_mutex_unlock(&k->lock);
	for (int d = 0; d < k->devices_n; d++)
		export &= k->devices[d].vmm;
	return json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "pid", (int)getpid(), "driver_version", k->cu.version, "devices", k->devices_n, "processes", (int)processes,
			 "operations", (int)operations, "held", (int)held, "checkpoint", cuda_can_checkpoint(&k->cu) != 0, "export", export, "buffers", (json_int_t)buffers, "bytes",
			 (json_int_t)bytes, "held_bytes", (json_int_t)held_bytes, "pool_bytes", (json_int_t)k->pool.kept_bytes, "pool_ready_bytes", (json_int_t)pool_spare_bytes(&k->pool), "copied_bytes",
			 (json_int_t)atomic_load(&k->copied_bytes), "hashed_bytes", (json_int_t)atomic_load(&k->hashed_bytes));
}

static int release_held(struct keeper_server *k, const char *name, struct hearth_err *err)
{
	int r;

	pthread_mutex_lock(&k->lock);
	r = hold_release(k, name, err);
	pthread_mutex_unlock(&k->lock);
	return r;
}

static json_t *list_held(struct keeper_server *k)
{
	json_t *list;

	pthread_mutex_lock(&k->lock);
	list = holds_list(k);
	pthread_mutex_unlock(&k->lock);
	return list;
}

/* requests that need an operation */
static int carry_on(struct engine *e, const struct request *r, int *fd, struct hearth_err *err)
{
	struct op *op = e->op;
	int failed;

	if (!op)
		return err_set(err, -EPROTO, "there is no operation: begin or load comes first");
	switch (r->op) {
	case REQUEST_PRECOPY:
		return op_precopy(op, r, err);
	case REQUEST_STOP:
		return op_stop(op, r, err);
	case REQUEST_DETACH:
		return op_detach(op, err);
	case REQUEST_DRIVER_CHECKPOINT:
		return op_driver_checkpoint(op, r->timeout_ns, err);
	case REQUEST_DRIVER_RESTORE:
		return op_driver_restore(op, err);
	case REQUEST_ATTACH:
		return op_attach(op, r->timeout_ns, err);
	case REQUEST_DRAIN:
		return op_drain(op, r, fd, err);
	case REQUEST_HOLD:
		return hold_name(op, r->hold, err);
	case REQUEST_ABORT:
		op->engine = NULL;
		failed = op_undo(op, err);
		break;
	default:
		failed = op_end(op, err);
		if (failed < 0)
			return failed;
	}
	pthread_mutex_lock(&e->k->lock);
	e->op = NULL;
	pthread_mutex_unlock(&e->k->lock);
	return failed;
}

static int carry_out(struct engine *e, const struct request *r, struct keeper_report *report, json_t **more, int *fd, struct hearth_err *err)
{
	bool staged = e->op && e->op->phase == OP_STAGED, begins = r->op == REQUEST_BEGIN || r->op == REQUEST_STAGE || (r->op == REQUEST_LOAD && !staged);

	if (r->op == REQUEST_INFO) {
		*more = info(e->k);
		return 0;
	}
	if (r->op == REQUEST_HELD) {
		*more = list_held(e->k);
		return 0;
	}
	if (r->op == REQUEST_INSPECT)
		return op_inspect(e, r, more, err);
	if (e->uid != 0 && e->uid != geteuid())
		return err_set(err, -EPERM, "only root (and the user that the keeper runs as) may checkpoint through the keeper");
	if (begins && e->op)
		return err_set(err, -EPROTO, "this connection has an operation already");
	if (r->op == REQUEST_BEGIN)
		return op_begin(e, r, err);
	if (r->op == REQUEST_STAGE)
		return op_stage(e, r, report, err);
	if (r->op == REQUEST_LOAD)
		return op_load(e, r, report, err);
	if (r->op == REQUEST_RELEASE_HELD)
		return release_held(e->k, r->hold, err);
	return carry_on(e, r, fd, err);
}

static void handle(struct engine *e, const struct request *r)
{
	struct hearth_err err = { 0 };
	struct keeper_report report = { 0 };
	uint64_t began = clock_mono_ns();
	json_t *more = NULL, *answer;
	int fd = -1, failed;

	if (e->op)
		e->op->report = (struct keeper_report){ 0 };
	failed = carry_out(e, r, &report, &more, &fd, &err);
	if (e->op && r->op != REQUEST_LOAD && r->op != REQUEST_STAGE)
		report = e->op->report;
	report.total_ns = clock_mono_ns() - began;
	pthread_mutex_lock(&e->k->lock);
	e->cancel = false;
	e->busy = false;
	pthread_mutex_unlock(&e->k->lock);
	if (failed < 0)
		answer = json_pack("{s:b,s:i,s:s}", "ok", 0, "code", failed, "error", err.msg);
	else
		answer = json_pack("{s:b,s:o}", "ok", 1, "report", report_to_json(&report));
	if (more)
		json_object_set_new(answer, "result", more);
	say(e, answer, fd);
	fd_close(&fd);
}

static void *serve(void *arg)
{
	struct engine *e = arg;
	struct keeper_server *k = e->k;
	struct hearth_err err = { 0 };

	pthread_mutex_lock(&k->lock);
	while (!e->hangup) {
		struct request *r = e->request;

		if (!r) {
			pthread_cond_wait(&k->changed, &k->lock);
			continue;
		}
		e->request = NULL;
		pthread_mutex_unlock(&k->lock);
		handle(e, r);
		request_free(r);
		pthread_mutex_lock(&k->lock);
	}
	pthread_mutex_unlock(&k->lock);
	if (e->op) {
		log_info("an engine (process %d) went away in the middle; its operation is undone", (int)e->pid);
		e->op->engine = NULL;
		op_undo(e->op, &err);
	}
	pthread_mutex_lock(&k->lock);
	e->op = NULL;
	e->ended = true;
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->lock);
	(void)!write(k->wake_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
	return NULL;
}

int engine_new(struct keeper_server *k, int fd, pid_t pid, uid_t uid, struct request *first)
{
	struct engine *e = k->engines_n < ENGINES_MAX ? calloc(1, sizeof(*e)) : NULL;
	int r;

	if (!e) {
		fd_close(&fd);
		request_free(first);
		return -EUSERS;
	}
	e->k = k;
	e->fd = fd;
	e->pid = pid;
	e->uid = uid;
	e->request = first;
	e->busy = first != NULL;
	e->next = k->engines;
	k->engines = e;
	k->engines_n++;
	r = -pthread_create(&e->thread, NULL, serve, e);
	if (r == 0)
		return keeper_watch(k, fd, WATCH_ENGINE);
	k->engines = e->next;
	k->engines_n--;
	request_free(e->request);
	fd_close(&e->fd);
	free(e);
	return r;
}

void engine_readable(struct keeper_server *k, struct engine *e)
{
	char *data = malloc(REQUEST_BYTES_MAX);
	struct hearth_err err;
	struct request *r = NULL;
	int fd = -1;
	ssize_t got = data ? sock_packet_recv(e->fd, data, REQUEST_BYTES_MAX, &fd, false) : -ENOMEM;

	fd_close(&fd);
	if (got == -EAGAIN)
		goto out;
	if (got > 0 && request_parse(data, (size_t)got, &r, &err) == 0) {
		if (r->op == REQUEST_CANCEL) {
			e->cancel = e->busy;
			request_free(r);
		} else if (!e->busy) {
			e->busy = true;
			e->request = r;
		} else {
			request_free(r);
			e->hangup = true;
		}
	} else {
		e->hangup = true;
	}
	if (e->hangup)
		keeper_unwatch(k, e->fd);
	pthread_cond_broadcast(&k->changed);
out:
	free(data);
}

void engines_reap(struct keeper_server *k)
{
	struct engine **at = &k->engines;

	while (*at) {
		struct engine *e = *at;

		if (!e->ended) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		k->engines_n--;
		pthread_join(e->thread, NULL);
		request_free(e->request);
		fd_close(&e->fd);
		free(e);
	}
}
