/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/yaml.h"
#include "cli.h"
#include "farmem/sim.h"
#include "sim_options.h"

static const char help_text[] =
	"usage: hearth sim-mem [--trace PREFIX | --functions N] [--policy POLICY] [--minutes N] [--minute TIME] [--compress N] [--seed S] [--costs FILE.yaml] [--arrivals HOW] [--init-hot X] [--runtime-hot X]\n"
	"                      [--runtime BYTES] [--overlap X] [--keepalive TIME] [--quantile X] [--semiwarm-min TIME] [--wake-share X] [--prewarm-share X] [--long-request TIME] [--no-semiwarm]\n"
	"                      [--link BYTES] [--park] [--jobs N] [--json [--by-function]]\n"
	"\n"
	"Simulates a day of functions under memory policies: the local memory that they take, and what is added to latencies.\n"
	"\n"
	"  --trace PREFIX      PREFIX_inv.csv, PREFIX_run.csv, PREFIX_mem.csv, as of the Azure Functions trace of 2019; without it the day is synthetic\n"
	"  --functions N       of a synthetic day, default 1000\n"
	"  --policy POLICY     keepalive, tmo, damon, faasmem-oracle, hearth, or all (default)\n"
	"  --minutes N         the first N of the trace; of a synthetic day its length, default 1440\n"
	"  --minute TIME       how long a minute of the trace is; default 60s\n"
	"  --compress N        keepalive, hearth: time goes N times faster, as with hearth replay; calls, faults and starts take as long as ever\n"
	"  --seed S            the same seed, the same day; default 1\n"
	"  --costs FILE.yaml   what a fault, a prefetch, an eviction, a cold start and a restore take: hearth-sim-mem(1)\n"
	"  --arrivals HOW      of the calls of a minute: poisson (default), even, burst\n"
	"  --init-hot X        share of the init segment that requests touch; default: by function, as the benchmark functions do\n"
	"  --runtime-hot X     the same of the runtime segment; default 0.05\n"
	"  --runtime BYTES     size of the runtime segment; default 48MiB\n"
	"  --overlap X         share of a request's working set that the one before had too; default 0.927\n"
	"  --keepalive TIME    an idle instance ends after it; default 10m\n"
	"  --quantile X        hearth: of the reuse intervals, after which memory leaves; default 0.99\n"
	"  --semiwarm-min TIME hearth: but not before; default 10s\n"
	"  --wake-share X      hearth: a wake that takes no more than this share of a call lets memory leave early and at once; 0: never; default 0.1\n"
	"  --prewarm-share X   hearth: of the calls still to come so many have to come at one time for memory to come back ahead of it; 0: never; default 0.5\n"
	"  --long-request TIME hearth: a request that runs for so long lets segments go; 0: never; default 60s\n"
	"  --no-semiwarm       hearth: only segments leave\n"
	"  --link BYTES        hearth: a second, for all functions together; default: not limited\n"
	"  --park              hearth: instances end into images and are restored from them\n"
	"  --jobs N            policies at a time; default: one a CPU\n"
	"  --json              everything, as JSON\n"
	"  --by-function       with --json: every function too\n";

enum {
	O_TRACE = 256, O_FUNCTIONS, O_POLICY, O_MINUTES, O_MINUTE, O_COMPRESS, O_SEED, O_COSTS, O_ARRIVALS, O_INIT_HOT, O_RUNTIME_HOT, O_RUNTIME, O_OVERLAP, O_KEEPALIVE, O_QUANTILE, O_SEMIWARM_MIN, O_WAKE_SHARE, O_PREWARM_SHARE,
	O_LONG_REQUEST, O_NO_SEMIWARM, O_LINK, O_PARK, O_JOBS, O_JSON, O_BY_FUNCTION,
};

