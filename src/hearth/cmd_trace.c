/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/yaml.h"
#include "cli.h"
#include "trace/trace.h"

static const char usage[] =
	"usage: hearth trace generate [--seed S] [--invocations N] [--functions F] [--span TIME] [-o FILE]\n"
	"       hearth trace info FILE [--json]\n"
	"\n"
	"generate  make a trace like the one from Azure that the generator is fitted to; on standard output without -o\n"
	"info      say what a trace holds\n"
	"\n"
	"  --seed S           same seed, same trace; default 1\n"
	"  --invocations N    default as fitted\n"
	"  --functions F      default as fitted\n"
	"  --span TIME        from the first call to the last, in seconds or like 20m; default as fitted\n";

enum { O_SEED = 256, O_INVOCATIONS, O_FUNCTIONS, O_SPAN, O_JSON, O_HELP };

static const struct option long_options[] = {
	{ "seed", required_argument, NULL, O_SEED },
	{ "invocations", required_argument, NULL, O_INVOCATIONS },
	{ "functions", required_argument, NULL, O_FUNCTIONS },
	{ "span", required_argument, NULL, O_SPAN },
	{ "output", required_argument, NULL, 'o' },
	{ "json", no_argument, NULL, O_JSON },
	{ "help", no_argument, NULL, O_HELP },
	{ 0 },
};

static int bad(const char *what, const char *value)
{
	fprintf(stderr, "hearth trace: %s: %s\n", what, value);
	return CLI_USAGE;
}

