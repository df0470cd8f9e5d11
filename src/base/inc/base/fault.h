/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

/** fault_point - named fault point for tests: dies by SIGKILL if $HEARTH_FAULT is @name; returns true if it is "fail:@name" */
bool fault_point(const char *name);

#endif
