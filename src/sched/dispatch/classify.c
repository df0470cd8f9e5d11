/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "classify.h"

const char *const classify_names[CLASSIFY_KINDS + 1] = { "type", "byte", "field", "path", "app", NULL };

/* values from..to are @type; sorted, without overlaps */
struct range {
	uint64_t from, to;
	uint32_t type;
};

struct prefix {
	char *text;
	size_t len;
	uint32_t type;
};

struct classifier {
	struct classify_config cfg;
	struct range *ranges;
	struct prefix *prefixes;        /* longest first */
	size_t ranges_n, ranges_cap, prefixes_n, prefixes_cap;
};

/* ---- making ---- */

static int parse_number(const char *text, const char **end, uint64_t *ret)
{
	char *e;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*ret = strtoull(text, &e, 0);
	*end = e;
	return errno == 0 ? 0 : -EINVAL;
}

/* "7", "0x10", "1-3" */
static int parse_range(const char *text, struct range *ret)
{
	const char *end;

	if (parse_number(text, &end, &ret->from) < 0)
		return -EINVAL;
	ret->to = ret->from;
	if (*end == '-' && parse_number(end + 1, &end, &ret->to) < 0)
		return -EINVAL;
	return *end == '\0' && ret->from <= ret->to ? 0 : -EINVAL;
}

static int no_memory(struct hearth_err *err)
{
	return err_set(err, -ENOMEM, "classifier: out of memory");
}

static int add_range(struct classifier *c, uint32_t type, const struct range *range, struct hearth_err *err)
{
	size_t at = 0;

	while (at < c->ranges_n && c->ranges[at].to < range->from)
		at++;
	if (at < c->ranges_n && c->ranges[at].from <= range->to)
		return err_set(err, -EINVAL, "types \"%s\" and \"%s\" both match %llu; a value can be of one type only", c->cfg.names[c->ranges[at].type],
			       c->cfg.names[type], (unsigned long long)(range->from > c->ranges[at].from ? range->from : c->ranges[at].from));
	if (array_grow((void **)&c->ranges, &c->ranges_cap, c->ranges_n + 1, sizeof(*c->ranges)) < 0)
		return no_memory(err);
	memmove(c->ranges + at + 1, c->ranges + at, (c->ranges_n++ - at) * sizeof(*c->ranges));
	c->ranges[at] = (struct range){ range->from, range->to, type };
	return 0;
}

static int add_prefix(struct classifier *c, uint32_t type, const char *text, struct hearth_err *err)
{
	size_t len = strlen(text), at = 0;
	char *copy;

	if (text[0] != '/')
		return err_set(err, -EINVAL, "type \"%s\": match \"%s\" is no path; it must begin with /", c->cfg.names[type], text);
	for (size_t i = 0; i < c->prefixes_n; i++)
		if (strcmp(c->prefixes[i].text, text) == 0)
			return err_set(err, -EINVAL, "types \"%s\" and \"%s\" both match %s; a prefix can be of one type only",
				       c->cfg.names[c->prefixes[i].type], c->cfg.names[type], text);
	copy = strdup(text);
	if (copy == NULL || array_grow((void **)&c->prefixes, &c->prefixes_cap, c->prefixes_n + 1, sizeof(*c->prefixes)) < 0) {
		free(copy);
		return no_memory(err);
	}
	while (at < c->prefixes_n && c->prefixes[at].len >= len)
		at++;
	memmove(c->prefixes + at + 1, c->prefixes + at, (c->prefixes_n++ - at) * sizeof(*c->prefixes));
	c->prefixes[at] = (struct prefix){ copy, len, type };
	return 0;
}

static int add_match(struct classifier *c, uint32_t type, const char *text, struct hearth_err *err)
{
	struct range range;

	if (c->cfg.kind == CLASSIFY_APP)
		return err_set(err, -EINVAL, "type \"%s\": with `classify: app` the application decides; leave `match` out", c->cfg.names[type]);
	if (c->cfg.kind == CLASSIFY_PATH)
		return add_prefix(c, type, text, err);
	if (parse_range(text, &range) < 0)
		return err_set(err, -EINVAL, "type \"%s\": match \"%s\" is neither a number (7, 0x1f) nor a range (1-3)", c->cfg.names[type], text);
	return add_range(c, type, &range, err);
}

