// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* hearth sched: the settings of the scheduling between functions, changed while the node runs. hearth explain: what it does and why. */

enum { OPT_POLICY = 'p', OPT_SLOTS = 's', OPT_RESERVED = 'r', OPT_WINDOW = 'w', OPT_RECORD = 'R' };

static int put_number(json_t *request, const char *key, const char *text)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (end == text || *end || errno || value < 0)
		return -EINVAL;
	return json_object_set_new(request, key, json_integer(value));
}

/* the daemon has a working directory of its own */
static int put_path(json_t *request, const char *text)
{
	char here[PATH_MAX], path[2 * PATH_MAX] = "";

	if (!strcmp(text, "off"))
		return json_object_set_new(request, "record", json_string(""));
	if (text[0] != '/' && !getcwd(here, sizeof(here)))
		return -errno;
	snprintf(path, sizeof(path), "%s%s%s", text[0] == '/' ? "" : here, text[0] == '/' ? "" : "/", text);
	return json_object_set_new(request, "record", json_string(path));
}

/* Return: CLI_OK, or CLI_USAGE after it was said why */
static int parse(struct cli *cli, int argc, char **argv, bool record, json_t *request)
{
	static const struct option longs[] = {
		{ "policy", 1, NULL, OPT_POLICY }, { "slots", 1, NULL, OPT_SLOTS }, { "reserved", 1, NULL, OPT_RESERVED },
		{ "window", 1, NULL, OPT_WINDOW }, { "record", 1, NULL, OPT_RECORD }, { 0 },
	};
	int c, r = 0;

	opterr = 0;
	optind = 1;
	while (r == 0 && (c = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
		switch (c) {
		case OPT_POLICY: r = json_object_set_new(request, "policy", json_string(optarg)); break;
		case OPT_SLOTS: r = put_number(request, "slots", optarg); break;
		case OPT_RESERVED: r = put_number(request, "reserved", optarg); break;
		case OPT_WINDOW: r = put_number(request, "window", optarg); break;
		case OPT_RECORD: r = record ? put_path(request, optarg) : -EINVAL; break;
		default: r = -EINVAL;
		}
	}
	if (r < 0)
		return cli_usage(cli, "unknown option, or an argument that is none");
	return optind < argc ? cli_usage(cli, "unexpected argument") : CLI_OK;
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static long long number(const json_t *o, const char *key)
{
	return (long long)json_number_value(json_object_get(o, key));
}

/* "-" where there is none */
static const char *real(char out[24], const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_number(v))
		return "-";
	snprintf(out, 24, "%.3g", json_number_value(v));
	return out;
}

static void print_settings(const json_t *s)
{
	if (number(s, "slots"))
		printf("slots %lld, policy %s", number(s, "slots"), text(s, "policy"));
	else
		printf("slots 0: no limit (policy %s is not in use)", text(s, "policy"));
	if (number(s, "slots") && json_object_get(s, "busy"))
		printf("; %lld in use, %lld calls wait for one", number(s, "busy"), number(s, "waiting"));
	if (json_is_string(json_object_get(s, "record")))
		printf("; %lld calls recorded in %s", number(s, "recorded"), text(s, "record"));
	puts("");
}

static void print_types(const json_t *types)
{
	json_t *t;
	size_t i;

	printf("%-24s %9s %9s %9s %7s %7s %9s %9s %8s %8s %7s %7s\n", "TYPE", "FUNCTIONS", "CALLS", "RUN/ms", "WAITING", "RUNNING", "P50/ms", "P99/ms", "SLOW P50",
	       "SLOW P99", "STEALS", "HELD");
	json_array_foreach(types, i, t) {
		char a[24], b[24], c[24], d[24], e[24];

		printf("%-24.24s %9lld %9lld %9s %7lld %7lld %9s %9s %8s %8s %7lld %7lld\n", text(t, "name"), number(t, "functions"), number(t, "completed"),
		       real(a, t, "service_ms"), number(t, "waiting"), number(t, "running"), real(b, t, "latency_ms_p50"), real(c, t, "latency_ms_p99"),
		       real(d, t, "slowdown_p50"), real(e, t, "slowdown_p99"), number(t, "steals"), number(t, "held"));
	}
}

static int ask(struct cli *cli, int argc, char **argv, const char *op, json_t **ret)
{
	json_t *request = json_pack("{s:s}", "op", op);
	struct hearth_err err;
	int r = parse(cli, argc, argv, !strcmp(op, "sched"), request);

	if (r == CLI_OK && ctl_call(cli, request, ret, &err) < 0)
		r = cli_fail(cli, &err);
	json_decref(request);
	return r;
}

int cmd_sched(struct cli *cli, int argc, char **argv)
{
	json_t *o = NULL;
	int r = ask(cli, argc, argv, "sched", &o);

	if (r == CLI_OK && cli->json)
		r = cli_print_json(o);
	else if (r == CLI_OK)
		print_settings(json_object_get(o, "sched"));
	json_decref(o);
	return r;
}

static int explain_node(struct cli *cli, int argc, char **argv)
{
	const json_t *sched, *would;
	json_t *o = NULL;
	int r = ask(cli, argc, argv, "explain", &o);

	if (r == CLI_OK && cli->json) {
		r = cli_print_json(o);
	} else if (r == CLI_OK) {
		sched = json_object_get(o, "sched");
		would = json_object_get(o, "would");
		print_settings(sched);
		print_types(json_object_get(sched, "types"));
		printf("\n%s", text(sched, "explain"));
		if (would) {
			printf("\nIt would be, with what is known of the types now: ");
			print_settings(would);
			fputs(text(would, "explain"), stdout);
		}
	}
	json_decref(o);
	return r;
}

/* "--serve SOCKET" and nothing else. Return: the socket, or NULL. */
static const char *other_server(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--serve"))
		return argv[2];
	return argc == 2 && !strncmp(argv[1], "--serve=", 8) ? argv[1] + 8 : NULL;
}

int cmd_explain(struct cli *cli, int argc, char **argv)
{
	const char *socket = other_server(argc, argv);

	return socket ? explain_serve(cli, socket) : explain_node(cli, argc, argv);
}
