/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "ckpt/keeper.h"
#include "tree.h"

struct gpu {
	struct keeper *k;
	struct keeper_store store;
	char dir[PATH_MAX];
	bool stop;
	pid_t pids[KEEPER_PIDS_MAX];
	size_t n, without_shim;         /* that many of them */
	json_t *notes;
	char hold[64];                  /* name of what the keeper keeps of it; "": nothing */
	pthread_t thread;
	bool copying;
	int copied;                     /* of the thread */
	struct hearth_err why;
	struct keeper_report precopy, stopped, detached, driver, restored, attached, drained;
};

/* ---- which processes ---- */

static int without_keeper(const pid_t *tree, size_t n, const char *socket, struct hearth_err *err)
{
	for (size_t k = 0; k < n; k++)
		if (tree_uses_gpu(tree[k]))
			return err_set(err, -EOPNOTSUPP, "cannot checkpoint: process %d uses a GPU, and no hearth-keeper answers at %s; start hearthd", (int)tree[k], socket);
	return 0;
}

static void add_note(json_t *notes, const char *text)
{
	if (*text)
		json_array_append_new(notes, json_string(text));
}

/* Return: 0, also when there is nothing to do (no pids then) */
static int choose(struct gpu *g, const pid_t *tree, size_t n, struct hearth_err *err)
{
	struct keeper_inspection *i = calloc(1, sizeof(*i));
	int r = i ? keeper_inspect(g->k, tree, n, i, err) : err_set(err, -ENOMEM, "out of memory");

	if (r == 0 && i->refusals)
		r = err_set(err, -EOPNOTSUPP, "cannot checkpoint: %s", i->why);
	for (size_t k = 0; r == 0 && k < i->n; k++)
		if (i->process[k].cuda || i->process[k].shim) {
			g->without_shim += !i->process[k].shim;
			g->pids[g->n++] = i->process[k].pid;
		}
	if (r == 0 && g->n)
		add_note(g->notes, i->notes);
	free(i);
	return r;
}

int gpu_begin(const struct gpu_target *t, pid_t root, json_t *notes, struct gpu **ret, struct hearth_err *err)
{
	struct gpu *g = calloc(1, sizeof(*g));
	pid_t *tree = NULL;
	ssize_t n = proc_tree(root, &tree);
	int r = !g ? -ENOMEM : n < 0 ? (int)n : 0;

	if (r < 0) {
		err_set(err, r, "cannot look at process %d: %s", (int)root, strerror(-r));
		goto out;
	}
	g->notes = json_incref(notes);
	g->stop = t->stop;
	snprintf(g->dir, sizeof(g->dir), "%s", t->store);
	g->store = (struct keeper_store){ .dir = g->dir, .zstd_level = t->zstd_level };
	r = keeper_connect(t->socket, &g->k, err);
	if (r == -ENOENT || r == -ECONNREFUSED)
		r = without_keeper(tree, (size_t)n, t->socket, err);
	else if (r == 0)
		r = choose(g, tree, (size_t)n, err);
	if (r == 0 && g->n)
		r = keeper_begin(g->k, g->pids, g->n, err);
out:
	free(tree);
	if (r < 0 || !g->n)
		gpu_free(g);
	else
		*ret = g;
	return r;
}

struct gpu *gpu_free(struct gpu *g)
{
	if (!g)
		return NULL;
	if (g->copying) {
		if (g->k)
			keeper_cancel(g->k);
		pthread_join(g->thread, NULL);
	}
	keeper_close(g->k);
	json_decref(g->notes);
	free(g);
	return NULL;
}

/* ---- dump ---- */

static void *copy(void *arg)
{
	struct gpu *g = arg;

	g->copied = keeper_precopy(g->k, &g->store, NULL, NULL, &g->precopy, &g->why);
	return NULL;
}

int gpu_precopy_start(struct gpu *g, struct hearth_err *err)
{
	int r = g ? pthread_create(&g->thread, NULL, copy, g) : 0;

	if (r)
		return err_set(err, -r, "cannot start a thread: %s", strerror(r));
	if (g)
		g->copying = true;
	return 0;
}

int gpu_precopy_join(struct gpu *g, struct hearth_err *err)
{
	if (!g || !g->copying)
		return 0;
	pthread_join(g->thread, NULL);
	g->copying = false;
	add_note(g->notes, g->precopy.notes);
	return g->copied < 0 ? err_set(err, g->copied, "%s", g->why.msg) : 0;
}

/* its memory may stay where it is when it is gone. The name is of this one checkpoint and of no other: what is held under it is what the image has. */
static void hold(struct gpu *g)
{
	struct hearth_err why = { 0 };
	uint64_t id[2];

	if (getrandom(id, sizeof(id), 0) != sizeof(id))
		return;
	snprintf(g->hold, sizeof(g->hold), "parked-%016llx%016llx", (unsigned long long)id[0], (unsigned long long)id[1]);
	if (keeper_hold(g->k, g->hold, &why) == 0)
		return;
	g->hold[0] = '\0';
	add_note(g->notes, why.msg);
}

int gpu_stop(struct gpu *g, struct hearth_err *err)
{
	int r;

	if (!g)
		return 0;
	r = keeper_stop(g->k, !g->stop, 0, &g->stopped, err);
	if (r == 0)
		r = keeper_detach(g->k, &g->detached, err);
	if (r == 0)
		r = keeper_driver_checkpoint(g->k, 0, &g->driver, err);
	if (r == 0 && g->stop)
		hold(g);
	add_note(g->notes, g->stopped.notes);
	return r;
}

