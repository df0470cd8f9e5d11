/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_POLICY_CONFIG_H
#define SCHED_POLICY_CONFIG_H

#include "sched/policy.h"

int config_check(const struct sched_config *cfg, struct hearth_err *err);
/** config_defaults - what is 0 and stands for something becomes that */
void config_defaults(struct sched_config *cfg);
/** config_nodes - requests that may wait at a time, of all types */
uint32_t config_nodes(const struct sched_config *cfg);

#endif
