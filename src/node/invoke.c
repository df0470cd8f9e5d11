// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "priv.h"
#include "scale.h"

/*
 * A call's way: submit → (queue: waits for an instance → placed: waits for a slot of the node →) run → answered. Wherever it is, it can be failed, and its
 * client can go away. Without a limit on slots nothing is ever placed: what has an instance runs.
 */

#define LOOK_EVERY_NS (10 * NS_PER_MS)  /* at what calls do */
#define LOOKS_MEMORY 4

const char *const start_names[START_KINDS] = { "hot", "warm", "wake", "cold" };

static void timer_fired(struct ev_loop *loop, ev_timer *w, int events);

/* RFC 4122 version 4; AWS request ids are such. Uniqueness is what counts here, so a fast generator seeded once is enough. */
static void make_request_id(char out[37])
{
	static uint64_t s[2];
	uint64_t a, b;

	if (!s[0] && getrandom(s, sizeof(s), 0) != sizeof(s))
		s[0] = clock_wall_ns();
	s[0] += 0x9e3779b97f4a7c15ull;
	a = (s[0] ^ (s[0] >> 30)) * 0xbf58476d1ce4e5b9ull;
	a = (a ^ (a >> 27)) * 0x94d049bb133111ebull ^ s[1];
	s[1] += a | 1;
	b = (s[1] ^ (s[1] >> 30)) * 0xbf58476d1ce4e5b9ull;
	b ^= b >> 31;
	a = (a & ~0xf000ull) | 0x4000;
	b = (b & ~(3ull << 62)) | (2ull << 62);
	/* by hand: one is made for every call, and printf was what profiles showed first of our own code */
	for (int k = 0, at = 0; k < 32; k++) {
		uint64_t half = k < 16 ? a : b;

		if (k == 8 || k == 12 || k == 16 || k == 20)
			out[at++] = '-';
		out[at++] = "0123456789abcdef"[(half >> (60 - 4 * (k % 16))) & 15];
	}
	out[36] = '\0';
}

struct invocation *invocation_new(struct function *fn, enum invocation_kind kind, struct http_request *req)
{
	struct invocation *inv = calloc(1, sizeof(*inv));

	if (!inv)
		return NULL;
	inv->id = fn->node->next_invocation++;
	inv->fn = fn;
	inv->kind = kind;
	inv->req = req;
	inv->arrived_ns = clock_mono_ns();
	make_request_id(inv->request_id);
	ev_init(&inv->timer, timer_fired);
	inv->timer.data = inv;
	return inv;
}

struct invocation *invocation_find(struct node *n, uint64_t id)
{
	struct invocation *inv;

	HASH_FIND(hh, n->by_id, &id, sizeof(id), inv);
	return inv;
}

/* it waits for an instance again. Its place is free; whoever calls this pumps the function, or tells the instance. */
static void unplace(struct invocation *inv)
{
	slots_withdraw(inv->fn->node->slots, clock_mono_ns(), &inv->call);
	inv->place->inflight--;
	waiting_unplace(inv->fn, inv);
}

/* Return: the instance whose place it held, to be told */
static struct instance *dequeue(struct invocation *inv)
{
	struct instance *place = inv->place;

	if (!inv->queued)
		return NULL;
	if (place)
		unplace(inv);
	waiting_remove(inv->fn, inv);
	return place;
}

void invocations_unplace(struct instance *inst)
{
	struct invocation *inv;

	while ((inv = LIST_FIRST(&inst->placed)))
		unplace(inv);
}

unsigned function_waits_for_instances(const struct function *fn)
{
	return fn->queued - fn->placed;
}

/* off its slot; the slot itself is told by the caller, when the answer is out */
static struct instance *take_off(struct invocation *inv)
{
	struct instance *inst = inv->instance;

	if (!inst)
		return NULL;
	if (inv->hh.tbl)
		HASH_DELETE(hh, inv->fn->node->by_id, inv);
	LIST_REMOVE(inv, running);
	inst->inflight--;
	inv->instance = NULL;
	memory_request_end(inst);
	return inst;
}

