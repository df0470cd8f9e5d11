/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/rng.h"
#include "fault.h"
#include "private.h"

/*
 * The n-th system call fails, or the n-th allocation, or the process is killed before the n-th system call, for every n, while a store is opened and everything is done with it. Whatever it was:
 * the image that was there is there and whole, the new one is whole or not there at all, and after a sweep nothing is left over that no image needs.
 */
#define C STORE_CHUNK_BYTES
#define SWEEP_MAX 5000
#define PIECES 6

struct io_uring;
struct io_uring_params;
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *params);

/* writes of a ring are no calls that could be made to fail: libhearth-ds does without it, as where the kernel refuses it */
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *ring, struct io_uring_params *params)
{
	return -EPERM;
}

void *__real_mmap64(void *at, size_t n, int prot, int flags, int fd, int64_t from);
void *__wrap_mmap64(void *at, size_t n, int prot, int flags, int fd, int64_t from);
void *__wrap_mmap64(void *at, size_t n, int prot, int flags, int fd, int64_t from)
{
	return fault_syscall("mmap") ? MAP_FAILED : __real_mmap64(at, n, prot, flags, fd, from);
}

static uint8_t data[PIECES * C];
static char dir[128], file[160];

static struct store *open_small(struct hearth_err *err, int *ret)
{
	struct store *s = NULL;

	*ret = store_open(dir, &s, err);
	if (*ret == 0)
		s->segment_bytes = 4 * C;
	return s;
}

static int read_back(struct store *s, const char *name, bool extract, struct hearth_err *err)
{
	static uint8_t got[C];
	struct store_image *img = NULL;
	int r = store_image_open(s, name, &img, err);

	for (size_t k = 0; r == 0 && k < store_image_objects(img); k++) {
		size_t n = store_image_object_bytes(img, (int)k) < C ? store_image_object_bytes(img, (int)k) : C;

		r = store_read(img, (int)k, 0, got, n, err);
	}
	if (r == 0)
		r = store_image_verify(img, 1, err);
	if (r == 0 && extract) {
		FD_AUTO int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		r = at < 0 ? err_set(err, -errno, "%s", dir) : store_extract(img, 0, at, "out", err);
		if (r == 0)
			(void)unlinkat(at, "out", 0);
	}
	store_image_close(img);
	return r;
}

/* a new image beside "base", with something of everything */
static int write_new(struct store *s, struct hearth_err *err)
{
	struct store_options o = { .zstd_level = 1 };
	struct store_draft *d = NULL, *keeper = NULL;
	struct store_object *x, *y;
	FD_AUTO int fd = -1;
	int r = store_begin(s, "new", &o, &d, err);

	if (r == 0)
		r = store_begin(s, NULL, &o, &keeper, err);
	if (r == 0)
		r = store_object_begin(keeper, "device", 2 * C, json_object(), &y, err);
	if (r == 0)
		r = store_put(y, 0, data + 4 * C, 2 * C, NULL, err);
	if (r == 0)
		r = store_seal(keeper, &fd, err);
	if (r == 0)
		r = store_object_begin(d, "memory", PIECES * C, NULL, &x, err);
	if (r == 0)
		r = store_put(x, 0, data, PIECES * C, NULL, err);
	if (r == 0)
		r = store_put(x, C, data + 3 * C, C, NULL, err);
	if (r == 0)
		r = store_put_file(d, "file", file, err);
	if (r == 0)
		r = store_adopt(d, fd, err);
	if (r == 0) {
		r = store_commit(d, NULL, NULL, err);
		if (r == 0)
			d = NULL;
	}
	store_abort(d);
	store_abort(keeper);
	return r;
}

/* jansson 2.14 frees wild pointers when an allocation of its parser fails: its own do not */
static void *json_alloc(size_t n)
{
	void *p;

	fault_pause(true);
	p = malloc(n);
	fault_pause(false);
	return p;
}

