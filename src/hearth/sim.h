/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_SIM_H
#define HEARTH_SIM_H

#include <jansson.h>

#include "cli.h"
#include "sched/sim.h"

/* what is printed of a simulation */
struct sim_report {
	const struct sim_config *cfg;
	const struct workload *workload;        /* as run */
	const struct sim_result *result;
	const struct sim_target *target;        /* of a search; else NULL, and */
	const struct sim_max *max;
};

json_t *sim_report_json(const struct sim_report *r);
void sim_report_print(const struct sim_report *r);

#endif
