// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "instance.h"

/*
 * Idle instances' memory: what happens to an instance is told to the policy (farmem/policy.h, pure), what that decides is asked of the engine (farmem/engine.h, never blocks), and what comes of it is told to the
 * policy again. A struct memory is an instance's place at the engine; it outlives the instance until the engine has let go.
 */

/* what a call waits for that found memory away: its working set's coming back, and then every page that is touched before it is there */
struct wake {
	uint64_t bytes;                 /* of the working set; 0: none is looked at */
	uint64_t recalled_bytes;        /* all that had come back before */
	uint64_t asked_ns, took_ns;     /* of the prefetch; 0: it has not ended */
	uint64_t faulted_ns;            /* all that faults had taken then, as told after it */
	bool told;
	bool under_way;                 /* a prefetch: of one that takes another's place it cannot be said what it takes */
};

struct memory {
	LIST_ENTRY(memory) entry;
	struct node *node;
	struct instance *inst;          /* NULL: it has ended */
	struct farmem_target *target;
	struct farmem_instance policy;
	struct farmem_stat stat;
	ev_timer timer;                 /* the policy's */
	bool attached, detaching, recall;
	bool moved;                     /* it is new, or something has left: what the next request brings back, or makes, is not in @stat before it is looked at */
	bool stirred;                   /* something has happened to it since the last second's look at everybody */
	unsigned rests;                 /* such looks that it was not worth */
	bool looking;                   /* a look from after the last request was asked for */
	struct wake wake;
	bool runtime_loaded, ready;     /* told before it was attached */
	bool early;                     /* asked for before the program was ready: what refuses it then may take it later */
	uint64_t asked_ns;              /* for what it does not answer yet: to be attached, to be recalled */
	uint64_t offload_ns, leaving_bytes;     /* of the offload under way: since when, what has left; 0: none */
	uint64_t away_bytes;            /* when it was recalled */
};

static const struct farmem_ops *ops(const struct memory *m)
{
	return m->node->memory.ops;
}

/* ---- the policy ---- */

#define REST_LOOKS 8             /* what rests may change by itself, as a thread of its own goes on: it is looked at once in so many seconds all the same */
#define MARGIN_SHARE 8          /* of the time until it is parked: for so little nothing is moved any more */
#define PACES 20
#define KEPT_MIN (16u << 20)     /* bytes away, and seconds that the average is over */
#define KEPT_MEMORY 64
#define MEASURED_MIN (1u << 20)  /* bytes: what less takes says nothing of how fast they are moved */

static uint64_t at_most(uint64_t v, uint64_t most)
{
	return v < most ? v : most;
}

/* What the manifest says of an instance's time bounds what the policy may learn: once keep_hot is over, idle memory leaves whatever was learnt, and just before it is parked nothing does. */
void memory_knobs(const struct node_config *cfg, const struct manifest *m, struct farmem_knobs *ret)
{
	uint64_t keep_ns = m->keep_hot_ns + m->keep_warm_ns;

	farmem_knobs_default(ret);
	ret->segments = m->farmem.segments;
	ret->prefetch = m->farmem.prefetch;
	ret->reuse_quantile = m->farmem.quantile;
	ret->offload_per_s = m->farmem.rate;
	ret->wake_share = m->farmem.wake_share;
	ret->prewarm_share = m->farmem.prewarm_share;
	ret->floor_bytes = m->farmem.floor_bytes;
	ret->semiwarm_min_ns = m->farmem.min_idle_ns;
	ret->rollback_ns = m->farmem.rollback_ns;
	ret->processor_bytes = cfg->farmem_worth;
	farmem_knobs_rule(ret, (enum farmem_rule)cfg->farmem_policy);
	farmem_knobs_compress(ret, (unsigned)cfg->farmem_compress);
	ret->keepalive_ns = m->min_instances > 0 ? 0 : keep_ns ? keep_ns : 1;   /* 0 is for ever: of those that always run */
	ret->keepalive_margin_ns = at_most(ret->keepalive_margin_ns, keep_ns / MARGIN_SHARE);
	ret->pace_ns = at_most(ret->pace_ns, keep_ns / PACES > 50 * NS_PER_MS ? keep_ns / PACES : 50 * NS_PER_MS);
	ret->semiwarm_max_ns = at_most(ret->semiwarm_max_ns, m->keep_hot_ns);
	ret->semiwarm_min_ns = at_most(ret->semiwarm_min_ns, ret->semiwarm_max_ns);
	ret->semiwarm_first_ns = at_most(ret->semiwarm_first_ns, ret->semiwarm_max_ns);
}

