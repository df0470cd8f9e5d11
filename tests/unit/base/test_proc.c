/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"

static pid_t sleeper(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	while (pid == 0)
		pause();
	return pid;
}

static void gone(pid_t pid)
{
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(proc_ending(pid));
	assert_int_equal(proc_state(pid), -ESRCH);
}

static void test_start(void **state)
{
	uint64_t mine, child;
	pid_t pid = sleeper();

	assert_int_equal(proc_starttime(getpid(), &mine), 0);
	assert_int_equal(proc_starttime(pid, &child), 0);
	assert_true(mine > 0 && child >= mine);
	kill(pid, SIGKILL);
	gone(pid);
	assert_int_equal(proc_starttime(pid, &child), -ESRCH);
}

static void test_computes(void **state)
{
	pid_t pid = sleeper(), busy = fork();
	volatile unsigned n = 0;

	if (busy == 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (busy == 0)
		n++;
	assert_true(busy > 0);
	while (proc_state(pid) != 'S')          /* it has come that far */
		sched_yield();
	assert_false(proc_tree_computes(pid));
	assert_true(proc_tree_computes(busy));
	/* ours are its and the other's: we do, as we look */
	assert_true(proc_tree_computes(getpid()));
	kill(pid, SIGKILL);
	kill(busy, SIGKILL);
	gone(pid);
	gone(busy);
	assert_false(proc_tree_computes(pid));
}

static void test_cpus(void **state)
{
	cpu_set_t before, one;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(proc_cpus(), CPU_COUNT(&before));
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(proc_cpus(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static void test_runs_on(void **state)
{
	pid_t pid = sleeper();

	assert_false(proc_ending(getpid()));
	assert_false(proc_ending(pid));
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	kill(pid, SIGTERM);                     /* waits for it, as SIGKILL may, but whether that ends it is its own affair */
	assert_false(proc_ending(pid));
	kill(pid, SIGKILL);
	gone(pid);
}

static void test_zombie(void **state)
{
	siginfo_t info;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(proc_state(pid), 'Z');
	assert_true(proc_ending(pid));
	gone(pid);
}

/* held where it has taken note of SIGKILL, but has not begun to exit */
static void test_killed(void **state)
{
	int status;
	pid_t pid = sleeper();

	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACEEXIT) < 0) {
		kill(pid, SIGKILL);
		gone(pid);
		skip();
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	assert_int_equal(status >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8);
	assert_int_not_equal(proc_state(pid), 'Z');
	assert_true(proc_ending(pid));
	assert_int_equal(ptrace(PTRACE_CONT, pid, NULL, NULL), 0);
	gone(pid);
}

/* the first process of a name space, which exits by itself but is not gone before all others are, and the one other is not waited for. @go: when it exits. Its pid and the other's go to @out. */
static _Noreturn void parent_of_first(int go, int out)
{
	pid_t pids[2];
	char byte;

	if (unshare(CLONE_NEWPID) < 0)
		_exit(1);
	pids[0] = fork();
	if (pids[0] == 0)
		_exit((int)read(go, &byte, 1));
	pids[1] = sleeper();
	if (write(out, pids, sizeof(pids)) != sizeof(pids))
		_exit(1);
	for (;;)
		pause();
}

static void test_exiting(void **state)
{
	int go[2], out[2];
	pid_t pids[2], parent;
	struct pollfd other = { .events = POLLIN };
	bool made;

	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(out), 0);
	parent = fork();
	if (parent == 0)
		parent_of_first(go[0], out[1]);
	close(out[1]);
	made = fd_read_full(out[0], pids, sizeof(pids)) == sizeof(pids);
	if (made) {
		assert_false(proc_ending(pids[0]));
		other.fd = pidfd_of(pids[1]);
		assert_int_equal(write(go[1], "", 1), 1);
		assert_int_equal(poll(&other, 1, 60000), 1);        /* killed by the first one's exit, which waits for its end */
		assert_int_not_equal(proc_state(pids[0]), 'Z');
		assert_true(proc_ending(pids[0]));
		close(other.fd);
	}
	kill(parent, SIGKILL);
	gone(parent);
	close(out[0]);
	close(go[0]);
	close(go[1]);
	if (!made)
		skip();                                             /* name spaces are not for us */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start), cmocka_unit_test(test_computes), cmocka_unit_test(test_cpus), cmocka_unit_test(test_runs_on), cmocka_unit_test(test_zombie), cmocka_unit_test(test_killed),
		cmocka_unit_test(test_exiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
