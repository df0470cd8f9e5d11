/* SPDX-License-Identifier: Apache-2.0 */
/* Who `hearth ds bench` can measure: this library, and beside it what the kernel gives to programs without one, into memory of the process. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/driver.h"
#include "ds_bench.h"

/* ---- this library ---- */

static int hearth_start(struct bench *b, struct hearth_err *err)
{
	int r = hearth_ds_open(&b->o, &b->c.ds);

	if (r == 0)
		r = hearth_ds_device(b->c.ds, b->device, &b->c.device);
	return r < 0 ? ds_cli_err(err, r) : 0;
}

static void hearth_stop(struct bench *b)
{
	b->c.ds = hearth_ds_close(b->c.ds);
}

static int hearth_file(struct bench *b, struct hearth_err *err)
{
	int r = hearth_ds_file(b->c.ds, AT_FDCWD, b->path, b->write ? O_RDWR : O_RDONLY, &b->file);

	return r < 0 ? ds_cli_err(err, r) : 0;
}

static void hearth_file_close(struct bench *b)
{
	b->file = hearth_ds_file_close(b->file);
}

static int hearth_reg(struct bench *b, struct hearth_err *err)
{
	int r = hearth_ds_register(b->c.device, device_memory_at(b->c.own) + b->reg_at, b->reg_bytes, &b->c.memory);

	return r < 0 ? ds_cli_err(err, r) : 0;
}

static void hearth_release(struct bench *b)
{
	struct hearth_ds_report report;

	if (b->file && b->c.memory && !b->text && !b->handles && hearth_ds_probe(b->file, b->c.memory, &report) == 0)
		b->text = hearth_ds_path_name(report.path);
	b->c.memory = hearth_ds_release(b->c.memory);
}

static ssize_t hearth_one(struct bench_lane *l, uint64_t place, uint64_t at)
{
	struct bench *b = l->b;
	ssize_t r = b->write ? hearth_ds_write(b->file, b->c.memory, place - b->reg_at, at, b->block) : hearth_ds_read(b->file, b->c.memory, place - b->reg_at, at, b->block);

	return r < 0 ? bench_lane_says(l, (int)r, "%s", hearth_ds_error()) : r;
}

static struct hearth_ds_op op_of(const struct bench *b, const struct bench_op *op)
{
	return (struct hearth_ds_op){ .file = b->file, .memory = b->c.memory, .memory_offset = op->place, .file_offset = op->at, .bytes = b->block, .tag = op->tag,
				      .kind = b->write ? HEARTH_DS_WRITE : HEARTH_DS_READ };
}

/* @stream: of the lanes with one; @order: what was submitted, in its order; @result: of each, by its place there */
struct hearth_queue {
	struct hearth_ds_queue *q;
	struct hearth_ds_op *ops;
	struct hearth_ds_done *done;
	cu_stream stream;
	int64_t *result;
	uint64_t *order;
	size_t n;
};

static void hearth_queue_close(struct bench_lane *l)
{
	struct hearth_queue *q = l->queue;

	hearth_ds_queue_close(q->q);
	device_memory_stream_free(l->b->c.own, q->stream);
	free(q->ops);
	free(q->done);
	free(q->result);
	free(q->order);
	free(q);
}

static int hearth_queue_new(struct bench_lane *l)
{
	struct hearth_queue *q = l->queue = calloc(1, sizeof(*q));

	if (!q)
		return bench_lane_says(l, -ENOMEM, "out of memory");
	q->ops = calloc(l->b->depth, sizeof(*q->ops));
	q->done = calloc(l->b->depth, sizeof(*q->done));
	q->result = calloc(l->b->depth, sizeof(*q->result));
	q->order = calloc(l->b->depth, sizeof(*q->order));
	if (q->ops && q->done && q->result && q->order)
		return 0;
	hearth_queue_close(l);
	return bench_lane_says(l, -ENOMEM, "out of memory");
}

static int hearth_queue_open(struct bench_lane *l)
{
	int r = hearth_queue_new(l);

	if (r < 0)
		return r;
	r = hearth_ds_queue_open(l->b->c.ds, l->b->io_depth ? l->b->io_depth : l->b->depth, &((struct hearth_queue *)l->queue)->q);
	if (r == 0)
		return 0;
	bench_lane_says(l, r, "%s", hearth_ds_error());
	hearth_queue_close(l);
	return r;
}

