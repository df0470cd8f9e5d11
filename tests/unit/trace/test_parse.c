/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>

#define HEADER "app,func,end_timestamp,duration\n"
#define NAME_128 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct trace *parse(const char *text)
{
	struct hearth_err err = { 0 };
	struct trace *t = NULL;

	if (trace_parse(text, strlen(text), "t.csv", &t, &err) < 0)
		fail_msg("%s", err.msg);
	return t;
}

static void test_sorted_by_start(void **state)
{
	struct trace *t = parse(HEADER "a,f,10.5,0.5\nb,g,4,3\na,f,2.25,0.25\nb,f,7,0\n");

	assert_int_equal(t->n_calls, 4);
	assert_int_equal(t->n_funcs, 3);                /* a function is its name in its application */
	assert_int_equal(t->calls[0].start_ns, 0);      /* b,g starts first, at 1 s */
	assert_string_equal(t->funcs[t->calls[0].func].name, "g");
	assert_int_equal(t->calls[0].duration_ns, 3000000000);
	assert_int_equal(t->calls[1].start_ns, 1000000000);
	assert_int_equal(t->calls[1].duration_ns, 250000000);
	assert_int_equal(t->calls[2].start_ns, 6000000000);
	assert_int_equal(t->calls[3].start_ns, 9000000000);
	assert_int_equal(t->funcs[t->calls[1].func].calls, 2);
	assert_int_equal(t->funcs[t->calls[1].func].total_ns, 750000000);
	assert_int_equal(t->end_ns, 9500000000);
	assert_int_equal(trace_span_ns(t), 9000000000);
	assert_false(trace_is_generated(t));
	trace_free(t);
}

static void test_begun_before_the_trace(void **state)
{
	struct trace *t = parse(HEADER "a,f,1,5\na,f,2,1\n");

	assert_int_equal(t->calls[0].start_ns, 0);
	assert_int_equal(t->calls[0].duration_ns, 5000000000);
	assert_int_equal(t->calls[1].start_ns, 5000000000);
	trace_free(t);
}

