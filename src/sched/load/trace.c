/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "sched/load.h"

#define HEADER "t_ns,type,service_ns"
#define TRACE_BYTES_MAX (4ull << 30)
#define TIME_MAX_NS (7 * 86400 * 1000000000ull)

struct load_trace *load_trace_free(struct load_trace *t)
{
	if (!t)
		return NULL;
	free(t->items);
	free(t->numbers);
	workload_free(t->workload);
	free(t);
	return NULL;
}

static int by_time(const void *a, const void *b)
{
	const struct load_trace_item *x = a, *y = b;

	return x->at_ns < y->at_ns ? -1 : x->at_ns > y->at_ns;
}

static int make_workload(struct load_trace *t, const char *what, const char *const *names, size_t names_n, struct hearth_err *err)
{
	struct workload_type *types = calloc(names_n, sizeof(*types));
	int rc;

	t->numbers = calloc(names_n, sizeof(*t->numbers));
	if (!types || !t->numbers) {
		free(types);
		return err_set(err, -ENOMEM, "%s: no memory", what);
	}
	for (size_t i = 0; i < t->n; i++) {
		types[t->items[i].type].ratio += 1;
		types[t->items[i].type].mean_ns += (double)t->items[i].service_ns;
	}
	for (size_t i = 0; i < names_n; i++) {
		char *end;
		unsigned long number = strtoul(names[i], &end, 10);

		t->numbers[i] = (uint16_t)(names[i][0] >= '0' && names[i][0] <= '9' && *end == '\0' && number <= UINT16_MAX ? number : i);
		types[i].mean_ns = types[i].ratio > 0 ? types[i].mean_ns / types[i].ratio : 1;
		if (types[i].mean_ns < 1)
			types[i].mean_ns = 1;
		types[i].ratio /= (double)t->n;
		snprintf(types[i].name, sizeof(types[i].name), "%s", names[i]);
	}
	rc = workload_new(what, types, (uint32_t)names_n, &t->workload, err);
	free(types);
	return rc;
}

int load_trace_new(const char *what, const char *const *names, size_t names_n, struct load_trace_item *items, size_t n, struct load_trace **ret,
	struct hearth_err *err)
{
	struct load_trace *t = calloc(1, sizeof(*t));
	int rc = 0;

	if (!t) {
		free(items);
		return err_set(err, -ENOMEM, "%s: no memory", what);
	}
	t->items = items;
	t->n = n;
	if (!items || n == 0 || names_n == 0 || names_n > SCHED_TYPES_MAX) {
		rc = -EINVAL;
		if (names_n > SCHED_TYPES_MAX)
			err_set(err, rc, "%s: %zu types; there may be %d", what, names_n, SCHED_TYPES_MAX);
		else
			err_set(err, rc, "%s: no requests in it", what);
	} else {
		qsort(items, n, sizeof(*items), by_time);
		for (size_t i = n; i-- > 0; )
			items[i].at_ns -= items[0].at_ns;
		rc = make_workload(t, what, names, names_n, err);
	}
	if (rc < 0) {
		load_trace_free(t);
		return rc;
	}
	*ret = t;
	return 0;
}

void load_trace_dilate(struct load_trace *t, double factor)
{
	for (size_t i = 0; i < t->n; i++) {
		t->items[i].at_ns = (uint64_t)((double)t->items[i].at_ns * factor);
		t->items[i].service_ns = (uint64_t)((double)t->items[i].service_ns * factor);
	}
	workload_dilate(t->workload, factor);
}

/* ---- the file ---- */

struct parser {
	const char *file;
	size_t line;
	struct hearth_err *err;
	struct load_trace_item *items;
	size_t n, cap;
	char names[SCHED_TYPES_MAX][SCHED_NAME_MAX];
	size_t names_n;
};

/* A whole number up to the given character. Return: what follows that, or NULL. */
static const char *take_number(const char *at, const char *end, char stop, uint64_t *ret)
{
	uint64_t v = 0;

	if (at == end || *at < '0' || *at > '9')
		return NULL;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*at - '0'), &v))
			return NULL;
	if (stop ? at == end || *at != stop : at != end)
		return NULL;
	*ret = v;
	return stop ? at + 1 : at;
}