/* it ran, and has ended one way or another */
static void account(struct invocation *inv)
{
	struct function *fn = inv->fn;
	struct node *n = fn->node;
	uint64_t now = clock_mono_ns(), latency_ns = now - inv->arrived_ns, service_ns = now - inv->started_ns;

	hist_record(fn->latency[inv->start], latency_ns);
	estimate_update(&fn->exec_ns, service_ns);
	slots_done(n->slots, now, &inv->call, inv->answered, service_ns);
	if (!inv->answered) {
		n->types->type[inv->call.type].lost++;
		return;
	}
	types_record(n->types, inv->call.type, latency_ns, service_ns);
	if (n->recorder)
		call_recorder_end(n->recorder, inv->record, true, inv->call.type, service_ns);
}

static void invocation_end(struct invocation *inv)
{
	struct function *fn = inv->fn;
	struct instance *inst = take_off(inv), *place = dequeue(inv);

	if (inst)
		account(inv);
	if (fn->node->recorder && !inv->answered)
		call_recorder_end(fn->node->recorder, inv->record, false, 0, 0);
	if (fn->node->submitting == inv)
		fn->node->submitting = NULL;
	ev_timer_stop(fn->node->loop, &inv->timer);
	free(inv->owned);
	free(inv->target);
	free(inv->broken);
	free(inv->kept);
	free(inv);
	if (inst) {
		inst->served++;
		instance_slot_freed(inst);
	}
	if (place)
		instance_slot_freed(place);
	function_pump(fn);
	if (fn->node->stopping)
		node_settled(fn->node);
}

/* the AWS API and the rest have each their own shape of error; AWS's types end in Exception, and its clients know some by name */
static void reply_error(struct invocation *inv, int status, const char *type, const char *message)
{
	char exception[160];

	if (inv->kind == INV_EVENT_SYNC) {
		snprintf(exception, sizeof(exception), "%sException", type);
		http_reply_error_aws(inv->req, (unsigned)status, exception, message);
	} else {
		http_reply_error(inv->req, (unsigned)status, type, message);
	}
	inv->req = NULL;
}

void invocation_fail(struct invocation *inv, int status, const char *type, const char *fmt, ...)
{
	char message[640];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	inv->fn->count.errors++;
	if (inv->req)
		reply_error(inv, status, type, message);
	else if (inv->kind == INV_EVENT_ASYNC)
		log_warn("event %s: %s", inv->request_id, message);
	invocation_end(inv);
}

void invocation_client_gone(struct invocation *inv)
{
	inv->req = NULL;
	if (inv->queued) {
		inv->fn->count.errors++;
		invocation_end(inv);
	}
	/* a running one goes on: what it does may matter to others; its answer is dropped */
}

static struct http_header header(const char *name, const char *value)
{
	return (struct http_header){ http_view_of(name), http_view_of(value) };
}

size_t invocation_headers(const struct invocation *inv, struct http_header *h)
{
	h[0] = header("X-Hearth-Start", start_names[inv->start]);
	h[1] = header("X-Hearth-Instance", inv->instance->id);
	if (!inv->waited_ms[0])
		return 2;
	h[2] = header("X-Hearth-Wait-Ms", inv->waited_ms);
	return 3;
}

static void reply_event(struct invocation *inv, bool failed, const char *content_type, const uint8_t *body, size_t len)
{
	struct http_header h[6];
	size_t n = invocation_headers(inv, h);

	h[n++] = header("Content-Type", *content_type ? content_type : "application/json");
	h[n++] = header("X-Amzn-RequestId", inv->request_id);
	if (failed)
		h[n++] = header("X-Amz-Function-Error", "Unhandled");
	else if (inv->kind == INV_EVENT_SYNC)
		h[n++] = header("X-Amz-Executed-Version", "$LATEST");
	/* a content type with control characters is the function's fault, not the client's */
	if (http_reply(inv->req, 200, h, n, body, len) == -EINVAL)
		http_reply_error(inv->req, 502, "BadAnswer", "the function named a content type that is none");
	inv->req = NULL;
}

static void set_timer(struct invocation *inv, uint64_t ns)
{
	struct ev_loop *loop = inv->fn->node->loop;

	ev_timer_stop(loop, &inv->timer);
	ev_timer_set(&inv->timer, (double)ns / NS_PER_S, 0);
	ev_timer_start(loop, &inv->timer);
}

struct kept_result {
	enum fn_outcome outcome;
	char content_type[256], error_type[128];
	size_t len;
	uint8_t body[];
};

