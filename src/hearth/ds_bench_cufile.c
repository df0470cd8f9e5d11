/* SPDX-License-Identifier: Apache-2.0 */
/* cuFile as `hearth ds bench --by cufile` measures it, in whichever mode it has: what it is measured as, it says. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/driver.h"
#include "cufile/abi.h"
#include "ds_bench.h"

/* bits of what cuFileDriverGetProperties says */
enum { STATUS_NVME = 1 << 4, STATUS_NVMEOF = 1 << 5, STATUS_NFS = 1 << 9, STATUS_NVME_P2P = 1 << 11 };
#define PATIENCE_S 30                   /* compatibility mode has been seen to lose a batch */

/* X(field, symbol): the same for every way of measuring, then for queues and streams */
#define CALLS(X) \
	X(driver_open, cuFileDriverOpen) X(driver_close, cuFileDriverClose) X(properties, cuFileDriverGetProperties) X(add, cuFileHandleRegister) X(remove, cuFileHandleDeregister) \
	X(reg, cuFileBufRegister) X(release, cuFileBufDeregister) X(read, cuFileRead) X(write, cuFileWrite)
#define CALLS_QUEUED(X) \
	X(batch_setup, cuFileBatchIOSetUp) X(batch_submit, cuFileBatchIOSubmit) X(batch_status, cuFileBatchIOGetStatus) X(batch_destroy, cuFileBatchIODestroy) \
	X(read_async, cuFileReadAsync) X(write_async, cuFileWriteAsync)

struct library {
	void *lib;
	bool ours;                      /* the library in this name's place that is Hearth's */
#define X(field, symbol) __typeof__(&(symbol)) (field);
	CALLS(X)
	CALLS_QUEUED(X)
#undef X
	CUfileHandle_t file;
};

/* what it answers where udev's database has no ID_FS_TYPE of the file's drive */
#define NO_FS_TYPE CU_FILE_HANDLE_NOT_REGISTERED

static int wrong(struct hearth_err *err, const char *call, CUfileError_t e)
{
	return err_set(err, -EIO, "%s: %d%s", call, (int)e.err, e.err == NO_FS_TYPE ? ": udev does not tell it which file system the drive has" : "");
}

static void *base_of(const struct bench *b)
{
	return (void *)(uintptr_t)device_memory_at(b->c.own);
}

/* ---- the library ---- */

/* An older one has no queues: that is said when they are asked for. Return: what it lacks, or NULL. */
static const char *find_all(struct library *f)
{
	const char *missing = NULL;

#define X(field, symbol) f->field = (__typeof__(f->field))dlsym(f->lib, #symbol);
	CALLS(X)
	CALLS_QUEUED(X)
#undef X
#define X(field, symbol) missing = f->field ? missing : #symbol;
	CALLS(X)
#undef X
	return missing;
}

/* Return: the library with its calls, or NULL. */
static struct library *load(struct hearth_err *err)
{
	const char *env = getenv("HEARTH_LIBCUFILE"), *name = env && *env ? env : "libcufile.so.0";
	struct library *f = calloc(1, sizeof(*f));
	const char *missing;

	if (!f) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	f->lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!f->lib) {
		err_set(err, -ENOENT, "there is no cuFile: %s", dlerror());
		free(f);
		return NULL;
	}
	missing = find_all(f);
	if (missing) {
		err_set(err, -EOPNOTSUPP, "%s lacks %s", name, missing);
		dlclose(f->lib);
		free(f);
		return NULL;
	}
	f->ours = dlsym(f->lib, "hearth_cufile_marker") != NULL;
	return f;
}

static const char *mode_of(struct library *f)
{
	CUfileDrvProps_t props = { 0 };

	if (f->ours)
		return "Hearth's own libcufile";
	if (f->properties(&props).err == CU_FILE_SUCCESS && props.nvfs.dstatusflags & (STATUS_NVME | STATUS_NVMEOF | STATUS_NFS | STATUS_NVME_P2P))
		return "direct";
	return "compatibility mode";
}

/* the library itself stays: it has threads that outlive cuFileDriverClose */
static int cf_start(struct bench *b, struct hearth_err *err)
{
	struct library *f = b->state ? b->state : load(err);
	CUfileError_t e;

	if (!f)
		return err->code;
	b->state = f;
	e = f->driver_open();
	if (e.err != CU_FILE_SUCCESS)
		return wrong(err, "cuFileDriverOpen", e);
	if (!b->text)
		b->text = mode_of(f);
	return 0;
}

static void cf_stop(struct bench *b)
{
	struct library *f = b->state;

	if (f)
		(void)f->driver_close();
}

