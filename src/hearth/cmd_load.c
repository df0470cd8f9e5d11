/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/yaml.h"
#include "load_job.h"

static const char usage[] =
	"usage: hearth load ADDRESS:PORT | URL  --workload NAME|FILE.yaml | --trace FILE.csv | --azure FILE.csv | --function NAME[=RATIO]...\n"
	"                   [--rate N] [--duration TIME] [--arrivals poisson|uniform] [--warmup SHARE] [--timeout TIME] [--seed S] [--dilate N]\n"
	"                   [--threads N] [--flows N] [--spin TIME|always] [--segment] [--app spin|rocksdb|echo] [--types NAME,NAME...] [--keys N]\n"
	"                   [--scan-limit N] [-X METHOD] [-H HEADER]... [-d DATA|@FILE] [--max-loss SHARE] [--json]\n"
	"                   [--find-max-load TARGET] [--metric NAME] [--min-rate N] [--precision SHARE]\n"
	"\n"
	"Sends requests to `hearth serve` (UDP) or to a gateway or web server (HTTP) at times fixed beforehand, whatever comes back, and says what came back when.\n"
	"\n"
	"  --workload W       high-bimodal, extreme-bimodal, tpcc, rocksdb, or a file of types and phases\n"
	"  --trace FILE       requests at the times in t_ns,type,service_ns (recorded by hearth serve)\n"
	"  --azure FILE       the same from a trace in the Azure Functions 2021 format\n"
	"  --function N[=R]   HTTP: call this deployed function, with this share of the requests; several: they are the types\n"
	"  --rate N           requests a second; 20k and 1.5M are understood. With --find-max-load the highest to try\n"
	"  --duration TIME    default 10s\n"
	"  --arrivals A       default poisson\n"
	"  --warmup SHARE     of the run, sent but not measured; default 0.1\n"
	"  --timeout TIME     without an answer for so long a request is lost; default 5s, over HTTP 60s\n"
	"  --dilate N         everything takes N times as long: service times and phases times N, rates divided by N\n"
	"  --threads N        default 1\n"
	"  --flows N          UDP ports or HTTP connections of a thread; default 8, over HTTP 64\n"
	"  --spin TIME        watch the clock for the last part of a wait instead of sleeping; default 0; always: never sleep\n"
	"  --segment          UDP: let the kernel cut up what is due at once on a flow; cheaper\n"
	"  --app A            UDP: what the server runs; default spin\n"
	"  --types LIST       UDP: names of the server's types in its order, if that is another than the workload's\n"
	"  --find-max-load T  the highest rate at which --metric (default slowdown_p999) stays at or below T and no more than --max-loss (default 0.001) is lost\n"
	"  --json             print the results as JSON\n";

enum {
	O_WORKLOAD = 256, O_TRACE, O_AZURE, O_FUNCTION, O_RATE, O_DURATION, O_ARRIVALS, O_WARMUP, O_TIMEOUT, O_SEED, O_DILATE, O_TYPES, O_THREADS,
	O_FLOWS, O_SPIN, O_SEGMENT, O_APP, O_KEYS, O_SCAN_LIMIT, O_MAX_LOSS, O_FIND, O_METRIC, O_MIN_RATE, O_PRECISION, O_JSON, O_HELP,
};

static const struct option long_options[] = {
	{ "workload", required_argument, NULL, O_WORKLOAD },
	{ "trace", required_argument, NULL, O_TRACE },
	{ "azure", required_argument, NULL, O_AZURE },
	{ "function", required_argument, NULL, O_FUNCTION },
	{ "rate", required_argument, NULL, O_RATE },
	{ "duration", required_argument, NULL, O_DURATION },
	{ "arrivals", required_argument, NULL, O_ARRIVALS },
	{ "warmup", required_argument, NULL, O_WARMUP },
	{ "timeout", required_argument, NULL, O_TIMEOUT },
	{ "seed", required_argument, NULL, O_SEED },
	{ "dilate", required_argument, NULL, O_DILATE },
	{ "types", required_argument, NULL, O_TYPES },
	{ "threads", required_argument, NULL, O_THREADS },
	{ "flows", required_argument, NULL, O_FLOWS },
	{ "spin", required_argument, NULL, O_SPIN },
	{ "segment", no_argument, NULL, O_SEGMENT },
	{ "app", required_argument, NULL, O_APP },
	{ "keys", required_argument, NULL, O_KEYS },
	{ "scan-limit", required_argument, NULL, O_SCAN_LIMIT },
	{ "max-loss", required_argument, NULL, O_MAX_LOSS },
	{ "find-max-load", required_argument, NULL, O_FIND },
	{ "metric", required_argument, NULL, O_METRIC },
	{ "min-rate", required_argument, NULL, O_MIN_RATE },
	{ "precision", required_argument, NULL, O_PRECISION },
	{ "json", no_argument, NULL, O_JSON },
	{ "help", no_argument, NULL, O_HELP },
	{ 0 },
};

