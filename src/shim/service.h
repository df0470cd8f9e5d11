/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHIM_SERVICE_H
#define SHIM_SERVICE_H

#include "driver.h"

/**
 * service_start - the thread that does what the keeper asks
 * @socket: of the keeper; @name: of the program. Both stay valid.
 * Return: 0, -errno.
 */
int service_start(const char *socket, const char *name) SHIM_HIDDEN;
void service_fork_child(void) SHIM_HIDDEN;

#endif
