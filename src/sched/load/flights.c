/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "flights.h"

int flights_init(struct flights *f, size_t capacity)
{
	*f = (struct flights){ .mask = capacity - 1, .ring = calloc(capacity, sizeof(struct flight)) };
	return f->ring ? 0 : -ENOMEM;
}

void flights_done(struct flights *f)
{
	free(f->ring);
	*f = (struct flights){ 0 };
}

static struct flight *entry(struct flights *f, uint64_t seq) { return &f->ring[seq & f->mask]; }

/* The tail moves over those that are done with. */
static void skip_done(struct flights *f)
{
	while (f->tail < f->head && entry(f, f->tail)->state != FLIGHT_FLYING)
		f->tail++;
}

struct flight *flights_add(struct flights *f, struct flight *evicted, bool *ret_evicted)
{
	struct flight *e;

	*ret_evicted = false;
	if (f->head - f->tail > f->mask)
		skip_done(f);
	if (f->head - f->tail > f->mask) {
		*evicted = *entry(f, f->tail++);
		evicted->state = FLIGHT_LOST;
		*ret_evicted = true;
		f->flying--;
	}
	e = entry(f, f->head);
	e->seq = f->head++;
	e->state = FLIGHT_FLYING;
	f->flying++;
	return e;
}

enum flight_match flights_answer(struct flights *f, uint64_t seq, struct flight **ret)
{
	struct flight *e = entry(f, seq);

	*ret = NULL;
	if (seq >= f->head)
		return FLIGHT_STRAY;
	if (e->seq != seq)
		return FLIGHT_LATE;
	*ret = e;
	if (e->state == FLIGHT_ANSWERED)
		return FLIGHT_DUPLICATE;
	if (e->state == FLIGHT_LOST) {
		e->state = FLIGHT_ANSWERED;     /* one more answer would be a duplicate */
		return FLIGHT_LATE;
	}
	e->state = FLIGHT_ANSWERED;
	f->flying--;
	return FLIGHT_FIRST;
}

struct flight *flights_expire(struct flights *f, uint64_t before_ns)
{
	struct flight *e;

	skip_done(f);
	if (f->tail == f->head)
		return NULL;
	e = entry(f, f->tail);
	if (e->due_ns >= before_ns)
		return NULL;
	e->state = FLIGHT_LOST;
	f->tail++;
	f->flying--;
	return e;
}

uint64_t flights_oldest_ns(struct flights *f)
{
	skip_done(f);
	return f->tail == f->head ? UINT64_MAX : entry(f, f->tail)->due_ns;
}
