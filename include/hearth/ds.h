/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_DS_H
#define HEARTH_DS_H

/*
 * libhearth-ds: bytes from files into device memory and back, by the shortest path that there is between this file and that memory. See hearth-ds(3).
 *
 *	hearth_ds_open(NULL, &ds);
 *	hearth_ds_device(ds, "cuda:0", &device);
 *	hearth_ds_register(device, pointer, bytes, &memory);
 *	hearth_ds_file(ds, AT_FDCWD, "weights", O_RDONLY, &file);
 *	n = hearth_ds_read(file, memory, 0, 0, bytes);
 *
 * Any offset, any length, any alignment, everywhere. A read is complete, or an error; it is shorter only where the file ends. Where a path fails for a pair of file and
 * memory, that pair, and nothing else, goes on by the next one (unless that is forbidden), and hearth_ds_probe says why.
 *
 * Calls that can fail return -errno, and hearth_ds_error has the sentence. All of it may be used from any thread unless said otherwise; nothing may be used in a child
 * after fork(). Nothing is loaded, started or allocated before it is needed: a program that opens a library and reads nothing pays for nothing.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef HEARTH_DS_BUILD
#pragma GCC visibility push(default)
#endif
#ifdef __cplusplus
extern "C" {
#endif

/** struct hearth_ds - a context: options, devices, files; opaque, as are the others */
struct hearth_ds;
struct hearth_ds_device;
struct hearth_ds_memory;
struct hearth_ds_file;
struct hearth_ds_queue;

/** enum hearth_ds_path - how bytes travel, the shortest first */
enum hearth_ds_path {
	HEARTH_DS_AUTO,
	HEARTH_DS_MAP,                  /* the storage device writes into the other device's memory: hearth_p2p.ko made it addressable */
	HEARTH_DS_CUFILE,               /* the vendor's libcufile, where it has a direct path */
	HEARTH_DS_STAGE,                /* through pinned memory: O_DIRECT or the page cache, then asynchronous copies, several at a time */
	HEARTH_DS_HOST,                 /* memory that the kernel reads into itself: the device "host" */
	HEARTH_DS_PATHS,
};

/** enum hearth_ds_fallback - what follows when a path fails for a pair of file and memory */
enum hearth_ds_fallback {
	HEARTH_DS_ALLOW,                /* the next path; hearth_ds_probe says so */
	HEARTH_DS_WARN,                 /* the same, and options.log is told once for each pair */
	HEARTH_DS_FORBID,               /* the error itself */
};

/** enum hearth_ds_cache - whether the page cache serves reads */
enum hearth_ds_cache {
	HEARTH_DS_CACHE_AUTO,           /* where a range is in it already; what is not comes with O_DIRECT and is not added */
	HEARTH_DS_CACHE_NEVER,
	HEARTH_DS_CACHE_ALWAYS,
};

/**
 * struct hearth_ds_options - all zero is right
 * @path:       the only one to take; an operation that it cannot do fails, whatever @fallback says. STAGE allows HOST too: for memory of "host" there is nothing to go through
 * @ring_bytes: pinned memory for STAGE, of each device in use; 0 = 256 MiB
 * @threads:    that copy from the page cache, for each device in use; 0 = three quarters of the processors, 12 at most
 * @log:        told of downgrades with HEARTH_DS_WARN, on the thread that found out; NULL = standard error
 * @ctx:        passed to @log
 * @zero:       all 0
 */
struct hearth_ds_options {
	enum hearth_ds_path path;
	enum hearth_ds_fallback fallback;
	enum hearth_ds_cache cache;
	uint32_t threads;
	uint64_t ring_bytes;
	void (*log)(void *ctx, const char *text);
	void *ctx;
	uint64_t zero[8];
};

/** hearth_ds_error - what this thread's last failing call found: what, on what, why, what to do; "" before the first. Valid until the thread's next call. */
const char *hearth_ds_error(void);
/** hearth_ds_path_name - "map", "cufile", "stage", "host", "auto"; NULL where there is none */
const char *hearth_ds_path_name(enum hearth_ds_path path);

/** hearth_ds_open - @options: copied; NULL = all zero. Return: 0, -EINVAL, -ENOMEM. */
int hearth_ds_open(const struct hearth_ds_options *options, struct hearth_ds **ret);
/** hearth_ds_close - @ds: nothing of it is in use any more: queues, files, memory and devices are closed. NULL is fine. Return: NULL. */
struct hearth_ds *hearth_ds_close(struct hearth_ds *ds);

