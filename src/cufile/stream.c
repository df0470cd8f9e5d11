/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

#include "priv.h"

/*
 * Operations in streams. Sizes and offsets are the program's variables, which are looked at when the stream gets there, or at the call where cuFileStreamRegister()
 * said that they are final. Nobody may wait or call the driver at that moment: what an operation used is put in a list at its end, and freed by the next call.
 */
struct cf_stream {
	struct cf_stream *next;
	CUstream stream;
	unsigned flags;
};

/**
 * struct async - one operation
 * @ahead: from the beginning of the memory to the program's base; @room: from there to its end
 * @own:   memory that was registered for it alone; NULL: a buffer
 * @wrong: what @begin found out: minus a CUfileOpError
 */
struct async {
	struct async *next;
	const size_t *size_p;
	const off_t *file_offset_p, *base_offset_p;
	size_t size;
	off_t file_offset, base_offset;
	size_t ahead, room;
	ssize_t *done_p;
	struct hearth_ds_memory *own;
	uint64_t began_ns;
	int64_t wrong;
	bool write;
};

#define CU_UNKNOWN 999                  /* CUDA_ERROR_UNKNOWN: the log has the name of what it was */

static pthread_mutex_t ended_lock = PTHREAD_MUTEX_INITIALIZER;
static struct async *ended;

/* cf.lock held: libhearth-ds is there */
static void sweep(void)
{
	struct async *a;

	pthread_mutex_lock(&ended_lock);
	a = ended;
	ended = NULL;
	pthread_mutex_unlock(&ended_lock);
	while (a) {
		struct async *next = a->next;

		hearth_ds_release(a->own);
		free(a);
		a = next;
	}
}

/* ---- streams ---- */

static struct cf_stream **stream_at(CUstream stream)
{
	struct cf_stream **at = &cf.streams;

	while (*at && (*at)->stream != stream)
		at = &(*at)->next;
	return at;
}

void cf_streams_close(void)
{
	while (cf.streams) {
		struct cf_stream *s = cf.streams;

		cf.streams = s->next;
		free(s);
	}
	sweep();
}

CF_EXPORT CUfileError_t cuFileStreamRegister(CUstream stream, unsigned flags)
{
	struct cf_stream *s;
	CUfileOpError e;

	if (flags & ~(unsigned)(CU_FILE_STREAM_FIXED_BUF_OFFSET | CU_FILE_STREAM_FIXED_FILE_OFFSET | CU_FILE_STREAM_FIXED_FILE_SIZE | CU_FILE_STREAM_PAGE_ALIGNED_INPUTS))
		return cf_status(CU_FILE_INVALID_VALUE);
	s = calloc(1, sizeof(*s));
	if (!s)
		return cf_status(CU_FILE_NOMEM_ERROR);
	e = cf_enter();
	if (e != CU_FILE_SUCCESS) {
		free(s);
		return cf_status(e);
	}
	*s = (struct cf_stream){ .next = cf.streams, .stream = stream, .flags = flags };
	if (*stream_at(stream)) {
		e = CU_FILE_INVALID_VALUE;
		free(s);
	} else {
		cf.streams = s;
	}
	cf_leave();
	return cf_status(e);
}

CF_EXPORT CUfileError_t cuFileStreamDeregister(CUstream stream)
{
	CUfileOpError e = cf_enter_open();
	struct cf_stream **at, *s;

	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	at = stream_at(stream);
	s = *at;
	if (s)
		*at = s->next;
	cf_leave();
	free(s);
	return cf_status(s ? CU_FILE_SUCCESS : CU_FILE_INVALID_VALUE);
}

/* ---- when the stream gets there ---- */

static void begin(void *ctx, struct hearth_ds_op *op)
{
	struct async *a = ctx;
	size_t size = a->size_p ? *a->size_p : a->size;
	off_t from = a->file_offset_p ? *a->file_offset_p : a->file_offset, to = a->base_offset_p ? *a->base_offset_p : a->base_offset;

	if (from < 0 || to < 0 || size > SSIZE_MAX || size > (uint64_t)(INT64_MAX - from))
		a->wrong = -CU_FILE_INVALID_VALUE;
	else if ((uint64_t)to > a->room || size > a->room - (uint64_t)to)
		a->wrong = -CU_FILE_INVALID_MAPPING_RANGE;
	if (a->wrong)
		return;
	op->memory_offset = a->ahead + (uint64_t)to;
	op->file_offset = (uint64_t)from;
	op->bytes = size;
}

static void end(void *ctx, int64_t result)
{
	struct async *a = ctx;

	result = cf_count_io_end(a->began_ns, a->write, false, a->wrong ? a->wrong : result);
	/* as documented: what is the file's is -1 here */
	*a->done_p = result < 0 && result >= -CUFILEOP_BASE_ERR ? -1 : (ssize_t)result;
	pthread_mutex_lock(&ended_lock);
	a->next = ended;
	ended = a;
	pthread_mutex_unlock(&ended_lock);
}

/* ---- the call ---- */

/* File and memory, as far as they are known now. cf.lock held; let go of. @c is empty on failure. */
static int claim(CUfileHandle_t fh, const void *base, bool write, struct cf_claim *c, size_t *ret_room)
{
	struct cf_file *f = cf_file_get(fh);
	int e = f ? 0 : CU_FILE_HANDLE_NOT_REGISTERED, place;

	*c = (struct cf_claim){ .file = f };
	if (f && f->access == (write ? O_RDONLY : O_WRONLY))
		e = CU_FILE_INVALID_FILE_OPEN_FLAG;
	if (e == 0)
		e = (int)cf_range_get(base, 0, 1, &c->range);
	if (e == 0 && c->range.buffer)
		*ret_room = c->range.buffer->bytes - c->range.offset;
	cf_leave();
	if (e == 0 && !c->range.buffer) {
		place = cf_place_of((uint64_t)(uintptr_t)base);
		*ret_room = cf_extent_of((uint64_t)(uintptr_t)base, place);
		e = *ret_room ? (int)cf_range_make(base, 0, *ret_room, &c->range) : CU_FILE_CUDA_POINTER_INVALID;
	}
	if (e == 0)
		e = cf_direct_only(c);
	if (e != 0)
		cf_unclaim(c);
	return e;
}

