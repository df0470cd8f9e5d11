/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "loaded.h"
#include "plan.h"

#define REAP_MAX 64

struct hearth_ds_loaded {
	atomic_uint refs;
	struct hearth_ds_tensors *tensors;      /* for names and shapes */
	struct plan plan;
	struct hearth_ds_load_stats stats;
};

struct hearth_ds_loaded *hearth_ds_loaded_unref(struct hearth_ds_loaded *l)
{
	if (l && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1) {
		plan_done(&l->plan);
		tensors_unref(l->tensors);
		free(l);
	}
	return NULL;
}

struct hearth_ds_loaded *loaded_ref(struct hearth_ds_loaded *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

size_t hearth_ds_loaded_count(const struct hearth_ds_loaded *l)
{
	return l->plan.spots_n;
}

const struct hearth_ds_placed *hearth_ds_loaded_at(const struct hearth_ds_loaded *l, size_t k)
{
	return k < l->plan.spots_n ? &l->plan.spots[k].placed : NULL;
}

void hearth_ds_loaded_stats(const struct hearth_ds_loaded *l, struct hearth_ds_load_stats *ret)
{
	*ret = l->stats;
}

/* ---- reading ---- */

struct reading {
	struct hearth_ds_tensors *tensors;
	const struct hearth_ds_load_options *o;
	struct hearth_ds_loaded *l;
	struct hearth_ds_queue *queue;
	bool *ended;                    /* of each op */
	size_t ops_ended;               /* all of the first so many */
	size_t reaped, told;
	uint64_t bytes;
};

/* tensors that are there, and all before them, are told of */
static int tell(struct reading *g)
{
	struct plan *p = &g->l->plan;

	while (g->ops_ended < p->ops_n && g->ended[g->ops_ended])
		g->ops_ended++;
	for (; g->told < p->spots_n && p->spots[g->told].ops_end <= g->ops_ended; g->told++)
		if (g->o->ready && g->o->ready(g->o->ctx, &p->spots[g->told].placed) != 0)
			return err_set(ds_error(), -ECANCELED, "the load was ended by its caller");
	return 0;
}

static const char *path_of_op(const struct reading *g, const struct hearth_ds_op *op)
{
	for (size_t k = 0; k < g->tensors->files_n; k++)
		if (g->tensors->files[k].file == op->file)
			return g->tensors->files[k].path;
	return "?";
}

static int failed(const struct reading *g, const struct hearth_ds_op *op, int r)
{
	enum hearth_ds_path only = g->tensors->ds->o.path;
	struct hearth_ds_report report = { 0 };

	if (only != HEARTH_DS_AUTO && hearth_ds_probe(op->file, op->memory, &report) == 0 && report.why[only][0])
		return err_set(ds_error(), r, "%s: it cannot be read by the path that was asked for: %s: %s", path_of_op(g, op), hearth_ds_path_name(only), report.why[only]);
	return err_set(ds_error(), r, "%s: cannot read %llu bytes at %llu: %s", path_of_op(g, op), (unsigned long long)op->bytes, (unsigned long long)op->file_offset, strerror(-r));
}

static int ended(struct reading *g, const struct hearth_ds_done *done)
{
	const struct hearth_ds_op *op = &g->l->plan.ops[done->tag];

	if (done->result < 0)
		return failed(g, op, (int)done->result);
	if ((uint64_t)done->result < op->bytes)
		return err_set(ds_error(), -EIO, "%s: it ends at %llu: it became shorter after it was opened", path_of_op(g, op),
			       (unsigned long long)op->file_offset + (unsigned long long)done->result);
	g->ended[done->tag] = true;
	g->bytes += op->bytes;
	g->l->stats.carried[done->path] += op->bytes;
	return 0;
}

static int reap(struct reading *g)
{
	struct hearth_ds_done done[REAP_MAX];
	ssize_t n = hearth_ds_reap(g->queue, done, REAP_MAX, 1, -1);

	if (n <= 0)
		return n < 0 ? (int)n : err_set(ds_error(), -EIO, "reads were lost");
	for (ssize_t k = 0; k < n; k++) {
		int r = ended(g, &done[k]);

		if (r < 0)
			return r;
	}
	g->reaped += (size_t)n;
	if (g->o->progress)
		g->o->progress(g->o->ctx, g->bytes, g->l->plan.bytes);
	return tell(g);
}

static int read_all(struct reading *g)
{
	struct plan *p = &g->l->plan;
	int r;

	g->ended = calloc(p->ops_n + 1, sizeof(*g->ended));
	if (!g->ended)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	r = hearth_ds_queue_open(g->tensors->ds, g->o->depth, &g->queue);
	if (r == 0)
		r = hearth_ds_submit(g->queue, p->ops, p->ops_n);
	/* what has no bytes may come first */
	if (r == 0)
		r = tell(g);
	while (r == 0 && g->reaped < p->ops_n)
		r = reap(g);
	hearth_ds_queue_close(g->queue);
	free(g->ended);
	return r;
}

int hearth_ds_load(struct hearth_ds_tensors *tensors, const struct hearth_ds_load_options *options, struct hearth_ds_loaded **ret)
{
	struct hearth_ds_loaded *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	l->refs = 1;
	l->tensors = tensors_ref(tensors);
	r = plan_make(tensors, options, &l->plan);
	if (r == 0)
		r = plan_alloc(&l->plan);
	if (r == 0)
		r = plan_ops(tensors, &l->plan);
	if (r == 0)
		r = read_all(&(struct reading){ .tensors = tensors, .o = options, .l = l });
	if (r < 0) {
		hearth_ds_loaded_unref(l);
		return r;
	}
	l->stats.tensors = l->plan.spots_n;
	l->stats.bytes = l->plan.bytes;
	l->stats.reads = l->plan.runs;
	for (size_t k = 0; k < l->plan.slabs_n; k++)
		l->stats.memory_bytes += l->plan.slabs[k].bytes;
	/* not needed any more; the rest lives with the tensors */
	free(l->plan.ops);
	l->plan.ops = NULL;
	*ret = l;
	return 0;
}
