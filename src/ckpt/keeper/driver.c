/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's own checkpoint of what it has besides our buffers. All processes are locked before the first is checkpointed: they may wait for each other. */
#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "op.h"

#define LOCK_MS 10000
/* that the driver may need of a device for a context and what is in it: this much, or that part of a small one */
#define RESTORE_ROOM (1ull << 30)
#define RESTORE_SHARE 32

static bool uses_cuda(const struct cuda *cu, pid_t pid)
{
	int state;

	return cu->ckpt_state && cu->ckpt_state(pid, &state) == CU_OK;
}

static int driver_err(const struct cuda *cu, cu_result r, pid_t pid, const char *what, struct hearth_err *err)
{
	int code = kill(pid, 0) < 0 && errno == ESRCH ? -ESRCH : r == CU_NOT_READY ? -ETIMEDOUT : -EIO;

	return err_set(err, code, "the driver could not %s process %d: %s (%d)", what, (int)pid, cuda_name(cu, r), r);
}

static void unlock_all(struct op *op)
{
	uint64_t args[8] = { 0 };

	for (size_t i = 0; i < op->pids_n; i++)
		if (op->locked[i] && !op->checkpointed[i]) {
			(void)op->k->cu.ckpt_unlock(op->pids[i], args);
			op->locked[i] = false;
		}
}

static bool has_buffers(const struct op *op, pid_t pid)
{
	for (size_t i = 0; i < op->n; i++)
		if (op->processes[i]->pid == pid)
			return op->processes[i]->n > 0;
	return false;
}

static int restore_one(struct op *op, size_t i, struct hearth_err *err)
{
	const struct cuda *cu = &op->k->cu;
	struct cu_restore_args restore = { 0 };
	uint64_t unlock[8] = { 0 };
	cu_result r;
	int state = CU_FAILED;

	/* a process of an image that had no CUDA */
	if (cu->ckpt_state(op->pids[i], &state) != CU_OK) {
		op->checkpointed[i] = op->locked[i] = false;
		return op->loaded && !has_buffers(op, op->pids[i]) ? 0 : driver_err(cu, CU_INVALID_VALUE, op->pids[i], "find", err);
	}
	if (state == CU_CHECKPOINTED) {
		r = cu->ckpt_restore(op->pids[i], &restore);
		if (r != CU_OK)
			return driver_err(cu, r, op->pids[i], "restore", err);
		state = CU_LOCKED;
	}
	if (state == CU_LOCKED) {
		r = cu->ckpt_unlock(op->pids[i], unlock);
		if (r != CU_OK)
			return driver_err(cu, r, op->pids[i], "unlock", err);
	}
	op->checkpointed[i] = op->locked[i] = false;
	return state == CU_FAILED ? driver_err(cu, CU_INVALID_VALUE, op->pids[i], "bring back", err) : 0;
}

/* Return: the first error; every process was tried */
static int restore_all(struct op *op, struct hearth_err *err)
{
	struct hearth_err one;
	int r = 0, this;

	for (size_t i = 0; i < op->pids_n; i++) {
		if (!op->checkpointed[i])
			continue;
		this = restore_one(op, i, &one);
		if (this < 0 && r == 0)
			r = err_set(err, this, "%s", one.msg);
	}
	return r;
}

int op_driver_checkpoint(struct op *op, uint64_t timeout_ns, struct hearth_err *err)
{
	const struct cuda *cu = &op->k->cu;
	struct cu_lock_args lock = { .timeout_ms = timeout_ns ? (unsigned)(timeout_ns / NS_PER_MS) : LOCK_MS };
	uint64_t began = clock_mono_ns();
	int failed = 0;
	cu_result r;

	if (op->phase != OP_DETACHED)
		return err_set(err, -EPROTO, "the driver's checkpoint comes after detach");
	if (!cuda_can_checkpoint(cu))
		return err_set(err, -EOPNOTSUPP, "this driver (%d) cannot checkpoint processes; install release 570 or newer", cu->version);
	for (size_t i = 0; i < op->pids_n && failed == 0; i++) {
		if (!uses_cuda(cu, op->pids[i]))
			continue;
		r = cu->ckpt_lock(op->pids[i], &lock);
		op->locked[i] = r == CU_OK;
		if (r != CU_OK)
			failed = driver_err(cu, r, op->pids[i], "lock", err);
	}
	op->report.lock_ns = clock_mono_ns() - began;
	for (size_t i = 0; i < op->pids_n && failed == 0; i++) {
		struct cu_checkpoint_args args = { 0 };

		if (!op->locked[i])
			continue;
		r = cu->ckpt_checkpoint(op->pids[i], &args);
		op->checkpointed[i] = r == CU_OK;
		if (r != CU_OK)
			failed = driver_err(cu, r, op->pids[i], "checkpoint", err);
	}
	op->report.driver_ns = clock_mono_ns() - began - op->report.lock_ns;
	if (failed < 0) {
		(void)restore_all(op, NULL);
		unlock_all(op);
		return failed;
	}
	op->phase = OP_CHECKPOINTED;
	return 0;
}

/* memory of parked programs must not be in the way: what the driver does not find room for is lost */
static void make_room(struct op *op)
{
	struct keeper_server *k = op->k;

	pthread_mutex_lock(&k->lock);
	/* a device that nobody has used has no holds either, and is not to be opened for this */
	for (int d = 0; d < k->devices_n && k->holds; d++) {
		uint64_t room, total, want;

		if (!k->devices[d].context || device_use(&k->devices[d], NULL) < 0)
			continue;
		room = device_room(&k->devices[d], &total);
		want = total / RESTORE_SHARE < RESTORE_ROOM ? total / RESTORE_SHARE : RESTORE_ROOM;
		if (room < want)
			holds_make_room(k, &k->devices[d], want);
	}
	pthread_mutex_unlock(&k->lock);
}

int op_driver_restore(struct op *op, struct hearth_err *err)
{
	uint64_t began = clock_mono_ns();
	int r;

	if (op->phase != OP_CHECKPOINTED)
		return err_set(err, -EPROTO, "nothing was checkpointed by the driver");
	make_room(op);
	r = restore_all(op, err);
	op->report.driver_ns = clock_mono_ns() - began;
	if (r == 0)
		op->phase = OP_RESTORED;
	return r;
}
