/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULT_FAULT_H
#define TESTS_FAULT_FAULT_H

#include <stdbool.h>

/*
 * Make the n-th system call or allocation from now fail, for a sweep over every n until an operation runs through. System calls are caught where the
 * program calls them (linker option --wrap, list in tests/fault/base/meson.build: fault_link_args), allocations wherever they come from, libraries too.
 * Arming is not thread-safe; calls of other threads count too. Not with sanitizers, which have allocators of their own.
 */
enum fault_kind {
	FAULT_SYSCALL,  /* fails with the errno given */
	FAULT_ALLOC,    /* returns NULL */
	FAULT_DIE,      /* the process ends before that system call, as by kill -9 */
};

void fault_arm(enum fault_kind kind, unsigned nth, int error);
/** fault_disarm - Return: whether the fault happened */
bool fault_disarm(void);
/** fault_pause - nothing of this thread fails, or counts, until it is off again */
void fault_pause(bool on);
/** fault_syscall - for tests that catch further calls: count one. Return: it fails, errno is set. */
bool fault_syscall(const char *name);
/** fault_last - the system call that failed last, "" when none did */
const char *fault_last(void);

/** fault_live_blocks, fault_open_fds - compare before and after to find leaks */
long fault_live_blocks(void);
unsigned fault_open_fds(void);

#endif
