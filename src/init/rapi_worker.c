/* SPDX-License-Identifier: Apache-2.0 */
/* The Runtime API's invocations, and who runs them: the runtime itself, or workers that its zygote forks. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "rapi.h"
#include "rapi_state.h"

bool rapi_is_zygote(const struct rapi *r)
{
	return r->own.state == RAPI_ZYGOTE;
}

/* ---- invocations ---- */

/* The request's id goes into headers and paths: what doesn't fit there is replaced. */
static void set_request_id(struct rapi_call *call, const struct fn_view *v)
{
	const char *id;
	size_t len, i;
	bool good = fn_meta_get(v->meta, v->head.meta_len, "request_id", &id, &len) && len > 0 && len < sizeof call->request_id;

	for (i = 0; good && i < len; i++)
		good = id[i] > ' ' && id[i] < 0x7f && !strchr("/?#%", id[i]);
	if (good) {
		memcpy(call->request_id, id, len);
		call->request_id[len] = 0;
	} else {
		snprintf(call->request_id, sizeof call->request_id, "%08" PRIx64 "-0000-4000-8000-%012" PRIx64, call->id >> 48, call->id & 0xffffffffffffu);
	}
}

void rapi_call_over(struct rapi *r, struct rapi_call *call)
{
	if (!call)
		return;
	r->calls--;
	buf_done(&call->meta);
	buf_done(&call->event);
	free(call);
}

struct rapi_call *rapi_take(struct rapi *r)
{
	struct rapi_call *call = r->waiting;

	if (call)
		r->waiting = call->next;
	return call;
}

/* Hand it to one that waits; of several the one that came last, so that the others wait for long and end. Return: false when none does. */
static bool serve_one(struct rapi *r)
{
	struct rapi_worker *w, *best = r->own.state == RAPI_WAITING ? &r->own : NULL;
	struct rapi_conn *c;

	for (w = r->workers; w; w = w->next)
		if (w->state == RAPI_WAITING && (!best || w->since_ns > best->since_ns))
			best = w;
	if (!best)
		return false;
	c = best->waiter;
	best->waiter = NULL;
	rapi_deliver(r, best, rapi_conn_out(c));
	rapi_conn_resume(c);
	r->ops->output(r->ctx, c);
	return true;
}

int rapi_invoke(struct rapi *r, const struct fn_view *v)
{
	struct rapi_call *call, **at = &r->waiting;

	if (r->calls >= r->calls_max || r->own.state == RAPI_INIT || r->own.state == RAPI_FAILED)
		return -EBUSY;
	call = calloc(1, sizeof *call);
	if (!call)
		return -ENOMEM;
	r->calls++;
	if (buf_append(&call->meta, v->meta, v->head.meta_len) < 0 || buf_append(&call->event, v->body, v->body_len) < 0) {
		rapi_call_over(r, call);
		return -ENOMEM;
	}
	call->id = v->head.id;
	call->deadline_ms = v->head.arg;
	set_request_id(call, v);
	while (*at)
		at = &(*at)->next;
	*at = call;
	r->fork_failed = r->resting = false;
	while (r->waiting && serve_one(r))
		;
	rapi_fork_wanted(r);
	return 0;
}

static int put_id(struct buf *ids, const struct rapi_call *call)
{
	uint64_t wire = call ? htole64(call->id) : 0;

	return call ? buf_append(ids, &wire, sizeof wire) : 0;
}

int rapi_running(const struct rapi *r, struct buf *ids)
{
	const struct rapi_worker *w;
	const struct rapi_call *call;
	int ret = put_id(ids, r->own.call);

	for (w = r->workers; w && ret == 0; w = w->next)
		ret = put_id(ids, w->call);
	for (call = r->waiting; call && ret == 0; call = call->next)
		ret = put_id(ids, call);
	return ret;
}

void rapi_deliver(struct rapi *r, struct rapi_worker *w, struct buf *out)
{
	struct rapi_call *call = rapi_take(r);
	struct buf text = { 0 };
	int ret = rapi_event_write(call, &text);

	if (ret == 0)
		ret = buf_append(out, buf_head(&text), text.len);
	buf_done(&text);
	buf_done(&call->meta);
	buf_done(&call->event);
	call->next = NULL;
	w->call = call;
	w->state = RAPI_RUNNING;
	if (ret < 0) {
		static const char doc[] = "{\"errorMessage\":\"hearth-init has no memory for the event\",\"errorType\":\"Runtime.OutOfMemory\"}";

		rapi_answer_error(out, 500, "InternalServerError", "No memory for the event");
		rapi_result_send(r, w, &(struct rapi_result){
			.outcome = FN_FUNCTION_ERROR, .content_type = "", .error_type = "Runtime.OutOfMemory", .body = doc, .body_len = sizeof doc - 1 });
	}
}

