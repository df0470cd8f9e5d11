/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"

/* ---- memory ---- */

double take_out(struct sim *s, struct instance *i, enum part part, double bytes)
{
	double out = fmin(bytes, i->resident[part]);

	i->resident[part] -= out;
	s->out_bytes += out;
	return out;
}

double take_coldest(struct sim *s, struct instance *i, double bytes, enum part last)
{
	double out = 0;

	for (enum part p = 0; p <= last && out < bytes; p++)
		out += take_out(s, i, p, bytes - out);
	return out;
}

double bring_back(const struct sim *s, struct instance *i, enum part part, double bytes)
{
	double in = fmax(fmin(bytes, s->functions[i->function].part_bytes[part]) - i->resident[part], 0);

	i->resident[part] += in;
	return in;
}

double touch(struct sim *s, struct instance *i)
{
	const double *size = s->functions[i->function].part_bytes;
	double missing = bring_back(s, i, RUNTIME_HOT, size[RUNTIME_HOT]) + bring_back(s, i, INIT_HOT, size[INIT_HOT]), vary;

	/* what it touches of VARY is as likely to be there as any of it */
	vary = (size[VARY] - i->resident[VARY]) * (1 - s->cfg->model.overlap);
	i->resident[VARY] += vary;
	missing += vary;
	s->fault_bytes += missing;
	s->flow_fault += missing;
	return missing;
}

/* Count an instance's memory up to now, or to the end of the day. */
static void sync_to(struct sim *s, struct instance *i, uint64_t now_ns)
{
	double byte_s;

	now_ns = now_ns < s->end_ns ? now_ns : s->end_ns;
	if (now_ns <= i->synced_ns)
		return;
	byte_s = s->ops->elapse(s, i, now_ns);
	if (i->busy)
		byte_s += s->functions[i->function].exec_bytes * seconds(i->synced_ns, now_ns);
	count_time(s, i, now_ns, byte_s);
	i->synced_ns = now_ns;
}

/* ---- the queue of what is due: a heap with four children; a timer that became untrue stays until it comes up ---- */

static bool before(struct entry a, struct entry b)
{
	if (a.at_ns != b.at_ns)
		return a.at_ns < b.at_ns;
	return a.instance != b.instance ? a.instance < b.instance : a.timer < b.timer;
}

static int queue_push(struct sim *s, struct entry e)
{
	size_t at = s->queue_n;

	if (e.at_ns >= s->end_ns)
		return 0;
	if (array_grow((void **)&s->queue, &s->queue_cap, s->queue_n + 1, sizeof(*s->queue)) < 0)
		return -ENOMEM;
	s->queue_n++;
	for (; at > 0 && before(e, s->queue[(at - 1) / 4]); at = (at - 1) / 4)
		s->queue[at] = s->queue[(at - 1) / 4];
	s->queue[at] = e;
	return 0;
}

static void queue_pop(struct sim *s)
{
	struct entry e = s->queue[--s->queue_n];
	size_t at = 0;

	while (4 * at + 1 < s->queue_n) {
		size_t first = 4 * at + 1, best = first;

		for (size_t c = first + 1; c < first + 4 && c < s->queue_n; c++)
			if (before(s->queue[c], s->queue[best]))
				best = c;
		if (!before(s->queue[best], e))
			break;
		s->queue[at] = s->queue[best];
		at = best;
	}
	s->queue[at] = e;
}

/* A timer must come up when the policy wants it or before: then it is put where it should be. */
static int queue_timer(struct sim *s, uint32_t at)
{
	struct instance *i = &s->instance[at];

	if (i->timer_ns >= i->queued_ns || i->timer_ns >= s->end_ns)
		return 0;
	i->queued_ns = i->timer_ns;
	return queue_push(s, (struct entry){ i->timer_ns, at, true });
}

/* ---- instances ---- */

