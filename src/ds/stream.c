/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations in a stream's order. A host function says that the stream has come to it, and does no more than hand it to a queue; the stream then waits for a word of pinned memory, which
 * the queue's thread writes when the operation has ended. What the operation copies goes by streams of our own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"

#define NODES 256u                      /* made at a time: their words are a page's */
#define DEPTH 64

/** struct node - an operation in a stream; used again and again, each time with a greater value of its word */
struct node {
	struct op op;
	struct node *next;
	struct streams *side;
	int64_t *ret_result;
	struct hearth_ds_late late;     /* @end: NULL: its ranges are known */
	_Atomic uint32_t *word;
	cu_deviceptr word_at;
	uint32_t value;
};
struct node_slab { struct node_slab *next; void *words; struct node nodes[NODES]; };

struct streams {
	struct cuda_device *cuda;
	struct hearth_ds_queue *queue;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct node *idle;
	struct node_slab *slabs;
};

/* ---- made at first use ---- */

/* s->lock is held, the context is current */
static int more_nodes(struct streams *s, struct hearth_err *err)
{
	const struct cuda *cu = s->cuda->cu;
	struct node_slab *slab = calloc(1, sizeof(*slab));
	_Atomic uint32_t *words;
	cu_deviceptr at;
	int r;

	if (!slab)
		return err_set(err, -ENOMEM, "out of memory");
	r = cuda_err(cu, cu->host_alloc(&slab->words, NODES * sizeof(uint32_t), CU_HOST_PORTABLE), err, "cuMemHostAlloc");
	if (r < 0) {
		free(slab);
		return r;
	}
	memset(slab->words, 0, NODES * sizeof(uint32_t));
	words = slab->words;
	/* one address for both sides, unless the driver says otherwise */
	at = (cu_deviceptr)(uintptr_t)slab->words;
	if (cu->host_pointer)
		(void)cu->host_pointer(&at, slab->words, 0);
	for (unsigned k = NODES; k-- > 0;) {
		slab->nodes[k] = (struct node){ .side = s, .word = words + k, .word_at = at + k * sizeof(uint32_t), .next = s->idle };
		s->idle = &slab->nodes[k];
	}
	slab->next = s->slabs;
	s->slabs = slab;
	return 0;
}

struct streams *streams_free(struct streams *s)
{
	if (!s)
		return NULL;
	if (s->queue)
		queue_free(s->queue);
	while (s->slabs) {
		struct node_slab *slab = s->slabs;

		s->slabs = slab->next;
		(void)s->cuda->cu->host_free(slab->words);
		free(slab);
	}
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->ended);
	free(s);
	return NULL;
}

static struct streams *streams_new(struct hearth_ds_device *d, struct hearth_err *err)
{
	struct streams *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	s->cuda = d->cuda;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->ended, NULL);
	s->queue = queue_new(d->ds, DEPTH, PUMP_THREAD, err);
	return s->queue ? s : streams_free(s);
}

/* NULL: no memory, no thread */
static struct streams *streams_get(struct hearth_ds_device *d, struct hearth_err *err)
{
	struct streams *s;

	pthread_mutex_lock(&d->lock);
	if (!d->streams)
		d->streams = streams_new(d, err);
	s = d->streams;
	pthread_mutex_unlock(&d->lock);
	return s;
}

/* ---- one operation ---- */

static void put_node(struct node *n)
{
	struct streams *s = n->side;

	pthread_mutex_lock(&s->lock);
	n->next = s->idle;
	s->idle = n;
	pthread_mutex_unlock(&s->lock);
	pthread_cond_broadcast(&s->ended);
}

/* in the queue's thread */
static void op_ended(void *ctx, struct op *op)
{
	struct node *n = ctx;
	struct hearth_ds_memory *m = op->memory;
	struct hearth_ds_file *f = op->file;

	if (n->ret_result)
		*n->ret_result = op->result;
	if (n->late.end)
		n->late.end(n->late.ctx, op->result);
	atomic_store_explicit(n->word, n->value, memory_order_release);
	put_node(n);
	uses_put(&m->uses);
	uses_put(&f->uses);
}

/* Return: whether there is something to do; if not, the operation has its result */
static bool ranges_known(struct node *n)
{
	struct hearth_ds_op op = { 0 };

	n->late.begin(n->late.ctx, &op);
	n->op.memory_offset = op.memory_offset;
	n->op.file_offset = op.file_offset;
	n->op.bytes = op.bytes;
	n->op.result = op_check(n->op.file, n->op.memory, op.memory_offset, op.file_offset, op.bytes, n->op.write, NULL);
	return n->op.result == 0 && op.bytes > 0;
}

/* in a thread of the driver: it may neither wait nor call the driver */
static void stream_came(void *arg)
{
	struct node *n = arg;

	if (n->late.begin && !ranges_known(n))
		op_ended(n, &n->op);
	else
		queue_push(n->side->queue, &n->op);
}

