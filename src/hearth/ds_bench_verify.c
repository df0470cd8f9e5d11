/* SPDX-License-Identifier: Apache-2.0 */
/* Every block of a round of `hearth ds bench --verify`: the digest of what is in memory, by the driver's own copy, beside that of what is in the file, by pread(). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "ds_bench.h"

static uint64_t piece_bytes(const struct bench *b)
{
	return b->block < DIGEST_PIECE_BYTES ? b->block : DIGEST_PIECE_BYTES;
}

static uint64_t pieces(const struct bench *b)
{
	return (b->block + piece_bytes(b) - 1) / piece_bytes(b);
}

/* the k-th piece of a block: where it begins in it, and its length */
static uint64_t piece_at(const struct bench *b, uint64_t k, uint64_t *ret_bytes)
{
	uint64_t at = k * piece_bytes(b);

	*ret_bytes = b->block - at < piece_bytes(b) ? b->block - at : piece_bytes(b);
	return at;
}

static int from_file(struct bench *b, int fd, uint8_t *piece, uint64_t at, uint64_t n, struct hearth_err *err)
{
	ssize_t r = fd_pread_full(fd, piece, n, (off_t)at);

	if (r == (ssize_t)n)
		return 0;
	return err_set(err, r < 0 ? (int)r : -EIO, "%s: %s", b->path, r < 0 ? strerror((int)-r) : "it became shorter meanwhile");
}

static int open_file(struct bench *b, struct hearth_err *err)
{
	int fd = open(b->path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_set(err, -errno, "%s: %s", b->path, strerror(errno)) : fd;
}

/* what was read here does not stay in the page cache where the measurement is to find nothing there */
static void done_with(const struct bench *b, int fd)
{
	if (b->o.cache != HEARTH_DS_CACHE_ALWAYS)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
}

static int digest_the_file(struct bench *b, struct hearth_err *err)
{
	uint8_t *piece = malloc(piece_bytes(b));
	int fd = open_file(b, err), r = fd < 0 ? fd : piece ? 0 : err_set(err, -ENOMEM, "out of memory");

	for (uint64_t k = 0; k < b->blocks * pieces(b) && r == 0; k++) {
		uint64_t n, at = k / pieces(b) * b->block + piece_at(b, k % pieces(b), &n);

		r = from_file(b, fd, piece, at, n, err);
		if (r == 0)
			b->want[k] = digest_mem(piece, n);
	}
	if (fd >= 0)
		done_with(b, fd);
	free(piece);
	return r;
}

int bench_verify_begin(struct bench *b, struct hearth_err *err)
{
	b->offsets = calloc(b->places, sizeof(*b->offsets));
	b->want = calloc((b->write ? b->places : b->blocks) * pieces(b), sizeof(*b->want));
	if (!b->offsets || !b->want)
		return err_set(err, -ENOMEM, "out of memory");
	return b->write ? 0 : digest_the_file(b, err);
}

int bench_verify_before(struct bench *b, uint64_t round, struct hearth_err *err)
{
	uint64_t *piece = calloc(1, piece_bytes(b) + sizeof(*piece));
	struct rng rng;
	int r = 0;

	if (!piece)
		return err_set(err, -ENOMEM, "out of memory");
	rng_seed(&rng, ~(b->seed + round));
	for (uint64_t k = 0; k < b->places * pieces(b) && r == 0; k++) {
		uint64_t n, at = k / pieces(b) * b->block + piece_at(b, k % pieces(b), &n);

		/* what was read before is overwritten with the same everywhere; what will be written is different everywhere */
		for (uint64_t w = 0; (b->write || k == 0) && w <= piece_bytes(b) / sizeof(*piece); w++)
			piece[w] = rng_next(&rng);
		r = device_memory_put(b->c.own, at, piece, n, err);
		if (r == 0 && b->write)
			b->want[k] = digest_mem(piece, n);
	}
	free(piece);
	return r;
}

static int compare(struct bench *b, int fd, uint64_t place, uint8_t *piece, struct hearth_err *err)
{
	for (uint64_t k = 0; k < pieces(b); k++) {
		uint64_t n, at = piece_at(b, k, &n), want = (b->write ? place : b->offsets[place] / b->block) * pieces(b) + k;
		int r = b->write ? from_file(b, fd, piece, b->offsets[place] + at, n, err) : device_memory_get(b->c.own, place * b->block + at, piece, n, err);

		if (r < 0)
			return r;
		if (!digest_equal(digest_mem(piece, n), b->want[want]))
			return err_set(err, -EBADMSG, "what arrived is not what was sent: %s, offset %llu", b->path, (unsigned long long)b->offsets[place] + at);
	}
	b->verified++;
	return 0;
}

int bench_verify_after(struct bench *b, uint64_t n, struct hearth_err *err)
{
	uint8_t *piece = malloc(piece_bytes(b));
	int fd = open_file(b, err), r = fd < 0 ? fd : piece ? 0 : err_set(err, -ENOMEM, "out of memory");

	for (uint64_t place = 0; place < n && r == 0; place++)
		r = compare(b, fd, place, piece, err);
	if (fd >= 0)
		done_with(b, fd);
	free(piece);
	return r;
}

void bench_verify_end(struct bench *b)
{
	free(b->offsets);
	free(b->want);
}
