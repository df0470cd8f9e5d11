/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_THREAD_H
#define SHIM_THREAD_H

#include <pthread.h>

/** thread_start - a thread of ours in the program: all signals blocked, a stack no larger than the driver needs. Return: 0, -errno. */
int thread_start(pthread_t *ret, void *(*run)(void *), void *arg) __attribute__((visibility("hidden")));

#endif
