/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CUFILE_PRIV_H
#define CUFILE_PRIV_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cufile/abi.h"
#include "hearth/ds.h"

/*
 * libcufile.so.0 on libhearth-ds. One driver a process, as the interface has it: files, buffers and batches are the driver's, and go when it is closed for the last
 * time.
 *
 * One lock, cf.lock, for tables and counts; nobody holds it during I/O or while waiting for some. Who uses a thing outside of it holds a reference, and who removes one
 * takes it out of its table first and then waits for the references. A batch's lock comes after cf.lock, the log's last.
 *
 * What is given out (CUfileHandle_t, CUfileBatchHandle_t) is a number with a generation and never a pointer: one that is stale or made up is an error, not a crash.
 */
#define CF_EXPORT __attribute__((visibility("default")))
#define CF_DEVICES 64
#define CF_BATCH_MAX 65536u             /* told to programs that ask; a batch may be larger */

/* ---- table.c: numbers for things ---- */
enum cf_kind { CF_FILE = 1, CF_BATCH };
struct cf_slot { void *thing; uint32_t generation, next_free; };
struct cf_table { struct cf_slot *slot; size_t n, cap; uint32_t first_free; enum cf_kind kind; };
/** cf_table_add - Return: the thing's number, not 0; 0: no memory */
uint64_t cf_table_add(struct cf_table *t, void *thing);
void *cf_table_find(const struct cf_table *t, uint64_t number);                 /* NULL: not one of ours, or not any more */
void cf_table_remove(struct cf_table *t, uint64_t number);

/* ---- param.c ---- */
/** struct cf_params - what is in force while the driver is open */
struct cf_params {
	size_t sizes[CUFILE_PARAM_PROPERTIES_BATCH_IO_TIMEOUT_MS + 1];
	bool bools[CUFILE_PARAM_STREAM_MEMOPS_BYPASS + 1];
	char *strings[CUFILE_PARAM_LOG_DIR + 1];        /* NULL: not set */
};
/** cf_params_apply - what was set, then the environment, then defaults; what was set is forgotten. cf.lock held. Return: 0, -ENOMEM. */
int cf_params_apply(struct cf_params *p);
/** cf_param_check - whether a value can be honoured; a sentence goes to the log if not */
CUfileOpError cf_param_check(CUFileSizeTConfigParameter_t param, size_t value);

/* ---- driver.c ---- */
struct cf {
	pthread_mutex_t lock;
	pthread_cond_t put;             /* a reference was given back */
	long uses;                      /* cuFileUseCount() */
	bool closing;
	struct hearth_ds *ds;           /* from the first file, buffer or batch of it on */
	_Atomic(struct hearth_ds_device *) host, cuda[CF_DEVICES];
	unsigned retiring;              /* things on their way out, which need what the driver has */
	struct cf_params p;
	struct cf_table files, batches;
	uint64_t *by_fd;                /* of each descriptor of the program's: its file's number, or 0 */
	size_t by_fd_cap;
	struct cf_buffer **buffer;      /* by address */
	size_t buffers, buffer_cap;
	uint64_t longest_bytes;         /* no buffer is longer */
	uint64_t pinned[CF_DEVICES];    /* bytes registered of each device */
	struct cf_stream *streams;
};
extern struct cf cf;

CUfileError_t cf_status(CUfileOpError e);
/**
 * cf_enter - the driver is open, and opened if it was not. Takes cf.lock, which stays held when it succeeds. Return: CU_FILE_SUCCESS, CU_FILE_DRIVER_CLOSING,
 * CU_FILE_NOMEM_ERROR.
 */
CUfileOpError cf_enter(void);
/** cf_enter_open - the same, but an error where it was not open */
CUfileOpError cf_enter_open(void);
void cf_leave(void);
/** cf_lock - cf.lock alone. Return: false in a child after fork(): there is nothing to use. */
bool cf_lock(void);
/** cf_ds - libhearth-ds, opened now if need be. cf.lock held, or a file is. Return: NULL: no memory. */
struct hearth_ds *cf_ds(void);
/** cf_put - give back a reference */
void cf_put(unsigned *refs);
/**
 * cf_retire - a thing is out of its table: wait for its references, then free it
 * @free_thing: called without the lock: it may wait too
 * Context: cf.lock held, let go of, and taken again. The driver is not taken apart meanwhile.
 */
void cf_retire(const unsigned *refs, void (*free_thing)(void *thing), void *thing);
/** cf_error_of - what a failure of libhearth-ds is called here; @other: the rest */
static inline CUfileOpError cf_error_of(int r, CUfileOpError other)
{
	switch (r) {
	case 0:
		return CU_FILE_SUCCESS;
	case -ENOMEM:
		return CU_FILE_NOMEM_ERROR;
	case -ENODEV:
		return CU_FILE_DEVICE_NOT_FOUND;
	case -EACCES:
	case -EPERM:
		return CU_FILE_PERMISSION_DENIED;
	default:
		return other;
	}
}

/* ---- place.c ---- */
enum { CF_HOST = -1 };
/** cf_place_of - whose memory an address is of. Return: CF_HOST, or a device's ordinal. */
int cf_place_of(uint64_t at);
/** cf_extent_of - from an address to the end of its allocation; of memory of the host, to the end of what a process can have. Return: bytes, 0: not known. */
size_t cf_extent_of(uint64_t at, int place);
/** cf_stream_place - the device whose context is current: streams are its. Return: an ordinal, CF_HOST: no context. */
int cf_stream_place(void);
/** cf_stream_wait - until the current context's default stream has done what is in it. Return: a CUresult. */
int cf_stream_wait(void);

