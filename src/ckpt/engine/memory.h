/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_MEMORY_H
#define CKPT_ENGINE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "ckpt/store.h"
#include "ckpt/track.h"

/*
 * The memory of a process tree on its way into a draft: what CRIU leaves to us with --lazy-pages, private anonymous memory. It is kept in windows: 64 KiB of addresses, aligned, so that a window
 * is one chunk of the store and the same in every image as long as nobody writes to it. Pages of a window that are not there are zeros.
 *
 *   mem/PID.K   windows that were first seen in round K, one after the other
 *   mem/PID     which windows those are: struct memory_run, ascending
 */
#define MEMORY_WINDOW 65536ull
#define MEMORY_SEGMENTS_MAX 32

/** struct memory_run - @windows windows beginning at address @start are the chunks of mem/PID.@segment from @chunk on */
struct memory_run { uint64_t start; uint32_t windows, segment; uint64_t chunk; };

struct memory;

/** struct memory_round - what a round did: bytes read, and still to be stored (stop) */
struct memory_round { uint64_t read_bytes, held_bytes, windows; };
typedef void (*memory_progress)(void *ctx, uint64_t done, uint64_t total);

struct memory *memory_new(struct store_draft *draft, memory_progress progress, void *ctx);
/**
 * memory_precopy - store what was written since the last round
 * @track: NULL is not useful here
 * A process that ends meanwhile is left out. Return: 0, -ENOSPC, -ENOMEM, -errno.
 */
int memory_precopy(struct memory *m, struct track *track, const pid_t *pids, size_t n, struct memory_round *ret, struct hearth_err *err);
/**
 * memory_reserve - have room for what memory_stop() will read, before anything stands still
 * @bytes: expected; the pages are there then
 * @more:  there may be so much more; those pages come when they are needed
 * At most half of the memory that is free is used; what does not fit is stored while the tree stands still.
 */
int memory_reserve(struct memory *m, uint64_t bytes, uint64_t more, struct hearth_err *err);
/**
 * memory_early - read all of some processes that are about to stand still, while CRIU is at work on them; memory_stop() then reads what was written since
 * What it reads stays in the room of memory_reserve(), as far as that goes. May run in a thread of its own, beside nothing else of this memory. Once for each checkpoint.
 * @track: they are tracked, and from here on nobody writes to them but by their page tables
 * Return: 0, -ENOSPC, -ENOMEM, -errno: then the checkpoint has failed.
 */
int memory_early(struct memory *m, struct track *track, const pid_t *pids, size_t n, struct memory_round *ret, struct hearth_err *err);
/**
 * memory_stop - read what changed, of a tree that stands still
 * @dump: folder with CRIU's pagemap-PID.img and mm-PID.img, which say what is wanted; pids are the same inside and outside
 * @direct: store it at once, as nobody waits for the tree
 * Return: 0, -EIO, -ENOSPC, -ENOMEM, -errno.
 */
int memory_stop(struct memory *m, struct track *track, const char *dump, bool direct, struct memory_round *ret, struct hearth_err *err);
/** memory_drain - store what memory_stop() read, and the lists of windows. Return: 0, -ENOSPC, -errno. */
int memory_drain(struct memory *m, struct hearth_err *err);
struct memory *memory_free(struct memory *m);

/** struct memory_source - the memory of one process in an image */
struct memory_source;
/** memory_source_open - @img: borrowed. Return: 0, -ENOENT (no memory of that process), -EBADMSG. */
int memory_source_open(struct store_image *img, int pid, struct memory_source **ret, struct hearth_err *err);
/** memory_source_read - [address, address + bytes), which must lie in windows of the image. Thread-safe. Return: 0, -EBADMSG (damaged, or not in the image), -errno. */
int memory_source_read(struct memory_source *s, uint64_t address, void *buf, size_t bytes, struct hearth_err *err);
struct memory_source *memory_source_close(struct memory_source *s);

#endif
