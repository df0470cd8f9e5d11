/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"
#include "ckpt/criu.h"
#include "ckpt/engine.h"
#include "ckpt/mapped.h"
#include "ckpt/pager.h"
#include "ckpt/program.h"
#include "ckpt/store.h"
#include "files.h"
#include "gate.h"
#include "gpu.h"
#include "memory.h"
#include "pages.h"
#include "pinned.h"
#include "relay.h"
#include "rewind.h"
#include "tree.h"

#define RESTORE_MAX_MS 120000
#define LAZY_MIN_BYTES (32ull << 20)
#define REAP_MAX_MS 2000
#define LOOK_MS 5
#define PIPES_MAX 16
#define CRIU_LOG_MAX (64u << 20)
#define LOG_TO "HEARTH_CRIU_LOG"        /* for people who look for time: where CRIU's log goes */

/** struct back - one restore in progress */
struct back {
	const struct engine_restore *o;
	struct hearth_err *err;
	struct store *store;
	struct store_image *img;
	json_t *tree;                   /* borrowed from the image */
	struct program program;
	bool claimed, lazy;
	char work[PATH_MAX], log[PATH_MAX];
	int work_lock, lock;            /* lock: program_lock() */
	struct relay relay;
	struct { uint64_t inode; int fd; } give[PIPES_MAX];     /* ends for the program */
	size_t give_n;
	struct pager pager;
	struct pager_source source;
	struct hearth_err *damage;      /* shared with the pager: what it found */
	struct gpu_back *device;        /* NULL: it has no device memory */
	json_t *gpu;                    /* what was done of that */
	uint64_t bytes, t0, opened, verified, extracted, made, restored;
};

/* ---- what must be so ---- */

/* an image is processes with whatever rights are noted in it: from whom could write one, root would take everything */
static int trust(const struct back *b, const char *folder)
{
	char path[PATH_MAX];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s%s%s", b->o->store, *folder ? "/images/" : "", folder) >= (int)sizeof(path))
		return err_set(b->err, -ENAMETOOLONG, "path too long: %s", b->o->store);
	if (stat(path, &st) < 0)
		return err_set(b->err, -errno, "cannot look at %s: %s", path, strerror(errno));
	if (st.st_uid != 0)
		return err_set(b->err, -EPERM, "%s belongs to user %u, who could have put anything into an image that root is to restore; if you trust it: chown -R root %s", path,
			       (unsigned)st.st_uid, b->o->store);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(b->err, -EPERM, "%s may be written by others than root, who could have put anything into an image that root is to restore; if you trust it: chmod -R go-w %s", path,
			       b->o->store);
	return 0;
}

static int open_image(struct back *b)
{
	const json_t *meta;
	const char *kind;
	int r = store_open(b->o->store, &b->store, b->err);

	if (r == 0)
		r = trust(b, "");
	if (r == 0)
		r = store_image_open(b->store, b->o->image, &b->img, b->err);
	if (r == 0)
		r = trust(b, b->o->image);
	if (r < 0)
		return r;
	meta = store_image_meta(b->img);
	kind = json_string_value(json_object_get(meta, "kind"));
	b->tree = json_object_get(meta, "tree");
	if (!kind || !b->tree)
		return err_set(b->err, -EPROTO, "image %s is not of a program", b->o->image);
	if (strcmp(kind, "program"))
		return err_set(b->err, -EOPNOTSUPP, "image %s is a pre-dump: memory alone, a base for other images; it can't be restored", b->o->image);
	for (size_t k = 0; k < store_image_objects(b->img); k++)
		if (!strncmp(store_image_object_name(b->img, (int)k), "mem/", 4))
			b->bytes += store_image_object_bytes(b->img, (int)k);
	b->lazy = !b->o->eager && b->bytes >= LAZY_MIN_BYTES && pinned_known(json_object_get(meta, "gpu"));
	return 0;
}

static pid_t root_of(const struct back *b)
{
	return (pid_t)json_integer_value(json_object_get(b->tree, "root"));
}

static void comm_of(pid_t pid, char *ret, size_t n)
{
	char path[64], *text = NULL;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	snprintf(ret, n, "%s", file_read(path, 256, &text, NULL) == 0 ? text : "?");
	ret[strcspn(ret, "\n")] = '\0';
	free(text);
}

/* a process that ends keeps its pid until all its memory is gone and its parent has asked for it. Linux 6.9 and newer tell that (POLLHUP); on older ones, and when it is a thread's, it is looked at now and then. */
static void wait_reaped(pid_t pid)
{
	FD_AUTO int pidfd = pidfd_of(pid);
	struct pollfd p = { .fd = pidfd };

	poll(&p, 1, LOOK_MS);
}

