// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "instance.h"

/* Cold start: describe the box for hearth-box, run it. */

static void add_env(json_t *env, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_env(json_t *env, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) >= 0)
		json_array_append_new(env, json_string(text));
	va_end(ap);
	free(text);
}

/* later entries win: what the manifest sets comes last */
static json_t *make_env(const struct instance *inst)
{
	const struct manifest *m = &inst->fn->m;
	json_t *env = json_array();

	add_env(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	add_env(env, "HOME=/tmp");
	add_env(env, "LANG=C.UTF-8");
	add_env(env, "TZ=:UTC");
	add_env(env, "HEARTH_FUNCTION=%s", m->name);
	add_env(env, "HEARTH_INSTANCE=%s", inst->id);
	if (m->contract == CONTRACT_LAMBDA) {
		add_env(env, "AWS_LAMBDA_FUNCTION_NAME=%s", m->name);
		add_env(env, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST");
		add_env(env, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%llu", (unsigned long long)(m->memory_bytes >> 20));
		add_env(env, "AWS_LAMBDA_LOG_GROUP_NAME=/hearth/%s", m->name);
		add_env(env, "AWS_LAMBDA_LOG_STREAM_NAME=%s", inst->id);
		add_env(env, "AWS_LAMBDA_INITIALIZATION_TYPE=%s", m->park == PARK_SNAPSHOT ? "snap-start" : "on-demand");
		add_env(env, "AWS_REGION=local");
		add_env(env, "AWS_DEFAULT_REGION=local");
		add_env(env, "LAMBDA_TASK_ROOT=%s", m->directory);
		add_env(env, "LAMBDA_RUNTIME_DIR=%s", m->directory);
		if (m->handler)
			add_env(env, "_HANDLER=%s", m->handler);
	} else if (m->contract == CONTRACT_HTTP) {
		add_env(env, "K_SERVICE=%s", m->name);
		add_env(env, "K_REVISION=%s-1", m->name);
		add_env(env, "K_CONFIGURATION=%s", m->name);
	}
	memory_environment(inst, env);
	for (char **p = m->env; p && *p; p++)
		json_array_append_new(env, json_string(*p));
	return env;
}

static json_t *strings(char **v)
{
	json_t *a = json_array();

	for (; v && *v; v++)
		json_array_append_new(a, json_string(*v));
	return a;
}

/* what start and wake have in common: the box around the program */
json_t *instance_box_spec(const struct instance *inst, const char *job)
{
	const struct function *fn = inst->fn;
	const struct manifest *m = &fn->m;
	struct node *n = fn->node;
	char root[PATH_MAX], suffix[NODE_ID_LEN + 2];
	json_t *o;

	snprintf(root, sizeof(root), "%s/roots/%s", n->cfg->run_dir, m->name);
	instance_suffix(inst, suffix, sizeof(suffix));
	o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:f,s:I,s:I,s:I}", "job", job, "id", inst->id, "function", m->name, "root", root,
		      "init", n->init, "directory", m->directory, "isolation", n->isolated ? "full" : "none", "network", network_names[m->network],
		      "cgroup", inst->cgroup, "memory_max_bytes", (json_int_t)m->memory_bytes, "cpu_max", m->cpus, "pids_max", (json_int_t)m->pids,
		      "nofile", (json_int_t)m->nofile, "tmp_max_bytes", (json_int_t)m->tmp_bytes);
	json_object_set_new(o, "mounts", strings(m->mounts));
	memory_mounts(inst, json_object_get(o, "mounts"));
	if (suffix[0])
		json_object_set_new(o, "suffix", json_string(suffix));
	if (m->user)
		json_object_set_new(o, "user", json_string(m->user));
	if (n->cfg->criu)
		json_object_set_new(o, "criu", json_string(n->cfg->criu));
	return o;
}

static void start_done(void *ctx, json_t *result)
{
	struct instance *inst = ctx;
	struct hearth_err err;

	inst->job = NULL;
	if (!json_is_true(json_object_get(result, "ok"))) {
		snprintf(inst->reason, sizeof(inst->reason), "%s", job_error(result));
		inst->fn->count.start_failures++;
		instance_ended(inst);
		return;
	}
	if (instance_adopt_pid(inst, (pid_t)json_integer_value(json_object_get(result, "pid")),
			       (uint64_t)json_integer_value(json_object_get(result, "starttime")), &err) < 0) {
		snprintf(inst->reason, sizeof(inst->reason), "it ended at once: %.200s", err.msg);
		instance_ended(inst);
		return;
	}
	record_write(inst);
	instance_attach(inst, START_COLD);
	memory_attach(inst);
	if (inst->outdated)
		instance_stop(inst, "its function was changed or removed");
}

struct instance *instance_start(struct function *fn, struct hearth_err *err)
{
	struct node *n = fn->node;
	struct instance *inst;
	char id[NODE_ID_LEN];
	json_t *spec;

	make_id(id, sizeof(id), fn->m.name);
	inst = instance_alloc(fn, id);
	if (!inst) {
		err_set(err, -ENOMEM, "cannot start an instance of %s: out of memory", fn->m.name);
		return NULL;
	}
	inst->origin = START_COLD;
	instance_set_state(inst, INST_STARTING);
	spec = instance_box_spec(inst, "start");
	json_object_set_new(spec, "command", strings(fn->m.command));
	json_object_set_new(spec, "env", make_env(inst));
	json_object_set_new(spec, "contract", json_string(contract_names[fn->m.contract]));
	json_object_set_new(spec, "port", json_integer(fn->m.port));
	json_object_set_new(spec, "concurrency", json_integer(fn->m.concurrency));
	json_object_set_new(spec, "zygote", json_integer(fn->m.zygote));
	json_object_set_new(spec, "worker_idle_ms", json_integer((json_int_t)(fn->m.worker_idle_ns / NS_PER_MS)));
	inst->job = job_run(n, spec, start_done, inst, err);
	if (!inst->job) {
		instance_forget(inst);
		return NULL;
	}
	return inst;
}
