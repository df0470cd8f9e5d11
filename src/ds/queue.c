/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues: a thread each, which drives a pump. Operations wait in @pending, where they can be cancelled; who drives takes as many as can begin. A thread that waits for completions drives the pump
 * itself meanwhile, as to wake another one and to be woken by it takes longer than to read from a fast drive; the queue's own thread goes on with what is under way when nobody has collected for
 * TURN_NS. Locks are taken for a batch, not for an operation, and what holds an operation is used again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"
#include "queue.h"

#define DEPTH 64
#define DEPTH_MAX 4096
#define SLAB_OPS 256
#define TURN_NS (2 * NS_PER_MS)

/* ---- operations ---- */

/* q->lock is held. Return: 0, -ENOMEM (what was added stays for the next). */
static int reserve(struct hearth_ds_queue *q, size_t n)
{
	while (q->idle_n < n) {
		struct op_slab *s = malloc(sizeof(*s) + SLAB_OPS * sizeof(struct op));

		if (!s)
			return -ENOMEM;
		s->next = q->slabs;
		q->slabs = s;
		for (size_t k = 0; k < SLAB_OPS; k++) {
			s->ops[k].next = q->idle;
			q->idle = &s->ops[k];
		}
		q->idle_n += SLAB_OPS;
	}
	return 0;
}

static struct op *take_idle(struct hearth_ds_queue *q)
{
	struct op *op = q->idle;

	q->idle = op->next;
	q->idle_n--;
	return op;
}

static void put_idle(struct hearth_ds_queue *q, struct op *op)
{
	op->next = q->idle;
	q->idle = op;
	q->idle_n++;
}

static void let_go(const struct op *op)
{
	uses_put(&op->memory->uses);
	uses_put(&op->file->uses);
}

/* q->lock is held. Return: whether somebody waits for so much: to be woken without the lock, which is what they need next. */
static bool tell(struct hearth_ds_queue *q, struct ops *ended, size_t n)
{
	uint64_t one = 1;

	if (!ended->head)
		return false;
	if (q->done.tail)
		q->done.tail->next = ended->head;
	else
		q->done.head = ended->head;
	q->done.tail = ended->tail;
	q->done_n += n;
	q->under_way -= n;
	if (q->fd >= 0 && !q->readable)
		q->readable = write(q->fd, &one, sizeof(one)) == sizeof(one);
	*ended = (struct ops){ 0 };
	return q->waiting && (q->done_n >= q->wanted || q->under_way == 0);
}

/* ---- driving ---- */

static void op_ended(void *ctx, struct op *op)
{
	struct hearth_ds_queue *q = ctx;

	let_go(op);
	ops_add(&q->ended_now, op);
	q->ended_n++;
}

/* as many as can begin. Return: whether there is more to do, now or ever. */
static bool take(struct hearth_ds_queue *q, bool *ret_idle)
{
	unsigned room = pump_room(&q->pump);
	struct ops batch = { 0 };
	bool on, wake;

	pthread_mutex_lock(&q->lock);
	wake = tell(q, &q->ended_now, q->ended_n);
	q->ended_n = 0;
	while (q->pending.head && room-- > 0) {
		struct op *op = q->pending.head;

		ops_pop(&q->pending);
		ops_add(&batch, op);
	}
	on = !q->closing || q->pump.under_way || batch.head;
	pthread_mutex_unlock(&q->lock);
	if (wake)
		pthread_cond_broadcast(&q->ended);
	*ret_idle = !batch.head;
	while (batch.head) {
		struct op *op = batch.head;

		ops_pop(&batch);
		pump_begin(&q->pump, op);
	}
	return on;
}

/* Return: are there @min completions, or will there be no more */
static bool enough(struct hearth_ds_queue *q, size_t min)
{
	bool yes;

	pthread_mutex_lock(&q->lock);
	yes = q->done_n >= min || q->under_way == 0;
	pthread_mutex_unlock(&q->lock);
	return yes;
}

static void drive_until(struct hearth_ds_queue *q, size_t min)
{
	bool idle;

	while (take(q, &idle), !enough(q, min))
		pump_step(&q->pump, idle);
}

/* what the thread that just collected, or submits, can begin at once */
static void drive_once(struct hearth_ds_queue *q)
{
	bool idle;

	(void)take(q, &idle);
	pump_step(&q->pump, false);
	(void)take(q, &idle);
}

