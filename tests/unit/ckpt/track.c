/* SPDX-License-Identifier: Apache-2.0 */
/* The tracker on a child of our own, which does what it is told over a pipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "ckpt/track.h"

#define PAGE 4096ul
#define PAGES 64ul

struct child {
	pid_t pid;
	int to, from;
	uint8_t *mem;
};

struct order { char what; uint64_t a, b; };

static volatile sig_atomic_t alarms;
static void on_alarm(int sig) { alarms += sig == SIGUSR1; }

static uint64_t obey(uint8_t *mem, const struct order *o)
{
	switch (o->what) {
	case 'w': mem[o->a * PAGE] = (uint8_t)o->b; return 0;
	case 'd': return (uint64_t)madvise(mem + o->a * PAGE, o->b * PAGE, MADV_DONTNEED);
	case 'r': return mem[o->a * PAGE];
	case 'n': {
		uint8_t *more = mmap(NULL, o->a * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		memset(more, 1, o->a * PAGE);
		return (uintptr_t)more;
	}
	case 'm': return (uintptr_t)mremap(mem + o->a * PAGE, o->b * PAGE, o->b * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
					   (uint8_t *)mmap(NULL, o->b * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	case 'f': {
		pid_t pid = fork();

		if (pid == 0)
			for (;;)
				pause();
		return (uint64_t)pid;
	}
	case 'c': return (uint64_t)alarms;
	case 'z': return poll(NULL, 0, 50) == 0;        /* whether it slept undisturbed */
	default: return 0;
	}
}

static void be_child(int in, int out)
{
	uint8_t *mem = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct order o;
	uint64_t answer = (uintptr_t)mem;

	sigaction(SIGUSR1, &sa, NULL);
	memset(mem, 7, PAGES * PAGE);
	while (fd_write_full(out, &answer, sizeof(answer)) == 0 && fd_read_full(in, &o, sizeof(o)) == sizeof(o))
		answer = obey(mem, &o);
	_exit(0);
}

static uint64_t hear(struct child *c)
{
	uint64_t answer;

	assert_int_equal(fd_read_full(c->from, &answer, sizeof(answer)), sizeof(answer));
	return answer;
}

static uint64_t tell(struct child *c, char what, uint64_t a, uint64_t b)
{
	struct order o = { what, a, b };

	assert_int_equal(fd_write_full(c->to, &o, sizeof(o)), 0);
	return hear(c);
}

