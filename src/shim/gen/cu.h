/* SPDX-License-Identifier: Apache-2.0 */
/* Made by tools/gen-shim from calls.txt and cuda.h of CUDA 13000. */
#ifndef SHIM_GEN_CU_H
#define SHIM_GEN_CU_H

#include <stddef.h>
#include <stdint.h>

#define SHIM_CUDA_VERSION 13000

typedef unsigned int CUresult;
typedef unsigned int CUmemAllocationType;
typedef unsigned int CUmemAllocationHandleType;
typedef unsigned int CUmemLocationType;
struct CUmemLocation_st { CUmemLocationType type; int id; };
typedef struct CUmemLocation_st CUmemLocation_v1;
typedef CUmemLocation_v1 CUmemLocation;
struct CUmemAllocationProp_st { CUmemAllocationType type; CUmemAllocationHandleType requestedHandleTypes; CUmemLocation location; void *win32HandleMetaData; struct { unsigned char compressionType; unsigned char gpuDirectRDMACapable; unsigned short usage; unsigned char reserved[4]; } allocFlags; };
typedef struct CUmemAllocationProp_st CUmemAllocationProp_v1;
typedef CUmemAllocationProp_v1 CUmemAllocationProp;
typedef unsigned int CUmemAccess_flags;
struct CUmemAccessDesc_st { CUmemLocation location; CUmemAccess_flags flags; };
typedef struct CUmemAccessDesc_st CUmemAccessDesc_v1;
typedef CUmemAccessDesc_v1 CUmemAccessDesc;
struct CUuuid_st { char bytes[16]; };
typedef struct CUuuid_st CUuuid;
typedef unsigned int CUresourcetype;
typedef struct CUmipmappedArray_st *CUmipmappedArray;
typedef struct CUarray_st *CUarray;
typedef unsigned int CUarraySparseSubresourceType;
typedef unsigned int CUmemOperationType;
typedef unsigned int CUmemHandleType;
typedef unsigned long long CUmemGenericAllocationHandle_v1;
typedef CUmemGenericAllocationHandle_v1 CUmemGenericAllocationHandle;
struct CUarrayMapInfo_st { CUresourcetype resourceType; union { CUmipmappedArray mipmap; CUarray array; } resource; CUarraySparseSubresourceType subresourceType; union { struct { unsigned int level; unsigned int layer; unsigned int offsetX; unsigned int offsetY; unsigned int offsetZ; unsigned int extentWidth; unsigned int extentHeight; unsigned int extentDepth; } sparseLevel; struct { unsigned int layer; unsigned long long offset; unsigned long long size; } miptail; } subresource; CUmemOperationType memOperationType; CUmemHandleType memHandleType; union { CUmemGenericAllocationHandle memHandle; } memHandle; unsigned long long offset; unsigned int deviceBitMask; unsigned int flags; unsigned int reserved[2]; };
typedef struct CUarrayMapInfo_st CUarrayMapInfo_v1;
typedef CUarrayMapInfo_v1 CUarrayMapInfo;
typedef struct CUctx_st *CUcontext;
typedef int CUdevice_v1;
typedef CUdevice_v1 CUdevice;
typedef struct CUexecAffinityParam_st CUexecAffinityParam_v1;
typedef CUexecAffinityParam_v1 CUexecAffinityParam;
typedef struct CUctxCreateParams_st CUctxCreateParams;
typedef struct CUevent_st *CUevent;
typedef unsigned int CUdevice_attribute;
typedef struct CUstream_st *CUstream;
typedef unsigned int CUflushGPUDirectRDMAWritesTarget;
typedef unsigned int CUflushGPUDirectRDMAWritesScope;
typedef uint64_t cuuint64_t;
typedef unsigned int CUdriverProcAddressQueryResult;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUgraph_st *CUgraph;
typedef struct CUDA_GRAPH_INSTANTIATE_PARAMS_st CUDA_GRAPH_INSTANTIATE_PARAMS;
typedef struct CUgraphicsResource_st *CUgraphicsResource;
typedef struct CUgreenCtx_st *CUgreenCtx;
typedef struct CUextMemory_st *CUexternalMemory;
typedef struct CUDA_EXTERNAL_MEMORY_HANDLE_DESC_st CUDA_EXTERNAL_MEMORY_HANDLE_DESC_v1;
typedef CUDA_EXTERNAL_MEMORY_HANDLE_DESC_v1 CUDA_EXTERNAL_MEMORY_HANDLE_DESC;
typedef struct CUextSemaphore_st *CUexternalSemaphore;
typedef struct CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_st CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_v1;
typedef CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC_v1 CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC;
typedef unsigned long long CUdeviceptr_v2;
typedef CUdeviceptr_v2 CUdeviceptr;
typedef struct CUipcEventHandle_st CUipcEventHandle_v1;
typedef CUipcEventHandle_v1 CUipcEventHandle;
typedef struct CUipcMemHandle_st CUipcMemHandle_v1;
typedef CUipcMemHandle_v1 CUipcMemHandle;
struct CUipcEventHandle_st { char reserved[64]; };
struct CUipcMemHandle_st { char reserved[64]; };
typedef struct CUfunc_st *CUfunction;
typedef struct CUDA_LAUNCH_PARAMS_st CUDA_LAUNCH_PARAMS_v1;
typedef CUDA_LAUNCH_PARAMS_v1 CUDA_LAUNCH_PARAMS;
typedef void ( *CUhostFn)(void *userData);
typedef struct CUlaunchConfig_st CUlaunchConfig;
typedef struct CUlib_st *CUlibrary;
typedef unsigned int CUmem_advise;
typedef struct CUmemPoolHandle_st *CUmemoryPool;
typedef struct CUmemDecompressParams_st CUmemDecompressParams;
typedef unsigned int CUmemAllocationGranularity_flags;
typedef unsigned int CUmemRangeHandleType;
typedef struct CUmemPoolPtrExportData_st CUmemPoolPtrExportData_v1;
typedef CUmemPoolPtrExportData_v1 CUmemPoolPtrExportData;
typedef struct CUDA_MEMCPY2D_v1_st CUDA_MEMCPY2D_v1;
typedef struct CUDA_MEMCPY2D_st CUDA_MEMCPY2D_v2;
typedef CUDA_MEMCPY2D_v2 CUDA_MEMCPY2D;
typedef struct CUDA_MEMCPY3D_v1_st CUDA_MEMCPY3D_v1;
typedef struct CUDA_MEMCPY3D_st CUDA_MEMCPY3D_v2;
typedef CUDA_MEMCPY3D_v2 CUDA_MEMCPY3D;
typedef struct CUDA_MEMCPY3D_BATCH_OP_st CUDA_MEMCPY3D_BATCH_OP_v1;
typedef CUDA_MEMCPY3D_BATCH_OP_v1 CUDA_MEMCPY3D_BATCH_OP;
typedef struct CUDA_MEMCPY3D_PEER_st CUDA_MEMCPY3D_PEER_v1;
typedef CUDA_MEMCPY3D_PEER_v1 CUDA_MEMCPY3D_PEER;
typedef unsigned int CUdeviceptr_v1;
typedef struct CUmemcpyAttributes_st CUmemcpyAttributes_v1;
typedef CUmemcpyAttributes_v1 CUmemcpyAttributes;
typedef struct CUmulticastObjectProp_st CUmulticastObjectProp_v1;
typedef CUmulticastObjectProp_v1 CUmulticastObjectProp;
typedef unsigned int CUpointer_attribute;
typedef struct CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_st CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_v1;
typedef CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS_v1 CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS;
typedef void ( *CUstreamCallback)(CUstream hStream, CUresult status, void *userData);
typedef union CUstreamBatchMemOpParams_union CUstreamBatchMemOpParams_v1;
typedef CUstreamBatchMemOpParams_v1 CUstreamBatchMemOpParams;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphEdgeData_st CUgraphEdgeData;
typedef unsigned int CUstreamCaptureMode;
typedef unsigned int CUstreamCaptureStatus;
typedef uint32_t cuuint32_t;
typedef struct CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_st CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_v1;
typedef CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS_v1 CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS;

