/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOAD_LANE_H
#define LOAD_LANE_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "flights.h"
#include "schedule.h"
#include "sched/load.h"

/*
 * A lane is a thread with its own share of the schedule, its own sockets and its own counts: lanes share nothing but the run's start, its end, and counters
 * that others may read.
 */
struct address { struct sockaddr_storage sa; socklen_t len; char text[80]; };

struct run {
	const struct load_config *cfg;
	struct address address;
	uint64_t origin_ns;             /* CLOCK_MONOTONIC of the start; set before the lanes begin */
	uint64_t warm_ns, end_ns;       /* of the measured part, since the start */
	atomic_bool stop;               /* a lane failed, or nobody answers */
	pthread_mutex_t lock;           /* of the two below */
	pthread_cond_t changed;
	unsigned ready, ended;
	bool go;
};

struct lane {
	struct run *run;
	const struct load_config *cfg;
	unsigned index;
	pthread_t thread;
	bool started, opened;           /* opened: there is something to close */
	int rc;
	struct hearth_err err;

	struct schedule schedule;
	struct arrival next;
	bool more;                      /* next is valid */
	uint64_t last_sent_ns;          /* since the start */

	struct load_series *series;     /* phases_n x types_n */
	struct hist lag, conn_wait;
	uint64_t warmup_due, warmup_lost, stray, malformed, refused, errors, starts[4], cpu_ns;
	atomic_uint_fast64_t sent, answered, lost, flying;      /* written by the lane, read by the run; the warm-up counts too */
};

/** lane_now - since the start of the run; 0 before it */
static inline uint64_t lane_now(const struct lane *l)
{
	uint64_t now_ns = clock_mono_ns();

	return now_ns > l->run->origin_ns ? now_ns - l->run->origin_ns : 0;
}
static inline bool lane_stopped(const struct lane *l)
{
	return atomic_load_explicit(&l->run->stop, memory_order_relaxed) || (l->cfg->stop && atomic_load_explicit(l->cfg->stop, memory_order_relaxed));
}

static inline struct load_series *lane_series(struct lane *l, uint32_t phase, uint32_t type)
{
	return &l->series[phase * l->cfg->workload->types_n + type];
}
static inline bool lane_measured(const struct lane *l, uint64_t due_ns) { return due_ns >= l->run->warm_ns; }
static inline void lane_count(atomic_uint_fast64_t *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

/** lane_advance - take the next arrival out of the schedule; after the run's end or a stop there is none */
void lane_advance(struct lane *l);
/** lane_due - count a request whose time has come; @sent: it is being sent, at @now_ns; else it cannot be */
void lane_due(struct lane *l, const struct arrival *a, uint64_t now_ns, bool sent);
void lane_lost(struct lane *l, const struct flight *f);
/** lane_forget - the run was stopped while it was under way: as if it had never been due */
void lane_forget(struct lane *l, const struct flight *f);

/** struct answer - @queue_ns, @service_ns: as the server says; 0: it does not. @slow_ns: service time that the slowdown is relative to; 0: none */
struct answer { uint64_t now_ns, queue_ns, service_ns, slow_ns; unsigned status; bool ok; };
void lane_answered(struct lane *l, const struct flight *f, const struct answer *a);

/** lane_wait_ns - how long to sleep for something due at @at_ns: 0 when it is so near that the clock is looked at instead */
uint64_t lane_wait_ns(const struct lane *l, uint64_t now_ns, uint64_t at_ns);

/* The two kinds of lanes: open makes what it needs before the run starts, play plays the schedule and waits for the answers. */
struct lane_ops {
	size_t size;                    /* of its struct, which begins with struct lane */
	int (*open)(struct lane *l);    /* 0, -errno with l->err */
	int (*play)(struct lane *l);
	void (*close)(struct lane *l);  /* half-opened is fine */
};
extern const struct lane_ops lane_udp, lane_http;

/** address_resolve - "HOST:PORT", "[IPV6]:PORT". @dgram: for UDP. Return: 0, -EINVAL, -EHOSTUNREACH, with message. */
int address_resolve(const char *target, const char *default_port, bool dgram, struct address *ret, struct hearth_err *err);

/* ---- series ---- */

void series_merge(struct load_series *into, const struct load_series *from);

#endif
