/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

static int cmp_weight(const void *a, const void *b)
{
	const struct target *x = a, *y = b;

	if (x->weight != y->weight)
		return x->weight < y->weight ? -1 : 1;
	return strcmp(x->name, y->name);
}

static int add_target(struct targets *t, const char *name, size_t len, double weight, struct hearth_err *err)
{
	struct target *v;

	if (len == 0)
		return err_set(err, -EINVAL, "an empty function name");
	for (size_t i = 0; i < t->n; i++)
		if (strlen(t->v[i].name) == len && memcmp(t->v[i].name, name, len) == 0)
			return err_set(err, -EINVAL, "function %.*s is named twice", (int)len, name);
	v = reallocarray(t->v, t->n + 1, sizeof(*v));
	if (!v)
		return err_set(err, -ENOMEM, "no memory");
	t->v = v;
	v[t->n] = (struct target){ .name = strndup(name, len), .weight = weight, .concurrency = 1 };
	if (!v[t->n].name)
		return err_set(err, -ENOMEM, "no memory");
	t->n++;
	return 0;
}

int targets_from_list(const char *list, struct targets *ret, struct hearth_err *err)
{
	struct targets t = { 0 };
	int rc = 0;

	for (const char *at = list;; at++) {
		size_t len = strcspn(at, ",");

		rc = add_target(&t, at, len, (double)t.n, err);
		at += len;
		if (rc < 0 || *at == '\0')
			break;
	}
	if (rc < 0)
		targets_done(&t);
	else
		*ret = t;
	return rc;
}

int targets_from_file(const char *path, struct targets *ret, struct hearth_err *err)
{
	struct targets t = { 0 };
	json_error_t why;
	json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &why), *weight;
	const char *name;
	int rc = 0;

	if (!root)
		return err_set(err, -EINVAL, "%s:%d: %s", path, why.line, why.text);
	if (!json_is_object(root) || json_object_size(root) == 0)
		rc = err_set(err, -EINVAL, "%s: must be an object {\"function\": weight, ...} with at least one function", path);
	json_object_foreach(root, name, weight) {
		if (rc == 0 && !json_is_number(weight))
			rc = err_set(err, -EINVAL, "%s: the weight of %s is no number", path, name);
		if (rc == 0)
			rc = add_target(&t, name, strlen(name), json_number_value(weight), err);
	}
	json_decref(root);
	if (rc < 0) {
		targets_done(&t);
		return rc;
	}
	qsort(t.v, t.n, sizeof(*t.v), cmp_weight);
	*ret = t;
	return 0;
}

int targets_ask(struct targets *t, const json_t *ps, struct hearth_err *err)
{
	const json_t *functions = json_object_get(ps, "functions");

	if (!json_is_array(functions))
		return err_set(err, -EPROTO, "the node's answer to ps has no functions");
	for (size_t i = 0; i < t->n; i++) {
		const json_t *f = NULL, *c;
		size_t at;

		for (at = 0; at < json_array_size(functions); at++) {
			const char *name = json_string_value(json_object_get(json_array_get(functions, at), "name"));

			if (name && strcmp(name, t->v[i].name) == 0)
				f = json_array_get(functions, at);
		}
		if (!f)
			return err_set(err, -ENOENT, "function %s is not deployed (see: hearth ps)", t->v[i].name);
		c = json_object_get(f, "contract");
		if (!json_is_string(c))
			return err_set(err, -EPROTO, "the node does not say which contract function %s has", t->v[i].name);
		t->v[i].http = strcmp(json_string_value(c), "http") == 0;
		c = json_object_get(f, "concurrency");
		if (json_is_integer(c) && json_integer_value(c) > 1 && json_integer_value(c) <= 4096)
			t->v[i].concurrency = (unsigned)json_integer_value(c);
	}
	return 0;
}

void targets_done(struct targets *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->v[i].name);
	free(t->v);
	*t = (struct targets){ 0 };
}

struct ranked { double mean_ns; uint32_t func; };

static int cmp_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->mean_ns != y->mean_ns)
		return x->mean_ns < y->mean_ns ? -1 : 1;
	return x->func < y->func ? -1 : x->func > y->func;
}

int targets_map(const struct targets *t, const struct trace *trace, uint32_t **ret)
{
	size_t n = trace->n_funcs;
	struct ranked *rank = calloc(n, sizeof(*rank));
	uint32_t *map = calloc(n, sizeof(*map));

	if (!rank || !map) {
		free(rank);
		free(map);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		rank[i] = (struct ranked){ (double)trace->funcs[i].total_ns / trace->funcs[i].calls, (uint32_t)i };
	qsort(rank, n, sizeof(*rank), cmp_ranked);
	/* With fewer functions than targets, spread them from the lightest to the heaviest target. */
	for (size_t i = 0; i < n; i++)
		map[rank[i].func] = (uint32_t)(n >= t->n ? i * t->n / n : n == 1 ? t->n - 1 : i * (t->n - 1) / (n - 1));
	free(rank);
	*ret = map;
	return 0;
}
