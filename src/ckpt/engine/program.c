/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/program.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/proc.h"

#define JSON_MAX (1u << 20)
#define VERSION 1
#define TRIES 10000

#define NAMES_LOCK 0             /* pids are greater */

static const char *const states[] = { "running", "parked", "ended", "starting", "damaged" };

const char *program_state_name(enum program_state s)
{
	return states[s];
}

bool program_name_ok(const char *name)
{
	size_t n = strlen(name);

	return n && n <= PROGRAM_NAME_MAX && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

int program_dir(const char *run_dir, const char *name, char ret[PATH_MAX])
{
	return snprintf(ret, PATH_MAX, "%s/programs/%s", run_dir, name) >= PATH_MAX - 32 ? -ENAMETOOLONG : 0;
}

static int file_of(const char *run_dir, const char *name, char ret[PATH_MAX])
{
	int r = program_dir(run_dir, name, ret);

	if (r == 0)
		strcat(ret, "/program.json");   /* program_dir() leaves room */
	return r;
}

/* ---- locks ---- */

/* of an open file description, on the byte of a number: it ends with the last process that has it, and leaves nothing behind */
static int set_lock(int fd, short type, off_t number, bool wait)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = number, .l_len = 1 };

	while (fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &fl) < 0)
		if (errno != EINTR)
			return errno == EACCES ? -EAGAIN : -errno;
	return 0;
}

/* Return: 0, -EAGAIN (not told), -errno */
static int lock_byte(const char *run_dir, off_t number, bool wait, int *ret, struct hearth_err *err)
{
	char path[PATH_MAX];
	int fd, r = program_dir(run_dir, "", path);

	if (r == 0)
		r = dir_make(path, 0755);
	if (r < 0)
		return err_set(err, r, "cannot make the folder %s/programs: %s", run_dir, strerror(-r));
	strcat(path, ".lock");                  /* program_dir() leaves room */
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	r = set_lock(fd, F_WRLCK, number, wait);
	if (r == 0) {
		*ret = fd;
		return 0;
	}
	close(fd);
	return r == -EAGAIN ? r : err_set(err, r, "cannot lock %s: %s", path, strerror(-r));
}

int program_lock(const char *run_dir, pid_t root, int *ret, struct hearth_err *err)
{
	int r = lock_byte(run_dir, root, false, ret, err);

	return r == -EAGAIN ? err_set(err, -EBUSY, "another checkpoint or restore of process %d is in progress; try again when it is done", (int)root) : r;
}

void program_unlock(int *lock, pid_t root)
{
	if (*lock >= 0)
		(void)set_lock(*lock, F_UNLCK, root, false);
	fd_close(lock);
}

/* ---- names ---- */

static void name_after(const char *command, char ret[PROGRAM_NAME_MAX + 1])
{
	const char *slash = strrchr(command, '/');
	size_t n = 0;

	for (const char *p = slash ? slash + 1 : command; *p && n < PROGRAM_NAME_MAX - 8; p++)
		if (isalnum((unsigned char)*p) || (n && strchr("._-", *p)))
			ret[n++] = *p;
	ret[n] = '\0';
	if (!n)
		strcpy(ret, "program");
}

/* what holds the name until the program runs; should we be killed before, it is the record of one that ended */
static int note_start(const char *run_dir, const char *name, struct hearth_err *err)
{
	struct program p = { .state = PROGRAM_STARTING, .pid = getpid(), .created_ns = clock_wall_ns() };
	int r = proc_starttime(p.pid, &p.starttime);

	snprintf(p.name, sizeof(p.name), "%s", name);
	if (r == 0)
		r = program_save(run_dir, &p, err);
	else
		err_set(err, r, "cannot read /proc/self/stat: %s", strerror(-r));
	if (r < 0)
		program_remove(run_dir, name);
	return r;
}

/* with the lock of the names. Return: 0, -EEXIST (in use), -EBADMSG (nobody knows), -errno; told but for -EEXIST */
static int claim_one(const char *run_dir, const char *name, struct hearth_err *err)
{
	char dir[PATH_MAX];
	struct program old;
	int r = program_load(run_dir, name, &old, err);

	if (r == 0) {
		/* one that ended makes room for the next of its name */
		r = old.state == PROGRAM_ENDED ? 0 : -EEXIST;
		program_done(&old);
	} else if (r == -ENOENT) {
		r = 0;                          /* a folder without a record: somebody was killed who made it */
	}
	if (r < 0)
		return r;
	program_remove(run_dir, name);
	r = program_dir(run_dir, name, dir);
	if (r == 0 && mkdir(dir, 0755) < 0)
		r = -errno;
	if (r < 0)
		return err_set(err, r == -EEXIST ? -EBUSY : r, "cannot make the folder of program %s in %s: %s", name, run_dir, strerror(-r));
	if (fault_point("program-claimed"))
		return err_set(err, -EIO, "injected failure at program-claimed");
	return note_start(run_dir, name, err);
}

