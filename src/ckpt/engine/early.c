/* SPDX-License-Identifier: Apache-2.0 */
#include "early.h"

#include <stdlib.h>
#include <string.h>

#include "base/proc.h"
#include "tree.h"

static void *read_all(void *arg)
{
	struct early *e = arg;

	e->result = memory_early(e->memory, e->track, e->pids, e->n, &e->round, &e->why);
	return NULL;
}

int early_start(struct early *e, pid_t root, const struct gpu *gpu, struct memory *memory, struct track *track, struct hearth_err *err)
{
	ssize_t n = gpu && track ? proc_tree(root, &e->pids) : 0;
	int r;

	e->memory = memory;
	e->track = track;
	for (ssize_t k = 0; k < n; k++)
		if (gpu_has(gpu, e->pids[k]) && !tree_devices_write(e->pids[k]) && track_wake(track, e->pids[k]))
			e->pids[e->n++] = e->pids[k];
	if (!e->n)
		return 0;
	r = pthread_create(&e->thread, NULL, read_all, e);
	if (r)
		return err_set(err, -r, "cannot start a thread: %s", strerror(r));
	e->running = true;
	return 0;
}

int early_join(struct early *e, struct hearth_err *err)
{
	if (e->running)
		pthread_join(e->thread, NULL);
	e->running = false;
	free(e->pids);
	e->pids = NULL;
	return e->result < 0 ? err_set(err, e->result, "%s", e->why.msg) : 0;
}
