// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "priv.h"

#define BACKOFF_MAX_S 60.0

static void keep_min_fired(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	function_keep_min(w->data);
}

static void rescale_fired(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	function_pump(w->data);
}

struct function *function_find(struct node *n, const char *name)
{
	struct function *fn;

	HASH_FIND_STR(n->functions, name, fn);
	return fn;
}

bool function_parks(const struct function *fn)
{
	return fn->node->can_park && fn->m.park == PARK_STATE && fn->m.network == NET_PRIVATE;
}

unsigned function_capacity(const struct function *fn)
{
	return fn->no_zygote ? 1 : (unsigned)fn->m.concurrency;
}

const char *function_type_name(const struct function *fn)
{
	return fn->m.type ? fn->m.type : fn->m.name;
}

static void function_free(struct function *fn)
{
	types_give(fn->node->types, fn->type);
	ev_timer_stop(fn->node->loop, &fn->keep_min);
	ev_timer_stop(fn->node->loop, &fn->rescale);
	for (int i = 0; i < START_KINDS; i++)
		free(fn->latency[i]);
	fn->log = log_file_close(fn->log);
	manifest_done(&fn->m);
	free(fn->snapshot);
	free(fn);
}

/* takes over @m on success */
static struct function *function_new(struct node *n, struct manifest *m)
{
	struct function *fn = calloc(1, sizeof(*fn));
	char dir[PATH_MAX];

	if (!fn)
		return NULL;
	for (int i = 0; i < START_KINDS; i++) {
		fn->latency[i] = calloc(1, sizeof(*fn->latency[i]));
		if (!fn->latency[i])
			goto err;
	}
	fn->node = n;
	fn->computes = 1;
	TAILQ_INIT(&fn->instances);
	TAILQ_INIT(&fn->queue);
	ev_timer_init(&fn->keep_min, keep_min_fired, 0, 0);
	ev_init(&fn->rescale, rescale_fired);
	fn->rescale.repeat = 0.05;
	fn->keep_min.data = fn->rescale.data = fn;
	snprintf(dir, sizeof(dir), "%s/logs", n->cfg->state_dir);
	fn->log = log_file_open(dir, m->name);
	fn->m = *m;
	memory_knobs(fn->node->cfg, &fn->m, &fn->farmem.knobs);
	HASH_ADD_KEYPTR(hh, n->functions, fn->m.name, strlen(fn->m.name), fn);
	fn->type = types_take(n->types, function_type_name(fn));
	return fn;
err:
	for (int i = 0; i < START_KINDS; i++)
		free(fn->latency[i]);
	free(fn);
	return NULL;
}

static void stored_path(const struct node *n, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/functions/%s.json", n->cfg->state_dir, name);
}

static int store(struct node *n, const struct manifest *m, struct hearth_err *err)
{
	json_t *o = manifest_to_json(m);
	char *text = json_dumps(o, JSON_INDENT(2));
	char path[PATH_MAX];
	int r = -ENOMEM;

	stored_path(n, m->name, path);
	if (text)
		r = file_replace_sealed(path, text, strlen(text), 0600, err);
	else
		err_set(err, r, "cannot store function %s: out of memory", m->name);
	free(text);
	json_decref(o);
	return r;
}

/* every instance of what the function was: parked ones go now, running ones when they are free */
static void outdate_instances(struct function *fn)
{
	struct instance *inst, *next;

	TAILQ_FOREACH_SAFE(inst, &fn->instances, entry, next) {
		inst->outdated = true;
		invocations_unplace(inst);
		if (inst->inflight == 0 && !inst->job && inst->state != INST_STOPPING)
			instance_stop(inst, "its function was changed or removed");
		else if (instance_has_process(inst))
			record_write(inst);     /* a daemon that adopts it must know */
	}
}

static void images_remove(struct function *fn)
{
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/images/%s", fn->node->cfg->state_dir, fn->m.name);
	r = dir_remove(path);
	if (r < 0)
		log_warn("images of function %s: cannot remove %s: %s", fn->m.name, path, strerror(-r));
	free(fn->snapshot);
	fn->snapshot = NULL;
}

/* the table's key points into the manifest, so the entry is made anew */
static void replace_manifest(struct function *fn, struct manifest *m)
{
	struct node *n = fn->node;

	HASH_DELETE(hh, n->functions, fn);
	manifest_done(&fn->m);
	fn->m = *m;
	memory_knobs(fn->node->cfg, &fn->m, &fn->farmem.knobs);
	HASH_ADD_KEYPTR(hh, n->functions, fn->m.name, strlen(fn->m.name), fn);
}

