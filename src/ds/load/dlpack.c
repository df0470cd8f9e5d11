/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdlib.h>

#include "cuda.h"
#include "load.h"
#include "loaded.h"

/*
 * DLPack, version 0 (dmlc/dlpack, dlpack.h): the layout that every framework takes. Deleters are C, so that it does not matter on which thread, in which order, or how late in the
 * life of an interpreter they are called.
 */

enum { DL_CPU = 1, DL_CUDA = 2, DL_UINT = 1 };

struct dl_tensor {
	void *data;
	struct { int32_t type, id; } device;
	int32_t dims;
	struct { uint8_t code, bits; uint16_t lanes; } dtype;
	int64_t *shape, *strides;
	uint64_t byte_offset;
};

struct dl_managed {
	struct dl_tensor tensor;
	void *ctx;
	void (*deleter)(struct dl_managed *self);
};

struct export {
	struct dl_managed managed;
	int64_t bytes;
	struct hearth_ds_loaded *loaded;
};

static void export_free(struct dl_managed *m)
{
	struct export *e = m->ctx;

	hearth_ds_loaded_unref(e->loaded);
	free(e);
}

static bool dl_device(const struct hearth_ds_device *d, struct dl_tensor *t)
{
	switch (d->kind) {
	case DEVICE_HOST:
		t->device.type = DL_CPU;
		return true;
	case DEVICE_CUDA:
		t->device.type = DL_CUDA;
		t->device.id = d->cuda->ordinal;
		return true;
	default:
		return false;
	}
}

void *hearth_ds_loaded_dlpack(struct hearth_ds_loaded *loaded, size_t k)
{
	const struct hearth_ds_placed *p = hearth_ds_loaded_at(loaded, k);
	struct export *e = p ? calloc(1, sizeof(*e)) : NULL;

	if (!e || !p->device || !dl_device(p->device, &e->managed.tensor)) {
		free(e);
		return NULL;
	}
	e->loaded = loaded_ref(loaded);
	e->bytes = (int64_t)p->tensor->bytes;
	e->managed.ctx = e;
	e->managed.deleter = export_free;
	e->managed.tensor.data = (void *)(uintptr_t)p->at;
	e->managed.tensor.dims = 1;
	e->managed.tensor.dtype.code = DL_UINT;
	e->managed.tensor.dtype.bits = 8;
	e->managed.tensor.dtype.lanes = 1;
	e->managed.tensor.shape = &e->bytes;
	return &e->managed;
}

void hearth_ds_capsule_done(void *capsule)
{
	int (*is_valid)(void *, const char *);
	void *(*pointer)(void *, const char *);
	struct dl_managed *m;

	/* of the interpreter that calls this; it is not linked to */
	*(void **)&is_valid = dlsym(RTLD_DEFAULT, "PyCapsule_IsValid");
	*(void **)&pointer = dlsym(RTLD_DEFAULT, "PyCapsule_GetPointer");
	if (!is_valid || !pointer || !is_valid(capsule, "dltensor"))
		return;
	m = pointer(capsule, "dltensor");
	m->deleter(m);
}
