/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_HOST_H
#define SHIM_HOST_H

#include "driver.h"

/** host_fork_child - a child has none of its parent's: neither pinned memory nor the table */
void host_fork_child(void) SHIM_HIDDEN;

#endif
