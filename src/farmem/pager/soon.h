/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_PAGER_SOON_H
#define FARMEM_PAGER_SOON_H

#include <pthread.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/spin.h"

#define SOON_NS (50 * NS_PER_US)

/** soon - a lock that others have for a few pages each: to be woken for it would take longer. @try, @wait: pthread_rwlock_tryrdlock() and pthread_rwlock_rdlock(), or those of the writing side */
static inline void soon(pthread_rwlock_t *l, int (*try)(pthread_rwlock_t *), int (*wait)(pthread_rwlock_t *))
{
	uint64_t began = 0, now;

	while (try(l) != 0) {
		now = clock_mono_ns();
		began = began ? began : now;
		if (now - began > SOON_NS) {
			wait(l);
			return;
		}
		spin_pause(now);
	}
}

#endif