static const struct option long_options[] = {
	{ "trace", required_argument, NULL, O_TRACE },
	{ "functions", required_argument, NULL, O_FUNCTIONS },
	{ "policy", required_argument, NULL, O_POLICY },
	{ "minutes", required_argument, NULL, O_MINUTES },
	{ "minute", required_argument, NULL, O_MINUTE },
	{ "compress", required_argument, NULL, O_COMPRESS },
	{ "seed", required_argument, NULL, O_SEED },
	{ "costs", required_argument, NULL, O_COSTS },
	{ "arrivals", required_argument, NULL, O_ARRIVALS },
	{ "init-hot", required_argument, NULL, O_INIT_HOT },
	{ "runtime-hot", required_argument, NULL, O_RUNTIME_HOT },
	{ "runtime", required_argument, NULL, O_RUNTIME },
	{ "overlap", required_argument, NULL, O_OVERLAP },
	{ "keepalive", required_argument, NULL, O_KEEPALIVE },
	{ "quantile", required_argument, NULL, O_QUANTILE },
	{ "semiwarm-min", required_argument, NULL, O_SEMIWARM_MIN },
	{ "wake-share", required_argument, NULL, O_WAKE_SHARE },
	{ "prewarm-share", required_argument, NULL, O_PREWARM_SHARE },
	{ "long-request", required_argument, NULL, O_LONG_REQUEST },
	{ "no-semiwarm", no_argument, NULL, O_NO_SEMIWARM },
	{ "link", required_argument, NULL, O_LINK },
	{ "park", no_argument, NULL, O_PARK },
	{ "jobs", required_argument, NULL, O_JOBS },
	{ "json", no_argument, NULL, O_JSON },
	{ "by-function", no_argument, NULL, O_BY_FUNCTION },
	{ "help", no_argument, NULL, SIM_HELP },
	{ 0 },
};

struct options {
	struct memsim_config cfg;
	const char *trace, *costs;
	uint64_t functions, minutes, compress;
	bool by_function, one;                  /* policy: what is asked for and printed */
	enum memsim_policy policy;
};

static void help(void)
{
	fputs(help_text, stdout);
}

/* ---- options ---- */

static int take_time(const struct cli *cli, const char *option, uint64_t *ret_ns)
{
	return parse_duration(optarg, ret_ns) == 0 ? CLI_OK : sim_bad(cli, "%s must be a time like 90s, not \"%s\"", option, optarg);
}

static int take_bytes(const struct cli *cli, const char *option, uint64_t *ret)
{
	return parse_bytes(optarg, ret) == 0 && *ret > 0 ? CLI_OK : sim_bad(cli, "%s must be a size like 48MiB, not \"%s\"", option, optarg);
}

static int set_policy(const struct cli *cli, struct options *o)
{
	int i = sim_name(memsim_policy_names);

	if (i < 0 && strcmp(optarg, "all") != 0)
		return sim_bad(cli, "there is no policy \"%s\": keepalive, tmo, damon, faasmem-oracle, hearth, all", optarg);
	o->one = i >= 0;
	o->policy = i >= 0 ? (enum memsim_policy)i : MEMSIM_POLICIES;
	o->cfg.policies = i >= 0 ? 1u << i : (1u << MEMSIM_POLICIES) - 1;
	return CLI_OK;
}

static int set_arrivals(const struct cli *cli, struct options *o)
{
	int i = sim_name(memsim_arrivals_names);

	if (i < 0)
		return sim_bad(cli, "--arrivals must be poisson, even or burst, not \"%s\"", optarg);
	o->cfg.model.arrivals = (enum memsim_arrivals)i;
	return CLI_OK;
}

static int set_model(const struct cli *cli, struct options *o, int option)
{
	struct farmem_knobs *k = &o->cfg.knobs;

	switch (option) {
	case O_ARRIVALS: return set_arrivals(cli, o);
	case O_INIT_HOT: return sim_take_number(cli, "--init-hot", 0, 1, &o->cfg.model.init_hot);
	case O_RUNTIME_HOT: return sim_take_number(cli, "--runtime-hot", 0, 1, &o->cfg.model.runtime_hot);
	case O_RUNTIME: return take_bytes(cli, "--runtime", &o->cfg.model.runtime_bytes);
	case O_OVERLAP: return sim_take_number(cli, "--overlap", 0, 1, &o->cfg.model.overlap);
	case O_KEEPALIVE: return take_time(cli, "--keepalive", &k->keepalive_ns);
	case O_QUANTILE: return sim_take_number(cli, "--quantile", 0.5, 1, &k->reuse_quantile);
	case O_SEMIWARM_MIN: return take_time(cli, "--semiwarm-min", &k->semiwarm_min_ns);
	case O_PREWARM_SHARE: return sim_take_number(cli, "--prewarm-share", 0, 1, &k->prewarm_share);
	case O_WAKE_SHARE: return sim_take_number(cli, "--wake-share", 0, 1, &k->wake_share);
	case O_LONG_REQUEST: return take_time(cli, "--long-request", &k->long_request_ns);
	case O_NO_SEMIWARM: k->semiwarm = false; return CLI_OK;
	case O_LINK: return take_bytes(cli, "--link", &o->cfg.link_bytes_per_s);
	default: o->cfg.park = true; return CLI_OK;
	}
}

