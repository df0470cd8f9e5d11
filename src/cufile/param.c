/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "priv.h"

/*
 * Parameters that are honoured do what they say. One that stands for a mechanism that is not here can be set to what is the case, and to nothing else: that is an
 * error, and a line in the log, rather than a promise that is not kept.
 */
#define SIZES (CUFILE_PARAM_PROPERTIES_BATCH_IO_TIMEOUT_MS + 1)
#define BOOLS (CUFILE_PARAM_STREAM_MEMOPS_BYPASS + 1)
#define STRINGS (CUFILE_PARAM_LOG_DIR + 1)
#define NO_LIMIT_KIB (SIZE_MAX >> 10)

/* @min > @max: there is no such thing here */
static const struct size_param { const char *name; size_t min, max, normal; } sizes[SIZES] = {
	[CUFILE_PARAM_PROFILE_STATS] = { "profile_stats", 0, 2, 0 },
	[CUFILE_PARAM_EXECUTION_MAX_IO_QUEUE_DEPTH] = { "max_io_queue_depth", 1, 4096, 64 },
	[CUFILE_PARAM_EXECUTION_MAX_IO_THREADS] = { "max_io_threads", 0, 64, 0 },
	[CUFILE_PARAM_EXECUTION_MIN_IO_THRESHOLD_SIZE_KB] = { "min_io_threshold_size_kb", 1, 0, 0 },
	[CUFILE_PARAM_EXECUTION_MAX_REQUEST_PARALLELISM] = { "max_request_parallelism", 1, 0, 0 },
	/* pieces are of 1 MiB: a larger limit is kept, a smaller one would not be */
	[CUFILE_PARAM_PROPERTIES_MAX_DIRECT_IO_SIZE_KB] = { "max_direct_io_size_kb", 1024, NO_LIMIT_KIB, 1024 },
	[CUFILE_PARAM_PROPERTIES_MAX_DEVICE_CACHE_SIZE_KB] = { "max_device_cache_size_kb", 8 << 10, 64 << 20, 128 << 10 },
	[CUFILE_PARAM_PROPERTIES_PER_BUFFER_CACHE_SIZE_KB] = { "per_buffer_cache_size_kb", 1024, 1024, 1024 },
	[CUFILE_PARAM_PROPERTIES_MAX_DEVICE_PINNED_MEM_SIZE_KB] = { "max_device_pinned_mem_size_kb", 0, NO_LIMIT_KIB, NO_LIMIT_KIB },
	[CUFILE_PARAM_PROPERTIES_IO_BATCHSIZE] = { "io_batchsize", 1, UINT32_MAX, CF_BATCH_MAX },
	[CUFILE_PARAM_POLLTHRESHOLD_SIZE_KB] = { "poll_max_size_kb", 1, 0, 0 },
	[CUFILE_PARAM_PROPERTIES_BATCH_IO_TIMEOUT_MS] = { "batch_io_timeout_ms", 1, 0, 0 },
};

static const struct bool_param { const char *name, *environment; bool normal, settable; } bools[BOOLS] = {
	[CUFILE_PARAM_PROPERTIES_USE_POLL_MODE] = { "use_poll_mode", NULL, false, false },
	[CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE] = { "allow_compat_mode", "CUFILE_ALLOW_COMPAT_MODE", true, true },
	[CUFILE_PARAM_FORCE_COMPAT_MODE] = { "force_compat_mode", "CUFILE_FORCE_COMPAT_MODE", false, true },
	[CUFILE_PARAM_FS_MISC_API_CHECK_AGGRESSIVE] = { "api_check_aggressive", NULL, false, false },
	[CUFILE_PARAM_EXECUTION_PARALLEL_IO] = { "parallel_io", NULL, true, false },
	[CUFILE_PARAM_PROFILE_NVTX] = { "nvtx", NULL, false, false },
	[CUFILE_PARAM_PROPERTIES_ALLOW_SYSTEM_MEMORY] = { "allow_system_memory", NULL, true, true },
	[CUFILE_PARAM_USE_PCIP2PDMA] = { "use_pci_p2pdma", NULL, true, false },
	[CUFILE_PARAM_PREFER_IO_URING] = { "prefer_iouring", NULL, true, false },
	[CUFILE_PARAM_FORCE_ODIRECT_MODE] = { "force_odirect_mode", NULL, false, true },
	[CUFILE_PARAM_SKIP_TOPOLOGY_DETECTION] = { "skip_topology_detection", NULL, true, false },
	[CUFILE_PARAM_STREAM_MEMOPS_BYPASS] = { "stream_memops_bypass", NULL, false, false },
};

