// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "base/clock.h"
#include "priv.h"

/* What ps, top and /metrics say of idle instances' memory. */

static void add(struct farmem_stat *into, const struct farmem_stat *s)
{
	for (int k = 0; k < FARMEM_SEGMENTS; k++) {
		into->resident_bytes[k] += s->resident_bytes[k];
		into->remote_bytes[k] += s->remote_bytes[k];
	}
	into->pool_bytes += s->pool_bytes;
	into->offloaded_bytes += s->offloaded_bytes;
	into->recalled_bytes += s->recalled_bytes;
	into->faults += s->faults;
	into->prefetched_pages += s->prefetched_pages;
	into->prefetch_hits += s->prefetch_hits;
	into->ws_bytes += s->ws_bytes;
	into->ws_remote_bytes += s->ws_remote_bytes;
	into->uncovered_bytes += s->uncovered_bytes;
	for (int k = 0; k < FARMEM_UNCOVERED_KINDS; k++)
		into->uncovered[k] += s->uncovered[k];
	into->refused_bytes += s->refused_bytes;
	if (s->pool_error)
		into->pool_error = s->pool_error;
	farmem_latency_merge(&into->fault_latency, &s->fault_latency);
}

void memory_of_function(const struct function *fn, struct farmem_stat *ret)
{
	const struct instance *inst;

	memset(ret, 0, sizeof(*ret));
	add(ret, &fn->memory_past);
	TAILQ_FOREACH(inst, &fn->instances, entry) {
		const struct farmem_stat *s = memory_stat(inst);

		if (s)
			add(ret, s);
	}
}

static uint64_t sum(const uint64_t v[FARMEM_SEGMENTS])
{
	return v[FARMEM_RUNTIME] + v[FARMEM_INIT] + v[FARMEM_EXECUTION];
}

static json_t *by_segment(const uint64_t v[FARMEM_SEGMENTS])
{
	return json_pack("{s:I,s:I,s:I}", "runtime", (json_int_t)v[FARMEM_RUNTIME], "init", (json_int_t)v[FARMEM_INIT], "execution", (json_int_t)v[FARMEM_EXECUTION]);
}

static json_t *by_reason(const uint64_t v[FARMEM_UNCOVERED_KINDS])
{
	json_t *o = json_object();

	for (int k = 0; k < FARMEM_UNCOVERED_KINDS; k++)
		json_object_set_new(o, farmem_uncovered_names[k], json_integer((json_int_t)v[k]));
	return o;
}

static double us(uint64_t ns)
{
	return (double)ns / NS_PER_US;
}

json_t *memory_to_json(const struct farmem_stat *s)
{
	json_t *o = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "resident_bytes", (json_int_t)sum(s->resident_bytes), "remote_bytes", (json_int_t)sum(s->remote_bytes),
			      "pool_bytes", (json_int_t)s->pool_bytes, "offloaded_bytes", (json_int_t)s->offloaded_bytes, "recalled_bytes", (json_int_t)s->recalled_bytes,
			      "faults", (json_int_t)s->faults, "prefetched_pages", (json_int_t)s->prefetched_pages, "prefetch_hits", (json_int_t)s->prefetch_hits,
			      "uncovered_bytes", (json_int_t)s->uncovered_bytes);

	json_object_set_new(o, "working_set_bytes", json_integer((json_int_t)s->ws_bytes));
	json_object_set_new(o, "working_set_away_bytes", json_integer((json_int_t)s->ws_remote_bytes));
	json_object_set_new(o, "fault_p50_us", json_real(us(farmem_latency_quantile(&s->fault_latency, 0.5))));
	json_object_set_new(o, "fault_p99_us", json_real(us(farmem_latency_quantile(&s->fault_latency, 0.99))));
	json_object_set_new(o, "resident", by_segment(s->resident_bytes));
	json_object_set_new(o, "remote", by_segment(s->remote_bytes));
	json_object_set_new(o, "uncovered", by_reason(s->uncovered));
	json_object_set_new(o, "refused_bytes", json_integer((json_int_t)s->refused_bytes));
	return o;
}

/* ---- /metrics ---- */

static uint64_t get_resident(const struct farmem_stat *s) { return sum(s->resident_bytes); }
static uint64_t get_remote(const struct farmem_stat *s) { return sum(s->remote_bytes); }
static uint64_t get_pool(const struct farmem_stat *s) { return s->pool_bytes; }
static uint64_t get_uncovered(const struct farmem_stat *s) { return s->uncovered_bytes; }
static uint64_t get_refused(const struct farmem_stat *s) { return s->refused_bytes; }
static uint64_t get_offloaded(const struct farmem_stat *s) { return s->offloaded_bytes; }
static uint64_t get_recalled(const struct farmem_stat *s) { return s->recalled_bytes; }
static uint64_t get_faults(const struct farmem_stat *s) { return s->faults; }
static uint64_t get_prefetched(const struct farmem_stat *s) { return s->prefetched_pages; }
static uint64_t get_hits(const struct farmem_stat *s) { return s->prefetch_hits; }

