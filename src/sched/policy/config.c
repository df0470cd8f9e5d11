/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "config.h"

#define QUEUE_MAX 4096u
#define QUEUE_LIMIT (1u << 24)
#define WAITING_LIMIT (1u << 30)
#define WINDOW_REQUESTS 50000u

const char *const sched_policy_names[SCHED_POLICIES + 1] = {
	"c-fcfs", "d-fcfs-random", "d-fcfs-rr", "d-fcfs-hash", "fp", "edf", "darc", "darc-static", "minimax", "ts", "ws", NULL,
};

void config_defaults(struct sched_config *cfg)
{
	if (cfg->queue_max == 0)
		cfg->queue_max = QUEUE_MAX;
	if (cfg->window_requests == 0)
		cfg->window_requests = WINDOW_REQUESTS;
	for (uint32_t t = 0; t < cfg->types_n; t++) {
		if (cfg->types[t].queue_max == 0)
			cfg->types[t].queue_max = cfg->queue_max;
	}
}

static uint64_t waiting_max(const struct sched_config *cfg)
{
	uint32_t common = cfg->queue_max > 0 ? cfg->queue_max : QUEUE_MAX;
	uint64_t n = common;

	for (uint32_t t = 0; t < cfg->types_n; t++)
		n += cfg->types[t].queue_max > 0 ? cfg->types[t].queue_max : common;
	return n;
}

uint32_t config_nodes(const struct sched_config *cfg) { return (uint32_t)waiting_max(cfg); }

static int check_type(const struct sched_config *cfg, uint32_t t, struct hearth_err *err)
{
	const struct sched_type *y = &cfg->types[t];

	if (memchr(y->name, '\0', sizeof(y->name)) == NULL)
		return err_set(err, -EINVAL, "scheduler: type %u: a name has at most %d characters", t, SCHED_NAME_MAX - 1);
	if (!(y->ratio >= 0 && y->ratio <= 1))
		return err_set(err, -EINVAL, "scheduler: type %u: ratio %g is not in 0..1", t, y->ratio);
	if (y->queue_max > QUEUE_LIMIT)
		return err_set(err, -EINVAL, "scheduler: type %u: queue_max %u is over %u", t, y->queue_max, QUEUE_LIMIT);
	if (y->mean_ns > SCHED_NEVER / 1000 || y->deadline_ns > SCHED_NEVER / 1000)
		return err_set(err, -EINVAL, "scheduler: type %u: a mean or deadline of hundreds of days; both are in nanoseconds", t);
	return 0;
}

int config_check(const struct sched_config *cfg, struct hearth_err *err)
{
	double ratios = 0;

	if ((unsigned)cfg->policy >= SCHED_POLICIES)
		return err_set(err, -EINVAL, "scheduler: there is no policy %d", (int)cfg->policy);
	if (cfg->policy == SCHED_TS || cfg->policy == SCHED_WS)
		return err_set(err, -EINVAL, "scheduler: policy %s exists in the simulator only (it takes requests off workers)", sched_policy_names[cfg->policy]);
	if (cfg->workers < 1 || cfg->workers > SCHED_WORKERS_MAX)
		return err_set(err, -EINVAL, "scheduler: %u workers; 1 to %d are possible", cfg->workers, SCHED_WORKERS_MAX);
	if (cfg->types_n < 1 || cfg->types_n > SCHED_TYPES_MAX)
		return err_set(err, -EINVAL, "scheduler: %u types; 1 to %d are possible", cfg->types_n, SCHED_TYPES_MAX);
	if (cfg->policy == SCHED_DARC_STATIC && (cfg->reserved < 1 || cfg->reserved >= cfg->workers))
		return err_set(err, -EINVAL, "scheduler: darc-static: %u workers reserved of %u; 1 to %u are possible", cfg->reserved, cfg->workers,
			cfg->workers - 1);
	if (cfg->queue_max > QUEUE_LIMIT)
		return err_set(err, -EINVAL, "scheduler: queue_max %u is over %u", cfg->queue_max, QUEUE_LIMIT);
	if (!(cfg->hold_max >= 0))
		return err_set(err, -EINVAL, "scheduler: hold_max %g is no slowdown; use 1 or more, or 0 for no end", cfg->hold_max);
	for (uint32_t t = 0; t < cfg->types_n; t++) {
		int r = check_type(cfg, t, err);

		if (r < 0)
			return r;
		ratios += cfg->types[t].ratio;
	}
	if (ratios > 1.001)
		return err_set(err, -EINVAL, "scheduler: the types' ratios add up to %g; they are shares of 1", ratios);
	if (waiting_max(cfg) > WAITING_LIMIT)
		return err_set(err, -EINVAL, "scheduler: %llu requests may wait by the queue_max of all types; %u at most", (unsigned long long)waiting_max(cfg),
			WAITING_LIMIT);
	return 0;
}