int gpu_go_on(struct gpu *g, struct hearth_err *err)
{
	int r = g ? keeper_driver_restore(g->k, &g->restored, err) : 0;

	if (r == 0 && g)
		r = keeper_attach(g->k, 0, NULL, NULL, &g->attached, err);
	return r;
}

int gpu_drain(struct gpu *g, struct store_draft *draft, struct hearth_err *err)
{
	FD_AUTO int fd = -1;
	int r = g ? keeper_drain(g->k, &g->store, NULL, NULL, &fd, &g->drained, err) : 0;

	if (r == 0 && g)
		r = store_adopt(draft, fd, err);
	return r;
}

int gpu_end(struct gpu *g, struct hearth_err *err)
{
	return g ? keeper_end(g->k, err) : 0;
}

json_t *gpu_describe(const struct gpu *g)
{
	json_t *pids = g ? json_array() : NULL;

	for (size_t k = 0; g && k < g->n; k++)
		json_array_append_new(pids, json_integer(g->pids[k]));
	return g ? json_pack("{s:o,s:s*,s:b}", "pids", pids, "hold", g->hold[0] ? g->hold : NULL, "pinned_known", !g->without_shim) : NULL;
}

size_t gpu_processes(const struct gpu *g)
{
	return g ? g->n : 0;
}

bool gpu_has(const struct gpu *g, pid_t pid)
{
	for (size_t k = 0; g && k < g->n; k++)
		if (g->pids[k] == pid)
			return true;
	return false;
}

uint64_t gpu_ran_on_ns(const struct gpu *g)
{
	return g ? g->stopped.reserve_ns + g->stopped.wait_ns : 0;
}

static double ms(uint64_t ns)
{
	return (double)ns / NS_PER_MS;
}

json_t *gpu_report(const struct gpu *g)
{
	return !g ? NULL : json_pack("{s:I,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "bytes", (json_int_t)g->stopped.bytes, "precopied_bytes",
				     (json_int_t)g->precopy.copied_bytes, "dirty_bytes", (json_int_t)g->stopped.dirty_bytes, "precopy",
				     ms(g->precopy.total_ns), "reserve", ms(g->stopped.reserve_ns), "wait", ms(g->stopped.wait_ns), "gate", ms(g->stopped.gate_ns), "hash", ms(g->stopped.hash_ns), "snapshot", ms(g->stopped.snapshot_ns), "copy",
				     ms(g->stopped.copy_ns), "detach", ms(g->detached.total_ns), "driver", ms(g->driver.total_ns + g->restored.total_ns), "attach",
				     ms(g->attached.total_ns), "drain", ms(g->drained.total_ns));
}

/* ---- restore ---- */

int gpu_restore_possible(const char *socket, const json_t *description, struct hearth_err *err)
{
	struct keeper *k = NULL;
	int r;

	if (!description || json_is_null(description))
		return 0;
	r = keeper_connect(socket, &k, err);
	keeper_close(k);
	return r < 0 ? err_set(err, r, "the image has device memory, and no hearth-keeper answers at %s; start hearthd", socket) : 0;
}

struct gpu_back { struct keeper *k; struct keeper_pid_map *map; size_t n; struct keeper_report stage; };

struct gpu_back *gpu_back_free(struct gpu_back *g)
{
	if (g) {
		keeper_close(g->k);
		free(g->map);
		free(g);
	}
	return NULL;
}

int gpu_restore_begin(const struct gpu_target *t, const char *image, const json_t *description, struct gpu_back **ret, struct hearth_err *err)
{
	struct keeper_store store = { .dir = t->store };
	json_t *pids = json_object_get(description, "pids"), *pid;
	struct gpu_back *g;
	size_t at;
	int r;

	if (!json_array_size(pids))
		return 0;
	g = calloc(1, sizeof(*g));
	if (g)
		g->map = calloc(json_array_size(pids), sizeof(*g->map));
	r = g && g->map ? keeper_connect(t->socket, &g->k, err) : err_set(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = keeper_stage(g->k, &store, image, json_string_value(json_object_get(description, "hold")), err);
	if (r < 0) {
		gpu_back_free(g);
		return r;
	}
	json_array_foreach(pids, at, pid)
		g->map[at].was = g->map[at].is = (pid_t)json_integer_value(pid);
	g->n = json_array_size(pids);
	*ret = g;
	return 0;
}

int gpu_restore_begun(struct gpu_back *g, struct hearth_err *err)
{
	return g ? keeper_staged(g->k, &g->stage, err) : 0;
}

int gpu_restore(struct gpu_back *g, json_t **ret, struct hearth_err *err)
{
	struct keeper_report load, driver, attach;
	int r;

	if (!g)
		return 0;
	r = keeper_load(g->k, NULL, NULL, NULL, g->map, g->n, &load, err);
	if (r == 0)
		r = keeper_driver_restore(g->k, &driver, err);
	if (r == 0)
		r = keeper_attach(g->k, 0, NULL, NULL, &attach, err);
	if (r == 0)
		r = keeper_end(g->k, err);
	if (r == 0)
		*ret = json_pack("{s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:s}", "bytes", (json_int_t)attach.bytes, "copied_bytes", (json_int_t)attach.copied_bytes, "stage", ms(g->stage.total_ns), "load",
				 ms(load.total_ns), "driver", ms(driver.total_ns), "back", ms(attach.wait_ns), "copy", ms(attach.copy_ns), "attach", ms(attach.total_ns), "notes", g->stage.notes);
	return r;
}