static int set_option(struct cli *cli, void *ctx, int option)
{
	struct options *o = ctx;
	uint64_t v = 0;
	int rc;

	switch (option) {
	case O_TRACE: o->trace = optarg; return CLI_OK;
	case O_FUNCTIONS: return sim_take_whole(cli, "--functions", 1, 100000, &o->functions);
	case O_POLICY: return set_policy(cli, o);
	case O_MINUTES: return sim_take_whole(cli, "--minutes", 1, MEMSIM_MINUTES_MAX, &o->minutes);
	case O_MINUTE: return take_time(cli, "--minute", &o->cfg.model.minute_ns);
	case O_COMPRESS: return sim_take_whole(cli, "--compress", 1, 100000, &o->compress);
	case O_SEED: return sim_take_whole(cli, "--seed", 0, INT64_MAX, &o->cfg.seed);
	case O_COSTS: o->costs = optarg; return CLI_OK;
	case O_JOBS:
		rc = sim_take_whole(cli, "--jobs", 1, 16, &v);
		o->cfg.threads = (unsigned)v;
		return rc;
	case O_JSON: cli->json = true; return CLI_OK;
	case O_BY_FUNCTION: o->by_function = true; return CLI_OK;
	default: return set_model(cli, o, option);
	}
}

/* The policy's own times, and the trace's. Return: CLI_OK, CLI_USAGE. */
static int compress(const struct cli *cli, struct options *o)
{
	if (o->cfg.policies & ~(1u << MEMSIM_KEEPALIVE | 1u << MEMSIM_HEARTH))
		return sim_bad(cli, "--compress is for --policy hearth or keepalive: the times of the others are their authors'");
	farmem_knobs_compress(&o->cfg.knobs, (unsigned)o->compress);
	o->cfg.knobs.keepalive_ns /= o->compress;
	o->cfg.model.minute_ns /= o->compress;
	return CLI_OK;
}

static int parse_options(struct cli *cli, struct options *o, int argc, char **argv)
{
	struct hearth_err err = { 0 };
	int rc = sim_parse(cli, argc, argv, long_options, help, set_option, o);

	if (rc != CLI_OK)
		return rc;
	if (o->by_function && !cli->json)
		return sim_bad(cli, "--by-function is for --json: the table has no room for every function");
	if (o->trace && o->functions)
		return sim_bad(cli, "give --trace or --functions: a trace brings its own functions");
	rc = o->compress > 1 ? compress(cli, o) : CLI_OK;
	if (rc == CLI_OK && farmem_knobs_check(&o->cfg.knobs, &err) < 0)
		rc = sim_bad(cli, "%s", err.msg);
	return rc;
}

/* ---- what comes out ---- */

static size_t minutes_of(const struct memsim_config *c)
{
	return c->minutes && c->minutes < c->trace->minutes ? c->minutes : c->trace->minutes;
}

static json_t *quantiles_json(const struct memsim_quantiles *q)
{
	return json_pack("{s:f,s:f,s:f}", "p50", q->p50, "p95", q->p95, "p99", q->p99);
}

static json_t *row_json(const struct memsim_row *r, const char *name, size_t number)
{
	char synthetic[32];

	snprintf(synthetic, sizeof(synthetic), "synthetic-%zu", number);
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:f,s:f,s:o,s:f,s:f,s:f}", "function", name ? name : synthetic, "requests", (json_int_t)r->requests, "cold_starts", (json_int_t)r->cold_starts,
		"restores", (json_int_t)r->restores, "waited", (json_int_t)r->wakes, "local_gib_s", r->local_gib_s, "saved_pct", r->saved_pct, "added_ms", quantiles_json(&r->added_ms),
		"alive_s", r->alive_s, "idle_s", r->idle_s, "semiwarm_s", r->semiwarm_s);
}

