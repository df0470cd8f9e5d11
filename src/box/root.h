/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOX_ROOT_H
#define BOX_ROOT_H

#include <stdint.h>

#include "base/err.h"

/*
 * The root of a sandbox: a skeleton folder on the host (one a function, shared by its instances, read-only inside) with mount points for what
 * the host shows through: every one at its own path, read-only.
 */

/**
 * root_mounts - what a sandbox shows: system folders, device nodes, the function's folder, @extra, and what is mounted inside of those
 * @directory, @extra: absolute; those inside a folder already shown are left out; may be NULL
 * @ret: NULL-terminated, an outer one before those inside it, list_free()
 * Return: 0, -ENOENT (one does not exist), -EINVAL (not absolute), -ENOMEM, -errno (/proc unreadable).
 */
int root_mounts(const char *directory, const char *const *extra, char ***ret, struct hearth_err *err);
void list_free(char **list);

/**
 * root_prepare - make or complete a skeleton on disk
 * @init: copied to .hearth/init unless an identical one is there
 * Any number of processes may do it at the same time for one skeleton. Return: 0, -errno.
 */
int root_prepare(const char *root, const char *init, char *const *mounts, struct hearth_err *err);

/**
 * root_enter - mount everything and make it this process's root; for a process alone in a fresh mount and PID name space
 * @tmp_max_bytes: size of /tmp, 0: 64 MiB
 */
int root_enter(const char *root, char *const *mounts, uint64_t tmp_max_bytes, struct hearth_err *err);

#endif
