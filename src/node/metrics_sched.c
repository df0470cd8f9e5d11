// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "priv.h"

/* What the scheduling between functions does, by type of calls: at most TYPES_MAX + 1 types, so at most that many samples of a family and bucket. */

static const double latency_bounds_s[] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60 };
static const double slowdown_bounds[] = { 1.1, 1.25, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 10000 };
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* the next type from @i on that has something to tell; TYPES_MAX + 1 behind the last */
static uint32_t next_type(const struct node *n, uint32_t i)
{
	while (i <= TYPES_MAX && !types_used(n->types, i))
		i++;
	return i;
}

static int render_histogram(struct buf *out, const char *family, const char *type, const struct hist *h, const double *bounds, size_t count, double unit)
{
	int r = 0;

	if (!h)
		return 0;
	for (size_t b = 0; b < count; b++)
		r |= buf_printf(out, "%s_bucket{type=\"%s\",le=\"%g\"} %llu\n", family, type, bounds[b],
				(unsigned long long)hist_count_below(h, (uint64_t)(bounds[b] * unit)));
	r |= buf_printf(out, "%s_bucket{type=\"%s\",le=\"+Inf\"} %llu\n", family, type, (unsigned long long)h->count);
	r |= buf_printf(out, "%s_sum{type=\"%s\"} %.9g\n", family, type, (double)h->sum / unit);
	r |= buf_printf(out, "%s_count{type=\"%s\"} %llu\n", family, type, (unsigned long long)h->count);
	return r;
}

static int render_histograms(struct node *n, struct buf *out)
{
	int r = metrics_head(out, "hearth_sched_latency_seconds", "histogram", "Time from a call's arrival to its answer, by type.");

	for (uint32_t i = next_type(n, 0); i <= TYPES_MAX; i = next_type(n, i + 1))
		r |= render_histogram(out, "hearth_sched_latency_seconds", n->types->type[i].name, n->types->type[i].latency, latency_bounds_s,
				      COUNT(latency_bounds_s), NS_PER_S);
	r |= metrics_head(out, "hearth_sched_slowdown", "histogram", "Time from a call's arrival to its answer, divided by how long it ran.");
	for (uint32_t i = next_type(n, 0); i <= TYPES_MAX; i = next_type(n, i + 1))
		r |= render_histogram(out, "hearth_sched_slowdown", n->types->type[i].name, n->types->type[i].slowdown, slowdown_bounds, COUNT(slowdown_bounds), 1000);
	return r;
}

/* the figures that are kept without a limit, too */
static int render_own(struct node *n, struct buf *out)
{
	static const struct {
		const char *name, *help;
		size_t offset;
	} families[] = {
		{ "hearth_sched_completed_total", "Calls that the function answered, or that ran into its timeout.", offsetof(struct call_type, completed) },
		{ "hearth_sched_lost_total", "Calls that ran and were not answered: the instance ended, could not be reached, or the client of an http function left.",
		  offsetof(struct call_type, lost) },
		{ "hearth_sched_dropped_total", "Calls refused because the queue was full.", offsetof(struct call_type, rejected) },
	};
	int r = 0;

	for (size_t f = 0; f < COUNT(families); f++) {
		r |= metrics_head(out, families[f].name, "counter", families[f].help);
		for (uint32_t i = next_type(n, 0); i <= TYPES_MAX; i = next_type(n, i + 1))
			r |= buf_printf(out, "%s{type=\"%s\"} %llu\n", families[f].name, n->types->type[i].name,
					(unsigned long long)*(const uint64_t *)((const char *)&n->types->type[i] + families[f].offset));
	}
	r |= metrics_head(out, "hearth_sched_service_seconds", "gauge", "How long a call runs, a moving average.");
	for (uint32_t i = next_type(n, 0); i <= TYPES_MAX; i = next_type(n, i + 1))
		r |= buf_printf(out, "hearth_sched_service_seconds{type=\"%s\"} %.9g\n", n->types->type[i].name, (double)n->types->type[i].service_ns / NS_PER_S);
	return r;
}

static unsigned bits_set(const uint64_t *bits)
{
	unsigned n = 0;

	for (unsigned w = 0; w < SCHED_WORKERS_WORDS; w++)
		n += (unsigned)__builtin_popcountll(bits[w]);
	return n;
}

