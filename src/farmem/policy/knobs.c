/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/clock.h"
#include "farmem/policy.h"

/* FaaSMem's, where it has them; the others are explained in docs/adr/0020-reuse-histogram.md. */
void farmem_knobs_default(struct farmem_knobs *ret)
{
	*ret = (struct farmem_knobs){
		.segments = true, .semiwarm = true, .prefetch = true,
		.reuse_quantile = 0.99, .offload_per_s = 0.01, .wake_share = 0.1, .prewarm_share = 0.5, .return_max = 0.5, .pressure_low = 0.05, .pressure_high = 0.4,
		.semiwarm_min_ns = 10 * NS_PER_S, .semiwarm_max_ns = 1800 * NS_PER_S, .semiwarm_first_ns = 120 * NS_PER_S, .pace_ns = 10 * NS_PER_S,
		.floor_bytes = 1u << 20, .segment_min_bytes = 64 * 4096, .prefetch_max_bytes = 1ull << 30, .processor_bytes = 8ull << 30,
		.long_request_ns = 60 * NS_PER_S, .rollback_ns = 30 * NS_PER_S, .keepalive_ns = 600 * NS_PER_S, .keepalive_margin_ns = 15 * NS_PER_S,
		.init_requests = 2, .rollback_requests = 1,
	};
}

void farmem_knobs_rule(struct farmem_knobs *k, enum farmem_rule rule)
{
	k->rule = rule;
	if (rule == FARMEM_RULE_HEARTH)
		return;
	k->segments = k->prefetch = false;
	k->wake_share = k->prewarm_share = 0;
	k->semiwarm = rule == FARMEM_RULE_COLD;
	k->floor_bytes = k->keepalive_margin_ns = k->processor_bytes = 0;
	if (rule == FARMEM_RULE_TMO)
		k->pace_ns = FARMEM_TMO_STEP_NS;
	if (rule == FARMEM_RULE_COLD) {
		k->semiwarm_min_ns = k->semiwarm_max_ns = k->semiwarm_first_ns = FARMEM_COLD_NS;
		k->offload_per_s = 1;
		k->pressure_low = k->pressure_high = 1;
	}
}

void farmem_knobs_compress(struct farmem_knobs *k, unsigned by)
{
	uint64_t *times[] = { &k->semiwarm_min_ns, &k->semiwarm_max_ns, &k->semiwarm_first_ns, &k->pace_ns, &k->long_request_ns, &k->rollback_ns, &k->keepalive_margin_ns };

	for (size_t t = 0; t < sizeof(times) / sizeof(times[0]); t++)
		*times[t] /= by;
	k->offload_per_s *= by;
	k->processor_bytes /= by;
}

static int check_share(const char *name, double v, double min, double max, struct hearth_err *err)
{
	if (v >= min && v <= max)
		return 0;
	return err_set(err, -EINVAL, "%s is %g: it must be from %g to %g", name, v, min, max);
}

#define TIME_MAX_NS (366ull * 86400 * NS_PER_S)

static int check_time(const char *name, uint64_t ns, uint64_t min_ns, struct hearth_err *err)
{
	if (ns >= min_ns && ns <= TIME_MAX_NS)
		return 0;
	return err_set(err, -EINVAL, "%s is %.9g s: it must be from %g s to a year", name, (double)ns / 1e9, (double)min_ns / 1e9);
}

static int check_count(const char *name, uint32_t n, struct hearth_err *err)
{
	return n >= 1 ? 0 : err_set(err, -EINVAL, "%s is 0: it must be 1 at least", name);
}

int farmem_knobs_check(const struct farmem_knobs *k, struct hearth_err *err)
{
	int rc = check_share("reuse_quantile", k->reuse_quantile, 0.5, 1, err);

	if (rc == 0)
		rc = check_share("offload_per_s", k->offload_per_s, 0.0001, 1, err);
	if (rc == 0)
		rc = check_share("wake_share", k->wake_share, 0, 1, err);
	if (rc == 0)
		rc = check_share("prewarm_share", k->prewarm_share, 0, 1, err);
	if (rc == 0)
		rc = check_share("return_max", k->return_max, 0, 1, err);
	if (rc == 0)
		rc = check_share("pressure_low", k->pressure_low, 0, 1, err);
	if (rc == 0)
		rc = check_share("pressure_high", k->pressure_high, 0, 1, err);
	if (rc == 0 && k->pressure_high < k->pressure_low)
		rc = err_set(err, -EINVAL, "pressure_high (%g) is below pressure_low (%g)", k->pressure_high, k->pressure_low);
	if (rc == 0)
		rc = check_time("semiwarm_min", k->semiwarm_min_ns, 0, err);
	if (rc == 0)
		rc = check_time("semiwarm_max", k->semiwarm_max_ns, k->semiwarm_min_ns, err);
	if (rc == 0)
		rc = check_time("semiwarm_first", k->semiwarm_first_ns, 0, err);
	if (rc == 0)
		rc = check_time("pace", k->pace_ns, 10 * NS_PER_MS, err);
	if (rc == 0)
		rc = check_time("long_request", k->long_request_ns, 0, err);
	if (rc == 0)
		rc = check_time("rollback", k->rollback_ns, 0, err);
	if (rc == 0)
		rc = check_time("keepalive", k->keepalive_ns, 0, err);
	if (rc == 0)
		rc = check_time("keepalive_margin", k->keepalive_margin_ns, 0, err);
	if (rc == 0)
		rc = check_count("init_requests", k->init_requests, err);
	return rc < 0 ? rc : check_count("rollback_requests", k->rollback_requests, err);
}