/* The idle ones: a function's, of which the last one is used first, and all, of which the first one ends first. */
static void idle_add(struct sim *s, uint32_t at)
{
	struct instance *i = &s->instance[at];

	i->older = s->youngest;
	i->younger = NOBODY;
	*(i->older != NOBODY ? &s->instance[i->older].younger : &s->oldest) = at;
	s->youngest = at;
	i->up = NOBODY;
	i->down = s->idle_top[i->function];
	if (i->down != NOBODY)
		s->instance[i->down].up = at;
	s->idle_top[i->function] = at;
}

static void idle_remove(struct sim *s, uint32_t at)
{
	const struct instance *i = &s->instance[at];

	*(i->older != NOBODY ? &s->instance[i->older].younger : &s->oldest) = i->younger;
	*(i->younger != NOBODY ? &s->instance[i->younger].older : &s->youngest) = i->older;
	*(i->up != NOBODY ? &s->instance[i->up].down : &s->idle_top[i->function]) = i->down;
	if (i->down != NOBODY)
		s->instance[i->down].up = i->up;
}

static int instance_new(struct sim *s, uint32_t function, uint32_t *ret)
{
	uint32_t at = s->free_list;
	struct instance *i;

	if (at != NOBODY) {
		s->free_list = s->instance[at].down;
	} else {
		if (array_grow((void **)&s->instance, &s->instances_cap, s->instances_n + 1, sizeof(*s->instance)) < 0)
			return -ENOMEM;
		at = (uint32_t)s->instances_n++;
	}
	i = &s->instance[at];
	*i = (struct instance){ .function = function, .live = true, .queued_ns = FARMEM_NEVER, .timer_ns = FARMEM_NEVER, .semiwarm_ns = FARMEM_NEVER };
	s->live++;
	s->ret->peak_instances = s->live > s->ret->peak_instances ? s->live : s->ret->peak_instances;
	*ret = at;
	return 0;
}

static void instance_end(struct sim *s, uint32_t at)
{
	struct instance *i = &s->instance[at];

	s->parked[i->function] += s->cfg->park && s->ops == &hearth_ops;
	i->live = false;
	i->queued_ns = FARMEM_NEVER;
	i->down = s->free_list;
	s->free_list = at;
	s->live--;
}

/* A new one for a call. Return: the ns that the call waits for it; below 0: -ENOMEM. */
static double instance_start(struct sim *s, uint32_t function, uint64_t now_ns, uint32_t *ret)
{
	bool restored = s->parked[function] > 0;
	double wait_ns = (restored ? s->cfg->costs.restore_ms : s->cfg->costs.cold_start_ms) * 1e6;
	struct instance *i;
	uint64_t from_ns;

	if (instance_new(s, function, ret) < 0)
		return -ENOMEM;
	s->parked[function] -= restored;
	count_start(s, function, restored, wait_ns);
	i = &s->instance[*ret];
	for (enum part p = 0; p < PARTS; p++)
		i->resident[p] = s->functions[function].part_bytes[p];
	i->ready_ns = now_ns + (uint64_t)wait_ns;
	i->synced_ns = now_ns;
	i->busy = true;
	from_ns = i->ready_ns < s->end_ns ? i->ready_ns : s->end_ns;
	count_time(s, i, from_ns, resident_of(i) * seconds(now_ns, from_ns));
	i->synced_ns = i->ready_ns;
	s->ops->ready(s, i, i->ready_ns);
	return wait_ns;
}

/* ---- events ---- */