int function_deploy(struct node *n, struct manifest *m, bool *ret_changed, struct hearth_err *err)
{
	struct function *fn = function_find(n, m->name);
	int r;

	/* calls that run and wait were taken in for the contract, and running instances are reached by their network */
	if (fn && (fn->m.contract != m->contract || fn->m.network != m->network))
		return err_set(err, -EEXIST, "function %s is deployed with contract %s and network %s, which cannot be changed; `hearth rm %s` first", m->name,
			       contract_names[fn->m.contract], network_names[fn->m.network], m->name);
	if (m->farmem.mode == FARMEM_ON && !n->memory.engine)
		return err_set(err, -EOPNOTSUPP, "function %s: farmem: on, but idle memory cannot be moved here: %s; `farmem: auto` takes what there is", m->name, n->memory.why);
	if (fn && manifest_equal(&fn->m, m)) {
		/* the same manifest, but its files may have changed: deploying is how one says so */
		outdate_instances(fn);
		images_remove(fn);
		manifest_done(m);
		*ret_changed = false;
	} else {
		r = store(n, m, err);
		if (r < 0)
			return r;
		if (fn) {
			outdate_instances(fn);
			images_remove(fn);
			replace_manifest(fn, m);
		} else {
			fn = function_new(n, m);
		}
		if (!fn)
			return err_set(err, -ENOMEM, "cannot deploy %s: out of memory", m->name);
		*ret_changed = true;
	}
	fn->start_failures = 0;
	fn->no_zygote = false;
	function_set_type(fn);
	function_keep_min(fn);
	function_pump(fn);
	return 0;
}

static void function_gone(struct function *fn)
{
	HASH_DELETE(hh, fn->node->functions, fn);
	function_free(fn);
}

/* The object, and with it its name, lives until its last instance has ended. */
int function_remove(struct node *n, const char *name, struct hearth_err *err)
{
	struct function *fn = function_find(n, name);
	struct invocation *inv;
	char path[PATH_MAX];

	if (!fn || fn->removing)
		return err_set(err, -ENOENT, "no function \"%s\" is deployed; `hearth ps` lists those that are", name);
	stored_path(n, name, path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(err, -errno, "cannot remove function %s: %s: %s", name, path, strerror(errno));
	fn->removing = true;
	while ((inv = TAILQ_FIRST(&fn->queue)))
		invocation_fail(inv, 404, "ResourceNotFound", "function %s was removed while the call waited", name);
	images_remove(fn);
	outdate_instances(fn);
	node_settled(n);
	return 0;
}

/* the skeleton that hearth-box makes for a function's instances; nothing is mounted there outside of their name spaces */
static void root_remove(const struct function *fn)
{
	char path[PATH_MAX];
	int r;

	snprintf(path, sizeof(path), "%s/roots/%s", fn->node->cfg->run_dir, fn->m.name);
	r = dir_remove(path);
	if (r < 0)
		log_warn("%s: cannot remove: %s", path, strerror(-r));
}

/** functions_sweep - free removed functions whose last instance has ended */
void functions_sweep(struct node *n)
{
	struct function *fn, *next;

	HASH_ITER(hh, n->functions, fn, next)
		if (fn->removing && TAILQ_EMPTY(&fn->instances) && !fn->pumping) {
			root_remove(fn);
			function_gone(fn);
		}
}

static void load_one(struct node *n, const char *path)
{
	struct hearth_err err;
	struct manifest m;
	char *text = NULL;
	json_t *o = NULL;
	int r;

	r = file_read_sealed(path, 1 << 20, &text, NULL, &err);
	if (r == 0) {
		o = json_loads(text, 0, NULL);
		r = manifest_from_json(o, &m, &err);
	}
	if (r < 0)
		log_error("function in %s is not loaded: %s", path, err.msg);
	else if (!function_new(n, &m))
		manifest_done(&m);
	json_decref(o);
	free(text);
}

int functions_load(struct node *n, struct hearth_err *err)
{
	static const char *const folders[] = { "functions", "images", "logs" };
	char path[PATH_MAX], dir[PATH_MAX];
	struct dirent *e;
	DIR *d;
	int r;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(dir, sizeof(dir), "%s/%s", n->cfg->state_dir, folders[i]);
		r = dir_make(dir, 0700);
		if (r < 0)
			return err_set(err, r, "cannot make %s: %s; choose another with --state", dir, strerror(-r));
	}
	snprintf(dir, sizeof(dir), "%s/functions", n->cfg->state_dir);
	d = opendir(dir);
	if (!d)
		return err_set(err, -errno, "cannot read %s: %s", dir, strerror(errno));
	while ((e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (e->d_name[0] == '.' || len < 6 || strcmp(e->d_name + len - 5, ".json"))
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) < (int)sizeof(path))
			load_one(n, path);
	}
	closedir(d);
	return 0;
}

