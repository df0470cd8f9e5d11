/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_H
#define CKPT_ENGINE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Checkpoint and restore of program trees. Whatever fails or is killed, at any step: the program runs on, and no image is to be seen; or the image is there, complete.
 */

/** engine_progress - of a phase that takes long. @phase: "pre-copy", "memory", "drain", "restore"; @total may be 0: unknown */
typedef void (*engine_progress)(void *ctx, const char *phase, uint64_t done, uint64_t total);

/**
 * struct engine_checkpoint - what is to be done
 * @pid: root of the tree; @name: of the program, for the image's name (NAME-N) and its meta data; NULL: pid-PID
 * @store: folder; @image: name, NULL = NAME-N with the first free N
 * @stop: end the program once the image is safe; otherwise it runs on
 * @pre_dump: only the memory, without stopping: a base for the next, no image that could be restored
 * @series: marks the image as one of a series, for engine_keep()
 */
struct engine_checkpoint {
	const char *run_dir, *store, *criu, *name, *image, *keeper;
	pid_t pid;
	bool stop, pre_dump, series;
	int zstd_level;
	engine_progress progress;
	void *ctx;
};
/**
 * engine_checkpoint - make an image
 * @ret: {"image", "store", "pid", "bytes", "new_bytes", "stored_bytes", "rounds", "dirty_bytes", "notes": [...], "ms": {"precopy", "stop", "criu", "memory", "drain", "commit", "total"}}
 * Context: root (CRIU); blocks; forks, so not beside threads of the caller.
 * Return: 0, -EPERM, -ESRCH, -EBUSY (another checkpoint of it is in progress), -EOPNOTSUPP (refused, the reason is told), -ENOENT (no CRIU), -ENOSPC, -EIO, -errno.
 */
int engine_checkpoint(const struct engine_checkpoint *c, json_t **ret, struct hearth_err *err);
/** engine_keep - remove the oldest of a program's series from a store, but for @keep. Return: how many went, -errno. */
int engine_keep(const char *store, const char *name, unsigned keep, struct hearth_err *err);

/**
 * struct engine_restore - what is to be brought back
 * @run_dir: where the program is noted; @store, @image: where it is
 * @rewind_files: files that grew since are cut to the size they had, and what is cut off kept beside them
 * @verify: check all of the image before anything is made; otherwise memory is checked as it comes in
 * @eager: all memory before it runs
 */
struct engine_restore {
	const char *run_dir, *store, *image, *criu, *keeper;
	bool detach, rewind_files, verify, eager;
	engine_progress progress;
	/* @restored: it runs, before this process reads what it writes. @result: borrowed */
	void (*restored)(void *ctx, const json_t *result);
	void *ctx;
};
/**
 * engine_restore - bring a program back from an image, which stays as it is
 * Attached: returns when it ended, as program_run(). Detached: once it runs.
 * Damage found before it runs: nothing is made. Damage found in memory that comes in later: the program is killed, before it sees any of that; this is an error as well.
 * @ret: {"name", "pid", "image", "lazy", "bytes", "ms": {"verify", "criu", "total"}}
 * Return: 0, -EPERM, -ENOENT, -EBADMSG (damaged), -EEXIST (a pid or the name is taken), -ESTALE (a file has changed), -EIO, -errno.
 */
int engine_restore(const struct engine_restore *r, json_t **ret, int *ret_status, struct hearth_err *err);

#endif