static void start(struct child *c)
{
	int to[2], from[2];

	assert_int_equal(pipe(to) | pipe(from), 0);
	c->pid = fork();
	if (c->pid == 0) {
		close(to[1]);
		close(from[0]);
		be_child(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	c->to = to[1];
	c->from = from[0];
	c->mem = (uint8_t *)(uintptr_t)hear(c);
}

static void end(struct child *c)
{
	int status;

	close(c->to);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(c->from);
}

/* '-' not there, '.' clean, '*' dirty, a letter a page */
static void look(struct track *t, pid_t pid, const uint8_t *at, size_t pages, bool protect, char *ret)
{
	struct track_spans s = { 0 };
	struct hearth_err err = { 0 };

	assert_int_equal(track_scan(t, pid, protect, &s, &err), 0);
	memset(ret, '-', pages);
	ret[pages] = '\0';
	for (size_t k = 0; k < s.n; k++) {
		assert_true(k == 0 || s.v[k].start >= s.v[k - 1].end);
		for (uint64_t a = s.v[k].start; a < s.v[k].end; a += PAGE)
			if (a >= (uintptr_t)at && a < (uintptr_t)at + pages * PAGE)
				ret[(a - (uintptr_t)at) / PAGE] = s.v[k].dirty ? '*' : '.';
	}
	track_spans_done(&s);
}

static size_t count(const char *text, char c)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == c;
	return n;
}

static struct track *arm(struct child *c)
{
	struct hearth_err err = { 0 };
	struct track *t = NULL;

	if (!track_supported())
		skip();
	assert_int_equal(track_arm(&c->pid, 1, &t, &err), 0);
	assert_true(track_armed(t, c->pid));
	return t;
}

static void finds_what_is_written(void **state)
{
	struct child c;
	char seen[PAGES + 1];
	struct track *t;

	start(&c);
	look(NULL, c.pid, c.mem, PAGES, false, seen);
	assert_int_equal(count(seen, '*'), PAGES);      /* untracked: all dirty */
	t = arm(&c);
	look(t, c.pid, c.mem, PAGES, true, seen);
	assert_int_equal(count(seen, '*'), PAGES);
	look(t, c.pid, c.mem, PAGES, false, seen);
	assert_int_equal(count(seen, '.'), PAGES);
	tell(&c, 'w', 3, 9);
	tell(&c, 'w', 40, 9);
	look(t, c.pid, c.mem, PAGES, false, seen);
	assert_true(count(seen, '*') == 2 && seen[3] == '*' && seen[40] == '*');
	look(t, c.pid, c.mem, PAGES, true, seen);
	assert_int_equal(count(seen, '*'), 2);
	look(t, c.pid, c.mem, PAGES, true, seen);
	assert_int_equal(count(seen, '*'), 0);
	/* given back, and used again: read as zeros it is nothing, written it is dirty */
	tell(&c, 'd', 10, 4);
	look(t, c.pid, c.mem, PAGES, false, seen);
	assert_true(count(seen, '-') == 4 && count(seen, '*') == 0);
	assert_int_equal(tell(&c, 'r', 10, 0), 0);
	tell(&c, 'w', 11, 5);
	look(t, c.pid, c.mem, PAGES, true, seen);
	assert_true(seen[10] == '-' && seen[11] == '*' && seen[12] == '-');
	track_disarm(t);
	tell(&c, 'w', 20, 1);
	assert_int_equal(tell(&c, 'r', 20, 0), 1);
	end(&c);
}

static void what_is_new_or_moved_is_dirty(void **state)
{
	struct child c;
	char seen[PAGES + 1];
	struct track *t;
	uint8_t *more, *moved;
	pid_t fork_pid;

	start(&c);
	t = arm(&c);
	look(t, c.pid, c.mem, PAGES, true, seen);
	more = (uint8_t *)(uintptr_t)tell(&c, 'n', PAGES, 0);
	look(t, c.pid, more, PAGES, false, seen);
	assert_int_equal(count(seen, '*'), PAGES);
	look(t, c.pid, more, PAGES, true, seen);
	look(t, c.pid, more, PAGES, false, seen);
	assert_int_equal(count(seen, '.'), PAGES);      /* tracked from then on */
	moved = (uint8_t *)(uintptr_t)tell(&c, 'm', 16, 16);
	look(t, c.pid, moved, 16, false, seen);
	assert_int_equal(count(seen, '*'), 16);
	look(t, c.pid, c.mem, PAGES, false, seen);
	assert_int_equal(count(seen, '-'), 16);
	fork_pid = (pid_t)tell(&c, 'f', 0, 0);
	assert_false(track_armed(t, fork_pid));
	look(t, fork_pid, c.mem, PAGES, false, seen);
	assert_int_equal(count(seen, '*'), PAGES - 16);
	kill(fork_pid, SIGKILL);
	track_disarm(t);
	end(&c);
}

static void *shoot(void *arg)
{
	struct child *c = arg;

	for (int k = 0; k < 200; k++)
		kill(c->pid, SIGUSR1);
	return NULL;
}

/* armed again and again while it sleeps in the kernel and while signals come */
static void the_process_does_not_notice(void **state)
{
	struct order o = { 'z', 0, 0 };
	pthread_t thread;
	struct child c;

	if (!track_supported())
		skip();
	start(&c);
	assert_int_equal(fd_write_full(c.to, &o, sizeof(o)), 0);
	for (int k = 0; k < 20; k++)
		track_disarm(arm(&c));
	assert_int_equal(hear(&c), 1);
	assert_int_equal(pthread_create(&thread, NULL, shoot, &c), 0);
	for (int k = 0; k < 50; k++)
		track_disarm(arm(&c));
	pthread_join(thread, NULL);
	assert_true(tell(&c, 'c', 0, 0) > 0);
	kill(c.pid, SIGUSR1);
	assert_int_equal(tell(&c, 'r', 5, 0), 7);
	end(&c);
}

static void who_is_gone_is_left_out(void **state)
{
	struct hearth_err err = { 0 };
	struct track_spans s = { 0 };
	struct track *t = NULL;
	struct child c;
	pid_t pids[2];

	if (!track_supported())
		skip();
	start(&c);
	pids[0] = c.pid;
	pids[1] = fork();
	if (pids[1] == 0)
		_exit(0);
	waitpid(pids[1], NULL, 0);
	assert_int_equal(track_arm(pids, 2, &t, &err), 0);
	assert_true(track_armed(t, pids[0]) && !track_armed(t, pids[1]));
	assert_int_equal(track_scan(t, pids[1], true, &s, &err), -ESRCH);
	assert_non_null(strstr(err.msg, "page map"));
	track_disarm(t);
	track_spans_done(&s);
	end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_is_written), cmocka_unit_test(what_is_new_or_moved_is_dirty), cmocka_unit_test(the_process_does_not_notice),
		cmocka_unit_test(who_is_gone_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
