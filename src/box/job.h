/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOX_JOB_H
#define BOX_JOB_H

#include <jansson.h>

#include "base/err.h"
#include "spec.h"

/*
 * Each job fills @out with what its result line carries besides "ok", or says what went wrong in @err. Return: 0, -errno.
 * A job that must go on in the background (the pager, the minder of a parking) does so in processes of its own.
 */
int job_start(const struct spec *spec, json_t *out, struct hearth_err *err);
int job_park(const struct spec *spec, json_t *out, struct hearth_err *err);
int job_resume(const struct spec *spec, json_t *out, struct hearth_err *err);
int job_wake(const struct spec *spec, json_t *out, struct hearth_err *err);
int job_verify(const struct spec *spec, json_t *out, struct hearth_err *err);
int job_probe(const struct spec *spec, json_t *out, struct hearth_err *err);

/** job_report - a result line: @out, with "ok" and what went wrong added. Return: 0, -ENOMEM, -EPIPE (nobody takes it), -errno. */
int job_report(json_t *out, int r, const struct hearth_err *err);

/**
 * job_die_with_parent - be killed when the parent ends, which may have happened already
 * @pipe:  to the parent, which holds the only descriptor of the other end; what the caller inherited of it is closed
 * @fault: fault point: fail:@fault goes on only when the parent has ended
 */
void job_die_with_parent(int pipe, const char *fault);

#endif