static struct farmem_seen seen(const struct memory *m)
{
	struct farmem_seen s = { .ws_bytes = m->stat.ws_bytes, .ws_remote_bytes = m->stat.ws_remote_bytes };

	memcpy(s.resident_bytes, m->stat.resident_bytes, sizeof(s.resident_bytes));
	memcpy(s.remote_bytes, m->stat.remote_bytes, sizeof(s.remote_bytes));
	return s;
}

static bool is_idle(const struct memory *m)
{
	return m->inst && m->inst->inflight == m->inst->held;
}

static void act(struct memory *m, const struct farmem_action *a)
{
	switch (a->kind) {
	case FARMEM_DO_BARRIER:
		ops(m)->barrier(m->target, (enum farmem_segment)__builtin_ctz(a->segments));
		break;
	case FARMEM_DO_OFFLOAD:
		if (m->offload_ns == 0)
			m->offload_ns = clock_mono_ns();
		ops(m)->offload(m->target, a->segments, a->bytes);
		if (a->segments & FARMEM_SEGMENT_BIT(FARMEM_EXECUTION))
			instance_semiwarm(m->inst);
		break;
	case FARMEM_DO_CANCEL:
		ops(m)->cancel(m->target);
		break;
	case FARMEM_DO_PREFETCH:
		/* ahead of a call nobody waits for it */
		m->wake = (struct wake){ .under_way = true, .bytes = m->wake.under_way || is_idle(m) ? 0 : a->bytes, .recalled_bytes = m->stat.recalled_bytes, .asked_ns = clock_mono_ns() };
		ops(m)->prefetch(m->target, a->bytes, a->patience_ns);
		break;
	case FARMEM_DO_ROLLBACK:
		ops(m)->rollback(m->target);
		break;
	}
}

static void step(struct memory *m, struct farmem_policy_event e)
{
	struct farmem_seen now_seen = seen(m);
	struct farmem_actions actions;
	struct node *n = m->node;
	uint64_t now = clock_mono_ns();

	farmem_step(&n->memory.policy, &m->inst->fn->farmem, &m->policy, &e, now, &now_seen, &actions);
	ev_timer_stop(n->loop, &m->timer);
	if (actions.timer_ns != FARMEM_NEVER) {
		ev_timer_set(&m->timer, actions.timer_ns > now ? (double)(actions.timer_ns - now) / NS_PER_S : 0, 0);
		ev_timer_start(n->loop, &m->timer);
	}
	for (size_t k = 0; k < actions.n; k++)
		act(m, &actions.action[k]);
}

static void timer_fired(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	step(w->data, (struct farmem_policy_event){ .kind = FARMEM_ON_TIMER });
}

/* the one that can be told things: its instance lives, and its engine has it and is not letting go */
static struct memory *listening(const struct instance *inst)
{
	struct memory *m = inst->memory;

	return m && m->attached && !m->detaching ? m : NULL;
}

/* what its function's instances do is learnt of those too that no engine has */
static void idle_over(struct instance *inst, bool called)
{
	uint64_t now = clock_mono_ns();

	/* before it was ready it was not idle but parked */
	if (inst->used_ns > inst->ready_ns)
		farmem_idle_over(&inst->fn->node->memory.policy, &inst->fn->farmem, now, now - inst->used_ns, called);
}

void memory_runtime_loaded(struct instance *inst)
{
	struct memory *m = listening(inst);

	if (!inst->memory)
		memory_attach(inst);            /* it was too early before */
	if (m)
		step(m, (struct farmem_policy_event){ .kind = FARMEM_ON_RUNTIME_READY });
	else if (inst->memory)
		inst->memory->runtime_loaded = true;
}

void memory_ready(struct instance *inst)
{
	struct memory *m = listening(inst);

	if (m)
		step(m, (struct farmem_policy_event){ .kind = FARMEM_ON_INIT_DONE });
	else if (!inst->memory)
		memory_attach(inst);            /* catch_up() tells the policy */
	else if (inst->memory)
		inst->memory->ready = true;
}

void memory_request_begin(struct instance *inst, uint64_t waited_ns)
{
	struct memory *m = listening(inst);

	if (!m) {
		if (inst->inflight == inst->held + 1)
			idle_over(inst, true);
		return;
	}
	m->stirred = true;
	ops(m)->request_begin(m->target);
	if (inst->inflight == inst->held + 1)
		m->wake.bytes = 0;
	step(m, (struct farmem_policy_event){ .kind = FARMEM_ON_REQUEST_BEGIN, .waited_ns = waited_ns });
}