static int pid_free(struct back *b, pid_t pid)
{
	uint64_t deadline = clock_mono_ns() + REAP_MAX_MS * NS_PER_MS;
	char name[256];
	bool ending;
	int state;

	while ((ending = proc_ending(pid)) && clock_mono_ns() < deadline)
		wait_reaped(pid);
	state = proc_state(pid);
	if (state < 0)
		return 0;
	comm_of(pid, name, sizeof(name));
	if (ending && state != 'Z')
		return err_set(b->err, -EEXIST, "cannot restore %s: it needs the process id %d, and the process that had it (%s) was killed but is not gone yet; try again when it is", b->o->image,
			       (int)pid, name);
	if (state == 'Z')
		return err_set(b->err, -EEXIST, "cannot restore %s: it needs the process id %d, and the process that had it (%s) has ended but was not waited for by its parent", b->o->image,
			       (int)pid, name);
	return err_set(b->err, -EEXIST, "cannot restore %s: it needs the process id %d, which process \"%s\" has now%s", b->o->image, (int)pid, name,
		       root_of(b) == pid ? "; does the program still run?" : "");
}

static bool is_ours(const struct back *b, pid_t id)
{
	json_t *pid;
	size_t k;

	json_array_foreach(json_object_get(b->tree, "pids"), k, pid)
		if (json_integer_value(pid) == id)
			return true;
	return false;
}

/* a process that is still in a session or group of the program's: their numbers are pids too. Return: 0 there is none */
static pid_t find_member(const struct back *b)
{
	struct dirent *e;
	pid_t found = 0;
	DIR *d = opendir("/proc");

	while (d && !found && (e = readdir(d))) {
		pid_t pid = (pid_t)atoi(e->d_name);

		if (pid > 0 && (is_ours(b, getpgid(pid)) || is_ours(b, getsid(pid))))
			found = pid;
	}
	if (d)
		closedir(d);
	return found;
}

static int groups_free(struct back *b)
{
	uint64_t deadline = clock_mono_ns() + REAP_MAX_MS * NS_PER_MS;
	char name[256];
	pid_t pid;

	while ((pid = find_member(b)) && clock_mono_ns() < deadline)
		wait_reaped(pid);
	if (!pid)
		return 0;
	comm_of(pid, name, sizeof(name));
	return err_set(b->err, -EEXIST, "cannot restore %s: process %d (%s) is still in a session or process group of the program, whose number is needed; end it first", b->o->image,
		       (int)pid, name);
}

static int check(struct back *b)
{
	json_t *pid;
	size_t k;
	int r = 0;

	json_array_foreach(json_object_get(b->tree, "pids"), k, pid) {
		r = pid_free(b, (pid_t)json_integer_value(pid));
		if (r < 0)
			return r;
	}
	r = groups_free(b);
	if (r < 0)
		return r;
	b->opened = clock_mono_ns();
	r = gpu_restore_possible(b->o->keeper, json_object_get(store_image_meta(b->img), "gpu"), b->err);
	if (r == 0 && b->o->verify)
		r = store_image_verify(b->img, 0, b->err);
	b->verified = clock_mono_ns();
	return r;
}

/* CRIU's files, checked as they are read */
static int extract(struct back *b)
{
	int r = files_extract(b->img, b->work, b->err);

	if (r == 0)
		r = mapped_check(b->work, b->err);
	if (r == 0 && !b->lazy)
		r = pages_complete(b->img, b->work, b->err);
	b->extracted = clock_mono_ns();
	if (r == 0 && fault_point("restore-extracted"))
		r = err_set(b->err, -EIO, "injected failure at restore-extracted");
	return r;
}

static int claim(struct back *b)
{
	const char *name = json_string_value(json_object_get(store_image_meta(b->img), "program"));
	struct program old;
	struct hearth_err none;
	int r = 0;

	if (!name || !program_name_ok(name))
		return err_set(b->err, -EPROTO, "image %s does not say which program it is of", b->o->image);
	/* its own record: it is parked, or ended. What it wrote stays in the log */
	if (program_load(b->o->run_dir, name, &old, &none) == 0) {
		if (old.state == PROGRAM_PARKED || old.state == PROGRAM_ENDED) {
			b->program = old;
			b->program.pid = 0;             /* not ours yet: it may be somebody else's by now */
			return 0;
		}
		program_done(&old);
	}
	r = program_claim(b->o->run_dir, name, name, b->program.name, b->err);
	b->claimed = r == 0;
	return r;
}

