/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_store [--bytes N] [--threads N] [--level N] [DIR]... - what the image store costs beside what the machine can do, in one run and on the same bytes:
 * in memory beside memcpy into memory that is there already, and beside pwrite into a file; on a disk beside plain direct writes. Each is the best of three.
 * A line a store: rate of put (with and without digests from the caller), of put and commit, of a second image of the same contents, of reading.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/rng.h"
#include "ckpt/store.h"

#define ROUNDS 3
#define PIECE (4u << 20)
#define THREADS_MAX 64

static uint64_t bytes = 1ull << 30;
static unsigned threads = 2;
static struct store_options options;
static uint8_t *data;
static struct digest *digests;

static void check(int r, const struct hearth_err *err)
{
	if (r >= 0)
		return;
	fprintf(stderr, "bench_store: %s\n", err ? err->msg : strerror(-r));
	exit(1);
}

/* ---- work shared by threads ---- */

struct job {
	void (*piece)(void *ctx, uint64_t at, size_t n);
	void *ctx;
	unsigned k;
};

static void *job_run(void *arg)
{
	struct job *j = arg;

	for (uint64_t at = (uint64_t)j->k * PIECE; at < bytes; at += (uint64_t)threads * PIECE)
		j->piece(j->ctx, at, bytes - at < PIECE ? (size_t)(bytes - at) : PIECE);
	return NULL;
}

/* Return: seconds */
static double in_threads(void (*piece)(void *ctx, uint64_t at, size_t n), void *ctx)
{
	struct job jobs[THREADS_MAX];
	pthread_t t[THREADS_MAX];
	uint64_t t0 = clock_mono_ns();

	for (unsigned k = 0; k < threads; k++) {
		jobs[k] = (struct job){ piece, ctx, k };
		check(-pthread_create(&t[k], NULL, job_run, &jobs[k]), NULL);
	}
	for (unsigned k = 0; k < threads; k++)
		pthread_join(t[k], NULL);
	return (double)(clock_mono_ns() - t0) / 1e9;
}

static void keep_best(double *best, double s)
{
	if (*best == 0 || s < *best)
		*best = s;
}

static double rate(double s)
{
	return (double)bytes / s / 1e9;
}

/* ---- what the machine can do ---- */

static void copy_piece(void *ctx, uint64_t at, size_t n)
{
	memcpy((uint8_t *)ctx + at, data + at, n);
}

static void write_piece(void *ctx, uint64_t at, size_t n)
{
	int fd = *(int *)ctx;

	for (size_t done = 0; done < n;) {
		ssize_t r = pwrite(fd, data + at + done, n - done, (off_t)(at + done));

		check(r < 0 ? -errno : 0, NULL);
		done += (size_t)r;
	}
}

static double plain_copy(void)
{
	uint8_t *to = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	double best = 0;

	check(to == MAP_FAILED ? -errno : 0, NULL);
	for (int k = 0; k < ROUNDS; k++)
		keep_best(&best, in_threads(copy_piece, to));
	munmap(to, bytes);
	return best;
}

/* one file, all blocks had beforehand, direct unless the file system cannot, synced */
static double plain_write_once(const char *dir, bool memory)
{
	char path[4200];
	uint64_t t0;
	int fd;

	snprintf(path, sizeof(path), "%s/plain", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | (memory ? 0 : O_DIRECT), 0600);
	check(fd < 0 ? -errno : 0, NULL);
	t0 = clock_mono_ns();
	if (!memory)
		(void)!fallocate(fd, 0, 0, (off_t)bytes);
	(void)in_threads(write_piece, &fd);
	check(fsync(fd) < 0 ? -errno : 0, NULL);
	t0 = clock_mono_ns() - t0;
	close(fd);
	unlink(path);
	return (double)t0 / 1e9;
}

/* ---- the store ---- */

struct putting { struct store_object *o; const struct digest *digests; };

static void put_piece(void *ctx, uint64_t at, size_t n)
{
	const struct putting *p = ctx;
	struct hearth_err err;

	check(store_put(p->o, at, data + at, n, p->digests ? p->digests + at / STORE_CHUNK_BYTES : NULL, &err), &err);
}

struct reading { struct store_image *img; };

static void read_piece(void *ctx, uint64_t at, size_t n)
{
	static _Thread_local uint8_t *room;
	const struct reading *rd = ctx;
	struct hearth_err err;

	if (!room)
		room = aligned_alloc(4096, PIECE);
	check(store_read(rd->img, 0, at, room, n, &err), &err);
}

struct times { double put, put_known, commit, again, read, reserved; };

