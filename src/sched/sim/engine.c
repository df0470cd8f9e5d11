/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "engine.h"

#define PROGRESS_EVENTS (1u << 19)
#define TIMERS_MAX 100000000u    /* timers in a row without another event */

struct sim_config sim_config_default(void)
{
	return (struct sim_config){ .policy = SCHED_DARC, .workers = 14, .load = 0.8, .requests = 1000000, .warmup = 0.1, .seed = 1, .scv = -1, .quantum_ns = 5000,
		.preempt_ns = 1000 };
}

/* ---- what is asked for ---- */

#define CHECK(what, ...) do { if (!(what)) return err_set(err, -EINVAL, __VA_ARGS__); } while (0)

static int check_rate(const struct sim_config *c, struct hearth_err *err)
{
	CHECK(c->load == 0 || c->rate_hz == 0, "both a load and a rate are given: one says the other");
	CHECK(c->load == 0 || (c->load >= 1e-6 && c->load <= 10), "the load is %g; it must be more than 0, 10 at most (1: all workers busy all the time)", c->load);
	CHECK(c->rate_hz == 0 || (c->rate_hz >= 1e-3 && c->rate_hz <= 1e9), "the rate is %g requests a second; it must be 0.001..1e9", c->rate_hz);
	CHECK(c->requests <= SIM_REQUESTS_MAX, "%llu requests are too many: 1e9 at most", (unsigned long long)c->requests);
	return 0;
}

static int check_costs(const struct sim_config *c, struct hearth_err *err)
{
	const uint64_t hour = 3600 * NS_PER_S;

	CHECK(c->rtt_ns <= hour && c->overhead_ns <= hour && c->dispatch_ns <= hour && c->preempt_ns <= hour && c->steal_ns <= hour, "a cost is over an hour");
	CHECK(c->policy != SCHED_TS || (c->quantum_ns >= 1 && c->quantum_ns <= hour), "the quantum must be 1 ns to 1 h");
	CHECK(c->interval_ns == 0 || c->interval_ns >= 1000, "an interval of the time series must be 1 us at least");
	CHECK(c->scv <= 100, "scv is %g; it must be 0..100 (0: always the same time, 1: exponential)", c->scv);
	CHECK(c->misclassify >= 0 && c->misclassify <= 1, "the share of requests of a random type is %g; it must be 0..1", c->misclassify);
	CHECK(c->warmup >= 0 && c->warmup < 1, "the warm-up is %g; it must be a share of the requests, 0..1, 1 excluded", c->warmup);
	return 0;
}

static int check(const struct sim_config *c, struct hearth_err *err)
{
	const struct workload *w = c->trace ? c->trace->workload : c->workload;
	int rc;

	CHECK(w, "no workload");
	CHECK(c->workers >= 1 && c->workers <= SCHED_WORKERS_MAX, "%u workers; there must be 1 to %d", c->workers, SCHED_WORKERS_MAX);
	CHECK(c->policy < SCHED_POLICIES, "no such policy");
	CHECK(c->requests > 0 || c->trace || w->phases[w->phases_n - 1].duration_ns > 0, "%s goes on for ever: say how many requests", w->name);
	CHECK(c->stop.kind != SIM_TARGET_LATENCY || c->stop.type < w->types_n, "the target's type is not one of %s", w->name);
	rc = check_rate(c, err);
	return rc < 0 ? rc : check_costs(c, err);
}

/* ---- the books ---- */

static int quants_new(uint32_t n, struct quant **ret)
{
	struct quant *q = calloc(n, sizeof(*q));

	*ret = q;
	for (uint32_t i = 0; q && i < n; i++)
		if (quant_init(&q[i]) < 0)
			return -ENOMEM;
	return q ? 0 : -ENOMEM;
}

static void quants_free(struct quant *q, uint32_t n)
{
	for (uint32_t i = 0; q && i < n; i++)
		quant_done(&q[i]);
	free(q);
}

static int books_init(struct engine *e)
{
	struct books *b = &e->books;
	uint32_t n = e->arrivals.w->types_n;
	int rc = quants_new(n, &b->latency);

	b->span_end_ns = UINT64_MAX;
	if (rc == 0)
		rc = quants_new(n, &b->slowdown);
	if (rc == 0 && e->cfg->interval_ns > 0) {
		b->span_end_ns = e->cfg->interval_ns;
		rc = quants_new(n, &b->span_latency);
		if (rc == 0)
			rc = quants_new(n, &b->span_slowdown);
	}
	b->over_max = UINT64_MAX;
	if (e->cfg->stop.kind == SIM_TARGET_SLOWDOWN && arrivals_expected(&e->arrivals) > 0)
		b->over_max = (uint64_t)(0.001 * (double)(arrivals_expected(&e->arrivals) - e->arrivals.warmup_n));
	return rc;
}