/* ---- pipes ---- */

/* our reading end of what it writes to, or a writing end that is closed at once of what it reads from */
static int make_pipe(struct back *b, uint64_t inode, int fd, bool writes)
{
	int ends[2], which = fd == 2;

	if (b->give_n == PIPES_MAX)
		return err_set(b->err, -E2BIG, "image %s has more than %d pipes to the outside", b->o->image, PIPES_MAX);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(b->err, -errno, "cannot make a pipe: %s", strerror(errno));
	if (writes && b->relay.from[which] < 0) {
		b->relay.from[which] = ends[0];
	} else if (writes) {
		/* nobody reads a further one: to the void, not to SIGPIPE */
		close(ends[0]);
		close(ends[1]);
		ends[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
	} else {
		close(ends[1]);
	}
	b->give[b->give_n].inode = inode;
	b->give[b->give_n++].fd = writes ? ends[1] : ends[0];
	return 0;
}

static int make_pipes(struct back *b)
{
	json_t *p;
	size_t k;
	int r = 0;

	json_array_foreach(json_object_get(b->tree, "pipes"), k, p) {
		bool reads = json_is_true(json_object_get(p, "read")), writes = json_is_true(json_object_get(p, "write"));

		if (reads != writes && r == 0)
			r = make_pipe(b, (uint64_t)json_integer_value(json_object_get(p, "inode")), (int)json_integer_value(json_object_get(p, "fd")), writes);
	}
	return r;
}

/* ---- CRIU ---- */

static int build_args(const struct back *b, struct args *a)
{
	args_add(a, "%s", b->o->criu);
	args_add(a, "restore");
	args_add(a, "--no-default-config");
	args_add(a, "-D");
	args_add(a, "%s", b->work);
	args_add(a, "-W");
	args_add(a, "%s", b->work);
	args_add(a, "-o");
	args_add(a, CRIU_LOG);
	args_add(a, getenv(LOG_TO) ? "-v4" : "-v2");
	args_add(a, "-d");
	args_add(a, "--pidfile");
	args_add(a, PAGER_PIDFILE);
	args_add(a, json_integer_value(json_object_get(b->tree, "tcp_outside")) ? "--tcp-close" : "--tcp-established");
	args_add(a, "--network-lock");
	args_add(a, "skip");
	args_add(a, "--file-locks");
	args_add(a, "--link-remap");
	args_add(a, "--manage-cgroups=ignore");
	for (size_t k = 0; k < b->give_n; k++) {
		args_add(a, "--inherit-fd");
		args_add(a, "fd[%d]:pipe:[%llu]", b->give[k].fd, (unsigned long long)b->give[k].inode);
	}
	if (b->lazy)
		args_add(a, "--lazy-pages");
	return a->failed ? -ENOMEM : 0;
}

static _Noreturn void restore_child(const struct back *b, struct args *a)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	relay_child();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	criu_learn(a->v[0]);
	for (size_t k = 0; k < b->give_n; k++)
		fd_set_cloexec(b->give[k].fd, false);
	if (b->lazy)
		fd_set_cloexec(b->pager.ctl, false);
	criu_exec(a->v, NULL, NULL);
	_exit(127);
}

static int open_source(void *ctx, int pid, void **ret, struct hearth_err *err)
{
	struct memory_source *s;
	struct back *b = ctx;
	int r = memory_source_open(b->img, pid, &s, err);

	if (r < 0)
		*b->damage = *err;
	else
		*ret = s;
	return r;
}

static struct hearth_err *shared_damage;

static int read_source(void *process, uint64_t address, void *buf, size_t bytes, struct hearth_err *err)
{
	int r = memory_source_read(process, address, buf, bytes, err);

	if (r < 0)
		*shared_damage = *err;
	return r;
}

