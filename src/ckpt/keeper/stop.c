/* SPDX-License-Identifier: Apache-2.0 */
/* The stop: gates closed, everything digested where it lies, what changed copied within device memory (or, as far as it does not fit, to the store). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "op.h"
#include "lane.h"

#define GATE_NS (10 * NS_PER_S)
#define QUIET_MS 1000           /* a step of training, and then some */
#define ROOM_SHARE 32           /* of a device's memory this part is left to the processes */

void areas_drop(struct op *op)
{
	for (size_t k = 0; k < op->areas_n; k++) {
		mapping_drop(&op->areas[k].snapshot);
		mapping_drop(&op->areas[k].digests);
		free(op->areas[k].dirty);
	}
	memset(op->areas, 0, sizeof(op->areas));
	op->areas_n = 0;
}

static struct area *area_of(struct op *op, struct device *d)
{
	size_t k = 0;

	while (k < op->areas_n && op->areas[k].device != d)
		k++;
	if (k == op->areas_n)
		op->areas[op->areas_n++].device = d;
	return &op->areas[k];
}

/* before the gates close: tables, and with @snapshot room for as much of @bytes as the device can spare */
static int reserve(struct op *op, struct area *a, uint64_t bytes, uint64_t ranges, bool snapshot, struct hearth_err *err)
{
	uint64_t total, room, want = (bytes / CHUNK) * (sizeof(struct digest) + 8) + (ranges + 64) * sizeof(struct kernel_range) + CHUNK;
	int r = device_use(a->device, err);

	if (r < 0)
		return r;
	if (!a->device->hash || mapping_new(a->device, want, &a->digests, NULL) < 0) {
		report_note(&op->report, "%s", a->device->hash ? "no device memory for digests: all of it counts as changed" : a->device->why);
		return 0;
	}
	if (!snapshot)
		return 0;
	room = device_room(a->device, &total);
	room = room > total / ROOM_SHARE ? room - total / ROOM_SHARE : 0;
	room = (room < bytes ? room : bytes) / (2u << 20) * (2u << 20);
	while (room > 0 && mapping_new(a->device, room, &a->snapshot, NULL) < 0)
		room = room / 2 / (2u << 20) * (2u << 20);
	a->room = room / CHUNK;
	if (room < bytes)
		report_note(&op->report, "device memory is short: room for a snapshot of %llu of %llu MiB", (unsigned long long)(room >> 20), (unsigned long long)(bytes >> 20));
	return 0;
}

static int reserve_all(struct op *op, bool snapshot, struct hearth_err *err)
{
	uint64_t began = clock_mono_ns(), bytes[DEVICES_MAX] = { 0 }, ranges[DEVICES_MAX] = { 0 };
	int r = objects_update(op, err);

	for (struct object *o = op->objects; o && r == 0; o = o->next)
		if (!o->gone) {
			size_t at = (size_t)(area_of(op, o->device) - op->areas);

			bytes[at] += o->bytes;
			ranges[at]++;
		}
	for (size_t k = 0; k < op->areas_n && r == 0; k++) {
		lanes_unstage(op->areas[k].device);
		r = reserve(op, &op->areas[k], bytes[k], ranges[k], snapshot, err);
	}
	op->report.reserve_ns = clock_mono_ns() - began;
	return r;
}

/* ---- gates ---- */

/* ask all, then wait for all. @ret: the answers' largest arg0 and arg1, or NULL. Return: the first error; all were waited for. */
static int ask_all(struct op *op, enum shim_op what, enum process_state of, uint64_t arg0, uint64_t arg1, uint64_t timeout_ns, bool unless_gone, struct shim_msg *ret,
		   struct hearth_err *err)
{
	struct keeper_server *k = op->k;
	uint64_t deadline = clock_mono_ns() + timeout_ns;
	struct ask *asks[KEEPER_PIDS_MAX] = { 0 };
	struct hearth_err one = { 0 };
	struct shim_msg answer;
	int r = 0, this;

	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < op->n; i++) {
		if (op->processes[i]->state != of)
			continue;
		this = shim_ask(k, op->processes[i], what, 0, arg0, arg1, &asks[i], &one);
		if (this < 0 && r == 0)
			r = err_set(err, this, "%s", one.msg);
	}
	for (size_t i = 0; i < op->n; i++) {
		if (!asks[i])
			continue;
		this = shim_wait(k, unless_gone ? op->engine : NULL, op->processes[i], asks[i], deadline, &answer, NULL, &one);
		if (this < 0 && r == 0)
			r = err_set(err, this, "%s", one.msg);
		if (this == 0 && ret) {
			ret->arg0 = answer.arg0 > ret->arg0 ? answer.arg0 : ret->arg0;
			ret->arg1 = answer.arg1 > ret->arg1 ? answer.arg1 : ret->arg1;
		}
	}
	pthread_mutex_unlock(&k->lock);
	return r;
}

