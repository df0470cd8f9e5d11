/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_TYPES_H
#define NODE_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "base/hist.h"
#include "sched/policy.h"

/*
 * The types of calls: what the slots are scheduled by, and what is counted for each. A function's type is its manifest's `type`, or its own name. There are
 * TYPES_MAX; functions beyond share TYPE_OTHER ("_other", as no function can be called), the policy core's unknown type. A type that no function has any more
 * keeps its place and its figures until another needs the place.
 */
#define TYPES_MAX SCHED_TYPES_MAX
#define TYPE_OTHER TYPES_MAX
#define TYPE_NAME_MAX 64

/**
 * struct call_type - one of them
 * @functions:  that have it now
 * @completed, @lost: calls that the function answered, and calls that ran and were not answered (its instance ended, it could not be reached)
 * @service_ns: moving average of how long a call runs; 0 not known
 * @latency:    ns, arrival to answer; @slowdown: thousandths, that divided by the time it ran. NULL before the first call has ended.
 */
struct call_type {
	char name[TYPE_NAME_MAX];
	unsigned functions;
	uint64_t completed, lost, rejected, service_ns;
	struct hist *latency, *slowdown;
};

/** struct types - @n: places that were ever used; @left_out: functions that share TYPE_OTHER now; @generation: grows when a place gets a new name */
struct types {
	struct call_type type[TYPES_MAX + 1];
	uint32_t n;
	unsigned left_out;
	uint64_t generation;
};

struct types *types_new(void);                  /* NULL without memory */
struct types *types_free(struct types *t);      /* NULL is fine; returns NULL */
/**
 * types_take - a function has this type from now on
 * @name: characters that are no letters, digits, - or _ count as _
 * Return: its number, 0..TYPES_MAX-1, or TYPE_OTHER.
 */
uint32_t types_take(struct types *t, const char *name);
/** types_give - the function that took it has it no longer */
void types_give(struct types *t, uint32_t type);
/** types_record - a call was answered, @latency_ns after its arrival, of which it ran @service_ns */
void types_record(struct types *t, uint32_t type, uint64_t latency_ns, uint64_t service_ns);
/** types_used - is there anything to tell about it: a function that has it, or figures? */
int types_used(const struct types *t, uint32_t type);

#endif