static const struct string_param { const char *name, *environment, *normal; } strings[STRINGS] = {
	[CUFILE_PARAM_LOGGING_LEVEL] = { "logging.level", "CUFILE_LOGGING_LEVEL", "ERROR" },
	[CUFILE_PARAM_ENV_LOGFILE_PATH] = { "logfile_path", "CUFILE_LOGFILE_PATH", NULL },
	[CUFILE_PARAM_LOG_DIR] = { "logging.dir", NULL, NULL },
};

/* set while the driver is closed, for its next opening; cf.lock */
static struct { bool sized[SIZES], booled[BOOLS], bool_value[BOOLS]; size_t size[SIZES]; char *string[STRINGS]; } staged;

static size_t size_now(unsigned p)
{
	if (cf.uses > 0)
		return cf.p.sizes[p];
	return staged.sized[p] ? staged.size[p] : sizes[p].normal;
}

static bool bool_normal(unsigned p)
{
	const char *env = bools[p].environment ? getenv(bools[p].environment) : NULL;

	if (!env || !*env)
		return bools[p].normal;
	return strcasecmp(env, "true") == 0 || strcasecmp(env, "on") == 0 || strcmp(env, "1") == 0;
}

static bool bool_now(unsigned p)
{
	if (cf.uses > 0)
		return cf.p.bools[p];
	return staged.booled[p] ? staged.bool_value[p] : bool_normal(p);
}

static const char *string_now(unsigned p)
{
	const char *env = strings[p].environment ? getenv(strings[p].environment) : NULL;

	if (cf.uses > 0)
		return cf.p.strings[p];
	if (staged.string[p])
		return staged.string[p];
	return env && *env ? env : strings[p].normal;
}

int cf_params_apply(struct cf_params *p)
{
	for (unsigned k = 0; k < STRINGS; k++) {
		const char *text = string_now(k);
		char *copy = text ? strdup(text) : NULL;

		if (text && !copy)
			return -ENOMEM;
		free(p->strings[k]);
		p->strings[k] = copy;
	}
	for (unsigned k = 0; k < SIZES; k++)
		p->sizes[k] = size_now(k);
	for (unsigned k = 0; k < BOOLS; k++)
		p->bools[k] = bool_now(k);
	for (unsigned k = 0; k < STRINGS; k++)
		free(staged.string[k]);
	memset(&staged, 0, sizeof(staged));
	return 0;
}

CUfileOpError cf_param_check(CUFileSizeTConfigParameter_t param, size_t value)
{
	const struct size_param *s;

	if ((unsigned)param >= SIZES)
		return CU_FILE_INVALID_VALUE;
	s = &sizes[param];
	if (s->min > s->max) {
		cf_log(CF_LOG_ERROR, "%s: there is no such thing in this library", s->name);
		return CU_FILE_DRIVER_UNSUPPORTED_LIMIT;
	}
	if (value >= s->min && value <= s->max)
		return CU_FILE_SUCCESS;
	cf_log(CF_LOG_ERROR, "%s: %zu is not within %zu..%zu", s->name, value, s->min, s->max);
	return CU_FILE_DRIVER_UNSUPPORTED_LIMIT;
}

/* Return: CU_FILE_SUCCESS with cf.lock held */
static CUfileOpError enter_closed(void)
{
	if (!cf_lock())
		return CU_FILE_DRIVER_NOT_INITIALIZED;
	if (cf.uses == 0 && !cf.closing)
		return CU_FILE_SUCCESS;
	cf_leave();
	return CU_FILE_DRIVER_ALREADY_OPEN;
}

CF_EXPORT CUfileError_t cuFileSetParameterSizeT(CUFileSizeTConfigParameter_t param, size_t value)
{
	CUfileOpError e = enter_closed();

	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	e = cf_param_check(param, value);
	if (e == CU_FILE_SUCCESS) {
		staged.size[param] = value;
		staged.sized[param] = true;
	}
	cf_leave();
	return cf_status(e);
}