static json_t *rows_json(const struct memsim_config *c, enum memsim_policy policy)
{
	const struct memsim_trace *t = c->trace;
	json_t *out = json_array();

	for (size_t f = 0; f < t->functions_n; f++)
		json_array_append_new(out, row_json(&c->rows[policy * t->functions_n + f], t->names ? t->names[f] : NULL, f));
	return out;
}

static json_t *result_json(const struct memsim_config *c, const struct memsim_result *results, enum memsim_policy policy)
{
	const struct memsim_result *r = &results[policy];
	json_t *out = json_pack("{s:f,s:f,s:o,s:f,s:f,s:o,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:f}", "saved_pct", r->saved_pct, "local_gib_s", r->local_gib_s, "added_ms",
		quantiles_json(&r->added_ms), "added_mean_ms", r->added_mean_ms, "p95_longer_pct", r->p95_longer_pct, "function_added_ms", quantiles_json(&r->function_added_ms), "cold_starts", (json_int_t)r->cold_starts,
		"restores", (json_int_t)r->restores, "requests", (json_int_t)r->requests, "waited", (json_int_t)r->wakes, "peak_instances", (json_int_t)r->peak_instances,
		"moved_gib", r->moved_gib, "out_gib", r->out_gib, "fault_gib", r->fault_gib, "prefetch_gib", r->prefetch_gib, "start_s", r->start_s, "wall_s", r->wall_s);

	if (c->rows)
		json_object_set_new(out, "by_function", rows_json(c, policy));
	return out;
}

static void set_costs_and_model(json_t *o, const struct memsim_config *c)
{
	json_object_set_new(o, "costs", json_pack("{s:f,s:f,s:f,s:f,s:I}", "fault_us", c->costs.fault_us, "prefetch_us", c->costs.prefetch_us, "cold_start_ms", c->costs.cold_start_ms,
		"restore_ms", c->costs.restore_ms, "evict_per_s", (json_int_t)c->costs.evict_bytes_per_s));
	json_object_set_new(o, "model", json_pack("{s:s,s:f,s:I,s:f,s:o,s:f}", "arrivals", memsim_arrivals_names[c->model.arrivals], "minute_s", (double)c->model.minute_ns / 1e9,
		"runtime_bytes", (json_int_t)c->model.runtime_bytes,
		"runtime_hot", c->model.runtime_hot, "init_hot", c->model.init_hot < 0 ? json_null() : json_real(c->model.init_hot), "overlap", c->model.overlap));
}

static int print_json(const struct options *o, const struct memsim_result *results)
{
	const struct memsim_trace *t = o->cfg.trace;
	json_t *out = o->one ? result_json(&o->cfg, results, o->policy) : json_object(), *policies;
	int rc;

	json_object_set_new(out, "trace", json_string(t->synthetic ? "synthetic" : o->trace));
	json_object_set_new(out, "functions", json_integer((json_int_t)t->functions_n));
	json_object_set_new(out, "minutes", json_integer((json_int_t)minutes_of(&o->cfg)));
	json_object_set_new(out, "seed", json_integer((json_int_t)o->cfg.seed));
	set_costs_and_model(out, &o->cfg);
	if (o->one) {
		json_object_set_new(out, "policy", json_string(memsim_policy_names[o->policy]));
	} else {
		policies = json_object();
		for (size_t p = 0; p < MEMSIM_POLICIES; p++)
			json_object_set_new(policies, memsim_policy_names[p], result_json(&o->cfg, results, p));
		json_object_set_new(out, "policies", policies);
	}
	rc = cli_print_json(out);
	json_decref(out);
	return rc;
}

