/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_APP_H
#define SCHED_APP_H

#include "base/err.h"
#include "hearth/app.h"

/*
 * Applications. Built-in ones are the same structure that shared objects export. app_rocksdb comes with HEARTH_ROCKSDB: a part that has it sets
 * sched_rocksdb_dep in its meson.build.
 */
extern const struct hearth_app app_spin;
#ifdef HEARTH_ROCKSDB
extern const struct hearth_app app_rocksdb;
#endif

extern const char *const app_names[];   /* of the built-in ones of this build, NULL-terminated */

/**
 * app_load - the application of a name: a built-in one, or a shared object where the name contains a '/' or ends in .so
 * @ret:        a copy at full size: what an older object did not have is NULL
 * @ret_handle: for app_unload; NULL for a built-in one
 * Return: 0, -ENOENT (no such application, with those there are), -ELIBACC (the object cannot be loaded or has no hearth_app), -EINVAL (wrong ABI, no handle).
 */
int app_load(const char *name, struct hearth_app *ret, void **ret_handle, struct hearth_err *err);
void app_unload(void *handle);

#endif
