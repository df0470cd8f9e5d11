/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "engine.h"
#include "fifo.h"

/*
 * Work stealing (ZygOS, Shenango): the network card puts a request into the queue of a worker chosen at random; a worker without requests of its own takes the
 * oldest from another's queue, beginning at a random one, which costs steal_ns. Idle workers look all the time: nothing waits while one is idle.
 */
struct ws {
	struct fifo *queues;            /* one a worker */
	uint64_t waiting, max;
	struct rng rng;
	uint32_t idle_n;
	bool idle[SCHED_WORKERS_MAX];
};

static int ws_init(struct engine *e, struct hearth_err *err)
{
	struct ws *s = calloc(1, sizeof(*s));

	e->state = s;
	if (s) {
		s->queues = calloc(e->cfg->workers, sizeof(*s->queues));
		s->max = (e->cfg->queue_max ? e->cfg->queue_max : SIM_QUEUE_MAX_DEFAULT) * (uint64_t)e->arrivals.w->types_n;
		rng_seed(&s->rng, e->cfg->seed + 1);
		s->idle_n = e->cfg->workers;
		for (uint32_t w = 0; w < e->cfg->workers; w++)
			s->idle[w] = true;
	}
	return s && s->queues ? 0 : err_set(err, -ENOMEM, "no memory for the policy");
}

static void ws_done(struct engine *e)
{
	struct ws *s = e->state;

	for (uint32_t w = 0; s && s->queues && w < e->cfg->workers; w++)
		fifo_done(&s->queues[w]);
	if (s)
		free(s->queues);
	free(s);
}

static void ws_start(struct engine *e, struct ws *s, uint32_t w, struct waiting job, bool stolen)
{
	s->idle[w] = false;
	s->idle_n--;
	if (stolen) {
		e->result.stolen++;
		e->result.types[request_type(job.request)].stolen++;
	}
	engine_start(e, w, job.arrival_ns, job.request, stolen ? e->cfg->steal_ns : 0);
}

/* an idle worker, looking from a random one on; there is one */
static uint32_t ws_idle(struct engine *e, struct ws *s)
{
	uint32_t w = (uint32_t)rng_below(&s->rng, e->cfg->workers);

	while (!s->idle[w])
		w = w + 1 < e->cfg->workers ? w + 1 : 0;
	return w;
}

static int ws_arrive(struct engine *e, const struct arrival *a)
{
	struct ws *s = e->state;
	uint32_t home = (uint32_t)((uint64_t)a->flow * e->cfg->workers >> 32);
	struct waiting job = { a->at_ns, a->request, 0 };

	if (s->idle_n > 0) {
		ws_start(e, s, s->idle[home] ? home : ws_idle(e, s), job, !s->idle[home]);
		return 0;
	}
	if (s->waiting >= s->max)
		return -ENOBUFS;
	if (fifo_push(&s->queues[home], job) < 0)
		return -ENOMEM;
	s->waiting++;
	return 0;
}

static int ws_worker(struct engine *e, uint32_t w)
{
	struct ws *s = e->state;
	uint32_t from = w;

	engine_idle(e, w);
	e->result.completed++;
	s->idle[w] = true;
	s->idle_n++;
	if (s->waiting == 0)
		return 0;
	if (fifo_len(&s->queues[w]) == 0) {
		from = (uint32_t)rng_below(&s->rng, e->cfg->workers);
		while (fifo_len(&s->queues[from]) == 0)
			from = from + 1 < e->cfg->workers ? from + 1 : 0;
	}
	s->waiting--;
	ws_start(e, s, w, fifo_pop(&s->queues[from]), from != w);
	return 0;
}

static uint64_t ws_waiting(const struct engine *e)
{
	return ((const struct ws *)e->state)->waiting;
}

const struct driver ws_driver = { ws_init, ws_done, ws_arrive, ws_worker, NULL, ws_waiting, NULL };
