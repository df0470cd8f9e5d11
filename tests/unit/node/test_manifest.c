/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "priv.h"

#define LEAST "name: f\ncommand: [/bin/true]\ndirectory: /tmp\n"

static int parse(const char *text, const char *set, struct manifest *m, struct hearth_err *err)
{
	return manifest_parse(text, strlen(text), "m.yaml", "/", set, m, err);
}

static void test_defaults(void **state)
{
	struct hearth_err err;
	struct manifest m;

	(void)state;
	assert_int_equal(parse(LEAST, NULL, &m, &err), 0);
	assert_string_equal(m.name, "f");
	assert_string_equal(m.directory, "/tmp");
	assert_int_equal(m.contract, CONTRACT_LAMBDA);
	assert_int_equal(m.concurrency, 1);
	assert_int_equal(m.timeout_ns, 30 * NS_PER_S);
	assert_int_equal(m.memory_bytes, 512u << 20);
	assert_true(m.slot);
	assert_null(m.type);
	manifest_done(&m);
	assert_int_equal(parse(LEAST "type: short-ones_2\nslot: no\n", NULL, &m, &err), 0);
	assert_string_equal(m.type, "short-ones_2");
	assert_false(m.slot);
	manifest_done(&m);
}

static void test_set_comes_last(void **state)
{
	struct hearth_err err;
	struct manifest m;

	(void)state;
	assert_int_equal(parse(LEAST "env: {A: '1'}\n", "name: g\ntimeout: 2s\nenv: {B: '2'}\ncommand: [/bin/sh, -c]\n", &m, &err), 0);
	assert_string_equal(m.name, "g");
	assert_int_equal(m.timeout_ns, 2 * NS_PER_S);
	assert_string_equal(m.env[0], "B=2");
	assert_null(m.env[1]);
	assert_string_equal(m.command[1], "-c");
	manifest_done(&m);
	assert_true(parse(LEAST, "colour: red\n", &m, &err) < 0);
	assert_non_null(strstr(err.msg, "--set"));
}

static void test_refused(void **state)
{
	static const char *const texts[][2] = {
		{ LEAST "colour: red\n", "m.yaml:4" },
		{ LEAST "name: g\n", "m.yaml:4" },
		{ LEAST "pids: 1\n", "m.yaml:4" },
		{ LEAST "concurrency: 2\n", "concurrency" },
		{ LEAST "zygote: true\ncontract: http\n", "zygote: is of the lambda contract" },
		{ LEAST "zygote: true\ncontract: native\n", "zygote: is of the lambda contract" },
		{ LEAST "zygote: true\nconcurrency: 0\n", "concurrency" },
		{ LEAST "zygote: true\nconcurrency: 257\n", "at most 256" },
		{ LEAST "zygote: true\nconcurrency: 100\npids: 107\n", "at least 108" },
		{ LEAST "zygote: true\nconcurrency: 100\nnofile: 147\n", "at least 148" },
		{ LEAST "zygote: perhaps\n", "zygote" },
		{ LEAST "worker_idle: 0s\n", "worker_idle" },
		{ LEAST "min_instances: 9\n", "min_instances" },
		{ LEAST "park: snapshot\nnetwork: host\n", "snapshot" },
		{ LEAST "mounts: [x]\n", "mounts" },
		{ LEAST "type: a b\n", "type" },
		{ LEAST "type: ''\n", "type" },
		{ LEAST "type: 'a\"b'\n", "type" },
		{ LEAST "slot: some\n", "m.yaml:4" },
		{ "name: a/b\ncommand: [/bin/true]\ndirectory: /tmp\n", "name" },
		{ "name: -a\ncommand: [/bin/true]\ndirectory: /tmp\n", "name" },
		{ "name: f\ncommand: ['']\ndirectory: /tmp\n", "command" },
		{ "name: f\ncommand: [/no/such]\ndirectory: /tmp\n", "/no/such" },
		{ "name: f\ncommand: [/bin/true]\ndirectory: /no/such\n", "/no/such" },
		{ "name: f\ncommand: [/bin/true]\ndirectory: /bin/true\n", "folder" },
		{ "name: f\ncommand: [/bin/true]\ndirectory: /\n", "machine" },
	};
	struct hearth_err err;
	struct manifest m;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_true(parse(texts[i][0], NULL, &m, &err) < 0);
		if (!strstr(err.msg, texts[i][1]))
			fail_msg("%s: \"%s\" does not say %s", texts[i][0], err.msg, texts[i][1]);
	}
}

static void test_stored_and_read_again(void **state)
{
	struct manifest m, again;
	struct hearth_err err;
	json_t *o;

	(void)state;
	assert_int_equal(parse(LEAST "env: {A: 'x=y'}\ncpus: 0.5\npark: off\nuser: nobody\nhandler: a.b\nkeep_hot: 1h\n", NULL, &m, &err), 0);
	o = manifest_to_json(&m);
	assert_int_equal(manifest_from_json(o, &again, &err), 0);
	assert_true(manifest_equal(&m, &again));
	manifest_done(&again);
	for (const char *const *key = (const char *const[]){ "name", "command", NULL }; *key; key++) {
		json_t *less = json_copy(o);

		json_object_del(less, *key);
		assert_true(manifest_from_json(less, &again, &err) < 0);
		json_decref(less);
	}
	json_object_set_new(o, "timeout", json_string("soon"));
	assert_true(manifest_from_json(o, &again, &err) < 0);
	json_decref(o);
	manifest_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_set_comes_last), cmocka_unit_test(test_refused), cmocka_unit_test(test_stored_and_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