#define TRIALS_MAX 64

static int bad(const char *what, const char *value)
{
	fprintf(stderr, "hearth load: %s: %s\n", what, value);
	return CLI_USAGE;
}

/* ---- options ---- */

static int take_whole(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno || v < min || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int take_time(const char *text, uint64_t min_ns, uint64_t max_ns, uint64_t *ret)
{
	uint64_t ns;

	if (parse_duration(text, &ns) < 0 || ns < min_ns || ns > max_ns)
		return -EINVAL;
	*ret = ns;
	return 0;
}

static int take_header(struct load_options *o, const char *text)
{
	const char *colon = strchr(text, ':');

	if (!colon || colon == text || strpbrk(text, "\r\n"))
		return bad("-H must be 'Name: value'", text);
	return buf_printf(&o->headers, "%s\r\n", text) < 0 ? CLI_FAILED : CLI_OK;
}

static int set_number(struct load_options *o, int c)
{
	switch (c) {
	case O_RATE: return load_number(optarg, 1e-6, 1e8, &o->cfg.rate_hz) < 0 ? bad("--rate must be requests a second, up to 1e8", optarg) : CLI_OK;
	case O_MIN_RATE: return load_number(optarg, 1e-6, 1e8, &o->min_rate) < 0 ? bad("--min-rate must be requests a second, up to 1e8", optarg) : CLI_OK;
	case O_WARMUP: return load_number(optarg, 0, 0.9, &o->cfg.warmup) < 0 ? bad("--warmup must be 0..0.9", optarg) : CLI_OK;
	case O_DILATE: return load_number(optarg, 1e-6, 1e6, &o->dilate) < 0 ? bad("--dilate must be a factor, 0.000001..1000000", optarg) : CLI_OK;
	case O_MAX_LOSS: return load_number(optarg, 0, 1, &o->max_loss) < 0 ? bad("--max-loss must be a share, 0..1", optarg) : CLI_OK;
	case O_FIND: return load_number(optarg, 1e-9, 1e12, &o->find) < 0 ? bad("--find-max-load must be a number, what --metric may reach", optarg) : CLI_OK;
	default: return load_number(optarg, 1e-4, 0.5, &o->precision) < 0 ? bad("--precision must be a share, 0.0001..0.5", optarg) : CLI_OK;
	}
}

static int set_whole(struct load_options *o, int c)
{
	uint64_t v = 0;

	switch (c) {
	case O_SEED:
		return take_whole(optarg, 0, INT64_MAX, &o->cfg.seed) < 0 ? bad("--seed must be a whole number", optarg) : CLI_OK;
	case O_KEYS:
		return take_whole(optarg, 1, 999999999, &o->cfg.keys) < 0 ? bad("--keys must be 1..999999999", optarg) : CLI_OK;
	case O_SCAN_LIMIT:
		if (take_whole(optarg, 1, UINT32_MAX, &v) < 0)
			return bad("--scan-limit must be a number of keys", optarg);
		o->cfg.scan_limit = (uint32_t)v;
		return CLI_OK;
	case O_THREADS:
		if (take_whole(optarg, 1, LOAD_THREADS_MAX, &v) < 0)
			return bad("--threads must be 1..64", optarg);
		o->cfg.threads = (unsigned)v;
		return CLI_OK;
	default:
		if (take_whole(optarg, 1, LOAD_FLOWS_MAX, &v) < 0)
			return bad("--flows must be 1..10000", optarg);
		o->cfg.flows = (unsigned)v;
		return CLI_OK;
	}
}

static int set_option(struct cli *cli, struct load_options *o, int c)
{
	switch (c) {
	case O_WORKLOAD: o->workload = optarg; return CLI_OK;
	case O_TRACE: o->trace = optarg; return CLI_OK;
	case O_AZURE: o->azure = optarg; return CLI_OK;
	case O_TYPES: o->types = optarg; return CLI_OK;
	case O_METRIC: o->metric = optarg; return CLI_OK;
	case 'X': o->method = optarg; return CLI_OK;
	case 'd': o->data = optarg; return CLI_OK;
	case 'H': return take_header(o, optarg);
	case O_SEGMENT: o->cfg.segment = true; return CLI_OK;
	case O_JSON: cli->json = true; return CLI_OK;
	case O_HELP: o->help = true; return CLI_OK;
	case O_FUNCTION:
		if (o->functions_n == LOAD_FUNCTIONS_MAX)
			return bad("too many times --function, at most 64", optarg);
		o->functions[o->functions_n++] = optarg;
		return CLI_OK;
	case O_ARRIVALS:
		o->cfg.arrivals = strcmp(optarg, "uniform") == 0 ? LOAD_UNIFORM : LOAD_POISSON;
		return o->cfg.arrivals == LOAD_POISSON && strcmp(optarg, "poisson") != 0 ? bad("--arrivals must be poisson or uniform", optarg) : CLI_OK;
	case O_APP:
		o->cfg.app = strcmp(optarg, "rocksdb") == 0 ? LOAD_ROCKSDB : strcmp(optarg, "echo") == 0 ? LOAD_ECHO : LOAD_SPIN;
		return o->cfg.app == LOAD_SPIN && strcmp(optarg, "spin") != 0 ? bad("--app must be spin, rocksdb or echo", optarg) : CLI_OK;
	case O_DURATION:
		return take_time(optarg, NS_PER_MS, 7 * 86400 * NS_PER_S, &o->cfg.duration_ns) < 0 ? bad("--duration must be a time like 10s, 1ms to 168h", optarg) : CLI_OK;
	case O_TIMEOUT:
		return take_time(optarg, NS_PER_US, 86400 * NS_PER_S, &o->cfg.timeout_ns) < 0 ? bad("--timeout must be a time like 5s, 1us to 24h", optarg) : CLI_OK;
	case O_SPIN:
		o->cfg.spin_ns = UINT64_MAX;
		return strcmp(optarg, "always") != 0 && parse_duration(optarg, &o->cfg.spin_ns) < 0 ? bad("--spin must be a time like 50us, or always", optarg) : CLI_OK;
	case O_RATE: case O_MIN_RATE: case O_WARMUP: case O_DILATE: case O_MAX_LOSS: case O_FIND: case O_PRECISION: return set_number(o, c);
	case O_SEED: case O_KEYS: case O_SCAN_LIMIT: case O_THREADS: case O_FLOWS: return set_whole(o, c);
	default: fputs("hearth load --help lists the options\n", stderr); return CLI_USAGE;
	}
}

static int check_options(struct load_options *o)
{
	bool http = strncmp(o->target, "http://", 7) == 0;
	int sources = !!o->workload + !!o->trace + !!o->azure;

	if (strncmp(o->target, "https://", 8) == 0)
		return bad("TLS is not spoken here; give an http:// URL", o->target);
	if (sources > 1)
		return bad("one of --workload, --trace and --azure is enough", o->target);
	if (sources == 0 && !http)
		return bad("say what to send: --workload, --trace or --azure", o->target);
	if ((o->trace || o->azure) && (o->cfg.rate_hz > 0 || o->find > 0))
		return bad("a trace has its own times; --rate and --find-max-load do not go with it (--dilate does)", o->target);
	if (o->find > 0 && !(o->cfg.rate_hz > 0))
		return bad("--find-max-load needs --rate, the highest to try", o->target);
	if (http && o->types)
		return bad("--types are of a UDP server", o->types);
	if (!http && (o->functions_n || o->method || o->data || o->headers.len))
		return bad("--function, -X, -H and -d are for HTTP; is http:// missing?", o->target);
	if (!o->cfg.timeout_ns)
		o->cfg.timeout_ns = (http ? 60 : 5) * NS_PER_S;
	if (!o->cfg.flows)
		o->cfg.flows = http ? 64 : 8;
	if (o->max_loss < 0 && o->find > 0)
		o->max_loss = 0.001;
	return CLI_OK;
}

static int parse_options(struct cli *cli, struct load_options *o, int argc, char **argv)
{
	int c, rc;

	optind = 0;                     /* the main program has used getopt */
	while ((c = getopt_long(argc, argv, "X:H:d:", long_options, NULL)) != -1) {
		rc = set_option(cli, o, c);
		if (rc != CLI_OK)
			return rc;
	}
	if (o->help)
		return CLI_OK;
	if (optind + 1 != argc)
		return optind == argc ? bad("where to?", "give ADDRESS:PORT or a URL") : bad("one target at a time", argv[optind + 1]);
	o->target = argv[optind];
	return check_options(o);
}

/* ---- doing it ---- */

static atomic_bool stop_asked;

static void on_signal(int sig)
{
	atomic_store(&stop_asked, true);
}

static void on_progress(void *ctx, const struct load_progress *p)
{
	struct load_job *j = ctx;

	if (j->tty)
		fprintf(stderr, "\r\033[K%5.1f of %.1f s  sent %" PRIu64 "  answered %" PRIu64 " (%" PRIu64 "/s)  under way %" PRIu64 "  lost %" PRIu64,
			(double)p->elapsed_ns / 1e9, (double)p->total_ns / 1e9, p->sent, p->answered, p->recent_rate, p->flying, p->lost);
}

static void progress_end(const struct load_job *j)
{
	if (j->tty)
		fputs("\r\033[K", stderr);
}

static double loss_of(const struct load_result *r)
{
	return r->total.due ? (double)(r->total.due - r->total.ok) / (double)r->total.due : 0;
}

static int print_result(struct load_job *j, const struct load_result *r)
{
	json_t *o;
	int rc;

	if (!j->cli->json) {
		load_report_text(stdout, &j->o.cfg, r);
		return CLI_OK;
	}
	o = load_report_json(&j->o.cfg, r);
	rc = cli_print_json(o);
	json_decref(o);
	return rc;
}

static int once(struct load_job *j, struct hearth_err *err)
{
	struct load_result *r = NULL;
	int rc = load_run(&j->o.cfg, &r, err);

	progress_end(j);
	if (rc < 0)
		return cli_fail(j->cli, err);
	rc = print_result(j, r);
	if (rc == CLI_OK && j->o.max_loss >= 0 && loss_of(r) > j->o.max_loss) {
		fprintf(stderr, "hearth load: %.4g%% of the requests were lost or not answered well; --max-loss allows %.4g%%\n", loss_of(r) * 100, j->o.max_loss * 100);
		rc = CLI_FAILED;
	}
	load_result_free(r);
	return rc;
}

static int trial(void *ctx, double rate_hz, struct load_trial *ret, struct hearth_err *err)
{
	struct load_job *j = ctx;
	struct load_result *r = NULL;
	int rc;

	j->o.cfg.rate_hz = rate_hz;
	rc = load_run(&j->o.cfg, &r, err);
	progress_end(j);
	if (rc == 0 && r->stopped)
		rc = err_set(err, -EINTR, "stopped by a signal");
	if (rc == 0) {
		ret->value = load_metric(r, j->o.metric);
		ret->loss = loss_of(r);
		ret->generator_limit = r->generator_limit;
		if (ret->value < 0)
			rc = err_set(err, -EINVAL, "there is no metric %s: it must be slowdown_, latency_ or server_slowdown_ and p50, p90, p99, p999, mean or max, then perhaps _ and a type",
				j->o.metric);
		else if (r->total.due == 0)
			rc = err_set(err, -EINVAL, "no request was due in the measured part of a run at %g a second: a longer --duration or a higher --min-rate is needed", rate_hz);
		else if (r->total.ok > 0 && ((r->total.slowdown.count == 0 && strncmp(j->o.metric, "slowdown", 8) == 0) ||
		         (r->total.server_slowdown.count == 0 && strncmp(j->o.metric, "server", 6) == 0)))
			rc = err_set(err, -EINVAL, "there is no slowdown without service times: give --workload, or --metric latency_p99");
	}
	if (rc < 0) {
		load_result_free(r);
		return rc;
	}
	if (!j->cli->json)
		fprintf(stderr, "%12.0f a second: %s %.4g, %.4g%% lost%s\n", rate_hz, j->o.metric, ret->value, ret->loss * 100,
			ret->generator_limit ? ", the generator was the limit" : "");
	if (ret->value <= j->o.find && ret->loss <= j->o.max_loss && !ret->generator_limit) {
		load_result_free(j->best);
		j->best = r;
	} else {
		load_result_free(r);
	}
	return 0;
}

static int search_json(struct load_job *j, double best_hz, const struct load_trial *trials, size_t n)
{
	json_t *list = json_array(), *o;
	int rc;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:f, s:f, s:f, s:b, s:b}", "rate_rps", trials[i].rate_hz, "value", trials[i].value, "loss", trials[i].loss, "good",
			trials[i].good, "generator_limit", trials[i].generator_limit));
	o = json_pack("{s:f, s:s, s:f, s:f, s:o, s:o?}", "max_rate_rps", best_hz, "metric", j->o.metric, "target", j->o.find, "max_loss", j->o.max_loss,
		"trials", list, "best", j->best ? load_report_json(&j->o.cfg, j->best) : NULL);
	rc = cli_print_json(o);
	json_decref(o);
	return rc;
}

