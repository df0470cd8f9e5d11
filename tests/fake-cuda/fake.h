/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FAKE_CUDA_FAKE_H
#define FAKE_CUDA_FAKE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_CUDA_NO_RENAMES
#include "fake_cuda/driver.h"
#include "fake_cuda/kernel.h"
#include "fake_cuda/machine.h"

/*
 * Inside the fake driver. Locks, in this order: the gate of calls (call.c; held by nobody while it waits), fake.lock (everything but streams), exec.lock (streams, events: stream.c).
 */
#define PAGE_BYTES 4096ull
#define GRANULARITY (2ull << 20)
#define EXPORT __attribute__((visibility("default")))

struct stream;
struct module;

/* ---- tables.c: things with addresses, sorted by them ---- */
struct span { uint64_t va, bytes; };            /* first member of what is in a table */
struct table { struct span **v; size_t n, cap; };
bool table_add(struct table *t, struct span *s);        /* false: no memory */
void table_remove(struct table *t, struct span *s);
/** table_find - what holds address @va, or NULL */
void *table_find(const struct table *t, uint64_t va);
/** table_overlaps - is anything in [va, va + bytes) */
bool table_overlaps(const struct table *t, uint64_t va, uint64_t bytes);

/* ---- memory ---- */
struct phys {                                   /* physical memory: an allocation handle, or what is under cuMemAlloc */
	struct phys *next;
	uint64_t bytes;
	int fd, entry;                          /* memfd, -1 while checkpointed; entry in the machine's table */
	unsigned device, handles, mappings;
	bool shareable, exported, imported;
	CUmemAllocationProp prop;
	void *saved;                            /* contents while checkpointed, or NULL */
};
struct mapping { struct span at; struct phys *phys; uint64_t offset; uint8_t access[FAKE_DEVICES_MAX]; };
struct reservation { struct span at; };
enum alloc_kind { ALLOC_DEVICE, ALLOC_MANAGED, ALLOC_POOL, ALLOC_GLOBALS };
struct alloc {
	struct span at;
	enum alloc_kind kind;
	struct ctx *ctx;
	unsigned device;
	uint64_t id;
	struct pool *pool;
	struct block *block;
};
struct block { struct block *next; uint64_t va, bytes; struct mapping *map; struct ctx *ctx; unsigned device, users; bool slab; uint64_t used[GRANULARITY / 512 / 64]; };
struct host { struct span at; unsigned flags; bool registered; uint64_t present; };        /* present: pages that were there when the process was checkpointed */
struct pool { struct pool *next; unsigned device; uint64_t threshold, used, used_high; };   /* a limit is not kept: what is freed goes back at once */

struct ctx {
	struct ctx *next;
	unsigned device, flags, refs;
	uint64_t id, peers;
	bool primary, destroyed;
	CUresult sticky;                        /* atomic access: __atomic_* */
	struct stream *legacy;
};

struct fake {
	pthread_mutex_t lock;
	bool inited, restored;
	char dir[4000];
	struct fake_machine *machine;
	struct fake_process *process;
	int slot;
	struct ctx *contexts, *primary[FAKE_DEVICES_MAX];
	struct table mappings, reservations, allocs, hosts;
	struct phys *phys;
	struct block *blocks;
	struct pool *pools, *default_pool[FAKE_DEVICES_MAX], *current_pool[FAKE_DEVICES_MAX];
	struct module *modules;
	uint64_t next_id;
};
extern struct fake fake;

/* machine_use.c: this process's part of the machine */
void machine_lock(pthread_mutex_t *lock);
CUresult machine_join(void);                    /* takes a slot */
void machine_leave(void);                       /* gives back the slot and all memory that it holds */
/** machine_take - memory of a device; @ret: its entry. Return: CUDA_ERROR_OUT_OF_MEMORY. */
CUresult machine_take(unsigned device, uint64_t bytes, int *ret);
void machine_hold(int entry);                   /* imported */
void machine_drop(int entry);
uint64_t machine_free_bytes(unsigned device);

/* phys.c */
CUresult phys_new(const CUmemAllocationProp *prop, uint64_t bytes, bool shareable, struct phys **ret);
CUresult phys_import(int fd, struct phys **ret);
void phys_put(struct phys *p);                  /* frees it when neither handles nor mappings are left */
CUresult va_reserve(uint64_t bytes, uint64_t align, uint64_t hint, uint64_t *ret);
CUresult map_new(uint64_t va, struct phys *p, uint64_t offset, uint64_t bytes, struct mapping **ret);
CUresult map_protect(struct mapping *m);        /* as its access says */
void map_free(struct mapping *m);               /* the addresses stay reserved */
/** phys_save, phys_load - contents to and from private memory of the process; what maps it keeps its addresses */
CUresult phys_save(struct phys *p);
CUresult phys_load(struct phys *p);

/* alloc.c */
CUresult alloc_new(struct ctx *c, unsigned device, uint64_t bytes, enum alloc_kind kind, struct pool *pool, uint64_t *ret);
void alloc_free(struct alloc *a);
void alloc_free_of(struct ctx *c);
struct pool *pool_default(unsigned device);
/** memory_check - may @device read (or write) the bytes: CUDA_ERROR_INVALID_VALUE when they are device memory and it may not */
CUresult memory_check(uint64_t va, uint64_t bytes, unsigned device, bool write);
bool memory_is_device(uint64_t va);
bool memory_is_pinned(uint64_t va);