static int call_arrives(struct sim *s, const struct call *c)
{
	uint64_t now_ns = BEGIN_NS + c->at_ns;
	uint32_t at = s->idle_top[c->function];
	struct instance *i;
	double wait_ns = 0;

	s->ret->requests++;
	if (at != NOBODY) {
		i = &s->instance[at];
		idle_remove(s, at);
		sync_to(s, i, now_ns);
		if (s->reuse)
			count_reuse(&s->reuse[c->function], now_ns - i->idle_ns);
	} else {
		wait_ns = instance_start(s, c->function, now_ns, &at);
		if (wait_ns < 0)
			return -ENOMEM;
		i = &s->instance[at];
		now_ns = i->ready_ns;
	}
	i->timer_ns = FARMEM_NEVER;
	i->added_ns = s->ops->request(s, i, now_ns);
	i->busy = true;
	i->begun_ns = now_ns + (uint64_t)i->added_ns;
	i->run_ns = c->run_ns;
	if (queue_push(s, (struct entry){ i->begun_ns + c->run_ns, at, false }) < 0)
		return -ENOMEM;
	return queue_timer(s, at);
}

static int request_ends(struct sim *s, uint32_t at, uint64_t now_ns)
{
	struct instance *i = &s->instance[at];
	uint64_t late_ns = (uint64_t)i->late_ns;

	if (late_ns > 0) {
		i->added_ns += i->late_ns;
		i->late_ns = 0;
		return queue_push(s, (struct entry){ now_ns + late_ns, at, false });
	}
	sync_to(s, i, now_ns);
	count_added(s, i);
	i->busy = false;
	i->idle_ns = now_ns;
	i->requests++;
	i->timer_ns = i->semiwarm_ns = FARMEM_NEVER;
	if (s->ops->idle)
		s->ops->idle(s, i, now_ns);
	idle_add(s, at);
	return queue_timer(s, at);
}

static int timer_comes(struct sim *s, uint32_t at, uint64_t now_ns)
{
	struct instance *i = &s->instance[at];

	i->queued_ns = FARMEM_NEVER;
	if (i->timer_ns <= now_ns) {
		i->timer_ns = FARMEM_NEVER;
		sync_to(s, i, now_ns);
		s->ops->timer(s, i, now_ns);
	}
	return queue_timer(s, at);
}

/* hearth's link is looked at once a second, if it has a limit */
static void seconds_pass(struct sim *s, uint64_t now_ns)
{
	for (; s->cfg->link_bytes_per_s > 0 && s->second_ns <= now_ns; s->second_ns += NS_PER_S) {
		struct farmem_flows want = { (uint64_t)s->flow_fault, (uint64_t)s->flow_prefetch, (uint64_t)s->flow_evict };

		farmem_node_update(&s->node, &s->cfg->knobs, &want, s->cfg->link_bytes_per_s, 0);
		s->flow_fault = s->flow_prefetch = s->flow_evict = 0;
	}
}

/* Instances that were idle for as long as they are kept. */
static void end_idle(struct sim *s, uint64_t until_ns)
{
	while (s->oldest != NOBODY && s->cfg->knobs.keepalive_ns > 0) {
		uint32_t at = s->oldest;
		uint64_t end_ns = s->instance[at].idle_ns + s->cfg->knobs.keepalive_ns;

		if (end_ns >= until_ns)
			return;
		sync_to(s, &s->instance[at], end_ns);
		if (s->ops->end)
			s->ops->end(s, &s->instance[at], end_ns);
		idle_remove(s, at);
		instance_end(s, at);
	}
}

/* All that is due before @until_ns. */
static int run_until(struct sim *s, uint64_t until_ns)
{
	int rc = 0;

	while (rc == 0 && s->queue_n > 0 && s->queue[0].at_ns < until_ns) {
		struct entry e = s->queue[0];

		queue_pop(s);
		end_idle(s, e.at_ns);
		if (e.timer && e.at_ns != s->instance[e.instance].queued_ns)
			continue;
		seconds_pass(s, e.at_ns);
		rc = e.timer ? timer_comes(s, e.instance, e.at_ns) : request_ends(s, e.instance, e.at_ns);
	}
	end_idle(s, until_ns);
	return rc;
}

static size_t minutes_of(const struct memsim_config *cfg)
{
	return cfg->minutes > 0 && cfg->minutes < cfg->trace->minutes ? cfg->minutes : cfg->trace->minutes;
}

