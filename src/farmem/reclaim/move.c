// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"
#include "maps.h"
#include "reclaim.h"

/* Having the kernel move memory to its swap. */

static int put(const char *group, const char *file, uint64_t value)
{
	char path[PATH_MAX], text[32];
	FD_AUTO int fd = -1;

	if (snprintf(path, sizeof(path), "%s/%s", group, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int get(const char *group, const char *file, uint64_t *ret)
{
	char path[PATH_MAX], *text = NULL;
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", group, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = file_read(path, 64, &text, NULL);
	if (r == 0)
		*ret = strtoull(text, NULL, 10);
	free(text);
	return r;
}

/* v1: the kernel reclaims until the group fits a limit; then the limit is where it was. An instance that allocates at that moment reclaims too, it is not killed while there is swap. */
static int by_limit(const char *group, uint64_t bytes, uint64_t limit_bytes)
{
	uint64_t usage = 0;
	int r = get(group, "memory.usage_in_bytes", &usage), back;

	if (r == 0)
		r = put(group, "memory.limit_in_bytes", usage > bytes ? usage - bytes : PAGE_BYTES);
	back = limit_bytes ? put(group, "memory.limit_in_bytes", limit_bytes) : put(group, "memory.limit_in_bytes", INT64_MAX & ~(PAGE_BYTES - 1));
	if (r == -EBUSY)
		r = -EAGAIN;
	return r < 0 ? r : back;
}

int reclaim_by_group(const struct reclaim_ways *w, const char *group, uint64_t bytes, uint64_t limit_bytes)
{
	return w->memory_reclaim ? put(group, "memory.reclaim", bytes) : by_limit(group, bytes, limit_bytes);
}

/* ---- by pages ---- */

struct pageout {
	int pidfd, pagemap;
	uint64_t left;          /* bytes still to go */
};

#define ENTRIES 512
#define PRESENT (1ull << 63)

/* how much of a range is resident: what is away already is not counted twice */
static uint64_t resident(int pagemap, uint64_t start, uint64_t end)
{
	uint64_t entry[ENTRIES], sum = 0;

	while (start < end) {
		size_t n = (end - start) / PAGE_BYTES < ENTRIES ? (size_t)((end - start) / PAGE_BYTES) : ENTRIES;

		if (fd_pread_full(pagemap, entry, n * sizeof(*entry), (off_t)(start / PAGE_BYTES * sizeof(*entry))) != (ssize_t)(n * sizeof(*entry)))
			break;
		for (size_t k = 0; k < n; k++)
			sum += entry[k] & PRESENT ? PAGE_BYTES : 0;
		start += n * PAGE_BYTES;
	}
	return sum;
}

static int page_out(void *ctx, uint64_t start, uint64_t end)
{
	struct pageout *p = ctx;

	while (start < end && p->left > 0) {
		uint64_t len = end - start < ENTRIES * PAGE_BYTES ? end - start : ENTRIES * PAGE_BYTES;
		uint64_t have = resident(p->pagemap, start, start + len);
		struct iovec v = { (void *)(uintptr_t)start, len };     /* NOLINT(performance-no-int-to-ptr): an address of another process */

		if (have > 0 && syscall(SYS_process_madvise, p->pidfd, &v, 1ul, MADV_PAGEOUT, 0u) < 0 && errno != EINVAL && errno != ENOMEM)
			return -errno;          /* EINVAL, ENOMEM: locked or huge memory, or it was unmapped: left alone */
		p->left -= have < p->left ? have : p->left;
		start += len;
	}
	return 0;
}

static int page_out_process(pid_t pid, uint64_t *left)
{
	struct pageout p = { .pidfd = pidfd_of(pid), .pagemap = -1, .left = *left };
	char path[64];
	int r = p.pidfd < 0 ? p.pidfd : 0;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	if (r == 0) {
		p.pagemap = open(path, O_RDONLY | O_CLOEXEC);
		r = p.pagemap < 0 ? -errno : maps_anonymous(pid, page_out, &p);
	}
	fd_close(&p.pagemap);
	if (p.pidfd >= 0)
		close(p.pidfd);
	*left = p.left;
	return r;
}

int reclaim_by_pages(pid_t pid, uint64_t bytes)
{
	pid_t *tree = NULL;
	ssize_t n = proc_tree(pid, &tree);
	int r = n < 0 ? (int)n : 0;

	for (ssize_t k = 0; k < n && bytes > 0 && r == 0; k++) {
		r = page_out_process(tree[k], &bytes);
		if (r == -ESRCH || r == -ENOENT)
			r = 0;          /* ended meanwhile */
	}
	free(tree);
	return r;
}
