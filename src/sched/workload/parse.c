/* SPDX-License-Identifier: Apache-2.0 */
/* Workload files: strict YAML, every error with file:line and what would be right. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/yaml.h"
#include "private.h"

struct parser {
	yaml_document_t doc;
	const char *file;
	struct hearth_err *err;
	struct workload *w;
};

static yaml_node_t *node_of(struct parser *p, int id) { return yaml_document_get_node(&p->doc, id); }

#define complain(p, node, ...) complain_at(p, (node)->start_mark.line + 1, __VA_ARGS__)
static int __attribute__((format(printf, 3, 4))) complain_at(struct parser *p, size_t line, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(p->err, -EINVAL, "%s:%zu: %s", p->file, line, text);
}

/* NULL: no scalar, or one with a NUL in it */
static const char *scalar(const yaml_node_t *n)
{
	const char *text = n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;

	return text && strlen(text) == n->data.scalar.length ? text : NULL;
}

static int take_number(struct parser *p, const yaml_node_t *n, const char *key, double *ret)
{
	const char *text = scalar(n);
	char *end = NULL;
	double v = text ? strtod(text, &end) : 0;

	if (!text || end == text || *end != '\0' || !isfinite(v))
		return complain(p, n, "%s must be a number", key);
	*ret = v;
	return 0;
}

static int take_time(struct parser *p, const yaml_node_t *n, const char *key, double *ret_ns)
{
	const char *text = scalar(n);
	uint64_t ns;

	if (!text || parse_duration(text, &ns) < 0)
		return complain(p, n, "%s must be a time such as 500ns, 1us, 2.5ms or 5s", key);
	*ret_ns = (double)ns;
	return 0;
}

/* One key of a mapping. Return: 0, -errno with message; -ENOENT without one when there is no such key. */
typedef int take_fn(struct parser *p, const char *key, const yaml_node_t *value, void *into);

