/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_GPU_H
#define CKPT_ENGINE_GPU_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "ckpt/store.h"

/*
 * The keeper's part of a checkpoint and a restore. A program without device memory has none: then every step does nothing. Whatever fails: gpu_free() closes the connection, and the keeper puts the
 * program back to work, once CRIU has let go of it. The minder has the connection too, so that a killed engine's is closed only when its tree runs on.
 */
struct gpu;

/** struct gpu_target - @socket: of the keeper; @store: absolute path */
struct gpu_target { const char *socket, *store; int zstd_level; bool stop; };

/**
 * gpu_begin - ask the keeper about a tree, and begin an operation if it has to do with any of it
 * Return: 0 (*ret may be NULL: nothing to do), -EOPNOTSUPP (refused: the reason is told; or a GPU is used and no keeper runs), -EBUSY, -errno.
 */
int gpu_begin(const struct gpu_target *t, pid_t root, json_t *notes, struct gpu **ret, struct hearth_err *err);
/** gpu_precopy_start - copy device memory in a thread of its own; gpu_precopy_join - Return: 0, -errno. */
int gpu_precopy_start(struct gpu *g, struct hearth_err *err);
int gpu_precopy_join(struct gpu *g, struct hearth_err *err);
/** gpu_stop - gates, what changed, detach, driver's checkpoint: afterwards CRIU may come. Return: 0, -errno (the program runs on after gpu_free()). */
int gpu_stop(struct gpu *g, struct hearth_err *err);
/** gpu_processes - how many there are */
size_t gpu_processes(const struct gpu *g);
/** gpu_has - whether it is one of them */
bool gpu_has(const struct gpu *g, pid_t pid);
/** gpu_ran_on_ns - of gpu_stop(), before the gates closed */
uint64_t gpu_ran_on_ns(const struct gpu *g);
/** gpu_go_on - the tree runs on: driver's restore, memory back, gates open. Return: 0, -errno. */
int gpu_go_on(struct gpu *g, struct hearth_err *err);
/** gpu_drain - what is not stored yet, into @draft. Return: 0, -errno. */
int gpu_drain(struct gpu *g, struct store_draft *draft, struct hearth_err *err);
/** gpu_end - the image is committed, and the processes run on or are gone. Return: 0, -errno. */
int gpu_end(struct gpu *g, struct hearth_err *err);
/** gpu_describe - for the image: which processes; NULL: none. gpu_report - milliseconds and bytes, for people. New references. */
json_t *gpu_describe(const struct gpu *g);
json_t *gpu_report(const struct gpu *g);
struct gpu *gpu_free(struct gpu *g);

/** gpu_restore_possible - before anything is made: is there a keeper, if the image needs one? @description: of gpu_describe(), may be NULL. Return: 0, -ENOENT, -errno. */
int gpu_restore_possible(const char *socket, const json_t *description, struct hearth_err *err);
/* struct gpu_back - a restore in progress; NULL: there is no device memory. The keeper makes it ready while CRIU is at work. */
struct gpu_back;
/** gpu_restore_begin - before CRIU; waits for nothing. @description: of gpu_describe(), may be NULL. Return: 0, -errno. */
int gpu_restore_begin(const struct gpu_target *t, const char *image, const json_t *description, struct gpu_back **ret, struct hearth_err *err);
/** gpu_restore_begun - whether the keeper has what it needs. Return: 0, -EBADMSG, -EOPNOTSUPP (no such device here), -errno. */
int gpu_restore_begun(struct gpu_back *g, struct hearth_err *err);
/**
 * gpu_restore - the processes are back from CRIU: driver's restore and memory
 * @ret: for people, {"bytes", "copied_bytes", "stage", "load", "driver", "back", "copy", "attach"}, milliseconds; copied_bytes 0: the keeper held it; copy: waited for it. A new reference; untouched when there was
 *       nothing to do.
 * Return: 0, -EBADMSG, -ENOMEM, -errno.
 */
int gpu_restore(struct gpu_back *g, json_t **ret, struct hearth_err *err);
/** gpu_back_free - NULL is fine; returns NULL. Before the end of gpu_restore() what was held is held again. */
struct gpu_back *gpu_back_free(struct gpu_back *g);

#endif
