/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "hearth/ds_load.h"
#include "wraps.h"

/*
 * A store goes from state to state by commits: in state N, block K of LAYERS layers has version (N + K) / BLOCKS, that is one id is replaced by each commit, and one is dropped and comes
 * back. Whatever fails, and whenever the process is killed: what is found afterwards is the last state that was committed, or the next one, whole.
 */
#define BLOCK 4096
#define IDS 8
#define LAYERS 2
#define SWEEP_MAX 2000

static char dir[64], path[96];

static void fill(uint8_t *to, uint64_t id, uint32_t layer, uint64_t version)
{
	uint64_t *words = (uint64_t *)to;

	for (uint64_t k = 0; k < BLOCK / 8; k++)
		words[k] = (id << 48 | (uint64_t)layer << 40 | k << 24) ^ version * 0x9e3779b97f4a7c15ull;
}

/* what is in state @n: 0: not there */
static uint64_t version_of(uint64_t n, uint64_t id)
{
	uint64_t since = (n + IDS - id) % IDS;          /* commits since it was replaced last */

	/* the commit after it drops it, those that follow leave it out until it is its turn again: only for id 3 */
	if (n < since)
		return 0;
	return id == 3 && since > 0 ? 0 : n - since + 1;
}

static int to_state(struct hearth_ds_kv *kv, const struct hearth_ds_buffer *room, uint64_t n)
{
	struct hearth_ds_kv_block blocks[LAYERS];
	uint64_t id = n % IDS;
	int r;

	for (uint32_t k = 0; k < LAYERS; k++) {
		blocks[k] = (struct hearth_ds_kv_block){ .id = id, .layer = k, .memory = room->memory, .memory_offset = k * BLOCK };
		fill((uint8_t *)(uintptr_t)room->at + k * BLOCK, id, k, n + 1);
	}
	r = hearth_ds_kv_put(kv, blocks, LAYERS);
	if (r == 0 && id == 4) {
		int64_t dropped = hearth_ds_kv_drop(kv, 3);

		r = dropped < 0 ? (int)dropped : 0;
	}
	return r < 0 ? r : hearth_ds_kv_commit(kv);
}

struct open_store {
	struct hearth_ds *ds;
	struct hearth_ds_device *host;
	struct hearth_ds_buffer room;
	struct hearth_ds_kv *kv;
};

static void done(struct open_store *s)
{
	hearth_ds_kv_close(s->kv);
	hearth_ds_free(&s->room);
	hearth_ds_close(s->ds);
	*s = (struct open_store){ 0 };
}

static int begin(struct open_store *s, bool create)
{
	static const struct hearth_ds_kv_options options = { .block_bytes = BLOCK, .layers = LAYERS, .checked = 1 };
	int r = hearth_ds_open(NULL, &s->ds);

	if (r == 0)
		r = hearth_ds_device(s->ds, "host", &s->host);
	if (r == 0)
		r = hearth_ds_alloc(s->host, IDS * LAYERS * BLOCK, &s->room);
	if (r == 0)
		r = create ? hearth_ds_kv_create(s->ds, path, &options, &s->kv) : hearth_ds_kv_open(s->ds, path, 1, &s->kv);
	return r;
}

/* -1: none of those */
static int64_t state_of(struct open_store *s, uint64_t from, uint64_t to)
{
	static uint8_t want[BLOCK];

	for (uint64_t n = from; n <= to; n++) {
		struct hearth_ds_kv_block blocks[IDS * LAYERS];
		bool same = true;

		for (unsigned k = 0; k < IDS * LAYERS; k++)
			blocks[k] = (struct hearth_ds_kv_block){ .id = k / LAYERS, .layer = k % LAYERS, .memory = s->room.memory, .memory_offset = k * BLOCK };
		if (hearth_ds_kv_get(s->kv, blocks, IDS * LAYERS) < 0)
			return -1;
		for (unsigned k = 0; k < IDS * LAYERS && same; k++) {
			uint64_t version = version_of(n, k / LAYERS);

			fill(want, k / LAYERS, k % LAYERS, version);
			same = version ? blocks[k].result == BLOCK && memcmp((uint8_t *)(uintptr_t)s->room.at + k * BLOCK, want, BLOCK) == 0 : blocks[k].result == -ENOENT;
		}
		if (same)
			return (int64_t)n;
	}
	return -1;
}

/* a store in state @n, made without faults */
static void make(uint64_t n)
{
	struct open_store s = { 0 };

	assert_int_equal(begin(&s, true), 0);
	for (uint64_t k = 0; k <= n; k++)
		assert_int_equal(to_state(s.kv, &s.room, k), 0);
	assert_int_equal(state_of(&s, n, n), n);
	done(&s);
}

