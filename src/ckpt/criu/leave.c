/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hearth-criu-leave.so, preloaded into `criu dump --lazy-pages`: CRIU is not told of the pages of large private anonymous mappings, which we read ourselves.
 *
 * CRIU asks the kernel which pages there are (PAGEMAP_SCAN) and has the program map each of them into pipes, for whoever might want them: half a second for 4 GiB, while the tree stands still, and in vain.
 * Here the answers for such mappings are taken out and noted instead, in the file left-PID of the folder in $HEARTH_CRIU_LEFT, as pairs of addresses; pagemap_take_left() adds them to CRIU's own list
 * as the lazy pages that they are. Which those are is what the kernel said to CRIU's own question. Where anything is not as expected CRIU gets the answer whole, as it does without this library.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../track/uffd.h"
#include "leave.h"

#define LEAST_BYTES (1ull << 20)        /* below, CRIU's way costs nothing */
#define GUARD (1ull << 8)               /* PAGE_IS_GUARD: no contents */

struct range { uint64_t start, end; };

/* of the process that CRIU is at; it stands still, so they stay */
static struct { int pid, file; off_t noted; struct range *v; size_t n, cap; } large = { .file = -1 };

int leave_real_ioctl(int fd, unsigned long request, void *arg)
{
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

static bool add(uint64_t start, uint64_t end)
{
	if (large.n == large.cap) {
		size_t more = large.cap ? large.cap * 2 : 256;
		struct range *v = realloc(large.v, more * sizeof(*v));

		if (!v)
			return false;
		large.v = v;
		large.cap = more;
	}
	large.v[large.n++] = (struct range){ start, end };
	return true;
}

/* CRIU dumps pages of locked mappings with the rest */
static bool has_locked(int pid)
{
	char path[64], line[256];
	unsigned long long kib = 1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmLck: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib != 0;
}

static bool read_maps(int pid)
{
	char path[64], *line = NULL;
	size_t room = 0;
	bool ok = !has_locked(pid);
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = ok ? fopen(path, "re") : NULL;
	ok = f != NULL;
	while (ok && getline(&line, &room, f) > 0) {
		unsigned long long start, end, inode;
		char kind;
		int name = 0;

		if (sscanf(line, "%llx-%llx %*3c%c %*x %*x:%*x %llu%*[ ]%n", &start, &end, &kind, &inode, &name) < 4) {
			ok = false;
		} else if (kind == 'p' && inode == 0 && end - start >= LEAST_BYTES) {
			const char *text = name ? line + name : "\n";

			if (*text == '\n' || !strncmp(text, "[heap]", 6) || !strncmp(text, "[anon:", 6))
				ok = add(start, end);
		}
	}
	free(line);
	if (f)
		fclose(f);
	return ok;
}

/* of the process whose pagemap @fd is. Return: false: CRIU gets all answers. */
static bool know(int fd)
{
	const char *folder = getenv(LEAVE_FOLDER);
	char link[64], path[PATH_MAX];
	ssize_t n;
	int pid = 0;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (!folder || n <= 0)
		return false;
	path[n] = '\0';
	if (sscanf(path, "/proc/%d/pagemap", &pid) != 1 || pid <= 0 || pid == getpid())
		return false;
	if (pid == large.pid)
		return large.file >= 0;
	if (large.file >= 0)
		close(large.file);
	large.pid = pid;
	large.n = 0;
	large.file = -1;
	if (!read_maps(pid))
		return false;
	snprintf(path, sizeof(path), "%s/" LEAVE_FILE "%d", folder, pid);
	large.file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	/* there is something already if CRIU comes back to a process */
	large.noted = large.file < 0 ? 0 : lseek(large.file, 0, SEEK_END) & ~(off_t)(sizeof(struct range) - 1);
	return large.file >= 0;
}

/* Return: how many pieces of a region are in no large mapping, at @ret, or are, at @left */
static void divide(struct page_region region, struct page_region *ret, size_t *ret_n, struct range *left, size_t *left_n)
{
	size_t lo = 0, hi = large.n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (large.v[mid].end <= region.start)
			lo = mid + 1;
		else
			hi = mid;
	}
	while (region.start < region.end) {
		struct page_region piece = region;
		bool in = lo < large.n && large.v[lo].start <= region.start;

		if (lo < large.n)
			piece.end = in ? large.v[lo].end : large.v[lo].start;
		if (lo == large.n || piece.end > region.end)
			piece.end = region.end;
		if (in)
			left[(*left_n)++] = (struct range){ piece.start, piece.end };
		else
			ret[(*ret_n)++] = piece;
		lo += in;
		region.start = piece.end;
	}
}

/*
 * Each mapping's border adds a piece at most, so the room for both kinds of pieces is what the answer has and two a mapping. What was noted in part is written over, or stays as the last: then
 * CRIU has it too, which does no harm. Return: regions that are left, or @n where that could not be done.
 */
static long leave(struct page_region *v, long n, size_t most)
{
	size_t room = (size_t)n + 2 * large.n + 2, kept_n = 0, left_n = 0;
	struct page_region *kept = malloc(room * sizeof(*kept));
	struct range *left = malloc(room * sizeof(*left));
	long r = n;

	for (long k = 0; kept && left && k < n; k++) {
		if (v[k].categories & GUARD)
			kept[kept_n++] = v[k];
		else
			divide(v[k], kept, &kept_n, left, &left_n);
	}
	if (kept && left && left_n && kept_n <= most) {
		size_t bytes = left_n * sizeof(*left);

		if (pwrite(large.file, left, bytes, large.noted) == (ssize_t)bytes) {
			large.noted += (off_t)bytes;
			memcpy(v, kept, kept_n * sizeof(*kept));
			r = (long)kept_n;
		}
	}
	free(kept);
	free(left);
	return r;
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
	int saved = errno, r;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	r = leave_real_ioctl(fd, request, arg);
	if (request == PAGEMAP_SCAN && r > 0) {
		struct pm_scan_arg *scan = arg;

		if (know(fd))
			r = (int)leave((struct page_region *)(uintptr_t)scan->vec, r, scan->vec_len);
		errno = saved;
	}
	return r;
}
