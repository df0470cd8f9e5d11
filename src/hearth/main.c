// SPDX-License-Identifier: Apache-2.0
#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* One line each; `hearth help` prints them, `hearth CMD --help` prints the one and its options, the man pages say the rest. */
static const struct command commands[] = {
	{ "up", cmd_up, "[-d] [--config FILE] [--state DIR] [--listen HOST:PORT] [--isolation full|none|auto] [--log-level LEVEL] [--libexec DIR] [--log FILE]",
	  "start hearthd; -d in the background, when it is ready" },
	{ "down", cmd_down, "[--keep]", "end hearthd; functions are parked or ended, with --keep left running for the next hearthd" },
	{ "deploy", cmd_deploy, "[--set KEY=VALUE]... MANIFEST.yaml...", "deploy functions, or deploy them again" },
	{ "invoke", cmd_invoke, "NAME [-d DATA|@FILE|-] [--event] [--path PATH] [-X METHOD] [-i]", "call a function, print what it answers" },
	{ "ps", cmd_ps, "[NAME]", "functions, instances and programs" },
	{ "top", cmd_top, "[--interval SECONDS]", "the same, on the whole terminal, kept up to date" },
	{ "logs", cmd_logs, "NAME [-n LINES] [-f]", "what a function wrote" },
	{ "park", cmd_park, "NAME|INSTANCE...", "checkpoint idle instances, or programs, now and end their processes" },
	{ "wake", cmd_wake, "NAME|INSTANCE...", "restore parked instances, or programs, now" },
	{ "run", cmd_run, "[--name NAME] [-d|--detach] [--env KEY=VALUE]... [--verbose] -- COMMAND [ARGUMENT...]", "begin a program that can be checkpointed" },
	{ "checkpoint", cmd_checkpoint, "[--leave-running|--stop] [--to DIR|memory] [--every TIME [--keep N] [--count N]] [--pre-dump] [--zstd LEVEL] PID|NAME",
	  "make an image of a running program" },
	{ "restore", cmd_restore, "[--store DIR|memory] [-d|--detach] [--rewind-files] [--verify] [--eager] IMAGE", "bring a program back from an image" },
	{ "rm", cmd_rm, "NAME...", "remove functions, their instances and images" },
	{ "images", cmd_images, "[ls | verify NAME...|--all | rm NAME... | du] [--store DIR]", "images of programs: list, check, remove them, and what they take" },
	{ "explain", cmd_explain, "[--serve SOCKET] [--policy POLICY] [--slots N] [--reserved N] [--window N]",
	  "what the scheduling between functions (--serve: of a `hearth serve`) does, and why; with options: what it would do" },
	{ "sched", cmd_sched, "[--policy POLICY] [--slots N] [--reserved N] [--window N] [--record FILE|off]",
	  "how many calls run at a time and which, changed while they wait and run; record them" },
	{ "doctor", cmd_doctor, "[--libexec DIR] [--criu PROGRAM]", "what this machine can do, and what is missing" },
	{ "serve", cmd_serve, "[--check] CONFIG.yaml", "answer requests over UDP, AF_XDP or DPDK with an application, scheduled by type; --check: only say what would run" },
	{ "ds", cmd_ds, "probe FILE DEVICE | copy [--verify] [--path PATH] FILE FILE|DEVICE | bench [--block N] [--depth N] [--io-depth N] [--queues N] [--sync] [--batch | --stream] [--end-to-end] [--random] [--write] [--handles] [--verify] [--by hearth|pread|uring|cufile] [--path PATH] [--cache auto|never|always] [--threads N] [--ring N] [--seconds N] [--seed N] FILE DEVICE | load [--filter GLOB]... [--verify] [--list] [--kv] [--path PATH] FILE|STORE [DEVICE]",
	  "between files and device memory: which paths there are and why, copy and verify, measure" },
	{ "pool", cmd_pool, "[--listen PLACE]... [--memory BYTES] [--quota BYTES] [--lease SECONDS] [--key-file FILE] | --status PLACE [--key-file FILE] | --new-key TENANT | --print-access FILE",
	  "keep memory of idle functions for this node or others; its state; keys of tenants" },
	{ "load", cmd_load, "ADDRESS:PORT|URL [...]", "send requests at fixed times over UDP or HTTP, whatever comes back; latencies and losses" },
	{ "replay", cmd_replay, "TRACE --out DIR [...]", "replay a trace of invocations through the gateway" },
	{ "trace", cmd_trace, "generate|info [...]", "make a synthetic trace, or describe one" },
	{ "sim", cmd_sim, "[--workload W] [--policy P] [--load L] [...]", "simulate the scheduler: any policy under any mix of requests" },
	{ "sim-mem", cmd_sim_mem, "[--trace PREFIX] [--policy POLICY] [...]", "simulate a day of functions: the memory that policies save, and what it costs" },
	{ "experiment", cmd_experiment, "[NAME] [--out DIR] [...]", "reproduce a published figure: CSV, plot, and published beside ours" },
	{ 0 },
};

