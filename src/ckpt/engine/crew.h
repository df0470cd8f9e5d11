/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_CREW_H
#define CKPT_ENGINE_CREW_H

#include <stddef.h>

#include "base/err.h"

/**
 * crew_run - do @n pieces of work by several threads, this one among them; in order of beginning, not of end
 * @work: one piece, thread-safe; its first error ends the rest, and is told
 * Return: 0, the first error. A thread that can't be had is done without.
 */
typedef int (*crew_fn)(void *ctx, size_t piece, struct hearth_err *err);
int crew_run(size_t n, crew_fn work, void *ctx, struct hearth_err *err);

#endif
