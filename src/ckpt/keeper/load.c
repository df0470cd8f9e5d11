/* SPDX-License-Identifier: Apache-2.0 */
/* The way back: from an image, or from what is held, to the records of processes that are not there yet; and then to the processes. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "op.h"

static size_t find_was(const struct op *op, pid_t pid)
{
	size_t i = 0;

	while (i < op->n && op->was[i] != pid)
		i++;
	return i;
}

void op_add_record(struct op *op, struct process *p)
{
	p->state = PROCESS_DETACHED;
	p->op = op;
	op->was[op->n] = p->pid;
	op->processes[op->n++] = p;
}

/* ---- from an image ---- */

/* a process with the shim: the gate file of @program wakes it */
static int process_from_json(struct op *op, const json_t *o, struct hearth_err *err)
{
	const char *program = json_string_value(json_object_get(o, "program"));
	pid_t pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
	struct process *p;

	if (!program || strlen(program) >= sizeof(p->name) || !name_ok(program) || pid < 1 || find_was(op, pid) < op->n || op->n == KEEPER_PIDS_MAX)
		return err_set(err, -EBADMSG, "the image's table of device memory makes no sense");
	p = process_new(pid, program);
	if (!p)
		return err_set(err, -ENOMEM, "out of memory");
	op_add_record(op, p);
	return 0;
}

