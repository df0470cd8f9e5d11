/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ring.h"
#include "base/thread.h"
#include "lhist.h"
#include "record.h"

#define RECORD_LINES 4096       /* of a block */
#define RECORD_BLOCKS 16        /* a power of two */

#define RECORD_VOID (UINT32_MAX - 1)    /* as a type */
#define RECORD_NONE (UINT32_MAX - 2)    /* this place of the window is empty */

struct record_line {
	uint64_t t_ns, service_ns;
	uint32_t type, order;
};

struct record_block {
	uint32_t n;
	struct record_line line[RECORD_LINES];
};

struct recorder {
	struct spsc *full, *empty;
	struct record_block *now, *blocks;
	const char *const *names;
	uint32_t types;
	uint64_t begin_ns;
	_Atomic uint64_t lost, late;            /* the dispatcher's and the writer's counts */
	struct record_line *window;             /* the writer's: of requests next..next + RECORD_WINDOW - 1, by number */
	uint32_t next;
	pthread_t thread;
	bool started, ending;           /* ending: written before the last post */
	sem_t posted;
	FILE *file;
	char *path;
	struct hearth_err err;          /* the writer's until it has ended */
};

static void write_line(struct recorder *r, const struct record_line *l)
{
	const char *name = l->type < r->types ? r->names[l->type] : "unknown";

	if (r->err.code == 0 && fprintf(r->file, "%llu,%s,%llu\n", (unsigned long long)l->t_ns, name, (unsigned long long)l->service_ns) < 0)
		err_set(&r->err, -errno, "write trace %s: %s", r->path, strerror(errno));
}

/* The first of the window leaves it, whether its line is there or not. */
static void step(struct recorder *r)
{
	struct record_line *l = &r->window[r->next++ % RECORD_WINDOW];

	if (l->type != RECORD_NONE && l->type != RECORD_VOID)
		write_line(r, l);
	l->type = RECORD_NONE;
}

static void write_block(struct recorder *r, const struct record_block *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		const struct record_line *l = &b->line[i];

		if ((int32_t)(l->order - r->next) < 0) {
			counter_add(&r->late, l->type != RECORD_VOID);
			continue;
		}
		while (l->order - r->next >= RECORD_WINDOW)
			step(r);
		r->window[l->order % RECORD_WINDOW] = *l;
	}
	while (r->window[r->next % RECORD_WINDOW].type != RECORD_NONE)
		step(r);
	if (r->err.code == 0 && fflush(r->file) != 0)
		err_set(&r->err, -errno, "write trace %s: %s", r->path, strerror(errno));
}

static void *writer(void *arg)
{
	struct recorder *r = arg;
	struct record_block *b;

	for (;;) {
		while (sem_wait(&r->posted) < 0)
			;
		b = spsc_pop(r->full);
		if (b == NULL && r->ending)
			return NULL;
		if (b == NULL)
			continue;
		write_block(r, b);
		b->n = 0;
		(void)spsc_push(r->empty, b);
	}
}

struct recorder *recorder_close(struct recorder *r, struct hearth_err *err)
{
	if (r == NULL)
		return NULL;
	if (r->started) {
		recorder_push(r);
		r->ending = true;
		sem_post(&r->posted);
		pthread_join(r->thread, NULL);
		for (uint32_t i = 0; i < RECORD_WINDOW; i++)
			step(r);
	}
	if (r->file != NULL && fclose(r->file) != 0 && r->err.code == 0)
		err_set(&r->err, -errno, "write trace %s: %s", r->path, strerror(errno));
	if (err != NULL && r->err.code != 0)
		*err = r->err;
	if (r->blocks != NULL)
		sem_destroy(&r->posted);
	spsc_free(r->full);
	spsc_free(r->empty);
	free(r->blocks);
	free(r->window);
	free(r->path);
	free(r);
	return NULL;
}

static int start(struct recorder *r, const char *path, struct hearth_err *err)
{
	int e;

	r->path = strdup(path);
	r->full = spsc_new(RECORD_BLOCKS);
	r->empty = spsc_new(RECORD_BLOCKS);
	r->blocks = calloc(RECORD_BLOCKS, sizeof(*r->blocks));
	r->window = calloc(RECORD_WINDOW, sizeof(*r->window));
	for (uint32_t i = 0; r->window != NULL && i < RECORD_WINDOW; i++)
		r->window[i].type = RECORD_NONE;
	if (r->window == NULL || r->path == NULL || r->full == NULL || r->empty == NULL || r->blocks == NULL || sem_init(&r->posted, 0, 0) < 0)
		return err_set(err, -ENOMEM, "trace %s: out of memory", path);
	for (unsigned i = 0; i < RECORD_BLOCKS; i++)
		(void)spsc_push(r->empty, &r->blocks[i]);
	r->file = fopen(path, "we");
	if (r->file == NULL || fputs("t_ns,type,service_ns\n", r->file) < 0)
		return err_set(err, -errno, "write trace %s: %s", path, strerror(errno));
	e = thread_spawn(&r->thread, writer, r);
	if (e < 0)
		return err_set(err, e, "trace %s: thread: %s", path, strerror(-e));
	r->started = true;
	return 0;
}

int recorder_open(const char *path, uint64_t now, const char *const *names, uint32_t types, struct recorder **ret, struct hearth_err *err)
{
	struct recorder *r = calloc(1, sizeof(*r));
	int e;

	if (r == NULL)
		return err_set(err, -ENOMEM, "trace %s: out of memory", path);
	r->names = names;
	r->types = types;
	r->begin_ns = now;
	e = start(r, path, err);
	if (e < 0) {
		recorder_close(r, NULL);
		return e;
	}
	*ret = r;
	return 0;
}

void recorder_push(struct recorder *r)
{
	if (r->now == NULL || r->now->n == 0)
		return;
	(void)spsc_push(r->full, r->now);
	r->now = NULL;
	sem_post(&r->posted);
}

static void put(struct recorder *r, const struct record_line *line)
{
	if (r->now == NULL)
		r->now = spsc_pop(r->empty);
	if (r->now == NULL) {
		counter_add(&r->lost, line->type != RECORD_VOID);
		return;
	}
	r->now->line[r->now->n++] = *line;
	if (r->now->n == RECORD_LINES)
		recorder_push(r);
}

void recorder_put(struct recorder *r, uint32_t order, uint64_t t_ns, uint32_t type, uint64_t service_ns)
{
	put(r, &(struct record_line){ t_ns - r->begin_ns, service_ns, type < r->types ? type : UINT32_MAX, order });
}

void recorder_void(struct recorder *r, uint32_t order)
{
	put(r, &(struct record_line){ .type = RECORD_VOID, .order = order });
}

bool recorder_pending(const struct recorder *r)
{
	return r->now != NULL && r->now->n > 0;
}

uint64_t recorder_lost(const struct recorder *r)
{
	return counter_get(&r->lost) + counter_get(&r->late);
}
