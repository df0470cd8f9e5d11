// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "ckpt/keeper.h"
#include "cli.h"
#include "node/node.h"
#include "sched/net.h"

/*
 * Works without a daemon and without privileges. Every line: does it work, and what it means if not. Exit status 0: functions run isolated and are parked
 * when idle, the whole of it; 1: something of that is missing.
 */

static void add(json_t *items, const char *name, bool ok, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void add(json_t *items, const char *name, bool ok, const char *fmt, ...)
{
	char detail[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	json_array_append_new(items, json_pack("{s:s,s:b,s:s}", "name", name, "ok", ok, "detail", detail));
}

/* one job of hearth-box, as hearthd runs them; standard error is dropped: the answer holds what is to be said */
static json_t *ask_box(const char *program, json_t *spec)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, status;
	struct buf answer = { 0 };
	json_t *result = NULL;
	uint8_t *tail;
	ssize_t n;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		goto done;
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(null, 2);
		execl(program, program, NULL);
		_exit(127);
	}
	fd_close(&in[0]);
	fd_close(&out[1]);
	if (pid < 0)
		goto done;
	json_dumpfd(spec, in[1], JSON_COMPACT);
	fd_close(&in[1]);
	while (buf_reserve(&answer, 4096, &tail) == 0 && (n = read(out[0], tail, 4096)) > 0)
		buf_commit(&answer, (size_t)n);
	waitpid(pid, &status, 0);
	if (answer.len > 0)
		result = json_loadb((const char *)buf_head(&answer), answer.len, JSON_DISABLE_EOF_CHECK, NULL);
done:
	fd_close(&in[0]);
	fd_close(&in[1]);
	fd_close(&out[0]);
	fd_close(&out[1]);
	buf_done(&answer);
	return result;
}

static void check_programs(json_t *items, const struct node_config *cfg)
{
	static const char *const programs[] = { "hearth-box", "hearth-init" };
	char path[4400];

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", cfg->libexec_dir, programs[i]);
		if (access(path, X_OK) == 0)
			add(items, programs[i], true, "%s", path);
		else
			add(items, programs[i], false, "%s: %s; install Hearth whole, or name its folder with --libexec", path, strerror(errno));
	}
}

static void check_box(json_t *items, const struct node_config *cfg)
{
	char program[4400];
	json_t *spec = json_pack("{s:s}", "job", "probe"), *result, *item;
	size_t i;

	if (cfg->criu)
		json_object_set_new(spec, "criu", json_string(cfg->criu));
	snprintf(program, sizeof(program), "%s/hearth-box", cfg->libexec_dir);
	result = ask_box(program, spec);
	json_decref(spec);
	if (!json_array_size(json_object_get(result, "checks")))
		add(items, "probe", false, "%s probes nothing: %s", program, json_string_value(json_object_get(result, "error")) ?: "it did not answer");
	json_array_foreach(json_object_get(result, "checks"), i, item)
		json_array_append(items, item);
	json_decref(result);
}

static void check_daemon(struct cli *cli, json_t *items)
{
	json_t *request = json_pack("{s:s}", "op", "info"), *reply = NULL;
	struct hearth_err err;

	if (ctl_call(cli, request, &reply, &err) == 0) {
		json_t *node = json_object_get(reply, "node");

		add(items, "hearthd", true, "runs (pid %lld), gateway %s", (long long)json_integer_value(json_object_get(node, "pid")),
		    json_string_value(json_object_get(node, "gateway")));
	} else {
		add(items, "hearthd", true, "not running here (%s)", cli->run_dir);
	}
	json_decref(request);
	json_decref(reply);
}

static void optional(json_t *items)
{
	json_object_set_new(json_array_get(items, json_array_size(items) - 1), "optional", json_true());
}

