// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/yaml.h"
#include "priv.h"

const char *const contract_names[] = { "lambda", "http", "native", NULL };
const char *const park_names[] = { "state", "snapshot", "off", NULL };
static const char *const farmem_names[] = { "auto", "on", "off", NULL };
const char *const network_names[] = { "private", "host", NULL };

#define ZYGOTE_WORKERS_MAX 256
#define ZYGOTE_PIDS 8           /* hearth-init, the zygote, its helper's thread, one that is just ending, what forks a worker */
#define ZYGOTE_FILES 48         /* hearth-init's: itself, and connections that are not workers' */
#define DAY_NS ((int64_t)(24 * 3600 * NS_PER_S))
#define KEY(key, field, k, ...) { .name = key, .kind = k, .offset = offsetof(struct manifest, field), ##__VA_ARGS__ }
#define FARMEM_KEY(key, field, k, ...) { .name = key, .kind = k, .offset = offsetof(struct manifest_farmem, field), ##__VA_ARGS__ }
static const struct yaml_key farmem_keys[] = {
	FARMEM_KEY("mode", mode, YAML_ENUM, .names = farmem_names),
	FARMEM_KEY("segments", segments, YAML_BOOL),
	FARMEM_KEY("prefetch", prefetch, YAML_BOOL),
	FARMEM_KEY("quantile", quantile, YAML_DOUBLE),
	FARMEM_KEY("min_idle", min_idle_ns, YAML_DURATION, .min = 0, .max = DAY_NS),
	FARMEM_KEY("rate", rate, YAML_DOUBLE),
	FARMEM_KEY("wake_share", wake_share, YAML_DOUBLE),
	FARMEM_KEY("prewarm_share", prewarm_share, YAML_DOUBLE),
	FARMEM_KEY("floor", floor_bytes, YAML_BYTES, .min = 0, .max = INT64_MAX),
	FARMEM_KEY("rollback", rollback_ns, YAML_DURATION, .min = 0, .max = DAY_NS),
	{ 0 },
};

static const struct yaml_key manifest_keys[] = {
	KEY("name", name, YAML_STR, .required = 1),
	KEY("command", command, YAML_STRV, .required = 1),
	KEY("directory", directory, YAML_STR),
	KEY("contract", contract, YAML_ENUM, .names = contract_names),
	KEY("handler", handler, YAML_STR),
	KEY("env", env, YAML_ENV),
	KEY("mounts", mounts, YAML_STRV),
	KEY("user", user, YAML_STR),
	KEY("type", type, YAML_STR),
	KEY("slot", slot, YAML_BOOL),
	KEY("park", park, YAML_ENUM, .names = park_names),
	KEY("network", network, YAML_ENUM, .names = network_names),
	KEY("port", port, YAML_INT, .min = 1, .max = 65535),
	KEY("concurrency", concurrency, YAML_INT, .min = 1, .max = 4096),
	KEY("zygote", zygote, YAML_BOOL),
	KEY("worker_idle", worker_idle_ns, YAML_DURATION, .min = 1000000, .max = DAY_NS),
	KEY("min_instances", min_instances, YAML_INT, .min = 0, .max = 1000),
	KEY("max_instances", max_instances, YAML_INT, .min = 1, .max = 1000),
	KEY("queue", queue_limit, YAML_INT, .min = 1, .max = 1000000),
	KEY("memory", memory_bytes, YAML_BYTES, .min = 4 << 20, .max = INT64_MAX),
	KEY("tmp", tmp_bytes, YAML_BYTES, .min = 4096, .max = INT64_MAX),
	KEY("cpus", cpus, YAML_DOUBLE, .min = 0, .max = 4096),
	KEY("pids", pids, YAML_INT, .min = 2, .max = 1000000),
	KEY("nofile", nofile, YAML_INT, .min = 16, .max = 1048576),
	KEY("timeout", timeout_ns, YAML_DURATION, .min = 1000000, .max = DAY_NS),
	KEY("init_timeout", init_timeout_ns, YAML_DURATION, .min = 1000000, .max = DAY_NS),
	KEY("queue_timeout", queue_timeout_ns, YAML_DURATION, .min = 1000000, .max = DAY_NS),
	KEY("stop_timeout", stop_timeout_ns, YAML_DURATION, .min = 0, .max = DAY_NS),
	KEY("keep_hot", keep_hot_ns, YAML_DURATION, .min = 0, .max = 365 * DAY_NS / 10),
	KEY("keep_warm", keep_warm_ns, YAML_DURATION, .min = 0, .max = 365 * DAY_NS / 10),
	KEY("park_early", park_early, YAML_BOOL),
	KEY("farmem", farmem, YAML_MAP, .sub = farmem_keys),
	{ 0 },
};

