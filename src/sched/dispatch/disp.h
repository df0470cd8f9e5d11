/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_DISP_H
#define SCHED_DISP_H

#include "lhist.h"
#include "record.h"
#include "sched/policy.h"
#include "sched/wire.h"
#include "slot.h"

/*
 * The dispatcher: one thread that takes requests from a front, lets the policy core decide, gives them to workers and takes them back. Two things are behind
 * tables: the front, which is where requests come from and what becomes of them (a packet backend, or a program's own calls), and the crew, which is what
 * workers are (processes, or threads). So it has no idea of packets, and is tested with neither.
 */
struct disp;

#define DISP_NOBODY UINT32_MAX

/**
 * struct disp_front - all called on the dispatcher's thread
 * @receive: call disp_offer for up to @max requests that are there. Return: how much there was to do; 0 = nothing.
 * @fetch:   a worker has finished @r, and done follows soon: fetch what it reads, wait for nothing. NULL: nothing to fetch.
 * @done:    a worker has finished @r, which is the front's again
 * @ended:   @r ended without: r->status says how (WIRE_OVERLOAD; WIRE_LOST with the worker, which was as far as @stage). It is the front's again.
 * @flush:   end of a round: what was collected goes out, or is held for a moment while more comes in; @now 0: everything, now
 * @fd:      readable when receive may have something; -1: the front rings the bell
 * @arm:     before sleeping: true if nothing is there
 */
struct disp_front {
	unsigned (*receive)(void *ctx, uint64_t now, unsigned max);
	void (*fetch)(void *ctx, const struct req *r);
	void (*done)(void *ctx, uint64_t now, struct req *r);
	void (*ended)(void *ctx, uint64_t now, struct req *r, uint32_t worker, enum stage stage);
	void (*flush)(void *ctx, uint64_t now);
	int (*fd)(void *ctx);
	bool (*arm)(void *ctx);
};

/**
 * struct disp_crew - the same
 * @start: begin a worker on @slot, which says slot_ready when it takes requests. Return: 0, -EAGAIN (at once), -errno (tried again later).
 * @kill:  @worker hangs with @r: end it. disp_died follows, at once or from @look. Return: false: it has just finished, and lives.
 * @fresh: a slot for a new worker in place of a dead one; NULL: slot_init in place
 * @fd, @look: disp_died for those that died, when the descriptor is readable; @fd may be NULL
 */
struct disp_crew {
	int (*start)(void *ctx, uint32_t worker, struct slot *slot);
	bool (*kill)(void *ctx, uint32_t worker, const struct req *r);
	struct slot *(*fresh)(void *ctx, uint32_t worker, struct slot *old);
	int (*fd)(void *ctx);
	void (*look)(void *ctx);
};

/**
 * struct disp_config
 * @sched:   copied
 * @slots:   one a worker, initialised; @bell is the one that they ring
 * @hang_ns: a worker that is longer at one request is given up; 0 = never
 * @recorder: NULL: none
 */
struct disp_config {
	const struct sched_config *sched;
	struct slot *const *slots;
	struct bell *bell;
	struct idle idle;
	uint64_t hang_ns;
	const struct disp_front *front;
	void *front_ctx;
	const struct disp_crew *crew;
	void *crew_ctx;
	struct recorder *recorder;
};

/** struct disp_type - of a type; written by the dispatcher, read by anyone. @slowdown: in 1/64 of the service time. @status: how its requests ended. */
struct disp_type {
	struct lhist latency_ns, slowdown;
	_Atomic uint64_t status[WIRE_STATUSES];
};

/** struct disp_counters - @hung, @died: workers; a hung one is counted in both once it is dead */
struct disp_counters { _Atomic uint64_t hung, died, started, rounds, slept; };

int disp_new(const struct disp_config *cfg, struct disp **ret, struct hearth_err *err);
struct disp *disp_free(struct disp *d);                 /* NULL is fine; not while it runs */

/** disp_run - until disp_stop. Starts the workers, and stops them at the end. The thread that calls it is the dispatcher's. */
void disp_run(struct disp *d);
/** disp_stop - no more is received; what waits is served for @drain_ns at most, then ended with WIRE_OVERLOAD; what runs is waited for likewise. Any thread. */
void disp_stop(struct disp *d, uint64_t drain_ns);
/**
 * disp_call - run something on the dispatcher's thread, between two rounds, and wait for it
 * Context: any thread but the dispatcher's, one at a time; while disp_run runs or is about to. After its end it runs at once, here.
 */
void disp_call(struct disp *d, void (*call)(struct sched *s, uint64_t now, void *arg), void *arg);

/* ---- for fronts and crews, on the dispatcher's thread ---- */

/** disp_expects - the request that was started last is not done and was started within @ns: another reply may follow at once. Who runs for longer is not waited for. */
bool disp_expects(const struct disp *d, uint64_t now, uint64_t ns);
/** disp_offer - a request that came at @arrival: enqueued, or ended with WIRE_OVERLOAD. Sets arrival_ns, type and status of @r. */
void disp_offer(struct disp *d, uint64_t now, uint64_t arrival, uint32_t type, uint32_t flow, struct req *r);
/** disp_died - no one is behind @worker's slot any more */
void disp_died(struct disp *d, uint32_t worker);
/** disp_set_hang - in a disp_call */
void disp_set_hang(struct disp *d, uint64_t hang_ns);
struct slot *disp_slot(const struct disp *d, uint32_t worker);

/* ---- any thread ---- */

/** disp_type_of - SCHED_UNKNOWN for the unknown ones */
struct disp_type *disp_type_of(const struct disp *d, uint32_t type);
struct disp_counters *disp_counters_of(struct disp *d);
/** disp_ready - workers that take requests. @ret_failed: the first one that could not begin, or DISP_NOBODY; @ret_error: why; both may be NULL. */
uint32_t disp_ready(const struct disp *d, uint32_t *ret_failed, const char **ret_error);
/** disp_ready_fd - an eventfd that is readable after something of that changed */
int disp_ready_fd(const struct disp *d);

#endif
