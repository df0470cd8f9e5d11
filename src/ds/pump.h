/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_PUMP_H
#define DS_PUMP_H

#include <liburing.h>

#include "cuda.h"
#include "ring.h"

/*
 * The engine. Operations are cut into pieces; a piece is read by O_DIRECT (io_uring), or from the page cache, into its place or into a slot of the device's ring, and is copied from there. A pump
 * belongs to one thread at a time, and everything of it but @returned, @mood and @wake is that thread's alone. What keeps a processor busy, or blocks, goes to a device's crew.
 *
 *	op --> piece --> io_uring --> lane: copies of a round as one batch --> event --> op->ended()
 *	              \-> crew: read, copy, event --> returned /
 */

/** struct op - one operation, from when it begins until @ended */
struct op {
	struct op *next;                /* in whichever list it is */
	struct op *chained;             /* the next one of its piece: neighbours in the file travel as one */
	struct hearth_ds_file *file;
	struct hearth_ds_memory *memory;
	struct pair *pair;
	uint64_t memory_offset, file_offset, bytes, tag;
	uint64_t issued;                /* of which pieces were made */
	uint64_t end;                   /* where it ends: less than @bytes once a piece found the end of the file */
	uint32_t pieces;                /* under way */
	uint8_t path, blamed;           /* enum hearth_ds_path; @blamed: that failed before this one was tried */
	bool write, over;               /* @over: of who waits for it in the pump's thread */
	int error, first_error;
	int64_t result;                 /* when it has ended */
	void (*ended)(void *ctx, struct op *op);
	void *ctx;
};

/** struct piece - part of one operation, or several short operations */
struct piece {
	struct piece *next;
	struct pump *pump;
	struct lane *lane;
	struct hearth_ds_file *file;
	struct op *ops;
	uint64_t at, low;               /* @low: from where on it is read, whole blocks */
	uint32_t n, cover;
	uint8_t path;
	bool write, cached;             /* @cached: the page cache was found to have all of it */
	struct slot *slot;              /* NULL: into its place */
	uint8_t *to;                    /* where the byte at @low goes */
	int64_t got;                    /* bytes from @at on, or -errno */
};
struct pieces { struct piece *head, *tail; };
struct ops { struct op *head, *tail; };

#define BATCHES 64
#define BATCH_PIECES 16                 /* the first of many are told of while the rest is given to the device */
/** struct batch - copies that the device was given together */
struct batch { cu_event event; struct pieces pieces; };

/** struct lane - what a pump has of a device; one of "host" has no stream */
struct lane {
	struct lane *next;
	struct hearth_ds_device *device;
	struct ring *ring;
	struct slot *current;           /* from which short pieces get their room */
	unsigned slots;                 /* that it has */
	unsigned depth;                 /* of the pump */
	int16_t *registered;            /* of each segment: io_uring's number of it, REGISTERED_NOT */
	cu_stream stream;
	struct batch batches[BATCHES];  /* given: from @first on, @n of them */
	unsigned first, n;
	struct pieces ready;            /* read, to be copied in this round */
	struct copies *copies;
};
enum { REGISTERED_NOT = -1, REGISTERED_NEVER = -2 };

enum { PUMP_AWAKE, PUMP_ASLEEP, PUMP_CALLED };
struct pump {
	struct pump *next;              /* in the pool */
	struct hearth_ds *ds;
	struct hearth_err *err;         /* of a synchronous operation: what the driver said; NULL: nobody asks */
	int failed;                     /* why there is no lane */
	struct lane *lanes;
	struct hearth_ds_device *current;       /* whose context is the thread's; NULL: none of ours */
	struct io_uring uring;
	bool has_uring, armed;
	unsigned depth, in_uring, working;      /* I/Os at most; of io_uring now; of crews now */
	unsigned next_buffer;
	struct ops todo;                /* begun, not all of it issued: @todo_n operations */
	unsigned todo_n;
	unsigned submit_each;           /* I/Os that the kernel is told of together now */
	size_t under_way;               /* operations begun and not ended */
	struct piece *idle;
	struct slab { struct slab *next; struct piece pieces[64]; } *slabs;
	struct hearth_ds_file *sized;   /* whose size is @size, in this round */
	int64_t size;
	int wake;                       /* eventfd */
	uint64_t woken;
	atomic_int mood;                /* PUMP_*: whether it waits, and whether it should not */
	_Atomic(struct piece *) returned;       /* by crews */
	struct uses lent;               /* pieces that crews have not quite let go of */
};

enum pump_use { PUMP_THREAD, PUMP_OPERATION, PUMP_SHARED };
/**
 * pump_init - @depth: I/Os at a time; @use: by one thread all its life; by one thread from one pump_begin() to its end, or whoever has its turn
 * Return: 0, -ENOMEM, -EMFILE. Without io_uring it works too, with the crews' threads.
 */