static int cf_file(struct bench *b, struct hearth_err *err)
{
	struct library *f = b->state;
	CUfileDescr_t descr = { .type = CU_FILE_HANDLE_TYPE_OPAQUE_FD };
	CUfileError_t e;
	int fd = bench_open_plain(b, err);

	if (fd < 0)
		return fd;
	descr.handle.fd = fd;
	e = f->add(&f->file, &descr);
	if (e.err != CU_FILE_SUCCESS) {
		close(fd);
		return wrong(err, "cuFileHandleRegister", e);
	}
	b->fd = fd;
	return 0;
}

static void cf_file_close(struct bench *b)
{
	struct library *f = b->state;

	if (b->fd < 0)
		return;
	f->remove(f->file);
	close(b->fd);
	b->fd = -1;
}

static int cf_reg(struct bench *b, struct hearth_err *err)
{
	struct library *f = b->state;
	CUfileError_t e = f->reg((char *)base_of(b) + b->reg_at, b->reg_bytes, 0);

	return e.err == CU_FILE_SUCCESS ? 0 : wrong(err, "cuFileBufRegister", e);
}

static void cf_release(struct bench *b)
{
	struct library *f = b->state;

	if (f)
		(void)f->release((char *)base_of(b) + b->reg_at);
}

static int cf_failed(struct bench_lane *l, const char *call, ssize_t r)
{
	int code = r == -1 && errno > 0 ? -errno : -EIO;

	return bench_lane_says(l, code, "%s: %s (%zd)", call, r == -1 ? strerror(-code) : "a number of cuFile's", r);
}

