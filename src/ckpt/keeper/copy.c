/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From device memory to the store. A job is a list of pieces; several lanes on each device take slices of it, each from beginning to end:
 *   memory that may change is copied within the device and digested there, so that what is digested is what is copied (a write in between is found at the stop)
 *   chunks that the store has, or that are zeros, go no further
 *   the others go to the host: where the driver knows the store's memory, to their place in it, otherwise (and if they are to be compressed) through the lane's buffer
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/clock.h"
#include "op.h"
#include "lane.h"

#define TICK_NS (100 * NS_PER_MS)

struct job {
	struct op *op;
	const struct pieces *list;
	struct device *devices[DEVICES_MAX];
	size_t devices_n;
	atomic_size_t next[DEVICES_MAX];
	atomic_ullong done, copied, known, zero;
	atomic_bool stop, cpu, pageable, bounced;
	unsigned running;               /* with the keeper's lock */
	int failed;
	struct hearth_err err;
};

struct worker { struct job *job; unsigned device; pthread_t thread; };

int pieces_add(struct pieces *list, struct object *o, uint64_t first, uint64_t n, cu_deviceptr at, const struct digest *known, struct device *d)
{
	while (n > 0) {
		uint64_t now = n < SLICE_CHUNKS ? n : SLICE_CHUNKS;

		if (array_grow((void **)&list->v, &list->cap, list->n + 1, sizeof(*list->v)) < 0)
			return -ENOMEM;
		list->v[list->n++] = (struct piece){ o, first, now, at, known, d };
		first += now;
		n -= now;
		at = at ? at + now * CHUNK : 0;
		known = known ? known + now : NULL;
	}
	return 0;
}

/* ---- one slice ---- */

/* what of a slice must be copied */
struct slice {
	struct object *o;
	uint64_t first, n, wanted;
	cu_deviceptr at;
	const uint8_t *host;            /* it is there already */
	const struct digest *digests;
	bool known[SLICE_CHUNKS];       /* not to be copied */
};

static int digest_on_cpu(struct job *job, struct lane *l, struct slice *s, struct hearth_err *err)
{
	int r = cuda_err(l->device->cu, l->device->cu->copy_dtoh(l->host, s->at, s->n * CHUNK, l->stream), err, "cuMemcpyDtoHAsync");

	if (r == 0)
		r = lane_sync(l, err);
	if (r < 0)
		return r;
	for (uint64_t k = 0; k < s->n; k++) {
		XXH128_hash_t h = XXH3_128bits_withSeed(l->host + k * CHUNK, CHUNK, job->op->seed);

		l->digests[k] = (struct digest){ .hi = h.high64, .lo = h.low64 };
	}
	atomic_store(&job->cpu, true);
	s->host = l->host;
	s->digests = l->digests;
	return 0;
}

static int digest_slice(struct job *job, struct lane *l, struct slice *s, struct hearth_err *err)
{
	const struct cuda *cu = l->device->cu;
	int r;

	if (s->digests)
		return 0;
	if (l->slice == 0)
		return digest_on_cpu(job, l, s, err);
	r = cuda_err(cu, cu->copy_dtod(l->staging.at, s->at, s->n * CHUNK, l->stream), err, "cuMemcpyDtoDAsync");
	if (r == 0)
		r = lane_hash(l, l->staging.at, s->n, job->op->seed, err);
	s->at = l->staging.at;
	s->digests = l->digests;
	atomic_fetch_add(&job->op->k->hashed_bytes, s->n * CHUNK);
	return r;
}

/* what the store has already is set by its digest. Return: 0, -errno. */
static int choose(struct job *job, struct slice *s, struct hearth_err *err)
{
	uint64_t zeros = 0, known = 0;
	ssize_t r = store_put_known(s->o->store, s->first, s->n, s->digests, s->known);

	if (r < 0)
		return err_set(err, (int)r, "the store does not take chunks %ju to %ju of buffer %ju: %s", s->first, s->first + s->n - 1, s->o->id, strerror((int)-r));
	s->wanted = s->n - (uint64_t)r;
	for (uint64_t k = 0; k < s->n; k++) {
		bool had = object_has(s->o, s->first + k) && digest_equal(s->o->now[s->first + k], s->digests[k]);

		zeros += s->known[k] && !had && digest_equal(s->digests[k], job->op->zero);
		known += s->known[k] && !had;
	}
	atomic_fetch_add(&job->zero, zeros * CHUNK);
	atomic_fetch_add(&job->known, (known - zeros) * CHUNK);
	return 0;
}

