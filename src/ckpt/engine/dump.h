/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_DUMP_H
#define CKPT_ENGINE_DUMP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * CRIU's part of a checkpoint. `criu dump --lazy-pages` writes everything but private anonymous memory into a folder and then serves that memory to whoever asks, over a socket, while the tree stands
 * still. We never ask: we read it ourselves and close the socket, at which CRIU ends and leaves the tree as it was told to. An unknown request instead makes it fail, and let the tree run on.
 *
 * A second process, the minder, waits until the dump is done with. Should the caller end before, the socket is closed by that, and the minder sees to it that the tree runs on, and cleans up.
 */

/** struct dump - one in progress
 * @root: of the tree; @work: folder for CRIU's files, removed by dump_end(); @stop: leave the tree stopped afterwards
 * @why_not_left: NULL, or why CRIU will map memory that we read (criu/leave.c), which takes it time; set by dump_prepare()
 * @undo: called in the minder when the caller was killed, after the tree runs on; may be NULL
 */
struct dump {
	pid_t root;
	const char *criu;
	bool stop;
	char work[PATH_MAX], leave[PATH_MAX];
	const char *why_not_left;
	pid_t pid;
	int work_lock;
	int go, status, serve, minder;
	uint64_t frozen_ns;             /* when the tree was first seen standing still */
	void (*undo)(void *ctx);
	void *ctx;
};
#define DUMP_NONE { .work_lock = -1, .go = -1, .status = -1, .serve = -1, .minder = -1 }

/** dump_prepare - make the work folder, fork CRIU's process (held back) and the minder. Return: 0, -errno. */
int dump_prepare(struct dump *d, struct hearth_err *err);
/** dump_hold - let CRIU begin; returns when it holds the tree, with everything written. Return: 0, -EIO (its main error; the tree runs on), -EOWNERDEAD (it was killed). */
int dump_hold(struct dump *d, struct hearth_err *err);
/** dump_release - let it end; afterwards the tree runs on (or is stopped, with @stop). Return: 0, -EIO, -EOWNERDEAD. */
int dump_release(struct dump *d, struct hearth_err *err);
/** dump_abort - let the tree go on, wherever the dump is */
void dump_abort(struct dump *d);
/** dump_end - the minder's duty is over; the work folder goes */
void dump_end(struct dump *d);

#endif
