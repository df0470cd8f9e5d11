/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/driver.h"

static const struct call { const char *symbol; size_t offset; } calls[] = {
#define X(field, symbol, arguments) { #symbol, offsetof(struct cuda, field) },
	CUDA_CALLS(X)
}, optional[] = {
	CUDA_CALLS_OPTIONAL(X)
#undef X
};

static void *find(struct cuda *c, const struct call *call)
{
	void *at = dlsym(c->lib, call->symbol);

	memcpy((char *)c + call->offset, &at, sizeof(at));
	return at;
}

int cuda_load(struct cuda *c, const char *path, struct hearth_err *err)
{
	const char *env = getenv("HEARTH_LIBCUDA");

	*c = (struct cuda){ 0 };
	if (!path)
		path = env && *env ? env : "libcuda.so.1";
	c->lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!c->lib)
		return err_set(err, -ENOENT, "cannot load %s: %s; is the NVIDIA driver installed?", path, dlerror());
	for (size_t k = 0; k < sizeof(calls) / sizeof(calls[0]); k++)
		if (!find(c, &calls[k])) {
			cuda_unload(c);
			return err_set(err, -EOPNOTSUPP, "%s has no %s: the driver is too old; install release 550 or newer", path, calls[k].symbol);
		}
	for (size_t k = 0; k < sizeof(optional) / sizeof(optional[0]); k++)
		(void)find(c, &optional[k]);
	if (c->driver_version(&c->version) != CU_OK)
		c->version = 0;
	return 0;
}

void cuda_unload(struct cuda *c)
{
	if (c->lib)
		dlclose(c->lib);
	*c = (struct cuda){ 0 };
}

int cuda_can_checkpoint(const struct cuda *c)
{
	return c->ckpt_state && c->ckpt_lock && c->ckpt_checkpoint && c->ckpt_restore && c->ckpt_unlock;
}

const char *cuda_name(const struct cuda *c, cu_result r)
{
	const char *text = NULL;

	return c->error_name(r, &text) == CU_OK && text ? text : "unknown error";
}

int cuda_errno(cu_result r)
{
	switch (r) {
	case CU_OK:
		return 0;
	case CU_INVALID_VALUE:
		return -EINVAL;
	case CU_OUT_OF_MEMORY:
		return -ENOMEM;
	case CU_NOT_READY:
		return -EBUSY;
	default:
		return -EIO;
	}
}

int cuda_err(const struct cuda *c, cu_result r, struct hearth_err *err, const char *what)
{
	return r == CU_OK ? 0 : err_set(err, cuda_errno(r), "%s: %s (%d)", what, cuda_name(c, r), r);
}
