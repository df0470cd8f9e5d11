/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake.h"

/*
 * A stream is a queue and, from its first work on, a thread that does it in order. What must come first elsewhere (events, the legacy default stream) is written down with the work when it is
 * queued: (stream, turn). A struct stream is never freed, so that such a note stays good; there are few.
 */
pthread_mutex_t exec_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t exec_change = PTHREAD_COND_INITIALIZER;
static struct stream *streams;
static uint64_t next_stream_id;
static __thread struct { struct stream *s[FAKE_DEVICES_MAX * 4]; } per_thread;

static bool ready(const struct op *o)
{
	for (size_t k = 0; k < o->ndeps; k++)
		if (o->deps[k].s->completed < o->deps[k].turn)
			return false;
	return true;
}

static CUstream handle_of(struct stream *s)
{
	return s->legacy ? NULL : s->per_thread ? CU_STREAM_PER_THREAD : (CUstream)s;
}

static void *stream_main(void *arg)
{
	struct stream *s = arg;

	pthread_mutex_lock(&exec_lock);
	for (;;) {
		struct op *o = s->head;
		CUresult r;

		if (!o && s->dying)
			break;
		if (!o || !ready(o)) {
			pthread_cond_wait(&exec_change, &exec_lock);
			continue;
		}
		pthread_mutex_unlock(&exec_lock);
		r = work_run(&o->work, s->ctx, handle_of(s));
		if (r)
			ctx_fail(s->ctx, r);
		work_done(&o->work);
		pthread_mutex_lock(&exec_lock);
		s->head = o->next;
		if (!s->head)
			s->tail = NULL;
		s->completed = o->turn;
		pthread_cond_broadcast(&exec_change);
		free(o->deps);
		free(o);
	}
	s->running = false;
	pthread_cond_broadcast(&exec_change);
	pthread_mutex_unlock(&exec_lock);
	return NULL;
}

/* signals are for the program's threads */
static CUresult stream_thread(struct stream *s)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t t;
	int r;

	if (s->running)
		return CUDA_SUCCESS;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 8 << 20); /* thread-local memory of the program comes out of it */
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&t, &attr, stream_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	s->running = r == 0;
	return r ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

static struct stream *stream_new(struct ctx *c, unsigned flags, int priority)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct stream){ .ctx = c, .flags = flags, .priority = priority };
	pthread_mutex_lock(&exec_lock);
	s->id = ++next_stream_id;
	s->next = streams;
	streams = s;
	pthread_mutex_unlock(&exec_lock);
	return s;
}

static struct stream *legacy_of(struct ctx *c)
{
	struct stream *s = __atomic_load_n(&c->legacy, __ATOMIC_ACQUIRE);

	if (s)
		return s;
	pthread_mutex_lock(&fake.lock);
	s = c->legacy;
	if (!s) {
		s = stream_new(c, 0, 0);
		if (s)
			s->legacy = true;
		__atomic_store_n(&c->legacy, s, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&fake.lock);
	return s;
}

static struct stream *per_thread_of(struct ctx *c)
{
	size_t n = sizeof(per_thread.s) / sizeof(per_thread.s[0]);

	for (size_t k = 0; k < n; k++) {
		struct stream *s = per_thread.s[k];

		if (s && s->ctx == c)
			return s;
		if (s && !s->ctx->destroyed)
			continue;
		s = stream_new(c, 0, 0);
		if (s)
			s->per_thread = true;
		per_thread.s[k] = s;
		return s;
	}
	return NULL;
}

struct stream *stream_from(CUstream handle, CUresult *why)
{
	struct stream *s = NULL;

	*why = CUDA_ERROR_OUT_OF_MEMORY;
	if (!handle || handle == CU_STREAM_LEGACY)
		return legacy_of(ctx_current());
	if (handle == CU_STREAM_PER_THREAD)
		return per_thread_of(ctx_current());
	*why = CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&exec_lock);
	for (s = streams; s; s = s->next)
		if (s == (struct stream *)handle && !s->dying)
			break;
	pthread_mutex_unlock(&exec_lock);
	return s;
}

