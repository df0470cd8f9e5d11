/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fake.h"

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	unsigned active;
	bool closed;
} gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false };
static struct fake_fault own[FAKE_FAULTS_MAX];
static __thread unsigned depth;
__thread bool call_in_host_function;

void call_faults(const char *config)
{
	char *text = config ? strdup(config) : NULL, *state = NULL;
	size_t n = 0;

	for (char *w = text ? strtok_r(text, ",", &state) : NULL; w && n < FAKE_FAULTS_MAX; w = strtok_r(NULL, ",", &state))
		if (fake_fault_parse(w, &own[n]) == 0)
			n++;
	free(text);
}

/* "cuMemAlloc_v2" and "cuMemcpyAsync_ptsz" are calls of cuMemAlloc and cuMemcpyAsync */
static void base_name(const char *symbol, char ret[FAKE_NAME_MAX])
{
	size_t n;

	snprintf(ret, FAKE_NAME_MAX, "%s", symbol);
	n = strlen(ret);
	if (n > 5 && (strcmp(ret + n - 5, "_ptsz") == 0 || strcmp(ret + n - 5, "_ptds") == 0))
		ret[n -= 5] = '\0';
	if (n > 3 && ret[n - 3] == '_' && ret[n - 2] == 'v')
		ret[n - 3] = '\0';
}

static struct fake_counter *counter_of(const char *name)
{
	struct fake_counter *found = NULL;

	if (!fake.process)
		return NULL;
	machine_lock(&fake.machine->lock);
	for (int k = 0; !found && k < FAKE_CALLS_MAX; k++) {
		struct fake_counter *c = &fake.process->counter[k];

		if (c->call[0] == '\0')
			snprintf(c->call, sizeof(c->call), "%s", name);
		if (strcmp(c->call, name) == 0)
			found = c;
	}
	pthread_mutex_unlock(&fake.machine->lock);
	return found;
}

static CUresult fault_act(struct fake_fault *f, const char *name)
{
	unsigned hit;

	if (f->kind == FAKE_FAULT_NONE || strcmp(f->call, name) != 0 || (f->pid && f->pid != getpid()))
		return CUDA_SUCCESS;
	hit = atomic_fetch_add(&f->hits, 1) + 1;
	if (f->nth && hit != f->nth)
		return CUDA_SUCCESS;
	if (f->kind == FAKE_FAULT_KILL)
		kill(getpid(), SIGKILL);
	if (f->kind == FAKE_FAULT_DELAY) {
		struct timespec ts = { .tv_sec = f->value / 1000, .tv_nsec = f->value % 1000 * 1000000L };

		while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
			;
	}
	return f->kind == FAKE_FAULT_FAIL ? (CUresult)f->value : CUDA_SUCCESS;
}

static CUresult faults(const char *name)
{
	CUresult r = CUDA_SUCCESS;

	for (int k = 0; !r && k < FAKE_FAULTS_MAX; k++)
		r = fault_act(&own[k], name);
	for (int k = 0; !r && fake.machine && k < FAKE_FAULTS_MAX; k++)
		r = fault_act(&fake.machine->fault[k], name);
	return r;
}

CUresult call_step(const char *name)
{
	struct fake_counter *c = counter_of(name);

	if (c)
		atomic_fetch_add(&c->calls, 1);
	return faults(name);
}

static void gate_pass(void)
{
	pthread_mutex_lock(&gate.lock);
	while (gate.closed)
		pthread_cond_wait(&gate.change, &gate.lock);
	gate.active++;
	pthread_mutex_unlock(&gate.lock);
}

static CUresult call_check(struct call_site *site, unsigned flags)
{
	char name[FAKE_NAME_MAX];
	struct ctx *ctx;
	CUresult r;

	base_name(site->name, name);
	if (!site->counter)
		site->counter = counter_of(name);
	if (site->counter)
		atomic_fetch_add(&site->counter->calls, 1);
	r = faults(name);
	if (r)
		return r;
	if ((flags & (CALL_INIT | CALL_CTX)) && !fake.inited)
		return CUDA_ERROR_NOT_INITIALIZED;
	if (!(flags & CALL_CTX))
		return CUDA_SUCCESS;
	ctx = ctx_current();
	return ctx ? ctx_error(ctx) : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult call_enter(struct call *c, struct call_site *site, unsigned flags)
{
	CUresult r;

	if (flags & CALL_UNGATED)
		return call_check(site, flags);
	if (depth == 0 && call_in_host_function && (flags & CALL_CTX))
		return CUDA_ERROR_NOT_PERMITTED;
	if (depth == 0)
		gate_pass();
	depth++;
	c->entered = true;
	r = depth == 1 ? call_check(site, flags) : CUDA_SUCCESS;
	if (r)
		call_leave(c);
	return r;
}

void call_leave(struct call *c)
{
	if (!c->entered)
		return;
	c->entered = false;
	if (--depth > 0)
		return;
	pthread_mutex_lock(&gate.lock);
	gate.active--;
	pthread_cond_broadcast(&gate.change);
	pthread_mutex_unlock(&gate.lock);
}

/* a call that waits for the gate is not active, one that waits for the device is */
static bool wait_for_calls(const struct timespec *deadline)
{
	bool done;

	pthread_mutex_lock(&gate.lock);
	gate.closed = true;
	while (gate.active && pthread_cond_clockwait(&gate.change, &gate.lock, CLOCK_MONOTONIC, deadline) != ETIMEDOUT)
		;
	done = gate.active == 0;
	pthread_mutex_unlock(&gate.lock);
	return done;
}

CUresult call_close(unsigned timeout_ms)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	if (timeout_ms == 0)
		end.tv_sec += INT_MAX / 1000;           /* as the driver: wait as long as it takes */
	end.tv_sec += timeout_ms / 1000;
	end.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_nsec -= 1000000000;
		end.tv_sec++;
	}
	if (wait_for_calls(&end) && stream_idle_until(&end))
		return CUDA_SUCCESS;
	call_open();
	return CUDA_ERROR_NOT_READY;
}

void call_open(void)
{
	pthread_mutex_lock(&gate.lock);
	gate.closed = false;
	pthread_cond_broadcast(&gate.change);
	pthread_mutex_unlock(&gate.lock);
}