/*
 * One process is asked to wait for a moment in which its device has little to do. Several would have to find one together: the first that stands still may be what the others wait for (a collective
 * operation), and would stand still for nothing.
 */
static int gates_close(struct op *op, uint64_t timeout_ns, struct hearth_err *err)
{
	uint64_t patience_ms = op->n == 1 ? QUIET_MS : 0, began = clock_mono_ns();
	struct shim_msg took = { 0 };
	int r = ask_all(op, SHIM_GATE_CLOSE, PROCESS_RUNNING, timeout_ns / NS_PER_MS, patience_ms, timeout_ns + patience_ms * NS_PER_MS + NS_PER_S, true, &took, err);

	op->report.wait_ns = took.arg1;
	op->report.gate_ns = clock_mono_ns() - began - took.arg1;
	return r;
}

int gates_open(struct op *op, struct hearth_err *err)
{
	int r = ask_all(op, SHIM_GATE_OPEN, PROCESS_CLOSED, 0, 0, GATE_NS, false, NULL, err);
	int back = ask_all(op, SHIM_GATE_OPEN, PROCESS_BACK, 0, 0, GATE_NS, false, NULL, r < 0 ? NULL : err);

	return r < 0 ? r : back;
}

int op_detach(struct op *op, struct hearth_err *err)
{
	int r;

	if (op->phase != OP_STOPPED)
		return err_set(err, -EPROTO, "detach comes after the stop");
	r = ask_all(op, SHIM_DETACH, PROCESS_CLOSED, 0, 0, 3 * GATE_NS, true, NULL, err);
	if (r == 0)
		op->phase = OP_DETACHED;
	return r;
}

/* ---- what changed ---- */

static int note_dirty(struct op *op, struct area *a, struct object *o, uint64_t chunk, struct digest d)
{
	if (array_grow((void **)&a->dirty, &a->cap, a->n + 1, sizeof(*a->dirty)) < 0)
		return -ENOMEM;
	a->dirty[a->n++] = (struct dirty){ o, chunk, d, 0 };
	op->report.dirty_bytes += CHUNK;
	return 0;
}

