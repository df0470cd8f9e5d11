/* SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/yaml.h"
#include "cli.h"
#include "sched/load.h"
#include "trace/trace.h"

static const char usage[] =
	"usage: hearth load ADDRESS:PORT | URL  --workload NAME|FILE.yaml | --trace FILE.csv | --azure FILE.csv | --function NAME[=RATIO]...\n"
	"                   [--rate N] [--duration TIME] [--arrivals poisson|uniform] [--warmup SHARE] [--timeout TIME] [--seed S] [--dilate N]\n"
	"                   [--threads N] [--flows N] [--spin TIME|always] [--app spin|rocksdb] [--keys N] [--scan-limit N]\n"
	"                   [-X METHOD] [-H HEADER]... [-d DATA|@FILE] [--max-loss SHARE] [--json]\n"
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
	"  --app A            UDP: what the server runs; default spin\n"
	"  --find-max-load T  the highest rate at which --metric (default slowdown_p999) stays at or below T and no more than --max-loss (default 0.001) is lost\n"
	"  --json             print the results as JSON\n";

enum {
	O_WORKLOAD = 256, O_TRACE, O_AZURE, O_FUNCTION, O_RATE, O_DURATION, O_ARRIVALS, O_WARMUP, O_TIMEOUT, O_SEED, O_DILATE, O_THREADS, O_FLOWS, O_SPIN, O_APP, O_KEYS,
	O_SCAN_LIMIT, O_MAX_LOSS, O_FIND, O_METRIC, O_MIN_RATE, O_PRECISION, O_JSON, O_HELP,
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
	{ "threads", required_argument, NULL, O_THREADS },
	{ "flows", required_argument, NULL, O_FLOWS },
	{ "spin", required_argument, NULL, O_SPIN },
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

#define FUNCTIONS_MAX 64
#define BODY_BYTES_MAX (1 << 20)
#define TRIALS_MAX 64

struct options {
	struct load_config cfg;
	const char *target, *workload, *trace, *azure, *method, *data, *metric;
	const char *functions[FUNCTIONS_MAX];
	size_t functions_n;
	struct buf headers;
	double dilate, find, min_rate, precision, max_loss;
	bool help;
};

/* What the options come to, as far as it has to be freed. */
struct job {
	struct cli *cli;
	struct options o;
	struct workload *workload;
	struct load_trace *trace;
	struct load_http *http;
	char *base, *path, *body;               /* of the URL; of the requests */
	char *names[FUNCTIONS_MAX];
	bool tty;
	struct load_result *best;               /* of a search */
};

static int bad(const char *what, const char *value)
{
	fprintf(stderr, "hearth load: %s: %s\n", what, value);
	return CLI_USAGE;
}

/* ---- options ---- */

static int take_number(const char *text, double min, double max, double *ret)
{
	char *end;
	double v = strtod(text, &end), factor = *end == 'k' ? 1e3 : *end == 'M' ? 1e6 : 1;

	if (factor != 1)
		end++;
	if (end == text || *end != '\0' || !(v * factor >= min && v * factor <= max))
		return -EINVAL;
	*ret = v * factor;
	return 0;
}

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

static int take_header(struct options *o, const char *text)
{
	const char *colon = strchr(text, ':');

	if (!colon || colon == text || strpbrk(text, "\r\n"))
		return bad("-H must be 'Name: value'", text);
	return buf_printf(&o->headers, "%s\r\n", text) < 0 ? CLI_FAILED : CLI_OK;
}

static int set_number(struct options *o, int c)
{
	switch (c) {
	case O_RATE: return take_number(optarg, 1e-6, 1e8, &o->cfg.rate_hz) < 0 ? bad("--rate must be requests a second, up to 1e8", optarg) : CLI_OK;
	case O_MIN_RATE: return take_number(optarg, 1e-6, 1e8, &o->min_rate) < 0 ? bad("--min-rate must be requests a second, up to 1e8", optarg) : CLI_OK;
	case O_WARMUP: return take_number(optarg, 0, 0.9, &o->cfg.warmup) < 0 ? bad("--warmup must be 0..0.9", optarg) : CLI_OK;
	case O_DILATE: return take_number(optarg, 1e-6, 1e6, &o->dilate) < 0 ? bad("--dilate must be a factor, 0.000001..1000000", optarg) : CLI_OK;
	case O_MAX_LOSS: return take_number(optarg, 0, 1, &o->max_loss) < 0 ? bad("--max-loss must be a share, 0..1", optarg) : CLI_OK;
	case O_FIND: return take_number(optarg, 1e-9, 1e12, &o->find) < 0 ? bad("--find-max-load must be a number, what --metric may reach", optarg) : CLI_OK;
	default: return take_number(optarg, 1e-4, 0.5, &o->precision) < 0 ? bad("--precision must be a share, 0.0001..0.5", optarg) : CLI_OK;
	}
}