void rapi_result_send(struct rapi *r, struct rapi_worker *w, struct rapi_result *result)
{
	struct rapi_call *call = w->call;

	w->state = RAPI_IDLE;
	w->call = NULL;
	memcpy(w->answered_id, call->request_id, sizeof w->answered_id);
	result->id = call->id;
	rapi_call_over(r, call);
	r->fork_failed = false;
	r->ops->result(r->ctx, result);
}

/* ---- workers ---- */

static unsigned live(const struct rapi *r)
{
	const struct rapi_worker *w;
	unsigned n = 0;

	for (w = r->workers; w; w = w->next)
		n += !w->ending;
	return n;
}

static void tell(struct rapi *r)
{
	unsigned now = live(r);

	if (now == r->told)
		return;
	r->told = now;
	r->ops->workers(r->ctx, now);
}

static struct rapi_worker **place_of(struct rapi *r, pid_t pid)
{
	struct rapi_worker **at = &r->workers;

	while (*at && (*at)->pid != pid)
		at = &(*at)->next;
	return at;
}

static struct rapi_worker *worker_new(struct rapi *r, pid_t pid)
{
	struct rapi_worker *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	w->pid = pid;
	w->state = RAPI_IDLE;
	w->next = r->workers;
	r->workers = w;
	tell(r);
	return w;
}

struct rapi_worker *rapi_worker_of(struct rapi *r, const struct rapi_request *q)
{
	struct rapi_worker *w;

	if (q->worker == 0)
		return &r->own;
	w = *place_of(r, q->worker);
	if (!w && q->worker > 0 && r->forking && q->route == ROUTE_NEXT) {
		r->forking = false;     /* it was faster than its zygote's word of it */
		w = worker_new(r, q->worker);
	}
	return w && !w->ending ? w : NULL;
}