/* runs of wanted chunks, copied one after another to @to */
static int fetch(struct lane *l, const struct slice *s, uint8_t *to, struct hearth_err *err)
{
	const struct cuda *cu = l->device->cu;
	int r = 0;

	for (uint64_t k = 0, n; r == 0 && k < s->n; k += n) {
		for (n = 0; k + n < s->n && !s->known[k + n]; n++)
			;
		if (n > 0) {
			r = cuda_err(cu, cu->copy_dtoh(to, s->at + k * CHUNK, n * CHUNK, l->stream), err, "cuMemcpyDtoHAsync");
			to += n * CHUNK;
		} else {
			n = 1;
		}
	}
	return r == 0 ? lane_sync(l, err) : r;
}

/* straight to where they stay. Return: 1 (done), 0 (the store's memory cannot be copied to), -errno. */
static int place(struct job *job, struct lane *l, const struct slice *s, struct hearth_err *err)
{
	struct store_place at;
	void *room;
	int r;

	if (s->host)
		return 0;
	r = store_space(job->op->draft, s->wanted, &room, &at, err);
	if (r == -EOPNOTSUPP)
		return 0;
	if (r < 0)
		return r;
	if (pool_registered(&job->op->k->pool, room, s->wanted * CHUNK)) {
		r = fetch(l, s, room, err);
	} else {
		/* the pages are made by as many threads as there are lanes */
		atomic_store(&job->bounced, true);
		r = fetch(l, s, l->host, err);
		if (r == 0)
			memcpy(room, l->host, s->wanted * CHUNK);
	}
	if (r == 0) {
		r = store_put_placed(s->o->store, s->first, s->n, s->digests, s->known, at);
		if (r < 0)
			err_set(err, r, "the store does not take chunks of buffer %ju: %s", s->o->id, strerror(-r));
	}
	return r < 0 ? r : 1;
}

static int put(struct lane *l, const struct slice *s, struct hearth_err *err)
{
	const uint8_t *from = s->host ? s->host : l->host;
	int r = s->host ? 0 : fetch(l, s, l->host, err);

	for (uint64_t k = 0, n; r == 0 && k < s->n; k += n) {
		for (n = 0; k + n < s->n && !s->known[k + n]; n++)
			;
		if (n > 0)
			r = store_put(s->o->store, (s->first + k) * CHUNK, s->host ? from + k * CHUNK : from, n * CHUNK, s->digests + k, err);
		if (!s->host)
			from += n * CHUNK;
		if (n == 0)
			n = 1;
	}
	return r;
}

static int copy_slice(struct job *job, struct lane *l, struct slice *s, struct hearth_err *err)
{
	int r = digest_slice(job, l, s, err);

	if (r == 0)
		r = choose(job, s, err);
	if (r == 0 && s->wanted > 0) {
		r = job->op->draft && store_in_memory(job->op->store) && !job->op->compress ? place(job, l, s, err) : 0;
		if (r == 0)
			r = put(l, s, err);
	}
	if (r < 0)
		return r;
	for (uint64_t k = 0; k < s->n; k++) {
		s->o->now[s->first + k] = s->digests[k];
		__atomic_fetch_or(&s->o->have[(s->first + k) / 64], 1ull << (s->first + k) % 64, __ATOMIC_RELAXED);
	}
	atomic_fetch_add(&job->copied, s->wanted * CHUNK);
	atomic_fetch_add(&job->op->k->copied_bytes, s->wanted * CHUNK);
	return 0;
}

/* ---- lanes ---- */

