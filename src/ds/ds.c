/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/fd.h"
#include "queue.h"

static _Thread_local struct hearth_err last_error;

struct hearth_err *ds_error(void)
{
	return &last_error;
}

const char *hearth_ds_error(void)
{
	return last_error.msg;
}

const char *hearth_ds_path_name(enum hearth_ds_path path)
{
	static const char *const names[] = { "auto", "map", "cufile", "stage", "host" };

	return (unsigned)path < PATHS ? names[path] : NULL;
}

bool ds_fault(const struct hearth_ds *ds, const char *point)
{
	return ds->faults && fault_point(point);
}

void ds_warn(struct hearth_ds *ds, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	if (ds->o.fallback != HEARTH_DS_WARN)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (ds->o.log)
		ds->o.log(ds->o.ctx, text);
	else
		fprintf(stderr, "hearth-ds: %s\n", text);
}

static int check_options(const struct hearth_ds_options *o)
{
	for (size_t k = 0; k < sizeof(o->zero) / sizeof(o->zero[0]); k++)
		if (o->zero[k])
			return err_set(ds_error(), -EINVAL, "hearth_ds_open: options.zero must be all 0");
	if ((unsigned)o->path >= PATHS || (unsigned)o->fallback > HEARTH_DS_FORBID || (unsigned)o->cache > HEARTH_DS_CACHE_ALWAYS)
		return err_set(ds_error(), -EINVAL, "hearth_ds_open: options.path, fallback or cache is none of those that there are");
	return 0;
}

int hearth_ds_open(const struct hearth_ds_options *options, struct hearth_ds **ret)
{
	struct hearth_ds *ds;

	if (options && check_options(options) < 0)
		return -EINVAL;
	ds = calloc(1, sizeof(*ds));
	if (!ds)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	if (options)
		ds->o = *options;
	ds->p2p_node = -1;
	ds->faults = getenv("HEARTH_FAULT") != NULL;
	pthread_mutex_init(&ds->lock, NULL);
	pthread_mutex_init(&ds->pumps_lock, NULL);
	*ret = ds;
	return 0;
}

struct hearth_ds *hearth_ds_close(struct hearth_ds *ds)
{
	if (!ds)
		return NULL;
	while (ds->queues)
		hearth_ds_queue_close(ds->queues);
	while (ds->files)
		hearth_ds_file_close(ds->files);
	while (ds->memories)
		hearth_ds_release(ds->memories);
	pumps_free(ds);
	devices_free(ds);
	fd_close(&ds->p2p_node);
	pthread_mutex_destroy(&ds->lock);
	pthread_mutex_destroy(&ds->pumps_lock);
	free(ds);
	return NULL;
}
