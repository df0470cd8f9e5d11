/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <stdbool.h>

#include "base/file.h"
#include "base/yaml.h"

enum contract { LAMBDA, HTTP, NATIVE };
static const char *const contracts[] = { "lambda", "http", "native", NULL };

struct conf {
	char *name;
	int64_t port;
	bool debug;
	int contract;
	uint64_t timeout_ns, memory_bytes;
	double ratio;
	char **command, **env;
};

static const struct yaml_key keys[] = {
	{ "name", YAML_STR, offsetof(struct conf, name), 1 },
	{ "port", YAML_INT, offsetof(struct conf, port), 0, 1, 65535 },
	{ "debug", YAML_BOOL, offsetof(struct conf, debug) },
	{ "contract", YAML_ENUM, offsetof(struct conf, contract), .names = contracts },
	{ "timeout", YAML_DURATION, offsetof(struct conf, timeout_ns), 0, 1000000, 3600000000000 },
	{ "memory", YAML_BYTES, offsetof(struct conf, memory_bytes), 0, 1 << 20, 1ll << 40 },
	{ "ratio", YAML_DOUBLE, offsetof(struct conf, ratio), 0, 0, 1 },
	{ "command", YAML_STRV, offsetof(struct conf, command) },
	{ "env", YAML_ENV, offsetof(struct conf, env) },
	{ NULL },
};

static int load(const char *text, struct conf *c, struct hearth_err *err)
{
	err->msg[0] = '\0';
	return yaml_load(text, strlen(text), "f.yaml", keys, c, err);
}

static void test_all_kinds(void **state)
{
	struct conf c = { .name = strdup("default"), .port = 1 };
	struct hearth_err err;

	assert_int_equal(load("# a comment\nname: resize\nport: 8080\ndebug: yes\ncontract: http\ntimeout: 1.5s\nmemory: 6MiB\nratio: 0.25\n"
			      "command: [python3, \"-u\", main.py]\nenv:\n  A: 1\n  B: \"\"\n  C: 'x=y'\n", &c, &err), 0);
	assert_string_equal(c.name, "resize");
	assert_int_equal(c.port, 8080);
	assert_true(c.debug);
	assert_int_equal(c.contract, HTTP);
	assert_int_equal(c.timeout_ns, 1500000000);
	assert_int_equal(c.memory_bytes, 6 << 20);
	assert_true(c.ratio == 0.25);
	assert_string_equal(c.command[0], "python3");
	assert_string_equal(c.command[2], "main.py");
	assert_null(c.command[3]);
	assert_string_equal(c.env[0], "A=1");
	assert_string_equal(c.env[1], "B=");
	assert_string_equal(c.env[2], "C=x=y");
	assert_null(c.env[3]);
	/* a second load replaces, an absent key keeps */
	assert_int_equal(load("name: \"\"\ncommand: one\nenv: {}\n", &c, &err), 0);
	assert_string_equal(c.name, "");
	assert_string_equal(c.command[0], "one");
	assert_null(c.command[1]);
	assert_null(c.env[0]);
	assert_int_equal(c.port, 8080);
	yaml_unload(keys, &c);
	assert_null(c.name);
	assert_null(c.command);
	yaml_unload(keys, &c);
}

/* ---- lists of mappings ---- */

struct part { char *label; int64_t size; double share; };
struct type { char *name; uint64_t mean_ns; struct part *parts; size_t parts_n; };
struct mix { char *title; struct type *types; size_t types_n; };

static const struct yaml_key part_keys[] = {
	{ "label", YAML_STR, offsetof(struct part, label), 1 },
	{ "size", YAML_INT, offsetof(struct part, size), 0, 1, 9 },
	{ "share", YAML_DOUBLE, offsetof(struct part, share) },
	{ NULL },
};
static const struct part part_defaults = { .size = 4, .share = 0.5 };
static const struct yaml_key type_keys[] = {
	{ "name", YAML_STR, offsetof(struct type, name), 1 },
	{ "mean", YAML_DURATION, offsetof(struct type, mean_ns) },
	{ "parts", YAML_MAPS, offsetof(struct type, parts), .sub = part_keys, .sub_bytes = sizeof(struct part), .sub_defaults = &part_defaults,
	  .count_offset = offsetof(struct type, parts_n) },
	{ NULL },
};
static const struct yaml_key mix_keys[] = {
	{ "title", YAML_STR, offsetof(struct mix, title) },
	{ "types", YAML_MAPS, offsetof(struct mix, types), 1, 1, 3, .sub = type_keys, .sub_bytes = sizeof(struct type),
	  .count_offset = offsetof(struct mix, types_n) },
	{ NULL },
};