static int64_t look(uint64_t from, uint64_t to)
{
	struct open_store s = { 0 };
	int64_t n;

	if (begin(&s, false) < 0)
		fail_msg("%s", hearth_ds_error());
	n = state_of(&s, from, to);
	assert_int_equal(hearth_ds_kv_check(s.kv, NULL, NULL), 0);
	done(&s);
	return n;
}

/* two commits; the second has to do with what the first one left behind when it failed */
static int scenario(uint64_t n, int64_t *ret_state)
{
	struct open_store s = { 0 };
	int r = begin(&s, false);

	*ret_state = (int64_t)n;
	if (r == 0)
		r = to_state(s.kv, &s.room, n + 1);
	if (r == 0)
		*ret_state = (int64_t)n + 1;
	done(&s);
	return r;
}

/* libc keeps what threads had for the next ones: not to be taken for a leak */
static void warm_up(void)
{
	int64_t n;

	make(10);
	assert_int_equal(scenario(10, &n), 0);
	assert_int_equal(look(11, 11), 11);
	assert_int_equal(dir_remove(path), 0);
}

static void sweep(enum fault_kind kind, int error)
{
	bool fired = true;

	warm_up();
	for (unsigned nth = 1; fired; nth++) {
		long blocks = fault_live_blocks();
		unsigned fds = fault_open_fds();
		int64_t n, state;
		int r;

		assert_true(nth < SWEEP_MAX);
		make(10);
		fault_arm(kind, nth, error);
		r = scenario(10, &n);
		fired = fault_disarm();
		assert_true(fired || r == 0);
		state = look(10, 11);
		/* a commit that failed at its very last step may be there or not; one that was said to be there is */
		if (state != n && !(r < 0 && state >= 10))
			fail_msg("call %u (%s) failed: %d, '%s'; state %lld, not %lld", nth, fault_last(), r, hearth_ds_error(), (long long)state, (long long)n);
		if (r < 0 && hearth_ds_error()[0] == '\0')
			fail_msg("call %u (%s) failed: no message", nth, fault_last());
		if (fault_live_blocks() != blocks)
			fail_msg("call %u (%s) failed: %ld blocks more than before", nth, fault_last(), fault_live_blocks() - blocks);
		assert_int_equal(fault_open_fds(), fds);
		assert_int_equal(dir_remove(path), 0);
	}
}

static void test_syscalls(void **state) { sweep(FAULT_SYSCALL, EIO); }
static void test_no_space(void **state) { sweep(FAULT_SYSCALL, ENOSPC); }
static void test_allocations(void **state) { sweep(FAULT_ALLOC, ENOMEM); }

/* creation: the store is there or it is not */
static void test_create(void **state)
{
	bool fired = true;

	for (unsigned nth = 1; fired; nth++) {
		struct open_store s = { 0 };
		int r;

		assert_true(nth < SWEEP_MAX);
		fault_arm(FAULT_SYSCALL, nth, EIO);
		r = begin(&s, true);
		fired = fault_disarm();
		done(&s);
		/* a close that fails has left a store that is whole */
		if (r < 0)
			assert_int_equal(access(path, F_OK), -1);
		else
			assert_int_equal(look(0, 0), -1);
		(void)dir_remove(path);
	}
}

/* a commit that could not be finished is tried again by the same handle */
static void test_again(void **state)
{
	bool fired = true;

	for (unsigned nth = 1; fired; nth++) {
		struct open_store s = { 0 };
		int64_t n = 11;
		int r;

		assert_true(nth < SWEEP_MAX);
		make(10);
		assert_int_equal(begin(&s, false), 0);
		fault_arm(FAULT_SYSCALL, nth, ENOSPC);
		r = to_state(s.kv, &s.room, 11);
		fired = fault_disarm();
		if (r < 0 && !strstr(hearth_ds_error(), "cannot write blocks")) {
			if (to_state(s.kv, &s.room, 11) < 0)
				fail_msg("call %u (%s): the second try: %s", nth, fault_last(), hearth_ds_error());
			n = 12;
			assert_int_equal(to_state(s.kv, &s.room, 12), 0);
			assert_int_equal(state_of(&s, 12, 12), 12);
		} else if (r < 0) {
			/* what the disk did not take may be lost: nothing is committed any more */
			assert_int_equal(hearth_ds_kv_commit(s.kv), -EIO);
			n = 10;
		}
		done(&s);
		assert_int_equal(look(10, 12), n);
		assert_int_equal(dir_remove(path), 0);
	}
}

