/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/yaml.h"

static const char *const contracts[] = { "lambda", "http", "native", NULL };

struct type {
	char *label;
	uint64_t mean_ns;
};

static const struct yaml_key type_keys[] = {
	{ "label", YAML_STR, offsetof(struct type, label), 1 },
	{ "mean", YAML_DURATION, offsetof(struct type, mean_ns) },
	{ NULL },
};

struct conf {
	char *name;
	int64_t port;
	bool debug;
	int contract;
	uint64_t timeout_ns, memory_bytes;
	double ratio;
	char **command, **env;
	struct type *types;
	size_t types_n;
};

static const struct yaml_key keys[] = {
	{ "name", YAML_STR, offsetof(struct conf, name), 1 },
	{ "port", YAML_INT, offsetof(struct conf, port), 0, 1, 65535 },
	{ "debug", YAML_BOOL, offsetof(struct conf, debug) },
	{ "contract", YAML_ENUM, offsetof(struct conf, contract), .names = contracts },
	{ "timeout", YAML_DURATION, offsetof(struct conf, timeout_ns), 0, 1000000, 3600000000000 },
	{ "memory", YAML_BYTES, offsetof(struct conf, memory_bytes), 0, 1 << 20, 1ll << 40 },
	{ "ratio", YAML_DOUBLE, offsetof(struct conf, ratio), 0, 0, 1 },
	{ "command", YAML_STRV, offsetof(struct conf, command) },
	{ "env", YAML_ENV, offsetof(struct conf, env) },
	{ "types", YAML_MAPS, offsetof(struct conf, types), 0, 1, 4, .sub = type_keys, .sub_bytes = sizeof(struct type),
	  .count_offset = offsetof(struct conf, types_n) },
	{ NULL },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct conf c = { .port = 1 }, before = c;
	struct hearth_err err = { 0 };
	int r;

	r = yaml_load((const char *)data, len, "f", keys, &c, &err);
	if (r < 0) {
		must(r == -EINVAL && err.code == r);
		must(memcmp(&c, &before, sizeof(c)) == 0);
		must(strncmp(err.msg, "f:", 2) == 0 && strchr(err.msg, '\n') == NULL);
	} else {
		must(r == 0 && c.name != NULL && c.port >= 1 && c.port <= 65535 && c.contract >= 0 && c.contract < 3);
		must(c.ratio >= 0 && c.ratio <= 1);
		must(c.types_n <= 4 && (c.types_n > 0) == (c.types != NULL));
		for (size_t i = 0; i < c.types_n; i++)
			must(c.types[i].label != NULL);
	}
	yaml_unload(keys, &c);
	return 0;
}
