/* SPDX-License-Identifier: Apache-2.0 */
/* Operations: who is in one, how it ends, how it is undone. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "op.h"
#include "lane.h"

static const char *const refusal_words[] = { "managed memory", "CUDA IPC", "MIG", "MPS", "fabric handles", "something that cannot be checkpointed" };

/* Lock held. Return: enum shim_refusal bits; @text: why, when there are any */
static unsigned refusals_of(struct keeper_server *k, const struct process *p, char *text, size_t room)
{
	unsigned bits = p->refusals;

	text[0] = '\0';
	for (unsigned b = 0; b < 6 && !text[0]; b++)
		if (bits & 1u << b)
			snprintf(text, room, "process %d (%s) uses %s (%s)", (int)p->pid, p->name, refusal_words[b], p->refused);
	for (size_t i = 0; i < p->n; i++)
		if (p->buffers[i]->device->mig) {
			if (!bits)
				snprintf(text, room, "process %d (%s) is on a MIG slice", (int)p->pid, p->name);
			bits |= SHIM_MIG;
		}
	if (!cuda_can_checkpoint(&k->cu)) {
		if (!bits)
			snprintf(text, room, "this driver (CUDA %d.%d) cannot checkpoint processes; install release 570 or newer", k->cu.version / 1000, k->cu.version % 1000 / 10);
		bits |= SHIM_OTHER;
	}
	return bits;
}

int op_refused(struct op *op, struct hearth_err *err)
{
	char text[400];
	int r = 0;

	pthread_mutex_lock(&op->k->lock);
	for (size_t i = 0; i < op->n && r == 0; i++)
		if (refusals_of(op->k, op->processes[i], text, sizeof(text)))
			r = err_set(err, -EOPNOTSUPP, "%s", text);
	pthread_mutex_unlock(&op->k->lock);
	return r;
}

static bool exists(pid_t pid)
{
	return kill(pid, 0) == 0 || errno == EPERM;
}

static int inspect_one(struct engine *e, pid_t pid, json_t *answer, unsigned *refusals, char *why, size_t room, struct hearth_err *err)
{
	struct keeper_server *k = e->k;
	struct process *p = process_find(k, pid);
	char text[400] = "";
	unsigned bits = 0;
	int state;
	bool cuda = k->cu.ckpt_state && k->cu.ckpt_state(pid, &state) == CU_OK;

	if (!exists(pid))
		return err_set(err, -ESRCH, "process %d does not exist", (int)pid);
	if (e->uid != 0 && e->uid != geteuid() && (!p || p->uid != e->uid))
		return err_set(err, -EPERM, "process %d is not yours", (int)pid);
	if (p)
		bits = refusals_of(k, p, text, sizeof(text));
	if (bits && !why[0])
		snprintf(why, room, "%s", text);
	*refusals |= bits;
	json_array_append_new(answer, json_pack("{s:i,s:b,s:b,s:i,s:I,s:I}", "pid", (int)pid, "cuda", cuda || p, "shim", p != NULL, "refusals", (int)bits, "buffers",
						(json_int_t)(p ? p->n : 0), "bytes", (json_int_t)(p ? process_bytes(p) : 0)));
	return 0;
}

int op_inspect(struct engine *e, const struct request *r, json_t **ret, struct hearth_err *err)
{
	json_t *list = json_array();
	struct keeper_report notes = { 0 };
	char why[400] = "";
	unsigned refusals = 0, devices = 0;
	uint64_t used = 0;
	int failed = 0;

	pthread_mutex_lock(&e->k->lock);
	for (size_t i = 0; i < r->n && failed == 0; i++) {
		struct process *p = process_find(e->k, r->pids[i]);

		failed = inspect_one(e, r->pids[i], list, &refusals, why, sizeof(why), err);
		for (size_t b = 0; p && b < p->n; b++)
			used |= 1ull << (p->buffers[b]->device - e->k->devices);
		if (failed == 0 && !p && json_is_true(json_object_get(json_array_get(list, i), "cuda")))
			report_note(&notes, "process %d uses CUDA without the shim: the driver alone checkpoints its device memory", (int)r->pids[i]);
	}
	pthread_mutex_unlock(&e->k->lock);
	for (int d = 0; d < e->k->devices_n; d++) {
		devices += used >> d & 1;
		if (used >> d & 1 && e->k->devices[d].why[0])
			report_note(&notes, "%s", e->k->devices[d].why);
	}
	if (failed < 0) {
		json_decref(list);
		return failed;
	}
	*ret = json_pack("{s:o,s:i,s:i,s:s,s:s}", "processes", list, "refusals", (int)refusals, "devices", (int)devices, "why", why, "notes", notes.notes);
	return 0;
}

