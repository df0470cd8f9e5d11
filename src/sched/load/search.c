/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "sched/load.h"

/* ---- metrics by name ---- */

static double value_of(const struct hist *h, const char *stat, size_t len)
{
	static const struct { const char *name; double q; } stats[] = { { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p999", 0.999 }, { "max", 1 } };

	for (size_t i = 0; i < sizeof(stats) / sizeof(stats[0]); i++)
		if (strlen(stats[i].name) == len && memcmp(stats[i].name, stat, len) == 0)
			return (double)hist_quantile(h, stats[i].q);
	if (len == 4 && memcmp(stat, "mean", 4) == 0)
		return h->count ? (double)h->sum / (double)h->count : 0;
	return -1;
}

double load_metric(const struct load_result *r, const char *metric)
{
	static const struct { const char *prefix; size_t offset; } kinds[] = {
		{ "slowdown_", offsetof(struct load_series, slowdown) }, { "latency_", offsetof(struct load_series, latency) },
		{ "server_slowdown_", offsetof(struct load_series, server_slowdown) },
	};
	const struct load_series *s = &r->total;
	const char *stat = NULL, *type;
	size_t offset = 0;
	double v;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(metric, kinds[i].prefix, strlen(kinds[i].prefix)) == 0) {
			stat = metric + strlen(kinds[i].prefix);
			offset = kinds[i].offset;
		}
	}
	if (!stat)
		return -1;
	type = strchr(stat, '_');
	if (type) {
		int t = workload_find(r->workload, type + 1);

		if (t < 0)
			return -1;
		s = &r->types[t];
	}
	v = value_of((const struct hist *)((const char *)s + offset), stat, type ? (size_t)(type - stat) : strlen(stat));
	return v < 0 ? -1 : v / 1000;           /* thousandths, or ns to us */
}

/* ---- bisection ---- */

struct search { const struct load_search *s; struct load_trial *trials; size_t max, n; double best_hz; };

static int try(struct search *b, double rate_hz, bool *ret_good, struct hearth_err *err)
{
	struct load_trial t = { .rate_hz = rate_hz };
	int rc = b->s->run(b->s->ctx, rate_hz, &t, err);

	if (rc < 0)
		return rc;
	t.rate_hz = rate_hz;
	t.good = t.value <= b->s->target && t.loss <= b->s->loss_max && !t.generator_limit;
	if (t.good && rate_hz > b->best_hz)
		b->best_hz = rate_hz;
	b->trials[b->n++] = t;
	*ret_good = t.good;
	return 0;
}

int load_search_max(const struct load_search *s, double *ret_hz, struct load_trial *trials, size_t max, size_t *ret_n, struct hearth_err *err)
{
	struct search b = { .s = s, .trials = trials, .max = max };
	double lo = s->lo_hz, hi = s->hi_hz;
	bool good = false;
	int rc;

	if (!(lo > 0 && hi > lo && s->precision > 0) || max < 2)
		return err_set(err, -EINVAL, "cannot search between %g and %g requests a second: the second must be larger, both more than 0", lo, hi);
	rc = try(&b, lo, &good, err);
	if (rc == 0 && good) {
		rc = try(&b, hi, &good, err);
		/* The orders of magnitude first, then by halves. */
		while (rc == 0 && !(good && b.best_hz == s->hi_hz) && hi - lo > s->precision * hi && b.n < max) {
			double mid = hi / lo > 4 ? sqrt(lo * hi) : (lo + hi) / 2;

			rc = try(&b, mid, &good, err);
			if (rc == 0 && good)
				lo = mid;
			else
				hi = mid;
		}
	}
	if (rc == 0)
		*ret_hz = b.best_hz;
	*ret_n = b.n;
	return rc;
}
