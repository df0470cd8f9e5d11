/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/criu.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "leave.h"

#define LOG_MAX (64u << 20)
#define SHARED_RUN "/dev/shm/hearth-criu-run"
#define KEPT_MAX 64
/* Its name for: stop tasks by tracing their system calls, not by the processor's breakpoints, the first of which waits for a grace period of the kernel's RCU */
#define NO_BREAKPOINTS "130"
#define LEARNT "/run/criu.kdat.hearth"

void args_add(struct args *a, const char *fmt, ...)
{
	va_list ap;
	char *text;

	if (a->n + 1 >= a->cap) {
		size_t more = a->cap ? a->cap * 2 : 32;
		char **v = realloc(a->v, more * sizeof(*v));

		if (!v) {
			a->failed = true;
			return;
		}
		a->v = v;
		a->cap = more;
	}
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (!text) {
		a->failed = true;
		return;
	}
	a->v[a->n++] = text;
	a->v[a->n] = NULL;
}

void args_done(struct args *a)
{
	for (size_t k = 0; k < a->n; k++)
		free(a->v[k]);
	free(a->v);
	*a = (struct args){ 0 };
}

int criu_version(const char *criu, char *ret, size_t n, struct hearth_err *err)
{
	char text[256], word[64] = "";
	int ends[2], status, major = 0, minor = 0;
	ssize_t got;
	pid_t pid;

	if (!criu || access(criu, X_OK) < 0)
		return err_set(err, -ENOENT, "criu is not at %s; run tools/setup, or say where CRIU 4.2 or newer is", criu ? criu : "(not given)");
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		execl(criu, criu, "--version", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	got = pid < 0 ? 0 : fd_read_full(ends[0], text, sizeof(text) - 1);
	close(ends[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || got <= 0)
		return err_set(err, -EIO, "%s --version printed nothing; is it CRIU, with all its libraries?", criu);
	text[got] = '\0';
	if (sscanf(text, "Version: %63s", word) != 1 || sscanf(word, "%d.%d", &major, &minor) != 2)
		return err_set(err, -EIO, "%s --version printed '%.60s'; is it CRIU?", criu, text);
	if (major < 4 || (major == 4 && minor < 2))
		return err_set(err, -EPROTO, "%s is version %s; 4.2 or newer is needed (tools/setup builds it)", criu, word);
	snprintf(ret, n, "%s", word);
	return 0;
}

static bool strstr_line(const char *line, const char *text)
{
	const char *found = strstr(line, text);

	return found && found < strchrnul(line, '\n');
}

void criu_main_error(const char *log, char *ret, size_t n)
{
	char *text = NULL, *found = NULL;       /* the first: what follows are its consequences, down to failed cleaning up */

	ret[0] = '\0';
	if (file_read(log, LOG_MAX, &text, NULL) < 0)
		return;
	for (char *p = text; !found && (p = strstr(p, "Error (")); p++)
		/* neither the summary at the end nor a harmless complaint about limits, or about a tool that it asked for something, says anything */
		if (!strstr_line(p, "FAILED.") && !strstr_line(p, "RLIMIT_NOFILE for self") && !strstr_line(p, "exited, status="))
			found = p;
	if (found)
		snprintf(ret, n, "%.*s", (int)strcspn(found, "\n"), found);
	free(text);
}

/* Return: true if it had to be killed */
static bool kill_late(pid_t pid, int limit_ms)
{
	uint64_t deadline = clock_mono_ns() + (uint64_t)limit_ms * NS_PER_MS, now;
	FD_AUTO int pidfd = pidfd_of(pid);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	while (pidfd >= 0 && (now = clock_mono_ns()) < deadline) {
		int n = poll(&p, 1, (int)((deadline - now) / NS_PER_MS) + 1);

		if (n > 0 || (n < 0 && errno != EINTR))
			return false;
	}
	if (pidfd >= 0)
		pidfd_signal(pidfd, SIGKILL);
	return pidfd >= 0;
}

int criu_wait(pid_t pid, int limit_ms, const char *what, const char *log, struct hearth_err *err)
{
	bool late = kill_late(pid, limit_ms);
	char why[300];
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_set(err, -errno, "cannot wait for criu: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	criu_main_error(log, why, sizeof(why));
	if (late)
		return err_set(err, -EOWNERDEAD, "cannot %s: criu did not end within %d s and was killed%s%s", what, limit_ms / 1000, *why ? "; " : "", why);
	if (WIFSIGNALED(status))
		return err_set(err, -EOWNERDEAD, "cannot %s: criu was killed by signal %d%s%s", what, WTERMSIG(status), *why ? "; " : "", why);
	return err_set(err, -EIO, "cannot %s: criu: %s", what, *why ? why : "ended with an error and no message; `hearth doctor` checks it");
}

static bool is_tmpfs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

/* a folder of root's own in a tmpfs that outlives this process; nobody else may have put one there */
static bool shared_run(void)
{
	struct stat st;

	if (mkdir(SHARED_RUN, 0700) < 0 && errno != EEXIST)
		return false;
	return lstat(SHARED_RUN, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 && !(st.st_mode & 022) && is_tmpfs(SHARED_RUN);
}

/* the path again, below what was mounted over its beginning */
static int keep(const char *path, int fd)
{
	char from[64], parent[PATH_MAX];
	struct stat st;
	int r = fstat(fd, &st) < 0 ? -errno : 0, made;

	if (r == 0 && S_ISDIR(st.st_mode)) {
		r = dir_make(path, 0700);
	} else if (r == 0) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
		r = dir_make(parent, 0700);
		made = r < 0 ? -1 : open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		if (r == 0 && made < 0)
			r = -errno;
		fd_close(&made);
	}
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	if (r == 0 && mount(from, path, NULL, MS_BIND | MS_REC, NULL) < 0)
		r = -errno;
	return r;
}

/* mount over @dir, a folder or (NULL) a new tmpfs. Return: 0 also if @paths are too many or one is missing: then nothing is done */
static int cover(const char *dir, const char *source, char *const *paths)
{
	struct { const char *path; int fd; } kept[KEPT_MAX];
	size_t n = 0, len = strlen(dir);
	int r = 0;

	for (; *paths; paths++) {
		if (strncmp(*paths, dir, len) || (*paths)[len] != '/')
			continue;
		if (n == KEPT_MAX)
			goto out;
		kept[n].path = *paths;
		kept[n].fd = open(*paths, O_PATH | O_CLOEXEC);
		if (kept[n].fd < 0)
			goto out;
		n++;
	}
	r = source ? mount(source, dir, NULL, MS_BIND, NULL) : mount("none", dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	if (r < 0)
		r = -errno;
	for (size_t k = 0; k < n && r == 0; k++)
		r = keep(kept[k].path, kept[k].fd);
out:
	while (n)
		close(kept[--n].fd);
	return r;
}

int criu_private_run(char *const *paths)
{
	return is_tmpfs("/run") || !shared_run() ? 0 : cover("/run", SHARED_RUN, paths);
}

int criu_private_tmp(char *const *paths)
{
	return cover("/tmp", NULL, paths);
}

/* which program the cache was made by: a rebuilt one makes its own, and must do so with all its privileges */
static int identity(const char *criu, char *text, size_t n)
{
	struct stat st;

	if (stat(criu, &st) < 0)
		return -errno;
	snprintf(text, n, "%llx:%llx:%lld:%lld.%09ld\n", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, (long long)st.st_size,
		 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return 0;
}

void criu_learn(const char *criu)
{
	char now[128], *before = NULL;
	bool known;
	pid_t pid;

	if (!is_tmpfs("/run") || identity(criu, now, sizeof(now)) < 0)
		return;
	known = access("/run/criu.kdat", F_OK) == 0 && file_read(LEARNT, sizeof(now), &before, NULL) == 0 && !strcmp(before, now);
	free(before);
	if (known)
		return;
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		execl(criu, criu, "check", "--no-default-config", "-W", "/run", "-o", "/dev/null", (char *)NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (access("/run/criu.kdat", F_OK) == 0)
		(void)file_replace(LEARNT, now, strlen(now), 0600, NULL);
}

void criu_exec(char *const *argv, const char *leave, const char *folder)
{
	const char *fault = getenv("CRIU_FAULT");       /* CRIU's own fault injection, for tests */
	struct args env = { 0 };

	args_add(&env, "PATH=/usr/sbin:/usr/bin:/sbin:/bin");
	args_add(&env, "LANG=C");
	args_add(&env, "CRIU_FAULT=%s", fault ? fault : NO_BREAKPOINTS);
	if (leave) {
		args_add(&env, "LD_PRELOAD=%s", leave);
		args_add(&env, LEAVE_FOLDER "=%s", folder);
	}
	if (!env.failed)
		execve(argv[0], argv, env.v);
}
