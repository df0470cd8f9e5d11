/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/yaml.h"

#define FILE_MAX_BYTES (1u << 20)
#define SUGGEST_MAX_LEN 63

/* ---- numbers with units ---- */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit duration_units[] = {   /* largest last */
	{ "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", 1000000000 }, { "m", 60000000000 }, { "h", 3600000000000 }, { NULL, 0 },
};
static const struct unit bytes_units[] = {
	{ "B", 1 }, { "kB", 1000 }, { "KB", 1000 }, { "KiB", 1ull << 10 }, { "MB", 1000000 }, { "MiB", 1ull << 20 },
	{ "GB", 1000000000 }, { "GiB", 1ull << 30 }, { "TB", 1000000000000 }, { "TiB", 1ull << 40 }, { NULL, 0 },
};

/* "12.5unit" in whole steps of the smallest unit, rounded down. @bare: the factor without a unit; 0 then allows only 0 */
static int parse_scaled(const char *text, const struct unit *units, uint64_t bare, uint64_t *ret)
{
	uint64_t whole = 0, part = 0, part_scale = 1, factor = bare;
	unsigned __int128 total;
	const char *p = text;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
			return -EINVAL;
	}
	if (*p == '.') {
		if (!isdigit((unsigned char)p[1]))
			return -EINVAL;
		for (p++; isdigit((unsigned char)*p); p++) {
			if (part_scale >= 1000000000)
				return -EINVAL;
			part = part * 10 + (uint64_t)(*p - '0');
			part_scale *= 10;
		}
		if (*p == '\0')
			return -EINVAL; /* a fraction of a byte or of nothing */
	}
	if (*p != '\0') {
		const struct unit *u = units;

		while (u->name != NULL && strcmp(u->name, p) != 0)
			u++;
		if (u->name == NULL)
			return -EINVAL;
		factor = u->factor;
	}
	total = (unsigned __int128)whole * factor + (unsigned __int128)part * factor / part_scale;
	/* what is not zero must not become zero, which often means "off" */
	if (total > UINT64_MAX || (total == 0 && (whole != 0 || part != 0)))
		return -EINVAL;
	*ret = (uint64_t)total;
	return 0;
}

int parse_duration(const char *text, uint64_t *ret_ns)
{
	return parse_scaled(text, duration_units, 0, ret_ns);
}

int parse_bytes(const char *text, uint64_t *ret_bytes)
{
	return parse_scaled(text, bytes_units, 1, ret_bytes);
}

/* the largest unit that divides the value, for messages */
static void format_scaled(char *out, size_t size, int64_t value, const struct unit *units)
{
	const struct unit *best = units;

	for (const struct unit *u = units; u->name != NULL; u++) {
		if (value > 0 && (uint64_t)value % u->factor == 0)
			best = u;
	}
	if (value == 0)
		snprintf(out, size, "0");
	else
		snprintf(out, size, "%lld%s", (long long)value / (long long)best->factor, best->name);
}

/* ---- suggestions ---- */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* characters as people confuse them */
static int folded(char c)
{
	return c == '-' ? '_' : tolower((unsigned char)c);
}

/* Insertions, removals, substitutions and swaps of neighbours between two words (Damerau-Levenshtein, optimal string alignment). */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[3][SUGGEST_MAX_LEN + 2];
	size_t n = strlen(a), m = strlen(b);

	if (n > SUGGEST_MAX_LEN || m > SUGGEST_MAX_LEN)
		return SUGGEST_MAX_LEN;
	for (size_t j = 0; j <= m; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (folded(a[i - 1]) != folded(b[j - 1])));
			if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1]) && before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
	}
	return row[n % 3][m];
}

static void consider(const char *word, const char *name, const char **best, unsigned *best_distance)
{
	unsigned d = distance(word, name);

	/* a third of the letters wrong is no typing mistake any more */
	if (d < *best_distance && d * 3 <= strlen(name) + 1) {
		*best = name;
		*best_distance = d;
	}
}

/* ---- the loader ---- */

/* struct value - one key's value until the whole document is known to be right */
struct value {
	unsigned line;          /* 0: not seen */
	union {
		char *str;
		char **strv;
		int64_t i;
		bool b;
		int e;
		uint64_t u;
		double d;
		struct { char *data; size_t n; } maps;
		struct value *map;      /* YAML_MAP: one a key of its table; NULL: absent */
	};
};