/* s->lock is not held. Without its wait the stream would go on too early: the operation ends before anybody hears of the error. */
static void wait_ended(struct streams *s, const struct node *n, uint32_t value)
{
	pthread_mutex_lock(&s->lock);
	while ((int32_t)(atomic_load(n->word) - value) < 0)
		pthread_cond_wait(&s->ended, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static int put_in_stream(struct streams *s, struct node *n, cu_stream stream, struct hearth_err *err)
{
	const struct cuda *cu = s->cuda->cu;
	uint32_t value = n->value;
	int capturing = 0, r;

	if (cu->is_capturing && cu->is_capturing(stream, &capturing) == CU_OK && capturing)
		return err_set(err, -EOPNOTSUPP, "the stream is being captured; operations with files cannot be part of a graph");
	r = cuda_err(cu, cu->launch_host(stream, stream_came, n), err, "cuLaunchHostFunc");
	if (r < 0)
		return r;
	r = cuda_err(cu, cu->wait_value(stream, n->word_at, value, CU_WAIT_GEQ), err, "cuStreamWaitValue32");
	if (r < 0)
		wait_ended(s, n, value);
	/* it was taken, and gives itself back */
	return r < 0 ? 1 : 0;
}

/* NULL: no memory */
static struct node *take_node(struct streams *s, struct hearth_err *err)
{
	struct node *n;

	pthread_mutex_lock(&s->lock);
	if (!s->idle)
		(void)more_nodes(s, err);
	n = s->idle;
	if (n)
		s->idle = n->next;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static int enqueue(struct hearth_ds_device *d, const struct hearth_ds_op *op, const struct hearth_ds_late *late, int64_t *ret_result, cu_stream stream, struct hearth_err *err)
{
	struct streams *s = streams_get(d, err);
	struct node *n = s ? take_node(s, err) : NULL;
	int r;

	if (!n)
		return -ENOMEM;
	r = queue_op_make(s->queue, op, &n->op);
	if (r < 0) {
		err_set(err, r, "hearth_ds_enqueue: %s", r == -EOPNOTSUPP ? "no path is left between this file and memory; hearth_ds_probe says why" : strerror(-r));
		put_node(n);
		return r;
	}
	n->op.ended = op_ended;
	n->op.ctx = n;
	n->ret_result = ret_result;
	n->late = late ? *late : (struct hearth_ds_late){ 0 };
	n->value++;
	r = put_in_stream(s, n, stream, err);
	if (r < 0) {
		uses_put(&op->memory->uses);
		uses_put(&op->file->uses);
		put_node(n);
	}
	/* it has ended, and whoever waits for @late->end has been told */
	if (r > 0 && late)
		return 0;
	return r > 0 ? -EIO : r;
}

static int on_device(struct hearth_ds_device *d, const struct hearth_ds_op *op, const struct hearth_ds_late *late, int64_t *ret_result, cu_stream stream)
{
	int r;

	if (!d->cuda->cu->launch_host || !d->cuda->cu->wait_value)
		return err_set(ds_error(), -EOPNOTSUPP, "the driver has no cuLaunchHostFunc or cuStreamWaitValue32: it is too old for operations in streams");
	r = cuda_enter(d->cuda, ds_error());
	if (r < 0)
		return r;
	r = enqueue(d, op, late, ret_result, stream, ds_error());
	cuda_leave(d->cuda);
	return r;
}

/* where there are no streams */
static int at_once(const struct hearth_ds_op *op, int64_t *ret_result)
{
	ssize_t r = op->kind == HEARTH_DS_WRITE ? hearth_ds_write(op->file, op->memory, op->memory_offset, op->file_offset, op->bytes) :
						  hearth_ds_read(op->file, op->memory, op->memory_offset, op->file_offset, op->bytes);

	if (ret_result)
		*ret_result = r;
	return 0;
}

int hearth_ds_enqueue(struct hearth_ds *ds, void *stream, const struct hearth_ds_op *op, int64_t *ret_result)
{
	struct hearth_ds_device *d;
	int r;

	(void)ds;
	if (op->kind > HEARTH_DS_WRITE || !op->file || !op->memory)
		return err_set(ds_error(), -EINVAL, "hearth_ds_enqueue: no such kind of operation, or no file or memory");
	r = op_check(op->file, op->memory, op->memory_offset, op->file_offset, op->bytes, op->kind == HEARTH_DS_WRITE, ds_error());
	if (r < 0)
		return r;
	d = op->memory->device;
	if (!d->cuda)
		return at_once(op, ret_result);
	return on_device(d, op, NULL, ret_result, stream);
}

int hearth_ds_enqueue_late(struct hearth_ds_device *device, void *stream, const struct hearth_ds_op *op, const struct hearth_ds_late *late)
{
	struct hearth_ds_op unknown = *op;

	unknown.memory_offset = unknown.file_offset = unknown.bytes = 0;
	if (!late->begin || !late->end || op->kind > HEARTH_DS_WRITE || !op->file || !op->memory || !device->cuda)
		return err_set(ds_error(), -EINVAL, "hearth_ds_enqueue_late: no such kind of operation, no file or memory, or a device without streams");
	return on_device(device, &unknown, late, NULL, stream);
}
