/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vendor's libcufile, where it really reads storage into the device. It has a compatibility mode that copies through memory and says nothing; that is what STAGE does better, so here it is never used.
 * What is looked at first costs nothing; the library, whose start can take seconds, is loaded only where its kernel side is there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cufile.h"

/* cufile.h */
struct cf_error { int err, cu; };
struct cf_descr { int type; union { int fd; void *handle; } handle; const void *ops; };
struct cf_props {
	struct { unsigned major, minor; size_t poll, direct_io; unsigned status, control; } fs;
	unsigned features, device_cache, buffer_cache, pinned, batch, batch_timeout;
};
enum { CF_OPAQUE_FD = 1, CF_STATUS_NVME = 1 << 4, CF_STATUS_NVMEOF = 1 << 5, CF_STATUS_NVME_P2P = 1 << 11 };

static struct {
	pthread_mutex_t lock;
	bool asked;
	const char *why;                /* "": it can be used */
	struct cf_error (*open)(void), (*properties)(struct cf_props *props), (*add)(void **handle, struct cf_descr *descr);
	void (*remove)(void *handle);
	ssize_t (*read)(void *handle, void *base, size_t n, off_t at, off_t memory_offset);
	ssize_t (*write)(void *handle, const void *base, size_t n, off_t at, off_t memory_offset);
} cf = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* the kernel side: nvidia-fs, or the driver with a BAR that is mapped for peers */
static bool kernel_side(void)
{
	char params[4096];
	size_t n;
	FILE *file;

	if (access("/proc/driver/nvidia-fs/version", F_OK) == 0)
		return true;
	file = fopen("/proc/driver/nvidia/params", "re");
	if (!file)
		return false;
	n = fread(params, 1, sizeof(params) - 1, file);
	fclose(file);
	params[n] = '\0';
	return strstr(params, "RMForceStaticBar1=1") != NULL;
}

static const char *find_all(void *lib)
{
	const struct { const char *symbol; void *to; } calls[] = {
		{ "cuFileDriverOpen", &cf.open }, { "cuFileDriverGetProperties", &cf.properties }, { "cuFileHandleRegister", &cf.add },
		{ "cuFileHandleDeregister", &cf.remove }, { "cuFileRead", &cf.read }, { "cuFileWrite", &cf.write },
	};

	for (size_t k = 0; k < sizeof(calls) / sizeof(calls[0]); k++) {
		void *at = dlsym(lib, calls[k].symbol);

		if (!at)
			return "libcufile.so.0 lacks calls that are needed";
		memcpy(calls[k].to, &at, sizeof(at));
	}
	return "";
}

static const char *load(void)
{
	const char *path = getenv("HEARTH_LIBCUFILE"), *why;
	struct cf_props props = { 0 };
	void *lib;

	if (!(path && *path) && !kernel_side())
		return "neither nvidia-fs nor a driver with peer mappings is loaded; libcufile would copy through memory, too";
	lib = dlopen(path && *path ? path : "libcufile.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		return "libcufile.so.0 is not installed";
	/* our own stand-in for it comes back here */
	why = dlsym(lib, "hearth_cufile_marker") ? "libcufile.so.0 is Hearth's own" : find_all(lib);
	if (!why[0] && (cf.open().err != 0 || cf.properties(&props).err != 0))
		why = "libcufile does not start; its log (cufile.log) says why";
	if (!why[0] && !(props.fs.status & (CF_STATUS_NVME | CF_STATUS_NVMEOF | CF_STATUS_NVME_P2P)))
		why = "libcufile has no direct path on this machine, only its compatibility mode";
	if (!why[0] && props.fs.major == 0 && !(props.fs.status & CF_STATUS_NVME_P2P))
		why = "libcufile found no nvidia-fs";
	/* one that has been started stays: it has threads */
	if (why[0] && !cf.open)
		dlclose(lib);
	return why;
}

static void *handle_of(struct hearth_ds_file *f)
{
	struct cf_descr descr = { .type = CF_OPAQUE_FD, .handle.fd = file_direct(f) };
	void *handle = NULL;

	if (descr.handle.fd < 0)
		return NULL;
	pthread_mutex_lock(&f->lock);
	if (!f->cufile && cf.add(&handle, &descr).err == 0)
		f->cufile = handle;
	handle = f->cufile;
	pthread_mutex_unlock(&f->lock);
	return handle;
}

const char *cufile_why_not(struct hearth_ds_file *f, struct hearth_ds_memory *m)
{
	if (m->device->kind != DEVICE_CUDA)
		return "it is for memory of NVIDIA's devices";
	pthread_mutex_lock(&cf.lock);
	if (!cf.asked)
		cf.why = load();
	cf.asked = true;
	pthread_mutex_unlock(&cf.lock);
	if (cf.why[0])
		return cf.why;
	return handle_of(f) ? "" : "libcufile does not take this file";
}

ssize_t cufile_transfer(struct hearth_ds_file *f, struct hearth_ds_memory *m, uint64_t memory_offset, uint64_t at, size_t bytes, bool write)
{
	void *handle = handle_of(f), *base = (void *)(uintptr_t)m->at;
	size_t done = 0;

	if (!handle)
		return -ENODEV;
	while (done < bytes) {
		off_t to = (off_t)(memory_offset + done);
		ssize_t r = write ? cf.write(handle, base, bytes - done, (off_t)(at + done), to) : cf.read(handle, base, bytes - done, (off_t)(at + done), to);

		/* -1: errno; below: its own numbers, none of which is the file's fault */
		if (r < 0)
			return r == -1 && errno > 0 ? -errno : -EOPNOTSUPP;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return write && done < bytes ? -EIO : (ssize_t)done;
}

void cufile_forget(struct hearth_ds_file *f)
{
	if (f->cufile)
		cf.remove(f->cufile);
	f->cufile = NULL;
}