static int add_matches(struct classifier *c, struct hearth_err *err)
{
	int r;

	for (uint32_t t = 0; t < c->cfg.types_n; t++) {
		if (c->cfg.match[t] == NULL || c->cfg.match[t][0] == NULL) {
			if (c->cfg.kind != CLASSIFY_TYPE && c->cfg.kind != CLASSIFY_APP)
				return err_set(err, -EINVAL, "type \"%s\" has no `match`, so no request would ever be of it", c->cfg.names[t]);
			r = c->cfg.kind == CLASSIFY_TYPE ? add_range(c, t, &(struct range){ t, t, 0 }, err) : 0;
			if (r < 0)
				return r;
		}
		for (size_t i = 0; c->cfg.match[t] != NULL && c->cfg.match[t][i] != NULL; i++) {
			r = add_match(c, t, c->cfg.match[t][i], err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

struct classifier *classifier_free(struct classifier *c)
{
	if (c == NULL)
		return NULL;
	for (size_t i = 0; i < c->prefixes_n; i++)
		free(c->prefixes[i].text);
	free(c->prefixes);
	free(c->ranges);
	free(c);
	return NULL;
}

int classifier_new(const struct classify_config *cfg, struct classifier **ret, struct hearth_err *err)
{
	struct classifier *c;
	int r;

	if (cfg->kind == CLASSIFY_FIELD && cfg->width != 1 && cfg->width != 2 && cfg->width != 4 && cfg->width != 8)
		return err_set(err, -EINVAL, "classify: a field of %u bytes; it must be 1, 2, 4 or 8", cfg->width);
	if (cfg->kind == CLASSIFY_APP && cfg->call == NULL)
		return err_set(err, -EINVAL, "classify: app, but this application has no classify function");
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return no_memory(err);
	c->cfg = *cfg;
	if (cfg->kind == CLASSIFY_BYTE)
		c->cfg.width = 1;
	if (c->cfg.mask == 0 || cfg->kind == CLASSIFY_BYTE)
		c->cfg.mask = UINT64_MAX;
	r = add_matches(c, err);
	/* borrowed until here */
	memset(c->cfg.match, 0, sizeof(c->cfg.match));
	memset(c->cfg.names, 0, sizeof(c->cfg.names));
	if (r < 0) {
		classifier_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* ---- using ---- */

static uint32_t by_value(const struct classifier *c, uint64_t value)
{
	size_t low = 0, high = c->ranges_n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (c->ranges[mid].to < value)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->ranges_n && c->ranges[low].from <= value ? c->ranges[low].type : SCHED_UNKNOWN;
}

static uint32_t by_field(const struct classifier *c, const uint8_t *payload, size_t len)
{
	uint64_t value = 0;

	if (len < c->cfg.width || c->cfg.offset > len - c->cfg.width)
		return SCHED_UNKNOWN;
	for (uint32_t i = 0; i < c->cfg.width; i++)
		value = value << 8 | payload[c->cfg.offset + (c->cfg.big_endian ? i : c->cfg.width - 1 - i)];
	return by_value(c, value & c->cfg.mask);
}

/* "GET /a/b?c HTTP/1.1": what is between the first space and the next one or "?" */
static uint32_t by_path(const struct classifier *c, const uint8_t *payload, size_t len)
{
	const uint8_t *path = memchr(payload, ' ', len < 16 ? len : 16);
	size_t n, left;

	if (path == NULL)
		return SCHED_UNKNOWN;
	path++;
	left = len - (size_t)(path - payload);
	for (n = 0; n < left && path[n] != ' ' && path[n] != '?' && path[n] != '\r' && path[n] != '\n'; n++)
		;
	for (size_t i = 0; i < c->prefixes_n; i++)
		if (c->prefixes[i].len <= n && memcmp(c->prefixes[i].text, path, c->prefixes[i].len) == 0)
			return c->prefixes[i].type;
	return SCHED_UNKNOWN;
}

uint32_t classify(const struct classifier *c, uint32_t wire_type, const uint8_t *payload, size_t len)
{
	switch (c->cfg.kind) {
	case CLASSIFY_TYPE:
		return by_value(c, wire_type);
	case CLASSIFY_BYTE:
	case CLASSIFY_FIELD:
		return by_field(c, payload, len);
	case CLASSIFY_PATH:
		return by_path(c, payload, len);
	default:
		break;
	}
	wire_type = c->cfg.call(wire_type, payload, len);
	return wire_type < c->cfg.types_n ? wire_type : SCHED_UNKNOWN;
}
