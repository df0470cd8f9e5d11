/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CUFILE_ABI_H
#define CUFILE_ABI_H

/*
 * The C interface of libcufile.so.0, as its reference documents it (1.15, CUDA 13.0): names, numbers and layouts, so that neither the library nor its tests need CUDA
 * to be built. tests/unit/cufile holds it against cufile.h where there is one. Includes nothing of ours and nothing of CUDA's: CUresult and CUstream are what they are
 * on 64-bit Linux.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include "cufile/calls.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CUFILEOP_BASE_ERR 5000

/* X(name, number beyond CUFILEOP_BASE_ERR) */
#define CUFILE_OP_ERRORS(X) \
	X(CU_FILE_DRIVER_NOT_INITIALIZED, 1) \
	X(CU_FILE_DRIVER_INVALID_PROPS, 2) \
	X(CU_FILE_DRIVER_UNSUPPORTED_LIMIT, 3) \
	X(CU_FILE_DRIVER_VERSION_MISMATCH, 4) \
	X(CU_FILE_DRIVER_VERSION_READ_ERROR, 5) \
	X(CU_FILE_DRIVER_CLOSING, 6) \
	X(CU_FILE_PLATFORM_NOT_SUPPORTED, 7) \
	X(CU_FILE_IO_NOT_SUPPORTED, 8) \
	X(CU_FILE_DEVICE_NOT_SUPPORTED, 9) \
	X(CU_FILE_NVFS_DRIVER_ERROR, 10) \
	X(CU_FILE_CUDA_DRIVER_ERROR, 11) \
	X(CU_FILE_CUDA_POINTER_INVALID, 12) \
	X(CU_FILE_CUDA_MEMORY_TYPE_INVALID, 13) \
	X(CU_FILE_CUDA_POINTER_RANGE_ERROR, 14) \
	X(CU_FILE_CUDA_CONTEXT_MISMATCH, 15) \
	X(CU_FILE_INVALID_MAPPING_SIZE, 16) \
	X(CU_FILE_INVALID_MAPPING_RANGE, 17) \
	X(CU_FILE_INVALID_FILE_TYPE, 18) \
	X(CU_FILE_INVALID_FILE_OPEN_FLAG, 19) \
	X(CU_FILE_DIO_NOT_SET, 20) \
	X(CU_FILE_INVALID_VALUE, 22) \
	X(CU_FILE_MEMORY_ALREADY_REGISTERED, 23) \
	X(CU_FILE_MEMORY_NOT_REGISTERED, 24) \
	X(CU_FILE_PERMISSION_DENIED, 25) \
	X(CU_FILE_DRIVER_ALREADY_OPEN, 26) \
	X(CU_FILE_HANDLE_NOT_REGISTERED, 27) \
	X(CU_FILE_HANDLE_ALREADY_REGISTERED, 28) \
	X(CU_FILE_DEVICE_NOT_FOUND, 29) \
	X(CU_FILE_INTERNAL_ERROR, 30) \
	X(CU_FILE_GETNEWFD_FAILED, 31) \
	X(CU_FILE_NVFS_SETUP_ERROR, 33) \
	X(CU_FILE_IO_DISABLED, 34) \
	X(CU_FILE_BATCH_SUBMIT_FAILED, 35) \
	X(CU_FILE_GPU_MEMORY_PINNING_FAILED, 36) \
	X(CU_FILE_BATCH_FULL, 37) \
	X(CU_FILE_ASYNC_NOT_SUPPORTED, 38) \
	X(CU_FILE_INTERNAL_BATCH_SETUP_ERROR, 39) \
	X(CU_FILE_INTERNAL_BATCH_SUBMIT_ERROR, 40) \
	X(CU_FILE_INTERNAL_BATCH_GETSTATUS_ERROR, 41) \
	X(CU_FILE_INTERNAL_BATCH_CANCEL_ERROR, 42) \
	X(CU_FILE_NOMEM_ERROR, 43) \
	X(CU_FILE_IO_ERROR, 44) \
	X(CU_FILE_INTERNAL_BUF_REGISTER_ERROR, 45) \
	X(CU_FILE_HASH_OPR_ERROR, 46) \
	X(CU_FILE_INVALID_CONTEXT_ERROR, 47) \
	X(CU_FILE_NVFS_INTERNAL_DRIVER_ERROR, 48) \
	X(CU_FILE_BATCH_NOCOMPAT_ERROR, 49) \
	X(CU_FILE_IO_MAX_ERROR, 50)

typedef enum CUfileOpError {
	CU_FILE_SUCCESS = 0,
#define X(name, number) name = CUFILEOP_BASE_ERR + number,
	CUFILE_OP_ERRORS(X)
#undef X
} CUfileOpError;

/** struct CUfileError - @cu_err: a CUresult, where @err is CU_FILE_CUDA_DRIVER_ERROR */
typedef struct CUfileError {
	CUfileOpError err;
	int cu_err;
} CUfileError_t;

