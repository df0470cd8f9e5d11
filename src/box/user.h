/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOX_USER_H
#define BOX_USER_H

#include <sys/types.h>

#include "base/err.h"

#define USER_NOBODY 65534

/** user_resolve - a name, "uid:gid", or NULL for nobody's 65534:65534. Return: 0, -EINVAL, -ENOENT. */
int user_resolve(const char *text, uid_t *ret_uid, gid_t *ret_gid, struct hearth_err *err);
/**
 * user_become - give up every privilege for good: groups, ids, all capability sets, no_new_privs
 * Without privileges only what is possible is done. Return: 0, -errno.
 */
int user_become(uid_t uid, gid_t gid, struct hearth_err *err);

#endif