static int scenario(void)
{
	struct hearth_err err = { .msg = "" };
	struct store_entry *list = NULL;
	struct store_usage u;
	size_t n = 0;
	int r;
	struct store *s = open_small(&err, &r);

	if (r == 0)
		r = write_new(s, &err);
	if (r == 0)
		r = read_back(s, "new", true, &err);
	if (r == 0) {
		r = store_list(s, &list, &n, &err);
		if (r == 0)
			store_list_free(list, n);
	}
	if (r == 0)
		r = store_usage(s, &u, &err);
	if (r == 0)
		r = store_rm(s, "old", &err);
	if (r == 0)
		r = store_sweep(s, &err);
	store_close(s);
	/* every error says something */
	if (r < 0)
		assert_true(err.msg[0] && err.code == r);
	return r;
}

/* ---- before and after ---- */

static void write_image(struct store *s, const char *name, const void *from, size_t bytes)
{
	struct store_options o = { 0 };
	struct store_draft *d;
	struct store_object *x;

	assert_int_equal(store_begin(s, name, &o, &d, NULL), 0);
	assert_int_equal(store_object_begin(d, "memory", bytes, NULL, &x, NULL), 0);
	assert_int_equal(store_put(x, 0, from, bytes, NULL, NULL), 0);
	assert_int_equal(store_commit(d, NULL, NULL, NULL), 0);
}

static void make(const char *top)
{
	struct store *s;
	int r, fd;

	snprintf(dir, sizeof(dir), "%s/hearth-fault-XXXXXX", top);
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/file", dir);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(fd_write_full(fd, data + 2 * C, C + 100), 0);
	close(fd);
	s = open_small(NULL, &r);
	assert_int_equal(r, 0);
	write_image(s, "base", data, 2 * C);
	write_image(s, "old", data + C, 3 * C);
	store_close(s);
}

static int count_pack(void *ctx, uint32_t id)
{
	(void)id;
	++*(unsigned *)ctx;
	return 0;
}

static int count_folder(void *ctx, const char *name)
{
	(void)name;
	++*(unsigned *)ctx;
	return 0;
}

static void is_whole(struct store *s, const char *name, bool must)
{
	struct hearth_err err;
	int r = read_back(s, name, false, &err);

	if (r < 0 && (must || r != -ENOENT))
		fail_msg("%s: %s", name, err.msg);
}

static void check(void)
{
	struct hearth_err err;
	unsigned left = 0;
	int r;
	struct store *s = open_small(&err, &r);

	if (r < 0)
		fail_msg("%s", err.msg);
	if (store_sweep(s, &err) < 0)
		fail_msg("%s", err.msg);
	is_whole(s, "base", true);
	is_whole(s, "new", false);
	is_whole(s, "old", false);
	(void)store_rm(s, "new", NULL);
	(void)store_rm(s, "old", NULL);
	assert_int_equal(store_sweep(s, NULL), 0);
	is_whole(s, "base", true);
	packs_each(s, count_pack, &left);
	assert_int_equal(left, 1);
	left = 0;
	images_each(s, true, count_folder, &left);
	assert_int_equal(left, 0);
	write_image(s, "old", data + C, 3 * C);
	store_close(s);
}

static void clean_out(void)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/out", dir);
	unlink(path);
}

static bool once(enum fault_kind kind, unsigned n, int error)
{
	long blocks = fault_live_blocks();
	unsigned fds = fault_open_fds();
	bool fired;
	int r;

	fault_arm(kind, n, error);
	r = scenario();
	fired = fault_disarm();
	if (r < 0 && !fired)
		fail_msg("failed by itself: %d", r);
	if (fault_open_fds() != fds || fault_live_blocks() != blocks)
		fail_msg("step %u (%s): %u descriptors, %ld blocks left", n, fault_last(), fault_open_fds() - fds, fault_live_blocks() - blocks);
	clean_out();
	check();
	return fired;
}

