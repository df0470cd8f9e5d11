/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/clock.h"
#include "priv.h"

/**
 * struct entry - one operation of a batch, from its submission until its event was handed out
 * @own:    memory that was registered for it alone; NULL: it lies in a buffer
 * @preset: there was nothing to do, or it was wrong: the result is known. 0, -errno, or a CUfileOpError.
 */
struct entry {
	struct entry *next, **at;
	void *cookie;
	struct hearth_ds_memory *own;
	uint64_t began_ns;
	int preset;
	bool known, write;
};

struct batch {
	uint64_t number;
	pthread_mutex_t lock;           /* entries, used */
	struct entry *entries;
	unsigned room, used;
	struct hearth_ds_queue *queue;
	unsigned refs;
};

static void entry_link(struct batch *b, struct entry *e)
{
	pthread_mutex_lock(&b->lock);
	e->next = b->entries;
	e->at = &b->entries;
	if (e->next)
		e->next->at = &e->next;
	b->entries = e;
	pthread_mutex_unlock(&b->lock);
}

static void entry_free(struct batch *b, struct entry *e)
{
	pthread_mutex_lock(&b->lock);
	*e->at = e->next;
	if (e->next)
		e->next->at = e->at;
	b->used--;
	pthread_mutex_unlock(&b->lock);
	hearth_ds_release(e->own);
	free(e);
}

