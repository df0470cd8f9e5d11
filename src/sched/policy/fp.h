/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_FP_H
#define SCHED_POLICY_FP_H

#include "private.h"

/** types_sort - ascending by mean, then by number */
void types_sort(uint32_t n, const double *mean_ns, uint16_t *ret);
/** types_by_mean - the configured types by what is learnt; those of no known mean are first */
void types_by_mean(const struct sched *s, uint16_t *ret);

#endif
