/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULT_DS_LOAD_WRAPS_H
#define TESTS_FAULT_DS_LOAD_WRAPS_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault.h"

/* Calls of the loaders that tests/fault/fault.c does not catch. */
#define WRAP(ret, name, params, args, failed) \
	ret __real_##name params; \
	ret __wrap_##name params; \
	ret __wrap_##name params { return fault_syscall(#name) ? (failed) : __real_##name args; }
WRAP(int, fdatasync, (int fd), (fd), -1)
WRAP(int, flock, (int fd, int how), (fd, how), -1)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1)
WRAP(void *, mmap64, (void *at, size_t n, int prot, int flags, int fd, int64_t from), (at, n, prot, flags, fd, from), MAP_FAILED)

/* write is not caught here (see meson.build), but fault.c has its wrapper all the same */
ssize_t __real_write(int fd, const void *data, size_t n);
ssize_t __real_write(int fd, const void *data, size_t n) { return write(fd, data, n); }

/* jansson 2.14 frees wild pointers when an allocation of its parser fails: its own do not */
static void *json_alloc(size_t n)
{
	void *p;

	fault_pause(true);
	p = malloc(n);
	fault_pause(false);
	return p;
}

static inline void json_never_fails(void)
{
	json_set_alloc_funcs(json_alloc, free);
}

#endif