/**
 * hearth_ds_device - a device by its name
 * @uri: "host"; "cuda:N" (the N-th that this process sees; its primary context); "ivshmem:0000:00:04.0" (a PCI device that hearth_p2p.ko provides; tests)
 *
 * The same name again is the same device. Devices live as long as the context.
 * Return: 0, -EINVAL (not a name), -ENODEV (no such device, no driver).
 */
int hearth_ds_device(struct hearth_ds *ds, const char *uri, struct hearth_ds_device **ret);

/**
 * hearth_ds_register - make memory known
 * @at:    "host": an address; "cuda": a device address, of any kind of allocation; "ivshmem": an offset in the device's memory
 * @bytes: any, at least 1; the whole range must be of one allocation, or of adjacent ones that are mapped
 *
 * Takes microseconds where no kernel module is involved. Ranges may overlap others.
 * Return: 0, -EINVAL (not memory of this device), -ENOMEM.
 */
int hearth_ds_register(struct hearth_ds_device *device, uint64_t at, size_t bytes, struct hearth_ds_memory **ret);
/** hearth_ds_release - waits for what uses it. The owner frees the memory itself after this call, not before. NULL is fine. Return: NULL. */
struct hearth_ds_memory *hearth_ds_release(struct hearth_ds_memory *memory);

/**
 * hearth_ds_file - open a file
 * @dirfd, @path, @flags: as openat(); O_DIRECT is not needed; O_CREAT makes it with mode 0666
 * Return: 0, -errno of openat(), -EINVAL (a directory, a pipe).
 */
int hearth_ds_file(struct hearth_ds *ds, int dirfd, const char *path, int flags, struct hearth_ds_file **ret);
/** hearth_ds_file_of - of a descriptor, which stays the caller's and must outlive the file. Its offset is neither used nor moved. Return: 0, -EBADF, -EINVAL. */
int hearth_ds_file_of(struct hearth_ds *ds, int fd, struct hearth_ds_file **ret);
/** hearth_ds_file_bytes - its size now. Return: bytes, -errno. */
int64_t hearth_ds_file_bytes(struct hearth_ds_file *file);
/** hearth_ds_file_close - waits for what uses it. NULL is fine. Return: NULL. */
struct hearth_ds_file *hearth_ds_file_close(struct hearth_ds_file *file);

/**
 * hearth_ds_read - from a file into memory
 * @memory_offset: from the beginning of what was registered; it and @bytes lie within it
 * @file_offset:   any; beyond the end: 0 is returned
 *
 * When it returns, the device sees the bytes. It is ordered with no stream: the memory must not be in use by others.
 * Return: bytes, fewer than asked for only where the file ends; -EINVAL (range), -EIO and others of the file; on failure the memory's range has unknown contents.
 */
ssize_t hearth_ds_read(struct hearth_ds_file *file, struct hearth_ds_memory *memory, size_t memory_offset, uint64_t file_offset, size_t bytes);
/** hearth_ds_write - from memory into a file, which grows where needed; not synced. Return: @bytes; -errno as hearth_ds_read (an unknown part may be written). */
ssize_t hearth_ds_write(struct hearth_ds_file *file, struct hearth_ds_memory *memory, size_t memory_offset, uint64_t file_offset, size_t bytes);

/* ---- queues: many operations at a time ---- */

enum { HEARTH_DS_READ, HEARTH_DS_WRITE };

/**
 * struct hearth_ds_op - one operation; ranges as for hearth_ds_read
 * @tag:    the caller's; names it in hearth_ds_done and hearth_ds_cancel
 */
struct hearth_ds_op {
	struct hearth_ds_file *file;
	struct hearth_ds_memory *memory;
	uint64_t memory_offset, file_offset, bytes, tag;
	uint32_t kind, zero;
};

/** struct hearth_ds_done - @result: as hearth_ds_read's, or -ECANCELED; @path: that carried it */
struct hearth_ds_done {
	uint64_t tag;
	int64_t result;
	enum hearth_ds_path path;
	uint32_t zero;
};

/**
 * hearth_ds_queue_open - operations in flight together, completed in any order
 * @depth: at most so many I/Os at the file at a time; 0 = 64. How many operations may be submitted has no limit but memory.
 * Return: 0, -ENOMEM, -EINVAL (beyond 4096).
 */
int hearth_ds_queue_open(struct hearth_ds *ds, uint32_t depth, struct hearth_ds_queue **ret);
/**
 * hearth_ds_submit - begin operations; neighbours in file and memory may travel as one, long ones in pieces
 * @ops: copied. Each is reported by hearth_ds_reap exactly once; a wrong one is reported as failed, the others are not affected.
 * Return: 0: all were taken; -ENOMEM: none was.
 */
