/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/yaml.h"
#include "fault.h"

#define SWEEP_MAX 2000

struct type {
	char *label;
	char **args;
};

struct conf {
	char *name;
	char **command, **env;
	int64_t port;
	struct type *types;
	size_t types_n;
};

static const struct yaml_key type_keys[] = {
	{ "label", YAML_STR, offsetof(struct type, label), 1 },
	{ "args", YAML_STRV, offsetof(struct type, args) },
	{ NULL },
};

static const struct yaml_key keys[] = {
	{ "name", YAML_STR, offsetof(struct conf, name), 1 },
	{ "command", YAML_STRV, offsetof(struct conf, command) },
	{ "env", YAML_ENV, offsetof(struct conf, env) },
	{ "port", YAML_INT, offsetof(struct conf, port), 0, 1, 65535 },
	{ "types", YAML_MAPS, offsetof(struct conf, types), .sub = type_keys, .sub_bytes = sizeof(struct type), .count_offset = offsetof(struct conf, types_n) },
	{ NULL },
};

static const char good[] = "name: resize\ncommand: [python3, -u, main.py, a, b, c]\nenv: {A: 1, B: two}\nport: 8080\n"
	"types: [{label: a, args: [x, y]}, {label: b}]\n";
static const char bad[] = "name: resize\ncommand: [python3, -u]\nenv: {A: 1}\nport: 8080\n"
	"types: [{label: a, args: [x, y]}, {label: b}]\nprot: 1\n";

/* Every allocation, libyaml's too, fails once: -ENOMEM, nothing changed, nothing leaked. */
static void sweep(const char *text, int without_fault)
{
	bool fired = true;
	unsigned n;

	for (n = 1; n < SWEEP_MAX && fired; n++) {
		struct conf c = { .name = strdup("old"), .port = 3 }, before = c;
		long blocks = fault_live_blocks();
		struct hearth_err err = { 0 };
		int r;

		fault_arm(FAULT_ALLOC, n, 0);
		r = yaml_load(text, strlen(text), "f", keys, &c, &err);
		fired = fault_disarm();
		/* glibc's asprintf does without one of its allocations, so a fault may leave the result as it is */
		assert_true(r == without_fault || (fired && r == -ENOMEM));
		if (r < 0) {
			assert_int_equal(err.code, r);
			assert_true(err.msg[0] != '\0');
			assert_memory_equal(&c, &before, sizeof(c));
			assert_int_equal(fault_live_blocks(), blocks);
		} else {
			assert_string_equal(c.name, "resize");
			assert_string_equal(c.command[5], "c");
			assert_string_equal(c.env[1], "B=two");
			assert_int_equal(c.port, 8080);
			assert_int_equal(c.types_n, 2);
			assert_string_equal(c.types[0].args[1], "y");
			assert_string_equal(c.types[1].label, "b");
		}
		yaml_unload(keys, &c);
		assert_int_equal(fault_live_blocks(), blocks - 1);      /* "old" */
	}
	assert_true(n > 20 && n < SWEEP_MAX);
}

static void fault_load(void **state)
{
	sweep(good, 0);
	sweep(bad, -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(fault_load) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
