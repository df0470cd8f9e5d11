/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "sched/recording.h"

#define HEADER "t_ns,type,service_ns"
#define FILE_BYTES_MAX (4ull << 30)
#define SERVICE_MAX_NS 3600000000000ull
#define SPAN_MAX_NS (1ull << 55)

struct parser {
	const char *file;
	size_t line;
	struct hearth_err *err;
	struct recording *r;
	size_t cap;
	uint32_t last_type;
	uint64_t first_ns, last_ns;
};

#define complain(p, ...) prefix_line(p, err_set((p)->err, -EINVAL, __VA_ARGS__))
static int prefix_line(const struct parser *p, int code)
{
	err_prefix(p->err, "%s:%zu", p->file, p->line);
	return code;
}

static bool to_u64(const char *at, const char *end, uint64_t *ret)
{
	uint64_t v = 0;

	if (at == end)
		return false;
	for (; at < end; at++)
		if (*at < '0' || *at > '9' || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*at - '0'), &v))
			return false;
	*ret = v;
	return true;
}

static bool is_type(const struct parser *p, uint32_t type, const char *name, size_t len)
{
	const char *s = p->r->types[type].name;

	return memcmp(s, name, len) == 0 && s[len - 1] != '\0' && s[len] == '\0';
}

static int add_type(struct parser *p, const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~' || name[i] == '"')
			return complain(p, "the type may have only printable ASCII characters in it, and no blanks and quotes");
	if (p->r->types_n == SCHED_TYPES_MAX)
		return complain(p, "more than %d types: give fewer names", SCHED_TYPES_MAX);
	memcpy(p->r->types[p->r->types_n].name, name, len);
	p->last_type = p->r->types_n++;
	return 0;
}

/* Leaves it in last_type: most often it is the one before. */
static int find_type(struct parser *p, const char *name, size_t len)
{
	if (len == 0 || len >= SCHED_NAME_MAX)
		return complain(p, "the type must have 1 to %d characters", SCHED_NAME_MAX - 1);
	if (p->r->types_n > 0 && is_type(p, p->last_type, name, len))
		return 0;
	for (uint32_t t = 0; t < p->r->types_n; t++)
		if (is_type(p, t, name, len)) {
			p->last_type = t;
			return 0;
		}
	return add_type(p, name, len);
}

static int check_time(struct parser *p, uint64_t t_ns)
{
	if (p->r->n == 0)
		p->first_ns = p->last_ns = t_ns;
	if (t_ns < p->last_ns)
		return complain(p, "t_ns goes back: the lines must be in order of arrival; sort them by t_ns");
	if (t_ns - p->first_ns > SPAN_MAX_NS)
		return complain(p, "t_ns is more than a year after the first: no recording may be that long");
	p->last_ns = t_ns;
	return 0;
}

static int take_line(struct parser *p, const char *at, const char *end)
{
	const char *type = memchr(at, ',', (size_t)(end - at)), *service = type ? memchr(type + 1, ',', (size_t)(end - type - 1)) : NULL;
	struct recorded_request q;
	uint64_t t_ns;
	int rc;

	if (at == end)
		return complain(p, "an empty line: take it out");
	if (!service || memchr(service + 1, ',', (size_t)(end - service - 1)))
		return complain(p, "a line must be like 1500,short,1000: t_ns, type, service_ns");
	if (!to_u64(at, type, &t_ns))
		return complain(p, "t_ns must be a whole number of ns below 2^64");
	if (!to_u64(service + 1, end, &q.service_ns) || q.service_ns > SERVICE_MAX_NS)
		return complain(p, "service_ns must be a whole number of ns, at most an hour (3.6e12)");
	rc = check_time(p, t_ns);
	if (rc == 0)
		rc = find_type(p, type + 1, (size_t)(service - type - 1));
	if (rc < 0)
		return rc;
	q.at_ns = t_ns - p->first_ns;
	q.type = p->last_type;
	if (array_grow((void **)&p->r->requests, &p->cap, p->r->n + 1, sizeof(q)) < 0)
		return err_set(p->err, -ENOMEM, "%s: no memory", p->file);
	p->r->requests[p->r->n++] = q;
	p->r->types[q.type].n++;
	return 0;
}

static int take_lines(struct parser *p, const char *text, size_t len)
{
	const char *at = text, *end = text + len;
	int rc = 0;

	for (p->line = 1; rc == 0 && (at < end || p->line == 1); p->line++) {
		const char *eol = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL, *stop = eol ? eol : end;

		stop -= eol && eol > at && eol[-1] == '\r';
		if (p->line > 1)
			rc = take_line(p, at, stop);
		else if ((size_t)(stop - at) != strlen(HEADER) || memcmp(at, HEADER, strlen(HEADER)) != 0)
			rc = complain(p, "the first line must be " HEADER);
		at = eol ? eol + 1 : end;
	}
	if (rc == 0 && p->r->n == 0)
		rc = complain(p, "there is not one request in it");
	return rc;
}

int recording_parse(const char *text, size_t len, const char *file, struct recording **ret, struct hearth_err *err)
{
	struct parser p = { .file = file, .err = err, .r = calloc(1, sizeof(struct recording)) };
	int rc;

	if (!p.r)
		return err_set(err, -ENOMEM, "%s: no memory", file);
	rc = take_lines(&p, text, len);
	if (rc < 0)
		recording_free(p.r);
	else
		*ret = p.r;
	return rc;
}

int recording_read(const char *path, struct recording **ret, struct hearth_err *err)
{
	char *text;
	size_t len;
	int rc = file_read(path, FILE_BYTES_MAX, &text, &len);

	if (rc < 0)
		return err_set(err, rc, "cannot read the trace %s: %s", path, strerror(-rc));
	rc = recording_parse(text, len, path, ret, err);
	free(text);
	return rc;
}

struct recording *recording_free(struct recording *r)
{
	if (r)
		free(r->requests);
	free(r);
	return NULL;
}