static int hearth_submit(struct bench_lane *l, const struct bench_op *ops, size_t n)
{
	struct hearth_queue *q = l->queue;
	int r;

	for (size_t k = 0; k < n; k++)
		q->ops[k] = op_of(l->b, &ops[k]);
	r = hearth_ds_submit(q->q, q->ops, n);
	return r < 0 ? bench_lane_says(l, r, "%s", hearth_ds_error()) : 0;
}

static ssize_t hearth_reap(struct bench_lane *l, struct bench_done *ret, size_t max, size_t min)
{
	struct hearth_queue *q = l->queue;
	ssize_t n = hearth_ds_reap(q->q, q->done, max, min, -1);

	for (ssize_t k = 0; k < n; k++) {
		ret[k] = (struct bench_done){ q->done[k].tag, q->done[k].result };
		if (q->done[k].result < 0)
			bench_lane_says(l, 0, "%s", strerror((int)-q->done[k].result));
	}
	return n < 0 ? bench_lane_says(l, (int)n, "%s", hearth_ds_error()) : n;
}

static int hearth_stream_open(struct bench_lane *l)
{
	struct hearth_err err = { 0 };
	int r = hearth_queue_new(l);

	if (r == 0)
		r = device_memory_stream(l->b->c.own, &((struct hearth_queue *)l->queue)->stream, &err);
	if (r < 0 && err.code) {
		bench_lane_says(l, r, "%s", err.msg);
		hearth_queue_close(l);
	}
	return r;
}

static int hearth_enqueue(struct bench_lane *l, const struct bench_op *ops, size_t n)
{
	struct hearth_queue *q = l->queue;

	for (q->n = 0; q->n < n; q->n++) {
		struct hearth_ds_op op = op_of(l->b, &ops[q->n]);
		int r = hearth_ds_enqueue(l->b->c.ds, q->stream, &op, &q->result[q->n]);

		q->order[q->n] = op.tag;
		if (r < 0)
			return bench_lane_says(l, r, "%s", hearth_ds_error());
	}
	return 0;
}

/* all of them: a stream has one end */
static ssize_t hearth_stream_reap(struct bench_lane *l, struct bench_done *ret, size_t max, size_t min)
{
	struct hearth_queue *q = l->queue;
	struct hearth_err err = { 0 };
	int r = device_memory_stream_sync(l->b->c.own, q->stream, &err);

	if (r < 0)
		return bench_lane_says(l, r, "%s", err.msg);
	for (size_t k = 0; k < q->n; k++) {
		ret[k] = (struct bench_done){ q->order[k], q->result[k] };
		if (q->result[k] < 0)
			bench_lane_says(l, 0, "%s", strerror((int)-q->result[k]));
	}
	return (ssize_t)q->n;
}

static const struct bench_queue hearth_queue = { hearth_queue_open, hearth_submit, hearth_reap, hearth_queue_close };
static const struct bench_queue hearth_stream = { hearth_stream_open, hearth_enqueue, hearth_stream_reap, hearth_queue_close };
const struct bench_way bench_hearth = {
	"hearth", "", hearth_start, hearth_file, hearth_reg, hearth_release, hearth_file_close, hearth_stop, hearth_one, &hearth_queue, &hearth_stream,
};

/* ---- without a library ---- */

int bench_open_plain(struct bench *b, struct hearth_err *err)
{
	int direct = b->o.cache == HEARTH_DS_CACHE_ALWAYS ? 0 : O_DIRECT;
	int fd = open(b->path, (b->write ? O_RDWR : O_RDONLY) | direct | O_CLOEXEC);

	return fd < 0 ? err_set(err, -errno, "cannot open %s%s: %s", b->path, direct ? " with O_DIRECT" : "", strerror(errno)) : fd;
}

static int plain_file(struct bench *b, struct hearth_err *err)
{
	int fd = bench_open_plain(b, err);

	if (fd >= 0)
		b->fd = fd;
	return fd < 0 ? fd : 0;
}

static void plain_file_close(struct bench *b)
{
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
}

static int plain_nothing(struct bench *b, struct hearth_err *err)
{
	return 0;
}

static void plain_nothing_back(struct bench *b)
{
	b->text = "host";
}

static uint8_t *plain_at(const struct bench *b, uint64_t place)
{
	return (uint8_t *)(uintptr_t)device_memory_at(b->c.own) + place;
}

