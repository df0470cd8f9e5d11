/* SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/yaml.h"
#include "replay.h"

static const char usage[] =
	"usage: hearth replay [TRACE] --map FILE.json | --functions NAME,NAME,...  --out DIR\n"
	"                     [--gateway URL] [--compress N] [--keepalive TIME] [--timeout TIME] [--seed S] [--synthetic] [--json]\n"
	"\n"
	"Sends the calls of a trace (Azure Functions 2021 format; without TRACE a generated one) to a node at their times, and writes DIR/report.json.\n"
	"\n"
	"  --functions LIST   deployed functions to call, lightest first\n"
	"  --map FILE.json    the same as {\"name\": weight, ...}, heavier is more\n"
	"  --gateway URL      default http://127.0.0.1:8470\n"
	"  --compress N       divide the trace's times by N; default 20\n"
	"  --keepalive TIME   of the plain keep-alive that is compared with, before compression; default 600s\n"
	"  --timeout TIME     of one request; default 300s\n"
	"  --out DIR          made if it is missing\n"
	"  --seed S           of the generated trace; default 1\n"
	"  --synthetic        generate the trace, or say of TRACE that it was generated\n"
	"  --json             print the report instead of a table\n";

struct options {
	const char *trace, *gateway, *map, *functions, *out;
	double compress;
	uint64_t keepalive_ns, timeout_ns, seed;
	bool synthetic;
};

enum { O_GATEWAY = 256, O_MAP, O_FUNCTIONS, O_COMPRESS, O_KEEPALIVE, O_TIMEOUT, O_OUT, O_SEED, O_SYNTHETIC, O_JSON, O_HELP };

static const struct option long_options[] = {
	{ "gateway", required_argument, NULL, O_GATEWAY },
	{ "map", required_argument, NULL, O_MAP },
	{ "functions", required_argument, NULL, O_FUNCTIONS },
	{ "compress", required_argument, NULL, O_COMPRESS },
	{ "keepalive", required_argument, NULL, O_KEEPALIVE },
	{ "timeout", required_argument, NULL, O_TIMEOUT },
	{ "out", required_argument, NULL, O_OUT },
	{ "seed", required_argument, NULL, O_SEED },
	{ "synthetic", no_argument, NULL, O_SYNTHETIC },
	{ "json", no_argument, NULL, O_JSON },
	{ "help", no_argument, NULL, O_HELP },
	{ 0 },
};

static int bad(const char *what, const char *value)
{
	fprintf(stderr, "hearth replay: %s: %s\n", what, value);
	return CLI_USAGE;
}

static int set_option(struct cli *cli, struct options *o, int c)
{
	char *end;

	switch (c) {
	case O_GATEWAY: o->gateway = optarg; break;
	case O_MAP: o->map = optarg; break;
	case O_FUNCTIONS: o->functions = optarg; break;
	case O_OUT: o->out = optarg; break;
	case O_SYNTHETIC: o->synthetic = true; break;
	case O_JSON: cli->json = true; break;
	case O_COMPRESS:
		o->compress = strtod(optarg, &end);
		if (end == optarg || *end != '\0' || !(o->compress >= 0.001 && o->compress <= 1e6))
			return bad("--compress must be 0.001..1000000", optarg);
		break;
	case O_KEEPALIVE:
		if (parse_duration(optarg, &o->keepalive_ns) < 0)
			return bad("--keepalive is no time like 600s or 10m", optarg);
		break;
	case O_TIMEOUT:
		if (parse_duration(optarg, &o->timeout_ns) < 0 || o->timeout_ns < NS_PER_MS || o->timeout_ns > 86400 * NS_PER_S)
			return bad("--timeout is no time from 1ms to 24h", optarg);
		break;
	case O_SEED:
		errno = 0;
		o->seed = strtoull(optarg, &end, 10);
		if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0' || errno || o->seed > INT64_MAX)
			return bad("--seed must be a whole number", optarg);
		break;
	default:
		fputs(usage, stderr);
		return CLI_USAGE;
	}
	return CLI_OK;
}

static int parse_options(struct cli *cli, struct options *o, int argc, char **argv)
{
	int c, rc;

	optind = 0;                     /* the main program has used getopt */
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (c == O_HELP) {
			fputs(usage, stdout);
			exit(CLI_OK);
		}
		rc = set_option(cli, o, c);
		if (rc != CLI_OK)
			return rc;
	}
	if (optind < argc)
		o->trace = argv[optind++];
	if (optind < argc)
		return bad("one trace at a time", argv[optind]);
	if (!o->out)
		return bad("--out DIR is missing", "where should report.json go?");
	if (!o->map == !o->functions)
		return bad("give either --map or --functions", "which functions should be called?");
	if (strncmp(o->gateway, "http://", 7) != 0 || o->gateway[7] == '\0')
		return bad("--gateway must be http://host:port", o->gateway);
	return CLI_OK;
}

