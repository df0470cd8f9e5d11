/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BOX_SPEC_H
#define BOX_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "box/cgroup.h"

/**
 * struct spec - one job, as it comes on standard input; strings borrow from @json
 *
 * Which fields a job needs and allows is in hearth-box(8). 0 and NULL are "not given".
 */
struct spec {
	json_t *json;
	const char *job, *id, *function;
	/* sandbox */
	const char *root, *init, *directory, *contract, *user, *isolation, *network, *cgroup, *suffix;
	const char **command, **env, **mounts;
	int64_t port, concurrency, zygote, worker_idle_ms, pids_max, nofile, memory_max_bytes, tmp_max_bytes;
	double cpu_max;
	/* checkpoints */
	const char *image, *criu, *work, *lazy;
	int64_t pid, starttime, lazy_min_bytes, early;
	json_t *meta;
};

/** spec_parse - strict: unknown keys and wrong types are errors. @ret: done with spec_done(). Return: 0, -EINVAL, -ENOMEM. */
int spec_parse(const char *text, size_t len, struct spec *ret, struct hearth_err *err);
void spec_done(struct spec *spec);

bool spec_isolated(const struct spec *spec);
struct cgroup_limits spec_limits(const struct spec *spec);

#endif
