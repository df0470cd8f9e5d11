/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/yaml.h"
#include "sim.h"
#include "sim_options.h"

static const char usage[] =
	"usage: hearth sim [--workload NAME|FILE.yaml | --trace FILE.csv] [--policy POLICY] [--workers N] [--load 0..1 | --rate RPS] [--requests N] [--seed S]\n"
	"                  [--rtt-us X] [--overhead-ns X] [--measure dispatcher|worker] [--dispatch-ns X] [--scv X] [--known] [--misclassify X] [--slowdown request|mean] [--warmup X]\n"
	"                  [--reserved N] [--window N] [--hold-max X] [--queue-max N] [--quantum-us X] [--preempt-ns X] [--ts-queues single|multi] [--steal-ns X]\n"
	"                  [--interval TIME] [--find-max-load TARGET] [--jobs N] [--json]\n"
	"\n"
	"Simulates the scheduler: the same policies, as object files, that the live dispatcher runs, under requests drawn or recorded.\n"
	"\n";

static const char options_help[] =
	"  --workload W       default high-bimodal\n"
	"  --trace FILE.csv   requests as recorded from a live dispatcher: t_ns,type,service_ns\n"
	"  --policy POLICY    default darc\n"
	"  --workers N        1..256, default 14\n"
	"  --load L           share of the workers' capacity, default 0.8; or --rate RPS, requests a second. A trace: as recorded\n"
	"  --requests N       default 1000000 (phases: until they end); also as 4e6\n"
	"  --seed S           the same seed, the same requests, whatever the policy; default 1\n"
	"  --rtt-us X         added to every latency; default 0\n"
	"  --overhead-ns X    of a worker's time, with every request; default 0\n"
	"  --measure WHO      service times as the policy learns them: dispatcher: with the overhead (default); worker: without\n"
	"  --dispatch-ns X    of the dispatcher's time, before a request is queued; default 0\n"
	"  --scv X            squared coefficient of variation of all service times: 0 fixed, 1 exponential, else log-normal; default: the workload's\n"
	"  --known            tell the policy the types' mean times and shares; else it learns them\n"
	"  --misclassify X    share of the requests that come as a random type; default 0\n"
	"  --slowdown WHAT    request: latency / service time (default); mean: 1 + (latency - service time) / the type's mean\n"
	"  --warmup X         share of the requests that is not measured; default 0.1\n"
	"  --reserved N       darc-static: workers reserved for the shortest types\n"
	"  --window N         darc: completions before the reservation is looked at again; default 50000\n"
	"  --hold-max X       minimax: hold nothing back whose slowdown is that already; default: as long as it takes\n"
	"  --queue-max N      requests of a type that may wait; default 131072\n"
	"  --quantum-us X     ts: default 5;  --preempt-ns X: what taking a worker away costs, default 1000;  --ts-queues: default single\n"
	"  --steal-ns X       ws: what taking from another worker's queue costs; default 0\n"
	"  --interval TIME    a time series too, a line each TIME (10ms); in --json\n"
	"  --find-max-load T  the highest load with a p99.9 slowdown of at most T (10), or with a p99.9 latency of one type (short:20us)\n"
	"  --jobs N           runs at a time while searching; default: one a CPU\n"
	"  --json             everything, as JSON\n";

enum {
	O_WORKLOAD = 256, O_TRACE, O_POLICY, O_WORKERS, O_LOAD, O_RATE, O_REQUESTS, O_SEED, O_RTT, O_OVERHEAD, O_MEASURE, O_DISPATCH, O_SCV, O_KNOWN, O_MISCLASSIFY, O_SLOWDOWN,
	O_WARMUP, O_RESERVED, O_WINDOW, O_HOLD_MAX, O_QUEUE_MAX, O_QUANTUM, O_PREEMPT, O_TS_QUEUES, O_STEAL, O_INTERVAL, O_FIND, O_JOBS, O_JSON,
};

