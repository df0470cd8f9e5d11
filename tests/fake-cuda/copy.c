/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "fake.h"

/*
 * Copies and sets. All are one shape: planes of rows. From memory of the host that is not pinned an asynchronous copy takes the bytes at once, as the driver does; into such memory it waits.
 */
enum where { AT_DEVICE, AT_HOST, AT_ANY, AT_PEER };     /* AT_PEER: on the device that it belongs to, not the current one */

static CUresult side_check(const struct side *s, size_t width, size_t rows, size_t planes, enum where where, unsigned device, bool write, bool *ret_host)
{
	uint64_t bytes = ((planes - 1) * s->height + rows - 1) * s->pitch + width;
	CUresult r = CUDA_SUCCESS;
	struct mapping *m;
	bool known;

	pthread_mutex_lock(&fake.lock);
	known = memory_is_device(s->at);
	m = where == AT_PEER ? table_find(&fake.mappings, s->at) : NULL;
	if (known)
		r = memory_check(s->at, bytes, m ? m->phys->device : device, write);
	else if ((where == AT_DEVICE || where == AT_PEER) && !memory_is_pinned(s->at))
		r = CUDA_ERROR_INVALID_VALUE;
	*ret_host = !known && !memory_is_pinned(s->at);
	pthread_mutex_unlock(&fake.lock);
	return r;
}

/* rows one after the other, so that they are read now */
static bool stage(struct work *w)
{
	size_t row = w->copy.width, n = row * w->copy.rows;
	char *mem = malloc(n * w->copy.planes);

	if (!mem)
		return false;
	for (size_t z = 0; z < w->copy.planes; z++)
		for (size_t y = 0; y < w->copy.rows; y++)
			memcpy(mem + z * n + y * row, (const char *)w->copy.from.at + (z * w->copy.from.height + y) * w->copy.from.pitch, row);
	w->copy.staged = mem;
	w->copy.from = (struct side){ (uint64_t)mem, row, w->copy.rows };
	return true;
}

static CUresult copy_submit(struct work *w, enum where to, enum where from, CUstream handle, bool wait)
{
	unsigned device = ctx_current()->device;
	struct stream *s;
	bool to_host, from_host;
	uint64_t turn;
	CUresult r;

	s = stream_from(handle, &r);
	if (!s)
		return r;
	if (!w->copy.width || !w->copy.rows || !w->copy.planes)
		return CUDA_SUCCESS;
	r = side_check(&w->copy.to, w->copy.width, w->copy.rows, w->copy.planes, to, device, true, &to_host);
	if (!r)
		r = side_check(&w->copy.from, w->copy.width, w->copy.rows, w->copy.planes, from, device, false, &from_host);
	if (r)
		return r;
	if (s->capture) {
		if (wait)
			return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
		return stream_submit(s, w, NULL);
	}
	if (from_host && !wait && !stage(w))
		return CUDA_ERROR_OUT_OF_MEMORY;
	r = stream_submit(s, w, &turn);
	if (r || (!wait && !to_host))
		return r;
	stream_wait(s, turn);
	return ctx_error(s->ctx);
}

static CUresult copy_line(uint64_t to, enum where kind_to, uint64_t from, enum where kind_from, size_t n, CUstream handle, bool wait)
{
	struct work w = { .kind = WORK_COPY, .copy = { .to = { to, n, 1 }, .from = { from, n, 1 }, .width = n, .rows = 1, .planes = 1 } };

	return copy_submit(&w, kind_to, kind_from, handle, wait);
}

/* each with its form for per-thread default streams: the plain name takes the stream as it is, _ptds and _ptsz mean the thread's own by NULL */
#define OWN(handle) ((handle) ? (handle) : CU_STREAM_PER_THREAD)
#define BOTH_SYNC(name, suffix, params, call_legacy, call_own) \
	EXPORT CUresult name params \
	{ \
		CALL(CALL_CTX); \
		return call_legacy; \
	} \
	EXPORT CUresult name##_ptds params \
	{ \
		CALL(CALL_CTX); \
		return call_own; \
	}
#define BOTH_ASYNC(name, params, call_legacy, call_own) \
	EXPORT CUresult name params \
	{ \
		CALL(CALL_CTX); \
		return call_legacy; \
	} \
	EXPORT CUresult name##_ptsz params \
	{ \
		CALL(CALL_CTX); \
		return call_own; \
	}
#define COPY_SYNC(name, params, to, kt, from, kf) \
	BOTH_SYNC(name, , params, copy_line((uint64_t)(to), kt, (uint64_t)(from), kf, n, NULL, true), copy_line((uint64_t)(to), kt, (uint64_t)(from), kf, n, CU_STREAM_PER_THREAD, true))
