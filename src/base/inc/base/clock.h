/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

static inline uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/** clock_mono_ns - CLOCK_MONOTONIC, for intervals and deadlines */
static inline uint64_t clock_mono_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
/** clock_wall_ns - CLOCK_REALTIME, for what people and other machines read */
static inline uint64_t clock_wall_ns(void) { return clock_ns(CLOCK_REALTIME); }

#endif
