/* SPDX-License-Identifier: Apache-2.0 */
/* Made by tools/gen-shim from calls.txt and cuda.h of CUDA 13000. */
#ifndef SHIM_GEN_CALLS_H
#define SHIM_GEN_CALLS_H

#include "cu.h"

enum shim_call_number {
	CALL_cuCtxCreate,
	CALL_cuCtxCreate_v2,
	CALL_cuCtxCreate_v3,
	CALL_cuCtxCreate_v4,
	CALL_cuCtxDestroy,
	CALL_cuCtxDestroy_v2,
	CALL_cuCtxDisablePeerAccess,
	CALL_cuCtxEnablePeerAccess,
	CALL_cuCtxGetCurrent,
	CALL_cuCtxGetDevice,
	CALL_cuCtxPopCurrent_v2,
	CALL_cuCtxPushCurrent_v2,
	CALL_cuCtxRecordEvent,
	CALL_cuCtxResetPersistingL2Cache,
	CALL_cuCtxSynchronize,
	CALL_cuCtxSynchronize_v2,
	CALL_cuCtxWaitEvent,
	CALL_cuDeviceGet,
	CALL_cuDeviceGetAttribute,
	CALL_cuDeviceGetCount,
	CALL_cuDeviceGetUuid,
	CALL_cuDeviceGetUuid_v2,
	CALL_cuDevicePrimaryCtxGetState,
	CALL_cuDevicePrimaryCtxRelease,
	CALL_cuDevicePrimaryCtxRelease_v2,
	CALL_cuDevicePrimaryCtxReset,
	CALL_cuDevicePrimaryCtxReset_v2,
	CALL_cuDevicePrimaryCtxRetain,
	CALL_cuDriverGetVersion,
	CALL_cuEventRecord,
	CALL_cuEventRecordWithFlags,
	CALL_cuEventRecordWithFlags_ptsz,
	CALL_cuEventRecord_ptsz,
	CALL_cuEventSynchronize,
	CALL_cuFlushGPUDirectRDMAWrites,
	CALL_cuGetProcAddress,
	CALL_cuGetProcAddress_v2,
	CALL_cuGraphInstantiateWithParams,
	CALL_cuGraphInstantiateWithParams_ptsz,
	CALL_cuGraphLaunch,
	CALL_cuGraphLaunch_ptsz,
	CALL_cuGraphUpload,
	CALL_cuGraphUpload_ptsz,
	CALL_cuGraphicsMapResources,
	CALL_cuGraphicsMapResources_ptsz,
	CALL_cuGraphicsUnmapResources,
	CALL_cuGraphicsUnmapResources_ptsz,
	CALL_cuGreenCtxRecordEvent,
	CALL_cuGreenCtxWaitEvent,
	CALL_cuImportExternalMemory,
	CALL_cuImportExternalSemaphore,
	CALL_cuInit,
	CALL_cuIpcCloseMemHandle,
	CALL_cuIpcGetEventHandle,
	CALL_cuIpcGetMemHandle,
	CALL_cuIpcOpenEventHandle,
	CALL_cuIpcOpenMemHandle,
	CALL_cuIpcOpenMemHandle_v2,
	CALL_cuLaunch,
	CALL_cuLaunchCooperativeKernel,
	CALL_cuLaunchCooperativeKernelMultiDevice,
	CALL_cuLaunchCooperativeKernel_ptsz,
	CALL_cuLaunchGrid,
	CALL_cuLaunchGridAsync,
	CALL_cuLaunchHostFunc,
	CALL_cuLaunchHostFunc_ptsz,
	CALL_cuLaunchKernel,
	CALL_cuLaunchKernelEx,
	CALL_cuLaunchKernelEx_ptsz,
	CALL_cuLaunchKernel_ptsz,
	CALL_cuLibraryGetManaged,
	CALL_cuMemAddressFree,
	CALL_cuMemAddressReserve,
	CALL_cuMemAdvise,
	CALL_cuMemAdvise_v2,
	CALL_cuMemAllocAsync,
	CALL_cuMemAllocAsync_ptsz,
	CALL_cuMemAllocFromPoolAsync,
	CALL_cuMemAllocFromPoolAsync_ptsz,
	CALL_cuMemAllocHost,
	CALL_cuMemAllocHost_v2,
	CALL_cuMemAllocManaged,
	CALL_cuMemAllocPitch_v2,
	CALL_cuMemAlloc_v2,
	CALL_cuMemBatchDecompressAsync,
	CALL_cuMemBatchDecompressAsync_ptsz,
	CALL_cuMemCreate,
	CALL_cuMemDiscardAndPrefetchBatchAsync,
	CALL_cuMemDiscardAndPrefetchBatchAsync_ptsz,
	CALL_cuMemDiscardBatchAsync,
	CALL_cuMemDiscardBatchAsync_ptsz,
	CALL_cuMemExportToShareableHandle,
	CALL_cuMemFreeAsync,
	CALL_cuMemFreeAsync_ptsz,
	CALL_cuMemFreeHost,
	CALL_cuMemFree_v2,
	CALL_cuMemGetAccess,
	CALL_cuMemGetAddressRange_v2,
	CALL_cuMemGetAllocationGranularity,
	CALL_cuMemGetAllocationPropertiesFromHandle,
	CALL_cuMemGetHandleForAddressRange,
	CALL_cuMemHostAlloc,
	CALL_cuMemHostRegister,
	CALL_cuMemHostRegister_v2,
	CALL_cuMemHostUnregister,
	CALL_cuMemImportFromShareableHandle,
	CALL_cuMemMap,
	CALL_cuMemMapArrayAsync,
	CALL_cuMemMapArrayAsync_ptsz,
	CALL_cuMemPoolDestroy,
	CALL_cuMemPoolExportPointer,
	CALL_cuMemPoolExportToShareableHandle,
	CALL_cuMemPoolImportFromShareableHandle,
	CALL_cuMemPoolImportPointer,
	CALL_cuMemPoolTrimTo,
	CALL_cuMemPrefetchAsync,
	CALL_cuMemPrefetchAsync_ptsz,
	CALL_cuMemPrefetchAsync_v2,
	CALL_cuMemPrefetchAsync_v2_ptsz,
	CALL_cuMemPrefetchBatchAsync,
	CALL_cuMemPrefetchBatchAsync_ptsz,
	CALL_cuMemRelease,
	CALL_cuMemRetainAllocationHandle,
	CALL_cuMemSetAccess,
	CALL_cuMemUnmap,
	CALL_cuMemcpy,
	CALL_cuMemcpy2D,
	CALL_cuMemcpy2DAsync,
	CALL_cuMemcpy2DAsync_v2,
	CALL_cuMemcpy2DAsync_v2_ptsz,
	CALL_cuMemcpy2DUnaligned,
	CALL_cuMemcpy2DUnaligned_v2,
	CALL_cuMemcpy2DUnaligned_v2_ptds,
	CALL_cuMemcpy2D_v2,
	CALL_cuMemcpy2D_v2_ptds,
	CALL_cuMemcpy3D,
	CALL_cuMemcpy3DAsync,
	CALL_cuMemcpy3DAsync_v2,
	CALL_cuMemcpy3DAsync_v2_ptsz,
	CALL_cuMemcpy3DBatchAsync,
	CALL_cuMemcpy3DBatchAsync_ptsz,
	CALL_cuMemcpy3DBatchAsync_v2,
	CALL_cuMemcpy3DBatchAsync_v2_ptsz,
	CALL_cuMemcpy3DPeer,
	CALL_cuMemcpy3DPeerAsync,
	CALL_cuMemcpy3DPeerAsync_ptsz,
	CALL_cuMemcpy3DPeer_ptds,
	CALL_cuMemcpy3D_v2,
	CALL_cuMemcpy3D_v2_ptds,
	CALL_cuMemcpyAsync,
	CALL_cuMemcpyAsync_ptsz,
	CALL_cuMemcpyAtoA,
	CALL_cuMemcpyAtoA_v2,
	CALL_cuMemcpyAtoA_v2_ptds,
	CALL_cuMemcpyAtoD,
	CALL_cuMemcpyAtoD_v2,
	CALL_cuMemcpyAtoD_v2_ptds,
	CALL_cuMemcpyAtoH,
	CALL_cuMemcpyAtoHAsync,
	CALL_cuMemcpyAtoHAsync_v2,
	CALL_cuMemcpyAtoHAsync_v2_ptsz,
	CALL_cuMemcpyAtoH_v2,
	CALL_cuMemcpyAtoH_v2_ptds,
	CALL_cuMemcpyBatchAsync,
	CALL_cuMemcpyBatchAsync_ptsz,
	CALL_cuMemcpyBatchAsync_v2,
	CALL_cuMemcpyBatchAsync_v2_ptsz,
	CALL_cuMemcpyDtoA,
	CALL_cuMemcpyDtoA_v2,
	CALL_cuMemcpyDtoA_v2_ptds,
	CALL_cuMemcpyDtoD,
	CALL_cuMemcpyDtoDAsync,
	CALL_cuMemcpyDtoDAsync_v2,
	CALL_cuMemcpyDtoDAsync_v2_ptsz,
	CALL_cuMemcpyDtoD_v2,
	CALL_cuMemcpyDtoD_v2_ptds,
	CALL_cuMemcpyDtoH,
	CALL_cuMemcpyDtoHAsync,
	CALL_cuMemcpyDtoHAsync_v2,
	CALL_cuMemcpyDtoHAsync_v2_ptsz,
	CALL_cuMemcpyDtoH_v2,
	CALL_cuMemcpyDtoH_v2_ptds,
	CALL_cuMemcpyHtoA,
	CALL_cuMemcpyHtoAAsync,
	CALL_cuMemcpyHtoAAsync_v2,
	CALL_cuMemcpyHtoAAsync_v2_ptsz,
	CALL_cuMemcpyHtoA_v2,
	CALL_cuMemcpyHtoA_v2_ptds,
	CALL_cuMemcpyHtoD,
	CALL_cuMemcpyHtoDAsync,
	CALL_cuMemcpyHtoDAsync_v2,
	CALL_cuMemcpyHtoDAsync_v2_ptsz,
	CALL_cuMemcpyHtoD_v2,
	CALL_cuMemcpyHtoD_v2_ptds,
	CALL_cuMemcpyPeer,
	CALL_cuMemcpyPeerAsync,
	CALL_cuMemcpyPeerAsync_ptsz,
	CALL_cuMemcpyPeer_ptds,
	CALL_cuMemcpy_ptds,
	CALL_cuMemsetD16,
	CALL_cuMemsetD16Async,
	CALL_cuMemsetD16Async_ptsz,
	CALL_cuMemsetD16_v2,
	CALL_cuMemsetD16_v2_ptds,
	CALL_cuMemsetD2D16,
	CALL_cuMemsetD2D16Async,
	CALL_cuMemsetD2D16Async_ptsz,
	CALL_cuMemsetD2D16_v2,
	CALL_cuMemsetD2D16_v2_ptds,
	CALL_cuMemsetD2D32,
	CALL_cuMemsetD2D32Async,
	CALL_cuMemsetD2D32Async_ptsz,
	CALL_cuMemsetD2D32_v2,
	CALL_cuMemsetD2D32_v2_ptds,
	CALL_cuMemsetD2D8,
	CALL_cuMemsetD2D8Async,
	CALL_cuMemsetD2D8Async_ptsz,
	CALL_cuMemsetD2D8_v2,
	CALL_cuMemsetD2D8_v2_ptds,
	CALL_cuMemsetD32,
	CALL_cuMemsetD32Async,
	CALL_cuMemsetD32Async_ptsz,
	CALL_cuMemsetD32_v2,
	CALL_cuMemsetD32_v2_ptds,
	CALL_cuMemsetD8,
	CALL_cuMemsetD8Async,
	CALL_cuMemsetD8Async_ptsz,
	CALL_cuMemsetD8_v2,
	CALL_cuMemsetD8_v2_ptds,
	CALL_cuMulticastBindAddr,
	CALL_cuMulticastBindMem,
	CALL_cuMulticastCreate,
	CALL_cuPointerGetAttribute,
	CALL_cuPointerGetAttributes,
	CALL_cuPointerSetAttribute,
	CALL_cuSignalExternalSemaphoresAsync,
	CALL_cuSignalExternalSemaphoresAsync_ptsz,
	CALL_cuStreamAddCallback,
	CALL_cuStreamAddCallback_ptsz,
	CALL_cuStreamAttachMemAsync,
	CALL_cuStreamAttachMemAsync_ptsz,
	CALL_cuStreamBatchMemOp,
	CALL_cuStreamBatchMemOp_ptsz,
	CALL_cuStreamBatchMemOp_v2,
	CALL_cuStreamBatchMemOp_v2_ptsz,
	CALL_cuStreamBeginCapture,
	CALL_cuStreamBeginCaptureToGraph,
	CALL_cuStreamBeginCaptureToGraph_ptsz,
	CALL_cuStreamBeginCapture_ptsz,
	CALL_cuStreamBeginCapture_v2,
	CALL_cuStreamBeginCapture_v2_ptsz,
	CALL_cuStreamDestroy,
	CALL_cuStreamDestroy_v2,
	CALL_cuStreamEndCapture,
	CALL_cuStreamEndCapture_ptsz,
	CALL_cuStreamIsCapturing,
	CALL_cuStreamIsCapturing_ptsz,
	CALL_cuStreamSynchronize,
	CALL_cuStreamSynchronize_ptsz,
	CALL_cuStreamWaitEvent,
	CALL_cuStreamWaitEvent_ptsz,
	CALL_cuStreamWaitValue32,
	CALL_cuStreamWaitValue32_ptsz,
	CALL_cuStreamWaitValue32_v2,
	CALL_cuStreamWaitValue32_v2_ptsz,
	CALL_cuStreamWaitValue64,
	CALL_cuStreamWaitValue64_ptsz,
	CALL_cuStreamWaitValue64_v2,
	CALL_cuStreamWaitValue64_v2_ptsz,
	CALL_cuStreamWriteValue32,
	CALL_cuStreamWriteValue32_ptsz,
	CALL_cuStreamWriteValue32_v2,
	CALL_cuStreamWriteValue32_v2_ptsz,
	CALL_cuStreamWriteValue64,
	CALL_cuStreamWriteValue64_ptsz,
	CALL_cuStreamWriteValue64_v2,
	CALL_cuStreamWriteValue64_v2_ptsz,
	CALL_cuWaitExternalSemaphoresAsync,
	CALL_cuWaitExternalSemaphoresAsync_ptsz,
	CALL_COUNT
};

