/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "farmem/sim.h"

#define MIB 1048576.0
#define GIB 1073741824.0
#define RUN_HEADER \
	"HashFunction,HashApp,HashOwner,Count,Average,Minimum,Maximum,percentile_Average_0,percentile_Average_1,percentile_Average_25,percentile_Average_50," \
	"percentile_Average_75,percentile_Average_99,percentile_Average_100\n"
#define MEM_HEADER \
	"HashApp,HashOwner,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct1,AverageAllocatedMb_pct5,AverageAllocatedMb_pct25,AverageAllocatedMb_pct50," \
	"AverageAllocatedMb_pct75,AverageAllocatedMb_pct95,AverageAllocatedMb_pct99,AverageAllocatedMb_pct100\n"
#define INV "HashFunction,HashApp,HashOwner,minute_1,minute_2,minute_3\nf,a,o,1,0,2\ng,b,o,0,4,0\n"
#define RUN RUN_HEADER "f,a,o,3,10,1,20,1,2,5,10,15,19,20\ng,b,o,3,10,1,20,1.5,2,5,10,15,19,2e3\n"
#define MEM MEM_HEADER "a,o,5,100,80,90,95,100,105,110,115,120\nb,o,5,200,80,90,95,200,205,210,215,220\n"

/* ---- reading ---- */

static int parse(const char *inv, const char *run, const char *mem, struct memsim_trace **ret, struct hearth_err *err)
{
	struct memsim_text in[3] = { { inv, "inv.csv", strlen(inv) }, { run, "run.csv", strlen(run) }, { mem, "mem.csv", strlen(mem) } };

	return memsim_trace_parse(&in[0], &in[1], &in[2], ret, err);
}

