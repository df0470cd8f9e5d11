/* SPDX-License-Identifier: Apache-2.0 */
/* Beginning a program: `hearth run`. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "ckpt/program.h"
#include "gate.h"
#include "relay.h"

static const char *value_of(char *const *env, const char *key)
{
	const char *value = getenv(key);
	size_t n = strlen(key);

	for (; env && *env; env++)
		if (!strncmp(*env, key, n) && (*env)[n] == '=')
			value = *env + n + 1;
	return value;
}

/* a file in a list of folders with ':' between. Return: true, with the path */
static bool in_path(const char *list, const char *name, char *ret, size_t n)
{
	while (list && *list) {
		size_t len = strcspn(list, ":");

		if (len && snprintf(ret, n, "%.*s/%s", (int)len, list, name) < (int)n && access(ret, R_OK) == 0)
			return true;
		list += len + (list[len] == ':');
	}
	return false;
}

static bool has_driver(char *const *env)
{
	char path[PATH_MAX];

	return in_path(value_of(env, "LD_LIBRARY_PATH"), "libcuda.so.1", path, sizeof(path)) ||
	       in_path("/usr/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu:/usr/lib64:/usr/lib:/usr/lib/wsl/lib:/usr/local/cuda/compat:/usr/local/nvidia/lib64:/run/opengl-driver/lib",
		       "libcuda.so.1", path, sizeof(path));
}

const char *program_find_library(const char *variable, const char *name, char *ret, size_t n, const char **ret_why)
{
	static _Thread_local char why[256];
	char self[PATH_MAX], folders[4 * PATH_MAX];
	const char *given = getenv(variable);
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len > 0)
		self[len] = '\0';
	*strrchr(len > 0 ? self : strcpy(self, "/"), '/') = '\0';
	snprintf(folders, sizeof(folders), "%s:%s/../lib/hearth:%s/../lib:%s/../libexec/hearth", self, self, self, self);
	*ret_why = why;
	if (given && *given) {
		snprintf(ret, n, "%s", given);
		if (access(ret, R_OK) == 0) {
			*ret_why = NULL;
			return ret;
		}
		snprintf(why, sizeof(why), "the library that %s names is not there", variable);
		return NULL;
	}
	if (in_path(folders, name, ret, n)) {
		*ret_why = NULL;
		return ret;
	}
	snprintf(why, sizeof(why), "%s is not installed", name);
	return NULL;
}

const char *program_find_shim(char *const *env, char *ret, size_t n, const char **ret_why)
{
	if (!program_find_library("HEARTH_SHIM", "libhearth-cuda.so", ret, n, ret_why))
		return NULL;
	if (!has_driver(env)) {
		*ret_why = "there is no libcuda.so.1";
		return NULL;
	}
	return ret;
}

/* ---- the child ---- */

static void set_environment(const struct program_run *run, const char *name)
{
	char text[2 * PATH_MAX];

	for (char *const *e = run->env; e && *e; e++)
		putenv(*e);
	if (!run->shim)
		return;
	gate_environment(run->run_dir, name, run->keeper);
	snprintf(text, sizeof(text), "%s%s%s", run->shim, getenv("LD_PRELOAD") ? ":" : "", getenv("LD_PRELOAD") ? getenv("LD_PRELOAD") : "");
	setenv("LD_PRELOAD", text, 1);
}

static _Noreturn void become(const struct program_run *run, const char *name, int out, int errs, int failed)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), why;

	relay_child();
	setsid();
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(errs, 2) < 0)
		_exit(127);
	/* whatever else the caller had open would be nobody's to give back */
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	set_environment(run, name);
	execvp(run->argv[0], run->argv);
	why = errno;
	(void)fd_write_full(failed, &why, sizeof(why));
	_exit(127);
}