/* the call has ended, but its answer may be wrong: until that is known nobody gets it */
static void keep_result(struct invocation *inv, enum fn_outcome outcome, const char *content_type, const char *error_type, const uint8_t *body, size_t len)
{
	struct kept_result *k = inv->kept ? NULL : malloc(sizeof(*k) + len);

	ev_timer_stop(inv->fn->node->loop, &inv->timer);
	if (!k) {
		invocation_fail(inv, 502, "BadGateway", "function %s: its answer cannot be kept: out of memory", inv->fn->m.name);
		return;
	}
	k->outcome = outcome;
	k->len = len;
	snprintf(k->content_type, sizeof(k->content_type), "%s", content_type);
	snprintf(k->error_type, sizeof(k->error_type), "%s", error_type);
	if (len)
		memcpy(k->body, body, len);
	inv->kept = k;
}

void invocations_release(struct instance *inst)
{
	struct invocation *inv;

	do {    /* from the beginning: the end of one may bring another, or be the end of more */
		struct kept_result *k;

		LIST_FOREACH(inv, &inst->running, running)
			if (inv->kept)
				break;
		if (inv) {
			k = inv->kept;
			inv->kept = NULL;
			invocation_result(inv, k->outcome, k->content_type, k->error_type, k->body, k->len);
			free(k);
		}
	} while (inv);
}

void invocations_take_back(struct instance *inst)
{
	struct invocation *inv;

	while ((inv = LIST_FIRST(&inst->running))) {
		struct function *fn = inv->fn;

		if (!inv->req && !inv->owned) {
			invocation_fail(inv, 502, "InstanceDied", "function %s: instance %s ended during the call, and its caller had left", fn->m.name, inst->id);
			continue;
		}
		take_off(inv);
		slots_done(fn->node->slots, clock_mono_ns(), &inv->call, false, 0);
		free(inv->kept);
		inv->kept = NULL;
		waiting_return(fn, inv);
		set_timer(inv, fn->m.queue_timeout_ns);
	}
}

/* its worker ended, its instance goes on. @how: as a part of a sentence */
static void worker_died(struct invocation *inv, const char *how, size_t len)
{
	struct instance *inst = inv->instance;
	struct function *fn = inv->fn;

	fn->count.lost++;
	if (instance_oom(inst))
		invocation_fail(inv, 502, "WorkerDied", "function %s: instance %s used more than its memory limit of %llu MiB, and the worker that had the call was killed", fn->m.name, inst->id,
				(unsigned long long)(fn->m.memory_bytes >> 20));
	else
		invocation_fail(inv, 502, "WorkerDied", "function %s: instance %s: the worker for the call %.*s; see `hearth logs %s`", fn->m.name, inst->id,
				(int)(len < 200 ? len : 200), how, fn->m.name);
}

void invocation_result(struct invocation *inv, enum fn_outcome outcome, const char *content_type, const char *error_type, const uint8_t *body, size_t len)
{
	struct function *fn = inv->fn;

	if (inv->instance->unverified) {
		keep_result(inv, outcome, content_type, error_type, body, len);
		return;
	}

	if (outcome == FN_REFUSED) {
		/* it holds a call of an earlier daemon, or is no longer ready */
		invocation_fail(inv, 502, "InstanceRefused", "function %s: instance %s could not take the call", fn->m.name, inv->instance->id);
		return;
	}
	if (outcome == FN_WORKER_DIED) {
		worker_died(inv, (const char *)body, len);
		return;
	}
	inv->answered = true;
	if (outcome != FN_OK)
		fn->count.function_errors++;
	if (inv->req && inv->wrap) {
		if (outcome == FN_OK)
			lambda_http_reply(inv, body, len);
		else
			reply_error(inv, 502, *error_type ? error_type : "FunctionError", "the function ended with an error; `hearth logs` may say more");
		inv->req = NULL;
	} else if (inv->req) {
		reply_event(inv, outcome != FN_OK, content_type, body, len);
	} else if (outcome != FN_OK && inv->kind == INV_EVENT_ASYNC) {
		log_warn("event %s: function %s ended with an error: %.*s", inv->request_id, fn->m.name, (int)(len > 200 ? 200 : len), (const char *)body);
	}
	invocation_end(inv);
}

/* ---- running ---- */

/* A dying process closes its connections before its end can be seen: the answer waits for it, since fail_running knows the signal. */
static bool wait_for_reason(struct invocation *inv, const struct http_result *result)
{
	struct instance *inst = inv->instance;

	if (!inv->req || inst->reason[0] || !instance_has_process(inst) || inv->fn->node->stopping)
		return false;
	inv->broken = strdup(result->why);
	if (!inv->broken)
		return false;
	set_timer(inv, 200 * NS_PER_MS);
	return true;
}

