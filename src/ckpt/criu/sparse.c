/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other half of hearth-criu-leave.so: memcpy() for CRIU, which copies a table with room for every page that the program's private mappings could have, though it has used a few entries of it. A program
 * with a GPU reserves as much address space as it has device memory, and more: 150 MB are copied for 16 GB, 0.17 s in which the program stands still. Large copies from anonymous memory skip what was
 * never touched and so is zeros; at the destination it is made zeros, by giving the memory back where it can be.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../track/uffd.h"
#include "leave.h"

#define PAGE 4096ull
#define LARGE_BYTES (16ull << 20)
#define WORTH_BYTES (64ull << 10)       /* to be given back rather than overwritten */
#define REGIONS 512

/* all of it is private anonymous memory, so that what has no page is zeros */
static bool is_anonymous(uint64_t start, uint64_t end)
{
	char *line = NULL;
	size_t room = 0;
	FILE *f = fopen("/proc/self/maps", "re");

	while (f && start < end && getline(&line, &room, f) > 0) {
		unsigned long long from, to, inode;
		char kind;

		if (sscanf(line, "%llx-%llx %*3c%c %*x %*x:%*x %llu", &from, &to, &kind, &inode) == 4 && from <= start && start < to) {
			if (kind != 'p' || inode != 0)
				break;
			start = to;
		}
	}
	free(line);
	if (f)
		fclose(f);
	return start >= end;
}

static void make_zeros(uint8_t *to, size_t n)
{
	uint8_t *from = (uint8_t *)(((uintptr_t)to + PAGE - 1) & ~(PAGE - 1)), *end = (uint8_t *)(((uintptr_t)to + n) & ~(PAGE - 1));

	if (n < WORTH_BYTES || madvise(from, (size_t)(end - from), MADV_REMOVE) < 0) {
		memset(to, 0, n);
		return;
	}
	memset(to, 0, (size_t)(from - to));
	memset(end, 0, (size_t)(to + n - end));
}

/* Return: how much is done */
static size_t copy_touched(uint8_t *to, const uint8_t *from, size_t n)
{
	static struct page_region v[REGIONS];
	uint64_t at = (uintptr_t)from, end = at + n;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	while (pagemap >= 0 && at < end) {
		struct pm_scan_arg a = { .size = sizeof(a), .start = at & ~(PAGE - 1), .end = (end + PAGE - 1) & ~(PAGE - 1), .vec = (uintptr_t)v, .vec_len = REGIONS,
					 .category_inverted = PAGE_IS_PFNZERO, .category_mask = PAGE_IS_PFNZERO, .category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED, .return_mask = PAGE_IS_PRESENT };
		int found = leave_real_ioctl(pagemap, PAGEMAP_SCAN, &a);

		if (found < 0 || a.walk_end <= at)
			break;
		for (int k = 0; k <= found; k++) {
			uint64_t start = k < found ? v[k].start : a.walk_end, stop = k < found ? v[k].end : a.walk_end;

			start = start < at ? at : start > end ? end : start;
			stop = stop > end ? end : stop;
			make_zeros(to + (at - (uintptr_t)from), start - at);
			if (stop > start)
				memmove(to + (start - (uintptr_t)from), from + (start - (uintptr_t)from), stop - start);
			at = stop > start ? stop : start;
		}
	}
	if (pagemap >= 0)
		close(pagemap);
	return at - (uintptr_t)from;
}

__attribute__((visibility("default"))) void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	size_t done = 0;

	if (n >= LARGE_BYTES && is_anonymous((uintptr_t)from, (uintptr_t)from + n))
		done = copy_touched(to, from, n);
	memmove((uint8_t *)to + done, (const uint8_t *)from + done, n - done);
	return to;
}