static const struct option long_options[] = {
	{ "workload", required_argument, NULL, O_WORKLOAD },
	{ "trace", required_argument, NULL, O_TRACE },
	{ "policy", required_argument, NULL, O_POLICY },
	{ "workers", required_argument, NULL, O_WORKERS },
	{ "load", required_argument, NULL, O_LOAD },
	{ "rate", required_argument, NULL, O_RATE },
	{ "requests", required_argument, NULL, O_REQUESTS },
	{ "seed", required_argument, NULL, O_SEED },
	{ "rtt-us", required_argument, NULL, O_RTT },
	{ "overhead-ns", required_argument, NULL, O_OVERHEAD },
	{ "measure", required_argument, NULL, O_MEASURE },
	{ "dispatch-ns", required_argument, NULL, O_DISPATCH },
	{ "scv", required_argument, NULL, O_SCV },
	{ "known", no_argument, NULL, O_KNOWN },
	{ "misclassify", required_argument, NULL, O_MISCLASSIFY },
	{ "slowdown", required_argument, NULL, O_SLOWDOWN },
	{ "warmup", required_argument, NULL, O_WARMUP },
	{ "reserved", required_argument, NULL, O_RESERVED },
	{ "window", required_argument, NULL, O_WINDOW },
	{ "hold-max", required_argument, NULL, O_HOLD_MAX },
	{ "queue-max", required_argument, NULL, O_QUEUE_MAX },
	{ "quantum-us", required_argument, NULL, O_QUANTUM },
	{ "preempt-ns", required_argument, NULL, O_PREEMPT },
	{ "ts-queues", required_argument, NULL, O_TS_QUEUES },
	{ "steal-ns", required_argument, NULL, O_STEAL },
	{ "interval", required_argument, NULL, O_INTERVAL },
	{ "find-max-load", required_argument, NULL, O_FIND },
	{ "jobs", required_argument, NULL, O_JOBS },
	{ "json", no_argument, NULL, O_JSON },
	{ "help", no_argument, NULL, SIM_HELP },
	{ 0 },
};

struct options {
	struct sim_config cfg;
	const char *workload, *trace, *find;
	bool rate_given, requests_given;
	uint64_t jobs;
};

static void print_list(const char *title, const char *const *names)
{
	size_t column = (size_t)printf("%s", title);

	for (; *names; names++) {
		if (column + strlen(*names) > 145)
			column = (size_t)printf("\n%*s", (int)strlen(title), "") - 1;
		column += (size_t)printf("%s%s", *names, names[1] ? ", " : "\n");
	}
}

static void help(void)
{
	fputs(usage, stdout);
	print_list("Workloads: ", workload_names);
	print_list("Policies:  ", sched_policy_names);
	putchar('\n');
	fputs(options_help, stdout);
}

/* ---- options ---- */

static int take_whole32(const struct cli *cli, const char *option, uint32_t min, uint32_t max, uint32_t *ret)
{
	uint64_t v = 0;
	int rc = sim_take_whole(cli, option, min, max, &v);

	*ret = (uint32_t)v;
	return rc;
}

static int take_us(const struct cli *cli, const char *option, uint64_t *ret_ns)
{
	double v = 0;
	int rc = sim_take_number(cli, option, 0, 1e9, &v);

	*ret_ns = (uint64_t)llround(v * 1e3);
	return rc;
}

static int take_policy(const struct cli *cli, enum sched_policy *ret)
{
	int i = sim_name(sched_policy_names);

	if (i < 0)
		return sim_bad(cli, "there is no policy \"%s\"", optarg);
	*ret = (enum sched_policy)i;
	return CLI_OK;
}

static int take_either(const struct cli *cli, const char *option, const char *no, const char *yes, bool *ret)
{
	*ret = strcmp(optarg, yes) == 0;
	return *ret || strcmp(optarg, no) == 0 ? CLI_OK : sim_bad(cli, "%s must be %s or %s, not \"%s\"", option, no, yes, optarg);
}

#define NS_MAX 1000000000ull

static int set_cost(const struct cli *cli, struct sim_config *c, int option)
{
	switch (option) {
	case O_RTT: return take_us(cli, "--rtt-us", &c->rtt_ns);
	case O_OVERHEAD: return sim_take_whole(cli, "--overhead-ns", 0, NS_MAX, &c->overhead_ns);
	case O_DISPATCH: return sim_take_whole(cli, "--dispatch-ns", 0, NS_MAX, &c->dispatch_ns);
	case O_PREEMPT: return sim_take_whole(cli, "--preempt-ns", 0, NS_MAX, &c->preempt_ns);
	case O_STEAL: return sim_take_whole(cli, "--steal-ns", 0, NS_MAX, &c->steal_ns);
	case O_QUANTUM:
		if (take_us(cli, "--quantum-us", &c->quantum_ns) != CLI_OK)
			return CLI_USAGE;
		return c->quantum_ns > 0 ? CLI_OK : sim_bad(cli, "--quantum-us must be 0.001 at least, not \"%s\"", optarg);
	default:
		return -1;
	}
}