/* What ended it, as a part of a sentence. */
static void describe(int status, char *out, size_t n)
{
	if (WIFSIGNALED(status))
		snprintf(out, n, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(out, n, "exited with status %d", WEXITSTATUS(status));
}

static void lost(struct rapi *r, struct rapi_call *call, const char *why)
{
	struct rapi_result result = { .id = call->id, .outcome = FN_WORKER_DIED, .content_type = "", .error_type = "", .body = why, .body_len = strlen(why) };

	rapi_call_over(r, call);
	r->ops->result(r->ctx, &result);
}

/* Without any worker nobody will ever take what waits; with one, it does. */
static void fork_failed(struct rapi *r, const char *why)
{
	struct rapi_call *call;

	if (live(r) > 0) {
		r->fork_failed = true;
		return;
	}
	while ((call = rapi_take(r)))
		lost(r, call, why);
}

static bool fork_due(const struct rapi *r)
{
	const struct rapi_worker *w;
	const struct rapi_call *call;
	unsigned n = 0, coming = 0;

	for (call = r->waiting; call; call = call->next)
		n++;
	for (w = r->workers; w; w = w->next)
		coming += !w->ending && w->state == RAPI_IDLE;
	return !r->forking && !r->fork_failed && n > coming && live(r) < r->calls_max;
}

static void rested(struct rapi *r)
{
	if (!r->resting || r->forking || r->workers)
		return;
	r->resting = false;
	r->ops->rested(r->ctx);
}

bool rapi_fork_told(struct rapi *r, const struct rapi_request *q)
{
	char why[RAPI_WHY_MAX];

	if (r->forking) {
		r->forking = false;
		if (q->forked <= 0)
			snprintf(why, sizeof why, "could not be forked: %s", q->fork_error[0] ? q->fork_error : "its zygote does not say why");
		else if (!r->ops->alive(r->ctx, q->forked))
			snprintf(why, sizeof why, "ended before it asked for a call");
		else if (!worker_new(r, q->forked))
			snprintf(why, sizeof why, "could not be taken in: hearth-init has no memory");
		else
			why[0] = 0;
		if (why[0])
			fork_failed(r, why);
	}
	r->forking = fork_due(r);
	rested(r);
	return r->forking;
}

void rapi_fork_wanted(struct rapi *r)
{
	struct rapi_conn *c = r->zygote;

	if (!c || !fork_due(r))
		return;
	r->zygote = NULL;
	r->forking = true;
	rapi_answer_fork(rapi_conn_out(c));
	rapi_conn_resume(c);
	r->ops->output(r->ctx, c);
}

void rapi_worker_ended(struct rapi *r, pid_t pid, int status)
{
	struct rapi_worker **at = place_of(r, pid), *w = *at;
	char how[96], why[RAPI_WHY_MAX];

	if (!w)
		return;
	*at = w->next;
	describe(status, how, sizeof how);
	r->fork_failed = false;
	if (w->call) {
		lost(r, w->call, how);
	} else if (!w->asked && !w->ending) {
		snprintf(why, sizeof why, "ended before it asked for a call: it %s", how);
		fork_failed(r, why);
	}
	free(w);
	tell(r);
	rapi_fork_wanted(r);
	rested(r);
}

void rapi_cancel(struct rapi *r, uint64_t id)
{
	struct rapi_call **at = &r->waiting, *call;
	struct rapi_worker *w;

	if (!rapi_is_zygote(r))
		return;
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	call = *at;
	if (call) {
		*at = call->next;
		rapi_call_over(r, call);
		if (r->forking || !r->zygote)   /* all that time it had no worker, for the zygote is stuck */
			r->ops->end(r->ctx, 0);
		return;
	}
	for (w = r->workers; w && !(w->call && w->call->id == id); w = w->next)
		;
	if (!w)
		return;
	rapi_call_over(r, w->call);
	w->call = NULL;
	w->state = RAPI_IDLE;
	w->ending = true;
	r->ops->end(r->ctx, w->pid);
	tell(r);
	rapi_fork_wanted(r);
}

static void stops_waiting(struct rapi_worker *w, const struct rapi_conn *c)
{
	if (w->waiter != c)
		return;
	w->waiter = NULL;
	w->state = RAPI_IDLE;
}

void rapi_conn_left(struct rapi *r, struct rapi_conn *c)
{
	struct rapi_worker *w;

	if (r->zygote == c)
		r->zygote = NULL;
	stops_waiting(&r->own, c);
	for (w = r->workers; w; w = w->next)
		stops_waiting(w, c);
}

/* ---- workers that are needed no more ---- */

void rapi_answer_not_needed(struct rapi *r, struct rapi_worker *w, struct buf *out)
{
	w->ending = true;
	rapi_answer_error(out, 410, "WorkerNotNeeded", "There is no more work for this worker: it may end");
	tell(r);
}

/* of one that waits */
static void dismiss(struct rapi *r, struct rapi_worker *w)
{
	struct rapi_conn *c = w->waiter;

	w->waiter = NULL;
	w->state = RAPI_IDLE;
	rapi_answer_not_needed(r, w, rapi_conn_out(c));
	rapi_conn_resume(c);
	r->ops->output(r->ctx, c);
}

void rapi_rest(struct rapi *r)
{
	struct rapi_worker *w;

	if (r->calls > 0)
		return;
	r->resting = true;
	for (w = r->workers; w; w = w->next)
		if (w->state == RAPI_WAITING)
			dismiss(r, w);
	rested(r);
}

static struct rapi_worker *longest_idle(const struct rapi *r)
{
	struct rapi_worker *w, *found = NULL;

	for (w = r->workers; w; w = w->next)
		if (w->state == RAPI_WAITING && (!found || w->since_ns < found->since_ns))
			found = w;
	return found;
}

uint64_t rapi_idle_due(const struct rapi *r)
{
	const struct rapi_worker *w = live(r) > 1 ? longest_idle(r) : NULL;

	return w ? w->since_ns + r->idle_ns : 0;
}

void rapi_idle_end(struct rapi *r, uint64_t now_ns)
{
	struct rapi_worker *w;

	/* a clock that was set back, by a restore on another machine, counts from now on */
	for (w = r->workers; w; w = w->next)
		if (w->since_ns > now_ns)
			w->since_ns = now_ns;
	while (live(r) > 1 && (w = longest_idle(r)) && w->since_ns + r->idle_ns <= now_ns)
		dismiss(r, w);
}

void rapi_done(struct rapi *r)
{
	struct rapi_worker *w;
	struct rapi_call *call;

	while ((call = rapi_take(r)))
		rapi_call_over(r, call);
	rapi_call_over(r, r->own.call);
	while ((w = r->workers)) {
		r->workers = w->next;
		rapi_call_over(r, w->call);
		free(w);
	}
}
