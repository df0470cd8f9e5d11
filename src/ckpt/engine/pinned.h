/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_PINNED_H
#define CKPT_ENGINE_PINNED_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/*
 * Host memory that the driver pins when it restores a process. The kernel does not wait for a page of it that is still to be filled in, so all of it must be there before (struct shim_host).
 */

/** pinned_known - whether an image's processes say which memory that is. @gpu: what gpu_describe() gave; NULL: no process uses a GPU. Otherwise it may be any, and the whole must be there. */
bool pinned_known(const json_t *gpu);
/**
 * pinned_fill - have it filled in
 * Context: the processes are restored, their pager fills in what is asked for. Return: 0, -ESRCH (one is gone), -ENOMEM, -errno.
 */
int pinned_fill(const json_t *gpu, struct hearth_err *err);

#endif
