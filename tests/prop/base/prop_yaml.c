/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/yaml.h"
#include "seed.h"

#define ROUNDS 2000
#define KEYS 9

static const char *const colours[] = { "red", "green", "blue", NULL };

struct conf {
	char *text;
	int64_t number;
	bool flag;
	int colour;
	uint64_t duration_ns, bytes;
	double real;
	char **list, **env;
};

static const struct yaml_key keys[] = {
	{ "text", YAML_STR, offsetof(struct conf, text) },
	{ "number", YAML_INT, offsetof(struct conf, number) },
	{ "flag", YAML_BOOL, offsetof(struct conf, flag) },
	{ "colour", YAML_ENUM, offsetof(struct conf, colour), .names = colours },
	{ "duration", YAML_DURATION, offsetof(struct conf, duration_ns) },
	{ "bytes", YAML_BYTES, offsetof(struct conf, bytes) },
	{ "real", YAML_DOUBLE, offsetof(struct conf, real) },
	{ "list", YAML_STRV, offsetof(struct conf, list) },
	{ "env", YAML_ENV, offsetof(struct conf, env) },
	{ NULL },
};

/* Any text without NUL, with what YAML takes specially; valid UTF-8. */
static char *random_text(struct rng *g)
{
	static const char *const special[] = { "\"", "\\", "\n", "\t", ": ", "# ", "'", "- ", "\xc3\xa9", "\xf0\x9f\x94\xa5", "{", "]", "&", "*", "\x01" };
	struct buf b = { 0 };
	size_t n = rng_below(g, 20);

	for (size_t i = 0; i < n; i++) {
		if (rng_below(g, 3) == 0)
			assert_int_equal(buf_printf(&b, "%s", special[rng_below(g, sizeof(special) / sizeof(special[0]))]), 0);
		else
			assert_int_equal(buf_printf(&b, "%c", (char)(' ' + rng_below(g, 95))), 0);
	}
	assert_int_equal(buf_append(&b, "", 1), 0);
	return (char *)b.data;
}

static void write_quoted(struct buf *out, const char *text)
{
	assert_int_equal(buf_append(out, "\"", 1), 0);
	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			assert_int_equal(buf_printf(out, "\\%c", *p), 0);
		else if (*p < 0x20)
			assert_int_equal(buf_printf(out, "\\x%02x", *p), 0);
		else
			assert_int_equal(buf_append(out, p, 1), 0);
	}
	assert_int_equal(buf_append(out, "\"", 1), 0);
}

static void conf_random(struct rng *g, struct conf *c)
{
	size_t n = rng_below(g, 5);
	char *value;

	c->text = random_text(g);
	c->number = (int64_t)rng_next(g);
	c->flag = rng_below(g, 2) != 0;
	c->colour = (int)rng_below(g, 3);
	c->duration_ns = rng_next(g) >> rng_below(g, 64);
	c->bytes = rng_next(g) >> rng_below(g, 64);
	c->real = (double)(int64_t)rng_next(g) / (double)(1 + rng_below(g, 1000000));
	c->list = calloc(n + 1, sizeof(char *));
	c->env = calloc(n + 1, sizeof(char *));
	assert_true(c->list != NULL && c->env != NULL);
	for (size_t i = 0; i < n; i++) {
		c->list[i] = random_text(g);
		value = random_text(g);
		assert_true(asprintf(&c->env[i], "V%zu=%s", i, value) > 0);
		free(value);
	}
}

