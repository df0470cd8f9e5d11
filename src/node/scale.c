// SPDX-License-Identifier: Apache-2.0
#include "scale.h"

#include <limits.h>
#include <math.h>

static unsigned min_u(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* slots, beyond the running ones, that the queue deserves */
static unsigned slots_wanted(const struct scale_input *in)
{
	double per_slot, left;

	if (in->exec_ns == 0 || in->start_ns == 0)
		return min_u(in->queued, in->cpus);
	per_slot = (double)in->start_ns / (double)in->exec_ns;          /* calls that one slot serves during a start */
	if (per_slot < 1)
		return in->queued;
	left = in->queued - in->hot_slots * per_slot;
	if (left <= 0)
		return 0;
	return min_u(in->queued, (unsigned)(left / per_slot) + 1);
}

/* places that calls can make use of: of the node's slots, of its processors */
static unsigned slots_useful(const struct scale_input *in)
{
	double calls = in->computes > 0 ? round(in->cpus / in->computes) : INFINITY;
	unsigned served = calls < UINT_MAX ? (unsigned)calls : UINT_MAX;

	return in->node_slots ? min_u(in->node_slots, served) : served;
}

unsigned scale_more(const struct scale_input *in)
{
	unsigned room = in->instances < in->max_instances ? in->max_instances - in->instances : 0, there = in->hot_slots + in->coming_slots, useful = slots_useful(in), wanted, more;

	if (in->queued == 0)
		return 0;
	wanted = slots_wanted(in);
	if (wanted == 0 && there == 0)
		wanted = 1;
	if (there >= useful)
		return 0;
	wanted = min_u(wanted, useful - in->hot_slots);
	if (wanted <= in->coming_slots)
		return 0;
	more = (wanted - in->coming_slots + in->slots_per_instance - 1) / in->slots_per_instance;
	return min_u(more, room);
}