static int all_dirty(struct op *op, struct area *a, struct hearth_err *err)
{
	static const struct digest none;

	for (struct object *o = op->objects; o; o = o->next)
		for (uint64_t c = 0; o->device == a->device && o->pinned && c < o->chunks; c++)
			if (note_dirty(op, a, o, c, none) < 0)
				return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* the table of an area's buffers. @ret: caller frees. Return: chunks; 0 with *ret NULL: no memory. */
static uint64_t table_of(struct op *op, struct area *a, struct kernel_range **ret, unsigned *ret_n)
{
	uint64_t chunks = 0;
	unsigned n = 0;

	for (struct object *o = op->objects; o; o = o->next)
		n += o->device == a->device && o->pinned;
	*ret = calloc(n + 1, sizeof(**ret));
	*ret_n = 0;
	for (struct object *o = op->objects; o && *ret; o = o->next)
		if (o->device == a->device && o->pinned) {
			(*ret)[(*ret_n)++] = (struct kernel_range){ o->pinned->map.at, chunks };
			chunks += o->chunks;
		}
	return chunks;
}

/* the processes stand still, so buffers stay as they are (or are killed) */
static int digest_area(struct op *op, struct area *a, struct hearth_err *err)
{
	const struct cuda *cu = a->device->cu;
	struct kernel_range *table;
	struct digest *digests = NULL;
	struct lane *l = NULL;
	unsigned n;
	uint64_t chunks = table_of(op, a, &table, &n), need = chunks * sizeof(*digests) + n * sizeof(*table), i = 0;
	int r = 0;

	if (!table || chunks == 0)
		goto out;
	if (!a->digests.at || need > a->digests.bytes) {
		r = all_dirty(op, a, err);
		goto out;
	}
	digests = malloc(chunks * sizeof(*digests));
	if (!digests) {
		r = err_set(err, -ENOMEM, "out of memory for digests");
		goto out;
	}
	r = lane_get(a->device, &l, err);
	if (r == 0)
		r = cuda_err(cu, cu->copy_htod(a->digests.at + chunks * sizeof(*digests), table, n * sizeof(*table), l->stream), err, "cuMemcpyHtoDAsync");
	if (r == 0)
		r = device_hash(a->device, l->stream, a->digests.at + chunks * sizeof(*digests), n, chunks, op->seed, a->digests.at, err);
	if (r == 0)
		r = cuda_err(cu, cu->copy_dtoh(digests, a->digests.at, chunks * sizeof(*digests), l->stream), err, "cuMemcpyDtoHAsync");
	if (r == 0)
		r = lane_sync(l, err);
	atomic_fetch_add(&op->k->hashed_bytes, chunks * CHUNK);
	a->hashed = r == 0;
	for (struct object *o = op->objects; o && r == 0; o = o->next)
		for (uint64_t c = 0; o->device == a->device && o->pinned && c < o->chunks && r == 0; c++, i++)
			if (!object_has(o, c) || !digest_equal(o->now[c], digests[i]))
				r = note_dirty(op, a, o, c, digests[i]) < 0 ? err_set(err, -ENOMEM, "out of memory") : 0;
out:
	if (l)
		lane_put(l);
	free(digests);
	free(table);
	return r;
}

/* as many of the dirty chunks as there is room for; they are the first of the list */
static int snapshot(struct op *op, struct area *a, struct hearth_err *err)
{
	const struct cuda *cu = a->device->cu;
	uint64_t n = a->n < a->room ? a->n : a->room, *from;
	struct lane *l = NULL;
	int r;

	if (n == 0 || !a->device->gather)
		return 0;
	if (n * 8 > a->digests.bytes)
		n = a->digests.bytes / 8;
	from = malloc(n * sizeof(*from));
	if (!from)
		return err_set(err, -ENOMEM, "out of memory");
	r = lane_get(a->device, &l, err);
	for (uint64_t k = 0; k < n && r == 0; k++) {
		from[k] = a->dirty[k].object->pinned->map.at + a->dirty[k].chunk * CHUNK;
		a->dirty[k].at = a->snapshot.at + k * CHUNK;
	}
	if (r == 0)
		r = cuda_err(cu, cu->copy_htod(a->digests.at, from, n * sizeof(*from), l->stream), err, "cuMemcpyHtoDAsync");
	if (r == 0)
		r = device_gather(a->device, l->stream, a->digests.at, n, a->snapshot.at, err);
	if (r == 0)
		r = lane_sync(l, err);
	if (r == 0)
		op->report.snapshot_bytes += n * CHUNK;
	if (l)
		lane_put(l);
	free(from);
	return r;
}

/* what the snapshot has no room for */
static int copy_rest(struct op *op, struct area *a, struct hearth_err *err)
{
	struct area rest = { .device = a->device, .hashed = a->hashed };
	size_t kept = 0;
	int r;

	while (kept < a->n && a->dirty[kept].at)
		kept++;
	if (kept == a->n)
		return 0;
	if (!op->draft)
		return err_set(err, -ENOSPC, "device memory is too short for a snapshot, and there is no store to copy to yet: copy beforehand (keeper_precopy)");
	rest.dirty = a->dirty + kept;
	rest.n = a->n - kept;
	r = drain_area(op, &rest, true, err);
	if (r == 0)
		a->n = kept;
	return r;
}

static void pin(struct op *op)
{
	pthread_mutex_lock(&op->k->lock);
	for (struct object *o = op->objects; o; o = o->next) {
		o->pinned = o->buffer;
		if (!o->pinned)
			continue;
		buffer_ref(o->pinned);
		op->report.buffers++;
		op->report.bytes += o->bytes;
		(void)area_of(op, o->device);
	}
	pthread_mutex_unlock(&op->k->lock);
}

static void unpin(struct op *op)
{
	pthread_mutex_lock(&op->k->lock);
	for (struct object *o = op->objects; o; o = o->next) {
		if (o->pinned)
			buffer_unref(o->pinned);
		o->pinned = NULL;
	}
	pthread_mutex_unlock(&op->k->lock);
}

static int make_safe(struct op *op, bool runs_on, struct hearth_err *err)
{
	uint64_t began = clock_mono_ns(), t;
	int r = objects_update(op, err);

	pin(op);
	for (size_t k = 0; k < op->areas_n && r == 0; k++)
		r = digest_area(op, &op->areas[k], err);
	t = clock_mono_ns();
	op->report.hash_ns = t - began;
	for (size_t k = 0; k < op->areas_n && r == 0 && runs_on; k++)
		r = snapshot(op, &op->areas[k], err);
	op->report.snapshot_ns = clock_mono_ns() - t;
	for (size_t k = 0; k < op->areas_n && r == 0 && runs_on; k++)
		r = copy_rest(op, &op->areas[k], err);
	unpin(op);
	return r;
}

int op_stop(struct op *op, const struct request *r, struct hearth_err *err)
{
	uint64_t timeout = r->timeout_ns ? r->timeout_ns : GATE_NS;
	int failed;

	if (op->phase != OP_BEGUN || op->loaded || op->sealed)
		return err_set(err, -EPROTO, "the processes were stopped already");
	areas_drop(op);
	op->runs_on = r->runs_on;
	failed = reserve_all(op, r->runs_on, err);
	if (failed < 0)
		goto err;
	failed = gates_close(op, timeout, err);
	if (failed == 0)
		failed = op_refused(op, err);
	if (failed == 0)
		failed = make_safe(op, r->runs_on, err);
	if (failed < 0)
		goto err;
	for (struct object *o = op->objects; o; o = o->next)
		o->stopped = true;
	op->phase = OP_STOPPED;
	return 0;
err:
	gates_open(op, NULL);
	areas_drop(op);
	return failed;
}
