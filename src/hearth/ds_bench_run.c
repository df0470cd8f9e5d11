/* SPDX-License-Identifier: Apache-2.0 */
/* The lanes of `hearth ds bench`. The clock runs while they do: it starts when all are ready, and stands still between the rounds of a run with verification. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/thread.h"
#include "ds_bench.h"

/* the lanes wait here until a round begins; who measures waits until it has ended */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned ready, running;
	uint64_t round;
	bool over;
};

struct run {
	struct bench *b;
	struct gate gate;
	struct bench_lane *lanes;
	unsigned n;
};

struct lane_arg { struct run *run; struct bench_lane *lane; };

int bench_lane_says(struct bench_lane *l, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(l->text, sizeof(l->text), format, args);
	va_end(args);
	return code;
}

static void fail(struct bench_lane *l, int code, const char *why)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&l->b->failed, &none, code))
		snprintf(l->why, sizeof(l->why), "%s", why);
}

/* ---- what is next ---- */

/* @mine: the lane's own place, where places are not of a round. Return: false: there is nothing more to be done. */
static bool take(struct bench_lane *l, uint64_t mine, struct bench_op *ret)
{
	struct bench *b = l->b;
	uint64_t k, ticket = 0;

	/* one for each lane at least, however late it comes to it */
	if ((l->begun && clock_mono_ns() >= b->stop_ns) || atomic_load(&b->failed))
		return false;
	if (b->verify) {
		ticket = atomic_fetch_add_explicit(&b->ticket, 1, memory_order_relaxed);
		if (ticket >= b->places)
			return false;
	}
	k = b->random ? rng_below(&l->rng, b->blocks) : atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed) % b->blocks;
	ret->at = k * b->block;
	ret->place = (b->verify ? ticket : mine) * b->block;
	if (b->verify)
		b->offsets[ticket] = ret->at;
	l->begun = true;
	return true;
}

static void count(struct bench_lane *l, int64_t result, const char *why)
{
	if (result < 0)
		fail(l, (int)result, why);
	else if ((uint64_t)result < l->b->block)
		fail(l, -EIO, "the file became shorter meanwhile");
	if (result < 0)
		return;
	l->bytes += (uint64_t)result;
	l->ops++;
}

/* ---- one call after the other ---- */

static ssize_t one_whole(struct bench_lane *l, const struct bench_op *op)
{
	struct bench *b = l->b;
	struct hearth_err err = { 0 };
	ssize_t r;
	int s = b->way->file(b, &err);

	if (s < 0)
		return bench_lane_says(l, s, "%s", err.msg);
	b->reg_at = op->place;
	b->reg_bytes = b->block;
	r = b->way->reg(b, &err);
	if (r < 0)
		bench_lane_says(l, (int)r, "%s", err.msg);
	else
		r = b->way->one(l, op->place, op->at);
	b->way->release(b);
	b->way->file_close(b);
	return r;
}

static void run_sync(struct bench_lane *l)
{
	struct bench_op op;

	while (take(l, l->number, &op)) {
		uint64_t began = clock_mono_ns();
		ssize_t r = l->b->whole ? one_whole(l, &op) : l->b->way->one(l, op.place, op.at);

		hist_record(&l->ns, clock_mono_ns() - began);
		count(l, r, l->text);
	}
}

/* ---- several at a time ---- */

struct window {
	struct bench_op *ops;
	struct bench_done *done;
	uint64_t *began;
	unsigned *idle;
	size_t idle_n, under_way;
};

static const struct bench_queue *queue_of(const struct bench *b)
{
	return b->stream ? b->way->stream : b->way->queue;
}

/* as many as are free */
static void submit(struct bench_lane *l, struct window *w)
{
	size_t n = 0;
	uint64_t now;
	int r;

	while (n < w->idle_n) {
		unsigned tag = w->idle[w->idle_n - 1 - n];

		if (!take(l, (uint64_t)l->number * l->b->depth + tag, &w->ops[n]))
			break;
		w->ops[n++].tag = tag;
	}
	if (n == 0)
		return;
	now = clock_mono_ns();
	for (size_t k = 0; k < n; k++)
		w->began[w->ops[k].tag] = now;
	w->idle_n -= n;
	r = queue_of(l->b)->submit(l, w->ops, n);
	if (r < 0)
		fail(l, r, l->text);
	w->under_way += r < 0 ? 0 : n;
}

