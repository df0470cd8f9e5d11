/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/thread.h"
#include "lane.h"
#include "payload.h"

#define SILENCE_NS (3 * NS_PER_S)               /* so long without any answer is too long, if something was lost already */
#define LATE_NS (200 * NS_PER_US)               /* median lag of a generator that cannot keep up */
#define START_NS (2 * NS_PER_MS)                /* threads wake up meanwhile */

/* ---- a thread ---- */

static const struct lane_ops *ops_of(const struct load_config *cfg) { return cfg->http ? &lane_http : &lane_udp; }

static int lane_prepare(struct lane *l)
{
	const struct workload *w = l->cfg->workload;

	l->series = calloc((size_t)w->phases_n * w->types_n, sizeof(*l->series));
	if (!l->series || schedule_init(&l->schedule, l->cfg, l->index) < 0)
		return err_set(&l->err, -ENOMEM, "no memory for the counts of a thread");
	l->opened = true;
	return ops_of(l->cfg)->open(l);
}

/* Ready, or not: say so, and wait for the start. Return: go. */
static bool lane_ready(struct lane *l)
{
	struct run *run = l->run;
	bool go;

	pthread_mutex_lock(&run->lock);
	if (l->rc < 0)
		atomic_store(&run->stop, true);
	run->ready++;
	pthread_cond_broadcast(&run->changed);
	while (!run->go && !atomic_load(&run->stop))
		pthread_cond_wait(&run->changed, &run->lock);
	go = run->go;
	pthread_mutex_unlock(&run->lock);
	return go;
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;

	prctl(PR_SET_TIMERSLACK, 1UL);          /* the default of 50 us would be lag */
	l->rc = lane_prepare(l);
	if (lane_ready(l) && l->rc == 0) {
		uint64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);

		l->rc = ops_of(l->cfg)->play(l);
		l->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	}
	if (l->opened)
		ops_of(l->cfg)->close(l);
	pthread_mutex_lock(&l->run->lock);
	if (l->rc < 0)
		atomic_store(&l->run->stop, true);
	l->run->ended++;
	pthread_cond_broadcast(&l->run->changed);
	pthread_mutex_unlock(&l->run->lock);
	return NULL;
}

/* ---- the run ---- */

struct crew { struct run run; struct lane **lanes; struct load_progress seen; uint64_t tick_ns; };

static struct load_progress progress_of(const struct crew *c)
{
	struct load_progress p = { .elapsed_ns = clock_mono_ns() - c->run.origin_ns, .total_ns = c->run.end_ns };

	for (unsigned i = 0; i < c->run.cfg->threads; i++) {
		p.sent += atomic_load_explicit(&c->lanes[i]->sent, memory_order_relaxed);
		p.answered += atomic_load_explicit(&c->lanes[i]->answered, memory_order_relaxed);
		p.lost += atomic_load_explicit(&c->lanes[i]->lost, memory_order_relaxed);
		p.flying += atomic_load_explicit(&c->lanes[i]->flying, memory_order_relaxed);
	}
	return p;
}

static bool crew_silent(const struct crew *c)
{
	struct load_progress p = progress_of(c);

	return p.answered == 0 && p.lost > 0 && p.elapsed_ns > SILENCE_NS;
}

static void crew_tick(struct crew *c)
{
	struct load_progress p = progress_of(c);

	p.recent_rate = (p.answered - c->seen.answered) * NS_PER_S / (p.elapsed_ns > c->seen.elapsed_ns ? p.elapsed_ns - c->seen.elapsed_ns : 1);
	c->seen = p;
	if (c->run.cfg->progress)
		c->run.cfg->progress(c->run.cfg->ctx, &p);
}

/* Until every lane has ended; meanwhile once a second a look at how it goes. */
static void crew_watch(struct crew *c)
{
	struct run *run = &c->run;

	c->tick_ns = run->origin_ns + NS_PER_S;
	pthread_mutex_lock(&run->lock);
	while (run->ended < run->cfg->threads) {
		struct timespec at = { .tv_sec = (time_t)(c->tick_ns / NS_PER_S), .tv_nsec = (long)(c->tick_ns % NS_PER_S) };

		if (pthread_cond_timedwait(&run->changed, &run->lock, &at) != ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&run->lock);
		crew_tick(c);
		if (crew_silent(c))
			atomic_store(&run->stop, true);
		c->tick_ns += NS_PER_S;
		pthread_mutex_lock(&run->lock);
	}
	pthread_mutex_unlock(&run->lock);
}

