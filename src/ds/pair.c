/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a file and a memory together. A pair is found without a lock: it stays in its file's table until the file is closed; when its memory is released it is given to the
 * next memory that falls into the same bucket.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "priv.h"

/* the first that can be taken, from @path on; ds->lock is held */
static enum hearth_ds_path first_path(struct hearth_ds_file *f, struct hearth_ds_memory *m, const struct pair *p, int path)
{
	char why[240];

	for (; path < PATHS; path++) {
		if (p->why[path])
			continue;
		path_why_not(f, m, path, why);
		if (!why[0])
			return path;
	}
	return HEARTH_DS_AUTO;
}

static struct pair *look(_Atomic(struct pair *) *bucket, uint64_t memory_id)
{
	for (struct pair *p = atomic_load_explicit(bucket, memory_order_acquire); p; p = p->next)
		if (atomic_load_explicit(&p->memory_id, memory_order_acquire) == memory_id)
			return p;
	return NULL;
}

static struct pair *pair_new(struct hearth_ds_file *f, struct hearth_ds_memory *m, _Atomic(struct pair *) *bucket)
{
	struct pair *p = look(bucket, 0), *fresh = NULL;

	if (!p)
		p = fresh = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->of_memory = m->pairs;
	m->pairs = p;
	for (int k = 0; k < PATHS; k++)
		atomic_store(&p->carried[k], 0);
	atomic_store(&p->path, first_path(f, m, p, HEARTH_DS_MAP));
	if (fresh)
		p->next = atomic_load(bucket);
	atomic_store_explicit(&p->memory_id, m->id, memory_order_release);
	if (fresh)
		atomic_store_explicit(bucket, p, memory_order_release);
	return p;
}

struct pair *pair_get(struct hearth_ds_file *f, struct hearth_ds_memory *m)
{
	_Atomic(struct pair *) *bucket = &f->pairs[m->id % PAIR_BUCKETS];
	struct pair *p = look(bucket, m->id);

	if (p)
		return p;
	pthread_mutex_lock(&f->ds->lock);
	p = look(bucket, m->id);
	if (!p)
		p = pair_new(f, m, bucket);
	pthread_mutex_unlock(&f->ds->lock);
	return p;
}

enum hearth_ds_path pair_next(struct pair *p, struct hearth_ds_file *f, struct hearth_ds_memory *m, enum hearth_ds_path path)
{
	enum hearth_ds_path next;

	pthread_mutex_lock(&f->ds->lock);
	next = first_path(f, m, p, (int)path + 1);
	pthread_mutex_unlock(&f->ds->lock);
	return next;
}

bool pair_downgrade(struct pair *p, struct hearth_ds_file *f, struct hearth_ds_memory *m, enum hearth_ds_path path, int r)
{
	struct hearth_ds *ds = f->ds;
	enum hearth_ds_path next;
	bool first;

	pthread_mutex_lock(&ds->lock);
	first = !p->why[path];
	if (first && asprintf(&p->why[path], "it failed before with this file and memory: %s", strerror(-r)) < 0)
		p->why[path] = NULL;
	next = p->why[path] ? first_path(f, m, p, HEARTH_DS_MAP) : HEARTH_DS_AUTO;
	atomic_store(&p->path, next);
	pthread_mutex_unlock(&ds->lock);
	if (first && next != HEARTH_DS_AUTO)
		ds_warn(ds, "path %s failed for a file and memory on %s (%s); they go on by %s", hearth_ds_path_name(path), m->device->uri, strerror(-r), hearth_ds_path_name(next));
	return next != HEARTH_DS_AUTO;
}

/* ds->lock is held */
void pairs_of_memory_gone(struct hearth_ds_memory *m)
{
	for (struct pair *p = m->pairs, *next; p; p = next) {
		next = p->of_memory;
		for (int k = 0; k < PATHS; k++) {
			free(p->why[k]);
			p->why[k] = NULL;
		}
		atomic_store_explicit(&p->memory_id, 0, memory_order_release);
	}
	m->pairs = NULL;
}

static void forget(struct hearth_ds *ds, struct pair *p)
{
	for (struct hearth_ds_memory *m = ds->memories; m; m = m->next)
		for (struct pair **at = &m->pairs; *at; at = &(*at)->of_memory)
			if (*at == p) {
				*at = p->of_memory;
				return;
			}
}

/* ds->lock is held */
void pairs_of_file_free(struct hearth_ds_file *f)
{
	for (int k = 0; k < PAIR_BUCKETS; k++)
		for (struct pair *p = atomic_load(&f->pairs[k]), *next; p; p = next) {
			next = p->next;
			if (atomic_load(&p->memory_id))
				forget(f->ds, p);
			for (int w = 0; w < PATHS; w++)
				free(p->why[w]);
			free(p);
		}
}