void memory_request_end(struct instance *inst)
{
	struct memory *m = listening(inst);

	if (!m) {
		if (!inst->memory && inst->inflight == inst->held)
			memory_attach(inst);    /* it may be worth it by now */
		return;
	}
	m->stirred = true;
	ops(m)->request_end(m->target);
	if (m->moved && inst->inflight == inst->held) {
		m->moved = false;
		m->looking = true;
		ops(m)->refresh(m->target);
	}
	step(m, (struct farmem_policy_event){ .kind = FARMEM_ON_REQUEST_END });
}

/* ---- events of the engine ---- */

/* what had happened before the engine had it */
static void catch_up(struct memory *m)
{
	if (m->runtime_loaded)
		memory_runtime_loaded(m->inst);
	if (m->ready || m->inst->ready)
		memory_ready(m->inst);
	for (unsigned k = m->inst->held; k < m->inst->inflight; k++)
		memory_request_begin(m->inst, 0);
}

static void keep_counters(struct farmem_stat *past, const struct farmem_stat *s)
{
	past->offloaded_bytes += s->offloaded_bytes;
	past->recalled_bytes += s->recalled_bytes;
	past->faults += s->faults;
	past->prefetched_pages += s->prefetched_pages;
	past->prefetch_hits += s->prefetch_hits;
	farmem_latency_merge(&past->fault_latency, &s->fault_latency);
}

/* its instance hears no more of it */
static void let_go(struct memory *m)
{
	ev_timer_stop(m->node->loop, &m->timer);
	if (!m->inst)
		return;
	keep_counters(&m->inst->fn->memory_past, &m->stat);
	m->inst->memory = NULL;
	m->inst = NULL;
}

/* the engine has let go; @why: NULL, or what is lost */
static void over(struct memory *m, const char *why)
{
	struct instance *inst = m->inst;
	bool recall = m->recall;

	let_go(m);
	LIST_REMOVE(m, entry);
	free(m);
	if (inst && recall)
		instance_recalled(inst, why);
}

/* until the next look: what has left was of the segments that were told to */
static void count_offloaded(struct memory *m, uint64_t bytes)
{
	unsigned leaving = m->policy.leaving ? m->policy.leaving : FARMEM_ALL_SEGMENTS;

	for (int s = 0; s < FARMEM_SEGMENTS && bytes > 0; s++) {
		uint64_t some = leaving & FARMEM_SEGMENT_BIT(s) ? at_most(bytes, m->stat.resident_bytes[s]) : 0;

		m->stat.resident_bytes[s] -= some;
		m->stat.remote_bytes[s] += some;
		bytes -= some;
	}
}

static void on_offloaded(struct memory *m, const struct farmem_event *e)
{
	m->node->memory.offloaded_bytes += e->bytes;
	count_offloaded(m, e->bytes);
	m->moved |= e->bytes > 0;
	m->stirred = true;
	m->leaving_bytes += e->bytes;
	if (e->flag && m->offload_ns) {
		/* of a settled instance a few pages leave at a time, which takes a millisecond: with those counted nothing would pay any more */
		if (m->leaving_bytes >= MEASURED_MIN)
			farmem_measured_out(&m->node->memory.policy.costs, m->leaving_bytes, clock_mono_ns() - m->offload_ns);
		m->leaving_bytes = m->offload_ns = 0;
	}
	if (!m->inst || m->detaching)
		return;
	step(m, (struct farmem_policy_event){ .kind = FARMEM_ON_OFFLOADED, .bytes = e->bytes, .done = e->flag, .cut = e->error == -EAGAIN });
	if (e->flag)
		ops(m)->refresh(m->target);
}

/* the memory of a process that is there is lost: nothing wrong was shown to it, and nothing it says from here on counts */
static void on_lost(struct memory *m, const struct farmem_event *e)
{
	char why[300];

	if (!m->inst)
		return;
	snprintf(why, sizeof(why), "its memory in the pool is lost: %s", e->why);
	log_warn("instance %s: %s", m->inst->id, why);
	instance_kill(m->inst, why);
}

/* a program that had not begun yet, when its init was there already, is asked for once more when it is ready */
static void on_refused(struct memory *m, const struct farmem_event *e)
{
	struct instance *inst = m->inst;
	bool early = m->early && !m->recall;

	if (inst) {
		log_at(early ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "instance %s: its memory stays where it is: %s", inst->id, e->why);
		snprintf(inst->left_alone, sizeof(inst->left_alone), "%s", e->why);
	}
	over(m, NULL);
	if (inst && early && inst->ready)
		memory_attach(inst);
}

