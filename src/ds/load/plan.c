/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define ALIGN_DEFAULT 256
#define ALIGN_MAX 4096
#define PIECE_BYTES_DEFAULT (16u << 20)
#define CONGRUENT_MIN_BYTES (64u << 10)

static uint64_t align_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) & ~(to - 1);
}

static uint32_t tensor_align(const struct plan *p, const struct hearth_ds_tensor *t)
{
	uint32_t own = hearth_ds_dtype_bits(t->dtype) / 8;

	return own > p->align ? own : p->align;
}

/* ---- which tensors, and on which device ---- */

static bool matches(const struct hearth_ds_tensor *t, const struct hearth_ds_load_options *o, bool *used)
{
	bool any = o->filters_n == 0;

	/* all are tried: each must match something */
	for (size_t k = 0; k < o->filters_n; k++)
		if (fnmatch(o->filters[k], t->name, 0) == 0)
			any = used[k] = true;
	return any;
}

static int slab_of(struct plan *p, uint32_t file, struct hearth_ds_device *device, size_t *ret)
{
	for (size_t k = p->slabs_n; k-- > 0 && p->slabs[k].file == file;)
		if (p->slabs[k].device == device) {
			*ret = k;
			return 0;
		}
	if (array_grow((void **)&p->slabs, &p->slabs_cap, p->slabs_n + 1, sizeof(*p->slabs)) < 0)
		return -ENOMEM;
	p->slabs[p->slabs_n] = (struct slab){ .file = file, .device = device };
	*ret = p->slabs_n++;
	return 0;
}

/*
 * Behind the one before it in the file, if that is aligned. Else aligned anew; and where a large one's alignment in the file allows it, at the same place within a page as there, so
 * that O_DIRECT could write into it as it is.
 */
static uint64_t slab_place(struct slab *s, const struct hearth_ds_tensor *t, uint32_t align)
{
	uint64_t at = s->bytes;

	if (at == 0 || s->file_end != t->offset || at % align) {
		at = align_up(at, align);
		if (t->offset % align == 0 && t->bytes >= CONGRUENT_MIN_BYTES)
			at += (t->offset - at) % ALIGN_MAX;
	}
	s->bytes = at + t->bytes;
	s->file_end = t->offset + t->bytes;
	return at;
}

static int add_spot(struct plan *p, const struct hearth_ds_tensor *t, const struct hearth_ds_place *place)
{
	struct spot spot = { .placed = { .tensor = t, .device = place->device, .memory = place->memory, .offset = place->offset }, .slab = SLAB_NONE };

	if (array_grow((void **)&p->spots, &p->spots_cap, p->spots_n + 1, sizeof(*p->spots)) < 0)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	if (t->bytes == 0) {
		spot.placed.memory = NULL;
		spot.placed.offset = 0;
	} else if (place->memory) {
		if (place->offset > place->memory->bytes || t->bytes > place->memory->bytes - place->offset)
			return err_set(ds_error(), -EINVAL, "tensor '%.80s' has %llu bytes: they don't fit into the memory given for it, at offset %llu of %zu bytes", t->name,
				       (unsigned long long)t->bytes, (unsigned long long)place->offset, place->memory->bytes);
		spot.placed.device = place->memory->device;
		spot.placed.at = place->memory->at + place->offset;
	} else if (place->device) {
		if (slab_of(p, t->file, place->device, &spot.slab) < 0)
			return err_set(ds_error(), -ENOMEM, "out of memory");
		spot.placed.offset = slab_place(&p->slabs[spot.slab], t, tensor_align(p, t));
	} else {
		return err_set(ds_error(), -EINVAL, "there is no device for tensor '%.80s'", t->name);
	}
	p->bytes += t->bytes;
	p->spots[p->spots_n++] = spot;
	return 0;
}

