/* SPDX-License-Identifier: Apache-2.0 */
#include "look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/pagemap.h"
#include "where.h"

int look_spans_add(struct look_spans *s, uint64_t start, uint64_t end)
{
	if (array_grow((void **)&s->v, &s->cap, s->n + 1, sizeof(*s->v)) < 0)
		return -ENOMEM;
	s->v[s->n++] = (struct look_span){ start, end };
	return 0;
}

void look_spans_done(struct look_spans *s)
{
	free(s->v);
	*s = (struct look_spans){ 0 };
}

/* Whose data may be needed while pages are moved: the C library's and the loader's. Of any other file what lies behind it is memory like other memory, and often is: the kernel puts mappings side by side. */
static bool of_libc(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return !strncmp(name, "libc.", 5) || !strncmp(name, "libc-", 5) || !strncmp(name, "libpthread", 10) || !strncmp(name, "ld-", 3) || !strncmp(name, "ld.so", 5);
}

int look_mapping(const char *line, uint64_t *before_end, struct look_span *ret)
{
	unsigned long long start, end, inode;
	uint64_t before = *before_end;
	char perms[8];
	const char *name;
	int at = 0;

	if (sscanf(line, "%llx-%llx %7s %*x %*s %llu %n", &start, &end, perms, &inode, &at) < 4 || !at)
		return -EINVAL;
	*ret = (struct look_span){ start, end };
	name = line + at;
	*before_end = inode && of_libc(name) ? end : 0;
	if (inode || perms[3] != 'p')
		return LOOK_FILE;
	if (*name == '[' && strncmp(name, "[heap]", 6) && strncmp(name, "[stack]", 7) && strncmp(name, "[anon:", 6))
		return LOOK_SPECIAL;
	if (strncmp(perms, "rw-", 3))
		return LOOK_PROTECTION;
	return before == start ? LOOK_BSS : LOOK_COVERED;
}

