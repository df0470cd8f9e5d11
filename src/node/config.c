// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/yaml.h"
#include "farmem/policy.h"
#include "node/node.h"
#include "sched/policy.h"

#define HOLD_ALL (1ull << 60)           /* more than any device has */

static const char *const isolation_names[] = { "full", "none", "auto", NULL };
static const char *const level_names[] = { "error", "warn", "info", "debug", NULL };

const char *const node_farmem_names[] = { "auto", "off", "uffd", "reclaim", NULL };
/* in the order of enum farmem_rule */
static const char *const farmem_policy_names[] = { "hearth", "tmo", "cold60", "off", NULL };
static const char *const keeper_names[] = { "auto", "on", "off", NULL };

#define DAY_NS (86400 * NS_PER_S)
#define KEY(key, k, ...) { .name = #key, .kind = k, .offset = offsetof(struct node_config, key), ##__VA_ARGS__ }
static const struct yaml_key config_keys[] = {
	KEY(run_dir, YAML_STR),
	KEY(state_dir, YAML_STR),
	KEY(libexec_dir, YAML_STR),
	KEY(criu, YAML_STR),
	KEY(listen, YAML_STR),
	KEY(isolation, YAML_ENUM, .names = isolation_names),
	KEY(log_level, YAML_ENUM, .names = level_names),
	KEY(max_body_bytes, YAML_BYTES, .min = 1024, .max = 64 << 20),
	KEY(max_connections, YAML_INT, .min = 1, .max = 1000000),
	KEY(queue_limit, YAML_INT, .min = 1, .max = 1000000),
	KEY(max_parks, YAML_INT, .min = 1, .max = 64),
	KEY(image_bytes_max, YAML_BYTES),
	KEY(slots, YAML_INT, .min = 0, .max = SCHED_WORKERS_MAX),
	KEY(policy, YAML_ENUM, .names = sched_policy_names),
	KEY(policy_reserved, YAML_INT, .min = 0, .max = SCHED_WORKERS_MAX - 1),
	KEY(policy_window, YAML_INT, .min = 1, .max = 1 << 30),
	KEY(record_calls, YAML_STR),
	KEY(ckpt_keeper, YAML_ENUM, .names = keeper_names),
	KEY(ckpt_pool_store, YAML_STR),
	KEY(ckpt_pool_bytes, YAML_BYTES),
	KEY(ckpt_hold_bytes, YAML_BYTES),
	KEY(farmem, YAML_ENUM, .names = node_farmem_names),
	KEY(farmem_policy, YAML_ENUM, .names = farmem_policy_names),
	KEY(farmem_compress, YAML_INT, .min = 1, .max = 10000),
	KEY(farmem_worth, YAML_BYTES),
	KEY(farmem_pool, YAML_STR),
	KEY(farmem_pool_key, YAML_STR),
	KEY(memory_pressure, YAML_STR),
	KEY(ckpt_hold_time, YAML_DURATION, .min = 0, .max = 366 * DAY_NS),
	{ 0 },
};

static char *xdg_dir(const char *variable, const char *home_suffix)
{
	const char *base = getenv(variable), *home = getenv("HOME");
	char *out = NULL;

	if (base && *base) {
		if (asprintf(&out, "%s/hearth", base) < 0)
			return NULL;
	} else if (asprintf(&out, "%s/%s/hearth", home ? home : "/tmp", home_suffix) < 0) {
		return NULL;
	}
	return out;
}

/* hearth-box and hearth-init lie beside hearthd in a build tree, in ../libexec/hearth when installed */
static char *libexec_guess(void)
{
	char self[4096], *slash, *out = NULL;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return strdup("/usr/libexec/hearth");
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	if (asprintf(&out, "%s/hearth-box", self) < 0)
		return NULL;
	if (access(out, X_OK) == 0) {
		*strrchr(out, '/') = '\0';
		return out;
	}
	free(out);
	if (asprintf(&out, "%s/../libexec/hearth", self) < 0)
		return NULL;
	return out;
}

/* a build tree keeps its own criu in deps/; otherwise whatever PATH finds first */
static char *criu_guess(const char *libexec_dir)
{
	char path[4096];
	const char *env = getenv("HEARTH_CRIU"), *from = getenv("PATH");

	if (env && *env)
		return strdup(env);
	snprintf(path, sizeof(path), "%s/../deps/criu", libexec_dir);
	if (access(path, X_OK) == 0)
		return strdup(path);
	snprintf(path, sizeof(path), "%s/criu", libexec_dir);
	if (access(path, X_OK) == 0)
		return strdup(path);
	while (from && *from) {
		size_t n = strcspn(from, ":");

		snprintf(path, sizeof(path), "%.*s/criu", (int)n, from);
		if (access(path, X_OK) == 0)
			return strdup(path);
		from += n + (from[n] == ':');
	}
	return NULL;
}

int node_config_init(struct node_config *cfg, struct hearth_err *err)
{
	bool root = geteuid() == 0;
	struct farmem_knobs knobs;

	farmem_knobs_default(&knobs);
	*cfg = (struct node_config){
		.run_dir = root ? strdup("/run/hearth") : xdg_dir("XDG_RUNTIME_DIR", ".cache"),
		.state_dir = root ? strdup("/var/lib/hearth") : xdg_dir("XDG_STATE_HOME", ".local/state"),
		.libexec_dir = libexec_guess(),
		.listen = strdup("127.0.0.1:8470"),
		.isolation = NODE_ISOLATION_AUTO,
		.log_level = LOG_LEVEL_INFO,
		.max_body_bytes = 6u << 20,
		.max_connections = 4096,
		.queue_limit = 1000,
		.max_parks = 1,
		.image_bytes_max = 0,
		.slots = 0,
		.policy = SCHED_MINIMAX,
		.policy_window = 1000,
		.farmem_compress = 1,
		.farmem_worth = knobs.processor_bytes,
		.memory_pressure = strdup("/proc/pressure/memory"),
		.ckpt_hold_bytes = HOLD_ALL,
		.ckpt_hold_time = 600 * NS_PER_S,
	};
	if (!cfg->run_dir || !cfg->state_dir || !cfg->libexec_dir || !cfg->listen || !cfg->memory_pressure) {
		node_config_done(cfg);
		return err_set(err, -ENOMEM, "cannot set up the configuration: out of memory");
	}
	cfg->criu = criu_guess(cfg->libexec_dir);
	return 0;
}

int node_config_load(struct node_config *cfg, const char *path, struct hearth_err *err)
{
	return yaml_load_file(path, config_keys, cfg, err);
}

void node_config_done(struct node_config *cfg)
{
	yaml_unload(config_keys, cfg);
}