static int choose(const struct hearth_ds_tensors *t, const struct hearth_ds_load_options *o, struct plan *p, bool *used)
{
	for (size_t k = 0; k < t->n; k++) {
		struct hearth_ds_place place = { .device = o->device };
		int r = 0;

		if (!matches(t->tensors[k], o, used))
			continue;
		if (o->place) {
			err_set(ds_error(), -ECANCELED, "the load was ended by its caller");
			r = o->place(o->ctx, t->tensors[k], &place);
		}
		if (r == 0)
			r = add_spot(p, t->tensors[k], &place);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_options(const struct hearth_ds_load_options *o)
{
	for (size_t k = 0; k < sizeof(o->zero) / sizeof(o->zero[0]); k++)
		if (o->zero[k])
			return err_set(ds_error(), -EINVAL, "hearth_ds_load: options.zero must be all 0");
	if (o->align > ALIGN_MAX || (o->align & (o->align - 1)))
		return err_set(ds_error(), -EINVAL, "hearth_ds_load: options.align must be a power of 2, at most %u", ALIGN_MAX);
	if (!o->device && !o->place)
		return err_set(ds_error(), -EINVAL, "hearth_ds_load: options have neither a device nor a callback that says where tensors go");
	return 0;
}

int plan_make(const struct hearth_ds_tensors *t, const struct hearth_ds_load_options *o, struct plan *ret)
{
	struct plan p = { .align = o->align ? o->align : ALIGN_DEFAULT, .piece_bytes = o->piece_bytes ? o->piece_bytes : PIECE_BYTES_DEFAULT };
	bool *used;
	int r = check_options(o);

	if (r < 0)
		return r;
	used = calloc(o->filters_n + 1, sizeof(*used));
	if (!used)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	r = choose(t, o, &p, used);
	for (size_t k = 0; r == 0 && k < o->filters_n; k++)
		if (!used[k])
			r = err_set(ds_error(), -ENOENT, "no tensor's name matches '%.80s'", o->filters[k]);
	free(used);
	if (r < 0) {
		plan_done(&p);
		return r;
	}
	*ret = p;
	return 0;
}

void plan_done(struct plan *p)
{
	for (size_t k = 0; k < p->slabs_n; k++)
		hearth_ds_free(&p->slabs[k].buffer);
	free(p->spots);
	free(p->slabs);
	free(p->ops);
	*p = (struct plan){ 0 };
}

int plan_alloc(struct plan *p)
{
	for (size_t k = 0; k < p->slabs_n; k++) {
		int r = hearth_ds_alloc(p->slabs[k].device, p->slabs[k].bytes, &p->slabs[k].buffer);

		if (r < 0)
			return r;
	}
	for (size_t k = 0; k < p->spots_n; k++) {
		struct spot *s = &p->spots[k];

		if (s->slab == SLAB_NONE)
			continue;
		s->placed.memory = p->slabs[s->slab].buffer.memory;
		s->placed.at = p->slabs[s->slab].buffer.at + s->placed.offset;
	}
	return 0;
}

/* ---- what is read ---- */

static int add_op(struct plan *p, const struct hearth_ds_op *op)
{
	if (array_grow((void **)&p->ops, &p->ops_cap, p->ops_n + 1, sizeof(*p->ops)) < 0)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	p->ops[p->ops_n] = *op;
	p->ops[p->ops_n].tag = p->ops_n;
	p->ops_n++;
	return 0;
}

/* the last op grows by a tensor that lies behind it in file and memory, up to a multiple of a piece in the file; whatever is left becomes others */
static int add_range(struct plan *p, struct hearth_ds_op range)
{
	struct hearth_ds_op *last = p->ops_n ? &p->ops[p->ops_n - 1] : NULL;
	bool joins = last && last->file == range.file && last->memory == range.memory && last->file_offset + last->bytes == range.file_offset &&
		     last->memory_offset + last->bytes == range.memory_offset;

	p->runs += !joins;
	while (range.bytes > 0) {
		uint64_t n = p->piece_bytes - range.file_offset % p->piece_bytes;
		bool full = range.file_offset % p->piece_bytes == 0;
		struct hearth_ds_op op = range;

		if (n > range.bytes)
			n = range.bytes;
		if (joins && !full) {
			p->ops[p->ops_n - 1].bytes += n;
		} else {
			op.bytes = n;
			if (add_op(p, &op) < 0)
				return -ENOMEM;
		}
		joins = true;
		range.file_offset += n;
		range.memory_offset += n;
		range.bytes -= n;
	}
	return 0;
}

int plan_ops(const struct hearth_ds_tensors *t, struct plan *p)
{
	for (size_t k = 0; k < p->spots_n; k++) {
		const struct hearth_ds_placed *placed = &p->spots[k].placed;
		const struct hearth_ds_tensor *tensor = placed->tensor;

		if (tensor->bytes > 0 && add_range(p, (struct hearth_ds_op){ .file = t->files[tensor->file].file, .memory = placed->memory, .memory_offset = placed->offset,
								  .file_offset = tensor->offset, .bytes = tensor->bytes, .kind = HEARTH_DS_READ }) < 0)
			return -ENOMEM;
		p->spots[k].ops_end = p->ops_n;
	}
	return 0;
}