/* what is left of a mapping without those of ours, which are few and apart */
static int add_without(struct look_spans *s, struct look_span map, const struct look_span *own, size_t own_n, uint64_t bytes[LOOK_REASONS])
{
	for (size_t k = 0; k < own_n; k++) {
		struct look_span o = own[k];

		if (o.end <= map.start || o.start >= map.end)
			continue;
		bytes[LOOK_OWN] += (o.end < map.end ? o.end : map.end) - (o.start > map.start ? o.start : map.start);
		if (o.start > map.start) {
			int r = add_without(s, (struct look_span){ map.start, o.start & ~(PAGE_BYTES - 1) }, own + k + 1, own_n - k - 1, bytes);

			if (r < 0)
				return r;
		}
		map.start = (o.end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	}
	if (map.start >= map.end)
		return 0;
	bytes[LOOK_COVERED] += map.end - map.start;
	return look_spans_add(s, map.start, map.end);
}

int look_mappings(pid_t pid, const struct look_span *own, size_t own_n, struct look_spans *ret, uint64_t bytes[LOOK_REASONS])
{
	uint64_t unused[LOOK_REASONS] = { 0 }, before_end = 0;
	char path[64], *line = NULL;
	size_t cap = 0;
	int r = 0;
	FILE *maps;

	ret->n = 0;
	bytes = bytes ? bytes : unused;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return errno == ENOENT ? -ESRCH : -errno;
	while (r == 0 && getline(&line, &cap, maps) > 0) {
		struct look_span map;
		int why = look_mapping(line, &before_end, &map);

		if (why > LOOK_COVERED)
			bytes[why] += map.end - map.start;
		else if (why == LOOK_COVERED)
			r = add_without(ret, map, own, own_n, bytes);
	}
	free(line);
	fclose(maps);
	return r;
}

/* Return: bytes that are there, -errno */
static int64_t resident(int pagemap, struct look_span in)
{
	struct look_spans runs = { 0 };
	int r = in.start < in.end ? look_present(pagemap, in, &runs) : 0;
	int64_t bytes = 0;

	for (size_t k = 0; k < runs.n; k++)
		bytes += (int64_t)(runs.v[k].end - runs.v[k].start);
	look_spans_done(&runs);
	/* [vsyscall] is none of its addresses */
	return r < 0 && r != -EFAULT ? r : bytes;
}

/* of a mapping that can be paged, those parts that are ours */
static int64_t resident_own(int pagemap, struct look_span map, const struct look_span *own, size_t own_n)
{
	int64_t bytes = 0, some = 0;

	for (size_t k = 0; k < own_n && some >= 0; k++) {
		some = resident(pagemap, (struct look_span){ own[k].start > map.start ? own[k].start & ~(PAGE_BYTES - 1) : map.start, own[k].end < map.end ? own[k].end : map.end });
		bytes += some;
	}
	return some < 0 ? some : bytes;
}

int look_uncovered(pid_t pid, int pagemap, const struct look_span *own, size_t own_n, uint64_t ret[LOOK_REASONS])
{
	uint64_t before_end = 0;
	char path[64], *line = NULL;
	size_t cap = 0;
	int64_t bytes = 0;
	FILE *maps;

	memset(ret, 0, LOOK_REASONS * sizeof(*ret));
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return errno == ENOENT ? -ESRCH : -errno;
	while (bytes >= 0 && getline(&line, &cap, maps) > 0) {
		struct look_span map;
		int why = look_mapping(line, &before_end, &map);

		if (why < 0)
			continue;
		bytes = why == LOOK_COVERED ? resident_own(pagemap, map, own, own_n) : resident(pagemap, map);
		ret[why == LOOK_COVERED ? LOOK_OWN : why] += bytes > 0 ? (uint64_t)bytes : 0;
	}
	free(line);
	fclose(maps);
	return bytes < 0 ? (int)bytes : 0;
}

struct runs {
	struct look_spans *to;
	uint64_t from;                  /* runs before it are not of this scan */
};

static int add_run(void *ctx, const struct page_region *run)
{
	struct runs *r = ctx;
	struct look_span *last = r->to->n ? &r->to->v[r->to->n - 1] : NULL;

	if (!last || last->end < run->start || last->start > run->start || last->start < r->from)
		return look_spans_add(r->to, run->start, run->end);
	last->end = run->end > last->end ? run->end : last->end;
	return 0;
}

int look_present(int pagemap, struct look_span in, struct look_spans *ret)
{
	return pagemap_each(pagemap, in.start, in.end, 0, PAGE_IS_PRESENT, add_run, &(struct runs){ ret, in.start });
}

/* "running", "-1 ..." (waits, but in no system call: not known), or the number of the call it waits in */
static bool thread_outside(int task, const char *tid)
{
	static const long take_away[] = { SYS_madvise, SYS_process_madvise, SYS_io_uring_enter };
	char path[288], text[64];
	ssize_t n;
	long nr;

	snprintf(path, sizeof(path), "%s/syscall", tid);
	FD_AUTO int fd = openat(task, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;         /* it has ended: all it did is done */
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return n < 0 && errno == ESRCH;
	text[n] = '\0';
	if (text[0] < '0' || text[0] > '9')
		return false;
	nr = strtol(text, NULL, 10);
	for (size_t k = 0; k < sizeof(take_away) / sizeof(take_away[0]); k++)
		if (nr == take_away[k])
			return false;
	return true;
}

bool look_outside(pid_t pid)
{
	char path[64];
	bool outside = true;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	if (!d)
		return false;
	while (outside && (e = readdir(d)))
		if (e->d_name[0] != '.')
			outside = thread_outside(dirfd(d), e->d_name);
	closedir(d);
	return outside;
}

unsigned look_running(void)
{
	FD_AUTO int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	char text[64];
	unsigned running;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	return sscanf(text, "%*s %*s %*s %u", &running) == 1 ? running : 0;
}

bool look_crowded(void)
{
	return look_running() > (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

int look_cpu(pid_t pid, pid_t tid)
{
	char path[64], text[1024], *p;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	p = strrchr(text, ')');                 /* field 2; the processor is field 39 */
	for (int k = 2; p && k < 39; k++) {
		p = strchr(p, ' ');
		p = p ? p + 1 : NULL;
	}
	return p ? atoi(p) : -1;
}

uint64_t look_resident(pid_t pid)
{
	char path[64], text[128];
	unsigned long long pages = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return sscanf(text, "%*s %llu", &pages) == 1 ? pages * PAGE_BYTES : 0;
}
