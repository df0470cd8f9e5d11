/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KEEPER_OP_H
#define KEEPER_OP_H

#include "keeper.h"

/* where an operation is. What has its own state besides is each process: after a step that failed half-way they may differ. */
enum op_phase { OP_BEGUN, OP_STOPPED, OP_DETACHED, OP_CHECKPOINTED, OP_RESTORED, OP_ATTACHED, OP_STAGED };

/**
 * struct object - what an operation knows of a buffer
 * @now:   digests of its chunks as the store has them; @have: which of them it has, a bit each
 * @store: the object of the draft, NULL: none yet
 * @buffer: NULL once it was freed, then @gone
 * @pinned: during the stop: the buffer, with a reference: its process may be killed while its memory is read
 */
struct object {
	struct object *next;
	pid_t pid;
	uint64_t id, va, bytes, chunks;
	unsigned flags;
	struct device *device;
	char program[SHIM_NAME_MAX];
	struct buffer *buffer, *pinned;
	struct store_object *store;
	struct digest *now;
	uint64_t *have;
	bool gone;                      /* freed before the stop: no part of the image */
	bool stopped;                   /* part of what was stopped: freed later, it stays in the image */
};

/* struct piece - chunks of an object that lie one after another in device memory. @known: their digests, NULL: the memory may still change, they are made from a copy */
struct piece { struct object *object; uint64_t first, n; cu_deviceptr at; const struct digest *known; struct device *device; };
struct pieces { struct piece *v; size_t n, cap; };

/* struct dirty - a chunk that the store lacks: where it lies. @snapshot: that is the operation's own memory */
struct dirty { struct object *object; uint64_t chunk; struct digest digest; cu_deviceptr at; };

/* struct area - of an operation on a device, from just before the gates close on: room for the snapshot, for digests and tables */
struct area { struct device *device; struct mapping snapshot, digests; uint64_t room; struct dirty *dirty; size_t n, cap; bool hashed; };

struct op {
	struct keeper_server *k;
	struct engine *engine;          /* NULL: it is gone, this is the undoing */
	enum op_phase phase;
	pid_t pids[KEEPER_PIDS_MAX];
	size_t pids_n;
	bool checkpointed[KEEPER_PIDS_MAX], locked[KEEPER_PIDS_MAX];
	struct process *processes[KEEPER_PIDS_MAX];
	pid_t was[KEEPER_PIDS_MAX];     /* load: what each is called in the image */
	size_t n;
	bool loaded, runs_on, sealed, compress;
	struct store *store;
	struct store_draft *draft;
	struct store_image *base, *image;
	struct digest zero;             /* of a chunk of zeros */
	uint64_t seed;
	struct object *objects;
	struct area areas[DEVICES_MAX];
	size_t areas_n;
	char hold[REQUEST_NAME_MAX + 1]; /* what is to be held when it ends; of a loaded one: what it was held as, until it is @touched */
	bool touched;
	/* of a loaded one: the thread that fills memory of our own beforehand */
	pthread_t stager;
	bool staging, stage_done;
	atomic_bool stage_stop;
	struct keeper_report staged, report;
};

/* ---- op.c ---- */
int op_begin(struct engine *e, const struct request *r, struct hearth_err *err);
int op_end(struct op *op, struct hearth_err *err);
/** op_undo - from wherever it is; the operation is over and freed. Return: 0, -EIO, -ESRCH: a process is lost. */
int op_undo(struct op *op, struct hearth_err *err);
void op_free(struct op *op);
/** op_inspect - @ret: an object for the answer */
int op_inspect(struct engine *e, const struct request *r, json_t **ret, struct hearth_err *err);
/** op_refused - the first reason against a checkpoint of these processes. Lock held. Return: 0, -EOPNOTSUPP. */
int op_refused(struct op *op, struct hearth_err *err);

/* ---- hold.c ---- */
/** hold_name - when the operation ends and its processes are gone, their memory stays under this name. Takes the lock. Return: 0, -EFBIG (more than may be held), -EEXIST, -EPROTO. */
int hold_name(struct op *op, const char *name, struct hearth_err *err);
/** hold_take - what was detached moves from the processes to the hold. Lock held. Return: 0, -ENOMEM (it is given back then). */
int hold_take(struct op *op, struct hearth_err *err);
/** hold_into - what is held becomes the operation's; the hold is gone then. Lock held. Return: whether it was there. */
bool hold_into(struct op *op, const char *name);