struct loader {
	yaml_parser_t parser;
	const char *file;
	const struct yaml_key *keys;
	struct value *values;   /* one a key */
	unsigned mapping_line;  /* where an entry of a list of mappings begins; 0: in none */
	struct hearth_err *err;
};

static int fail(struct loader *l, unsigned line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct loader *l, unsigned line, const char *fmt, ...)
{
	char msg[sizeof(l->err->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (line == 0)
		return err_set(l->err, -EINVAL, "%s: %s", l->file, msg);
	return err_set(l->err, -EINVAL, "%s:%u: %s", l->file, line, msg);
}

static void maps_free(const struct yaml_key *key, char *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		yaml_unload(key->sub, data + i * key->sub_bytes);
	free(data);
}

static int no_memory(struct loader *l)
{
	return err_set(l->err, -ENOMEM, "%s: out of memory", l->file);
}

static unsigned line_of(const yaml_event_t *ev)
{
	return (unsigned)ev->start_mark.line + 1;
}

static int syntax_error(struct loader *l)
{
	const char *problem = l->parser.problem != NULL ? l->parser.problem : "not valid YAML";

	if (l->parser.error == YAML_MEMORY_ERROR)
		return no_memory(l);
	if (l->parser.error == YAML_READER_ERROR)
		return fail(l, 0, "byte %zu: %s", l->parser.problem_offset, problem);
	if (l->parser.context != NULL)
		return fail(l, (unsigned)l->parser.problem_mark.line + 1, "%s %s (from line %zu)", problem, l->parser.context,
			    l->parser.context_mark.line + 1);
	return fail(l, (unsigned)l->parser.problem_mark.line + 1, "%s", problem);
}

/* The parts of YAML that make a file mean something else than it looks like. */
static int refuse_indirect(struct loader *l, const yaml_event_t *ev)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (ev->type) {
	case YAML_ALIAS_EVENT:
		return fail(l, line_of(ev), "aliases (*%s) are not supported: write the value out", (const char *)ev->data.alias.anchor);
	case YAML_SCALAR_EVENT:
		anchor = ev->data.scalar.anchor;
		tag = ev->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = ev->data.sequence_start.anchor;
		tag = ev->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = ev->data.mapping_start.anchor;
		tag = ev->data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor != NULL)
		return fail(l, line_of(ev), "anchors (&%s) are not supported: write the value out", (const char *)anchor);
	if (tag != NULL)
		return fail(l, line_of(ev), "tags (%s) are not supported: leave it out", (const char *)tag);
	return 0;
}

/* The next event; nothing to delete on failure. */
static int next_event(struct loader *l, yaml_event_t *ret)
{
	int r;

	if (!yaml_parser_parse(&l->parser, ret))
		return syntax_error(l);
	r = refuse_indirect(l, ret);
	if (r < 0)
		yaml_event_delete(ret);
	return r;
}

static const char *scalar_text(const yaml_event_t *ev)
{
	return (const char *)ev->data.scalar.value;
}

static bool is_plain(const yaml_event_t *ev)
{
	return ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* A scalar that can be the value of something called name: not null, no NUL inside. */
static int check_scalar(struct loader *l, const yaml_event_t *ev, const char *what, const char *name)
{
	const char *text = scalar_text(ev);

	if (strlen(text) != ev->data.scalar.length)
		return fail(l, line_of(ev), "%s \"%s\" contains a NUL byte", what, name);
	if (is_plain(ev) && (text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0))
		return fail(l, line_of(ev), "%s \"%s\" has no value: leave it out, or write \"\" for an empty text", what, name);
	return 0;
}

/* ---- scalars by kind ---- */

static int wrong_type(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, const char *want)
{
	return fail(l, line_of(ev), "key \"%s\": %s%s%s is not %s", key->name, is_plain(ev) ? "" : "the text \"", scalar_text(ev),
		    is_plain(ev) ? "" : "\"", want);
}

static void format_bound(const struct yaml_key *key, int64_t bound, char *out, size_t size)
{
	if (key->kind == YAML_DURATION)
		format_scaled(out, size, bound, duration_units);
	else if (key->kind == YAML_BYTES)
		format_scaled(out, size, bound, bytes_units);
	else
		snprintf(out, size, "%lld", (long long)bound);
}

static int out_of_range(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key)
{
	char min[48], max[48];

	format_bound(key, key->min, min, sizeof(min));
	format_bound(key, key->max, max, sizeof(max));
	return fail(l, line_of(ev), "key \"%s\": %s is out of range (%s to %s)", key->name, scalar_text(ev), min, max);
}

static bool is_bounded(const struct yaml_key *key)
{
	return key->min != 0 || key->max != 0;
}

static int take_int(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, struct value *v)
{
	const char *text = scalar_text(ev), *digits = text + (text[0] == '-');
	char *end;

	/* a leading zero means octal to some and nothing to others */
	if (!is_plain(ev) || !isdigit((unsigned char)digits[0]) || (digits[0] == '0' && digits[1] != '\0'))
		return wrong_type(l, ev, key, "a whole number");
	errno = 0;
	v->i = strtoll(text, &end, 10);
	if (*end != '\0')
		return wrong_type(l, ev, key, "a whole number");
	if (errno == ERANGE && !is_bounded(key))
		return wrong_type(l, ev, key, "a number of 64 bits");
	if (errno == ERANGE || (is_bounded(key) && (v->i < key->min || v->i > key->max)))
		return out_of_range(l, ev, key);
	return 0;
}

/* strtod, but neither "inf", "nan" nor hexadecimal, and a point is a point in every locale */
static bool parse_double(const char *text, double *ret)
{
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	char *end;

	if (c == (locale_t)0)
		return false;
	*ret = strtod_l(text, &end, c);
	freelocale(c);
	return text[0] != '\0' && *end == '\0' && text[strspn(text, "0123456789+-.eE")] == '\0' && isfinite(*ret);
}

static int take_double(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, struct value *v)
{
	if (!is_plain(ev) || !parse_double(scalar_text(ev), &v->d))
		return wrong_type(l, ev, key, "a number");
	if (is_bounded(key) && (v->d < (double)key->min || v->d > (double)key->max))
		return out_of_range(l, ev, key);
	return 0;
}

static int take_bool(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, struct value *v)
{
	const char *text = scalar_text(ev);

	if (!is_plain(ev))
		return wrong_type(l, ev, key, "true or false");
	if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0)
		v->b = true;
	else if (strcmp(text, "false") == 0 || strcmp(text, "no") == 0)
		v->b = false;
	else
		return wrong_type(l, ev, key, "true or false");
	return 0;
}

static int take_enum(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, struct value *v)
{
	const char *text = scalar_text(ev), *best = NULL;
	unsigned best_distance = SUGGEST_MAX_LEN;
	char list[256] = "";
	size_t n = 0;

	for (int i = 0; key->names[i] != NULL; i++) {
		if (strcmp(text, key->names[i]) == 0) {
			v->e = i;
			return 0;
		}
		consider(text, key->names[i], &best, &best_distance);
		if (n < sizeof(list))
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", i > 0 ? ", " : "", key->names[i]);
	}
	return fail(l, line_of(ev), "key \"%s\": \"%s\" is not one of %s%s%s%s", key->name, text, list, best != NULL ? " (did you mean \"" : "",
		    best != NULL ? best : "", best != NULL ? "\"?)" : "");
}

static int take_scaled(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, struct value *v)
{
	bool duration = key->kind == YAML_DURATION;
	int r = duration ? parse_duration(scalar_text(ev), &v->u) : parse_bytes(scalar_text(ev), &v->u);

	if (r < 0)
		return wrong_type(l, ev, key, duration ? "a duration such as 250ms, 1.5s, 10m or 2h" : "a size such as 4096, 512MB or 6MiB");
	if (is_bounded(key) && (key->max < 0 || v->u > (uint64_t)key->max || (key->min > 0 && v->u < (uint64_t)key->min)))
		return out_of_range(l, ev, key);
	return 0;
}

static int take_str(struct loader *l, const yaml_event_t *ev, struct value *v)
{
	v->str = strdup(scalar_text(ev));
	return v->str == NULL ? no_memory(l) : 0;
}

/* ---- lists ---- */

static void strv_free(char **strv)
{
	for (char **s = strv; s != NULL && *s != NULL; s++)
		free(*s);
	free(strv);
}

/* Takes over s, also on failure. */
static int strv_push(struct loader *l, char ***strv, size_t *n, char *s)
{
	char **grown = NULL;

	if (s != NULL)
		grown = realloc(*strv, (*n + 2) * sizeof(**strv));
	if (grown == NULL) {
		free(s);
		return no_memory(l);
	}
	grown[*n] = s;
	grown[++*n] = NULL;
	*strv = grown;
	return 0;
}

/* struct taken - where the entries of a list or mapping go: of @key, into @v; @n: texts so far */
struct taken {
	const struct yaml_key *key;
	struct value *v;
	size_t n;
};

/* What comes before the event of type @end, one by one. */
static int take_each(struct loader *l, yaml_event_type_t end, int (*take)(struct loader *l, const yaml_event_t *ev, struct taken *t), struct taken *t)
{
	yaml_event_t ev;
	bool last;
	int r;

	do {
		r = next_event(l, &ev);
		if (r < 0)
			return r;
		last = ev.type == end;
		if (!last)
			r = take(l, &ev, t);
		yaml_event_delete(&ev);
	} while (r == 0 && !last);
	return r;
}

static int take_text(struct loader *l, const yaml_event_t *ev, struct taken *t)
{
	int r;

	if (ev->type != YAML_SCALAR_EVENT)
		return fail(l, line_of(ev), "key \"%s\": every entry must be a text", t->key->name);
	r = check_scalar(l, ev, "an entry of key", t->key->name);
	return r < 0 ? r : strv_push(l, &t->v->strv, &t->n, strdup(scalar_text(ev)));
}

static int check_env_name(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, char **strv)
{
	const char *name;
	size_t len;

	if (ev->type != YAML_SCALAR_EVENT)
		return fail(l, line_of(ev), "key \"%s\": every name must be a text", key->name);
	name = scalar_text(ev);
	len = strlen(name);
	if (len == 0 || len != ev->data.scalar.length || strchr(name, '=') != NULL)
		return fail(l, line_of(ev), "key \"%s\": \"%s\" cannot be the name of a variable", key->name, name);
	for (; strv != NULL && *strv != NULL; strv++) {
		if (strncmp(*strv, name, len) == 0 && (*strv)[len] == '=')
			return fail(l, line_of(ev), "key \"%s\": duplicate variable \"%s\"", key->name, name);
	}
	return 0;
}

/* One "NAME: value" whose name has been read. */
static int take_variable(struct loader *l, const yaml_event_t *name, struct taken *t)
{
	yaml_event_t ev;
	char *s = NULL;
	int r;

	r = check_env_name(l, name, t->key, t->v->strv);
	if (r < 0)
		return r;
	r = next_event(l, &ev);
	if (r < 0)
		return r;
	if (ev.type != YAML_SCALAR_EVENT)
		r = fail(l, line_of(&ev), "key \"%s\": the value of \"%s\" must be a text", t->key->name, scalar_text(name));
	else
		r = check_scalar(l, &ev, "variable", scalar_text(name));
	if (r == 0) {
		if (asprintf(&s, "%s=%s", scalar_text(name), scalar_text(&ev)) < 0)
			s = NULL;
		r = strv_push(l, &t->v->strv, &t->n, s);
	}
	yaml_event_delete(&ev);
	return r;
}

/* ---- mappings in a mapping ---- */

static int take_pair(struct loader *l, const yaml_event_t *name, struct taken *t);
static int take_scalar(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, struct value *v);
static int check_required(struct loader *l);
static int values_new(struct loader *l, const struct yaml_key *keys);
static void values_commit(const struct yaml_key *keys, const struct value *values, void *out);
static void values_drop(const struct yaml_key *keys, struct value *values);

/*
 * A mapping whose start has been read, with keys and values of its own, under a loader that shares parser and error.
 * @text: stands where it could: its first key's; NULL: there is a mapping. @ret: its values, whose owner drops or commits them, also on failure; NULL: there are none
 */
static int take_inner(struct loader *l, const struct yaml_key *keys, const yaml_event_t *text, struct value **ret)
{
	const struct yaml_key *outer_keys = l->keys;
	struct value *outer = l->values;
	int r;

	r = values_new(l, keys);
	*ret = l->values;
	if (r == 0 && text) {
		l->values[0].line = line_of(text);
		r = take_scalar(l, text, &keys[0], &l->values[0]);
	} else if (r == 0) {
		r = take_each(l, YAML_MAPPING_END_EVENT, take_pair, NULL);
	}
	if (r == 0)
		r = check_required(l);
	l->keys = outer_keys;
	l->values = outer;
	return r;
}

/* into @out, a new entry */
static int take_entry(struct loader *l, const struct yaml_key *key, char *out)
{
	struct value *values;
	int r;

	r = take_inner(l, key->sub, NULL, &values);
	if (r == 0)
		values_commit(key->sub, values, out);
	else if (values != NULL)
		values_drop(key->sub, values);
	free(values);
	return r;
}

static int push_entry(struct loader *l, const yaml_event_t *ev, struct taken *t)
{
	const struct yaml_key *key = t->key;
	struct value *v = t->v;
	unsigned line = l->mapping_line;
	char *grown, *entry;
	int r;

	if (ev->type != YAML_MAPPING_START_EVENT)
		return fail(l, line_of(ev), "key \"%s\": every entry must be a mapping of \"key: value\"", key->name);
	if (is_bounded(key) && v->maps.n >= (size_t)key->max)
		return fail(l, line_of(ev), "key \"%s\": more than %lld entries", key->name, (long long)key->max);
	grown = realloc(v->maps.data, (v->maps.n + 1) * key->sub_bytes);      /* a file of 1 MiB: no overflow */
	if (grown == NULL)
		return no_memory(l);
	v->maps.data = grown;
	entry = grown + v->maps.n * key->sub_bytes;
	if (key->sub_defaults != NULL)
		memcpy(entry, key->sub_defaults, key->sub_bytes);
	else
		memset(entry, 0, key->sub_bytes);
	l->mapping_line = line_of(ev);
	r = take_entry(l, key, entry);
	l->mapping_line = line;
	if (r == 0)
		v->maps.n++;
	return r;
}

static int take_maps(struct loader *l, const yaml_event_t *start, struct taken *t)
{
	int r;

	r = take_each(l, YAML_SEQUENCE_END_EVENT, push_entry, t);
	if (r == 0 && is_bounded(t->key) && t->v->maps.n < (size_t)t->key->min)
		return fail(l, line_of(start), "key \"%s\" has %zu entries: at least %lld are needed", t->key->name, t->v->maps.n, (long long)t->key->min);
	return r;
}

/* ---- values and keys ---- */

static const char *form_of(const struct yaml_key *key)
{
	switch (key->kind) {
	case YAML_STRV:
		return "a list of texts";
	case YAML_ENV:
		return "a mapping of NAME: value";
	case YAML_MAPS:
		return "a list of mappings";
	case YAML_MAP:
		return "a mapping";
	default:
		return "one value";
	}
}

static int take_scalar(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, struct value *v)
{
	size_t n = 0;
	int r;

	r = check_scalar(l, ev, "key", key->name);
	if (r < 0)
		return r;
	switch (key->kind) {
	case YAML_STR:
		return take_str(l, ev, v);
	case YAML_INT:
		return take_int(l, ev, key, v);
	case YAML_BOOL:
		return take_bool(l, ev, key, v);
	case YAML_ENUM:
		return take_enum(l, ev, key, v);
	case YAML_DURATION:
	case YAML_BYTES:
		return take_scaled(l, ev, key, v);
	case YAML_DOUBLE:
		return take_double(l, ev, key, v);
	case YAML_STRV:
		return strv_push(l, &v->strv, &n, strdup(scalar_text(ev)));
	case YAML_MAP:
		return take_inner(l, key->sub, ev, &v->map);
	case YAML_ENV:
	case YAML_MAPS:
		return wrong_type(l, ev, key, form_of(key));
	}
	return -EINVAL;
}

/* A list without entries is an allocated, empty one: "[]" differs from a key that is absent. */
static int take_collection(struct loader *l, const yaml_event_t *ev, const struct yaml_key *key, struct value *v)
{
	bool list = ev->type == YAML_SEQUENCE_START_EVENT;
	struct taken t = { .key = key, .v = v };

	if (list ? key->kind != YAML_STRV && key->kind != YAML_MAPS : key->kind != YAML_ENV && key->kind != YAML_MAP)
		return fail(l, line_of(ev), "key \"%s\" takes %s, not a %s", key->name, form_of(key), list ? "list" : "mapping");
	if (key->kind == YAML_MAPS)
		return take_maps(l, ev, &t);
	if (key->kind == YAML_MAP)
		return take_inner(l, key->sub, NULL, &v->map);
	v->strv = calloc(1, sizeof(*v->strv));
	if (v->strv == NULL)
		return no_memory(l);
	return list ? take_each(l, YAML_SEQUENCE_END_EVENT, take_text, &t) : take_each(l, YAML_MAPPING_END_EVENT, take_variable, &t);
}

static int unknown_key(struct loader *l, const yaml_event_t *ev)
{
	const char *word = scalar_text(ev), *best = NULL;
	unsigned best_distance = SUGGEST_MAX_LEN;
	char list[320] = "";
	size_t n = 0;

	for (const struct yaml_key *k = l->keys; k->name != NULL; k++) {
		consider(word, k->name, &best, &best_distance);
		if (n < sizeof(list))
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n > 0 ? ", " : "", k->name);
	}
	if (best != NULL)
		return fail(l, line_of(ev), "unknown key \"%s\" (did you mean \"%s\"?)", word, best);
	return fail(l, line_of(ev), "unknown key \"%s\" (known: %s)", word, list);
}

