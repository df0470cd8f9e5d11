/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_STAGE_H
#define DS_STAGE_H

#include "pump.h"

/**
 * stage_transfer - an operation in this thread, with one of the context's pumps
 * @op: file, memory, pair, path, ranges and @write are set; other paths are tried where that one fails, and @op->path is the one that it came to
 * Return: bytes, -errno.
 */
ssize_t stage_transfer(struct op *op, struct hearth_err *err);

#endif