static struct async *async_new(const struct cf_claim *c, size_t room, size_t *size, off_t *file_offset, off_t *base_offset, ssize_t *done, unsigned flags)
{
	struct async *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	*a = (struct async){ .ahead = c->range.offset, .room = room, .done_p = done, .began_ns = cf_count_io_begin() };
	if (flags & CU_FILE_STREAM_FIXED_FILE_SIZE)
		a->size = *size;
	else
		a->size_p = size;
	if (flags & CU_FILE_STREAM_FIXED_FILE_OFFSET)
		a->file_offset = *file_offset;
	else
		a->file_offset_p = file_offset;
	if (flags & CU_FILE_STREAM_FIXED_BUF_OFFSET)
		a->base_offset = *base_offset;
	else
		a->base_offset_p = base_offset;
	return a;
}

static CUfileError_t enqueue(struct cf_claim *c, struct async *a, CUstream stream)
{
	struct hearth_ds_late late = { begin, end, a };
	struct hearth_ds_op op = { .file = c->file->ds, .memory = c->range.ds, .kind = a->write ? HEARTH_DS_WRITE : HEARTH_DS_READ };
	struct hearth_ds_device *device;
	int place = cf_stream_place(), r;

	/* a thread without a context: the stream is taken for one of the memory's device */
	if (place == CF_HOST)
		place = c->range.place;
	if (place == CF_HOST)
		return cf_status(CU_FILE_INVALID_CONTEXT_ERROR);
	r = cf_device(place, &device);
	if (r == 0) {
		if (!c->range.buffer)
			a->own = c->range.ds;
		r = hearth_ds_enqueue_late(device, stream, &op, &late);
	}
	if (r < 0) {
		a->own = NULL;
		cf_log(CF_LOG_ERROR, "%s: %s", a->write ? "cuFileWriteAsync" : "cuFileReadAsync", hearth_ds_error());
		if (r == -EIO)
			return (CUfileError_t){ .err = CU_FILE_CUDA_DRIVER_ERROR, .cu_err = CU_UNKNOWN };
		return cf_status(r == -EOPNOTSUPP ? CU_FILE_ASYNC_NOT_SUPPORTED : cf_error_of(r, CU_FILE_INVALID_VALUE));
	}
	/* the operation keeps file and memory from going; the memory is the operation's own now, if it was registered for it */
	if (!c->range.buffer)
		c->range.ds = NULL;
	return cf_status(CU_FILE_SUCCESS);
}

/* without a stream: after what is in the default one, and done when the call returns */
static CUfileError_t at_once(CUfileHandle_t fh, void *base, const size_t *size, const off_t *file_offset, const off_t *base_offset, ssize_t *done, bool write)
{
	int r = cf_stream_wait();

	if (r != 0)
		return (CUfileError_t){ .err = CU_FILE_CUDA_DRIVER_ERROR, .cu_err = r };
	/* what is wrong with the call is in both places */
	*done = cf_run(&(struct cf_io){ fh, base, *size, *file_offset, *base_offset, write });
	return cf_status(*done < -CUFILEOP_BASE_ERR ? (CUfileOpError)-*done : CU_FILE_SUCCESS);
}

static CUfileError_t in_stream(CUfileHandle_t fh, void *base, size_t *size, off_t *file_offset, off_t *base_offset, ssize_t *done, CUstream stream, bool write)
{
	struct cf_claim c;
	struct cf_stream *s;
	struct async *a;
	CUfileError_t status;
	unsigned flags;
	size_t room = 0;
	int e;

	if (!base || !size || !file_offset || !base_offset || !done)
		return cf_status(CU_FILE_INVALID_VALUE);
	if (!stream)
		return at_once(fh, base, size, file_offset, base_offset, done, write);
	e = (int)cf_enter();
	if (e != CU_FILE_SUCCESS)
		return cf_status((CUfileOpError)e);
	sweep();
	s = *stream_at(stream);
	flags = s ? s->flags : 0;
	e = claim(fh, base, write, &c, &room);
	if (e != 0)
		return cf_status(e > 0 ? (CUfileOpError)e : cf_error_of(e, CU_FILE_INTERNAL_ERROR));
	a = async_new(&c, room, size, file_offset, base_offset, done, flags);
	if (!a) {
		cf_unclaim(&c);
		return cf_status(CU_FILE_NOMEM_ERROR);
	}
	a->write = write;
	status = enqueue(&c, a, stream);
	if (status.err != CU_FILE_SUCCESS)
		free(a);
	cf_unclaim(&c);         /* NOLINT(clang-analyzer-unix.Malloc): the operation has @a until end(), then sweep() */
	return status;
}

CF_EXPORT CUfileError_t cuFileReadAsync(CUfileHandle_t fh, void *base, size_t *size, off_t *file_offset, off_t *base_offset, ssize_t *bytes_read, CUstream stream)
{
	return in_stream(fh, base, size, file_offset, base_offset, bytes_read, stream, false);
}

CF_EXPORT CUfileError_t cuFileWriteAsync(CUfileHandle_t fh, void *base, size_t *size, off_t *file_offset, off_t *base_offset, ssize_t *bytes_written, CUstream stream)
{
	return in_stream(fh, base, size, file_offset, base_offset, bytes_written, stream, true);
}
