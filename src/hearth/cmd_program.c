// SPDX-License-Identifier: Apache-2.0
/* run, checkpoint, restore */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "ckpt/engine.h"
#include "ckpt/program.h"
#include "program_cli.h"

/* as a shell tells it */
static int exit_code(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : CLI_FAILED;
}

/* ---- run ---- */

struct run_options { const char *name; bool detach, verbose; char **env; size_t env_n; };

static int parse_run(struct cli *cli, int argc, char **argv, struct run_options *o)
{
	static const struct option longs[] = {
		{ "name", 1, NULL, 'n' }, { "detach", 0, NULL, 'd' }, { "env", 1, NULL, 'e' }, { "verbose", 0, NULL, 'v' }, { 0 },
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+d", longs, NULL)) != -1) {
		switch (c) {
		case 'n': o->name = optarg; break;
		case 'd': o->detach = true; break;
		case 'v': o->verbose = true; break;
		case 'e':
			if (!strchr(optarg, '=') || *optarg == '=')
				return cli_usage(cli, "--env takes KEY=VALUE");
			o->env[o->env_n++] = optarg;
			break;
		default: return cli_usage(cli, "unknown option, or one that lacks its value");
		}
	}
	return optind < argc ? CLI_OK : cli_usage(cli, "which command?");
}

static int told_end(const struct program *p, int status)
{
	if (p->state != PROGRAM_PARKED)
		return exit_code(status);
	fprintf(stderr, "hearth: %s was parked; `hearth wake %s` brings it back\n", p->name, p->name);
	return CLI_OK;
}

int cmd_run(struct cli *cli, int argc, char **argv)
{
	struct run_options o = { .env = calloc((size_t)argc + 1, sizeof(char *)) };
	struct program_run run = { .run_dir = cli->run_dir };
	struct hearth_err err = { 0 };
	struct program p = { 0 };
	char shim[PATH_MAX];
	const char *why = NULL;
	struct program_cli pc;
	int r = o.env ? parse_run(cli, argc, argv, &o) : CLI_FAILED, status = 0;

	if (r != CLI_OK || program_cli_init(&pc, cli, NULL, &err) < 0) {
		free(o.env);
		return r != CLI_OK ? r : cli_fail(cli, &err);
	}
	run.argv = argv + optind;
	run.env = o.env;
	run.name = o.name;
	run.detach = o.detach;
	run.keeper = pc.keeper;
	run.shim = program_find_shim(o.env, shim, sizeof(shim), &why);
	if (o.verbose)
		fprintf(stderr, "hearth: %s%s\n", run.shim ? "under " : "CPU only: ", run.shim ? run.shim : why);
	if (program_run(&run, &p, &status, &err) < 0) {
		r = cli_fail(cli, &err);
		if (err.code == -ENOENT)
			r = 127;
	} else if (!o.detach) {
		r = told_end(&p, status);
	} else if (cli->json) {
		json_t *out = json_pack("{s:s,s:i}", "name", p.name, "pid", (int)p.pid);

		r = cli_print_json(out);
		json_decref(out);
	} else {
		printf("%s runs, process %d\n", p.name, (int)p.pid);
	}
	program_done(&p);
	program_cli_done(&pc);
	free(o.env);
	return r;
}

/* ---- checkpoint ---- */

struct checkpoint_options {
	const char *who, *to;
	bool stop, running, pre_dump;
	double every_s;
	long keep, count;
	int zstd;
};

static bool parse_time(const char *text, double *ret_s)
{
	char *end;

	*ret_s = strtod(text, &end);
	if (end == text || !(*ret_s >= 0) || *ret_s > 1e9)
		return false;
	if (!strcmp(end, "ms"))
		*ret_s /= 1000;
	else if (!strcmp(end, "m"))
		*ret_s *= 60;
	else if (!strcmp(end, "h"))
		*ret_s *= 3600;
	else if (*end && strcmp(end, "s"))
		return false;
	return true;
}

static bool parse_count(const char *text, long min, long max, long *ret)
{
	char *end;

	*ret = strtol(text, &end, 10);
	return end != text && !*end && *ret >= min && *ret <= max;
}

