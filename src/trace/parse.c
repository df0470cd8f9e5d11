/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "private.h"

#define FILE_MAX_BYTES ((size_t)1 << 30)
#define LINE_MAX_BYTES 1024
#define FUNCS_MAX (1u << 20)
#define COLUMNS 4

static const char *const column_names[COLUMNS] = { "app", "func", "end_timestamp", "duration" };

/* A piece of the file; not terminated. */
struct piece { const char *at; size_t len; };

struct parser {
	const char *file;
	size_t line;
	struct trace *t;
	size_t cap_calls, cap_funcs;
	uint32_t *slots;                /* open addressing: function index + 1, 0 is free */
	size_t n_slots;                 /* a power of two, more than twice the functions */
	struct hearth_err *err;
};

#define fail_at(p, ...) err_prefix_line(p, err_set((p)->err, -EINVAL, __VA_ARGS__))

static int err_prefix_line(struct parser *p, int rc)
{
	if (p->err)
		err_prefix(p->err, "%s:%zu", p->file, p->line);
	return rc;
}

static uint64_t hash_names(struct piece app, struct piece name)
{
	return digest_mem(app.at, app.len).lo * 31 + digest_mem(name.at, name.len).lo;
}

static bool piece_is(struct piece s, const char *text)
{
	return strlen(text) == s.len && memcmp(text, s.at, s.len) == 0;
}

static struct piece piece_of(const char *text)
{
	return (struct piece){ text, strlen(text) };
}

static int rehash(struct parser *p)
{
	size_t n = p->n_slots ? p->n_slots * 4 : 256;
	uint32_t *slots = calloc(n, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t f = 0; f < p->t->n_funcs; f++) {
		size_t i = hash_names(piece_of(p->t->funcs[f].app), piece_of(p->t->funcs[f].name)) & (n - 1);

		while (slots[i])
			i = (i + 1) & (n - 1);
		slots[i] = (uint32_t)f + 1;
	}
	free(p->slots);
	p->slots = slots;
	p->n_slots = n;
	return 0;
}

static int add_func(struct parser *p, struct piece app, struct piece name)
{
	struct trace *t = p->t;
	struct trace_func *f;
	int rc;

	if (t->n_funcs >= FUNCS_MAX)
		return fail_at(p, "more than %u functions", FUNCS_MAX);
	rc = array_grow((void **)&t->funcs, &p->cap_funcs, t->n_funcs + 1, sizeof(*t->funcs));
	if (rc < 0)
		return rc;
	f = &t->funcs[t->n_funcs];
	*f = (struct trace_func){ .app = strndup(app.at, app.len), .name = strndup(name.at, name.len) };
	t->n_funcs++;                   /* from here trace_free frees both, also when one is missing */
	return f->app && f->name ? 0 : -ENOMEM;
}

static int find_func(struct parser *p, struct piece app, struct piece name, uint32_t *ret)
{
	size_t i;
	int rc;

	if (2 * (p->t->n_funcs + 1) > p->n_slots) {
		rc = rehash(p);
		if (rc < 0)
			return rc;
	}
	for (i = hash_names(app, name) & (p->n_slots - 1); p->slots[i]; i = (i + 1) & (p->n_slots - 1)) {
		const struct trace_func *f = &p->t->funcs[p->slots[i] - 1];

		if (piece_is(app, f->app) && piece_is(name, f->name)) {
			*ret = p->slots[i] - 1;
			return 0;
		}
	}
	rc = add_func(p, app, name);
	if (rc < 0)
		return rc;
	*ret = (uint32_t)p->t->n_funcs - 1;
	p->slots[i] = *ret + 1;
	return 0;
}

static int check_name(struct parser *p, const char *column, struct piece s)
{
	if (s.len == 0)
		return fail_at(p, "%s is empty", column);
	if (s.len > TRACE_NAME_MAX)
		return fail_at(p, "%s is longer than %d bytes", column, TRACE_NAME_MAX);
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.at[i] <= ' ' || s.at[i] == '"' || s.at[i] == 0x7f)
			return fail_at(p, "%s has a blank, quote or control character (byte 0x%02x)", column, (unsigned char)s.at[i]);
	return 0;
}

/* Seconds as decimal text to nanoseconds. Only digits, one point and an exponent: no sign, blank, hexadecimal, NaN or infinity. */
static int parse_seconds(struct parser *p, const char *column, struct piece s, uint64_t *ret_ns)
{
	char text[64], *end;
	double value;

	if (s.len == 0)
		return fail_at(p, "%s is empty", column);
	if (s.len >= sizeof(text))
		return fail_at(p, "%s is longer than %zu bytes", column, sizeof(text) - 1);
	memcpy(text, s.at, s.len);
	text[s.len] = '\0';
	if (text[0] == '-')
		return fail_at(p, "%s is negative: %s", column, text);
	if (strspn(text, "0123456789.eE+-") != s.len || text[0] < '0' || text[0] > '9')
		return fail_at(p, "%s is no decimal number", column);
	value = strtod(text, &end);
	if (*end != '\0')
		return fail_at(p, "%s is no decimal number: %s", column, text);
	if (value > TRACE_TIME_MAX_S)
		return fail_at(p, "%s is over %.0f seconds: %s", column, TRACE_TIME_MAX_S, text);
	*ret_ns = (uint64_t)llround(value * 1e9);
	return 0;
}