static int search(struct load_job *j, struct hearth_err *err)
{
	struct load_trial trials[TRIALS_MAX];
	double hi_hz = j->o.cfg.rate_hz, best_hz = 0;
	struct load_search s = { .target = j->o.find, .loss_max = j->o.max_loss, .hi_hz = hi_hz, .lo_hz = j->o.min_rate > 0 ? j->o.min_rate / j->o.dilate : hi_hz / 50,
		.precision = j->o.precision, .run = trial, .ctx = j };
	bool limited = false;
	size_t n = 0;
	int rc = load_search_max(&s, &best_hz, trials, TRIALS_MAX, &n, err);

	if (rc < 0)
		return cli_fail(j->cli, err);
	for (size_t i = 0; i < n; i++)
		limited |= trials[i].generator_limit;
	if (j->cli->json)
		return search_json(j, best_hz, trials, n);
	if (best_hz == 0)
		printf("no rate from %.0f a second up keeps %s at or below %g\n", s.lo_hz, j->o.metric, j->o.find);
	else
		printf("%s%.0f requests a second keep %s at or below %g\n", best_hz == hi_hz ? "at least " : "", best_hz, j->o.metric, j->o.find);
	if (limited)
		printf("in some trials the generator was the limit: the server may bear more\n");
	if (j->best)
		load_report_text(stdout, &j->o.cfg, j->best);
	return CLI_OK;
}

static const struct load_options defaults = {
	.cfg = { .threads = 1, .warmup = 0.1, .duration_ns = 10 * NS_PER_S, .seed = 1, .keys = 5000, .scan_limit = 5000, .progress = on_progress, .stop = &stop_asked },
	.metric = "slowdown_p999", .dilate = 1, .precision = 0.02, .max_loss = -1,
};

int cmd_load(struct cli *cli, int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };
	struct load_job j = { .cli = cli, .tty = isatty(STDERR_FILENO), .o = defaults };
	struct hearth_err err = { 0 };
	int rc = parse_options(cli, &j.o, argc, argv);

	if (rc != CLI_OK || j.o.help) {
		if (rc == CLI_OK)
			fputs(usage, stdout);
		buf_done(&j.o.headers);
		return rc;
	}
	j.o.cfg.ctx = &j;
	j.o.cfg.target = j.o.target;
	rc = load_job_prepare(&j, &err);
	if (rc < 0) {
		rc = cli_fail(cli, &err);
	} else {
		sigaction(SIGINT, &action, NULL);
		sigaction(SIGTERM, &action, NULL);
		rc = j.o.find > 0 ? search(&j, &err) : once(&j, &err);
	}
	load_job_done(&j);
	return rc;
}