static int take_pair(struct loader *l, const yaml_event_t *name, struct taken *t)
{
	const struct yaml_key *key = l->keys;
	struct value *v;
	yaml_event_t ev;
	int r;

	if (name->type != YAML_SCALAR_EVENT)
		return fail(l, line_of(name), "a key must be a word");
	while (key->name != NULL && strcmp(key->name, scalar_text(name)) != 0)
		key++;
	if (key->name == NULL || strlen(key->name) != name->data.scalar.length)
		return unknown_key(l, name);
	v = &l->values[key - l->keys];
	if (v->line != 0)
		return fail(l, line_of(name), "duplicate key \"%s\" (first on line %u)", key->name, v->line);
	r = next_event(l, &ev);
	if (r < 0)
		return r;
	v->line = line_of(name);
	r = ev.type == YAML_SCALAR_EVENT ? take_scalar(l, &ev, key, v) : take_collection(l, &ev, key, v);
	yaml_event_delete(&ev);
	return r;
}

static int take_root(struct loader *l, const yaml_event_t *ev)
{
	if (ev->type == YAML_MAPPING_START_EVENT)
		return take_each(l, YAML_MAPPING_END_EVENT, take_pair, NULL);
	/* "---" and nothing else: a file of defaults */
	if (ev->type == YAML_SCALAR_EVENT && is_plain(ev) && ev->data.scalar.length == 0)
		return 0;
	return fail(l, line_of(ev), "the file must be a mapping of \"key: value\" lines");
}

