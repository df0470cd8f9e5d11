/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_SIM_OPTIONS_H
#define HEARTH_SIM_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli.h"

/* The command lines of `hearth sim` and `hearth sim-mem`: options and nothing else, whose values are numbers within limits and names. Those that take a value read getopt's optarg. */

#define SIM_HELP 'h'                    /* of --help in the table of options */

/** sim_bad - say what is wrong with the command line. Return: CLI_USAGE. */
int __attribute__((format(printf, 2, 3))) sim_bad(const struct cli *cli, const char *fmt, ...);
/**
 * sim_parse - the whole command line
 * @longs: ends with zeros; @help: prints it, for --help, and we end
 * @set:   one option, by its number in @longs. Return: CLI_OK, or the code to end with
 * Return: CLI_OK, CLI_USAGE, that of @set.
 */
int sim_parse(struct cli *cli, int argc, char **argv, const struct option *longs, void (*help)(void), int (*set)(struct cli *cli, void *ctx, int option), void *ctx);

/** sim_number - Return: @text is a number from @min to @max; @ret is untouched otherwise */
bool sim_number(const char *text, double min, double max, double *ret);
/** sim_take_number, sim_take_whole - optarg, as the value of @option; whole ones may be written as 4e6. Return: CLI_OK, CLI_USAGE. */
int sim_take_number(const struct cli *cli, const char *option, double min, double max, double *ret);
int sim_take_whole(const struct cli *cli, const char *option, uint64_t min, uint64_t max, uint64_t *ret);
/** sim_name - Return: which of @names, that end with NULL, optarg is, or -1 */
int sim_name(const char *const *names);

#endif
