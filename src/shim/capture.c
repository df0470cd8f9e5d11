/* SPDX-License-Identifier: Apache-2.0 */
#include "capture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "futex.h"
#include "gate.h"
#include "mem.h"
#include "shim.h"

static struct {
	struct capture { CUstream stream; CUcontext ctx; pthread_t thread; } *v;
	size_t n, cap;
	unsigned uncounted;             /* begun without memory to note them: taken as going on for ever */
	_Atomic uint32_t changes;       /* futex */
} captures;

/* The default streams' handles (0, 1, 2) mean another stream in each context or thread. */
static bool same(const struct capture *c, CUstream stream, CUcontext ctx)
{
	return c->stream == stream && ((uintptr_t)stream > 2 || (c->ctx == ctx && pthread_equal(c->thread, pthread_self())));
}

static CUcontext current(void)
{
	CUcontext ctx = NULL;

	DRV(cuCtxGetCurrent)(&ctx);
	return ctx;
}

static void capture_begun(CUstream stream)
{
	struct capture c = { stream, current(), pthread_self() };

	pthread_mutex_lock(&shim_lock);
	if (array_grow((void **)&captures.v, &captures.cap, captures.n + 1, sizeof *captures.v) == 0)
		captures.v[captures.n++] = c;
	else
		captures.uncounted++;
	pthread_mutex_unlock(&shim_lock);
}

static void capture_drop(size_t i)
{
	captures.v[i] = captures.v[--captures.n];
	atomic_fetch_add(&captures.changes, 1);
	futex_wake_all(&captures.changes);
}

static void capture_over(CUstream stream)
{
	CUcontext ctx = current();

	pthread_mutex_lock(&shim_lock);
	for (size_t i = 0; i < captures.n; i++) {
		if (same(&captures.v[i], stream, ctx)) {
			capture_drop(i);
			break;
		}
	}
	pthread_mutex_unlock(&shim_lock);
}

bool capture_any(void)
{
	bool any;

	pthread_mutex_lock(&shim_lock);
	any = captures.n > 0 || captures.uncounted > 0;
	pthread_mutex_unlock(&shim_lock);
	return any;
}

int capture_wait(uint64_t deadline_ns)
{
	uint32_t changes;
	int ret = 0;

	while (ret == 0) {
		changes = atomic_load(&captures.changes);
		if (!capture_any())
			return 0;
		ret = futex_wait(&captures.changes, changes, deadline_ns, false);
	}
	return ret;
}

void capture_ctx_gone(CUcontext handle)
{
	pthread_mutex_lock(&shim_lock);
	for (size_t i = captures.n; i > 0; i--) {
		if (captures.v[i - 1].ctx == handle)
			capture_drop(i - 1);
	}
	pthread_mutex_unlock(&shim_lock);
}

void capture_fork_child(void)
{
	captures.n = captures.uncounted = 0;
}

/* A capture that went wrong ends with cuStreamEndCapture too, but not one that another thread or stream was to end. */
static CUresult end(fn_cuStreamEndCapture *fn, fn_cuStreamIsCapturing *ask, CUstream stream, CUgraph *graph)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
	CUresult ret;

	gate_enter();
	ret = fn(stream, graph);
	if (ret == CUDA_SUCCESS || (ask(stream, &status) == CUDA_SUCCESS && status == CU_STREAM_CAPTURE_STATUS_NONE)) {
		capture_over(stream);
		mem_free_deferred();
	}
	gate_leave();
	return ret;
}

SHIM_EXPORT CUresult cuStreamEndCapture(CUstream hStream, CUgraph *phGraph)
{
	return end(DRV(cuStreamEndCapture), DRV(cuStreamIsCapturing), hStream, phGraph);
}

SHIM_EXPORT CUresult cuStreamEndCapture_ptsz(CUstream hStream, CUgraph *phGraph)
{
	return end(DRV(cuStreamEndCapture_ptsz), DRV(cuStreamIsCapturing_ptsz), hStream, phGraph);
}

/* NOLINTBEGIN(bugprone-macro-parentheses): a prototype cannot be */
#define BEGIN(name, proto, args) \
	SHIM_EXPORT CUresult name proto \
	{ \
		CUresult ret; \
\
		gate_enter(); \
		ret = DRV(name) args; \
		if (ret == CUDA_SUCCESS) \
			capture_begun(hStream); \
		gate_leave(); \
		return ret; \
	}
/* NOLINTEND(bugprone-macro-parentheses) */

BEGIN(cuStreamBeginCapture, (CUstream hStream), (hStream))
BEGIN(cuStreamBeginCapture_ptsz, (CUstream hStream), (hStream))
BEGIN(cuStreamBeginCapture_v2, (CUstream hStream, CUstreamCaptureMode mode), (hStream, mode))
BEGIN(cuStreamBeginCapture_v2_ptsz, (CUstream hStream, CUstreamCaptureMode mode), (hStream, mode))
BEGIN(cuStreamBeginCaptureToGraph,
	(CUstream hStream, CUgraph hGraph, const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData, size_t numDependencies, CUstreamCaptureMode mode),
	(hStream, hGraph, dependencies, dependencyData, numDependencies, mode))
BEGIN(cuStreamBeginCaptureToGraph_ptsz,
	(CUstream hStream, CUgraph hGraph, const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData, size_t numDependencies, CUstreamCaptureMode mode),
	(hStream, hGraph, dependencies, dependencyData, numDependencies, mode))

#define DESTROY(name) \
	SHIM_EXPORT CUresult name(CUstream hStream) \
	{ \
		CUresult ret; \
\
		gate_enter(); \
		ret = DRV(name)(hStream); \
		if (ret == CUDA_SUCCESS) \
			capture_over(hStream); \
		gate_leave(); \
		return ret; \
	}

DESTROY(cuStreamDestroy)
DESTROY(cuStreamDestroy_v2)