static int start_pager(struct back *b)
{
	void *at = mmap(NULL, sizeof(*b->damage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return err_set(b->err, -errno, "cannot share memory with the pager: %s", strerror(errno));
	b->damage = shared_damage = at;
	b->source = (struct pager_source){ b, open_source, read_source };
	return pager_start(b->work, NULL, b->work, b->o->image, &b->source, false, &b->pager, b->err);
}

static int learn_pid(struct back *b)
{
	char path[PATH_MAX + 8], *text = NULL;
	int r;

	snprintf(path, sizeof(path), "%s/" PAGER_PIDFILE, b->work);
	r = file_read(path, 64, &text, NULL);
	b->program.pid = r < 0 ? 0 : (pid_t)atoi(text);
	free(text);
	if (b->program.pid <= 1 || proc_starttime(b->program.pid, &b->program.starttime) < 0)
		return err_set(b->err, -EIO, "criu restored %s, but its process %d is not there", b->o->image, (int)b->program.pid);
	return 0;
}

static void keep_log(const char *log, const char *to)
{
	char *text = NULL;
	size_t n;

	if (file_read(log, CRIU_LOG_MAX, &text, &n) == 0)
		(void)file_replace(to, text, n, 0600, NULL);
	free(text);
}

static int bring_back(struct back *b)
{
	char log[PATH_MAX + 16], what[300];
	struct args a = { 0 };
	pid_t pid = -1;
	int r = build_args(b, &a) < 0 ? err_set(b->err, -ENOMEM, "out of memory") : 0;

	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (r == 0)
		pid = fork();
	if (pid == 0)
		restore_child(b, &a);
	args_done(&a);
	if (r == 0 && pid < 0)
		r = err_set(b->err, -errno, "cannot fork: %s", strerror(errno));
	for (size_t k = 0; k < b->give_n; k++)
		fd_close(&b->give[k].fd);
	snprintf(log, sizeof(log), "%s/" CRIU_LOG, b->work);
	snprintf(what, sizeof(what), "restore %s", b->o->image);
	if (r == 0)
		r = criu_wait(pid, RESTORE_MAX_MS, what, log, b->err);
	if (getenv(LOG_TO))
		keep_log(log, getenv(LOG_TO));
	if (r < 0 && b->damage && b->damage->code)
		r = err_set(b->err, b->damage->code, "%s", b->damage->msg);
	if (r == 0)
		r = learn_pid(b);
	if (r == 0 && fault_point("restore-made"))
		r = err_set(b->err, -EIO, "injected failure at restore-made");
	return r;
}

static int begin_device_memory(struct back *b)
{
	char store[PATH_MAX];

	if (!realpath(b->o->store, store))
		return err_set(b->err, -errno, "cannot find the folder %s: %s", b->o->store, strerror(errno));
	return gpu_restore_begin(&(struct gpu_target){ .socket = b->o->keeper, .store = store }, b->o->image, json_object_get(store_image_meta(b->img), "gpu"), &b->device, b->err);
}

static int let_pager_go(struct back *b)
{
	FD_AUTO int pidfd = pidfd_of(b->program.pid);

	if (pager_commit(&b->pager, pidfd) == 0)
		return 0;
	return b->damage->code ? err_set(b->err, b->damage->code, "%s", b->damage->msg) : err_set(b->err, -EIO, "the pager of %s died: the program was ended", b->o->image);
}

/* first of all that was made: it must not see pages that the pager no longer fills in */
static void end_program(const struct back *b)
{
	if (b->program.pid > 1 && kill(b->program.pid, SIGKILL) == 0)
		(void)waitpid(b->program.pid, NULL, __WALL);
}

/* ---- the whole ---- */

static int make(struct back *b)
{
	int r = program_dir(b->o->run_dir, b->program.name, b->log);

	if (r == 0 && b->o->detach)
		b->relay.log = strcat(b->log, "/log");
	if (r == 0)
		r = tree_work_folder(b->work, sizeof(b->work), &b->work_lock, b->err);
	/* what goes on beside us comes first; the pager before all, so that it has no descriptor of what follows */
	if (r == 0 && b->lazy)
		r = start_pager(b);
	if (r == 0)
		r = begin_device_memory(b);
	if (r == 0)
		r = extract(b);
	if (r == 0)
		r = gate_put(b->o->run_dir, b->program.name, b->work, b->err);
	if (r == 0)
		r = relay_begin(&b->relay, b->err);
	if (r == 0)
		r = make_pipes(b);
	if (r == 0)
		r = gpu_restore_begun(b->device, b->err);
	if (r == 0)
		r = bring_back(b);
	b->made = clock_mono_ns();
	/* before the driver's part, which runs in the program and may need any page: from here on a pager that fails ends the program, and nobody waits for it */
	if (r == 0 && b->lazy)
		r = let_pager_go(b);
	if (r == 0 && b->lazy)
		r = pinned_fill(json_object_get(store_image_meta(b->img), "gpu"), b->err);
	if (r == 0)
		r = gpu_restore(b->device, &b->gpu, b->err);
	b->device = gpu_back_free(b->device);
	if (r < 0) {
		end_program(b);
		criu_kill_orphans(b->pager.guard);        /* before the pager lets go of their memory */
		pager_abort(&b->pager);
		return tree_work_room(b->work, r, b->err);
	}
	b->restored = clock_mono_ns();
	b->program.state = PROGRAM_RUNNING;
	b->program.detached = b->o->detach;
	r = program_save(b->o->run_dir, &b->program, b->err);
	program_unlock(&b->lock, root_of(b));   /* not for as long as the program is attended */
	return r;
}

static double ms(uint64_t from, uint64_t to)
{
	return (double)(to - from) / NS_PER_MS;
}

static json_t *report(const struct back *b)
{
	return json_pack("{s:s,s:s,s:i,s:b,s:I,s:O*,s:{s:f,s:f,s:f,s:f,s:f,s:f}}", "name", b->program.name, "image", b->o->image, "pid", (int)b->program.pid, "lazy", b->lazy, "bytes",
			 (json_int_t)b->bytes, "gpu", b->gpu, "ms", "open", ms(b->t0, b->opened), "verify", ms(b->opened, b->verified), "files", ms(b->verified, b->extracted), "criu",
			 ms(b->extracted, b->made), "gpu", ms(b->made, b->restored), "total", ms(b->t0, b->restored));
}

static void clean_up(struct back *b)
{
	program_unlock(&b->lock, root_of(b));
	relay_end(&b->relay);
	for (size_t k = 0; k < b->give_n; k++)
		fd_close(&b->give[k].fd);
	if (b->work[0])
		dir_remove(b->work);
	b->work[0] = '\0';
	fd_close(&b->work_lock);
	b->img = store_image_close(b->img);
	b->store = store_close(b->store);
	program_done(&b->program);
	b->gpu = (json_decref(b->gpu), NULL);
	if (b->damage)
		munmap(b->damage, sizeof(*b->damage));
}

/* from the restored program's beginning to its end */
static int attend(struct back *b, int *ret_status)
{
	int r;

	dir_remove(b->work);
	b->work[0] = '\0';
	r = relay_run(&b->relay, b->program.pid, ret_status);
	program_ended(b->o->run_dir, &b->program, *ret_status);
	if (b->damage && b->damage->code)
		r = err_set(b->err, b->damage->code, "%s: the program was ended", b->damage->msg);
	return r;
}

/* Return: 0; the process that reads on does not return from it */
static int make_detached(struct back *b, json_t **ret)
{
	struct hearth_err none = { 0 };
	json_t *told = NULL;
	int report_fd = -1, status, r = relay_detach(&report_fd, ret, b->err);
	char name[PROGRAM_NAME_MAX + 1];

	snprintf(name, sizeof(name), "%s", b->program.name);
	if (r == 1) {
		program_done(&b->program);
		r = program_load(b->o->run_dir, name, &b->program, b->err);
		return r;
	}
	if (r < 0)
		return r;
	r = make(b);
	if (r < 0 && b->claimed)
		program_remove(b->o->run_dir, name);
	else if (r == 0)
		told = report(b);
	relay_report(&report_fd, r < 0 ? b->err : &none, told);
	json_decref(told);
	if (r == 0)
		(void)attend(b, &status);
	clean_up(b);
	_exit(0);
}

static int make_attached(struct back *b, json_t **ret, int *ret_status)
{
	int r = make(b);

	if (r < 0) {
		if (b->claimed)
			program_remove(b->o->run_dir, b->program.name);
		return r;
	}
	*ret = report(b);
	if (b->o->restored)
		b->o->restored(b->o->ctx, *ret);
	return attend(b, ret_status);
}

int engine_restore(const struct engine_restore *o, json_t **ret, int *ret_status, struct hearth_err *err)
{
	struct back b = { .o = o, .err = err, .work_lock = -1, .lock = -1, .relay = { .from = { -1, -1 }, .log_fd = -1, .signals = -1 }, .pager = PAGER_NONE, .t0 = clock_mono_ns() };
	char version[64];
	int r;

	*ret_status = 0;
	if (geteuid() != 0)
		return err_set(err, -EPERM, "a restore needs root (CRIU needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE); try with sudo");
	r = criu_version(o->criu, version, sizeof(version), err);
	if (r == 0)
		r = open_image(&b);
	if (r == 0)
		r = program_lock(o->run_dir, root_of(&b), &b.lock, err);
	if (r == 0)
		r = check(&b);
	if (r == 0)
		r = rewind_files(json_object_get(b.tree, "files"), o->image, o->rewind_files, err);
	if (r == 0)
		r = claim(&b);
	if (r == 0)
		r = o->detach ? make_detached(&b, ret) : make_attached(&b, ret, ret_status);
	clean_up(&b);
	return r;
}