static void upstream_done(void *ctx, const struct http_result *result)
{
	struct invocation *inv = ctx;
	struct instance *inst = inv->instance;
	struct function *fn = inv->fn;
	const char *why;

	inv->req = result->owed;
	switch (result->outcome) {
	case HTTP_FORWARDED:
		inv->answered = true;
		/* fall through */
	case HTTP_CLIENT_GONE:
		invocation_end(inv);
		return;
	case HTTP_DEADLINE:
		fn->count.timeouts++;
		inv->answered = true;           /* so far as slots go: calls of its type take so long */
		if (fn->m.concurrency == 1)     /* its only slot may be stuck for good */
			instance_kill(inst, "a call ran longer than the function's timeout");
		invocation_fail(inv, 504, "Timeout", "function %s did not answer within its timeout of %.3g s", fn->m.name, (double)fn->m.timeout_ns / NS_PER_S);
		return;
	default:
		if (wait_for_reason(inv, result))
			return;
		why = inst->reason[0] ? inst->reason : result->why;
		invocation_fail(inv, 502, "BadGateway", "function %s: instance %s: %s", fn->m.name, inst->id, why);
	}
}

static int run_http(struct invocation *inv)
{
	struct instance *inst = inv->instance;
	struct http_forward fw = {
		.req = inv->req,
		.target = http_view_of(inv->target ? inv->target : "/"),
		.response_headers = inv->extra,
		.n_response_headers = invocation_headers(inv, inv->extra),
		.deadline_ns = inv->started_ns + inv->fn->m.timeout_ns,
		.done = upstream_done,
		.ctx = inv,
	};

	return http_upstream_send(inst->upstream, &fw);
}

static void put_meta(char *meta, size_t *len, const char *key, const char *value)
{
	if (value && *value)
		fn_meta_put(meta, FN_META_MAX, len, key, value, strlen(value));
}

/* a client's header goes to the function as it is; one that cannot be carried is left out */
static void put_header(char *meta, size_t *len, const char *key, const struct http_request *req, const char *name)
{
	struct http_view v = req ? http_request_header(req, name) : (struct http_view){ 0 };

	if (v.data)
		fn_meta_put(meta, FN_META_MAX, len, key, v.data, v.len);
}

static int run_channel(struct invocation *inv)
{
	struct function *fn = inv->fn;
	struct instance *inst = inv->instance;
	struct channel *ch = fn->m.contract == CONTRACT_NATIVE ? inst->native : inst->init;
	uint64_t deadline_ms = (clock_wall_ns() + fn->m.timeout_ns) / NS_PER_MS;
	static char meta[FN_META_MAX];
	size_t n = 0;

	if (fn->m.contract == CONTRACT_LAMBDA) {
		char arn[NODE_NAME_LEN + 64];

		snprintf(arn, sizeof(arn), "arn:aws:lambda:local:000000000000:function:%s", fn->m.name);
		put_meta(meta, &n, "request_id", inv->request_id);
		put_meta(meta, &n, "arn", arn);
		put_header(meta, &n, "trace_id", inv->req, "X-Amzn-Trace-Id");
		put_header(meta, &n, "client_context", inv->req, "X-Amz-Client-Context");
		if (!inv->wrap)
			put_header(meta, &n, "content_type", inv->req, "Content-Type");
	}
	HASH_ADD(hh, fn->node->by_id, id, sizeof(inv->id), inv);
	return channel_send(ch, FN_INVOKE, inv->id, deadline_ms, meta, n, inv->payload, inv->payload_len);
}

static void timer_fired(struct ev_loop *loop, ev_timer *w, int events)
{
	struct invocation *inv = w->data;
	struct function *fn = inv->fn;
	struct instance *inst = inv->instance;

	(void)loop;
	(void)events;
	if (inv->broken) {
		invocation_fail(inv, 502, "BadGateway", "function %s: instance %s: %s", fn->m.name, inst->id, inv->broken);
		return;
	}
	fn->count.timeouts++;
	if (!inst) {
		invocation_fail(inv, 504, "QueueTimeout", "function %s: no %s became free within %.3g s (%u calls wait)", fn->m.name,
				inv->place ? "slot of the node" : "instance", (double)fn->m.queue_timeout_ns / NS_PER_S, fn->queued);
		return;
	}
	inv->answered = true;                   /* so far as slots go: calls of its type take so long */
	/* where nobody can call it back, the instance goes with it */
	if (!inst->zygote || channel_send(inst->init, FN_CANCEL, inv->id, 0, NULL, 0, NULL, 0) < 0)
		instance_kill(inst, "a call ran longer than the function's timeout");
	invocation_fail(inv, 504, "Timeout", "function %s did not answer within its timeout of %.3g s", fn->m.name, (double)fn->m.timeout_ns / NS_PER_S);
}