static int crew_start(struct crew *c, struct hearth_err *err)
{
	struct run *run = &c->run;
	const struct load_config *cfg = run->cfg;

	for (unsigned i = 0; i < cfg->threads; i++) {
		struct lane *l = calloc(1, ops_of(cfg)->size);

		if (!l)
			return err_set(err, -ENOMEM, "no memory for thread %u", i);
		c->lanes[i] = l;
		l->run = run;
		l->cfg = cfg;
		l->index = i;
	}
	for (unsigned i = 0; i < cfg->threads; i++) {
		int rc = thread_spawn(&c->lanes[i]->thread, lane_main, c->lanes[i]);

		if (rc < 0)
			return err_set(err, rc, "cannot start thread %u: %s", i, strerror(-rc));
		c->lanes[i]->started = true;
	}
	pthread_mutex_lock(&run->lock);
	while (run->ready < cfg->threads)
		pthread_cond_wait(&run->changed, &run->lock);
	run->origin_ns = clock_mono_ns() + START_NS;
	run->go = !atomic_load(&run->stop);
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
	return 0;
}

static void crew_end(struct crew *c)
{
	pthread_mutex_lock(&c->run.lock);
	atomic_store(&c->run.stop, true);
	pthread_cond_broadcast(&c->run.changed);
	pthread_mutex_unlock(&c->run.lock);
	for (unsigned i = 0; i < c->run.cfg->threads; i++) {
		struct lane *l = c->lanes[i];

		if (l && l->started)
			pthread_join(l->thread, NULL);
		if (l)
			l->started = false;
	}
}

static void crew_free(struct crew *c)
{
	for (unsigned i = 0; c->lanes && i < c->run.cfg->threads; i++) {
		if (!c->lanes[i])
			continue;
		schedule_done(&c->lanes[i]->schedule);
		free(c->lanes[i]->series);
		free(c->lanes[i]);
	}
	free(c->lanes);
}

/* ---- the result ---- */

struct load_result *load_result_free(struct load_result *r)
{
	if (!r)
		return NULL;
	for (uint32_t i = 0; r->phases && i < r->workload->phases_n; i++)
		free(r->phases[i].types);
	free(r->phases);
	free(r->types);
	free(r);
	return NULL;
}

static struct load_result *result_new(const struct workload *w)
{
	struct load_result *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->workload = w;
	r->types = calloc(w->types_n, sizeof(*r->types));
	r->phases = calloc(w->phases_n, sizeof(*r->phases));
	if (!r->types || !r->phases)
		return load_result_free(r);
	for (uint32_t i = 0; i < w->phases_n; i++) {
		r->phases[i].types = calloc(w->types_n, sizeof(*r->types));
		if (!r->phases[i].types)
			return load_result_free(r);
	}
	return r;
}

static void add_lane(struct load_result *r, const struct lane *l)
{
	const struct workload *w = r->workload;

	for (uint32_t p = 0; p < w->phases_n; p++) {
		for (uint32_t t = 0; t < w->types_n; t++) {
			const struct load_series *s = &l->series[p * w->types_n + t];

			series_merge(&r->phases[p].types[t], s);
			series_merge(&r->phases[p].total, s);
			series_merge(&r->types[t], s);
			series_merge(&r->total, s);
		}
	}
	hist_merge(&r->lag, &l->lag);
	hist_merge(&r->conn_wait, &l->conn_wait);
	r->sent += atomic_load_explicit(&l->sent, memory_order_relaxed);
	r->warmup_due += l->warmup_due;
	r->warmup_lost += l->warmup_lost;
	r->stray += l->stray;
	r->malformed += l->malformed;
	r->refused += l->refused;
	r->errors += l->errors;
	r->cpu_ns += l->cpu_ns;
	for (int i = 0; i < 4; i++)
		r->starts[i] += l->starts[i];
}

/* Was it the generator that could not keep up? */
static void judge(struct load_result *r, uint64_t last_sent_ns)
{
	uint64_t length_ns = r->end_ns, p50_ns = hist_quantile(&r->lag, 0.5);

	r->generator_limit = true;
	if (last_sent_ns > length_ns + length_ns / 100 + 10 * NS_PER_MS)
		snprintf(r->why, sizeof(r->why), "%.0f requests a second were due, but only %.0f sent", r->offered_hz, r->sent_hz);
	else if (p50_ns > LATE_NS)
		snprintf(r->why, sizeof(r->why), "half of the requests were sent more than %.0f us late", (double)p50_ns / 1e3);
	else
		r->generator_limit = false;
}

static uint64_t clamp(uint64_t x, uint64_t lo, uint64_t hi) { return x < lo ? lo : x > hi ? hi : x; }