/* The stream: at most one document. */
static int take_stream(struct loader *l)
{
	unsigned documents = 0;
	yaml_event_t ev;
	bool end;
	int r;

	for (;;) {
		r = next_event(l, &ev);
		if (r < 0)
			return r;
		end = ev.type == YAML_STREAM_END_EVENT;
		if (ev.type == YAML_DOCUMENT_START_EVENT)
			r = documents++ == 0 ? 0 : fail(l, line_of(&ev), "a second document begins here: a file holds one");
		else if (ev.type == YAML_SCALAR_EVENT || ev.type == YAML_SEQUENCE_START_EVENT || ev.type == YAML_MAPPING_START_EVENT)
			r = take_root(l, &ev);
		yaml_event_delete(&ev);
		if (r < 0 || end)
			return r;
	}
}

static int check_required(struct loader *l)
{
	for (const struct yaml_key *k = l->keys; k->name != NULL; k++) {
		if (k->required && l->values[k - l->keys].line == 0)
			return fail(l, l->mapping_line, "required key \"%s\" is missing", k->name);
	}
	return 0;
}

/* ---- the struct behind the table ---- */

/* @out: the struct that holds the field */
static void field_free(const struct yaml_key *key, void *out)
{
	void *field = (char *)out + key->offset;

	if (key->kind == YAML_STR) {
		free(*(char **)field);
		*(char **)field = NULL;
	} else if (key->kind == YAML_STRV || key->kind == YAML_ENV) {
		strv_free(*(char ***)field);
		*(char ***)field = NULL;
	} else if (key->kind == YAML_MAPS) {
		size_t *count = (size_t *)((char *)out + key->count_offset);

		maps_free(key, *(char **)field, *count);
		*(char **)field = NULL;
		*count = 0;
	}
}

