/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libhearth-ds meets below the store, on a disk: a drive that fails, reads and writes that are cut short, files without O_DIRECT, a kernel without io_uring. An image is written whole or the draft is given up, with
 * one error that says where; what is read is right or it is said what cannot be. And what a store has of threads, rings and descriptors, and when.
 */
#include "store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

#define BIG (80 * C)                    /* more than one read at once, and more than is read through the page cache */
#define LARGE (40u << 20)               /* more than all buffers of a writer */

/* ---- what is below ---- */

static bool without_uring;

int __real_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *params)
{
	return without_uring ? -EPERM : __real_io_uring_queue_init_params(n, ring, params);
}

/* contexts ask for faults only if there were some when they were made: when the first byte is written or read */
static void begin_with(struct fixture *f, const char *fault)
{
	begin(f, place_of(1));
	f->s->segment_bytes = 256 * C;
	setenv("HEARTH_FAULT", fault, 1);
}

static void reopen_with(struct fixture *f, const char *fault)
{
	setenv("HEARTH_FAULT", fault, 1);
	reopen(f);
	f->s->segment_bytes = 256 * C;
}

static bool on_disk(void)
{
	struct fixture f;
	bool disk;

	begin(&f, place_of(1));
	disk = !store_in_memory(f.s);
	end(&f);
	return disk;
}

/* ---- what the process has ---- */

struct have { unsigned threads, rings, direct, fds; };

static unsigned threads_now(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/task");

	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)); )
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static struct have have(void)
{
	struct have h = { .threads = threads_now() };
	char link[256];
	DIR *d = opendir("/proc/self/fd");

	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)); ) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
		int fd = atoi(e->d_name);

		if (e->d_name[0] == '.' || fd == dirfd(d))
			continue;
		link[n < 0 ? 0 : n] = '\0';
		h.fds++;
		h.rings += strstr(link, "[io_uring]") != NULL;
		h.direct += strstr(link, "/packs/") && fcntl(fd, F_GETFL) & O_DIRECT;
	}
	closedir(d);
	return h;
}

