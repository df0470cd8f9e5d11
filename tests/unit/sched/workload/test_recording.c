/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "sched/recording.h"

#define HEADER "t_ns,type,service_ns\n"

static void parses(void **state)
{
	static const char text[] = "t_ns,type,service_ns\r\n1000,GET,10\n1000,SCAN,500\r\n1500,GET,3600000000000\n1500,7,0";
	static const struct recorded_request want[] = { { 0, 10, 0 }, { 0, 500, 1 }, { 500, 3600000000000, 0 }, { 500, 0, 2 } };
	struct recording *r = NULL;
	struct hearth_err err = { 0 };

	if (recording_parse(text, strlen(text), "t.csv", &r, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(r->n, 4);
	for (size_t i = 0; i < r->n; i++)
		assert_true(r->requests[i].at_ns == want[i].at_ns && r->requests[i].service_ns == want[i].service_ns && r->requests[i].type == want[i].type);
	assert_int_equal(r->types_n, 3);
	assert_string_equal(r->types[0].name, "GET");
	assert_string_equal(r->types[1].name, "SCAN");
	assert_string_equal(r->types[2].name, "7");
	assert_true(r->types[0].n == 2 && r->types[1].n == 1 && r->types[2].n == 1);
	assert_null(recording_free(r));
	assert_null(recording_free(NULL));
}

/* Types whose names begin alike are different ones; the longest name there may be; arrivals of any origin. */
static void extremes(void **state)
{
	static const char text[] = HEADER "18446744073709551614,a,1\n18446744073709551614,aa,1\n18446744073709551615,a,1\n"
		"18446744073709551615,0123456789012345678901234567890,1\n";
	struct recording *r = NULL;
	struct hearth_err err = { 0 };

	assert_int_equal(recording_parse(text, strlen(text), "t.csv", &r, &err), 0);
	assert_int_equal(r->types_n, 3);
	assert_int_equal(r->requests[2].type, 0);
	assert_int_equal(r->requests[3].at_ns, 1);
	assert_int_equal(strlen(r->types[2].name), 31);
	recording_free(r);
}

static void refuse(const char *text, size_t len, const char *why)
{
	struct hearth_err err = { 0 };
	struct recording *r = NULL;
	int rc = recording_parse(text, len, "t.csv", &r, &err);

	if (rc != -EINVAL || err.code != rc || r || !strstr(err.msg, why))
		fail_msg("%s\ngave %d \"%s\" instead of \"%s\"", text, rc, err.msg, why);
}

static void refuses(void **state)
{
	static const struct { const char *text, *why; } bad[] = {
		{ "", "t.csv:1: the first line must be t_ns,type,service_ns" },
		{ "\n", "t.csv:1: the first line" },
		{ "t_ns,type,service\n", "t.csv:1: the first line" },
		{ "t_ns,type,service_ns\r", "t.csv:1: the first line" },
		{ "t_ns,type,service_ns ", "t.csv:1: the first line" },
		{ "t_ns,type,service_ns", "there is not one request" },
		{ HEADER, "t.csv:2: there is not one request" },
		{ HEADER "5,a,1\n\n6,a,1\n", "t.csv:3: an empty line" },
		{ HEADER "5,a,1\n\r\n", "t.csv:3: an empty line" },
		{ HEADER "1\n", "t.csv:2: a line must be like" },
		{ HEADER "1,a\n", "t.csv:2: a line must be like" },
		{ HEADER "1,a,1,2\n", "t.csv:2: a line must be like" },
		{ HEADER "x,a,1\n", "t.csv:2: t_ns must be" },
		{ HEADER ",a,1\n", "t.csv:2: t_ns must be" },
		{ HEADER "1.5,a,1\n", "t.csv:2: t_ns must be" },
		{ HEADER "1,a,1\n-1,a,1\n", "t.csv:3: t_ns must be" },
		{ HEADER "1,a,1\n 2,a,1\n", "t.csv:3: t_ns must be" },
		{ HEADER "18446744073709551616,a,1\n", "t.csv:2: t_ns must be" },
		{ HEADER "5,a,1\n4,a,1\n", "t.csv:3: t_ns goes back: the lines must be in order of arrival" },
		{ HEADER "5,a,1\n90000000000000000,a,1\n", "t.csv:3: t_ns is more than a year" },
		{ HEADER "1,,1\n", "t.csv:2: the type must have 1 to 31" },
		{ HEADER "1,01234567890123456789012345678901,1\n", "t.csv:2: the type must have 1 to 31" },
		{ HEADER "1,a b,1\n", "t.csv:2: the type may have only" },
		{ HEADER "1,\"a\",1\n", "t.csv:2: the type may have only" },
		{ HEADER "1,\xc3\xa4,1\n", "t.csv:2: the type may have only" },
		{ HEADER "1,a,\n", "t.csv:2: service_ns must be" },
		{ HEADER "1,a,1 \n", "t.csv:2: service_ns must be" },
		{ HEADER "1,a,1\r", "t.csv:2: service_ns must be" },
		{ HEADER "1,a,1\r\r\n", "t.csv:2: service_ns must be" },
		{ HEADER "1,a,3600000000001\n", "t.csv:2: service_ns must be" },
		{ HEADER "1,a,99999999999999999999999\n", "t.csv:2: service_ns must be" },
	};
	static const char nul[] = HEADER "1,a,1\n2,a\0,1\n", nul_first[] = HEADER "1,a\0,1\n", nul_last[] = HEADER "1,a,1\0";

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i].text, strlen(bad[i].text), bad[i].why);
	refuse(nul, sizeof(nul) - 1, "t.csv:3: the type may have only");
	refuse(nul_first, sizeof(nul_first) - 1, "t.csv:2: the type may have only");
	refuse(nul_last, sizeof(nul_last) - 1, "t.csv:2: service_ns must be");
}

static void many_types(void **state)
{
	char *text = malloc(64 * 300);
	struct hearth_err err = { 0 };
	struct recording *r = NULL;
	size_t n = (size_t)sprintf(text, HEADER);

	for (int i = 0; i < 256; i++)
		n += (size_t)sprintf(text + n, "%d,t%d,5\n", i, i);
	assert_int_equal(recording_parse(text, n, "t.csv", &r, &err), 0);
	assert_int_equal(r->types_n, 256);
	recording_free(r);
	n += (size_t)sprintf(text + n, "500,one-more,5\n");
	refuse(text, n, "t.csv:258: more than 256 types");
	free(text);
}

static void from_a_file(void **state)
{
	char dir[] = "/tmp/hearth-test-XXXXXX", path[64];
	struct hearth_err err = { 0 };
	struct recording *r = NULL;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/t.csv", dir);
	assert_int_equal(recording_read(path, &r, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(file_replace(path, HEADER "1,a,1\n", sizeof(HEADER) + 5, 0600, &err), 0);
	assert_int_equal(recording_read(path, &r, &err), 0);
	assert_int_equal(r->n, 1);
	recording_free(r);
	assert_int_equal(dir_remove(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses), cmocka_unit_test(extremes), cmocka_unit_test(refuses), cmocka_unit_test(many_types), cmocka_unit_test(from_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