#define COPY_ASYNC(name, params, to, kt, from, kf) \
	BOTH_ASYNC(name, params, copy_line((uint64_t)(to), kt, (uint64_t)(from), kf, n, s, false), copy_line((uint64_t)(to), kt, (uint64_t)(from), kf, n, OWN(s), false))

COPY_SYNC(cuMemcpy, (CUdeviceptr to, CUdeviceptr from, size_t n), to, AT_ANY, from, AT_ANY)
COPY_SYNC(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t n), to, AT_DEVICE, from, AT_HOST)
COPY_SYNC(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t n), to, AT_HOST, from, AT_DEVICE)
COPY_SYNC(cuMemcpyDtoD_v2, (CUdeviceptr to, CUdeviceptr from, size_t n), to, AT_DEVICE, from, AT_DEVICE)
COPY_SYNC(cuMemcpyPeer, (CUdeviceptr to, CUcontext a, CUdeviceptr from, CUcontext b, size_t n), to, AT_PEER, from, AT_PEER)
COPY_ASYNC(cuMemcpyAsync, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s), to, AT_ANY, from, AT_ANY)
COPY_ASYNC(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t n, CUstream s), to, AT_DEVICE, from, AT_HOST)
COPY_ASYNC(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t n, CUstream s), to, AT_HOST, from, AT_DEVICE)
COPY_ASYNC(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s), to, AT_DEVICE, from, AT_DEVICE)
COPY_ASYNC(cuMemcpyPeerAsync, (CUdeviceptr to, CUcontext a, CUdeviceptr from, CUcontext b, size_t n, CUstream s), to, AT_PEER, from, AT_PEER)

EXPORT CUresult cuMemcpyBatchAsync_v2(CUdeviceptr *to, CUdeviceptr *from, size_t *bytes, size_t n, CUmemcpyAttributes *attributes, size_t *attributes_from, size_t attributes_n, CUstream s)
{
	CUresult r = CUDA_SUCCESS;

	CALL(CALL_CTX);
	if (!to || !from || !bytes || !n || !attributes || !attributes_from || !attributes_n || attributes_from[0] || !s || s == CU_STREAM_LEGACY)
		return CUDA_ERROR_INVALID_VALUE;
	for (size_t k = 0; k < attributes_n; k++)
		if (attributes[k].srcAccessOrder < CU_MEMCPY_SRC_ACCESS_ORDER_STREAM || attributes[k].srcAccessOrder > CU_MEMCPY_SRC_ACCESS_ORDER_ANY)
			return CUDA_ERROR_INVALID_VALUE;
	for (size_t k = 0; k < n && !r; k++)
		r = bytes[k] ? copy_line(to[k], AT_ANY, from[k], AT_ANY, bytes[k], s, false) : CUDA_ERROR_INVALID_VALUE;
	return r;
}

static CUresult place(CUmemorytype type, const void *host, CUdeviceptr device, uint64_t *ret)
{
	if (type == CU_MEMORYTYPE_HOST)
		*ret = (uint64_t)host;
	else if (type == CU_MEMORYTYPE_DEVICE || type == CU_MEMORYTYPE_UNIFIED)
		*ret = device;
	else
		return CUDA_ERROR_NOT_SUPPORTED;        /* arrays */
	return CUDA_SUCCESS;
}

CUresult copy_make_3d(const CUDA_MEMCPY3D *d, unsigned device, struct work *ret)
{
	struct work w = { .kind = WORK_COPY };
	uint64_t to, from;
	size_t tp = d->dstPitch ? d->dstPitch : d->WidthInBytes, fp = d->srcPitch ? d->srcPitch : d->WidthInBytes;
	size_t th = d->dstHeight ? d->dstHeight : d->Height, fh = d->srcHeight ? d->srcHeight : d->Height;
	CUresult r;

	r = place(d->dstMemoryType, d->dstHost, d->dstDevice, &to);
	if (!r)
		r = place(d->srcMemoryType, d->srcHost, d->srcDevice, &from);
	if (r)
		return r;
	if (tp < d->WidthInBytes || fp < d->WidthInBytes)
		return CUDA_ERROR_INVALID_VALUE;
	w.copy.to = (struct side){ to + (d->dstZ * th + d->dstY) * tp + d->dstXInBytes, tp, th };
	w.copy.from = (struct side){ from + (d->srcZ * fh + d->srcY) * fp + d->srcXInBytes, fp, fh };
	w.copy.width = d->WidthInBytes;
	w.copy.rows = d->Height;
	w.copy.planes = d->Depth;
	*ret = w;
	return CUDA_SUCCESS;
}

