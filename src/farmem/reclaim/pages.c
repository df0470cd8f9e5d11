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

#include "base/buf.h"
#include "base/fd.h"
#include "base/proc.h"
#include "maps.h"
#include "reclaim.h"

/*
 * Which pages are in swap, seen in /proc/PID/pagemap, and which of them a request then needed. A page that was read ahead stays a swap entry of the page table until it is touched, so that what was of use shows.
 */

#define ENTRIES 512
#define PRESENT (1ull << 63)
#define SWAPPED (1ull << 62)
#define ADVISE_MAX 512          /* ranges a call */

void away_done(struct away *a)
{
	free(a->v);
	*a = (struct away){ 0 };
}

static int compare(const struct away_page *a, const struct away_page *b)
{
	if (a->pid != b->pid)
		return a->pid < b->pid ? -1 : 1;
	return a->page < b->page ? -1 : a->page > b->page;
}

struct look {
	const struct away *before;
	size_t at;                      /* in @before: both are in the same order */
	struct away *out;
	pid_t pid;
	int pagemap;
};

static int append(struct look *l, const struct away_page *p)
{
	int r = array_grow((void **)&l->out->v, &l->out->cap, l->out->n + 1, sizeof(*l->out->v));

	if (r == 0)
		l->out->v[l->out->n++] = *p;
	return r;
}

/* what was known and comes before @p, or all that is left: it is here, and is remembered if it was of use; not what has ended or was never used */
static int carry_until(struct look *l, const struct away_page *p)
{
	int r = 0;

	for (; r == 0 && l->before && l->at < l->before->n && (!p || compare(&l->before->v[l->at], p) < 0); l->at++) {
		struct away_page old = l->before->v[l->at];

		old.here = true;
		old.fetched = false;
		if (old.seen && old.pid == l->pid)
			r = append(l, &old);
	}
	return r;
}

static int add(struct look *l, uint64_t page)
{
	struct away_page p = { .pid = l->pid, .page = page };
	int r = carry_until(l, &p);

	if (r == 0 && l->before && l->at < l->before->n && compare(&l->before->v[l->at], &p) == 0) {
		p = l->before->v[l->at++];
		p.here = false;
	}
	return r < 0 ? r : append(l, &p);
}

static int look_range(void *ctx, uint64_t start, uint64_t end)
{
	struct look *l = ctx;
	uint64_t entry[ENTRIES];
	int r = 0;

	while (start < end && r == 0) {
		size_t n = (end - start) / PAGE_BYTES < ENTRIES ? (size_t)((end - start) / PAGE_BYTES) : ENTRIES;

		if (fd_pread_full(l->pagemap, entry, n * sizeof(*entry), (off_t)(start / PAGE_BYTES * sizeof(*entry))) != (ssize_t)(n * sizeof(*entry)))
			return 0;
		for (size_t k = 0; k < n && r == 0; k++)
			if (entry[k] & SWAPPED)
				r = add(l, start / PAGE_BYTES + k);
		start += n * PAGE_BYTES;
	}
	return r;
}

static int open_pagemap(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int by_pid(const void *a, const void *b)
{
	return *(const pid_t *)a < *(const pid_t *)b ? -1 : *(const pid_t *)a > *(const pid_t *)b;
}

int away_look(pid_t pid, const struct away *before, struct away *ret)
{
	struct away out = { 0 };
	struct look l = { .before = before, .out = &out };
	pid_t *tree = NULL;
	ssize_t n = proc_tree(pid, &tree);
	int r = n < 0 ? (int)n : 0;

	if (n > 1)
		qsort(tree, (size_t)n, sizeof(*tree), by_pid);
	for (ssize_t k = 0; k < n && r == 0; k++) {
		l.pid = tree[k];
		l.pagemap = open_pagemap(tree[k]);
		if (l.pagemap < 0)
			continue;               /* ended meanwhile */
		r = maps_anonymous(tree[k], look_range, &l);
		fd_close(&l.pagemap);
		if (r == -ESRCH)
			r = 0;
		if (r == 0)
			r = carry_until(&l, &(struct away_page){ .pid = tree[k] + 1 });
	}
	free(tree);
	if (r < 0)
		away_done(&out);
	else
		*ret = out;
	return r;
}

static bool used_now(int pagemap, uint64_t page)
{
	uint64_t entry = 0;

	return fd_pread_full(pagemap, &entry, sizeof(entry), (off_t)(page * sizeof(entry))) == (ssize_t)sizeof(entry) && entry & PRESENT;
}

void away_settle(struct away *a, uint64_t *ret_used, uint64_t *ret_hits)
{
	uint64_t used = 0, hits = 0;
	int pagemap = -1;
	pid_t pid = 0;

	for (size_t k = 0; k < a->n; k++) {
		struct away_page *p = &a->v[k];
		bool now;

		if (p->here)
			continue;
		if (p->pid != pid) {
			fd_close(&pagemap);
			pid = p->pid;
			pagemap = open_pagemap(pid);
			if (pagemap < 0)
				pagemap = -1;
		}
		now = pagemap >= 0 && used_now(pagemap, p->page);
		used += now;
		hits += now && p->fetched;
		p->seen = (uint8_t)(p->seen << 1 | now);
		p->here = now;
		p->fetched &= !now;
	}
	fd_close(&pagemap);
	*ret_used = used;
	*ret_hits = hits;
}

/* Return: bytes that the kernel took the advice for; what it did not is left where it is */
static uint64_t advise(pid_t pid, const struct iovec *v, size_t n)
{
	FD_AUTO int pidfd = pidfd_of(pid);
	ssize_t got = pidfd < 0 || n == 0 ? -1 : syscall(SYS_process_madvise, pidfd, v, n, MADV_WILLNEED, 0u);

	return got < 0 ? 0 : (uint64_t)got;
}

ssize_t away_fetch(struct away *a, bool any, uint64_t bytes)
{
	struct iovec v[ADVISE_MAX];
	uint64_t left = bytes / PAGE_BYTES, asked = 0;
	size_t n = 0;
	pid_t pid = 0;

	for (size_t k = 0; k < a->n && left > 0; k++) {
		struct away_page *p = &a->v[k];
		void *at = (void *)(uintptr_t)(p->page * PAGE_BYTES);   /* NOLINT(performance-no-int-to-ptr): an address of another process */

		if (p->here || p->fetched || !(any || p->seen))
			continue;
		if (n > 0 && (p->pid != pid || n == ADVISE_MAX)) {
			asked += advise(pid, v, n) / PAGE_BYTES;
			n = 0;
		}
		pid = p->pid;
		if (n > 0 && (char *)v[n - 1].iov_base + v[n - 1].iov_len == at)
			v[n - 1].iov_len += PAGE_BYTES;
		else
			v[n++] = (struct iovec){ at, PAGE_BYTES };
		p->fetched = true;
		left--;
	}
	asked += advise(pid, v, n) / PAGE_BYTES;
	return (ssize_t)asked;
}

uint64_t away_working_set(const struct away *a)
{
	uint64_t n = 0;

	for (size_t k = 0; k < a->n; k++)
		n += a->v[k].seen != 0 && !a->v[k].fetched && !a->v[k].here;
	return n;
}
