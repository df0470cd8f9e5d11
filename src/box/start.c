/* SPDX-License-Identifier: Apache-2.0 */
/* The start job: a sandbox, and hearth-init in it as PID 1. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "job.h"
#include "lo.h"
#include "root.h"
#include "user.h"

#define INIT_IN_ROOT "/.hearth/init"
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
#define NOFILE_DEFAULT 1024
#define ARGS_FIXED 13

struct start {
	const struct spec *spec;
	bool isolated, private_net;
	char **mounts;
	const char **argv, **envp;
	struct cgroup_tree *cgroups;    /* NULL: the instance gets none */
	uid_t uid;
	gid_t gid;
	char program[PATH_MAX];
	char port[16], concurrency[16], worker_idle[24];
	int heard, report;              /* pipe: where the child says what went wrong; closed by exec */
};

static const char *env_value(const char **env, const char *key)
{
	size_t n = strlen(key);

	for (; env && *env; env++)
		if (!strncmp(*env, key, n) && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

static bool executable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

/* where the function's program is, as execvp in the sandbox will find it */
static int find_program(struct start *s, struct hearth_err *err)
{
	const char *name = s->spec->command[0], *path = env_value(s->spec->env, "PATH");

	if (strchr(name, '/')) {
		snprintf(s->program, PATH_MAX, "%s%s%s", *name == '/' ? "" : s->spec->directory, *name == '/' ? "" : "/", name);
		if (executable(s->program))
			return 0;
		return err_set(err, -ENOENT, "function %s: program %s does not exist or is not executable; check \"command\" in its manifest",
			       s->spec->function, s->program);
	}
	for (const char *p = path ? path : DEFAULT_PATH; *p; p += strspn(p, ":")) {
		size_t n = strcspn(p, ":");

		snprintf(s->program, PATH_MAX, "%.*s/%s", (int)n, p, name);
		if (executable(s->program))
			return 0;
		p += n;
	}
	return err_set(err, -ENOENT, "function %s: program %s is not in PATH; install it or give its full path in \"command\"", s->spec->function, name);
}

static int check(struct start *s, struct hearth_err *err)
{
	const struct spec *spec = s->spec;
	struct stat st;
	int r;

	if (!spec->id || !spec->function || !spec->init || !spec->directory || !spec->contract || !spec->command || !spec->command[0] || !spec->port)
		return err_set(err, -EINVAL, "a start job needs id, function, init, directory, command, contract and port");
	if (s->isolated && !spec->root)
		return err_set(err, -EINVAL, "a start job with full isolation needs root");
	if (*spec->directory != '/' || stat(spec->directory, &st) < 0 || !S_ISDIR(st.st_mode))
		return err_set(err, -ENOENT, "function %s: directory %s does not exist; check \"directory\" in its manifest", spec->function, spec->directory);
	if (!executable(spec->init))
		return err_set(err, -ENOENT, "hearth-init is not at %s; install it or say where it is", spec->init);
	if (s->isolated && geteuid() != 0)
		return err_set(err, -EPERM, "a sandbox needs root; run hearthd as root or set isolation: none");
	r = user_resolve(spec->user, &s->uid, &s->gid, err);
	return r < 0 ? r : find_program(s, err);
}

static int build_args(struct start *s)
{
	const struct spec *spec = s->spec;
	size_t commands = 0, envs = 0, n = 0;

	while (spec->command[commands])
		commands++;
	while (spec->env && spec->env[envs])
		envs++;
	s->argv = calloc(ARGS_FIXED + commands + 1, sizeof(*s->argv));
	s->envp = calloc(envs + 2, sizeof(*s->envp));
	if (!s->argv || !s->envp)
		return -ENOMEM;
	snprintf(s->port, sizeof(s->port), "%d", (int)spec->port);
	snprintf(s->concurrency, sizeof(s->concurrency), "%d", (int)(spec->concurrency ? spec->concurrency : 1));
	snprintf(s->worker_idle, sizeof(s->worker_idle), "%lld", (long long)(spec->worker_idle_ms ? spec->worker_idle_ms : 1));
	s->argv[n++] = s->isolated ? INIT_IN_ROOT : spec->init;
	s->argv[n++] = "--contract";
	s->argv[n++] = spec->contract;
	s->argv[n++] = "--port";
	s->argv[n++] = s->port;
	if (spec->suffix && *spec->suffix) {
		s->argv[n++] = "--suffix";
		s->argv[n++] = spec->suffix;
	}
	s->argv[n++] = "--concurrency";
	s->argv[n++] = s->concurrency;
	if (spec->zygote) {
		s->argv[n++] = "--zygote";
		s->argv[n++] = "--worker-idle";
		s->argv[n++] = s->worker_idle;
	}
	s->argv[n++] = "--";
	memcpy(s->argv + n, spec->command, commands * sizeof(*s->argv));
	if (envs)
		memcpy(s->envp, spec->env, envs * sizeof(*s->envp));
	if (!env_value(spec->env, "PATH"))
		s->envp[envs] = "PATH=" DEFAULT_PATH;
	return 0;
}

/* ---- in the child ---- */

static int set_limits(const struct spec *spec, struct hearth_err *err)
{
	rlim_t nofile = spec->nofile ? (rlim_t)spec->nofile : NOFILE_DEFAULT;
	struct rlimit files = { nofile, nofile }, core = { 0, 0 }, old;

	/* raising the hard limit needs a capability that some machines don't give: then as much as there is */
	if (getrlimit(RLIMIT_NOFILE, &old) == 0 && nofile > old.rlim_max && setrlimit(RLIMIT_NOFILE, &files) < 0)
		files.rlim_cur = files.rlim_max = old.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &core) < 0)
		return err_set(err, -errno, "cannot set resource limits: %s", strerror(errno));
	return 0;
}

