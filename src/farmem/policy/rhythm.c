/* SPDX-License-Identifier: Apache-2.0 */
/* When a function is likely to be called next, of which its last intervals tell. docs/adr/0020-reuse-histogram.md */
#include "private.h"

/* calls that come regularly do so to a 32nd of the time between them, earlier or later */
#define SPREAD 32
/* once is no rhythm */
#define ENDED_MIN 2

void farmem_rhythm_called(struct farmem_rhythm *r, uint64_t now_ns, uint64_t apart_ns)
{
	bool first = r->begin_ns == 0;

	now_ns = now_ns > r->last_ns ? now_ns : r->last_ns;
	if (first || now_ns - r->last_ns >= apart_ns) {
		if (!first) {
			r->interval_ns[r->next] = now_ns - r->begin_ns;
			r->next = (r->next + 1) % FARMEM_RHYTHM_CALLS;
			r->n += r->n < FARMEM_RHYTHM_CALLS;
		}
		r->begin_ns = now_ns;
	}
	r->last_ns = now_ns;
}

/* the shortest one that is longer than @than_ns; FARMEM_NEVER */
static uint64_t longer_than(const struct farmem_rhythm *r, uint64_t than_ns)
{
	uint64_t found = FARMEM_NEVER;

	for (unsigned k = 0; k < r->n; k++)
		if (r->interval_ns[k] > than_ns && r->interval_ns[k] < found)
			found = r->interval_ns[k];
	return found;
}

bool farmem_rhythm_next(const struct farmem_rhythm *r, double share, uint64_t now_ns, uint64_t *ret_from_ns, uint64_t *ret_until_ns)
{
	uint64_t gone_ns = now_ns > r->begin_ns ? now_ns - r->begin_ns : 0;

	for (uint64_t at = longer_than(r, 0); at != FARMEM_NEVER; at = longer_than(r, at)) {
		uint64_t from = at - at / SPREAD, until = at + 2 * (at / SPREAD), since = from > gone_ns ? from : gone_ns;
		unsigned ended = 0, open = 0;

		for (unsigned k = 0; k < r->n; k++) {
			open += r->interval_ns[k] >= since;
			ended += r->interval_ns[k] >= since && r->interval_ns[k] < until;
		}
		if (until <= gone_ns || ended < ENDED_MIN || ended < share * open)
			continue;
		*ret_from_ns = r->begin_ns + from;
		*ret_until_ns = r->begin_ns + until;
		return true;
	}
	return false;
}
