/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_MAPPED_H
#define CKPT_MAPPED_H

#include <sys/types.h>

#include "base/err.h"

/*
 * Programs and libraries are not in an image: a restored process maps them again. Were one changed meanwhile, old memory would run on new code; CRIU compares
 * sizes and build ids, which a program may have none of. So an image says which of the host's files its processes map: inode, size, time of change.
 */

/** mapped_save - write the list for a process and all below it, which must stand still. @dir: the image's folder. Return: 0, -errno with message. */
int mapped_save(pid_t root, const char *dir, struct hearth_err *err);
/** mapped_check - are all of them as they were? Return: 0, -ESTALE (one is not: told in @err), -EBADMSG, -errno. No list: 0, an older image. */
int mapped_check(const char *dir, struct hearth_err *err);

#endif