#define IS_CUFILE_ERR(err) ((err) > CUFILEOP_BASE_ERR || (err) < -CUFILEOP_BASE_ERR)

/* bits of CUfileDrvProps_t: their numbers */
typedef enum CUfileDriverControlFlags { CU_FILE_USE_POLL_MODE, CU_FILE_ALLOW_COMPAT_MODE } CUfileDriverControlFlags_t;
typedef enum CUfileFeatureFlags { CU_FILE_DYN_ROUTING_SUPPORTED, CU_FILE_BATCH_IO_SUPPORTED, CU_FILE_STREAMS_SUPPORTED, CU_FILE_PARALLEL_IO_SUPPORTED } CUfileFeatureFlags_t;

typedef struct CUfileDrvProps {
	struct {
		unsigned int major_version, minor_version;
		size_t poll_thresh_size, max_direct_io_size;    /* KiB, as all sizes here */
		unsigned int dstatusflags, dcontrolflags;
	} nvfs;
	unsigned int fflags;
	unsigned int max_device_cache_size, per_buffer_cache_size, max_device_pinned_mem_size;
	unsigned int max_batch_io_size, max_batch_io_timeout_msecs;
} CUfileDrvProps_t;

typedef struct sockaddr sockaddr_t;
typedef struct cufileRDMAInfo {
	int version, desc_len;
	const char *desc_str;
} cufileRDMAInfo_t;
typedef struct CUfileFSOps {
	const char *(*fs_type)(void *handle);
	int (*getRDMADeviceList)(void *handle, sockaddr_t **hostaddrs);
	int (*getRDMADevicePriority)(void *handle, char *, size_t, loff_t, sockaddr_t *hostaddr);
	ssize_t (*read)(void *handle, char *, size_t, loff_t, cufileRDMAInfo_t *);
	ssize_t (*write)(void *handle, const char *, size_t, loff_t, cufileRDMAInfo_t *);
} CUfileFSOps_t;

enum CUfileFileHandleType { CU_FILE_HANDLE_TYPE_OPAQUE_FD = 1, CU_FILE_HANDLE_TYPE_OPAQUE_WIN32, CU_FILE_HANDLE_TYPE_USERSPACE_FS };

typedef struct CUfileDescr_t {
	enum CUfileFileHandleType type;
	union {
		int fd;
		void *handle;
	} handle;
	const CUfileFSOps_t *fs_ops;
} CUfileDescr_t;

typedef void *CUfileHandle_t;
typedef void *CUfileBatchHandle_t;
#ifndef CUDA_VERSION
typedef struct CUstream_st *CUstream;
#endif

#define CU_FILE_RDMA_REGISTER 1
#define CU_FILE_RDMA_RELAXED_ORDERING (1 << 1)

typedef enum CUfileOpcode { CUFILE_READ, CUFILE_WRITE } CUfileOpcode_t;
typedef enum CUFILEStatus_enum {
	CUFILE_WAITING = 1 << 0,
	CUFILE_PENDING = 1 << 1,
	CUFILE_INVALID = 1 << 2,
	CUFILE_CANCELED = 1 << 3,
	CUFILE_COMPLETE = 1 << 4,
	CUFILE_TIMEOUT = 1 << 5,
	CUFILE_FAILED = 1 << 6,
} CUfileStatus_t;
typedef enum cufileBatchMode { CUFILE_BATCH = 1 } CUfileBatchMode_t;

typedef struct CUfileIOParams {
	CUfileBatchMode_t mode;
	union {
		struct {
			void *devPtr_base;
			off_t file_offset, devPtr_offset;
			size_t size;
		} batch;
	} u;
	CUfileHandle_t fh;
	CUfileOpcode_t opcode;
	void *cookie;
} CUfileIOParams_t;

/** struct CUfileIOEvents - @ret: bytes, or a negative number in its clothes */
typedef struct CUfileIOEvents {
	void *cookie;
	CUfileStatus_t status;
	size_t ret;
} CUfileIOEvents_t;

#define CU_FILE_STREAM_FIXED_BUF_OFFSET 1
#define CU_FILE_STREAM_FIXED_FILE_OFFSET 2
#define CU_FILE_STREAM_FIXED_FILE_SIZE 4
#define CU_FILE_STREAM_PAGE_ALIGNED_INPUTS 8