typedef CUresult fn_cuCtxCreate(CUcontext *pctx, unsigned int flags, CUdevice dev);
fn_cuCtxCreate cuCtxCreate;
typedef CUresult fn_cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev);
fn_cuCtxCreate_v2 cuCtxCreate_v2;
typedef CUresult fn_cuCtxCreate_v3(CUcontext *pctx, CUexecAffinityParam *paramsArray, int numParams, unsigned int flags, CUdevice dev);
fn_cuCtxCreate_v3 cuCtxCreate_v3;
typedef CUresult fn_cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *ctxCreateParams, unsigned int flags, CUdevice dev);
fn_cuCtxCreate_v4 cuCtxCreate_v4;
typedef CUresult fn_cuCtxDestroy(CUcontext ctx);
fn_cuCtxDestroy cuCtxDestroy;
typedef CUresult fn_cuCtxDestroy_v2(CUcontext ctx);
fn_cuCtxDestroy_v2 cuCtxDestroy_v2;
typedef CUresult fn_cuCtxDisablePeerAccess(CUcontext peerContext);
fn_cuCtxDisablePeerAccess cuCtxDisablePeerAccess;
typedef CUresult fn_cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags);
fn_cuCtxEnablePeerAccess cuCtxEnablePeerAccess;
typedef CUresult fn_cuCtxGetCurrent(CUcontext *pctx);
typedef CUresult fn_cuCtxGetDevice(CUdevice *device);
typedef CUresult fn_cuCtxPopCurrent_v2(CUcontext *pctx);
typedef CUresult fn_cuCtxPushCurrent_v2(CUcontext ctx);
typedef CUresult fn_cuCtxRecordEvent(CUcontext hCtx, CUevent hEvent);
fn_cuCtxRecordEvent cuCtxRecordEvent;
typedef CUresult fn_cuCtxResetPersistingL2Cache(void);
fn_cuCtxResetPersistingL2Cache cuCtxResetPersistingL2Cache;
typedef CUresult fn_cuCtxSynchronize(void);
fn_cuCtxSynchronize cuCtxSynchronize;
typedef CUresult fn_cuCtxSynchronize_v2(CUcontext ctx);
fn_cuCtxSynchronize_v2 cuCtxSynchronize_v2;
typedef CUresult fn_cuCtxWaitEvent(CUcontext hCtx, CUevent hEvent);
fn_cuCtxWaitEvent cuCtxWaitEvent;
typedef CUresult fn_cuDeviceGet(CUdevice *device, int ordinal);
typedef CUresult fn_cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev);
typedef CUresult fn_cuDeviceGetCount(int *count);
typedef CUresult fn_cuDeviceGetUuid(CUuuid *uuid, CUdevice dev);
typedef CUresult fn_cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev);
typedef CUresult fn_cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active);
typedef CUresult fn_cuDevicePrimaryCtxRelease(CUdevice dev);
fn_cuDevicePrimaryCtxRelease cuDevicePrimaryCtxRelease;
typedef CUresult fn_cuDevicePrimaryCtxRelease_v2(CUdevice dev);
fn_cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRelease_v2;
typedef CUresult fn_cuDevicePrimaryCtxReset(CUdevice dev);
fn_cuDevicePrimaryCtxReset cuDevicePrimaryCtxReset;
typedef CUresult fn_cuDevicePrimaryCtxReset_v2(CUdevice dev);
fn_cuDevicePrimaryCtxReset_v2 cuDevicePrimaryCtxReset_v2;
typedef CUresult fn_cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev);
fn_cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRetain;
typedef CUresult fn_cuDriverGetVersion(int *driverVersion);
typedef CUresult fn_cuEventRecord(CUevent hEvent, CUstream hStream);
fn_cuEventRecord cuEventRecord;
typedef CUresult fn_cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags);
fn_cuEventRecordWithFlags cuEventRecordWithFlags;
typedef CUresult fn_cuEventRecordWithFlags_ptsz(CUevent hEvent, CUstream hStream, unsigned int flags);
fn_cuEventRecordWithFlags_ptsz cuEventRecordWithFlags_ptsz;
typedef CUresult fn_cuEventRecord_ptsz(CUevent hEvent, CUstream hStream);
fn_cuEventRecord_ptsz cuEventRecord_ptsz;
typedef CUresult fn_cuEventSynchronize(CUevent hEvent);
fn_cuEventSynchronize cuEventSynchronize;
typedef CUresult fn_cuFlushGPUDirectRDMAWrites(CUflushGPUDirectRDMAWritesTarget target, CUflushGPUDirectRDMAWritesScope scope);
fn_cuFlushGPUDirectRDMAWrites cuFlushGPUDirectRDMAWrites;
typedef CUresult fn_cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags);
fn_cuGetProcAddress cuGetProcAddress;
typedef CUresult fn_cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags, CUdriverProcAddressQueryResult *symbolStatus);
fn_cuGetProcAddress_v2 cuGetProcAddress_v2;
typedef CUresult fn_cuGraphInstantiateWithParams(CUgraphExec *phGraphExec, CUgraph hGraph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams);
fn_cuGraphInstantiateWithParams cuGraphInstantiateWithParams;
typedef CUresult fn_cuGraphInstantiateWithParams_ptsz(CUgraphExec *phGraphExec, CUgraph hGraph, CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams);
fn_cuGraphInstantiateWithParams_ptsz cuGraphInstantiateWithParams_ptsz;
typedef CUresult fn_cuGraphLaunch(CUgraphExec hGraph, CUstream hStream);
fn_cuGraphLaunch cuGraphLaunch;
typedef CUresult fn_cuGraphLaunch_ptsz(CUgraphExec hGraphExec, CUstream hStream);
fn_cuGraphLaunch_ptsz cuGraphLaunch_ptsz;
typedef CUresult fn_cuGraphUpload(CUgraphExec hGraph, CUstream hStream);
fn_cuGraphUpload cuGraphUpload;
typedef CUresult fn_cuGraphUpload_ptsz(CUgraphExec hGraphExec, CUstream hStream);
fn_cuGraphUpload_ptsz cuGraphUpload_ptsz;
typedef CUresult fn_cuGraphicsMapResources(unsigned int count, CUgraphicsResource *resources, CUstream hStream);
fn_cuGraphicsMapResources cuGraphicsMapResources;
typedef CUresult fn_cuGraphicsMapResources_ptsz(unsigned int count, CUgraphicsResource *resources, CUstream hStream);
fn_cuGraphicsMapResources_ptsz cuGraphicsMapResources_ptsz;
typedef CUresult fn_cuGraphicsUnmapResources(unsigned int count, CUgraphicsResource *resources, CUstream hStream);
fn_cuGraphicsUnmapResources cuGraphicsUnmapResources;
typedef CUresult fn_cuGraphicsUnmapResources_ptsz(unsigned int count, CUgraphicsResource *resources, CUstream hStream);
fn_cuGraphicsUnmapResources_ptsz cuGraphicsUnmapResources_ptsz;
typedef CUresult fn_cuGreenCtxRecordEvent(CUgreenCtx hCtx, CUevent hEvent);
fn_cuGreenCtxRecordEvent cuGreenCtxRecordEvent;
typedef CUresult fn_cuGreenCtxWaitEvent(CUgreenCtx hCtx, CUevent hEvent);
fn_cuGreenCtxWaitEvent cuGreenCtxWaitEvent;
typedef CUresult fn_cuImportExternalMemory(CUexternalMemory *extMem_out, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *memHandleDesc);
fn_cuImportExternalMemory cuImportExternalMemory;
typedef CUresult fn_cuImportExternalSemaphore(CUexternalSemaphore *extSem_out, const CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC *semHandleDesc);
fn_cuImportExternalSemaphore cuImportExternalSemaphore;
typedef CUresult fn_cuInit(unsigned int Flags);
fn_cuInit cuInit;
typedef CUresult fn_cuIpcCloseMemHandle(CUdeviceptr dptr);
fn_cuIpcCloseMemHandle cuIpcCloseMemHandle;
typedef CUresult fn_cuIpcGetEventHandle(CUipcEventHandle *pHandle, CUevent event);
fn_cuIpcGetEventHandle cuIpcGetEventHandle;
typedef CUresult fn_cuIpcGetMemHandle(CUipcMemHandle *pHandle, CUdeviceptr dptr);
fn_cuIpcGetMemHandle cuIpcGetMemHandle;
typedef CUresult fn_cuIpcOpenEventHandle(CUevent *phEvent, CUipcEventHandle handle);
fn_cuIpcOpenEventHandle cuIpcOpenEventHandle;
typedef CUresult fn_cuIpcOpenMemHandle(CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned int Flags);
fn_cuIpcOpenMemHandle cuIpcOpenMemHandle;
typedef CUresult fn_cuIpcOpenMemHandle_v2(CUdeviceptr *pdptr, CUipcMemHandle handle, unsigned int Flags);
fn_cuIpcOpenMemHandle_v2 cuIpcOpenMemHandle_v2;
typedef CUresult fn_cuLaunch(CUfunction f);
fn_cuLaunch cuLaunch;
typedef CUresult fn_cuLaunchCooperativeKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams);
fn_cuLaunchCooperativeKernel cuLaunchCooperativeKernel;
typedef CUresult fn_cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS *launchParamsList, unsigned int numDevices, unsigned int flags);
fn_cuLaunchCooperativeKernelMultiDevice cuLaunchCooperativeKernelMultiDevice;
typedef CUresult fn_cuLaunchCooperativeKernel_ptsz(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams);
fn_cuLaunchCooperativeKernel_ptsz cuLaunchCooperativeKernel_ptsz;
typedef CUresult fn_cuLaunchGrid(CUfunction f, int grid_width, int grid_height);
fn_cuLaunchGrid cuLaunchGrid;
typedef CUresult fn_cuLaunchGridAsync(CUfunction f, int grid_width, int grid_height, CUstream hStream);
fn_cuLaunchGridAsync cuLaunchGridAsync;
typedef CUresult fn_cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData);
fn_cuLaunchHostFunc cuLaunchHostFunc;
typedef CUresult fn_cuLaunchHostFunc_ptsz(CUstream hStream, CUhostFn fn, void *userData);
fn_cuLaunchHostFunc_ptsz cuLaunchHostFunc_ptsz;
typedef CUresult fn_cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra);
fn_cuLaunchKernel cuLaunchKernel;
typedef CUresult fn_cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra);
fn_cuLaunchKernelEx cuLaunchKernelEx;
typedef CUresult fn_cuLaunchKernelEx_ptsz(const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra);
fn_cuLaunchKernelEx_ptsz cuLaunchKernelEx_ptsz;
typedef CUresult fn_cuLaunchKernel_ptsz(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra);
fn_cuLaunchKernel_ptsz cuLaunchKernel_ptsz;
typedef CUresult fn_cuLibraryGetManaged(CUdeviceptr *dptr, size_t *bytes, CUlibrary library, const char *name);
fn_cuLibraryGetManaged cuLibraryGetManaged;
typedef CUresult fn_cuMemAddressFree(CUdeviceptr ptr, size_t size);
typedef CUresult fn_cuMemAddressReserve(CUdeviceptr *ptr, size_t size, size_t alignment, CUdeviceptr addr, unsigned long long flags);
typedef CUresult fn_cuMemAdvise(CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUdevice device);
fn_cuMemAdvise cuMemAdvise;
typedef CUresult fn_cuMemAdvise_v2(CUdeviceptr devPtr, size_t count, CUmem_advise advice, CUmemLocation location);
fn_cuMemAdvise_v2 cuMemAdvise_v2;
typedef CUresult fn_cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream);
fn_cuMemAllocAsync cuMemAllocAsync;
typedef CUresult fn_cuMemAllocAsync_ptsz(CUdeviceptr *dptr, size_t bytesize, CUstream hStream);
fn_cuMemAllocAsync_ptsz cuMemAllocAsync_ptsz;
typedef CUresult fn_cuMemAllocFromPoolAsync(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream);
fn_cuMemAllocFromPoolAsync cuMemAllocFromPoolAsync;
typedef CUresult fn_cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream);
fn_cuMemAllocFromPoolAsync_ptsz cuMemAllocFromPoolAsync_ptsz;
typedef CUresult fn_cuMemAllocHost(void **pp, unsigned int bytesize);
fn_cuMemAllocHost cuMemAllocHost;
typedef CUresult fn_cuMemAllocHost_v2(void **pp, size_t bytesize);
fn_cuMemAllocHost_v2 cuMemAllocHost_v2;
typedef CUresult fn_cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags);
fn_cuMemAllocManaged cuMemAllocManaged;
typedef CUresult fn_cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes, size_t Height, unsigned int ElementSizeBytes);
fn_cuMemAllocPitch_v2 cuMemAllocPitch_v2;
typedef CUresult fn_cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize);
fn_cuMemAlloc_v2 cuMemAlloc_v2;
typedef CUresult fn_cuMemBatchDecompressAsync(CUmemDecompressParams *paramsArray, size_t count, unsigned int flags, size_t *errorIndex, CUstream stream);
fn_cuMemBatchDecompressAsync cuMemBatchDecompressAsync;
typedef CUresult fn_cuMemBatchDecompressAsync_ptsz(CUmemDecompressParams *paramsArray, size_t count, unsigned int flags, size_t *errorIndex, CUstream stream);
fn_cuMemBatchDecompressAsync_ptsz cuMemBatchDecompressAsync_ptsz;
typedef CUresult fn_cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *prop, unsigned long long flags);
fn_cuMemCreate cuMemCreate;
typedef CUresult fn_cuMemDiscardAndPrefetchBatchAsync(CUdeviceptr *dptrs, size_t *sizes, size_t count, CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs, size_t numPrefetchLocs, unsigned long long flags, CUstream hStream);
fn_cuMemDiscardAndPrefetchBatchAsync cuMemDiscardAndPrefetchBatchAsync;
typedef CUresult fn_cuMemDiscardAndPrefetchBatchAsync_ptsz(CUdeviceptr *dptrs, size_t *sizes, size_t count, CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs, size_t numPrefetchLocs, unsigned long long flags, CUstream hStream);
fn_cuMemDiscardAndPrefetchBatchAsync_ptsz cuMemDiscardAndPrefetchBatchAsync_ptsz;
typedef CUresult fn_cuMemDiscardBatchAsync(CUdeviceptr *dptrs, size_t *sizes, size_t count, unsigned long long flags, CUstream hStream);
fn_cuMemDiscardBatchAsync cuMemDiscardBatchAsync;
typedef CUresult fn_cuMemDiscardBatchAsync_ptsz(CUdeviceptr *dptrs, size_t *sizes, size_t count, unsigned long long flags, CUstream hStream);
fn_cuMemDiscardBatchAsync_ptsz cuMemDiscardBatchAsync_ptsz;
typedef CUresult fn_cuMemExportToShareableHandle(void *shareableHandle, CUmemGenericAllocationHandle handle, CUmemAllocationHandleType handleType, unsigned long long flags);
fn_cuMemExportToShareableHandle cuMemExportToShareableHandle;
typedef CUresult fn_cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream);
fn_cuMemFreeAsync cuMemFreeAsync;
typedef CUresult fn_cuMemFreeAsync_ptsz(CUdeviceptr dptr, CUstream hStream);
fn_cuMemFreeAsync_ptsz cuMemFreeAsync_ptsz;
typedef CUresult fn_cuMemFreeHost(void *p);
fn_cuMemFreeHost cuMemFreeHost;
typedef CUresult fn_cuMemFree_v2(CUdeviceptr dptr);
fn_cuMemFree_v2 cuMemFree_v2;
typedef CUresult fn_cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr ptr);
fn_cuMemGetAccess cuMemGetAccess;
typedef CUresult fn_cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr);
fn_cuMemGetAddressRange_v2 cuMemGetAddressRange_v2;
typedef CUresult fn_cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *prop, CUmemAllocationGranularity_flags option);
typedef CUresult fn_cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp *prop, CUmemGenericAllocationHandle handle);
fn_cuMemGetAllocationPropertiesFromHandle cuMemGetAllocationPropertiesFromHandle;
typedef CUresult fn_cuMemGetHandleForAddressRange(void *handle, CUdeviceptr dptr, size_t size, CUmemRangeHandleType handleType, unsigned long long flags);
fn_cuMemGetHandleForAddressRange cuMemGetHandleForAddressRange;
typedef CUresult fn_cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags);
fn_cuMemHostAlloc cuMemHostAlloc;
typedef CUresult fn_cuMemHostRegister(void *p, size_t bytesize, unsigned int Flags);
fn_cuMemHostRegister cuMemHostRegister;
typedef CUresult fn_cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags);
fn_cuMemHostRegister_v2 cuMemHostRegister_v2;
typedef CUresult fn_cuMemHostUnregister(void *p);
fn_cuMemHostUnregister cuMemHostUnregister;
typedef CUresult fn_cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *osHandle, CUmemAllocationHandleType shHandleType);
fn_cuMemImportFromShareableHandle cuMemImportFromShareableHandle;
typedef CUresult fn_cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags);
fn_cuMemMap cuMemMap;
typedef CUresult fn_cuMemMapArrayAsync(CUarrayMapInfo *mapInfoList, unsigned int count, CUstream hStream);
fn_cuMemMapArrayAsync cuMemMapArrayAsync;
typedef CUresult fn_cuMemMapArrayAsync_ptsz(CUarrayMapInfo *mapInfoList, unsigned int count, CUstream hStream);
fn_cuMemMapArrayAsync_ptsz cuMemMapArrayAsync_ptsz;
typedef CUresult fn_cuMemPoolDestroy(CUmemoryPool pool);
fn_cuMemPoolDestroy cuMemPoolDestroy;
typedef CUresult fn_cuMemPoolExportPointer(CUmemPoolPtrExportData *shareData_out, CUdeviceptr ptr);
fn_cuMemPoolExportPointer cuMemPoolExportPointer;
typedef CUresult fn_cuMemPoolExportToShareableHandle(void *handle_out, CUmemoryPool pool, CUmemAllocationHandleType handleType, unsigned long long flags);
fn_cuMemPoolExportToShareableHandle cuMemPoolExportToShareableHandle;
typedef CUresult fn_cuMemPoolImportFromShareableHandle(CUmemoryPool *pool_out, void *handle, CUmemAllocationHandleType handleType, unsigned long long flags);
fn_cuMemPoolImportFromShareableHandle cuMemPoolImportFromShareableHandle;
typedef CUresult fn_cuMemPoolImportPointer(CUdeviceptr *ptr_out, CUmemoryPool pool, CUmemPoolPtrExportData *shareData);
fn_cuMemPoolImportPointer cuMemPoolImportPointer;
typedef CUresult fn_cuMemPoolTrimTo(CUmemoryPool pool, size_t minBytesToKeep);
fn_cuMemPoolTrimTo cuMemPoolTrimTo;
typedef CUresult fn_cuMemPrefetchAsync(CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream);
fn_cuMemPrefetchAsync cuMemPrefetchAsync;
typedef CUresult fn_cuMemPrefetchAsync_ptsz(CUdeviceptr devPtr, size_t count, CUdevice dstDevice, CUstream hStream);
fn_cuMemPrefetchAsync_ptsz cuMemPrefetchAsync_ptsz;
typedef CUresult fn_cuMemPrefetchAsync_v2(CUdeviceptr devPtr, size_t count, CUmemLocation location, unsigned int flags, CUstream hStream);
fn_cuMemPrefetchAsync_v2 cuMemPrefetchAsync_v2;
typedef CUresult fn_cuMemPrefetchAsync_v2_ptsz(CUdeviceptr devPtr, size_t count, CUmemLocation location, unsigned int flags, CUstream hStream);
fn_cuMemPrefetchAsync_v2_ptsz cuMemPrefetchAsync_v2_ptsz;
typedef CUresult fn_cuMemPrefetchBatchAsync(CUdeviceptr *dptrs, size_t *sizes, size_t count, CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs, size_t numPrefetchLocs, unsigned long long flags, CUstream hStream);
fn_cuMemPrefetchBatchAsync cuMemPrefetchBatchAsync;
typedef CUresult fn_cuMemPrefetchBatchAsync_ptsz(CUdeviceptr *dptrs, size_t *sizes, size_t count, CUmemLocation *prefetchLocs, size_t *prefetchLocIdxs, size_t numPrefetchLocs, unsigned long long flags, CUstream hStream);
fn_cuMemPrefetchBatchAsync_ptsz cuMemPrefetchBatchAsync_ptsz;
typedef CUresult fn_cuMemRelease(CUmemGenericAllocationHandle handle);
fn_cuMemRelease cuMemRelease;
typedef CUresult fn_cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr);
fn_cuMemRetainAllocationHandle cuMemRetainAllocationHandle;
typedef CUresult fn_cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc, size_t count);
fn_cuMemSetAccess cuMemSetAccess;
typedef CUresult fn_cuMemUnmap(CUdeviceptr ptr, size_t size);
fn_cuMemUnmap cuMemUnmap;
typedef CUresult fn_cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount);
fn_cuMemcpy cuMemcpy;
typedef CUresult fn_cuMemcpy2D(const CUDA_MEMCPY2D_v1 *pCopy);
fn_cuMemcpy2D cuMemcpy2D;
typedef CUresult fn_cuMemcpy2DAsync(const CUDA_MEMCPY2D_v1 *pCopy, CUstream hStream);
fn_cuMemcpy2DAsync cuMemcpy2DAsync;
typedef CUresult fn_cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *pCopy, CUstream hStream);
fn_cuMemcpy2DAsync_v2 cuMemcpy2DAsync_v2;
typedef CUresult fn_cuMemcpy2DAsync_v2_ptsz(const CUDA_MEMCPY2D *pCopy, CUstream hStream);
fn_cuMemcpy2DAsync_v2_ptsz cuMemcpy2DAsync_v2_ptsz;
typedef CUresult fn_cuMemcpy2DUnaligned(const CUDA_MEMCPY2D_v1 *pCopy);
fn_cuMemcpy2DUnaligned cuMemcpy2DUnaligned;
typedef CUresult fn_cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *pCopy);
fn_cuMemcpy2DUnaligned_v2 cuMemcpy2DUnaligned_v2;
typedef CUresult fn_cuMemcpy2DUnaligned_v2_ptds(const CUDA_MEMCPY2D *pCopy);
fn_cuMemcpy2DUnaligned_v2_ptds cuMemcpy2DUnaligned_v2_ptds;
typedef CUresult fn_cuMemcpy2D_v2(const CUDA_MEMCPY2D *pCopy);
fn_cuMemcpy2D_v2 cuMemcpy2D_v2;
typedef CUresult fn_cuMemcpy2D_v2_ptds(const CUDA_MEMCPY2D *pCopy);
fn_cuMemcpy2D_v2_ptds cuMemcpy2D_v2_ptds;
typedef CUresult fn_cuMemcpy3D(const CUDA_MEMCPY3D_v1 *pCopy);
fn_cuMemcpy3D cuMemcpy3D;
typedef CUresult fn_cuMemcpy3DAsync(const CUDA_MEMCPY3D_v1 *pCopy, CUstream hStream);
fn_cuMemcpy3DAsync cuMemcpy3DAsync;
typedef CUresult fn_cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *pCopy, CUstream hStream);
fn_cuMemcpy3DAsync_v2 cuMemcpy3DAsync_v2;
typedef CUresult fn_cuMemcpy3DAsync_v2_ptsz(const CUDA_MEMCPY3D *pCopy, CUstream hStream);
fn_cuMemcpy3DAsync_v2_ptsz cuMemcpy3DAsync_v2_ptsz;
typedef CUresult fn_cuMemcpy3DBatchAsync(size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList, size_t *failIdx, unsigned long long flags, CUstream hStream);
fn_cuMemcpy3DBatchAsync cuMemcpy3DBatchAsync;
typedef CUresult fn_cuMemcpy3DBatchAsync_ptsz(size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList, size_t *failIdx, unsigned long long flags, CUstream hStream);
fn_cuMemcpy3DBatchAsync_ptsz cuMemcpy3DBatchAsync_ptsz;
typedef CUresult fn_cuMemcpy3DBatchAsync_v2(size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList, unsigned long long flags, CUstream hStream);
fn_cuMemcpy3DBatchAsync_v2 cuMemcpy3DBatchAsync_v2;
typedef CUresult fn_cuMemcpy3DBatchAsync_v2_ptsz(size_t numOps, CUDA_MEMCPY3D_BATCH_OP *opList, unsigned long long flags, CUstream hStream);
fn_cuMemcpy3DBatchAsync_v2_ptsz cuMemcpy3DBatchAsync_v2_ptsz;
typedef CUresult fn_cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER *pCopy);
fn_cuMemcpy3DPeer cuMemcpy3DPeer;
typedef CUresult fn_cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER *pCopy, CUstream hStream);
fn_cuMemcpy3DPeerAsync cuMemcpy3DPeerAsync;
typedef CUresult fn_cuMemcpy3DPeerAsync_ptsz(const CUDA_MEMCPY3D_PEER *pCopy, CUstream hStream);
fn_cuMemcpy3DPeerAsync_ptsz cuMemcpy3DPeerAsync_ptsz;
typedef CUresult fn_cuMemcpy3DPeer_ptds(const CUDA_MEMCPY3D_PEER *pCopy);
fn_cuMemcpy3DPeer_ptds cuMemcpy3DPeer_ptds;
typedef CUresult fn_cuMemcpy3D_v2(const CUDA_MEMCPY3D *pCopy);
fn_cuMemcpy3D_v2 cuMemcpy3D_v2;
typedef CUresult fn_cuMemcpy3D_v2_ptds(const CUDA_MEMCPY3D *pCopy);
fn_cuMemcpy3D_v2_ptds cuMemcpy3D_v2_ptds;
typedef CUresult fn_cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream);
fn_cuMemcpyAsync cuMemcpyAsync;
typedef CUresult fn_cuMemcpyAsync_ptsz(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream);
fn_cuMemcpyAsync_ptsz cuMemcpyAsync_ptsz;
typedef CUresult fn_cuMemcpyAtoA(CUarray dstArray, unsigned int dstOffset, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount);
fn_cuMemcpyAtoA cuMemcpyAtoA;
typedef CUresult fn_cuMemcpyAtoA_v2(CUarray dstArray, size_t dstOffset, CUarray srcArray, size_t srcOffset, size_t ByteCount);
fn_cuMemcpyAtoA_v2 cuMemcpyAtoA_v2;
typedef CUresult fn_cuMemcpyAtoA_v2_ptds(CUarray dstArray, size_t dstOffset, CUarray srcArray, size_t srcOffset, size_t ByteCount);
fn_cuMemcpyAtoA_v2_ptds cuMemcpyAtoA_v2_ptds;
typedef CUresult fn_cuMemcpyAtoD(CUdeviceptr_v1 dstDevice, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount);
fn_cuMemcpyAtoD cuMemcpyAtoD;
typedef CUresult fn_cuMemcpyAtoD_v2(CUdeviceptr dstDevice, CUarray srcArray, size_t srcOffset, size_t ByteCount);
fn_cuMemcpyAtoD_v2 cuMemcpyAtoD_v2;
typedef CUresult fn_cuMemcpyAtoD_v2_ptds(CUdeviceptr dstDevice, CUarray srcArray, size_t srcOffset, size_t ByteCount);
fn_cuMemcpyAtoD_v2_ptds cuMemcpyAtoD_v2_ptds;
typedef CUresult fn_cuMemcpyAtoH(void *dstHost, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount);
fn_cuMemcpyAtoH cuMemcpyAtoH;
typedef CUresult fn_cuMemcpyAtoHAsync(void *dstHost, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount, CUstream hStream);
fn_cuMemcpyAtoHAsync cuMemcpyAtoHAsync;
typedef CUresult fn_cuMemcpyAtoHAsync_v2(void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount, CUstream hStream);
fn_cuMemcpyAtoHAsync_v2 cuMemcpyAtoHAsync_v2;
typedef CUresult fn_cuMemcpyAtoHAsync_v2_ptsz(void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount, CUstream hStream);
fn_cuMemcpyAtoHAsync_v2_ptsz cuMemcpyAtoHAsync_v2_ptsz;
typedef CUresult fn_cuMemcpyAtoH_v2(void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount);
fn_cuMemcpyAtoH_v2 cuMemcpyAtoH_v2;
typedef CUresult fn_cuMemcpyAtoH_v2_ptds(void *dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount);
fn_cuMemcpyAtoH_v2_ptds cuMemcpyAtoH_v2_ptds;
typedef CUresult fn_cuMemcpyBatchAsync(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, size_t *failIdx, CUstream hStream);
fn_cuMemcpyBatchAsync cuMemcpyBatchAsync;
typedef CUresult fn_cuMemcpyBatchAsync_ptsz(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, size_t *failIdx, CUstream hStream);
fn_cuMemcpyBatchAsync_ptsz cuMemcpyBatchAsync_ptsz;
typedef CUresult fn_cuMemcpyBatchAsync_v2(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, CUstream hStream);
fn_cuMemcpyBatchAsync_v2 cuMemcpyBatchAsync_v2;
typedef CUresult fn_cuMemcpyBatchAsync_v2_ptsz(CUdeviceptr *dsts, CUdeviceptr *srcs, size_t *sizes, size_t count, CUmemcpyAttributes *attrs, size_t *attrsIdxs, size_t numAttrs, CUstream hStream);
fn_cuMemcpyBatchAsync_v2_ptsz cuMemcpyBatchAsync_v2_ptsz;
typedef CUresult fn_cuMemcpyDtoA(CUarray dstArray, unsigned int dstOffset, CUdeviceptr_v1 srcDevice, unsigned int ByteCount);
fn_cuMemcpyDtoA cuMemcpyDtoA;
typedef CUresult fn_cuMemcpyDtoA_v2(CUarray dstArray, size_t dstOffset, CUdeviceptr srcDevice, size_t ByteCount);
fn_cuMemcpyDtoA_v2 cuMemcpyDtoA_v2;
typedef CUresult fn_cuMemcpyDtoA_v2_ptds(CUarray dstArray, size_t dstOffset, CUdeviceptr srcDevice, size_t ByteCount);
fn_cuMemcpyDtoA_v2_ptds cuMemcpyDtoA_v2_ptds;
typedef CUresult fn_cuMemcpyDtoD(CUdeviceptr_v1 dstDevice, CUdeviceptr_v1 srcDevice, unsigned int ByteCount);
fn_cuMemcpyDtoD cuMemcpyDtoD;
typedef CUresult fn_cuMemcpyDtoDAsync(CUdeviceptr_v1 dstDevice, CUdeviceptr_v1 srcDevice, unsigned int ByteCount, CUstream hStream);
fn_cuMemcpyDtoDAsync cuMemcpyDtoDAsync;
typedef CUresult fn_cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream);
fn_cuMemcpyDtoDAsync_v2 cuMemcpyDtoDAsync_v2;
typedef CUresult fn_cuMemcpyDtoDAsync_v2_ptsz(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream);
fn_cuMemcpyDtoDAsync_v2_ptsz cuMemcpyDtoDAsync_v2_ptsz;
typedef CUresult fn_cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount);
fn_cuMemcpyDtoD_v2 cuMemcpyDtoD_v2;
typedef CUresult fn_cuMemcpyDtoD_v2_ptds(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount);
fn_cuMemcpyDtoD_v2_ptds cuMemcpyDtoD_v2_ptds;
typedef CUresult fn_cuMemcpyDtoH(void *dstHost, CUdeviceptr_v1 srcDevice, unsigned int ByteCount);
fn_cuMemcpyDtoH cuMemcpyDtoH;
typedef CUresult fn_cuMemcpyDtoHAsync(void *dstHost, CUdeviceptr_v1 srcDevice, unsigned int ByteCount, CUstream hStream);
fn_cuMemcpyDtoHAsync cuMemcpyDtoHAsync;
typedef CUresult fn_cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream);
fn_cuMemcpyDtoHAsync_v2 cuMemcpyDtoHAsync_v2;
typedef CUresult fn_cuMemcpyDtoHAsync_v2_ptsz(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream);
fn_cuMemcpyDtoHAsync_v2_ptsz cuMemcpyDtoHAsync_v2_ptsz;
typedef CUresult fn_cuMemcpyDtoH_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount);
fn_cuMemcpyDtoH_v2 cuMemcpyDtoH_v2;
typedef CUresult fn_cuMemcpyDtoH_v2_ptds(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount);
fn_cuMemcpyDtoH_v2_ptds cuMemcpyDtoH_v2_ptds;
typedef CUresult fn_cuMemcpyHtoA(CUarray dstArray, unsigned int dstOffset, const void *srcHost, unsigned int ByteCount);
fn_cuMemcpyHtoA cuMemcpyHtoA;
typedef CUresult fn_cuMemcpyHtoAAsync(CUarray dstArray, unsigned int dstOffset, const void *srcHost, unsigned int ByteCount, CUstream hStream);
fn_cuMemcpyHtoAAsync cuMemcpyHtoAAsync;
typedef CUresult fn_cuMemcpyHtoAAsync_v2(CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount, CUstream hStream);
fn_cuMemcpyHtoAAsync_v2 cuMemcpyHtoAAsync_v2;
typedef CUresult fn_cuMemcpyHtoAAsync_v2_ptsz(CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount, CUstream hStream);
fn_cuMemcpyHtoAAsync_v2_ptsz cuMemcpyHtoAAsync_v2_ptsz;
typedef CUresult fn_cuMemcpyHtoA_v2(CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount);
fn_cuMemcpyHtoA_v2 cuMemcpyHtoA_v2;
typedef CUresult fn_cuMemcpyHtoA_v2_ptds(CUarray dstArray, size_t dstOffset, const void *srcHost, size_t ByteCount);
fn_cuMemcpyHtoA_v2_ptds cuMemcpyHtoA_v2_ptds;
typedef CUresult fn_cuMemcpyHtoD(CUdeviceptr_v1 dstDevice, const void *srcHost, unsigned int ByteCount);
fn_cuMemcpyHtoD cuMemcpyHtoD;
typedef CUresult fn_cuMemcpyHtoDAsync(CUdeviceptr_v1 dstDevice, const void *srcHost, unsigned int ByteCount, CUstream hStream);
fn_cuMemcpyHtoDAsync cuMemcpyHtoDAsync;
typedef CUresult fn_cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream);
fn_cuMemcpyHtoDAsync_v2 cuMemcpyHtoDAsync_v2;
typedef CUresult fn_cuMemcpyHtoDAsync_v2_ptsz(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream);
fn_cuMemcpyHtoDAsync_v2_ptsz cuMemcpyHtoDAsync_v2_ptsz;
typedef CUresult fn_cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount);
fn_cuMemcpyHtoD_v2 cuMemcpyHtoD_v2;
typedef CUresult fn_cuMemcpyHtoD_v2_ptds(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount);
fn_cuMemcpyHtoD_v2_ptds cuMemcpyHtoD_v2_ptds;
typedef CUresult fn_cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount);
fn_cuMemcpyPeer cuMemcpyPeer;
typedef CUresult fn_cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount, CUstream hStream);
fn_cuMemcpyPeerAsync cuMemcpyPeerAsync;
typedef CUresult fn_cuMemcpyPeerAsync_ptsz(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount, CUstream hStream);
fn_cuMemcpyPeerAsync_ptsz cuMemcpyPeerAsync_ptsz;
typedef CUresult fn_cuMemcpyPeer_ptds(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount);
fn_cuMemcpyPeer_ptds cuMemcpyPeer_ptds;
typedef CUresult fn_cuMemcpy_ptds(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount);
fn_cuMemcpy_ptds cuMemcpy_ptds;
typedef CUresult fn_cuMemsetD16(CUdeviceptr_v1 dstDevice, unsigned short us, unsigned int N);
fn_cuMemsetD16 cuMemsetD16;
typedef CUresult fn_cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream);
fn_cuMemsetD16Async cuMemsetD16Async;
typedef CUresult fn_cuMemsetD16Async_ptsz(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream);
fn_cuMemsetD16Async_ptsz cuMemsetD16Async_ptsz;
typedef CUresult fn_cuMemsetD16_v2(CUdeviceptr dstDevice, unsigned short us, size_t N);
fn_cuMemsetD16_v2 cuMemsetD16_v2;
typedef CUresult fn_cuMemsetD16_v2_ptds(CUdeviceptr dstDevice, unsigned short us, size_t N);
fn_cuMemsetD16_v2_ptds cuMemsetD16_v2_ptds;
typedef CUresult fn_cuMemsetD2D16(CUdeviceptr_v1 dstDevice, unsigned int dstPitch, unsigned short us, unsigned int Width, unsigned int Height);
fn_cuMemsetD2D16 cuMemsetD2D16;
typedef CUresult fn_cuMemsetD2D16Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width, size_t Height, CUstream hStream);
fn_cuMemsetD2D16Async cuMemsetD2D16Async;
typedef CUresult fn_cuMemsetD2D16Async_ptsz(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width, size_t Height, CUstream hStream);
fn_cuMemsetD2D16Async_ptsz cuMemsetD2D16Async_ptsz;
typedef CUresult fn_cuMemsetD2D16_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width, size_t Height);
fn_cuMemsetD2D16_v2 cuMemsetD2D16_v2;
typedef CUresult fn_cuMemsetD2D16_v2_ptds(CUdeviceptr dstDevice, size_t dstPitch, unsigned short us, size_t Width, size_t Height);
fn_cuMemsetD2D16_v2_ptds cuMemsetD2D16_v2_ptds;
typedef CUresult fn_cuMemsetD2D32(CUdeviceptr_v1 dstDevice, unsigned int dstPitch, unsigned int ui, unsigned int Width, unsigned int Height);
fn_cuMemsetD2D32 cuMemsetD2D32;
typedef CUresult fn_cuMemsetD2D32Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width, size_t Height, CUstream hStream);
fn_cuMemsetD2D32Async cuMemsetD2D32Async;
typedef CUresult fn_cuMemsetD2D32Async_ptsz(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width, size_t Height, CUstream hStream);
fn_cuMemsetD2D32Async_ptsz cuMemsetD2D32Async_ptsz;
typedef CUresult fn_cuMemsetD2D32_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width, size_t Height);
fn_cuMemsetD2D32_v2 cuMemsetD2D32_v2;
typedef CUresult fn_cuMemsetD2D32_v2_ptds(CUdeviceptr dstDevice, size_t dstPitch, unsigned int ui, size_t Width, size_t Height);
fn_cuMemsetD2D32_v2_ptds cuMemsetD2D32_v2_ptds;
typedef CUresult fn_cuMemsetD2D8(CUdeviceptr_v1 dstDevice, unsigned int dstPitch, unsigned char uc, unsigned int Width, unsigned int Height);
fn_cuMemsetD2D8 cuMemsetD2D8;
typedef CUresult fn_cuMemsetD2D8Async(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width, size_t Height, CUstream hStream);
fn_cuMemsetD2D8Async cuMemsetD2D8Async;
typedef CUresult fn_cuMemsetD2D8Async_ptsz(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width, size_t Height, CUstream hStream);
fn_cuMemsetD2D8Async_ptsz cuMemsetD2D8Async_ptsz;
typedef CUresult fn_cuMemsetD2D8_v2(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width, size_t Height);
fn_cuMemsetD2D8_v2 cuMemsetD2D8_v2;
typedef CUresult fn_cuMemsetD2D8_v2_ptds(CUdeviceptr dstDevice, size_t dstPitch, unsigned char uc, size_t Width, size_t Height);
fn_cuMemsetD2D8_v2_ptds cuMemsetD2D8_v2_ptds;
typedef CUresult fn_cuMemsetD32(CUdeviceptr_v1 dstDevice, unsigned int ui, unsigned int N);
fn_cuMemsetD32 cuMemsetD32;
typedef CUresult fn_cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream);
fn_cuMemsetD32Async cuMemsetD32Async;
typedef CUresult fn_cuMemsetD32Async_ptsz(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream);
fn_cuMemsetD32Async_ptsz cuMemsetD32Async_ptsz;
typedef CUresult fn_cuMemsetD32_v2(CUdeviceptr dstDevice, unsigned int ui, size_t N);
fn_cuMemsetD32_v2 cuMemsetD32_v2;
typedef CUresult fn_cuMemsetD32_v2_ptds(CUdeviceptr dstDevice, unsigned int ui, size_t N);
fn_cuMemsetD32_v2_ptds cuMemsetD32_v2_ptds;
typedef CUresult fn_cuMemsetD8(CUdeviceptr_v1 dstDevice, unsigned char uc, unsigned int N);
fn_cuMemsetD8 cuMemsetD8;
typedef CUresult fn_cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream);
fn_cuMemsetD8Async cuMemsetD8Async;
typedef CUresult fn_cuMemsetD8Async_ptsz(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream);
fn_cuMemsetD8Async_ptsz cuMemsetD8Async_ptsz;
typedef CUresult fn_cuMemsetD8_v2(CUdeviceptr dstDevice, unsigned char uc, size_t N);
fn_cuMemsetD8_v2 cuMemsetD8_v2;
typedef CUresult fn_cuMemsetD8_v2_ptds(CUdeviceptr dstDevice, unsigned char uc, size_t N);
fn_cuMemsetD8_v2_ptds cuMemsetD8_v2_ptds;
typedef CUresult fn_cuMulticastBindAddr(CUmemGenericAllocationHandle mcHandle, size_t mcOffset, CUdeviceptr memptr, size_t size, unsigned long long flags);
fn_cuMulticastBindAddr cuMulticastBindAddr;
typedef CUresult fn_cuMulticastBindMem(CUmemGenericAllocationHandle mcHandle, size_t mcOffset, CUmemGenericAllocationHandle memHandle, size_t memOffset, size_t size, unsigned long long flags);
fn_cuMulticastBindMem cuMulticastBindMem;
typedef CUresult fn_cuMulticastCreate(CUmemGenericAllocationHandle *mcHandle, const CUmulticastObjectProp *prop);
fn_cuMulticastCreate cuMulticastCreate;
typedef CUresult fn_cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr);
fn_cuPointerGetAttribute cuPointerGetAttribute;
typedef CUresult fn_cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes, void **data, CUdeviceptr ptr);
fn_cuPointerGetAttributes cuPointerGetAttributes;
typedef CUresult fn_cuPointerSetAttribute(const void *value, CUpointer_attribute attribute, CUdeviceptr ptr);
fn_cuPointerSetAttribute cuPointerSetAttribute;
typedef CUresult fn_cuSignalExternalSemaphoresAsync(const CUexternalSemaphore *extSemArray, const CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *paramsArray, unsigned int numExtSems, CUstream stream);
fn_cuSignalExternalSemaphoresAsync cuSignalExternalSemaphoresAsync;
typedef CUresult fn_cuSignalExternalSemaphoresAsync_ptsz(const CUexternalSemaphore *extSemArray, const CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS *paramsArray, unsigned int numExtSems, CUstream stream);
fn_cuSignalExternalSemaphoresAsync_ptsz cuSignalExternalSemaphoresAsync_ptsz;
typedef CUresult fn_cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags);
fn_cuStreamAddCallback cuStreamAddCallback;
typedef CUresult fn_cuStreamAddCallback_ptsz(CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags);
fn_cuStreamAddCallback_ptsz cuStreamAddCallback_ptsz;
typedef CUresult fn_cuStreamAttachMemAsync(CUstream hStream, CUdeviceptr dptr, size_t length, unsigned int flags);
fn_cuStreamAttachMemAsync cuStreamAttachMemAsync;
typedef CUresult fn_cuStreamAttachMemAsync_ptsz(CUstream hStream, CUdeviceptr dptr, size_t length, unsigned int flags);
fn_cuStreamAttachMemAsync_ptsz cuStreamAttachMemAsync_ptsz;
typedef CUresult fn_cuStreamBatchMemOp(CUstream stream, unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags);
fn_cuStreamBatchMemOp cuStreamBatchMemOp;
typedef CUresult fn_cuStreamBatchMemOp_ptsz(CUstream stream, unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags);
fn_cuStreamBatchMemOp_ptsz cuStreamBatchMemOp_ptsz;
typedef CUresult fn_cuStreamBatchMemOp_v2(CUstream stream, unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags);
fn_cuStreamBatchMemOp_v2 cuStreamBatchMemOp_v2;
typedef CUresult fn_cuStreamBatchMemOp_v2_ptsz(CUstream stream, unsigned int count, CUstreamBatchMemOpParams *paramArray, unsigned int flags);
fn_cuStreamBatchMemOp_v2_ptsz cuStreamBatchMemOp_v2_ptsz;
typedef CUresult fn_cuStreamBeginCapture(CUstream hStream);
fn_cuStreamBeginCapture cuStreamBeginCapture;
typedef CUresult fn_cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph, const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData, size_t numDependencies, CUstreamCaptureMode mode);
fn_cuStreamBeginCaptureToGraph cuStreamBeginCaptureToGraph;
typedef CUresult fn_cuStreamBeginCaptureToGraph_ptsz(CUstream hStream, CUgraph hGraph, const CUgraphNode *dependencies, const CUgraphEdgeData *dependencyData, size_t numDependencies, CUstreamCaptureMode mode);
fn_cuStreamBeginCaptureToGraph_ptsz cuStreamBeginCaptureToGraph_ptsz;
typedef CUresult fn_cuStreamBeginCapture_ptsz(CUstream hStream);
fn_cuStreamBeginCapture_ptsz cuStreamBeginCapture_ptsz;
typedef CUresult fn_cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode);
fn_cuStreamBeginCapture_v2 cuStreamBeginCapture_v2;
typedef CUresult fn_cuStreamBeginCapture_v2_ptsz(CUstream hStream, CUstreamCaptureMode mode);
fn_cuStreamBeginCapture_v2_ptsz cuStreamBeginCapture_v2_ptsz;
typedef CUresult fn_cuStreamDestroy(CUstream hStream);
fn_cuStreamDestroy cuStreamDestroy;
typedef CUresult fn_cuStreamDestroy_v2(CUstream hStream);
fn_cuStreamDestroy_v2 cuStreamDestroy_v2;
typedef CUresult fn_cuStreamEndCapture(CUstream hStream, CUgraph *phGraph);
fn_cuStreamEndCapture cuStreamEndCapture;
typedef CUresult fn_cuStreamEndCapture_ptsz(CUstream hStream, CUgraph *phGraph);
fn_cuStreamEndCapture_ptsz cuStreamEndCapture_ptsz;
typedef CUresult fn_cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus);
typedef CUresult fn_cuStreamIsCapturing_ptsz(CUstream hStream, CUstreamCaptureStatus *captureStatus);
typedef CUresult fn_cuStreamSynchronize(CUstream hStream);
fn_cuStreamSynchronize cuStreamSynchronize;
typedef CUresult fn_cuStreamSynchronize_ptsz(CUstream hStream);
fn_cuStreamSynchronize_ptsz cuStreamSynchronize_ptsz;
typedef CUresult fn_cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags);
fn_cuStreamWaitEvent cuStreamWaitEvent;
typedef CUresult fn_cuStreamWaitEvent_ptsz(CUstream hStream, CUevent hEvent, unsigned int Flags);
fn_cuStreamWaitEvent_ptsz cuStreamWaitEvent_ptsz;
typedef CUresult fn_cuStreamWaitValue32(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags);
fn_cuStreamWaitValue32 cuStreamWaitValue32;
typedef CUresult fn_cuStreamWaitValue32_ptsz(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags);
fn_cuStreamWaitValue32_ptsz cuStreamWaitValue32_ptsz;
typedef CUresult fn_cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags);
fn_cuStreamWaitValue32_v2 cuStreamWaitValue32_v2;
typedef CUresult fn_cuStreamWaitValue32_v2_ptsz(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags);
fn_cuStreamWaitValue32_v2_ptsz cuStreamWaitValue32_v2_ptsz;
typedef CUresult fn_cuStreamWaitValue64(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags);
fn_cuStreamWaitValue64 cuStreamWaitValue64;
typedef CUresult fn_cuStreamWaitValue64_ptsz(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags);
fn_cuStreamWaitValue64_ptsz cuStreamWaitValue64_ptsz;
typedef CUresult fn_cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags);
fn_cuStreamWaitValue64_v2 cuStreamWaitValue64_v2;
typedef CUresult fn_cuStreamWaitValue64_v2_ptsz(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags);
fn_cuStreamWaitValue64_v2_ptsz cuStreamWaitValue64_v2_ptsz;
typedef CUresult fn_cuStreamWriteValue32(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags);
fn_cuStreamWriteValue32 cuStreamWriteValue32;
typedef CUresult fn_cuStreamWriteValue32_ptsz(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags);
fn_cuStreamWriteValue32_ptsz cuStreamWriteValue32_ptsz;
typedef CUresult fn_cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags);
fn_cuStreamWriteValue32_v2 cuStreamWriteValue32_v2;
typedef CUresult fn_cuStreamWriteValue32_v2_ptsz(CUstream stream, CUdeviceptr addr, cuuint32_t value, unsigned int flags);
fn_cuStreamWriteValue32_v2_ptsz cuStreamWriteValue32_v2_ptsz;
typedef CUresult fn_cuStreamWriteValue64(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags);
fn_cuStreamWriteValue64 cuStreamWriteValue64;
typedef CUresult fn_cuStreamWriteValue64_ptsz(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags);
fn_cuStreamWriteValue64_ptsz cuStreamWriteValue64_ptsz;
typedef CUresult fn_cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags);
fn_cuStreamWriteValue64_v2 cuStreamWriteValue64_v2;
typedef CUresult fn_cuStreamWriteValue64_v2_ptsz(CUstream stream, CUdeviceptr addr, cuuint64_t value, unsigned int flags);
fn_cuStreamWriteValue64_v2_ptsz cuStreamWriteValue64_v2_ptsz;
typedef CUresult fn_cuWaitExternalSemaphoresAsync(const CUexternalSemaphore *extSemArray, const CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS *paramsArray, unsigned int numExtSems, CUstream stream);
fn_cuWaitExternalSemaphoresAsync cuWaitExternalSemaphoresAsync;
typedef CUresult fn_cuWaitExternalSemaphoresAsync_ptsz(const CUexternalSemaphore *extSemArray, const CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS *paramsArray, unsigned int numExtSems, CUstream stream);
fn_cuWaitExternalSemaphoresAsync_ptsz cuWaitExternalSemaphoresAsync_ptsz;

#endif