static int set_policy(const struct cli *cli, struct sim_config *c, int option)
{
	switch (option) {
	case O_POLICY: return take_policy(cli, &c->policy);
	case O_WORKERS: return take_whole32(cli, "--workers", 1, SCHED_WORKERS_MAX, &c->workers);
	case O_RESERVED: return take_whole32(cli, "--reserved", 1, SCHED_WORKERS_MAX, &c->reserved);
	case O_WINDOW: return take_whole32(cli, "--window", 1, UINT32_MAX, &c->window_requests);
	case O_HOLD_MAX: return sim_take_number(cli, "--hold-max", 1, 1e9, &c->hold_max);
	case O_QUEUE_MAX: return take_whole32(cli, "--queue-max", 1, 1 << 24, &c->queue_max);
	case O_TS_QUEUES: return take_either(cli, "--ts-queues", "single", "multi", &c->ts_multi);
	case O_MEASURE: return take_either(cli, "--measure", "dispatcher", "worker", &c->service_only);
	case O_KNOWN: c->known = true; return CLI_OK;
	case O_MISCLASSIFY: return sim_take_number(cli, "--misclassify", 0, 1, &c->misclassify);
	default: return set_cost(cli, c, option);
	}
}

static int set_option(struct cli *cli, void *ctx, int option)
{
	struct options *o = ctx;
	struct sim_config *c = &o->cfg;

	switch (option) {
	case O_WORKLOAD: o->workload = optarg; return CLI_OK;
	case O_TRACE: o->trace = optarg; return CLI_OK;
	case O_LOAD:
		if (o->rate_given)
			return sim_bad(cli, "give one --load or one --rate");
		o->rate_given = true;
		return sim_take_number(cli, "--load", 1e-6, 10, &c->load);
	case O_RATE:
		if (o->rate_given)
			return sim_bad(cli, "give one --load or one --rate");
		o->rate_given = true;
		c->load = 0;
		return sim_take_number(cli, "--rate", 1e-3, 1e9, &c->rate_hz);
	case O_REQUESTS: o->requests_given = true; return sim_take_whole(cli, "--requests", 1, SIM_REQUESTS_MAX, &c->requests);
	case O_SEED: return sim_take_whole(cli, "--seed", 0, INT64_MAX, &c->seed);
	case O_SCV: return sim_take_number(cli, "--scv", 0, 100, &c->scv);
	case O_SLOWDOWN: return take_either(cli, "--slowdown", "request", "mean", &c->of_mean);
	case O_WARMUP: return sim_take_number(cli, "--warmup", 0, 0.99, &c->warmup);
	case O_INTERVAL:
		if (parse_duration(optarg, &c->interval_ns) < 0 || c->interval_ns < 1000)
			return sim_bad(cli, "--interval must be a time like 10ms, 1us at least, not \"%s\"", optarg);
		return CLI_OK;
	case O_FIND: o->find = optarg; return CLI_OK;
	case O_JOBS: return sim_take_whole(cli, "--jobs", 1, 64, &o->jobs);
	case O_JSON: cli->json = true; return CLI_OK;
	default: return set_policy(cli, c, option);
	}
}

static int parse_options(struct cli *cli, struct options *o, int argc, char **argv)
{
	int rc = sim_parse(cli, argc, argv, long_options, help, set_option, o);

	if (rc != CLI_OK)
		return rc;
	if (o->trace && o->workload)
		return sim_bad(cli, "give --workload or --trace: a trace brings its own types");
	if (o->find && (o->rate_given || o->cfg.interval_ns))
		return sim_bad(cli, "--find-max-load finds the load: it goes neither with --load and --rate nor with --interval");
	return CLI_OK;
}

/* ---- what to run ---- */

struct job {
	struct options o;
	struct workload *workload;
	struct sim_trace *trace;
	uint64_t begin_ns;
	bool shown;
};

/* A name that there is not is a wrong command line; a file that cannot be read or is wrong is not. */
static int load_input(struct cli *cli, struct job *j)
{
	struct hearth_err err = { 0 };
	const char *name = j->o.workload ? j->o.workload : "high-bimodal";
	int rc;

	if (j->o.trace) {
		rc = sim_trace_load(j->o.trace, &j->trace, &err);
		j->o.cfg.trace = j->trace;
		j->o.cfg.workload = rc == 0 ? j->trace->workload : NULL;
		if (!j->o.rate_given)
			j->o.cfg.load = 0;
		if (!j->o.requests_given)
			j->o.cfg.requests = 0;
		return rc < 0 ? cli_fail(cli, &err) : CLI_OK;
	}
	rc = workload_load(name, &j->workload, &err);
	if (rc == -ENOENT && !strpbrk(name, "/."))
		return sim_bad(cli, "%s", err.msg);
	if (rc < 0)
		return cli_fail(cli, &err);
	j->o.cfg.workload = j->workload;
	if (!j->o.requests_given && j->workload->phases[j->workload->phases_n - 1].duration_ns > 0)
		j->o.cfg.requests = 0;
	return CLI_OK;
}