static double put_image(struct store *s, const char *name, const struct digest *known, double *ret_commit)
{
	struct store_draft *d;
	struct hearth_err err;
	struct putting p = { .digests = known };
	uint64_t t0 = clock_mono_ns();
	double put;

	check(store_begin(s, name, &options, &d, &err), &err);
	check(store_object_begin(d, "data", bytes, NULL, &p.o, &err), &err);
	put = in_threads(put_piece, &p);
	check(store_commit(d, NULL, NULL, &err), &err);
	if (ret_commit)
		*ret_commit = (double)(clock_mono_ns() - t0) / 1e9;
	return put;
}

static double read_image(struct store *s, const char *name)
{
	struct reading rd;
	struct hearth_err err;
	double t;

	check(store_image_open(s, name, &rd.img, &err), &err);
	t = in_threads(read_piece, &rd);
	store_image_close(rd.img);
	return t;
}

static void one_round(struct store *s, struct times *t)
{
	struct hearth_err err;
	double commit;

	keep_best(&t->put, put_image(s, "a", NULL, &commit));
	keep_best(&t->commit, commit);
	(void)put_image(s, "b", digests, &commit);
	keep_best(&t->again, commit);
	keep_best(&t->read, read_image(s, "a"));
	check(store_rm(s, "a", &err), &err);
	check(store_rm(s, "b", &err), &err);
	keep_best(&t->put_known, put_image(s, "c", digests, NULL));
	check(store_rm(s, "c", &err), &err);
	if (store_in_memory(s)) {
		check(store_reserve_segments(s, bytes, NULL, NULL, &err), &err);
		keep_best(&t->reserved, put_image(s, "d", NULL, NULL));
		check(store_rm(s, "d", &err), &err);
	}
}

static void digest_all(struct store *s)
{
	for (uint64_t at = 0; at < bytes; at += STORE_CHUNK_BYTES) {
		XXH128_hash_t h = XXH3_128bits_withSeed(data + at, STORE_CHUNK_BYTES, store_seed(s));

		digests[at / STORE_CHUNK_BYTES] = (struct digest){ .hi = h.high64, .lo = h.low64 };
	}
}

static void bench(const char *top)
{
	char dir[4096];
	struct times t = { 0 };
	struct hearth_err err;
	struct store *s;
	double copy = 0, plain = 0;

	snprintf(dir, sizeof(dir), "%s/bench-store-XXXXXX", top);
	check(mkdtemp(dir) ? 0 : -errno, NULL);
	check(store_open(dir, &s, &err), &err);
	digest_all(s);
	/* in turn, so that a slow moment of the machine meets both */
	for (int k = 0; k < ROUNDS; k++) {
		keep_best(&plain, plain_write_once(dir, store_in_memory(s)));
		one_round(s, &t);
	}
	if (store_in_memory(s))
		copy = plain_copy();
	printf("%s (%s), %.2f GiB, %u threads, zstd %d\n", top, store_in_memory(s) ? "memory" : "disk", (double)bytes / (1u << 30), threads, options.zstd_level);
	if (copy > 0)
		printf("  memcpy to memory that is there   %6.2f GB/s\n", rate(copy));
	printf("  plain writes and fsync           %6.2f GB/s\n", rate(plain));
	printf("  put, digests computed            %6.2f GB/s\n", rate(t.put));
	printf("  put, digests given               %6.2f GB/s\n", rate(t.put_known));
	if (t.reserved > 0)
		printf("  put into reserved segments       %6.2f GB/s  %5.2f of memcpy\n", rate(t.reserved), copy / t.reserved);
	printf("  put and commit                   %6.2f GB/s  %5.2f of plain writes\n", rate(t.commit), plain / t.commit);
	printf("  the same again, digests given    %6.2f GB/s\n", rate(t.again));
	printf("  read and check                   %6.2f GB/s\n", rate(t.read));
	store_close(s);
	check(dir_remove(dir), NULL);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "bytes", 1, NULL, 'b' }, { "threads", 1, NULL, 't' }, { "level", 1, NULL, 'l' }, { 0 } };
	struct rng g;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'b')
			bytes = strtoull(optarg, NULL, 10) / PIECE * PIECE;
		else if (c == 't')
			threads = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'l')
			options.zstd_level = (int)strtol(optarg, NULL, 10);
		else
			return 2;
	}
	if (bytes == 0 || threads == 0 || threads > THREADS_MAX) {
		fputs("usage: bench_store [--bytes N] [--threads 1..64] [--level N] [DIR]...\n", stderr);
		return 2;
	}
	data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	digests = calloc(bytes / STORE_CHUNK_BYTES, sizeof(*digests));
	check(data == MAP_FAILED || !digests ? -ENOMEM : 0, NULL);
	rng_seed(&g, 1);
	for (uint64_t i = 0; i < bytes; i += 8)
		*(uint64_t *)(data + i) = rng_next(&g);
	if (optind == argc)
		bench("/dev/shm");
	for (int i = optind; i < argc; i++)
		bench(argv[i]);
	return 0;
}
