/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's own way, to compare with: cuCheckpointProcess* and a plain CRIU, nothing of ours.
 *
 *   driver_ckpt dump PID DIR [CRIU ARGUMENTS...]       lock, checkpoint, criu dump (leaves it running), restore, unlock
 *   driver_ckpt restore DIR FD:PIPE... [CRIU ARGUMENTS...]      criu restore, restore, unlock; FD: of this process, for the program's PIPE
 *   driver_ckpt cycle PID                              the driver's part alone
 *
 * CRIU is the program $HEARTH_CRIU, else criu. Prints one JSON line: nanoseconds of each step. cuInit is not counted: a service would have it behind it.
 */
#include <cuda.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOCK_MS 20000
#define ARGS_MAX 64

static struct {
	struct { const char *name; long long ns; } steps[8];
	int n;
} times;

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("driver_ckpt: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static void took(const char *name, long long since)
{
	times.steps[times.n].name = name;
	times.steps[times.n++].ns = now_ns() - since;
}

static void check(CUresult r, const char *what)
{
	const char *text = "unknown";

	if (r == CUDA_SUCCESS)
		return;
	cuGetErrorString(r, &text);
	fail("%s: error %d: %s", what, (int)r, text);
}

static void save(int pid)
{
	CUcheckpointLockArgs lock = { .timeoutMs = LOCK_MS };
	CUcheckpointCheckpointArgs none = { 0 };
	long long t = now_ns();

	check(cuCheckpointProcessLock(pid, &lock), "cuCheckpointProcessLock");
	took("lock_ns", t);
	t = now_ns();
	check(cuCheckpointProcessCheckpoint(pid, &none), "cuCheckpointProcessCheckpoint");
	took("checkpoint_ns", t);
}

static void go_on(int pid)
{
	CUcheckpointRestoreArgs restore = { 0 };
	CUcheckpointUnlockArgs unlock = { 0 };
	long long t = now_ns();

	check(cuCheckpointProcessRestore(pid, &restore), "cuCheckpointProcessRestore");
	took("restore_ns", t);
	t = now_ns();
	check(cuCheckpointProcessUnlock(pid, &unlock), "cuCheckpointProcessUnlock");
	took("unlock_ns", t);
}

/* Return: CRIU's exit status; -1 when it does not run */
static int criu(char **args)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execvp(args[0], args);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int first_args(char **v, const char *command, char *dir)
{
	char *program = getenv("HEARTH_CRIU");
	char *const begin[] = { program && *program ? program : "criu", (char *)command, "--images-dir", dir, "--log-file", "driver_ckpt.log", "-v1" };

	memcpy(v, begin, sizeof(begin));
	return (int)(sizeof(begin) / sizeof(begin[0]));
}

static void dump(int pid, char *pid_text, char *dir, char **more)
{
	char *v[ARGS_MAX];
	int n = first_args(v, "dump", dir), r;
	long long t;

	v[n++] = "--tree";
	v[n++] = pid_text;
	v[n++] = "--leave-running";
	while (*more && n < ARGS_MAX - 1)
		v[n++] = *more++;
	v[n] = NULL;
	save(pid);
	t = now_ns();
	r = criu(v);
	took("criu_ns", t);
	go_on(pid);
	if (r != 0)
		fail("criu dump ended with %d: see %s/driver_ckpt.log", r, dir);
}

static void restore(char *dir, char **more)
{
	static char inherit[8][80];
	char *v[ARGS_MAX], path[4096];
	int n = first_args(v, "restore", dir), r, pid = 0, fds = 0;
	long long t = now_ns();
	FILE *f;

	snprintf(path, sizeof(path), "%s/driver_ckpt.pid", dir);
	unlink(path);
	v[n++] = "--restore-detached";
	v[n++] = "--pidfile";
	v[n++] = path;
	for (; *more && n < ARGS_MAX - 2; more++) {
		int fd, used = 0;

		if (fds < 8 && sscanf(*more, "%d:%n", &fd, &used) == 1 && used > 0) {
			snprintf(inherit[fds], sizeof(inherit[0]), "fd[%d]:%s", fd, *more + used);
			v[n++] = "--inherit-fd";
			v[n++] = inherit[fds++];
		} else {
			v[n++] = *more;
		}
	}
	v[n] = NULL;
	r = criu(v);
	took("criu_ns", t);
	f = fopen(path, "r");
	if (r != 0 || !f || fscanf(f, "%d", &pid) != 1)
		fail("criu restore ended with %d: see %s/driver_ckpt.log", r, dir);
	fclose(f);
	go_on(pid);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	long long total = 0;

	if (!((strcmp(what, "cycle") == 0 && argc == 3) || (strcmp(what, "dump") == 0 && argc >= 4) || (strcmp(what, "restore") == 0 && argc >= 3))) {
		fputs("usage: driver_ckpt cycle PID | dump PID DIR [CRIU ARGUMENTS...] | restore DIR [FD:PIPE...] [CRIU ARGUMENTS...]\n", stderr);
		return 2;
	}
	check(cuInit(0), "cuInit");
	if (what[0] == 'c') {
		save(atoi(argv[2]));
		go_on(atoi(argv[2]));
	} else if (what[0] == 'd') {
		dump(atoi(argv[2]), argv[2], argv[3], argv + 4);
	} else {
		restore(argv[2], argv + 3);
	}
	putchar('{');
	for (int i = 0; i < times.n; total += times.steps[i++].ns)
		printf("\"%s\": %lld, ", times.steps[i].name, times.steps[i].ns);
	printf("\"total_ns\": %lld}\n", total);
	return 0;
}
