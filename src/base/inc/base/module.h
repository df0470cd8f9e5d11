/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MODULE_H
#define BASE_MODULE_H

#include <stddef.h>

#include "base/err.h"

/* What needs a library which not every machine has is a shared object, so that programs start without it, and as fast. */

/**
 * module_find - where a module is: in $HEARTH_MODULES, beside the program, in ../libexec/hearth from there
 * @what, @package: for the message: "DPDK", "libdpdk-dev"
 * Return: 0, -EOPNOTSUPP with message.
 */
int module_find(const char *file, const char *what, const char *package, char *ret_path, size_t n, struct hearth_err *err);

/**
 * module_load - load one for good: libraries like DPDK's leave threads behind
 * @symbol: what it exports, a struct that begins with a const char *version: HEARTH_VERSION of its build. Another one is refused: what is between a module and its user is internal.
 * Return: 0, -EOPNOTSUPP with message.
 */
int module_load(const char *file, const char *what, const char *package, const char *symbol, const void **ret, struct hearth_err *err);

#endif
