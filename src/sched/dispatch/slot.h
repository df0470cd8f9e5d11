/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_SLOT_H
#define SCHED_SLOT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the dispatcher and a worker share: a place for one request each way, who sleeps, and how far the worker is with its request. Everything is in memory
 * that both see at the same address: heap for threads, a MAP_SHARED mapping made before the fork for processes. Nothing here says which of the two a worker is.
 */

/* Nobody looks for work forever: IDLE_POLL spins, IDLE_SLEEP sleeps at once, IDLE_ADAPTIVE spins for a while first. */
enum idle_mode { IDLE_POLL, IDLE_SLEEP, IDLE_ADAPTIVE };

/**
 * struct idle - how to wait
 * @spin_ns: IDLE_ADAPTIVE
 * @yield:   IDLE_POLL: there are fewer cores than threads that poll: let others run
 */
struct idle {
	enum idle_mode mode;
	uint64_t spin_ns;
	bool yield;
};

/**
 * struct req - a request, from its arrival to its end
 * @item:       the front's: a net_buf, or what a program submitted
 * @data:       fronts of datagrams: the datagram, which becomes the reply in place
 * @id:         the client's
 * @service_ns: in the application; the worker's
 * @send_ns:    in addition for the reply, saturating; the worker's
 * @queue_ns:   from the arrival until the worker began, saturating; the worker's
 * @len, @room: of @data: what came, and what the reply may be. Then @len is the reply's, the worker's.
 * @type:       as configured or SCHED_UNKNOWN
 * @seq:        counts the requests of a slot, so that a stage tells whose it is
 * @status:     enum wire_status; the worker's until it is done, then the dispatcher's
 *
 * What the dispatcher keeps for itself, in a line that never leaves its core:
 * @order:      of arrival, for the recorded trace
 * @gen:        of the net_buf
 * @fetch:      what the worker will read, too, or NULL; it is asked for along with the request
 * @reply:      as @data, or NULL: known before the line above is back
 */
struct req {
	alignas(64) void *item;
	uint8_t *data;
	uint64_t id, arrival_ns, service_ns;
	uint32_t send_ns, queue_ns, type, seq;
	uint16_t len, room, wire_type;
	uint8_t status;
	alignas(64) uint32_t order;
	uint32_t gen;
	void *fetch;
	uint8_t *reply;
};
_Static_assert(offsetof(struct req, order) == 64, "what goes to a worker and comes back is a cache line");

/* How far a worker is with the request of a number. Only the worker moves on, but the dispatcher may take a request away from it: STAGE_TAKEN. */
enum stage { STAGE_IDLE, STAGE_RUNNING, STAGE_SENDING, STAGE_SENT, STAGE_TAKEN };

/** struct bell - wakes the dispatcher. @fd: an eventfd */
struct bell {
	alignas(64) _Atomic uint32_t asleep;
	int fd;
	bool silent;                    /* the dispatcher never sleeps */
};

#define SLOT_ERROR_MAX 256

/* struct parcel - a request on its way to the worker, with what else it will touch: one line has to come over before all the others can be asked for */
struct parcel {
	alignas(64) _Atomic uint32_t number;    /* of parcels so far */
	struct req *r;
	void *fetch;
	uint8_t *data;
};

struct slot {
	struct parcel in;                       /* the dispatcher's */
	/* what the worker writes at every request, and the dispatcher reads when it is dead or just begun */
	alignas(64) _Atomic uint64_t stage;     /* seq << 3 | enum stage */
	uint32_t taken;                         /* in.number when it last took one */
	_Atomic uint32_t ready;                 /* 1: takes requests; 2: could not begin, @error says why */
	_Atomic int pid;                        /* of the process that the worker is in; 0 = none yet */
	alignas(64) _Atomic uint32_t finished;  /* in.number of the last one that is done: what the dispatcher looks at all the time */
	/* what is seldom written */
	alignas(64) _Atomic uint32_t asleep;    /* futex; the worker's, cleared by who wakes it */
	_Atomic uint32_t stop;                  /* the dispatcher's */
	_Atomic uint32_t refs;                  /* threads: 2, dispatcher's and worker's; the last one frees a slot that was seized */
	uint32_t worker;
	struct bell *bell;
	struct idle idle;
	char error[SLOT_ERROR_MAX];
};

/** slot_bytes - memory for a slot; a multiple of 64 */
size_t slot_bytes(void);
/** slot_init - @mem: slot_bytes(), aligned to 64. Also to begin anew when no worker has it. */
struct slot *slot_init(void *mem, uint32_t worker, struct bell *bell, const struct idle *idle);

/* ---- the dispatcher's side ---- */

/** slot_give - one request; the worker is woken. Never more than one at a time. */
void slot_give(struct slot *s, struct req *r);
/** slot_look - slot_done follows soon: fetch what it reads, wait for nothing */
static inline void slot_look(const struct slot *s) { __builtin_prefetch(&s->finished); }
/** slot_done - the request that was given last is finished */
bool slot_done(const struct slot *s);
/** slot_stage - how far the worker is with @r; STAGE_IDLE: it has not begun */
enum stage slot_stage(const struct slot *s, const struct req *r);
/** slot_seize - take @r from a worker that is a thread and hangs. Return: false if it has just finished. The worker ends when it comes back. */
bool slot_seize(struct slot *s, const struct req *r);
/** slot_stop - the worker ends after the request that it has */
void slot_stop(struct slot *s);

/* ---- the worker's side ---- */

/**
 * struct slot_work - what a worker does with a request
 * @handle: do it. @r may be taken away meanwhile, if workers are threads: what is needed of it is copied at the start. Return: r->status.
 * @send:   the reply; a worker may die in here, and nobody knows whether it was sent. NULL: nothing to send.
 */
struct slot_work {
	uint8_t (*handle)(void *ctx, struct req *r);
	void (*send)(void *ctx, struct req *r);
};

/** slot_ready - @error: NULL, or why this worker cannot begin */
void slot_ready(struct slot *s, const char *error);
/** slot_run - take requests until slot_stop or until one is seized. Return: false if it was. */
bool slot_run(struct slot *s, const struct slot_work *work, void *ctx);

/** slot_seized - has a request been taken from this slot? It is used no more then. */
bool slot_seized(const struct slot *s);

/* ---- sleeping ---- */

/** bell_ring - after something was put where the dispatcher will look */
void bell_ring(struct bell *b);
/** bell_arm - the dispatcher is about to sleep on @fd: what is put there from now on rings; look once more before you sleep */
void bell_arm(struct bell *b);
/** bell_disarm - awake again; empties the eventfd */
void bell_disarm(struct bell *b);
/** idle_pause - between two looks */
void idle_pause(const struct idle *idle);

#endif
