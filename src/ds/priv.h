/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DS_PRIV_H
#define DS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "hearth/ds.h"
#include "p2p.h"
#include "uses.h"

/*
 * Inside libhearth-ds. An operation is cut into pieces at multiples of PIECE_BYTES of the file, so that what O_DIRECT makes of an unaligned piece still fits a slot of the ring.
 * Locks, in this order: a queue's, the context's, a device's, a ring's. None is held during I/O, but for the trial of a way to storage (map_trusted).
 */
#define PIECE_BYTES (4u << 20)
#define BLOCK_BYTES 4096u               /* of O_DIRECT where the kernel does not say, and always of direct writes: a page is either written through the cache or beside it */
#define PATHS HEARTH_DS_PATHS
#define DESK_ROWS 3u

/** piece_at - how much of @left bytes at @at is one piece */
static inline size_t piece_at(uint64_t at, uint64_t left)
{
	size_t n = PIECE_BYTES - at % PIECE_BYTES;

	return left < n ? (size_t)left : n;
}

struct ahead;
struct desk_row;
struct pair;
struct ring;
struct crew;
struct pump;
struct cuda_device;
struct streams;

enum device_kind { DEVICE_HOST, DEVICE_CUDA, DEVICE_IVSHMEM };

struct hearth_ds {
	struct hearth_ds_options o;
	pthread_mutex_t lock;           /* lists, pairs, what is made when it is first needed */
	struct hearth_ds_device *devices;
	struct hearth_ds_memory *memories;
	struct hearth_ds_file *files;
	struct hearth_ds_queue *queues;
	int p2p_node;                   /* of hearth_p2p.ko; -1: not open */
	struct pump *pumps;             /* idle ones, for synchronous operations; @pumps_lock */
	pthread_mutex_t pumps_lock;
	uint64_t last_id;
	atomic_flag without_uring;      /* it was told that io_uring cannot be used */
	bool faults;                    /* $HEARTH_FAULT is set: fault points are worth asking */
};

struct hearth_ds_device {
	struct hearth_ds_device *next;
	struct hearth_ds *ds;
	enum device_kind kind;
	char uri[64];
	pthread_mutex_t lock;
	struct cuda_device *cuda;       /* of "cuda:N" */
	struct hearth_p2p_device *p2p;  /* as hearth_p2p.ko knows it; NULL: see @why_map */
	char why_map[240];
	struct p2p_map trial;           /* memory of our own for trying ways to storage; @lock */
	uint64_t trial_at;
	struct streams *streams;        /* operations in streams, from the first on; @lock */
	_Atomic(struct crew *) crew;    /* threads that copy, from their first need on */
	atomic_uint ahead;              /* slots that were read ahead */
	_Atomic(struct ring *) ring;    /* memory that I/O goes through, from its first need on */
	_Atomic(struct desk_row *) desks[DESK_ROWS];    /* for short synchronous operations, from their first need on */
};

struct hearth_ds_memory {
	struct hearth_ds_memory *next;
	struct hearth_ds_device *device;
	uint64_t id, at;
	size_t bytes;
	uint8_t *cpu;                   /* where the kernel reaches it: "host" memory, or @map's; NULL: nowhere */
	struct p2p_map map;             /* by hearth_p2p.ko */
	char *why_map;                  /* why there is none; NULL: see the device's */
	struct uses uses;
	struct pair *pairs;             /* ds->lock */
};

#define PAIR_BUCKETS 16

struct hearth_ds_file {
	struct hearth_ds_file *next;
	struct hearth_ds *ds;
	int fd;                         /* through the page cache */
	bool own;                       /* @fd is closed with it */
	bool readable, writable, append, block_device;
	bool layered;                   /* of overlayfs: its pages are another file's, of which cachestat(2) knows nothing */
	bool owned;                     /* ours, or writable for us: mincore(2) says the truth */
	atomic_bool no_cachestat;       /* the kernel has none */
	pthread_mutex_t lock;           /* opening of @direct */
	atomic_int direct;              /* with O_DIRECT; DIRECT_UNKNOWN before the first need, DIRECT_NONE: cannot be, see @why */
	uint32_t offset_align, memory_align;
	const char *why;                /* of DIRECT_NONE */
	int spent;                      /* what @direct was before it turned out not to work; -1: none */
	atomic_int sampler;             /* descriptor for looking into the page cache where cachestat(2) cannot; SAMPLER_* */
	_Atomic(struct ahead *) ahead;  /* from the first synchronous read on */
	void *cufile;                   /* libcufile's handle of it; @lock */
	struct uses uses;
	_Atomic(struct pair *) pairs[PAIR_BUCKETS];
};
enum { DIRECT_UNKNOWN = -2, DIRECT_NONE = -1 };
enum { SAMPLER_UNNEEDED = -2, SAMPLER_NONE = -1 };

