/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "fault.h"

#define SWEEP_MAX 200   /* far more steps than any operation here has */

static const char old_text[] = "the old content\n", new_text[] = "the new content, which is longer\n";
static char dir[64], path[80];

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/hearth-fault-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	return 0;
}

static int teardown(void **state)
{
	return dir_remove(dir);
}

static unsigned entries(void)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n - 2;
}

/* 'o' for the old content, 'n' for the new one, 'a' for no file; anything else fails the test */
static char content(void)
{
	char *data;
	int r = file_read(path, 1000, &data, NULL);
	char c;

	if (r == -ENOENT)
		return 'a';
	assert_int_equal(r, 0);
	c = strcmp(data, old_text) == 0 ? 'o' : strcmp(data, new_text) == 0 ? 'n' : '?';
	assert_int_not_equal(c, '?');
	free(data);
	return c;
}

static void put_old(bool present)
{
	unlink(path);
	if (present)
		assert_int_equal(file_replace(path, old_text, strlen(old_text), 0600, NULL), 0);
}

/* One file_replace with the n-th step failing. Return: whether there was an n-th step. */
static bool replace_once(enum fault_kind kind, unsigned n, int error, bool present)
{
	long blocks = fault_live_blocks();
	unsigned fds = fault_open_fds();
	struct hearth_err err = { 0 };
	bool fired;
	char now;
	int r;

	put_old(present);
	fault_arm(kind, n, error);
	r = file_replace(path, new_text, strlen(new_text), 0600, &err);
	fired = fault_disarm();
	now = content();
	if (r == 0) {
		assert_int_equal(now, 'n');
	} else {
		bool only_folder_sync = strcmp(fault_last(), "fsync") == 0 && now == 'n';

		assert_true(fired);
		assert_int_equal(r, kind == FAULT_ALLOC ? -ENOMEM : -error);
		assert_int_equal(err.code, r);
		assert_non_null(strstr(err.msg, path));
		assert_true(only_folder_sync || now == (present ? 'o' : 'a'));
		if (only_folder_sync)
			assert_non_null(strstr(err.msg, "power cut"));
	}
	assert_int_equal(entries(), now == 'a' ? 0 : 1);
	assert_int_equal(fault_live_blocks(), blocks);
	assert_int_equal(fault_open_fds(), fds);
	return fired;
}

static void fault_replace(void **state)
{
	const int errors[] = { EIO, ENOSPC, EINTR };
	unsigned n;

	for (int present = 0; present < 2; present++) {
		for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
			for (n = 1; n < SWEEP_MAX && replace_once(FAULT_SYSCALL, n, errors[e], present); n++)
				;
			/* open folder, random, create, write, mode, sync, close, rename, sync folder, close */
			assert_int_equal(n - 1, 10);
		}
		for (n = 1; n < SWEEP_MAX && replace_once(FAULT_ALLOC, n, 0, present); n++)
			;
		assert_true(n > 1 && n < SWEEP_MAX);
	}
}

/* Killed before every single system call: one of the two contents, whole, and at most a hidden file beside it. */
static void fault_replace_killed(void **state)
{
	unsigned died = 0;

	for (unsigned n = 1; n < SWEEP_MAX; n++) {
		int status;
		pid_t pid;

		put_old(true);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			fault_arm(FAULT_DIE, n, 0);
			_exit(file_replace(path, new_text, strlen(new_text), 0600, NULL) == 0 ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_true(content() == (n <= 8 ? 'o' : 'n'));
		assert_true(entries() <= 2);
		assert_int_equal(dir_remove(dir), 0);
		assert_int_equal(dir_make(dir, 0700), 0);
		if (WEXITSTATUS(status) == 0)
			break;
		assert_int_equal(WEXITSTATUS(status), 99);
		died++;
	}
	assert_int_equal(died, 10);
}

/* The other operations: an error or success, and nothing leaks. */
static int op_read_sealed(void)
{
	char *data;
	int r = file_read_sealed(path, 1000, &data, NULL, NULL);

	if (r == 0)
		free(data);
	return r;
}

static int op_digest(void)
{
	struct digest d;

	return digest_file(AT_FDCWD, path, 2, &d, NULL);
}

static int op_make(void)
{
	char deep[128];

	snprintf(deep, sizeof(deep), "%s/a/b/c", dir);
	return dir_make(deep, 0700);
}

static int op_remove(void)
{
	char deep[128];

	snprintf(deep, sizeof(deep), "%s/a", dir);
	return dir_remove(deep);
}

static int op_dir_fsync(void)
{
	return dir_fsync(dir);
}

static int op_listen(void)
{
	char name[128];
	int fd;

	snprintf(name, sizeof(name), "%s/socket", dir);
	fd = sock_unix_listen(name, 0600);
	if (fd < 0) {
		assert_int_equal(access(name, F_OK), -1);
		return fd;
	}
	close(fd);
	unlink(name);
	return 0;
}

static void fault_others(void **state)
{
	int (*const ops[])(void) = { op_read_sealed, op_digest, op_make, op_remove, op_dir_fsync, op_listen };
	const enum fault_kind kinds[] = { FAULT_SYSCALL, FAULT_ALLOC };

	for (size_t i = 0; i < 2 * sizeof(ops) / sizeof(ops[0]); i++) {
		enum fault_kind kind = kinds[i % 2];
		bool fired = true;
		unsigned n;

		for (n = 1; n < SWEEP_MAX && fired; n++) {
			long blocks;
			unsigned fds;
			int r;

			assert_int_equal(file_replace_sealed(path, old_text, strlen(old_text), 0600, NULL), 0);
			assert_int_equal(op_make(), 0);
			blocks = fault_live_blocks();
			fds = fault_open_fds();
			fault_arm(kind, n, EIO);
			r = ops[i / 2]();
			fired = fault_disarm();
			/* a failed mkdir of what is there, or a failed close after reading, is no failure */
			assert_true(r == 0 || (fired && r == (kind == FAULT_ALLOC ? -ENOMEM : -EIO)));
			assert_int_equal(fault_live_blocks(), blocks);
			assert_int_equal(fault_open_fds(), fds);
		}
		assert_true(n < SWEEP_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fault_replace),
		cmocka_unit_test(fault_replace_killed),
		cmocka_unit_test(fault_others),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