void functions_free(struct node *n)
{
	struct function *fn, *next;

	HASH_ITER(hh, n->functions, fn, next) {
		struct instance *inst, *other;

		TAILQ_FOREACH_SAFE(inst, &fn->instances, entry, other)
			instance_forget(inst);
		function_gone(fn);
	}
}

static void make_snapshot(struct function *fn)
{
	struct hearth_err err = { 0 };
	struct instance *inst = instance_start(fn, &err);

	if (!inst) {
		log_warn("function %s: no snapshot: %s", fn->m.name, err.msg);
		return;
	}
	inst->for_snapshot = fn->snapshot_busy = true;
}

void function_keep_min(struct function *fn)
{
	struct node *n = fn->node;
	struct instance *inst;
	int64_t have = 0;

	if (fn->removing || n->stopping || ev_is_active(&fn->keep_min))
		return;
	TAILQ_FOREACH(inst, &fn->instances, entry)
		have += inst->state != INST_PARKED && inst->state != INST_STOPPING && !inst->outdated && !inst->for_snapshot;
	if (fn->start_failures > 0 && (have < fn->m.min_instances || fn->m.park == PARK_SNAPSHOT)) {
		double wait_s = fn->start_failures > 6 ? BACKOFF_MAX_S : (double)(1u << (fn->start_failures - 1));

		if (fn->start_failures <= 10) {
			fn->start_failures++;
			ev_timer_set(&fn->keep_min, wait_s, 0);
			ev_timer_start(n->loop, &fn->keep_min);
			return;
		}
		log_error("function %s: it failed to start %u times in a row; not tried again before its next call or deployment", fn->m.name, fn->start_failures);
		return;
	}
	if (fn->m.park == PARK_SNAPSHOT && n->can_park && !fn->snapshot && !fn->snapshot_busy)
		make_snapshot(fn);
	for (; have < fn->m.min_instances; have++) {
		struct hearth_err err = { 0 };

		if (!instance_start(fn, &err)) {
			log_warn("function %s: min_instances: %s", fn->m.name, err.msg);
			return;
		}
	}
}

json_t *function_to_json(const struct function *fn)
{
	int by_state[INST_STATES] = { 0 };
	const struct instance *inst;
	struct farmem_stat memory;
	json_t *o, *states = json_object();

	TAILQ_FOREACH(inst, &fn->instances, entry)
		by_state[inst->state]++;
	for (int i = 0; i < INST_STATES; i++)
		if (by_state[i])
			json_object_set_new(states, instance_state_names[i], json_integer(by_state[i]));
	o = json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "name", fn->m.name, "contract", contract_names[fn->m.contract], "park",
		      park_names[fn->m.park], "requests", (json_int_t)fn->count.requests, "errors", (json_int_t)fn->count.errors, "function_errors",
		      (json_int_t)fn->count.function_errors, "queued", (json_int_t)fn->queued, "cold", (json_int_t)fn->count.starts[START_COLD], "wakes",
		      (json_int_t)fn->count.starts[START_WAKE], "parks", (json_int_t)fn->count.parks, "oom_kills", (json_int_t)fn->count.oom_kills,
		      "max_instances", (json_int_t)fn->m.max_instances, "instances", states);
	memory_of_function(fn, &memory);
	json_object_set_new(o, "warm", json_integer((json_int_t)fn->count.starts[START_WARM]));
	json_object_set_new(o, "memory", memory_to_json(&memory));
	json_object_set_new(o, "concurrency", json_integer(fn->m.concurrency));
	json_object_set_new(o, "snapshot", fn->snapshot ? json_string(fn->snapshot) : json_null());
	json_object_set_new(o, "type", json_string(function_type_name(fn)));
	json_object_set_new(o, "computes", json_real(fn->computes));
	json_object_set_new(o, "placed", json_integer(fn->placed));
	return o;
}
