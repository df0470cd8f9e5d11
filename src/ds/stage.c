/* SPDX-License-Identifier: Apache-2.0 */
/* Synchronous operations that take more than one system call: a pump of the context works for this thread, with its own context current for as long. */
#include <errno.h>

#include "ahead.h"
#include "host.h"
#include "stage.h"

#define SHORT_BYTES (64u << 10)         /* one read, one copy: nothing to overlap */

static void ended(void *ctx, struct op *op)
{
	op->over = true;
}

static ssize_t one_read(struct pump *p, struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes)
{
	const struct cuda *cu = m->device->cuda->cu;
	struct lane *l = lane_get(p, m->device);
	uint8_t *room = NULL, *from = NULL;
	struct slot *slot = NULL;
	ssize_t got;
	cu_result r;

	if (!l)
		return p->failed;
	if (lane_room(l, bytes + 2 * BLOCK_BYTES, BLOCK_BYTES, true, &slot, &room) < 0)
		return -ENOMEM;
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
	op->ended = ended;
	pump_begin(p, op);
	while (!op->over)
		pump_step(p, true);
	return op->result;
}

/* @op: is what is left when it returns; what is short is done with one read and one copy */
static ssize_t by_stage(struct pump *p, struct op *op)
{
	struct hearth_ds_memory *m = op->memory;
	uint64_t at = op->file_offset;
	ssize_t served, r = 0;
	struct lane *l = lane_get(p, m->device);
	bool counted;

	if (!l)
		return p->failed;
	served = ahead_serve(op->file, l, m, op->memory_offset, at, op->bytes, p->err);
	if (served < 0)
		return served;
	op->memory_offset += (uint64_t)served;
	op->file_offset += (uint64_t)served;
	op->bytes -= (uint64_t)served;
	counted = op->bytes > SHORT_BYTES;
	if (counted)
		r = by_pump(p, op);
	else if (op->bytes > 0)
		r = one_read(p, op->file, m, op->memory_offset, op->file_offset, op->bytes);
	if (r < 0)
		return r;
	pair_carried(op->pair, HEARTH_DS_STAGE, (uint64_t)(counted ? served : served + r));
	ahead_more(op->file, m->device, at, at + (uint64_t)(served + r));
	return served + r;
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
		r = op->path == HEARTH_DS_STAGE && !op->write ? by_stage(p, op) : by_pump(p, op);
		if (d->cuda)
			cuda_leave(d->cuda);
	}
	p->err = NULL;
	pump_put(ds, p);
	return r;
}