static ssize_t cf_one(struct bench_lane *l, uint64_t place, uint64_t at)
{
	struct bench *b = l->b;
	struct library *f = b->state;
	char *base = (char *)base_of(b) + b->reg_at;
	size_t done = 0;

	while (done < b->block) {
		off_t to = (off_t)(place - b->reg_at + done), from = (off_t)(at + done);
		ssize_t n = b->write ? f->write(f->file, base, b->block - done, from, to) : f->read(f->file, base, b->block - done, from, to);

		if (n < 0)
			return cf_failed(l, b->write ? "cuFileWrite" : "cuFileRead", n);
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* ---- batches, and streams ---- */

/* @size and what follows it: of each operation in a stream, which reads them when it comes to it */
struct cf_queue {
	CUfileBatchHandle_t batch;
	CUfileIOParams_t *io;
	CUfileIOEvents_t *events;
	cu_stream stream;
	struct cf_async { size_t size; off_t at, to; ssize_t result; uint64_t tag; } *async;
	size_t n;
};

static void cf_queue_close(struct bench_lane *l)
{
	struct library *f = l->b->state;
	struct cf_queue *q = l->queue;

	if (q->batch)
		f->batch_destroy(q->batch);
	device_memory_stream_free(l->b->c.own, q->stream);
	free(q->io);
	free(q->events);
	free(q->async);
	free(q);
}

static int cf_queue_new(struct bench_lane *l)
{
	struct library *f = l->b->state;
	struct cf_queue *q = l->queue = calloc(1, sizeof(*q));

	if (!q)
		return bench_lane_says(l, -ENOMEM, "out of memory");
	q->io = calloc(l->b->depth, sizeof(*q->io));
	q->events = calloc(l->b->depth, sizeof(*q->events));
	q->async = calloc(l->b->depth, sizeof(*q->async));
	if (q->io && q->events && q->async && f->batch_setup && f->batch_submit && f->batch_status && f->batch_destroy && f->read_async && f->write_async)
		return 0;
	cf_queue_close(l);
	return bench_lane_says(l, f->batch_setup ? -ENOMEM : -EOPNOTSUPP, f->batch_setup ? "out of memory" : "this cuFile has no batches and no streams");
}

static int cf_batch_open(struct bench_lane *l)
{
	struct library *f = l->b->state;
	struct cf_queue *q;
	CUfileError_t e;
	int r = cf_queue_new(l);

	if (r < 0)
		return r;
	q = l->queue;
	e = f->batch_setup(&q->batch, l->b->depth);
	if (e.err == CU_FILE_SUCCESS)
		return 0;
	q->batch = NULL;
	cf_queue_close(l);
	return bench_lane_says(l, -EIO, "cuFileBatchIOSetUp of %u: %d", l->b->depth, (int)e.err);
}

static int cf_batch_submit(struct bench_lane *l, const struct bench_op *ops, size_t n)
{
	struct bench *b = l->b;
	struct library *f = b->state;
	struct cf_queue *q = l->queue;
	CUfileError_t e;

	for (size_t k = 0; k < n; k++) {
		q->io[k] = (CUfileIOParams_t){ .mode = CUFILE_BATCH, .fh = f->file, .opcode = b->write ? CUFILE_WRITE : CUFILE_READ, .cookie = (void *)(uintptr_t)(ops[k].tag + 1) };
		q->io[k].u.batch.devPtr_base = base_of(b);
		q->io[k].u.batch.devPtr_offset = (off_t)ops[k].place;
		q->io[k].u.batch.file_offset = (off_t)ops[k].at;
		q->io[k].u.batch.size = b->block;
	}
	e = f->batch_submit(q->batch, (unsigned)n, q->io, 0);
	return e.err == CU_FILE_SUCCESS ? 0 : bench_lane_says(l, -EIO, "cuFileBatchIOSubmit of %zu: %d", n, (int)e.err);
}

static ssize_t cf_batch_reap(struct bench_lane *l, struct bench_done *ret, size_t max, size_t min)
{
	struct library *f = l->b->state;
	struct cf_queue *q = l->queue;
	uint64_t until = clock_mono_ns() + PATIENCE_S * NS_PER_S;
	unsigned n = 0;

	while (n == 0) {
		struct timespec patience = { .tv_sec = PATIENCE_S };
		CUfileError_t e;

		n = (unsigned)max;
		e = f->batch_status(q->batch, (unsigned)min, &n, q->events, &patience);
		if (e.err != CU_FILE_SUCCESS)
			return bench_lane_says(l, -EIO, "cuFileBatchIOGetStatus: %d", (int)e.err);
		if (n == 0 && clock_mono_ns() > until)
			return bench_lane_says(l, -ETIMEDOUT, "cuFile has lost a batch: no event in %d seconds", PATIENCE_S);
	}
	for (unsigned k = 0; k < n; k++) {
		bool good = q->events[k].status == CUFILE_COMPLETE;

		ret[k] = (struct bench_done){ (uint64_t)(uintptr_t)q->events[k].cookie - 1, good ? (int64_t)q->events[k].ret : -EIO };
		if (!good)
			bench_lane_says(l, 0, "cuFile's batch: status %d, result %zd", (int)q->events[k].status, (ssize_t)q->events[k].ret);
	}
	return n;
}

static int cf_stream_open(struct bench_lane *l)
{
	struct hearth_err err = { 0 };
	int r = cf_queue_new(l);

	if (r < 0)
		return r;
	r = device_memory_stream(l->b->c.own, &((struct cf_queue *)l->queue)->stream, &err);
	if (r < 0) {
		bench_lane_says(l, r, "%s", err.msg);
		cf_queue_close(l);
	}
	return r;
}

static int cf_async(struct bench_lane *l, const struct bench_op *ops, size_t n)
{
	struct bench *b = l->b;
	struct library *f = b->state;
	struct cf_queue *q = l->queue;

	for (q->n = 0; q->n < n; q->n++) {
		struct cf_async *a = &q->async[q->n];
		CUstream stream = (CUstream)q->stream;
		CUfileError_t e;

		*a = (struct cf_async){ b->block, (off_t)ops[q->n].at, (off_t)ops[q->n].place, 0, ops[q->n].tag };
		e = b->write ? f->write_async(f->file, base_of(b), &a->size, &a->at, &a->to, &a->result, stream) : f->read_async(f->file, base_of(b), &a->size, &a->at, &a->to, &a->result, stream);
		if (e.err != CU_FILE_SUCCESS)
			return bench_lane_says(l, -EIO, "%s: %d", b->write ? "cuFileWriteAsync" : "cuFileReadAsync", (int)e.err);
	}
	return 0;
}

static ssize_t cf_stream_reap(struct bench_lane *l, struct bench_done *ret, size_t max, size_t min)
{
	struct cf_queue *q = l->queue;
	struct hearth_err err = { 0 };
	int r = device_memory_stream_sync(l->b->c.own, q->stream, &err);

	if (r < 0)
		return bench_lane_says(l, r, "%s", err.msg);
	for (size_t k = 0; k < q->n; k++) {
		ssize_t result = q->async[k].result;

		ret[k] = (struct bench_done){ q->async[k].tag, result < 0 ? -EIO : result };
		if (result < 0)
			bench_lane_says(l, 0, "in a stream, cuFile: %zd", result);
	}
	return (ssize_t)q->n;
}

static const struct bench_queue cf_queue = { cf_batch_open, cf_batch_submit, cf_batch_reap, cf_queue_close };
static const struct bench_queue cf_stream = { cf_stream_open, cf_async, cf_stream_reap, cf_queue_close };
const struct bench_way bench_cufile = {
	"cufile", "cuda:", cf_start, cf_file, cf_reg, cf_release, cf_file_close, cf_stop, cf_one, &cf_queue, &cf_stream,
};