int hearth_ds_submit(struct hearth_ds_queue *queue, const struct hearth_ds_op *ops, size_t n);
/**
 * hearth_ds_reap - collect what has ended
 * @min:        wait for so many (fewer where fewer are under way)
 * @timeout_ms: of the wait; -1 = for ever, and this thread does the queue's work meanwhile
 * Context: may call the driver; the thread's own CUDA context is as before when it returns.
 * Return: how many are in @ret, 0..@max.
 */
ssize_t hearth_ds_reap(struct hearth_ds_queue *queue, struct hearth_ds_done *ret, size_t max, size_t min, int timeout_ms);
/** hearth_ds_cancel - what has not begun does not begin and ends with -ECANCELED; what has begun ends as it would. @tag: all operations with it; HEARTH_DS_ALL: all. Return: how many were cancelled. */
#define HEARTH_DS_ALL UINT64_MAX
ssize_t hearth_ds_cancel(struct hearth_ds_queue *queue, uint64_t tag);
/** hearth_ds_queue_fd - readable while there is something to reap; for poll(). The queue's. Return: a descriptor, -errno. */
int hearth_ds_queue_fd(struct hearth_ds_queue *queue);
/** hearth_ds_queue_close - waits for what has begun; the rest is cancelled; nothing more is reported. NULL is fine. Return: NULL. */
struct hearth_ds_queue *hearth_ds_queue_close(struct hearth_ds_queue *queue);

/**
 * hearth_ds_enqueue - an operation in a stream's order
 * @stream: of the memory's device (a CUstream; NULL = the default one)
 * @op:     copied; its @kind, ranges and files are final at this call
 * @ret_result: where the result goes before the stream goes on; must live until then; NULL = nowhere
 *
 * Begins when what is in the stream before it has ended; what comes into the stream after it begins when it has ended. An error ends nothing but itself. On the device
 * "host" there are no streams: it is done at once.
 * Context: does not block on the operation.
 * Return: 0, -EINVAL, -ENOMEM, -EOPNOTSUPP (the driver lacks what it takes).
 */
int hearth_ds_enqueue(struct hearth_ds *ds, void *stream, const struct hearth_ds_op *op, int64_t *ret_result);

/**
 * struct hearth_ds_late - of an operation whose ranges are known only when the stream gets there
 * @begin: called then; fills in @op's memory_offset, file_offset and bytes, and nothing else. 0 bytes: there is nothing to do, and the result is 0.
 * @end:   called once, with the result, before the stream goes on; the last use of @ctx
 *
 * Both are called on threads of the driver's or of this library's: they call neither, and do not wait.
 */
struct hearth_ds_late {
	void (*begin)(void *ctx, struct hearth_ds_op *op);
	void (*end)(void *ctx, int64_t result);
	void *ctx;
};

/**
 * hearth_ds_enqueue_late - hearth_ds_enqueue, for such an operation
 * @device: whose stream it is: one of "cuda". The memory is any.
 * @op:     its file, memory and kind are final; its ranges are not looked at
 * @late:   copied
 * Return: 0, and as hearth_ds_enqueue: @late->end is not called then.
 */
int hearth_ds_enqueue_late(struct hearth_ds_device *device, void *stream, const struct hearth_ds_op *op, const struct hearth_ds_late *late);

/* ---- which path, and why ---- */

/**
 * struct hearth_ds_report - of a file and memory
 * @path: that the next operation takes
 * @why:  of each path, indexed by enum hearth_ds_path: "" where it can be taken, or one sentence
 * @offset_align, @memory_align, @bytes_align: what @path carries without an intermediate copy; anything else is possible too
 * @carried: bytes that went by each path so far, of this pair
 */
struct hearth_ds_report {
	enum hearth_ds_path path;
	uint32_t offset_align, memory_align, bytes_align;
	uint64_t carried[HEARTH_DS_PATHS];
	char why[HEARTH_DS_PATHS][240];
};

/** hearth_ds_probe - finds out what is not known yet, without touching file or memory. Return: 0, -ENOMEM. */
int hearth_ds_probe(struct hearth_ds_file *file, struct hearth_ds_memory *memory, struct hearth_ds_report *ret);

#ifdef __cplusplus
}
#endif
#ifdef HEARTH_DS_BUILD
#pragma GCC visibility pop
#endif
#endif
