/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_LOAD_JOB_H
#define HEARTH_LOAD_JOB_H

#include "base/buf.h"
#include "cli.h"
#include "sched/load.h"

/* hearth load: what the command line asks for, and what that comes to. */

#define LOAD_FUNCTIONS_MAX 64

struct load_options {
	struct load_config cfg;
	const char *target, *workload, *trace, *azure, *types, *method, *data, *metric;
	const char *functions[LOAD_FUNCTIONS_MAX];
	size_t functions_n;
	struct buf headers;
	double dilate, find, min_rate, precision, max_loss;     /* max_loss < 0: any */
	bool help;
};

struct load_job {
	struct cli *cli;
	struct load_options o;
	struct workload *workload;
	struct load_trace *trace;
	uint16_t *numbers;
	struct load_http *http;
	char *base, *path, *body;               /* of the URL; of the requests */
	char *names[LOAD_FUNCTIONS_MAX];
	bool tty;
	struct load_result *best;               /* of a search */
};

/** load_job_prepare - workload or trace, functions, requests: complete o.cfg. Return: 0, -errno with message; load_job_done in either case. */
int load_job_prepare(struct load_job *j, struct hearth_err *err);
void load_job_done(struct load_job *j);

/** load_number - "1500", "1.5k", "2M". Return: 0, -EINVAL (no number, or not min..max). */
int load_number(const char *text, double min, double max, double *ret);

#endif