static int reap(struct bench_lane *l, struct window *w, size_t min)
{
	ssize_t n = queue_of(l->b)->reap(l, w->done, l->b->depth, min);
	uint64_t now = clock_mono_ns();

	if (n < 0) {
		fail(l, (int)n, l->text);
		return (int)n;
	}
	for (ssize_t k = 0; k < n; k++) {
		w->idle[w->idle_n++] = (unsigned)w->done[k].tag;
		if (!l->b->batch)
			hist_record(&l->ns, now - w->began[w->done[k].tag]);
		count(l, w->done[k].result, l->text);
	}
	w->under_way -= (size_t)n;
	return 0;
}

static void run_window(struct bench_lane *l, struct window *w)
{
	bool batch = l->b->batch;

	w->idle_n = 0;
	for (unsigned k = 0; k < l->b->depth; k++)
		w->idle[w->idle_n++] = k;
	for (;;) {
		uint64_t began = clock_mono_ns();

		submit(l, w);
		if (w->under_way == 0)
			return;
		do {
			if (reap(l, w, batch ? w->under_way : 1) < 0)
				return;
		} while (batch && w->under_way);
		if (batch)
			hist_record(&l->ns, clock_mono_ns() - began);
	}
}

static int window_new(struct window *w, unsigned depth)
{
	w->ops = calloc(depth, sizeof(*w->ops));
	w->done = calloc(depth, sizeof(*w->done));
	w->began = calloc(depth, sizeof(*w->began));
	w->idle = calloc(depth, sizeof(*w->idle));
	return w->ops && w->done && w->began && w->idle ? 0 : -ENOMEM;
}

static void window_free(struct window *w)
{
	free(w->ops);
	free(w->done);
	free(w->began);
	free(w->idle);
}

/* ---- the lane ---- */

/* Return: false: there are no more rounds. */
static bool gate_wait(struct gate *g, uint64_t *seen)
{
	bool over;

	pthread_mutex_lock(&g->lock);
	g->ready++;
	pthread_cond_broadcast(&g->changed);
	while (g->round == *seen && !g->over)
		pthread_cond_wait(&g->changed, &g->lock);
	over = g->over;
	*seen = g->round;
	pthread_mutex_unlock(&g->lock);
	return !over;
}

