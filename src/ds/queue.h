/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_QUEUE_H
#define DS_QUEUE_H

#include "pump.h"

struct op_slab { struct op_slab *next; struct op ops[]; };

struct hearth_ds_queue {
	struct hearth_ds_queue *next;
	struct hearth_ds *ds;
	uint32_t depth;
	enum pump_use use;
	pthread_t thread;
	atomic_bool reaper;             /* a thread that collects wants to drive, or does */
	pthread_mutex_t drive;          /* what is below, up to @lock, which is taken after it; pump_wake() is anybody's */
	struct pump pump;
	atomic_bool by_reaper;          /* whoever collects drives the pump */
	_Atomic(uint64_t) turns;        /* how often one did */
	struct ops ended_now;
	size_t ended_n;
	pthread_mutex_t lock;           /* what is below */
	pthread_cond_t turn;            /* the queue's thread waits for its turn */
	pthread_cond_t ended;
	struct ops pending, done;
	size_t done_n, under_way;       /* @under_way: submitted and not in @done */
	struct op *idle;
	size_t idle_n;
	struct op_slab *slabs;
	unsigned waiting;
	size_t wanted;                  /* by who waits for the least */
	atomic_bool closing;
	bool readable;                  /* @fd is */
	int fd, state;                  /* @state: 1 once the thread runs, -errno if it could not */
	struct hearth_err err;
};

/** queue_new - one that the context does not know of. @use: PUMP_THREAD: nobody will collect from it. NULL: no memory, no thread. */
struct hearth_ds_queue *queue_new(struct hearth_ds *ds, uint32_t depth, enum pump_use use, struct hearth_err *err);
/** queue_free - what has begun ends first; the rest does not begin */
void queue_free(struct hearth_ds_queue *q);
/** queue_push - an operation that queue_op_make() made, and whose @ended was replaced. Does not block. */
void queue_push(struct hearth_ds_queue *q, struct op *op);
/** streams_free - of a device; its context is current. Return: NULL. */
struct streams *streams_free(struct streams *s);
/** queue_op_make - of what a caller asks for; file and memory are in use from here on if it is right. Return: 0, -errno (it is wrong). */
int queue_op_make(struct hearth_ds_queue *q, const struct hearth_ds_op *from, struct op *op);

#endif