static int set_whole(struct options *o, int c)
{
	uint64_t v = 0;

	switch (c) {
	case O_SEED:
		return take_whole(optarg, 0, INT64_MAX, &o->cfg.seed) < 0 ? bad("--seed must be a whole number", optarg) : CLI_OK;
	case O_KEYS:
		return take_whole(optarg, 1, 9999999999, &o->cfg.keys) < 0 ? bad("--keys must be 1..9999999999", optarg) : CLI_OK;
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

static int set_option(struct cli *cli, struct options *o, int c)
{
	switch (c) {
	case O_WORKLOAD: o->workload = optarg; return CLI_OK;
	case O_TRACE: o->trace = optarg; return CLI_OK;
	case O_AZURE: o->azure = optarg; return CLI_OK;
	case O_METRIC: o->metric = optarg; return CLI_OK;
	case 'X': o->method = optarg; return CLI_OK;
	case 'd': o->data = optarg; return CLI_OK;
	case 'H': return take_header(o, optarg);
	case O_JSON: cli->json = true; return CLI_OK;
	case O_HELP: o->help = true; return CLI_OK;
	case O_FUNCTION:
		if (o->functions_n == FUNCTIONS_MAX)
			return bad("too many times --function, at most 64", optarg);
		o->functions[o->functions_n++] = optarg;
		return CLI_OK;
	case O_ARRIVALS:
		o->cfg.arrivals = strcmp(optarg, "uniform") == 0 ? LOAD_UNIFORM : LOAD_POISSON;
		return o->cfg.arrivals == LOAD_POISSON && strcmp(optarg, "poisson") != 0 ? bad("--arrivals must be poisson or uniform", optarg) : CLI_OK;
	case O_APP:
		o->cfg.app = strcmp(optarg, "rocksdb") == 0 ? LOAD_ROCKSDB : LOAD_SPIN;
		return o->cfg.app == LOAD_SPIN && strcmp(optarg, "spin") != 0 ? bad("--app must be spin or rocksdb", optarg) : CLI_OK;
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

static int check_options(struct options *o)
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

static int parse_options(struct cli *cli, struct options *o, int argc, char **argv)
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

/* ---- what to send ---- */

static int azure_load(struct job *j, struct hearth_err *err)
{
	struct trace *t = NULL;
	struct load_trace_item *items;
	const char **names;
	size_t names_n;
	int rc = trace_load(j->o.azure, &t, err);

	if (rc < 0)
		return rc;
	names_n = j->o.functions_n ? j->o.functions_n : t->n_funcs;
	items = calloc(t->n_calls, sizeof(*items));
	names = calloc(names_n, sizeof(*names));
	/* The trace's functions take turns on those that there are; names of the trace are digests, too long for a type. */
	for (size_t i = 0; items && i < t->n_calls; i++)
		items[i] = (struct load_trace_item){ t->calls[i].start_ns, t->calls[i].duration_ns, t->calls[i].func % (uint32_t)names_n };
	for (size_t i = 0; names && i < names_n; i++) {
		if (j->o.functions_n)
			names[i] = j->names[i];
		else if (strlen(t->funcs[i].name) >= SCHED_NAME_MAX)
			t->funcs[i].name[SCHED_NAME_MAX - 1] = '\0';
		if (!j->o.functions_n)
			names[i] = t->funcs[i].name;
	}
	if (items && names) {
		rc = load_trace_new(j->o.azure, names, names_n, items, t->n_calls, &j->trace, err);
	} else {
		free(items);
		rc = err_set(err, -ENOMEM, "no memory for the trace");
	}
	free(names);
	trace_free(t);
	return rc;
}

/* "NAME" or "NAME=RATIO"; those without share what the others leave. */
static int functions_take(struct job *j, double *ratio, struct hearth_err *err)
{
	double sum = 0;
	size_t open = 0;

	for (size_t i = 0; i < j->o.functions_n; i++) {
		const char *eq = strchr(j->o.functions[i], '=');
		size_t len = eq ? (size_t)(eq - j->o.functions[i]) : strlen(j->o.functions[i]);

		ratio[i] = -1;
		if (len == 0 || (eq && take_number(eq + 1, 0, 1, &ratio[i]) < 0))
			return err_set(err, -EINVAL, "--function %s: it must be NAME or NAME=RATIO, the ratio 0..1", j->o.functions[i]);
		j->names[i] = strndup(j->o.functions[i], len);
		if (!j->names[i])
			return err_set(err, -ENOMEM, "no memory");
		if (eq)
			sum += ratio[i];
		else
			open++;
	}
	for (size_t i = 0; i < j->o.functions_n; i++)
		if (ratio[i] < 0)
			ratio[i] = (sum < 1 ? 1 - sum : 0) / (double)open;
	return 0;
}

/* Types that only have names: the functions, or the one URL. */
static int workload_of_names(struct job *j, const double *ratio, struct hearth_err *err)
{
	struct workload_type types[FUNCTIONS_MAX] = { 0 };
	size_t n = j->o.functions_n ? j->o.functions_n : 1;

	types[0] = (struct workload_type){ .name = "requests", .mean_ns = 1, .ratio = 1 };
	for (size_t i = 0; i < j->o.functions_n; i++) {
		types[i] = (struct workload_type){ .mean_ns = 1, .ratio = ratio[i] };
		snprintf(types[i].name, sizeof(types[i].name), "%s", j->names[i]);
	}
	return workload_new(j->o.functions_n ? "functions" : "one URL", types, (uint32_t)n, &j->workload, err);
}

static int workload_find_out(struct job *j, struct hearth_err *err)
{
	struct load_config *cfg = &j->o.cfg;
	double ratio[FUNCTIONS_MAX];
	int rc = functions_take(j, ratio, err);

	if (rc == 0 && j->o.trace)
		rc = load_trace_load(j->o.trace, &j->trace, err);
	else if (rc == 0 && j->o.azure)
		rc = azure_load(j, err);
	else if (rc == 0 && j->o.workload)
		rc = workload_load(j->o.workload, &j->workload, err);
	else if (rc == 0)
		rc = workload_of_names(j, ratio, err);
	if (rc < 0)
		return rc;
	cfg->has_service = j->o.workload || j->o.trace;
	if (j->trace) {
		load_trace_dilate(j->trace, j->o.dilate);
		cfg->trace = j->trace;
		cfg->workload = j->trace->workload;
		cfg->numbers = j->trace->numbers;
		cfg->arrivals = LOAD_TRACE;
	} else {
		workload_dilate(j->workload, j->o.dilate);
		cfg->rate_hz /= j->o.dilate;
		cfg->workload = j->workload;
	}
	return 0;
}

/* ---- HTTP ---- */

static int url_split(struct job *j, struct hearth_err *err)
{
	CURLU *u = curl_url();
	char *host = NULL, *port = NULL, *path = NULL, *query = NULL;
	int rc = 0;

	if (!u || curl_url_set(u, CURLUPART_URL, j->o.target, 0) != CURLUE_OK || curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK || curl_url_get(u, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		rc = err_set(err, -EINVAL, "\"%s\" is no URL: it must be like http://ADDRESS:PORT/PATH", j->o.target);
	else if (curl_url_get(u, CURLUPART_QUERY, &query, 0), asprintf(&j->path, "%s%s%s", path, query ? "?" : "", query ? query : "") < 0)
		j->path = NULL;
	if (rc == 0 && asprintf(&j->base, "%s:%s", host, port) < 0)
		j->base = NULL;
	if (rc == 0 && (!j->path || !j->base))
		rc = err_set(err, -ENOMEM, "no memory");
	curl_free(host);
	curl_free(port);
	curl_free(path);
	curl_free(query);
	curl_url_cleanup(u);
	return rc;
}

static int body_take(struct job *j, struct hearth_err *err)
{
	const char *data = j->o.data ? j->o.data : j->o.functions_n ? "{}" : NULL;
	int rc = 0;

	if (!data)
		return 0;
	if (data[0] == '@')
		rc = file_read(data + 1, BODY_BYTES_MAX, &j->body, NULL);
	else
		j->body = strdup(data);
	if (rc < 0)
		return err_set(err, rc, "cannot read %s: %s", data + 1, strerror(-rc));
	return j->body ? 0 : err_set(err, -ENOMEM, "no memory");
}

/* Which function a type is for: the one of the same place, or the only one. */
static const char *function_of(const struct job *j, uint32_t type)
{
	return j->names[j->o.functions_n == 1 ? 0 : type];
}

static int path_of(struct job *j, uint32_t type, char **ret)
{
	char *name;
	int rc;

	if (j->o.functions_n == 0) {
		*ret = strdup(j->path);
		return *ret ? 0 : -ENOMEM;
	}
	name = curl_easy_escape(NULL, function_of(j, type), 0);
	rc = name ? asprintf(ret, "/2015-03-31/functions/%s/invocations", name) : -1;
	curl_free(name);
	return rc < 0 ? -ENOMEM : 0;
}

static int http_prepare(struct job *j, struct hearth_err *err)
{
	const struct workload *w = j->o.cfg.workload;
	int rc = url_split(j, err);

	if (rc == 0)
		rc = body_take(j, err);
	if (rc < 0)
		return rc;
	if (j->o.functions_n > 1 && j->o.functions_n != w->types_n)
		return err_set(err, -EINVAL, "%zu functions for %u types: give one function for each type of %s, or one for all", j->o.functions_n, w->types_n, w->name);
	if (j->body && !strcasestr(buf_head(&j->o.headers) ? (const char *)buf_head(&j->o.headers) : "", "content-type:") &&
	    buf_printf(&j->o.headers, "Content-Type: application/json\r\n") < 0)
		return err_set(err, -ENOMEM, "no memory");
	if (buf_append(&j->o.headers, "", 1) < 0)
		return err_set(err, -ENOMEM, "no memory");
	j->http = calloc(w->types_n, sizeof(*j->http));
	for (uint32_t t = 0; j->http && t < w->types_n; t++) {
		j->http[t] = (struct load_http){ .method = j->o.method ? j->o.method : j->body ? "POST" : "GET", .headers = (const char *)buf_head(&j->o.headers),
			.body = j->body };
		if (path_of(j, t, (char **)&j->http[t].path) < 0)
			return err_set(err, -ENOMEM, "no memory");
	}
	j->o.cfg.http = j->http;
	j->o.cfg.target = j->base;
	return j->http ? 0 : err_set(err, -ENOMEM, "no memory");
}

static void job_done(struct job *j)
{
	for (uint32_t t = 0; j->http && t < j->o.cfg.workload->types_n; t++)
		free((char *)j->http[t].path);
	free(j->http);
	free(j->base);
	free(j->path);
	free(j->body);
	for (size_t i = 0; i < j->o.functions_n; i++)
		free(j->names[i]);
	buf_done(&j->o.headers);
	load_result_free(j->best);
	workload_free(j->workload);
	load_trace_free(j->trace);
}

/* ---- doing it ---- */

static atomic_bool stop_asked;

static void on_signal(int sig)
{
	atomic_store(&stop_asked, true);
}

static void on_progress(void *ctx, const struct load_progress *p)
{
	struct job *j = ctx;

	if (j->tty)
		fprintf(stderr, "\r\033[K%5.1f of %.1f s  sent %" PRIu64 "  answered %" PRIu64 " (%" PRIu64 "/s)  under way %" PRIu64 "  lost %" PRIu64,
			(double)p->elapsed_ns / 1e9, (double)p->total_ns / 1e9, p->sent, p->answered, p->recent_rate, p->flying, p->lost);
}

static void progress_end(const struct job *j)
{
	if (j->tty)
		fputs("\r\033[K", stderr);
}

static double loss_of(const struct load_result *r)
{
	return r->total.due ? (double)(r->total.due - r->total.ok) / (double)r->total.due : 0;
}

static int print_result(struct job *j, const struct load_result *r)
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

static int once(struct job *j, struct hearth_err *err)
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
	struct job *j = ctx;
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
			rc = err_set(err, -EINVAL, "there is no metric %s: it must be slowdown_ or latency_ and p50, p90, p99, p999, mean or max, then perhaps _ and a type", j->o.metric);
		else if (r->total.slowdown.count == 0 && strncmp(j->o.metric, "slowdown", 8) == 0)
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

static int search_json(struct job *j, double best_hz, const struct load_trial *trials, size_t n)
{
	json_t *list = json_array(), *o;
	int rc;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:f, s:f, s:f, s:b, s:b}", "rate_rps", trials[i].rate_hz, "value", trials[i].value, "loss", trials[i].loss, "good",
			trials[i].good, "generator_limit", trials[i].generator_limit));
	o = json_pack("{s:f, s:s, s:f, s:f, s:o, s:o?}", "max_rate_rps", best_hz, "metric", j->o.metric, "target", j->o.find, "max_loss", j->o.max_loss, "trials", list,
		"best", j->best ? load_report_json(&j->o.cfg, j->best) : NULL);
	rc = cli_print_json(o);
	json_decref(o);
	return rc;
}

static int search(struct job *j, struct hearth_err *err)
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

int cmd_load(struct cli *cli, int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };
	struct job j = { .cli = cli, .tty = isatty(STDERR_FILENO), .o = { .cfg = { .threads = 1, .warmup = 0.1, .duration_ns = 10 * NS_PER_S, .seed = 1, .keys = 100000,
		.scan_limit = 5000, .progress = on_progress, .stop = &stop_asked }, .metric = "slowdown_p999", .dilate = 1, .precision = 0.02, .max_loss = -1 } };
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
	rc = workload_find_out(&j, &err);
	if (rc == 0 && strncmp(j.o.target, "http://", 7) == 0)
		rc = http_prepare(&j, &err);
	if (rc < 0) {
		rc = cli_fail(cli, &err);
	} else {
		sigaction(SIGINT, &action, NULL);
		sigaction(SIGTERM, &action, NULL);
		rc = j.o.find > 0 ? search(&j, &err) : once(&j, &err);
	}
	job_done(&j);
	return rc;
}
