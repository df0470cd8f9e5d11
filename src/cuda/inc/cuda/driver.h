/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CUDA_DRIVER_H
#define CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The driver, loaded when asked for: no CUDA is needed to build. Types and values are those of cuda.h (tests/unit/keeper/request.c holds the sizes), names are ours so that
 * both can be included.
 */
typedef int cu_result;
typedef int cu_device;
typedef uint64_t cu_deviceptr, cu_memory;
typedef struct cu_context_st *cu_context;
typedef struct cu_module_st *cu_module;
typedef struct cu_function_st *cu_function;
typedef struct cu_stream_st *cu_stream;
typedef struct cu_event_st *cu_event;

enum {
	CU_OK = 0, CU_INVALID_VALUE = 1, CU_OUT_OF_MEMORY = 2, CU_NOT_READY = 600,
	CU_ALREADY_REGISTERED = 712,
	CU_POSIX_FD = 1, CU_PINNED = 1, CU_LOCATION_DEVICE = 1, CU_ACCESS_READWRITE = 3,
	CU_STREAM_NONBLOCKING = 1, CU_EVENT_NO_TIMING = 2, CU_EVENT_BLOCKING = 1, CU_HOST_PORTABLE = 1,
	CU_ATTRIBUTE_VMM = 102, CU_ATTRIBUTE_POSIX_FD = 103,
	CU_WAIT_GEQ = 0,
	CU_POINTER_MEMORY_TYPE = 2, CU_POINTER_SYNC_MEMOPS = 6, CU_POINTER_ORDINAL = 9, CU_POINTER_RANGE_START = 11, CU_POINTER_RANGE_BYTES = 12, CU_MEMORY_DEVICE = 2,
	CU_FLUSH_CURRENT_CONTEXT = 0, CU_FLUSH_TO_OWNER = 100,
	CU_SOURCE_STREAM_ORDER = 1,
	CU_RUNNING = 0, CU_LOCKED, CU_CHECKPOINTED, CU_FAILED,
};

struct cu_uuid { uint8_t bytes[16]; };
struct cu_location { int type, id; };
struct cu_memory_prop {
	int type, handle_types;
	struct cu_location location;
	void *win32;
	struct { uint8_t compression, rdma; uint16_t usage; uint8_t reserved[4]; } flags;
};
struct cu_access { struct cu_location location; int flags; };
struct cu_lock_args { unsigned timeout_ms, reserved0; uint64_t reserved[7]; };
struct cu_checkpoint_args { uint64_t reserved[8]; };
struct cu_gpu_pair { struct cu_uuid was, is; };
struct cu_restore_args { struct cu_gpu_pair *pairs; unsigned pairs_n; char reserved[52 - sizeof(void *)]; uint64_t reserved1; };

/* CUmemcpyAttributes */
struct cu_copy_attributes { int source_order; struct cu_location source, destination; unsigned flags; };

/* X(field, symbol, arguments): what must be there, then what may be missing */
#define CUDA_CALLS(X) \
	X(init, cuInit, (unsigned flags)) \
	X(driver_version, cuDriverGetVersion, (int *version)) \
	X(error_name, cuGetErrorName, (cu_result r, const char **text)) \
	X(device_count, cuDeviceGetCount, (int *n)) \
	X(device_get, cuDeviceGet, (cu_device *device, int ordinal)) \
	X(device_uuid, cuDeviceGetUuid_v2, (struct cu_uuid *uuid, cu_device device)) \
	X(device_name, cuDeviceGetName, (char *name, int len, cu_device device)) \
	X(device_attribute, cuDeviceGetAttribute, (int *value, int attribute, cu_device device)) \
	X(primary_retain, cuDevicePrimaryCtxRetain, (cu_context *context, cu_device device)) \
	X(primary_release, cuDevicePrimaryCtxRelease_v2, (cu_device device)) \
	X(set_current, cuCtxSetCurrent, (cu_context context)) \
	X(push_current, cuCtxPushCurrent_v2, (cu_context context)) \
	X(pop_current, cuCtxPopCurrent_v2, (cu_context *context)) \
	X(priority_range, cuCtxGetStreamPriorityRange, (int *least, int *greatest)) \
	X(mem_info, cuMemGetInfo_v2, (size_t *available, size_t *total)) \
	X(mem_create, cuMemCreate, (cu_memory *handle, size_t bytes, const struct cu_memory_prop *prop, unsigned long long flags)) \
	X(mem_release, cuMemRelease, (cu_memory handle)) \
	X(mem_import, cuMemImportFromShareableHandle, (cu_memory *handle, void *os_handle, int type)) \
	X(address_reserve, cuMemAddressReserve, (cu_deviceptr *at, size_t bytes, size_t alignment, cu_deviceptr hint, unsigned long long flags)) \
	X(address_free, cuMemAddressFree, (cu_deviceptr at, size_t bytes)) \
	X(mem_map, cuMemMap, (cu_deviceptr at, size_t bytes, size_t offset, cu_memory handle, unsigned long long flags)) \
	X(mem_unmap, cuMemUnmap, (cu_deviceptr at, size_t bytes)) \
	X(set_access, cuMemSetAccess, (cu_deviceptr at, size_t bytes, const struct cu_access *access, size_t n)) \
	X(mem_alloc, cuMemAlloc_v2, (cu_deviceptr *at, size_t bytes)) \
	X(mem_free, cuMemFree_v2, (cu_deviceptr at)) \
	X(host_alloc, cuMemHostAlloc, (void **at, size_t bytes, unsigned flags)) \
	X(host_free, cuMemFreeHost, (void *at)) \
	X(host_register, cuMemHostRegister_v2, (void *at, size_t bytes, unsigned flags)) \
	X(host_unregister, cuMemHostUnregister, (void *at)) \
	X(copy_dtod, cuMemcpyDtoDAsync_v2, (cu_deviceptr to, cu_deviceptr from, size_t bytes, cu_stream stream)) \
	X(copy_dtoh, cuMemcpyDtoHAsync_v2, (void *to, cu_deviceptr from, size_t bytes, cu_stream stream)) \
	X(copy_htod, cuMemcpyHtoDAsync_v2, (cu_deviceptr to, const void *from, size_t bytes, cu_stream stream)) \
	X(set_d8, cuMemsetD8Async, (cu_deviceptr to, unsigned char value, size_t bytes, cu_stream stream)) \
	X(pointer_attribute, cuPointerGetAttribute, (void *value, int attribute, cu_deviceptr at)) \
	X(event_create, cuEventCreate, (cu_event *event, unsigned flags)) \
	X(event_destroy, cuEventDestroy_v2, (cu_event event)) \
	X(event_record, cuEventRecord, (cu_event event, cu_stream stream)) \
	X(event_query, cuEventQuery, (cu_event event)) \
	X(event_sync, cuEventSynchronize, (cu_event event)) \
	X(stream_create_priority, cuStreamCreateWithPriority, (cu_stream *stream, unsigned flags, int priority)) \
	X(stream_create, cuStreamCreate, (cu_stream *stream, unsigned flags)) \
	X(stream_destroy, cuStreamDestroy_v2, (cu_stream stream)) \
	X(stream_sync, cuStreamSynchronize, (cu_stream stream)) \
	X(module_load, cuModuleLoadData, (cu_module *module, const void *image)) \
	X(module_unload, cuModuleUnload, (cu_module module)) \
	X(module_function, cuModuleGetFunction, (cu_function *function, cu_module module, const char *name)) \
	X(launch, cuLaunchKernel, (cu_function f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, cu_stream stream, void **params, void **extra))