static void reads_and_joins(void **state)
{
	struct memsim_trace *t = NULL;
	struct hearth_err err = { 0 };

	if (parse(INV, RUN, MEM, &t, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(t->functions_n, 2);
	assert_int_equal(t->minutes, 3);
	assert_int_equal(t->calls_n, 7);
	assert_true(t->calls[0] == 1 && t->calls[2] == 2 && t->calls[4] == 4);
	assert_true(t->functions[1].run_ms[0] == 1.5 && t->functions[1].run_ms[6] == 2000 && t->functions[0].run_ms[3] == 10);
	assert_true(t->functions[1].idle_bytes == 90 << 20 && t->functions[1].typical_bytes == 200 << 20 && t->functions[1].busy_bytes == 210 << 20);
	assert_false(t->synthetic);
	assert_string_equal(t->names[0], "f");
	assert_string_equal(t->names[1], "g");
	assert_null(memsim_trace_free(t));
	assert_null(memsim_trace_free(NULL));
}

static void says_what_is_wrong_and_where(void **state)
{
	static const struct { const char *inv, *run, *mem, *says; } cases[] = {
		{ "", RUN, MEM, "inv.csv:1: the file is empty: it begins with the line HashFunction,HashApp,HashOwner,minute_1,..." },
		{ INV, "", MEM, "run.csv:1: the file is empty: it begins with the line " },
		{ INV, RUN, "HashApp\n", "mem.csv:1: the header must be HashApp,HashOwner,SampleCount," },
		{ "HashFunction,HashApp,HashOwner\n", RUN, MEM, "inv.csv:1: the header has 0 minutes: it must have 1 to 20160" },
		{ "HashFunction,HashApp,HashOwner,minute_1,minute_3\n", RUN, MEM, "inv.csv:1: column 5 of the header must be minute_2" },
		{ INV "h,a,o,1,2\n", RUN, MEM, "inv.csv:4: a number of calls is missing" },
		{ INV "h,a,o,1,2,3,4\n", RUN, MEM, "inv.csv:4: there are more columns than the header has" },
		{ INV "h,a,o,1,-2,3\n", RUN, MEM, "inv.csv:4: a number of calls is no number from 0 on" },
		{ INV "h,a,o,1,2.5,3\n", RUN, MEM, "inv.csv:4: a number of calls is not whole: 2.5" },
		{ INV "h,a,o,1,2e99,3\n", RUN, MEM, "inv.csv:4: a number of calls is over 1e+07: 2e99" },
		{ INV "h,a,o,1,2,3\n", RUN, MEM, "inv.csv:4: run.csv has no run times of function h" },
		{ INV "\n", RUN, MEM, "inv.csv:4: HashFunction is missing" },
		{ INV, RUN, MEM_HEADER "a,o,5,100,80,90,95,100,105,110,115,120\n", "inv.csv:3: mem.csv has no memory of application b" },
		{ INV, RUN "f,a,o,3,10,1,20,1,2,5,10,15,19,20\n", MEM, "run.csv:4: f is there twice" },
		{ INV, RUN "h,a,o,3,10,1,20,1,2,5,10,15,19,18\n", MEM, "run.csv:4: the percentiles of the run time do not ascend: 18 comes after 19" },
		{ INV, RUN "h,a,o,x,10,1,20,1,2,5,10,15,19,18\n", MEM, "run.csv:4: Count is no number from 0 on" },
		{ INV, RUN, MEM "c,o,5,1,0,0,0,0,0,0,0,0\n", "mem.csv:4: the memory's 5th percentile is less than a page" },
		{ INV, RUN, MEM "c,o,5,1,0,nan,0,0,0,0,0,0\n", "mem.csv:4: a percentile of the memory is no number from 0 on" },
		{ "HashFunction,HashApp,HashOwner,minute_1\nf,a,o,0\n", RUN, MEM, "inv.csv:2: there is not one call in it" },
	};

	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct memsim_trace *t = NULL;
		struct hearth_err err = { 0 };

		assert_int_equal(parse(cases[k].inv, cases[k].run, cases[k].mem, &t, &err), -EINVAL);
		assert_null(t);
		if (strncmp(err.msg, cases[k].says, strlen(cases[k].says)) != 0)
			fail_msg("case %zu: \"%s\", not \"%s\"", k, err.msg, cases[k].says);
	}
}

/* ---- generating ---- */

static void generates_what_was_asked_for(void **state)
{
	struct memsim_trace *a = NULL, *b = NULL, *c = NULL;
	struct hearth_err err = { 0 };
	size_t rare = 0, busy = 0;

	assert_int_equal(memsim_trace_generate(7, 500, 1440, &a, &err), 0);
	assert_int_equal(memsim_trace_generate(7, 500, 1440, &b, &err), 0);
	assert_int_equal(memsim_trace_generate(8, 500, 1440, &c, &err), 0);
	assert_true(a->synthetic && a->functions_n == 500 && a->minutes == 1440);
	assert_memory_equal(a->calls, b->calls, 500 * 1440 * sizeof(*a->calls));
	assert_memory_equal(a->functions, b->functions, 500 * sizeof(*a->functions));
	assert_true(memcmp(a->calls, c->calls, 500 * 1440 * sizeof(*a->calls)) != 0);
	for (size_t f = 0; f < 500; f++) {
		uint64_t calls = 0;

		for (size_t m = 0; m < 1440; m++)
			calls += a->calls[f * 1440 + m];
		assert_true(calls > 0 && a->functions[f].idle_bytes <= a->functions[f].busy_bytes);
		rare += calls < 84;
		busy += calls > 13052;
	}
	/* half of the functions are called less than 84 times a day, a tenth more than 13,052 times */
	assert_in_range(rare, 225, 275);
	assert_in_range(busy, 35, 65);
	memsim_trace_free(a);
	memsim_trace_free(b);
	memsim_trace_free(c);
	assert_int_equal(memsim_trace_generate(1, 0, 10, &a, &err), -EINVAL);
	assert_int_equal(memsim_trace_generate(1, 10, MEMSIM_MINUTES_MAX + 1, &a, &err), -EINVAL);
}

/* ---- days that can be worked out by hand ---- */

#define DAY 120

struct day {
	struct memsim_function f;
	uint32_t calls[DAY];
	struct memsim_trace t;
	struct memsim_config cfg;
	struct memsim_result r[MEMSIM_POLICIES];
};

/* One function: 1 GiB idle, 1.5 GiB busy, calls of a second; 48 MiB of it runtime, a tenth of the rest touched by every request, and the same again by chance. */
static struct day *day(void)
{
	struct day *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	for (size_t q = 0; q < MEMSIM_RUN_QUANTILES; q++)
		d->f.run_ms[q] = 1000;
	d->f.idle_bytes = d->f.typical_bytes = 1024ull << 20;
	d->f.busy_bytes = 1536ull << 20;
	d->t = (struct memsim_trace){ .functions = &d->f, .calls = d->calls, .functions_n = 1, .minutes = DAY };
	d->cfg = (struct memsim_config){ .trace = &d->t, .policies = (1u << MEMSIM_POLICIES) - 1, .seed = 1, .threads = 2 };
	farmem_knobs_default(&d->cfg.knobs);
	d->cfg.knobs.floor_bytes = 8ull << 20;
	memsim_costs_default(&d->cfg.costs);
	memsim_model_default(&d->cfg.model);
	d->cfg.model.arrivals = MEMSIM_BURST;
	d->cfg.model.init_hot = 0.1;
	d->cfg.model.overlap = 1;
	d->cfg.costs.cold_start_ms = 500;
	return d;
}

static void run(struct day *d)
{
	struct hearth_err err = { 0 };

	if (memsim_run(&d->cfg, d->r, &err) < 0)
		fail_msg("%s", err.msg);
	for (size_t p = 0; p < MEMSIM_POLICIES; p++)
		assert_true(d->r[p].ran);
}

static void assert_near(double got, double want, double within)
{
	if (!(fabs(got - want) <= within))
		fail_msg("%.9g, not %.9g +- %g", got, want, within);
}

/* half a second of start, one of the call, ten minutes of waiting: then it is gone */
static void one_call(void **state)
{
	struct day *d = day();
	const double runtime = 48 * MIB, init = 976 * MIB, runtime_cold = 0.95 * runtime, init_cold = 0.9 * init, after_first = 1024 * MIB - runtime_cold;

	d->calls[10] = 1;
	run(d);
	for (size_t p = 0; p < MEMSIM_POLICIES; p++) {
		assert_true(d->r[p].requests == 1 && d->r[p].cold_starts == 1 && d->r[p].added_ms.p99 == 0);
		assert_near(d->r[p].start_s, 0.5, 1e-9);
	}
	assert_near(d->r[MEMSIM_KEEPALIVE].local_gib_s, 601.5 + 0.5, 1e-6);
	assert_true(d->r[MEMSIM_KEEPALIVE].moved_gib == 0 && d->r[MEMSIM_KEEPALIVE].saved_pct == 0);
	/* what is cold leaves 60 s after it was made, what is not 60 s after the call */
	assert_near(d->r[MEMSIM_DAMON].local_gib_s * GIB, 1024 * MIB * 60.5 + (1024 * MIB - runtime_cold - init_cold) * 1 + 0.5 * GIB, 0.06 * GIB);
	assert_near(d->r[MEMSIM_DAMON].out_gib, 1, 1e-9);
	/* 0.0005 of what is there, every 6 s */
	assert_near(d->r[MEMSIM_TMO].out_gib, 1 - pow(1 - 0.0005, 601.0 / 6), 1e-4);
	/* the runtime segment after the call, and a hundredth a second from 60 s on, down to 8 MiB */
	assert_near(d->r[MEMSIM_FAASMEM].local_gib_s * GIB, 1024 * MIB * 1.5 + 0.5 * GIB + after_first * 60 + after_first * after_first / (1024 * MIB * 0.01) / 2 + 8 * MIB * 445, 12 * MIB * 40);
	/* the same, all of the runtime segment, from 120 s on, as nothing is known */
	assert_near(d->r[MEMSIM_HEARTH].out_gib, 1016.0 / 1024, 1e-4);
	assert_near(d->r[MEMSIM_HEARTH].local_gib_s * GIB, 1024 * MIB * 1.5 + 0.5 * GIB + init * 120 + init * init / (1024 * MIB * 0.01) / 2 + 8 * MIB * 385, 0.05 * 120 * GIB);
	free(d);
}

/* Calls a minute apart find what they need in place; what keep-alive knows is what the oracle says: 61 s. */
static void regular_calls(void **state)
{
	struct day *d = day();

	for (size_t m = 0; m < DAY; m++)
		d->calls[m] = 1;
	d->cfg.knobs.wake_share = 0;
	run(d);
	for (size_t p = 0; p < MEMSIM_POLICIES; p++)
		assert_true(d->r[p].cold_starts == 1 && d->r[p].requests == DAY);
	/* nobody comes after 61 s */
	assert_true(d->r[MEMSIM_FAASMEM].added_ms.p99 == 0 && d->r[MEMSIM_FAASMEM].wakes == 0);
	/* each segment once takes its hot part along */
	assert_in_range(d->r[MEMSIM_HEARTH].wakes, 1, 3);
	assert_true(d->r[MEMSIM_HEARTH].added_ms.p95 == 0);
	assert_near(d->r[MEMSIM_HEARTH].fault_gib, (0.05 * 48 + 0.1 * 976) / 1024, 0.008);        /* the floor stays */
	assert_true(d->r[MEMSIM_HEARTH].saved_pct > 75);
	/* the idle minute is a little less than DAMON's 60 s */
	assert_true(d->r[MEMSIM_DAMON].wakes == 0);
	free(d);
}

/* The same calls, of which nobody notices 70 ms in a second: from the third on, when it is known what they use, they find it away, and memory is there for 10 s of the minute. Of calls of 100 ms they would. */
static void cheap_wakes(void **state)
{
	struct day *d = day();
	double saved;

	for (size_t m = 0; m < DAY; m++)
		d->calls[m] = 1;
	d->cfg.knobs.wake_share = d->cfg.knobs.prewarm_share = 0;
	run(d);
	saved = d->r[MEMSIM_HEARTH].saved_pct;
	d->cfg.knobs.wake_share = 0.1;
	run(d);
	assert_in_range(d->r[MEMSIM_HEARTH].wakes, DAY - 3, DAY);
	assert_true(d->r[MEMSIM_HEARTH].saved_pct > saved + 5);
	assert_true(d->r[MEMSIM_HEARTH].added_ms.p95 > 50 && d->r[MEMSIM_HEARTH].added_ms.p95 < 100);
	assert_true(d->r[MEMSIM_HEARTH].p95_longer_pct > 5 && d->r[MEMSIM_HEARTH].p95_longer_pct < 10 && d->r[MEMSIM_KEEPALIVE].p95_longer_pct == 0);
	/* ahead of such regular calls it is back: none but the first ones wait, for 6 s more of the minute */
	d->cfg.knobs.prewarm_share = 0.5;
	run(d);
	assert_in_range(d->r[MEMSIM_HEARTH].wakes, 2, 6);
	assert_true(d->r[MEMSIM_HEARTH].saved_pct > saved + 4 && d->r[MEMSIM_HEARTH].added_ms.p95 == 0);
	d->cfg.knobs.prewarm_share = 0;
	for (size_t q = 0; q < MEMSIM_RUN_QUANTILES; q++)
		d->f.run_ms[q] = 100;
	run(d);
	assert_in_range(d->r[MEMSIM_HEARTH].wakes, 1, 3);
	free(d);
}

/* Nine minutes apart: by faults, or in one go. */
static void waking_costs_what_it_says(void **state)
{
	struct day *d = day();
	const double hot_pages = (0.05 * 48 + 0.1 * 976) * 256;
	double waited;

	d->cfg.knobs.prewarm_share = 0;
	for (size_t m = 0; m < DAY; m += 9)
		d->calls[m] = 1;
	d->cfg.knobs.semiwarm_max_ns = 60 * NS_PER_S;
	run(d);
	assert_true(d->r[MEMSIM_DAMON].cold_starts == 1);
	assert_near(d->r[MEMSIM_DAMON].added_ms.p50, hot_pages * 4.7 / 1e3, 1.5);
	assert_near(d->r[MEMSIM_HEARTH].added_ms.p50, (hot_pages - 8 * 256) * 2.3 / 1e3, 0.5);     /* the floor stays, and is of what is hottest */
	assert_true(d->r[MEMSIM_HEARTH].prefetch_gib > 1 && d->r[MEMSIM_HEARTH].saved_pct > 60);
	/* what it costs is what it is told to cost */
	waited = d->r[MEMSIM_HEARTH].added_mean_ms;
	d->cfg.costs.fault_us *= 2;
	d->cfg.costs.prefetch_us *= 2;
	run(d);
	assert_near(d->r[MEMSIM_HEARTH].added_mean_ms, 2 * waited, 0.02 * waited);
	free(d);
}

/* Ten at a time are ten instances; they end, and are restored if that is wanted. */
static void bursts_and_images(void **state)
{
	struct day *d = day();

	d->calls[0] = d->calls[20] = 10;
	run(d);
	assert_true(d->r[MEMSIM_HEARTH].cold_starts == 20 && d->r[MEMSIM_HEARTH].peak_instances == 10);
	d->cfg.park = true;
	run(d);
	assert_true(d->r[MEMSIM_HEARTH].cold_starts == 10 && d->r[MEMSIM_HEARTH].restores == 10);
	assert_true(d->r[MEMSIM_KEEPALIVE].cold_starts == 20 && d->r[MEMSIM_KEEPALIVE].restores == 0);
	free(d);
}

/* A call of an hour: segments go after a minute of it, and its end is put off by the faults. */
static void long_calls(void **state)
{
	struct day *d = day();

	for (size_t q = 0; q < MEMSIM_RUN_QUANTILES; q++)
		d->f.run_ms[q] = 3600e3;
	d->calls[0] = 1;
	run(d);
	assert_true(d->r[MEMSIM_FAASMEM].saved_pct < 20 && d->r[MEMSIM_HEARTH].saved_pct > 60);
	assert_true(d->r[MEMSIM_HEARTH].added_ms.p50 > 100);
	d->cfg.knobs.long_request_ns = 0;
	run(d);
	assert_true(d->r[MEMSIM_HEARTH].saved_pct < 20 && d->r[MEMSIM_HEARTH].added_ms.p50 == 0);
	free(d);
}

/* A narrow link holds evictions back. */
static void link_is_kept(void **state)
{
	struct day *d = day();
	double out;

	d->cfg.knobs.segments = false;
	for (size_t m = 0; m < DAY; m += 15)
		d->calls[m] = 5;
	run(d);
	out = d->r[MEMSIM_HEARTH].out_gib;
	d->cfg.link_bytes_per_s = 4 << 20;
	run(d);
	assert_true(d->r[MEMSIM_HEARTH].out_gib < out * 0.7 && d->r[MEMSIM_HEARTH].out_gib > 0);
	free(d);
}

static void same_seed_same_day(void **state)
{
	struct memsim_result a[MEMSIM_POLICIES], b[MEMSIM_POLICIES];
	struct memsim_config cfg = { .policies = (1u << MEMSIM_POLICIES) - 1, .seed = 3, .threads = 2 };
	struct memsim_trace *t = NULL;
	struct hearth_err err = { 0 };

	assert_int_equal(memsim_trace_generate(3, 60, 240, &t, &err), 0);
	farmem_knobs_default(&cfg.knobs);
	memsim_costs_default(&cfg.costs);
	memsim_model_default(&cfg.model);
	cfg.trace = t;
	assert_int_equal(memsim_run(&cfg, a, &err), 0);
	cfg.threads = 1;
	assert_int_equal(memsim_run(&cfg, b, &err), 0);
	for (size_t p = 0; p < MEMSIM_POLICIES; p++) {
		b[p].wall_s = a[p].wall_s;
		assert_memory_equal(&a[p], &b[p], sizeof(a[p]));
		/* what is away was moved there, and is not more than there is */
		assert_true(a[p].saved_pct >= 0 && a[p].saved_pct < 100 && a[p].out_gib + 1e-9 >= a[p].fault_gib + a[p].prefetch_gib);
		assert_int_equal(a[p].requests, a[0].requests);
	}
	cfg.policies = 1u << MEMSIM_TMO;
	assert_int_equal(memsim_run(&cfg, b, &err), 0);
	assert_true(b[MEMSIM_KEEPALIVE].ran && b[MEMSIM_TMO].ran && !b[MEMSIM_HEARTH].ran && b[MEMSIM_TMO].saved_pct == a[MEMSIM_TMO].saved_pct);
	memsim_trace_free(t);
}

/* Functions add up to the day; what an instance's life divides into can be worked out. */
static void functions_by_themselves(void **state)
{
	struct memsim_config cfg = { .policies = (1u << MEMSIM_POLICIES) - 1, .seed = 3, .threads = 2 };
	struct memsim_result r[MEMSIM_POLICIES];
	struct memsim_row rows[MEMSIM_POLICIES * 40];
	struct memsim_trace *t = NULL;
	struct hearth_err err = { 0 };

	assert_int_equal(memsim_trace_generate(3, 40, 240, &t, &err), 0);
	assert_null(t->names);
	farmem_knobs_default(&cfg.knobs);
	memsim_costs_default(&cfg.costs);
	memsim_model_default(&cfg.model);
	cfg.trace = t;
	cfg.rows = rows;
	assert_int_equal(memsim_run(&cfg, r, &err), 0);
	for (size_t p = 0; p < MEMSIM_POLICIES; p++) {
		uint64_t requests = 0, starts = 0, wakes = 0;
		double local = 0;

		for (size_t f = 0; f < 40; f++) {
			const struct memsim_row *row = &rows[p * 40 + f];

			requests += row->requests;
			starts += row->cold_starts;
			wakes += row->wakes;
			local += row->local_gib_s;
			assert_true(row->semiwarm_s >= 0 && row->semiwarm_s <= row->idle_s && row->idle_s <= row->alive_s);
			assert_true(row->saved_pct <= 100 && (p != MEMSIM_KEEPALIVE || row->saved_pct == 0));
			assert_true(p == MEMSIM_HEARTH || p == MEMSIM_FAASMEM || row->semiwarm_s == 0);
		}
		assert_true(requests <= r[p].requests && starts == r[p].cold_starts && wakes == r[p].wakes);    /* some still run */
		assert_near(local, r[p].local_gib_s, 1e-6 * local);
	}
	memsim_trace_free(t);
}

/* One call: 10 minutes idle, of which semi-warm are those after 60 s, as the oracle says, and after 120 s, as nothing is known. */
static void lives_divide(void **state)
{
	struct day *d = day();
	struct memsim_row rows[MEMSIM_POLICIES] = { 0 };

	d->calls[10] = 1;
	d->cfg.rows = rows;
	run(d);
	for (size_t p = 0; p < MEMSIM_POLICIES; p++) {
		assert_near(rows[p].alive_s, 601.5, 1e-3);
		assert_near(rows[p].idle_s, 600, 1e-3);
	}
	assert_near(rows[MEMSIM_FAASMEM].semiwarm_s, 540, 1e-3);
	assert_near(rows[MEMSIM_HEARTH].semiwarm_s, 480, 1e-3);
	d->cfg.knobs.semiwarm = false;
	run(d);
	assert_true(rows[MEMSIM_HEARTH].semiwarm_s == 0);
	free(d);
}

static void refuses_nonsense(void **state)
{
	struct day *d = day();
	struct hearth_err err = { 0 };

	d->cfg.threads = 0;
	assert_int_equal(memsim_run(&d->cfg, d->r, &err), -EINVAL);
	d->cfg.threads = 1;
	d->cfg.policies = 0;
	assert_int_equal(memsim_run(&d->cfg, d->r, &err), -EINVAL);
	d->cfg.policies = 1;
	d->cfg.model.overlap = 1.5;
	assert_int_equal(memsim_run(&d->cfg, d->r, &err), -EINVAL);
	d->cfg.model.overlap = 1;
	d->cfg.knobs.offload_per_s = 0;
	assert_int_equal(memsim_run(&d->cfg, d->r, &err), -EINVAL);
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_joins), cmocka_unit_test(says_what_is_wrong_and_where), cmocka_unit_test(generates_what_was_asked_for), cmocka_unit_test(one_call),
		cmocka_unit_test(regular_calls), cmocka_unit_test(cheap_wakes), cmocka_unit_test(waking_costs_what_it_says), cmocka_unit_test(bursts_and_images), cmocka_unit_test(long_calls),
		cmocka_unit_test(link_is_kept), cmocka_unit_test(same_seed_same_day), cmocka_unit_test(functions_by_themselves), cmocka_unit_test(lives_divide),
		cmocka_unit_test(refuses_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