static int collect(const struct crew *c, struct load_result **ret, struct hearth_err *err)
{
	const struct load_config *cfg = c->run.cfg;
	struct load_result *r = result_new(cfg->workload);
	uint64_t last_sent_ns = 0, due = 0;

	if (!r)
		return err_set(err, -ENOMEM, "no memory for the results");
	r->wall_ns = clock_mono_ns() - c->run.origin_ns;
	r->stopped = cfg->stop && atomic_load(cfg->stop);
	r->start_ns = c->run.warm_ns;
	r->end_ns = r->stopped ? clamp(r->wall_ns, 1, c->run.end_ns) : c->run.end_ns;
	if (r->start_ns > r->end_ns)
		r->start_ns = r->end_ns;
	for (unsigned i = 0; i < cfg->threads; i++) {
		add_lane(r, c->lanes[i]);
		if (c->lanes[i]->last_sent_ns > last_sent_ns)
			last_sent_ns = c->lanes[i]->last_sent_ns;
	}
	for (uint32_t p = 0; p < cfg->workload->phases_n; p++) {
		r->phases[p].start_ns = clamp(schedule_phase_start_ns(cfg, p), r->start_ns, r->end_ns);
		r->phases[p].end_ns = clamp(schedule_phase_start_ns(cfg, p + 1), r->start_ns, r->end_ns);
	}
	due = r->total.due + r->warmup_due;
	r->offered_hz = (double)due * 1e9 / (double)r->end_ns;
	r->sent_hz = (double)r->sent * 1e9 / (double)(last_sent_ns > r->end_ns ? last_sent_ns : r->end_ns);
	judge(r, last_sent_ns);
	*ret = r;
	return 0;
}

/* ---- checks ---- */

static int check(const struct load_config *cfg, struct hearth_err *err)
{
	if (cfg->threads == 0 || cfg->threads > LOAD_THREADS_MAX)
		return err_set(err, -EINVAL, "%u threads; there must be 1 to %d", cfg->threads, LOAD_THREADS_MAX);
	if (cfg->flows == 0 || cfg->flows > LOAD_FLOWS_MAX)
		return err_set(err, -EINVAL, "%u flows a thread; there must be 1 to %d", cfg->flows, LOAD_FLOWS_MAX);
	if (!(cfg->warmup >= 0 && cfg->warmup <= 0.9))
		return err_set(err, -EINVAL, "the warm-up is %g of the run; it must be 0..0.9", cfg->warmup);
	if (cfg->timeout_ns == 0)
		return err_set(err, -EINVAL, "the timeout must be more than 0");
	if (cfg->trace && cfg->trace->workload != cfg->workload)
		return err_set(err, -EINVAL, "a trace has its own workload");
	if (!cfg->http && payload_check(cfg, err) < 0)
		return -EINVAL;
	return schedule_check(cfg, err);
}

static int silent(const struct crew *c, const struct load_result *r, struct hearth_err *err)
{
	const char *to = c->run.address.text;

	if (r->malformed > 0)
		return err_set(err, -EPROTO, "what answers at %s does not speak the protocol of hearth serve: no reply of %" PRIu64 " could be read", to, r->malformed);
	if (c->run.cfg->http)
		return err_set(err, -ETIMEDOUT, "no reply from %s in %.1f s", to, (double)r->wall_ns / 1e9);
	return err_set(err, r->refused ? -ECONNREFUSED : -ETIMEDOUT, "no reply from %s in %.1f s%s; is hearth serve running there?", to, (double)r->wall_ns / 1e9,
		r->refused ? " (the machine says that nothing listens there)" : "");
}

/* The first thread's error is the one to tell. */
static int lane_errors(const struct crew *c, struct hearth_err *err)
{
	for (unsigned i = 0; i < c->run.cfg->threads; i++) {
		if (c->lanes[i] && c->lanes[i]->rc < 0) {
			if (err)
				*err = c->lanes[i]->err;
			return c->lanes[i]->rc;
		}
	}
	return 0;
}

static int play(struct crew *c, struct load_result **ret, struct hearth_err *err)
{
	struct load_result *r = NULL;
	int rc = crew_start(c, err);

	if (rc == 0)
		crew_watch(c);
	crew_end(c);
	if (rc == 0)
		rc = lane_errors(c, err);
	if (rc == 0)
		rc = collect(c, &r, err);
	if (rc == 0 && r && r->sent > 0 && progress_of(c).answered == 0 && !r->stopped)
		rc = silent(c, r, err);
	if (rc < 0) {
		load_result_free(r);
		return rc;
	}
	*ret = r;
	return 0;
}

int load_run(const struct load_config *cfg, struct load_result **ret, struct hearth_err *err)
{
	struct crew c = { .run = { .cfg = cfg, .lock = PTHREAD_MUTEX_INITIALIZER } };
	pthread_condattr_t attr;
	int rc = check(cfg, err);

	if (rc == 0)
		rc = address_resolve(cfg->target, cfg->http ? "80" : NULL, !cfg->http, &c.run.address, err);
	if (rc < 0)
		return rc;
	c.run.end_ns = schedule_length_ns(cfg);
	c.run.warm_ns = (uint64_t)((double)c.run.end_ns * cfg->warmup);
	c.lanes = calloc(cfg->threads, sizeof(struct lane *));
	if (!c.lanes)
		return err_set(err, -ENOMEM, "no memory for %u threads", cfg->threads);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c.run.changed, &attr);
	pthread_condattr_destroy(&attr);
	rc = play(&c, ret, err);
	crew_free(&c);
	pthread_cond_destroy(&c.run.changed);
	pthread_mutex_destroy(&c.run.lock);
	return rc;
}
