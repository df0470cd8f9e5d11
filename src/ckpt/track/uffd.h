/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_TRACK_UFFD_H
#define CKPT_TRACK_UFFD_H

#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>

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
#ifndef PAGEMAP_SCAN
struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct page_region { uint64_t start, end, categories; };
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#define PM_SCAN_WP_MATCHING (1 << 0)
#define PAGE_IS_WPALLOWED (1 << 0)
#define PAGE_IS_WRITTEN (1 << 1)
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_SWAPPED (1 << 4)
#define PAGE_IS_PFNZERO (1 << 5)
#endif

/** uffd_enable - a new userfaultfd, of whatever process, for async write protection. Return: 0, -errno. */
int uffd_enable(int uffd);
/** uffd_protect_range - register a mapping, which its owner may have changed meanwhile. Return: 0, -errno. */
int uffd_protect_range(int uffd, uint64_t start, uint64_t end);

/** inject_uffd - have a process make a userfaultfd, fetch it and close it there. Return: descriptor, -errno. Stops the process for a moment; the caller must not be killed meanwhile. */
int inject_uffd(int pid);

#endif
