/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "engine.h"
#include "fifo.h"

/*
 * Time sharing (Shinjuku, NSDI'19): a request holds its worker for a quantum; if others wait then, it is taken off, which costs the worker preempt_ns, and
 * goes to the end of its queue. One queue, or one a type, of which the one whose head has waited longest for its type's mean comes first.
 */
enum slice { SLICE_RUNS, SLICE_LEAVES };        /* LEAVES: being preempted */

struct place {
	struct waiting job;             /* rest_ns: after this slice */
	enum slice slice;
};

struct ts {
	struct fifo *queues;
	uint32_t queues_n;
	uint64_t waiting, max;
	uint64_t idle[SCHED_WORKERS_WORDS];
	struct place *places;           /* one a worker */
};

static int ts_init(struct engine *e, struct hearth_err *err)
{
	struct ts *s = calloc(1, sizeof(*s));

	e->state = s;
	if (s) {
		s->queues_n = e->cfg->ts_multi ? e->arrivals.w->types_n : 1;
		s->queues = calloc(s->queues_n, sizeof(*s->queues));
		s->places = calloc(e->cfg->workers, sizeof(*s->places));
		s->max = (e->cfg->queue_max ? e->cfg->queue_max : SIM_QUEUE_MAX_DEFAULT) * (uint64_t)e->arrivals.w->types_n;
		for (uint32_t w = 0; w < e->cfg->workers; w++)
			s->idle[w / 64] |= 1ull << (w % 64);
	}
	return s && s->queues && s->places ? 0 : err_set(err, -ENOMEM, "no memory for the policy");
}

static void ts_done(struct engine *e)
{
	struct ts *s = e->state;

	if (!s)
		return;
	for (uint32_t q = 0; s->queues && q < s->queues_n; q++)
		fifo_done(&s->queues[q]);
	free(s->queues);
	free(s->places);
	free(s);
}

/* which queue comes next; some request waits */
static struct fifo *ts_pick(struct engine *e, struct ts *s)
{
	struct fifo *best = NULL;
	double best_ratio = -1;

	if (s->queues_n == 1)
		return &s->queues[0];
	for (uint32_t q = 0; q < s->queues_n; q++) {
		double ratio;

		if (fifo_len(&s->queues[q]) == 0)
			continue;
		ratio = (double)(e->now - fifo_head(&s->queues[q])->arrival_ns) / e->arrivals.draws[q].mean_ns;
		if (ratio > best_ratio) {
			best_ratio = ratio;
			best = &s->queues[q];
		}
	}
	return best;
}

static void ts_slice(struct engine *e, struct ts *s, uint32_t w)
{
	struct place *p = &s->places[w];
	uint64_t part = p->job.rest_ns < e->cfg->quantum_ns ? p->job.rest_ns : e->cfg->quantum_ns;

	p->slice = SLICE_RUNS;
	p->job.rest_ns -= part;
	e->held_ns += part;
	tree_set(&e->tree, w, e->now + part);
}

static void ts_start(struct engine *e, struct ts *s, uint32_t w)
{
	s->places[w].job = fifo_pop(ts_pick(e, s));
	s->waiting--;
	ts_slice(e, s, w);
}

static struct fifo *ts_queue(struct ts *s, uint64_t request)
{
	return &s->queues[s->queues_n == 1 ? 0 : request_type(request)];
}

static int ts_arrive(struct engine *e, const struct arrival *a)
{
	struct ts *s = e->state;

	if (s->waiting >= s->max)
		return -ENOBUFS;
	if (fifo_push(ts_queue(s, a->request), (struct waiting){ a->at_ns, a->request, request_service_ns(a->request) + e->cfg->overhead_ns }) < 0)
		return -ENOMEM;
	s->waiting++;
	for (uint32_t i = 0; i < SCHED_WORKERS_WORDS; i++)
		if (s->idle[i]) {
			uint32_t w = i * 64 + (uint32_t)__builtin_ctzll(s->idle[i]);

			s->idle[i] &= s->idle[i] - 1;
			e->busy++;
			ts_start(e, s, w);
			break;
		}
	return 0;
}

static void ts_free_worker(struct engine *e, struct ts *s, uint32_t w)
{
	if (s->waiting > 0) {
		ts_start(e, s, w);
		return;
	}
	s->idle[w / 64] |= 1ull << (w % 64);
	engine_idle(e, w);
}

static int ts_worker(struct engine *e, uint32_t w)
{
	struct ts *s = e->state;
	struct place *p = &s->places[w];

	if (p->slice == SLICE_LEAVES) {
		if (fifo_push(ts_queue(s, p->job.request), p->job) < 0)
			return -ENOMEM;
		s->waiting++;
		ts_free_worker(e, s, w);
	} else if (p->job.rest_ns == 0) {
		e->result.completed++;
		engine_record(e, e->now, p->job.arrival_ns, p->job.request);
		ts_free_worker(e, s, w);
	} else if (s->waiting == 0) {
		ts_slice(e, s, w);
	} else {
		p->slice = SLICE_LEAVES;
		e->result.preempted++;
		e->held_ns += e->cfg->preempt_ns;
		tree_set(&e->tree, w, e->now + e->cfg->preempt_ns);
	}
	return 0;
}

static uint64_t ts_waiting(const struct engine *e)
{
	return ((const struct ts *)e->state)->waiting;
}

const struct driver ts_driver = { ts_init, ts_done, ts_arrive, ts_worker, NULL, ts_waiting, NULL };
