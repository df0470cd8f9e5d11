/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

const char options_usage[] =
	"usage: hearth-init --contract lambda|http|native [--port 8080] [--api-port 9001] [--suffix ID] [--concurrency 1] [--zygote [--worker-idle MS]] -- COMMAND [ARGUMENT...]\n";

static int number(const char *option, const char *text, unsigned long max, unsigned long *ret, struct hearth_err *err)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, 10);
	if (errno || *end || text[0] < '0' || text[0] > '9' || *ret < 1 || *ret > max)
		return err_set(err, -EINVAL, "--%s %s: a number from 1 to %lu is needed", option, text, max);
	return 0;
}

static int contract(const char *text, enum contract *ret, struct hearth_err *err)
{
	static const char *const names[] = { "lambda", "http", "native" };
	size_t i;

	for (i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum contract)i;
			return 0;
		}
	}
	return err_set(err, -EINVAL, "--contract %s: there are lambda, http and native", text);
}

static int check(const struct options *o, int has_contract, struct hearth_err *err)
{
	if (!has_contract)
		return err_set(err, -EINVAL, "--contract is missing");
	if (!o->command[0])
		return err_set(err, -EINVAL, "no command: put -- COMMAND at the end");
	if (o->zygote && o->contract != CONTRACT_LAMBDA)
		return err_set(err, -EINVAL, "--zygote: of the lambda contract only");
	if (o->contract == CONTRACT_LAMBDA && o->concurrency > 1 && !o->zygote)
		return err_set(err, -EINVAL, "--concurrency %u: without --zygote the lambda contract serves one invocation at a time", o->concurrency);
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret, const char **ret_text, struct hearth_err *err)
{
	static const struct option options[] = {
		{ "contract", required_argument, NULL, 'c' }, { "port", required_argument, NULL, 'p' },
		{ "api-port", required_argument, NULL, 'a' }, { "suffix", required_argument, NULL, 's' },
		{ "concurrency", required_argument, NULL, 'n' }, { "zygote", no_argument, NULL, 'z' },
		{ "worker-idle", required_argument, NULL, 'i' }, { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' }, { 0 },
	};
	struct options o = { .port = 8080, .api_port = 9001, .concurrency = 1, .worker_idle_ns = 10 * NS_PER_S };
	int opt, ret_code = 0, has_contract = 0;
	unsigned long n = 0;

	opterr = 0;
	optind = 1;
	while (ret_code == 0 && (opt = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			has_contract = 1;
			ret_code = contract(optarg, &o.contract, err);
			break;
		case 'p':
			ret_code = number("port", optarg, UINT16_MAX, &n, err);
			o.port = (uint16_t)n;
			break;
		case 'a':
			ret_code = number("api-port", optarg, UINT16_MAX, &n, err);
			o.api_port = (uint16_t)n;
			break;
		case 's':
			o.suffix = optarg;
			break;
		case 'n':
			ret_code = number("concurrency", optarg, 100000, &n, err);
			o.concurrency = (unsigned)n;
			break;
		case 'z':
			o.zygote = true;
			break;
		case 'i':
			ret_code = number("worker-idle", optarg, UINT32_MAX, &n, err);
			o.worker_idle_ns = n * NS_PER_MS;
			break;
		case 'h':
		case 'v':
			*ret_text = opt == 'h' ? options_usage : "hearth-init " HEARTH_VERSION "\n";
			return 1;
		default:
			return err_set(err, -EINVAL, "%s: no such option, or its value is missing", argv[optind - 1]);
		}
	}
	o.command = argv + optind;
	if (ret_code == 0)
		ret_code = check(&o, has_contract, err);
	if (ret_code == 0)
		*ret = o;
	return ret_code;
}