static int find_name(struct parser *p, const char *name, size_t len, uint32_t *ret)
{
	for (size_t i = p->names_n; i-- > 0; ) {
		if (strlen(p->names[i]) == len && memcmp(p->names[i], name, len) == 0) {
			*ret = (uint32_t)i;
			return 0;
		}
	}
	if (len == 0 || len >= SCHED_NAME_MAX || memchr(name, '\0', len))
		return err_set(p->err, -EINVAL, "%s:%zu: the name of the type must have 1 to %d characters", p->file, p->line, SCHED_NAME_MAX - 1);
	if (p->names_n == SCHED_TYPES_MAX)
		return err_set(p->err, -EINVAL, "%s:%zu: more than %d types", p->file, p->line, SCHED_TYPES_MAX);
	memcpy(p->names[p->names_n], name, len);
	p->names[p->names_n][len] = '\0';
	*ret = (uint32_t)p->names_n++;
	return 0;
}

static int take_line(struct parser *p, const char *at, const char *end)
{
	struct load_trace_item item;
	const char *comma;
	int rc;

	at = take_number(at, end, ',', &item.at_ns);
	comma = at ? memchr(at, ',', (size_t)(end - at)) : NULL;
	if (!comma || !take_number(comma + 1, end, '\0', &item.service_ns) || item.at_ns > UINT64_MAX / 2 || item.service_ns > TIME_MAX_NS)
		return err_set(p->err, -EINVAL, "%s:%zu: a line must be like 1500,short,1000: whole ns from the start, type, service time in whole ns", p->file, p->line);
	rc = find_name(p, at, (size_t)(comma - at), &item.type);
	if (rc < 0)
		return rc;
	if (array_grow((void **)&p->items, &p->cap, p->n + 1, sizeof(*p->items)) < 0)
		return err_set(p->err, -ENOMEM, "%s: no memory", p->file);
	p->items[p->n++] = item;
	return 0;
}

static int take_lines(struct parser *p, const char *text, size_t len)
{
	const char *end = text + len;
	int rc = 0;

	for (const char *at = text, *eol; rc == 0 && at < end; at = eol + 1) {
		const char *stop;

		eol = memchr(at, '\n', (size_t)(end - at));
		if (!eol)
			eol = end;
		stop = eol > at && eol[-1] == '\r' ? eol - 1 : eol;
		p->line++;
		if (p->line == 1 && ((size_t)(stop - at) != strlen(HEADER) || memcmp(at, HEADER, strlen(HEADER)) != 0))
			rc = err_set(p->err, -EINVAL, "%s:1: the first line must be " HEADER, p->file);
		else if (p->line > 1 && stop > at)
			rc = take_line(p, at, stop);
	}
	return rc;
}

int load_trace_parse(const char *text, size_t len, const char *file, struct load_trace **ret, struct hearth_err *err)
{
	struct parser *p = calloc(1, sizeof(*p));
	const char *names[SCHED_TYPES_MAX];
	int rc;

	if (!p)
		return err_set(err, -ENOMEM, "%s: no memory", file);
	p->file = file;
	p->err = err;
	rc = take_lines(p, text, len);
	for (size_t i = 0; i < p->names_n; i++)
		names[i] = p->names[i];
	if (rc == 0)
		rc = load_trace_new(file, names, p->names_n, p->items, p->n, ret, err);
	else
		free(p->items);
	free(p);
	return rc;
}

int load_trace_load(const char *path, struct load_trace **ret, struct hearth_err *err)
{
	char *text;
	size_t len;
	int rc = file_read(path, TRACE_BYTES_MAX, &text, &len);

	if (rc < 0)
		return err_set(err, rc, "cannot read the trace %s: %s", path, strerror(-rc));
	rc = load_trace_parse(text, len, path, ret, err);
	free(text);
	return rc;
}