static void print_help(FILE *f)
{
	fputs("usage: hearth [--run DIR] [--json] COMMAND [...]\n\n", f);
	for (const struct command *c = commands; c->name; c++)
		fprintf(f, "  %-10s %s\n", c->name, c->summary);
	fputs("\n--run DIR  the daemon's run folder (default: $HEARTH_RUN, else /run/hearth as root)\n"
	      "--json     machine-readable output\n"
	      "Exit status: 0 done, 1 it could not be done, 2 the command line was wrong. `hearth COMMAND --help` says more.\n", f);
}

int cli_usage(const struct cli *cli, const char *problem)
{
	fprintf(stderr, "hearth %s: %s\nusage: hearth %s %s\n", cli->command->name, problem, cli->command->name, cli->command->synopsis);
	return CLI_USAGE;
}

static const char *default_run_dir(void)
{
	static char path[4096];
	const char *env = getenv("HEARTH_RUN"), *xdg = getenv("XDG_RUNTIME_DIR"), *home = getenv("HOME");

	if (env && *env)
		return env;
	if (geteuid() == 0)
		return "/run/hearth";
	if (xdg && *xdg)
		snprintf(path, sizeof(path), "%s/hearth", xdg);
	else
		snprintf(path, sizeof(path), "%s/.cache/hearth", home ? home : "/tmp");
	return path;
}

/* --run and --json may stand anywhere before "--" */
static int take_common(struct cli *cli, int argc, char **argv)
{
	int out = 1;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--")) {
			while (i < argc)
				argv[out++] = argv[i++];
			break;
		}
		if (!strcmp(argv[i], "--json"))
			cli->json = true;
		else if (!strncmp(argv[i], "--run=", 6))
			cli->run_dir = argv[i] + 6;
		else if (!strcmp(argv[i], "--run") && i + 1 < argc)
			cli->run_dir = argv[++i];
		else
			argv[out++] = argv[i];
	}
	argv[out] = NULL;
	return out;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	struct cli cli = { .run_dir = default_run_dir() };
	int r = CLI_USAGE;

	signal(SIGPIPE, SIG_IGN);
	argc = take_common(&cli, argc, argv);
	if (argc < 2) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_help(stdout);
		return CLI_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("hearth " HEARTH_VERSION);
		return CLI_OK;
	}
	for (const struct command *c = commands; c->name; c++) {
		if (strcmp(c->name, argv[1]))
			continue;
		cli.command = c;
		/* these have options enough for help texts of their own */
		if (wants_help(argc - 1, argv + 1) && c->run != cmd_load && c->run != cmd_replay && c->run != cmd_trace && c->run != cmd_sim && c->run != cmd_experiment) {
			printf("usage: hearth %s %s\n\n%s.\nSee hearth-%s(1).\n", c->name, c->synopsis, c->summary, c->name);
			return CLI_OK;
		}
		curl_global_init(CURL_GLOBAL_DEFAULT);
		r = c->run(&cli, argc - 1, argv + 1);
		curl_global_cleanup();
		return fflush(stdout) == 0 ? r : CLI_FAILED;
	}
	fprintf(stderr, "hearth: no command \"%s\"; `hearth help` lists them\n", argv[1]);
	return CLI_USAGE;
}
