/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_SHIM_H
#define SHIM_SHIM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "driver.h"
#include "shim/wire.h"

/*
 * What all files share. One lock, for the tables of contexts, memory, captures and refusals and for the connection; it is never held while the driver may wait for the device. A thread of the program holds
 * it only inside the gate, so with the gate closed the service thread has the tables for itself.
 *
 *   route.c    ways to the driver            mem.c     cuMemAlloc and its like, made of exportable memory        link.c     the connection: what the keeper is told
 *   gate.c     the gate                      vmm.c     cuMemCreate and its like                                  service.c  the service thread: what the keeper asks
 *   ctx.c      contexts, peers, waiting      attr.c    questions about addresses                                 detach.c   memory goes and comes back
 *   capture.c  stream captures               refuse.c  what cannot be checkpointed                               init.c     cuInit, fork
 *   copy.c     copies between devices                                 host.c    pinned host memory, and where it is
 */
extern pthread_mutex_t shim_lock SHIM_HIDDEN;

/* true from the first cuInit() that succeeds in a program that has a keeper: memory is exportable, the service thread runs */
extern atomic_bool shim_active SHIM_HIDDEN;

static inline bool shim_is_active(void)
{
	return atomic_load_explicit(&shim_active, memory_order_relaxed);
}

#endif
