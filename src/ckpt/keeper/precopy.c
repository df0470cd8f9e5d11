/* SPDX-License-Identifier: Apache-2.0 */
/* Copying device memory while its processes run, and what is left afterwards. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "op.h"

/* one pass; a second one only where buffers appeared meanwhile */
static int pass(struct op *op, bool fresh_only, struct hearth_err *err)
{
	struct pieces list = { 0 };
	uint64_t chunks = 0;
	int r = objects_update(op, err);

	for (struct object *o = op->objects; o && r == 0; o = o->next)
		chunks += o->gone || o->store ? 0 : o->chunks;
	if (chunks > 0)
		store_expect(op->draft, chunks);
	for (struct object *o = op->objects; o && r == 0; o = o->next) {
		bool fresh = o->store == NULL;

		if (o->gone || (fresh_only && !fresh))
			continue;
		r = object_in_store(op, o, err);
		if (r == 0 && pieces_add(&list, o, 0, o->chunks, 0, NULL, o->device) < 0)
			r = err_set(err, -ENOMEM, "out of memory");
	}
	if (r == 0 && list.n > 0) {
		r = copy_out(op, &list, false, err);
		op->report.rounds++;
	}
	free(list.v);
	return r;
}

static void count(struct op *op)
{
	op->report.buffers = op->report.bytes = 0;
	for (struct object *o = op->objects; o; o = o->next)
		if (!o->gone) {
			op->report.buffers++;
			op->report.bytes += o->bytes;
		}
}

int op_precopy(struct op *op, const struct request *r, struct hearth_err *err)
{
	int failed;

	if (op->phase != OP_BEGUN || op->loaded || op->sealed)
		return err_set(err, -EPROTO, "a pre-copy comes before the stop");
	failed = op_store(op, r, err);
	if (failed == 0)
		failed = pass(op, false, err);
	if (failed == 0)
		failed = pass(op, true, err);
	count(op);
	if (failed < 0)
		op_store_drop(op);
	return failed;
}

/* the chunks of the dirty lists, joined where object and memory go on. @digests: in the order of the list, for the pieces to point into */
static int dirty_pieces(struct area *a, struct pieces *list, struct digest *digests)
{
	for (size_t k = 0, n; k < a->n; k += n) {
		const struct dirty *d = &a->dirty[k];

		for (n = 0; k + n < a->n && a->dirty[k + n].object == d->object && a->dirty[k + n].chunk == d->chunk + n && (!d->at || a->dirty[k + n].at == d->at + n * CHUNK); n++)
			digests[k + n] = a->dirty[k + n].digest;
		if (pieces_add(list, d->object, d->chunk, n, d->at, a->hashed ? digests + k : NULL, a->device) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Return: 0, -errno. What is drained is not dirty any more. */
int drain_area(struct op *op, struct area *a, bool quiet, struct hearth_err *err)
{
	struct digest *digests = calloc(a->n + 1, sizeof(*digests));
	struct pieces list = { 0 };
	int r = 0;

	if (!digests || dirty_pieces(a, &list, digests) < 0)
		r = err_set(err, -ENOMEM, "out of memory");
	for (size_t k = 0; k < list.n && r == 0; k++)
		r = object_in_store(op, list.v[k].object, err);
	if (r == 0 && list.n > 0)
		r = copy_out(op, &list, quiet, err);
	if (r == 0)
		a->n = 0;
	free(list.v);
	free(digests);
	return r;
}

int op_drain(struct op *op, const struct request *r, int *ret_fd, struct hearth_err *err)
{
	int failed;

	if (op->loaded || op->sealed)
		return err_set(err, -EPROTO, op->sealed ? "this operation was drained already" : "what was loaded is an image already");
	failed = op_store(op, r, err);
	for (size_t a = 0; a < op->areas_n && failed == 0; a++)
		if (op->areas[a].n > 0)
			failed = drain_area(op, &op->areas[a], false, err);
	for (struct object *o = op->objects; o && failed == 0; o = o->next)
		if (!o->gone && o->store)
			op->report.buffers++, op->report.bytes += o->bytes;
	if (failed == 0)
		failed = objects_seal(op, ret_fd, err);
	if (failed == 0) {
		op->sealed = true;
		areas_drop(op);
	}
	return failed;
}