#define CUDA_CALLS_OPTIONAL(X) \
	X(current_device, cuCtxGetDevice, (cu_device *device)) \
	X(primary_state, cuDevicePrimaryCtxGetState, (cu_device device, unsigned *flags, int *active)) \
	X(copy_batch, cuMemcpyBatchAsync_v2, (cu_deviceptr *to, cu_deviceptr *from, size_t *bytes, size_t n, struct cu_copy_attributes *attributes, size_t *attributes_from, size_t attributes_n, cu_stream stream)) \
	X(copy_batch_12, cuMemcpyBatchAsync, (cu_deviceptr *to, cu_deviceptr *from, size_t *bytes, size_t n, struct cu_copy_attributes *attributes, size_t *attributes_from, size_t attributes_n, size_t *failed, cu_stream stream)) \
	X(pci_bus_id, cuDeviceGetPCIBusId, (char *text, int n, cu_device device)) \
	X(flush_writes, cuFlushGPUDirectRDMAWrites, (int target, int scope)) \
	X(set_pointer_attribute, cuPointerSetAttribute, (const void *value, int attribute, cu_deviceptr at)) \
	X(launch_host, cuLaunchHostFunc, (cu_stream stream, void (*run)(void *arg), void *arg)) \
	X(wait_value, cuStreamWaitValue32_v2, (cu_stream stream, cu_deviceptr at, uint32_t value, unsigned flags)) \
	X(is_capturing, cuStreamIsCapturing, (cu_stream stream, int *status)) \
	X(host_pointer, cuMemHostGetDevicePointer_v2, (cu_deviceptr *ret, void *at, unsigned flags)) \
	X(ckpt_state, cuCheckpointProcessGetState, (int pid, int *state)) \
	X(ckpt_lock, cuCheckpointProcessLock, (int pid, struct cu_lock_args *args)) \
	X(ckpt_checkpoint, cuCheckpointProcessCheckpoint, (int pid, struct cu_checkpoint_args *args)) \
	X(ckpt_restore, cuCheckpointProcessRestore, (int pid, struct cu_restore_args *args)) \
	X(ckpt_unlock, cuCheckpointProcessUnlock, (int pid, void *args))

struct cuda {
	void *lib;
	int version;            /* as cuDriverGetVersion */
#define X(field, symbol, arguments) cu_result (*field) arguments;
	CUDA_CALLS(X)
	CUDA_CALLS_OPTIONAL(X)
#undef X
};

/**
 * cuda_load - open the driver and fill the table; initialises nothing
 * @path: NULL = $HEARTH_LIBCUDA, or libcuda.so.1
 * Return: 0, -ENOENT (no driver), -EOPNOTSUPP (it lacks calls that are needed; the message names the first).
 */
int cuda_load(struct cuda *c, const char *path, struct hearth_err *err);
void cuda_unload(struct cuda *c);
/** cuda_can_checkpoint - whether the driver has all of cuCheckpointProcess* */
int cuda_can_checkpoint(const struct cuda *c);
/** cuda_name - "CUDA_ERROR_INVALID_VALUE" and so on; never NULL */
const char *cuda_name(const struct cuda *c, cu_result r);
/** cuda_errno - a result as 0 or -errno: -ENOMEM, -EBUSY, -EINVAL, else -EIO */
int cuda_errno(cu_result r);
/** cuda_err - set an error "what: name (number)". Return: 0 when @r is CU_OK, else its cuda_errno(). */
int cuda_err(const struct cuda *c, cu_result r, struct hearth_err *err, const char *what);

#endif
