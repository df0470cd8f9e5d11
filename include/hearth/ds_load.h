/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HEARTH_DS_LOAD_H
#define HEARTH_DS_LOAD_H

/*
 * Loaders on top of libhearth-ds: tensors of safetensors files, and blocks of a KV cache. See hearth-ds-load(3).
 *
 *	hearth_ds_tensors_open(ds, "model.safetensors.index.json", &tensors);
 *	hearth_ds_load(tensors, &(struct hearth_ds_load_options){ .device = device }, &loaded);
 *	for (k = 0; k < hearth_ds_loaded_count(loaded); k++)
 *		use(hearth_ds_loaded_at(loaded, k));
 *
 * As in hearth/ds.h: calls return -errno, and hearth_ds_error has the sentence.
 */

#include <stddef.h>
#include <stdint.h>

#include "hearth/ds.h"

#ifdef HEARTH_DS_BUILD
#pragma GCC visibility push(default)
#endif
#ifdef __cplusplus
extern "C" {
#endif

/* ---- memory ---- */

/** struct hearth_ds_buffer - memory that the library allocated: where it is, and it registered. @base: of the allocation; the library's. */
struct hearth_ds_buffer {
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	uint64_t at;                    /* a multiple of 4096 */
	size_t bytes;
	uint64_t base;
};

/**
 * hearth_ds_alloc - device memory, or memory of the process for "host", made known already; contents are unknown
 * @bytes: at least 1
 * Return: 0, -EINVAL, -ENOMEM, -EOPNOTSUPP (a device whose memory is not to be had by allocating: "ivshmem").
 */
int hearth_ds_alloc(struct hearth_ds_device *device, size_t bytes, struct hearth_ds_buffer *ret);
/** hearth_ds_free - waits for what uses it, then gives it back. All zero is fine; it is all zero afterwards. */
void hearth_ds_free(struct hearth_ds_buffer *buffer);

/* ---- safetensors: what is in a file ---- */

enum hearth_ds_dtype {
	HEARTH_DS_BOOL, HEARTH_DS_U8, HEARTH_DS_I8, HEARTH_DS_U16, HEARTH_DS_I16, HEARTH_DS_U32, HEARTH_DS_I32, HEARTH_DS_U64, HEARTH_DS_I64,
	HEARTH_DS_F16, HEARTH_DS_BF16, HEARTH_DS_F32, HEARTH_DS_F64, HEARTH_DS_C64,
	HEARTH_DS_F8_E4M3, HEARTH_DS_F8_E5M2, HEARTH_DS_F8_E8M0, HEARTH_DS_F8_E4M3FNUZ, HEARTH_DS_F8_E5M2FNUZ, HEARTH_DS_F6_E2M3, HEARTH_DS_F6_E3M2, HEARTH_DS_F4,
	HEARTH_DS_DTYPES,
};

/** hearth_ds_dtype_name - as the format has it: "BF16". NULL where there is none. */
const char *hearth_ds_dtype_name(enum hearth_ds_dtype dtype);
/** hearth_ds_dtype_bits - of one element; 0 where there is none */
unsigned hearth_ds_dtype_bits(enum hearth_ds_dtype dtype);

/**
 * struct hearth_ds_tensor - one, as its file describes it
 * @dims:   0: a scalar
 * @shape:  @dims numbers; one that is 0 makes a tensor without bytes
 * @file:   which of hearth_ds_tensors_file()
 * @offset: of its first byte in that file
 */
struct hearth_ds_tensor {
	const char *name;
	enum hearth_ds_dtype dtype;
	uint32_t dims;
	const uint64_t *shape;
	uint32_t file, zero;
	uint64_t offset, bytes;
};

/** struct hearth_ds_tensors - one safetensors file, or a set of them, opened and checked; opaque. Read-only once open: may be used from any thread. */
struct hearth_ds_tensors;

/**
 * hearth_ds_tensors_open - read and check the headers
 * @path: a safetensors file; a set's index ("*.json", with its weight_map: tensors that it does not name are left out); or a folder with model.safetensors.index.json or
 *        model.safetensors
 *
 * Strict: what the format forbids is refused (duplicate names, gaps, overlaps, a size that shape and type do not give, a file of another length, unknown types).
 * Return: 0, -EBADMSG (not a well-formed file or set; the sentence says where), -ENOMEM, -errno of opening and reading.
 */
int hearth_ds_tensors_open(struct hearth_ds *ds, const char *path, struct hearth_ds_tensors **ret);
/** hearth_ds_tensors_close - closes the files. What was loaded from them stays, with its names and shapes. NULL is fine. Return: NULL. */
struct hearth_ds_tensors *hearth_ds_tensors_close(struct hearth_ds_tensors *tensors);
/** hearth_ds_tensors_count, hearth_ds_tensors_at - all, in the order in which they lie in the files. NULL where there is none. */
size_t hearth_ds_tensors_count(const struct hearth_ds_tensors *tensors);
const struct hearth_ds_tensor *hearth_ds_tensors_at(const struct hearth_ds_tensors *tensors, size_t k);
/** hearth_ds_tensors_find - by name. Return: NULL where there is none. */
const struct hearth_ds_tensor *hearth_ds_tensors_find(const struct hearth_ds_tensors *tensors, const char *name);
/** hearth_ds_tensors_file - path of the k-th file; NULL behind the last */
const char *hearth_ds_tensors_file(const struct hearth_ds_tensors *tensors, size_t k);
/** hearth_ds_tensors_meta - the k-th pair of the files' __metadata__. Return: its value, NULL behind the last. */
const char *hearth_ds_tensors_meta(const struct hearth_ds_tensors *tensors, size_t k, const char **ret_key);

/* ---- safetensors: into memory ---- */

/** struct hearth_ds_place - where a tensor goes: memory of @device that the library allocates, or, where @memory is set, @offset bytes into that, which is the caller's */
struct hearth_ds_place {
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	uint64_t offset;
};

/**
 * struct hearth_ds_placed - a tensor in memory
 * @at: its address on @device: what a kernel is given, for "host" a pointer; 0 for one without bytes
 * @memory, @offset: the same as hearth_ds_write() wants it; NULL for a tensor without bytes
 */
struct hearth_ds_placed {
	const struct hearth_ds_tensor *tensor;
	struct hearth_ds_device *device;
	struct hearth_ds_memory *memory;
	uint64_t offset, at;
};

/**
 * struct hearth_ds_load_options - all zero but @device is right
 * @device:      for all tensors that @place does not send elsewhere
 * @filters:     fnmatch(3) patterns; tensors whose name matches any are loaded; none: all
 * @filters_n:   how many
 * @place:       asked for each tensor that @filters let through, in order, before anything is read. @ret: preset to @device. Return: 0 load it there; 1 leave it out; -errno ends the load.
 *               NULL: all go to @device
 * @ready:       told of each tensor when it is in memory, in the order of the files, while what is behind it is being read. Return: 0; anything else ends the load with -ECANCELED
 * @progress:    told of bytes read so far, of how many
 * @ctx:         passed to all three, which are called on the thread that loads
 * @align:       of each tensor in memory that the library allocates, a power of 2 up to 4096, its type's if that is more; 0 = 256
 * @depth:       reads in flight; 0 = hearth_ds_queue_open's
 * @piece_bytes: long ranges are read in pieces of so many; 0 = 16 MiB
 * @zero:        all 0
 */
struct hearth_ds_load_options {
	struct hearth_ds_device *device;
	const char *const *filters;
	size_t filters_n;
	int (*place)(void *ctx, const struct hearth_ds_tensor *tensor, struct hearth_ds_place *ret);
	int (*ready)(void *ctx, const struct hearth_ds_placed *placed);
	void (*progress)(void *ctx, uint64_t done_bytes, uint64_t all_bytes);
	void *ctx;
	uint32_t align, depth;
	uint64_t piece_bytes;
	uint64_t zero[4];
};

/** struct hearth_ds_load_stats - @reads: ranges that were read; tensors that lie beside one another are one, long ones are several. @carried: bytes by path. */
struct hearth_ds_load_stats {
	uint64_t tensors, bytes, reads, memory_bytes;
	uint64_t carried[HEARTH_DS_PATHS];
};

/** struct hearth_ds_loaded - tensors in memory, counted references; opaque */
struct hearth_ds_loaded;

/**
 * hearth_ds_load - read tensors into memory, many at a time
 *
 * Memory is allocated once for each pair of file and device. Tensors that lie beside one another in the file do so in memory, where their alignment allows it, and travel as one.
 * Context: blocks until all are there; @tensors may be loaded from several threads.
 * Return: 0; -EINVAL (options), -ENOENT (a filter that matches nothing), -ENOMEM, -ECANCELED, -EIO and others of the file; on failure nothing stays allocated, and the
 *         caller's own memory has unknown contents.
 */
int hearth_ds_load(struct hearth_ds_tensors *tensors, const struct hearth_ds_load_options *options, struct hearth_ds_loaded **ret);
size_t hearth_ds_loaded_count(const struct hearth_ds_loaded *loaded);
/** hearth_ds_loaded_at - the k-th, in the order of the files; NULL behind the last. It lives as long as @loaded, as does its tensor. */
const struct hearth_ds_placed *hearth_ds_loaded_at(const struct hearth_ds_loaded *loaded, size_t k);
void hearth_ds_loaded_stats(const struct hearth_ds_loaded *loaded, struct hearth_ds_load_stats *ret);
/** hearth_ds_loaded_unref - gives up a reference; with the last one, memory is freed. Thread-safe. The context must still be open. NULL is fine. Return: NULL. */
struct hearth_ds_loaded *hearth_ds_loaded_unref(struct hearth_ds_loaded *loaded);

/**
 * hearth_ds_loaded_dlpack - the k-th tensor's bytes as a DLPack tensor (version 0, one dimension of bytes), which holds a reference until its deleter is called
 * Return: a struct DLManagedTensor; NULL: out of memory, no such tensor, or a device that DLPack does not know.
 */
void *hearth_ds_loaded_dlpack(struct hearth_ds_loaded *loaded, size_t k);
/** hearth_ds_capsule_done - a PyCapsule_Destructor: calls the deleter of a "dltensor" capsule that nobody took. For the Python module. */
void hearth_ds_capsule_done(void *capsule);

/**
 * struct hearth_ds_save - a tensor to be written
 * @memory, @offset: where it is; not used for one without bytes
 */
struct hearth_ds_save {
	const char *name;
	enum hearth_ds_dtype dtype;
	uint32_t dims;
	const uint64_t *shape;
	struct hearth_ds_memory *memory;
	uint64_t offset;
};

/**
 * hearth_ds_save - write a safetensors file from memory: complete, synced and under its name, or not at all
 * @meta: 2 * @meta_n strings, keys and values of __metadata__
 *
 * Types with wide elements come first, else the order is the caller's; data begin at a multiple of 4096.
 * Return: 0, -EINVAL (a name twice, no type, a shape that overflows), -ENOMEM, -errno of writing.
 */
int hearth_ds_save(struct hearth_ds *ds, const char *path, const struct hearth_ds_save *tensors, size_t n, const char *const *meta, size_t meta_n);

/* ---- blocks of a KV cache ---- */

/**
 * struct hearth_ds_kv - a folder with blocks of one size, each under an id and a layer; opaque
 *
 * One process at a time may have it open for writing, or any number for reading. All calls but open and close may be used from any thread at the same time.
 *
 * What is put is seen at once by this handle, and by others after hearth_ds_kv_commit. Whatever ends the process, or the machine, at whatever moment: who opens the store next finds
 * the state of the last commit that returned, or of one that was under way, whole. Blocks are never written over in place.
 */
struct hearth_ds_kv;

/**
 * struct hearth_ds_kv_options
 * @block_bytes: of each block; multiples of 4096 are read best
 * @layers:      layers are 0..@layers - 1
 * @blocks_max:  the file with blocks has room for so many; 0 = no limit
 * @checked:     1: puts note each block's digest, for hearth_ds_kv_check, and read what was written once for that
 */
struct hearth_ds_kv_options {
	uint64_t block_bytes, blocks_max;
	uint32_t layers, checked;
	uint64_t zero[4];
};

/**
 * struct hearth_ds_kv_block - one block, and where it is in memory
 * @result: of get: bytes, -ENOENT (no such block), -EINVAL (no memory for it), or what reading it failed with; not used by put
 */
struct hearth_ds_kv_block {
	uint64_t id;
	uint32_t layer, zero;
	struct hearth_ds_memory *memory;
	uint64_t memory_offset;
	int64_t result;
};

struct hearth_ds_kv_key { uint64_t id; uint32_t layer, zero; };

/** struct hearth_ds_kv_info - @uncommitted: puts and drops since the last commit; @file_bytes: of the file with blocks; @recovered: bytes of an unfinished commit that opening left out */
struct hearth_ds_kv_info {
	struct hearth_ds_kv_options options;
	uint64_t blocks, uncommitted, file_bytes, index_bytes, recovered;
};

/** hearth_ds_kv_create - a new folder @path. Return: 0, -EEXIST, -EINVAL (options), -errno. */
int hearth_ds_kv_create(struct hearth_ds *ds, const char *path, const struct hearth_ds_kv_options *options, struct hearth_ds_kv **ret);
/** hearth_ds_kv_open - @writable: for puts, drops and commits. Return: 0, -ENOENT, -EBUSY (in use by another), -EBADMSG (damaged), -errno. */
int hearth_ds_kv_open(struct hearth_ds *ds, const char *path, int writable, struct hearth_ds_kv **ret);
/** hearth_ds_kv_close - what was not committed is gone. NULL is fine. Return: NULL. */
struct hearth_ds_kv *hearth_ds_kv_close(struct hearth_ds_kv *kv);
/** hearth_ds_kv_put - write blocks; those that are there already are replaced. Return: 0: all; -ENOSPC (the disk, or @blocks_max), -EINVAL, -EROFS, -errno: none. */
int hearth_ds_kv_put(struct hearth_ds_kv *kv, const struct hearth_ds_kv_block *blocks, size_t n);
/** hearth_ds_kv_get - read blocks, in any order, many at a time; neighbours in the file that are neighbours in memory travel as one. Return: how many were read; -ENOMEM: none. */
int64_t hearth_ds_kv_get(struct hearth_ds_kv *kv, struct hearth_ds_kv_block *blocks, size_t n);
/** hearth_ds_kv_drop - all layers of an id. Return: how many blocks that were, -EROFS, -ENOMEM. */
int64_t hearth_ds_kv_drop(struct hearth_ds_kv *kv, uint64_t id);
/** hearth_ds_kv_commit - make all since the last one lasting, at once; synced. Return: 0; -ENOSPC, -EIO, -EROFS...: nothing of it is, and it may be tried again. */
int hearth_ds_kv_commit(struct hearth_ds_kv *kv);
/** hearth_ds_kv_list - keys by id and layer, the first @max of them. Return: how many there are, -ENOMEM. */
int64_t hearth_ds_kv_list(struct hearth_ds_kv *kv, struct hearth_ds_kv_key *ret, size_t max);
/**
 * hearth_ds_kv_check - read all blocks and compare them with their digests
 * @bad: told of each that is damaged or can't be read; may be NULL
 * Return: how many those are, -EOPNOTSUPP (no digests were noted), -ENOMEM.
 */
int64_t hearth_ds_kv_check(struct hearth_ds_kv *kv, void (*bad)(void *ctx, struct hearth_ds_kv_key key, int error), void *ctx);
void hearth_ds_kv_info(struct hearth_ds_kv *kv, struct hearth_ds_kv_info *ret);

#ifdef __cplusplus
}
#endif
#ifdef HEARTH_DS_BUILD
#pragma GCC visibility pop
#endif
#endif
