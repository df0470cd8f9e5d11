/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_FCFS_H
#define SCHED_POLICY_FCFS_H

#include "private.h"

void fcfs_attach(struct sched *s, uint64_t now_ns);
uint64_t fcfs_pick(struct sched *s, uint64_t now_ns);

#endif
