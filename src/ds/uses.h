/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_USES_H
#define DS_USES_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * How many operations use a thing, and a wait until none does. Taking and giving back is one atomic instruction; only who gives back the last one while somebody waits makes
 * a system call.
 */
struct uses { atomic_uint n; };
#define USES_WAITED (1u << 31)

static inline void uses_get(struct uses *u) { atomic_fetch_add_explicit(&u->n, 1, memory_order_relaxed); }

static inline void uses_put(struct uses *u)
{
	/* the thing may be gone by the time of the wake: it touches nothing but the address */
	if (atomic_fetch_sub_explicit(&u->n, 1, memory_order_acq_rel) == (USES_WAITED | 1))
		(void)syscall(SYS_futex, &u->n, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* for good: nobody takes it again */
static inline void uses_wait_none(struct uses *u)
{
	unsigned n = atomic_fetch_or(&u->n, USES_WAITED) | USES_WAITED;

	for (; n != USES_WAITED; n = atomic_load(&u->n))
		(void)syscall(SYS_futex, &u->n, FUTEX_WAIT_PRIVATE, n, NULL, NULL, 0);
}

#endif
