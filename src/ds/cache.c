/* SPDX-License-Identifier: Apache-2.0 */
/* What of a file lies in the page cache. Looking must not bring anything in. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "priv.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

#define PAGE 4096ull

/* <linux/mman.h> of Linux 6.5 */
struct stat_range { uint64_t at, n; };
struct stat_pages { uint64_t cached, dirty, writeback, evicted, recently_evicted; };

/* Return: 1 all of it, 0 not all, -errno (-ENOSYS before Linux 6.5; -EPERM where the file is neither ours nor writable for us; then it stays so) */
static int ask(struct hearth_ds_file *f, uint64_t at, size_t n)
{
	uint64_t first = at & ~(PAGE - 1), pages = (at + n - first + PAGE - 1) / PAGE;
	struct stat_range range = { first, pages * PAGE };
	struct stat_pages found;

	if (ds_fault(f->ds, "ds.cachestat") || ds_fault(f->ds, "ds.mincore"))
		return -ENOSYS;
	if (syscall(SYS_cachestat, f->fd, &range, &found, 0) < 0)
		return -errno;
	return found.cached >= pages;
}

/* the same by mapping it: dearer, but it brings nothing in */
static bool look(struct hearth_ds_file *f, uint64_t at, size_t n)
{
	uint64_t first = at & ~(PAGE - 1), pages = (at + n - first + PAGE - 1) / PAGE, k = 0;
	unsigned char there[PIECE_BYTES / PAGE + 1];
	void *map = pages <= sizeof(there) ? mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, f->fd, (off_t)first) : MAP_FAILED;

	if (map == MAP_FAILED)
		return false;
	if (mincore(map, pages * PAGE, there) == 0)
		for (; k < pages && (there[k] & 1); k++)
			;
	munmap(map, pages * PAGE);
	return k == pages;
}

/* with readahead off, so that a look at what is not there reads one page at most */
static int sampler(struct hearth_ds_file *f)
{
	int fd = atomic_load(&f->sampler);

	if (fd != SAMPLER_UNNEEDED)
		return fd;
	pthread_mutex_lock(&f->lock);
	fd = atomic_load(&f->sampler);
	if (fd == SAMPLER_UNNEEDED) {
		fd = file_reopen(f->fd, false);
		if (fd >= 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) != 0)
			fd_close(&fd);
		if (fd < 0)
			fd = SAMPLER_NONE;
		atomic_store(&f->sampler, fd);
	}
	pthread_mutex_unlock(&f->lock);
	return fd;
}

/* a byte at both ends, if it is there at once */
static bool sample(struct hearth_ds_file *f, uint64_t at, size_t n)
{
	int fd = sampler(f);
	char byte;
	struct iovec iov = { &byte, 1 };

	return fd >= 0 && preadv2(fd, &iov, 1, (off_t)at, RWF_NOWAIT) == 1 && preadv2(fd, &iov, 1, (off_t)(at + n - 1), RWF_NOWAIT) == 1;
}

bool cache_serves(struct hearth_ds_file *f, uint64_t at, size_t n)
{
	int r;

	if (f->ds->o.cache == HEARTH_DS_CACHE_ALWAYS || file_direct(f) < 0)
		return true;
	if (f->ds->o.cache == HEARTH_DS_CACHE_NEVER)
		return false;
	if (!f->layered && !atomic_load_explicit(&f->no_cachestat, memory_order_relaxed)) {
		r = ask(f, at, n);
		if (r >= 0)
			return r > 0;
		atomic_store(&f->no_cachestat, true);
	}
	return f->owned && !ds_fault(f->ds, "ds.mincore") ? look(f, at, n) : sample(f, at, n);
}
