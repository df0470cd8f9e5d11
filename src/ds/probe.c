/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cufile.h"
#include "map.h"

static void why_not_map(struct hearth_ds_file *f, struct hearth_ds_memory *m, char why[240])
{
	const char *text = "";

	if (m->device->kind == DEVICE_HOST)
		text = "the memory is the processor's own";
	else if (!m->cpu)
		text = m->why_map ? m->why_map : m->device->why_map;
	else if (file_direct(f) < 0)
		text = f->why;
	snprintf(why, 240, "%.239s", text);
	if (!text[0])
		map_trusted(f, m, why);
}

static const char *why_not(struct hearth_ds_file *f, struct hearth_ds_memory *m, enum hearth_ds_path path)
{
	bool cuda = m->device->kind == DEVICE_CUDA;

	switch (path) {
	case HEARTH_DS_CUFILE:
		return cufile_why_not(f, m);
	case HEARTH_DS_STAGE:
		return cuda ? "" : m->device->kind == DEVICE_HOST ? "nothing to stage: the kernel reads into this memory itself" : "there is no driver that copies into this memory";
	case HEARTH_DS_HOST:
		return m->device->kind == DEVICE_HOST ? "" : "the kernel does not read into memory of a device";
	default:
		return "";
	}
}

/* what is through memory has nothing to go through where the memory is the host's: programs that want no direct path have both */
static bool excluded(const struct hearth_ds_memory *m, enum hearth_ds_path wanted, enum hearth_ds_path path)
{
	if (wanted == HEARTH_DS_STAGE && path == HEARTH_DS_HOST && m->device->kind == DEVICE_HOST)
		return false;
	return wanted != HEARTH_DS_AUTO && wanted != path;
}

void path_why_not(struct hearth_ds_file *f, struct hearth_ds_memory *m, enum hearth_ds_path path, char why[240])
{
	enum hearth_ds_path wanted = f->ds->o.path;

	why[0] = '\0';
	if (path == HEARTH_DS_AUTO)
		return;
	/* what is not to be taken is not tried either */
	if (excluded(m, wanted, path))
		snprintf(why, 240, "only path %s is to be taken (options.path)", hearth_ds_path_name(wanted));
	else if (path == HEARTH_DS_MAP)
		why_not_map(f, m, why);
	else
		snprintf(why, 240, "%s", why_not(f, m, path));
}

static void alignments(struct hearth_ds_file *f, struct hearth_ds_report *ret)
{
	bool direct = file_direct(f) >= 0;

	ret->offset_align = ret->bytes_align = direct ? f->offset_align : 1;
	ret->memory_align = direct && ret->path != HEARTH_DS_STAGE ? f->memory_align : 1;
}

int hearth_ds_probe(struct hearth_ds_file *file, struct hearth_ds_memory *memory, struct hearth_ds_report *ret)
{
	struct pair *p = pair_get(file, memory);

	if (!p)
		return err_set(ds_error(), -ENOMEM, "out of memory");
	memset(ret, 0, sizeof(*ret));
	ret->path = atomic_load(&p->path);
	for (int k = 0; k < PATHS; k++) {
		ret->carried[k] = atomic_load(&p->carried[k]);
		path_why_not(file, memory, k, ret->why[k]);
	}
	pthread_mutex_lock(&file->ds->lock);
	for (int k = 0; k < PATHS; k++)
		if (!ret->why[k][0] && p->why[k])
			snprintf(ret->why[k], sizeof(ret->why[k]), "%s", p->why[k]);
	pthread_mutex_unlock(&file->ds->lock);
	alignments(file, ret);
	return 0;
}
