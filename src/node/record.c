// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "ckpt/image.h"
#include "priv.h"

/*
 * run_dir/instances/ID.json says which process an instance is (pid and start time, so that a reused pid is not mistaken for it) and what was being done with
 * it. The folder does not survive a reboot, as the processes do not. Parked instances need no record: their images say it all.
 */

static void record_path(const struct node *n, const char *id, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/instances/%s.json", n->cfg->run_dir, id);
}

void record_write(const struct instance *inst)
{
	struct node *n = inst->fn->node;
	struct hearth_err err;
	char path[PATH_MAX];
	json_t *o = json_pack("{s:s,s:s,s:s,s:i,s:I,s:s,s:b,s:i,s:s,s:b,s:b}", "id", inst->id, "function", inst->fn->m.name,
			      "state", instance_state_names[inst->state], "pid", (int)inst->pid, "starttime", (json_int_t)inst->starttime,
			      "cgroup", inst->cgroup, "outdated", inst->outdated, "job", inst->job ? (int)job_pid(inst->job) : 0, "image", inst->image,
			      "snapshot", inst->for_snapshot, "parked", inst->state == INST_PARKING && inst->committed);
	char *text = json_dumps(o, JSON_COMPACT);

	record_path(n, inst->id, path);
	if (!text || file_note_sealed(path, text, strlen(text), 0600, &err) < 0)
		log_warn("instance %s: cannot keep its record: %s; a restarted daemon will end it", inst->id, text ? err.msg : "out of memory");
	free(text);
	json_decref(o);
}

void record_remove(const struct instance *inst)
{
	char path[PATH_MAX];

	record_path(inst->fn->node, inst->id, path);
	if (unlink(path) < 0 && errno != ENOENT)
		log_warn("instance %s: cannot remove its record %s: %s", inst->id, path, strerror(errno));
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n > k && !strcmp(s + n - k, suffix);
}

/* The old daemon's checkpoint may still be going on; nobody would take its result. Being killed, it leaves the instance as it was. */
static void end_job(pid_t pid)
{
	char path[64], comm[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = pid > 1 ? fopen(path, "re") : NULL;
	if (!f)
		return;
	if (fgets(comm, sizeof(comm), f) && !strcmp(comm, "hearth-box\n"))
		kill(pid, SIGKILL);
	fclose(f);
}

/* Return: true when the process lives and belongs to an instance now */
static bool adopt_one(struct node *n, const json_t *o)
{
	struct function *fn = function_find(n, text_of(o, "function"));
	const char *id = text_of(o, "id");
	struct cgroup_usage usage;
	struct instance *inst;
	struct hearth_err err;

	if (!fn || !*id || strlen(id) >= NODE_ID_LEN)
		return false;
	inst = instance_alloc(fn, id);
	if (!inst)
		return false;
	snprintf(inst->cgroup, sizeof(inst->cgroup), "%s", text_of(o, "cgroup"));
	snprintf(inst->image, sizeof(inst->image), "%s", text_of(o, "image"));
	inst->adopted = true;
	if (instance_adopt_pid(inst, (pid_t)json_integer_value(json_object_get(o, "pid")),
			       (uint64_t)json_integer_value(json_object_get(o, "starttime")), &err) < 0) {
		log_info("instance %s of %s is gone: %s", id, fn->m.name, err.msg);
		instance_forget(inst);
		return false;
	}
	if (cgroup_read_usage(n->cgroups, inst->cgroup, &usage) == 0)
		inst->oom_kills = usage.oom_kills;      /* of workers, which are accounted for */
	inst->outdated = json_is_true(json_object_get(o, "outdated"));
	inst->for_snapshot = json_is_true(json_object_get(o, "snapshot"));
	fn->snapshot_busy |= inst->for_snapshot;
	n->adopted_total++;
	log_info("instance %s of %s (pid %d) adopted", id, fn->m.name, (int)inst->pid);
	if (json_is_true(json_object_get(o, "parked"))) {
		inst->committed = true;         /* stopped since then: the image is all of it, only the process's end was missing */
		instance_set_state(inst, INST_PARKING);
		instance_kill(inst, "parked");
	} else if (!strcmp(text_of(o, "state"), instance_state_names[INST_PARKING])) {
		end_job((pid_t)json_integer_value(json_object_get(o, "job")));
		instance_resume(inst);
	} else if (!strcmp(text_of(o, "state"), instance_state_names[INST_STOPPING])) {
		instance_set_state(inst, INST_WAKING);
		instance_stop(inst, "it was being ended");
	} else {
		instance_set_state(inst, INST_WAKING);
		instance_attach(inst, START_HOT);
		memory_attach(inst);
	}
	return true;
}

static void adopt_records(struct node *n, const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct hearth_err err;
		char path[PATH_MAX];
		char *text = NULL;
		json_t *o = NULL;

		if (!has_suffix(e->d_name, ".json"))
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path))
			continue;
		if (file_read_sealed(path, 1 << 20, &text, NULL, &err) < 0)
			log_warn("record %s: %s; its instance will be ended", path, err.msg);
		else
			o = json_loads(text, 0, NULL);
		if (!o || !adopt_one(n, o))
			unlink(path);
		json_decref(o);
		free(text);
	}
	if (d)
		closedir(d);
}