/* @out: the struct that holds the mapping's */
static void map_set(const struct yaml_key *key, const struct value *v, void *out)
{
	values_commit(key->sub, v->map, (char *)out + key->offset);
	free(v->map);
}

/* Cannot fail: everything was allocated before. */
static void field_set(const struct yaml_key *key, const struct value *v, void *out)
{
	void *field = (char *)out + key->offset;

	field_free(key, out);
	switch (key->kind) {
	case YAML_MAP:
		map_set(key, v, out);
		break;
	case YAML_STR:
		*(char **)field = v->str;
		break;
	case YAML_INT:
		*(int64_t *)field = v->i;
		break;
	case YAML_BOOL:
		*(bool *)field = v->b;
		break;
	case YAML_ENUM:
		*(int *)field = v->e;
		break;
	case YAML_DURATION:
	case YAML_BYTES:
		*(uint64_t *)field = v->u;
		break;
	case YAML_DOUBLE:
		*(double *)field = v->d;
		break;
	case YAML_STRV:
	case YAML_ENV:
		*(char ***)field = v->strv;
		break;
	case YAML_MAPS:
		*(char **)field = v->maps.data;
		*(size_t *)((char *)out + key->count_offset) = v->maps.n;
		break;
	}
}

static int values_new(struct loader *l, const struct yaml_key *keys)
{
	size_t count = 0;

	while (keys[count].name != NULL)
		count++;
	l->keys = keys;
	l->values = calloc(count + 1, sizeof(*l->values));
	return l->values == NULL ? no_memory(l) : 0;
}