static int buffer_from_json(struct op *op, const json_t *o, struct hearth_err *err)
{
	const char *name = json_string_value(json_object_get(o, "object")), *uuid = json_string_value(json_object_get(o, "device"));
	struct buffer b = { .id = (uint64_t)json_integer_value(json_object_get(o, "id")), .va = (uint64_t)json_integer_value(json_object_get(o, "va")),
			    .bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes")), .flags = (unsigned)json_integer_value(json_object_get(o, "flags")) }, *added;
	pid_t pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
	uint8_t bytes[16];
	size_t i;
	int r;

	b.image_object = name ? store_image_object(op->image, name) : -ENOENT;
	if (b.image_object < 0 || b.bytes == 0 || b.bytes % CHUNK || store_image_object_bytes(op->image, b.image_object) != b.bytes || !uuid || strlen(uuid) != 32)
		return err_set(err, -EBADMSG, "the image's table of device memory makes no sense");
	for (int k = 0; k < 16; k++)
		if (sscanf(uuid + 2 * k, "%2hhx", &bytes[k]) != 1)
			return err_set(err, -EBADMSG, "the image's table of device memory makes no sense");
	b.device = device_of(op->k, bytes);
	if (!b.device)
		return err_set(err, -EOPNOTSUPP, "the image needs the device %s (%.60s), which is not here", uuid, json_string_value(json_object_get(o, "device_name")) ?: "?");
	i = find_was(op, pid);
	if (i == op->n)
		return err_set(err, -EBADMSG, "the image's table of device memory makes no sense: buffer %llu is of no process", (unsigned long long)b.id);
	r = buffer_add(op->processes[i], &b, &added);
	return r < 0 ? err_set(err, r, "the image's table of device memory makes no sense (buffer %llu)", (unsigned long long)b.id) : 0;
}

static int load_image(struct op *op, const struct request *r, struct hearth_err *err)
{
	json_t *table = NULL, *o;
	char *text = NULL;
	size_t k, bytes = 0;
	int object, failed = pool_open(&op->k->pool, r->store, &op->store, err);

	if (failed == 0)
		failed = store_image_open(op->store, r->image, &op->image, err);
	if (failed < 0)
		return failed;
	op->seed = store_seed(op->store);
	op->zero = zero_chunk(op->seed);
	object = store_image_object(op->image, GPU_TABLE_NAME);
	if (object >= 0)
		bytes = store_image_object_bytes(op->image, object);
	text = object >= 0 && bytes < 64u << 20 ? malloc(bytes + 1) : NULL;
	if (!text)
		return err_set(err, object < 0 ? -ENOENT : -ENOMEM, "image %s holds no device memory that can be read", r->image);
	failed = store_read(op->image, object, 0, text, bytes, err);
	if (failed == 0)
		table = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (failed == 0 && json_integer_value(json_object_get(table, "version")) != GPU_TABLE_VERSION)
		failed = err_set(err, table ? -EPROTO : -EBADMSG, "image %s: its device memory is described in a way that this version does not know", r->image);
	if (failed == 0)
		json_array_foreach(json_object_get(table, "processes"), k, o)
			if (failed == 0)
				failed = process_from_json(op, o, err);
	if (failed == 0)
		json_array_foreach(json_object_get(table, "buffers"), k, o)
			if (failed == 0)
				failed = buffer_from_json(op, o, err);
	json_decref(table);
	return failed;
}

int op_stage(struct engine *e, const struct request *r, struct keeper_report *report, struct hearth_err *err)
{
	struct op *op = calloc(1, sizeof(*op));
	bool held = false;
	int failed = 0;

	if (!op)
		return err_set(err, -ENOMEM, "out of memory");
	op->k = e->k;
	op->engine = e;
	op->loaded = true;
	op->phase = OP_STAGED;
	pool_work(&e->k->pool);
	if (r->hold[0]) {
		pthread_mutex_lock(&e->k->lock);
		held = hold_into(op, r->hold);
		pthread_mutex_unlock(&e->k->lock);
	}
	if (!held && r->hold[0])
		report_note(report, "%s is not held any more: device memory comes from the image", r->hold);
	if (!held)
		failed = r->image[0] ? load_image(op, r, err) : err_set(err, -ENOENT, r->hold[0] ? "nothing is held as %s" : "neither an image nor anything held was named%s", r->hold);
	for (size_t i = 0; i < op->n; i++) {
		report->buffers += op->processes[i]->n;
		report->bytes += process_bytes(op->processes[i]);
	}
	if (failed < 0) {
		op_free(op);
		return failed;
	}
	e->op = op;
	if (r->op == REQUEST_STAGE && !held)
		stage_start(op);
	return 0;
}

/* ---- to the processes ---- */

/* Lock held */
static int claim_one(struct op *op, pid_t was, pid_t is, struct hearth_err *err)
{
	struct keeper_server *k = op->k;
	size_t i = find_was(op, was);
	struct process *p = i < op->n ? op->processes[i] : NULL;

	if (process_find(k, is))
		return err_set(err, -EBUSY, "process %d is known already; was it restored twice?", (int)is);
	op->pids[op->pids_n] = is;
	op->checkpointed[op->pids_n++] = true;
	if (!p)
		return kill(is, 0) < 0 && errno == ESRCH ? err_set(err, -ESRCH, "process %d does not exist", (int)is) : 0; /* the driver alone brings it back */
	p->pid = is;
	p->pidfd = pidfd_of(is);
	p->next = k->processes;
	k->processes = p;
	k->processes_n++;
	return p->pidfd < 0 || keeper_watch(k, p->pidfd, WATCH_PIDFD) < 0 ? err_set(err, -ESRCH, "process %d does not exist", (int)is) : 0;
}

int op_load(struct engine *e, const struct request *r, struct keeper_report *report, struct hearth_err *err)
{
	int failed = e->op ? 0 : op_stage(e, r, report, err);
	struct op *op = e->op;

	if (failed < 0)
		return failed;
	pthread_mutex_lock(&e->k->lock);
	for (size_t i = 0; i < r->n && failed == 0; i++)
		failed = claim_one(op, r->was[i], r->pids[i], err);
	for (size_t i = 0; i < op->n && failed == 0; i++)
		if (op->processes[i]->pidfd < 0)
			failed = err_set(err, -ESRCH, "process %d of the image has device memory, but nobody said what it is called now", (int)op->was[i]);
	pthread_mutex_unlock(&e->k->lock);
	if (failed == 0) {
		op->phase = OP_CHECKPOINTED;
		return 0;
	}
	op_undo(op, NULL);
	pthread_mutex_lock(&e->k->lock);
	e->op = NULL;
	pthread_mutex_unlock(&e->k->lock);
	return failed;
}