static int parse_checkpoint(struct cli *cli, int argc, char **argv, struct checkpoint_options *o)
{
	static const struct option longs[] = {
		{ "leave-running", 0, NULL, 'R' }, { "stop", 0, NULL, 'S' }, { "to", 1, NULL, 't' }, { "every", 1, NULL, 'e' }, { "keep", 1, NULL, 'k' },
		{ "count", 1, NULL, 'c' }, { "pre-dump", 0, NULL, 'p' }, { "zstd", 1, NULL, 'z' }, { 0 },
	};
	long level;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'R': o->running = true; break;
		case 'S': o->stop = true; break;
		case 'p': o->pre_dump = true; break;
		case 't': o->to = optarg; break;
		case 'e':
			if (!parse_time(optarg, &o->every_s))
				return cli_usage(cli, "--every takes a time: 30s, 5m, 1h");
			break;
		case 'k':
			if (!parse_count(optarg, 1, 1000000, &o->keep))
				return cli_usage(cli, "--keep takes a number of images, at least 1");
			break;
		case 'c':
			if (!parse_count(optarg, 1, 1000000, &o->count))
				return cli_usage(cli, "--count takes a number of images, at least 1");
			break;
		case 'z':
			if (!parse_count(optarg, 1, 19, &level))
				return cli_usage(cli, "--zstd takes a level from 1 to 19");
			o->zstd = (int)level;
			break;
		default: return cli_usage(cli, "unknown option, or one that lacks its value");
		}
	}
	if (optind + 1 != argc)
		return cli_usage(cli, "which program? one name, or the id of one process");
	if (o->stop && (o->running || o->pre_dump || o->every_s >= 0))
		return cli_usage(cli, "--stop does not go with --leave-running, --pre-dump or --every");
	if ((o->keep || o->count) && o->every_s < 0)
		return cli_usage(cli, "--keep and --count go with --every");
	o->who = argv[optind];
	return CLI_OK;
}

static double number(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static void print_notes(const json_t *notes)
{
	json_t *n;
	size_t k;

	json_array_foreach(notes, k, n)
		printf("  note: %s\n", json_string_value(n));
}

static void print_checkpoint(const json_t *o)
{
	const json_t *t = json_object_get(o, "ms"), *gpu = json_object_get(o, "gpu");
	char all[32], fresh[32], dirty[32];

	printf("%s in %s: %s, %s of them new\n", json_string_value(json_object_get(o, "image")), json_string_value(json_object_get(o, "store")),
	       cli_bytes(all, sizeof(all), number(o, "bytes")), cli_bytes(fresh, sizeof(fresh), number(o, "new_bytes")));
	printf("  pre-copy %.0f ms, stop %.1f ms (CRIU %.1f, memory %.1f: %s), drain %.0f ms, commit %.0f ms\n", number(t, "precopy"), number(t, "stop"), number(t, "criu"),
	       number(t, "memory"), cli_bytes(dirty, sizeof(dirty), number(o, "dirty_bytes")), number(t, "drain"), number(t, "commit"));
	if (gpu)
		printf("  GPU: pre-copy %.0f ms; of the stop: gate %.1f, hash %.1f, snapshot %.1f, copy %.1f, detach %.1f, driver %.1f, attach %.1f ms; %s changed of %s; drain %.0f ms\n",
		       number(gpu, "precopy"), number(gpu, "gate"), number(gpu, "hash"), number(gpu, "snapshot"), number(gpu, "copy"), number(gpu, "detach"), number(gpu, "driver"),
		       number(gpu, "attach"), cli_bytes(dirty, sizeof(dirty), number(gpu, "dirty_bytes")), cli_bytes(all, sizeof(all), number(gpu, "bytes")), number(gpu, "drain"));
	print_notes(json_object_get(o, "notes"));
}

static int one_checkpoint(struct program_cli *pc, struct engine_checkpoint *c, const struct checkpoint_options *o, struct hearth_err *err)
{
	json_t *result = NULL;
	int r = engine_checkpoint(c, &result, err);

	program_cli_clear(pc);
	if (r < 0)
		return r;
	if (pc->cli->json)
		cli_print_json(result);
	else
		print_checkpoint(result);
	fflush(stdout);
	if (o->keep)
		r = engine_keep(c->store, json_string_value(json_object_get(result, "program")), (unsigned)o->keep, err);
	json_decref(result);
	return r;
}

/* Return: 1 it has ended, 0 the time is there */
static int wait_for_turn(int pidfd, uint64_t due_ns)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	uint64_t now;

	while ((now = clock_mono_ns()) < due_ns)
		if (poll(&p, 1, (int)((due_ns - now) / NS_PER_MS) + 1) > 0)
			return 1;
	return poll(&p, 1, 0) > 0;
}