/* slots reserved for the group that a type is in; most have none */
static void reserved_by_type(const struct sched *core, unsigned reserved[TYPES_MAX + 1])
{
	struct sched_group *groups = calloc(TYPES_MAX + 1, sizeof(*groups));
	size_t count = groups ? sched_groups(core, groups, TYPES_MAX + 1) : 0;

	for (size_t g = 0; g < count && g <= TYPES_MAX; g++)
		for (uint32_t k = 0; k < groups[g].types_n; k++)
			reserved[groups[g].types[k] < TYPES_MAX ? groups[g].types[k] : TYPE_OTHER] = bits_set(groups[g].reserved);
	free(groups);
}

/* the policy's figures: there are none without a limit */
static int render_policy(struct node *n, struct buf *out)
{
	static const struct {
		const char *name, *type, *help;
		size_t offset;
	} families[] = {
		{ "hearth_sched_started_total", "counter", "Calls that got a slot.", offsetof(struct sched_type_stats, started) },
		{ "hearth_sched_steals_total", "counter", "Starts on a slot that is not reserved for the type.", offsetof(struct sched_type_stats, steals) },
		{ "hearth_sched_held_total", "counter", "Times that a call was held back though a slot was idle.", offsetof(struct sched_type_stats, held) },
		{ "hearth_sched_cancelled_total", "counter", "Calls that left while they waited for a slot.", offsetof(struct sched_type_stats, cancelled) },
	};
	const struct sched *core = slots_core(n->slots);
	unsigned reserved[TYPES_MAX + 1] = { 0 };
	struct sched_type_stats st;
	int r = 0;

	if (!core)
		return 0;
	for (size_t f = 0; f < COUNT(families); f++) {
		r |= metrics_head(out, families[f].name, families[f].type, families[f].help);
		for (uint32_t i = next_type(n, 0); i <= TYPES_MAX; i = next_type(n, i + 1)) {
			sched_stats(core, i == TYPE_OTHER ? SCHED_UNKNOWN : i, &st);
			r |= buf_printf(out, "%s{type=\"%s\"} %llu\n", families[f].name, n->types->type[i].name,
					(unsigned long long)*(const uint64_t *)((const char *)&st + families[f].offset));
		}
	}
	r |= metrics_head(out, "hearth_sched_depth", "gauge", "Calls that have an instance and wait for a slot.");
	for (uint32_t i = next_type(n, 0); i <= TYPES_MAX; i = next_type(n, i + 1)) {
		sched_stats(core, i == TYPE_OTHER ? SCHED_UNKNOWN : i, &st);
		r |= buf_printf(out, "hearth_sched_depth{type=\"%s\"} %u\n", n->types->type[i].name, st.depth);
	}
	reserved_by_type(core, reserved);
	r |= metrics_head(out, "hearth_sched_reserved_slots", "gauge", "Slots reserved for the type and those scheduled like it.");
	for (uint32_t i = next_type(n, 0); i <= TYPES_MAX; i = next_type(n, i + 1))
		r |= buf_printf(out, "hearth_sched_reserved_slots{type=\"%s\"} %u\n", n->types->type[i].name, reserved[i]);
	r |= metrics_head(out, "hearth_sched_updates_total", "counter", "Times that the policy computed its reservation or model anew.");
	return r | buf_printf(out, "hearth_sched_updates_total %llu\n", (unsigned long long)sched_updates(core));
}

int metrics_sched(struct node *n, struct buf *out)
{
	const struct slots_config *cfg = slots_config_of(n->slots);
	int r = metrics_head(out, "hearth_sched_slots", "gauge", "Calls that may run at a time; 0: no limit.");

	r |= buf_printf(out, "hearth_sched_slots{policy=\"%s\"} %u\n", sched_policy_names[cfg->policy], cfg->slots);
	r |= metrics_head(out, "hearth_sched_slots_busy", "gauge", "Slots in use.");
	r |= buf_printf(out, "hearth_sched_slots_busy %u\n", slots_busy(n->slots));
	return r | render_own(n, out) | render_histograms(n, out) | render_policy(n, out);
}