static void books_done(struct engine *e)
{
	struct books *b = &e->books;
	uint32_t n = e->arrivals.w->types_n;

	quants_free(b->latency, n);
	quants_free(b->slowdown, n);
	quants_free(b->span_latency, n);
	quants_free(b->span_slowdown, n);
}

/* A quantile line a type, and one for all of them. Return: NULL without memory. */
static struct sim_quantiles *report_all(const struct quant *q, uint32_t n)
{
	struct sim_quantiles *out = calloc(n + 1, sizeof(*out));
	struct quant all;

	if (!out || quant_init(&all) < 0) {
		free(out);
		return NULL;
	}
	for (uint32_t i = 0; i < n; i++) {
		quant_report(&q[i], 0, &out[i]);
		quant_merge(&all, &q[i]);
	}
	quant_report(&all, 0, &out[n]);
	quant_done(&all);
	return out;
}

static int interval_add(struct engine *e)
{
	struct books *b = &e->books;
	struct sim_result *r = &e->result;
	uint32_t n = e->arrivals.w->types_n;
	struct sim_interval *i, *grown;

	grown = realloc(r->intervals, (r->intervals_n + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	r->intervals = grown;
	i = &grown[r->intervals_n];
	*i = (struct sim_interval){ b->span_end_ns - e->cfg->interval_ns, e->arrivals.phase, report_all(b->span_latency, n), report_all(b->span_slowdown, n) };
	r->intervals_n++;
	for (uint32_t t = 0; t < n; t++) {
		quant_reset(&b->span_latency[t]);
		quant_reset(&b->span_slowdown[t]);
	}
	b->span_end_ns += e->cfg->interval_ns;
	return i->latency_ns && i->slowdown ? 0 : -ENOMEM;
}

/* ---- the loop ---- */

static int stuck(const struct engine *e, struct hearth_err *err)
{
	return err_set(err, -EDEADLK, "%s leaves %llu requests waiting with %u workers idle%s: this is an error of the policy", sched_policy_names[e->cfg->policy],
		(unsigned long long)e->driver->waiting(e), e->cfg->workers - e->busy, e->timer_ns == UINT64_MAX ? " and asks for no time to look again" :
		", looks again and again, and starts nothing");
}

/* An arrival at the head of the events. @next is replaced by the one after it; its ready_ns is UINT64_MAX when there is none. */
static int take_arrival(struct engine *e, struct arrival *next)
{
	struct sim_type_result *t = &e->result.types[request_type(next->request)];
	int rc = e->driver->arrive(e, next);

	e->result.arrived++;
	t->arrived++;
	if (rc == -ENOBUFS) {
		t->dropped++;
		e->result.dropped++;
		e->books.over += (next->request & REQUEST_MEASURED) != 0;
		rc = 0;
	}
	if (!arrivals_next(&e->arrivals, next)) {
		next->ready_ns = UINT64_MAX;
		/* what comes after this is the end of a run, with fewer and fewer requests in it */
		e->result.simulated_s = (double)e->now * 1e-9;
		e->result.throughput_hz = e->now > 0 ? (double)e->result.completed / e->result.simulated_s : 0;
		e->result.utilisation = (double)e->held_ns / ((double)e->now * e->cfg->workers);
	}
	return rc;
}

/* Return: what an error makes of the run; 1: the run is over. */
static int now_and_then(struct engine *e, uint64_t expected, struct hearth_err *err)
{
	if (e->cfg->progress && !e->cfg->progress(e->cfg->progress_arg, e->result.arrived, expected))
		return err_set(err, -EINTR, "the simulation was ended early");
	return 0;
}

static int loop(struct engine *e, struct hearth_err *err)
{
	uint64_t expected = arrivals_expected(&e->arrivals), events = 0, timers = 0;
	struct arrival next = { .ready_ns = UINT64_MAX };
	int rc = 0;

	if (!arrivals_next(&e->arrivals, &next))
		return err_set(err, -EINVAL, "not one request comes before %s ends", e->arrivals.w->name);
	while (rc == 0) {
		uint64_t done_ns = tree_at(&e->tree), at = done_ns < e->timer_ns ? done_ns : e->timer_ns;

		at = at < next.ready_ns ? at : next.ready_ns;
		if (__builtin_expect(at >= UINT64_MAX >> 8, 0)) {
			rc = e->driver->waiting(e) > 0 ? stuck(e, err) : 0;
			break;
		}
		while (__builtin_expect(at >= e->books.span_end_ns, 0) && rc == 0)
			rc = interval_add(e);
		e->now = at > e->now ? at : e->now;     /* a policy may ask for a time that is over */
		events++;
		timers++;
		if (at == done_ns) {
			timers = 0;
			rc = e->driver->worker(e, tree_worker(&e->tree));
		} else if (at == next.ready_ns) {
			timers = 0;
			rc = take_arrival(e, &next);
			if (__builtin_expect(e->books.over > e->books.over_max, 0)) {
				e->result.stopped = true;
				break;
			}
		} else {
			e->driver->timer(e);
			if (__builtin_expect(timers > TIMERS_MAX, 0))
				rc = stuck(e, err);
		}
		if (__builtin_expect(events % PROGRESS_EVENTS == 0, 0) && rc == 0)
			rc = now_and_then(e, expected, err);
	}
	e->result.events = events;
	return rc;
}

/* ---- results ---- */

static int sum_up(struct engine *e)
{
	struct sim_result *r = &e->result;
	struct quant all;

	if (quant_init(&all) < 0)
		return -ENOMEM;
	for (uint32_t t = 0; t < r->types_n; t++) {
		quant_report(&e->books.latency[t], r->types[t].dropped, &r->types[t].latency_ns);
		quant_report(&e->books.slowdown[t], r->types[t].dropped, &r->types[t].slowdown);
		quant_merge(&all, &e->books.slowdown[t]);
	}
	quant_report(&all, r->dropped, &r->slowdown);
	quant_done(&all);
	if (e->driver->finish)
		e->driver->finish(e);
	return 0;
}

void sim_result_done(struct sim_result *r)
{
	for (size_t i = 0; i < r->updates_n; i++)
		free(r->updates[i].groups);
	for (size_t i = 0; i < r->intervals_n; i++) {
		free(r->intervals[i].latency_ns);
		free(r->intervals[i].slowdown);
	}
	free(r->updates);
	free(r->intervals);
	free(r->types);
	*r = (struct sim_result){ 0 };
}

bool sim_meets(const struct sim_result *r, const struct sim_target *t)
{
	if (r->stopped)
		return false;
	return (t->kind == SIM_TARGET_LATENCY ? r->types[t->type].latency_ns.p999_all : r->slowdown.p999_all) <= t->value;
}

static int engine_init(struct engine *e, const struct sim_config *cfg, struct hearth_err *err)
{
	int rc = check(cfg, err);

	if (rc < 0)
		return rc;
	e->cfg = cfg;
	e->driver = cfg->policy == SCHED_TS ? &ts_driver : cfg->policy == SCHED_WS ? &ws_driver : &core_driver;
	e->timer_ns = UINT64_MAX;
	rc = arrivals_init(&e->arrivals, cfg, err);
	if (rc < 0)
		return rc;
	tree_init(&e->tree, cfg->workers);
	e->result.types_n = e->arrivals.w->types_n;
	e->result.rate_hz = arrivals_rate_hz(&e->arrivals);
	e->result.types = calloc(e->result.types_n, sizeof(*e->result.types));
	if (!e->result.types || books_init(e) < 0)
		return err_set(err, -ENOMEM, "no memory for the simulation");
	return e->driver->init(e, err);
}

int sim_run(const struct sim_config *cfg, struct sim_result *ret, struct hearth_err *err)
{
	struct engine *e = calloc(1, sizeof(*e));
	uint64_t begin_ns = clock_mono_ns();
	int rc;

	if (!e)
		return err_set(err, -ENOMEM, "no memory for the simulation");
	rc = engine_init(e, cfg, err);
	if (rc == 0)
		rc = loop(e, err);
	if (rc == 0)
		rc = sum_up(e);
	if (rc == -ENOMEM)
		err_set(err, rc, "no memory for the simulation");
	if (rc == 0) {
		e->result.wall_s = (double)(clock_mono_ns() - begin_ns) * 1e-9;
		*ret = e->result;
	} else {
		sim_result_done(&e->result);
	}
	if (e->driver)
		e->driver->done(e);
	if (e->arrivals.w)
		books_done(e);
	free(e);
	return rc;
}
