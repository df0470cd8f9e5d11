/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WORKLOAD_PRIVATE_H
#define WORKLOAD_PRIVATE_H

#include "sched/workload.h"

/** workload_check - names, times and ratios of types and phases; ratios that add to about 1 are made to add to 1. Return: 0, -EINVAL with message. */
int workload_check(struct workload *w, struct hearth_err *err);

#endif
