/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/**
 * thread_spawn - start a thread that takes no signals: those are for the threads that the program has already
 * @ret: for pthread_join() or pthread_detach()
 * Context: what the thread forks begins with all signals blocked as well. Thread-safe.
 * Return: 0, -EAGAIN (no room for threads), -errno.
 */
int thread_spawn(pthread_t *ret, void *(*run)(void *arg), void *arg);

#endif
