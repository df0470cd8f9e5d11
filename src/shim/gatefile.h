/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_GATEFILE_H
#define SHIM_GATEFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/wire.h"

/* The gate file (struct shim_gate). Everything is harmless without one, but for waiting. */
#define GATEFILE_HIDDEN __attribute__((visibility("hidden")))

/** gatefile_map - the file at @path, which must be a gate file of our version; no descriptor stays open. Return: 0, -errno, -EINVAL. */
int gatefile_map(const char *path) GATEFILE_HIDDEN;
bool gatefile_there(void) GATEFILE_HIDDEN;
void gatefile_state(enum shim_state state, bool closed) GATEFILE_HIDDEN;
uint32_t gatefile_wakes(void) GATEFILE_HIDDEN;
/** gatefile_wait - until somebody has changed the wake word from @wakes */
void gatefile_wait(uint32_t wakes) GATEFILE_HIDDEN;

#endif