static ssize_t plain_one(struct bench_lane *l, uint64_t place, uint64_t at)
{
	struct bench *b = l->b;
	uint8_t *data = plain_at(b, place);
	size_t done = 0;

	while (done < b->block) {
		ssize_t n = b->write ? pwrite(b->fd, data + done, b->block - done, (off_t)(at + done)) : pread(b->fd, data + done, b->block - done, (off_t)(at + done));

		if (n < 0 && errno != EINTR)
			return bench_lane_says(l, -errno, "%s: %s", b->path, strerror(errno));
		if (n == 0)
			break;
		done += n < 0 ? 0 : (size_t)n;
	}
	return (ssize_t)done;
}

const struct bench_way bench_pread = {
	"pread", "host", plain_nothing, plain_file, plain_nothing, plain_nothing_back, plain_file_close, plain_nothing_back, plain_one, NULL, NULL,
};

/* ---- io_uring: a ring for each lane; the bench's own one is for --handles ---- */

static int uring_start(struct bench *b, struct hearth_err *err)
{
	struct io_uring *ring = calloc(1, sizeof(*ring));
	int r = ring ? io_uring_queue_init(b->depth, ring, 0) : -ENOMEM;

	if (r < 0) {
		free(ring);
		return err_set(err, r, "io_uring_queue_init: %s", strerror(-r));
	}
	b->state = ring;
	return 0;
}

static void uring_stop(struct bench *b)
{
	if (b->state)
		io_uring_queue_exit(b->state);
	free(b->state);
	b->state = NULL;
}

static int uring_reg(struct bench *b, struct hearth_err *err)
{
	struct iovec iov = { plain_at(b, b->reg_at), b->reg_bytes };
	int r = b->handles ? io_uring_register_buffers(b->state, &iov, 1) : 0;

	return r < 0 ? err_set(err, r, "io_uring_register_buffers: %s", strerror(-r)) : 0;
}

static void uring_release(struct bench *b)
{
	if (b->handles)
		(void)io_uring_unregister_buffers(b->state);
	b->text = "host";
}

static int uring_open(struct bench_lane *l)
{
	struct io_uring *ring = calloc(1, sizeof(*ring));
	int r = ring ? io_uring_queue_init(l->b->depth, ring, 0) : -ENOMEM;

	if (r < 0) {
		free(ring);
		return bench_lane_says(l, r, "io_uring_queue_init: %s", strerror(-r));
	}
	l->queue = ring;
	return 0;
}

static int uring_submit(struct bench_lane *l, const struct bench_op *ops, size_t n)
{
	struct bench *b = l->b;
	int r;

	for (size_t k = 0; k < n; k++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(l->queue);

		if (b->write)
			io_uring_prep_write(sqe, b->fd, plain_at(b, ops[k].place), (unsigned)b->block, ops[k].at);
		else
			io_uring_prep_read(sqe, b->fd, plain_at(b, ops[k].place), (unsigned)b->block, ops[k].at);
		io_uring_sqe_set_data64(sqe, ops[k].tag);
	}
	r = io_uring_submit(l->queue);
	return r < 0 ? bench_lane_says(l, r, "io_uring_submit: %s", strerror(-r)) : 0;
}

static ssize_t uring_reap(struct bench_lane *l, struct bench_done *ret, size_t max, size_t min)
{
	struct io_uring_cqe *cqe;
	ssize_t n = 0;
	int r;

	do
		r = io_uring_wait_cqe_nr(l->queue, &cqe, (unsigned)min);
	while (r == -EINTR);
	if (r < 0)
		return bench_lane_says(l, r, "io_uring_wait_cqe: %s", strerror(-r));
	while ((size_t)n < max && io_uring_peek_cqe(l->queue, &cqe) == 0) {
		ret[n++] = (struct bench_done){ io_uring_cqe_get_data64(cqe), cqe->res };
		if (cqe->res < 0)
			bench_lane_says(l, 0, "%s: %s", l->b->path, strerror(-cqe->res));
		io_uring_cqe_seen(l->queue, cqe);
	}
	return n;
}

static void uring_close(struct bench_lane *l)
{
	io_uring_queue_exit(l->queue);
	free(l->queue);
}

static const struct bench_queue uring_queue = { uring_open, uring_submit, uring_reap, uring_close };
const struct bench_way bench_uring = {
	"uring", "host", uring_start, plain_file, uring_reg, uring_release, plain_file_close, uring_stop, NULL, &uring_queue, NULL,
};
