/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_TRACK_UFFD_H
#define CKPT_TRACK_UFFD_H

#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "base/pagemap.h"

/* Linux 6.7's, which older headers lack */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

/** uffd_enable - a new userfaultfd, of whatever process, for async write protection. Return: 0, -errno. */
int uffd_enable(int uffd);
/** uffd_protect_range - register a mapping, which its owner may have changed meanwhile. Return: 0, -errno. */
int uffd_protect_range(int uffd, uint64_t start, uint64_t end);

/** inject_uffd - have a process make a userfaultfd, fetch it and close it there. Return: descriptor, -errno. Stops the process for a moment; the caller must not be killed meanwhile. */
int inject_uffd(int pid);

#endif
