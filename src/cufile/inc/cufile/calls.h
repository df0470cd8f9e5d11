/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CUFILE_CALLS_H
#define CUFILE_CALLS_H

/* X(type of the result, name, arguments): every function of the interface; libcufile.so.0 exports these and hearth_cufile_marker, and nothing else */
#define CUFILE_CALLS(X) \
	X(CUfileError_t, cuFileDriverOpen, (void)) \
	X(CUfileError_t, cuFileDriverClose, (void)) \
	X(CUfileError_t, cuFileDriverClose_v2, (void)) \
	X(long, cuFileUseCount, (void)) \
	X(CUfileError_t, cuFileDriverGetProperties, (CUfileDrvProps_t *props)) \
	X(CUfileError_t, cuFileDriverSetPollMode, (bool poll, size_t poll_threshold_size)) \
	X(CUfileError_t, cuFileDriverSetMaxDirectIOSize, (size_t kib)) \
	X(CUfileError_t, cuFileDriverSetMaxCacheSize, (size_t kib)) \
	X(CUfileError_t, cuFileDriverSetMaxPinnedMemSize, (size_t kib)) \
	X(CUfileError_t, cuFileGetVersion, (int *version)) \
	X(CUfileError_t, cuFileGetBARSizeInKB, (int gpu, size_t *kib)) \
	X(CUfileError_t, cuFileHandleRegister, (CUfileHandle_t *fh, CUfileDescr_t *descr)) \
	X(void, cuFileHandleDeregister, (CUfileHandle_t fh)) \
	X(CUfileError_t, cuFileBufRegister, (const void *base, size_t bytes, int flags)) \
	X(CUfileError_t, cuFileBufDeregister, (const void *base)) \
	X(ssize_t, cuFileRead, (CUfileHandle_t fh, void *base, size_t size, off_t file_offset, off_t base_offset)) \
	X(ssize_t, cuFileWrite, (CUfileHandle_t fh, const void *base, size_t size, off_t file_offset, off_t base_offset)) \
	X(CUfileError_t, cuFileBatchIOSetUp, (CUfileBatchHandle_t *batch, unsigned nr)) \
	X(CUfileError_t, cuFileBatchIOSubmit, (CUfileBatchHandle_t batch, unsigned nr, CUfileIOParams_t *io, unsigned int flags)) \
	X(CUfileError_t, cuFileBatchIOGetStatus, (CUfileBatchHandle_t batch, unsigned min_nr, unsigned *nr, CUfileIOEvents_t *events, struct timespec *timeout)) \
	X(CUfileError_t, cuFileBatchIOCancel, (CUfileBatchHandle_t batch)) \
	X(void, cuFileBatchIODestroy, (CUfileBatchHandle_t batch)) \
	X(CUfileError_t, cuFileReadAsync, (CUfileHandle_t fh, void *base, size_t *size, off_t *file_offset, off_t *base_offset, ssize_t *bytes_read, CUstream stream)) \
	X(CUfileError_t, cuFileWriteAsync, (CUfileHandle_t fh, void *base, size_t *size, off_t *file_offset, off_t *base_offset, ssize_t *bytes_written, CUstream stream)) \
	X(CUfileError_t, cuFileStreamRegister, (CUstream stream, unsigned flags)) \
	X(CUfileError_t, cuFileStreamDeregister, (CUstream stream)) \
	X(CUfileError_t, cuFileGetParameterSizeT, (CUFileSizeTConfigParameter_t param, size_t *value)) \
	X(CUfileError_t, cuFileGetParameterBool, (CUFileBoolConfigParameter_t param, bool *value)) \
	X(CUfileError_t, cuFileGetParameterString, (CUFileStringConfigParameter_t param, char *text, int bytes)) \
	X(CUfileError_t, cuFileGetParameterMinMaxValue, (CUFileSizeTConfigParameter_t param, size_t *min, size_t *max)) \
	X(CUfileError_t, cuFileSetParameterSizeT, (CUFileSizeTConfigParameter_t param, size_t value)) \
	X(CUfileError_t, cuFileSetParameterBool, (CUFileBoolConfigParameter_t param, bool value)) \
	X(CUfileError_t, cuFileSetParameterString, (CUFileStringConfigParameter_t param, const char *text)) \
	X(CUfileError_t, cuFileSetParameterPosixPoolSlabArray, (const size_t *sizes, const size_t *counts, int n)) \
	X(CUfileError_t, cuFileGetParameterPosixPoolSlabArray, (size_t *sizes, size_t *counts, int n)) \
	X(CUfileError_t, cuFileSetStatsLevel, (int level)) \
	X(CUfileError_t, cuFileGetStatsLevel, (int *level)) \
	X(CUfileError_t, cuFileStatsStart, (void)) \
	X(CUfileError_t, cuFileStatsStop, (void)) \
	X(CUfileError_t, cuFileStatsReset, (void)) \
	X(CUfileError_t, cuFileGetStatsL1, (CUfileStatsLevel1_t *stats)) \
	X(CUfileError_t, cuFileGetStatsL2, (CUfileStatsLevel2_t *stats)) \
	X(CUfileError_t, cuFileGetStatsL3, (CUfileStatsLevel3_t *stats))

#endif