static uint64_t remote_bytes(const struct memory *m)
{
	uint64_t sum = 0;

	for (int s = 0; s < FARMEM_SEGMENTS; s++)
		sum += m->stat.remote_bytes[s];
	return sum;
}

static void recall(struct memory *m)
{
	m->asked_ns = clock_mono_ns();
	m->away_bytes = remote_bytes(m);
	ops(m)->detach(m->target, FARMEM_RECALL);
}

static void measure_recall(const struct memory *m)
{
	struct farmem_costs *costs = &m->node->memory.policy.costs;
	uint64_t ns = clock_mono_ns() - m->asked_ns;

	if (!m->recall || !m->attached)
		return;
	if (m->away_bytes >= MEASURED_MIN)
		farmem_measured_back(costs, m->away_bytes, ns);
	else
		farmem_measured_meeting(costs, 0, ns);
	if (m->inst)
		log_debug("instance %s: %llu KiB came back in %.1f ms", m->inst->id, (unsigned long long)(m->away_bytes >> 10), (double)ns / NS_PER_MS);
}

static void measure_wake(struct memory *m, uint64_t faults_ns)
{
	uint64_t came = m->stat.recalled_bytes - m->wake.recalled_bytes, others = came > m->wake.bytes ? came - m->wake.bytes : 0;

	if (m->inst && m->wake.bytes > 0) {
		farmem_measured_wake(&m->node->memory.policy, &m->inst->fn->farmem, m->wake.bytes, others, m->wake.took_ns + faults_ns);
		log_debug("instance %s: a wake: %llu KiB in %.1f ms, then %llu KiB in %.1f ms of faults, for a call of %.1f ms", m->inst->id, (unsigned long long)(m->wake.bytes >> 10),
			  (double)m->wake.took_ns / NS_PER_MS, (unsigned long long)(others >> 10), (double)faults_ns / NS_PER_MS, (double)farmem_call_ns(&m->inst->fn->farmem) / NS_PER_MS);
	}
	m->wake.bytes = 0;
}

/* what it waited for others is no part of what it takes */
static void on_prefetched(struct memory *m, uint64_t waited_ns)
{
	uint64_t ns = clock_mono_ns() - m->wake.asked_ns;

	m->wake.under_way = false;
	if (m->wake.bytes > 0 && m->wake.took_ns == 0)
		m->wake.took_ns = ns > waited_ns ? ns - waited_ns : 1;
	if (is_idle(m))
		measure_wake(m, 0);             /* the call did not wait for all of it */
	if (m->inst && !m->detaching)
		ops(m)->refresh(m->target);
}

static const char *pool_refuses(int error)
{
	switch (error) {
	case 0: return NULL;
	case -EACCES: return "the pool does not take it: farmem_pool_key has no key of its tenant that the pool has, too";
	case -ENOSPC: return "the pool does not take it: it is full";
	case -EDQUOT: return "the pool does not take it: the tenant's share is used up";
	case -ECONNREFUSED: return "the pool does not answer";
	default: return "the pool does not take it";
	}
}

static void on_stat(struct memory *m, const struct farmem_stat *stat)
{
	bool looked = m->looking && is_idle(m);

	if (stat->pool_error && stat->pool_error != m->stat.pool_error && m->inst)
		log_warn("instance %s: its memory stays: %s", m->inst->id, pool_refuses(stat->pool_error));
	m->stat = *stat;
	if (m->wake.took_ns && !m->wake.told) {
		m->wake.faulted_ns = stat->fault_latency.sum_ns;
		m->wake.told = true;
	}
	m->looking = false;
	if (looked && m->wake.told)
		measure_wake(m, stat->fault_latency.sum_ns - m->wake.faulted_ns);
	if (!m->inst || !m->attached || m->detaching)
		return;
	if (looked)
		step(m, (struct farmem_policy_event){ .kind = FARMEM_ON_SEEN });
	/* with nothing that could leave the policy has no timer: now there may be */
	if (!ev_is_active(&m->timer))
		step(m, (struct farmem_policy_event){ .kind = FARMEM_ON_TIMER });
}

