/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake.h"

/* One piece of device work, and what becomes of it when it touches memory that is not there. */
static __thread sigjmp_buf *fault_exit;
static struct sigaction before[2];

static void on_fault(int sig, siginfo_t *info, void *where)
{
	struct sigaction *old = &before[sig == SIGBUS];

	if (fault_exit)
		siglongjmp(*fault_exit, 1);
	if (old->sa_flags & SA_SIGINFO)
		old->sa_sigaction(sig, info, where);
	else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN)
		old->sa_handler(sig);
	else
		signal(sig, SIG_DFL);           /* the instruction runs again, and now it kills */
}

void work_catch_faults(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &sa, &before[0]);
	sigaction(SIGBUS, &sa, &before[1]);
}

static void *dup_bytes(const void *p, size_t n)
{
	void *q = malloc(n ? n : 1);

	if (q && n)
		memcpy(q, p, n);
	return q;
}

bool work_copy_of(struct work *to, const struct work *from)
{
	*to = *from;
	if (from->kind == WORK_KERNEL) {
		to->launch.args = dup_bytes(from->launch.args, from->launch.k->args_bytes);
		return to->launch.args != NULL;
	}
	if (from->kind == WORK_COPY && from->copy.staged) {
		size_t n = from->copy.width * from->copy.rows * from->copy.planes;

		to->copy.staged = dup_bytes(from->copy.staged, n);
		to->copy.from.at = (uint64_t)to->copy.staged;
		return to->copy.staged != NULL;
	}
	if (from->kind == WORK_PLAN)
		plan_ref(to->plan);
	return true;
}

void work_done(struct work *w)
{
	if (w->kind == WORK_KERNEL)
		free(w->launch.args);
	if (w->kind == WORK_COPY)
		free(w->copy.staged);
	if (w->kind == WORK_PLAN)
		plan_put(w->plan);
	w->kind = WORK_EMPTY;
}

static void run_kernel(const struct work *w)
{
	const struct kernel *k = w->launch.k;
	void *args[PARAMS_MAX];
	struct fake_launch l = { .shared_bytes = w->launch.shared, .args = args, .module = k->module, .global = module_global };

	memcpy(l.grid, w->launch.grid, sizeof(l.grid));
	memcpy(l.block, w->launch.block, sizeof(l.block));
	for (unsigned p = 0; p < k->params; p++)
		args[p] = (char *)w->launch.args + k->offset[p];
	k->fn(&l);
}

static void run_copy(const struct work *w)
{
	const struct side *to = &w->copy.to, *from = &w->copy.from;

	for (size_t z = 0; z < w->copy.planes; z++)
		for (size_t y = 0; y < w->copy.rows; y++)
			memmove((char *)to->at + (z * to->height + y) * to->pitch, (const char *)from->at + (z * from->height + y) * from->pitch, w->copy.width);
}

static void run_set(const struct work *w)
{
	for (size_t y = 0; y < w->set.rows; y++) {
		char *row = (char *)w->set.to + y * w->set.pitch;

		if (w->set.unit == 1)
			memset(row, (int)w->set.value, w->set.width);
		for (size_t x = 0; w->set.unit > 1 && x < w->set.width; x++)
			memcpy(row + x * w->set.unit, &w->set.value, w->set.unit);
	}
}

static void run_free(uint64_t va)
{
	struct alloc *a;

	pthread_mutex_lock(&fake.lock);
	a = table_find(&fake.allocs, va);
	if (a && a->at.va == va)
		alloc_free(a);
	pthread_mutex_unlock(&fake.lock);
}

static void run_event(const struct work *w)
{
	struct event *e = w->event.e;
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	pthread_mutex_lock(&exec_lock);
	e->time_ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
	event_unref(e);
	pthread_mutex_unlock(&exec_lock);
}

static void run_host(const struct work *w, struct ctx *c, CUstream handle)
{
	call_in_host_function = true;
	if (w->kind == WORK_HOST)
		w->host.fn(w->host.data);
	else
		w->host.callback(handle, ctx_error(c), w->host.data);
	call_in_host_function = false;
}

static bool value_there(uint32_t is, uint32_t value, unsigned flags)
{
	switch (flags & 3) {
	case CU_STREAM_WAIT_VALUE_EQ:
		return is == value;
	case CU_STREAM_WAIT_VALUE_AND:
		return (is & value) != 0;
	case CU_STREAM_WAIT_VALUE_NOR:
		return (is | value) != UINT32_MAX;
	default:
		return (int32_t)(is - value) >= 0;
	}
}

/* a device looks at the memory again and again, as this does */
static void run_value(const struct work *w)
{
	uint32_t *at = (uint32_t *)w->value.at;
	const struct timespec pause = { .tv_nsec = 20000 };

	if (w->kind == WORK_VALUE_WRITE)
		__atomic_store_n(at, w->value.value, __ATOMIC_RELEASE);
	else
		while (!value_there(__atomic_load_n(at, __ATOMIC_ACQUIRE), w->value.value, w->value.flags))
			nanosleep(&pause, NULL);
}

/* kernels, copies and sets: a fault in them is the device's */
static CUresult run_guarded(const struct work *w)
{
	sigjmp_buf here;

	if (sigsetjmp(here, 1)) {
		fault_exit = NULL;
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	}
	fault_exit = &here;
	if (w->kind == WORK_KERNEL)
		run_kernel(w);
	else if (w->kind == WORK_COPY)
		run_copy(w);
	else
		run_set(w);
	fault_exit = NULL;
	return CUDA_SUCCESS;
}

CUresult work_run(struct work *w, struct ctx *c, CUstream handle)
{
	switch (w->kind) {
	case WORK_KERNEL:
	case WORK_COPY:
	case WORK_SET:
		return ctx_error(c) ? CUDA_SUCCESS : run_guarded(w);    /* a context that failed does no more work */
	case WORK_HOST:
		if (!ctx_error(c))
			run_host(w, c, handle);
		return CUDA_SUCCESS;
	case WORK_CALLBACK:
		run_host(w, c, handle);
		return CUDA_SUCCESS;
	case WORK_EVENT:
		run_event(w);
		return CUDA_SUCCESS;
	case WORK_FREE:
		run_free(w->va);
		return CUDA_SUCCESS;
	case WORK_PLAN:
		return plan_run(w->plan, c, handle);
	case WORK_VALUE_WAIT:
	case WORK_VALUE_WRITE:
		if (!ctx_error(c))
			run_value(w);
		return CUDA_SUCCESS;
	case WORK_EMPTY:
		break;
	}
	return CUDA_SUCCESS;
}
