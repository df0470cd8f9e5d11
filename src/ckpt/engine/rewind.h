/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_REWIND_H
#define CKPT_ENGINE_REWIND_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/**
 * rewind_files - are the files that a program had open as long as they were?
 * @files: [{"path", "size"}]; @cut: those that grew are cut, after what is cut off went to PATH.after-IMAGE
 * All are looked at before one is touched. Return: 0, -ESTALE (one is gone, or has another size: told with what to do), -errno.
 */
int rewind_files(const json_t *files, const char *image, bool cut, struct hearth_err *err);

#endif
