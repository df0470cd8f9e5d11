/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spin.h"

#include <sched.h>
#include <stdbool.h>

#include "base/clock.h"

/* what it begins with from nothing; less than this is nothing */
#define PARTS 16
/* looks for each time that the processor is offered to others, who were not there the last time; a system call that takes longer than this has let somebody run */
#define LOOKS 8
#define SHARED_NS (2 * NS_PER_US)

void spin_init(struct spin *s, uint64_t most_ns)
{
	cpu_set_t set;

	/* more processors than the set has room for are more than one */
	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2)
		most_ns = 0;
	*s = (struct spin){ .most_ns = most_ns, .now_ns = most_ns };
}

void spin_saw(struct spin *s, uint64_t waited_ns)
{
	uint64_t least = s->most_ns / PARTS;

	if (waited_ns > s->most_ns) {
		s->now_ns /= 2;
		if (s->now_ns < least)
			s->now_ns = 0;
	} else {
		s->now_ns = s->now_ns ? 2 * s->now_ns : least;
		if (s->now_ns > s->most_ns)
			s->now_ns = s->most_ns;
	}
}

void spin_pause(uint64_t now_ns)
{
	static _Thread_local unsigned looks;
	static _Thread_local bool shared;

	if (!shared && ++looks % LOOKS)
		return;
	(void)sched_yield();
	shared = clock_mono_ns() - now_ns > SHARED_NS;
}
