/* SPDX-License-Identifier: Apache-2.0 */
/* System calls in the name of another process, without changing a byte of its memory: its registers are set, it runs one syscall instruction of its own, and they are set back. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"
#include "uffd.h"

#if defined(__x86_64__)

#define STATUS_MAX 65536
#define USER_CS64 0x33
#define CODE_MAX (1u << 20)

/* Return: address of a syscall instruction in @len bytes of the process at @start, 0 if there is none */
static uint64_t find_in(int pid, uint64_t start, size_t len)
{
	uint8_t *code = malloc(len);
	struct iovec local = { code, len }, remote = { (void *)(uintptr_t)start, len };
	ssize_t n = code ? process_vm_readv(pid, &local, 1, &remote, 1, 0) : -1;
	uint64_t found = 0;

	for (ssize_t k = 0; k + 1 < n && !found; k++)
		if (code[k] == 0x0f && code[k + 1] == 0x05)
			found = start + (uint64_t)k;
	free(code);
	return found;
}

/* the vDSO has one; if not, any program or library */
static uint64_t find_syscall(int pid)
{
	char path[64], line[PATH_MAX + 128];
	uint64_t found = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	for (int vdso = 1; vdso >= 0 && !found; vdso--) {
		maps = fopen(path, "re");
		while (maps && !found && fgets(line, sizeof(line), maps)) {
			unsigned long long start, end;
			char perms[8];

			if (sscanf(line, "%llx-%llx %7s", &start, &end, perms) != 3 || perms[0] != 'r' || perms[2] != 'x' || strstr(line, "[vsyscall]"))
				continue;
			if (!vdso == !strstr(line, "[vdso]"))
				found = find_in(pid, start, end - start < CODE_MAX ? end - start : CODE_MAX);
		}
		if (maps)
			fclose(maps);
	}
	return found;
}

static int get_regs(int pid, struct user_regs_struct *regs)
{
	struct iovec iov = { regs, sizeof(*regs) };

	if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov) < 0)
		return -errno;
	return iov.iov_len == sizeof(*regs) && regs->cs == USER_CS64 ? 0 : -EOPNOTSUPP;
}

static int set_regs(int pid, struct user_regs_struct *regs)
{
	struct iovec iov = { regs, sizeof(*regs) };

	return ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &iov) < 0 ? -errno : 0;
}

/*
 * Until the process stops in the way that is asked for: @syscall_stop at a system call's entry or end, otherwise because it was interrupted. Signals that come first are
 * delivered, which must not happen once its registers are changed: they are blocked then. SIGSTOP can't be: it is kept back and told.
 * Return: 0, -ESRCH
 */
static int wait_stop(int pid, bool syscall_stop, bool *ret_stopped)
{
	int status;

	for (;;) {
		int sig = 0;

		if (waitpid(pid, &status, __WALL) != pid) {
			if (errno == EINTR)
				continue;
			return -ESRCH;
		}
		if (!WIFSTOPPED(status))
			return -ESRCH;
		if (syscall_stop && WSTOPSIG(status) == (SIGTRAP | 0x80))
			return 0;
		if (!syscall_stop && status >> 16 == PTRACE_EVENT_STOP)
			return 0;
		if (status >> 16 == 0) {
			sig = WSTOPSIG(status);
			if (sig == SIGSTOP) {
				*ret_stopped = true;
				sig = 0;
			}
		}
		if (ptrace(syscall_stop ? PTRACE_SYSCALL : PTRACE_CONT, pid, NULL, (void *)(intptr_t)sig) < 0)
			return -ESRCH;
	}
}

/* one system call; the process stands still before and after. Return: its result, -ESRCH */
static long call(int pid, const struct user_regs_struct *was, uint64_t at, long nr, long a, bool *stopped)
{
	struct user_regs_struct regs = *was;
	int r;

	regs.rip = at;
	regs.rax = (unsigned long long)nr;
	regs.orig_rax = (unsigned long long)-1;         /* no system call is to be restarted */
	regs.rdi = (unsigned long long)a;
	regs.rsi = regs.rdx = 0;
	r = set_regs(pid, &regs);
	for (int stop = 0; stop < 2 && r == 0; stop++)
		r = ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 ? -ESRCH : wait_stop(pid, true, stopped);
	if (r == 0)
		r = get_regs(pid, &regs);
	return r < 0 ? r : (long)regs.rax;
}

/*
 * Set back where a signal would be delivered, not behind a system call: only there does the kernel begin the call again that the process was in when it was
 * interrupted.
 */
static int set_back(int pid, struct user_regs_struct *was, bool *stopped)
{
	int r = ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0 || ptrace(PTRACE_CONT, pid, NULL, NULL) < 0 ? -ESRCH : wait_stop(pid, false, stopped);

	return r < 0 ? r : set_regs(pid, was);
}

static bool has_seccomp(int pid)
{
	char path[64], *text = NULL, *line;
	bool has = true;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (file_read(path, STATUS_MAX, &text, NULL) == 0) {
		line = strstr(text, "\nSeccomp:");
		has = line && atoi(line + 9) != 0;
	}
	free(text);
	return has;
}

/* Return: descriptor, -errno */
static int make_and_fetch(int pid, struct user_regs_struct *was, uint64_t at, bool *stopped)
{
	FD_AUTO int pidfd = pidfd_of(pid);
	long there;
	int fd;

	if (pidfd < 0)
		return pidfd;
	there = call(pid, was, at, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, stopped);
	if (there < 0) {
		fd = (int)there;
	} else {
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)there, 0);
		if (fd < 0)
			fd = -errno;
		(void)call(pid, was, at, SYS_close, there, stopped);
	}
	if (set_back(pid, was, stopped) < 0 && fd >= 0) {
		close(fd);
		fd = -ESRCH;
	}
	return fd;
}

static int in_its_name(int pid, uint64_t at, bool *stopped)
{
	uint64_t mask, all = ~0ull;
	struct user_regs_struct was;
	int r;

	if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0 || wait_stop(pid, false, stopped) < 0)
		return -ESRCH;
	r = get_regs(pid, &was);
	if (r < 0)
		return r;
	if (ptrace(PTRACE_GETSIGMASK, pid, sizeof(mask), &mask) < 0 || ptrace(PTRACE_SETSIGMASK, pid, sizeof(all), &all) < 0)
		return -errno;
	r = make_and_fetch(pid, &was, at, stopped);
	(void)ptrace(PTRACE_SETSIGMASK, pid, sizeof(mask), &mask);
	return r;
}

int inject_uffd(int pid)
{
	bool stopped = false;
	uint64_t at;
	int fd;

	if (has_seccomp(pid))
		return -EPERM;          /* its filter may end it for a call that it does not know */
	if (proc_state(pid) == 'T')
		return -EAGAIN;
	at = find_syscall(pid);
	if (!at)
		return -EOPNOTSUPP;
	if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD) < 0)
		return -errno;
	fd = in_its_name(pid, at, &stopped);
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
	if (stopped)
		kill(pid, SIGSTOP);
	return fd;
}

#else

int inject_uffd(int pid)
{
	(void)pid;
	return -EOPNOTSUPP;
}

#endif