/* -- the replay itself ------------------------------------------------------------------------------------------------------------------------------ */

struct replay {
	struct cli *cli;
	const struct options *o;
	struct trace *trace;
	struct targets targets;
	uint32_t *map;
	struct request *requests;
	struct sampler *sampler;
	uint64_t origin_ns;
};

static volatile sig_atomic_t stop_asked;

static void on_signal(int sig)
{
	stop_asked = 1;
}

static int load_trace(struct replay *r, struct hearth_err *err)
{
	struct trace_spec spec = trace_spec_fitted(r->o->seed);

	return r->o->trace ? trace_load(r->o->trace, &r->trace, err) : trace_generate(&spec, &r->trace, err);
}

static int find_targets(struct replay *r, struct hearth_err *err)
{
	json_t *request = json_pack("{s:s}", "op", "ps"), *answer = NULL;
	int rc;

	rc = r->o->map ? targets_from_file(r->o->map, &r->targets, err) : targets_from_list(r->o->functions, &r->targets, err);
	if (rc == 0)
		rc = request ? ctl_call(r->cli, request, &answer, err) : err_set(err, -ENOMEM, "no memory");
	if (rc == 0)
		rc = targets_ask(&r->targets, answer, err);
	if (rc == 0 && targets_map(&r->targets, r->trace, &r->map) < 0)
		rc = err_set(err, -ENOMEM, "no memory");
	json_decref(request);
	json_decref(answer);
	return rc;
}

static int make_requests(struct replay *r, struct hearth_err *err)
{
	r->requests = calloc(r->trace->n_calls, sizeof(*r->requests));
	if (!r->requests)
		return err_set(err, -ENOMEM, "no memory");
	for (size_t i = 0; i < r->trace->n_calls; i++)
		r->requests[i] = (struct request){ .target = r->map[r->trace->calls[i].func], .at_ns = (uint64_t)((double)r->trace->calls[i].start_ns / r->o->compress),
			.start = START_KINDS };
	return 0;
}

static void print_map(const struct replay *r)
{
	fprintf(stderr, "replay: %zu functions of the trace onto %zu deployed ones, by weight:\n", r->trace->n_funcs, r->targets.n);
	for (size_t t = 0; t < r->targets.n; t++) {
		unsigned funcs = 0, calls = 0;
		double total_s = 0;

		for (size_t f = 0; f < r->trace->n_funcs; f++)
			if (r->map[f] == t) {
				funcs++;
				calls += r->trace->funcs[f].calls;
				total_s += (double)r->trace->funcs[f].total_ns / 1e9;
			}
		fprintf(stderr, "  %-24s <- %3u functions, %5u calls, %9.3f s each in the trace\n", r->targets.v[t].name, funcs, calls, calls ? total_s / calls : 0);
	}
	if (r->trace->n_funcs < r->targets.n)
		fprintf(stderr, "replay: the trace has fewer functions than are deployed: some will not be called\n");
}

