/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INIT_OPTIONS_H
#define INIT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum contract { CONTRACT_LAMBDA, CONTRACT_HTTP, CONTRACT_NATIVE };

struct options {
	enum contract contract;
	uint16_t port, api_port;
	unsigned concurrency;
	bool zygote;
	uint64_t worker_idle_ns;
	const char *suffix;
	char **command;                 /* part of argv */
};

extern const char options_usage[];

/** options_parse - Return: 0, 1 (usage or version was asked for: *ret_text is to be printed), -EINVAL (with message). */
int options_parse(int argc, char **argv, struct options *ret, const char **ret_text, struct hearth_err *err);

#endif