/* device memory of programs; none of it is needed for functions, nor for programs without CUDA */
static void check_keeper(struct cli *cli, json_t *items)
{
	struct keeper_info info;
	struct hearth_err err = { .msg = "" };
	struct keeper *k = NULL;
	char path[4200];
	bool up;

	snprintf(path, sizeof(path), "%s/keeper.sock", cli->run_dir);
	up = keeper_connect(path, &k, &err) == 0 && keeper_info(k, &info, &err) == 0;
	keeper_close(k);
	add(items, "keeper", up, up ? "runs" : "%s", err.msg);
	optional(items);
	if (!up)
		return;
	add(items, "cuda driver", info.driver_version > 0 && info.devices > 0, "CUDA %d.%d, %u device%s", info.driver_version / 1000, info.driver_version % 1000 / 10, info.devices,
	    info.devices == 1 ? "" : "s");
	optional(items);
	add(items, "cuda checkpoint", info.checkpoint, info.checkpoint ? "the driver can checkpoint processes" : "the driver has no cuCheckpointProcess*; install release 570 or newer");
	optional(items);
	add(items, "cuda export", info.export, info.export ? "device memory can be handed to the keeper" : "device memory cannot be exported: the driver alone checkpoints it, slowly");
	optional(items);
}

/* what `hearth serve` can listen with; none of it is needed for functions */
static void check_backends(json_t *items)
{
	for (size_t i = 0; net_backends[i] != NULL; i++) {
		const struct net_backend *b = net_backends[i];
		struct hearth_err err = { .msg = "" };
		char name[32], words[256] = "sockets work";
		bool ok = b->probe(&err) == 0;

		if (ok && b->describe != NULL)
			b->describe(NULL, words, sizeof(words));
		snprintf(name, sizeof(name), "net %s", b->name);
		add(items, name, ok, "%s", ok ? words : err.msg);
		optional(items);
	}
}

/* where idle functions' memory can go; without it they keep it until they are parked */
static void check_farmem(json_t *items, const struct node_config *cfg)
{
	struct node_farmem_report report[4];
	size_t n = node_farmem_probe(cfg, report, 4);

	for (size_t i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "memory %s", report[i].name);
		add(items, name, report[i].works, "%s", report[i].detail);
		optional(items);
	}
}

static bool all_ok(const json_t *items)
{
	json_t *item;
	size_t i;

	json_array_foreach(items, i, item)
		if (!json_is_true(json_object_get(item, "ok")) && !json_is_true(json_object_get(item, "optional")))
			return false;
	return true;
}

static void show(const json_t *items, bool ok)
{
	json_t *item;
	size_t i;

	json_array_foreach(items, i, item)
		printf("%-9s %-14s %s\n",
		       json_is_true(json_object_get(item, "ok")) ? "ok" : json_is_true(json_object_get(item, "optional")) ? "optional" : "MISSING",
		       json_string_value(json_object_get(item, "name")), json_string_value(json_object_get(item, "detail")));
	puts(ok ? "\nThis machine does all of it: isolated functions, parked when idle."
		: "\nSomething is missing. What is left works: without namespaces functions run unisolated, without CRIU idle ones are ended instead of parked.");
}

int cmd_doctor(struct cli *cli, int argc, char **argv)
{
	struct node_config cfg;
	struct hearth_err err;
	struct utsname uts;
	json_t *items, *o;
	bool ok;

	if (node_config_init(&cfg, &err) < 0)
		return cli_fail(cli, &err);
	for (int i = 1; i < argc; i++) {
		char **field = !strcmp(argv[i], "--libexec") ? &cfg.libexec_dir : !strcmp(argv[i], "--criu") ? &cfg.criu : NULL;

		if (!field || i + 1 >= argc) {
			node_config_done(&cfg);
			return cli_usage(cli, "unknown option, or one that lacks its value");
		}
		free(*field);
		*field = strdup(argv[++i]);
	}
	items = json_array();
	uname(&uts);
	add(items, "kernel", true, "Linux %s %s", uts.release, uts.machine);
	add(items, "user", geteuid() == 0, "%s", geteuid() == 0 ? "root" : "not root: no isolation, no limits, no parking; run hearthd as root for those");
	check_programs(items, &cfg);
	check_box(items, &cfg);
	check_daemon(cli, items);
	check_keeper(cli, items);
	check_farmem(items, &cfg);
	check_backends(items);
	ok = all_ok(items);
	if (cli->json) {
		o = json_pack("{s:b,s:O}", "ok", ok, "items", items);
		cli_print_json(o);
		json_decref(o);
	} else {
		show(items, ok);
	}
	json_decref(items);
	node_config_done(&cfg);
	return ok ? CLI_OK : CLI_FAILED;
}
