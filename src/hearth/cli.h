/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_CLI_H
#define HEARTH_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Exit codes of every sub-command: done; it could not be done; the command line was wrong. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct command;

struct cli {
	const char *run_dir;            /* holds hearthd.sock */
	bool json;                      /* machine-readable output on standard output */
	const struct command *command;
};

struct command {
	const char *name;
	int (*run)(struct cli *cli, int argc, char **argv);     /* argv[0] is the command's name */
	const char *synopsis, *summary;
};

/**
 * ctl_call - one request to hearthd, one answer
 * @request: borrowed; {"op": "...", ...}
 * @ret:     the answer, {"ok": true, ...}; json_decref it
 * Return: 0, -errno with a message (the daemon's own where it refused).
 */
int ctl_call(const struct cli *cli, json_t *request, json_t **ret, struct hearth_err *err);

/** cli_fail - report an error as text or JSON, once. Return: CLI_FAILED. */
int cli_fail(const struct cli *cli, const struct hearth_err *err);
/** cli_usage - the command line was wrong: say how and what it should be. Return: CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *problem);
/** cli_print_json - one line on standard output. Return: CLI_OK, CLI_FAILED. */
int cli_print_json(const json_t *o);
/** cli_bytes - "12.3 MiB" and the like, for people */
const char *cli_bytes(char *out, size_t n, double bytes);

/** explain_serve - `hearth explain --serve SOCKET`: what a `hearth serve` with that control socket does, and why. Return: an exit code. */
int explain_serve(struct cli *cli, const char *socket);

int cmd_up(struct cli *cli, int argc, char **argv);
int cmd_down(struct cli *cli, int argc, char **argv);
int cmd_deploy(struct cli *cli, int argc, char **argv);
int cmd_invoke(struct cli *cli, int argc, char **argv);
int cmd_ps(struct cli *cli, int argc, char **argv);
int cmd_top(struct cli *cli, int argc, char **argv);
int cmd_logs(struct cli *cli, int argc, char **argv);
int cmd_park(struct cli *cli, int argc, char **argv);
int cmd_wake(struct cli *cli, int argc, char **argv);
int cmd_rm(struct cli *cli, int argc, char **argv);
int cmd_images(struct cli *cli, int argc, char **argv);
int cmd_doctor(struct cli *cli, int argc, char **argv);
int cmd_serve(struct cli *cli, int argc, char **argv);
int cmd_ds(struct cli *cli, int argc, char **argv);
int cmd_load(struct cli *cli, int argc, char **argv);
int cmd_sched(struct cli *cli, int argc, char **argv);
int cmd_explain(struct cli *cli, int argc, char **argv);
int cmd_replay(struct cli *cli, int argc, char **argv);
int cmd_trace(struct cli *cli, int argc, char **argv);
int cmd_sim(struct cli *cli, int argc, char **argv);
int cmd_sim_mem(struct cli *cli, int argc, char **argv);
int cmd_run(struct cli *cli, int argc, char **argv);
int cmd_checkpoint(struct cli *cli, int argc, char **argv);
int cmd_restore(struct cli *cli, int argc, char **argv);
int cmd_pool(struct cli *cli, int argc, char **argv);
int cmd_experiment(struct cli *cli, int argc, char **argv);

#endif