static void on_target(struct memory *m, const struct farmem_event *e)
{
	switch (e->kind) {
	case FARMEM_ATTACHED:
		m->attached = m->moved = true;
		farmem_measured_meeting(&m->node->memory.policy.costs, 1, clock_mono_ns() - m->asked_ns);
		if (m->inst && m->recall) {
			recall(m);
			break;
		}
		ops(m)->refresh(m->target);
		if (m->inst && !m->detaching)
			catch_up(m);
		break;
	case FARMEM_REFUSED:
		on_refused(m, e);
		break;
	case FARMEM_BARRIER:
		ops(m)->refresh(m->target);
		break;
	case FARMEM_OFFLOADED:
		on_offloaded(m, e);
		break;
	case FARMEM_PREFETCHED:
		on_prefetched(m, e->waited_ns);
		break;
	case FARMEM_STAT:
		on_stat(m, e->stat);
		break;
	case FARMEM_LOST:
		on_lost(m, e);
		break;
	case FARMEM_DETACHED:
		measure_recall(m);
		over(m, e->error ? e->why : NULL);
		break;
	default:
		break;
	}
}

static void attach_all(struct node *n)
{
	struct function *fn, *next;
	struct instance *inst;

	HASH_ITER(hh, n->functions, fn, next)
		TAILQ_FOREACH(inst, &fn->instances, entry)
			if (inst->state != INST_PARKING && inst->state != INST_STOPPING)
				memory_attach(inst);
}

static void on_engine(struct node *n, const struct farmem_event *e)
{
	switch (e->kind) {
	case FARMEM_ENGINE_UP:
		n->memory.up = true;
		attach_all(n);
		break;
	case FARMEM_ENGINE_DOWN:
		n->memory.up = false;
		log_warn("hearth-pager ended: %s; instances that touch memory that is away wait for the next one", e->why);
		helper_lost(&n->memory.pager);
		break;
	default:
		break;
	}
}

void memory_news(struct node *n)
{
	struct farmem_event e;

	while (n->memory.engine && n->memory.ops->next(n->memory.engine, &e) == 1) {
		if (e.target)
			on_target(e.ctx, &e);
		else
			on_engine(n, &e);
	}
}

static void readable(struct ev_loop *loop, ev_io *w, int events)
{
	(void)loop;
	(void)events;
	memory_news(w->data);
}

/* ---- attaching, recalling, letting go ---- */

static int ask_engine(struct memory *m, struct hearth_err *err)
{
	const struct instance *inst = m->inst;
	struct node *n = m->node;
	const char *base = cgroup_tree_base(n->cgroups, CGROUP_MEMORY);
	char group[PATH_MAX + NODE_ID_LEN + 64];
	struct farmem_attach what = {
		.pid = inst->pid,
		.pidfd = inst->pidfd,
		.netns = inst->netns,
		.cgroup = base ? group : NULL,
		.name = inst->id,
		.memory_bytes = inst->fn->m.memory_bytes,
		.object = { farmem_digest(inst->fn->m.user ? inst->fn->m.user : FARMEM_TENANT_DEFAULT), farmem_digest(inst->fn->m.name), farmem_digest(inst->id) },
		.ctx = m,
	};

	snprintf(group, sizeof(group), "%s/%s", base ? base : "", inst->cgroup);
	return n->memory.ops->attach(n->memory.engine, &what, &m->target, err);
}

/* An instance that ends too soon is left alone: being met by the engine takes time too. Its memory may be away already, of a daemon before this one. */
static bool worth_it(struct instance *inst)
{
	const struct farmem_node *policy = &inst->fn->node->memory.policy;

	return inst->adopted || (farmem_pays(policy, &inst->fn->farmem, 0) && farmem_pays(policy, &inst->fn->farmem, instance_memory(inst)));
}

void memory_attach(struct instance *inst)
{
	struct node *n = inst->fn->node;
	struct hearth_err err;
	struct memory *m;

	/* a job's own pager may be at a woken one, and what becomes a snapshot is dumped at once */
	if (!n->memory.up || inst->fn->m.farmem.mode == FARMEM_OFF || inst->memory || !instance_has_process(inst) || inst->job || inst->for_snapshot || inst->reason[0])
		return;
	if (!worth_it(inst))
		return;
	m = calloc(1, sizeof(*m));
	if (!m)
		return;
	m->node = n;
	m->inst = inst;
	m->early = !inst->ready;
	m->asked_ns = clock_mono_ns();
	ev_init(&m->timer, timer_fired);
	m->timer.data = m;
	if (ask_engine(m, &err) < 0) {
		log_info("instance %s: its memory stays where it is: %s", inst->id, err.msg);
		snprintf(inst->left_alone, sizeof(inst->left_alone), "%.250s", err.msg);
		free(m);
		return;
	}
	LIST_INSERT_HEAD(&n->memory.all, m, entry);
	inst->left_alone[0] = '\0';
	inst->memory = m;
}