static pid_t begin(const struct program_run *run, const char *name, struct relay *relay, struct hearth_err *err)
{
	int out[2] = { -1, -1 }, errs[2] = { -1, -1 }, failed[2] = { -1, -1 }, why = 0;
	pid_t pid = -1;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(errs, O_CLOEXEC) < 0 || pipe2(failed, O_CLOEXEC) < 0)
		err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	else if ((pid = fork()) < 0)
		err_set(err, -errno, "cannot fork: %s", strerror(errno));
	if (pid == 0)
		become(run, name, out[1], errs[1], failed[1]);
	fd_close(&out[1]);
	fd_close(&errs[1]);
	fd_close(&failed[1]);
	relay->from[0] = out[0];
	relay->from[1] = errs[0];
	if (pid > 0 && fd_read_full(failed[0], &why, sizeof(why)) == (ssize_t)sizeof(why)) {
		waitpid(pid, NULL, 0);
		pid = err_set(err, -why, "cannot run %s: %s", run->argv[0], strerror(why));
	}
	fd_close(&failed[0]);
	return pid < 0 ? (err->code ? err->code : -EIO) : pid;
}

/* ---- the parent ---- */

static int record(const struct program_run *run, struct program *p, pid_t pid, struct hearth_err *err)
{
	p->state = PROGRAM_RUNNING;
	p->pid = pid;
	p->created_ns = clock_wall_ns();
	p->detached = run->detach;
	p->argv = json_array();
	for (char *const *a = run->argv; *a && p->argv; a++)
		json_array_append_new(p->argv, json_string(*a) ?: json_string("?"));
	if (proc_starttime(pid, &p->starttime) < 0)
		p->starttime = 0;       /* it has ended already, which the relay will find */
	return program_save(run->run_dir, p, err);
}

/* a program that was parked meanwhile is not gone, whatever became of its process */
void program_ended(const char *run_dir, struct program *p, int status)
{
	struct program now;
	struct hearth_err err;

	if (program_load(run_dir, p->name, &now, &err) < 0)
		return;
	if (now.state == PROGRAM_PARKED || now.pid != p->pid) {
		p->state = now.state;
		program_done(&now);
		return;
	}
	program_done(&now);
	p->state = PROGRAM_ENDED;
	p->status = status;
	if (p->detached)
		(void)program_save(run_dir, p, &err);
	else
		program_remove(run_dir, p->name);
}

static int run_it(const struct program_run *run, struct program *ret, int report, int *ret_status, struct hearth_err *err)
{
	char log[PATH_MAX];
	struct relay relay = { .from = { -1, -1 }, .log_fd = -1, .signals = -1 };
	pid_t pid = 0;
	int r = program_dir(run->run_dir, ret->name, log);

	if (r == 0 && run->detach) {
		strcat(log, "/log");
		relay.log = log;
	}
	if (r == 0)
		r = relay_begin(&relay, err);
	if (r == 0 && run->shim)
		r = gate_make(run->run_dir, ret->name, err);
	if (r == 0)
		r = pid = begin(run, ret->name, &relay, err);
	if (r > 0)
		r = record(run, ret, pid, err);
	if (r < 0) {
		if (pid > 0)
			kill(pid, SIGKILL);
		program_remove(run->run_dir, ret->name);        /* before anybody is told, who may look */
	}
	relay_report(&report, r < 0 ? err : &(struct hearth_err){ 0 }, NULL);
	if (r == 0) {
		r = relay_run(&relay, pid, ret_status);
		program_ended(run->run_dir, ret, *ret_status);
	}
	relay_end(&relay);
	return r;
}

int program_run(const struct program_run *run, struct program *ret, int *ret_status, struct hearth_err *err)
{
	int report = -1, r;

	*ret = (struct program){ 0 };
	*ret_status = 0;
	r = program_claim(run->run_dir, run->name, run->argv[0], ret->name, err);
	if (r < 0)
		return r;
	if (run->detach) {
		r = relay_detach(&report, NULL, err);
		if (r == 1)
			return program_load(run->run_dir, ret->name, ret, err);
		if (r < 0)
			return r;
	}
	r = run_it(run, ret, report, ret_status, err);
	if (run->detach)
		_exit(0);
	return r;
}
