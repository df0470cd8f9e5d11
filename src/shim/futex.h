/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_FUTEX_H
#define SHIM_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/**
 * futex_wait - until *word is not @value any more, someone wakes, a signal comes, or the time is up
 * @deadline_ns: CLOCK_MONOTONIC; 0 = none
 * @shared:      the word is in a mapping that other processes have
 * Return: 0 (look again), -ETIMEDOUT.
 */
static inline int futex_wait(const _Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns, bool shared)
{
	struct timespec ts = { .tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S) };
	long ret = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | (shared ? 0 : FUTEX_PRIVATE_FLAG), value, deadline_ns ? &ts : NULL, NULL, FUTEX_BITSET_MATCH_ANY);

	return ret < 0 && errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}

static inline void futex_wake_all(const _Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, NULL, NULL, 0);
}

#endif