static void write_key(struct rng *g, struct buf *out, const struct conf *c, size_t key)
{
	bool flow = rng_below(g, 2) != 0;
	const char *separator = "";

	assert_int_equal(buf_printf(out, "%s%s:", rng_below(g, 4) == 0 ? "# note\n\n" : "", keys[key].name), 0);
	switch (key) {
	case 0:
		assert_int_equal(buf_printf(out, " "), 0);
		write_quoted(out, c->text);
		break;
	case 1:
		assert_int_equal(buf_printf(out, " %lld", (long long)c->number), 0);
		break;
	case 2:
		assert_int_equal(buf_printf(out, " %s", c->flag ? (flow ? "true" : "yes") : (flow ? "false" : "no")), 0);
		break;
	case 3:
		assert_int_equal(buf_printf(out, " %s  # why", colours[c->colour]), 0);
		break;
	case 4:
		assert_int_equal(buf_printf(out, " %lluns", (unsigned long long)c->duration_ns), 0);
		break;
	case 5:
		assert_int_equal(buf_printf(out, " %llu%s", (unsigned long long)c->bytes, flow ? "B" : ""), 0);
		break;
	case 6:
		assert_int_equal(buf_printf(out, " %.17g", c->real), 0);
		break;
	case 7:
		assert_int_equal(buf_printf(out, flow || c->list[0] == NULL ? " [" : ""), 0);
		for (char **s = c->list; *s != NULL; s++, separator = ", ") {
			assert_int_equal(buf_printf(out, "%s", flow ? separator : "\n  - "), 0);
			write_quoted(out, *s);
		}
		assert_int_equal(buf_printf(out, flow || c->list[0] == NULL ? "]" : ""), 0);
		break;
	default:
		assert_int_equal(buf_printf(out, flow || c->env[0] == NULL ? " {" : ""), 0);
		for (char **s = c->env; *s != NULL; s++, separator = ", ") {
			assert_int_equal(buf_printf(out, "%s%.2s: ", flow ? separator : "\n  ", *s), 0);
			write_quoted(out, *s + 3);
		}
		assert_int_equal(buf_printf(out, flow || c->env[0] == NULL ? "}" : ""), 0);
	}
	assert_int_equal(buf_printf(out, "\n"), 0);
}

static void same_list(char **a, char **b)
{
	for (; *a != NULL && *b != NULL; a++, b++)
		assert_string_equal(*a, *b);
	assert_ptr_equal(*a, *b);
}

static void same_conf(const struct conf *a, const struct conf *b)
{
	assert_string_equal(a->text, b->text);
	assert_int_equal(a->number, b->number);
	assert_int_equal(a->flag, b->flag);
	assert_int_equal(a->colour, b->colour);
	assert_int_equal(a->duration_ns, b->duration_ns);
	assert_int_equal(a->bytes, b->bytes);
	assert_true(a->real == b->real);
	same_list(a->list, b->list);
	same_list(a->env, b->env);
}

/* What is written, in any order and form, is read back the same. */
static void prop_round_trip(void **state)
{
	struct rng g = { prop_seed() };
	struct hearth_err err;

	for (int round = 0; round < ROUNDS; round++) {
		struct conf in = { 0 }, out = { 0 };
		struct buf text = { 0 };
		size_t first = rng_below(&g, KEYS);

		conf_random(&g, &in);
		for (size_t i = 0; i < KEYS; i++)
			write_key(&g, &text, &in, (first + i) % KEYS);
		if (yaml_load((char *)buf_head(&text), text.len, "prop", keys, &out, &err) < 0)
			fail_msg("round %d: %s\n%.*s", round, err.msg, (int)text.len, (char *)buf_head(&text));
		same_conf(&in, &out);
		yaml_unload(keys, &in);
		yaml_unload(keys, &out);
		buf_done(&text);
	}
}

/* Damaged text is either still right or an error with a message, and then nothing has changed. */
static void prop_damage(void **state)
{
	struct rng g = { prop_seed() };

	for (int round = 0; round < ROUNDS; round++) {
		struct conf in = { 0 }, out = { 0 }, zero = { 0 };
		struct hearth_err err = { 0 };
		struct buf text = { 0 };

		conf_random(&g, &in);
		for (size_t i = 0; i < KEYS; i++)
			write_key(&g, &text, &in, i);
		for (uint64_t i = rng_below(&g, 4); i > 0; i--)
			buf_head(&text)[rng_below(&g, text.len)] = (uint8_t)rng_next(&g);
		if (yaml_load((char *)buf_head(&text), text.len, "prop", keys, &out, &err) < 0) {
			assert_int_equal(err.code, -EINVAL);
			assert_memory_equal(err.msg, "prop:", 5);
			assert_memory_equal(&out, &zero, sizeof(out));
		}
		yaml_unload(keys, &in);
		yaml_unload(keys, &out);
		buf_done(&text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(prop_round_trip), cmocka_unit_test(prop_damage) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