bool memory_recall(struct instance *inst)
{
	struct memory *m = inst->memory;

	if (listening(inst))
		step(m, (struct farmem_policy_event){ .kind = FARMEM_ON_EXIT });
	else
		idle_over(inst, false);
	if (!m)
		return false;
	ev_timer_stop(m->node->loop, &m->timer);
	m->recall = m->detaching = true;
	/* half attached it could be left with what no image can hold: once it is told that it is attached, or refused */
	if (m->attached)
		recall(m);
	return true;
}

void memory_forget(struct instance *inst, bool leave)
{
	struct memory *m = inst->memory;

	if (!m)
		return;
	let_go(m);
	m->detaching = true;
	ops(m)->detach(m->target, leave ? FARMEM_LEAVE : FARMEM_ENDED);
}

uint64_t memory_park_even_ns(struct instance *inst)
{
	const struct memory *m = listening(inst);
	uint64_t away = m ? remote_bytes(m) : 0;

	return farmem_park_even_ns(&inst->fn->node->memory.policy, &inst->fn->farmem, instance_memory(inst), away);
}

bool memory_is_away(const struct instance *inst)
{
	const struct memory *m = listening(inst);

	return m && (remote_bytes(m) > 0 || m->policy.under_way);
}

const struct farmem_stat *memory_stat(const struct instance *inst)
{
	return inst->memory && inst->memory->attached ? &inst->memory->stat : NULL;
}

const char *memory_left_alone(const struct instance *inst)
{
	const struct node *n = inst->fn->node;

	if (!instance_has_process(inst))
		return NULL;
	if (memory_stat(inst))
		return pool_refuses(memory_stat(inst)->pool_error);
	if (inst->fn->m.farmem.mode == FARMEM_OFF)
		return "its manifest says farmem: off";
	if (!n->memory.engine)
		return n->memory.why;
	if (inst->memory)
		return "the engine is taking hold of it";
	if (inst->left_alone[0])
		return inst->left_alone;
	return n->memory.up ? "it is not likely to live for long enough" : "the engine is being started";
}

void memory_environment(const struct instance *inst, json_t *env)
{
	struct node_memory *nm = &inst->fn->node->memory;
	const char *const *v = NULL;

	if (nm->engine && inst->fn->m.farmem.mode != FARMEM_OFF && nm->ops->environment)
		v = nm->ops->environment(nm->engine, inst->id);
	for (; v && *v; v++)
		json_array_append_new(env, json_string(*v));
}

void memory_mounts(const struct instance *inst, json_t *mounts)
{
	struct node *n = inst->fn->node;

	/* what is preloaded is to be seen in the sandbox */
	if (n->memory.features & FARMEM_NEEDS_PRELOAD && inst->fn->m.farmem.mode != FARMEM_OFF)
		json_array_append_new(mounts, json_string(n->cfg->libexec_dir));
}

/* ---- the node ---- */

/* of what is away, what this machine keeps in its pool */
static void measure_kept(struct node *n)
{
	double *kept = &n->memory.policy.costs.kept, now;
	uint64_t remote = 0;
	struct memory *m;

	LIST_FOREACH(m, &n->memory.all, entry)
		remote += remote_bytes(m);
	if (remote < KEPT_MIN)
		return;
	now = (double)memory_pool_bytes(n) / (double)remote;
	*kept += ((now < 1 ? now : 1) - *kept) / KEPT_MEMORY;
}

void memory_pressure_is(struct node *n, double psi)
{
	struct node_memory *nm = &n->memory;
	double before = nm->policy.psi;
	struct farmem_knobs knobs;
	struct memory *m, *next;

	farmem_knobs_default(&knobs);
	nm->policy.psi = psi;
	if ((before >= knobs.pressure_low) == (psi >= knobs.pressure_low) && (before >= knobs.pressure_high) == (psi >= knobs.pressure_high))
		return;
	for (m = LIST_FIRST(&nm->all); m; m = next) {
		next = LIST_NEXT(m, entry);
		if (m->inst && m->attached && !m->detaching)
			step(m, (struct farmem_policy_event){ .kind = FARMEM_ON_PRESSURE });
	}
}

/* To look at an instance is to go through its mappings and pages, and of a thousand instances nearly all rest. */
static bool worth_a_look(struct memory *m)
{
	bool rests = !m->stirred && is_idle(m) && ++m->rests < REST_LOOKS;

	m->stirred = false;
	if (!rests)
		m->rests = 0;
	return !rests;
}