/* ---- load.c ---- */
/** op_add_record - a process that is not there yet, with its buffers; taken over. @p->pid: what it is called in the image. */
void op_add_record(struct op *op, struct process *p);

/* ---- objects.c ---- */
#define GPU_TABLE_VERSION 2
#define GPU_TABLE_NAME "gpu"
/** zero_chunk - the digest of a chunk of zeros */
struct digest zero_chunk(uint64_t seed);
/** op_store - open store, draft and base. The same store again is fine. Return: 0, -EPROTO (another store), -errno. */
int op_store(struct op *op, const struct request *r, struct hearth_err *err);
/** op_store_drop - draft and all that was put in it are forgotten */
void op_store_drop(struct op *op);
/** objects_update - an object for each buffer that has none; those whose buffer was freed are marked. Takes the lock. Return: 0, -ENOMEM. */
int objects_update(struct op *op, struct hearth_err *err);
/** object_in_store - begin it in the draft; with a base, what the image has is taken over. Return: 0, -errno. */
int object_in_store(struct op *op, struct object *o, struct hearth_err *err);
void objects_free(struct op *op);
static inline bool object_has(const struct object *o, uint64_t chunk) { return o->have[chunk / 64] >> chunk % 64 & 1; }
static inline void object_set(struct object *o, uint64_t chunk, struct digest d) { o->now[chunk] = d; o->have[chunk / 64] |= 1ull << chunk % 64; }
/** objects_seal - fill what is gone with zeros, describe the rest in object "gpu", seal the draft. Return: 0, -errno. */
int objects_seal(struct op *op, int *ret_fd, struct hearth_err *err);
/** op_stage - an operation with processes and their buffers from an image or from what is held. Nobody is there yet. */
int op_stage(struct engine *e, const struct request *r, struct keeper_report *report, struct hearth_err *err);
/** op_load - the processes are there; without op_stage() that comes first. On failure the operation is over. */
int op_load(struct engine *e, const struct request *r, struct keeper_report *report, struct hearth_err *err);

/* ---- copy.c ---- */
int pieces_add(struct pieces *list, struct object *o, uint64_t first, uint64_t n, cu_deviceptr at, const struct digest *known, struct device *d);
/** copy_out - to the store, with several lanes on each device. @progress_from: bytes that count as done already. Return: 0, -ECANCELED, -ENOSPC, -errno. */
int copy_out(struct op *op, struct pieces *list, bool quiet, struct hearth_err *err);

/* ---- precopy.c, stop.c, memory.c, fill.c, driver.c ---- */
int op_precopy(struct op *op, const struct request *r, struct hearth_err *err);
int op_stop(struct op *op, const struct request *r, struct hearth_err *err);
int op_drain(struct op *op, const struct request *r, int *ret_fd, struct hearth_err *err);
/** gates_open - of all processes of the operation that are there and closed. Lock not held. Return: 0, -ESRCH (one is lost; the others are open). */
int gates_open(struct op *op, struct hearth_err *err);
void areas_drop(struct op *op);
int drain_area(struct op *op, struct area *a, bool quiet, struct hearth_err *err);
int op_detach(struct op *op, struct hearth_err *err);
int op_attach(struct op *op, uint64_t timeout_ns, struct hearth_err *err);
#define ATTACH_WINDOW 8                 /* buffers that a process makes at a time */
/** fill_image - buffers whose memory is there (fresh) from the operation's image. @staging: in the stager's thread. Return: 0, -EBADMSG, -errno. */
int fill_image(struct op *op, struct keeper_report *report, bool staging, struct hearth_err *err);
/** stage_start - begin to fill memory of our own. stage_wait - until that is done; what it did is in the operation's report. stage_end - give it up. */
void stage_start(struct op *op);
void stage_wait(struct op *op);
void stage_end(struct op *op);
int op_driver_checkpoint(struct op *op, uint64_t timeout_ns, struct hearth_err *err);
int op_driver_restore(struct op *op, struct hearth_err *err);

#endif
