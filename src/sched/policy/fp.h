/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_FP_H
#define SCHED_POLICY_FP_H

#include "private.h"

/** types_by_mean - the configured types, shortest first; those of no known mean at the front */
void types_by_mean(const struct sched *s, uint16_t *ret);

#endif