static void batch_free(void *thing)
{
	struct batch *b = thing;

	hearth_ds_queue_close(b->queue);
	while (b->entries)
		entry_free(b, b->entries);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/* with a reference */
static struct batch *batch_get(CUfileBatchHandle_t handle)
{
	struct batch *b;

	if (!cf_lock())
		return NULL;
	b = cf_table_find(&cf.batches, (uint64_t)(uintptr_t)handle);
	if (b)
		b->refs++;
	cf_leave();
	return b;
}

/* cf.lock held */
static void batch_close(struct batch *b)
{
	cf_table_remove(&cf.batches, b->number);
	/* so that who waits for it in another thread does not wait for long */
	(void)hearth_ds_cancel(b->queue, HEARTH_DS_ALL);
	cf_retire(&b->refs, batch_free, b);
}

void cf_batches_close(void)
{
	for (size_t k = 0; k < cf.batches.n; k++)
		if (cf.batches.slot[k].thing)
			batch_close(cf.batches.slot[k].thing);
}

/* cf.lock held */
static CUfileOpError batch_new(unsigned room, struct batch **ret)
{
	size_t most = cf.p.sizes[CUFILE_PARAM_PROPERTIES_IO_BATCHSIZE];
	struct batch *b;
	int r;

	/* a limit is one that the program has set */
	if (room == 0 || (most != CF_BATCH_MAX && room > most)) {
		cf_log(CF_LOG_ERROR, "cuFileBatchIOSetUp: %u operations are not within 1..%zu (io_batchsize)", room, most);
		return CU_FILE_INVALID_VALUE;
	}
	b = calloc(1, sizeof(*b));
	if (!b || !cf_ds())
		goto err;
	r = hearth_ds_queue_open(cf.ds, (uint32_t)cf.p.sizes[CUFILE_PARAM_EXECUTION_MAX_IO_QUEUE_DEPTH], &b->queue);
	if (r < 0) {
		cf_log(CF_LOG_ERROR, "cuFileBatchIOSetUp: %s", hearth_ds_error());
		free(b);
		return cf_error_of(r, CU_FILE_INTERNAL_BATCH_SETUP_ERROR);
	}
	pthread_mutex_init(&b->lock, NULL);
	b->room = room;
	b->number = cf_table_add(&cf.batches, b);
	if (b->number == 0) {
		batch_free(b);
		return CU_FILE_NOMEM_ERROR;
	}
	*ret = b;
	return CU_FILE_SUCCESS;
err:
	free(b);
	return CU_FILE_NOMEM_ERROR;
}

CF_EXPORT CUfileError_t cuFileBatchIOSetUp(CUfileBatchHandle_t *handle, unsigned nr)
{
	struct batch *b = NULL;
	CUfileOpError e;

	if (!handle)
		return cf_status(CU_FILE_INVALID_VALUE);
	e = cf_enter();
	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	e = batch_new(nr, &b);
	if (b)
		*handle = (CUfileBatchHandle_t)(uintptr_t)b->number;
	cf_count(CF_BATCH_SETUP, e == CU_FILE_SUCCESS, 1);
	cf_leave();
	return cf_status(e);
}

CF_EXPORT void cuFileBatchIODestroy(CUfileBatchHandle_t handle)
{
	struct batch *b;

	if (!cf_lock())
		return;
	b = cf_table_find(&cf.batches, (uint64_t)(uintptr_t)handle);
	if (b)
		batch_close(b);
	cf_count(CF_BATCH_DESTROY, b != NULL, 1);
	cf_leave();
}

/* ---- submission ---- */

/* One operation becomes one of libhearth-ds. What is wrong, or nothing, becomes one of no file, which comes back as failed in its turn: the event is made of @e->preset. */
static struct entry *prepare(const CUfileIOParams_t *p, struct cf_claim *claim, struct hearth_ds_op *op)
{
	struct cf_io io = { p->fh, p->u.batch.devPtr_base, p->u.batch.size, p->u.batch.file_offset, p->u.batch.devPtr_offset, p->opcode == CUFILE_WRITE };
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->cookie = p->cookie;
	e->write = io.write;
	e->began_ns = cf_count_io_begin();
	*claim = (struct cf_claim){ 0 };
	if (p->mode != CUFILE_BATCH || (p->opcode != CUFILE_READ && p->opcode != CUFILE_WRITE))
		e->preset = CU_FILE_INVALID_VALUE;
	else
		e->preset = cf_lock() ? cf_claim(&io, claim) : CU_FILE_DRIVER_NOT_INITIALIZED;
	e->known = !claim->file;
	/* from here on what was registered for it alone is the entry's */
	if (!e->known && !claim->range.buffer)
		e->own = claim->range.ds;
	*op = (struct hearth_ds_op){ .tag = (uint64_t)(uintptr_t)e };
	if (e->known)
		return e;
	op->file = claim->file->ds;
	op->memory = claim->range.ds;
	op->memory_offset = claim->range.offset;
	op->file_offset = (uint64_t)io.file_offset;
	op->bytes = io.size;
	op->kind = io.write ? HEARTH_DS_WRITE : HEARTH_DS_READ;
	return e;
}

/* the queue has the operation, and keeps file and memory from going; or never will */
static void unclaim(struct cf_claim *claim)
{
	if (!claim->range.buffer)
		claim->range.ds = NULL;
	cf_unclaim(claim);
}

/* @n operations have their places in the batch; those that don't come to be give them back */
static CUfileOpError submit(struct batch *b, const CUfileIOParams_t *p, unsigned n)
{
	struct cf_claim *claims = calloc(n, sizeof(*claims));
	struct hearth_ds_op *ops = calloc(n, sizeof(*ops));
	CUfileOpError e = CU_FILE_NOMEM_ERROR;
	unsigned k = 0;

	while (claims && ops && k < n) {
		struct entry *entry = prepare(&p[k], &claims[k], &ops[k]);

		if (!entry)
			break;
		entry_link(b, entry);
		k++;
	}
	if (k == n)
		e = cf_error_of(hearth_ds_submit(b->queue, ops, n), CU_FILE_INTERNAL_BATCH_SUBMIT_ERROR);
	/* once they were submitted the entries may be gone */
	for (unsigned i = 0; i < k; i++) {
		unclaim(&claims[i]);
		if (e != CU_FILE_SUCCESS)
			entry_free(b, (struct entry *)(uintptr_t)ops[i].tag);
	}
	if (e != CU_FILE_SUCCESS) {
		pthread_mutex_lock(&b->lock);
		b->used -= n - k;
		pthread_mutex_unlock(&b->lock);
	}
	free(claims);
	free(ops);
	return e;
}

static CUfileOpError reserve(struct batch *b, unsigned n)
{
	CUfileOpError e = CU_FILE_SUCCESS;

	pthread_mutex_lock(&b->lock);
	if (n > b->room - b->used)
		e = CU_FILE_BATCH_FULL;
	else
		b->used += n;
	pthread_mutex_unlock(&b->lock);
	if (e != CU_FILE_SUCCESS)
		cf_log(CF_LOG_ERROR, "cuFileBatchIOSubmit: %u more would be more than the %u operations that the batch was set up for", n, b->room);
	return e;
}

CF_EXPORT CUfileError_t cuFileBatchIOSubmit(CUfileBatchHandle_t handle, unsigned nr, CUfileIOParams_t *io, unsigned int flags)
{
	struct batch *b;
	CUfileOpError e;

	if (nr == 0 || !io || flags)
		return cf_status(CU_FILE_INVALID_VALUE);
	b = batch_get(handle);
	if (!b)
		return cf_status(CU_FILE_INVALID_VALUE);
	e = reserve(b, nr);
	if (e == CU_FILE_SUCCESS)
		e = submit(b, io, nr);
	cf_count(CF_BATCH_SUBMIT, e == CU_FILE_SUCCESS, 1);
	cf_put(&b->refs);
	return cf_status(e);
}

/* ---- events ---- */

static CUfileIOEvents_t event_of(const struct entry *e, const struct hearth_ds_done *done)
{
	int64_t r = e->known ? (e->preset > 0 ? -e->preset : e->preset) : done->result;
	CUfileIOEvents_t event = { .cookie = e->cookie, .ret = (size_t)r };

	if (r >= 0)
		event.status = CUFILE_COMPLETE;
	else if (r < -CUFILEOP_BASE_ERR)
		event.status = CUFILE_INVALID;
	else
		event.status = r == -ECANCELED ? CUFILE_CANCELED : CUFILE_FAILED;
	return event;
}

static void hand_out(struct batch *b, const struct hearth_ds_done *done, size_t n, CUfileIOEvents_t *ret)
{
	for (size_t k = 0; k < n; k++) {
		struct entry *e = (struct entry *)(uintptr_t)done[k].tag;

		ret[k] = event_of(e, &done[k]);
		(void)cf_count_io_end(e->began_ns, e->write, true, (int64_t)ret[k].ret);
		entry_free(b, e);
	}
	cf_count(CF_BATCH_COMPLETE, true, n);
}

static int left_ms(uint64_t until_ns)
{
	uint64_t now = clock_mono_ns(), ms;

	if (until_ns == UINT64_MAX)
		return -1;
	if (until_ns <= now)
		return 0;
	ms = (until_ns - now + NS_PER_MS - 1) / NS_PER_MS;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* Return: events, -errno */
static int64_t collect(struct batch *b, CUfileIOEvents_t *ret, unsigned min, unsigned max, uint64_t until_ns)
{
	struct hearth_ds_done done[64];
	unsigned got = 0;

	while (got < max) {
		size_t want = max - got < 64 ? max - got : 64, need = got < min ? min - got : 0;
		ssize_t n;

		if (need > want)
			need = want;
		n = hearth_ds_reap(b->queue, done, want, need, left_ms(until_ns));
		if (n < 0)
			return n;
		hand_out(b, done, (size_t)n, ret + got);
		got += (unsigned)n;
		if ((size_t)n < need || (size_t)n < want)
			break;
	}
	return got;
}

/* Return: absolute, UINT64_MAX = for ever, 0: not a time */
static uint64_t deadline_of(const struct timespec *timeout)
{
	uint64_t now = clock_mono_ns();

	if (!timeout)
		return UINT64_MAX;
	if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= (long)NS_PER_S)
		return 0;
	return (uint64_t)timeout->tv_sec > (UINT64_MAX - 1 - now) / NS_PER_S - 1 ? UINT64_MAX - 1 : now + (uint64_t)timeout->tv_sec * NS_PER_S + (uint64_t)timeout->tv_nsec;
}

CF_EXPORT CUfileError_t cuFileBatchIOGetStatus(CUfileBatchHandle_t handle, unsigned min_nr, unsigned *nr, CUfileIOEvents_t *events, struct timespec *timeout)
{
	uint64_t until = deadline_of(timeout);
	struct batch *b;
	int64_t n;

	if (!nr || (*nr > 0 && !events) || min_nr > *nr || until == 0)
		return cf_status(CU_FILE_INVALID_VALUE);
	b = batch_get(handle);
	if (!b)
		return cf_status(CU_FILE_INVALID_VALUE);
	n = collect(b, events, min_nr, *nr, until);
	cf_put(&b->refs);
	if (n < 0) {
		cf_log(CF_LOG_ERROR, "cuFileBatchIOGetStatus: %s", hearth_ds_error());
		return cf_status(CU_FILE_INTERNAL_BATCH_GETSTATUS_ERROR);
	}
	*nr = (unsigned)n;
	return cf_status(CU_FILE_SUCCESS);
}

CF_EXPORT CUfileError_t cuFileBatchIOCancel(CUfileBatchHandle_t handle)
{
	struct batch *b = batch_get(handle);

	if (!b)
		return cf_status(CU_FILE_INVALID_VALUE);
	cf_count(CF_BATCH_CANCEL, true, (uint64_t)hearth_ds_cancel(b->queue, HEARTH_DS_ALL));
	cf_put(&b->refs);
	return cf_status(CU_FILE_SUCCESS);
}