CF_EXPORT CUfileError_t cuFileSetParameterBool(CUFileBoolConfigParameter_t param, bool value)
{
	CUfileOpError e;

	if ((unsigned)param >= BOOLS)
		return cf_status(CU_FILE_INVALID_VALUE);
	e = enter_closed();
	if (e != CU_FILE_SUCCESS)
		return cf_status(e);
	if (!bools[param].settable && value != bools[param].normal) {
		cf_log(CF_LOG_ERROR, "%s: is %s here, and cannot be otherwise", bools[param].name, bools[param].normal ? "always true" : "never true");
		e = CU_FILE_DRIVER_UNSUPPORTED_LIMIT;
	} else {
		staged.bool_value[param] = value;
		staged.booled[param] = true;
	}
	cf_leave();
	return cf_status(e);
}

CF_EXPORT CUfileError_t cuFileSetParameterString(CUFileStringConfigParameter_t param, const char *text)
{
	CUfileOpError e;
	char *copy;

	if ((unsigned)param >= STRINGS || !text || (param == CUFILE_PARAM_LOGGING_LEVEL && cf_log_level(text) < 0))
		return cf_status(CU_FILE_INVALID_VALUE);
	copy = strdup(text);
	if (!copy)
		return cf_status(CU_FILE_NOMEM_ERROR);
	e = enter_closed();
	if (e != CU_FILE_SUCCESS) {
		free(copy);
		return cf_status(e);
	}
	free(staged.string[param]);
	staged.string[param] = copy;
	cf_leave();
	return cf_status(CU_FILE_SUCCESS);
}

CF_EXPORT CUfileError_t cuFileGetParameterSizeT(CUFileSizeTConfigParameter_t param, size_t *value)
{
	if ((unsigned)param >= SIZES || !value)
		return cf_status(CU_FILE_INVALID_VALUE);
	if (sizes[param].min > sizes[param].max)
		return cf_status(CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	if (!cf_lock())
		return cf_status(CU_FILE_DRIVER_NOT_INITIALIZED);
	*value = size_now(param);
	cf_leave();
	return cf_status(CU_FILE_SUCCESS);
}

CF_EXPORT CUfileError_t cuFileGetParameterBool(CUFileBoolConfigParameter_t param, bool *value)
{
	if ((unsigned)param >= BOOLS || !value)
		return cf_status(CU_FILE_INVALID_VALUE);
	if (!cf_lock())
		return cf_status(CU_FILE_DRIVER_NOT_INITIALIZED);
	*value = bool_now(param);
	cf_leave();
	return cf_status(CU_FILE_SUCCESS);
}

CF_EXPORT CUfileError_t cuFileGetParameterString(CUFileStringConfigParameter_t param, char *text, int bytes)
{
	const char *value;
	CUfileOpError e = CU_FILE_SUCCESS;
	size_t n;

	if ((unsigned)param >= STRINGS || !text || bytes <= 0)
		return cf_status(CU_FILE_INVALID_VALUE);
	if (!cf_lock())
		return cf_status(CU_FILE_DRIVER_NOT_INITIALIZED);
	value = string_now(param);
	n = strlen(value ? value : "") + 1;
	if (n <= (size_t)bytes)
		memcpy(text, value ? value : "", n);
	else
		e = CU_FILE_INVALID_VALUE;
	cf_leave();
	return cf_status(e);
}

CF_EXPORT CUfileError_t cuFileGetParameterMinMaxValue(CUFileSizeTConfigParameter_t param, size_t *min, size_t *max)
{
	if ((unsigned)param >= SIZES || !min || !max)
		return cf_status(CU_FILE_INVALID_VALUE);
	if (sizes[param].min > sizes[param].max)
		return cf_status(CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
	*min = sizes[param].min;
	*max = sizes[param].max;
	return cf_status(CU_FILE_SUCCESS);
}

/* the original's pool for its compatibility mode; ours has one size of slot, and max_device_cache_size_kb says how many */
CF_EXPORT CUfileError_t cuFileSetParameterPosixPoolSlabArray(const size_t *slab_sizes, const size_t *counts, int n)
{
	if (!slab_sizes || !counts || n <= 0)
		return cf_status(CU_FILE_INVALID_VALUE);
	cf_log(CF_LOG_ERROR, "cuFileSetParameterPosixPoolSlabArray: there are no slabs here; max_device_cache_size_kb sets the memory that transfers go through");
	return cf_status(CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
}

CF_EXPORT CUfileError_t cuFileGetParameterPosixPoolSlabArray(size_t *slab_sizes, size_t *counts, int n)
{
	return cf_status(!slab_sizes || !counts || n <= 0 ? CU_FILE_INVALID_VALUE : CU_FILE_DRIVER_UNSUPPORTED_LIMIT);
}
