/* SPDX-License-Identifier: Apache-2.0 */
#include "gate.h"
#include "mem.h"
#include "shim.h"

/*
 * Copies between devices that are no peers. The driver does them for memory of its own, through the host; for exportable memory, which is mapped on its own device only, it does so when the contexts
 * are named. So a copy that it refuses is tried again like that.
 */
struct ends { CUcontext to, from; };

static bool other_device(uint64_t to, uint64_t from, struct ends *ret)
{
	struct mem_phys *a, *b;
	uint64_t start;
	size_t bytes;
	bool differ;

	if (!shim_is_active())
		return false;
	pthread_mutex_lock(&shim_lock);
	a = mem_at(to, &start, &bytes);
	b = mem_at(from, &start, &bytes);
	differ = a && b && a->prop.location.id != b->prop.location.id;
	if (differ)
		*ret = (struct ends){ a->ctx, b->ctx };
	pthread_mutex_unlock(&shim_lock);
	return differ;
}

/* NOLINTBEGIN(bugprone-macro-parentheses): a prototype cannot be */
#define COPY(name, peer) \
	SHIM_EXPORT CUresult name(CUdeviceptr to, CUdeviceptr from, size_t bytes) \
	{ \
		struct ends e; \
		CUresult ret; \
\
		gate_enter(); \
		ret = DRV(name)(to, from, bytes); \
		if (ret == CUDA_ERROR_INVALID_VALUE && other_device(to, from, &e)) \
			ret = DRV(peer)(to, e.to, from, e.from, bytes); \
		gate_leave(); \
		return ret; \
	}

#define COPY_ASYNC(name, peer) \
	SHIM_EXPORT CUresult name(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) \
	{ \
		struct ends e; \
		CUresult ret; \
\
		gate_enter(); \
		ret = DRV(name)(to, from, bytes, stream); \
		if (ret == CUDA_ERROR_INVALID_VALUE && other_device(to, from, &e)) \
			ret = DRV(peer)(to, e.to, from, e.from, bytes, stream); \
		gate_leave(); \
		return ret; \
	}
/* NOLINTEND(bugprone-macro-parentheses) */

COPY(cuMemcpy, cuMemcpyPeer)
COPY(cuMemcpy_ptds, cuMemcpyPeer_ptds)
COPY(cuMemcpyDtoD_v2, cuMemcpyPeer)
COPY(cuMemcpyDtoD_v2_ptds, cuMemcpyPeer_ptds)
COPY_ASYNC(cuMemcpyAsync, cuMemcpyPeerAsync)
COPY_ASYNC(cuMemcpyAsync_ptsz, cuMemcpyPeerAsync_ptsz)
COPY_ASYNC(cuMemcpyDtoDAsync_v2, cuMemcpyPeerAsync)
COPY_ASYNC(cuMemcpyDtoDAsync_v2_ptsz, cuMemcpyPeerAsync_ptsz)
