/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_DISP_PRIVATE_H
#define SCHED_DISP_PRIVATE_H

#include <semaphore.h>

#include "disp.h"

enum worker_state { WORKER_DOWN, WORKER_STARTING, WORKER_UP };

/** struct worker - @given, @given_ns: number of its last request, and when; @restart_ns, @backoff_ns: when, and how long after the next death; @killed: waits for its death */
struct worker {
	enum worker_state state;
	bool killed;
	uint32_t given;
	struct req *running;
	struct slot *slot;
	uint64_t given_ns, begun_ns, restart_ns, backoff_ns;
};

struct disp {
	struct disp_config cfg;
	struct sched *sched;
	uint32_t workers, types, order;         /* order: of the next request that is enqueued */
	uint32_t latest;                        /* the worker that was given the last request */
	uint64_t busy[SCHED_WORKERS_WORDS];     /* bit w: worker w has a request */
	uint32_t running, starting, down;       /* how many have a request; in which state the others are */
	uint64_t care_ns;                       /* when to look after the workers again */
	uint64_t record_ns;                     /* when to hand lines to the recorder's writer */
	uint64_t idle_ns;                       /* since when there has been nothing to do; 0 = there is something */
	struct disp_counters counters;
	_Atomic uint32_t ready, failed;
	char error[SLOT_ERROR_MAX];             /* of the first that failed; written before @failed */
	int ready_fd;
	_Atomic uint64_t stop_ns;               /* 0: goes on; else when to give up what is left */
	_Atomic uint32_t called, ended;
	void (*call)(struct sched *s, uint64_t now, void *arg);
	void *call_arg;
	sem_t answered;
	struct worker worker[SCHED_WORKERS_MAX];
	struct disp_type *type;                 /* types + 1: the last is for unknown ones */
};

/* disp_worker.c: the workers' lives */
/** workers_care - restarts, hangs, news of workers; sets care_ns */
void workers_care(struct disp *d, uint64_t now);

/* disp.c */
void disp_complete(struct disp *d, uint64_t now, uint32_t w, struct req *r);
void disp_end(struct disp *d, uint64_t now, struct req *r, enum wire_status status, uint32_t worker, enum stage stage);
unsigned disp_collect(struct disp *d, uint64_t now, uint32_t w);

#endif
