/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

static char dir[64];

static int setup(void **state)
{
	temp_folder(dir);
	return 0;
}

static int teardown(void **state)
{
	return dir_remove(dir);
}

/* valid until the fourth call from here */
static const char *at(const char *name)
{
	static char path[4][160];
	static unsigned i;

	i = (i + 1) % 4;
	snprintf(path[i], sizeof(path[i]), "%s/%s", dir, name);
	return path[i];
}

#define BIG ((7u << 20) + 123)

static void test_digest(void **state)
{
	char hex[DIGEST_HEX_LEN + 1];
	struct digest d, e;
	uint64_t bytes;
	char *big = malloc(BIG);

	/* the published XXH3-128 of nothing, seed 0 */
	digest_to_hex(digest_mem("", 0), hex);
	assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
	assert_int_equal(digest_from_hex(hex, &d), 0);
	assert_true(digest_equal(d, digest_mem("", 0)));
	assert_int_equal(digest_from_hex("99", &d), -EINVAL);
	assert_int_equal(digest_from_hex("99aa06d3014798d86001c324468d497f0", &d), -EINVAL);
	assert_int_equal(digest_from_hex("99AA06d3014798d86001c324468d497f", &d), -EINVAL);

	/* sizes on both sides of a piece: up to one it is the plain digest, above it the digest of the pieces' digests, whoever shares the work */
	char *map = mmap(NULL, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_non_null(big);
	assert_true(map != MAP_FAILED);
	for (size_t i = 0; i < BIG; i++)
		map[i] = big[i] = (char)(i * 2654435761u >> 13);
	const size_t piece = DIGEST_PIECE_BYTES, sizes[] = { 0, 1, 262144, piece - 1, piece, piece + 1, 2 * piece, BIG };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(file_replace(at("d"), big, sizes[i], 0600, NULL), 0);
		struct digest each[4] = { 0 }, want;
		size_t n = 0;

		for (size_t done = 0; done < sizes[i]; done += piece, n++)
			each[n] = digest_mem(big + done, sizes[i] - done < piece ? sizes[i] - done : piece);
		want = n > 1 ? digest_mem(each, n * sizeof(each[0])) : digest_mem(big, sizes[i]);
		/* the same of a file in memory */
		struct digest_work *w = digest_work_new(map, sizes[i]);

		assert_non_null(w);
		for (size_t k = 0; k < (n ? n : 1); k++) {
			assert_false(digest_work_done(w, &e));
			assert_int_equal(digest_work_step(w), 1);
		}
		assert_int_equal(digest_work_step(w), 0);
		assert_true(digest_work_done(w, &e) && digest_equal(e, want));
		assert_null(digest_work_free(w));
		for (unsigned threads = 0; threads < 6; threads++) {
			assert_int_equal(digest_file(AT_FDCWD, at("d"), threads, &e, &bytes), 0);
			assert_int_equal(bytes, sizes[i]);
			assert_true(digest_equal(e, want));
		}
	}
	free(big);
	munmap(map, BIG);
	assert_int_equal(digest_file(AT_FDCWD, at("absent"), 1, &e, NULL), -ENOENT);
	assert_int_equal(digest_file(AT_FDCWD, dir, 1, &e, NULL), -EISDIR);
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	assert_int_equal(digest_file(AT_FDCWD, at("fifo"), 1, &e, NULL), -EINVAL);
}

static void test_read(void **state)
{
	char *data;
	size_t len;

	assert_int_equal(file_replace(at("f"), "0123456789", 10, 0600, NULL), 0);
	assert_int_equal(file_read(at("f"), 10, &data, &len), 0);
	assert_int_equal(len, 10);
	assert_string_equal(data, "0123456789");
	free(data);
	data = NULL;
	assert_int_equal(file_read(at("f"), 9, &data, &len), -EFBIG);
	assert_null(data);
	assert_int_equal(file_read(at("none"), 10, &data, NULL), -ENOENT);
	assert_int_equal(file_read(dir, 10000000, &data, NULL), -EISDIR);
	assert_int_equal(file_replace(at("e"), NULL, 0, 0600, NULL), 0);
	assert_int_equal(file_read(at("e"), 0, &data, &len), 0);
	assert_int_equal(len, 0);
	assert_string_equal(data, "");
	free(data);
	/* fstat says 0 bytes, and there are some */
	assert_int_equal(file_read("/proc/self/status", SIZE_MAX, &data, &len), 0);
	assert_true(len > 100);
	free(data);
	data = NULL;
	assert_int_equal(file_read("/proc/self/status", 100, &data, &len), -EFBIG);
	assert_null(data);
}