static int each_key(struct parser *p, const yaml_node_t *map, const char *what, const char *keys, take_fn *take, void *into)
{
	if (map->type != YAML_MAPPING_NODE)
		return complain(p, map, "%s must be a mapping with the keys %s", what, keys);
	for (yaml_node_pair_t *at = map->data.mapping.pairs.start; at < map->data.mapping.pairs.top; at++) {
		const yaml_node_t *k = node_of(p, at->key);
		const char *key = scalar(k);
		int rc;

		if (!key)
			return complain(p, k, "keys must be words");
		for (yaml_node_pair_t *before = map->data.mapping.pairs.start; before < at; before++)
			if (scalar(node_of(p, before->key)) && strcmp(scalar(node_of(p, before->key)), key) == 0)
				return complain(p, k, "%s stands twice", key);
		rc = take(p, key, node_of(p, at->value), into);
		if (rc == -ENOENT)
			return complain(p, k, "%s has no key \"%s\"; there are: %s", what, key, keys);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- types ---- */

#define SAMPLES_BYTES_MAX (64u << 20)

/* service times in ns, one a line */
static int parse_samples(struct parser *p, const yaml_node_t *n, const char *path, char *text, struct workload_type *t)
{
	size_t cap = 0, line = 1;
	double sum = 0;
	char *end;

	for (char *at = text; *at; at = end + (*end != '\0'), line++) {
		double v = strtod(at, &end);

		if (end == at || (*end != '\n' && *end != '\0') || !(v >= 1 && v <= 3600e9))
			return complain(p, n, "%s:%zu: not a service time, a number of ns from 1 to 3.6e12", path, line);
		if (array_grow((void **)&t->samples, &cap, t->samples_n + 1, sizeof(double)) < 0 || !t->samples)
			return err_set(p->err, -ENOMEM, "%s: no memory", path);
		t->samples[t->samples_n++] = v;
		sum += v;
	}
	if (t->samples_n == 0 || t->samples_n > UINT32_MAX)
		return complain(p, n, "%s: no service times in it", path);
	sum /= (double)t->samples_n;
	for (size_t i = 0; i < t->samples_n; i++)
		t->samples[i] /= sum;
	/* a service time that is given too says how long they are on average */
	if (t->mean_ns == 0)
		t->mean_ns = sum;
	return 0;
}

/* A relative path begins at the workload's file. */
static int take_samples(struct parser *p, const yaml_node_t *n, struct workload_type *t)
{
	const char *name = scalar(n), *slash = strrchr(p->file, '/');
	char path[4096], *text;
	size_t len;
	int rc;

	if (!name || name[0] == '\0' || t->samples)
		return complain(p, n, "samples must be the path of one file");
	snprintf(path, sizeof(path), "%.*s%s", name[0] == '/' || !slash ? 0 : (int)(slash - p->file + 1), p->file, name);
	rc = file_read(path, SAMPLES_BYTES_MAX, &text, &len);
	if (rc < 0)
		return complain(p, n, "cannot read the samples %s: %s", path, strerror(-rc));
	rc = strlen(text) == len ? parse_samples(p, n, path, text, t) : complain(p, n, "%s: not a text", path);
	free(text);
	return rc;
}

/* "service" of a bimodal type is its lower time; the table wants the mean, and the higher time as a multiple of it */
static int finish_type(struct parser *p, const yaml_node_t *item, struct workload_type *t)
{
	double mean;

	if (t->name[0] == '\0' || t->mean_ns == 0)
		return complain(p, item, "a type needs a name and a service time");
	if ((t->high_ratio > 0) != (t->high > 0))
		return complain(p, item, "high and high_ratio go together");
	if (t->high_ratio > 0 && t->high_ratio < 1) {
		mean = t->mean_ns * (1 - t->high_ratio) + t->high * t->high_ratio;
		t->high /= mean;
		t->mean_ns = mean;
	}
	return 0;
}

static int take_type_key(struct parser *p, const char *key, const yaml_node_t *value, void *into)
{
	struct workload_type *t = into;

	if (strcmp(key, "name") == 0) {
		const char *text = scalar(value);

		if (!text || text[0] == '\0' || strlen(text) >= sizeof(t->name))
			return complain(p, value, "name must have 1 to %d characters", SCHED_NAME_MAX - 1);
		strcpy(t->name, text);
		return 0;
	}
	if (strcmp(key, "service") == 0)
		return take_time(p, value, key, &t->mean_ns);
	if (strcmp(key, "ratio") == 0)
		return take_number(p, value, key, &t->ratio);
	if (strcmp(key, "scv") == 0)
		return take_number(p, value, key, &t->scv);
	if (strcmp(key, "high") == 0)
		return take_time(p, value, key, &t->high);
	if (strcmp(key, "high_ratio") == 0)
		return take_number(p, value, key, &t->high_ratio);
	if (strcmp(key, "samples") == 0)
		return take_samples(p, value, t);
	return -ENOENT;
}

static int take_types(struct parser *p, const yaml_node_t *list)
{
	size_t n = list->type == YAML_SEQUENCE_NODE ? (size_t)(list->data.sequence.items.top - list->data.sequence.items.start) : 0;

	if (n == 0 || n > SCHED_TYPES_MAX)
		return complain(p, list, "types must be a list of 1 to %d types", SCHED_TYPES_MAX);
	p->w->types = calloc(n, sizeof(*p->w->types));
	if (!p->w->types)
		return err_set(p->err, -ENOMEM, "%s: no memory", p->file);
	for (size_t i = 0; i < n; i++) {
		const yaml_node_t *item = node_of(p, list->data.sequence.items.start[i]);
		struct workload_type *t = &p->w->types[i];
		int rc;

		p->w->types_n++;        /* its samples are freed with it */
		rc = each_key(p, item, "a type", "name, service, ratio, scv, high, high_ratio, samples", take_type_key, t);
		if (rc == 0)
			rc = finish_type(p, item, t);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- phases ---- */

struct per_type { double *values; bool time; };

static int take_per_type(struct parser *p, const char *key, const yaml_node_t *value, void *into)
{
	struct per_type *per = into;
	int t = workload_find(p->w, key);

	if (t < 0)
		return complain(p, value, "no type is called %s", key);
	return per->time ? take_time(p, value, key, &per->values[t]) : take_number(p, value, key, &per->values[t]);
}

static int take_phase_key(struct parser *p, const char *key, const yaml_node_t *value, void *into)
{
	struct workload_phase *ph = into;

	if (strcmp(key, "duration") == 0) {
		double ns;
		int rc = take_time(p, value, key, &ns);

		if (rc == 0)
			ph->duration_ns = (uint64_t)ns;
		return rc;
	}
	if (strcmp(key, "rate") == 0) {
		int rc = take_number(p, value, key, &ph->rate_hz);

		return rc == 0 && !(ph->rate_hz > 0) ? complain(p, value, "rate must be more than 0 requests a second") : rc;
	}
	if (strcmp(key, "load") == 0)
		return take_number(p, value, key, &ph->scale);
	if (strcmp(key, "ratio") == 0) {
		/* a phase that names ratios names all there are: what it leaves out does not come */
		memset(ph->ratio, 0, p->w->types_n * sizeof(double));
		return each_key(p, value, "ratio", "the names of the types", take_per_type, &(struct per_type){ ph->ratio, false });
	}
	if (strcmp(key, "service") == 0)
		return each_key(p, value, "service", "the names of the types", take_per_type, &(struct per_type){ ph->mean_ns, true });
	return -ENOENT;
}

static int phase_begin(struct parser *p, struct workload_phase *ph)
{
	*ph = (struct workload_phase){ .scale = 1, .ratio = calloc(p->w->types_n, sizeof(double)), .mean_ns = calloc(p->w->types_n, sizeof(double)) };
	p->w->phases_n++;
	if (!ph->ratio || !ph->mean_ns)
		return err_set(p->err, -ENOMEM, "%s: no memory", p->file);
	for (uint32_t t = 0; t < p->w->types_n; t++) {
		ph->ratio[t] = p->w->types[t].ratio;
		ph->mean_ns[t] = p->w->types[t].mean_ns;
	}
	return 0;
}

static int take_phases(struct parser *p, const yaml_node_t *list)
{
	size_t n = !list ? 1 : list->type == YAML_SEQUENCE_NODE ? (size_t)(list->data.sequence.items.top - list->data.sequence.items.start) : 0;

	if (n == 0 || n > WORKLOAD_PHASES_MAX)
		return complain(p, list, "phases must be a list of 1 to %d phases", WORKLOAD_PHASES_MAX);
	p->w->phases = calloc(n, sizeof(*p->w->phases));
	if (!p->w->phases)
		return err_set(p->err, -ENOMEM, "%s: no memory", p->file);
	for (size_t i = 0; i < n; i++) {
		int rc = phase_begin(p, &p->w->phases[i]);

		if (rc == 0 && list)
			rc = each_key(p, node_of(p, list->data.sequence.items.start[i]), "a phase", "duration, rate, load, ratio, service", take_phase_key, &p->w->phases[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- the file ---- */

struct top { const yaml_node_t *types, *phases; };

static int take_top_key(struct parser *p, const char *key, const yaml_node_t *value, void *into)
{
	struct top *top = into;

	if (strcmp(key, "types") == 0)
		top->types = value;
	else if (strcmp(key, "phases") == 0)
		top->phases = value;
	else
		return -ENOENT;
	return 0;
}

static int parse_document(struct parser *p)
{
	yaml_node_t *root = yaml_document_get_root_node(&p->doc);
	struct top top = { 0 };
	int rc = root ? each_key(p, root, "a workload", "types, phases", take_top_key, &top) : err_set(p->err, -EINVAL, "%s: the file is empty", p->file);

	if (rc == 0 && !top.types)
		rc = complain(p, root, "types are missing");
	if (rc == 0)
		rc = take_types(p, top.types);
	if (rc == 0)
		rc = take_phases(p, top.phases);
	if (rc == 0)
		rc = workload_check(p->w, p->err);
	return rc;
}

int workload_parse(const char *text, size_t len, const char *file, struct workload **ret, struct hearth_err *err)
{
	struct parser p = { .file = file, .err = err, .w = calloc(1, sizeof(struct workload)) };
	yaml_parser_t yaml;
	int rc;

	if (!p.w || !yaml_parser_initialize(&yaml)) {
		free(p.w);
		return err_set(err, -ENOMEM, "%s: no memory", file);
	}
	snprintf(p.w->name, sizeof(p.w->name), "%s", file);
	yaml_parser_set_input_string(&yaml, (const unsigned char *)text, len);
	if (yaml_parser_load(&yaml, &p.doc)) {
		rc = parse_document(&p);
		yaml_document_delete(&p.doc);
	} else {
		rc = err_set(err, -EINVAL, "%s:%zu: %s", file, yaml.problem_mark.line + 1, yaml.problem ? yaml.problem : "no YAML");
	}
	yaml_parser_delete(&yaml);
	if (rc < 0) {
		workload_free(p.w);
		return rc;
	}
	*ret = p.w;
	return 0;
}
