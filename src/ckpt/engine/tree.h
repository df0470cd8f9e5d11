/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_TREE_H
#define CKPT_ENGINE_TREE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/**
 * tree_inspect - what a process tree consists of, as it goes into an image's meta data; refuses what CRIU can't dump or nobody could restore, and says why
 * @ret: {"root", "starttime", "pids": [every thread], "processes": [...], "pipes": [{"inode", "fd", "write"}], "files": [{"path", "size"}], "tcp": connections with the outside}
 * Context: the tree may run. What appears later is found by CRIU, which then fails without harm. Return: 0, -ESRCH, -EOPNOTSUPP (refused), -ENOMEM, -errno.
 */
int tree_inspect(pid_t root, json_t **ret, struct hearth_err *err);
/** tree_files - [{"path", "size"}] of the regular files that a tree, which stands still, has open. Return: new array, NULL without memory. */
json_t *tree_files(pid_t root);
/** tree_pids - every thread of a tree. Return: new array, NULL. */
json_t *tree_pids(pid_t root);
/** tree_uses_gpu - whether a process has descriptors of the driver's: what they are connected to, only the driver can put back */
bool tree_uses_gpu(pid_t pid);
/** tree_devices_write - whether devices may write to memory of a process behind the back of its page tables: it has files open with O_DIRECT, or a GPU */
bool tree_devices_write(pid_t pid);
/**
 * tree_work_folder - a new folder for CRIU's files, in memory where there is a tmpfs; those that killed processes left are removed
 * @ret_lock: descriptor that keeps others from removing it, for as long as it is open, in this process or a child
 * Return: 0, -errno.
 */
int tree_work_folder(char *ret, size_t n, int *ret_lock, struct hearth_err *err);

/** tree_work_room - @r, or, if it is an error and no room is left where the work folder is, -ENOSPC, and that told instead of what came of it */
int tree_work_room(const char *work, int r, struct hearth_err *err);

#endif