int pump_init(struct pump *p, struct hearth_ds *ds, unsigned depth, enum pump_use use, struct hearth_err *err);
void pump_done(struct pump *p);
/** pump_begin - of an operation that was checked; @op->ended is called by a later pump_step(), in its thread */
void pump_begin(struct pump *p, struct op *op);
/** pump_room - how many more short operations it could do something with now */
unsigned pump_room(const struct pump *p);
/** pump_step - whatever can be done now; @wait: if that is nothing, wait until it is something, or pump_wake() */
void pump_step(struct pump *p, bool wait);
/** pump_wake - let pump_step() return. Thread-safe, may be called in any thread. */
void pump_wake(struct pump *p);
/** pump_get, pump_put - one of the context's, for a synchronous operation */
int pump_get(struct hearth_ds *ds, struct pump **ret, struct hearth_err *err);
void pump_put(struct hearth_ds *ds, struct pump *p);
void pumps_free(struct hearth_ds *ds);

/* ---- piece.c ---- */
struct piece *piece_new(struct pump *p);
/** piece_end - it is where it should be, or failed: tells its operations, gives its room back */
void piece_end(struct pump *p, struct piece *piece);
/** piece_read - the bytes are in memory that the processor reaches (or @piece->got is an error): on to the device, or to its end */
void piece_read(struct pump *p, struct piece *piece);
void op_end(struct pump *p, struct op *op);
static inline void pieces_add(struct pieces *l, struct piece *piece)
{
	piece->next = NULL;
	if (l->tail)
		l->tail->next = piece;
	else
		l->head = piece;
	l->tail = piece;
}

static inline void ops_add(struct ops *l, struct op *op)
{
	op->next = NULL;
	if (l->tail)
		l->tail->next = op;
	else
		l->head = op;
	l->tail = op;
}
static inline void ops_pop(struct ops *l)
{
	l->head = l->head->next;
	if (!l->head)
		l->tail = NULL;
}

static inline void todo_add(struct pump *p, struct op *op)
{
	ops_add(&p->todo, op);
	p->todo_n++;
}
static inline void todo_pop(struct pump *p)
{
	ops_pop(&p->todo);
	p->todo_n--;
}

/* ---- lane.c ---- */
#define PUMP_BUFFERS 1024               /* segments that io_uring may know, of all devices */
/** lane_get - of a device, made at first. NULL: @p->failed says why */
struct lane *lane_get(struct pump *p, struct hearth_ds_device *d);
void lane_free(struct pump *p, struct lane *l);
/** lane_use - its device's context becomes the thread's. Return: 0, -errno. */
int lane_use(struct pump *p, struct lane *l);
/** lane_room - @bytes of a slot, for one piece. @align: of its address, a power of two, BLOCK_BYTES at most. @wait: for a slot, if the pump has none under way. Return: 0, -EAGAIN. */
int lane_room(struct lane *l, size_t bytes, uint32_t align, bool wait, struct slot **ret, uint8_t **ret_at);
void lane_room_put(struct lane *l, struct slot *s);
/** lane_rest - before waiting: a slot that nothing is in is given back */
void lane_rest(struct lane *l);
/** lane_copy - what is ready goes to the device. Return: whether there was something. */
bool lane_copy(struct pump *p, struct lane *l);
/** lane_poll - ends the pieces whose copies have ended. @wait: for the oldest. Return: whether there were any. */
bool lane_poll(struct pump *p, struct lane *l, bool wait);
/** piece_copy - [@at, @at + @n) of the file, which lies at @from, to where each of a piece's operations wants it; begun, or left in @k. Return: 0, -errno. */
int piece_copy(struct cuda_device *c, struct copies *k, cu_stream stream, const struct piece *piece, uint64_t at, uint64_t n, const uint8_t *from, struct hearth_err *err);
/** lane_buffer - io_uring's number of the memory that a slot is in. Return: REGISTERED_NEVER, there is none. */
int lane_buffer(struct pump *p, struct lane *l, const struct slot *s);

/* ---- crew.c ---- */
/** crew_give - a piece for the threads of a device, which begin with the first. Return: 0, -EAGAIN (no thread can be had). */
int crew_give(struct hearth_ds_device *d, struct piece *piece);
#define PATH_AHEAD HEARTH_DS_PATHS      /* of a piece that no operation has asked for: ahead.h */
unsigned crew_threads(const struct hearth_ds *ds);
/** crew_free - waits for its threads. Return: NULL. */
struct crew *crew_free(struct crew *c);

#endif