/* once a second: what was moved, how scarce memory is, and a look at everybody who does not rest */
static void tick(struct ev_loop *loop, ev_timer *w, int events)
{
	struct node *n = w->data;
	struct node_memory *nm = &n->memory;
	struct farmem_flows want = { .evict = nm->offloaded_bytes - nm->moved_last };
	double psi = memory_pressure_read(n->cfg->memory_pressure), before = nm->policy.psi;
	struct farmem_knobs knobs;
	struct memory *m;

	(void)loop;
	(void)events;
	measure_kept(n);
	farmem_costs_fade(&nm->policy.costs, NS_PER_S);
	farmem_knobs_default(&knobs);
	nm->moved_last = nm->offloaded_bytes;
	farmem_node_update(&nm->policy, &knobs, &want, 0, before);
	LIST_FOREACH(m, &nm->all, entry)
		if (m->inst && m->attached && !m->detaching && worth_a_look(m))
			ops(m)->refresh(m->target);
	memory_pressure_is(n, psi);
}

static bool pager_find(struct node *n)
{
	struct hearth_err err;

	return n->memory.ops->again(n->memory.engine, &err) == 0;
}

static int pager_end(struct node *n, unsigned max_ms)
{
	return n->memory.engine && n->memory.ops->end ? n->memory.ops->end(n->memory.engine, max_ms) : 0;
}

/* of the pool. Ends with NULL. */
static void pool_arguments(const struct node_config *cfg, const char **argv)
{
	if (cfg->farmem_pool) {
		*argv++ = "--pool";
		*argv++ = cfg->farmem_pool;
	}
	if (cfg->farmem_pool_key) {
		*argv++ = "--pool-key";
		*argv++ = cfg->farmem_pool_key;
	}
	*argv = NULL;
}

static void pager_arguments(struct node *n, const char **argv, size_t room)
{
	static char socket[PATH_MAX];

	(void)room;
	snprintf(socket, sizeof(socket), "%s/pager.sock", n->cfg->run_dir);
	argv[0] = "--socket";
	argv[1] = socket;
	pool_arguments(n->cfg, argv + 2);
}

static const struct helper_ops pager_helper = { .program = "hearth-pager", .find = pager_find, .end = pager_end, .arguments = pager_arguments };

