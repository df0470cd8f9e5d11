/* SPDX-License-Identifier: Apache-2.0 */
/* The wake and verify jobs. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "around.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"
#include "ckpt/criu.h"
#include "ckpt/image.h"
#include "ckpt/mapped.h"
#include "ckpt/pager.h"
#include "job.h"
#include "root.h"

/* measured: docs/adr/0008-box-pager.md */
#define RESTORE_MAX_MS 60000
#define LAZY_MIN_BYTES (32ll << 20)
#define VERIFY_THREADS 2
#define EMPTY_TMP "/tmp"              /* in the work folder */

struct wake {
	const struct spec *spec;
	struct image *img;
	struct around *around;
	bool lazy;
	char work[PATH_MAX], log[PATH_MAX + 16];
	struct pager pager;
	pid_t pid;
	int pidfd;
	/* verification, beside the restore */
	pthread_t verifier;
	bool verifying;
	int heard, report;              /* pipe from the process that becomes CRIU */
	int criu;                       /* pidfd of what it need not wait for if the image is damaged */
	sem_t small;                    /* the files without memory contents have been verified */
	bool small_damaged;
	bool early;                     /* the result is out, but for the verdict on the others */
	struct hearth_err verdict;
	uint64_t t0, verify_ns, restore_ns;
};

/* ---- verification ---- */

static void *verify(void *arg)
{
	struct wake *w = arg;
	int r = image_verify(w->img, !w->lazy, VERIFY_THREADS, &w->verdict);

	w->small_damaged = r < 0;
	sem_post(&w->small);
	if (r == 0 && w->lazy)
		r = pager_verified(&w->pager, &w->verdict);
	/* CRIU can hang on damaged images */
	if (r < 0 && w->criu >= 0)
		pidfd_signal(w->criu, SIGKILL);
	w->verify_ns = clock_mono_ns() - w->t0;
	return NULL;
}

static int verify_join(struct wake *w, struct hearth_err *err)
{
	if (w->verifying)
		pthread_join(w->verifier, NULL);
	w->verifying = false;
	return w->verdict.code ? err_set(err, w->verdict.code, "%s", w->verdict.msg) : 0;
}

/* ---- restoring ---- */

static int build_args(const struct wake *w, struct args *a, int netns)
{
	args_add(a, "%s", w->spec->criu);
	args_add(a, "restore");
	args_add(a, "--no-default-config");
	args_add(a, "-D");
	args_add(a, "%s", w->img->path);
	args_add(a, "-W");
	args_add(a, "%s", w->work);
	args_add(a, "-o");
	args_add(a, CRIU_LOG);
	args_add(a, "-v1");
	args_add(a, "-d");
	args_add(a, "--pidfile");
	args_add(a, PAGER_PIDFILE);
	args_add(a, "--root");
	args_add(a, "%s", w->spec->root);
	args_add(a, "--tcp-established");
	args_add(a, "--manage-cgroups=ignore");
	args_add(a, "--inherit-fd");
	args_add(a, "fd[%d]:hearthnet", netns);
	for (size_t k = 0; w->img->mounts[k]; k++) {
		args_add(a, "--external");
		args_add(a, "mnt[m%zu]:%s", k, w->img->mounts[k]);
	}
	if (w->img->empty_tmp_bytes) {
		args_add(a, "--external");
		args_add(a, "mnt[hearthtmp]:%s" EMPTY_TMP, w->work);
	}
	if (w->lazy)
		args_add(a, "--lazy-pages");
	return a->failed ? -ENOMEM : 0;
}

