/* SPDX-License-Identifier: Apache-2.0 */
/* The park and resume jobs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"
#include "ckpt/criu.h"
#include "ckpt/image.h"
#include "ckpt/mapped.h"
#include "job.h"
#include "root.h"

#define FILL_MAX_S 20
#define WORK ".work"
#define DUMP_MAX_MS 60000

/*
 * An instance being parked is stopped by CRIU and stays stopped until the daemon has the result, so that nothing it does is lost. If anything
 * fails in between it must run on. This process sees to that; a second one, the minder, does the same should this process be killed.
 */
struct park {
	const struct spec *spec;
	struct image_draft draft;
	struct image *img;
	char work[PATH_MAX], log[PATH_MAX + 16];
	pid_t criu;
	int go;                         /* pipe to CRIU's process, which waits for one byte before it begins */
	int minder;                     /* pipe to it: one byte says that all is well */
};

/* ---- undoing ---- */

static void undo(struct park *p)
{
	char kept[PATH_MAX], dir[PATH_MAX];
	const char *slash = strrchr(p->draft.target, '/');

	criu_run_on((pid_t)p->spec->pid);
	if (!slash)
		return;
	/* the log outlives the failed image, under one name an image */
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - p->draft.target), p->draft.target);
	if (snprintf(kept, sizeof(kept), "%s/.failed-%s.log", dir, slash + 1) < (int)sizeof(kept))
		(void)rename(p->log, kept);
	image_abort(&p->draft);
}

static void mind(void *ctx, int from_box)
{
	struct park *p = ctx;
	struct pollfd criu = { .fd = pidfd_of(p->criu), .events = POLLIN };
	char ok;

	setsid();
	fclose(stdin);
	fd_close(&p->go);               /* or CRIU would wait for ever for a box that died before the word */
	close(STDOUT_FILENO);           /* the daemon waits for its end */
	if (fd_read_full(from_box, &ok, 1) == 1)
		_exit(0);
	/* the box was killed. CRIU must not be disturbed: it holds the instance's processes half-way. Killed, as late as the box would do it, it takes them along */
	if (criu.fd >= 0 && poll(&criu, 1, DUMP_MAX_MS) == 0) {
		pidfd_signal(criu.fd, SIGKILL);
		kill((pid_t)p->spec->pid, SIGKILL);
	}
	(void)image_withdraw(&p->draft);        /* before the instance runs on, which makes it stale */
	undo(p);
	_exit(0);
}

/* ---- what to dump ---- */

