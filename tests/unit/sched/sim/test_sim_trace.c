/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/file.h"

static struct sim_trace *parse(const char *text)
{
	struct hearth_err err = { 0 };
	struct sim_trace *t = NULL;

	if (sim_trace_parse(text, strlen(text), "t.csv", &t, &err) < 0)
		fail_msg("%s", err.msg);
	return t;
}

#define HEADER "t_ns,type,service_ns\n"

/* Types with their shares and means as recorded; a service time of 0 counts as 1. */
static void makes_a_workload(void **state)
{
	struct sim_trace *t = parse(HEADER "1000,GET,10\n1000,SCAN,500\n1500,GET,30\n1500,none,0\n");

	assert_int_equal(t->n, 4);
	assert_int_equal(t->requests[2].at_ns, 500);
	assert_int_equal(t->requests[3].service_ns, 1);
	assert_int_equal(t->workload->types_n, 3);
	assert_string_equal(t->workload->types[0].name, "GET");
	assert_near(t->workload->types[0].ratio, 0.5, 1e-9);
	assert_near(t->workload->types[0].mean_ns, 20, 1e-9);
	assert_near(t->workload->types[2].mean_ns, 1, 1e-9);
	sim_trace_free(t);
}

/* What the reader refuses is in test_recording.c; this is that it is asked. */
static void refuses(void **state)
{
	static const char text[] = HEADER "5,a,1\n4,a,1\n";
	struct hearth_err err = { 0 };
	struct sim_trace *t = NULL;

	assert_int_equal(sim_trace_parse(text, strlen(text), "t.csv", &t, &err), -EINVAL);
	assert_null(t);
	assert_non_null(strstr(err.msg, "t.csv:3: t_ns goes back"));
}

/* By hand: one worker; a arrives at 0 and runs to 100, b at 10 for 50, a at 20 for 30; then an hour of nothing, and one more. */
static void replays(void **state)
{
	struct sim_trace *t = parse(HEADER "7,a,100\n17,b,50\n27,a,30\n3600000000007,b,10\n");
	struct sim_config c = sim_config_default();
	struct sim_result r;

	c.trace = t;
	c.policy = SCHED_CFCFS;
	c.workers = 1;
	c.load = 0;
	c.warmup = 0;
	c.requests = 0;
	r = run(&c);
	assert_int_equal(r.arrived, 4);
	assert_int_equal(r.completed, 4);
	/* a: 100 and 180 - 20; b: 150 - 10 and 10 */
	assert_near(r.types[0].latency_ns.mean, (100 + 160) / 2., 1e-9);
	assert_near(r.types[1].latency_ns.mean, (140 + 10) / 2., 1e-9);
	assert_near(r.types[0].latency_ns.max, 160, 1e-9);
	assert_near(r.slowdown.max, 160 / 30., 1e-9);
	sim_result_done(&r);
	/* with two workers, the third starts at 60 */
	c.workers = 2;
	r = run(&c);
	assert_near(r.types[0].latency_ns.max, 100, 1e-9);
	assert_near(r.types[0].latency_ns.mean, (100 + 70) / 2., 1e-9);
	sim_result_done(&r);
	/* the first two only */
	c.requests = 2;
	r = run(&c);
	assert_int_equal(r.arrived, 2);
	sim_result_done(&r);
	sim_trace_free(t);
}

/* Faster or slower than recorded: the rate asked for is the rate got. */
static void scales(void **state)
{
	char *text = malloc(32 * 20001);
	size_t n = (size_t)sprintf(text, HEADER);
	struct sim_config c = sim_config_default();
	struct sim_trace *t;
	struct sim_result r;

	for (int i = 0; i < 20000; i++)
		n += (size_t)sprintf(text + n, "%d,x,500\n", i * 1000);
	t = parse(text);
	c.trace = t;
	c.policy = SCHED_CFCFS;
	c.workers = 2;
	c.load = 0.75;
	r = run(&c);
	assert_near(r.rate_hz, 3e6, 0.001);
	assert_near(r.utilisation, 0.75, 0.01);
	assert_near(r.types[0].latency_ns.max, 500, 0.01);
	sim_result_done(&r);
	c.load = 0;
	c.rate_hz = 1e6;
	r = run(&c);
	assert_near(r.simulated_s, 0.02, 0.001);
	sim_result_done(&r);
	sim_trace_free(t);
	free(text);
}

static void from_a_file(void **state)
{
	char dir[] = "/tmp/hearth-test-XXXXXX", path[64];
	struct hearth_err err = { 0 };
	struct sim_trace *t = NULL;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/t.csv", dir);
	assert_int_equal(sim_trace_load(path, &t, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(file_replace(path, HEADER "1,a,1\n", sizeof(HEADER) + 5, 0600, &err), 0);
	assert_int_equal(sim_trace_load(path, &t, &err), 0);
	sim_trace_free(t);
	assert_int_equal(dir_remove(dir), 0);
	sim_trace_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_a_workload), cmocka_unit_test(refuses), cmocka_unit_test(replays), cmocka_unit_test(scales),
		cmocka_unit_test(from_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