static void test_replace(void **state)
{
	struct hearth_err err;
	struct stat st;
	char *data;

	umask(077);
	assert_int_equal(file_replace(at("r"), "one", 3, 0644, NULL), 0);
	assert_int_equal(stat(at("r"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(file_replace(at("r"), "two2", 4, 0640, NULL), 0);
	assert_int_equal(file_read(at("r"), 100, &data, NULL), 0);
	assert_string_equal(data, "two2");
	free(data);
	assert_int_equal(file_replace(at("no/such"), "x", 1, 0600, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "no/such"));
	assert_int_equal(file_replace(at(".."), "x", 1, 0600, NULL), -EINVAL);
	assert_int_equal(file_replace("/", "x", 1, 0600, NULL), -EINVAL);
	assert_int_equal(file_replace("", "x", 1, 0600, NULL), -EINVAL);
	/* a folder is in the way: nothing changes, no temporary file stays */
	unsigned before = count_entries(dir);
	assert_int_equal(mkdir(at("folder"), 0700), 0);
	assert_int_equal(file_replace(at("folder"), "x", 1, 0600, &err), -EISDIR);
	assert_int_equal(count_entries(dir), before + 1);
}

static void test_sealed(void **state)
{
	struct hearth_err err;
	char *data = NULL, *raw;
	size_t len, n;

	assert_int_equal(file_replace_sealed(at("s"), "a: 1\nb: 2\n", 10, 0600, NULL), 0);
	assert_int_equal(file_read_sealed(at("s"), 10, &data, &len, &err), 0);
	assert_int_equal(len, 10);
	assert_string_equal(data, "a: 1\nb: 2\n");
	free(data);
	data = NULL;
	assert_int_equal(file_read_sealed(at("s"), 9, &data, &len, &err), -EFBIG);
	/* every flipped bit and every truncation is found */
	assert_int_equal(file_read(at("s"), 1000, &raw, &n), 0);
	for (size_t i = 0; i < n * 8; i++) {
		raw[i / 8] ^= (char)(1 << i % 8);
		assert_int_equal(file_replace(at("torn"), raw, n, 0600, NULL), 0);
		assert_int_equal(file_read_sealed(at("torn"), 1000, &data, &len, &err), -EBADMSG);
		raw[i / 8] ^= (char)(1 << i % 8);
	}
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(file_replace(at("torn"), raw, i, 0600, NULL), 0);
		assert_int_equal(file_read_sealed(at("torn"), 1000, &data, &len, &err), -EBADMSG);
	}
	assert_null(data);
	free(raw);
	assert_int_equal(file_replace_sealed(at("s"), "", 0, 0600, NULL), 0);
	assert_int_equal(file_read_sealed(at("s"), 0, &data, &len, &err), 0);
	assert_int_equal(len, 0);
	free(data);
	assert_int_equal(file_read_sealed(at("gone"), 100, &data, &len, &err), -ENOENT);
}

static void test_dir_make(void **state)
{
	struct stat st;

	assert_int_equal(dir_make(at("a/b//c/"), 0755), 0);
	assert_int_equal(stat(at("a/b/c"), &st), 0);
	assert_int_equal(dir_make(at("a/b/c"), 0755), 0);
	assert_int_equal(dir_make("/", 0755), 0);
	assert_int_equal(file_replace(at("a/f"), "x", 1, 0600, NULL), 0);
	assert_int_equal(dir_make(at("a/f"), 0755), -ENOTDIR);
	assert_int_equal(dir_make(at("a/f/g"), 0755), -ENOTDIR);
	assert_int_equal(dir_make("", 0755), -EINVAL);
	assert_int_equal(dir_fsync(at("a")), 0);
	assert_int_equal(dir_fsync(at("a/f")), -ENOTDIR);
}

static void test_dir_remove(void **state)
{
	struct stat st;
	char name[64];

	assert_int_equal(dir_make(at("keep"), 0755), 0);
	assert_int_equal(file_replace(at("keep/it"), "x", 1, 0600, NULL), 0);
	assert_int_equal(dir_make(at("t/u/v"), 0755), 0);
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "t/u/f%d", i);
		assert_int_equal(close(open(at(name), O_CREAT | O_WRONLY, 0600)), 0);
	}
	assert_int_equal(symlink("../keep", at("t/link")), 0);
	assert_int_equal(symlink("keep", at("l2")), 0);
	assert_int_equal(dir_remove(at("t/")), 0);
	assert_int_equal(stat(at("t"), &st), -1);
	assert_int_equal(dir_remove(at("l2")), 0);              /* the link, not what it points to */
	assert_int_equal(stat(at("keep/it"), &st), 0);
	assert_int_equal(dir_remove(at("t")), 0);
	assert_int_equal(dir_remove(at("no/parent")), 0);
	assert_int_equal(dir_remove(at("keep/it")), 0);
	assert_int_equal(dir_remove("/"), -EINVAL);
	assert_int_equal(dir_remove("."), -EINVAL);
	assert_int_equal(dir_remove(at("keep/..")), -EINVAL);
	assert_int_equal(stat(at("keep"), &st), 0);
}

enum { DONE, NO_NAMESPACE = 77 };

/* In a mount namespace of its own: a bind mount of the same file system, which the device number would not show. */
static int remove_across_mount(void)
{
	struct stat st;

	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return NO_NAMESPACE;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount(at("src"), at("tree/mnt"), NULL, MS_BIND, NULL) < 0)
		return NO_NAMESPACE;
	if (dir_remove(at("tree")) != -EBUSY || dir_remove(at("tree/mnt")) != -EBUSY)
		return 1;
	if (stat(at("src/data"), &st) < 0)
		return 2;
	return stat(at("tree/other"), &st) < 0 ? DONE : 3;
}

static void test_dir_remove_mount(void **state)
{
	struct stat st;
	int status;
	pid_t pid;

	assert_int_equal(dir_make(at("src"), 0755), 0);
	assert_int_equal(file_replace(at("src/data"), "x", 1, 0600, NULL), 0);
	assert_int_equal(dir_make(at("tree/mnt"), 0755), 0);
	assert_int_equal(file_replace(at("tree/other"), "x", 1, 0600, NULL), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(remove_across_mount());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_NAMESPACE) {
		print_message("no mount namespace here: not tested\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), DONE);
	assert_int_equal(stat(at("src/data"), &st), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digest),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_sealed),
		cmocka_unit_test(test_dir_make),
		cmocka_unit_test(test_dir_remove),
		cmocka_unit_test(test_dir_remove_mount),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