/* ---- killed ---- */

static void test_killed_anywhere(void **state)
{
	bool died = true;

	for (unsigned nth = 1; died; nth++) {
		int status;
		pid_t pid;

		assert_true(nth < SWEEP_MAX);
		make(10);
		pid = fork();
		if (pid == 0) {
			int64_t n;

			fault_arm(FAULT_DIE, nth, 0);
			(void)scenario(10, &n);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		died = WIFEXITED(status) && WEXITSTATUS(status) == 99;
		assert_true(died || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
		assert_true(look(10, 11) >= (died ? 10 : 11));
		assert_int_equal(dir_remove(path), 0);
	}
}

/* commits until it is killed; says of each that it is done */
static void commit_for_ever(uint64_t n, int to)
{
	struct open_store s = { 0 };

	if (begin(&s, false) < 0)
		_exit(1);
	for (;;) {
		if (to_state(s.kv, &s.room, ++n) < 0 || write(to, &n, sizeof(n)) != sizeof(n))
			_exit(1);
	}
}

static void test_killed_at_work(void **state)
{
	uint64_t n = 10, seed = 1;

	make(n);
	for (unsigned round = 0; round < 25; round++) {
		uint64_t commits = (seed = seed * 6364136223846793005ull + 1) >> 59, said = n;
		int pipe_fds[2], status;
		int64_t found;
		pid_t pid;

		assert_int_equal(pipe(pipe_fds), 0);
		pid = fork();
		if (pid == 0)
			commit_for_ever(n, pipe_fds[1]);
		close(pipe_fds[1]);
		/* in the midst of whatever it does after so many */
		while (commits-- > 0)
			assert_int_equal(fd_read_full(pipe_fds[0], &said, sizeof(said)), sizeof(said));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while (fd_read_full(pipe_fds[0], &said, sizeof(said)) == sizeof(said))
			;
		close(pipe_fds[0]);
		found = look(said, said + 1);
		if (found < 0)
			fail_msg("round %u: neither state %llu nor the next", round, (unsigned long long)said);
		n = (uint64_t)found;
	}
	assert_int_equal(dir_remove(path), 0);
}

/* ---- a disk that is full ---- */

static void eat_all(const char *name)
{
	static uint8_t block[4096];
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	close(fd);
}

/* in a process of its own, on a file system of its own */
static void on_full_disk(void)
{
	struct hearth_ds_kv_block more = { .id = 100 };
	struct open_store s = { 0 };
	char eater[96];

	snprintf(eater, sizeof(eater), "%s/eater", dir);
	make(10);
	assert_int_equal(begin(&s, false), 0);
	eat_all(eater);
	/* no room for blocks: puts fail, and the rest goes on */
	more.memory = s.room.memory;
	for (int r = 0; r == 0; more.id++)
		r = hearth_ds_kv_put(s.kv, &more, 1);
	assert_non_null(strstr(hearth_ds_error(), "No space left"));
	assert_int_equal(unlink(eater), 0);
	done(&s);
	assert_int_equal(look(10, 10), 10);
	/* no room for the index: the commit fails, and succeeds once there is some */
	assert_int_equal(begin(&s, false), 0);
	for (more = (struct hearth_ds_kv_block){ .id = 200, .memory = s.room.memory }; more.id < 400; more.id++)
		assert_int_equal(hearth_ds_kv_put(s.kv, &more, 1), 0);
	eat_all(eater);
	assert_int_equal(hearth_ds_kv_commit(s.kv), -ENOSPC);
	assert_int_equal(hearth_ds_kv_commit(s.kv), -ENOSPC);
	assert_int_equal(unlink(eater), 0);
	assert_int_equal(hearth_ds_kv_commit(s.kv), 0);
	done(&s);
	assert_int_equal(begin(&s, false), 0);
	assert_int_equal(hearth_ds_kv_list(s.kv, NULL, 0), 14 + 200);
	done(&s);
	assert_int_equal(look(10, 10), 10);
}

static void test_full_disk(void **state)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("none", dir, "tmpfs", 0, "size=3m") < 0)
			_exit(77);
		on_full_disk();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int setup(void **state)
{
	json_never_fails();
	snprintf(dir, sizeof(dir), "/tmp/hearth-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/store", dir);
	return 0;
}

static int teardown(void **state)
{
	return dir_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_syscalls), cmocka_unit_test(test_no_space), cmocka_unit_test(test_allocations), cmocka_unit_test(test_create), cmocka_unit_test(test_again),
		cmocka_unit_test(test_killed_anywhere), cmocka_unit_test(test_killed_at_work), cmocka_unit_test(test_full_disk),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