/* The pager itself says whether it can use the pool that is asked for. Return: 0, -errno with message. */
static int check_pool(const struct node *n, struct hearth_err *err)
{
	char program[PATH_MAX], why[sizeof(err->msg)] = "";
	const char *argv[8] = { program, "--check" };
	FD_AUTO int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int out[2], r, status = 0;
	ssize_t len;
	pid_t pid;

	if (!n->cfg->farmem_pool)
		return n->cfg->farmem_pool_key ? err_set(err, -EINVAL, "farmem_pool_key is for a pool elsewhere: say which one, with farmem_pool") : 0;
	if (n->cfg->farmem != NODE_FARMEM_AUTO && n->cfg->farmem != NODE_FARMEM_UFFD)
		return err_set(err, -EINVAL, "farmem_pool: with farmem: %s nothing goes to a pool; use auto or uffd", node_farmem_names[n->cfg->farmem]);
	snprintf(program, sizeof(program), "%s/%s", n->cfg->libexec_dir, pager_helper.program);
	pool_arguments(n->cfg, argv + 2);
	if (null < 0 || pipe2(out, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot start %s: %s", program, strerror(errno));
	r = box_spawn((char *const *)argv, null, out[1], &pid);
	close(out[1]);
	len = r < 0 ? 0 : fd_read_full(out[0], why, sizeof(why) - 1);
	close(out[0]);
	if (r < 0)
		return err_set(err, r, "cannot start %s: %s", program, strerror(-r));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	why[len > 0 ? len : 0] = '\0';
	why[strcspn(why, "\n")] = '\0';
	return status ? err_set(err, -EINVAL, "farmem_pool: %.400s", *why ? why : "hearth-pager ended without a word") : 0;
}

void node_memory_init(struct node *n)
{
	LIST_INIT(&n->memory.all);
	farmem_costs_default(&n->memory.policy.costs);
	ev_timer_init(&n->memory.tick, tick, 1, 1);
	ev_init(&n->memory.watch, readable);
	n->memory.tick.data = n->memory.watch.data = n;
	n->memory.pressure.fd = n->memory.pressure.epoll_fd = -1;
	helper_init(&n->memory.pager, n, &pager_helper);
}

/* the first that works, or the one that is asked for. Return: why none does is in nm->why */
static void choose(struct node *n, const struct farmem_options *options)
{
	struct node_memory *nm = &n->memory;
	size_t used = 0;

	for (const struct farmem_ops *const *e = node_engines; *e; e++) {
		struct farmem_probe probe = { 0 };
		struct hearth_err err;

		if (n->cfg->farmem != NODE_FARMEM_AUTO && strcmp(node_farmem_names[n->cfg->farmem], (*e)->name))
			continue;
		(*e)->probe(options, &probe);
		if (!probe.error && (*e)->open(options, &nm->engine, &err) < 0) {
			probe.error = err.code;
			snprintf(probe.why, sizeof(probe.why), "%.250s", err.msg);
		}
		if (!probe.error) {
			nm->ops = *e;
			nm->features = probe.features;
			snprintf(nm->what, sizeof(nm->what), "%s", probe.what);
			nm->why[0] = '\0';
			return;
		}
		if (used < sizeof(nm->why))
			used += (size_t)snprintf(nm->why + used, sizeof(nm->why) - used, "%s%s: %s", used ? "; " : "", (*e)->name, probe.why);
	}
}

int node_memory_begin(struct node *n, struct hearth_err *err)
{
	struct node_memory *nm = &n->memory;
	char socket[PATH_MAX], group[PATH_MAX];
	const char *base = cgroup_tree_base(n->cgroups, CGROUP_MEMORY);
	struct farmem_knobs knobs;
	struct farmem_options options = { .socket = socket, .libexec_dir = n->cfg->libexec_dir, .cgroup_dir = base ? group : NULL };
	int r = check_pool(n, err);

	if (r < 0)
		return r;
	if (n->cfg->farmem == NODE_FARMEM_OFF) {
		snprintf(nm->why, sizeof(nm->why), "farmem: off");
		return 0;
	}
	snprintf(socket, sizeof(socket), "%s/pager.sock", n->cfg->run_dir);
	snprintf(group, sizeof(group), "%s", base ? base : "");
	choose(n, &options);
	if (!nm->engine) {
		log_at(n->cfg->farmem == NODE_FARMEM_AUTO ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "idle instances keep their memory until they are parked: %s", nm->why);
		return 0;
	}
	if (n->cfg->farmem_pool && nm->ops->again)
		snprintf(nm->what + strlen(nm->what), sizeof(nm->what) - strlen(nm->what), "; pool %s", n->cfg->farmem_pool);
	else if (n->cfg->farmem_pool)
		log_warn("farmem_pool is not used: %s moves memory elsewhere", nm->ops->name);
	log_info("idle instances give their memory back: %s (%s)", nm->ops->name, nm->what);
	ev_io_set(&nm->watch, nm->ops->fd(nm->engine), EV_READ);
	ev_io_start(n->loop, &nm->watch);
	ev_timer_start(n->loop, &nm->tick);
	farmem_knobs_default(&knobs);
	memory_pressure_begin(n, knobs.pressure_low);
	if (nm->ops->again)
		helper_begin(&nm->pager);
	else
		nm->up = true;
	return 0;
}

void node_memory_end(struct node *n)
{
	struct node_memory *nm = &n->memory;
	struct memory *m;

	ev_timer_stop(n->loop, &nm->tick);
	ev_io_stop(n->loop, &nm->watch);
	memory_pressure_end(n);
	helper_end(&nm->pager, n->stop_instances);
	if (nm->engine)
		nm->engine = nm->ops->close(nm->engine);
	while ((m = LIST_FIRST(&nm->all))) {
		ev_timer_stop(n->loop, &m->timer);
		LIST_REMOVE(m, entry);
		free(m);
	}
}

uint64_t memory_break_even_ns(const struct node *n)
{
	struct farmem_knobs knobs;

	farmem_knobs_default(&knobs);
	knobs.processor_bytes = n->cfg->farmem_worth;
	farmem_knobs_rule(&knobs, (enum farmem_rule)n->cfg->farmem_policy);
	farmem_knobs_compress(&knobs, (unsigned)n->cfg->farmem_compress);
	return farmem_break_even_ns(&n->memory.policy, &knobs, 0);
}

uint64_t memory_pool_bytes(const struct node *n)
{
	const struct memory *m;
	uint64_t sum = 0;

	LIST_FOREACH(m, &n->memory.all, entry)
		sum += m->stat.pool_bytes;
	return sum;
}
