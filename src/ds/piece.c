/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"
#include "pump.h"

struct piece *piece_new(struct pump *p)
{
	struct piece *piece = p->idle;

	if (!piece) {
		struct slab *s = malloc(sizeof(*s));

		if (!s)
			return NULL;
		s->next = p->slabs;
		p->slabs = s;
		for (size_t k = 0; k < sizeof(s->pieces) / sizeof(s->pieces[0]); k++) {
			s->pieces[k].next = p->idle;
			p->idle = &s->pieces[k];
		}
		piece = p->idle;
	}
	p->idle = piece->next;
	*piece = (struct piece){ .pump = p };
	return piece;
}

/* another path may do what this one could not; if it does, that was to blame */
static bool try_again(struct pump *p, struct op *op)
{
	enum hearth_ds_path next;

	if (!path_try_next(p->ds, op->path, op->error))
		return false;
	next = pair_next(op->pair, op->file, op->memory, op->path);
	if (next == HEARTH_DS_AUTO)
		return false;
	op->blamed = op->path;
	op->first_error = op->error;
	op->path = next;
	op->error = 0;
	op->issued = 0;
	op->end = op->bytes;
	todo_add(p, op);
	return true;
}

void op_end(struct pump *p, struct op *op)
{
	if (!op->error && op->path == HEARTH_DS_MAP && !op->write)
		op->error = map_arrived(op->memory);
	if (op->error && try_again(p, op))
		return;
	op->result = op->error ? op->error : (int64_t)op->end;
	if (!op->error) {
		if (op->blamed)
			pair_downgrade(op->pair, op->file, op->memory, op->blamed, op->first_error);
		pair_carried(op->pair, op->path, op->end);
	}
	p->under_way--;
	op->ended(op->ctx, op);
}

/* what became of the part of @op that was in [at, at + n) of the file */
static void account(const struct piece *piece, struct op *op)
{
	uint64_t from = op->file_offset > piece->at ? op->file_offset : piece->at, to = op->file_offset + op->bytes, reached;

	to = to < piece->at + piece->n ? to : piece->at + piece->n;
	if (piece->got < 0) {
		if (!op->error)
			op->error = (int)piece->got;
		return;
	}
	reached = piece->at + (uint64_t)piece->got;
	if (reached < to) {
		reached = reached > from ? reached - op->file_offset : from - op->file_offset;
		op->end = reached < op->end ? reached : op->end;
	}
}

void piece_end(struct pump *p, struct piece *piece)
{
	if (piece->slot)
		lane_room_put(piece->lane, piece->slot);
	for (struct op *op = piece->ops, *next; op; op = next) {
		next = op->chained;
		account(piece, op);
		if (--op->pieces == 0 && op->issued == op->bytes)
			op_end(p, op);
	}
	piece->next = p->idle;
	p->idle = piece;
}

/* from a slot to where the operations want it, within the process */
static void scatter(struct piece *piece)
{
	uint64_t reached = piece->at + (uint64_t)piece->got;

	for (struct op *op = piece->ops; op; op = op->chained) {
		uint64_t from = op->file_offset > piece->at ? op->file_offset : piece->at, to = op->file_offset + op->bytes;

		to = to < reached ? to : reached;
		if (from < to)
			memcpy(op->memory->cpu + op->memory_offset + (from - op->file_offset), piece->to + (from - piece->low), to - from);
	}
}

void piece_read(struct pump *p, struct piece *piece)
{
	if (piece->slot && piece->got > 0 && piece->path == HEARTH_DS_STAGE) {
		pieces_add(&piece->lane->ready, piece);
		return;
	}
	if (piece->slot && piece->got > 0)
		scatter(piece);
	piece_end(p, piece);
}