static void unescape(char *text)
{
	char *to = text;

	for (char *p = text; *p; p++) {
		if (p[0] == '\\' && p[1] && p[2] && p[3]) {
			*to++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
}

/* Return: the size of an instance's /tmp; 0 if there is something in it, or it is not as root_enter() makes it */
static uint64_t empty_tmp(pid_t pid)
{
	char path[64];
	struct statfs fs;
	struct stat st;
	struct dirent *e;
	uint64_t bytes;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/root/tmp", (int)pid);
	d = opendir(path);
	if (!d)
		return 0;
	bytes = fstatfs(dirfd(d), &fs) == 0 && fs.f_type == TMPFS_MAGIC ? fs.f_blocks * (uint64_t)fs.f_bsize : 0;
	if (fstat(dirfd(d), &st) < 0 || (st.st_mode & 07777) != 01777 || st.st_uid != 0 || st.st_gid != 0 || flistxattr(dirfd(d), NULL, 0) > 0)
		bytes = 0;
	while (bytes && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			bytes = 0;
	closedir(d);
	return bytes;
}

/* every mount of the sandbox that is the host's: all but its own root, /proc and /tmp */
static int find_mounts(pid_t pid, char ***ret, struct hearth_err *err)
{
	char path[64], *text = NULL, **list;
	size_t n = 0, lines = 1;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	r = file_read(path, 1 << 20, &text, NULL);
	if (r < 0)
		return err_set(err, r, "cannot read %s: %s", path, strerror(-r));
	for (char *p = text; *p; p++)
		lines += *p == '\n';
	list = calloc(lines + 1, sizeof(*list));
	for (char *line = text; list && r == 0 && line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		char point[PATH_MAX];

		if (sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1)
			continue;
		unescape(point);
		if (!strcmp(point, "/") || !strcmp(point, "/proc") || !strcmp(point, "/tmp"))
			continue;
		if (strpbrk(point, "]:"))
			r = err_set(err, -EINVAL, "cannot park: the path %s contains ']' or ':', which CRIU's options can't say; rename it", point);
		else if (!(list[n++] = strdup(point)))
			r = -ENOMEM;
	}
	free(text);
	if (!list || r == -ENOMEM)
		r = err_set(err, -ENOMEM, "out of memory");
	if (r < 0)
		list_free(list);
	else
		*ret = list;
	return r;
}

/* the pager of a lazy wake may not be done yet */
static int wait_whole(const struct spec *s, struct hearth_err *err)
{
	int r = criu_tree_whole((pid_t)s->pid, FILL_MAX_S * 1000);

	if (r == -EBUSY)
		return err_set(err, r, "cannot park %s: after up to %d s its memory is still being brought back from its image, or it uses userfaultfd itself", s->id, FILL_MAX_S);
	return r < 0 ? err_set(err, r, "cannot park %s: its processes: %s", s->id, strerror(-r)) : 0;
}

static int check(struct park *p, struct hearth_err *err)
{
	const struct spec *s = p->spec;
	char mine[64], its[64];
	struct stat a, b;
	uint64_t starttime;
	int r;

	if (!s->pid || !s->id || !s->function || !s->image || !s->criu)
		return err_set(err, -EINVAL, "a park job needs pid, id, function, image and criu");
	r = proc_starttime((pid_t)s->pid, &starttime);
	if (r < 0 || (s->starttime && starttime != (uint64_t)s->starttime))
		return err_set(err, -ESRCH, "cannot park %s: process %d is gone", s->id, (int)s->pid);
	snprintf(its, sizeof(its), "/proc/%d/ns/net", (int)s->pid);
	snprintf(mine, sizeof(mine), "/proc/self/ns/net");
	if (stat(its, &a) < 0 || stat(mine, &b) < 0)
		return err_set(err, -errno, "cannot park %s: %s: %s", s->id, its, strerror(errno));
	if (a.st_ino == b.st_ino)
		return err_set(err, -EOPNOTSUPP, "cannot park %s: it shares the host's network; only isolation: full with a private network can be parked", s->id);
	return wait_whole(s, err);
}

static struct image *describe(struct park *p, struct hearth_err *err)
{
	struct image *img = calloc(1, sizeof(*img));
	char version[64];

	if (!img || criu_version(p->spec->criu, version, sizeof(version), err) < 0)
		goto err;
	img->id = strdup(p->spec->id);
	img->function = strdup(p->spec->function);
	img->criu = strdup(version);
	if (p->spec->meta)
		img->meta = json_dumps(p->spec->meta, JSON_COMPACT);
	if (!img->id || !img->function || !img->criu || (p->spec->meta && !img->meta)) {
		err_set(err, -ENOMEM, "out of memory");
		goto err;
	}
	if (find_mounts((pid_t)p->spec->pid, &img->mounts, err) < 0)
		goto err;
	img->empty_tmp_bytes = empty_tmp((pid_t)p->spec->pid);
	return img;
err:
	if (!img)
		err_set(err, -ENOMEM, "out of memory");
	image_free(img);
	return NULL;
}

/* ---- dumping ---- */

static int build_args(const struct park *p, struct args *a)
{
	char ns[64];
	struct stat st;

	snprintf(ns, sizeof(ns), "/proc/%d/ns/net", (int)p->spec->pid);
	if (stat(ns, &st) < 0)
		return -ESRCH;
	args_add(a, "%s", p->spec->criu);
	args_add(a, "dump");
	args_add(a, "--no-default-config");
	args_add(a, "-t");
	args_add(a, "%d", (int)p->spec->pid);
	args_add(a, "-D");
	args_add(a, "%s", p->draft.tmp);
	args_add(a, "-W");
	args_add(a, "%s", p->work);
	args_add(a, "-o");
	args_add(a, CRIU_LOG);
	args_add(a, "-v2");
	args_add(a, "--leave-stopped");
	args_add(a, "--tcp-established");
	args_add(a, "--network-lock");
	args_add(a, "skip");            /* nothing outside the instance's network name space talks to it */
	args_add(a, "--manage-cgroups=ignore");
	args_add(a, "--external");
	args_add(a, "net[%llu]:hearthnet", (unsigned long long)st.st_ino);
	for (size_t k = 0; p->img->mounts[k]; k++) {
		args_add(a, "--external");
		args_add(a, "mnt[%s]:m%zu", p->img->mounts[k], k);
	}
	if (p->img->empty_tmp_bytes) {
		args_add(a, "--external");
		args_add(a, "mnt[/tmp]:hearthtmp");
	}
	return a->failed ? -ENOMEM : 0;
}

static _Noreturn void dump_child(struct park *p, struct args *a, int go)
{
	char *paths[] = { p->draft.tmp, p->work, (char *)p->spec->criu, NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char ok;

	/* of its own session, so that what is sent to the daemon's group does not end it half-way */
	setsid();
	if (fd_read_full(go, &ok, 1) != 1)
		_exit(1);               /* the box died before there was a minder */
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		(void)criu_private_run(paths);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	criu_learn(a->v[0]);
	if (criu_match_ids((pid_t)p->spec->pid) < 0)
		_exit(126);
	criu_exec(a->v, NULL, NULL);
	_exit(127);
}

/* CRIU is held back until the minder exists, which needs to know its process */
static int dump(struct park *p, struct hearth_err *err)
{
	struct args a = { 0 };
	int go[2], r = build_args(p, &a);

	if (r < 0) {
		args_done(&a);
		return err_set(err, r, "cannot park %s: %s", p->spec->id, strerror(-r));
	}
	if (pipe2(go, O_CLOEXEC) < 0) {
		args_done(&a);
		return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	}
	p->go = go[1];
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);         /* for criu_end_helpers() */
	p->criu = fork();
	if (p->criu == 0) {
		close(go[1]);
		dump_child(p, &a, go[0]);
	}
	close(go[0]);
	args_done(&a);
	if (p->criu < 0)
		r = err_set(err, -errno, "cannot fork: %s", strerror(errno));
	if (r == 0)
		r = criu_minder(mind, p, &p->minder, err);
	if (r == 0 && !fault_point("park-before-dump"))
		(void)fd_write_full(p->go, "g", 1);
	fd_close(&p->go);
	if (p->criu > 0) {
		struct hearth_err why = { 0 };
		int waited = criu_wait(p->criu, DUMP_MAX_MS, "park", p->log, &why);

		criu_end_helpers();

		if (waited == -EOWNERDEAD) {
			/* CRIU runs code of its own in the processes; killed half-way, it leaves them with it and with wrong registers */
			kill((pid_t)p->spec->pid, SIGKILL);
			r = err_set(err, waited, "instance %s is ended, as its processes may be damaged: %s", p->spec->id, why.msg);
		} else if (r == 0 && waited < 0) {
			r = err_set(err, waited, "instance %s runs on: %s", p->spec->id, why.msg);
		}
	}
	return r;
}

/* ---- the job ---- */

static int commit(struct park *p, json_t *out, uint64_t t0, struct hearth_err *err)
{
	uint64_t t1 = clock_mono_ns(), digest_ns, sync_ns;
	int r;

	dir_remove(p->work);
	if (fault_point("park-after-dump"))
		return err_set(err, -EIO, "instance %s runs on: injected failure", p->spec->id);
	r = image_commit(&p->draft, p->img, &digest_ns, &sync_ns, err);
	if (r < 0)
		return err_prefix(err, "instance %s runs on: ", p->spec->id);
	(void)fault_point("park-after-commit");
	json_object_set_new(out, "image_bytes", json_integer((json_int_t)p->img->image_bytes));
	json_object_set_new(out, "pages_bytes", json_integer((json_int_t)p->img->pages_bytes));
	json_object_set_new(out, "ms", json_pack("{s:f,s:f,s:f}", "dump", (double)(t1 - t0) / NS_PER_MS, "digest", (double)digest_ns / NS_PER_MS,
						 "commit", (double)sync_ns / NS_PER_MS));
	return 0;
}

int job_park(const struct spec *spec, json_t *out, struct hearth_err *err)
{
	struct park p = { .spec = spec, .draft.lock = -1, .go = -1, .minder = -1 };
	uint64_t t0 = clock_mono_ns();
	int r;

	r = check(&p, err);
	if (r < 0)
		return r;
	image_wait(spec->image);        /* for the minder of a checkpoint before: it would let the instance go on in the middle of this one */
	p.img = describe(&p, err);
	if (!p.img)
		return err->code;
	r = image_begin(spec->image, &p.draft, err);
	if (r < 0)
		goto out;
	if (snprintf(p.work, sizeof(p.work), "%s/" WORK, p.draft.tmp) >= (int)sizeof(p.work) || mkdir(p.work, 0700) < 0)
		r = err_set(err, -errno, "cannot make a folder in %s: %s", p.draft.tmp, strerror(errno));
	snprintf(p.log, sizeof(p.log), "%s/" CRIU_LOG, p.work);
	if (r == 0)
		r = dump(&p, err);
	/* it is stopped now, and was not when it was looked at before */
	if (r == 0 && p.img->empty_tmp_bytes && !empty_tmp((pid_t)spec->pid))
		r = err_set(err, -EAGAIN, "instance %s runs on: it made files in /tmp while it was parked", spec->id);
	if (r == 0)
		r = mapped_save((pid_t)spec->pid, p.draft.tmp, err);
	if (r == 0)
		r = commit(&p, out, t0, err);
	if (r < 0)
		undo(&p);
	/* before the result is out: the daemon then ends the instance, and nobody may remove the image. If we die first, the daemon resumes it */
	if (p.minder >= 0)
		(void)fd_write_full(p.minder, "d", 1);
	fd_close(&p.minder);
	(void)fault_point("park-before-result");
out:
	image_free(p.img);
	return r;
}

int job_resume(const struct spec *spec, json_t *out, struct hearth_err *err)
{
	uint64_t starttime;
	int r;

	if (!spec->pid)
		return err_set(err, -EINVAL, "a resume job needs pid");
	if (spec->image)
		image_wait(spec->image);        /* for the minder, should hearth-box have been killed: what runs on may be parked again */
	r = proc_starttime((pid_t)spec->pid, &starttime);
	if (r < 0 || (spec->starttime && starttime != (uint64_t)spec->starttime))
		return err_set(err, -ESRCH, "cannot resume: process %d is gone", (int)spec->pid);
	criu_run_on((pid_t)spec->pid);
	return 0;
}