/* q->drive is held: by a thread whose context is its own affair */
static void drive_as_guest(struct hearth_ds_queue *q, size_t min)
{
	cu_context before = cuda_current();

	q->pump.current = NULL;
	if (min)
		drive_until(q, min);
	else
		drive_once(q);
	if (q->pump.current)
		cuda_current_again(before);
	q->pump.current = NULL;
}

/* until there are @min completions; if somebody else does already, not at all */
static void drive_for(struct hearth_ds_queue *q, size_t min)
{
	if (atomic_exchange(&q->reaper, true))
		return;
	if (!atomic_load(&q->by_reaper))
		pump_wake(&q->pump);
	pthread_mutex_lock(&q->drive);
	atomic_store(&q->by_reaper, true);
	atomic_fetch_add(&q->turns, 1);
	drive_as_guest(q, min);
	atomic_store(&q->reaper, false);
	pthread_mutex_lock(&q->lock);
	if (q->waiting) {
		/* they do not drive */
		atomic_store(&q->by_reaper, false);
		pthread_cond_signal(&q->turn);
	}
	pthread_mutex_unlock(&q->lock);
	pthread_mutex_unlock(&q->drive);
}

static bool others_drive(const struct hearth_ds_queue *q)
{
	return !atomic_load(&q->closing) && (atomic_load(&q->by_reaper) || atomic_load(&q->reaper));
}

/* q->lock is held. True: who is to drive has not for TURN_NS, *turns being how often before; false: nobody is to any more. */
static bool others_stopped(struct hearth_ds_queue *q, uint64_t *turns)
{
	uint64_t until_ns = clock_mono_ns() + TURN_NS;

	while (others_drive(q)) {
		struct timespec ts = { .tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S) };

		if (pthread_cond_timedwait(&q->turn, &q->lock, &ts) != ETIMEDOUT)
			continue;
		if (!atomic_load(&q->reaper) && atomic_load(&q->turns) == *turns)
			return true;
		*turns = atomic_load(&q->turns);
		until_ns = clock_mono_ns() + TURN_NS;
	}
	return false;
}

/* q->drive is held, and given up while others drive: who drives would have to wake whoever waits for it each time */
static void wait_turn(struct hearth_ds_queue *q)
{
	while (others_drive(q)) {
		uint64_t turns = atomic_load(&q->turns);
		bool stopped;

		q->pump.current = NULL;
		pthread_mutex_unlock(&q->drive);
		pthread_mutex_lock(&q->lock);
		stopped = others_stopped(q, &turns);
		pthread_mutex_unlock(&q->lock);
		pthread_mutex_lock(&q->drive);
		/* somebody may have come meanwhile */
		if (stopped && atomic_load(&q->turns) == turns)
			atomic_store(&q->by_reaper, false);
	}
}

static void *queue_main(void *arg)
{
	struct hearth_ds_queue *q = arg;
	bool idle;
	int r = pump_init(&q->pump, q->ds, q->depth, q->use, &q->err);

	pthread_mutex_lock(&q->lock);
	q->state = r < 0 ? r : 1;
	pthread_cond_broadcast(&q->ended);
	pthread_mutex_unlock(&q->lock);
	if (r < 0)
		return NULL;
	pthread_mutex_lock(&q->drive);
	while (wait_turn(q), take(q, &idle))
		pump_step(&q->pump, idle);
	pump_done(&q->pump);
	pthread_mutex_unlock(&q->drive);
	return NULL;
}

/* ---- opening and closing ---- */

static int start(struct hearth_ds_queue *q, struct hearth_err *err)
{
	int r = thread_spawn(&q->thread, queue_main, q);

	if (r < 0)
		return err_set(err, -ENOMEM, "a queue's thread: %s", strerror(-r));
	/* the pump is its thread's from the beginning: io_uring is told so */
	pthread_mutex_lock(&q->lock);
	while (q->state == 0)
		pthread_cond_wait(&q->ended, &q->lock);
	r = q->state;
	pthread_mutex_unlock(&q->lock);
	if (r > 0)
		return 0;
	pthread_join(q->thread, NULL);
	return err_set(err, -ENOMEM, "%s", q->err.msg);
}

static void release(struct hearth_ds_queue *q)
{
	pthread_mutex_destroy(&q->lock);
	pthread_mutex_destroy(&q->drive);
	pthread_cond_destroy(&q->ended);
	pthread_cond_destroy(&q->turn);
	free(q);
}

struct hearth_ds_queue *queue_new(struct hearth_ds *ds, uint32_t depth, enum pump_use use, struct hearth_err *err)
{
	struct hearth_ds_queue *q = calloc(1, sizeof(*q));
	pthread_condattr_t attr;

