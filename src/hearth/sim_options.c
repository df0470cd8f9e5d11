/* SPDX-License-Identifier: Apache-2.0 */
#include "sim_options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sim_bad(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "hearth %s: ", cli->command->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "; `hearth %s --help` says more\n", cli->command->name);
	return CLI_USAGE;
}

int sim_parse(struct cli *cli, int argc, char **argv, const struct option *longs, void (*help)(void), int (*set)(struct cli *cli, void *ctx, int option), void *ctx)
{
	int c, rc;

	optind = 0;                     /* the main program has used getopt */
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (c == SIM_HELP) {
			help();
			exit(CLI_OK);
		}
		if (c == ':')
			return sim_bad(cli, "%s needs a value", argv[optind - 1]);
		if (c == '?')
			return sim_bad(cli, "there is no option %s", argv[optind - 1]);
		rc = set(cli, ctx, c);
		if (rc != CLI_OK)
			return rc;
	}
	if (optind < argc)
		return sim_bad(cli, "what is \"%s\"? All that can be said is said with options", argv[optind]);
	return CLI_OK;
}

bool sim_number(const char *text, double min, double max, double *ret)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || !(v >= min && v <= max))
		return false;
	*ret = v;
	return true;
}

int sim_take_number(const struct cli *cli, const char *option, double min, double max, double *ret)
{
	return sim_number(optarg, min, max, ret) ? CLI_OK : sim_bad(cli, "%s must be a number from %g to %g, not \"%s\"", option, min, max, optarg);
}

int sim_take_whole(const struct cli *cli, const char *option, uint64_t min, uint64_t max, uint64_t *ret)
{
	double v;
	char *end;

	errno = 0;
	*ret = strtoull(optarg, &end, 10);
	if (optarg[0] >= '0' && optarg[0] <= '9' && *end == '\0' && errno == 0 && *ret >= min && *ret <= max)
		return CLI_OK;
	if (!sim_number(optarg, (double)min, (double)max, &v) || v != floor(v) || v > 0x1p53)
		return sim_bad(cli, "%s must be a whole number from %llu to %llu, not \"%s\"", option, (unsigned long long)min, (unsigned long long)max, optarg);
	*ret = (uint64_t)v;
	return CLI_OK;
}

int sim_name(const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], optarg) == 0)
			return i;
	return -1;
}
