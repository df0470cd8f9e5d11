/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_LOAD_PLAN_H
#define DS_LOAD_PLAN_H

#include "load.h"

/*
 * What goes where, before anything is read. A slab is what is allocated: one for each pair of file and device. A run is a range of a file that lies as it is in memory too. Ops are
 * runs, cut where they are long; they are in the order of the files, so that a tensor is there when the last op that touches it and all before it have ended.
 */

struct slab {
	uint32_t file;
	struct hearth_ds_device *device;
	uint64_t bytes;                 /* so far */
	uint64_t file_end;              /* where the tensor that was placed last ends in the file */
	struct hearth_ds_buffer buffer;
};

#define SLAB_NONE SIZE_MAX              /* the caller's memory */

struct spot {
	struct hearth_ds_placed placed; /* memory and offset are of the slab once it is allocated */
	size_t slab;
	size_t ops_end;                 /* ready when the first so many ops have ended */
};

struct plan {
	struct spot *spots;
	size_t spots_n, spots_cap;
	struct slab *slabs;
	size_t slabs_n, slabs_cap;
	struct hearth_ds_op *ops;
	size_t ops_n, ops_cap;
	uint64_t bytes, runs, piece_bytes;
	uint32_t align;
};

/** plan_make - choose tensors and places for them. Return: 0, -EINVAL, -ENOENT, -ENOMEM, what options.place returned; with a message in ds_error(). */
int plan_make(const struct hearth_ds_tensors *t, const struct hearth_ds_load_options *o, struct plan *ret);
/** plan_alloc - allocate the slabs. Return: as hearth_ds_alloc. */
int plan_alloc(struct plan *p);
/** plan_ops - what is to be read. Return: 0, -ENOMEM. */
int plan_ops(const struct hearth_ds_tensors *t, struct plan *p);
void plan_done(struct plan *p);

#endif