static void test_good(void **state)
{
	static const char *const good[] = {
		HEADER "a,f,1,1",                               /* no newline at the end */
		"app,func,end_timestamp,duration\r\na,f,1,1\r\n",
		HEADER "a,f,1e1,1E-3\n",
		HEADER "a,f,1.5e+2,0\n",
		HEADER "a,f,1000000000,0\n",
		HEADER NAME_128 "," NAME_128 ",1,1\n",
		HEADER "\xc3\xa4,f,1,1\n",
		HEADER "a,f,00001.000,0.000000001\n",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		trace_free(parse(good[i]));
}

static void test_bad(void **state)
{
	static const struct { const char *text, *says; } bad[] = {
		{ "", "t.csv: the file is empty" },
		{ HEADER, "t.csv: the trace has no invocations" },
		{ "\n", "t.csv:1: column 1 of the header must be app" },
		{ "app,func,duration,end_timestamp\na,f,1,1\n", "t.csv:1: column 3 of the header must be end_timestamp" },
		{ "app,func,end_timestamp\na,f,1\n", "t.csv:1: column 4 of the header must be duration" },
		{ "app,func,end_timestamp,duration,x\na,f,1,1,1\n", "t.csv:1: the header has 5 columns" },
		{ "a,f,1,1\n", "t.csv:1: column 1 of the header must be app" },
		{ HEADER "a,f,1\n", "t.csv:2: 3 columns where 4 are due" },
		{ HEADER "a,f,1,1,1\n", "t.csv:2: 5 columns where 4 are due" },
		{ HEADER "a,f,1,1\n\na,f,1,1\n", "t.csv:3: 1 column where 4 are due" },
		{ HEADER ",f,1,1\n", "t.csv:2: app is empty" },
		{ HEADER "a,,1,1\n", "t.csv:2: func is empty" },
		{ HEADER "a,f,,1\n", "t.csv:2: end_timestamp is empty" },
		{ HEADER "a,f,1,\n", "t.csv:2: duration is empty" },
		{ HEADER "a,f,1,x\n", "t.csv:2: duration is no decimal number" },
		{ HEADER "a,f,1,1s\n", "t.csv:2: duration is no decimal number" },
		{ HEADER "a,f, 1,1\n", "t.csv:2: end_timestamp is no decimal number" },
		{ HEADER "a,f,+1,1\n", "t.csv:2: end_timestamp is no decimal number" },
		{ HEADER "a,f,.5,1\n", "t.csv:2: end_timestamp is no decimal number" },
		{ HEADER "a,f,1.2.3,1\n", "t.csv:2: end_timestamp is no decimal number: 1.2.3" },
		{ HEADER "a,f,1e,1\n", "t.csv:2: end_timestamp is no decimal number: 1e" },
		{ HEADER "a,f,0x10,1\n", "t.csv:2: end_timestamp is no decimal number" },
		{ HEADER "a,f,nan,1\n", "t.csv:2: end_timestamp is no decimal number" },
		{ HEADER "a,f,1,inf\n", "t.csv:2: duration is no decimal number" },
		{ HEADER "a,f,1,-1\n", "t.csv:2: duration is negative: -1" },
		{ HEADER "a,f,-0.5,1\n", "t.csv:2: end_timestamp is negative: -0.5" },
		{ HEADER "a,f,1000000001,1\n", "t.csv:2: end_timestamp is over 1000000000 seconds" },
		{ HEADER "a,f,1,1e999\n", "t.csv:2: duration is over 1000000000 seconds" },
		{ HEADER "a,f,1,0000000000000000000000000000000000000000000000000000000000000001\n", "t.csv:2: duration is longer than 63 bytes" },
		{ HEADER NAME_128 "x,f,1,1\n", "t.csv:2: app is longer than 128 bytes" },
		{ HEADER "a,\"f\",1,1\n", "t.csv:2: func has a blank, quote or control character (byte 0x22)" },
		{ HEADER "a b,f,1,1\n", "t.csv:2: app has a blank, quote or control character (byte 0x20)" },
		{ HEADER "a,f\x01,1,1\n", "t.csv:2: func has a blank, quote or control character (byte 0x01)" },
		{ HEADER "a,f,1,1\na,f,1,1\r\r\n", "t.csv:3: duration is no decimal number" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct hearth_err err = { 0 };
		struct trace *t = NULL;

		assert_int_equal(trace_parse(bad[i].text, strlen(bad[i].text), "t.csv", &t, &err), -EINVAL);
		assert_null(t);
		if (strncmp(err.msg, bad[i].says, strlen(bad[i].says)) != 0)
			fail_msg("case %zu says \"%s\", not \"%s\"", i, err.msg, bad[i].says);
		assert_int_equal(trace_parse(bad[i].text, strlen(bad[i].text), "t.csv", &t, NULL), -EINVAL);
	}
}

static void test_long_line(void **state)
{
	static char text[4096] = HEADER;
	struct hearth_err err = { 0 };
	struct trace *t = NULL;

	memset(text + strlen(text), 'a', 2000);
	assert_int_equal(trace_parse(text, strlen(text), "t.csv", &t, &err), -EINVAL);
	assert_string_equal(err.msg, "t.csv:2: the line is longer than 1024 bytes");
}

static void test_nul_byte(void **state)
{
	static const char text[] = HEADER "a,f\0,1,1\n";
	struct hearth_err err = { 0 };
	struct trace *t = NULL;

	assert_int_equal(trace_parse(text, sizeof(text) - 1, "t.csv", &t, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "byte 0x00"));
}

static void test_missing_file(void **state)
{
	struct hearth_err err = { 0 };
	struct trace *t = NULL;

	assert_int_equal(trace_load("/nonexistent/t.csv", &t, &err), -ENOENT);
	assert_string_equal(err.msg, "cannot read the trace /nonexistent/t.csv: No such file or directory");
}

static void test_format_and_back(void **state)
{
	struct trace *t = parse(HEADER "a,f,10.123456789,0.000000001\nb,g,4,3\n"), *again = NULL;
	struct buf b = { 0 };
	struct hearth_err err;

	assert_int_equal(trace_format(t, &b), 0);
	assert_int_equal(trace_parse((const char *)buf_head(&b), b.len, "again", &again, &err), 0);
	assert_int_equal(again->n_calls, t->n_calls);
	for (size_t i = 0; i < t->n_calls; i++) {
		assert_int_equal(again->calls[i].start_ns, t->calls[i].start_ns);
		assert_int_equal(again->calls[i].duration_ns, t->calls[i].duration_ns);
	}
	buf_done(&b);
	trace_free(t);
	trace_free(again);
}

static void test_many_functions(void **state)
{
	struct buf b = { 0 };
	struct trace *t = NULL;
	struct hearth_err err;

	assert_int_equal(buf_printf(&b, HEADER), 0);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 3000; i++)
			assert_int_equal(buf_printf(&b, "app%d,func%d,%d,1\n", i % 7, i, i + 1), 0);
	assert_int_equal(trace_parse((const char *)buf_head(&b), b.len, "many", &t, &err), 0);
	assert_int_equal(t->n_funcs, 3000);
	assert_int_equal(t->n_calls, 6000);
	for (size_t i = 0; i < t->n_funcs; i++)
		assert_int_equal(t->funcs[i].calls, 2);
	buf_done(&b);
	trace_free(t);
}

static void test_real_trace(void **state)
{
	struct trace *t = real_trace();

	assert_non_null(t);
	assert_int_equal(t->n_calls, 199);
	assert_int_equal(t->n_funcs, 31);
	assert_int_equal(t->calls[0].start_ns, 0);
	assert_in_range(trace_span_ns(t), 1200000000000, 1200100000000);
	trace_free(t);
}

/* With --real: only what needs the recorded trace; 77 where there is none. */
int main(int argc, char **argv)
{
	const struct CMUnitTest real_tests[] = { cmocka_unit_test(test_real_trace) };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sorted_by_start),
		cmocka_unit_test(test_begun_before_the_trace),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_nul_byte),
		cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_format_and_back),
		cmocka_unit_test(test_many_functions),
	};

	if (argc == 2 && strcmp(argv[1], "--real") == 0)
		return have_real_trace() ? cmocka_run_group_tests(real_tests, NULL, NULL) : 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
