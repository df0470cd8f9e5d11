/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_DETACH_H
#define SHIM_DETACH_H

#include <stdint.h>

#include "driver.h"

/* Memory goes, its addresses stay; and it comes back. All of it: the service thread, with the gate closed. Results: a CUresult (positive) or -errno. */

/** detach_all - unmap and release all buffers. On failure all are as before. */
int detach_all(void) SHIM_HIDDEN;
/**
 * detach_create - make the memory of a buffer anew, where it was
 * @ret_fd: exported handle, the caller's
 * Return: 0, -ENOENT (no such buffer), -EEXIST (it has memory), CUresult.
 */
int detach_create(uint64_t id, int *ret_fd) SHIM_HIDDEN;
/** detach_finish - memory that the keeper does not know of, as nobody has written to it, is made anew. Return: 0, -ENODATA (a buffer has no memory yet), CUresult. */
int detach_finish(void) SHIM_HIDDEN;
/** detach_undo - release what came back so far; its contents are not the program's */
void detach_undo(void) SHIM_HIDDEN;

#endif