static int load_mix(const char *text, struct mix *m, struct hearth_err *err)
{
	err->msg[0] = '\0';
	return yaml_load(text, strlen(text), "f.yaml", mix_keys, m, err);
}

static void test_maps(void **state)
{
	struct mix m = { 0 };
	struct hearth_err err;

	assert_int_equal(load_mix("types:\n- name: a\n  mean: 1us\n- {name: b, parts: [{label: x}, {label: y, size: 7, share: 0.1}]}\ntitle: t\n", &m, &err), 0);
	assert_string_equal(m.title, "t");
	assert_int_equal(m.types_n, 2);
	assert_string_equal(m.types[0].name, "a");
	assert_int_equal(m.types[0].mean_ns, 1000);
	assert_null(m.types[0].parts);
	assert_int_equal(m.types[0].parts_n, 0);
	assert_int_equal(m.types[1].parts_n, 2);
	assert_string_equal(m.types[1].parts[0].label, "x");
	assert_int_equal(m.types[1].parts[0].size, 4);
	assert_true(m.types[1].parts[0].share == 0.5);
	assert_int_equal(m.types[1].parts[1].size, 7);
	/* a second load replaces all entries, nested ones too */
	assert_int_equal(load_mix("types: [{name: c, parts: []}]\n", &m, &err), 0);
	assert_int_equal(m.types_n, 1);
	assert_string_equal(m.types[0].name, "c");
	assert_int_equal(m.types[0].parts_n, 0);
	assert_string_equal(m.title, "t");
	yaml_unload(mix_keys, &m);
	assert_null(m.types);
	assert_int_equal(m.types_n, 0);
	yaml_unload(mix_keys, &m);
}

static const struct { const char *text, *want; } wrong_maps[] = {
	{ "title: t\n", "f.yaml: required key \"types\" is missing" },
	{ "types: []\n", "f.yaml:1: key \"types\" has 0 entries: at least 1 are needed" },
	{ "types:\n- {name: a}\n- {name: b}\n- {name: c}\n- {name: d}\n", "f.yaml:5: key \"types\": more than 3 entries" },
	{ "types: a\n", "key \"types\": a is not a list of mappings" },
	{ "types: {name: a}\n", "key \"types\" takes a list of mappings, not a mapping" },
	{ "types: [a]\n", "key \"types\": every entry must be a mapping" },
	{ "types: [[{name: a}]]\n", "key \"types\": every entry must be a mapping" },
	{ "types:\n- name: a\n- mean: 1us\n", "f.yaml:3: required key \"name\" is missing" },
	{ "types:\n- name: a\n- name: b\n  men: 1us\n", "f.yaml:4: unknown key \"men\" (did you mean \"mean\"?)" },
	{ "types:\n- name: a\n  name: b\n", "f.yaml:3: duplicate key \"name\" (first on line 2)" },
	{ "types:\n- name: a\n  parts:\n  - label: x\n  - size: 1\n", "f.yaml:5: required key \"label\" is missing" },
	{ "types:\n- name: a\n  parts:\n  - {label: x, size: 10}\n", "f.yaml:4: key \"size\": 10 is out of range (1 to 9)" },
	{ "types:\n- name: a\n  parts: [{label: x}]\n- name: b\ntypo: 1\n", "f.yaml:5: unknown key \"typo\"" },
	{ "types:\n- {name: a}\n- &x {name: b}\n", "anchors (&x) are not supported" },
	{ "types: [{name: a}\n", "did not find expected ',' or ']'" },
};

