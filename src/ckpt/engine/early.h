/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CKPT_ENGINE_EARLY_H
#define CKPT_ENGINE_EARLY_H

#include <pthread.h>
#include <stdbool.h>

#include "gpu.h"
#include "memory.h"

/*
 * The memory of processes that have a GPU, read while CRIU is at work on them. Until the driver has checkpointed such a process, devices write to its memory unseen; afterwards the driver has nothing of it
 * any more, and its page tables tell all: the processors' writes, and what CRIU puts into it and takes back. So it is protected then and read at once, and what was written since is read again
 * when CRIU holds it.
 */
struct early {
	struct memory *memory;
	struct track *track;
	pid_t *pids;
	size_t n;
	pthread_t thread;
	bool running;
	struct memory_round round;
	int result;
	struct hearth_err why;
};

/**
 * early_start - in a thread of its own; comes after gpu_stop()
 * Only processes that have no descriptor left by which a device could write to them. Nothing else is to be done with @memory and @track until early_join(). Return: 0, -errno.
 */
int early_start(struct early *e, pid_t root, const struct gpu *gpu, struct memory *memory, struct track *track, struct hearth_err *err);
/** early_join - wait for it; fine if it was not started. Return: 0, -errno: what went wrong; the checkpoint has failed then. */
int early_join(struct early *e, struct hearth_err *err);

#endif