static void manifest_defaults(struct manifest *m)
{
	struct farmem_knobs knobs;

	farmem_knobs_default(&knobs);
	*m = (struct manifest){
		.contract = CONTRACT_LAMBDA,
		.park = PARK_STATE,
		.network = NET_PRIVATE,
		.concurrency = 1,
		.worker_idle_ns = 10 * NS_PER_S,
		.max_instances = 8,
		.port = 8080,
		.pids = 512,
		.nofile = 1024,
		.queue_limit = 0,
		.slot = true,
		.memory_bytes = 512ull << 20,
		.tmp_bytes = 512ull << 20,
		.timeout_ns = 30 * NS_PER_S,
		.init_timeout_ns = 60 * NS_PER_S,
		.queue_timeout_ns = 60 * NS_PER_S,
		.stop_timeout_ns = 2 * NS_PER_S,
		.keep_hot_ns = 60 * NS_PER_S,
		.keep_warm_ns = 0,
		.farmem = {
			.mode = FARMEM_AUTO,
			.segments = knobs.segments,
			.prefetch = knobs.prefetch,
			.quantile = knobs.reuse_quantile,
			.rate = knobs.offload_per_s,
			.wake_share = knobs.wake_share,
			.prewarm_share = knobs.prewarm_share,
			.min_idle_ns = knobs.semiwarm_min_ns,
			.floor_bytes = knobs.floor_bytes,
			.rollback_ns = knobs.rollback_ns,
		},
	};
}

