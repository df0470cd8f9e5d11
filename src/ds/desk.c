/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "desk.h"
#include "host.h"

/* where this thread looks first: threads that began after one another have desks of their own, and what is in a processor's cache stays there */
static unsigned thread_number(void)
{
	static atomic_uint last;
	static _Thread_local unsigned mine;

	if (!mine)
		mine = 1 + atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) % INT32_MAX;
	return mine - 1;
}

static unsigned count_rows(struct hearth_ds_device *d)
{
	unsigned n = 0;

	while (n < DESK_ROWS && atomic_load_explicit(&d->desks[n], memory_order_acquire))
		n++;
	return n;
}

static struct desk *find_free(struct hearth_ds_device *d, unsigned rows)
{
	unsigned number = thread_number();

	for (unsigned k = 0; k < rows; k++) {
		struct desk_row *row = atomic_load_explicit(&d->desks[(number / ROW_DESKS + k) % rows], memory_order_acquire);

		for (unsigned n = 0; n < ROW_DESKS; n++) {
			struct desk *desk = &row->desks[(number + n) % ROW_DESKS];

			if (!atomic_load_explicit(&desk->taken, memory_order_relaxed) && !atomic_exchange_explicit(&desk->taken, true, memory_order_acquire))
				return desk;
		}
	}
	return NULL;
}

/* d->lock is held. NULL: no more. */
static struct desk_row *row_new(struct ring *ring)
{
	struct desk_row *row = aligned_alloc(_Alignof(struct desk_row), sizeof(*row));
	struct slot *slot = row ? ring_keep(ring) : NULL;

	if (!slot) {
		free(row);
		return NULL;
	}
	for (unsigned n = 0; n < ROW_DESKS; n++)
		row->desks[n] = (struct desk){ .room = slot->at + (size_t)n * DESK_BYTES };
	return row;
}

/* Return: whether there are more than @rows now, whoever made them */
static bool another_row(struct hearth_ds_device *d, unsigned rows)
{
	struct ring *ring;
	bool more;

	if (rows == DESK_ROWS || ring_get(d, &ring, NULL) < 0)
		return false;
	pthread_mutex_lock(&d->lock);
	if (!atomic_load(&d->desks[rows]))
		atomic_store_explicit(&d->desks[rows], row_new(ring), memory_order_release);
	more = atomic_load(&d->desks[rows]) != NULL;
	pthread_mutex_unlock(&d->lock);
	return more;
}

struct desk *desk_take(struct hearth_ds_device *d)
{
	unsigned rows = count_rows(d);
	struct desk *k;

	while (!(k = find_free(d, rows)) && another_row(d, rows))
		rows = count_rows(d);
	if (k && !k->stream && cuda_stream(d->cuda, &k->stream, NULL) < 0) {
		desk_put(k);
		return NULL;
	}
	return k;
}

void desk_put(struct desk *k)
{
	atomic_store_explicit(&k->taken, false, memory_order_release);
}

void desks_free(struct hearth_ds_device *d)
{
	for (unsigned k = 0; k < DESK_ROWS; k++) {
		struct desk_row *row = atomic_load(&d->desks[k]);

		for (unsigned n = 0; row && n < ROW_DESKS; n++)
			if (row->desks[n].stream)
				(void)d->cuda->cu->stream_destroy(row->desks[n].stream);
		free(row);
	}
}

/* ---- one I/O, one copy ---- */

ssize_t desk_read(struct desk *k, struct op *op, struct hearth_err *err)
{
	const struct cuda *cu = op->memory->device->cuda->cu;
	uint8_t *from = NULL;
	ssize_t got = host_read_around(op->file, k->room, op->bytes, op->file_offset, &from);
	cu_result r;

	if (got <= 0)
		return got;
	r = cu->copy_htod(op->memory->at + op->memory_offset, from, (size_t)got, k->stream);
	if (r == CU_OK)
		r = cu->stream_sync(k->stream);
	if (r != CU_OK)
		return cuda_err(cu, r, err, "cuMemcpyHtoDAsync");
	pair_carried(op->pair, HEARTH_DS_STAGE, (uint64_t)got);
	return got;
}

ssize_t desk_write(struct desk *k, struct op *op, struct hearth_err *err)
{
	const struct cuda *cu = op->memory->device->cuda->cu;
	/* it lies in memory as in the file, so that whole pages need no other room */
	uint8_t *at = k->room + op->file_offset % BLOCK_BYTES;
	struct slot *none = NULL;
	cu_result r = cu->copy_dtoh(at, op->memory->at + op->memory_offset, op->bytes, k->stream);
	ssize_t put;

	if (r == CU_OK)
		r = cu->stream_sync(k->stream);
	if (r != CU_OK)
		return cuda_err(cu, r, err, "cuMemcpyDtoHAsync");
	put = host_write(op->file, op->memory->device, at, op->bytes, op->file_offset, &none);
	if (put > 0)
		pair_carried(op->pair, HEARTH_DS_STAGE, (uint64_t)put);
	return put;
}
