/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "priv.h"

#define VERSION 1150            /* of the interface: 1000 * major + 10 * minor */

struct cf cf = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.put = PTHREAD_COND_INITIALIZER,
	.files = { .kind = CF_FILE },
	.batches = { .kind = CF_BATCH },
};

/* libhearth-ds refuses a libcufile.so.0 that has it: this library would be calling itself */
CF_EXPORT const char hearth_cufile_marker[] = "hearth libcufile " HEARTH_VERSION;

/* a child after fork() has neither the threads nor the state of the locks: all it may do is to be told so */
static atomic_bool is_child;

static void in_child(void)
{
	atomic_store(&is_child, true);
}

CUfileError_t cf_status(CUfileOpError e)
{
	return (CUfileError_t){ .err = e };
}

bool cf_lock(void)
{
	if (atomic_load_explicit(&is_child, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&cf.lock);
	return true;
}

void cf_leave(void)
{
	pthread_mutex_unlock(&cf.lock);
}

/* cf.lock held */
static CUfileOpError begin(void)
{
	static bool watching;

	if (cf_params_apply(&cf.p) < 0)
		return CU_FILE_NOMEM_ERROR;
	if (!watching && pthread_atfork(NULL, NULL, in_child) != 0)
		return CU_FILE_NOMEM_ERROR;
	watching = true;
	cf_log_open(&cf.p);
	cf_stats_set((int)cf.p.sizes[CUFILE_PARAM_PROFILE_STATS]);
	return CU_FILE_SUCCESS;
}

/* cf.lock held */
static CUfileOpError open_if_closed(void)
{
	CUfileOpError e = CU_FILE_SUCCESS;

	if (cf.closing)
		return CU_FILE_DRIVER_CLOSING;
	if (cf.uses == 0 && (e = begin()) == CU_FILE_SUCCESS)
		cf.uses = 1;
	return e;
}

CUfileOpError cf_enter(void)
{
	CUfileOpError e;

	if (!cf_lock())
		return CU_FILE_DRIVER_NOT_INITIALIZED;
	e = open_if_closed();
	if (e != CU_FILE_SUCCESS)
		cf_leave();
	return e;
}

CUfileOpError cf_enter_open(void)
{
	CUfileOpError e;

	if (!cf_lock())
		return CU_FILE_DRIVER_NOT_INITIALIZED;
	if (cf.closing)
		e = CU_FILE_DRIVER_CLOSING;
	else
		e = cf.uses > 0 ? CU_FILE_SUCCESS : CU_FILE_DRIVER_NOT_INITIALIZED;
	if (e != CU_FILE_SUCCESS)
		cf_leave();
	return e;
}

void cf_put(unsigned *refs)
{
	pthread_mutex_lock(&cf.lock);
	if (--*refs == 0)
		pthread_cond_broadcast(&cf.put);
	pthread_mutex_unlock(&cf.lock);
}

/* cf.lock held; let go while waiting */
static void wait_none(const unsigned *n)
{
	while (*n > 0)
		pthread_cond_wait(&cf.put, &cf.lock);
}

void cf_retire(const unsigned *refs, void (*free_thing)(void *thing), void *thing)
{
	cf.retiring++;
	wait_none(refs);
	pthread_mutex_unlock(&cf.lock);
	free_thing(thing);
	pthread_mutex_lock(&cf.lock);
	if (--cf.retiring == 0)
		pthread_cond_broadcast(&cf.put);
}

static void told(void *ctx, const char *text)
{
	cf_log(CF_LOG_WARN, "%s", text);
}

struct hearth_ds *cf_ds(void)
{
	struct hearth_ds_options o = {
		.path = cf.p.bools[CUFILE_PARAM_FORCE_COMPAT_MODE] ? HEARTH_DS_STAGE : HEARTH_DS_AUTO,
		.fallback = cf.p.bools[CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE] ? HEARTH_DS_WARN : HEARTH_DS_FORBID,
		.cache = cf.p.bools[CUFILE_PARAM_FORCE_ODIRECT_MODE] ? HEARTH_DS_CACHE_NEVER : HEARTH_DS_CACHE_AUTO,
		.threads = (uint32_t)cf.p.sizes[CUFILE_PARAM_EXECUTION_MAX_IO_THREADS],
		.ring_bytes = (uint64_t)cf.p.sizes[CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB] << 10,
		.log = told,
	};

	if (!cf.ds && hearth_ds_open(&o, &cf.ds) < 0)
		cf_log(CF_LOG_ERROR, "%s", hearth_ds_error());
	return cf.ds;
}

CF_EXPORT CUfileError_t cuFileDriverOpen(void)
{
	bool was_open;
	CUfileOpError e;

	if (!cf_lock())
		return cf_status(CU_FILE_DRIVER_NOT_INITIALIZED);
	was_open = cf.uses > 0;
	e = open_if_closed();
	if (e == CU_FILE_SUCCESS && was_open)
		cf.uses++;
	cf_leave();
	return cf_status(e);
}

/* Everything goes. Whoever is inside finishes first, in streams too; who comes is turned away. */
static void finish(void)
{
	cf.closing = true;
	cf_batches_close();
	cf_files_close();
	cf_buffers_close();
	cf_streams_close();
	wait_none(&cf.retiring);
	hearth_ds_close(cf.ds);
	cf.ds = NULL;
	atomic_store(&cf.host, NULL);
	for (int k = 0; k < CF_DEVICES; k++)
		atomic_store(&cf.cuda[k], NULL);
	cf_log_close();
	cf.closing = false;
}

CF_EXPORT CUfileError_t cuFileDriverClose_v2(void)
{
	CUfileOpError e = cf_enter_open();

	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	if (cf.uses == 1)
		finish();
	cf.uses--;
	cf_leave();
	return cf_status(CU_FILE_SUCCESS);
}

CF_EXPORT CUfileError_t cuFileDriverClose(void)
{
	return cuFileDriverClose_v2();
}

CF_EXPORT long cuFileUseCount(void)
{
	long n;

	if (!cf_lock())
		return 0;
	n = cf.uses;
	cf_leave();
	return n;
}

CF_EXPORT CUfileError_t cuFileGetVersion(int *version)
{
	if (!version)
		return cf_status(CU_FILE_INVALID_VALUE);
	*version = VERSION;
	return cf_status(CU_FILE_SUCCESS);
}

static unsigned narrow(size_t kib)
{
	return kib < UINT_MAX ? (unsigned)kib : UINT_MAX;
}

/* nvfs describes NVIDIA's kernel module, which takes no part: version 0.0 and no file system of its own, as the original has it on a machine without */
CF_EXPORT CUfileError_t cuFileDriverGetProperties(CUfileDrvProps_t *props)
{
	CUfileOpError e;

	if (!props)
		return cf_status(CU_FILE_INVALID_VALUE);
	e = cf_enter();
	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	*props = (CUfileDrvProps_t){
		.nvfs = {
			.poll_thresh_size = cf.p.sizes[CUFILE_PARAM_POLLTHRESHOLD_SIZE_KB],
			.max_direct_io_size = cf.p.sizes[CUFILE_PARAM_PROPERTIES_MAX_DIRECT_IO_SIZE_KB],
			.dcontrolflags = (unsigned)cf.p.bools[CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE] << CU_FILE_ALLOW_COMPAT_MODE,
		},
		.fflags = 1u << CU_FILE_BATCH_IO_SUPPORTED | 1u << CU_FILE_STREAMS_SUPPORTED | 1u << CU_FILE_PARALLEL_IO_SUPPORTED,
		.max_device_cache_size = narrow(cf.p.sizes[CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB]),
		.per_buffer_cache_size = narrow(cf.p.sizes[CUFILE_PARAM_PROPERTIES_PER_BUFFER_CACHE_SIZE_KB]),
		.max_device_pinned_mem_size = narrow(cf.p.sizes[CUFILE_PARAM_PROPERTIES_MAX_DEVICE_PINNED_MEM_SIZE_KB]),
		.max_batch_io_size = narrow(cf.p.sizes[CUFILE_PARAM_PROPERTIES_IO_BATCHSIZE]),
		.max_batch_io_timeout_msecs = narrow(cf.p.sizes[CUFILE_PARAM_PROPERTIES_BATCH_IO_TIMEOUT_MS]),
	};
	cf_leave();
	return cf_status(CU_FILE_SUCCESS);
}

/* a limit of an open driver. @late: whether it may change after the first file or buffer. */
static CUfileError_t set_limit(CUFileSizeTConfigParameter_t param, size_t value, bool late)
{
	CUfileOpError e = cf_enter_open();

	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	e = cf_param_check(param, value);
	if (e == CU_FILE_SUCCESS && !late && cf.ds && value != cf.p.sizes[param]) {
		cf_log(CF_LOG_ERROR, "a size was set after the first file or buffer was registered: set it before");
		e = CU_FILE_DRIVER_UNSUPPORTED_LIMIT;
	}
	if (e == CU_FILE_SUCCESS)
		cf.p.sizes[param] = value;
	cf_leave();
	return cf_status(e);
}

CF_EXPORT CUfileError_t cuFileDriverSetMaxDirectIOSize(size_t kib)
{
	return set_limit(CUFILE_PARAM_PROPERTIES_MAX_DIRECT_IO_SIZE_KB, kib, true);
}

CF_EXPORT CUfileError_t cuFileDriverSetMaxCacheSize(size_t kib)
{
	return set_limit(CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB, kib, false);
}

CF_EXPORT CUfileError_t cuFileDriverSetMaxPinnedMemSize(size_t kib)
{
	/* UINT64_MAX is documented to mean that there is no limit, whatever the unit */
	return set_limit(CUFILE_PARAM_PROPERTIES_MAX_DEVICE_PINNED_MEM_SIZE_KB, kib < SIZE_MAX >> 10 ? kib : SIZE_MAX >> 10, true);
}

CF_EXPORT CUfileError_t cuFileDriverSetPollMode(bool poll, size_t poll_threshold_size)
{
	CUfileOpError e = cf_enter_open();

	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	if (poll) {
		cf_log(CF_LOG_ERROR, "cuFileDriverSetPollMode: completions are waited for, never polled: there is no such mode");
		e = CU_FILE_DRIVER_UNSUPPORTED_LIMIT;
	}
	cf_leave();
	return cf_status(e);
}

/* the size of a mapping that no transfer of this library goes through */
CF_EXPORT CUfileError_t cuFileGetBARSizeInKB(int gpu, size_t *kib)
{
	CUfileOpError e;

	if (gpu < 0 || !kib)
		return cf_status(CU_FILE_INVALID_VALUE);
	e = cf_enter_open();
	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	cf_log(CF_LOG_ERROR, "cuFileGetBARSizeInKB: not known here; lspci -v has it");
	cf_leave();
	return cf_status(CU_FILE_PLATFORM_NOT_SUPPORTED);
}
