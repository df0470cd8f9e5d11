/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "farmem/sim.h"

#define FILE_BYTES_MAX (1u << 30)
#define CALLS_MAX 10000000u             /* of a function in a minute */
#define RUN_MS_MAX 1e9
#define MEMORY_MB_MAX 1e7
#define NAME_MAX_BYTES (MEMSIM_NAME_BYTES - 1)
#define KEYS 3
#define MIB 1048576.0

static const char run_header[] = "HashFunction,HashApp,HashOwner,Count,Average,Minimum,Maximum,percentile_Average_0,percentile_Average_1,percentile_Average_25,percentile_Average_50,"
				 "percentile_Average_75,percentile_Average_99,percentile_Average_100";
static const char mem_header[] = "HashApp,HashOwner,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct1,AverageAllocatedMb_pct5,AverageAllocatedMb_pct25,"
				 "AverageAllocatedMb_pct50,AverageAllocatedMb_pct75,AverageAllocatedMb_pct95,AverageAllocatedMb_pct99,AverageAllocatedMb_pct100";

/* a part of the text, not terminated */
struct piece { const char *at; size_t len; };

/* a function or application, and what one of the files has of it */
struct row {
	struct piece key[2];            /* function and application; of memory only the application, as the first */
	double v[9];
	size_t line;
};

struct reader {
	const struct memsim_text *in;
	size_t line, at;
	struct hearth_err *err;
};

#define complain(r, ...) with_line(r, err_set((r)->err, -EINVAL, __VA_ARGS__))
static int with_line(const struct reader *r, int rc)
{
	err_prefix(r->err, "%s:%zu", r->in->file, r->line);
	return rc;
}

/* ---- lines and fields ---- */

static bool next_line(struct reader *r, struct piece *ret)
{
	const char *from = r->in->text + r->at, *nl;

	if (r->at >= r->in->len)
		return false;
	nl = memchr(from, '\n', r->in->len - r->at);
	*ret = (struct piece){ from, nl ? (size_t)(nl - from) : r->in->len - r->at };
	r->at += ret->len + 1;
	r->line++;
	ret->len -= ret->len > 0 && from[ret->len - 1] == '\r';
	return true;
}

/* The next field of a line, which it shortens. Return: false at its end. */
static bool next_field(struct piece *line, struct piece *ret)
{
	const char *comma;

	if (!line->at)
		return false;
	comma = memchr(line->at, ',', line->len);
	*ret = (struct piece){ line->at, comma ? (size_t)(comma - line->at) : line->len };
	*line = comma ? (struct piece){ comma + 1, line->len - ret->len - 1 } : (struct piece){ NULL, 0 };
	return true;
}

static int take_key(struct reader *r, struct piece *line, const char *what, struct piece *ret)
{
	struct piece field = { NULL, 0 };

	if (!next_field(line, &field) || field.len == 0)
		return complain(r, "%s is missing", what);
	if (field.len > NAME_MAX_BYTES)
		return complain(r, "%s is longer than %d bytes", what, NAME_MAX_BYTES);
	*ret = field;
	return 0;
}

static int take_number(struct reader *r, struct piece *line, const char *what, double max, double *ret)
{
	struct piece field;
	char text[40], *end;

	if (!next_field(line, &field) || field.len == 0)
		return complain(r, "%s is missing", what);
	if (field.len >= sizeof(text))
		return complain(r, "%s is longer than %zu bytes", what, sizeof(text) - 1);
	memcpy(text, field.at, field.len);
	text[field.len] = '\0';
	if (strspn(text, "0123456789.eE+-") != field.len || text[0] < '0' || text[0] > '9')
		return complain(r, "%s is no number from 0 on", what);
	*ret = strtod(text, &end);
	if (*end != '\0')
		return complain(r, "%s is no number from 0 on: %s", what, text);
	return *ret <= max ? 0 : complain(r, "%s is over %g: %s", what, max, text);
}

static int take_end(struct reader *r, const struct piece *line)
{
	return line->at ? complain(r, "there are more columns than the header has") : 0;
}

/* The header of a file whose columns are known. */
static int take_header(struct reader *r, const char *header)
{
	struct piece line;

	if (!next_line(r, &line)) {
		r->line = 1;
		return complain(r, "the file is empty: it begins with the line %s", header);
	}
	if (line.len != strlen(header) || memcmp(line.at, header, line.len) != 0)
		return complain(r, "the header must be %s", header);
	return 0;
}

/* ---- rows by name ---- */