static int copy_piece(struct job *job, struct lane *l, const struct piece *p, struct slice *s, struct hearth_err *err)
{
	struct keeper_server *k = job->op->k;
	uint64_t step = p->known || !l->slice ? SLICE_CHUNKS : l->slice / CHUNK;
	struct buffer *b = NULL;
	cu_deviceptr at = p->at;
	bool gone;
	int r = 0;

	pthread_mutex_lock(&k->lock);
	gone = p->object->gone || (!at && !p->object->buffer);
	if (!gone && !at) {
		b = p->object->buffer;
		buffer_ref(b);
		at = b->map.at + p->first * CHUNK;
	}
	pthread_mutex_unlock(&k->lock);
	for (uint64_t done = 0, n; !gone && r == 0 && done < p->n; done += n) {
		n = p->n - done < step ? p->n - done : step;
		s->o = p->object;
		s->first = p->first + done;
		s->n = n;
		s->wanted = 0;
		s->at = at + done * CHUNK;
		s->host = NULL;
		s->digests = p->known ? p->known + done : NULL;
		r = copy_slice(job, l, s, err);
	}
	if (b) {
		pthread_mutex_lock(&k->lock);
		buffer_unref(b);
		pthread_mutex_unlock(&k->lock);
	}
	atomic_fetch_add(&job->done, p->n * CHUNK);
	return r;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct job *job = w->job;
	struct hearth_err err = { 0 };
	struct slice *s = malloc(sizeof(*s));
	struct lane *l = NULL;
	size_t k;
	int r;

	if (s) {
		r = lane_get(job->devices[w->device], &l, &err);
	} else {
		r = -ENOMEM;
		err_set(&err, r, "out of memory");
	}

	if (r == 0 && !job->list->v[0].known)
		lane_stage(l);
	if (r == 0 && !l->pinned)
		atomic_store(&job->pageable, true);
	while (r == 0 && !atomic_load(&job->stop) && (k = atomic_fetch_add(&job->next[w->device], 1)) < job->list->n)
		if (job->list->v[k].device == job->devices[w->device])
			r = copy_piece(job, l, &job->list->v[k], s, &err);
	if (l)
		lane_put(l);
	free(s);
	pthread_mutex_lock(&job->op->k->lock);
	if (r < 0) {
		if (!job->failed)
			job->err = err;
		job->failed = job->failed ? job->failed : r;
		atomic_store(&job->stop, true);
	}
	job->running--;
	pthread_cond_broadcast(&job->op->k->changed);
	pthread_mutex_unlock(&job->op->k->lock);
	return NULL;
}

static void devices_of(struct job *job)
{
	for (size_t k = 0; k < job->list->n; k++) {
		size_t d = 0;

		while (d < job->devices_n && job->devices[d] != job->list->v[k].device)
			d++;
		if (d == job->devices_n)
			job->devices[job->devices_n++] = job->list->v[k].device;
	}
}

static void supervise(struct job *job, uint64_t total, bool quiet)
{
	struct keeper_server *k = job->op->k;
	struct engine *e = job->op->engine;

	pthread_mutex_lock(&k->lock);
	while (job->running > 0) {
		keeper_until(k, clock_mono_ns() + TICK_NS);
		if (engine_gone(e))
			atomic_store(&job->stop, true);
		if (e && !quiet) {
			pthread_mutex_unlock(&k->lock);
			engine_progress(e, atomic_load(&job->done), total);
			pthread_mutex_lock(&k->lock);
		}
	}
	pthread_mutex_unlock(&k->lock);
}

static void notes(struct job *job)
{
	struct keeper_report *r = &job->op->report;

	if (atomic_load(&job->cpu))
		report_note(r, "no device memory (or no kernels) for staging: digests were made on the CPU");
	if (atomic_load(&job->pageable))
		report_note(r, "no pinned memory: copies went through pageable memory");
	if (atomic_load(&job->bounced))
		report_note(r, "the store's memory is not registered with the driver: copies went through a buffer");
	r->copied_bytes += atomic_load(&job->copied);
	r->known_bytes += atomic_load(&job->known);
	r->zero_bytes += atomic_load(&job->zero);
}

int copy_out(struct op *op, struct pieces *list, bool quiet, struct hearth_err *err)
{
	struct job job = { .op = op, .list = list };
	struct worker workers[DEVICES_MAX * LANES_MAX];
	uint64_t total = 0, began = clock_mono_ns();
	size_t n = 0;
	int r = 0;

	for (size_t k = 0; k < list->n; k++)
		total += list->v[k].n * CHUNK;
	devices_of(&job);
	pthread_mutex_lock(&op->k->lock);
	for (size_t d = 0; d < job.devices_n; d++)
		for (unsigned i = 0; i < lanes_wanted() && r == 0; i++) {
			workers[n] = (struct worker){ .job = &job, .device = (unsigned)d };
			r = -pthread_create(&workers[n].thread, NULL, work, &workers[n]);
			if (r == 0) {
				n++;
				job.running++;
			} else if (i > 0) {
				r = 0;  /* fewer than wanted will do */
				break;
			}
		}
	pthread_mutex_unlock(&op->k->lock);
	if (r < 0) {
		atomic_store(&job.stop, true);
		job.failed = err_set(&job.err, r, "cannot start a thread: %s", strerror(-r));
	}
	supervise(&job, total, quiet);
	while (n > 0)
		pthread_join(workers[--n].thread, NULL);
	op->report.copy_ns += clock_mono_ns() - began;
	notes(&job);
	if (job.failed)
		return err_set(err, job.failed, "%s", job.err.msg);
	if (engine_gone(op->engine))
		return err_set(err, -ECANCELED, "given up while device memory was copied");
	return 0;
}