	if (!q) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	q->ds = ds;
	q->depth = depth;
	q->use = use;
	q->fd = -1;
	q->wanted = SIZE_MAX;
	pthread_mutex_init(&q->lock, NULL);
	pthread_mutex_init(&q->drive, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->ended, &attr);
	pthread_cond_init(&q->turn, &attr);
	pthread_condattr_destroy(&attr);
	if (start(q, err) == 0)
		return q;
	release(q);
	return NULL;
}

void queue_free(struct hearth_ds_queue *q)
{
	pthread_mutex_lock(&q->lock);
	while (q->pending.head) {
		struct op *op = q->pending.head;

		ops_pop(&q->pending);
		op->result = -ECANCELED;
		if (op->ended == op_ended)
			let_go(op);
		else
			op->ended(op->ctx, op);
	}
	atomic_store(&q->closing, true);
	/* within the lock: the thread cannot be past its last look at @closing, and the pump gone, before this is done */
	pump_wake(&q->pump);
	pthread_cond_signal(&q->turn);
	pthread_mutex_unlock(&q->lock);
	pthread_join(q->thread, NULL);
	while (q->slabs) {
		struct op_slab *s = q->slabs;

		q->slabs = s->next;
		free(s);
	}
	fd_close(&q->fd);
	release(q);
}

int hearth_ds_queue_open(struct hearth_ds *ds, uint32_t depth, struct hearth_ds_queue **ret)
{
	struct hearth_ds_queue *q;

	if (depth > DEPTH_MAX)
		return err_set(ds_error(), -EINVAL, "a queue's depth is %d at most", DEPTH_MAX);
	q = queue_new(ds, depth ? depth : DEPTH, PUMP_SHARED, ds_error());
	if (!q)
		return -ENOMEM;
	pthread_mutex_lock(&ds->lock);
	q->next = ds->queues;
	ds->queues = q;
	pthread_mutex_unlock(&ds->lock);
	*ret = q;
	return 0;
}

struct hearth_ds_queue *hearth_ds_queue_close(struct hearth_ds_queue *queue)
{
	struct hearth_ds_queue **at;
	struct hearth_ds *ds;

	if (!queue)
		return NULL;
	ds = queue->ds;
	pthread_mutex_lock(&ds->lock);
	for (at = &ds->queues; *at != queue; at = &(*at)->next)
		;
	*at = queue->next;
	pthread_mutex_unlock(&ds->lock);
	queue_free(queue);
	return NULL;
}

/* ---- submitting ---- */

/* Return: 0, -errno: it has ended already */
static int op_make(const struct hearth_ds_op *from, struct op *op)
{
	int r;

	*op = (struct op){ .file = from->file, .memory = from->memory, .memory_offset = from->memory_offset, .file_offset = from->file_offset, .bytes = from->bytes, .tag = from->tag,
			   .write = from->kind == HEARTH_DS_WRITE };
	if (from->kind > HEARTH_DS_WRITE || !from->file || !from->memory)
		return -EINVAL;
	r = op_check(op->file, op->memory, op->memory_offset, op->file_offset, op->bytes, op->write, NULL);
	if (r < 0)
		return r;
	op->pair = pair_get(op->file, op->memory);
	if (!op->pair)
		return -ENOMEM;
	op->path = (uint8_t)atomic_load(&op->pair->path);
	return op->path == HEARTH_DS_AUTO ? -EOPNOTSUPP : 0;
}

int queue_op_make(struct hearth_ds_queue *q, const struct hearth_ds_op *from, struct op *op)
{
	int r = op_make(from, op);

	op->ended = op_ended;
	op->ctx = q;
	if (r == 0) {
		uses_get(&op->file->uses);
		uses_get(&op->memory->uses);
	}
	return r;
}

void queue_push(struct hearth_ds_queue *q, struct op *op)
{
	pthread_mutex_lock(&q->lock);
	ops_add(&q->pending, op);
	pthread_mutex_unlock(&q->lock);
	pump_wake(&q->pump);
}

/* at once, if the queue's thread would have to be woken for it and nobody else is at it */
static void begin(struct hearth_ds_queue *q)
{
	if (!atomic_load(&q->by_reaper) || pthread_mutex_trylock(&q->drive) != 0) {
		pump_wake(&q->pump);
		return;
	}
	drive_as_guest(q, 0);
	pthread_mutex_unlock(&q->drive);
}