static int series(struct program_cli *pc, struct engine_checkpoint *c, const struct checkpoint_options *o, struct hearth_err *err)
{
	int pidfd = pidfd_of(c->pid), r = 0;
	uint64_t due = clock_mono_ns();
	long made = 0;

	while (r >= 0 && (!o->count || made < o->count)) {
		if (pidfd < 0 || wait_for_turn(pidfd, due))
			break;          /* it ended, and so does the series */
		pc->t0_ns = clock_mono_ns();
		r = one_checkpoint(pc, c, o, err);
		made++;
		due += (uint64_t)(o->every_s * (double)NS_PER_S);
		if (due < clock_mono_ns())
			due = clock_mono_ns();
	}
	fd_close(&pidfd);
	return r;
}

static int find_target(struct cli *cli, const char *who, struct program *p, struct engine_checkpoint *c, struct hearth_err *err)
{
	char *end;
	long pid = strtol(who, &end, 10);
	int r = program_find(cli->run_dir, who, p, err);

	if (r == 0 && p->state != PROGRAM_RUNNING) {
		r = err_set(err, -ESRCH, "program %s does not run, it is %s", p->name, program_state_name(p->state));
	} else if (r == 0) {
		c->pid = p->pid;
		c->name = p->name;
	} else if (!*end && pid > 0) {
		c->pid = (pid_t)pid;
		r = 0;
	}
	return r;
}

int cmd_checkpoint(struct cli *cli, int argc, char **argv)
{
	struct checkpoint_options o = { .every_s = -1 };
	struct engine_checkpoint c = { .run_dir = cli->run_dir };
	struct hearth_err err = { 0 };
	struct program p = { 0 };
	struct program_cli pc;
	int r = parse_checkpoint(cli, argc, argv, &o);

	if (r != CLI_OK)
		return r;
	if (program_cli_init(&pc, cli, o.to, &err) < 0)
		return cli_fail(cli, &err);
	c.store = pc.store;
	c.criu = program_cli_criu(&pc);
	c.keeper = pc.keeper;
	c.stop = o.stop;
	c.pre_dump = o.pre_dump;
	c.series = o.every_s >= 0;
	c.zstd_level = o.zstd;
	c.progress = program_cli_progress;
	c.ctx = &pc;
	r = find_target(cli, o.who, &p, &c, &err);
	if (r == 0)
		r = c.series ? series(&pc, &c, &o, &err) : one_checkpoint(&pc, &c, &o, &err);
	program_done(&p);
	program_cli_done(&pc);
	return r < 0 ? cli_fail(cli, &err) : CLI_OK;
}

/* ---- restore ---- */

static void print_restored(void *ctx, const json_t *o)
{
	const struct program_cli *pc = ctx;
	const json_t *t = json_object_get(o, "ms");
	FILE *to = pc->cli->json ? stdout : stderr;
	char bytes[32];

	/* attached, standard output is the program's */
	if (pc->cli->json)
		json_dumpf(o, to, JSON_COMPACT);
	else
		fprintf(to, "%s runs again, process %d: after %.0f ms%s (%s of memory)", json_string_value(json_object_get(o, "name")), (int)number(o, "pid"), number(t, "total"),
			json_is_true(json_object_get(o, "lazy")) ? ", its memory comes in as it is used" : "", cli_bytes(bytes, sizeof(bytes), number(o, "bytes")));
	fputc('\n', to);
	fflush(to);
}