/* ---- ds.c ---- */
struct hearth_err *ds_error(void);      /* this thread's */
bool ds_fault(const struct hearth_ds *ds, const char *point);
/** ds_warn - tell the caller, if it wants to be told (HEARTH_DS_WARN) */
void ds_warn(struct hearth_ds *ds, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- device.c ---- */
void devices_free(struct hearth_ds *ds);
/** device_pin - make memory of the process one that the device copies from and to at full speed. Return: 0, -errno with a message. */
int device_pin(struct hearth_ds_device *d, void *at, size_t bytes, struct hearth_err *err);
void device_unpin(struct hearth_ds_device *d, void *at);

/* ---- file.c ---- */
/** file_direct - a descriptor for O_DIRECT, opened when first asked for. Return: it, DIRECT_NONE. */
int file_direct(struct hearth_ds_file *f);
/** file_reopen - the same file anew, with or without O_DIRECT. Return: descriptor, -errno. */
int file_reopen(int fd, bool direct);
/** file_no_direct - O_DIRECT turned out not to work with this file */
void file_no_direct(struct hearth_ds_file *f, const char *why);
int64_t file_bytes(struct hearth_ds_file *f);
/**
 * ds_file_read, ds_file_write - @n bytes at @at, through the page cache or with O_DIRECT (then everything is aligned), whatever short transfers and signals do
 * Return: bytes, fewer only at the end of the file; -errno.
 */
ssize_t ds_file_read(struct hearth_ds_file *f, bool direct, void *to, size_t n, uint64_t at);
ssize_t ds_file_write(struct hearth_ds_file *f, bool direct, const void *from, size_t n, uint64_t at);
/** file_short - a direct read ended early: whatever there is beyond, through the page cache. Return: bytes in all, -errno. */
ssize_t file_short(struct hearth_ds_file *f, void *to, size_t n, uint64_t at, size_t got);

/* ---- cache.c ---- */
/** cache_serves - whether a read of this range is better served by the page cache: all of it is there, or O_DIRECT is not possible or not wanted */
bool cache_serves(struct hearth_ds_file *f, uint64_t at, size_t n);

/* ---- pair.c: a file and a memory ---- */
struct pair {
	struct pair *next;              /* in the file's bucket; stays there until the file is closed */
	struct pair *of_memory;         /* the memory's others; ds->lock */
	_Atomic uint64_t memory_id;     /* 0: that memory is gone, another may take its place */
	atomic_uint path;               /* that the next operation takes; HEARTH_DS_AUTO: none is left */
	atomic_ullong carried[PATHS];
	char *why[PATHS];               /* why a path was given up; ds->lock */
};
struct pair *pair_get(struct hearth_ds_file *f, struct hearth_ds_memory *m);     /* NULL: no memory */
static inline void pair_carried(struct pair *p, unsigned path, uint64_t bytes)
{
	atomic_fetch_add_explicit(&p->carried[path], bytes, memory_order_relaxed);
}
/** pair_next - the path after @path, for a try */
enum hearth_ds_path pair_next(struct pair *p, struct hearth_ds_file *f, struct hearth_ds_memory *m, enum hearth_ds_path path);
/** pair_downgrade - @path failed with @r: the next one from here on. Return: whether there is one. */
bool pair_downgrade(struct pair *p, struct hearth_ds_file *f, struct hearth_ds_memory *m, enum hearth_ds_path path, int r);
void pairs_of_memory_gone(struct hearth_ds_memory *m);
void pairs_of_file_free(struct hearth_ds_file *f);
/** path_why_not - "" or the sentence why @path cannot carry between the two, whatever happened so far */
void path_why_not(struct hearth_ds_file *f, struct hearth_ds_memory *m, enum hearth_ds_path path, char why[240]);

/* ---- rw.c ---- */
/** path_try_next - whether what failed with @r on @path may do better by the next: the path's own errors, and those that could be the path's or the file's */
bool path_try_next(const struct hearth_ds *ds, enum hearth_ds_path path, ssize_t r);
/** op_check - of a caller's operation. Return: 0, -EINVAL, -EBADF with a message. */
int op_check(struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t file_offset, uint64_t bytes, bool write, struct hearth_err *err);
/**
 * op_clip_to - what of a read is within a file of @size. A direct read beyond the end fills memory with zeros there, and says that it did not.
 */
uint64_t op_clip_to(struct hearth_ds_file *f, int64_t size, uint64_t at, uint64_t bytes);

#endif
