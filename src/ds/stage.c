/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Synchronous operations that take more than one system call. This thread does short ones itself, at a desk; for the others, and where no desk can be had, a pump of the context works for it, with
 * its own context current for as long.
 */
#include "ahead.h"
#include "desk.h"
#include "stage.h"

static void ended(void *ctx, struct op *op)
{
	op->over = true;
}

static ssize_t by_pump(struct pump *p, struct op *op)
{
	op->ended = ended;
	pump_begin(p, op);
	while (!op->over)
		pump_step(p, true);
	return op->result;
}

/* what was read ahead of it, and the rest by @k, or by @p where there is none. @op: is what is left when it returns */
static ssize_t staged_read(struct op *op, struct desk *k, struct pump *p, cu_stream stream, struct hearth_err *err)
{
	struct hearth_ds_memory *m = op->memory;
	uint64_t at = op->file_offset;
	ssize_t served = ahead_serve(op->file, m->device, stream, m->at + op->memory_offset, at, op->bytes, err), r = 0;

	if (served < 0)
		return served;
	if (served > 0)
		pair_carried(op->pair, HEARTH_DS_STAGE, (uint64_t)served);
	op->memory_offset += (uint64_t)served;
	op->file_offset += (uint64_t)served;
	op->bytes -= (uint64_t)served;
	if (op->bytes > 0)
		r = k ? desk_read(k, op, err) : by_pump(p, op);
	if (r < 0)
		return r;
	ahead_more(op->file, m->device, at, at + (uint64_t)(served + r));
	return served + r;
}

static ssize_t with_pump(struct op *op, struct hearth_err *err)
{
	struct hearth_ds *ds = op->file->ds;
	struct hearth_ds_device *d = op->memory->device;
	struct lane *l;
	struct pump *p;
	ssize_t r = pump_get(ds, &p, err);

	if (r < 0)
		return r;
	p->current = d->cuda ? d : NULL;
	p->err = err;
	if (op->path != HEARTH_DS_STAGE || op->write) {
		r = by_pump(p, op);
	} else {
		l = lane_get(p, d);
		r = l ? staged_read(op, NULL, p, l->stream, err) : p->failed;
	}
	p->err = NULL;
	pump_put(ds, p);
	return r;
}

ssize_t stage_transfer(struct op *op, struct hearth_err *err)
{
	struct hearth_ds_device *d = op->memory->device;
	/* most programs have it current already */
	bool enter = d->cuda && cuda_current() != d->cuda->context;
	struct desk *k;
	ssize_t r = enter ? cuda_enter(d->cuda, err) : 0;

	if (r < 0)
		return r;
	k = op->path == HEARTH_DS_STAGE && op->bytes <= SHORT_BYTES ? desk_take(d) : NULL;
	if (!k)
		r = with_pump(op, err);
	else
		r = op->write ? desk_write(k, op, err) : staged_read(op, k, NULL, k->stream, err);
	if (k)
		desk_put(k);
	if (enter)
		cuda_leave(d->cuda);
	return r;
}