int program_claim(const char *run_dir, const char *name, const char *command, char ret_name[PROGRAM_NAME_MAX + 1], struct hearth_err *err)
{
	char stem[PROGRAM_NAME_MAX + 1];
	int lock = -1, r;

	if (name && !program_name_ok(name))
		return err_set(err, -EINVAL, "\"%.80s\" is no name for a program: letters, digits, '.', '_' and '-', at most %d", name, PROGRAM_NAME_MAX);
	r = lock_byte(run_dir, NAMES_LOCK, true, &lock, err);
	if (r < 0)
		return r;
	name_after(command, stem);
	for (int k = 1; k < TRIES; k++) {
		if (name)
			snprintf(ret_name, PROGRAM_NAME_MAX + 1, "%s", name);
		else if (k == 1)
			snprintf(ret_name, PROGRAM_NAME_MAX + 1, "%s", stem);
		else
			snprintf(ret_name, PROGRAM_NAME_MAX + 1, "%.*s-%d", PROGRAM_NAME_MAX - 6, stem, k);
		r = claim_one(run_dir, ret_name, err);
		if ((r != -EEXIST && r != -EBADMSG) || name)
			break;
	}
	program_unlock(&lock, NAMES_LOCK);
	return r == -EEXIST ? err_set(err, r, "there is a program \"%s\" already (`hearth ps`); choose another --name", ret_name) : r;
}

/* ---- records ---- */

int program_save(const char *run_dir, const struct program *p, struct hearth_err *err)
{
	char path[PATH_MAX], *text;
	json_t *o = json_pack("{s:i,s:s,s:s,s:i,s:I,s:I,s:i,s:b,s:O*,s:s*,s:s*}", "version", VERSION, "name", p->name, "state", states[p->state], "pid", (int)p->pid,
			      "starttime", (json_int_t)p->starttime, "created_ns", (json_int_t)p->created_ns, "status", p->status, "detached", p->detached, "argv", p->argv,
			      "store", p->store, "image", p->image);
	int r = file_of(run_dir, p->name, path);

	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	if (!text)
		return err_set(err, -ENOMEM, "cannot describe program %s: out of memory, or its arguments are not UTF-8 text", p->name);
	if (r == 0)
		r = file_note_sealed(path, text, strlen(text), 0644, err);
	free(text);
	return r;
}

static bool lives(const struct program *p)
{
	uint64_t start;
	int state = proc_state(p->pid);

	return state > 0 && state != 'Z' && proc_starttime(p->pid, &start) == 0 && start == p->starttime;
}

static int parse(const char *text, size_t n, struct program *ret)
{
	json_t *o = json_loadb(text, n, 0, NULL), *argv = NULL;
	const char *name, *state, *store = NULL, *image = NULL;
	json_int_t starttime, created;
	int version, pid, status, detached, r = -EBADMSG;
	struct program p = { 0 };

	if (o && json_unpack(o, "{s:i,s:s,s:s,s:i,s:I,s:I,s:i,s:b,s?o,s?s,s?s}", "version", &version, "name", &name, "state", &state, "pid", &pid, "starttime", &starttime,
			     "created_ns", &created, "status", &status, "detached", &detached, "argv", &argv, "store", &store, "image", &image) == 0 &&
	    version == VERSION && program_name_ok(name)) {
		snprintf(p.name, sizeof(p.name), "%s", name);
		for (int k = 0; k < PROGRAM_DAMAGED; k++)
			if (!strcmp(state, states[k])) {
				p.state = (enum program_state)k;
				r = 0;
			}
		p.pid = pid;
		p.status = status;
		p.detached = detached;
		p.starttime = (uint64_t)starttime;
		p.created_ns = (uint64_t)created;
		p.argv = json_is_array(argv) ? json_incref(argv) : NULL;
		if ((store && !(p.store = strdup(store))) || (image && !(p.image = strdup(image))))
			r = -ENOMEM;
	}
	json_decref(o);
	if (r < 0)
		program_done(&p);
	else
		*ret = p;
	return r;
}