static bool uring_works(void)
{
	struct io_uring ring;

	if (io_uring_queue_init(1, &ring, 0) < 0)
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

static bool direct_works(struct fixture *f)
{
	FD_AUTO int fd = open(f->dir, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

	return fd >= 0;
}

/* ---- writing ---- */

static void one_clear_error(struct fixture *f, int r, const char *image)
{
	assert_int_equal(r, -EIO);
	assert_int_equal(f->err.code, -EIO);
	assert_null(strchr(f->err.msg, '\n'));
	assert_non_null(strstr(f->err.msg, image));
	assert_non_null(strstr(f->err.msg, "cannot write to"));
	assert_non_null(strstr(f->err.msg, f->dir));
	assert_non_null(strstr(f->err.msg, strerror(EIO)));
}

/* as if the draft had never been, and the store can be written to */
static void nothing_stays(struct fixture *f)
{
	uint8_t *a = made(3, 7);
	struct store_image *img;

	unsetenv("HEARTH_FAULT");
	assert_int_equal(packs(f), 0);
	assert_int_equal(store_image_open(f->s, "a", &img, &f->err), -ENOENT);
	assert_int_equal(store_sweep(f->s, &f->err), 0);
	write_image(f, "a", a, 3 * C);
	expect(f, "a", "o", a, 3 * C);
	free(a);
}

static void broken_drive_small(void **state)
{
	struct fixture f;
	uint8_t *a = made(3, 1);
	struct store_draft *d;
	struct store_object *o;

	begin_with(&f, "fail:ds.eio");
	d = draft(&f, "a", 0);
	o = object(&f, d, "o", a, 3 * C);               /* fits a buffer: nothing is written yet */
	one_clear_error(&f, store_commit(d, NULL, NULL, &f.err), "image a");
	/* and so it stays */
	one_clear_error(&f, store_put(o, C, a, C, NULL, &f.err), "image a");
	one_clear_error(&f, store_commit(d, NULL, NULL, &f.err), "image a");
	store_abort(d);
	nothing_stays(&f);
	end(&f);
	free(a);
}

/* more than all buffers hold: who waits for one learns of it */
static void broken_drive_large(void **state)
{
	struct fixture f;
	uint8_t *a = made(LARGE / C, 1);
	struct store_draft *d;
	struct store_object *o;

	begin_with(&f, "fail:ds.eio");
	d = draft(&f, "a", 0);
	o = object(&f, d, "o", NULL, LARGE);
	one_clear_error(&f, store_put(o, 0, a, LARGE, NULL, &f.err), "image a");
	store_abort(d);
	nothing_stays(&f);
	end(&f);
	free(a);
}

static void written(struct store_draft *d)
{
	pthread_mutex_lock(&d->lock);
	writer_drain(d);
	pthread_mutex_unlock(&d->lock);
}

/* it fails when a part of the image is on it */
static void breaks_meanwhile(void **state)
{
	struct fixture f;
	uint8_t *a = made(BIG / C, 1);
	struct store_draft *d;
	struct store_object *o;
	int r;

	begin_with(&f, "fail:none");
	d = draft(&f, "a", 0);
	o = object(&f, d, "o", NULL, BIG);
	assert_int_equal(store_put(o, 0, a, BIG / 2, NULL, &f.err), 0);
	written(d);
	setenv("HEARTH_FAULT", "fail:ds.eio", 1);
	r = store_put(o, BIG / 2, a + BIG / 2, BIG / 2, NULL, &f.err);
	if (r == 0)
		r = store_commit(d, NULL, NULL, &f.err);
	one_clear_error(&f, r, "image a");
	store_abort(d);
	nothing_stays(&f);
	end(&f);
	free(a);
}

static void broken_drive_sealed(void **state)
{
	struct fixture f;
	uint8_t *a = made(3, 1);
	struct store_draft *d;
	int fd = -1;

	begin_with(&f, "fail:ds.eio");
	d = draft(&f, NULL, 0);
	object(&f, d, "o", a, 3 * C);
	one_clear_error(&f, store_seal(d, &fd, &f.err), "image (to be sealed)");
	assert_int_equal(fd, -1);
	store_abort(d);
	nothing_stays(&f);
	end(&f);
	free(a);
}

#define THREADS 4

struct putting { struct store_object *o; uint64_t at; const uint8_t *data; struct hearth_err err; int r; };

static void *put_all(void *arg)
{
	struct putting *p = arg;

	for (uint64_t done = 0; done < LARGE / THREADS && p->r == 0; done += C)
		p->r = store_put(p->o, p->at + done, p->data + done, C, NULL, &p->err);
	return NULL;
}

/* nobody waits for a buffer that does not come; who was done before it was known is told by the commit */
static void broken_drive_threads(void **state)
{
	struct fixture f;
	uint8_t *a = made(LARGE / C, 1);
	struct putting p[THREADS];
	pthread_t t[THREADS];
	struct store_draft *d;
	struct store_object *o;

	begin_with(&f, "fail:ds.eio");
	d = draft(&f, "a", 0);
	o = object(&f, d, "o", NULL, LARGE);
	for (unsigned k = 0; k < THREADS; k++) {
		uint64_t at = (uint64_t)k * (LARGE / THREADS);

		p[k] = (struct putting){ .o = o, .at = at, .data = a + at };
		assert_int_equal(pthread_create(&t[k], NULL, put_all, &p[k]), 0);
	}
	for (unsigned k = 0; k < THREADS; k++) {
		pthread_join(t[k], NULL);
		f.err = p[k].err;
		if (p[k].r < 0)
			one_clear_error(&f, p[k].r, "image a");
	}
	one_clear_error(&f, store_commit(d, NULL, NULL, &f.err), "image a");
	store_abort(d);
	nothing_stays(&f);
	end(&f);
	free(a);
}

/* ---- reading ---- */

/* big: in one read beside the page cache; small: through it; odd: no whole pages, and expanded */
static uint8_t *write_three(struct fixture *f)
{
	uint8_t *a = made(BIG / C + 4, 1), *odd = a + BIG + 2 * C;
	struct store_draft *d = draft(f, "a", 0);

	memset(odd + 300, 0, C - 300);
	object(f, d, "big", a, BIG);
	object(f, d, "small", a + BIG, 2 * C);
	object(f, d, "odd", odd, C + 1234);
	commit(f, d);
	return a;
}

static void all_three(struct fixture *f, const uint8_t *a)
{
	struct store_image *img;

	expect(f, "a", "big", a, BIG);
	expect(f, "a", "small", a + BIG, 2 * C);
	expect(f, "a", "odd", a + BIG + 2 * C, C + 1234);
	assert_int_equal(store_image_open(f->s, "a", &img, &f->err), 0);
	assert_int_equal(store_image_verify(img, 2, &f->err), 0);
	store_image_close(img);
}

static void named(struct fixture *f, int r, const char *object)
{
	assert_int_equal(r, -EIO);
	assert_null(strchr(f->err.msg, '\n'));
	assert_non_null(strstr(f->err.msg, "image a"));
	assert_non_null(strstr(f->err.msg, object));
	assert_non_null(strstr(f->err.msg, ".pack"));
	assert_non_null(strstr(f->err.msg, strerror(EIO)));
}

static void drive_cannot_read(void **state)
{
	struct fixture f;
	struct store_image *img;
	struct store_draft *d;
	uint8_t *a, *got = malloc(BIG);
	int dir;

	begin_with(&f, "fail:none");
	a = write_three(&f);
	reopen_with(&f, "fail:ds.eio");
	assert_int_equal(store_image_open(f.s, "a", &img, &f.err), 0);
	named(&f, store_read(img, 0, 0, got, BIG, &f.err), "chunk 0 of big");
	named(&f, store_read(img, 0, 7 * C + 5, got, 100, &f.err), "chunk 7 of big");
	named(&f, store_read(img, 1, 0, got, 2 * C, &f.err), "chunk 0 of small");
	named(&f, store_read(img, 2, 0, got, C, &f.err), "chunk 0 of odd");
	named(&f, store_read(img, 2, C, got, 1234, &f.err), "chunk 1 of odd");
	named(&f, store_image_verify(img, 2, &f.err), "of big");
	dir = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	named(&f, store_extract(img, 0, dir, "out", &f.err), "chunk 0 of big");
	assert_int_equal(faccessat(dir, "out", F_OK, 0), -1);
	close(dir);
	store_image_close(img);
	/* it can again: the image is what it was, and yet nobody shares what once could not be read */
	unsetenv("HEARTH_FAULT");
	all_three(&f, a);
	d = draft(&f, "b", 0);
	object(&f, d, "o", a, BIG);
	assert_int_equal(commit(&f, d).new_chunks, BIG / C);
	end(&f);
	free(got);
	free(a);
}

/* reads and writes that end early are gone on with; where the file ends they are damage, never other bytes */
static void cut_short(void **state)
{
	struct fixture f;
	struct store_image *img;
	struct hearth_err *err = &f.err;
	uint8_t *a, *got = malloc(BIG);
	char pack[256];

	begin_with(&f, "fail:ds.short");
	a = write_three(&f);
	all_three(&f, a);
	reopen_with(&f, "fail:ds.short");
	all_three(&f, a);
	snprintf(pack, sizeof(pack), "%s/packs/%08x.pack", f.dir, 1);
	assert_int_equal(truncate(pack, 33 * C + 100), 0);
	assert_int_equal(store_image_open(f.s, "a", &img, err), 0);
	assert_int_equal(store_read(img, 0, 0, got, BIG, err), -EBADMSG);
	assert_non_null(strstr(err->msg, "chunk 33 of big is damaged"));
	assert_non_null(strstr(err->msg, "cut off"));
	assert_int_equal(store_read(img, 0, 33 * C, got, C, err), -EBADMSG);
	assert_non_null(strstr(err->msg, "cut off"));
	assert_int_equal(store_read(img, 2, 0, got, C, err), -EBADMSG);
	assert_non_null(strstr(err->msg, "chunk 0 of odd is damaged"));
	assert_int_equal(store_read(img, 0, C, got, 32 * C, err), 0);
	assert_memory_equal(got, a + C, 32 * C);
	store_image_close(img);
	unsetenv("HEARTH_FAULT");
	end(&f);
	free(got);
	free(a);
}

/* ---- the other paths ---- */

/* Return: what the process had while a part of it was written, and once it was read */
static void round_trip(struct fixture *f, struct have *ret_writing, struct have *ret_reading)
{
	uint8_t *a = made(BIG / C, 1), *got = malloc(BIG);
	struct store_draft *d = draft(f, "a", 0);
	struct store_object *o = object(f, d, "o", NULL, BIG);
	struct store_image *img;

	assert_int_equal(store_put(o, 0, a, BIG / 2, NULL, &f->err), 0);
	written(d);
	*ret_writing = have();
	assert_int_equal(store_put(o, BIG / 2, a + BIG / 2, BIG / 2, NULL, &f->err), 0);
	commit(f, d);
	assert_int_equal(store_image_open(f->s, "a", &img, &f->err), 0);
	assert_int_equal(store_image_verify(img, 1, &f->err), 0);
	assert_int_equal(store_read(img, 0, 0, got, BIG, &f->err), 0);
	assert_memory_equal(got, a, BIG);
	*ret_reading = have();
	store_image_close(img);
	free(got);
	free(a);
}

static void paths(void **state)
{
	static const struct { const char *fault; bool uring, direct; } ways[] = {
		{ "fail:none", true, true }, { "fail:ds.direct", true, false }, { "fail:ds.uring", false, true }, { "fail:ds.direct", false, false },
	};
	struct have writing, reading;
	struct fixture f;

	for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
		begin_with(&f, ways[k].fault);
		without_uring = !ways[k].uring;
		round_trip(&f, &writing, &reading);
		without_uring = false;
		assert_int_equal(writing.rings > 0, ways[k].uring && uring_works());
		assert_int_equal(writing.direct > 0, ways[k].direct && direct_works(&f));
		assert_int_equal(reading.rings, 0);
		assert_int_equal(reading.direct > 0, ways[k].direct && direct_works(&f));
		unsetenv("HEARTH_FAULT");
		end(&f);
	}
}

/* ---- what there is when ---- */

/* In a process of its own, which has one thread to begin with, and its sanitizer's. @seen: at the beginning, when the store was looked at, and when an image was read. */
static _Noreturn void look_and_read(struct fixture *f, struct have *seen)
{
	uint8_t *a = made(4, 1), *got = malloc(BIG);
	struct store_entry *list = NULL;
	struct store_image *img;
	struct store_draft *d;
	struct store_usage u;
	size_t n = 0;

	seen[0] = have();
	if (store_open(f->dir, &f->s, &f->err) < 0 || store_list(f->s, &list, &n, &f->err) < 0 || store_usage(f->s, &u, &f->err) < 0 || store_image_open(f->s, "a", &img, &f->err) < 0)
		_exit(1);
	store_list_free(list, n);
	d = draft(f, "b", 0);
	object(f, d, "o", a, 4 * C);                    /* all of it is there already */
	commit(f, d);
	if (store_rm(f->s, "b", &f->err) < 0)
		_exit(1);
	seen[1] = have();
	if (f->s->io[IO_CACHED].ds || f->s->io[IO_DIRECT].ds)
		_exit(1);
	if (store_read(img, 0, 0, got, BIG, &f->err) < 0 || store_read(img, 0, 0, got, C, &f->err) < 0 || store_image_verify(img, 1, &f->err) < 0)
		_exit(1);
	seen[2] = have();
	_exit(0);
}

/* threads and rings: none for a store that is looked at, or read; and nothing that was made stays */
static void only_what_is_needed(void **state)
{
	struct have *seen = mmap(NULL, sizeof(*seen) * 3, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), before = have(), writing, reading;
	struct fixture f;
	int status;
	pid_t pid;

	assert_ptr_not_equal(seen, MAP_FAILED);
	begin(&f, place_of(1));
	f.s->segment_bytes = 256 * C;
	round_trip(&f, &writing, &reading);
	assert_int_equal(writing.rings, uring_works());
	assert_int_equal(reading.rings, 0);
	pid = fork();
	if (pid == 0)
		look_and_read(&f, seen);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (int k = 1; k < 3; k++) {
		assert_int_equal(seen[k].threads, seen[0].threads);
		assert_int_equal(seen[k].rings, 0);
	}
	assert_int_equal(seen[1].direct, 0);
	munmap(seen, sizeof(*seen) * 3);
	end(&f);
	assert_int_equal(have().fds, before.fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken_drive_small), cmocka_unit_test(broken_drive_large), cmocka_unit_test(breaks_meanwhile), cmocka_unit_test(broken_drive_sealed), cmocka_unit_test(broken_drive_threads),
		cmocka_unit_test(drive_cannot_read), cmocka_unit_test(cut_short), cmocka_unit_test(paths), cmocka_unit_test(only_what_is_needed),
	};

	if (!on_disk()) {
		puts("1..0 # SKIP a store in memory writes and reads by other means: needs a folder on a disk");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
