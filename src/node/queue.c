// SPDX-License-Identifier: Apache-2.0
#include "priv.h"

/*
 * A function's waiting calls, in order of arrival. Those with a place of an instance reserved for them (inv->place) wait for one of the node's slots; the others
 * wait for an instance. fn->unplaced is the first of the others, so that none of this depends on how many wait.
 */

static struct invocation *next_unplaced(struct invocation *inv)
{
	while (inv && inv->place)
		inv = TAILQ_NEXT(inv, entry);
	return inv;
}

static void leave_place(struct function *fn, struct invocation *inv)
{
	inv->place->held--;
	inv->place = NULL;
	LIST_REMOVE(inv, running);
	fn->placed--;
}

void waiting_push(struct function *fn, struct invocation *inv)
{
	TAILQ_INSERT_TAIL(&fn->queue, inv, entry);
	inv->queued = true;
	fn->queued++;
	if (!fn->unplaced)
		fn->unplaced = inv;
}

void waiting_remove(struct function *fn, struct invocation *inv)
{
	if (inv->place)
		leave_place(fn, inv);
	else if (fn->unplaced == inv)
		fn->unplaced = next_unplaced(TAILQ_NEXT(inv, entry));
	TAILQ_REMOVE(&fn->queue, inv, entry);
	inv->queued = false;
	fn->queued--;
}

void waiting_place(struct function *fn, struct invocation *inv, struct instance *inst)
{
	inv->place = inst;
	inst->held++;
	LIST_INSERT_HEAD(&inst->placed, inv, running);
	fn->placed++;
	if (fn->unplaced == inv)
		fn->unplaced = next_unplaced(inv);
}

void waiting_return(struct function *fn, struct invocation *inv)
{
	struct invocation *next;

	TAILQ_FOREACH(next, &fn->queue, entry)
		if (next->id > inv->id)
			break;
	if (next)
		TAILQ_INSERT_BEFORE(next, inv, entry);
	else
		TAILQ_INSERT_TAIL(&fn->queue, inv, entry);
	inv->queued = true;
	fn->queued++;
	if (!fn->unplaced || inv->id < fn->unplaced->id)
		fn->unplaced = inv;
}

void waiting_unplace(struct function *fn, struct invocation *inv)
{
	leave_place(fn, inv);
	/* ids grow in order of arrival */
	if (!fn->unplaced || inv->id < fn->unplaced->id)
		fn->unplaced = inv;
}