struct restore_options { const char *image, *store; bool detach, rewind, verify, eager; };

static int parse_restore(struct cli *cli, int argc, char **argv, struct restore_options *o)
{
	static const struct option longs[] = {
		{ "store", 1, NULL, 's' }, { "detach", 0, NULL, 'd' }, { "rewind-files", 0, NULL, 'r' }, { "verify", 0, NULL, 'v' }, { "eager", 0, NULL, 'e' }, { 0 },
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "d", longs, NULL)) != -1) {
		switch (c) {
		case 's': o->store = optarg; break;
		case 'd': o->detach = true; break;
		case 'r': o->rewind = true; break;
		case 'v': o->verify = true; break;
		case 'e': o->eager = true; break;
		default: return cli_usage(cli, "unknown option, or one that lacks its value");
		}
	}
	if (optind + 1 != argc)
		return cli_usage(cli, "which image? `hearth images` lists them");
	o->image = argv[optind];
	return CLI_OK;
}

static int run_restore(struct program_cli *pc, const struct restore_options *o, const char *store)
{
	struct engine_restore e = { .run_dir = pc->cli->run_dir, .store = store, .image = o->image, .criu = program_cli_criu(pc), .keeper = pc->keeper, .detach = o->detach,
		.rewind_files = o->rewind, .verify = o->verify, .eager = o->eager, .restored = print_restored, .ctx = pc };
	struct hearth_err err = { 0 };
	json_t *result = NULL;
	int status = 0, r = engine_restore(&e, &result, &status, &err);

	if (r == 0 && o->detach)
		print_restored(pc, result);
	json_decref(result);
	return r < 0 ? cli_fail(pc->cli, &err) : exit_code(status);
}

int cmd_restore(struct cli *cli, int argc, char **argv)
{
	struct restore_options o = { 0 };
	struct hearth_err err = { 0 };
	struct program_cli pc;
	int r = parse_restore(cli, argc, argv, &o);

	if (r != CLI_OK)
		return r;
	if (program_cli_init(&pc, cli, o.store, &err) < 0)
		return cli_fail(cli, &err);
	r = run_restore(&pc, &o, pc.store);
	program_cli_done(&pc);
	return r;
}

/* ---- park and wake ---- */

/* into memory where it has room: a store there is on a tmpfs, which has at most what it has */
int park_program(struct cli *cli, const char *name)
{
	struct engine_checkpoint c = { .run_dir = cli->run_dir, .stop = true, .progress = program_cli_progress };
	struct checkpoint_options o = { .every_s = -1 };
	struct hearth_err err = { 0 };
	struct program p = { 0 };
	struct program_cli pc;
	char memory[PATH_MAX];
	int r;

	if (program_cli_init(&pc, cli, NULL, &err) < 0)
		return cli_fail(cli, &err);
	memory_store_dir(memory);
	if (access(memory, W_OK) == 0)
		snprintf(pc.store, sizeof(pc.store), "%s", memory);
	c.store = pc.store;
	c.criu = program_cli_criu(&pc);
	c.keeper = pc.keeper;
	c.ctx = &pc;
	r = find_target(cli, name, &p, &c, &err);
	if (r == 0)
		r = one_checkpoint(&pc, &c, &o, &err);
	program_done(&p);
	program_cli_done(&pc);
	return r < 0 ? cli_fail(cli, &err) : CLI_OK;
}

int wake_program(struct cli *cli, const char *name)
{
	struct hearth_err err = { 0 };
	struct program p = { 0 };
	struct program_cli pc;
	int r = program_find(cli->run_dir, name, &p, &err);

	if (r == 0 && (p.state != PROGRAM_PARKED || !p.store || !p.image))
		r = err_set(&err, -EINVAL, "program %s is not parked, it is %s", name, program_state_name(p.state));
	if (r == 0)
		r = program_cli_init(&pc, cli, NULL, &err);
	if (r < 0) {
		program_done(&p);
		return cli_fail(cli, &err);
	}
	r = run_restore(&pc, &(struct restore_options){ .image = p.image, .detach = true }, p.store);
	program_cli_done(&pc);
	program_done(&p);
	return r;
}
