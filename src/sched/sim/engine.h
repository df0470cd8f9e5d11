/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_ENGINE_H
#define SIM_ENGINE_H

#include "arrivals.h"
#include "quant.h"
#include "tree.h"

/*
 * The clock, the events and the books. Three kinds of events: an arrival, a worker that is done, and the time that the policy asked for. What they mean is the
 * driver's: the policy core's (core.c), time sharing's (ts.c), work stealing's (ws.c).
 */
struct engine;

/**
 * struct driver - a policy at work; each call happens at e->now and may start requests
 * @init:    Return: 0, -errno with message
 * @arrive:  Return: 0, -ENOBUFS (dropped), -ENOMEM
 * @worker:  @w's time has come; it is still marked busy
 * @timer:   e->timer_ns has come; may be NULL
 * @waiting: requests that are not started
 * @finish:  what the driver has counted
 */
struct driver {
	int (*init)(struct engine *e, struct hearth_err *err);
	void (*done)(struct engine *e);
	int (*arrive)(struct engine *e, const struct arrival *a);
	int (*worker)(struct engine *e, uint32_t w);
	void (*timer)(struct engine *e);
	uint64_t (*waiting)(const struct engine *e);
	void (*finish)(struct engine *e);
};

extern const struct driver core_driver, ts_driver, ws_driver;

struct books {
	struct quant *latency, *slowdown;       /* one a type */
	struct quant *span_latency, *span_slowdown;     /* of the present interval; NULL: none are kept */
	uint64_t span_end_ns;
	uint64_t over, over_max;                /* requests that miss cfg->stop; how many may */
};

struct engine {
	const struct sim_config *cfg;
	const struct driver *driver;
	void *state;                            /* the driver's */
	uint64_t now, timer_ns, held_ns;        /* held_ns: work given to workers */
	uint32_t busy;
	struct tree tree;
	struct arrivals arrivals;
	struct books books;
	struct sim_result result;
};

/** engine_record - a request will be answered at @end_ns */
static inline void engine_record(struct engine *e, uint64_t end_ns, uint64_t arrival_ns, uint64_t request)
{
	struct books *b = &e->books;
	uint32_t type = request_type(request);
	uint64_t service = request_service_ns(request);
	double latency = (double)(end_ns - arrival_ns + e->cfg->rtt_ns), slowdown;

	if (__builtin_expect(e->cfg->of_mean, 0))
		slowdown = 1 + (latency - (double)service) / e->arrivals.draws[type].mean_ns;
	else
		slowdown = latency / (double)service;
	if (request & REQUEST_MEASURED) {
		quant_add(&b->latency[type], latency);
		quant_add(&b->slowdown[type], slowdown);
		if (e->cfg->stop.kind == SIM_TARGET_SLOWDOWN ? slowdown > e->cfg->stop.value : e->cfg->stop.kind == SIM_TARGET_LATENCY && type == e->cfg->stop.type &&
		    latency > e->cfg->stop.value)
			b->over++;
	}
	if (__builtin_expect(b->span_latency != NULL, 0)) {
		quant_add(&b->span_latency[type], latency);
		quant_add(&b->span_slowdown[type], slowdown);
	}
}

/** engine_start - an idle worker begins a request that it will finish in one piece. @extra_ns: of the worker's time, before the service. */
static inline void engine_start(struct engine *e, uint32_t w, uint64_t arrival_ns, uint64_t request, uint64_t extra_ns)
{
	uint64_t held = request_service_ns(request) + e->cfg->overhead_ns + extra_ns;

	e->busy++;
	e->held_ns += held;
	tree_set(&e->tree, w, e->now + held);
	engine_record(e, e->now + held, arrival_ns, request);
}

/** engine_idle - a worker has nothing to do */
static inline void engine_idle(struct engine *e, uint32_t w)
{
	e->busy--;
	tree_clear(&e->tree, w);
}

#endif