/* A cgroup without an instance was left by a daemon that died between making it and writing the record, or could not be removed at once. */
void records_end_strays(struct node *n)
{
	const char *base = NULL;
	char dir[PATH_MAX], rel[PATH_MAX];
	struct dirent *e;
	DIR *d;

	for (int ctl = 0; ctl < CGROUP_CTL_N && !base; ctl++)
		base = cgroup_tree_base(n->cgroups, (enum cgroup_ctl)ctl);
	if (!base)
		return;
	snprintf(dir, sizeof(dir), "%s/%s", base, n->cgroup_root);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		const struct instance *inst = instance_find(n, e->d_name);

		if (e->d_type != DT_DIR || !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || (inst && inst->state != INST_PARKED))
			continue;
		if (standby_owns(n, e->d_name))
			continue;
		snprintf(rel, sizeof(rel), "%s/%s", n->cgroup_root, e->d_name);
		if (cgroup_populated(n->cgroups, rel) > 0) {
			log_info("ending stray instance %s: no record of it", e->d_name);
			cgroup_kill(n->cgroups, rel);
		}
		if (cgroup_remove(n->cgroups, rel) < 0)
			n->strays = true;       /* again at the next tick */
	}
	if (d)
		closedir(d);
}

/* an image becomes a parked instance again; a snapshot is remembered by its function */
static void load_image(struct function *fn, const struct image *img)
{
	const char *name = strrchr(img->path, '/') + 1;
	struct instance *inst;

	if (!strncmp(name, SNAPSHOT_PREFIX, strlen(SNAPSHOT_PREFIX))) {
		if (fn->m.park == PARK_SNAPSHOT && !fn->snapshot)
			fn->snapshot = strdup(name);
		else
			image_remove(img->path);
		return;
	}
	inst = instance_find(fn->node, img->id);
	if (inst && inst->committed) {
		inst->image_bytes = img->image_bytes;
		return;
	}
	if (inst && inst->job)
		return;                         /* goes when the job has let the instance go on, and nobody else is at it */
	if (inst) {
		image_remove(img->path);        /* older than the instance itself, which lives */
		return;
	}
	inst = instance_alloc(fn, img->id);
	if (!inst)
		return;
	snprintf(inst->image, sizeof(inst->image), "%s", name);
	inst->image_bytes = img->image_bytes;
	instance_set_state(inst, INST_PARKED);
}

static void load_images_of(struct function *fn, const char *dir)
{
	struct image **images;
	size_t n, bad;

	image_sweep(dir);
	if (image_list(dir, &images, &n, &bad) < 0)
		return;
	if (bad > 0)
		log_warn("function %s: %zu damaged images in %s are not used", fn->m.name, bad, dir);
	for (size_t i = 0; i < n; i++) {
		load_image(fn, images[i]);
		image_free(images[i]);
	}
	free(images);
}

static void load_images(struct node *n)
{
	char dir[PATH_MAX], path[PATH_MAX];
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/images", n->cfg->state_dir);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		struct function *fn;

		if (e->d_name[0] == '.' || snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path))
			continue;
		fn = function_find(n, e->d_name);
		if (fn)
			load_images_of(fn, path);
		else
			dir_remove(path);       /* its function was removed */
	}
	if (d)
		closedir(d);
}

int records_adopt(struct node *n, struct hearth_err *err)
{
	char dir[PATH_MAX];
	int r;

	snprintf(dir, sizeof(dir), "%s/instances", n->cfg->run_dir);
	r = dir_make(dir, 0700);
	if (r < 0)
		return err_set(err, r, "cannot make %s: %s", dir, strerror(-r));
	adopt_records(n, dir);
	records_end_strays(n);
	snprintf(dir, sizeof(dir), "%s/work", n->cfg->run_dir);
	dir_remove(dir);                /* of jobs that were killed together with the daemon before */
	load_images(n);
	return 0;
}