static int run(struct replay *r, struct hearth_err *err)
{
	struct sigaction action = { .sa_handler = on_signal }, old_int, old_term;
	struct run_spec spec;
	int rc;

	r->origin_ns = clock_mono_ns() + 100 * NS_PER_MS;       /* the first request is on time too */
	rc = sampler_start(r->cli, &r->targets, r->origin_ns, &r->sampler, err);
	if (rc < 0)
		return rc;
	sigaction(SIGINT, &action, &old_int);
	sigaction(SIGTERM, &action, &old_term);
	spec = (struct run_spec){ r->o->gateway, &r->targets, r->requests, r->trace->n_calls, r->origin_ns, r->o->timeout_ns, r->sampler, &stop_asked };
	rc = run_requests(&spec, err);
	if (rc == 0) {
		uint64_t tail_ns = (uint64_t)((double)r->o->keepalive_ns / r->o->compress);

		fprintf(stderr, "replay: all answered; waiting until every instance is parked, at most %.1f s\n", (double)tail_ns / 1e9);
		sampler_wait_parked(r->sampler, clock_mono_ns() + tail_ns, &stop_asked);
	}
	sampler_stop(r->sampler);
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	if (rc == 0 && stop_asked)
		rc = err_set(err, -EINTR, "stopped by a signal");
	return rc;
}

static int save(const struct options *o, const json_t *report, struct hearth_err *err)
{
	char *text = json_dumps(report, JSON_INDENT(1) | JSON_REAL_PRECISION(9)), *path = NULL;
	int rc = dir_make(o->out, 0755);

	if (rc < 0)
		err_set(err, rc, "cannot make the folder %s: %s", o->out, strerror(-rc));
	else if (!text || asprintf(&path, "%s/report.json", o->out) < 0)
		rc = err_set(err, -ENOMEM, "no memory for the report");
	else
		rc = file_replace(path, text, strlen(text), 0644, err);
	free(path);
	free(text);
	return rc;
}

static int report(struct replay *r, unsigned *ret_errors, struct hearth_err *err)
{
	char *copy = r->o->trace ? strdup(r->o->trace) : NULL;
	struct report_in in = {
		.trace_name = copy ? basename(copy) : "generated", .trace = r->trace, .seed = r->o->seed, .compress = r->o->compress, .keepalive_ns = r->o->keepalive_ns,
		.synthetic = r->o->synthetic || !r->o->trace || trace_is_generated(r->trace), .targets = &r->targets, .requests = r->requests, .n = r->trace->n_calls,
		.sampler = r->sampler, .wall_ns = clock_mono_ns() - r->origin_ns,
	};
	json_t *out = NULL;
	int rc = report_build(&in, &out);

	if (rc < 0)
		err_set(err, rc, "no memory for the report");
	else
		rc = save(r->o, out, err);
	if (rc == 0) {
		*ret_errors = (unsigned)json_integer_value(json_object_get(out, "errors"));
		if (r->cli->json)
			json_dumpf(out, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
		else
			report_print(out);
	}
	json_decref(out);
	free(copy);
	return rc;
}

static void replay_done(struct replay *r)
{
	for (size_t i = 0; r->requests && i < r->trace->n_calls; i++)
		free(r->requests[i].error);
	free(r->requests);
	sampler_free(r->sampler);
	free(r->map);
	targets_done(&r->targets);
	trace_free(r->trace);
}

int cmd_replay(struct cli *cli, int argc, char **argv)
{
	struct options o = { .gateway = "http://127.0.0.1:8470", .compress = 20, .keepalive_ns = 600 * NS_PER_S, .timeout_ns = 300 * NS_PER_S, .seed = 1 };
	struct replay r = { .cli = cli, .o = &o };
	struct hearth_err err = { 0 };
	unsigned errors = 0;
	int rc = parse_options(cli, &o, argc, argv);

	if (rc != CLI_OK)
		return rc;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	json_object_seed(0);            /* before there are threads */
	rc = load_trace(&r, &err);
	if (rc == 0)
		rc = find_targets(&r, &err);
	if (rc == 0)
		rc = make_requests(&r, &err);
	if (rc == 0) {
		print_map(&r);
		rc = run(&r, &err);
	}
	if (rc == 0)
		rc = report(&r, &errors, &err);
	replay_done(&r);
	curl_global_cleanup();
	if (rc < 0)
		return cli_fail(cli, &err);
	return errors ? CLI_FAILED : CLI_OK;
}