static void values_commit(const struct yaml_key *keys, const struct value *values, void *out)
{
	for (const struct yaml_key *k = keys; k->name != NULL; k++) {
		if (values[k - keys].line != 0)
			field_set(k, &values[k - keys], out);
	}
}

static void values_drop(const struct yaml_key *keys, struct value *values)
{
	for (const struct yaml_key *k = keys; k->name != NULL; k++) {
		struct value *v = &values[k - keys];

		if (k->kind == YAML_STR) {
			free(v->str);
		} else if (k->kind == YAML_STRV || k->kind == YAML_ENV) {
			strv_free(v->strv);
		} else if (k->kind == YAML_MAPS) {
			maps_free(k, v->maps.data, v->maps.n);
		} else if (k->kind == YAML_MAP && v->map) {
			values_drop(k->sub, v->map);
			free(v->map);
		}
	}
}

int yaml_load(const char *text, size_t len, const char *file, const struct yaml_key *keys, void *out, struct hearth_err *err)
{
	struct loader l = { .file = file != NULL ? file : "(text)", .err = err };
	int r;

	r = values_new(&l, keys);
	if (r < 0)
		return r;
	if (!yaml_parser_initialize(&l.parser)) {
		r = no_memory(&l);
		goto out;
	}
	yaml_parser_set_input_string(&l.parser, (const unsigned char *)text, len);
	r = take_stream(&l);
	if (r == 0)
		r = check_required(&l);
	yaml_parser_delete(&l.parser);
	if (r == 0)
		values_commit(l.keys, l.values, out);
	else
		values_drop(l.keys, l.values);
out:
	free(l.values);
	return r;
}

int yaml_load_file(const char *path, const struct yaml_key *keys, void *out, struct hearth_err *err)
{
	char *text;
	size_t len;
	int r;

	r = file_read(path, FILE_MAX_BYTES, &text, &len);
	if (r == -EFBIG)
		return err_set(err, r, "%s: larger than 1 MiB: this is not a configuration file", path);
	if (r < 0)
		return err_set(err, r, "cannot read %s: %s", path, strerror(-r));
	r = yaml_load(text, len, path, keys, out, err);
	free(text);
	return r;
}

void yaml_unload(const struct yaml_key *keys, void *out)
{
	for (; keys->name != NULL; keys++) {
		if (keys->kind == YAML_MAP)
			yaml_unload(keys->sub, (char *)out + keys->offset);
		else
			field_free(keys, out);
	}
}
