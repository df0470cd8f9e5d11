/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <string.h>

#include "fake.h"

/* Errors in words, and entry points by name. */
static const struct { CUresult code; const char *name, *text; } errors[] = {
#define E(code, text) { code, #code, text }
	E(CUDA_SUCCESS, "no error"), E(CUDA_ERROR_INVALID_VALUE, "invalid argument"), E(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"), E(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
	E(CUDA_ERROR_DEINITIALIZED, "driver shutting down"), E(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"), E(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
	E(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"), E(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"), E(CUDA_ERROR_MAP_FAILED, "mapping of buffer object failed"),
	E(CUDA_ERROR_NOT_MAPPED, "resource not mapped"), E(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed"), E(CUDA_ERROR_FILE_NOT_FOUND, "file not found"),
	E(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, "shared object initialization failed"), E(CUDA_ERROR_OPERATING_SYSTEM, "OS call failed or operation not supported on this OS"),
	E(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"), E(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
	E(CUDA_ERROR_NOT_FOUND, "named symbol not found"), E(CUDA_ERROR_NOT_READY, "device not ready"), E(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
	E(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "peer access is already enabled"), E(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, "peer access has not been enabled"),
	E(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"), E(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "part or all of the requested memory range is already mapped"),
	E(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "pointer does not correspond to a registered memory region"), E(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
	E(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"), E(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"), E(CUDA_ERROR_SYSTEM_NOT_READY, "system not yet initialized"),
	E(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "system has unsupported display driver / cuda driver combination"),
	E(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"), E(CUDA_ERROR_STREAM_CAPTURE_MERGE, "operation would result in a merge of separate captures"),
	E(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not ended in the same stream as it began"), E(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "dependency on uncaptured work in another stream"),
	E(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "operation would make the legacy stream depend on a capturing blocking stream"),
	E(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "attempt to terminate a thread-local capture sequence from another thread"),
	E(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, "the graph update was not performed"), E(CUDA_ERROR_UNKNOWN, "unknown error"),
#undef E
};

static CUresult error_text(CUresult code, const char **ret, bool name)
{
	for (size_t k = 0; ret && k < sizeof(errors) / sizeof(errors[0]); k++) {
		if (errors[k].code != code)
			continue;
		*ret = name ? errors[k].name : errors[k].text;
		return CUDA_SUCCESS;
	}
	if (ret)
		*ret = NULL;
	return CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult cuGetErrorString(CUresult code, const char **ret)
{
	return error_text(code, ret, false);
}

EXPORT CUresult cuGetErrorName(CUresult code, const char **ret)
{
	return error_text(code, ret, true);
}

/* the runtime library asks for private tables here and ends without them */
EXPORT CUresult cuGetExportTable(const void **ret, const CUuuid *id)
{
	CALL(CALL_UNGATED);
	return CUDA_ERROR_NOT_FOUND;
}

static const struct { const char *name; int since; void *plain, *own; } names[] = {
#define F(base, since, symbol, ptsz) { #base, since, (void *)symbol, (void *)ptsz },
#include "fake_cuda/names.h"
#undef F
};

EXPORT CUresult cuGetProcAddress_v2(const char *name, void **ret, int version, cuuint64_t flags, CUdriverProcAddressQueryResult *why)
{
	CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	int best = 0;

	CALL(CALL_UNGATED);
	if (!name || !ret || flags > 3)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = NULL;
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		if (strcmp(names[k].name, name) != 0)
			continue;
		if (found)
			found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
		if (names[k].since > version || names[k].since < best)
			continue;
		best = names[k].since;
		*ret = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM ? names[k].own : names[k].plain;
		found = CU_GET_PROC_ADDRESS_SUCCESS;
	}
	if (why)
		*why = found;
	return found && !why ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

EXPORT CUresult cuGetProcAddress(const char *name, void **ret, int version, cuuint64_t flags)
{
	return cuGetProcAddress_v2(name, ret, version, flags, NULL);
}

/* the forms for per-thread default streams of what is not in copy.c */
#define OWN(s) ((s) ? (s) : CU_STREAM_PER_THREAD)
#define PTSZ(name, params, ...) EXPORT CUresult name##_ptsz params { return name(__VA_ARGS__); }
PTSZ(cuMemAllocAsync, (CUdeviceptr *p, size_t n, CUstream s), p, n, OWN(s))
PTSZ(cuMemFreeAsync, (CUdeviceptr p, CUstream s), p, OWN(s))
PTSZ(cuMemAllocFromPoolAsync, (CUdeviceptr *p, size_t n, CUmemoryPool pool, CUstream s), p, n, pool, OWN(s))
PTSZ(cuStreamSynchronize, (CUstream s), OWN(s))
PTSZ(cuStreamQuery, (CUstream s), OWN(s))
PTSZ(cuStreamWaitEvent, (CUstream s, CUevent e, unsigned int flags), OWN(s), e, flags)
PTSZ(cuStreamAddCallback, (CUstream s, CUstreamCallback fn, void *data, unsigned int flags), OWN(s), fn, data, flags)
PTSZ(cuStreamGetPriority, (CUstream s, int *p), OWN(s), p)
PTSZ(cuStreamGetFlags, (CUstream s, unsigned int *p), OWN(s), p)
PTSZ(cuStreamGetCtx, (CUstream s, CUcontext *p), OWN(s), p)
PTSZ(cuStreamGetId, (CUstream s, unsigned long long *p), OWN(s), p)
PTSZ(cuStreamBeginCapture_v2, (CUstream s, CUstreamCaptureMode mode), OWN(s), mode)
PTSZ(cuStreamEndCapture, (CUstream s, CUgraph *g), OWN(s), g)
PTSZ(cuStreamIsCapturing, (CUstream s, CUstreamCaptureStatus *p), OWN(s), p)
PTSZ(cuStreamGetCaptureInfo_v2, (CUstream s, CUstreamCaptureStatus *p, cuuint64_t *id, CUgraph *g, const CUgraphNode **d, size_t *n), OWN(s), p, id, g, d, n)
PTSZ(cuEventRecord, (CUevent e, CUstream s), e, OWN(s))
PTSZ(cuEventRecordWithFlags, (CUevent e, CUstream s, unsigned int flags), e, OWN(s), flags)
PTSZ(cuLaunchHostFunc, (CUstream s, CUhostFn fn, void *data), OWN(s), fn, data)
PTSZ(cuGraphLaunch, (CUgraphExec g, CUstream s), g, OWN(s))
PTSZ(cuGraphUpload, (CUgraphExec g, CUstream s), g, OWN(s))
PTSZ(cuLaunchKernel, (CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz, unsigned int sh, CUstream s, void **p, void **x),
	f, gx, gy, gz, bx, by, bz, sh, OWN(s), p, x)
PTSZ(cuLaunchCooperativeKernel, (CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz, unsigned int sh, CUstream s, void **p),
	f, gx, gy, gz, bx, by, bz, sh, OWN(s), p)

EXPORT CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig *c, CUfunction f, void **params, void **extra)
{
	CUlaunchConfig own;

	if (!c)
		return CUDA_ERROR_INVALID_VALUE;
	own = *c;
	own.hStream = OWN(c->hStream);
	return cuLaunchKernelEx(&own, f, params, extra);
}