static void run(struct invocation *inv, struct instance *inst)
{
	struct function *fn = inv->fn;
	int r;

	inv->started_ns = clock_mono_ns();
	if (fn->node->submitting == inv)
		fn->node->submitting = NULL;
	else if (inv->queued)
		snprintf(inv->waited_ms, sizeof(inv->waited_ms), "%.3f", (double)(inv->started_ns - inv->arrived_ns) / NS_PER_MS);
	if (!inv->place)
		instance_take(inst);
	if (inv->queued)
		waiting_remove(fn, inv);
	inv->instance = inst;
	inv->start = inst->ready_ns > inv->arrived_ns ? inst->origin : inst->from_warm ? START_WARM : START_HOT;
	fn->count.starts[START_WARM] += inv->start == START_WARM;
	inst->from_warm = false;
	memory_request_begin(inst, inst->ready_ns > inv->arrived_ns ? 0 : inv->started_ns - inv->arrived_ns);
	LIST_INSERT_HEAD(&inst->running, inv, running);
	if (fn->m.contract == CONTRACT_HTTP) {
		ev_timer_stop(fn->node->loop, &inv->timer);     /* the upstream keeps the deadline */
		r = run_http(inv);
	} else {
		set_timer(inv, fn->m.timeout_ns);
		r = run_channel(inv);
	}
	if (r < 0)
		invocation_fail(inv, 502, "BadGateway", "function %s: instance %s cannot be reached: %s", fn->m.name, inst->id, strerror(-r));
}

/* Runs it, or reserves the place for it until the node has a slot. Return: false when neither can be now. */
static bool place(struct invocation *inv, struct instance *inst)
{
	struct function *fn = inv->fn;

	if (!slots_limited(fn->node->slots) || !fn->m.slot) {
		run(inv, inst);
		return true;
	}
	if (slots_offer(fn->node->slots, clock_mono_ns(), &inv->call) < 0)
		return false;
	waiting_place(fn, inv, inst);
	instance_take(inst);
	return true;
}

void invocation_start(void *ctx, struct slot_call *call)
{
	struct invocation *inv = (struct invocation *)((char *)call - offsetof(struct invocation, call));

	(void)ctx;
	run(inv, inv->place);
}

/* ---- scaling ---- */

static struct instance *find_state(struct function *fn, enum instance_state state)
{
	struct instance *inst;

	TAILQ_FOREACH(inst, &fn->instances, entry)
		if (inst->state == state && !inst->outdated)
			return inst;
	return NULL;
}

/* the cheapest way to one more slot: a parked instance, a clone of the snapshot, a cold start */
static int add_instance(struct function *fn, struct hearth_err *err)
{
	struct instance *parked = find_state(fn, INST_PARKED);

	if (parked && instance_wake(parked, err) == 0)
		return 0;
	if (fn->snapshot && instance_clone(fn, err))
		return 0;
	return instance_start(fn, err) ? 0 : -EIO;
}

/* long calls show before they end: what runs has taken its time already */
static uint64_t exec_estimate(const struct function *fn, uint64_t now)
{
	uint64_t estimate = fn->exec_ns;
	const struct instance *inst;
	const struct invocation *inv;

	TAILQ_FOREACH(inst, &fn->instances, entry)
		LIST_FOREACH(inv, &inst->running, running)
			if (now - inv->started_ns > estimate)
				estimate = now - inv->started_ns;
	return estimate;
}

/*
 * Whether its calls compute is seen where they run. A thread that waits for a processor counts as well, so it makes no difference how busy the machine is. Only while calls wait: then it matters, and costs little beside a
 * start.
 */