typedef enum CUFileSizeTConfigParameter_t {
	CUFILE_PARAM_PROFILE_STATS,
	CUFILE_PARAM_EXECUTION_MAX_IO_QUEUE_DEPTH,
	CUFILE_PARAM_EXECUTION_MAX_IO_THREADS,
	CUFILE_PARAM_EXECUTION_MIN_IO_THRESHOLD_SIZE_KB,
	CUFILE_PARAM_EXECUTION_MAX_REQUEST_PARALLELISM,
	CUFILE_PARAM_PROPERTIES_MAX_DIRECT_IO_SIZE_KB,
	CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB,
	CUFILE_PARAM_PROPERTIES_PER_BUFFER_CACHE_SIZE_KB,
	CUFILE_PARAM_PROPERTIES_MAX_DEVICE_PINNED_MEM_SIZE_KB,
	CUFILE_PARAM_PROPERTIES_IO_BATCHSIZE,
	CUFILE_PARAM_POLLTHRESHOLD_SIZE_KB,
	CUFILE_PARAM_PROPERTIES_BATCH_IO_TIMEOUT_MS,
} CUFileSizeTConfigParameter_t;
typedef enum CUFileBoolConfigParameter_t {
	CUFILE_PARAM_PROPERTIES_USE_POLL_MODE,
	CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE,
	CUFILE_PARAM_FORCE_COMPAT_MODE,
	CUFILE_PARAM_FS_MISC_API_CHECK_AGGRESSIVE,
	CUFILE_PARAM_EXECUTION_PARALLEL_IO,
	CUFILE_PARAM_PROFILE_NVTX,
	CUFILE_PARAM_PROPERTIES_ALLOW_SYSTEM_MEMORY,
	CUFILE_PARAM_USE_PCIP2PDMA,
	CUFILE_PARAM_PREFER_IO_URING,
	CUFILE_PARAM_FORCE_ODIRECT_MODE,
	CUFILE_PARAM_SKIP_TOPOLOGY_DETECTION,
	CUFILE_PARAM_STREAM_MEMOPS_BYPASS,
} CUFileBoolConfigParameter_t;
typedef enum CUFileStringConfigParameter_t { CUFILE_PARAM_LOGGING_LEVEL, CUFILE_PARAM_ENV_LOGFILE_PATH, CUFILE_PARAM_LOG_DIR } CUFileStringConfigParameter_t;

#define CUFILE_GPU_UUID_LEN 16

typedef struct CUfileOpCounter { uint64_t ok, err; } CUfileOpCounter_t;
typedef struct CUfileStatsLevel1 {
	CUfileOpCounter_t read_ops, write_ops, hdl_register_ops, hdl_deregister_ops, buf_register_ops, buf_deregister_ops;
	uint64_t read_bytes, write_bytes, read_bw_bytes_per_sec, write_bw_bytes_per_sec, read_lat_avg_us, write_lat_avg_us, read_ops_per_sec, write_ops_per_sec, read_lat_sum_us, write_lat_sum_us;
	CUfileOpCounter_t batch_submit_ops, batch_complete_ops, batch_setup_ops, batch_cancel_ops, batch_destroy_ops, batch_enqueued_ops, batch_posix_enqueued_ops, batch_processed_ops,
		batch_posix_processed_ops, batch_nvfs_submit_ops, batch_p2p_submit_ops, batch_aio_submit_ops, batch_iouring_submit_ops, batch_mixed_io_submit_ops, batch_total_submit_ops;
	uint64_t batch_read_bytes, batch_write_bytes, batch_read_bw_bytes, batch_write_bw_bytes, batch_submit_lat_avg_us, batch_completion_lat_avg_us, batch_submit_ops_per_sec,
		batch_complete_ops_per_sec, batch_submit_lat_sum_us, batch_completion_lat_sum_us, last_batch_read_bytes, last_batch_write_bytes;
} CUfileStatsLevel1_t;
typedef struct CUfileStatsLevel2 {
	CUfileStatsLevel1_t basic;
	uint64_t read_size_kb_hist[32], write_size_kb_hist[32];
} CUfileStatsLevel2_t;
typedef struct CUfilePerGpuStats {
	char uuid[CUFILE_GPU_UUID_LEN];
	uint64_t read_bytes, read_bw_bytes_per_sec, read_utilization, read_duration_us, n_total_reads, n_p2p_reads, n_nvfs_reads, n_posix_reads, n_unaligned_reads, n_dr_reads, n_sparse_regions,
		n_inline_regions, n_reads_err;
	uint64_t writes_bytes, write_bw_bytes_per_sec, write_utilization, write_duration_us, n_total_writes, n_p2p_writes, n_nvfs_writes, n_posix_writes, n_unaligned_writes, n_dr_writes, n_writes_err;
	uint64_t n_mmap, n_mmap_ok, n_mmap_err, n_mmap_free, reg_bytes;
} CUfilePerGpuStats_t;
typedef struct CUfileStatsLevel3 {
	CUfileStatsLevel2_t detailed;
	uint32_t num_gpus;
	CUfilePerGpuStats_t per_gpu_stats[16];
} CUfileStatsLevel3_t;

#define X(type, name, arguments) type name arguments;
CUFILE_CALLS(X)
#undef X

#ifdef __cplusplus
}
#endif
#endif