static enum where where_of(CUmemorytype type)
{
	return type == CU_MEMORYTYPE_HOST ? AT_HOST : type == CU_MEMORYTYPE_DEVICE ? AT_DEVICE : AT_ANY;
}

static CUresult copy_3d(const CUDA_MEMCPY3D *d, CUstream handle, bool wait)
{
	struct work w;
	CUresult r;

	if (!d)
		return CUDA_ERROR_INVALID_VALUE;
	r = copy_make_3d(d, ctx_current()->device, &w);
	return r ? r : copy_submit(&w, where_of(d->dstMemoryType), where_of(d->srcMemoryType), handle, wait);
}

static CUresult copy_2d(const CUDA_MEMCPY2D *d, CUstream handle, bool wait)
{
	CUDA_MEMCPY3D full;

	if (!d)
		return CUDA_ERROR_INVALID_VALUE;
	full = (CUDA_MEMCPY3D){ .srcXInBytes = d->srcXInBytes, .srcY = d->srcY, .srcMemoryType = d->srcMemoryType, .srcHost = d->srcHost, .srcDevice = d->srcDevice, .srcPitch = d->srcPitch,
		.dstXInBytes = d->dstXInBytes, .dstY = d->dstY, .dstMemoryType = d->dstMemoryType, .dstHost = d->dstHost, .dstDevice = d->dstDevice, .dstPitch = d->dstPitch,
		.WidthInBytes = d->WidthInBytes, .Height = d->Height, .Depth = 1 };
	return copy_3d(&full, handle, wait);
}

BOTH_SYNC(cuMemcpy2D_v2, , (const CUDA_MEMCPY2D *d), copy_2d(d, NULL, true), copy_2d(d, CU_STREAM_PER_THREAD, true))
BOTH_SYNC(cuMemcpy2DUnaligned_v2, , (const CUDA_MEMCPY2D *d), copy_2d(d, NULL, true), copy_2d(d, CU_STREAM_PER_THREAD, true))
BOTH_SYNC(cuMemcpy3D_v2, , (const CUDA_MEMCPY3D *d), copy_3d(d, NULL, true), copy_3d(d, CU_STREAM_PER_THREAD, true))
BOTH_ASYNC(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D *d, CUstream s), copy_2d(d, s, false), copy_2d(d, OWN(s), false))
BOTH_ASYNC(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D *d, CUstream s), copy_3d(d, s, false), copy_3d(d, OWN(s), false))

static CUresult set(CUdeviceptr to, size_t pitch, unsigned value, unsigned unit, size_t width, size_t rows, CUstream handle)
{
	struct work w = { .kind = WORK_SET, .set = { .to = to, .pitch = pitch, .width = width, .rows = rows, .value = value, .unit = unit } };
	struct side to_side = { to, pitch, rows };
	struct stream *s;
	bool host;
	CUresult r;

	s = stream_from(handle, &r);
	if (!s)
		return r;
	if (to % unit || pitch < width * unit)
		return CUDA_ERROR_INVALID_VALUE;
	if (!width || !rows)
		return CUDA_SUCCESS;
	r = side_check(&to_side, width * unit, rows, 1, AT_DEVICE, ctx_current()->device, true, &host);
	return r ? r : stream_submit(s, &w, NULL);
}

#define SETS(bits, type) \
	BOTH_SYNC(cuMemsetD##bits##_v2, , (CUdeviceptr to, type v, size_t n), set(to, n * sizeof(type), v, sizeof(type), n, 1, NULL), \
		set(to, n * sizeof(type), v, sizeof(type), n, 1, CU_STREAM_PER_THREAD)) \
	BOTH_ASYNC(cuMemsetD##bits##Async, (CUdeviceptr to, type v, size_t n, CUstream s), set(to, n * sizeof(type), v, sizeof(type), n, 1, s), \
		set(to, n * sizeof(type), v, sizeof(type), n, 1, OWN(s))) \
	BOTH_SYNC(cuMemsetD2D##bits##_v2, , (CUdeviceptr to, size_t pitch, type v, size_t w, size_t h), set(to, pitch, v, sizeof(type), w, h, NULL), \
		set(to, pitch, v, sizeof(type), w, h, CU_STREAM_PER_THREAD)) \
	BOTH_ASYNC(cuMemsetD2D##bits##Async, (CUdeviceptr to, size_t pitch, type v, size_t w, size_t h, CUstream s), set(to, pitch, v, sizeof(type), w, h, s), \
		set(to, pitch, v, sizeof(type), w, h, OWN(s)))

SETS(8, unsigned char)
SETS(16, unsigned short)
SETS(32, unsigned int)
