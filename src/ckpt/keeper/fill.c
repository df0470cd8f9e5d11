/* SPDX-License-Identifier: Apache-2.0 */
/* From an image to device memory: several lanes a device, every chunk checked, on the device where it can be (so what was checked is what is there). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "op.h"
#include "lane.h"

#define TICK_NS (100 * NS_PER_MS)

/* struct part - a slice of a buffer to be filled */
struct part { struct buffer *b; uint64_t first, n; };

struct fill {
	struct op *op;
	bool staging;
	struct part *parts;
	size_t n;
	atomic_size_t next;
	atomic_ullong done, copied, zero;
	atomic_bool stop, cpu;
	unsigned running;
	int failed;
	struct hearth_err err;
};

/* a run of chunks that are not zeros: from where it lies, if the driver can, else over the lane's buffer. Return: 0, -errno. */
static int fetch(struct fill *f, struct lane *l, const struct part *p, uint64_t k, uint64_t n, const uint8_t *from, struct hearth_err *err)
{
	const struct cuda *cu = l->device->cu;
	cu_deviceptr to = p->b->fresh.at + (p->first + k) * CHUNK;
	int r;

	if (from)
		return cuda_err(cu, cu->copy_htod(to, from, n * CHUNK, l->stream), err, "cuMemcpyHtoDAsync");
	r = store_read(f->op->image, p->b->image_object, (p->first + k) * CHUNK, l->host + k * CHUNK, n * CHUNK, err);
	return r == 0 ? cuda_err(cu, cu->copy_htod(to, l->host + k * CHUNK, n * CHUNK, l->stream), err, "cuMemcpyHtoDAsync") : r;
}

/* where a chunk lies in memory that the driver can copy from; NULL: it does not. Mapping and registering a pack now would take longer than reading it. */
static const uint8_t *in_place(struct fill *f, struct lane *l, const struct part *p, uint64_t k)
{
	const uint8_t *from = l->digests_at ? store_chunk_mapped(f->op->image, p->b->image_object, p->first + k) : NULL;

	return from && pool_registered(&f->op->k->pool, from, CHUNK) ? from : NULL;
}

static int bad_chunk(const struct part *p, uint64_t k, struct hearth_err *err)
{
	return err_set(err, -EBADMSG, "the image is damaged: chunk %ju of buffer %ju is not what it was; `hearth images verify` tells what else is", p->first + k, p->b->id);
}

/* what lies on the device now, against the image's digests. Without kernels store_read() has checked it already. */
static int check(struct fill *f, struct lane *l, const struct part *p, const struct digest *want, struct hearth_err *err)
{
	int r;

	if (!l->digests_at) {
		atomic_store(&f->cpu, true);
		return lane_sync(l, err);
	}
	r = lane_hash(l, p->b->fresh.at + p->first * CHUNK, p->n, f->op->seed, err);
	for (uint64_t k = 0; k < p->n && r == 0; k++)
		if (!digest_equal(l->digests[k], want[p->first + k]))
			r = bad_chunk(p, k, err);
	return r;
}

static int fill_part(struct fill *f, struct lane *l, const struct part *p, struct hearth_err *err)
{
	const struct cuda *cu = l->device->cu;
	size_t chunks;
	const struct digest *want = store_image_digests(f->op->image, p->b->image_object, &chunks);
	int r = p->first + p->n <= chunks ? 0 : err_set(err, -EBADMSG, "the image is damaged: buffer %llu is too short", (unsigned long long)p->b->id);

	for (uint64_t k = 0, n; k < p->n && r == 0; k += n) {
		bool zero = digest_equal(want[p->first + k], f->op->zero);
		const uint8_t *from = zero ? NULL : in_place(f, l, p, k);

		/* as far as it goes on in the same way */
		for (n = 1; k + n < p->n && digest_equal(want[p->first + k + n], f->op->zero) == zero; n++)
			if (!zero && in_place(f, l, p, k + n) != (from ? from + n * CHUNK : NULL))
				break;
		if (zero)
			r = cuda_err(cu, cu->set_d8(p->b->fresh.at + (p->first + k) * CHUNK, 0, n * CHUNK, l->stream), err, "cuMemsetD8Async");
		else
			r = fetch(f, l, p, k, n, from, err);
		atomic_fetch_add(zero ? &f->zero : &f->copied, n * CHUNK);
	}
	if (r == 0)
		r = check(f, l, p, want, err);
	atomic_fetch_add(&f->done, p->n * CHUNK);
	return r;
}

struct worker { struct fill *f; struct device *device; pthread_t thread; };