/* every @step-th; on disks all of it takes minutes, as everything is synced */
static void sweep(const char *top, enum fault_kind kind, int error, unsigned first, unsigned step)
{
	unsigned n;

	make(top);
	assert_int_equal(scenario(), 0);        /* what is made once and kept, as the stacks of threads */
	check();
	for (n = first; n < SWEEP_MAX && once(kind, n, error); n += step)
		;
	assert_in_range(n, 30, SWEEP_MAX - 1);
	assert_int_equal(dir_remove(dir), 0);
}

static const char *disk(void)
{
	return getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
}

static void allocations_memory(void **state)
{
	sweep("/dev/shm", FAULT_ALLOC, 0, 1, 1);
}

static void allocations_disk(void **state)
{
	sweep(disk(), FAULT_ALLOC, 0, 1, 5);
}

static void calls_memory(void **state)
{
	sweep("/dev/shm", FAULT_SYSCALL, EIO, 1, 1);
	sweep("/dev/shm", FAULT_SYSCALL, ENOSPC, 1, 1);
}

static void calls_disk(void **state)
{
	sweep(disk(), FAULT_SYSCALL, EIO, 1, 5);
	sweep(disk(), FAULT_SYSCALL, ENOSPC, 3, 5);
}

/* ---- killed ---- */

static void killed(const char *top, unsigned step)
{
	unsigned n, died = 0;

	make(top);
	for (n = 1; n < SWEEP_MAX; n += step) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			fault_arm(FAULT_DIE, n, 0);
			_exit(scenario() == 0 ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		clean_out();
		check();
		if (WEXITSTATUS(status) != 99)
			break;
		died++;
	}
	assert_in_range(died * step, 30, SWEEP_MAX - 2);
	assert_int_equal(dir_remove(dir), 0);
}

static void killed_memory(void **state)
{
	killed("/dev/shm", 1);
}

static void killed_disk(void **state)
{
	killed(disk(), 5);
}

/* ---- full ---- */

/* a file system of a given size, for this process alone. Return: it is there. */
static bool small_tmpfs(const char *at, const char *size)
{
	char options[32];

	snprintf(options, sizeof(options), "size=%s", size);
	return mkdir(at, 0700) == 0 && mount("hearth", at, "tmpfs", 0, options) == 0;
}

/* in a child that has mounts of its own. Return: exit status; 77: not possible here */
static int full_child(unsigned kib)
{
	char top[] = "/tmp/hearth-full-XXXXXX", at[64], size[16];
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	if (!mkdtemp(top))
		return 77;
	snprintf(at, sizeof(at), "%s/fs", top);
	snprintf(size, sizeof(size), "%uk", kib);
	if (!small_tmpfs(at, size)) {
		rmdir(at);
		rmdir(top);
		return 77;
	}
	make(at);
	r = scenario();
	clean_out();
	check();
	umount(at);
	rmdir(at);
	rmdir(top);
	return r == 0 ? 0 : r == -ENOSPC ? 1 : 2;
}

static void disk_full(void **state)
{
	bool fitted = false, full = false;

	/* base and old fit from the first on, everything at the last */
	for (unsigned kib = 640; kib < 2048; kib += 28) {
		int status;
		pid_t pid = fork();

		if (pid == 0)
			_exit(full_child(kib));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77)
			skip();
		assert_in_range(WEXITSTATUS(status), 0, 1);
		full |= WEXITSTATUS(status) == 1;
		fitted |= WEXITSTATUS(status) == 0;
	}
	assert_true(full && fitted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocations_memory), cmocka_unit_test(allocations_disk), cmocka_unit_test(calls_memory), cmocka_unit_test(calls_disk),
		cmocka_unit_test(killed_memory), cmocka_unit_test(killed_disk), cmocka_unit_test(disk_full),
	};
	struct rng g;

	json_set_alloc_funcs(json_alloc, free);
	rng_seed(&g, 1);
	for (size_t i = 0; i + 8 <= sizeof(data); i += 8)
		*(uint64_t *)(data + i) = rng_next(&g);
	memset(data + 3 * C + 2000, 'x', C / 2);        /* one that compresses */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
