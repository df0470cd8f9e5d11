/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "track_private.h"
#include "uffd.h"

#define PAGE 4096ull

int uffd_enable(int uffd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_PAGEFAULT_FLAG_WP };

	return ioctl(uffd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

int uffd_protect_range(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = { .range = { start, end - start }, .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(uffd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

/* a mapping whose pages CRIU may leave to us: private and of no file. What it keeps after all is told by its own list. */
static bool anonymous(const char *line, struct track_span *ret)
{
	unsigned long long start, end, inode;
	char perms[8], *name;
	int at = 0;

	if (sscanf(line, "%llx-%llx %7s %*x %*s %llu %n", &start, &end, perms, &inode, &at) < 4 || perms[3] != 'p' || inode)
		return false;
	name = (char *)line + at;
	if (*name == '/' || !strncmp(name, "[v", 2))    /* [vdso], [vvar], [vvar_vclock], [vsyscall] */
		return false;
	*ret = (struct track_span){ start, end, true };
	return true;
}

static int add(struct track_spans *s, struct track_span span)
{
	struct track_span *last = s->n ? &s->v[s->n - 1] : NULL;

	if (last && last->end == span.start && last->dirty == span.dirty) {
		last->end = span.end;
		return 0;
	}
	if (array_grow((void **)&s->v, &s->cap, s->n + 1, sizeof(*s->v)) < 0)
		return -ENOMEM;
	s->v[s->n++] = span;
	return 0;
}

int track_mappings(pid_t pid, struct track_spans *ret)
{
	char path[64], *line = NULL;
	size_t cap = 0;
	int r = 0;
	FILE *maps;

	ret->n = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	if (!maps)
		return errno == ENOENT ? -ESRCH : -errno;
	while (r == 0 && getline(&line, &cap, maps) > 0) {
		struct track_span span;

		if (!anonymous(line, &span))
			continue;
		/* adjacent mappings stay apart: each is registered by itself */
		if (array_grow((void **)&ret->v, &ret->cap, ret->n + 1, sizeof(*ret->v)) < 0)
			r = -ENOMEM;
		else
			ret->v[ret->n++] = span;
	}
	free(line);
	fclose(maps);
	return r;
}

struct scan {
	struct track_spans *to;
	bool tracked;
};

/* A page is clean if it is not written and its mapping is protected: mappings that were moved, or made since, keep no protection, and their pages are dirty. */
static int add_run(void *ctx, const struct page_region *run)
{
	const struct scan *s = ctx;

	return add(s->to, (struct track_span){ run->start, run->end, !s->tracked || (run->categories & PAGE_IS_WRITTEN) || !(run->categories & PAGE_IS_WPALLOWED) });
}

/* with protection, mappings that are not protected are passed over by the kernel: those are looked at without */
static int scan_mapping(int pagemap, int uffd, struct track_span map, bool protect, struct track_spans *ret)
{
	bool ours = uffd >= 0 && (!protect || uffd_protect_range(uffd, map.start, map.end) == 0);

	return pagemap_each(pagemap, map.start, map.end, protect && ours ? PM_SCAN_WP_MATCHING : 0, PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN, add_run, &(struct scan){ ret, uffd >= 0 });
}

static int by_address(const void *a, const void *b)
{
	const struct track_span *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* the kernel may tell of pages twice, which GET alone has been seen to do: once, and dirty if either says so */
static void tidy(struct track_spans *s)
{
	size_t n = 0;
	bool sorted = true;

	for (size_t k = 1; k < s->n && sorted; k++)
		sorted = s->v[k].start >= s->v[k - 1].end;
	if (sorted)
		return;
	qsort(s->v, s->n, sizeof(*s->v), by_address);
	for (size_t k = 0; k < s->n; k++) {
		struct track_span *last = n ? &s->v[n - 1] : NULL, span = s->v[k];

		if (last && span.start < last->end) {
			last->end = span.end > last->end ? span.end : last->end;
			last->dirty |= span.dirty;
		} else {
			s->v[n++] = span;
		}
	}
	s->n = n;
}

int track_scan_pages(pid_t pid, int uffd, bool protect, struct track_spans *ret)
{
	struct track_spans maps = { 0 };
	int r = track_mappings(pid, &maps);
	FD_AUTO int pagemap = pagemap_open(pid);

	if (r == 0 && pagemap < 0)
		r = pagemap;
	ret->n = 0;
	for (size_t k = 0; k < maps.n && r == 0; k++)
		r = scan_mapping(pagemap, uffd, maps.v[k], protect, ret);
	tidy(ret);
	track_spans_done(&maps);
	return r;
}

void track_spans_done(struct track_spans *s)
{
	free(s->v);
	*s = (struct track_spans){ 0 };
}

/* a page that is written, protected, found clean, written again and found dirty */
static bool probe(void)
{
	uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FD_AUTO int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	FD_AUTO int pagemap = pagemap_open(getpid());
	struct track_span map = { (uintptr_t)page, (uintptr_t)page + PAGE, true };
	struct track_spans s = { 0 };
	bool ok = page != MAP_FAILED && uffd >= 0 && pagemap >= 0 && uffd_enable(uffd) == 0 && uffd_protect_range(uffd, map.start, map.end) == 0;

	for (int k = 0; k < 2 && ok; k++) {
		*(volatile uint8_t *)page = 1;
		s.n = 0;
		ok = scan_mapping(pagemap, uffd, map, true, &s) == 0 && s.n == 1 && s.v[0].dirty;
		s.n = 0;
		ok = ok && scan_mapping(pagemap, uffd, map, false, &s) == 0 && s.n == 1 && !s.v[0].dirty;
	}
	track_spans_done(&s);
	if (page != MAP_FAILED)
		munmap(page, PAGE);
	return ok;
}

bool track_supported(void)
{
	static int known;               /* 1 no, 2 yes; probing twice at once does no harm */

	if (!known)
		known = 1 + probe();
	return known == 2;
}