/* its own /dev/null in place of everything inherited: a descriptor from outside would be in every checkpoint, and a hole in the sandbox */
static int set_fds(int report, struct hearth_err *err)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0)
		return err_set(err, -errno, "cannot open /dev/null in the sandbox: %s", strerror(errno));
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			return err_set(err, -errno, "cannot set up descriptors: %s", strerror(errno));
	if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot mark descriptors close-on-exec: %s", strerror(errno));
	return 0;
}

static int enter(struct start *s, struct hearth_err *err)
{
	const struct spec *spec = s->spec;
	int r = 0;

	if (s->cgroups)
		r = cgroup_join(s->cgroups, spec->cgroup, 0, err);
	if (r < 0)
		return r;
	if (setsid() < 0)
		return err_set(err, -errno, "cannot start a session: %s", strerror(errno));
	if (!s->isolated)
		return 0;
	r = root_enter(spec->root, s->mounts, (uint64_t)spec->tmp_max_bytes, err);
	if (r < 0)
		return r;
	if (sethostname(spec->id, strlen(spec->id)) < 0)
		return err_set(err, -errno, "cannot set the host name '%s': %s", spec->id, strerror(errno));
	if (s->private_net) {
		r = lo_up();
		if (r < 0)
			return err_set(err, r, "cannot bring up lo in the sandbox: %s", strerror(-r));
	}
	return 0;
}

static int become(struct start *s, struct hearth_err *err)
{
	const struct spec *spec = s->spec;
	sigset_t none;
	int r = set_limits(spec, err);

	if (r < 0)
		return r;
	umask(022);
	for (int sig = 1; sig < SIGRTMAX; sig++)
		signal(sig, SIG_DFL);           /* fails for those that can't be changed */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	r = set_fds(s->report, err);
	if (r < 0)
		return r;
	r = user_become(s->uid, s->gid, err);
	if (r < 0)
		return r;
	if (chdir(spec->directory) < 0)
		return err_set(err, -errno, "function %s: user %u:%u cannot enter %s: %s; check its permissions", spec->function, s->uid, s->gid,
			       spec->directory, strerror(errno));
	if (access(s->program, X_OK) < 0)
		return err_set(err, -errno, "function %s: user %u:%u cannot execute %s inside the sandbox: %s; check its permissions, or add its folder to "
			       "\"mounts\"", spec->function, s->uid, s->gid, s->program, strerror(errno));
	return 0;
}