/* what CRIU binds at /tmp, where it was empty: it would start tar and gzip to unpack nothing */
static int mount_tmp(const struct wake *w)
{
	char at[PATH_MAX + 16], options[64];

	if (!w->img->empty_tmp_bytes)
		return 0;
	snprintf(at, sizeof(at), "%s" EMPTY_TMP, w->work);
	snprintf(options, sizeof(options), "mode=1777,size=%" PRIu64, w->img->empty_tmp_bytes);
	return mkdir(at, 0700) < 0 || mount("tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

/* CRIU's own surroundings: the instance's group, a private mount name space with the root as a mount point */
static int surround(const struct wake *w, struct hearth_err *err)
{
	size_t n = 0;
	char **keep;
	int r = around_join(w->around, err);

	if (r < 0)
		return r;
	while (w->img->mounts[n])
		n++;
	keep = calloc(n + 5, sizeof(*keep));
	if (!keep)
		return err_set(err, -ENOMEM, "out of memory");
	memcpy(keep, w->img->mounts, n * sizeof(*keep));
	keep[n++] = (char *)w->spec->root;
	keep[n++] = w->img->path;
	keep[n++] = (char *)w->work;
	keep[n++] = (char *)w->spec->criu;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		r = -errno;
	if (r == 0)
		r = criu_private_run(keep);
	if (r == 0)
		r = criu_private_tmp(keep);
	if (r == 0)
		r = mount_tmp(w);
	free(keep);
	if (r == 0 && mount(w->spec->root, w->spec->root, NULL, MS_BIND, NULL) < 0)
		r = -errno;
	return r < 0 ? err_set(err, r, "cannot prepare mounts to restore %s: %s", w->spec->id, strerror(-r)) : 0;
}

static void restore_child(void *arg)
{
	const struct wake *w = arg;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), r;
	struct hearth_err err = { 0 };
	struct args a = { 0 };

	close(w->heard);
	job_die_with_parent(w->report, "wake-orphaned");
	setsid();
	r = surround(w, &err);
	if (r == 0 && build_args(w, &a, around_netns(w->around)) < 0)
		r = err_set(&err, -ENOMEM, "out of memory");
	if (r == 0) {
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
		criu_learn(a.v[0]);
		fd_set_cloexec(around_netns(w->around), false);
		if (w->lazy)
			fd_set_cloexec(w->pager.ctl, false);
		criu_exec(a.v, NULL, NULL);
		err_set(&err, -errno, "cannot execute %s: %s", a.v[0], strerror(errno));
	}
	(void)fd_write_full(w->report, &err, sizeof(err));
	_exit(1);
}

static int read_pid(struct wake *w, struct hearth_err *err)
{
	char path[PATH_MAX + 8], *text = NULL;
	int r;

	snprintf(path, sizeof(path), "%s/" PAGER_PIDFILE, w->work);
	r = file_read(path, 64, &text, NULL);
	w->pid = r < 0 ? 0 : (pid_t)atoi(text);
	free(text);
	if (w->pid <= 1)
		return err_set(err, r < 0 ? r : -EIO, "criu restored %s but did not say its pid", w->spec->id);
	w->pidfd = pidfd_of(w->pid);
	if (w->pidfd < 0)
		return err_set(err, -ESRCH, "instance %s ended as soon as it was restored", w->spec->id);
	return 0;
}

static int restore(struct wake *w, struct hearth_err *err)
{
	struct hearth_err said;
	char what[128];
	int ends[2], r;
	pid_t pid;
	ssize_t n;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	w->heard = ends[0];
	w->report = ends[1];
	pid = around_fork(w->around, restore_child, w, err);
	close(ends[1]);
	/* only now that all is forked. Should it not start, the image is verified here */
	w->criu = pid > 0 ? pidfd_of(pid) : -1;
	w->verifying = pid > 0 && pthread_create(&w->verifier, NULL, verify, w) == 0;
	if (pid > 0 && !w->verifying)
		verify(w);
	n = pid < 0 ? 0 : fd_read_full(ends[0], &said, sizeof(said));
	close(ends[0]);
	if (pid < 0)
		return pid;
	snprintf(what, sizeof(what), "restore %s", w->spec->id);
	r = criu_wait(pid, RESTORE_MAX_MS, what, w->log, err);
	if (n == (ssize_t)sizeof(said)) {
		said.msg[sizeof(said.msg) - 1] = '\0';
		return err_set(err, said.code, "%s", said.msg);
	}
	if (r == 0)
		r = read_pid(w, err);
	w->restore_ns = clock_mono_ns() - w->t0;
	return r;
}

/* ---- cleaning up ---- */

static void undo(struct wake *w)
{
	criu_kill_orphans(w->pager.guard);                /* before the pager lets go of their memory */
	pager_abort(&w->pager);
	if (w->around)
		around_drop(w->around);
}

/* ---- the job ---- */

static int check(struct wake *w, struct hearth_err *err)
{
	const struct spec *s = w->spec;
	int r;

	if (!s->id || !s->image || !s->criu || !s->root)
		return err_set(err, -EINVAL, "a wake job needs id, image, criu and root");
	if (access(s->criu, X_OK) < 0)
		return err_set(err, -ENOENT, "criu is not at %s; run tools/setup, or say where CRIU 4.2 or newer is", s->criu);
	r = image_load(s->image, &w->img, err);
	if (r < 0)
		return r;
	for (char **m = w->img->mounts; *m; m++)
		if (access(*m, F_OK) < 0)
			return err_set(err, -ENOENT, "image %s needs %s, which is no longer there; remove the image, the function will start cold", s->image, *m);
	r = mapped_check(w->img->path, err);
	if (r < 0)
		return r;
	w->lazy = s->lazy && !strcmp(s->lazy, "always");
	if (!s->lazy || !strcmp(s->lazy, "auto"))
		w->lazy = (int64_t)w->img->pages_bytes >= (s->lazy_min_bytes ? s->lazy_min_bytes : LAZY_MIN_BYTES);
	return 0;
}

static int make_work(struct wake *w, struct hearth_err *err)
{
	const char *given = w->spec->work;
	int r = 0;

	if (snprintf(w->work, sizeof(w->work), "%s", given ? given : "/tmp/hearth-wake-XXXXXX") >= (int)sizeof(w->work))
		r = -ENAMETOOLONG;
	else if (given)
		r = dir_make(given, 0700);
	else if (!mkdtemp(w->work))
		r = -errno;
	if (r < 0) {
		w->work[0] = '\0';
		return err_set(err, r, "cannot make the folder %s: %s", given ? given : "/tmp/hearth-wake-XXXXXX", strerror(-r));
	}
	return 0;
}

static int prepare(struct wake *w, struct hearth_err *err)
{
	const struct spec *s = w->spec;
	int r = root_prepare(s->root, s->init, w->img->mounts, err);

	if (r < 0)
		return r;
	r = make_work(w, err);
	if (r < 0)
		return r;
	snprintf(w->log, sizeof(w->log), "%s/" CRIU_LOG, w->work);
	return 0;
}

/* the one that stood by, if this process did */
static int find_around(struct wake *w, struct hearth_err *err)
{
	const struct spec *s = w->spec;
	struct cgroup_limits limits = spec_limits(s);

	w->around = s->cgroup ? around_take() : NULL;
	if (!w->around)
		return around_new(s->cgroup, &limits, &w->around, err);
	if (around_rename(w->around, s->cgroup, &limits, NULL) == 0)
		return 0;
	around_drop(w->around);
	w->around = around_free(w->around);
	return around_new(s->cgroup, &limits, &w->around, err);
}

static int report(const struct wake *w, json_t *out, struct hearth_err *err)
{
	uint64_t starttime;

	if (proc_starttime(w->pid, &starttime) < 0)
		return err_set(err, -ESRCH, "instance %s ended as soon as it was restored", w->spec->id);
	json_object_set_new(out, "pid", json_integer(w->pid));
	json_object_set_new(out, "starttime", json_integer((json_int_t)starttime));
	json_object_set_new(out, "cgroup", around_tree(w->around) ? json_string(w->spec->cgroup) : json_null());
	json_object_set_new(out, "lazy", json_boolean(w->lazy));
	json_object_set_new(out, "pages_bytes", json_integer((json_int_t)w->img->pages_bytes));
	json_object_set_new(out, "ms", json_pack("{s:f,s:f,s:f}", "verify", w->verifying ? 0.0 : (double)w->verify_ns / NS_PER_MS, "restore", (double)w->restore_ns / NS_PER_MS,
						 "total", (double)(clock_mono_ns() - w->t0) / NS_PER_MS));
	return 0;
}

/*
 * The instance is there, and may run as far as the daemon keeps to itself what it says: a second line tells whether what it was restored from was what had been
 * parked.
 */
static int say_early(struct wake *w, json_t *out, struct hearth_err *err)
{
	int r;

	while (sem_wait(&w->small) < 0 && errno == EINTR)
		;
	if (w->small_damaged)
		return 0;               /* verify_join() says how */
	/* before the result is out: whoever ends the group must not meet this process in it */
	around_leave(w->around);
	r = report(w, out, err);
	if (r < 0)
		return r;
	json_object_set_new(out, "more", json_true());
	r = job_report(out, 0, NULL);
	json_object_clear(out);
	w->early = true;
	if (fault_point("wake-early"))          /* for tests: time for a call before the verdict */
		poll(NULL, 0, 300);
	return r < 0 ? err_set(err, r, "nobody takes the result: %s", strerror(-r)) : 0;
}

static int bring_back(struct wake *w, json_t *out, struct hearth_err *err)
{
	int r = 0;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_set(err, -errno, "cannot become a subreaper: %s", strerror(errno));
	if (w->lazy)
		r = pager_start(w->img->path, w->img, w->work, w->spec->id, NULL, w->spec->early, &w->pager, err);
	if (r < 0)
		return r;
	r = restore(w, err);
	if (r < 0) {
		struct hearth_err damaged = { 0 };

		/* a damaged image explains whatever CRIU said about it */
		if (verify_join(w, &damaged) < 0)
			r = err_set(err, damaged.code, "%s", damaged.msg);
		return r;
	}
	(void)fault_point("wake-restored");
	if (w->spec->early && w->lazy)
		r = say_early(w, out, err);
	if (r == 0)
		r = verify_join(w, err);
	if (r == 0 && w->lazy && pager_commit(&w->pager, w->pidfd) < 0)
		r = err_set(err, -EIO, "the pager of %s died: the instance was ended", w->spec->id);
	return r;
}

int job_wake(const struct spec *spec, json_t *out, struct hearth_err *err)
{
	struct wake w = { .spec = spec, .pidfd = -1, .criu = -1, .pager = PAGER_NONE, .t0 = clock_mono_ns() };
	int r = check(&w, err);

	sem_init(&w.small, 0, 0);
	if (r == 0)
		r = find_around(&w, err);
	if (r == 0)
		r = prepare(&w, err);
	if (r == 0)
		r = bring_back(&w, out, err);
	if (w.verifying)
		verify_join(&w, NULL);
	if (r == 0 && !w.early)
		r = report(&w, out, err);
	if (r < 0)
		undo(&w);
	/* before the result is out: whoever ends the group must not meet this process in it */
	if (w.around)
		around_leave(w.around);
	if (w.work[0])
		dir_remove(w.work);
	fd_close(&w.pidfd);
	fd_close(&w.criu);
	sem_destroy(&w.small);
	around_free(w.around);
	image_free(w.img);
	return r;
}

int job_verify(const struct spec *spec, json_t *out, struct hearth_err *err)
{
	struct image *img = NULL;
	uint64_t t0 = clock_mono_ns();
	int r;

	if (!spec->image)
		return err_set(err, -EINVAL, "a verify job needs image");
	r = image_load(spec->image, &img, err);
	if (r == 0)
		r = image_verify(img, true, VERIFY_THREADS, err);
	if (r == 0) {
		json_object_set_new(out, "image_bytes", json_integer((json_int_t)img->image_bytes));
		json_object_set_new(out, "files", json_integer((json_int_t)img->files_n));
		json_object_set_new(out, "ms", json_real((double)(clock_mono_ns() - t0) / NS_PER_MS));
	}
	image_free(img);
	return r;
}