static void *work(void *arg)
{
	struct worker *w = arg;
	struct fill *f = w->f;
	struct hearth_err err = { 0 };
	struct lane *l = NULL;
	int r = lane_get(w->device, &l, &err);
	size_t k;

	if (r == 0)
		(void)lane_can_hash(l);
	while (r == 0 && !atomic_load(&f->stop) && (k = atomic_fetch_add(&f->next, 1)) < f->n) {
		/* another device's: its context is made current for the one slice */
		if (f->parts[k].b->device != l->device) {
			lane_put(l);
			l = NULL;
			r = lane_get(f->parts[k].b->device, &l, &err);
			if (r == 0)
				(void)lane_can_hash(l);
		}
		if (r == 0)
			r = fill_part(f, l, &f->parts[k], &err);
	}
	if (l)
		lane_put(l);
	pthread_mutex_lock(&f->op->k->lock);
	if (r < 0) {
		if (!f->failed)
			f->err = err;
		f->failed = f->failed ? f->failed : r;
		atomic_store(&f->stop, true);
	}
	f->running--;
	pthread_cond_broadcast(&f->op->k->changed);
	pthread_mutex_unlock(&f->op->k->lock);
	return NULL;
}

static int list_parts(struct fill *f, uint64_t *ret_bytes, struct hearth_err *err)
{
	size_t n = 0;

	*ret_bytes = 0;
	for (size_t i = 0; i < f->op->n; i++)
		for (size_t b = 0; b < f->op->processes[i]->n; b++)
			n += (f->op->processes[i]->buffers[b]->bytes / CHUNK + SLICE_CHUNKS - 1) / SLICE_CHUNKS;
	f->parts = calloc(n + 1, sizeof(*f->parts));
	if (!f->parts)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < f->op->n; i++)
		for (size_t b = 0; b < f->op->processes[i]->n; b++) {
			struct buffer *of = f->op->processes[i]->buffers[b];
			uint64_t chunks = of->bytes / CHUNK;

			if (!of->fresh.at)
				continue;
			*ret_bytes += of->bytes;
			for (uint64_t c = 0; c < chunks; c += SLICE_CHUNKS)
				f->parts[f->n++] = (struct part){ of, c, chunks - c < SLICE_CHUNKS ? chunks - c : SLICE_CHUNKS };
		}
	return 0;
}

static bool given_up(const struct fill *f)
{
	return f->staging ? atomic_load(&f->op->stage_stop) : engine_gone(f->op->engine);
}

static void supervise(struct fill *f, uint64_t total)
{
	struct keeper_server *k = f->op->k;

	pthread_mutex_lock(&k->lock);
	while (f->running > 0) {
		keeper_until(k, clock_mono_ns() + TICK_NS);
		if (given_up(f))
			atomic_store(&f->stop, true);
		if (!f->staging && f->op->engine) {
			pthread_mutex_unlock(&k->lock);
			engine_progress(f->op->engine, atomic_load(&f->done), total);
			pthread_mutex_lock(&k->lock);
		}
	}
	pthread_mutex_unlock(&k->lock);
}

static void filled(struct op *op)
{
	for (size_t i = 0; i < op->n; i++)
		for (size_t b = 0; b < op->processes[i]->n; b++) {
			struct buffer *of = op->processes[i]->buffers[b];

			if (!of->fresh.at)
				continue;
			of->map = of->fresh;
			of->fresh = (struct mapping){ 0 };
			of->image_object = -1;
		}
}

int fill_image(struct op *op, struct keeper_report *report, bool staging, struct hearth_err *err)
{
	struct fill f = { .op = op, .staging = staging };
	struct worker workers[LANES_MAX];
	uint64_t total, began = clock_mono_ns();
	size_t n = 0;
	int r = list_parts(&f, &total, err);

	pthread_mutex_lock(&op->k->lock);
	while (r == 0 && n < lanes_wanted() && n < f.n) {
		workers[n] = (struct worker){ .f = &f, .device = f.parts[n].b->device };
		if (pthread_create(&workers[n].thread, NULL, work, &workers[n]) != 0) {
			if (n == 0)
				r = err_set(err, -EAGAIN, "cannot start a thread");
			break;
		}
		f.running++;
		n++;
	}
	pthread_mutex_unlock(&op->k->lock);
	if (r == 0)
		supervise(&f, total);
	while (n > 0)
		pthread_join(workers[--n].thread, NULL);
	free(f.parts);
	report->copy_ns += clock_mono_ns() - began;
	report->copied_bytes += atomic_load(&f.copied);
	report->zero_bytes += atomic_load(&f.zero);
	if (atomic_load(&f.cpu))
		report_note(report, "no kernels: chunks were checked on the CPU");
	if (r == 0 && f.failed)
		r = err_set(err, f.failed, "%s", f.err.msg);
	if (r == 0 && given_up(&f))
		r = err_set(err, -ECANCELED, "given up while device memory was filled");
	if (r == 0)
		filled(op);
	return r;
}