static int run_day(struct sim *s)
{
	struct calls calls = { 0 };
	int rc = 0;

	for (size_t minute = 0; rc == 0 && minute < minutes_of(s->cfg); minute++) {
		rc = calls_fill(&calls, s->cfg->trace, &s->cfg->model, s->functions, minute);
		for (size_t c = 0; rc == 0 && c < calls.n; c++) {
			rc = run_until(s, BEGIN_NS + calls.call[c].at_ns + 1);
			seconds_pass(s, BEGIN_NS + calls.call[c].at_ns);
			if (rc == 0)
				rc = call_arrives(s, &calls.call[c]);
		}
		if (s->cfg->progress)
			s->cfg->progress(s->cfg->progress_arg);
	}
	free(calls.call);
	if (rc == 0)
		rc = run_until(s, s->end_ns);
	for (size_t i = 0; rc == 0 && i < s->instances_n; i++)
		if (s->instance[i].live)
			sync_to(s, &s->instance[i], s->end_ns);
	return rc;
}

/* ---- a day ---- */

/* as the policy is told in a node, where it is measured */
static struct farmem_costs moving(const struct memsim_costs *c)
{
	return (struct farmem_costs){ .out = { (double)c->evict_bytes_per_s, 1e9 }, .back = { PAGE_BYTES, c->prefetch_us * 1e3 }, .wake = { PAGE_BYTES, c->prefetch_us * 1e3 } };
}

static int sim_init(struct sim *s, enum memsim_policy policy)
{
	static const struct policy_ops *const ops[MEMSIM_POLICIES] = { &keepalive_ops, &tmo_ops, &damon_ops, &faasmem_ops, &hearth_ops };
	size_t n = s->cfg->trace->functions_n;

	s->ops = ops[policy];
	s->free_list = s->oldest = s->youngest = NOBODY;
	s->end_ns = BEGIN_NS + minutes_of(s->cfg) * s->cfg->model.minute_ns;
	s->second_ns = BEGIN_NS + NS_PER_S;
	s->node.costs = moving(&s->cfg->costs);
	s->idle_top = malloc(n * sizeof(*s->idle_top));
	s->parked = calloc(n, sizeof(*s->parked));
	s->tally = calloc(n, sizeof(*s->tally));
	s->latency = calloc(n, sizeof(*s->latency));
	s->farmem = policy == MEMSIM_HEARTH ? calloc(n, sizeof(*s->farmem)) : NULL;
	if (!s->idle_top || !s->parked || !s->tally || !s->latency || (policy == MEMSIM_HEARTH && !s->farmem))
		return -ENOMEM;
	for (size_t f = 0; f < n; f++) {
		s->idle_top[f] = NOBODY;
		if (s->farmem)
			s->farmem[f].knobs = s->cfg->knobs;
	}
	return functions_new(s->cfg->trace, &s->cfg->model, s->cfg->seed, &s->functions);
}

int sim_day(const struct memsim_config *cfg, enum memsim_policy policy, struct reuse *reuse, const uint64_t *oracle_ns, struct memsim_result *ret, struct memsim_row *rows)
{
	struct sim *s = calloc(1, sizeof(*s));
	uint64_t begin_ns = clock_mono_ns();
	int rc = -ENOMEM;

	if (!s)
		return rc;
	*ret = (struct memsim_result){ 0 };
	s->cfg = cfg;
	s->ret = ret;
	s->reuse = reuse;
	s->oracle_ns = oracle_ns;
	rc = sim_init(s, policy);
	if (rc == 0)
		rc = run_day(s);
	if (rc == 0)
		rc = figures(s, rows);
	ret->wall_s = (double)(clock_mono_ns() - begin_ns) * 1e-9;
	free(s->functions);
	free(s->idle_top);
	free(s->parked);
	free(s->tally);
	free(s->latency);
	free(s->farmem);
	free(s->instance);
	free(s->queue);
	free(s);
	return rc;
}
