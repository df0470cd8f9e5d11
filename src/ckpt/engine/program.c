/* SPDX-License-Identifier: Apache-2.0 */
#include "ckpt/program.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/proc.h"

#define JSON_MAX (1u << 20)
#define VERSION 1
#define TRIES 10000

static const char *const states[] = { "running", "parked", "ended" };

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

/* Return: 0, -EEXIST (in use), -errno */
static int claim_one(const char *run_dir, const char *name)
{
	char dir[PATH_MAX];
	struct program old;
	struct hearth_err err;
	int r = program_dir(run_dir, name, dir);

	if (r < 0)
		return r;
	if (mkdir(dir, 0755) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	/* one that ended makes room for the next of its name; one without a record is being begun, or was killed at that */
	r = program_load(run_dir, name, &old, &err);
	if (r < 0)
		return -EEXIST;
	r = old.state == PROGRAM_ENDED ? 0 : -EEXIST;
	program_done(&old);
	if (r == 0) {
		program_remove(run_dir, name);
		r = mkdir(dir, 0755) < 0 ? -errno : 0;
	}
	return r;
}

int program_claim(const char *run_dir, const char *name, const char *command, char ret_name[PROGRAM_NAME_MAX + 1], struct hearth_err *err)
{
	char dir[PATH_MAX], stem[PROGRAM_NAME_MAX + 1];
	int r;

	if (name && !program_name_ok(name))
		return err_set(err, -EINVAL, "\"%.80s\" is no name for a program: letters, digits, '.', '_' and '-', at most %d", name, PROGRAM_NAME_MAX);
	r = program_dir(run_dir, "", dir);
	if (r == 0)
		r = dir_make(dir, 0755);
	if (r < 0)
		return err_set(err, r, "cannot make the folder %s: %s", dir, strerror(-r));
	name_after(command, stem);
	for (int k = 1; k < TRIES; k++) {
		if (name)
			snprintf(ret_name, PROGRAM_NAME_MAX + 1, "%s", name);
		else if (k == 1)
			snprintf(ret_name, PROGRAM_NAME_MAX + 1, "%s", stem);
		else
			snprintf(ret_name, PROGRAM_NAME_MAX + 1, "%.*s-%d", PROGRAM_NAME_MAX - 6, stem, k);
		r = claim_one(run_dir, ret_name);
		if (r != -EEXIST || name)
			break;
	}
	if (r == -EEXIST)
		return err_set(err, r, "there is a program \"%s\" already (`hearth ps`); choose another --name", ret_name);
	return r < 0 ? err_set(err, r, "cannot make the folder of program %s in %s: %s", ret_name, run_dir, strerror(-r)) : 0;
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
		for (int k = 0; k < 3; k++)
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

int program_load(const char *run_dir, const char *name, struct program *ret, struct hearth_err *err)
{
	char path[PATH_MAX], *text = NULL;
	size_t n;
	int r;

	if (!program_name_ok(name) || file_of(run_dir, name, path) < 0 || access(path, F_OK) < 0)
		return err_set(err, -ENOENT, "there is no program \"%.80s\"; `hearth ps` lists them", name);
	r = file_read_sealed(path, JSON_MAX, &text, &n, err);
	if (r < 0)
		return r;
	r = parse(text, n, ret);
	free(text);
	if (r < 0)
		return err_set(err, r, "%s is not the record of a program", path);
	/* parked and alive: the checkpoint was killed just before the end, and the program went on */
	if (ret->state == PROGRAM_RUNNING && !lives(ret))
		ret->state = PROGRAM_ENDED;
	else if (ret->state == PROGRAM_PARKED && lives(ret))
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
		if (program_load(run_dir, e->d_name, &one, &ignored) < 0)
			continue;
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