static void test_wrong_maps(void **state)
{
	struct hearth_err err;

	for (size_t i = 0; i < sizeof(wrong_maps) / sizeof(wrong_maps[0]); i++) {
		struct mix m = { .title = strdup("old") }, before = m;
		int r = load_mix(wrong_maps[i].text, &m, &err);

		if (r != -EINVAL || strstr(err.msg, wrong_maps[i].want) == NULL)
			fail_msg("%s\ngave %d \"%s\"\ninstead of \"%s\"", wrong_maps[i].text, r, err.msg, wrong_maps[i].want);
		assert_memory_equal(&m, &before, sizeof(m));
		yaml_unload(mix_keys, &m);
	}
}

static const struct { const char *text, *want; } wrong[] = {
	{ "name: x\nprot: 1\n", "f.yaml:2: unknown key \"prot\" (did you mean \"port\"?)" },
	{ "name: x\nMemory: 1\n", "unknown key \"Memory\" (did you mean \"memory\"?)" },
	{ "name: x\ncolour: 1\n", "f.yaml:2: unknown key \"colour\" (known: name, port, debug" },
	{ "name: x\nport: 1\n\nport: 2\n", "f.yaml:4: duplicate key \"port\" (first on line 2)" },
	{ "port: 1\n", "f.yaml: required key \"name\" is missing" },
	{ "", "required key \"name\" is missing" },
	{ "---\n", "required key \"name\" is missing" },
	{ "name: x\nport: 99999\n", "f.yaml:2: key \"port\": 99999 is out of range (1 to 65535)" },
	{ "name: x\nport: 99999999999999999999\n", "out of range (1 to 65535)" },
	{ "name: x\nport: \"80\"\n", "the text \"80\" is not a whole number" },
	{ "name: x\nport: 080\n", "is not a whole number" },
	{ "name: x\nport: 8.5\n", "is not a whole number" },
	{ "name: x\nport: [1]\n", "key \"port\" takes one value, not a list" },
	{ "name: x\nport: {a: 1}\n", "key \"port\" takes one value, not a mapping" },
	{ "name: x\nport:\n", "f.yaml:2: key \"port\" has no value" },
	{ "name: null\n", "key \"name\" has no value" },
	{ "name: \"a\\0b\"\n", "contains a NUL byte" },
	{ "name: x\ndebug: maybe\n", "maybe is not true or false" },
	{ "name: x\ndebug: \"yes\"\n", "is not true or false" },
	{ "name: x\ncontract: htp\n", "\"htp\" is not one of lambda, http, native (did you mean \"http\"?)" },
	{ "name: x\ntimeout: 5\n", "5 is not a duration such as" },
	{ "name: x\ntimeout: 2h\n", "2h is out of range (1ms to 1h)" },
	{ "name: x\ntimeout: 0\n", "out of range" },
	{ "name: x\nmemory: 6M\n", "is not a size such as" },
	{ "name: x\nmemory: 4096\n", "4096 is out of range (1MiB to 1TiB)" },
	{ "name: x\nratio: nan\n", "is not a number" },
	{ "name: x\nratio: 0x1\n", "is not a number" },
	{ "name: x\nratio: 1.01\n", "out of range (0 to 1)" },
	{ "name: x\ncommand: {a: b}\n", "takes a list of texts, not a mapping" },
	{ "name: x\ncommand: [a, [b]]\n", "every entry must be a text" },
	{ "name: x\ncommand:\n- a\n-\n", "f.yaml:4: an entry of key \"command\" has no value" },
	{ "name: x\nenv: [A=1]\n", "takes a mapping of NAME: value, not a list" },
	{ "name: x\nenv: A=1\n", "is not a mapping of NAME: value" },
	{ "name: x\nenv:\n  A: 1\n  A: 2\n", "f.yaml:4: key \"env\": duplicate variable \"A\"" },
	{ "name: x\nenv: {A=B: 1}\n", "\"A=B\" cannot be the name of a variable" },
	{ "name: x\nenv: {A: [1]}\n", "the value of \"A\" must be a text" },
	{ "name: x\nenv: {A: }\n", "variable \"A\" has no value" },
	{ "name: &a x\n", "f.yaml:1: anchors (&a) are not supported" },
	{ "name: *a\n", "aliases (*a) are not supported" },
	{ "&top\nname: x\n", "anchors (&top) are not supported" },
	{ "name: !!str x\n", "tags (tag:yaml.org,2002:str) are not supported" },
	{ "name: x\n<<: {port: 1}\n", "unknown key \"<<\"" },
	{ "name: x\n---\nname: y\n", "f.yaml:2: a second document begins here" },
	{ "name: x\n? [a]\n: b\n", "a key must be a word" },
	{ "- name\n", "f.yaml:1: the file must be a mapping" },
	{ "name\n", "the file must be a mapping" },
	{ "name: x\n\tport: 1\n", "f.yaml:2: " },
	{ "name: x\ncommand: [a\n", "did not find expected ',' or ']'" },
	{ "name: \xff\n", "f.yaml: byte " },
};