enum {
	CUDA_SUCCESS = 0x0,
	CUDA_ERROR_INVALID_VALUE = 0x1,
	CUDA_ERROR_OUT_OF_MEMORY = 0x2,
	CUDA_ERROR_NO_DEVICE = 0x64,
	CUDA_ERROR_INVALID_CONTEXT = 0xc9,
	CUDA_ERROR_NOT_SUPPORTED = 0x321,
	CUDA_ERROR_NOT_PERMITTED = 0x320,
	CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND = 0x12e,
	CUDA_ERROR_CONTEXT_IS_DESTROYED = 0x2c5,
	CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 0x66,
	CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED = 0x67,
	CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED = 0x6e,
	CU_DEVICE_ATTRIBUTE_MPS_ENABLED = 0x85,
	CU_MEM_ALLOCATION_TYPE_PINNED = 0x1,
	CU_MEM_LOCATION_TYPE_DEVICE = 0x1,
	CU_MEM_HANDLE_TYPE_NONE = 0x0,
	CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR = 0x1,
	CU_MEM_HANDLE_TYPE_FABRIC = 0x8,
	CU_MEM_ACCESS_FLAGS_PROT_NONE = 0x0,
	CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 0x3,
	CU_MEM_ALLOC_GRANULARITY_MINIMUM = 0x0,
	CU_POINTER_ATTRIBUTE_CONTEXT = 0x1,
	CU_POINTER_ATTRIBUTE_BUFFER_ID = 0x7,
	CU_POINTER_ATTRIBUTE_RANGE_START_ADDR = 0xb,
	CU_POINTER_ATTRIBUTE_RANGE_SIZE = 0xc,
	CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES = 0xe,
	CU_STREAM_CAPTURE_STATUS_NONE = 0x0,
	CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM = 0x2,
};

#endif
