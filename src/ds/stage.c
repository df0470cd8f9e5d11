/* SPDX-License-Identifier: Apache-2.0 */
/* Synchronous operations that take more than one system call: a pump of the context works for this thread, with its own context current for as long. */
#include <errno.h>

#include "host.h"
#include "stage.h"

#define SHORT_BYTES (64u << 10)         /* one read, one copy: nothing to overlap */

static void ended(void *ctx, struct op *op)
{
	*(bool *)ctx = true;
}

static ssize_t one_read(struct pump *p, struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes)
{
	const struct cuda *cu = m->device->cuda->cu;
	struct slot *slot;
	struct lane *l;
	uint8_t *room, *from;
	ssize_t got;
	cu_result r;
	int failed = lane_get(p, m->device, &l, p->err);

	if (failed == 0)
		failed = lane_room(l, bytes + 2 * BLOCK_BYTES, true, &slot, &room);
	if (failed < 0)
		return failed;
	got = host_read_around(f, room, bytes, at, &from);
	if (got > 0) {
		r = cu->copy_htod(m->at + memory_offset, from, (size_t)got, l->stream);
		if (r == CU_OK)
			r = cu->stream_sync(l->stream);
		got = r == CU_OK ? got : cuda_err(m->device->cuda->cu, r, p->err, "cuMemcpyHtoDAsync");
	}
	lane_room_put(l, slot);
	return got;
}

static ssize_t by_pump(struct pump *p, struct op *op)
{
	bool over = false;

	op->ended = ended;
	op->ctx = &over;
	pump_begin(p, op);
	while (!over)
		pump_step(p, true);
	return op->result;
}

ssize_t stage_transfer(struct op *op, struct hearth_err *err)
{
	struct hearth_ds *ds = op->file->ds;
	struct hearth_ds_device *d = op->memory->device;
	struct pump *p;
	ssize_t r = pump_get(ds, &p, err);

	if (r < 0)
		return r;
	r = d->cuda ? cuda_enter(d->cuda, err) : 0;
	if (r == 0) {
		p->current = d->cuda ? d : NULL;
		p->err = err;
		if (op->path == HEARTH_DS_STAGE && !op->write && op->bytes <= SHORT_BYTES) {
			r = one_read(p, op->file, op->memory, op->memory_offset, op->file_offset, op->bytes);
			if (r > 0)
				pair_carried(op->pair, op->path, (uint64_t)r);
		} else {
			r = by_pump(p, op);
		}
		if (d->cuda)
			cuda_leave(d->cuda);
	}
	p->err = NULL;
	pump_put(ds, p);
	return r;
}
