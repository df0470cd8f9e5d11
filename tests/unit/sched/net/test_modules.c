/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <unistd.h>

#include "module.h"

/* A module that is not there, is not one, or is missing its library is an error that says what to do; nothing else stops working. */
static void test_absent(void **state)
{
	static const char *const names[] = { "xdp", "dpdk" };
	struct net_config cfg = { .listen = "127.0.0.1:0" };
	char folder[64], path[128], text[256];
	struct hearth_err err = { 0 };
	struct net_port *p = NULL;
	FILE *f;

	temp_folder(folder);
	setenv("HEARTH_MODULES", folder, 1);
	for (int i = 0; i < 2; i++) {
		const struct net_backend *b = net_backend_find(names[i]);

		assert_non_null(b);
		assert_string_equal(b->name, names[i]);
		assert_int_equal(b->probe(&err), -EOPNOTSUPP);
		assert_non_null(strstr(err.msg, "built without; install lib"));
		assert_int_equal(b->open(&cfg, &p, &err), -EOPNOTSUPP);
		assert_null(p);
		b->describe(NULL, text, sizeof(text));
		assert_string_equal(text, "not there");
		snprintf(path, sizeof(path), "%s/hearth-net-%s.so", folder, names[i]);
		f = fopen(path, "w");
		assert_non_null(f);
		fputs("no object\n", f);
		fclose(f);
		assert_int_equal(b->probe(&err), -EOPNOTSUPP);
		assert_non_null(strstr(err.msg, path));
		unlink(path);
		assert_null(b->close(NULL));
	}
	rmdir(folder);
	assert_non_null(net_backend_find("udp"));
	assert_null(net_backend_find("nope"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_absent) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
