/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOAD_FLIGHTS_H
#define LOAD_FLIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Requests under way, by number: a ring in the order in which they were due, so that finding one, and finding those whose time is up, takes no search.
 * An entry stays readable until the ring comes round, so that second and late answers are known as such. One owner.
 */
enum flight_state { FLIGHT_FLYING, FLIGHT_ANSWERED, FLIGHT_LOST };

struct flight {
	uint64_t seq, due_ns, service_ns;
	uint32_t phase;
	uint16_t type;
	uint8_t state;
	bool measured;
};

struct flights {
	struct flight *ring;
	uint64_t mask, head, tail;      /* numbers tail..head-1 may be under way */
	uint64_t flying;
};

/** flights_init - @capacity: power of two. Return: 0, -ENOMEM. */
int flights_init(struct flights *f, size_t capacity);
void flights_done(struct flights *f);
/**
 * flights_add - the next request, number f->head
 * @ret_evicted: the ring was full and this one, the oldest, was not answered yet: it is given up (state LOST); else NULL
 * The entry returned is the new one's, to be filled in but for seq and state; a copy of the evicted one is in *ret_evicted's place until the next call.
 */
struct flight *flights_add(struct flights *f, struct flight *evicted, bool *ret_evicted);

enum flight_match { FLIGHT_FIRST, FLIGHT_DUPLICATE, FLIGHT_LATE, FLIGHT_STRAY };
/** flights_answer - an answer to number @seq came. @ret: its entry; NULL with FLIGHT_STRAY, and with FLIGHT_LATE if it is so late that the entry is gone. */
enum flight_match flights_answer(struct flights *f, uint64_t seq, struct flight **ret);
/** flights_expire - the next one that was due before @before_ns and is not answered: it is LOST now. Return: NULL when there is none. */
struct flight *flights_expire(struct flights *f, uint64_t before_ns);
/** flights_oldest_ns - when the oldest one under way was due; UINT64_MAX: there is none */
uint64_t flights_oldest_ns(struct flights *f);

#endif
