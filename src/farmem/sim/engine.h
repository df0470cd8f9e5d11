/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FARMEM_SIM_ENGINE_H
#define FARMEM_SIM_ENGINE_H

#include <math.h>

#include "base/clock.h"
#include "base/hist.h"
#include "model.h"

/* The events of a day, the instances, and what is counted; what happens to an instance's memory is its policy's. Times begin at 1 s: 0 is never a time. */
#define BEGIN_NS NS_PER_S
#define PAGE_BYTES 4096.0
#define NOBODY UINT32_MAX

/* what policies keep of an instance */
struct tmo_state { uint64_t stalled_ns; double psi; };
struct faasmem_state {
	uint64_t rollback_ns;
	uint32_t requests_rollback;
	double touched;                 /* of VARY, since the last rollback */
};
struct hearth_state {
	struct farmem_instance policy;
	double leaving, moved;          /* bytes of the offload under way: to go, and gone but not reported */
	unsigned segments;              /* of that */
	bool runtime_known, init_known; /* what is hot of it has been away and came back: its use was seen */
	double used, touched;           /* of VARY: came back since and counts as execution segment; since the last rollback */
};

struct instance {
	uint32_t function, up, down;    /* neighbours on its function's stack of idle ones */
	uint32_t older, younger;        /* neighbours among all idle ones, by when they became so */
	bool busy, live;
	uint64_t timer_ns, queued_ns;   /* when the policy wants to be asked, and the timer in the queue that is its; FARMEM_NEVER */
	uint64_t run_ns;                /* of the request that runs, by itself */
	double added_ns, late_ns;       /* of the request that runs: what it waited for memory; of that, what came after it had begun and puts its end off */
	uint64_t synced_ns;             /* up to when its memory was counted */
	uint64_t ready_ns, begun_ns, idle_ns;   /* initialised; the last request's begin and end */
	uint64_t semiwarm_ns;           /* idle: when its memory begins to leave; FARMEM_NEVER */
	uint32_t requests;
	double resident[PARTS];
	union {
		struct tmo_state tmo;
		struct faasmem_state faasmem;
		struct hearth_state hearth;
	};
};

struct sim;

/**
 * struct policy_ops - what differs between policies. The instance's resident[] is theirs.
 * @ready:   it was initialised at @now_ns; all is resident
 * @elapse:  bring resident[] from i->synced_ns to @now_ns. Return: byte-seconds of it in between.
 * @request: one begins. Return: the ns that it waits for memory. May set i->timer_ns.
 * @idle:    it ended; may set i->timer_ns and i->semiwarm_ns.  @timer: that has come; may add to i->late_ns. NULL: nothing to do.
 * @end:     it was idle for as long as instances are kept. NULL: nothing to do
 */
struct policy_ops {
	void (*ready)(struct sim *s, struct instance *i, uint64_t now_ns);
	double (*elapse)(struct sim *s, struct instance *i, uint64_t now_ns);
	double (*request)(struct sim *s, struct instance *i, uint64_t now_ns);
	void (*idle)(struct sim *s, struct instance *i, uint64_t now_ns);
	void (*timer)(struct sim *s, struct instance *i, uint64_t now_ns);
	void (*end)(struct sim *s, struct instance *i, uint64_t now_ns);
};
extern const struct policy_ops keepalive_ops, tmo_ops, damon_ops, faasmem_ops, hearth_ops;

/* times of a function: reuse intervals, for the oracle; latencies. 64 buckets to the doubling, from 1 ms on */
#define REUSE_BUCKETS (24 * 64)
struct reuse { uint32_t n, bucket[REUSE_BUCKETS]; };

/* of calls that found an instance: with what they waited for memory, and without */
struct latency { struct reuse with, without; };

/* of a function; what was added to its requests' latency: four buckets to the doubling, from 1 us on; the first one is below that */
#define ADDED_BUCKETS 120
struct tally {
	uint64_t requests, cold_starts, restores, wakes;
	double byte_s, alive_s, idle_s, semiwarm_s;
	uint32_t added[ADDED_BUCKETS];
};

/* of the queue: an instance's request ends, or its timer comes */
struct entry { uint64_t at_ns; uint32_t instance; bool timer; };

struct sim {
	const struct memsim_config *cfg;
	const struct policy_ops *ops;
	struct function *functions;
	uint32_t *idle_top, *parked;        /* by function */
	struct tally *tally;                            /* by function */
	struct reuse *reuse;                            /* by function; NULL: not asked for */
	struct latency *latency;                        /* by function */
	const uint64_t *oracle_ns;                      /* by function: faasmem's delay */
	struct instance *instance;
	size_t instances_n, instances_cap;
	uint32_t free_list, oldest, youngest, live;
	struct entry *queue;
	size_t queue_n, queue_cap;
	uint64_t end_ns;
	struct hist all_added_ns;
	double out_bytes, fault_bytes, prefetch_bytes, added_ns, start_ns;
	/* hearth */
	struct farmem_node node;
	struct farmem_function *farmem;                 /* by function */
	uint64_t second_ns;                             /* of the next farmem_node_update */
	double flow_evict, flow_fault, flow_prefetch;   /* bytes since the last */
	struct memsim_result *ret;
};

/**
 * sim_day - one policy over the whole trace
 * @reuse:     room for one a function: filled in; or NULL
 * @oracle_ns: MEMSIM_FAASMEM: one a function
 * @rows:      room for one a function: filled in; or NULL
 * Return: 0, -ENOMEM.
 */
int sim_day(const struct memsim_config *cfg, enum memsim_policy policy, struct reuse *reuse, const uint64_t *oracle_ns, struct memsim_result *ret, struct memsim_row *rows);

/* ---- figures.c ---- */

void count_reuse(struct reuse *r, uint64_t interval_ns);
/** reuse_quantile_ns - of exact counts, the upper end of the bucket; 0 when there is none */
uint64_t reuse_quantile_ns(const struct reuse *r, double q);
/** count_added - an instance's request has ended: what it waited for memory */
void count_added(struct sim *s, const struct instance *i);
/** count_time - the time from i->synced_ns to @now_ns, in which it had @byte_s of local memory */
void count_time(struct sim *s, const struct instance *i, uint64_t now_ns, double byte_s);
void count_start(struct sim *s, uint32_t function, bool restored, double wait_ns);
/** figures - all that s->ret says, of a day that is over, and @rows where there are. Return: 0, -ENOMEM. */
int figures(struct sim *s, struct memsim_row *rows);

/* ---- what policies share ---- */

static inline double seconds(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0;
}

static inline double resident_of(const struct instance *i)
{
	return i->resident[RUNTIME_COLD] + i->resident[INIT_COLD] + i->resident[VARY] + i->resident[RUNTIME_HOT] + i->resident[INIT_HOT];
}

/** take_out - at most @bytes of one part leave. Return: what left. */
double take_out(struct sim *s, struct instance *i, enum part part, double bytes);
/** take_coldest - at most @bytes leave, the coldest parts first, none after @last. Return: what left. */
double take_coldest(struct sim *s, struct instance *i, double bytes, enum part last);
/** bring_back - a part is resident up to @bytes. Return: what came. */
double bring_back(const struct sim *s, struct instance *i, enum part part, double bytes);
/** touch - a request touches what it needs, page by page, and what is missing is faulted in. Return: bytes that were missing. */
double touch(struct sim *s, struct instance *i);
static inline double fault_ns(const struct sim *s, double bytes) { return bytes / PAGE_BYTES * s->cfg->costs.fault_us * 1e3; }

#endif
