/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted of a day, and what comes of it when it is over. */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>

#define GIB 1073741824.0
#define LATENCIES_MIN 20

/* ---- logarithmic buckets ---- */

static unsigned log_bucket(double v, double first, unsigned per_octave, unsigned n)
{
	double b = v > first ? 1 + log2(v / first) * per_octave : 0;

	return b < n - 1 ? (unsigned)b : n - 1;
}

static double log_bucket_end(unsigned b, double first, unsigned per_octave)
{
	return first * exp2((double)b / per_octave);
}

void count_reuse(struct reuse *r, uint64_t interval_ns)
{
	r->n++;
	r->bucket[log_bucket((double)interval_ns, 1e6, 64, REUSE_BUCKETS)]++;
}

uint64_t reuse_quantile_ns(const struct reuse *r, double q)
{
	uint64_t below = 0;

	for (unsigned b = 0; b < REUSE_BUCKETS && r->n > 0; b++) {
		below += r->bucket[b];
		if ((double)below >= q * r->n)
			return (uint64_t)log_bucket_end(b, 1e6, 64);
	}
	return 0;
}

static double added_quantile_ms(const struct tally *t, double q)
{
	uint64_t below = 0;

	for (unsigned b = 0; b < ADDED_BUCKETS && t->requests > 0; b++) {
		below += t->added[b];
		if ((double)below >= q * (double)t->requests)
			return b > 0 ? log_bucket_end(b, 1e3, 4) / 1e6 : 0;
	}
	return 0;
}

/* ---- counting ---- */

void count_added(struct sim *s, const struct instance *i)
{
	struct tally *t = &s->tally[i->function];
	double ns = i->added_ns;

	if (i->requests > 0) {
		count_reuse(&s->latency[i->function].without, i->run_ns);
		count_reuse(&s->latency[i->function].with, i->run_ns + (uint64_t)ns);
	}
	hist_record(&s->all_added_ns, (uint64_t)ns);
	t->requests++;
	t->added[log_bucket(ns, 1e3, 4, ADDED_BUCKETS)]++;
	t->wakes += ns > 0;
	s->added_ns += ns;
}

void count_time(struct sim *s, const struct instance *i, uint64_t now_ns, double byte_s)
{
	struct tally *t = &s->tally[i->function];
	double span_s = seconds(i->synced_ns, now_ns);

	t->byte_s += byte_s;
	t->alive_s += span_s;
	if (i->busy)
		return;
	t->idle_s += span_s;
	t->semiwarm_s += seconds(i->synced_ns > i->semiwarm_ns ? i->synced_ns : i->semiwarm_ns, now_ns);
}

void count_start(struct sim *s, uint32_t function, bool restored, double wait_ns)
{
	*(restored ? &s->tally[function].restores : &s->tally[function].cold_starts) += 1;
	s->start_ns += wait_ns;
}

/* ---- the end ---- */

static struct memsim_quantiles added_of(const struct tally *t)
{
	return (struct memsim_quantiles){ added_quantile_ms(t, 0.5), added_quantile_ms(t, 0.95), added_quantile_ms(t, 0.99) };
}

static int compare_doubles(const void *pa, const void *pb)
{
	double a = *(const double *)pa, b = *(const double *)pb;

	return (a > b) - (a < b);
}

/* Mean over functions of by how much their P95 is longer for what calls waited; of those that have enough calls for one. */
static double longer_pct(const struct sim *s)
{
	double sum = 0;
	size_t n = 0;

	for (size_t f = 0; f < s->cfg->trace->functions_n; f++) {
		const struct latency *l = &s->latency[f];

		if (l->with.n < LATENCIES_MIN)
			continue;
		sum += (double)reuse_quantile_ns(&l->with, 0.95) / (double)reuse_quantile_ns(&l->without, 0.95) - 1;
		n++;
	}
	return n > 0 ? 100 * sum / (double)n : 0;
}

static int over_functions(struct sim *s)
{
	size_t n = 0;
	double *p95 = calloc(s->cfg->trace->functions_n, sizeof(*p95));

	if (!p95)
		return -ENOMEM;
	for (size_t f = 0; f < s->cfg->trace->functions_n; f++)
		if (s->tally[f].requests > 0)
			p95[n++] = added_quantile_ms(&s->tally[f], 0.95);
	if (n > 0) {
		qsort(p95, n, sizeof(*p95), compare_doubles);
		s->ret->function_added_ms = (struct memsim_quantiles){ p95[n / 2], p95[n * 95 / 100], p95[n * 99 / 100] };
	}
	free(p95);
	return 0;
}

static void row_of(const struct tally *t, struct memsim_row *ret)
{
	*ret = (struct memsim_row){
		.requests = t->requests, .cold_starts = t->cold_starts, .restores = t->restores, .wakes = t->wakes, .local_gib_s = t->byte_s / GIB, .added_ms = added_of(t),
		.alive_s = t->alive_s, .idle_s = t->idle_s, .semiwarm_s = t->semiwarm_s,
	};
}

int figures(struct sim *s, struct memsim_row *rows)
{
	struct memsim_result *r = s->ret;
	double byte_s = 0;

	for (size_t f = 0; f < s->cfg->trace->functions_n; f++) {
		const struct tally *t = &s->tally[f];

		byte_s += t->byte_s;
		r->cold_starts += t->cold_starts;
		r->restores += t->restores;
		r->wakes += t->wakes;
		if (rows)
			row_of(t, &rows[f]);
	}
	r->ran = true;
	r->local_gib_s = byte_s / GIB;
	r->out_gib = s->out_bytes / GIB;
	r->fault_gib = s->fault_bytes / GIB;
	r->prefetch_gib = s->prefetch_bytes / GIB;
	r->moved_gib = r->out_gib + r->fault_gib + r->prefetch_gib;
	r->start_s = s->start_ns / 1e9;
	r->added_ms.p50 = (double)hist_quantile(&s->all_added_ns, 0.5) / 1e6;
	r->added_ms.p95 = (double)hist_quantile(&s->all_added_ns, 0.95) / 1e6;
	r->added_ms.p99 = (double)hist_quantile(&s->all_added_ns, 0.99) / 1e6;
	r->added_mean_ms = s->all_added_ns.count > 0 ? s->added_ns / 1e6 / (double)s->all_added_ns.count : 0;
	r->p95_longer_pct = longer_pct(s);
	return over_functions(s);
}