/* a name is a path component, a cgroup, a metric label and part of a URL */
static bool name_ok(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > NODE_NAME_LEN - 1 || !isalnum((unsigned char)name[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_')
			return false;
	return true;
}

static bool in_path(const char *program)
{
	static const char *const dirs[] = { "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin" };
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dirs[i], program);
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

static int check_program(const struct manifest *m, const char *file, struct hearth_err *err)
{
	const char *program = m->command[0];
	char path[PATH_MAX];
	struct stat st;

	if (!strchr(program, '/')) {
		if (in_path(program))
			return 0;
		return err_set(err, -ENOENT, "%s: command: no program \"%s\" in the standard PATH; install it, or give its path", file, program);
	}
	if (snprintf(path, sizeof(path), "%s%s%s", program[0] == '/' ? "" : m->directory, program[0] == '/' ? "" : "/", program) >= (int)sizeof(path))
		return err_set(err, -EINVAL, "%s: command: path too long", file);
	if (stat(path, &st) < 0)
		return err_set(err, -ENOENT, "%s: command: no program %s: %s", file, path, strerror(errno));
	if (!S_ISREG(st.st_mode) || access(path, X_OK) < 0)
		return err_set(err, -EINVAL, "%s: command: %s is not an executable file; chmod +x it, or start it through its interpreter", file, path);
	return 0;
}

static int make_directory_absolute(struct manifest *m, const char *file, const char *base_dir, struct hearth_err *err)
{
	char joined[PATH_MAX], real[PATH_MAX];
	const char *dir = m->directory ? m->directory : ".";
	struct stat st;

	if (dir[0] == '/')
		snprintf(joined, sizeof(joined), "%s", dir);
	else
		snprintf(joined, sizeof(joined), "%s/%s", base_dir, dir);
	if (!realpath(joined, real) || stat(real, &st) < 0)
		return err_set(err, -ENOENT, "%s: directory: %s: %s", file, joined, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -EINVAL, "%s: directory: %s is not a folder", file, real);
	if (!strcmp(real, "/"))
		return err_set(err, -EINVAL, "%s: directory: / would show the function the whole machine; name the folder it needs", file);
	free(m->directory);
	m->directory = strdup(real);
	return m->directory ? 0 : err_set(err, -ENOMEM, "%s: out of memory", file);
}

static int manifest_check(struct manifest *m, const char *file, const char *base_dir, struct hearth_err *err)
{
	int r;

	if (!name_ok(m->name))
		return err_set(err, -EINVAL, "%s: name: \"%s\" is not a function name; use 1 to %d letters, digits, - and _, beginning with a letter or digit",
			       file, m->name, NODE_NAME_LEN - 1);
	if (m->type && !name_ok(m->type))
		return err_set(err, -EINVAL, "%s: type: \"%s\" is no name of a type; use 1 to %d letters, digits, - and _, beginning with a letter or digit", file,
			       m->type, NODE_NAME_LEN - 1);
	if (!m->command[0] || !m->command[0][0])
		return err_set(err, -EINVAL, "%s: command: is empty; give the program and its arguments", file);
	if (m->min_instances > m->max_instances)
		return err_set(err, -EINVAL, "%s: min_instances (%lld) is greater than max_instances (%lld)", file,
			       (long long)m->min_instances, (long long)m->max_instances);
	if (m->contract == CONTRACT_LAMBDA && m->concurrency != 1 && !m->zygote)
		return err_set(err, -EINVAL, "%s: concurrency: a lambda function takes one invocation at a time; use max_instances, zygote: true, or contract http", file);
	if (m->zygote && m->contract != CONTRACT_LAMBDA)
		return err_set(err, -EINVAL, "%s: zygote: is of the lambda contract, where a runtime forks workers; a function of contract %s takes concurrent calls itself", file,
			       contract_names[m->contract]);
	if (m->zygote && m->concurrency > ZYGOTE_WORKERS_MAX)
		return err_set(err, -EINVAL, "%s: concurrency: %lld workers are too many for one zygote; at most %d, and max_instances for more", file, (long long)m->concurrency,
			       ZYGOTE_WORKERS_MAX);
	if (m->zygote && m->pids < m->concurrency + ZYGOTE_PIDS)
		return err_set(err, -EINVAL, "%s: pids: %lld is too few for %lld workers, each a process: at least %lld", file, (long long)m->pids, (long long)m->concurrency,
			       (long long)m->concurrency + ZYGOTE_PIDS);
	if (m->zygote && m->nofile < m->concurrency + ZYGOTE_FILES)
		return err_set(err, -EINVAL, "%s: nofile: %lld is too few for the connections of %lld workers: at least %lld", file, (long long)m->nofile, (long long)m->concurrency,
			       (long long)m->concurrency + ZYGOTE_FILES);
	if (m->network == NET_HOST && m->park == PARK_SNAPSHOT)
		return err_set(err, -EINVAL, "%s: park: snapshot needs network: private (clones would share ports)", file);
	if (m->park_early && m->park != PARK_STATE)
		return err_set(err, -EINVAL, "%s: park_early is about instances that are parked; with park: %s none is", file, park_names[m->park]);
	if (!(m->farmem.quantile >= 0.5 && m->farmem.quantile <= 1))
		return err_set(err, -EINVAL, "%s: farmem: quantile is %g; it is a share of reuses, 0.5 to 1", file, m->farmem.quantile);
	if (!(m->farmem.rate >= 0.0001 && m->farmem.rate <= 1))
		return err_set(err, -EINVAL, "%s: farmem: rate is %g; it is the share of its memory that an idle instance gives up a second, 0.0001 to 1", file, m->farmem.rate);
	if (!(m->farmem.wake_share >= 0 && m->farmem.wake_share <= 1))
		return err_set(err, -EINVAL, "%s: farmem: wake_share is %g; it is the share of a call that nobody notices if it waits for its memory, 0 to 1", file, m->farmem.wake_share);
	if (!(m->farmem.prewarm_share >= 0 && m->farmem.prewarm_share <= 1))
		return err_set(err, -EINVAL, "%s: farmem: prewarm_share is %g; it is the share of calls that have to come in a rhythm for memory to come back ahead of them, 0 (never) to 1", file, m->farmem.prewarm_share);
	for (char **p = m->mounts; p && *p; p++)
		if ((*p)[0] != '/')
			return err_set(err, -EINVAL, "%s: mounts: \"%s\" is not an absolute path", file, *p);
	r = make_directory_absolute(m, file, base_dir, err);
	if (r < 0)
		return r;
	return check_program(m, file, err);
}

/* overrides: the same keys, none of them required */
static int manifest_set(struct manifest *m, const char *text, struct hearth_err *err)
{
	struct yaml_key keys[sizeof(manifest_keys) / sizeof(manifest_keys[0])];

	memcpy(keys, manifest_keys, sizeof(keys));
	for (struct yaml_key *k = keys; k->name; k++)
		k->required = 0;
	return yaml_load(text, strlen(text), "--set", keys, m, err);
}

int manifest_parse(const char *text, size_t len, const char *file, const char *base_dir, const char *set, struct manifest *ret, struct hearth_err *err)
{
	struct manifest m;
	int r;

	manifest_defaults(&m);
	r = yaml_load(text, len, file, manifest_keys, &m, err);
	if (r == 0 && set && *set)
		r = manifest_set(&m, set, err);
	if (r == 0)
		r = manifest_check(&m, file, base_dir, err);
	if (r < 0) {
		manifest_done(&m);
		return r;
	}
	*ret = m;
	return 0;
}

void manifest_done(struct manifest *m)
{
	yaml_unload(manifest_keys, m);
}

static json_t *strv_json(char **v)
{
	json_t *a = json_array();

	for (; v && *v; v++)
		json_array_append_new(a, json_string(*v));
	return a;
}

static json_t *fields_json(const struct yaml_key *keys, const void *of);

static json_t *field_json(const struct yaml_key *k, const void *of)
{
	const void *at = (const char *)of + k->offset;
	const char *s;

	switch (k->kind) {
	case YAML_STR:
		s = *(char *const *)at;
		return s ? json_string(s) : json_null();
	case YAML_INT:
		return json_integer(*(const int64_t *)at);
	case YAML_DURATION:
	case YAML_BYTES:
		return json_integer((json_int_t) * (const uint64_t *)at);
	case YAML_BOOL:
		return json_boolean(*(const bool *)at);
	case YAML_ENUM:
		return json_string(k->names[*(const int *)at]);
	case YAML_DOUBLE:
		return json_real(*(const double *)at);
	case YAML_STRV:
	case YAML_ENV:
		return strv_json(*(char ***)at);
	case YAML_MAP:
		return fields_json(k->sub, at);
	case YAML_MAPS:
		break;                  /* no key of a manifest is one */
	}
	return NULL;
}

static json_t *fields_json(const struct yaml_key *keys, const void *of)
{
	json_t *o = json_object();

	for (const struct yaml_key *k = keys; k->name; k++)
		json_object_set_new(o, k->name, field_json(k, of));
	return o;
}

json_t *manifest_to_json(const struct manifest *m)
{
	return fields_json(manifest_keys, m);
}

static char **strv_from_json(const json_t *a)
{
	size_t n = json_array_size(a);
	char **v = calloc(n + 1, sizeof(*v));

	for (size_t i = 0; v && i < n; i++) {
		const char *s = json_string_value(json_array_get(a, i));

		v[i] = s ? strdup(s) : NULL;
		if (!v[i])
			break;
	}
	return v;
}

static const char *fields_from_json(const struct yaml_key *keys, const json_t *json, void *of);

static int field_from_json(const struct yaml_key *k, const json_t *v, void *of)
{
	void *at = (char *)of + k->offset;

	switch (k->kind) {
	case YAML_STR:
		*(char **)at = json_is_string(v) ? strdup(json_string_value(v)) : NULL;
		return 0;
	case YAML_INT:
		*(int64_t *)at = json_integer_value(v);
		return json_is_integer(v) ? 0 : -EINVAL;
	case YAML_DURATION:
	case YAML_BYTES:
		*(uint64_t *)at = (uint64_t)json_integer_value(v);
		return json_is_integer(v) ? 0 : -EINVAL;
	case YAML_BOOL:
		*(bool *)at = json_is_true(v);
		return json_is_boolean(v) ? 0 : -EINVAL;
	case YAML_DOUBLE:
		*(double *)at = json_number_value(v);
		return json_is_number(v) ? 0 : -EINVAL;
	case YAML_ENUM:
		for (int i = 0; json_is_string(v) && k->names[i]; i++)
			if (!strcmp(k->names[i], json_string_value(v))) {
				*(int *)at = i;
				return 0;
			}
		return -EINVAL;
	case YAML_STRV:
	case YAML_ENV:
		*(char ***)at = strv_from_json(v);
		return *(char ***)at ? 0 : -ENOMEM;
	case YAML_MAP:
		return json_is_object(v) && !fields_from_json(k->sub, v, at) ? 0 : -EINVAL;
	case YAML_MAPS:
		break;
	}
	return -EINVAL;
}

/* Return: NULL, or the key that is missing or wrong */
static const char *fields_from_json(const struct yaml_key *keys, const json_t *json, void *of)
{
	for (const struct yaml_key *k = keys; k->name; k++) {
		const json_t *v = json_object_get(json, k->name);

		if ((!v && k->required) || (v && field_from_json(k, v, of) < 0))
			return k->name;
	}
	return NULL;
}

int manifest_from_json(const json_t *json, struct manifest *ret, struct hearth_err *err)
{
	struct manifest m;
	const char *wrong;

	manifest_defaults(&m);
	wrong = fields_from_json(manifest_keys, json, &m);
	if (wrong) {
		manifest_done(&m);
		return err_set(err, -EINVAL, "stored manifest: %s is missing or of the wrong kind; deploy the function again", wrong);
	}
	if (!m.name || !m.command || !m.command[0] || !m.directory) {
		manifest_done(&m);
		return err_set(err, -EINVAL, "stored manifest: name, command or directory is missing; deploy the function again");
	}
	*ret = m;
	return 0;
}

bool manifest_equal(const struct manifest *a, const struct manifest *b)
{
	json_t *ja = manifest_to_json(a), *jb = manifest_to_json(b);
	bool equal = json_equal(ja, jb);

	json_decref(ja);
	json_decref(jb);
	return equal;
}
