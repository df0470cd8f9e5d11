/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_CLI_H
#define HEARTH_CLI_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/* Exit codes of every sub-command: done; it could not be done; the command line was wrong. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli {
	const char *run_dir;    /* holds hearthd.sock */
	bool json;              /* machine-readable output on standard output */
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

int cmd_replay(struct cli *cli, int argc, char **argv);
int cmd_trace(struct cli *cli, int argc, char **argv);

#endif