/* ---- ctx.c ---- */
struct ctx *ctx_current(void);                  /* NULL: none */
struct ctx *ctx_from(CUcontext handle);         /* NULL: no such; fake.lock held */
CUresult ctx_error(struct ctx *c);
void ctx_fail(struct ctx *c, CUresult error);

/* ---- call.c: what every entry point goes through ---- */
struct call_site { const char *name; struct fake_counter *counter; };
struct call { bool entered; };
enum { CALL_INIT = 1, CALL_CTX = 2, CALL_UNGATED = 4 };
CUresult call_enter(struct call *c, struct call_site *site, unsigned flags);
void call_leave(struct call *c);
#define CALL(flags) \
	static struct call_site site_ = { .name = __func__ }; \
	__attribute__((cleanup(call_leave))) struct call call_ = { 0 }; \
	CUresult entered_ = call_enter(&call_, &site_, (flags)); \
	if (entered_) \
		return entered_
/** call_step - counts and faults of a step that is no entry point */
CUresult call_step(const char *name);
/** call_close - no more calls and no device work: waits until both are done. Return: CUDA_ERROR_NOT_READY (gate open again). */
CUresult call_close(unsigned timeout_ms);
void call_open(void);
void call_faults(const char *config);
extern __thread bool call_in_host_function;

/* ---- work.c: what streams and graphs do ---- */
#define PARAMS_MAX 64
struct kernel { struct kernel *next; char *name; fake_kernel *fn; struct module *module; unsigned params; size_t *offset, *bytes, args_bytes; };
enum work_kind { WORK_KERNEL, WORK_COPY, WORK_SET, WORK_HOST, WORK_CALLBACK, WORK_EVENT, WORK_FREE, WORK_PLAN, WORK_VALUE_WAIT, WORK_VALUE_WRITE, WORK_EMPTY };
struct side { uint64_t at; size_t pitch, height; };     /* rows of pitch bytes, height rows a plane */
struct plan;
struct work {
	enum work_kind kind;
	struct { struct kernel *k; unsigned grid[3], block[3], shared; void *args; } launch;    /* args: owned */
	struct { struct side to, from; size_t width, rows, planes; void *staged; } copy;        /* staged: owned */
	struct { uint64_t to; size_t pitch, width, rows; unsigned value, unit; } set;
	struct { CUhostFn fn; CUstreamCallback callback; void *data; } host;
	struct { struct event *e; uint64_t turn; } event;
	struct { uint64_t at; uint32_t value; unsigned flags; } value;
	uint64_t va;
	struct plan *plan;
};
/** work_copy_of - the same with memory of its own. Return: false, no memory. */
bool work_copy_of(struct work *to, const struct work *from);
void work_done(struct work *w);
/** work_run - in the thread of a stream; @handle: what a callback is told. Return: CUDA_ERROR_ILLEGAL_ADDRESS. */
CUresult work_run(struct work *w, struct ctx *c, CUstream handle);
void work_catch_faults(void);                   /* the handler of SIGSEGV and SIGBUS */

/* ---- stream.c ---- */
struct dep { struct stream *s; uint64_t turn; };
struct op { struct op *next; uint64_t turn; struct work work; struct dep *deps; size_t ndeps; };
struct stream {
	struct stream *next;
	struct ctx *ctx;
	unsigned flags;
	int priority;
	uint64_t id;
	bool legacy, per_thread, dying, running;
	struct op *head, *tail;
	uint64_t submitted, completed;          /* turns */
	struct dep *waits;                      /* for what is submitted next (cuStreamWaitEvent) */
	size_t nwaits;
	struct capture *capture;
};
struct event { unsigned flags, refs; struct ctx *ctx; struct stream *s; uint64_t turn, time_ns, captured; /* captured: id of the capture that it was recorded in, 0: none */ };
extern pthread_mutex_t exec_lock;
extern pthread_cond_t exec_change;
struct stream *stream_from(CUstream handle, CUresult *why);     /* of the current context for the default ones */
CUresult stream_submit(struct stream *s, struct work *w, uint64_t *ret_turn);   /* takes what @w owns, also when it fails; captures */
void stream_wait(struct stream *s, uint64_t turn);
void stream_wait_ctx(struct ctx *c);            /* all of it; NULL: of every context */
bool stream_idle_until(const struct timespec *deadline);
void stream_end_ctx(struct ctx *c);
struct capture *stream_capture_by(uint64_t id);         /* NULL: it ended */
void stream_capture_end(const struct capture *c);      /* of all streams that are in it */
void event_unref(struct event *e);              /* exec_lock held */

/* ---- copy.c, module.c, graph.c, checkpoint.c ---- */
CUresult launch_make(struct kernel *k, const unsigned dim[6], unsigned shared, void **params, void **extra, struct work *ret);
void module_free_all(struct ctx *c);
bool kernel_known(const struct kernel *k);
fake_kernel *kernel_builtin(const char *name);
void *module_global(const void *module, const char *name, size_t *ret_bytes);
struct capture { struct graph *graph; struct stream *origin; CUstreamCaptureMode mode; pthread_t thread; uint64_t id; };
CUresult capture_add(struct stream *s, struct work *w);
CUresult capture_event(struct stream *s, struct event *e);
CUresult capture_wait(struct stream *s, struct event *e);
bool capture_active(struct ctx *c);
void plan_ref(struct plan *p);
void plan_put(struct plan *p);
CUresult plan_run(struct plan *p, struct ctx *c, CUstream handle);
CUresult checkpoint_start(void);                /* the thread that acts on other processes' requests */
CUresult copy_make_3d(const CUDA_MEMCPY3D *d, unsigned device, struct work *ret);

#endif
