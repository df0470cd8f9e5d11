/* SPDX-License-Identifier: Apache-2.0 */
/* Made by tools/gen-shim from calls.txt and cuda.h of CUDA 13000. */
#include "wrap.h"

SHIM_GATED(cuCtxRecordEvent, (CUcontext hCtx, CUevent hEvent), (hCtx, hEvent))
SHIM_GATED(cuCtxResetPersistingL2Cache, (void), ())
SHIM_WAITING(cuCtxSynchronize, (void), ())
SHIM_WAITING(cuCtxSynchronize_v2, (CUcontext ctx), (ctx))
SHIM_GATED(cuCtxWaitEvent, (CUcontext hCtx, CUevent hEvent), (hCtx, hEvent))
SHIM_GATED(cuEventRecord, (CUevent hEvent, CUstream hStream), (hEvent, hStream))
SHIM_GATED(cuEventRecordWithFlags, (CUevent hEvent, CUstream hStream, unsigned int flags), (hEvent, hStream, flags))
SHIM_GATED(cuEventRecordWithFlags_ptsz, (CUevent hEvent, CUstream hStream, unsigned int flags), (hEvent, hStream, flags))
SHIM_GATED(cuEventRecord_ptsz, (CUevent hEvent, CUstream hStream), (hEvent, hStream))
SHIM_WAITING(cuEventSynchronize, (CUevent hEvent), (hEvent))
SHIM_GATED(cuFlushGPUDirectRDMAWrites, (CUflushGPUDirectRDMAWritesTarget target, CUflushGPUDirectRDMAWritesScope scope), (target, scope))
SHIM_GATED(cuGraphInstantiateWithParams, (CUgraphExec *phGraphExec, CUgraph hGraph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams), (phGraphExec, hGraph, instantiateParams))
SHIM_GATED(cuGraphInstantiateWithParams_ptsz, (CUgraphExec *phGraphExec, CUgraph hGraph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams), (phGraphExec, hGraph, instantiateParams))
SHIM_GATED(cuGraphLaunch, (CUgraphExec hGraph, CUstream hStream), (hGraph, hStream))
SHIM_GATED(cuGraphLaunch_ptsz, (CUgraphExec hGraphExec, CUstream hStream), (hGraphExec, hStream))
SHIM_GATED(cuGraphUpload, (CUgraphExec hGraph, CUstream hStream), (hGraph, hStream))
SHIM_GATED(cuGraphUpload_ptsz, (CUgraphExec hGraphExec, CUstream hStream), (hGraphExec, hStream))
SHIM_GATED(cuGraphicsMapResources, (unsigned int count, CUgraphicsResource *resources, CUstream hStream), (count, resources, hStream))
SHIM_GATED(cuGraphicsMapResources_ptsz, (unsigned int count, CUgraphicsResource *resources, CUstream hStream), (count, resources, hStream))
SHIM_GATED(cuGraphicsUnmapResources, (unsigned int count, CUgraphicsResource *resources, CUstream hStream), (count, resources, hStream))
SHIM_GATED(cuGraphicsUnmapResources_ptsz, (unsigned int count, CUgraphicsResource *resources, CUstream hStream), (count, resources, hStream))
SHIM_GATED(cuGreenCtxRecordEvent, (CUgreenCtx hCtx, CUevent hEvent), (hCtx, hEvent))
SHIM_GATED(cuGreenCtxWaitEvent, (CUgreenCtx hCtx, CUevent hEvent), (hCtx, hEvent))
SHIM_REFUSING(cuImportExternalMemory, SHIM_OTHER, (CUexternalMemory *extMem_out, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *memHandleDesc), (extMem_out, memHandleDesc))
SHIM_REFUSING(cuImportExternalSemaphore, SHIM_OTHER, (CUexternalSemaphore *extSem_out, const CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC *semHandleDesc), (extSem_out, semHandleDesc))
SHIM_REFUSING(cuIpcGetEventHandle, SHIM_IPC, (CUipcEventHandle *pHandle, CUevent event), (pHandle, event))
SHIM_REFUSING(cuIpcOpenEventHandle, SHIM_IPC, (CUevent *phEvent, CUipcEventHandle handle), (phEvent, handle))
SHIM_GATED(cuLaunch, (CUfunction f), (f))
SHIM_GATED(cuLaunchCooperativeKernel, (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams), (f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream, kernelParams))
SHIM_GATED(cuLaunchCooperativeKernelMultiDevice, (CUDA_LAUNCH_PARAMS *launchParamsList, unsigned int numDevices, unsigned int flags), (launchParamsList, numDevices, flags))
SHIM_GATED(cuLaunchCooperativeKernel_ptsz, (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams), (f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream, kernelParams))
SHIM_GATED(cuLaunchGrid, (CUfunction f, int grid_width, int grid_height), (f, grid_width, grid_height))
SHIM_GATED(cuLaunchGridAsync, (CUfunction f, int grid_width, int grid_height, CUstream hStream), (f, grid_width, grid_height, hStream))
SHIM_GATED(cuLaunchHostFunc, (CUstream hStream, CUhostFn fn, void *userData), (hStream, fn, userData))
SHIM_GATED(cuLaunchHostFunc_ptsz, (CUstream hStream, CUhostFn fn, void *userData), (hStream, fn, userData))
SHIM_GATED(cuLaunchKernel, (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra), (f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream, kernelParams, extra))
SHIM_GATED(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra), (config, f, kernelParams, extra))
SHIM_GATED(cuLaunchKernelEx_ptsz, (const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra), (config, f, kernelParams, extra))
SHIM_GATED(cuLaunchKernel_ptsz, (CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra), (f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream, kernelParams, extra))
SHIM_REFUSING(cuLibraryGetManaged, SHIM_MANAGED, (CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name), (dptr, bytes, library, name))
SHIM_GATED(cuMemAdvise, (CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUdevice device), (devPtr, count, advice, device))
SHIM_GATED(cuMemAdvise_v2, (CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUmemLocation location), (devPtr, count, advice, location))
SHIM_GATED(cuMemAllocAsync, (CUdeviceptr *dptr, size_t bytesize, CUstream hStream), (dptr, bytesize, hStream))
SHIM_GATED(cuMemAllocAsync_ptsz, (CUdeviceptr *dptr, size_t bytesize, CUstream hStream), (dptr, bytesize, hStream))
SHIM_GATED(cuMemAllocFromPoolAsync, (CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream), (dptr, bytesize, pool, hStream))
SHIM_GATED(cuMemAllocFromPoolAsync_ptsz, (CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream), (dptr, bytesize, pool, hStream))
SHIM_GATED(cuMemBatchDecompressAsync, (CUmemDecompressParams *paramsArray, size_t count, unsigned int flags, size_t *errorIndex, CUstream stream), (paramsArray, count, flags, errorIndex, stream))
SHIM_GATED(cuMemBatchDecompressAsync_ptsz, (CUmemDecompressParams *paramsArray, size_t count, unsigned int flags, size_t *errorIndex, CUstream stream), (paramsArray, count, flags, errorIndex, stream))
SHIM_GATED(cuMemDiscardAndPrefetchBatchAsync, (CUdeviceptr *dptrs, size_t *sizes, size_t count, CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs, size_t numPrefetchLocs, unsigned long long flags, CUstream hStream), (dptrs, sizes, count, prefetchLocs, prefetchLocIdxs, numPrefetchLocs, flags, hStream))
SHIM_GATED(cuMemDiscardAndPrefetchBatchAsync_ptsz, (CUdeviceptr *dptrs, size_t *sizes, size_t count, CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs, size_t numPrefetchLocs, unsigned long long flags, CUstream hStream), (dptrs, sizes, count, prefetchLocs, prefetchLocIdxs, numPrefetchLocs, flags, hStream))
SHIM_GATED(cuMemDiscardBatchAsync, (CUdeviceptr *dptrs, size_t *sizes, size_t count, unsigned long long flags, CUstream hStream), (dptrs, sizes, count, flags, hStream))
SHIM_GATED(cuMemDiscardBatchAsync_ptsz, (CUdeviceptr *dptrs, size_t *sizes, size_t count, unsigned long long flags, CUstream hStream), (dptrs, sizes, count, flags, hStream))
SHIM_GATED(cuMemGetAccess, (unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr), (flags, location, ptr))
SHIM_REFUSING(cuMemGetHandleForAddressRange, SHIM_OTHER, (void *handle, CUdeviceptr dptr, size_t size, CUmemRangeHandleType handleType, unsigned long long flags), (handle, dptr, size, handleType, flags))
SHIM_REFUSING(cuMemImportFromShareableHandle, SHIM_IPC, (CUmemGenericAllocationHandle *handle, void *osHandle, CUmemAllocationHandleType shHandleType), (handle, osHandle, shHandleType))
SHIM_GATED(cuMemPoolDestroy, (CUmemoryPool pool), (pool))
SHIM_REFUSING(cuMemPoolExportPointer, SHIM_IPC, (CUmemPoolPtrExportData *shareData_out, CUdeviceptr ptr), (shareData_out, ptr))
SHIM_REFUSING(cuMemPoolExportToShareableHandle, SHIM_IPC, (void *handle_out, CUmemoryPool pool, CUmemAllocationHandleType handleType, unsigned long long flags), (handle_out, pool, handleType, flags))
SHIM_REFUSING(cuMemPoolImportFromShareableHandle, SHIM_IPC, (CUmemoryPool *pool_out, void *handle, CUmemAllocationHandleType handleType, unsigned long long flags), (pool_out, handle, handleType, flags))
SHIM_REFUSING(cuMemPoolImportPointer, SHIM_IPC, (CUdeviceptr *ptr_out, CUmemoryPool pool, CUmemPoolPtrExportData *shareData), (ptr_out, pool, shareData))
SHIM_GATED(cuMemPoolTrimTo, (CUmemoryPool pool, size_t minBytesToKeep), (pool, minBytesToKeep))
SHIM_GATED(cuMemPrefetchAsync, (CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream), (devPtr, count, dstDevice, hStream))
SHIM_GATED(cuMemPrefetchAsync_ptsz, (CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream), (devPtr, count, dstDevice, hStream))
SHIM_GATED(cuMemPrefetchAsync_v2, (CUdeviceptr devPtr, size_t count, CUmemLocation location, unsigned int flags, CUstream hStream), (devPtr, count, location, flags, hStream))
SHIM_GATED(cuMemPrefetchAsync_v2_ptsz, (CUdeviceptr devPtr, size_t count, CUmemLocation location, unsigned int flags, CUstream hStream), (devPtr, count, location, flags, hStream))
SHIM_GATED(cuMemPrefetchBatchAsync, (CUdeviceptr *dptrs, size_t *sizes, size_t count, CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs, size_t numPrefetchLocs, unsigned long long flags, CUstream hStream), (dptrs, sizes, count, prefetchLocs, prefetchLocIdxs, numPrefetchLocs, flags, hStream))
SHIM_GATED(cuMemPrefetchBatchAsync_ptsz, (CUdeviceptr *dptrs, size_t *sizes, size_t count, CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs, size_t numPrefetchLocs, unsigned long long flags, CUstream hStream), (dptrs, sizes, count, prefetchLocs, prefetchLocIdxs, numPrefetchLocs, flags, hStream))
SHIM_GATED(cuMemcpy2D, (const CUDA_MEMCPY2D_v1 *pCopy), (pCopy))
SHIM_GATED(cuMemcpy2DAsync, (const CUDA_MEMCPY2D_v1 *pCopy, CUstream hStream), (pCopy, hStream))
SHIM_GATED(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D *pCopy, CUstream hStream), (pCopy, hStream))
SHIM_GATED(cuMemcpy2DAsync_v2_ptsz, (const CUDA_MEMCPY2D *pCopy, CUstream hStream), (pCopy, hStream))
SHIM_GATED(cuMemcpy2DUnaligned, (const CUDA_MEMCPY2D_v1 *pCopy), (pCopy))
SHIM_GATED(cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D *pCopy), (pCopy))
SHIM_GATED(cuMemcpy2DUnaligned_v2_ptds, (const CUDA_MEMCPY2D *pCopy), (pCopy))
SHIM_GATED(cuMemcpy2D_v2, (const CUDA_MEMCPY2D *pCopy), (pCopy))
SHIM_GATED(cuMemcpy2D_v2_ptds, (const CUDA_MEMCPY2D *pCopy), (pCopy))
SHIM_GATED(cuMemcpy3D, (const CUDA_MEMCPY3D_v1 *pCopy), (pCopy))
SHIM_GATED(cuMemcpy3DAsync, (const CUDA_MEMCPY3D_v1 *pCopy, CUstream hStream), (pCopy, hStream))
SHIM_GATED(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D *pCopy, CUstream hStream), (pCopy, hStream))
SHIM_GATED(cuMemcpy3DAsync_v2_ptsz, (const CUDA_MEMCPY3D *pCopy, CUstream hStream), (pCopy, hStream))
SHIM_GATED(cuMemcpy3DBatchAsync, (size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList, size_t *failIdx, unsigned long long flags, CUstream hStream), (numOps, opList, failIdx, flags, hStream))
SHIM_GATED(cuMemcpy3DBatchAsync_ptsz, (size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList, size_t *failIdx, unsigned long long flags, CUstream hStream), (numOps, opList, failIdx, flags, hStream))
SHIM_GATED(cuMemcpy3DBatchAsync_v2, (size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList, unsigned long long flags, CUstream hStream), (numOps, opList, flags, hStream))
SHIM_GATED(cuMemcpy3DBatchAsync_v2_ptsz, (size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList, unsigned long long flags, CUstream hStream), (numOps, opList, flags, hStream))
SHIM_GATED(cuMemcpy3DPeer, (const CUDA_MEMCPY3D_PEER *pCopy), (pCopy))
SHIM_GATED(cuMemcpy3DPeerAsync, (const CUDA_MEMCPY3D_PEER *pCopy, CUstream hStream), (pCopy, hStream))
SHIM_GATED(cuMemcpy3DPeerAsync_ptsz, (const CUDA_MEMCPY3D_PEER *pCopy, CUstream hStream), (pCopy, hStream))
SHIM_GATED(cuMemcpy3DPeer_ptds, (const CUDA_MEMCPY3D_PEER *pCopy), (pCopy))
SHIM_GATED(cuMemcpy3D_v2, (const CUDA_MEMCPY3D *pCopy), (pCopy))
SHIM_GATED(cuMemcpy3D_v2_ptds, (const CUDA_MEMCPY3D *pCopy), (pCopy))
SHIM_GATED(cuMemcpyAtoA, (CUarray dstArray, unsigned int dstOffset, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount), (dstArray, dstOffset, srcArray, srcOffset, ByteCount))
SHIM_GATED(cuMemcpyAtoA_v2, (CUarray dstArray, size_t dstOffset, CUarray srcArray, size_t srcOffset, size_t ByteCount), (dstArray, dstOffset, srcArray, srcOffset, ByteCount))
SHIM_GATED(cuMemcpyAtoA_v2_ptds, (CUarray dstArray, size_t dstOffset, CUarray srcArray, size_t srcOffset, size_t ByteCount), (dstArray, dstOffset, srcArray, srcOffset, ByteCount))
SHIM_GATED(cuMemcpyAtoD, (CUdeviceptr_v1 dstDevice, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount), (dstDevice, srcArray, srcOffset, ByteCount))
SHIM_GATED(cuMemcpyAtoD_v2, (CUdeviceptr dstDevice, CUarray srcArray, size_t srcOffset, size_t ByteCount), (dstDevice, srcArray, srcOffset, ByteCount))
SHIM_GATED(cuMemcpyAtoD_v2_ptds, (CUdeviceptr dstDevice, CUarray srcArray, size_t srcOffset, size_t ByteCount), (dstDevice, srcArray, srcOffset, ByteCount))
SHIM_GATED(cuMemcpyAtoH, (void *dstHost, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount), (dstHost, srcArray, srcOffset, ByteCount))
SHIM_GATED(cuMemcpyAtoHAsync, (void *dstHost, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount, CUstream hStream), (dstHost, srcArray, srcOffset, ByteCount, hStream))
SHIM_GATED(cuMemcpyAtoHAsync_v2, (void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount, CUstream hStream), (dstHost, srcArray, srcOffset, ByteCount, hStream))
SHIM_GATED(cuMemcpyAtoHAsync_v2_ptsz, (void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount, CUstream hStream), (dstHost, srcArray, srcOffset, ByteCount, hStream))
SHIM_GATED(cuMemcpyAtoH_v2, (void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount), (dstHost, srcArray, srcOffset, ByteCount))
SHIM_GATED(cuMemcpyAtoH_v2_ptds, (void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount), (dstHost, srcArray, srcOffset, ByteCount))
SHIM_GATED(cuMemcpyBatchAsync, (CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, size_t *failIdx, CUstream hStream), (dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, failIdx, hStream))
SHIM_GATED(cuMemcpyBatchAsync_ptsz, (CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, size_t *failIdx, CUstream hStream), (dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, failIdx, hStream))
SHIM_GATED(cuMemcpyBatchAsync_v2, (CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, CUstream hStream), (dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, hStream))
SHIM_GATED(cuMemcpyBatchAsync_v2_ptsz, (CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, CUstream hStream), (dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs, hStream))
SHIM_GATED(cuMemcpyDtoA, (CUarray dstArray, unsigned int dstOffset, CUdeviceptr_v1 srcDevice, unsigned int ByteCount), (dstArray, dstOffset, srcDevice, ByteCount))
SHIM_GATED(cuMemcpyDtoA_v2, (CUarray dstArray, size_t dstOffset, CUdeviceptr srcDevice, size_t ByteCount), (dstArray, dstOffset, srcDevice, ByteCount))
SHIM_GATED(cuMemcpyDtoA_v2_ptds, (CUarray dstArray, size_t dstOffset, CUdeviceptr srcDevice, size_t ByteCount), (dstArray, dstOffset, srcDevice, ByteCount))
SHIM_GATED(cuMemcpyDtoD, (CUdeviceptr_v1 dstDevice, CUdeviceptr_v1 srcDevice, unsigned int ByteCount), (dstDevice, srcDevice, ByteCount))
SHIM_GATED(cuMemcpyDtoDAsync, (CUdeviceptr_v1 dstDevice, CUdeviceptr_v1 srcDevice, unsigned int ByteCount, CUstream hStream), (dstDevice, srcDevice, ByteCount, hStream))
SHIM_GATED_WAITING(cuMemcpyDtoH, (void *dstHost, CUdeviceptr_v1 srcDevice, unsigned int ByteCount), (dstHost, srcDevice, ByteCount))
SHIM_GATED(cuMemcpyDtoHAsync, (void *dstHost, CUdeviceptr_v1 srcDevice, unsigned int ByteCount, CUstream hStream), (dstHost, srcDevice, ByteCount, hStream))
SHIM_GATED(cuMemcpyDtoHAsync_v2, (void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream), (dstHost, srcDevice, ByteCount, hStream))
SHIM_GATED(cuMemcpyDtoHAsync_v2_ptsz, (void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream), (dstHost, srcDevice, ByteCount, hStream))
SHIM_GATED_WAITING(cuMemcpyDtoH_v2, (void *dstHost, CUdeviceptr srcDevice, size_t ByteCount), (dstHost, srcDevice, ByteCount))
SHIM_GATED_WAITING(cuMemcpyDtoH_v2_ptds, (void *dstHost, CUdeviceptr srcDevice, size_t ByteCount), (dstHost, srcDevice, ByteCount))
SHIM_GATED(cuMemcpyHtoA, (CUarray dstArray, unsigned int dstOffset, const void *srcHost, unsigned int ByteCount), (dstArray, dstOffset, srcHost, ByteCount))
SHIM_GATED(cuMemcpyHtoAAsync, (CUarray dstArray, unsigned int dstOffset, const void *srcHost, unsigned int ByteCount, CUstream hStream), (dstArray, dstOffset, srcHost, ByteCount, hStream))
SHIM_GATED(cuMemcpyHtoAAsync_v2, (CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount, CUstream hStream), (dstArray, dstOffset, srcHost, ByteCount, hStream))
SHIM_GATED(cuMemcpyHtoAAsync_v2_ptsz, (CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount, CUstream hStream), (dstArray, dstOffset, srcHost, ByteCount, hStream))
SHIM_GATED(cuMemcpyHtoA_v2, (CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount), (dstArray, dstOffset, srcHost, ByteCount))
SHIM_GATED(cuMemcpyHtoA_v2_ptds, (CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount), (dstArray, dstOffset, srcHost, ByteCount))
SHIM_GATED(cuMemcpyHtoD, (CUdeviceptr_v1 dstDevice, const void *srcHost, unsigned int ByteCount), (dstDevice, srcHost, ByteCount))
SHIM_GATED(cuMemcpyHtoDAsync, (CUdeviceptr_v1 dstDevice, const void *srcHost, unsigned int ByteCount, CUstream hStream), (dstDevice, srcHost, ByteCount, hStream))
SHIM_GATED(cuMemcpyHtoDAsync_v2, (CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream), (dstDevice, srcHost, ByteCount, hStream))
SHIM_GATED(cuMemcpyHtoDAsync_v2_ptsz, (CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream), (dstDevice, srcHost, ByteCount, hStream))
SHIM_GATED(cuMemcpyHtoD_v2, (CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount), (dstDevice, srcHost, ByteCount))
SHIM_GATED(cuMemcpyHtoD_v2_ptds, (CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount), (dstDevice, srcHost, ByteCount))
SHIM_GATED(cuMemcpyPeer, (CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount), (dstDevice, dstContext, srcDevice, srcContext, ByteCount))
SHIM_GATED(cuMemcpyPeerAsync, (CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount, CUstream hStream), (dstDevice, dstContext, srcDevice, srcContext, ByteCount, hStream))
SHIM_GATED(cuMemcpyPeerAsync_ptsz, (CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount, CUstream hStream), (dstDevice, dstContext, srcDevice, srcContext, ByteCount, hStream))
SHIM_GATED(cuMemcpyPeer_ptds, (CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount), (dstDevice, dstContext, srcDevice, srcContext, ByteCount))
SHIM_GATED(cuMemsetD16, (CUdeviceptr_v1 dstDevice, unsigned short us, unsigned int N), (dstDevice, us, N))
SHIM_GATED(cuMemsetD16Async, (CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream), (dstDevice, us, N, hStream))
SHIM_GATED(cuMemsetD16Async_ptsz, (CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream), (dstDevice, us, N, hStream))
SHIM_GATED(cuMemsetD16_v2, (CUdeviceptr dstDevice, unsigned short us, size_t N), (dstDevice, us, N))
SHIM_GATED(cuMemsetD16_v2_ptds, (CUdeviceptr dstDevice, unsigned short us, size_t N), (dstDevice, us, N))
SHIM_GATED(cuMemsetD2D16, (CUdeviceptr_v1 dstDevice, unsigned int dstPitch, unsigned short us, unsigned int Width, unsigned int Height), (dstDevice, dstPitch, us, Width, Height))
SHIM_GATED(cuMemsetD2D16Async, (CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width, size_t Height, CUstream hStream), (dstDevice, dstPitch, us, Width, Height, hStream))
SHIM_GATED(cuMemsetD2D16Async_ptsz, (CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width, size_t Height, CUstream hStream), (dstDevice, dstPitch, us, Width, Height, hStream))
SHIM_GATED(cuMemsetD2D16_v2, (CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width, size_t Height), (dstDevice, dstPitch, us, Width, Height))
SHIM_GATED(cuMemsetD2D16_v2_ptds, (CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width, size_t Height), (dstDevice, dstPitch, us, Width, Height))
SHIM_GATED(cuMemsetD2D32, (CUdeviceptr_v1 dstDevice, unsigned int dstPitch, unsigned int ui, unsigned int Width, unsigned int Height), (dstDevice, dstPitch, ui, Width, Height))
SHIM_GATED(cuMemsetD2D32Async, (CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width, size_t Height, CUstream hStream), (dstDevice, dstPitch, ui, Width, Height, hStream))
SHIM_GATED(cuMemsetD2D32Async_ptsz, (CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width, size_t Height, CUstream hStream), (dstDevice, dstPitch, ui, Width, Height, hStream))
SHIM_GATED(cuMemsetD2D32_v2, (CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width, size_t Height), (dstDevice, dstPitch, ui, Width, Height))
SHIM_GATED(cuMemsetD2D32_v2_ptds, (CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width, size_t Height), (dstDevice, dstPitch, ui, Width, Height))
SHIM_GATED(cuMemsetD2D8, (CUdeviceptr_v1 dstDevice, unsigned int dstPitch, unsigned char uc, unsigned int Width, unsigned int Height), (dstDevice, dstPitch, uc, Width, Height))
SHIM_GATED(cuMemsetD2D8Async, (CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width, size_t Height, CUstream hStream), (dstDevice, dstPitch, uc, Width, Height, hStream))
SHIM_GATED(cuMemsetD2D8Async_ptsz, (CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width, size_t Height, CUstream hStream), (dstDevice, dstPitch, uc, Width, Height, hStream))
SHIM_GATED(cuMemsetD2D8_v2, (CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width, size_t Height), (dstDevice, dstPitch, uc, Width, Height))
SHIM_GATED(cuMemsetD2D8_v2_ptds, (CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width, size_t Height), (dstDevice, dstPitch, uc, Width, Height))
SHIM_GATED(cuMemsetD32, (CUdeviceptr_v1 dstDevice, unsigned int ui, unsigned int N), (dstDevice, ui, N))
SHIM_GATED(cuMemsetD32Async, (CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream), (dstDevice, ui, N, hStream))
SHIM_GATED(cuMemsetD32Async_ptsz, (CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream), (dstDevice, ui, N, hStream))
SHIM_GATED(cuMemsetD32_v2, (CUdeviceptr dstDevice, unsigned int ui, size_t N), (dstDevice, ui, N))
SHIM_GATED(cuMemsetD32_v2_ptds, (CUdeviceptr dstDevice, unsigned int ui, size_t N), (dstDevice, ui, N))
SHIM_GATED(cuMemsetD8, (CUdeviceptr_v1 dstDevice, unsigned char uc, unsigned int N), (dstDevice, uc, N))
SHIM_GATED(cuMemsetD8Async, (CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream), (dstDevice, uc, N, hStream))
SHIM_GATED(cuMemsetD8Async_ptsz, (CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream), (dstDevice, uc, N, hStream))
SHIM_GATED(cuMemsetD8_v2, (CUdeviceptr dstDevice, unsigned char uc, size_t N), (dstDevice, uc, N))
SHIM_GATED(cuMemsetD8_v2_ptds, (CUdeviceptr dstDevice, unsigned char uc, size_t N), (dstDevice, uc, N))
SHIM_REFUSING(cuMulticastBindAddr, SHIM_OTHER, (CUmemGenericAllocationHandle mcHandle, size_t mcOffset, CUdeviceptr memptr, size_t size, unsigned long long flags), (mcHandle, mcOffset, memptr, size, flags))
SHIM_REFUSING(cuMulticastCreate, SHIM_OTHER, (CUmemGenericAllocationHandle *mcHandle, const CUmulticastObjectProp *prop), (mcHandle, prop))
SHIM_GATED(cuPointerSetAttribute, (const void *value, CUpointer_attribute attribute, CUdeviceptr ptr), (value, attribute, ptr))
SHIM_GATED(cuSignalExternalSemaphoresAsync, (const CUexternalSemaphore *extSemArray, const CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *paramsArray, unsigned int numExtSems, CUstream stream), (extSemArray, paramsArray, numExtSems, stream))
SHIM_GATED(cuSignalExternalSemaphoresAsync_ptsz, (const CUexternalSemaphore *extSemArray, const CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *paramsArray, unsigned int numExtSems, CUstream stream), (extSemArray, paramsArray, numExtSems, stream))
SHIM_GATED(cuStreamAddCallback, (CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags), (hStream, callback, userData, flags))
SHIM_GATED(cuStreamAddCallback_ptsz, (CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags), (hStream, callback, userData, flags))
SHIM_GATED(cuStreamAttachMemAsync, (CUstream hStream, CUdeviceptr dptr, size_t length, unsigned int flags), (hStream, dptr, length, flags))
SHIM_GATED(cuStreamAttachMemAsync_ptsz, (CUstream hStream, CUdeviceptr dptr, size_t length, unsigned int flags), (hStream, dptr, length, flags))
SHIM_GATED(cuStreamBatchMemOp, (CUstream stream, unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags), (stream, count, paramArray, flags))
SHIM_GATED(cuStreamBatchMemOp_ptsz, (CUstream stream, unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags), (stream, count, paramArray, flags))
SHIM_GATED(cuStreamBatchMemOp_v2, (CUstream stream, unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags), (stream, count, paramArray, flags))
SHIM_GATED(cuStreamBatchMemOp_v2_ptsz, (CUstream stream, unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags), (stream, count, paramArray, flags))
SHIM_WAITING(cuStreamSynchronize, (CUstream hStream), (hStream))
SHIM_WAITING(cuStreamSynchronize_ptsz, (CUstream hStream), (hStream))
SHIM_GATED(cuStreamWaitEvent, (CUstream hStream, CUevent hEvent, unsigned int Flags), (hStream, hEvent, Flags))
SHIM_GATED(cuStreamWaitEvent_ptsz, (CUstream hStream, CUevent hEvent, unsigned int Flags), (hStream, hEvent, Flags))
SHIM_GATED(cuStreamWaitValue32, (CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWaitValue32_ptsz, (CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWaitValue32_v2, (CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWaitValue32_v2_ptsz, (CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWaitValue64, (CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWaitValue64_ptsz, (CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWaitValue64_v2, (CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWaitValue64_v2_ptsz, (CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWriteValue32, (CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWriteValue32_ptsz, (CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWriteValue32_v2, (CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWriteValue32_v2_ptsz, (CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWriteValue64, (CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWriteValue64_ptsz, (CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWriteValue64_v2, (CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuStreamWriteValue64_v2_ptsz, (CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags), (stream, addr, value, flags))
SHIM_GATED(cuWaitExternalSemaphoresAsync, (const CUexternalSemaphore *extSemArray, const CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS *paramsArray, unsigned int numExtSems, CUstream stream), (extSemArray, paramsArray, numExtSems, stream))
SHIM_GATED(cuWaitExternalSemaphoresAsync_ptsz, (const CUexternalSemaphore *extSemArray, const CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS *paramsArray, unsigned int numExtSems, CUstream stream), (extSemArray, paramsArray, numExtSems, stream))

const struct shim_call shim_calls[CALL_COUNT] = {
	{ "cuCtxCreate", "cuCtxCreate", 2000, false, (shim_fn *)cuCtxCreate },
	{ "cuCtxCreate_v2", "cuCtxCreate", 3020, false, (shim_fn *)cuCtxCreate_v2 },
	{ "cuCtxCreate_v3", "cuCtxCreate", 11040, false, (shim_fn *)cuCtxCreate_v3 },
	{ "cuCtxCreate_v4", "cuCtxCreate", 12050, false, (shim_fn *)cuCtxCreate_v4 },
	{ "cuCtxDestroy", "cuCtxDestroy", 2000, false, (shim_fn *)cuCtxDestroy },
	{ "cuCtxDestroy_v2", "cuCtxDestroy", 4000, false, (shim_fn *)cuCtxDestroy_v2 },
	{ "cuCtxDisablePeerAccess", "cuCtxDisablePeerAccess", 4000, false, (shim_fn *)cuCtxDisablePeerAccess },
	{ "cuCtxEnablePeerAccess", "cuCtxEnablePeerAccess", 4000, false, (shim_fn *)cuCtxEnablePeerAccess },
	{ "cuCtxGetCurrent", "cuCtxGetCurrent", 0, false, NULL },
	{ "cuCtxGetDevice", "cuCtxGetDevice", 0, false, NULL },
	{ "cuCtxPopCurrent_v2", "cuCtxPopCurrent", 0, false, NULL },
	{ "cuCtxPushCurrent_v2", "cuCtxPushCurrent", 0, false, NULL },
	{ "cuCtxRecordEvent", "cuCtxRecordEvent", 12050, false, (shim_fn *)cuCtxRecordEvent },
	{ "cuCtxResetPersistingL2Cache", "cuCtxResetPersistingL2Cache", 11000, false, (shim_fn *)cuCtxResetPersistingL2Cache },
	{ "cuCtxSynchronize", "cuCtxSynchronize", 2000, false, (shim_fn *)cuCtxSynchronize },
	{ "cuCtxSynchronize_v2", "cuCtxSynchronize", 13000, false, (shim_fn *)cuCtxSynchronize_v2 },
	{ "cuCtxWaitEvent", "cuCtxWaitEvent", 12050, false, (shim_fn *)cuCtxWaitEvent },
	{ "cuDeviceGet", "cuDeviceGet", 0, false, NULL },
	{ "cuDeviceGetAttribute", "cuDeviceGetAttribute", 0, false, NULL },
	{ "cuDeviceGetCount", "cuDeviceGetCount", 0, false, NULL },
	{ "cuDeviceGetUuid", "cuDeviceGetUuid", 0, false, NULL },
	{ "cuDeviceGetUuid_v2", "cuDeviceGetUuid", 0, false, NULL },
	{ "cuDevicePrimaryCtxGetState", "cuDevicePrimaryCtxGetState", 0, false, NULL },
	{ "cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease", 7000, false, (shim_fn *)cuDevicePrimaryCtxRelease },
	{ "cuDevicePrimaryCtxRelease_v2", "cuDevicePrimaryCtxRelease", 11000, false, (shim_fn *)cuDevicePrimaryCtxRelease_v2 },
	{ "cuDevicePrimaryCtxReset", "cuDevicePrimaryCtxReset", 7000, false, (shim_fn *)cuDevicePrimaryCtxReset },
	{ "cuDevicePrimaryCtxReset_v2", "cuDevicePrimaryCtxReset", 11000, false, (shim_fn *)cuDevicePrimaryCtxReset_v2 },
	{ "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain", 7000, false, (shim_fn *)cuDevicePrimaryCtxRetain },
	{ "cuDriverGetVersion", "cuDriverGetVersion", 0, false, NULL },
	{ "cuEventRecord", "cuEventRecord", 2000, false, (shim_fn *)cuEventRecord },
	{ "cuEventRecordWithFlags", "cuEventRecordWithFlags", 11010, false, (shim_fn *)cuEventRecordWithFlags },
	{ "cuEventRecordWithFlags_ptsz", "cuEventRecordWithFlags", 11010, true, (shim_fn *)cuEventRecordWithFlags_ptsz },
	{ "cuEventRecord_ptsz", "cuEventRecord", 7000, true, (shim_fn *)cuEventRecord_ptsz },
	{ "cuEventSynchronize", "cuEventSynchronize", 2000, false, (shim_fn *)cuEventSynchronize },
	{ "cuFlushGPUDirectRDMAWrites", "cuFlushGPUDirectRDMAWrites", 11030, false, (shim_fn *)cuFlushGPUDirectRDMAWrites },
	{ "cuGetProcAddress", "cuGetProcAddress", 11030, false, (shim_fn *)cuGetProcAddress },
	{ "cuGetProcAddress_v2", "cuGetProcAddress", 12000, false, (shim_fn *)cuGetProcAddress_v2 },
	{ "cuGraphInstantiateWithParams", "cuGraphInstantiateWithParams", 12000, false, (shim_fn *)cuGraphInstantiateWithParams },
	{ "cuGraphInstantiateWithParams_ptsz", "cuGraphInstantiateWithParams", 12000, true, (shim_fn *)cuGraphInstantiateWithParams_ptsz },
	{ "cuGraphLaunch", "cuGraphLaunch", 10000, false, (shim_fn *)cuGraphLaunch },
	{ "cuGraphLaunch_ptsz", "cuGraphLaunch", 10000, true, (shim_fn *)cuGraphLaunch_ptsz },
	{ "cuGraphUpload", "cuGraphUpload", 11010, false, (shim_fn *)cuGraphUpload },
	{ "cuGraphUpload_ptsz", "cuGraphUpload", 11010, true, (shim_fn *)cuGraphUpload_ptsz },
	{ "cuGraphicsMapResources", "cuGraphicsMapResources", 3000, false, (shim_fn *)cuGraphicsMapResources },
	{ "cuGraphicsMapResources_ptsz", "cuGraphicsMapResources", 7000, true, (shim_fn *)cuGraphicsMapResources_ptsz },
	{ "cuGraphicsUnmapResources", "cuGraphicsUnmapResources", 3000, false, (shim_fn *)cuGraphicsUnmapResources },
	{ "cuGraphicsUnmapResources_ptsz", "cuGraphicsUnmapResources", 7000, true, (shim_fn *)cuGraphicsUnmapResources_ptsz },
	{ "cuGreenCtxRecordEvent", "cuGreenCtxRecordEvent", 12040, false, (shim_fn *)cuGreenCtxRecordEvent },
	{ "cuGreenCtxWaitEvent", "cuGreenCtxWaitEvent", 12040, false, (shim_fn *)cuGreenCtxWaitEvent },
	{ "cuImportExternalMemory", "cuImportExternalMemory", 10000, false, (shim_fn *)cuImportExternalMemory },
	{ "cuImportExternalSemaphore", "cuImportExternalSemaphore", 10000, false, (shim_fn *)cuImportExternalSemaphore },
	{ "cuInit", "cuInit", 2000, false, (shim_fn *)cuInit },
	{ "cuIpcCloseMemHandle", "cuIpcCloseMemHandle", 4010, false, (shim_fn *)cuIpcCloseMemHandle },
	{ "cuIpcGetEventHandle", "cuIpcGetEventHandle", 4010, false, (shim_fn *)cuIpcGetEventHandle },
	{ "cuIpcGetMemHandle", "cuIpcGetMemHandle", 4010, false, (shim_fn *)cuIpcGetMemHandle },
	{ "cuIpcOpenEventHandle", "cuIpcOpenEventHandle", 4010, false, (shim_fn *)cuIpcOpenEventHandle },
	{ "cuIpcOpenMemHandle", "cuIpcOpenMemHandle", 4010, false, (shim_fn *)cuIpcOpenMemHandle },
	{ "cuIpcOpenMemHandle_v2", "cuIpcOpenMemHandle", 11000, false, (shim_fn *)cuIpcOpenMemHandle_v2 },
	{ "cuLaunch", "cuLaunch", 2000, false, (shim_fn *)cuLaunch },
	{ "cuLaunchCooperativeKernel", "cuLaunchCooperativeKernel", 9000, false, (shim_fn *)cuLaunchCooperativeKernel },
	{ "cuLaunchCooperativeKernelMultiDevice", "cuLaunchCooperativeKernelMultiDevice", 9000, false, (shim_fn *)cuLaunchCooperativeKernelMultiDevice },
	{ "cuLaunchCooperativeKernel_ptsz", "cuLaunchCooperativeKernel", 9000, true, (shim_fn *)cuLaunchCooperativeKernel_ptsz },
	{ "cuLaunchGrid", "cuLaunchGrid", 2000, false, (shim_fn *)cuLaunchGrid },
	{ "cuLaunchGridAsync", "cuLaunchGridAsync", 2000, false, (shim_fn *)cuLaunchGridAsync },
	{ "cuLaunchHostFunc", "cuLaunchHostFunc", 10000, false, (shim_fn *)cuLaunchHostFunc },
	{ "cuLaunchHostFunc_ptsz", "cuLaunchHostFunc", 10000, true, (shim_fn *)cuLaunchHostFunc_ptsz },
	{ "cuLaunchKernel", "cuLaunchKernel", 4000, false, (shim_fn *)cuLaunchKernel },
	{ "cuLaunchKernelEx", "cuLaunchKernelEx", 11060, false, (shim_fn *)cuLaunchKernelEx },
	{ "cuLaunchKernelEx_ptsz", "cuLaunchKernelEx", 11060, true, (shim_fn *)cuLaunchKernelEx_ptsz },
	{ "cuLaunchKernel_ptsz", "cuLaunchKernel", 7000, true, (shim_fn *)cuLaunchKernel_ptsz },
	{ "cuLibraryGetManaged", "cuLibraryGetManaged", 12000, false, (shim_fn *)cuLibraryGetManaged },
	{ "cuMemAddressFree", "cuMemAddressFree", 0, false, NULL },
	{ "cuMemAddressReserve", "cuMemAddressReserve", 0, false, NULL },
	{ "cuMemAdvise", "cuMemAdvise", 8000, false, (shim_fn *)cuMemAdvise },
	{ "cuMemAdvise_v2", "cuMemAdvise", 12020, false, (shim_fn *)cuMemAdvise_v2 },
	{ "cuMemAllocAsync", "cuMemAllocAsync", 11020, false, (shim_fn *)cuMemAllocAsync },
	{ "cuMemAllocAsync_ptsz", "cuMemAllocAsync", 11020, true, (shim_fn *)cuMemAllocAsync_ptsz },
	{ "cuMemAllocFromPoolAsync", "cuMemAllocFromPoolAsync", 11020, false, (shim_fn *)cuMemAllocFromPoolAsync },
	{ "cuMemAllocFromPoolAsync_ptsz", "cuMemAllocFromPoolAsync", 11020, true, (shim_fn *)cuMemAllocFromPoolAsync_ptsz },
	{ "cuMemAllocHost", "cuMemAllocHost", 2000, false, (shim_fn *)cuMemAllocHost },
	{ "cuMemAllocHost_v2", "cuMemAllocHost", 3020, false, (shim_fn *)cuMemAllocHost_v2 },
	{ "cuMemAllocManaged", "cuMemAllocManaged", 6000, false, (shim_fn *)cuMemAllocManaged },
	{ "cuMemAllocPitch_v2", "cuMemAllocPitch", 3020, false, (shim_fn *)cuMemAllocPitch_v2 },
	{ "cuMemAlloc_v2", "cuMemAlloc", 3020, false, (shim_fn *)cuMemAlloc_v2 },
	{ "cuMemBatchDecompressAsync", "cuMemBatchDecompressAsync", 12060, false, (shim_fn *)cuMemBatchDecompressAsync },
	{ "cuMemBatchDecompressAsync_ptsz", "cuMemBatchDecompressAsync", 12060, true, (shim_fn *)cuMemBatchDecompressAsync_ptsz },
	{ "cuMemCreate", "cuMemCreate", 10020, false, (shim_fn *)cuMemCreate },
	{ "cuMemDiscardAndPrefetchBatchAsync", "cuMemDiscardAndPrefetchBatchAsync", 13000, false, (shim_fn *)cuMemDiscardAndPrefetchBatchAsync },
	{ "cuMemDiscardAndPrefetchBatchAsync_ptsz", "cuMemDiscardAndPrefetchBatchAsync", 13000, true, (shim_fn *)cuMemDiscardAndPrefetchBatchAsync_ptsz },
	{ "cuMemDiscardBatchAsync", "cuMemDiscardBatchAsync", 13000, false, (shim_fn *)cuMemDiscardBatchAsync },
	{ "cuMemDiscardBatchAsync_ptsz", "cuMemDiscardBatchAsync", 13000, true, (shim_fn *)cuMemDiscardBatchAsync_ptsz },
	{ "cuMemExportToShareableHandle", "cuMemExportToShareableHandle", 10020, false, (shim_fn *)cuMemExportToShareableHandle },
	{ "cuMemFreeAsync", "cuMemFreeAsync", 11020, false, (shim_fn *)cuMemFreeAsync },
	{ "cuMemFreeAsync_ptsz", "cuMemFreeAsync", 11020, true, (shim_fn *)cuMemFreeAsync_ptsz },
	{ "cuMemFreeHost", "cuMemFreeHost", 2000, false, (shim_fn *)cuMemFreeHost },
	{ "cuMemFree_v2", "cuMemFree", 3020, false, (shim_fn *)cuMemFree_v2 },
	{ "cuMemGetAccess", "cuMemGetAccess", 10020, false, (shim_fn *)cuMemGetAccess },
	{ "cuMemGetAddressRange_v2", "cuMemGetAddressRange", 3020, false, (shim_fn *)cuMemGetAddressRange_v2 },
	{ "cuMemGetAllocationGranularity", "cuMemGetAllocationGranularity", 0, false, NULL },
	{ "cuMemGetAllocationPropertiesFromHandle", "cuMemGetAllocationPropertiesFromHandle", 10020, false, (shim_fn *)cuMemGetAllocationPropertiesFromHandle },
	{ "cuMemGetHandleForAddressRange", "cuMemGetHandleForAddressRange", 11070, false, (shim_fn *)cuMemGetHandleForAddressRange },
	{ "cuMemHostAlloc", "cuMemHostAlloc", 2020, false, (shim_fn *)cuMemHostAlloc },
	{ "cuMemHostRegister", "cuMemHostRegister", 4000, false, (shim_fn *)cuMemHostRegister },
	{ "cuMemHostRegister_v2", "cuMemHostRegister", 6050, false, (shim_fn *)cuMemHostRegister_v2 },
	{ "cuMemHostUnregister", "cuMemHostUnregister", 4000, false, (shim_fn *)cuMemHostUnregister },
	{ "cuMemImportFromShareableHandle", "cuMemImportFromShareableHandle", 10020, false, (shim_fn *)cuMemImportFromShareableHandle },
	{ "cuMemMap", "cuMemMap", 10020, false, (shim_fn *)cuMemMap },
	{ "cuMemMapArrayAsync", "cuMemMapArrayAsync", 11010, false, (shim_fn *)cuMemMapArrayAsync },
	{ "cuMemMapArrayAsync_ptsz", "cuMemMapArrayAsync", 11010, true, (shim_fn *)cuMemMapArrayAsync_ptsz },
	{ "cuMemPoolDestroy", "cuMemPoolDestroy", 11020, false, (shim_fn *)cuMemPoolDestroy },
	{ "cuMemPoolExportPointer", "cuMemPoolExportPointer", 11020, false, (shim_fn *)cuMemPoolExportPointer },
	{ "cuMemPoolExportToShareableHandle", "cuMemPoolExportToShareableHandle", 11020, false, (shim_fn *)cuMemPoolExportToShareableHandle },
	{ "cuMemPoolImportFromShareableHandle", "cuMemPoolImportFromShareableHandle", 11020, false, (shim_fn *)cuMemPoolImportFromShareableHandle },
	{ "cuMemPoolImportPointer", "cuMemPoolImportPointer", 11020, false, (shim_fn *)cuMemPoolImportPointer },
	{ "cuMemPoolTrimTo", "cuMemPoolTrimTo", 11020, false, (shim_fn *)cuMemPoolTrimTo },
	{ "cuMemPrefetchAsync", "cuMemPrefetchAsync", 8000, false, (shim_fn *)cuMemPrefetchAsync },
	{ "cuMemPrefetchAsync_ptsz", "cuMemPrefetchAsync", 8000, true, (shim_fn *)cuMemPrefetchAsync_ptsz },
	{ "cuMemPrefetchAsync_v2", "cuMemPrefetchAsync", 12020, false, (shim_fn *)cuMemPrefetchAsync_v2 },
	{ "cuMemPrefetchAsync_v2_ptsz", "cuMemPrefetchAsync", 12020, true, (shim_fn *)cuMemPrefetchAsync_v2_ptsz },
	{ "cuMemPrefetchBatchAsync", "cuMemPrefetchBatchAsync", 13000, false, (shim_fn *)cuMemPrefetchBatchAsync },
	{ "cuMemPrefetchBatchAsync_ptsz", "cuMemPrefetchBatchAsync", 13000, true, (shim_fn *)cuMemPrefetchBatchAsync_ptsz },
	{ "cuMemRelease", "cuMemRelease", 10020, false, (shim_fn *)cuMemRelease },
	{ "cuMemRetainAllocationHandle", "cuMemRetainAllocationHandle", 11000, false, (shim_fn *)cuMemRetainAllocationHandle },
	{ "cuMemSetAccess", "cuMemSetAccess", 10020, false, (shim_fn *)cuMemSetAccess },
	{ "cuMemUnmap", "cuMemUnmap", 10020, false, (shim_fn *)cuMemUnmap },
	{ "cuMemcpy", "cuMemcpy", 4000, false, (shim_fn *)cuMemcpy },
	{ "cuMemcpy2D", "cuMemcpy2D", 2000, false, (shim_fn *)cuMemcpy2D },
	{ "cuMemcpy2DAsync", "cuMemcpy2DAsync", 2000, false, (shim_fn *)cuMemcpy2DAsync },
	{ "cuMemcpy2DAsync_v2", "cuMemcpy2DAsync", 3020, false, (shim_fn *)cuMemcpy2DAsync_v2 },
	{ "cuMemcpy2DAsync_v2_ptsz", "cuMemcpy2DAsync", 7000, true, (shim_fn *)cuMemcpy2DAsync_v2_ptsz },
	{ "cuMemcpy2DUnaligned", "cuMemcpy2DUnaligned", 2000, false, (shim_fn *)cuMemcpy2DUnaligned },
	{ "cuMemcpy2DUnaligned_v2", "cuMemcpy2DUnaligned", 3020, false, (shim_fn *)cuMemcpy2DUnaligned_v2 },
	{ "cuMemcpy2DUnaligned_v2_ptds", "cuMemcpy2DUnaligned", 7000, true, (shim_fn *)cuMemcpy2DUnaligned_v2_ptds },
	{ "cuMemcpy2D_v2", "cuMemcpy2D", 3020, false, (shim_fn *)cuMemcpy2D_v2 },
	{ "cuMemcpy2D_v2_ptds", "cuMemcpy2D", 7000, true, (shim_fn *)cuMemcpy2D_v2_ptds },
	{ "cuMemcpy3D", "cuMemcpy3D", 2000, false, (shim_fn *)cuMemcpy3D },
	{ "cuMemcpy3DAsync", "cuMemcpy3DAsync", 2000, false, (shim_fn *)cuMemcpy3DAsync },
	{ "cuMemcpy3DAsync_v2", "cuMemcpy3DAsync", 3020, false, (shim_fn *)cuMemcpy3DAsync_v2 },
	{ "cuMemcpy3DAsync_v2_ptsz", "cuMemcpy3DAsync", 7000, true, (shim_fn *)cuMemcpy3DAsync_v2_ptsz },
	{ "cuMemcpy3DBatchAsync", "cuMemcpy3DBatchAsync", 12080, false, (shim_fn *)cuMemcpy3DBatchAsync },
	{ "cuMemcpy3DBatchAsync_ptsz", "cuMemcpy3DBatchAsync", 12080, true, (shim_fn *)cuMemcpy3DBatchAsync_ptsz },
	{ "cuMemcpy3DBatchAsync_v2", "cuMemcpy3DBatchAsync", 13000, false, (shim_fn *)cuMemcpy3DBatchAsync_v2 },
	{ "cuMemcpy3DBatchAsync_v2_ptsz", "cuMemcpy3DBatchAsync", 13000, true, (shim_fn *)cuMemcpy3DBatchAsync_v2_ptsz },
	{ "cuMemcpy3DPeer", "cuMemcpy3DPeer", 4000, false, (shim_fn *)cuMemcpy3DPeer },
	{ "cuMemcpy3DPeerAsync", "cuMemcpy3DPeerAsync", 4000, false, (shim_fn *)cuMemcpy3DPeerAsync },
	{ "cuMemcpy3DPeerAsync_ptsz", "cuMemcpy3DPeerAsync", 7000, true, (shim_fn *)cuMemcpy3DPeerAsync_ptsz },
	{ "cuMemcpy3DPeer_ptds", "cuMemcpy3DPeer", 7000, true, (shim_fn *)cuMemcpy3DPeer_ptds },
	{ "cuMemcpy3D_v2", "cuMemcpy3D", 3020, false, (shim_fn *)cuMemcpy3D_v2 },
	{ "cuMemcpy3D_v2_ptds", "cuMemcpy3D", 7000, true, (shim_fn *)cuMemcpy3D_v2_ptds },
	{ "cuMemcpyAsync", "cuMemcpyAsync", 4000, false, (shim_fn *)cuMemcpyAsync },
	{ "cuMemcpyAsync_ptsz", "cuMemcpyAsync", 7000, true, (shim_fn *)cuMemcpyAsync_ptsz },
	{ "cuMemcpyAtoA", "cuMemcpyAtoA", 2000, false, (shim_fn *)cuMemcpyAtoA },
	{ "cuMemcpyAtoA_v2", "cuMemcpyAtoA", 3020, false, (shim_fn *)cuMemcpyAtoA_v2 },
	{ "cuMemcpyAtoA_v2_ptds", "cuMemcpyAtoA", 7000, true, (shim_fn *)cuMemcpyAtoA_v2_ptds },
	{ "cuMemcpyAtoD", "cuMemcpyAtoD", 2000, false, (shim_fn *)cuMemcpyAtoD },
	{ "cuMemcpyAtoD_v2", "cuMemcpyAtoD", 3020, false, (shim_fn *)cuMemcpyAtoD_v2 },
	{ "cuMemcpyAtoD_v2_ptds", "cuMemcpyAtoD", 7000, true, (shim_fn *)cuMemcpyAtoD_v2_ptds },
	{ "cuMemcpyAtoH", "cuMemcpyAtoH", 2000, false, (shim_fn *)cuMemcpyAtoH },
	{ "cuMemcpyAtoHAsync", "cuMemcpyAtoHAsync", 2000, false, (shim_fn *)cuMemcpyAtoHAsync },
	{ "cuMemcpyAtoHAsync_v2", "cuMemcpyAtoHAsync", 3020, false, (shim_fn *)cuMemcpyAtoHAsync_v2 },
	{ "cuMemcpyAtoHAsync_v2_ptsz", "cuMemcpyAtoHAsync", 7000, true, (shim_fn *)cuMemcpyAtoHAsync_v2_ptsz },
	{ "cuMemcpyAtoH_v2", "cuMemcpyAtoH", 3020, false, (shim_fn *)cuMemcpyAtoH_v2 },
	{ "cuMemcpyAtoH_v2_ptds", "cuMemcpyAtoH", 7000, true, (shim_fn *)cuMemcpyAtoH_v2_ptds },
	{ "cuMemcpyBatchAsync", "cuMemcpyBatchAsync", 12080, false, (shim_fn *)cuMemcpyBatchAsync },
	{ "cuMemcpyBatchAsync_ptsz", "cuMemcpyBatchAsync", 12080, true, (shim_fn *)cuMemcpyBatchAsync_ptsz },
	{ "cuMemcpyBatchAsync_v2", "cuMemcpyBatchAsync", 13000, false, (shim_fn *)cuMemcpyBatchAsync_v2 },
	{ "cuMemcpyBatchAsync_v2_ptsz", "cuMemcpyBatchAsync", 13000, true, (shim_fn *)cuMemcpyBatchAsync_v2_ptsz },
	{ "cuMemcpyDtoA", "cuMemcpyDtoA", 2000, false, (shim_fn *)cuMemcpyDtoA },
	{ "cuMemcpyDtoA_v2", "cuMemcpyDtoA", 3020, false, (shim_fn *)cuMemcpyDtoA_v2 },
	{ "cuMemcpyDtoA_v2_ptds", "cuMemcpyDtoA", 7000, true, (shim_fn *)cuMemcpyDtoA_v2_ptds },
	{ "cuMemcpyDtoD", "cuMemcpyDtoD", 2000, false, (shim_fn *)cuMemcpyDtoD },
	{ "cuMemcpyDtoDAsync", "cuMemcpyDtoDAsync", 3000, false, (shim_fn *)cuMemcpyDtoDAsync },
	{ "cuMemcpyDtoDAsync_v2", "cuMemcpyDtoDAsync", 3020, false, (shim_fn *)cuMemcpyDtoDAsync_v2 },
	{ "cuMemcpyDtoDAsync_v2_ptsz", "cuMemcpyDtoDAsync", 7000, true, (shim_fn *)cuMemcpyDtoDAsync_v2_ptsz },
	{ "cuMemcpyDtoD_v2", "cuMemcpyDtoD", 3020, false, (shim_fn *)cuMemcpyDtoD_v2 },
	{ "cuMemcpyDtoD_v2_ptds", "cuMemcpyDtoD", 7000, true, (shim_fn *)cuMemcpyDtoD_v2_ptds },
	{ "cuMemcpyDtoH", "cuMemcpyDtoH", 2000, false, (shim_fn *)cuMemcpyDtoH },
	{ "cuMemcpyDtoHAsync", "cuMemcpyDtoHAsync", 2000, false, (shim_fn *)cuMemcpyDtoHAsync },
	{ "cuMemcpyDtoHAsync_v2", "cuMemcpyDtoHAsync", 3020, false, (shim_fn *)cuMemcpyDtoHAsync_v2 },
	{ "cuMemcpyDtoHAsync_v2_ptsz", "cuMemcpyDtoHAsync", 7000, true, (shim_fn *)cuMemcpyDtoHAsync_v2_ptsz },
	{ "cuMemcpyDtoH_v2", "cuMemcpyDtoH", 3020, false, (shim_fn *)cuMemcpyDtoH_v2 },
	{ "cuMemcpyDtoH_v2_ptds", "cuMemcpyDtoH", 7000, true, (shim_fn *)cuMemcpyDtoH_v2_ptds },
	{ "cuMemcpyHtoA", "cuMemcpyHtoA", 2000, false, (shim_fn *)cuMemcpyHtoA },
	{ "cuMemcpyHtoAAsync", "cuMemcpyHtoAAsync", 2000, false, (shim_fn *)cuMemcpyHtoAAsync },
	{ "cuMemcpyHtoAAsync_v2", "cuMemcpyHtoAAsync", 3020, false, (shim_fn *)cuMemcpyHtoAAsync_v2 },
	{ "cuMemcpyHtoAAsync_v2_ptsz", "cuMemcpyHtoAAsync", 7000, true, (shim_fn *)cuMemcpyHtoAAsync_v2_ptsz },
	{ "cuMemcpyHtoA_v2", "cuMemcpyHtoA", 3020, false, (shim_fn *)cuMemcpyHtoA_v2 },
	{ "cuMemcpyHtoA_v2_ptds", "cuMemcpyHtoA", 7000, true, (shim_fn *)cuMemcpyHtoA_v2_ptds },
	{ "cuMemcpyHtoD", "cuMemcpyHtoD", 2000, false, (shim_fn *)cuMemcpyHtoD },
	{ "cuMemcpyHtoDAsync", "cuMemcpyHtoDAsync", 2000, false, (shim_fn *)cuMemcpyHtoDAsync },
	{ "cuMemcpyHtoDAsync_v2", "cuMemcpyHtoDAsync", 3020, false, (shim_fn *)cuMemcpyHtoDAsync_v2 },
	{ "cuMemcpyHtoDAsync_v2_ptsz", "cuMemcpyHtoDAsync", 7000, true, (shim_fn *)cuMemcpyHtoDAsync_v2_ptsz },
	{ "cuMemcpyHtoD_v2", "cuMemcpyHtoD", 3020, false, (shim_fn *)cuMemcpyHtoD_v2 },
	{ "cuMemcpyHtoD_v2_ptds", "cuMemcpyHtoD", 7000, true, (shim_fn *)cuMemcpyHtoD_v2_ptds },
	{ "cuMemcpyPeer", "cuMemcpyPeer", 4000, false, (shim_fn *)cuMemcpyPeer },
	{ "cuMemcpyPeerAsync", "cuMemcpyPeerAsync", 4000, false, (shim_fn *)cuMemcpyPeerAsync },
	{ "cuMemcpyPeerAsync_ptsz", "cuMemcpyPeerAsync", 7000, true, (shim_fn *)cuMemcpyPeerAsync_ptsz },
	{ "cuMemcpyPeer_ptds", "cuMemcpyPeer", 7000, true, (shim_fn *)cuMemcpyPeer_ptds },
	{ "cuMemcpy_ptds", "cuMemcpy", 7000, true, (shim_fn *)cuMemcpy_ptds },
	{ "cuMemsetD16", "cuMemsetD16", 2000, false, (shim_fn *)cuMemsetD16 },
	{ "cuMemsetD16Async", "cuMemsetD16Async", 3020, false, (shim_fn *)cuMemsetD16Async },
	{ "cuMemsetD16Async_ptsz", "cuMemsetD16Async", 7000, true, (shim_fn *)cuMemsetD16Async_ptsz },
	{ "cuMemsetD16_v2", "cuMemsetD16", 3020, false, (shim_fn *)cuMemsetD16_v2 },
	{ "cuMemsetD16_v2_ptds", "cuMemsetD16", 7000, true, (shim_fn *)cuMemsetD16_v2_ptds },
	{ "cuMemsetD2D16", "cuMemsetD2D16", 2000, false, (shim_fn *)cuMemsetD2D16 },
	{ "cuMemsetD2D16Async", "cuMemsetD2D16Async", 3020, false, (shim_fn *)cuMemsetD2D16Async },
	{ "cuMemsetD2D16Async_ptsz", "cuMemsetD2D16Async", 7000, true, (shim_fn *)cuMemsetD2D16Async_ptsz },
	{ "cuMemsetD2D16_v2", "cuMemsetD2D16", 3020, false, (shim_fn *)cuMemsetD2D16_v2 },
	{ "cuMemsetD2D16_v2_ptds", "cuMemsetD2D16", 7000, true, (shim_fn *)cuMemsetD2D16_v2_ptds },
	{ "cuMemsetD2D32", "cuMemsetD2D32", 2000, false, (shim_fn *)cuMemsetD2D32 },
	{ "cuMemsetD2D32Async", "cuMemsetD2D32Async", 3020, false, (shim_fn *)cuMemsetD2D32Async },
	{ "cuMemsetD2D32Async_ptsz", "cuMemsetD2D32Async", 7000, true, (shim_fn *)cuMemsetD2D32Async_ptsz },
	{ "cuMemsetD2D32_v2", "cuMemsetD2D32", 3020, false, (shim_fn *)cuMemsetD2D32_v2 },
	{ "cuMemsetD2D32_v2_ptds", "cuMemsetD2D32", 7000, true, (shim_fn *)cuMemsetD2D32_v2_ptds },
	{ "cuMemsetD2D8", "cuMemsetD2D8", 2000, false, (shim_fn *)cuMemsetD2D8 },
	{ "cuMemsetD2D8Async", "cuMemsetD2D8Async", 3020, false, (shim_fn *)cuMemsetD2D8Async },
	{ "cuMemsetD2D8Async_ptsz", "cuMemsetD2D8Async", 7000, true, (shim_fn *)cuMemsetD2D8Async_ptsz },
	{ "cuMemsetD2D8_v2", "cuMemsetD2D8", 3020, false, (shim_fn *)cuMemsetD2D8_v2 },
	{ "cuMemsetD2D8_v2_ptds", "cuMemsetD2D8", 7000, true, (shim_fn *)cuMemsetD2D8_v2_ptds },
	{ "cuMemsetD32", "cuMemsetD32", 2000, false, (shim_fn *)cuMemsetD32 },
	{ "cuMemsetD32Async", "cuMemsetD32Async", 3020, false, (shim_fn *)cuMemsetD32Async },
	{ "cuMemsetD32Async_ptsz", "cuMemsetD32Async", 7000, true, (shim_fn *)cuMemsetD32Async_ptsz },
	{ "cuMemsetD32_v2", "cuMemsetD32", 3020, false, (shim_fn *)cuMemsetD32_v2 },
	{ "cuMemsetD32_v2_ptds", "cuMemsetD32", 7000, true, (shim_fn *)cuMemsetD32_v2_ptds },
	{ "cuMemsetD8", "cuMemsetD8", 2000, false, (shim_fn *)cuMemsetD8 },
	{ "cuMemsetD8Async", "cuMemsetD8Async", 3020, false, (shim_fn *)cuMemsetD8Async },
	{ "cuMemsetD8Async_ptsz", "cuMemsetD8Async", 7000, true, (shim_fn *)cuMemsetD8Async_ptsz },
	{ "cuMemsetD8_v2", "cuMemsetD8", 3020, false, (shim_fn *)cuMemsetD8_v2 },
	{ "cuMemsetD8_v2_ptds", "cuMemsetD8", 7000, true, (shim_fn *)cuMemsetD8_v2_ptds },
	{ "cuMulticastBindAddr", "cuMulticastBindAddr", 12010, false, (shim_fn *)cuMulticastBindAddr },
	{ "cuMulticastBindMem", "cuMulticastBindMem", 12010, false, (shim_fn *)cuMulticastBindMem },
	{ "cuMulticastCreate", "cuMulticastCreate", 12010, false, (shim_fn *)cuMulticastCreate },
	{ "cuPointerGetAttribute", "cuPointerGetAttribute", 4000, false, (shim_fn *)cuPointerGetAttribute },
	{ "cuPointerGetAttributes", "cuPointerGetAttributes", 7000, false, (shim_fn *)cuPointerGetAttributes },
	{ "cuPointerSetAttribute", "cuPointerSetAttribute", 6000, false, (shim_fn *)cuPointerSetAttribute },
	{ "cuSignalExternalSemaphoresAsync", "cuSignalExternalSemaphoresAsync", 10000, false, (shim_fn *)cuSignalExternalSemaphoresAsync },
	{ "cuSignalExternalSemaphoresAsync_ptsz", "cuSignalExternalSemaphoresAsync", 10000, true, (shim_fn *)cuSignalExternalSemaphoresAsync_ptsz },
	{ "cuStreamAddCallback", "cuStreamAddCallback", 5000, false, (shim_fn *)cuStreamAddCallback },
	{ "cuStreamAddCallback_ptsz", "cuStreamAddCallback", 7000, true, (shim_fn *)cuStreamAddCallback_ptsz },
	{ "cuStreamAttachMemAsync", "cuStreamAttachMemAsync", 6000, false, (shim_fn *)cuStreamAttachMemAsync },
	{ "cuStreamAttachMemAsync_ptsz", "cuStreamAttachMemAsync", 7000, true, (shim_fn *)cuStreamAttachMemAsync_ptsz },
	{ "cuStreamBatchMemOp", "cuStreamBatchMemOp", 8000, false, (shim_fn *)cuStreamBatchMemOp },
	{ "cuStreamBatchMemOp_ptsz", "cuStreamBatchMemOp", 8000, true, (shim_fn *)cuStreamBatchMemOp_ptsz },
	{ "cuStreamBatchMemOp_v2", "cuStreamBatchMemOp", 11070, false, (shim_fn *)cuStreamBatchMemOp_v2 },
	{ "cuStreamBatchMemOp_v2_ptsz", "cuStreamBatchMemOp", 11070, true, (shim_fn *)cuStreamBatchMemOp_v2_ptsz },
	{ "cuStreamBeginCapture", "cuStreamBeginCapture", 10000, false, (shim_fn *)cuStreamBeginCapture },
	{ "cuStreamBeginCaptureToGraph", "cuStreamBeginCaptureToGraph", 12030, false, (shim_fn *)cuStreamBeginCaptureToGraph },
	{ "cuStreamBeginCaptureToGraph_ptsz", "cuStreamBeginCaptureToGraph", 12030, true, (shim_fn *)cuStreamBeginCaptureToGraph_ptsz },
	{ "cuStreamBeginCapture_ptsz", "cuStreamBeginCapture", 10000, true, (shim_fn *)cuStreamBeginCapture_ptsz },
	{ "cuStreamBeginCapture_v2", "cuStreamBeginCapture", 10010, false, (shim_fn *)cuStreamBeginCapture_v2 },
	{ "cuStreamBeginCapture_v2_ptsz", "cuStreamBeginCapture", 10010, true, (shim_fn *)cuStreamBeginCapture_v2_ptsz },
	{ "cuStreamDestroy", "cuStreamDestroy", 2000, false, (shim_fn *)cuStreamDestroy },
	{ "cuStreamDestroy_v2", "cuStreamDestroy", 4000, false, (shim_fn *)cuStreamDestroy_v2 },
	{ "cuStreamEndCapture", "cuStreamEndCapture", 10000, false, (shim_fn *)cuStreamEndCapture },
	{ "cuStreamEndCapture_ptsz", "cuStreamEndCapture", 10000, true, (shim_fn *)cuStreamEndCapture_ptsz },
	{ "cuStreamIsCapturing", "cuStreamIsCapturing", 0, false, NULL },
	{ "cuStreamIsCapturing_ptsz", "cuStreamIsCapturing", 0, true, NULL },
	{ "cuStreamSynchronize", "cuStreamSynchronize", 2000, false, (shim_fn *)cuStreamSynchronize },
	{ "cuStreamSynchronize_ptsz", "cuStreamSynchronize", 7000, true, (shim_fn *)cuStreamSynchronize_ptsz },
	{ "cuStreamWaitEvent", "cuStreamWaitEvent", 3020, false, (shim_fn *)cuStreamWaitEvent },
	{ "cuStreamWaitEvent_ptsz", "cuStreamWaitEvent", 7000, true, (shim_fn *)cuStreamWaitEvent_ptsz },
	{ "cuStreamWaitValue32", "cuStreamWaitValue32", 8000, false, (shim_fn *)cuStreamWaitValue32 },
	{ "cuStreamWaitValue32_ptsz", "cuStreamWaitValue32", 8000, true, (shim_fn *)cuStreamWaitValue32_ptsz },
	{ "cuStreamWaitValue32_v2", "cuStreamWaitValue32", 11070, false, (shim_fn *)cuStreamWaitValue32_v2 },
	{ "cuStreamWaitValue32_v2_ptsz", "cuStreamWaitValue32", 11070, true, (shim_fn *)cuStreamWaitValue32_v2_ptsz },
	{ "cuStreamWaitValue64", "cuStreamWaitValue64", 9000, false, (shim_fn *)cuStreamWaitValue64 },
	{ "cuStreamWaitValue64_ptsz", "cuStreamWaitValue64", 9000, true, (shim_fn *)cuStreamWaitValue64_ptsz },
	{ "cuStreamWaitValue64_v2", "cuStreamWaitValue64", 11070, false, (shim_fn *)cuStreamWaitValue64_v2 },
	{ "cuStreamWaitValue64_v2_ptsz", "cuStreamWaitValue64", 11070, true, (shim_fn *)cuStreamWaitValue64_v2_ptsz },
	{ "cuStreamWriteValue32", "cuStreamWriteValue32", 8000, false, (shim_fn *)cuStreamWriteValue32 },
	{ "cuStreamWriteValue32_ptsz", "cuStreamWriteValue32", 8000, true, (shim_fn *)cuStreamWriteValue32_ptsz },
	{ "cuStreamWriteValue32_v2", "cuStreamWriteValue32", 11070, false, (shim_fn *)cuStreamWriteValue32_v2 },
	{ "cuStreamWriteValue32_v2_ptsz", "cuStreamWriteValue32", 11070, true, (shim_fn *)cuStreamWriteValue32_v2_ptsz },
	{ "cuStreamWriteValue64", "cuStreamWriteValue64", 9000, false, (shim_fn *)cuStreamWriteValue64 },
	{ "cuStreamWriteValue64_ptsz", "cuStreamWriteValue64", 9000, true, (shim_fn *)cuStreamWriteValue64_ptsz },
	{ "cuStreamWriteValue64_v2", "cuStreamWriteValue64", 11070, false, (shim_fn *)cuStreamWriteValue64_v2 },
	{ "cuStreamWriteValue64_v2_ptsz", "cuStreamWriteValue64", 11070, true, (shim_fn *)cuStreamWriteValue64_v2_ptsz },
	{ "cuWaitExternalSemaphoresAsync", "cuWaitExternalSemaphoresAsync", 10000, false, (shim_fn *)cuWaitExternalSemaphoresAsync },
	{ "cuWaitExternalSemaphoresAsync_ptsz", "cuWaitExternalSemaphoresAsync", 10000, true, (shim_fn *)cuWaitExternalSemaphoresAsync_ptsz },
};