static void test_wrong(void **state)
{
	struct hearth_err err;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct conf c = { .port = 7, .name = strdup("old") }, before = c;
		int r = load(wrong[i].text, &c, &err);

		if (r != -EINVAL || strstr(err.msg, wrong[i].want) == NULL)
			fail_msg("%s\ngave %d \"%s\"\ninstead of \"%s\"", wrong[i].text, r, err.msg, wrong[i].want);
		assert_memory_equal(&c, &before, sizeof(c));
		assert_null(strchr(err.msg, '\n'));
		assert_int_equal(yaml_load(wrong[i].text, strlen(wrong[i].text), NULL, keys, &c, NULL), -EINVAL);
		yaml_unload(keys, &c);
	}
}

static void test_file(void **state)
{
	char dir[64], path[80], *big = calloc(1, (1 << 20) + 1);
	struct hearth_err err;
	struct conf c = { 0 };

	temp_folder(dir);
	snprintf(path, sizeof(path), "%s/c.yaml", dir);
	assert_int_equal(yaml_load_file(path, keys, &c, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(file_replace(path, "name: f\n", 8, 0600, NULL), 0);
	assert_int_equal(yaml_load_file(path, keys, &c, &err), 0);
	assert_string_equal(c.name, "f");
	assert_non_null(big);
	assert_int_equal(file_replace(path, big, (1 << 20) + 1, 0600, NULL), 0);
	assert_int_equal(yaml_load_file(path, keys, &c, &err), -EFBIG);
	free(big);
	yaml_unload(keys, &c);
	assert_int_equal(dir_remove(dir), 0);
}

static void test_duration(void **state)
{
	static const struct { const char *text; uint64_t ns; } good[] = {
		{ "0", 0 }, { "0s", 0 }, { "1ns", 1 }, { "250ms", 250000000 }, { "1.5s", 1500000000 }, { "10m", 600000000000 },
		{ "2h", 7200000000000 }, { "0.1us", 100 }, { "1.000000001s", 1000000001 }, { "18446744073709551615ns", UINT64_MAX },
	};
	static const char *const bad[] = { "", "5", "s", "-1s", "+1s", " 1s", "1s ", "1 s", "1.s", ".5s", "1.5", "1d", "1S", "0.5ns",
		"1.0000000001s", "18446744073709551616ns", "99999999999h", "1e3s", "1h30m", "0.0" };
	uint64_t v;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		v = 42;
		assert_int_equal(parse_duration(good[i].text, &v), 0);
		assert_int_equal(v, good[i].ns);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		v = 42;
		assert_int_equal(parse_duration(bad[i], &v), -EINVAL);
		assert_int_equal(v, 42);
	}
}

static void test_bytes(void **state)
{
	static const struct { const char *text; uint64_t bytes; } good[] = {
		{ "0", 0 }, { "4096", 4096 }, { "12B", 12 }, { "6MiB", 6 << 20 }, { "512MB", 512000000 }, { "1GiB", 1 << 30 }, { "1.5KiB", 1536 },
		{ "2kB", 2000 }, { "2KB", 2000 }, { "1TiB", 1ull << 40 }, { "0.1GiB", 107374182 },
	};
	static const char *const bad[] = { "", "6M", "6 MiB", "-1", "1.5", "MiB", "99999999TiB", "0x10" };
	uint64_t v;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(parse_bytes(good[i].text, &v), 0);
		assert_int_equal(v, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse_bytes(bad[i], &v), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_maps),
		cmocka_unit_test(test_wrong_maps),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_duration),
		cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
