/* SPDX-License-Identifier: Apache-2.0 */
#include "spec.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, INT, REAL, LIST, OBJECT };

#define FIELD(name, kind) { #name, kind, offsetof(struct spec, name) }
static const struct {
	const char *key;
	enum kind kind;
	size_t at;
} fields[] = {
	FIELD(job, TEXT), FIELD(id, TEXT), FIELD(function, TEXT), FIELD(root, TEXT), FIELD(init, TEXT), FIELD(directory, TEXT), FIELD(contract, TEXT),
	FIELD(user, TEXT), FIELD(isolation, TEXT), FIELD(network, TEXT), FIELD(cgroup, TEXT), FIELD(suffix, TEXT), FIELD(command, LIST), FIELD(env, LIST),
	FIELD(mounts, LIST), FIELD(port, INT), FIELD(concurrency, INT), FIELD(zygote, INT), FIELD(worker_idle_ms, INT), FIELD(pids_max, INT), FIELD(nofile, INT), FIELD(memory_max_bytes, INT),
	FIELD(tmp_max_bytes, INT), FIELD(cpu_max, REAL), FIELD(image, TEXT), FIELD(criu, TEXT), FIELD(work, TEXT), FIELD(lazy, TEXT), FIELD(pid, INT),
	FIELD(starttime, INT), FIELD(lazy_min_bytes, INT), FIELD(early, INT), FIELD(meta, OBJECT),
};

static int take_list(json_t *v, const char ***ret)
{
	const char **list;
	json_t *item;
	size_t k;

	if (!json_is_array(v))
		return -EINVAL;
	list = calloc(json_array_size(v) + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	json_array_foreach(v, k, item) {
		list[k] = json_string_value(item);
		if (!list[k]) {
			free(list);
			return -EINVAL;
		}
	}
	free(*ret);
	*ret = list;
	return 0;
}

static int take(struct spec *s, enum kind kind, size_t at, json_t *v)
{
	void *field = (char *)s + at;

	if (json_is_null(v))
		return 0;
	switch (kind) {
	case TEXT:
		*(const char **)field = json_string_value(v);
		return json_is_string(v) ? 0 : -EINVAL;
	case INT:
		*(int64_t *)field = json_integer_value(v);
		return json_is_integer(v) && json_integer_value(v) >= 0 ? 0 : -EINVAL;
	case REAL:
		*(double *)field = json_number_value(v);
		return json_is_number(v) && json_number_value(v) >= 0 ? 0 : -EINVAL;
	case LIST:
		return take_list(v, field);
	case OBJECT:
		*(json_t **)field = v;
		return json_is_object(v) ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static int check(const struct spec *s, struct hearth_err *err)
{
	if (!s->job)
		return err_set(err, -EINVAL, "the job says no \"job\"; see hearth-box(8)");
	if (s->isolation && strcmp(s->isolation, "full") && strcmp(s->isolation, "none"))
		return err_set(err, -EINVAL, "\"isolation\" must be full or none, not '%s'", s->isolation);
	if (s->network && strcmp(s->network, "private") && strcmp(s->network, "host"))
		return err_set(err, -EINVAL, "\"network\" must be private or host, not '%s'", s->network);
	if (s->lazy && strcmp(s->lazy, "auto") && strcmp(s->lazy, "always") && strcmp(s->lazy, "never"))
		return err_set(err, -EINVAL, "\"lazy\" must be auto, always or never, not '%s'", s->lazy);
	return 0;
}

int spec_parse(const char *text, size_t len, struct spec *ret, struct hearth_err *err)
{
	struct spec s = { 0 };
	json_error_t why;
	const char *key;
	json_t *v;
	int r = 0;

	s.json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(s.json)) {
		json_decref(s.json);
		return err_set(err, -EINVAL, "the job on standard input is not a JSON object: line %d: %s", why.line, why.text);
	}
	json_object_foreach(s.json, key, v) {
		size_t k = 0;

		while (k < sizeof(fields) / sizeof(fields[0]) && strcmp(fields[k].key, key))
			k++;
		if (k == sizeof(fields) / sizeof(fields[0])) {
			r = err_set(err, -EINVAL, "unknown key \"%s\" in the job; see hearth-box(8)", key);
			break;
		}
		r = take(&s, fields[k].kind, fields[k].at, v);
		if (r < 0) {
			err_set(err, r, "\"%s\" in the job has the wrong type or value", key);
			break;
		}
	}
	if (r == 0)
		r = check(&s, err);
	if (r < 0) {
		spec_done(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void spec_done(struct spec *spec)
{
	free(spec->command);
	free(spec->env);
	free(spec->mounts);
	json_decref(spec->json);
	*spec = (struct spec){ 0 };
}

bool spec_isolated(const struct spec *spec)
{
	return !spec->isolation || !strcmp(spec->isolation, "full");
}

struct cgroup_limits spec_limits(const struct spec *spec)
{
	return (struct cgroup_limits){
		.memory_max_bytes = (uint64_t)spec->memory_max_bytes,
		.cpu_max_cores = spec->cpu_max,
		.pids_max = (uint64_t)spec->pids_max,
	};
}