static _Noreturn void child(struct start *s)
{
	struct hearth_err err = { 0 };

	close(s->heard);
	job_die_with_parent(s->report, "start-orphaned");
	if (enter(s, &err) == 0 && become(s, &err) == 0) {
		prctl(PR_SET_PDEATHSIG, 0);     /* from here on it is in its group, where it is found */
		execve(s->argv[0], (char *const *)s->argv, (char *const *)s->envp);
		err_set(&err, -errno, "cannot execute %s: %s", s->argv[0], strerror(errno));
	}
	(void)fd_write_full(s->report, &err, sizeof(err));
	_exit(1);
}

/* ---- in the parent ---- */

static pid_t clone_child(const struct start *s)
{
	struct clone_args args = { .exit_signal = SIGCHLD };

	if (s->isolated)
		args.flags |= CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
	if (s->private_net)
		args.flags |= CLONE_NEWNET;
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* until the child has executed init or has said why not */
static int run_child(struct start *s, pid_t *ret_pid, struct hearth_err *err)
{
	struct hearth_err said;
	int ends[2], status;
	pid_t pid;
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	s->heard = ends[0];
	s->report = ends[1];
	pid = clone_child(s);
	if (pid == 0)
		child(s);
	n = pid < 0 ? -errno : 0;
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return err_set(err, (int)n, "cannot clone a process into new name spaces: %s; `hearth doctor` says what this machine allows", strerror((int)-n));
	}
	n = fd_read_full(ends[0], &said, sizeof(said));
	close(ends[0]);
	if (n == 0 && waitpid(pid, &status, WNOHANG) == 0) {
		*ret_pid = pid;
		return 0;
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (n != (ssize_t)sizeof(said))
		return err_set(err, -EIO, "function %s: the sandbox ended before its init ran", s->spec->function);
	said.msg[sizeof(said.msg) - 1] = '\0';
	return err_set(err, said.code, "%s", said.msg);
}

/* Return: 0 with or without a group. *ret_made: this job made it and removes it on failure */
static int make_cgroup(struct start *s, bool *ret_made, struct hearth_err *err)
{
	struct cgroup_limits limits = spec_limits(s->spec);
	int r;

	*ret_made = false;
	if (!s->spec->cgroup)
		return 0;
	r = cgroup_probe(&s->cgroups, err);
	if (r < 0)
		return r;
	if (cgroup_tree_version(s->cgroups) == CGROUP_NONE) {
		s->cgroups = cgroup_tree_free(s->cgroups);
		return 0;
	}
	r = cgroup_make(s->cgroups, s->spec->cgroup, &limits, err);
	*ret_made = r == 0;
	return r;
}

int job_start(const struct spec *spec, json_t *out, struct hearth_err *err)
{
	struct start s = { .spec = spec, .isolated = spec_isolated(spec), .heard = -1, .report = -1 };
	uint64_t t0 = clock_mono_ns(), starttime = 0;
	bool made = false;
	pid_t pid = -1;
	int r;

	s.private_net = s.isolated && (!spec->network || !strcmp(spec->network, "private"));
	r = check(&s, err);
	if (r == 0 && s.isolated)
		r = root_mounts(spec->directory, spec->mounts, &s.mounts, err);
	if (r == 0 && build_args(&s) < 0)
		r = err_set(err, -ENOMEM, "out of memory");
	if (r == 0 && s.isolated)
		r = root_prepare(spec->root, spec->init, s.mounts, err);
	if (r == 0)
		r = make_cgroup(&s, &made, err);
	if (r == 0)
		r = run_child(&s, &pid, err);
	if (r == 0 && proc_starttime(pid, &starttime) < 0)
		r = err_set(err, -ESRCH, "function %s: its init ended at once", spec->function);
	if (r == 0) {
		json_object_set_new(out, "pid", json_integer(pid));
		json_object_set_new(out, "starttime", json_integer((json_int_t)starttime));
		json_object_set_new(out, "cgroup", s.cgroups ? json_string(spec->cgroup) : json_null());
		json_object_set_new(out, "ms", json_real((double)(clock_mono_ns() - t0) / NS_PER_MS));
	} else if (made) {
		cgroup_remove(s.cgroups, spec->cgroup);
	}
	cgroup_tree_free(s.cgroups);
	list_free(s.mounts);
	free(s.argv);
	free(s.envp);
	return r;
}
