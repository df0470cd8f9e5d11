/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes of any place, length and alignment between files and memory of the process, against a copy of the file. On a disk and in memory, by the page cache and beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hearth/ds.h"
#include "seed.h"

#define FILE_BYTES (3u * 1048576 + 1234)
#define MEMORY_BYTES (4u << 20)
#define ROUNDS 400

static const char *const places[] = { "/dev/shm", NULL };       /* NULL: $TMPDIR or /var/tmp */

struct fixture {
	struct hearth_ds *ds;
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	struct hearth_ds_file *file;
	uint8_t *at, *want, *shadow;            /* memory, what should be in it, what should be in the file */
	uint64_t bytes;                         /* of the file */
	char path[128];
	int fd;                                 /* to look at it by another way */
	struct rng rng;
};

static void fill(struct rng *rng, uint8_t *at, size_t n)
{
	for (size_t k = 0; k < n; k++)
		at[k] = (uint8_t)rng_next(rng);
}

static void set_up(struct fixture *f, const char *place, enum hearth_ds_cache cache, uint64_t seed)
{
	struct hearth_ds_options o = { .cache = cache };
	int fd;

	f->rng.state = seed;
	f->at = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(f->at, MAP_FAILED);
	f->want = calloc(1, MEMORY_BYTES);
	f->shadow = calloc(1, 2 * FILE_BYTES);
	assert_true(f->want && f->shadow);
	f->bytes = FILE_BYTES;
	fill(&f->rng, f->shadow, f->bytes);
	snprintf(f->path, sizeof(f->path), "%s/hearth-ds-XXXXXX", place ? place : getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, f->shadow, f->bytes), f->bytes);
	close(fd);
	assert_int_equal(hearth_ds_open(&o, &f->ds), 0);
	assert_int_equal(hearth_ds_device(f->ds, "host", &f->device), 0);
	assert_int_equal(hearth_ds_register(f->device, (uint64_t)(uintptr_t)f->at, MEMORY_BYTES, &f->memory), 0);
	assert_int_equal(hearth_ds_file(f->ds, AT_FDCWD, f->path, O_RDWR, &f->file), 0);
}

static void tear_down(struct fixture *f)
{
	hearth_ds_close(f->ds);
	unlink(f->path);
	munmap(f->at, MEMORY_BYTES);
	free(f->want);
	free(f->shadow);
}

/* often on a block's edge, often a byte beside it */
static uint64_t place(struct rng *rng, uint64_t below)
{
	uint64_t at = rng_next(rng) % (below + 1);

	switch (rng_next(rng) % 4) {
	case 0:
		return at & ~4095ull;
	case 1:
		return at & ~511ull;
	case 2:
		return (at & ~4095ull) + 1 <= below ? (at & ~4095ull) + 1 : at;
	default:
		return at;
	}
}

static void one_read(struct fixture *f)
{
	uint64_t at = place(&f->rng, f->bytes + 5000), to = place(&f->rng, MEMORY_BYTES), n = place(&f->rng, MEMORY_BYTES - to);
	uint64_t there = at < f->bytes ? f->bytes - at : 0, get = n < there ? n : there;

	if (rng_next(&f->rng) % 8 == 0)
		posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	assert_int_equal(hearth_ds_read(f->file, f->memory, to, at, n), get);
	memcpy(f->want + to, f->shadow + at, get);
	assert_memory_equal(f->at, f->want, MEMORY_BYTES);
}

static void one_write(struct fixture *f)
{
	uint64_t at = place(&f->rng, f->bytes), from = place(&f->rng, MEMORY_BYTES), n = place(&f->rng, MEMORY_BYTES - from);

	if (at + n > 2 * FILE_BYTES)
		n = 2 * FILE_BYTES - at;
	fill(&f->rng, f->at + from, n < 100 ? n : 100);
	memcpy(f->want + from, f->at + from, n);
	assert_int_equal(hearth_ds_write(f->file, f->memory, from, at, n), n);
	memcpy(f->shadow + at, f->want + from, n);
	if (n && at + n > f->bytes)
		f->bytes = at + n;
	assert_int_equal(hearth_ds_file_bytes(f->file), f->bytes);
}

static void compare_file(struct fixture *f)
{
	uint8_t *all = malloc(f->bytes);

	assert_non_null(all);
	assert_int_equal(pread(f->fd, all, f->bytes, 0), f->bytes);
	assert_memory_equal(all, f->shadow, f->bytes);
	free(all);
}

static void random_ranges(void **state)
{
	uint64_t seed = prop_seed();

	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (int cache = HEARTH_DS_CACHE_AUTO; cache <= HEARTH_DS_CACHE_ALWAYS; cache++) {
			struct fixture f = { 0 };

			set_up(&f, places[p], cache, seed + (uint64_t)cache);
			f.fd = open(f.path, O_RDONLY | O_CLOEXEC);
			assert_true(f.fd >= 0);
			for (int k = 0; k < ROUNDS; k++) {
				if (rng_next(&f.rng) % 3)
					one_read(&f);
				else
					one_write(&f);
			}
			compare_file(&f);
			close(f.fd);
			tear_down(&f);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_ranges) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