static int read_record(const char *run_dir, const char *name, struct program *ret, struct hearth_err *err)
{
	char path[PATH_MAX], *text = NULL;
	size_t n;
	int r;

	if (!program_name_ok(name) || file_of(run_dir, name, path) < 0 || access(path, F_OK) < 0)
		return err_set(err, -ENOENT, "there is no program \"%.80s\"; `hearth ps` lists them", name);
	r = file_read_sealed(path, JSON_MAX, &text, &n, err);
	if (r == 0) {
		r = parse(text, n, ret);
		free(text);
		if (r < 0)
			err_set(err, r, "%s: %s", path, strerror(-r));
	}
	return r == -EBADMSG ? err_set(err, r, "%s is damaged: end the program if it still runs, then remove the folder", path) : r;
}

int program_load(const char *run_dir, const char *name, struct program *ret, struct hearth_err *err)
{
	pid_t before = 0;
	bool there;
	int r;

	/* whose process is gone may have handed over to another after the record was read: what it says then is what counts */
	for (;;) {
		r = read_record(run_dir, name, ret, err);
		if (r < 0)
			return r;
		there = lives(ret);
		if (there || ret->pid == before)
			break;
		before = ret->pid;
		program_done(ret);
	}
	/* parked and alive: the checkpoint was killed just before the end, and the program went on */
	if ((ret->state == PROGRAM_RUNNING || ret->state == PROGRAM_STARTING) && !there)
		ret->state = PROGRAM_ENDED;
	else if (ret->state == PROGRAM_PARKED && there)
		ret->state = PROGRAM_RUNNING;
	return 0;
}

void program_done(struct program *p)
{
	json_decref(p->argv);
	free(p->store);
	free(p->image);
	*p = (struct program){ 0 };
}

void program_remove(const char *run_dir, const char *name)
{
	char dir[PATH_MAX];

	if (program_dir(run_dir, name, dir) == 0)
		(void)dir_remove(dir);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct program *)a)->name, ((const struct program *)b)->name);
}

int program_list(const char *run_dir, struct program **ret, size_t *ret_n, struct hearth_err *err)
{
	struct program *list = NULL, one;
	char path[PATH_MAX];
	size_t n = 0, cap = 0;
	struct hearth_err ignored;
	struct dirent *e;
	int r = 0;
	DIR *d;

	if (snprintf(path, sizeof(path), "%s/programs", run_dir) >= (int)sizeof(path))
		return err_set(err, -ENAMETOOLONG, "path too long: %s", run_dir);
	d = opendir(path);
	while (d && r == 0 && (e = readdir(d))) {
		r = program_load(run_dir, e->d_name, &one, &ignored);
		if (r == -EBADMSG) {
			one = (struct program){ .state = PROGRAM_DAMAGED };
			snprintf(one.name, sizeof(one.name), "%.*s", PROGRAM_NAME_MAX, e->d_name);
		} else if (r < 0) {
			r = 0;                  /* no program's, or it went meanwhile */
			continue;
		}
		r = 0;
		if (array_grow((void **)&list, &cap, n + 1, sizeof(*list)) < 0) {
			program_done(&one);
			r = err_set(err, -ENOMEM, "out of memory");
		} else {
			list[n++] = one;
		}
	}
	if (d)
		closedir(d);
	if (n)
		qsort(list, n, sizeof(*list), by_name);
	*ret = list;
	*ret_n = n;
	return r;
}

int program_find(const char *run_dir, const char *text, struct program *ret, struct hearth_err *err)
{
	struct program *list = NULL;
	size_t n = 0;
	char *end;
	long pid = strtol(text, &end, 10);
	int r;

	if (!*text || *end || pid <= 0)
		return program_load(run_dir, text, ret, err);
	r = program_list(run_dir, &list, &n, err);
	if (r == 0)
		r = -ENOENT;
	for (size_t k = 0; k < n; k++) {
		if (r == -ENOENT && list[k].pid == (pid_t)pid && list[k].state == PROGRAM_RUNNING) {
			*ret = list[k];
			r = 0;
		} else {
			program_done(&list[k]);
		}
	}
	free(list);
	return r == -ENOENT ? err_set(err, r, "process %ld is no program that `hearth run` began", pid) : r;
}
