/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define REGIONS 512             /* what the kernel collects before it writes: of more it has been seen to tell of some twice */

int pagemap_open(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? errno == ENOENT ? -ESRCH : -errno : fd;
}

int pagemap_each(int pagemap, uint64_t start, uint64_t end, uint64_t flags, uint64_t categories, int (*each)(void *ctx, const struct page_region *run), void *ctx)
{
	struct page_region v[REGIONS];
	struct pm_scan_arg a = { .size = sizeof(a), .flags = flags, .start = start, .end = end, .vec = (uintptr_t)v, .vec_len = REGIONS, .category_inverted = PAGE_IS_PFNZERO,
		.category_mask = PAGE_IS_PFNZERO, .category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED, .return_mask = categories };
	int r = 0;

	while (a.start < a.end && r == 0) {
		int n = ioctl(pagemap, PAGEMAP_SCAN, &a);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (int k = 0; k < n && r == 0; k++)
			r = each(ctx, &v[k]);
		a.start = a.walk_end;
	}
	return r;
}