static bool dep_add(struct op *o, struct stream *s, uint64_t turn)
{
	struct dep *v;

	if (s->completed >= turn)
		return true;
	v = realloc(o->deps, (o->ndeps + 1) * sizeof(*v));
	if (!v)
		return false;
	o->deps = v;
	v[o->ndeps++] = (struct dep){ s, turn };
	return true;
}

/* the default stream waits for all others of its context that are not non-blocking, and they for it */
static bool deps_default(struct op *o, struct stream *s)
{
	if (s->flags & CU_STREAM_NON_BLOCKING)
		return true;
	for (struct stream *t = streams; t; t = t->next)
		if (t != s && t->ctx == s->ctx && !(t->flags & CU_STREAM_NON_BLOCKING) && (s->legacy || t->legacy) && !dep_add(o, t, t->submitted))
			return false;
	return true;
}

CUresult stream_submit(struct stream *s, struct work *w, uint64_t *ret_turn)
{
	struct op *o;
	bool ok = true;

	if (s->capture)
		return capture_add(s, w);
	if (s->legacy && capture_active(s->ctx)) {
		work_done(w);
		return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
	}
	o = calloc(1, sizeof(*o));
	if (!o) {
		work_done(w);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	o->work = *w;
	pthread_mutex_lock(&exec_lock);
	for (size_t k = 0; ok && k < s->nwaits; k++)
		ok = dep_add(o, s->waits[k].s, s->waits[k].turn);
	ok = ok && deps_default(o, s) && !stream_thread(s);
	if (!ok) {
		pthread_mutex_unlock(&exec_lock);
		work_done(&o->work);
		free(o->deps);
		free(o);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	s->nwaits = 0;
	o->turn = ++s->submitted;
	if (s->tail)
		s->tail->next = o;
	else
		s->head = o;
	s->tail = o;
	if (o->work.kind == WORK_EVENT) {
		o->work.event.e->s = s;
		o->work.event.e->turn = o->turn;
	}
	if (ret_turn)
		*ret_turn = o->turn;
	atomic_fetch_add(&fake.process->work_queued, 1);
	pthread_cond_broadcast(&exec_change);
	pthread_mutex_unlock(&exec_lock);
	return CUDA_SUCCESS;
}

void stream_wait(struct stream *s, uint64_t turn)
{
	pthread_mutex_lock(&exec_lock);
	while (s->completed < turn)
		pthread_cond_wait(&exec_change, &exec_lock);
	pthread_mutex_unlock(&exec_lock);
}

static bool idle(const struct ctx *c)
{
	for (struct stream *s = streams; s; s = s->next)
		if ((!c || s->ctx == c) && s->completed < s->submitted)
			return false;
	return true;
}

void stream_wait_ctx(struct ctx *c)
{
	pthread_mutex_lock(&exec_lock);
	while (!idle(c))
		pthread_cond_wait(&exec_change, &exec_lock);
	pthread_mutex_unlock(&exec_lock);
}

bool stream_idle_until(const struct timespec *deadline)
{
	bool done;

	pthread_mutex_lock(&exec_lock);
	while (!(done = idle(NULL)) && pthread_cond_clockwait(&exec_change, &exec_lock, CLOCK_MONOTONIC, deadline) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&exec_lock);
	return done;
}

void stream_end_ctx(struct ctx *c)
{
	pthread_mutex_lock(&exec_lock);
	for (struct stream *s = streams; s; s = s->next)
		if (s->ctx == c)
			s->dying = true;
	pthread_cond_broadcast(&exec_change);
	pthread_mutex_unlock(&exec_lock);
	/* queued frees need fake.lock, which the caller holds: let them have it */
	pthread_mutex_unlock(&fake.lock);
	stream_wait_ctx(c);
	pthread_mutex_lock(&fake.lock);
}

struct capture *stream_capture_by(uint64_t id)
{
	struct capture *c = NULL;

	pthread_mutex_lock(&exec_lock);
	for (struct stream *s = streams; !c && s; s = s->next)
		if (s->capture && s->capture->id == id)
			c = s->capture;
	pthread_mutex_unlock(&exec_lock);
	return c;
}

void stream_capture_end(const struct capture *c)
{
	pthread_mutex_lock(&exec_lock);
	for (struct stream *s = streams; s; s = s->next)
		if (s->capture == c)
			s->capture = NULL;
	pthread_mutex_unlock(&exec_lock);
}

EXPORT CUresult cuStreamCreateWithPriority(CUstream *ret, unsigned int flags, int priority)
{
	struct stream *s;

	CALL(CALL_CTX);
	if (!ret || flags > CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	s = stream_new(ctx_current(), flags, priority);
	if (!s)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = (CUstream)s;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamCreate(CUstream *ret, unsigned int flags)
{
	CALL(CALL_CTX);
	return cuStreamCreateWithPriority(ret, flags, 0);
}

#define STREAM(handle) \
	CUresult why_; \
	struct stream *s = stream_from((handle), &why_); \
	if (!s) \
		return why_

EXPORT CUresult cuStreamDestroy_v2(CUstream handle)
{
	CALL(CALL_CTX);
	STREAM(handle);
	if (s->legacy || s->per_thread)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&exec_lock);
	s->dying = true;
	pthread_cond_broadcast(&exec_change);
	pthread_mutex_unlock(&exec_lock);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamSynchronize(CUstream handle)
{
	CALL(CALL_CTX);
	STREAM(handle);
	if (s->capture)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	stream_wait(s, s->submitted);
	return ctx_error(s->ctx);
}

EXPORT CUresult cuStreamQuery(CUstream handle)
{
	CALL(CALL_CTX);
	STREAM(handle);
	bool done;

	if (s->capture)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	pthread_mutex_lock(&exec_lock);
	done = s->completed >= s->submitted;
	pthread_mutex_unlock(&exec_lock);
	return done ? ctx_error(s->ctx) : CUDA_ERROR_NOT_READY;
}

EXPORT CUresult cuStreamGetPriority(CUstream handle, int *ret)
{
	CALL(CALL_CTX);
	STREAM(handle);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = s->priority;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetFlags(CUstream handle, unsigned int *ret)
{
	CALL(CALL_CTX);
	STREAM(handle);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = s->flags;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetCtx(CUstream handle, CUcontext *ret)
{
	CALL(CALL_CTX);
	STREAM(handle);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (CUcontext)s->ctx;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamGetId(CUstream handle, unsigned long long *ret)
{
	CALL(CALL_CTX);
	STREAM(handle);
	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = s->id;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuLaunchHostFunc(CUstream handle, CUhostFn fn, void *data)
{
	struct work w = { .kind = WORK_HOST, .host = { .fn = fn, .data = data } };

	CALL(CALL_CTX);
	STREAM(handle);
	return fn ? stream_submit(s, &w, NULL) : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback fn, void *data, unsigned int flags)
{
	struct work w = { .kind = WORK_CALLBACK, .host = { .callback = fn, .data = data } };

	CALL(CALL_CTX);
	STREAM(handle);
	if (!fn || flags)
		return CUDA_ERROR_INVALID_VALUE;
	return s->capture ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : stream_submit(s, &w, NULL);
}

static CUresult value_submit(enum work_kind kind, CUstream handle, CUdeviceptr at, uint32_t value, unsigned flags)
{
	struct work w = { .kind = kind, .value = { .at = at, .value = value, .flags = flags } };
	bool known;
	STREAM(handle);

	pthread_mutex_lock(&fake.lock);
	known = memory_is_device(at) || memory_is_pinned(at);
	pthread_mutex_unlock(&fake.lock);
	if (!known || at % sizeof(uint32_t))
		return CUDA_ERROR_INVALID_VALUE;
	return stream_submit(s, &w, NULL);
}

EXPORT CUresult cuStreamWaitValue32_v2(CUstream handle, CUdeviceptr at, cuuint32_t value, unsigned int flags)
{
	CALL(CALL_CTX);
	return value_submit(WORK_VALUE_WAIT, handle, at, value, flags);
}

EXPORT CUresult cuStreamWriteValue32_v2(CUstream handle, CUdeviceptr at, cuuint32_t value, unsigned int flags)
{
	CALL(CALL_CTX);
	return value_submit(WORK_VALUE_WRITE, handle, at, value, flags);
}

static CUresult wait_add(struct stream *s, const struct event *e)
{
	struct dep *v;
	CUresult r = CUDA_SUCCESS;

	pthread_mutex_lock(&exec_lock);
	if (e->s && e->s->completed < e->turn) {
		v = realloc(s->waits, (s->nwaits + 1) * sizeof(*v));
		if (v) {
			s->waits = v;
			v[s->nwaits++] = (struct dep){ e->s, e->turn };
		} else {
			r = CUDA_ERROR_OUT_OF_MEMORY;
		}
	}
	pthread_mutex_unlock(&exec_lock);
	return r;
}

EXPORT CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned int flags)
{
	struct event *e = (struct event *)event;
	struct work w = { .kind = WORK_EMPTY };
	CUresult r;

	CALL(CALL_CTX);
	STREAM(handle);
	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	if (s->capture || stream_capture_by(e->captured))
		return capture_wait(s, e);
	r = wait_add(s, e);
	return r ? r : stream_submit(s, &w, NULL);      /* who waits for the stream waits for the event */
}

/* ---- events ---- */
void event_unref(struct event *e)
{
	if (--e->refs == 0)
		free(e);
}

EXPORT CUresult cuEventCreate(CUevent *ret, unsigned int flags)
{
	struct event *e;

	CALL(CALL_CTX);
	if (!ret || flags > 7)
		return CUDA_ERROR_INVALID_VALUE;
	e = calloc(1, sizeof(*e));
	if (!e)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*e = (struct event){ .flags = flags, .refs = 1, .ctx = ctx_current() };
	*ret = (CUevent)e;
	return CUDA_SUCCESS;
}

EXPORT CUresult cuEventDestroy_v2(CUevent event)
{
	CALL(CALL_CTX);
	if (!event)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&exec_lock);
	event_unref((struct event *)event);
	pthread_mutex_unlock(&exec_lock);
	return CUDA_SUCCESS;
}

EXPORT CUresult cuEventRecord(CUevent event, CUstream handle)
{
	struct event *e = (struct event *)event;
	struct work w = { .kind = WORK_EVENT, .event = { .e = e } };

	CALL(CALL_CTX);
	STREAM(handle);
	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	if (s->capture)
		return capture_event(s, e);
	e->captured = 0;
	pthread_mutex_lock(&exec_lock);
	e->refs++;
	pthread_mutex_unlock(&exec_lock);
	return stream_submit(s, &w, NULL);
}

EXPORT CUresult cuEventRecordWithFlags(CUevent event, CUstream handle, unsigned int flags)
{
	CALL(CALL_CTX);
	return flags ? CUDA_ERROR_NOT_SUPPORTED : cuEventRecord(event, handle);
}

EXPORT CUresult cuEventQuery(CUevent event)
{
	struct event *e = (struct event *)event;
	bool done;

	CALL(CALL_CTX);
	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&exec_lock);
	done = !e->s || e->s->completed >= e->turn;
	pthread_mutex_unlock(&exec_lock);
	return done ? ctx_error(e->ctx) : CUDA_ERROR_NOT_READY;
}

EXPORT CUresult cuEventSynchronize(CUevent event)
{
	struct event *e = (struct event *)event;
	struct stream *s;
	uint64_t turn;

	CALL(CALL_CTX);
	if (!e)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&exec_lock);
	s = e->s;
	turn = e->turn;
	pthread_mutex_unlock(&exec_lock);
	if (s)
		stream_wait(s, turn);
	return ctx_error(e->ctx);
}

EXPORT CUresult cuEventElapsedTime_v2(float *ret, CUevent start, CUevent end)
{
	struct event *a = (struct event *)start, *b = (struct event *)end;
	CUresult r = CUDA_SUCCESS;

	CALL(CALL_CTX);
	if (!ret || !a || !b || (a->flags | b->flags) & CU_EVENT_DISABLE_TIMING)
		return CUDA_ERROR_INVALID_HANDLE;
	pthread_mutex_lock(&exec_lock);
	if (!a->s || !b->s)
		r = CUDA_ERROR_INVALID_HANDLE;
	else if (a->s->completed < a->turn || b->s->completed < b->turn)
		r = CUDA_ERROR_NOT_READY;
	else
		*ret = (float)((double)(int64_t)(b->time_ns - a->time_ns) / 1e6);
	pthread_mutex_unlock(&exec_lock);
	return r;
}

EXPORT CUresult cuEventElapsedTime(float *ret, CUevent start, CUevent end)
{
	return cuEventElapsedTime_v2(ret, start, end);
}