static const struct {
	const char *name, *type, *help;
	uint64_t (*get)(const struct farmem_stat *s);
} rows[] = {
	{ "hearth_farmem_resident_bytes", "gauge", "Memory of a function's instances that is here, of what the engine has an eye on.", get_resident },
	{ "hearth_farmem_remote_bytes", "gauge", "Memory of a function's instances that is away, in the pool or in swap.", get_remote },
	{ "hearth_farmem_pool_bytes", "gauge", "Memory of this machine that what is away takes.", get_pool },
	{ "hearth_farmem_uncovered_bytes", "gauge", "Memory of a function's instances that the engine cannot move.", get_uncovered },
	{ "hearth_farmem_refused_bytes_total", "counter", "Bytes that were to leave and that the kernel kept: pinned, locked, shared with a child.", get_refused },
	{ "hearth_farmem_offloaded_bytes_total", "counter", "Bytes moved away.", get_offloaded },
	{ "hearth_farmem_recalled_bytes_total", "counter", "Bytes brought back.", get_recalled },
	{ "hearth_farmem_faults_total", "counter", "Pages that were touched while they were away.", get_faults },
	{ "hearth_farmem_prefetched_pages_total", "counter", "Pages brought back before they were touched.", get_prefetched },
	{ "hearth_farmem_prefetch_hits_total", "counter", "Of those, the ones that were touched then.", get_hits },
};

static int render_faults(struct node *n, struct buf *out)
{
	static const double quantiles[] = { 0.5, 0.99 };
	struct function *fn, *next;
	struct farmem_stat s;
	int r = metrics_head(out, "hearth_farmem_fault_seconds", "summary", "How long touching a page that was away took.");

	HASH_ITER(hh, n->functions, fn, next) {
		memory_of_function(fn, &s);
		for (size_t k = 0; k < sizeof(quantiles) / sizeof(quantiles[0]); k++)
			r |= buf_printf(out, "hearth_farmem_fault_seconds{function=\"%s\",quantile=\"%g\"} %.9g\n", fn->m.name, quantiles[k],
					(double)farmem_latency_quantile(&s.fault_latency, quantiles[k]) / NS_PER_S);
		r |= buf_printf(out, "hearth_farmem_fault_seconds_sum{function=\"%s\"} %.9g\n", fn->m.name, (double)s.fault_latency.sum_ns / NS_PER_S);
		r |= buf_printf(out, "hearth_farmem_fault_seconds_count{function=\"%s\"} %llu\n", fn->m.name, (unsigned long long)s.fault_latency.count);
	}
	return r;
}

static int render_uncovered(struct node *n, struct buf *out)
{
	struct function *fn, *next;
	const struct instance *inst;
	struct farmem_stat s;
	int r = metrics_head(out, "hearth_farmem_uncovered_reason_bytes", "gauge", "Memory that the engine cannot move, by reason.");

	HASH_ITER(hh, n->functions, fn, next) {
		memory_of_function(fn, &s);
		for (int k = 0; k < FARMEM_UNCOVERED_KINDS; k++)
			r |= buf_printf(out, "hearth_farmem_uncovered_reason_bytes{function=\"%s\",reason=\"%s\"} %llu\n", fn->m.name, farmem_uncovered_names[k], (unsigned long long)s.uncovered[k]);
	}
	r |= metrics_head(out, "hearth_farmem_left_alone", "gauge", "Instances whose memory no engine has; hearth ps --json says why.");
	HASH_ITER(hh, n->functions, fn, next) {
		unsigned alone = 0;

		TAILQ_FOREACH(inst, &fn->instances, entry)
			alone += instance_has_process(inst) && !memory_stat(inst);
		r |= buf_printf(out, "hearth_farmem_left_alone{function=\"%s\"} %u\n", fn->m.name, alone);
	}
	return r;
}

int metrics_memory(struct node *n, struct buf *out)
{
	struct function *fn, *next;
	struct farmem_stat s;
	int r = 0;

	r |= metrics_head(out, "hearth_farmem_up", "gauge", "1 while idle instances' memory can be moved, by what.");
	r |= buf_printf(out, "hearth_farmem_up{engine=\"%s\"} %d\n", n->memory.ops ? n->memory.ops->name : "none", n->memory.up);
	r |= metrics_head(out, "hearth_farmem_pager_restarts_total", "counter", "Pagers that ended.");
	r |= buf_printf(out, "hearth_farmem_pager_restarts_total %llu\n", (unsigned long long)n->memory.pager.restarts);
	r |= metrics_head(out, "hearth_farmem_break_even_seconds", "gauge", "How long memory has to stay away so that moving it is worth it, as measured.");
	r |= buf_printf(out, "hearth_farmem_break_even_seconds %.9g\n", (double)memory_break_even_ns(n) / NS_PER_S);
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		r |= metrics_head(out, rows[k].name, rows[k].type, rows[k].help);
		HASH_ITER(hh, n->functions, fn, next) {
			memory_of_function(fn, &s);
			r |= buf_printf(out, "%s{function=\"%s\"} %llu\n", rows[k].name, fn->m.name, (unsigned long long)rows[k].get(&s));
		}
	}
	return r | render_uncovered(n, out) | render_faults(n, out);
}

json_t *node_memory_to_json(const struct node *n)
{
	const struct node_memory *m = &n->memory;

	return json_pack("{s:s?,s:b,s:s,s:I,s:I,s:f}", "engine", m->ops ? m->ops->name : NULL, "up", m->up, "detail", m->ops ? m->what : m->why, "pool_bytes", (json_int_t)memory_pool_bytes(n),
			 "pager_restarts", (json_int_t)m->pager.restarts, "break_even_s", (double)memory_break_even_ns(n) / NS_PER_S);
}