static void print_table(const struct options *o, const struct memsim_result *results)
{
	const struct memsim_trace *t = o->cfg.trace;

	printf("%s: %zu functions, %" PRIu64 " calls in %zu minutes\n\n", t->synthetic ? "synthetic" : o->trace, t->functions_n, results[MEMSIM_KEEPALIVE].requests,
		minutes_of(&o->cfg));
	printf("%-16s %7s %14s %28s %22s %6s %11s %12s\n", "", "saved", "local GiB s", "added ms  p50    p95    p99", "by function  p50   p95", "P95", "cold starts", "moved GiB");
	for (size_t p = 0; p < MEMSIM_POLICIES; p++) {
		const struct memsim_result *r = &results[p];

		if (r->ran && (!o->one || p == o->policy || p == MEMSIM_KEEPALIVE))
			printf("%-16s %6.1f%% %14.0f %14.1f %6.1f %6.1f %16.1f %5.0f %+5.1f%% %11" PRIu64 " %12.0f\n", memsim_policy_names[p], r->saved_pct, r->local_gib_s, r->added_ms.p50,
				r->added_ms.p95, r->added_ms.p99, r->function_added_ms.p50, r->function_added_ms.p95, r->p95_longer_pct, r->cold_starts, r->moved_gib);
	}
	printf("\n(saved: of keep-alive's local memory; added: by memory that was away, all calls, the 95th percentile of each function, and by how much it makes each one's P95 longer, on average)\n");
}

/* ---- running it ---- */

static int load_trace(struct options *o, struct memsim_trace **ret, struct hearth_err *err)
{
	if (o->trace)
		return memsim_trace_load(o->trace, ret, err);
	return memsim_trace_generate(o->cfg.seed, o->functions ? o->functions : 1000, o->minutes ? o->minutes : 1440, ret, err);
}

/* on a terminal, of what takes longer than a second */
struct progress {
	uint64_t begin_ns;
	size_t all;
	atomic_size_t done;
	atomic_bool shown;
};

static void show_progress(void *arg)
{
	struct progress *p = arg;
	size_t done = atomic_fetch_add(&p->done, 1) + 1;

	if (done * 100 / p->all == (done - 1) * 100 / p->all || clock_mono_ns() - p->begin_ns < NS_PER_S)
		return;
	atomic_store(&p->shown, true);
	fprintf(stderr, "\rsimulated %3zu%% ", done * 100 / p->all);
}

static int run(struct options *o, struct memsim_result *ret, struct hearth_err *err)
{
	struct progress p = { .begin_ns = clock_mono_ns(), .all = minutes_of(&o->cfg) * (size_t)__builtin_popcount(o->cfg.policies | 1u << MEMSIM_KEEPALIVE) };
	int rc;

	if (o->by_function && !(o->cfg.rows = calloc(MEMSIM_POLICIES * o->cfg.trace->functions_n, sizeof(*o->cfg.rows))))
		return err_set(err, -ENOMEM, "no memory for the figures of %zu functions", o->cfg.trace->functions_n);
	if (isatty(STDERR_FILENO)) {
		o->cfg.progress = show_progress;
		o->cfg.progress_arg = &p;
	}
	rc = memsim_run(&o->cfg, ret, err);
	if (atomic_load(&p.shown))
		fputs("\r\033[K", stderr);
	return rc;
}

static unsigned cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > MEMSIM_POLICIES ? MEMSIM_POLICIES : (unsigned)n;
}

int cmd_sim_mem(struct cli *cli, int argc, char **argv)
{
	struct options o = { .cfg = { .policies = (1u << MEMSIM_POLICIES) - 1, .seed = 1, .threads = cpus() } };
	struct memsim_result results[MEMSIM_POLICIES];
	struct memsim_trace *trace = NULL;
	struct hearth_err err = { 0 };
	int rc;

	farmem_knobs_default(&o.cfg.knobs);
	memsim_costs_default(&o.cfg.costs);
	memsim_model_default(&o.cfg.model);
	rc = parse_options(cli, &o, argc, argv);
	if (rc != CLI_OK)
		return rc;
	if (o.costs && memsim_costs_load(o.costs, &o.cfg.costs, &err) < 0)
		return cli_fail(cli, &err);
	if (load_trace(&o, &trace, &err) < 0)
		return cli_fail(cli, &err);
	o.cfg.trace = trace;
	o.cfg.minutes = o.minutes;
	rc = run(&o, results, &err) < 0 ? cli_fail(cli, &err) : CLI_OK;
	if (rc == CLI_OK && cli->json)
		rc = print_json(&o, results);
	else if (rc == CLI_OK)
		print_table(&o, results);
	free(o.cfg.rows);
	memsim_trace_free(trace);
	return rc;
}
