/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_CAPTURE_H
#define SHIM_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"

/*
 * Streams that record what they are given into a graph. To wait for a context while one of its streams does that would spoil the recording, so who wants to wait lets captures end first.
 */
/** capture_any - is a capture going on. Context: takes shim_lock. */
bool capture_any(void) SHIM_HIDDEN;
/** capture_wait - until none goes on. Return: 0, -ETIMEDOUT. */
int capture_wait(uint64_t deadline_ns) SHIM_HIDDEN;
/** capture_ctx_gone - with a context its captures end */
void capture_ctx_gone(CUcontext handle) SHIM_HIDDEN;
void capture_fork_child(void) SHIM_HIDDEN;

#endif