static int parse_target(const struct cli *cli, const struct job *j, struct sim_target *ret)
{
	const char *text = j->o.find, *colon = strrchr(text, ':');
	char name[SCHED_NAME_MAX];
	uint64_t ns;
	int type;

	if (!colon) {
		ret->kind = SIM_TARGET_SLOWDOWN;
		return sim_number(text, 1, 1e9, &ret->value) ? CLI_OK : sim_bad(cli, "--find-max-load must be a slowdown from 1 on, or TYPE:TIME, not \"%s\"", text);
	}
	snprintf(name, sizeof(name), "%.*s", (int)(colon - text), text);
	type = (size_t)(colon - text) < sizeof(name) ? workload_find(j->o.cfg.workload, name) : -ENOENT;
	if (type < 0)
		return sim_bad(cli, "--find-max-load: %s has no type \"%.*s\"", j->o.cfg.workload->name, (int)(colon - text), text);
	if (parse_duration(colon + 1, &ns) < 0 || ns == 0)
		return sim_bad(cli, "--find-max-load: \"%s\" is no time like 20us", colon + 1);
	*ret = (struct sim_target){ SIM_TARGET_LATENCY, (uint32_t)type, (double)ns };
	return CLI_OK;
}

/* on a terminal, of what takes longer than a second */
static bool show_progress(void *arg, uint64_t done, uint64_t all)
{
	struct job *j = arg;

	if (clock_mono_ns() - j->begin_ns < NS_PER_S)
		return true;
	j->shown = true;
	if (all > 0)
		fprintf(stderr, "\rsimulated %5.1f%% of %.1f million requests ", 100.0 * (double)done / (double)all, (double)all / 1e6);
	else
		fprintf(stderr, "\rsimulated %.1f million requests ", (double)done / 1e6);
	return true;
}

static int print(struct cli *cli, const struct sim_report *r)
{
	json_t *o;
	int rc = CLI_OK;

	if (!cli->json) {
		sim_report_print(r);
		return CLI_OK;
	}
	o = sim_report_json(r);
	rc = cli_print_json(o);
	json_decref(o);
	return rc;
}

static int simulate(struct cli *cli, struct job *j)
{
	struct sim_target target = { 0 };
	struct sim_result result = { 0 };
	struct hearth_err err = { 0 };
	struct sim_max max = { 0 };
	struct sim_report report = { &j->o.cfg, j->o.cfg.workload, &result, NULL, NULL };
	int rc;

	if (j->o.find) {
		rc = parse_target(cli, j, &target);
		if (rc != CLI_OK)
			return rc;
		report = (struct sim_report){ &j->o.cfg, j->o.cfg.workload, &max.at, &target, &max };
	}
	j->begin_ns = clock_mono_ns();
	if (isatty(STDERR_FILENO)) {
		j->o.cfg.progress = show_progress;
		j->o.cfg.progress_arg = j;
	}
	rc = j->o.find ? sim_find_max_load(&j->o.cfg, &target, (unsigned)j->o.jobs, &max, &err) : sim_run(&j->o.cfg, &result, &err);
	if (j->shown)
		fputs("\r\033[K", stderr);
	/* what is wrong with a configuration was said on the command line */
	if (rc == -EINVAL)
		return sim_bad(cli, "%s", err.msg);
	if (rc < 0)
		return cli_fail(cli, &err);
	rc = print(cli, &report);
	sim_result_done(&result);
	sim_result_done(&max.at);
	return rc;
}

static uint64_t cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > 64 ? 64 : (uint64_t)n;
}

int cmd_sim(struct cli *cli, int argc, char **argv)
{
	struct job j = { .o = { .cfg = sim_config_default(), .jobs = cpus() } };
	int rc = parse_options(cli, &j.o, argc, argv);

	if (rc == CLI_OK)
		rc = load_input(cli, &j);
	if (rc == CLI_OK)
		rc = simulate(cli, &j);
	workload_free(j.workload);
	sim_trace_free(j.trace);
	return rc;
}