/* ---- file.c ---- */
/**
 * struct cf_file - a registered file
 * @fd:      ours, of the same open file: the program may close its own
 * @their:   the program's number of it
 */
struct cf_file {
	uint64_t number;
	int fd, their, access;
	struct hearth_ds_file *ds;
	unsigned refs;
};
/** cf_file_get - with a reference. cf.lock held. NULL: not registered. */
struct cf_file *cf_file_get(CUfileHandle_t fh);
void cf_files_close(void);              /* all of them; cf.lock held */

/* ---- buffer.c ---- */
struct cf_buffer {
	uint64_t at;
	size_t bytes;
	int place;
	struct hearth_ds_memory *ds;
	unsigned refs;
};
/**
 * struct cf_range - memory of one operation
 * @buffer: that it lies in, with a reference, or NULL: @ds was registered for this operation alone
 */
struct cf_range {
	struct cf_buffer *buffer;
	struct hearth_ds_memory *ds;
	size_t offset;
	int place;
};
/**
 * cf_range_get - the memory of @bytes (not 0) at @base + @offset; @base as it was registered, or any address, within a buffer or not
 * Context: cf.lock held.
 * Return: CU_FILE_SUCCESS: @ret->ds is NULL where it is in no buffer: cf_range_make() follows; CU_FILE_INVALID_MAPPING_RANGE: @base is a buffer's, the rest is beyond it; CU_FILE_INVALID_VALUE.
 */
CUfileOpError cf_range_get(const void *base, off_t offset, size_t bytes, struct cf_range *ret);
/** cf_range_make - register what is in no buffer for the operation. cf.lock not held, a file is. */
CUfileOpError cf_range_make(const void *base, off_t offset, size_t bytes, struct cf_range *r);
void cf_buffers_close(void);
/** cf_device - libhearth-ds's of a place. cf.lock held, or a file is. Return: 0, -errno. */
int cf_device(int place, struct hearth_ds_device **ret);

/* ---- io.c ---- */
/** struct cf_io - one read or write, as every call comes down to it */
struct cf_io {
	CUfileHandle_t fh;
	void *base;
	size_t size;
	off_t file_offset, base_offset;
	bool write;
};
/**
 * struct cf_claim - what an operation uses, from its check on until it is done
 * @file: NULL: there is nothing to do (no bytes)
 */
struct cf_claim { struct cf_file *file; struct cf_range range; };
/**
 * cf_claim - check an operation and take what it needs
 * Context: cf.lock held; let go of.
 * Return: 0; a CUfileOpError, positive; -errno as the file would give it.
 */
int cf_claim(const struct cf_io *io, struct cf_claim *ret);
void cf_unclaim(struct cf_claim *c);    /* cf.lock not held */
/** cf_direct_only - where compatibility mode is forbidden: whether there is a direct path at all. Return: as cf_claim. */
int cf_direct_only(const struct cf_claim *c);
/** cf_run - all of it. Return: bytes, -1 with errno, -CUfileOpError. */
ssize_t cf_run(const struct cf_io *io);

/* ---- batch.c ---- */
void cf_batches_close(void);

/* ---- stream.c ---- */
/** cf_streams_close - forget flags, and release what operations have left behind; all of them have ended. cf.lock held. */
void cf_streams_close(void);

/* ---- stats.c ---- */
enum cf_counter { CF_READ, CF_WRITE, CF_FILE_REGISTER, CF_FILE_DEREGISTER, CF_BUFFER_REGISTER, CF_BUFFER_DEREGISTER, CF_BATCH_SETUP, CF_BATCH_SUBMIT, CF_BATCH_COMPLETE, CF_BATCH_CANCEL, CF_BATCH_DESTROY,
	CF_COUNTERS };
extern atomic_bool cf_counting;
void cf_count_at(enum cf_counter what, bool ok, uint64_t n);
/** cf_count - something happened, @n times; costs a load while nobody counts */
static inline void cf_count(enum cf_counter what, bool ok, uint64_t n)
{
	if (atomic_load_explicit(&cf_counting, memory_order_relaxed))
		cf_count_at(what, ok, n);
}
/** cf_count_io_begin - Return: the time, 0 while nobody counts; for cf_count_io_end */
uint64_t cf_count_io_begin(void);
/** cf_count_io_end - Return: @result */
int64_t cf_count_io_end(uint64_t began_ns, bool write, bool batch, int64_t result);
/** cf_stats_set - level 0..3, from the parameter. cf.lock held. */
void cf_stats_set(int level);

/* ---- log.c ---- */
enum cf_level { CF_LOG_ERROR = 1, CF_LOG_WARN, CF_LOG_INFO };
/** cf_log_open - as the parameters and the environment say: where to, from which level on; nothing is opened before there is a line to write. cf.lock held. */
void cf_log_open(const struct cf_params *p);
void cf_log_close(void);
/** cf_log_level - of the name of one. Return: 0 (nothing is written), a cf_level, -EINVAL. */
int cf_log_level(const char *text);
void cf_log(enum cf_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
