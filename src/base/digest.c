/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/thread.h"

#define THREADS_MAX 16

struct digest digest_mem(const void *data, size_t n)
{
	XXH128_hash_t h = XXH3_128bits(data, n);

	return (struct digest){ .hi = h.high64, .lo = h.low64 };
}

/* ---- whole files ---- */

struct pieces {
	int fd;
	uint64_t bytes;
	const uint8_t *map;             /* NULL: read instead */
	struct digest *each;
	size_t n;
	atomic_size_t next;
	atomic_int failed;              /* -errno */
};

static size_t count_pieces(uint64_t bytes)
{
	return bytes ? (size_t)((bytes + DIGEST_PIECE_BYTES - 1) / DIGEST_PIECE_BYTES) : 1;
}

static struct digest of_pieces(const struct pieces *p)
{
	return p->n == 1 ? p->each[0] : digest_mem(p->each, p->n * sizeof(*p->each));
}

/*
 * Populated before it is touched: what can't be read is an error then and not a signal. (A file that shrinks in the moment between is all that could still kill
 * the reader.) From the page cache three times as fast as reading.
 */
static int digest_piece(struct pieces *p, size_t k, void *room)
{
	uint64_t at = k * (uint64_t)DIGEST_PIECE_BYTES, left = p->bytes - at;
	size_t n = left < DIGEST_PIECE_BYTES ? (size_t)left : DIGEST_PIECE_BYTES;
	const void *data = room;
	ssize_t got;

	if (p->map) {
		data = p->map + at;
		/* -EINVAL: before Linux 5.14 */
		if (n && madvise((void *)data, n, MADV_POPULATE_READ) < 0 && errno != EINVAL)
			return errno == EFAULT ? -EIO : -errno;
	} else {
		got = fd_pread_full(p->fd, room, n, (off_t)at);
		if (got != (ssize_t)n)
			return got < 0 ? (int)got : -EIO;       /* it shrank */
	}
	p->each[k] = digest_mem(data, n);
	return 0;
}

static void *digest_worker(void *arg)
{
	struct pieces *p = arg;
	void *room = p->map ? NULL : malloc(p->bytes < DIGEST_PIECE_BYTES ? p->bytes + 1 : DIGEST_PIECE_BYTES);
	int r = p->map || room ? 0 : -ENOMEM;
	size_t k;

	while (r == 0 && !atomic_load(&p->failed) && (k = atomic_fetch_add(&p->next, 1)) < p->n)
		r = digest_piece(p, k, room);
	if (r < 0)
		atomic_store(&p->failed, r);
	free(room);
	return NULL;
}

/* fewer threads than wanted, or none but this one, is no error */
static int digest_pieces(struct pieces *p, unsigned threads)
{
	pthread_t started[THREADS_MAX];
	unsigned n = 0;

	if (threads > p->n)
		threads = (unsigned)p->n;
	while (n + 1 < threads && n < THREADS_MAX && thread_spawn(&started[n], digest_worker, p) == 0)
		n++;
	digest_worker(p);
	while (n)
		pthread_join(started[--n], NULL);
	return atomic_load(&p->failed);
}

static int digest_fd(int fd, uint64_t bytes, unsigned threads, struct digest *ret)
{
	struct pieces p = { .fd = fd, .bytes = bytes, .n = count_pieces(bytes) };
	void *map = MAP_FAILED;
	int r;

	p.each = calloc(p.n, sizeof(*p.each));
	if (!p.each)
		return -ENOMEM;
	if (p.n > 1)
		map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	/* before Linux 5.14, and where a file can't be mapped */
	if (map != MAP_FAILED && (madvise(map, DIGEST_PIECE_BYTES, MADV_POPULATE_READ) == 0 || errno != EINVAL))
		p.map = map;
	r = digest_pieces(&p, threads);
	if (map != MAP_FAILED)
		munmap(map, bytes);
	if (r == 0)
		*ret = of_pieces(&p);
	free(p.each);
	return r;
}

int digest_file(int dirfd, const char *path, unsigned threads, struct digest *ret, uint64_t *ret_bytes)
{
	struct stat st;
	/* O_NONBLOCK: a FIFO found in place of the file is an error, not a wait */
	FD_AUTO int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r;

	if (fd < 0)
		return -errno;
	r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (r == 0)
		r = digest_fd(fd, (uint64_t)st.st_size, threads, ret);
	if (r == 0 && ret_bytes)
		*ret_bytes = (uint64_t)st.st_size;
	return r;
}

/* ---- mapped files ---- */

struct digest_work {
	struct pieces pieces;
	atomic_size_t done;
};

struct digest_work *digest_work_new(const void *map, uint64_t bytes)
{
	struct digest_work *w = calloc(1, sizeof(*w));
	size_t n = count_pieces(bytes);

	if (!w)
		return NULL;
	w->pieces = (struct pieces){ .fd = -1, .bytes = bytes, .map = map, .n = n, .each = calloc(n, sizeof(*w->pieces.each)) };
	return w->pieces.each ? w : digest_work_free(w);
}

int digest_work_step(struct digest_work *w)
{
	size_t k = atomic_fetch_add(&w->pieces.next, 1);
	int r;

	if (k >= w->pieces.n)
		return 0;
	r = digest_piece(&w->pieces, k, NULL);
	if (r < 0)
		return r;
	atomic_fetch_add(&w->done, 1);
	return 1;
}

bool digest_work_done(const struct digest_work *w, struct digest *ret)
{
	if (atomic_load(&w->done) < w->pieces.n)
		return false;
	*ret = of_pieces(&w->pieces);
	return true;
}

struct digest_work *digest_work_free(struct digest_work *w)
{
	if (w)
		free(w->pieces.each);
	free(w);
	return NULL;
}

void digest_to_hex(struct digest d, char hex[DIGEST_HEX_LEN + 1])
{
	snprintf(hex, DIGEST_HEX_LEN + 1, "%016llx%016llx", (unsigned long long)d.hi, (unsigned long long)d.lo);
}

int digest_from_hex(const char *hex, struct digest *ret)
{
	uint64_t half[2] = { 0, 0 };

	for (int i = 0; i < DIGEST_HEX_LEN; i++) {
		char c = hex[i];
		unsigned v;

		if (c >= '0' && c <= '9')
			v = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = (unsigned)(c - 'a') + 10;
		else
			return -EINVAL; /* the NUL of a text that is too short, too */
		half[i / 16] = half[i / 16] << 4 | v;
	}
	if (hex[DIGEST_HEX_LEN] != '\0')
		return -EINVAL;
	*ret = (struct digest){ .hi = half[0], .lo = half[1] };
	return 0;
}

bool digest_equal(struct digest a, struct digest b)
{
	return a.hi == b.hi && a.lo == b.lo;
}