/* Split a line at its commas. Return: the number of fields, of which the first COLUMNS are in field. */
static size_t split(struct piece line, struct piece field[COLUMNS])
{
	size_t n = 0, from = 0;

	for (size_t i = 0; i <= line.len; i++) {
		if (i < line.len && line.at[i] != ',')
			continue;
		if (n < COLUMNS)
			field[n] = (struct piece){ line.at + from, i - from };
		n++;
		from = i + 1;
	}
	return n;
}

static int parse_header(struct parser *p, struct piece line)
{
	struct piece field[COLUMNS];
	size_t n = split(line, field);

	for (size_t i = 0; i < COLUMNS; i++)
		if (i >= n || !piece_is(field[i], column_names[i]))
			return fail_at(p, "column %zu of the header must be %s: the header of a trace is %s", i + 1, column_names[i], TRACE_HEADER);
	if (n > COLUMNS)
		return fail_at(p, "the header has %zu columns: the header of a trace is %s", n, TRACE_HEADER);
	return 0;
}

static int parse_row(struct parser *p, struct piece line)
{
	struct piece field[COLUMNS];
	struct trace *t = p->t;
	uint64_t end_ns, duration_ns;
	uint32_t func = 0;
	size_t n = split(line, field);
	int rc;

	if (n != COLUMNS)
		return fail_at(p, "%zu column%s where %d are due (%s)", n, n == 1 ? "" : "s", COLUMNS, TRACE_HEADER);
	rc = check_name(p, "app", field[0]);
	if (rc == 0)
		rc = check_name(p, "func", field[1]);
	if (rc == 0)
		rc = parse_seconds(p, "end_timestamp", field[2], &end_ns);
	if (rc == 0)
		rc = parse_seconds(p, "duration", field[3], &duration_ns);
	if (rc == 0)
		rc = find_func(p, field[0], field[1], &func);
	if (rc == 0)
		rc = array_grow((void **)&t->calls, &p->cap_calls, t->n_calls + 1, sizeof(*t->calls));
	if (rc < 0)
		return rc;
	/* A call may have begun before the trace did: the time of its start wraps below 0, so shift the origin by more than any duration. */
	t->calls[t->n_calls++] = (struct trace_call){ func, end_ns + (uint64_t)(TRACE_TIME_MAX_S * 1e9) - duration_ns, duration_ns };
	return 0;
}

static int parse_lines(struct parser *p, const char *text, size_t len)
{
	size_t at = 0;
	int rc = 0;

	while (rc == 0 && at < len) {
		const char *nl = memchr(text + at, '\n', len - at);
		size_t end = nl ? (size_t)(nl - text) : len;
		struct piece line = { text + at, end - at };

		p->line++;
		at = end + 1;
		if (line.len > 0 && line.at[line.len - 1] == '\r')
			line.len--;
		if (line.len > LINE_MAX_BYTES)
			return fail_at(p, "the line is longer than %d bytes", LINE_MAX_BYTES);
		rc = p->line == 1 ? parse_header(p, line) : parse_row(p, line);
	}
	return rc;
}

int trace_parse(const char *text, size_t len, const char *file, struct trace **ret, struct hearth_err *err)
{
	struct parser p = { .file = file, .err = err };
	int rc = -ENOMEM;

	p.t = calloc(1, sizeof(*p.t));
	if (p.t)
		rc = parse_lines(&p, text, len);
	if (rc == 0 && p.line == 0)
		rc = err_set(err, -EINVAL, "%s: the file is empty: a trace begins with the line %s", file, TRACE_HEADER);
	if (rc == 0 && p.t->n_calls == 0)
		rc = err_set(err, -EINVAL, "%s: the trace has no invocations, only a header", file);
	if (rc == 0) {
		trace_finish(p.t);
		*ret = p.t;
		p.t = NULL;
	}
	if (rc == -ENOMEM)
		err_set(err, rc, "%s: no memory for the trace", file);
	free(p.slots);
	trace_free(p.t);
	return rc;
}

int trace_load(const char *path, struct trace **ret, struct hearth_err *err)
{
	char *text;
	size_t len;
	int rc = file_read(path, FILE_MAX_BYTES, &text, &len);

	if (rc < 0)
		return err_set(err, rc, "cannot read the trace %s: %s", path, strerror(-rc));
	rc = trace_parse(text, len, path, ret, err);
	free(text);
	return rc;
}