static int whole(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int write_out(const char *path, const struct buf *b, struct hearth_err *err)
{
	int rc;

	if (path && strcmp(path, "-") != 0)
		return file_replace(path, buf_head(b), b->len, 0644, err);
	rc = fd_write_full(1, buf_head(b), b->len);
	return rc < 0 ? err_set(err, rc, "cannot write to standard output: %s", strerror(-rc)) : 0;
}

static int generate(struct cli *cli, const struct trace_spec *spec, const char *path)
{
	struct hearth_err err = { 0 };
	struct trace *t = NULL;
	struct buf b = { 0 };
	int rc = trace_generate(spec, &t, &err);

	if (rc == 0 && trace_format(t, &b) < 0)
		rc = err_set(&err, -ENOMEM, "no memory for the text of the trace");
	if (rc == 0)
		rc = write_out(path, &b, &err);
	buf_done(&b);
	trace_free(t);
	return rc < 0 ? cli_fail(cli, &err) : CLI_OK;
}

static const double info_quantiles[] = { 0, 0.05, 0.25, 0.5, 0.75, 0.95, 1 };
static const char *const info_names[] = { "min", "p5", "p25", "p50", "p75", "p95", "max" };
static const unsigned info_tops[] = { 1, 5, 10, 20 };
enum { N_QUANTILES = sizeof(info_quantiles) / sizeof(info_quantiles[0]), N_TOPS = sizeof(info_tops) / sizeof(info_tops[0]) };

struct info { double duration_s[N_QUANTILES], gap_s[N_QUANTILES], top_share[N_TOPS]; };

static int info_fill(const struct trace *t, struct info *out)
{
	double *durations = NULL, *gaps = NULL;
	int rc = trace_durations_s(t, &durations);

	if (rc == 0)
		rc = trace_gaps_s(t, &gaps);
	if (rc == 0)
		rc = trace_top_share(t, info_tops, N_TOPS, out->top_share);
	for (size_t i = 0; rc == 0 && i < N_QUANTILES; i++) {
		out->duration_s[i] = trace_quantile(durations, t->n_calls, info_quantiles[i]);
		out->gap_s[i] = trace_quantile(gaps, t->n_calls - 1, info_quantiles[i]);
	}
	free(durations);
	free(gaps);
	return rc;
}

static json_t *quantile_object(const double *v)
{
	json_t *o = json_object();

	for (size_t i = 0; i < N_QUANTILES; i++)
		json_object_set_new(o, info_names[i], json_real(v[i]));
	return o;
}

static void info_json(const char *path, const struct trace *t, const struct info *in)
{
	json_t *shares = json_object(), *out;
	char key[16];

	for (size_t i = 0; i < N_TOPS; i++) {
		snprintf(key, sizeof(key), "top%u", info_tops[i]);
		json_object_set_new(shares, key, json_real(in->top_share[i]));
	}
	out = json_pack("{s:s,s:b,s:I,s:I,s:f,s:f,s:o,s:o,s:o}", "trace", path, "generated", trace_is_generated(t), "invocations", (json_int_t)t->n_calls, "functions",
		(json_int_t)t->n_funcs, "span_s", (double)trace_span_ns(t) / 1e9, "end_s", (double)t->end_ns / 1e9, "duration_s", quantile_object(in->duration_s), "gap_s",
		quantile_object(in->gap_s), "call_share", shares);
	json_dumpf(out, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(out);
}

static void info_text(const char *path, const struct trace *t, const struct info *in)
{
	printf("%s%s\n", path, trace_is_generated(t) ? " (generated)" : "");
	printf("  %zu invocations of %zu functions, starting within %.3f s, the last ending after %.3f s\n\n", t->n_calls, t->n_funcs, (double)trace_span_ns(t) / 1e9,
		(double)t->end_ns / 1e9);
	printf("  %-24s", "seconds");
	for (size_t i = 0; i < N_QUANTILES; i++)
		printf(" %10s", info_names[i]);
	printf("\n  %-24s", "duration");
	for (size_t i = 0; i < N_QUANTILES; i++)
		printf(" %10.3f", in->duration_s[i]);
	printf("\n  %-24s", "between two starts");
	for (size_t i = 0; i < N_QUANTILES; i++)
		printf(" %10.3f", in->gap_s[i]);
	printf("\n\n  most called functions:");
	for (size_t i = 0; i < N_TOPS; i++)
		printf("%s %u have %.1f%%", i ? "," : "", info_tops[i], in->top_share[i] * 100);
	printf(" of the calls\n");
}

static int info(struct cli *cli, const char *path)
{
	struct hearth_err err = { 0 };
	struct trace *t = NULL;
	struct info in = { 0 };
	int rc = trace_load(path, &t, &err);

	if (rc == 0 && info_fill(t, &in) < 0)
		rc = err_set(&err, -ENOMEM, "no memory");
	if (rc == 0 && cli->json)
		info_json(path, t, &in);
	else if (rc == 0)
		info_text(path, t, &in);
	trace_free(t);
	return rc < 0 ? cli_fail(cli, &err) : CLI_OK;
}

static int set_option(struct cli *cli, struct trace_spec *spec, const char **ret_path, int c)
{
	uint64_t v;

	switch (c) {
	case O_SEED:
		return whole(optarg, UINT64_MAX, &spec->seed) < 0 ? bad("--seed must be a whole number", optarg) : CLI_OK;
	case O_INVOCATIONS:
		if (whole(optarg, UINT32_MAX, &v) < 0)
			return bad("--invocations must be a whole number", optarg);
		spec->calls = (uint32_t)v;
		return CLI_OK;
	case O_FUNCTIONS:
		if (whole(optarg, UINT32_MAX, &v) < 0)
			return bad("--functions must be a whole number", optarg);
		spec->functions = (uint32_t)v;
		return CLI_OK;
	case O_SPAN:
		if (whole(optarg, UINT32_MAX, &v) == 0)
			spec->span_ns = v * NS_PER_S;
		else if (parse_duration(optarg, &spec->span_ns) < 0)
			return bad("--span must be seconds or a time like 20m", optarg);
		return CLI_OK;
	case O_JSON: cli->json = true; return CLI_OK;
	case 'o': *ret_path = optarg; return CLI_OK;
	default: fputs(usage, stderr); return CLI_USAGE;
	}
}

int cmd_trace(struct cli *cli, int argc, char **argv)
{
	struct trace_spec spec = trace_spec_fitted(1);
	const char *out = NULL;
	int c, rc;

	optind = 0;                     /* the main program has used getopt */
	while ((c = getopt_long(argc, argv, "o:", long_options, NULL)) != -1) {
		if (c == O_HELP) {
			fputs(usage, stdout);
			return CLI_OK;
		}
		rc = set_option(cli, &spec, &out, c);
		if (rc != CLI_OK)
			return rc;
	}
	if (argc - optind == 1 && strcmp(argv[optind], "generate") == 0)
		return generate(cli, &spec, out);
	if (argc - optind == 2 && strcmp(argv[optind], "info") == 0)
		return info(cli, argv[optind + 1]);
	fputs(usage, stderr);
	return CLI_USAGE;
}