int hearth_ds_submit(struct hearth_ds_queue *queue, const struct hearth_ds_op *ops, size_t n)
{
	struct ops made = { 0 }, wrong = { 0 };
	struct op *op, *mine = NULL;
	size_t wrong_n = 0;
	bool wake;

	pthread_mutex_lock(&queue->lock);
	if (reserve(queue, n) < 0) {
		pthread_mutex_unlock(&queue->lock);
		return err_set(ds_error(), -ENOMEM, "out of memory");
	}
	for (size_t k = 0; k < n; k++) {
		op = take_idle(queue);
		op->next = mine;
		mine = op;
	}
	pthread_mutex_unlock(&queue->lock);
	for (size_t k = 0; k < n; k++) {
		int r;

		op = mine;
		mine = mine->next;
		r = queue_op_make(queue, &ops[k], op);
		op->result = r;
		wrong_n += r < 0;
		ops_add(r < 0 ? &wrong : &made, op);
	}
	pthread_mutex_lock(&queue->lock);
	queue->under_way += n;
	wake = tell(queue, &wrong, wrong_n);
	if (made.head) {
		if (queue->pending.tail)
			queue->pending.tail->next = made.head;
		else
			queue->pending.head = made.head;
		queue->pending.tail = made.tail;
	}
	pthread_mutex_unlock(&queue->lock);
	if (wake)
		pthread_cond_broadcast(&queue->ended);
	if (made.head)
		begin(queue);
	return 0;
}

/* ---- collecting ---- */

static bool wait_more(struct hearth_ds_queue *q, size_t min, uint64_t until_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S) };
	int r = 0;

	if (q->done_n >= min || q->under_way == 0)
		return false;
	q->waiting++;
	q->wanted = min < q->wanted ? min : q->wanted;
	if (until_ns == UINT64_MAX)
		pthread_cond_wait(&q->ended, &q->lock);
	else
		r = pthread_cond_timedwait(&q->ended, &q->lock, &ts);
	if (--q->waiting == 0)
		q->wanted = SIZE_MAX;
	return r == 0;
}

ssize_t hearth_ds_reap(struct hearth_ds_queue *queue, struct hearth_ds_done *ret, size_t max, size_t min, int timeout_ms)
{
	uint64_t until_ns = timeout_ms < 0 ? UINT64_MAX : clock_mono_ns() + (uint64_t)timeout_ms * NS_PER_MS, count;
	size_t n = 0;

	min = min < max ? min : max;
	if (timeout_ms < 0 && !enough(queue, min))
		drive_for(queue, min);
	pthread_mutex_lock(&queue->lock);
	while (timeout_ms != 0 && wait_more(queue, min, until_ns))
		;
	for (; n < max && queue->done.head; n++) {
		struct op *op = queue->done.head;

		ops_pop(&queue->done);
		ret[n] = (struct hearth_ds_done){ .tag = op->tag, .result = op->result, .path = op->path };
		put_idle(queue, op);
	}
	queue->done_n -= n;
	if (queue->readable && !queue->done.head)
		queue->readable = read(queue->fd, &count, sizeof(count)) != sizeof(count);
	pthread_mutex_unlock(&queue->lock);
	return (ssize_t)n;
}

ssize_t hearth_ds_cancel(struct hearth_ds_queue *queue, uint64_t tag)
{
	struct ops kept = { 0 }, cancelled = { 0 };
	size_t n = 0;
	bool wake;

	pthread_mutex_lock(&queue->lock);
	for (struct op *op = queue->pending.head, *next; op; op = next) {
		next = op->next;
		if (op->tag != tag && tag != HEARTH_DS_ALL) {
			ops_add(&kept, op);
			continue;
		}
		let_go(op);
		op->result = -ECANCELED;
		ops_add(&cancelled, op);
		n++;
	}
	queue->pending = kept;
	wake = tell(queue, &cancelled, n);
	pthread_mutex_unlock(&queue->lock);
	if (wake)
		pthread_cond_broadcast(&queue->ended);
	return (ssize_t)n;
}

int hearth_ds_queue_fd(struct hearth_ds_queue *queue)
{
	uint64_t one = 1;
	int fd;

	pthread_mutex_lock(&queue->lock);
	if (queue->fd < 0) {
		queue->fd = fd_move_up(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
		if (queue->fd < 0)
			err_set(ds_error(), -errno, "eventfd: %s", strerror(errno));
		else if (queue->done.head)
			queue->readable = write(queue->fd, &one, sizeof(one)) == sizeof(one);
	}
	fd = queue->fd < 0 ? ds_error()->code : queue->fd;
	pthread_mutex_unlock(&queue->lock);
	return fd;
}