static int compare_pieces(const struct piece *a, const struct piece *b)
{
	int c = memcmp(a->at, b->at, a->len < b->len ? a->len : b->len);

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

static int compare_rows(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;
	int c = compare_pieces(&a->key[0], &b->key[0]);

	return c ? c : compare_pieces(&a->key[1], &b->key[1]);
}

static int check_ascending(struct reader *r, const char *what, const double *v, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (v[i] < v[i - 1])
			return complain(r, "the percentiles of %s do not ascend: %g comes after %g", what, v[i], v[i - 1]);
	return 0;
}

/* HashFunction,HashApp,HashOwner,Count,Average,Minimum,Maximum and seven percentiles */
static int run_row(struct reader *r, struct piece line, struct row *ret)
{
	static const char *const names[4] = { "Count", "Average", "Minimum", "Maximum" };
	struct piece owner;
	double ignored;
	int rc = take_key(r, &line, "HashFunction", &ret->key[0]);

	if (rc == 0)
		rc = take_key(r, &line, "HashApp", &ret->key[1]);
	if (rc == 0)
		rc = take_key(r, &line, "HashOwner", &owner);
	for (size_t i = 0; rc == 0 && i < 4; i++)
		rc = take_number(r, &line, names[i], 1e18, &ignored);
	for (size_t i = 0; rc == 0 && i < MEMSIM_RUN_QUANTILES; i++)
		rc = take_number(r, &line, "a percentile of the run time", RUN_MS_MAX, &ret->v[i]);
	if (rc == 0)
		rc = take_end(r, &line);
	return rc < 0 ? rc : check_ascending(r, "the run time", ret->v, MEMSIM_RUN_QUANTILES);
}

/* HashApp,HashOwner,SampleCount,AverageAllocatedMb and eight percentiles: 1, 5, 25, 50, 75, 95, 99, 100 */
static int mem_row(struct reader *r, struct piece line, struct row *ret)
{
	struct piece owner;
	double samples;
	int rc = take_key(r, &line, "HashApp", &ret->key[0]);

	ret->key[1] = (struct piece){ "", 0 };
	if (rc == 0)
		rc = take_key(r, &line, "HashOwner", &owner);
	if (rc == 0)
		rc = take_number(r, &line, "SampleCount", 1e18, &samples);
	for (size_t i = 0; rc == 0 && i < 9; i++)
		rc = take_number(r, &line, i ? "a percentile of the memory" : "AverageAllocatedMb", MEMORY_MB_MAX, &ret->v[i]);
	if (rc == 0)
		rc = take_end(r, &line);
	if (rc == 0)
		rc = check_ascending(r, "the memory", ret->v + 1, 8);
	return rc == 0 && ret->v[2] * MIB < 4096 ? complain(r, "the memory's 5th percentile is less than a page") : rc;
}

struct table { struct row *row; size_t n, cap; };

static int read_table(const struct memsim_text *in, const char *header, int (*take)(struct reader *, struct piece, struct row *), struct table *t, struct hearth_err *err)
{
	struct reader r = { .in = in, .err = err };
	struct piece line;
	int rc = take_header(&r, header);

	while (rc == 0 && next_line(&r, &line)) {
		rc = array_grow((void **)&t->row, &t->cap, t->n + 1, sizeof(*t->row));
		if (rc < 0)
			return err_set(err, rc, "%s: no memory", in->file);
		t->row[t->n].line = r.line;
		rc = take(&r, line, &t->row[t->n]);
		t->n++;
	}
	if (rc < 0)
		return rc;
	if (t->n > 0)
		qsort(t->row, t->n, sizeof(*t->row), compare_rows);
	for (size_t i = 1; i < t->n; i++)
		if (compare_rows(&t->row[i - 1], &t->row[i]) == 0) {
			r.line = t->row[i].line > t->row[i - 1].line ? t->row[i].line : t->row[i - 1].line;
			return complain(&r, "%.*s is there twice", (int)t->row[i].key[0].len, t->row[i].key[0].at);
		}
	return 0;
}

static const struct row *find_row(const struct table *t, struct piece a, struct piece b)
{
	struct row key = { .key = { a, b } };

	return t->n > 0 ? bsearch(&key, t->row, t->n, sizeof(key), compare_rows) : NULL;
}

/* ---- calls a minute ---- */

struct parse {
	struct reader r;
	struct memsim_trace *t;
	size_t functions_cap, calls_cap, names_cap;
	struct table run, mem;
	const char *run_file, *mem_file;
};

static int inv_header(struct parse *p)
{
	static const char *const names[KEYS] = { "HashFunction", "HashApp", "HashOwner" };
	struct piece line, field;
	char due[32];
	size_t n = 0;

	if (!next_line(&p->r, &line)) {
		p->r.line = 1;
		return complain(&p->r, "the file is empty: it begins with the line HashFunction,HashApp,HashOwner,minute_1,...");
	}
	for (; next_field(&line, &field); n++) {
		if (n < KEYS)
			snprintf(due, sizeof(due), "%s", names[n]);
		else
			snprintf(due, sizeof(due), "minute_%zu", n - KEYS + 1);
		if (field.len != strlen(due) || memcmp(field.at, due, field.len) != 0)
			return complain(&p->r, "column %zu of the header must be %s", n + 1, due);
	}
	if (n <= KEYS || n - KEYS > MEMSIM_MINUTES_MAX)
		return complain(&p->r, "the header has %zu minutes: it must have 1 to %d", n > KEYS ? n - KEYS : 0, MEMSIM_MINUTES_MAX);
	p->t->minutes = n - KEYS;
	return 0;
}

static int join(struct parse *p, struct piece function, struct piece app, struct memsim_function *ret)
{
	const struct row *run = find_row(&p->run, function, app), *mem = find_row(&p->mem, app, (struct piece){ "", 0 });

	if (!run)
		return complain(&p->r, "%s has no run times of function %.*s", p->run_file, (int)function.len, function.at);
	if (!mem)
		return complain(&p->r, "%s has no memory of application %.*s", p->mem_file, (int)app.len, app.at);
	memcpy(ret->run_ms, run->v, sizeof(ret->run_ms));
	ret->idle_bytes = (uint64_t)(mem->v[2] * MIB);
	ret->typical_bytes = (uint64_t)(mem->v[4] * MIB);
	ret->busy_bytes = (uint64_t)(mem->v[6] * MIB);
	return 0;
}

static int inv_row(struct parse *p, struct piece line)
{
	struct memsim_trace *t = p->t;
	struct piece function = { NULL, 0 }, app = { NULL, 0 }, owner;
	double v = 0;
	int rc = take_key(&p->r, &line, "HashFunction", &function);

	if (rc == 0)
		rc = take_key(&p->r, &line, "HashApp", &app);
	if (rc == 0)
		rc = take_key(&p->r, &line, "HashOwner", &owner);
	if (rc == 0 && (array_grow((void **)&t->names, &p->names_cap, t->functions_n + 1, sizeof(*t->names)) < 0 ||
			array_grow((void **)&t->functions, &p->functions_cap, t->functions_n + 1, sizeof(*t->functions)) < 0 ||
			array_grow((void **)&t->calls, &p->calls_cap, (t->functions_n + 1) * t->minutes, sizeof(*t->calls)) < 0))
		return err_set(p->r.err, -ENOMEM, "%s: no memory", p->r.in->file);
	for (size_t m = 0; rc == 0 && m < t->minutes; m++) {
		rc = take_number(&p->r, &line, "a number of calls", CALLS_MAX, &v);
		if (rc == 0 && v != (double)(uint32_t)v)
			rc = complain(&p->r, "a number of calls is not whole: %g", v);
		if (rc == 0) {
			t->calls[t->functions_n * t->minutes + m] = (uint32_t)v;
			t->calls_n += (uint32_t)v;
		}
	}
	if (rc == 0)
		rc = take_end(&p->r, &line);
	if (rc == 0)
		rc = join(p, function, app, &t->functions[t->functions_n]);
	if (rc == 0)
		snprintf(t->names[t->functions_n], sizeof(t->names[0]), "%.*s", (int)function.len, function.at);
	t->functions_n += rc == 0;
	return rc;
}

static int inv_rows(struct parse *p)
{
	struct piece line;
	int rc = inv_header(p);

	while (rc == 0 && next_line(&p->r, &line))
		rc = inv_row(p, line);
	if (rc == 0 && p->t->calls_n == 0)
		rc = complain(&p->r, "there is not one call in it");
	return rc;
}

int memsim_trace_parse(const struct memsim_text *inv, const struct memsim_text *run, const struct memsim_text *mem, struct memsim_trace **ret, struct hearth_err *err)
{
	struct parse p = { .r = { .in = inv, .err = err }, .t = calloc(1, sizeof(*p.t)), .run_file = run->file, .mem_file = mem->file };
	int rc = p.t ? read_table(run, run_header, run_row, &p.run, err) : err_set(err, -ENOMEM, "%s: no memory", inv->file);

	if (rc == 0)
		rc = read_table(mem, mem_header, mem_row, &p.mem, err);
	if (rc == 0)
		rc = inv_rows(&p);
	free(p.run.row);
	free(p.mem.row);
	if (rc < 0)
		memsim_trace_free(p.t);
	else
		*ret = p.t;
	return rc;
}

int memsim_trace_load(const char *prefix, struct memsim_trace **ret, struct hearth_err *err)
{
	static const char *const endings[3] = { "inv", "run", "mem" };
	struct memsim_text text[3] = { 0 };
	char *data[3] = { 0 }, path[3][4096];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < 3; i++) {
		if ((size_t)snprintf(path[i], sizeof(path[i]), "%s_%s.csv", prefix, endings[i]) >= sizeof(path[i]))
			rc = err_set(err, -ENAMETOOLONG, "the trace's name is too long");
		else if ((rc = file_read(path[i], FILE_BYTES_MAX, &data[i], &text[i].len)) < 0)
			err_set(err, rc, "cannot read %s: %s", path[i], strerror(-rc));
		text[i].text = data[i];
		text[i].file = path[i];
	}
	if (rc == 0)
		rc = memsim_trace_parse(&text[0], &text[1], &text[2], ret, err);
	for (size_t i = 0; i < 3; i++)
		free(data[i]);
	return rc;
}

struct memsim_trace *memsim_trace_free(struct memsim_trace *t)
{
	if (!t)
		return NULL;
	free(t->names);
	free(t->functions);
	free(t->calls);
	free(t);
	return NULL;
}
