/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PAGEMAP_H
#define BASE_PAGEMAP_H

#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

/* Linux 6.7's, which older headers lack */
#ifndef PAGEMAP_SCAN
struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct page_region {
	uint64_t start, end, categories;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#define PM_SCAN_WP_MATCHING (1 << 0)
#define PAGE_IS_WPALLOWED (1 << 0)
#define PAGE_IS_WRITTEN (1 << 1)
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_SWAPPED (1 << 4)
#define PAGE_IS_PFNZERO (1 << 5)
#endif

/** pagemap_open - of a process as it is now: after an exec it goes on showing the memory from before. Return: descriptor, -ESRCH, -errno. */
int pagemap_open(pid_t pid);
/**
 * pagemap_each - runs of pages with contents, resident or swapped out, in [start, end)
 * The kernel may tell of a page twice.
 * @flags:  of the scan (PM_SCAN_WP_MATCHING); @categories: PAGE_IS_*, that are wanted of a run
 * @each:   Return: 0, or an error that ends it
 * Return: 0, -errno (-ENOTTY: before Linux 6.7), or that of @each.
 */
int pagemap_each(int pagemap, uint64_t start, uint64_t end, uint64_t flags, uint64_t categories, int (*each)(void *ctx, const struct page_region *run), void *ctx);

#endif