/* what the first copy would otherwise wait for */
static void prepare(struct op *op)
{
	uint64_t used = 0;

	pthread_mutex_lock(&op->k->lock);
	for (size_t i = 0; i < op->n; i++)
		for (size_t b = 0; b < op->processes[i]->n; b++)
			used |= 1ull << (op->processes[i]->buffers[b]->device - op->k->devices);
	pthread_mutex_unlock(&op->k->lock);
	for (int d = 0; d < op->k->devices_n; d++)
		if (used >> d & 1)
			lanes_prepare(&op->k->devices[d]);
}

int op_begin(struct engine *e, const struct request *r, struct hearth_err *err)
{
	struct keeper_server *k = e->k;
	struct op *op = calloc(1, sizeof(*op));
	int failed = 0;

	if (!op)
		return err_set(err, -ENOMEM, "out of memory");
	op->k = k;
	op->engine = e;
	pool_work(&k->pool);
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < r->n && failed == 0; i++) {
		struct process *p = process_find(k, r->pids[i]);

		if (!exists(r->pids[i]))
			failed = err_set(err, -ESRCH, "process %d does not exist", (int)r->pids[i]);
		else if (p && p->op)
			failed = err_set(err, -EBUSY, "process %d (%s) is being checkpointed or restored by process %d already", (int)p->pid, p->name, p->op->engine ? (int)p->op->engine->pid : 0);
		if (failed < 0)
			break;
		op->pids[op->pids_n++] = r->pids[i];
		if (p) {
			p->op = op;
			op->was[op->n] = p->pid;
			op->processes[op->n++] = p;
		}
	}
	pthread_mutex_unlock(&k->lock);
	if (failed == 0)
		failed = op_refused(op, err);
	if (failed < 0) {
		op_free(op);
		return failed;
	}
	prepare(op);
	e->op = op;
	return 0;
}

/* everything but processes that are there is gone afterwards */
void op_free(struct op *op)
{
	struct keeper_server *k = op->k;

	stage_end(op);
	for (int d = 0; d < k->devices_n; d++)
		lanes_unstage(&k->devices[d]);
	areas_drop(op);
	objects_free(op);
	op_store_drop(op);
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < op->n; i++) {
		struct process *p = op->processes[i];

		p->op = NULL;
		if (p->dead)
			process_free(p);
		else if (p->state != PROCESS_RUNNING)
			process_drop(k, p, "its operation is over, but it never came back");
	}
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->lock);
	pool_rest(&k->pool);
	free(op);
}

static bool all_dead(struct op *op)
{
	bool dead = true;

	for (size_t i = 0; i < op->n; i++)
		dead &= op->processes[i]->dead;
	return dead;
}

int op_end(struct op *op, struct hearth_err *err)
{
	bool back = op->phase == OP_BEGUN || op->phase == OP_ATTACHED;
	int r = 0;

	pthread_mutex_lock(&op->k->lock);
	if (!back && !op->hold[0] && !all_dead(op))
		r = err_set(err, -EPROTO, "the processes are stopped: attach them, hold their memory, or kill them first");
	else if (!back && op->hold[0])
		r = hold_take(op, err);
	pthread_mutex_unlock(&op->k->lock);
	if (r == 0)
		op_free(op);
	return r;
}

int op_undo(struct op *op, struct hearth_err *err)
{
	bool dead;
	int r = 0;

	stage_end(op);
	pthread_mutex_lock(&op->k->lock);
	dead = all_dead(op);
	/* what was taken out of a hold goes back as long as no process has had any of it */
	if (op->hold[0] && (op->loaded ? !op->touched : dead && op->phase >= OP_DETACHED && op->phase != OP_ATTACHED))
		r = hold_take(op, err);
	pthread_mutex_unlock(&op->k->lock);
	if (!dead && !op->loaded) {
		if (op->phase == OP_CHECKPOINTED)
			r = op_driver_restore(op, err);
		if (r == 0 && op->phase == OP_STOPPED) {
			/* some may be detached, if that failed half-way */
			op->phase = OP_DETACHED;
		}
		if (r == 0 && (op->phase == OP_DETACHED || op->phase == OP_RESTORED))
			r = op_attach(op, 0, err);
		if (r < 0)
			log_error("an operation could not be undone: %s", err ? err->msg : "");
	}
	op_free(op);
	return r;
}
