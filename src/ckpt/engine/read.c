/* SPDX-License-Identifier: Apache-2.0 */
#include "read.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "memory.h"

#define PAGE 4096u
#define PAGES 16
#define RUNS (READ_BATCH * PAGES / 2)

/* the pages of one window as ranges to read; zeros for the others. Return: how many */
static size_t plan(const struct window *w, uint8_t *buf, struct iovec *local, struct iovec *remote)
{
	size_t n = 0;

	for (unsigned p = 0; p < PAGES; ) {
		unsigned q = p;

		while (q < PAGES && (w->mask >> q & 1))
			q++;
		if (q > p) {
			local[n] = (struct iovec){ buf + p * PAGE, (q - p) * PAGE };
			remote[n++] = (struct iovec){ (void *)(uintptr_t)(w->base + p * PAGE), (q - p) * PAGE };
			p = q;
		} else {
			memset(buf + p++ * PAGE, 0, PAGE);
		}
	}
	return n;
}

/* page by page, in the way that needs no right to read. Return: 0, 1 (a page can't be had: zeros), -ESRCH */
static int read_slowly(int mem, const struct window *w, uint8_t *buf)
{
	int bad = 0;

	for (unsigned p = 0; p < PAGES; p++) {
		ssize_t n;

		if (!(w->mask >> p & 1))
			continue;
		n = fd_pread_full(mem, buf + p * PAGE, PAGE, (off_t)(w->base + p * PAGE));
		if (n == 0)
			return -ESRCH;  /* its memory is gone */
		if (n != PAGE) {
			memset(buf + p * PAGE, 0, PAGE);
			bad = 1;
		}
	}
	return bad;
}

int read_windows(pid_t pid, int mem, const struct window *const *w, size_t n, uint8_t *buf, size_t *ret_bad)
{
	struct iovec local[RUNS], remote[RUNS];
	size_t runs = 0, want = 0;
	ssize_t got;
	int r = 0;

	for (size_t k = 0; k < n; k++)
		runs += plan(w[k], buf + k * MEMORY_WINDOW, local + runs, remote + runs);
	for (size_t k = 0; k < runs; k++)
		want += remote[k].iov_len;
	got = runs ? process_vm_readv(pid, local, runs, remote, runs, 0) : 0;
	if (got == (ssize_t)want)
		return 0;
	if (got < 0 && errno == ESRCH)
		return -ESRCH;
	for (size_t k = 0; k < n && r >= 0; k++) {
		int one = read_slowly(mem, w[k], buf + k * MEMORY_WINDOW);

		if (one > 0 && r == 0) {
			*ret_bad = k;
			r = 1;
		}
		if (one < 0)
			r = one;
	}
	return r;
}
