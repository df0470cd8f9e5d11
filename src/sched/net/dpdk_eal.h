/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_NET_DPDK_EAL_H
#define SCHED_NET_DPDK_EAL_H

#include "base/err.h"

/* DPDK's environment: once a process, and it stays as it was begun. */

/** dpdk_eal_usable - is there what every configuration needs? Return: 0, -EOPNOTSUPP with message. */
int dpdk_eal_usable(struct hearth_err *err);
/**
 * dpdk_eal_start - the environment, with the words of the configuration
 * @words: NULL-terminated, or NULL. Before them go: one core, the CPUs that the caller may run on (not if they say -l, -c or --lcores); nothing left in /run
 *        
 *         (--in-memory, or --no-shconf where they say --no-huge; --no-telemetry).
 * The calling thread keeps its CPUs. What DPDK had to say when it fails is in the message.
 * Return: 0, -errno with message; -EALREADY: a second time in a process.
 */
int dpdk_eal_start(char *const *words, struct hearth_err *err);
void dpdk_eal_stop(void);
/** dpdk_eal_complaint - the first thing that was wrong, in DPDK's words, while it started all the same; "" */
const char *dpdk_eal_complaint(void);
/** dpdk_eal_shared - is this memory shared with processes forked from here on? Return: 0, -EOPNOTSUPP with message. */
int dpdk_eal_shared(const void *memory, struct hearth_err *err);
/** dpdk_eal_memory - in words: huge pages, or what to do without; a static string */
const char *dpdk_eal_memory(void);

#endif
