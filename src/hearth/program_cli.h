/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_PROGRAM_CLI_H
#define HEARTH_PROGRAM_CLI_H

#include <limits.h>

#include "cli.h"
#include "node/node.h"

/* What the commands on programs have in common: where the stores and CRIU are, and how progress and phases are shown. */

struct program_cli {
	struct cli *cli;
	struct node_config cfg;
	char store[PATH_MAX];           /* of --to or --store; or the one on the disk */
	char keeper[PATH_MAX];
	const char *phase;              /* of the bar on the screen; NULL: none */
	unsigned long long t0_ns, shown_ns;
};

/** program_cli_init - @store: "memory", a folder, NULL: the default. Return: 0, -errno. */
int program_cli_init(struct program_cli *p, struct cli *cli, const char *store, struct hearth_err *err);
void program_cli_done(struct program_cli *p);
/** program_cli_criu - the criu program; one that is not there is an error of the engine */
const char *program_cli_criu(const struct program_cli *p);
/** program_cli_progress - an engine_progress: a bar on a terminal after a second, with --json a line each now and then. @ctx: the struct */
void program_cli_progress(void *ctx, const char *phase, uint64_t done, uint64_t total);
/** program_cli_clear - take the bar away */
void program_cli_clear(struct program_cli *p);

/** memory_store_dir - of the store in memory */
void memory_store_dir(char ret[PATH_MAX]);
/** wake_program, park_program - `hearth wake` and `hearth park` of a program. Return: an exit code. */
int park_program(struct cli *cli, const char *name);
int wake_program(struct cli *cli, const char *name);

#endif