static void look_at_calls(struct function *fn, uint64_t now)
{
	const struct instance *inst;

	if (now - fn->looked_ns < LOOK_EVERY_NS)
		return;
	fn->looked_ns = now;
	TAILQ_FOREACH(inst, &fn->instances, entry) {
		unsigned running = inst->inflight - inst->held;

		if (running > 0 && inst->pid > 0 && inst->state == INST_HOT && !inst->job && !inst->unverified && !inst->from_warm)
			fn->computes += ((double)proc_tree_computes(inst->pid) / running - fn->computes) / LOOKS_MEMORY;
	}
}

static struct scale_input situation(struct function *fn)
{
	struct scale_input in = {
		.queued = function_waits_for_instances(fn),
		.node_slots = fn->m.slot ? slots_config_of(fn->node->slots)->slots : 0,
		.max_instances = (unsigned)fn->m.max_instances,
		.slots_per_instance = function_capacity(fn),
		.cpus = fn->node->cpus,
		.computes = fn->computes * (fn->m.cpus > 0 && fn->m.cpus < 1 ? fn->m.cpus : 1),
		.exec_ns = exec_estimate(fn, clock_mono_ns()),
		.start_ns = fn->start_ns[fn->snapshot || find_state(fn, INST_PARKED) ? START_WAKE : START_COLD],
	};
	const struct instance *inst;

	TAILQ_FOREACH(inst, &fn->instances, entry) {
		in.instances += inst->state != INST_PARKED;
		if (inst->outdated)
			continue;
		/* one that is being parked goes on, or is woken, as soon as its checkpoint is done */
		if (inst->state == INST_STARTING || inst->state == INST_WAKING || (inst->state == INST_PARKING && !inst->for_snapshot))
			in.coming_slots += inst->capacity;
		else if (inst->state == INST_HOT || inst->state == INST_WARM)
			in.hot_slots += inst->capacity;
	}
	return in;
}

static void scale_up(struct function *fn)
{
	struct hearth_err err = { 0 };
	struct scale_input in;

	look_at_calls(fn, clock_mono_ns());
	in = situation(fn);
	for (unsigned more = scale_more(&in); more > 0; more--) {
		if (add_instance(fn, &err) < 0) {
			struct invocation *inv = fn->unplaced;

			log_warn("function %s: %s", fn->m.name, err.msg);
			if (in.instances == 0 && inv)
				invocation_fail(inv, 502, "StartFailed", "function %s could not be started: %s", fn->m.name, err.msg);
			return;
		}
		in.instances++;
	}
}

static void pump_instances(struct function *fn)
{
	struct instance *inst;

	if (fn->pumping)
		return;                 /* an answer given below frees a slot: the loop sees it */
	fn->pumping = true;
	while (fn->unplaced && (inst = instance_free_slot(fn)) && place(fn->unplaced, inst))
		;
	if (fn->unplaced)
		scale_up(fn);
	if (fn->unplaced && !ev_is_active(&fn->rescale))
		ev_timer_again(fn->node->loop, &fn->rescale);
	else if (!fn->unplaced)
		ev_timer_stop(fn->node->loop, &fn->rescale);
	fn->pumping = false;
}

void function_pump(struct function *fn)
{
	struct node *n = fn->node;

	if (fn->queued > 0 || ev_is_active(&fn->rescale))
		pump_instances(fn);
	if (slots_limited(n->slots))
		slots_dispatch(n->slots, clock_mono_ns());
}

void invocation_submit(struct function *fn, struct invocation *inv)
{
	uint64_t limit = fn->m.queue_limit ? (uint64_t)fn->m.queue_limit : (uint64_t)fn->node->cfg->queue_limit;
	struct node *n = fn->node;
	struct instance *inst;

	fn->count.requests++;
	inv->call.type = fn->type;
	if (n->recorder)
		inv->record = call_recorder_begin(n->recorder, inv->arrived_ns);
	if (fn->queued == 0 && !slots_limited(n->slots) && (inst = instance_free_slot(fn))) {
		run(inv, inst);
		return;
	}
	if (fn->queued >= limit) {
		fn->count.rejected++;
		n->types->type[fn->type].rejected++;
		invocation_fail(inv, 429, "TooManyRequests", "function %s: %u calls wait already, its queue is full; try again later", fn->m.name, fn->queued);
		return;
	}
	waiting_push(fn, inv);
	n->submitting = inv;
	function_pump(fn);
	if (n->submitting == inv)
		set_timer(inv, fn->m.queue_timeout_ns);
	n->submitting = NULL;
}
