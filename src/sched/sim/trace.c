/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "sched/sim.h"

#define HEADER "t_ns,type,service_ns"
#define FILE_BYTES_MAX (4ull << 30)

struct parser {
	const char *file;
	size_t line;
	struct hearth_err *err;
	struct sim_trace *trace;
	size_t cap;
	struct workload_type types[SCHED_TYPES_MAX];
	double service_sum[SCHED_TYPES_MAX], count[SCHED_TYPES_MAX];
	uint32_t types_n, last_type;
	uint64_t first_ns, last_ns;
};

#define complain(p, ...) err_prefix_line(p, (err_set((p)->err, -EINVAL, __VA_ARGS__)))
static int err_prefix_line(struct parser *p, int code)
{
	err_prefix(p->err, "%s:%zu", p->file, p->line);
	return code;
}

static bool take_u64(const char **at, char end, uint64_t *ret)
{
	uint64_t v = 0;
	const char *s = *at;

	if (!isdigit((unsigned char)*s))
		return false;
	for (; isdigit((unsigned char)*s); s++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return false;
	if (*s != end && !(end == '\n' && (*s == '\0' || (*s == '\r' && s[1] == '\n'))))
		return false;
	*at = s + (*s == '\r') + (*s != '\0');
	*ret = v;
	return true;
}

static int take_type(struct parser *p, const char **at, uint32_t *ret)
{
	size_t n = strcspn(*at, ",\r\n");
	const char *name = *at;

	if (n == 0 || n >= SCHED_NAME_MAX || name[n] != ',')
		return complain(p, "the type must have 1 to %d characters, and a comma after it", SCHED_NAME_MAX - 1);
	for (size_t i = 0; i < n; i++)
		if (!isgraph((unsigned char)name[i]) || name[i] == '"')
			return complain(p, "the type has a blank, a quote or a control character in it");
	*at += n + 1;
	/* most often it is the one before */
	if (p->types_n > 0 && strncmp(p->types[p->last_type].name, name, n) == 0 && p->types[p->last_type].name[n] == '\0') {
		*ret = p->last_type;
		return 0;
	}
	for (uint32_t t = 0; t < p->types_n; t++)
		if (strncmp(p->types[t].name, name, n) == 0 && p->types[t].name[n] == '\0') {
			*ret = p->last_type = t;
			return 0;
		}
	if (p->types_n == SCHED_TYPES_MAX)
		return complain(p, "more than %d types", SCHED_TYPES_MAX);
	memcpy(p->types[p->types_n].name, name, n);
	*ret = p->last_type = p->types_n++;
	return 0;
}

static int take_line(struct parser *p, const char **at)
{
	struct sim_request r = { 0 };
	uint64_t t_ns;
	int rc;

	if (!take_u64(at, ',', &t_ns))
		return complain(p, "t_ns must be a whole number of ns");
	rc = take_type(p, at, &r.type);
	if (rc < 0)
		return rc;
	if (!take_u64(at, '\n', &r.service_ns) || r.service_ns > 3600000000000ull)
		return complain(p, "service_ns must be a whole number of ns up to 3.6e12, and nothing after it");
	r.service_ns += r.service_ns == 0;      /* a clock may see nothing pass */
	if (p->trace->n == 0)
		p->first_ns = p->last_ns = t_ns;
	if (t_ns < p->last_ns)
		return complain(p, "t_ns goes back: the lines must be in order of arrival");
	if (t_ns - p->first_ns > 1ull << 55)
		return complain(p, "t_ns is more than a year after the first");
	p->last_ns = t_ns;
	r.at_ns = t_ns - p->first_ns;
	p->service_sum[r.type] += (double)r.service_ns;
	p->count[r.type]++;
	if (array_grow((void **)&p->trace->requests, &p->cap, p->trace->n + 1, sizeof(r)) < 0)
		return err_set(p->err, -ENOMEM, "%s: no memory", p->file);
	p->trace->requests[p->trace->n++] = r;
	return 0;
}

static int parse(struct parser *p, const char *text, size_t len)
{
	const char *at = text;
	int rc = 0;

	p->line = 1;
	if (strlen(text) != len)
		return err_set(p->err, -EINVAL, "%s: a NUL in it: not a text", p->file);
	if (strncmp(at, HEADER, sizeof(HEADER) - 1) != 0 || (at[sizeof(HEADER) - 1] != '\n' && strncmp(at + sizeof(HEADER) - 1, "\r\n", 2) != 0))
		return complain(p, "the first line must be %s", HEADER);
	at = strchr(at, '\n') + 1;
	for (p->line = 2; rc == 0 && *at; p->line++)
		rc = take_line(p, &at);
	if (rc == 0 && p->trace->n == 0)
		return complain(p, "there is not one request in it");
	for (uint32_t t = 0; rc == 0 && t < p->types_n; t++) {
		p->types[t].mean_ns = p->service_sum[t] / p->count[t];
		p->types[t].ratio = p->count[t] / (double)p->trace->n;
	}
	return rc < 0 ? rc : workload_new(p->file, p->types, p->types_n, &p->trace->workload, p->err);
}

int sim_trace_parse(const char *text, size_t len, const char *file, struct sim_trace **ret, struct hearth_err *err)
{
	struct parser *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return err_set(err, -ENOMEM, "%s: no memory", file);
	p->file = file;
	p->err = err;
	p->trace = calloc(1, sizeof(*p->trace));
	rc = p->trace ? parse(p, text, len) : err_set(err, -ENOMEM, "%s: no memory", file);
	if (rc == 0)
		*ret = p->trace;
	else
		sim_trace_free(p->trace);
	free(p);
	return rc;
}

int sim_trace_load(const char *path, struct sim_trace **ret, struct hearth_err *err)
{
	char *text;
	size_t len;
	int rc = file_read(path, FILE_BYTES_MAX, &text, &len);

	if (rc < 0)
		return err_set(err, rc, "cannot read the trace %s: %s", path, strerror(-rc));
	rc = sim_trace_parse(text, len, path, ret, err);
	free(text);
	return rc;
}

struct sim_trace *sim_trace_free(struct sim_trace *t)
{
	if (t) {
		workload_free(t->workload);
		free(t->requests);
	}
	free(t);
	return NULL;
}