static void gate_done(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->running--;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static void *run_lane(void *arg)
{
	struct lane_arg *a = arg;
	struct bench_lane *l = a->lane;
	struct bench *b = l->b;
	struct hearth_err err = { 0 };
	struct window w = { 0 };
	uint64_t seen = 0;
	int r = device_memory_enter(b->c.own, &err);

	if (r < 0)
		fail(l, r, err.msg);
	if (r == 0 && !b->sync) {
		r = window_new(&w, b->depth) < 0 ? bench_lane_says(l, -ENOMEM, "out of memory") : queue_of(b)->open(l);
		if (r < 0)
			fail(l, r, l->text);
	}
	while (gate_wait(&a->run->gate, &seen)) {
		if (r == 0 && b->sync)
			run_sync(l);
		else if (r == 0)
			run_window(l, &w);
		gate_done(&a->run->gate);
	}
	if (r == 0 && !b->sync)
		queue_of(b)->close(l);
	window_free(&w);
	free(a);
	return NULL;
}

static int spawn(struct run *run, unsigned k)
{
	struct lane_arg *a = malloc(sizeof(*a));
	struct bench_lane *l = &run->lanes[k];
	int r;

	if (!a)
		return -ENOMEM;
	*a = (struct lane_arg){ .run = run, .lane = l };
	l->b = run->b;
	l->number = k;
	rng_seed(&l->rng, run->b->seed + k);
	r = thread_spawn(&l->thread, run_lane, a);
	if (r < 0)
		free(a);
	return r;
}

/* ---- rounds ---- */

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* all lanes are ready. Return: ns. */
static uint64_t one_round(struct run *run, uint64_t left_ns, double *ret_cpu)
{
	struct gate *g = &run->gate;
	struct timespec until;
	uint64_t began;
	double cpu;

	pthread_mutex_lock(&g->lock);
	while (g->ready < run->n)
		pthread_cond_wait(&g->changed, &g->lock);
	g->ready = 0;
	g->running = run->n;
	cpu = cpu_seconds();
	began = clock_mono_ns();
	run->b->stop_ns = began + left_ns;
	g->round++;
	pthread_cond_broadcast(&g->changed);
	while (g->running) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += 100 * NS_PER_MS;
		until.tv_sec += until.tv_nsec / (long)NS_PER_S;
		until.tv_nsec %= (long)NS_PER_S;
		if (pthread_cond_timedwait(&g->changed, &g->lock, &until) == ETIMEDOUT)
			ds_cli_progress(&run->b->c, "bench", run->b->run_ns - left_ns + clock_mono_ns() - began, run->b->run_ns);
	}
	pthread_mutex_unlock(&g->lock);
	*ret_cpu = cpu_seconds() - cpu;
	return clock_mono_ns() - began;
}

static uint64_t in_round(struct bench *b)
{
	uint64_t n = atomic_load(&b->ticket);

	return n < b->places ? n : b->places;
}

static int rounds(struct run *run, struct bench_sum *ret, struct hearth_err *err)
{
	struct bench *b = run->b;
	uint64_t spent = 0, round = 0, n;
	double cpu;
	int r = 0;

	do {
		atomic_store(&b->ticket, 0);
		if (b->verify)
			r = bench_verify_before(b, round++, err);
		if (r < 0)
			break;
		spent += one_round(run, b->run_ns - spent, &cpu);
		ret->cpu += cpu;
		n = in_round(b);
		/* an operation that did not come off took its place all the same */
		if (b->verify && !atomic_load(&b->failed))
			r = bench_verify_after(b, n, err);
	} while (b->verify && r == 0 && !atomic_load(&b->failed) && spent < b->run_ns);
	ds_cli_progress_end(&b->c);
	ret->seconds = (double)spent / 1e9;
	return r;
}

static int join(struct run *run, struct bench_sum *ret, int r, struct hearth_err *err)
{
	pthread_mutex_lock(&run->gate.lock);
	run->gate.over = true;
	pthread_cond_broadcast(&run->gate.changed);
	pthread_mutex_unlock(&run->gate.lock);
	for (unsigned k = 0; k < run->n; k++) {
		struct bench_lane *l = &run->lanes[k];

		pthread_join(l->thread, NULL);
		if (l->why[0] && r == 0)
			r = err_set(err, atomic_load(&run->b->failed), "%s", l->why);
		hist_merge(&ret->ns, &l->ns);
		ret->bytes += l->bytes;
		ret->ops += l->ops;
	}
	return r;
}

int bench_run(struct bench *b, struct bench_sum *ret, struct hearth_err *err)
{
	struct run run = { .b = b, .lanes = calloc(b->queues, sizeof(*run.lanes)) };
	pthread_condattr_t monotonic;
	int r = run.lanes ? 0 : err_set(err, -ENOMEM, "out of memory");

	if (r < 0)
		return r;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&run.gate.lock, NULL);
	pthread_cond_init(&run.gate.changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	while (run.n < b->queues && r == 0) {
		r = spawn(&run, run.n);
		if (r < 0)
			err_set(err, r, "cannot start a thread");
		else
			run.n++;
	}
	if (r == 0)
		r = rounds(&run, ret, err);
	r = join(&run, ret, r, err);
	pthread_cond_destroy(&run.gate.changed);
	pthread_mutex_destroy(&run.gate.lock);
	free(run.lanes);
	return r;
}
